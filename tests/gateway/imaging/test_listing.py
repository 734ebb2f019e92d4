"""Searches over the archives of a viewing, and what is on record of them."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree

import httpx
import pytest
from msgspec.structs import replace
from pydicom.uid import UID
from starlette.types import Receive, Scope, Send

from adapters import Report
from gateway.demo.people import BY_KEY
from gateway.demo.studies import study as images
from gateway.faces.dicomweb_search import answer
from gateway.imaging.listing import Page
from gateway.imaging.query import query_of
from tests.gateway.imaging.test_peer_studies import entries
from tests.gateway.live import NODE, OWN, Live, gateway_with, source_of
from tests.serving import serve

PERSON = BY_KEY["ding"]
MRN = PERSON.mrns[OWN]
A, B, BOTH, STRANGE = "2.25.11", "2.25.12", "2.25.13", "2.25.666"


@dataclass
class Archive:
    """An archive: its studies with their series and instances, what it was asked, and how it answers."""

    studies: dict[str, dict[str, Any]]
    weak: bool = False
    number: bytes = b"0"
    file: bytes = b""
    status: int = 200
    series_of: int = 1
    images_of: str = ""
    slow: str = "none"
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["path"].endswith(self.slow):
            await asyncio.sleep(1.2)
        params = dict(parse_qsl(scope["query_string"].decode()))
        self.asked.append((scope["path"], params))
        path = scope["path"].strip("/").split("/")
        body = json.dumps(self.found(path, params)).encode().replace(b'"NUMBER"', self.number)
        headers = [(b"content-type", b"application/dicom+json")]
        if len(path) == 6:
            body = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + self.file + b"\r\n--x--\r\n"
            headers = [(b"content-type", b'multipart/related; type="application/dicom"; boundary=x')]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def found(self, path: list[str], params: dict[str, str]) -> list[dict[str, Any]]:
        if path == ["studies"]:
            wanted = params.get("StudyInstanceUID")
            return [one for uid, one in self.studies.items() if wanted in (None, uid)]
        of = path[1:2] if len(path) > 1 else [] if self.weak else list(self.studies)
        return [
            self.series(uid, number) if path[-1] == "series" else self.instance(uid)
            for uid in of
            if uid in self.studies
            for number in range(1, self.series_of + 1 if path[-1] == "series" else 2)
        ]

    def series(self, study: str, number: int) -> dict[str, Any]:
        return dataset(
            study, self.images_of, **{"0020000E": f"{study}.{number}", "00080060": "CT", "00201209": 2}
        )

    def instance(self, study: str) -> dict[str, Any]:
        return dataset(study, self.images_of, **{"0020000E": f"{study}.1", "00080018": f"{study}.1.1"})


def dataset(uid: str, number: str, /, **elements: Any) -> dict[str, Any]:
    values = {"0020000D": uid, **elements} | ({"00100020": number} if number else {})
    return {tag: {"vr": "PN" if tag == "00100010" else "LO", "Value": [one]} for tag, one in values.items()}


def study(uid: str, day: str, number: str = MRN, /, **elements: Any) -> dict[str, Any]:
    named = {"00080020": day, "00201208": 2, "00080061": "CT", "00100010": {"Alphabetic": "Shili^Ding"}}
    return dataset(uid, number, **(named | elements))


@dataclass
class Net:
    """A gateway over two archives of one hospital, and the client with the token of a viewing."""

    live: Live
    first: Archive
    second: Archive
    client: httpx.Client
    patient_id: str

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.client.get(f"/dicomweb/{path}", headers=headers)

    def uids(self, path: str, tag: str = "0020000D") -> list[str]:
        got = self.get(path)
        assert got.status_code in (200, 204), got.text
        return [one[tag]["Value"][0] for one in got.json()] if got.content else []


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    folder = tmp_path_factory.mktemp("listing")
    first, second = Archive({}), Archive({})
    with source_of(folder) as (url, _), serve(first) as one, serve(second) as other:
        nodes = [{"id": NODE, "kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 7000}]
        for name, address in (("first", one), ("second", other)):
            node = {"id": name, "kind": "dicomweb", "url": address, "identity": NODE, "institution": OWN}
            nodes.append({**node, "timeout_ms": 7000})
        with gateway_with(folder, nodes) as live, opened(live) as (client, patient_id):
            yield Net(live, first, second, client, patient_id)


@contextmanager
def opened(live: Live) -> Iterator[tuple[httpx.Client, str]]:
    body = {"patient": {"type": "resident-id", "value": PERSON.number}}
    answer = live.client("his").post("/api/v1/viewings", json=body)
    assert answer.is_success, answer.text
    told = answer.json()
    headers = {"Authorization": f"Bearer {told['token']}"}
    with httpx.Client(base_url=live.url, headers=headers, timeout=30, trust_env=False) as client:
        yield client, told["patient_id"]


@pytest.fixture
def net(running: Net) -> Net:
    for archive, uids in ((running.first, (A, BOTH)), (running.second, (B, BOTH))):
        archive.studies = {uid: study(uid, f"202601{uid[-2:]}") for uid in uids}
        archive.weak, archive.status, archive.number, archive.series_of = False, 200, b"0", 1
        archive.images_of, archive.slow = "", "none"
        archive.asked.clear()
    return running


def test_a_list_has_the_studies_of_all_archives_once_the_newest_first(net: Net) -> None:
    assert net.uids("studies") == [BOTH, B, A]


def test_a_list_says_how_every_archive_was(net: Net) -> None:
    told = [one.split(";")[:2] for one in net.get("studies").headers["lianren-nodes"].split(", ")]
    assert told == [["first", "state=answered"], ["second", "state=answered"]]


def test_without_a_viewing_nothing_is_listed(net: Net) -> None:
    assert httpx.get(f"{net.live.url}/dicomweb/studies", trust_env=False).status_code == 401
    assert net.live.client("his").get("/dicomweb/studies").status_code == 401


def test_an_archive_is_asked_by_the_number_that_the_person_has_there(net: Net) -> None:
    net.get("studies")
    assert [params["PatientID"] for path, params in net.first.asked if path == "/studies"] == [MRN]


def test_an_archive_that_shows_somebody_else_is_faulty_as_a_whole(net: Net) -> None:
    net.first.studies[STRANGE] = study(STRANGE, "20260101", "ANOTHER")
    got = net.get("studies")
    assert [one["0020000D"]["Value"][0] for one in got.json()] == [BOTH, B]
    assert "first;state=faulty" in got.headers["lianren-nodes"]
    assert "first was not heard (faulty)" in got.headers["warning"]


def test_one_archive_is_asked_alone_by_its_name(net: Net) -> None:
    assert net.uids("nodes/second/studies") == [BOTH, B]
    assert not [path for path, _ in net.first.asked]
    address = net.get("nodes/second/studies").json()[0]["00081190"]["Value"][0]
    assert address.endswith(f"/dicomweb/nodes/second/studies/{BOTH}")


@pytest.mark.parametrize(
    "path", ["nodes/none/studies", f"nodes/{NODE}/studies", f"nodes/none/studies/{A}/series"]
)
def test_there_is_no_archive_of_another_name(net: Net, path: str) -> None:
    assert net.get(f"nodes/{path}").status_code == 404


def test_nothing_found_is_no_content(net: Net) -> None:
    got = net.get("studies?StudyDate=19990101")
    assert (got.status_code, got.content) == (204, b"")


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("StudyDate=20260112", [B]),
        ("StudyDate=20260112-", [BOTH, B]),
        (f"StudyInstanceUID={A},{B}", [B, A]),
        ("PatientName=shili*", [BOTH, B, A]),
        ("PatientName=wang*", []),
        (f"PatientID={MRN}", [BOTH, B, A]),
        ("PatientID=ANOTHER", []),
        ("00771001=NOT_JUDGED", [BOTH, B, A]),
        ("00771001=RECOGNISED", []),
    ],
)
def test_conditions_are_applied_here(net: Net, condition: str, found: list[str]) -> None:
    assert net.uids(f"studies?{condition}") == found


def test_the_viewings_own_patient_id_finds_the_person(net: Net) -> None:
    assert net.uids(f"studies?PatientID={net.patient_id}") == [BOTH, B, A]


def test_a_list_is_told_in_parts_that_fit_together(net: Net) -> None:
    first = net.get("studies?limit=2")
    assert [one["0020000D"]["Value"][0] for one in first.json()] == [BOTH, B]
    assert "There are 1 additional results that can be requested" in first.headers["warning"]
    net.first.studies["2.25.14"] = study("2.25.14", "20260201")
    rest = net.get("studies?limit=2&offset=2")
    assert [one["0020000D"]["Value"][0] for one in rest.json()] == [A]
    assert "warning" not in rest.headers
    assert net.uids("studies?limit=1") == ["2.25.14"]


def test_parts_below_a_study_fit_together_while_archives_change(net: Net) -> None:
    net.first.series_of = 3
    path = f"studies/{A}/series?limit=2"
    assert net.uids(path, "0020000E") == [f"{A}.1", f"{A}.2"]
    net.first.series_of = 1
    assert net.uids(f"{path}&offset=2", "0020000E") == [f"{A}.3"]


def test_headers_have_room_for_so_many_nodes() -> None:
    node = Report(node="pacs", kind="dicomweb", state="late", took_ms=9, fault="node")
    reports = tuple(replace(node, node=f"pacs-{index}") for index in range(5000))
    told = answer(Page(b"[]", 0, 0, reports), query_of("studies", []), "http://gateway.example", xml=False)
    assert sum(len(value) for _, value in told.raw_headers) < 4096
    assert b";more=" in dict(told.raw_headers)[b"lianren-nodes"]
    assert "4992 more nodes were not heard" in told.headers.getlist("warning")[-1]


def test_a_part_of_a_kept_list_is_on_record(net: Net) -> None:
    net.get("studies?limit=2")
    found = net.get("studies?limit=2&offset=2").content
    (question, _), (told, payload) = entries(net.live)[-2:]
    assert (question.type, told.type, payload["first"], payload["resources"]) == ("question", "answer", 2, 1)
    assert payload["bytes"] == hashlib.sha256(found).hexdigest()


def test_states_of_nodes_stand_in_the_body_on_request(net: Net) -> None:
    told = net.get("studies?nodestates=true").json()
    assert (told["complete"], [one["node"] for one in told["nodes"]]) == (True, ["first", "second"])
    assert len(told["studies"]) == 3


def test_an_archive_that_is_away_leaves_the_others(net: Net) -> None:
    net.second.status = 503
    got = net.get("studies?nodestates=true")
    assert (got.json()["complete"], len(got.json()["studies"])) == (False, 2)
    assert "Node second was not heard (faulty)" in got.headers["warning"]


def test_series_and_instances_of_a_study_are_listed_below_it(net: Net) -> None:
    (series,) = net.get(f"studies/{BOTH}/series").json()
    assert series["00081190"]["Value"][0].endswith(f"/dicomweb/studies/{BOTH}/series/{BOTH}.1")
    assert net.uids(f"studies/{A}/instances", "00080018") == [f"{A}.1.1"]
    assert net.uids(f"studies/{A}/series/{A}.1/instances", "00080018") == [f"{A}.1.1"]


@pytest.mark.parametrize("weak", [False, True])
def test_series_and_instances_of_all_studies_are_listed(net: Net, weak: bool) -> None:
    net.first.weak = weak
    assert sorted(net.uids("series")) == [A, B, BOTH]
    assert sorted(net.uids("instances", "00080018")) == [f"{uid}.1.1" for uid in (A, B, BOTH)]


@pytest.mark.parametrize("level", ["series", "instances"])
def test_series_and_instances_are_found_by_what_their_study_says(net: Net, level: str) -> None:
    assert net.uids(f"nodes/first/{level}?ModalitiesInStudy=CT&StudyDate=20260111") == [A]
    assert net.uids(f"{level}?ModalitiesInStudy=MR") == []


def test_modalities_that_an_archive_does_not_tell_of_a_study_are_those_of_its_series(net: Net) -> None:
    for one in net.first.studies.values():
        del one["00080061"]
    assert net.uids("nodes/first/studies?ModalitiesInStudy=CT") == [BOTH, A]
    assert sorted(net.uids("nodes/first/series?ModalitiesInStudy=CT")) == [A, BOTH]


@pytest.mark.parametrize(
    "accept", ["application/dicom+json", 'multipart/related; type="application/dicom+xml"']
)
@pytest.mark.parametrize("number", [b"1e999", b"1" * 5000])
def test_no_number_is_too_large_for_a_list(net: Net, number: bytes, accept: str) -> None:
    net.first.studies[A]["00101020"] = {"vr": "DS", "Value": ["NUMBER"]}
    net.first.number = number
    assert net.get("studies?StudyDate=20260111&PatientSize=", Accept=accept).status_code == 200
    assert net.get("studies?PatientSize=1", Accept=accept).status_code == 204


@pytest.mark.parametrize("path", [f"studies/{STRANGE}/series", f"studies/{STRANGE}/instances"])
def test_another_persons_study_is_not_there_whatever_its_uid(net: Net, path: str) -> None:
    net.first.studies = {STRANGE: study(STRANGE, "20260101", "ANOTHER")}
    assert net.get(path).status_code in (404, 502)
    assert not [asked for asked, _ in net.first.asked if STRANGE in asked]


@pytest.mark.parametrize("path", [f"studies/{A}/series", f"studies/{A}/instances", "nodes/first/series"])
def test_images_of_another_patient_id_are_not_listed(net: Net, path: str) -> None:
    net.first.images_of = "ANOTHER"
    got = net.get(path)
    assert got.status_code in (204, 502)
    assert "faulty" in got.text or "first;state=faulty" in got.headers["lianren-nodes"]


def test_studies_are_found_by_modalities_that_their_archive_does_not_tell(net: Net) -> None:
    uids = [f"2.25.{number}" for number in range(100, 140)]
    net.first.studies = {uid: study(uid, "20260101") for uid in uids}
    for one in net.first.studies.values():
        del one["00080061"], one["00201208"]
    assert sorted(net.uids("nodes/first/studies?ModalitiesInStudy=CT")) == uids
    assert net.uids("nodes/first/studies?ModalitiesInStudy=MR") == []


def test_a_list_does_not_wait_for_counts_that_do_not_come(net: Net) -> None:
    del net.first.studies[A]["00201208"]
    net.first.slow = "/series"
    assert net.uids("nodes/first/studies") == [BOTH, A]


def test_a_study_that_cannot_be_looked_for_is_not_said_to_be_missing(net: Net) -> None:
    net.second.status = 503
    got = net.get("studies/2.25.77/series")
    assert (got.status_code, got.json()["code"]) == (502, "node-unheard")


def test_a_search_is_on_record_before_it_is_answered(net: Net) -> None:
    found = net.get("studies?PatientName=shili*&StudyDate=20260101-").content
    kept = entries(net.live)[-5:]
    assert [entry.type for entry, _ in kept] == ["question", *["answer"] * 4]
    told = [payload for _, payload in kept]
    assert (told[0]["type"], told[0]["receiver"]) == ("dicomweb/studies", OWN)
    assert [one["resources"] for one in told[2:]] == [2, 2, 3]
    assert told[4]["bytes"] == hashlib.sha256(found).hexdigest()
    assert "shili" not in json.dumps(told)


def test_a_look_into_a_study_is_on_record_once(net: Net) -> None:
    with opened(net.live) as (client, _):
        for path in ("series", "instances", "series"):
            assert client.get(f"/dicomweb/studies/{A}/{path}").status_code == 200
    kept = entries(net.live)[-3:]
    assert [payload.get("study") for entry, payload in kept if entry.type == "view"] == [A]


def test_lost_and_mistaken_texts_come_as_they_were_meant(net: Net) -> None:
    mistaken = "胸部CT平扫".encode("gb18030").decode("latin-1")
    name = {"Alphabetic": "示例^丁".encode("gb18030").decode("latin-1")}
    net.first.studies = {A: study(A, "20260111", **{"00081030": mistaken, "00100010": name})}
    (told,) = net.get("nodes/first/studies?PatientName=示例*").json()
    assert told["00081030"]["Value"] == ["胸部CT平扫"]
    assert told["00100010"]["Value"][0]["Alphabetic"] == "示例^丁"


def image(uid: str) -> bytes:
    """An image of a study, with the name in GB18030."""
    (one,) = images(
        PERSON,
        OWN,
        description="CT",
        modality="CT",
        body_part="CHEST",
        performed=datetime.now(UTC),
        instances=1,
        charset="gb18030",
        uid=UID(uid),
    )
    file = BytesIO()
    one.save_as(file, enforce_file_format=True)
    return file.getvalue()


def test_a_name_that_an_archive_lost_is_read_from_an_image(net: Net) -> None:
    net.first.file = image(A)
    net.first.studies = {A: study(A, "20260111", **{"00100010": {"Alphabetic": "??^???"}})}
    (told,) = net.get("nodes/first/studies").json()
    assert told["00100010"]["Value"] == [{"Alphabetic": "Shili^Huanzhe Ding", "Ideographic": "示例^患者丁"}]


@pytest.mark.parametrize("name", [{"Value": [{"Alphabetic": "^"}], "vr": "PN"}, {"vr": "PN"}])
def test_a_name_of_which_an_archive_left_nothing_is_read_from_an_image(
    net: Net, name: dict[str, Any]
) -> None:
    net.first.file = image(A)
    net.first.studies = {A: study(A, "20260111") | {"00100010": name}}
    (told,) = net.get("nodes/first/studies").json()
    assert told["00100010"]["Value"] == [{"Alphabetic": "Shili^Huanzhe Ding", "Ideographic": "示例^患者丁"}]


def test_images_are_not_read_for_names_that_are_there(net: Net) -> None:
    name = {"Value": [{"Alphabetic": "Shili^Ding", "Ideographic": "示例^丁"}], "vr": "PN"}
    net.first.studies = {A: study(A, "20260111") | {"00100010": name}}
    net.get("nodes/first/studies")
    assert [path for path, _ in net.first.asked] == ["/studies"]


def test_a_name_that_nobody_can_read_stays_as_it_came(net: Net) -> None:
    net.first.file = b"no DICOM file"
    net.first.studies = {A: study(A, "20260111", **{"00100010": {"Alphabetic": "??^???"}})}
    (told,) = net.get("nodes/first/studies").json()
    assert told["00100010"]["Value"] == [{"Alphabetic": "??^???"}]


def test_a_list_is_told_as_xml_on_request(net: Net) -> None:
    got = net.get("studies", Accept='multipart/related; type="application/dicom+xml"')
    boundary = got.headers["content-type"].rpartition("boundary=")[2].encode()
    parts = got.content.split(b"--" + boundary)[1:-1]
    models = [ElementTree.fromstring(part.partition(b"\r\n\r\n")[2]) for part in parts]  # noqa: S314 - ours
    assert [model.tag.rpartition("}")[2] for model in models] == ["NativeDicomModel"] * 3


@pytest.mark.parametrize(
    "accept", ["application/dicom+json, application/json", "*/*", "application/json;q=0.5"]
)
def test_json_is_given_to_who_takes_it(net: Net, accept: str) -> None:
    assert net.get("studies", Accept=accept).headers["content-type"] == "application/dicom+json"


@pytest.mark.parametrize("accept", ["image/png", "text/html", "application/dicom+json;q=0"])
def test_no_other_form_is_given(net: Net, accept: str) -> None:
    got = net.get("studies", Accept=accept)
    assert (got.status_code, got.json()["field"]) == (406, "Accept")


@pytest.mark.parametrize(
    "path",
    [
        "studies?limit=-1",
        "studies?StudyDate=yesterday",
        "studies/1..2/series",
        "studies/x/series/y/instances",
        "nodes/A/studies",
    ],
)
def test_what_cannot_be_is_refused_with_its_field(net: Net, path: str) -> None:
    got = net.get(path)
    assert (got.status_code, bool(got.json()["field"])) == (400, True)


def test_an_object_that_cannot_be_read_is_counted_and_left_out(net: Net) -> None:
    net.first.studies["x"] = {
        "00100020": {"vr": "LO", "Value": [MRN]},
        "0020000D": {"vr": "UI", "Value": ["no uid"]},
    }
    got = net.get("nodes/first/studies?nodestates=true").json()
    assert len(got["studies"]) == 2
    assert got["nodes"][0]["detail"] == "1 studies could not be read: studies[2]"


def test_no_address_of_an_archive_is_told(net: Net) -> None:
    secret = "http://archive.internal/bulk/1"
    bulk = {"vr": "OB", "BulkDataURI": secret}
    net.first.studies[A] |= {"00420011": bulk, "00400275": {"vr": "SQ", "Value": [{"00420011": bulk}]}}
    net.first.studies[A] |= {tag: {"vr": "UR", "Value": [secret]} for tag in ("00081190", "0040E010")}
    nested = {"00081190": {"vr": "UR", "Value": [secret]}}
    net.first.studies[A]["00081199"] = {"vr": "SQ", "Value": [nested]}
    assert "archive.internal" not in net.get("studies?includefield=all").text


ODD: list[Any] = [
    5,
    None,
    "text",
    [1],
    {"vr": 7, "Value": "x"},
    {"vr": "SQ", "Value": [5, None]},
    {"Value": [{}]},
]


@pytest.mark.parametrize("path", ["studies", "studies?PatientName=a*&fuzzymatching=true&StudyDescription=x"])
@pytest.mark.parametrize("accept", ["*/*", 'multipart/related; type="application/dicom+xml"'])
@pytest.mark.parametrize("odd", ODD)
def test_no_element_is_too_odd_for_a_list(net: Net, path: str, accept: str, odd: Any) -> None:
    tags = ("00100010", "00081030", "00081190", "00101002", "00770010", "00080005", "no tag", "00400275")
    net.first.studies = {A: study(A, "20260111") | dict.fromkeys(tags, odd)}
    net.first.studies[A]["0008103E"] = {"vr": "LO", "Value": ["\ufffd?? \xc3"]}
    assert net.get(path, Accept=accept).status_code in (200, 204)
