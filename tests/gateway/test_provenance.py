"""A mark in FHIR: what is signed can be verified by anybody with the key list, and changed by nobody."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fhir.resources.R4B.provenance import Provenance

from gateway.cli import app
from gateway.demo.people import BY_KEY
from gateway.keeper import roots_of
from gateway.keyring import open_keys
from gateway.marks.provenance import check, result_of
from gateway.model import VerdictOut
from recognition import Result, facts
from security import jws
from security.errors import MarkRefused
from security.mark import issue
from security.mark import read as read_mark
from security.trust import TrustList
from tests.gateway.live import Live, ask, body, gateway_over_source, gateway_with, persons_in, source_of
from tests.recognition.cases import ct, lab
from tests.security.material import CLAIMS, MARK_KEY

MARK = read_mark(issue(CLAIMS, MARK_KEY))
NODE = {"id": "cq-his", "kind": "fhir", "institution": "EX-CQ-01", "timeout_ms": 7000}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A real gateway over a real node."""
    with gateway_over_source(tmp_path_factory.mktemp("provenance")) as live:
        yield live


def marked(live: Live, person: str = "ding", name: str = "白蛋白") -> VerdictOut:
    (verdict,) = ask(live.client(), body(name, patient=BY_KEY[person].number)).verdicts
    assert verdict.mark is not None
    return verdict


def trust_of(live: Live) -> TrustList:
    roots = roots_of(open_keys(live.settings), "cq")
    return TrustList(roots).add(live.client("").get("/trust/keys").content, datetime.now(UTC))


def provenance_of(live: Live, verdict: VerdictOut, client: str = "auditor") -> bytes:
    assert verdict.mark is not None
    response = live.client(client).get(f"/fhir/Provenance/{verdict.mark.id}")
    assert response.status_code == 200, response.text
    return response.content


def test_the_provenance_of_a_mark_verifies_with_the_key_list_alone(live: Live) -> None:
    verdict = marked(live)
    assert verdict.mark is not None
    claims = check(provenance_of(live, verdict), trust_of(live))
    assert claims.mark_id.hex() == verdict.mark.id


def test_it_is_a_provenance_as_fhir_wants_it(live: Live) -> None:
    resource = provenance_of(live, marked(live))
    assert Provenance.model_validate_json(resource).get_resource_type() == "Provenance"


def test_it_shows_the_value_as_the_hospital_wrote_it(live: Live) -> None:
    held = msgspec.json.decode(provenance_of(live, marked(live)))
    (result,) = held["contained"]
    assert (result["resourceType"], result["code"]["text"]) == ("Observation", "白蛋白")
    assert result["valueQuantity"] == {"value": 40.8, "unit": "g/L"}
    assert held["signature"][0]["sigFormat"] == "application/jose"


def test_it_names_no_person(live: Live) -> None:
    assert persons_in(provenance_of(live, marked(live)).decode()) == []


def test_reading_it_again_gives_the_same_bytes(live: Live) -> None:
    verdict = marked(live)
    assert provenance_of(live, verdict) == provenance_of(live, verdict, "his")


def test_reading_it_is_an_entry_of_the_ledger(live: Live) -> None:
    verdict = marked(live)
    before = live.kept()[0]
    provenance_of(live, verdict)
    assert live.kept()[0] == before + 1


def test_another_institution_does_not_read_it(live: Live) -> None:
    verdict = marked(live)
    assert verdict.mark is not None
    response = live.client("other").get(f"/fhir/Provenance/{verdict.mark.id}")
    assert (response.status_code, response.json()["resourceType"]) == (404, "OperationOutcome")


def test_it_is_found_by_the_record_that_was_marked(live: Live) -> None:
    verdict = marked(live)
    assert verdict.mark is not None
    record = verdict.result.id.partition("/")[2]
    bundle = live.client("auditor").get("/fhir/Provenance", params={"target": record}).json()
    assert (bundle["type"], bundle["total"]) == ("searchset", 1)
    assert bundle["entry"][0]["resource"]["id"] == verdict.mark.id
    assert live.client("other").get("/fhir/Provenance", params={"target": record}).json()["total"] == 0


@pytest.mark.parametrize("query", ["", "target=", "target=a&target=b", "agent=cq"])
def test_a_search_without_a_record_is_refused(live: Live, query: str) -> None:
    response = live.client("auditor").get(f"/fhir/Provenance?{query}")
    assert (response.status_code, response.json()["resourceType"]) == (400, "OperationOutcome")


def test_a_record_that_nobody_marked_has_none(live: Live) -> None:
    bundle = live.client("auditor").get("/fhir/Provenance", params={"target": "Observation/none"}).json()
    assert bundle["total"] == 0
    assert "entry" not in bundle


def test_an_sm2_key_signs_it_as_sm2sm3(tmp_path: Path) -> None:
    with (
        source_of(tmp_path) as (url, _),
        gateway_with(tmp_path, [NODE | {"url": url}], mark_algorithm="SM2") as live,
    ):
        resource = provenance_of(live, marked(live))
        check(resource, trust_of(live))
        token = base64.b64decode(msgspec.json.decode(resource)["signature"][0]["data"]).decode()
        header = token.partition(".")[0]
        assert msgspec.json.decode(base64.b64decode(header + "==="))["alg"] == "SM2SM3"


Change = Callable[[dict[str, Any]], object]
CHANGES: dict[str, tuple[str, Change]] = {
    "value": ("signature", lambda r: r["contained"][0]["valueQuantity"].update(value=41)),
    "status": ("signature", lambda r: r["contained"][0].update(status="amended")),
    "signature": ("signature", lambda r: r["signature"][0].update(data=base64.b64encode(b"e..x").decode())),
    "another format": ("format", lambda r: r["signature"][0].update(sigFormat="application/signature+xml")),
    "no signature": ("format", lambda r: r.update(signature=[])),
    "no mark": ("format", lambda r: r["contained"][0].update(extension=[])),
    "mark cut": ("format", lambda r: r["contained"][0]["extension"][0].update(valueString="XR1:AB")),
    "signed before the key": ("key", lambda r: r["signature"][0].update(when="2020-01-01T00:00:00+00:00")),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_changed_provenance_is_refused_at_its_step(live: Live, case: str) -> None:
    step, change = CHANGES[case]
    held = msgspec.json.decode(provenance_of(live, marked(live)))
    change(held)
    with pytest.raises(MarkRefused) as refusal:
        check(msgspec.json.encode(held), trust_of(live))
    assert refusal.value.step == step


def test_the_command_verifies_it_with_files_alone(
    live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "provenance.json": provenance_of(live, marked(live)),
        "keys.json": live.client("").get("/trust/keys").content,
        "roots.json": msgspec.json.encode(roots_of(open_keys(live.settings), "cq")),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    place, keys, roots = (str(tmp_path / name) for name in files)
    app(["mark", "provenance", place, "--keys", keys, "--roots", roots, "--json"], standalone_mode=False)
    assert msgspec.json.decode(capsys.readouterr().out)["valid"] is True


VALUES = {
    "72.50": {"valueQuantity": {"value": 72.5, "unit": "g/L"}},
    "<0.1": {"valueQuantity": {"value": 0.1, "comparator": "<", "unit": "g/L"}},
    "阴性": {"valueString": "阴性 g/L"},
    "1:160": {"valueString": "1:160 g/L"},
    "0.1234567890123456789": {"valueString": "0.1234567890123456789 g/L"},
    "007": {"valueString": "007 g/L"},
}


@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_a_quantity_only_where_it_is_one(value: str) -> None:
    resource = result_of(facts(lab(value=value, unit="g/L")), MARK)
    held = msgspec.json.decode(resource)
    assert {name: held[name] for name in held if name.startswith("value")} == VALUES[value]
    if value == "72.50":
        assert b'"value":72.50' in resource


@pytest.mark.parametrize("result", [lab(), ct(), lab(performed=None, reported=None, specimen="", unit="")])
def test_every_result_gives_a_resource_that_can_be_signed(result: Result) -> None:
    assert jws.canonical(result_of(facts(result), MARK)).startswith(b'{"category"')


def test_a_mark_still_reads_from_its_provenance(live: Live) -> None:
    verdict = marked(live)
    assert verdict.mark is not None
    held = msgspec.json.decode(provenance_of(live, verdict))
    (result,) = held["contained"]
    assert read_mark(result["extension"][0]["valueString"]).text == verdict.mark.signed


def test_the_mark_of_another_result_cannot_be_laid_into_it(live: Live) -> None:
    held, other = (
        msgspec.json.decode(provenance_of(live, marked(live, person, name)))
        for person, name in (("ding", "白蛋白"), ("jia", "白细胞计数"))
    )
    held["contained"][0]["extension"] = other["contained"][0]["extension"]
    held["extension"] = other["contained"][0]["extension"]
    with pytest.raises(MarkRefused) as refusal:
        check(msgspec.json.encode(held), trust_of(live))
    assert refusal.value.step == "signature"


def test_the_link_of_a_search_is_an_address(live: Live) -> None:
    bundle = live.client("auditor").get("/fhir/Provenance", params={"target": "A/1 &b=2"}).json()
    assert bundle["link"][0]["url"].endswith("?target=A%2F1+%26b%3D2")
