"""DICOM files and hostile words that nobody of this project made, at the DICOMweb face and a real archive."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import httpx
import pytest
from pydicom import dcmread

from gateway.demo import peers
from gateway.demo.people import check_digit
from gateway.demo.processes import Peer, free_port
from gateway.source import create_source
from tests.gateway.imaging.keeping_archive import multipart
from tests.gateway.live import OWN, Live, gateway_with
from tests.peers import started
from tests.serving import serve

pytestmark = pytest.mark.slow

SHARED = Path(__file__).resolve().parents[3] / "shared/conformance"
INDEX = json.loads((SHARED / "dicom/index.json").read_bytes()) if SHARED.is_dir() else []
FILES = {entry["file"]: entry for entry in INDEX}
_NAMED = "PatientName must read as "
NAMES = {
    name: (str(dcmread(SHARED / "dicom" / name).PatientID), entry["why"].removeprefix(_NAMED).split("="))
    for name, entry in FILES.items()
    if entry["why"].startswith(_NAMED)
}
"""The Patient ID of a file, and what must stand in its Patient's Name."""
FIRST = next(iter(NAMES), "")
WELL_S = 5.0


class Network(NamedTuple):
    """A hospital's gateway and its archive."""

    live: Live
    archive: Peer

    def store(self, *files: bytes, path: str = "studies", **headers: str) -> httpx.Response:
        """The answer to what the hospital stores; it comes in time."""
        body, said = multipart(*files)
        began = time.monotonic()
        answer = self.live.client("publisher").post(f"/dicomweb/{path}", content=body, headers=said | headers)
        assert time.monotonic() - began < WELL_S
        assert answer.status_code < 500, answer.text
        return answer

    def viewing(self, place: int) -> dict[str, str]:
        """The header that shows the images of the person of :data:`NAMES` at this place."""
        person = {"type": "resident-id", "value": number_of(place)}
        opened = self.live.client().post("/api/v1/viewings", json={"patient": person})
        assert opened.is_success, opened.text
        return {"Authorization": f"Bearer {opened.json()['token']}"}

    def instances(self) -> int:
        """How many the archive has."""
        answer = httpx.get(f"{self.archive.url}/instances?limit=1000", trust_env=False)
        return len(answer.json())


def number_of(place: int) -> str:
    """A synthetic resident number."""
    first = f"99000019800101{place:03d}"
    return first + check_digit(first)


def patients() -> bytes:
    """The hospital's Patients with the numbers that the files have."""
    resources: list[dict[str, Any]] = [
        {
            "resourceType": "Patient",
            "id": f"p{place}",
            "identifier": [
                {"system": "urn:oid:2.16.156.10011.1.3", "value": number_of(place)},
                {"system": f"urn:lianren:mrn:{OWN}", "value": number},
            ],
        }
        for place, (number, _) in enumerate(NAMES.values())
    ]
    entries = [
        {"resource": one, "request": {"method": "PUT", "url": f"Patient/{one['id']}"}} for one in resources
    ]
    return json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}).encode()


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A gateway over a source and an Orthanc that stores."""
    if not INDEX:
        pytest.skip(f"the test material is not on this machine: {SHARED.name} beside the checkout")
    folder = tmp_path_factory.mktemp("material")
    with (
        started(lambda: peers.orthanc(folder, name="cq-pacs")) as archive,
        serve(create_source(folder / "his.sqlite3", institution=OWN)) as his,
    ):
        headers = {"Content-Type": "application/fhir+json"}
        assert httpx.post(his, content=patients(), headers=headers, trust_env=False).is_success
        common = {"institution": OWN, "timeout_ms": 7000}
        nodes = [
            {"id": "cq-his", "kind": "fhir", "url": his, **common},
            {"id": "cq-pacs", "kind": "dicomweb", "url": archive.url, "identity": "cq-his", "stores": True}
            | common,
        ]
        with gateway_with(folder, nodes, base_url=f"http://127.0.0.1:{free_port()}") as live:
            yield Network(live, archive)


@pytest.fixture(autouse=True)
def well_afterwards(network: Network) -> Iterator[None]:
    """After whatever was sent, the gateway is well, and nothing failed inside."""
    yield
    assert network.live.client("").get("/health/ready").status_code == 200
    assert network.live.events("internal_error") == []


def content(name: str) -> bytes:
    return (SHARED / "dicom" / name).read_bytes()


@pytest.mark.parametrize(
    "name", [name for name, entry in FILES.items() if entry["expect"] in ("accept", "accept-escaped")]
)
def test_a_right_file_is_stored_and_found(network: Network, name: str) -> None:
    answer = network.store(content(name))
    assert answer.status_code == 200, answer.text
    assert answer.json()["00081199"]["Value"][0]["00081155"]["Value"]


@pytest.mark.parametrize("name", [name for name, entry in FILES.items() if entry["expect"] == "refuse-stow"])
def test_a_wrong_file_is_refused_and_not_stored(network: Network, name: str) -> None:
    before = network.instances()
    assert network.store(content(name)).status_code == 409
    assert network.instances() == before


@pytest.mark.parametrize(
    "name",
    [name for name, entry in FILES.items() if entry["expect"] in ("accept-or-refuse", "no-crash")],
)
def test_a_doubtful_file_is_stored_or_refused(network: Network, name: str) -> None:
    assert network.store(content(name)).status_code in (200, 409)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_comes_back_in_its_own_characters(network: Network, name: str) -> None:
    network.store(content(name))
    number, written = NAMES[name]
    headers = network.viewing([*NAMES].index(name))
    found = network.live.client("").get("/dicomweb/studies", headers=headers)
    assert found.status_code == 200
    told = json.dumps([one["00100010"] for one in found.json()], ensure_ascii=False)
    assert all(part in told for part in written)
    assert "\ufffd" not in told
    assert number not in network.live.log.getvalue()


def test_the_study_that_was_stored_is_the_persons_in_the_ledger(network: Network) -> None:
    network.store(content(FIRST))
    found = network.live.client("auditor").get("/fhir/AuditEvent?action=C&_count=100")
    assert found.status_code == 200, found.text
    stored = [entry["resource"] for entry in found.json()["entry"] if entry["resource"]["action"] == "C"]
    assert any("Patient" in json.dumps(one["entity"]) for one in stored)


def test_a_study_of_an_archive_is_found_and_read_in_fhir(network: Network) -> None:
    uid = network.store(content(FIRST)).json()["00081190"]["Value"][0].rpartition("/")[2]
    client, form = network.live.client(), {"patient.identifier": f"urn:oid:2.16.156.10011.1.3|{number_of(0)}"}
    found = client.post("/fhir/ImagingStudy/_search", data=form).json()["entry"]
    (study,) = [entry["resource"] for entry in found if entry["search"]["mode"] == "match"]
    at = client.get(f"/fhir/nodes/cq-pacs/ImagingStudy/{uid}")
    assert at.status_code == 200, at.text
    assert (
        at.json()["identifier"]
        == study["identifier"]
        == [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}]
    )


def test_a_study_in_a_list_leads_to_its_resource(network: Network) -> None:
    network.store(content(FIRST))
    (listed,) = network.live.client("").get("/dicomweb/studies", headers=network.viewing(0)).json()
    address = listed["0077100D"]["Value"][0]
    assert network.live.client().get(address).json()["resourceType"] == "ImagingStudy"


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_off_anywhere_is_never_stored(network: Network, name: str) -> None:
    data, before = content(name), network.instances()
    cuts = [data[: len(data) * tenth // 10] for tenth in range(1, 10)]
    answer = network.store(*filter(None, cuts))
    assert answer.status_code in (202, 409)
    kept = answer.json().get("00081199", {}).get("Value", [])
    assert network.instances() <= before + len(kept)
    assert len(kept) <= 1  # an element that ends where the file was cut


def test_a_wrong_boundary_and_an_empty_body_store_nothing(network: Network) -> None:
    before, client = network.instances(), network.live.client("publisher")
    body, said = multipart(content(FIRST))
    wrong = said["Content-Type"].replace("between", "elsewhere")
    for sent, stated in ((body, wrong), (b"", said["Content-Type"]), (body[:-20], said["Content-Type"])):
        answer = client.post("/dicomweb/studies", content=sent, headers={"Content-Type": stated})
        assert answer.status_code == 400
    assert network.instances() == before


def routes(word: str) -> list[str]:
    """Every address of the face with a word at every place of it."""
    study = f"studies/{word}"
    instance = f"{study}/series/{word}/instances/{word}"
    places = [study, f"{study}/series", f"{study}/metadata", instance, f"{instance}/frames/{word}"]
    places += [f"{instance}/rendered", f"{instance}/bulkdata/{word}", f"nodes/{word}/studies"]
    queries = [f"studies?PatientName={word}", f"studies?{word}=1", f"series?limit={word}"]
    queries += [f"instances?includefield={word}", f"wado?requestType=WADO&studyUID={word}"]
    return [f"/dicomweb/{one}" for one in (*places, *queries)]


def naughty() -> list[str]:
    """Every seventh naughty string, and what is nearly a UID."""
    words = json.loads((SHARED / "badinput/shared/naughty-strings.json").read_bytes())
    return [*words[::7], "..", "1.2/..", "1.2\\..", "1..2", "-1", "*", "%", "1" * 5000, "\ud7ff", "\x00"]


def test_no_word_in_any_address_fails_the_gateway(network: Network) -> None:
    client, wrong, headers = network.live.client(""), [], network.viewing(0)
    words = naughty()
    for number, word in enumerate(words):
        text = quote(word, safe="")
        addresses = routes(text)
        for address in addresses[number % 3 :: 3]:
            began = time.monotonic()
            answer = client.get(address, headers=headers)
            if answer.status_code >= 500 or time.monotonic() - began > WELL_S:
                wrong.append((address[:80], answer.status_code, answer.text[:200]))
    assert wrong == []


@pytest.mark.parametrize("header", ["Accept", "Range", "Content-Type", "Authorization"])
def test_no_word_in_a_header_fails_the_gateway(network: Network, header: str) -> None:
    client, viewing = network.live.client("publisher"), network.viewing(0)
    for word in naughty():
        text = word.encode("utf-8", "ignore").replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")
        body, said = multipart(b"no file")
        spoilt = {header: (text[:4000].strip() or b"x").decode("latin-1")}
        told = httpx.Headers({**said, **spoilt}, encoding="latin-1")
        assert client.post("/dicomweb/studies", content=body, headers=told).status_code < 500
        for path in ("studies", "studies/1.2/metadata", "studies/1.2/series/1.2/instances/1.2/rendered"):
            told = httpx.Headers({**viewing, **spoilt}, encoding="latin-1")
            answer = client.get(f"/dicomweb/{path}", headers=told)
            assert answer.status_code < 500, (header, text, answer.text)


def test_no_json_where_images_belong_fails_the_gateway(network: Network) -> None:
    lines = gzip.decompress((SHARED / "badinput/shared/json-parsing.jsonl.gz").read_bytes()).splitlines()
    client, before = network.live.client("publisher"), network.instances()
    for line in lines[::10]:
        for media in ("application/dicom+json", 'multipart/related; type="application/dicom"; boundary=a'):
            answer = client.post("/dicomweb/studies", content=line, headers={"Content-Type": media})
            assert answer.status_code in (400, 415)
    assert network.instances() == before


def test_crlf_in_an_address_makes_no_header(network: Network) -> None:
    address = urlsplit(network.live.url)
    for line in (SHARED / "badinput/shared/crlf-payloads.txt").read_text().splitlines():
        for path in (
            f"/dicomweb{line}",
            f"/dicomweb/studies/{line}",
            f"/dicomweb/studies?PatientName={line}",
        ):
            with socket.create_connection((address.hostname, address.port), 5) as raw:
                raw.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
                head, _, _ = raw.makefile("rb").read().partition(b"\r\n\r\n")
            assert b"\nset-cookie" not in head.lower()
            assert head.split(b" ")[1].startswith(b"4")
