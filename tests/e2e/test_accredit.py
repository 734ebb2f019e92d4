"""Accreditation against real servers: our own source, Medplum, fhirsnake, Orthanc and tiny-pacs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from typer.testing import CliRunner, Result

from catalog import load
from gateway.accrediting import Finding, Local, Report, accredit, read_patients
from gateway.cli import app
from gateway.commands.common import Stop
from gateway.demo.peers import fhirsnake, medplum, orthanc, tiny_pacs
from gateway.demo.people import BY_KEY
from gateway.demo.studies import SHANGHAI, store, uid_for
from gateway.demo.studies import study as dicom
from gateway.keeper import own_key_list, roots_of
from gateway.keyring import make_keys, open_keys
from gateway.settings import NodeSettings, load_settings
from gateway.source import create_source
from tests.gateway.live import PASSPHRASE, persons_in
from tests.node_cases import normaliser, observation, patient, report, study, transaction
from tests.peers import started
from tests.serving import serve

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("accredit")]

NOW = datetime.now(UTC).replace(microsecond=0)
PERSON, OTHER = BY_KEY["jia"], BY_KEY["yi"]
MRN = PERSON.mrns["EX-CQ-01"]
DRAWN = (NOW - timedelta(days=5)).astimezone(SHANGHAI)
WHEN = {"effectiveDateTime": DRAWN.isoformat(), "issued": (DRAWN + timedelta(hours=3)).isoformat()}
NAMED = {"name": [{"text": PERSON.name}]}
RECORDS: tuple[dict[str, Any], ...] = (
    patient("p1", PERSON.number, MRN) | NAMED,
    observation("o1", **WHEN),
    observation(
        "o2", **WHEN | {"code": {"text": "总胆红素"}, "valueQuantity": {"value": 12.6, "unit": "μmol/L"}}
    ),
    study("s1", started=DRAWN.isoformat()),
    report("d1", issued=WHEN["issued"]),
)
LAB = {"kind": "lab", "name": "血清白蛋白", "performed": DRAWN.isoformat(), "value": "43.5", "unit": "g/L"}
IMAGING = {"kind": "imaging", "name": "CT 胸部平扫", "performed": DRAWN.isoformat(), "images": 3}
PATIENTS: dict[str, Any] = {
    "patients": [
        {"type": "resident-id", "value": PERSON.number, "name": PERSON.name, "results": [LAB, IMAGING]}
    ],
    "unknown": [{"type": "resident-id", "value": OTHER.number}],
}


def accredited(url: str, said: dict[str, Any] = PATIENTS, **settings: Any) -> Report:
    """The report of a node with these settings."""
    values = {"id": "node", "kind": "fhir", "url": url, "institution": "EX-CQ-01"} | settings
    node = NodeSettings(**values)
    patients = read_patients(json.dumps(said).encode())
    return asyncio.run(
        accredit(
            node,
            patients,
            identities=Local(patients.known),
            catalogue=load(),
            reads=normaliser(),
            owner="cq",
            now=NOW,
            questions=10,
        )
    )


def states(made: Report, state: str) -> set[str]:
    return {finding.id for finding in made.findings if finding.state == state}


def finding(made: Report, id_: str) -> Finding:
    return next(one for one in made.findings if one.id == id_)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Our own source with the records of one patient."""
    app = create_source(tmp_path_factory.mktemp("source") / "source.sqlite3", institution="EX-CQ-01")
    with serve(app) as url:
        media = {"Content-Type": "application/fhir+json"}
        answer = httpx.post(url, json=transaction(*RECORDS), headers=media, trust_env=False, timeout=30)
        assert answer.status_code == 200, answer.text
        yield url


@pytest.fixture(scope="module")
def of_source(source: str) -> Report:
    return accredited(source)


@pytest.fixture(scope="module")
def of_router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Report]:
    """Medplum's router: made for others, and yet it answers all that a gateway asks."""
    peer = started(lambda: medplum(tmp_path_factory.mktemp("medplum")))
    media = {"Content-Type": "application/fhir+json"}
    with peer, httpx.Client(base_url=peer.url, headers=media, trust_env=False, timeout=30) as client:
        made: dict[str, str] = {}
        for resource in RECORDS:
            text = json.dumps(resource)
            for reference, there in made.items():
                text = text.replace(reference, there)
            type_ = resource["resourceType"]
            answer = client.post(f"/{type_}", content=text)
            assert answer.status_code == 201, answer.text
            made[f"{type_}/{resource['id']}"] = f"{type_}/{answer.json()['id']}"
        yield accredited(peer.url)


@pytest.fixture(scope="module")
def of_snake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Report]:
    """fhirsnake with two patients: it ignores every search parameter."""
    other = (patient("p2", OTHER.number, "CQ01"), observation("o9", subject={"reference": "Patient/p2"}))
    folder = tmp_path_factory.getbasetemp() / "fhirsnake"  # one environment a session
    with started(lambda: fhirsnake(folder, [*RECORDS, *other], name="accredited")) as peer:
        unknown = PATIENTS | {"unknown": []}
        yield accredited(peer.url, unknown, dialect={"search": "get", "since": False})


ARCHIVED = {
    "patients": [
        {
            "type": "resident-id",
            "value": PERSON.number,
            "name": PERSON.name,
            "local": MRN,
            "results": [IMAGING | {"study_uid": uid_for("EX-CQ-01", key)} for key in ("chest", "again")],
        }
    ]
}


def archive(folder: Path, start: Any) -> Iterator[str]:
    """An archive with two studies of the patient."""
    with started(lambda: start(folder, name="pacs")) as peer:
        for key in ("chest", "again"):
            instances = dicom(
                PERSON,
                "EX-CQ-01",
                description="CT 胸部平扫",
                modality="CT",
                body_part="CHEST",
                performed=DRAWN,
                instances=3,
                charset="gb18030",
                uid=uid_for("EX-CQ-01", key),
            )
            store(peer.url, instances)
        yield peer.url


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Orthanc."""
    yield from archive(tmp_path_factory.mktemp("orthanc"), orthanc)


@pytest.fixture(scope="module")
def of_orthanc(pacs: str) -> Report:
    return accredited(pacs, ARCHIVED, kind="dicomweb", kinds=["imaging"])


@pytest.fixture(scope="module")
def of_tiny_pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Report]:
    for url in archive(tmp_path_factory.mktemp("tiny"), tiny_pacs):
        yield accredited(url, ARCHIVED, kind="dicomweb", kinds=["imaging"])


def test_our_own_source_passes(of_source: Report) -> None:
    assert (states(of_source, "fix"), of_source.passed) == (set(), True)


def test_a_server_that_shows_one_page_alone_is_to_be_fixed(of_router: Report) -> None:
    assert (states(of_router, "fix"), of_router.passed) == ({"search.paging"}, False)


def test_orthanc_passes(of_orthanc: Report) -> None:
    assert (states(of_orthanc, "fix"), of_orthanc.passed) == (set(), True)


def test_a_server_that_shows_everybody_is_to_be_fixed(of_snake: Report) -> None:
    assert {"identity.unknown", "identity.exact", "identity.own"} <= states(of_snake, "fix")


def test_an_archive_without_metadata_and_frames_is_told_so(of_tiny_pacs: Report) -> None:
    assert "retrieval.metadata" in states(of_tiny_pacs, "fix")
    assert "retrieval.frames" in states(of_tiny_pacs, "advice")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, source: str) -> Path:
    """A gateway's file and keys, the file of a new node, its patients, and the report of it."""
    folder = tmp_path_factory.mktemp("accredited")
    (folder / "passphrase").write_bytes(PASSPHRASE)
    (folder / "passphrase").chmod(0o600)
    (folder / "lianren.toml").write_text(
        'name = "重庆示例"\nowner = "cq"\nregion = "500000"\nbase_url = "http://127.0.0.1:8080"\n'
        'data_dir = "data"\nkey_passphrase_file = "passphrase"\n',
        encoding="utf-8",
    )
    (folder / "node.toml").write_text(
        f'[[nodes]]\nid = "his"\nkind = "fhir"\nurl = "{source}"\ninstitution = "EX-CQ-01"\n'
    )
    (folder / "patients.json").write_text(json.dumps(PATIENTS), encoding="utf-8")
    make_keys(load_settings(folder / "lianren.toml"))
    words = [str(folder / "node.toml"), "--patients", str(folder / "patients.json")]
    words += ["--out", str(folder / "report"), "--questions", "5", "-c", str(folder / "lianren.toml")]
    made = command(*words)
    assert made.exit_code == 0, made.output
    assert "通过 passed" in made.stdout
    return folder


def command(*words: str) -> Result:
    return CliRunner().invoke(app, ["node", "accredit", *words])


def verified(folder: Path, name: str) -> Result:
    return command("--verify", str(folder / name), "-c", str(folder / "lianren.toml"))


def rewritten(folder: Path, name: str, old: str, new: str) -> str:
    """A copy of a report with other words in it: its name."""
    text = (folder / name).read_text(encoding="utf-8")
    assert old in text
    (folder / f"other-{name}").write_text(text.replace(old, new, 1), encoding="utf-8")
    return f"other-{name}"


@pytest.mark.parametrize("name", ["report.json", "report.html"])
def test_a_report_verifies(folder: Path, name: str) -> None:
    said = verified(folder, name)
    assert (said.exit_code, "签名有效" in said.stdout) == (0, True)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("report.json", '"state": "advice"', '"state": "passed"'),
        ("report.json", '"gateway": "cq"', '"gateway": "sc"'),
        ("report.json", '"signature": "', '"signature": "A'),
        ("report.html", "<h1>节点验收报告</h1>", "<h1>另一份报告</h1>"),
        ("report.html", '"state":"advice"', '"state":"passed"'),
    ],
)
def test_a_report_that_was_changed_is_refused(folder: Path, name: str, old: str, new: str) -> None:
    refused = verified(folder, rewritten(folder, name, old, new)).exception
    assert isinstance(refused, Stop)
    assert (refused.status, "签名无效" in str(refused)) == (1, True)


@pytest.mark.parametrize("name", ["report.json", "report.html"])
def test_a_report_holds_nobody_s_name_or_number(folder: Path, name: str) -> None:
    text = (folder / name).read_text(encoding="utf-8")
    assert persons_in(text) == []
    assert MRN not in text


def test_a_page_needs_nothing_from_elsewhere(folder: Path) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert not any(word in page for word in ("src=", "href=", "@import", "url("))


@pytest.mark.parametrize(
    ("patients", "said"),
    [
        ("{}", "patients"),
        ('{"patients": [{"type": "resident-id", "value": "1"}]}', "patients[0]"),
        ('{"patients": [], "unknown": []}', "patients"),
    ],
)
def test_a_wrong_patients_file_is_one_line_that_says_where(
    folder: Path, tmp_path: Path, patients: str, said: str
) -> None:
    (tmp_path / "patients.json").write_text(patients)
    words = [str(folder / "node.toml"), "--patients", str(tmp_path / "patients.json")]
    stop = command(*words, "-c", str(folder / "lianren.toml")).exception
    assert isinstance(stop, Stop)
    assert said in str(stop)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no [[nodes]]"),
        ("nodes = 7", "no [[nodes]]"),
        ("[[nodes", "is not TOML"),
        ('[[nodes]]\nid = "x"\nkind = "soap"', "kind"),
        ('[[nodes]]\nid = "x"\nkind = "fhir"\nurl = "http://192.0.2.1"\ninstitution = "EX-CQ-01"', "https"),
        ('[[nodes]]\nid = "x"\nkind = "published"\ninstitution = "EX-CQ-01"', "fhir and dicomweb"),
        (
            '[[nodes]]\nid = "x"\nkind = "dicomweb"\nurl = "https://a.example"\ninstitution = "EX-CQ-01"',
            "FHIR node",
        ),
    ],
)
def test_a_wrong_node_file_is_one_line_that_says_what_is_wrong(
    folder: Path, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "node.toml").write_text(text)
    words = [str(tmp_path / "node.toml"), "--patients", str(folder / "patients.json")]
    stop = command(*words, "-c", str(folder / "lianren.toml")).exception
    assert isinstance(stop, Stop)
    assert said in str(stop)


def test_an_archive_finds_its_patients_through_the_node_before_it(
    folder: Path, tmp_path: Path, pacs: str
) -> None:
    text = (folder / "node.toml").read_text()
    (tmp_path / "both.toml").write_text(
        f'{text}\n[[nodes]]\nid = "pacs"\nkind = "dicomweb"\nurl = "{pacs}"\nidentity = "his"\n'
        'institution = "EX-CQ-01"\n'
    )
    words = [str(tmp_path / "both.toml"), "--patients", str(folder / "patients.json"), "--questions", "2"]
    made = command(*words, "--out", str(tmp_path / "pacs"), "-c", str(folder / "lianren.toml"), "--json")
    findings = {one["id"]: one for one in json.loads(made.stdout)["report"]["findings"]}
    assert (findings["identity.found"]["state"], findings["identity.found"]["seen"]) == ("passed", "1/1")


def test_a_report_verifies_elsewhere_by_key_list_and_roots(folder: Path, tmp_path: Path) -> None:
    keys = open_keys(load_settings(folder / "lianren.toml"))
    (tmp_path / "keys.json").write_bytes(own_key_list(keys, "cq", datetime.now(UTC)))
    (tmp_path / "roots.json").write_bytes(msgspec.json.encode(roots_of(keys, "cq")))
    words = ["--keys", str(tmp_path / "keys.json"), "--roots", str(tmp_path / "roots.json")]
    alone = command("--verify", str(folder / "report.html"), *words[:2], "-c", str(folder / "lianren.toml"))
    assert isinstance(alone.exception, Stop)
    said = command("--verify", str(folder / "report.html"), *words, "--json")
    assert (said.exit_code, json.loads(said.stdout)["passed"]) == (0, True)
