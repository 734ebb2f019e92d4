"""Images on their way: whole or not at all, in the form that was asked for, and no address of an archive."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO

import httpx
import orjson
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from gateway.demo.processes import wait_until
from tests.gateway.imaging.scripted import (
    EDGE,
    JSON,
    PERSON,
    Archive,
    Network,
    Pieces,
    Script,
    accepting,
    answer,
    multipart,
    network,
    refused,
    related,
)
from tests.gateway.live import OWN

DICOM, OCTETS = "application/dicom", "application/octet-stream"
IMAGES, PIXELS = f'multipart/related; type="{DICOM}"', f'multipart/related; type="{OCTETS}"'
JP2 = 'multipart/related; type="image/jp2"'
FRAMES = multipart(b"pixels", media=OCTETS)
ENDLESS = b"a" * 65_536
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with network(tmp_path_factory.mktemp("retrieving")) as net:
        yield net


@pytest.fixture
def study(net: Network) -> str:
    """A study that only the first archive holds: nothing of one test is remembered in another."""
    uid = f"2.25.{next(numbers)}00"
    net.first.held[uid] = 3
    return f"studies/{uid}"


@pytest.fixture
def both(net: Network) -> str:
    """A study in both archives, in the first with more of its instances."""
    uid = f"2.25.{next(numbers)}00"
    net.first.held[uid], net.second.held[uid] = 3, 2
    return f"studies/{uid}"


def instance(study: str) -> str:
    return f"{study}/series/1.1/instances/1.2"


def file_of(study: str) -> bytes:
    """A DICOM file of a study, without pixels."""
    told, meta = Dataset(), FileMetaDataset()
    told.StudyInstanceUID, told.SeriesInstanceUID = study.removeprefix("studies/"), "1.1"
    told.SpecificCharacterSet, told.StudyDescription = "GB18030", "胸部"
    told.SOPClassUID, told.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = BytesIO()
    FileDataset(file, told, file_meta=meta, preamble=bytes(128)).save_as(file, enforce_file_format=True)
    return file.getvalue()


def accepts(archive: Archive, path: str) -> list[str]:
    """What an archive was asked for at an address."""
    return [headers["accept"] for target, headers in archive.asked if target.partition("?")[0] == path]


def stopping(*pieces: bytes, further: str = "") -> Script:
    """Sends this, and closes the connection."""
    head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {related()}\r\n{further}\r\n"
    return lambda _: itertools.chain([head.encode()], pieces)


def endless(_: dict[str, str]) -> Pieces:
    """A study that does not end."""
    return itertools.chain(stopping()({}), itertools.repeat(ENDLESS))


# -- of nobody else -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["", "/series/1.1", "/series/1.1/instances/1.2", "/metadata", "/series"])
def test_nothing_is_shown_of_a_study_that_is_two_patients_in_an_archive(
    net: Network, study: str, below: str
) -> None:
    net.first.another.add(study.removeprefix("studies/"))
    net.first.scripts[study + below] = answer(multipart(b"of whom?"), related())
    got = net.get(study + below)
    assert got.status_code == 502
    assert "somebody else" in got.json()["detail"]
    asked = [target for target, _ in net.first.asked if f"{study}/" in f"{target}/"]
    assert all("includefield=00201209" in target for target in asked)  # it is counted for the list


def test_the_archive_where_it_is_one_patient_s_shows_it(net: Network, both: str) -> None:
    net.first.another.add(both.removeprefix("studies/"))
    net.second.scripts[both] = answer(multipart(b"one"), related())
    assert net.get(both).headers["lianren-source"] == "second"
    assert net.get(f"nodes/first/{both}").status_code == 502


# -- whole, or not at all -----------------------------------------------------------------------------------


def test_a_study_comes_as_the_archive_sends_it(net: Network, study: str) -> None:
    body = multipart(b"one", b"two")
    net.first.scripts[study] = answer(body, related())
    got = net.get(study)
    assert (got.content, got.headers["content-type"]) == (body, related())
    assert (got.headers["content-length"], got.headers["lianren-source"]) == (str(len(body)), "first")
    assert got.headers["cache-control"] == "no-store"


def test_head_tells_what_get_would(net: Network, study: str) -> None:
    net.first.scripts[study] = answer(multipart(b"one"), related())
    got = net.client.head(f"/dicomweb/{study}")
    assert (got.status_code, got.headers["content-type"], got.content) == (200, related(), b"")


@pytest.mark.parametrize(
    "script",
    [
        stopping(multipart(b"one")[:-8]),
        stopping(multipart(b"one"), further="Content-Length: 9999\r\n"),
        stopping(b"5\r\n--arc\r\n", further="Transfer-Encoding: chunked\r\n"),
    ],
    ids=["without its last boundary", "shorter than it says", "in the middle of a chunk"],
)
def test_an_archive_that_stops_in_the_middle_has_the_connection_cut(
    net: Network, study: str, script: Script
) -> None:
    net.first.scripts[study] = script
    with pytest.raises(httpx.RemoteProtocolError):
        net.get(study)


def test_an_answer_that_ends_with_its_connection_is_whole_with_its_last_boundary(
    net: Network, study: str
) -> None:
    body = multipart(b"one")
    net.first.scripts[study] = answer(body, related(), length=False)
    assert net.get(study).content == body


@pytest.mark.parametrize("end", [b"--\r\n", b"\r\n", b""], ids=["closed", "open", "without a line break"])
@pytest.mark.parametrize("accept", [PIXELS, OCTETS], ids=["as it is", "its one part"])
def test_an_answer_of_the_length_that_it_says_is_whole_though_its_last_boundary_is_not(
    net: Network, study: str, accept: str, end: bytes
) -> None:
    path = f"{instance(study)}/frames/1"
    body = multipart(b"pixels", media=OCTETS, headers="Content-Location: /secret\r\n")
    body = body.removesuffix(b"--\r\n") + end
    net.first.scripts[path] = accepting({PIXELS: answer(body, related(OCTETS))})
    expected = body.replace(b"/secret", b" " * 7) if accept == PIXELS else b"pixels"
    assert net.get(path, accept).content == expected


def test_metadata_are_made_of_the_last_instance_though_the_last_boundary_is_not_whole(
    net: Network, study: str
) -> None:
    body = multipart(file_of(study)).removesuffix(b"--\r\n")
    net.first.scripts[instance(study)] = answer(body, related())
    assert len(net.get(f"{instance(study)}/metadata").json()) == 1


def test_texts_that_an_archive_lost_are_read_of_its_images_and_of_no_other_study(
    net: Network, study: str, both: str
) -> None:
    path = f"{study}/series/1.1"
    told = {"00081030": {"vr": "LO", "Value": ["??"]}, "0020000D": {"vr": "UI", "Value": [study[8:]]}}
    net.first.scripts[f"{path}/metadata"] = answer(orjson.dumps([told]), JSON)
    net.first.scripts[path] = answer(multipart(file_of(study)), related())
    [got] = net.get(f"{path}/metadata").json()
    assert got["00081030"]["Value"] == ["胸部"]
    path = f"{both}/series/1.1"
    net.first.scripts[f"{path}/metadata"] = answer(
        orjson.dumps(
            [
                told
                | {"0020000D": {"vr": "UI", "Value": [both[8:]]}, "00081030": {"vr": "LO", "Value": ["CT"]}}
            ]
        ),
        JSON,
    )
    [got] = net.get(f"{path}/metadata").json()
    assert got["00081030"]["Value"] == ["CT"]


@pytest.mark.parametrize("path", ["{study}/", "{study}/metadata/", "{study}/series/", "studies/"])
def test_a_slash_at_the_end_of_an_address_says_nothing(net: Network, study: str, path: str) -> None:
    net.first.scripts[study] = answer(multipart(b"one"), related())
    told = [
        {tag: {"vr": "UI", "Value": [uid]} for tag, uid in (("0020000D", study[8:]), ("0020000E", "1.1"))}
    ]
    for below in ("metadata", "series"):
        net.first.scripts[f"{study}/{below}"] = answer(orjson.dumps(told), JSON)
    asked = path.format(study=study)
    assert (net.get(asked).status_code, net.get(asked).content) == (200, net.get(asked[:-1]).content)


def test_a_single_part_that_does_not_say_where_it_ends_is_not_passed_on(net: Network, study: str) -> None:
    path = f"{instance(study)}/rendered"
    net.first.scripts[path] = answer(b"jpeg", "image/jpeg", length=False)
    assert net.get(path).status_code == 502


def test_a_viewer_who_leaves_has_the_archive_left_at_once(net: Network, study: str) -> None:
    net.first.scripts[study] = endless
    net.first.left.clear()
    with net.client.stream("GET", f"/dicomweb/{study}") as got:
        next(got.iter_raw(1000))
    assert net.first.left.wait(5)
    wait_until(lambda: 'outcome="left"' in net.metrics(), 5)


def test_a_slow_viewer_holds_the_archive_and_no_memory(net: Network, study: str) -> None:
    net.first.scripts[study] = endless
    net.first.sent = 0
    with net.client.stream("GET", f"/dicomweb/{study}"):
        before = -1
        while before < net.first.sent:
            before = net.first.sent
            time.sleep(0.1)
    assert before < 24_000_000  # what the buffers of the kernel take in


def test_viewers_who_take_all_their_connections_hold_up_no_question(net: Network, study: str) -> None:
    net.first.scripts[study] = endless
    with ExitStack() as stack:
        for _ in range(16):  # connections, as they are set
            stack.enter_context(net.client.stream("GET", f"/dicomweb/{study}"))
        listed = net.get(f"studies?StudyInstanceUID={study[8:]}")
    assert "first;state=answered" in listed.headers["lianren-nodes"]


# -- which archive ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        refused("503 Busy"),
        refused("404 Not Found"),
        refused("403 No"),
        lambda _: [b"Connection: close"],
        answer(b"hm", "text/html"),
    ],
    ids=["busy", "not there", "forbidden", "no answer", "another type"],
)
def test_the_next_archive_is_asked_where_the_best_one_gives_nothing(
    net: Network, both: str, script: Script
) -> None:
    net.first.scripts[both] = script
    net.second.scripts[both] = answer(multipart(b"one"), related())
    assert net.get(both).headers["lianren-source"] == "second"


def test_one_archive_alone_can_be_asked(net: Network, both: str) -> None:
    net.first.scripts[both] = answer(multipart(b"one"), related())
    net.second.scripts[both] = answer(multipart(b"two"), related())
    assert net.get(f"nodes/second/{both}").content == multipart(b"two")


@pytest.mark.parametrize(
    ("status", "meant"),
    [
        ("404 A", 404),
        ("410 A", 410),
        ("400 A", 400),
        ("415 A", 406),
        ("302 A", 502),
        ("401 A", 502),
        ("500 A", 502),
    ],
)
def test_an_archives_refusal_is_told_in_words_of_this_gateway(
    net: Network, study: str, status: int, meant: int
) -> None:
    net.first.scripts[study] = refused(f"{status} Status")
    got = net.get(study)
    assert (got.status_code, got.headers["content-type"]) == (meant, "application/problem+json")
    assert "archive.internal" not in got.text


def test_an_archive_that_was_not_heard_may_have_what_the_other_has_not(net: Network, both: str) -> None:
    net.first.scripts[both] = refused("503 Busy")
    assert net.get(both).status_code == 502


def test_a_study_that_no_archive_has_of_this_person_is_not_there(net: Network) -> None:
    net.first.scripts["studies/2.25.666"] = answer(multipart(b"another's"), related())
    assert net.get("studies/2.25.666").status_code == 404


def test_without_a_viewing_nothing_is_given(net: Network, study: str) -> None:
    for path in (study, f"{study}/metadata", "studies/not-a-uid", "wado"):
        assert httpx.get(f"{net.url}/dicomweb/{path}", trust_env=False).status_code == 401
    assert not accepts(net.first, study)


# -- in which form ------------------------------------------------------------------------------------------


def test_frames_are_asked_for_in_the_form_that_strict_archives_take(net: Network, study: str) -> None:
    path = f"{instance(study)}/frames/1"
    net.first.scripts[path] = accepting({PIXELS: answer(FRAMES, related(OCTETS))})
    assert net.get(path, 'multipart/related; type="*/*"').content == FRAMES
    assert net.get(path, f"multipart/related; type=image/jls, {PIXELS}").content == FRAMES


def test_an_archive_is_asked_at_once_in_the_form_that_it_took_before(net: Network, study: str) -> None:
    path = f"{instance(study)}/frames/1"
    net.first.scripts[path] = accepting({PIXELS: answer(FRAMES, related(OCTETS))})
    for _ in range(2):
        net.get(path, f"{JP2}, {PIXELS};q=0.5")
    assert accepts(net.first, path) == [JP2, PIXELS, PIXELS]


def test_pixels_are_never_asked_for_compressed_by_the_transport(net: Network, study: str) -> None:
    net.first.scripts[study] = answer(multipart(b"one"), related())
    net.get(study, **{"Accept-Encoding": "gzip"})
    assert net.first.asked[-1][1]["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "script",
    [
        answer(b"[]", JSON),
        answer(multipart(b"x", media="image/jp2"), related()),
        answer(multipart(b"x", media="image/jp2"), related("image/jp2")),
    ],
    ids=["JSON in place of images", "another type in its parts", "another type"],
)
def test_another_type_than_was_accepted_is_not_passed_off(net: Network, study: str, script: Script) -> None:
    net.first.scripts[study] = script
    assert net.get(study, IMAGES).status_code == 406


def test_an_instance_comes_as_a_single_part_out_of_a_multipart_answer(net: Network, study: str) -> None:
    path = instance(study)
    net.first.scripts[path] = accepting({IMAGES: answer(multipart(b"DICM"), related())})
    got = net.get(path, DICOM)
    assert (got.content, got.headers["content-type"]) == (b"DICM", DICOM)


def test_more_than_the_one_part_is_no_single_part(net: Network, study: str) -> None:
    path = instance(study)
    body = answer(multipart(b"DICM", b"DICM"), related())
    net.first.scripts[path] = accepting({IMAGES: body})
    with pytest.raises(httpx.RemoteProtocolError):
        net.get(path, DICOM)


def test_a_single_part_is_made_the_only_one_of_a_multipart_answer(net: Network, study: str) -> None:
    path = f"{instance(study)}/frames/1"
    net.first.scripts[path] = answer(b"pixels", OCTETS)
    got = net.get(path, PIXELS)
    boundary = got.headers["content-type"].partition("boundary=")[2]
    assert got.content == multipart(b"pixels", media=OCTETS).replace(EDGE.encode(), boundary.encode())


def test_a_thumbnail_is_a_small_picture_where_an_archive_has_none(net: Network, study: str) -> None:
    listed = [{"0020000E": {"vr": "UI", "Value": ["1.1"]}, "00080018": {"vr": "UI", "Value": ["1.2"]}}]
    net.first.scripts[f"{study}/instances"] = answer(orjson.dumps(listed), JSON)
    net.first.scripts[f"{instance(study)}/rendered"] = answer(b"jpeg", "image/jpeg")
    assert net.get(f"{study}/thumbnail").content == b"jpeg"
    assert net.first.asked[-1][0] == f"{instance(study)}/rendered?viewport=128,128"


def test_a_part_of_bulk_data_is_passed_on_where_the_archive_allows_it(net: Network, study: str) -> None:
    path = f"{instance(study)}/bulk/7fe00010"

    def script(headers: dict[str, str]) -> Pieces:
        assert headers["range"] == "bytes=2-4"
        assert headers["if-range"] == '"v1"'
        return answer(b"cde", OCTETS, "Content-Range: bytes 2-4/9", 'ETag: "v1"', status="206 P")(headers)

    net.first.scripts[path] = script
    got = net.get(path, OCTETS, **{"Range": "bytes=2-4", "If-Range": '"v1"'})
    assert (got.status_code, got.content, got.headers["content-range"]) == (206, b"cde", "bytes 2-4/9")


def test_a_part_that_is_not_there_is_said_so(net: Network, study: str) -> None:
    path = f"{instance(study)}/bulk/7fe00010"
    net.first.scripts[path] = answer(b"", OCTETS, "Content-Range: bytes */9", status="416 R")
    got = net.get(path, OCTETS, Range="bytes=20-30")
    assert (got.status_code, got.headers["content-range"]) == (416, "bytes */9")


# -- no address of an archive -------------------------------------------------------------------------------


def test_no_header_or_part_tells_where_the_archive_is(net: Network, study: str) -> None:
    path = f"{instance(study)}/frames/1"
    own = f"Content-Location: {net.first.url}/{path}\r\n"
    body = multipart(b"pixels", media=OCTETS, headers=own)
    net.first.scripts[path] = answer(
        body, related(OCTETS), own.strip(), f"Link: <{net.first.url}>", "Server: Pacs/1"
    )
    got = net.get(path)
    assert len(got.content) == len(body)
    assert net.first.url.encode() not in got.content
    assert not {"content-location", "link"} & set(got.headers)
    assert "Pacs" not in str(got.headers)


def test_bulk_data_addresses_in_metadata_lead_here_and_to_the_bulk_data(net: Network, study: str) -> None:
    uid, bulk = study.partition("/")[2], f"{instance(study)}/bulk/7fe00010"
    portless = f"http://127.0.0.1/dicom-web/{bulk}"  # as Orthanc says it
    told = {
        "0020000D": {"vr": "UI", "Value": [uid]},
        "7FE00010": {"vr": "OW", "BulkDataURI": portless},
    }
    net.first.scripts[f"{study}/metadata"] = answer(orjson.dumps([told, told]), JSON)
    net.first.scripts[bulk] = answer(multipart(b"pixels", media=OCTETS), related(OCTETS))
    first, second = net.get(f"{study}/metadata", "application/dicom+json, application/json").json()
    assert first == second
    assert first["7FE00010"]["BulkDataURI"] == f"{net.url}/dicomweb/nodes/first/{bulk}"
    assert net.client.get(first["7FE00010"]["BulkDataURI"], headers={"Accept": OCTETS}).content == b"pixels"


@pytest.mark.parametrize(
    "body",
    [b"[]]", b'[{"0020000D":', b'[{"0020000D":{"vr":"UI","Value":["9.9"]}}]'],
    ids=["bad", "cut", "another's"],
)
def test_metadata_that_are_none_of_this_study_are_a_fault(net: Network, study: str, body: bytes) -> None:
    net.first.scripts[f"{study}/metadata"] = answer(body, JSON)
    try:
        assert net.get(f"{study}/metadata").status_code in (404, 502)
    except httpx.RemoteProtocolError:
        assert body == b"[]]"  # the first of it was out already


def test_metadata_come_in_xml_where_that_is_preferred(net: Network, study: str) -> None:
    told = {"0020000D": {"vr": "UI", "Value": [study.partition("/")[2]]}}
    net.first.scripts[f"{study}/metadata"] = answer(orjson.dumps([told, told]), JSON)
    xml = 'multipart/related; type="application/dicom+xml"'
    got = net.get(f"{study}/metadata", f"application/dicom+json;q=0.5, {xml}")
    assert got.headers["content-type"].startswith(xml)
    assert got.text.count('keyword="StudyInstanceUID"') == 2
    got = net.get(f"{study}/metadata", f"application/dicom+json, {xml};q=0.9")
    assert got.json() == net.get(f"{study}/metadata").json()


def test_the_patient_of_metadata_is_that_of_the_lists(net: Network, study: str) -> None:
    uid = study.partition("/")[2]
    told = {"00100020": PERSON.mrns[OWN], "00100021": "HIS", "0020000D": uid}
    body = orjson.dumps([{tag: {"vr": "LO", "Value": [value]} for tag, value in told.items()}])
    net.first.scripts[f"{study}/metadata"] = answer(body, JSON)
    [got], [listed] = net.get(f"{study}/metadata").json(), net.get(f"studies?StudyInstanceUID={uid}").json()
    for tag in ("00100020", "00100021", "00101002"):
        assert got[tag] == listed[tag]


def test_garbled_names_in_metadata_are_put_right(net: Network, study: str) -> None:
    uid = study.partition("/")[2]
    name = "张三".encode("gb18030").decode("latin-1")
    told = {
        "00080005": {"vr": "CS", "Value": ["GB18030"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": name}]},
        "0020000D": {"vr": "UI", "Value": [uid]},
    }
    net.first.scripts[f"{study}/metadata"] = answer(orjson.dumps([told]), JSON)
    [got] = net.get(f"{study}/metadata").json()
    assert got["00100010"]["Value"] == [{"Alphabetic": "张三"}]
