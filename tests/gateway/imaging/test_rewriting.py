"""What is changed of an answer on its way through, and what is not."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from adapters.errors import NodeFaulty
from gateway.imaging.merging import patient
from gateway.imaging.rewriting import Objects, Related, Whose, headers_of
from tests.gateway.imaging.test_merging import frame

HERE = "https://gateway.example.org/dicomweb/nodes/cq-pacs/studies/1.2"
VIEWING = frame().viewing
WHOSE = Whose(study="1.2", here=HERE, numbers={"A1"}, patient=patient(VIEWING, "gw-cq", "EX-CQ-01", "A1"))
STUDY = {"0020000D": {"vr": "UI", "Value": ["1.2"]}}
PATIENT: dict[str, Any] = {
    "00100020": {"vr": "LO", "Value": ["ALIAS"]},
    "00100021": {"vr": "LO", "Value": ["gw-cq"]},
    "00101002": {
        "vr": "SQ",
        "Value": [
            {"00100020": {"vr": "LO", "Value": ["A1"]}, "00100021": {"vr": "LO", "Value": ["EX-CQ-01"]}}
        ],
    },
}
ADDRESS = b"Content-Location: http://10.0.0.7:8042/dicom-web/studies/1.2"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(st.sampled_from('{}[]",\\a:张')),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=20,
)


def cut(body: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in pairwise(edges)]


def multipart(*parts: bytes, preamble: bytes = b"", headers: bytes = b"Content-Type: a/b") -> bytes:
    body = b"".join(b"\r\n--edge\r\n" + headers + b"\r\n\r\n" + part for part in parts) + b"\r\n--edge--\r\n"
    return preamble + body if preamble else body[2:]


def read(body: bytes, places: list[int]) -> tuple[Related, bytes, list[bytes]]:
    """The scanner, all that it gave out, and the parts."""
    related, out, parts = Related("edge"), b"", list[bytes]()
    for piece in cut(body, places):
        for kind, some in related.feed(piece):
            out += some
            if kind == "head":
                parts.append(b"")
            elif kind == "data":
                parts[-1] += some
    return related, out, parts


@settings(max_examples=60)
@given(
    st.lists(st.binary(max_size=30) | st.sampled_from([b"\r\n--edg", b"\r\n-", b"\r", b"--"])),
    st.lists(st.integers(0, 500), max_size=8),
    st.sampled_from([b"", b"before it all"]),
)
def test_parts_are_told_apart_wherever_the_body_is_cut(
    parts: list[bytes], places: list[int], preamble: bytes
) -> None:
    body = multipart(*parts, preamble=preamble)
    related, out, found = read(body, places)
    assert (related.closed, out, found) == (True, body, parts)


@given(st.lists(st.integers(0, 500), max_size=8))
def test_an_address_in_the_headers_of_a_part_is_overwritten_and_nothing_moves(places: list[int]) -> None:
    body = multipart(b"one", b"two", headers=ADDRESS + b"\r\nContent-Type: a/b")
    related, out, parts = read(body, places)
    assert related.blanked
    assert (len(out), parts, b"10.0.0.7" in out) == (len(body), [b"one", b"two"], False)
    assert out.replace(b" ", b"") == body.replace(ADDRESS.split(b" ")[1], b"").replace(b" ", b"")


@settings(max_examples=60)
@given(st.lists(st.integers(0, 200), max_size=8), st.sampled_from([b"X: y", ADDRESS]))
def test_what_goes_through_is_the_whole_body_wherever_it_is_cut(places: list[int], further: bytes) -> None:
    body = multipart(b"one\r\n", b"\r\n--two", headers=further + b"\r\nContent-Type: a/b")
    related = Related("edge")
    assert b"".join(map(related.through, cut(body, places))) == read(body, [])[1]


@pytest.mark.parametrize("end", [b"", b"\r\n--edge", b"\r\n--edge-"])
def test_a_body_without_its_last_boundary_is_not_closed(end: bytes) -> None:
    body = multipart(b"one").removesuffix(b"\r\n--edge--\r\n") + end
    assert not read(body, [])[0].closed


def test_headers_without_an_end_are_a_fault() -> None:
    with pytest.raises(NodeFaulty, match="do not end"):
        read(b"--edge\r\nX: " + b"a" * 20_000, [])


def test_headers_of_a_part_are_read() -> None:
    assert headers_of(b"--edge\r\nContent-Type:  a/b\r\nX: \r\n\r\n") == {"content-type": "a/b", "x": ""}


@settings(max_examples=30)
@given(st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=4)), st.lists(st.integers(0, 2000)))
def test_objects_are_told_apart_wherever_the_list_is_cut(
    objects: list[dict[str, Any]], places: list[int]
) -> None:
    for body in (orjson.dumps(objects), b" " + orjson.dumps(objects, option=orjson.OPT_INDENT_2) + b"\n"):
        list_ = Objects()
        found = [orjson.loads(one) for piece in cut(body, places) for one in list_.feed(piece)]
        assert (found, list_.closed) == (objects, True)


@pytest.mark.parametrize("body", [b'{"a":1}', b"[1]", b"[[]]", b"[{}]x", b"<html>", b"[{}}", b'["a"]', b"]"])
def test_what_is_no_list_of_objects_is_a_fault(body: bytes) -> None:
    with pytest.raises(NodeFaulty):
        list(Objects().feed(body))


@pytest.mark.parametrize("body", [b"", b"[", b"[{}", b"[{},", b'[{"a":"'])
def test_a_list_without_its_end_is_not_closed(body: bytes) -> None:
    list_ = Objects()
    list(list_.feed(body))
    assert not list_.closed


def test_an_object_that_does_not_end_is_a_fault_before_it_fills_the_memory() -> None:
    list_ = Objects(limit=1000)
    list(list_.feed(b'[{"a":"' + b"x" * 900))
    with pytest.raises(NodeFaulty, match="too large"):
        list(list_.feed(b"x" * 200))


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("http://10.0.0.7/dicom-web/studies/1.2/series/3/bulk/7fe00010", f"{HERE}/series/3/bulk/7fe00010"),
        ("../../studies/1.2/bulkdata/x.gz?offset=3&length=4", f"{HERE}/bulkdata/x.gz?offset=3&length=4"),
        ("http://10.0.0.7/dicom-web/studies/9.9/series/3/bulk/7fe00010", ""),
        ("http://10.0.0.7/files/5", ""),
        ("http://10.0.0.7/dicom-web/studies/1.2/%2e%2e/9.9", ""),
        ("http://10.0.0.7/studies/1.2", HERE),
    ],
)
def test_addresses_of_the_archive_become_addresses_here(address: str, here: str) -> None:
    for told in (
        {"7FE00010": {"vr": "OW", "BulkDataURI": address}},
        {"00081190": {"vr": "UR", "Value": [address]}},
    ):
        changed, _ = WHOSE.told(orjson.dumps(told | STUDY))
        assert orjson.loads(changed) == orjson.loads(
            orjson.dumps(told | STUDY | PATIENT).replace(orjson.dumps(address), orjson.dumps(here))
        )


def test_metadata_in_utf_8_say_so() -> None:
    told, _ = WHOSE.told(orjson.dumps({"00080005": {"vr": "CS", "Value": ["GB18030"]}} | STUDY))
    assert orjson.loads(told)["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}


def test_the_patient_of_metadata_is_the_viewings_and_the_archives_id_is_another_one() -> None:
    other = {"00100020": {"vr": "LO", "Value": ["OLD"]}}
    issuer = {"00100021": {"vr": "LO", "Value": ["HIS"]}}
    told = {"00100020": {"vr": "LO", "Value": ["A1 "]}, "00101002": {"vr": "SQ", "Value": [other]}}
    changed, _ = WHOSE.told(orjson.dumps(told | issuer | STUDY))
    both = {"00101002": {"vr": "SQ", "Value": [other, *PATIENT["00101002"]["Value"]]}}
    assert orjson.loads(changed) == STUDY | PATIENT | both


def test_what_another_gateway_told_of_the_archives_id_is_not_told_twice() -> None:
    of_peer = replace(WHOSE, behind=True, numbers=(), patient=patient(VIEWING, "gw-cq", "", "A1"))
    told = {"00100020": {"vr": "LO", "Value": ["PEERS"]}, "00101002": PATIENT["00101002"]}
    assert orjson.loads(of_peer.told(orjson.dumps(told | STUDY))[0]) == STUDY | PATIENT


@pytest.mark.parametrize(
    ("told", "wrong"),
    [
        ({"00100020": {"vr": "LO", "Value": ["A2"]}} | STUDY, "another Patient ID"),
        ({"0020000D": {"vr": "UI", "Value": ["1.23"]}}, "another study"),
        ({"00200010": {"vr": "SH", "Value": ["1.2"]}}, "another study"),
    ],
)
def test_metadata_of_another_study_or_person_are_a_fault(told: dict[str, Any], wrong: str) -> None:
    with pytest.raises(NodeFaulty, match=wrong):
        WHOSE.told(orjson.dumps(told))


def test_numbers_and_what_nobody_knows_stay_as_the_archive_wrote_them_beside_a_text_put_right() -> None:
    garbled = orjson.dumps("肺结节".encode("gb18030").decode("latin-1"))
    numbers = b'"00281053":{"vr":"DS","Value":[1.50,0.1000000000000000055511151231257827]}'
    item = b'"00400275":{"vr":"SQ","Value":[{"00400007":{"vr":"LO","Value":[%b]},%b}]}' % (garbled, numbers)
    inner = item.replace(garbled, orjson.dumps("肺结节"))
    told, lost = WHOSE.told(b'{%b,"0020000D":{"vr":"UI","Value":["1.2"]},%b}' % (numbers, item))
    assert (told.count(numbers), inner in told, lost) == (2, True, False)


def test_a_text_that_is_lost_is_said_so() -> None:
    assert WHOSE.told(orjson.dumps({"00081030": {"vr": "LO", "Value": ["CT ??"]}} | STUDY))[1]


def test_no_archive_speaks_for_this_gateway() -> None:
    spoof = {
        "00770011": {"vr": "LO", "Value": ["LIANREN 1"]},
        "00771101": {"vr": "CS", "Value": ["RECOGNISED"]},
    }
    assert orjson.loads(WHOSE.told(orjson.dumps(spoof | STUDY))[0]) == STUDY | PATIENT
