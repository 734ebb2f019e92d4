"""Images that a hospital stores in its archive through the gateway."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from defusedxml.ElementTree import fromstring
from pydicom import dcmread

from gateway.demo.people import BY_KEY
from tests.gateway.imaging.keeping_archive import Archive, multipart, values
from tests.gateway.imaging.test_checking import file
from tests.gateway.live import NODE, OWN, Live, gateway_with, persons_in
from tests.serving import serve

pytestmark = pytest.mark.slow

PERSON = BY_KEY["ding"]
FAILED, STORED, OTHERS = "00081198", "00081199", "0008119A"
MOST = 100_000


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Live, Archive]]:
    """A hospital with one archive that stores and one that does not, and a hospital with two that do."""
    folder, archive = tmp_path_factory.mktemp("storing"), Archive()
    with serve(archive) as url, serve(Archive()) as other:
        archive_of = {"kind": "dicomweb", "url": url, "timeout_ms": 7000, "identity": NODE}
        nodes: list[dict[str, Any]] = [
            {"id": NODE, "kind": "fhir", "url": other, "institution": OWN, "timeout_ms": 7000},
            archive_of | {"id": "cq-pacs", "institution": OWN, "stores": True},
            archive_of | {"id": "cq-old", "institution": OWN, "url": other},
            archive_of | {"id": "sc-pacs", "institution": "EX-SC-01", "stores": True},
            archive_of | {"id": "sc-new", "institution": "EX-SC-01", "stores": True},
        ]
        limits: dict[str, Any] = {"store_bytes": 3 * MOST, "store_instance_bytes": MOST, "store_instances": 5}
        with gateway_with(folder, nodes, **limits) as live:
            yield live, archive


@pytest.fixture
def live(network: tuple[Live, Archive]) -> Live:
    return network[0]


@pytest.fixture
def archive(network: tuple[Live, Archive]) -> Iterator[Archive]:
    archive = network[1]
    yield archive
    archive.kept.clear()
    archive.refuses.clear()
    archive.says = None


def image(number: int = 1, study: str = "2.25.1", **more: Any) -> bytes:
    """An image of this number in its study."""
    uids = {"SOPInstanceUID": f"{study}.1.{number}", "SeriesInstanceUID": f"{study}.1"}
    said = {"StudyInstanceUID": study, "PatientID": PERSON.mrns[OWN], **uids, **more}
    return file(**said)


def store(
    live: Live, *files: bytes, path: str = "", client: str = "publisher", **headers: str
) -> httpx.Response:
    body, said = multipart(*files)
    return live.client(client).post(f"/dicomweb/{path or 'studies'}", content=body, headers=said | headers)


def test_instances_are_in_the_archive_as_they_were_sent(live: Live, archive: Archive) -> None:
    answer = store(live, image(1), image(2))
    assert answer.status_code == 200
    assert sorted(archive.kept) == values(answer.json(), STORED, "00081155") == ["2.25.1.1.1", "2.25.1.1.2"]


def test_a_slash_at_the_end_of_the_address_says_nothing(live: Live, archive: Archive) -> None:
    assert store(live, image(), path="studies/2.25.1/").status_code == 200
    assert [*archive.kept] == ["2.25.1.1.1"]


def test_the_answer_leads_to_the_instances_here(live: Live, archive: Archive) -> None:
    answer = store(live, image())
    here = f"{live.settings.base_url}/dicomweb/studies/2.25.1"
    assert values(answer.json(), STORED, "00081190") == [f"{here}/series/2.25.1.1/instances/2.25.1.1.1"]
    assert answer.json()["00081190"]["Value"] == [here]


def test_what_was_stored_is_on_record_without_a_uid_in_the_public_leaf(live: Live, archive: Archive) -> None:
    before, *_ = live.kept()
    store(live, image())
    after, *_ = live.kept()
    assert after == before + 1
    (line,) = live.events("images_stored")[-1:]
    assert (line["kept"], line["refused"], line["node"]) == (1, 0, "cq-pacs")


def test_some_that_may_not_be_stored_keep_none_of_the_others(live: Live, archive: Archive) -> None:
    answer = store(live, image(1), image(2, Rows=3), b"no file")
    assert answer.status_code == 202
    assert list(archive.kept) == ["2.25.1.1.1"]
    assert values(answer.json(), FAILED, "00081197") == [0xC000]
    assert values(answer.json(), OTHERS, "00081197") == [0xC000]


def test_why_an_instance_was_not_stored_is_said(live: Live, archive: Archive) -> None:
    answer = store(live, image(2, Rows=3))
    assert answer.status_code == 409
    assert values(answer.json(), FAILED, "00000902") == ["has fewer pixels than its header says"]


def test_nothing_is_on_record_where_nothing_was_stored(live: Live, archive: Archive) -> None:
    before = live.kept()
    assert store(live, b"no file").status_code == 409
    assert live.kept() == before


def test_a_study_of_two_patients_is_not_stored_at_all(live: Live, archive: Archive) -> None:
    answer = store(live, image(1), image(2, PatientID="B2"), image(1, "2.25.2"))
    assert answer.status_code == 202
    assert list(archive.kept) == ["2.25.2.1.1"]
    assert values(answer.json(), FAILED, "00081197") == [0xA900, 0xA900]


def test_a_study_that_is_anothers_in_the_archive_is_not_stored(live: Live, archive: Archive) -> None:
    store(live, image(1, PatientID="B2"))
    assert store(live, image(2)).status_code == 409
    assert list(archive.kept) == ["2.25.1.1.1"]


def test_a_study_that_the_archive_has_under_two_patients_is_not_stored(live: Live, archive: Archive) -> None:
    for number, patient in enumerate((PERSON.mrns[OWN], "B2")):
        one = dcmread(BytesIO(image(number, PatientID=patient)))
        archive.kept[str(one.SOPInstanceUID)] = one
    assert store(live, image(7)).status_code == 409


def test_an_instance_of_another_study_than_the_address_is_not_stored(live: Live, archive: Archive) -> None:
    assert store(live, image(), path="studies/2.25.2").status_code == 409
    assert store(live, image(), path="studies/2.25.1").status_code == 200


def test_an_instance_that_is_there_twice_is_stored_once(live: Live, archive: Archive) -> None:
    answer = store(live, image(), image(BurnedInAnnotation="NO"))
    assert answer.status_code == 202
    assert values(answer.json(), FAILED, "00081197") == [0xA900]


def test_the_archives_own_refusal_is_told_by_its_reason(live: Live, archive: Archive) -> None:
    archive.refuses["2.25.1.1.2"] = 0xA700
    answer = store(live, image(1), image(2))
    assert answer.status_code == 202
    assert values(answer.json(), FAILED, "00081197") == [0xA700]


def test_an_archive_that_refuses_all_for_one_is_sent_each_alone(live: Live, archive: Archive) -> None:
    archive.stumbles, archive.refuses["2.25.1.1.2"] = True, 0xA700
    answer = store(live, *map(image, (1, 2, 3)))
    assert answer.status_code == 202
    assert values(answer.json(), FAILED, "00081155") == ["2.25.1.1.2"]
    archive.stumbles = False


@pytest.mark.parametrize("says", [(200, b"{}"), (200, b""), (202, b'{"00081199":{"vr":"SQ"}}')])
def test_an_instance_that_the_archive_does_not_name_is_not_called_stored(
    live: Live, archive: Archive, says: tuple[int, bytes]
) -> None:
    archive.says = says
    answer = store(live, image())
    assert answer.status_code == 409
    assert values(answer.json(), FAILED, "00081197") == [0x0110]


@pytest.mark.parametrize("body", [b"<html>", b'{"HttpStatus":500,"Message":"Internal error"}', b"[]"])
@pytest.mark.parametrize("status", [401, 500, 503])
def test_an_archive_that_fails_is_named(live: Live, archive: Archive, status: int, body: bytes) -> None:
    archive.says = (status, body)
    answer = store(live, image())
    assert answer.status_code == 502
    assert (answer.json()["fault"], "cq-pacs" in answer.json()["detail"]) == ("node", True)


def test_of_several_archives_one_must_be_named(live: Live, archive: Archive) -> None:
    answer = store(live, image(), client="other-publisher")
    assert answer.status_code == 409
    assert "sc-new, sc-pacs" in answer.json()["detail"]
    assert store(live, image(), client="other-publisher", path="nodes/sc-new/studies").status_code == 200


@pytest.mark.parametrize("path", ["nodes/cq-old/studies", "nodes/sc-pacs/studies", "nodes/nowhere/studies"])
def test_an_archive_that_does_not_store_for_the_institution_takes_nothing(live: Live, path: str) -> None:
    assert store(live, image(), path=path).status_code == 403


@pytest.mark.parametrize("client", ["his", "steward", "auditor"])
def test_who_is_no_publisher_stores_nothing(live: Live, client: str) -> None:
    assert store(live, image(), client=client).status_code == 403


def test_without_a_token_nothing_is_stored(live: Live) -> None:
    assert store(live, image(), client="").status_code == 401


@pytest.mark.parametrize("uid", ["..", "2.25.1%2F..", "1.2.03", "x", "1" * 65])
def test_an_address_without_a_uid_stores_nothing(live: Live, archive: Archive, uid: str) -> None:
    assert store(live, image(), path=f"studies/{uid}").status_code in (400, 404, 405)
    assert archive.kept == {}


def test_what_is_too_large_is_refused_before_anything_is_stored(live: Live, archive: Archive) -> None:
    large = image(2, TextValue="A" * MOST)
    assert store(live, image(), large).status_code == 413
    assert store(live, *(image(number) for number in range(6))).status_code == 413
    padded = {"TextValue": "A" * (MOST - 2000)}
    assert store(live, *(image(number, **padded) for number in range(4))).status_code == 413
    assert archive.kept == {}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", 'multipart/related; type="application/dicom"; boundary=a'),
        (multipart(image())[0], 'multipart/related; type="application/dicom"; boundary=wrong'),
        (multipart(image())[0][:-14], 'multipart/related; type="application/dicom"; boundary=between'),
        (multipart(image())[0].replace(b"/dicom", b"/json"), "multipart/related; boundary=between"),
        (image(), "application/dicom"),
    ],
)
def test_what_orthanc_would_answer_with_200_is_refused(
    live: Live, archive: Archive, body: bytes, said: str
) -> None:
    answer = live.client("publisher").post("/dicomweb/studies", content=body, headers={"Content-Type": said})
    assert answer.status_code in (400, 415)
    assert answer.json()["fault"] == "caller"
    assert archive.kept == {}


def test_an_answer_in_no_form_that_is_taken_stores_nothing(live: Live, archive: Archive) -> None:
    assert store(live, image(), Accept="text/html").status_code == 406
    assert archive.kept == {}


def test_the_answer_is_xml_where_that_is_taken(live: Live, archive: Archive) -> None:
    answer = store(live, image(1), image(2, Rows=3), b"no file", Accept="application/dicom+xml")
    assert answer.status_code == 202
    assert answer.headers["content-type"].partition(";")[0] == "application/dicom+xml"
    assert fromstring(answer.content).tag.endswith("NativeDicomModel")


def test_a_large_instance_goes_on_in_pieces(live: Live, archive: Archive) -> None:
    large = image(TextValue="A" * (MOST - 2000))
    assert store(live, large).status_code == 200
    assert archive.kept["2.25.1.1.1"].TextValue == "A" * (MOST - 2000)


def test_ten_gigabytes_are_refused_before_they_come(live: Live) -> None:
    address, token = urlsplit(live.url), live.tokens["publisher"]
    head = f"POST /dicomweb/studies HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n"
    head += f"Content-Type: {multipart()[1]['Content-Type']}\r\nContent-Length: 10000000000\r\n\r\n"
    with socket.create_connection((address.hostname, address.port), 5) as caller:
        caller.sendall(head.encode())
        assert caller.recv(1000).startswith(b"HTTP/1.1 413")


def test_one_who_is_gone_in_the_middle_has_stored_nothing(live: Live, archive: Archive) -> None:
    def broken() -> Iterator[bytes]:
        yield multipart(image())[0][:200]
        raise httpx.WriteError("gone")

    with pytest.raises(httpx.WriteError):
        live.client("publisher").post("/dicomweb/studies", content=broken(), headers=multipart()[1])
    assert archive.kept == {}


def test_no_line_of_the_log_tells_a_person(live: Live) -> None:
    assert persons_in(live.log.getvalue()) == []
    assert PERSON.mrns[OWN] not in live.log.getvalue()


def test_the_metrics_count_instances(live: Live, archive: Archive) -> None:
    store(live, image(1), image(2, Rows=3))
    assert (
        'lianren_images_stored_total{node="cq-pacs",result="refused"}' in live.client("").get("/metrics").text
    )
