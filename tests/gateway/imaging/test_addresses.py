"""Addresses of images: what they ask for, and what goes on to an archive."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import BadParameter, NotFound
from gateway.imaging.addresses import Asked, asked_of

STUDY, INSTANCE = "studies/1.2", "studies/1.2/series/3/instances/4"
URI = b"requestType=WADO&studyUID=1.2&seriesUID=3&objectUID=4"


def asked(path: str, query: bytes = b"", accept: str = "") -> Asked:
    found = asked_of(f"/dicomweb/{path}", query, accept)
    assert found
    return found


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        (STUDY, "study"),
        (f"{STUDY}/series/3", "series"),
        (INSTANCE, "instance"),
        (f"{STUDY}/metadata", "metadata"),
        (f"{INSTANCE}/metadata", "metadata"),
        (f"{INSTANCE}/frames/1,2", "frames"),
        (f"{INSTANCE}/rendered", "rendered"),
        (f"{INSTANCE}/frames/2/rendered", "rendered"),
        (f"{STUDY}/thumbnail", "thumbnail"),
        (f"{INSTANCE}/bulk/7fe00010", "bulk"),
        (f"{STUDY}/bulkdata/a/b.raw.gz", "bulk"),
    ],
)
@pytest.mark.parametrize("way", ["", "cq-pacs", "sc/sc-pacs"])
def test_an_address_says_what_is_asked_for_and_where(path: str, resource: str, way: str) -> None:
    found = asked(f"nodes/{way}/{path}" if way else path)
    assert (found.resource, found.way, found.below, found.study) == (resource, way, path, "1.2")


@pytest.mark.parametrize(
    "path",
    [
        "studies",
        "series",
        f"{STUDY}/series",
        f"{STUDY}/instances",
        f"{STUDY}/series/3/instances",
        "nodes/a",
        "",
    ],
)
def test_a_list_is_nothing_that_is_retrieved(path: str) -> None:
    assert asked_of(f"/dicomweb/{path}", b"", "") is None


@pytest.mark.parametrize(
    "path",
    [
        "studies/1..2",
        "studies/1.2x/metadata",
        f"studies/{'1' * 65}",
        "studies/1.2/series/a",
        f"{INSTANCE}/frames/0",
        f"{INSTANCE}/frames/1,,2",
        f"{INSTANCE}/frames/x",
        f"{INSTANCE}/frames/{','.join('1' * 1025)}",
        f"{INSTANCE}/frames/9999999999",
    ],
)
def test_a_wrong_uid_or_frame_is_refused(path: str) -> None:
    with pytest.raises(BadParameter):
        asked_of(f"/dicomweb/{path}", b"", "")


@pytest.mark.parametrize(
    "rest", ["..", "../9.9", "bulk/../../9.9", "a//b", "a/./b", "a\\b", "a\r\nb", "%2e%2e", "张"]
)
def test_nothing_leads_out_of_a_study(rest: str) -> None:
    with pytest.raises(NotFound):
        asked_of(f"/dicomweb/{STUDY}/{rest}", b"", "")


def test_only_what_is_known_goes_on_to_an_archive() -> None:
    query = b"window=40,400,linear&viewport=64,64&quality=90&token=secret&accept=image/png"
    found = asked(f"{INSTANCE}/rendered", query, "image/jpeg")
    assert found.target == f"{INSTANCE}/rendered?quality=90&viewport=64,64&window=40,400,linear"
    assert found.accept == "image/png"


@pytest.mark.parametrize("query", [b"window=%0d%0a", b"quality=%00", b"viewport=a&window=%", b"\xff=1"])
def test_a_value_that_no_parameter_can_have_is_refused(query: bytes) -> None:
    with pytest.raises(BadParameter):
        asked(f"{INSTANCE}/rendered", query + b"&window=%2f")


def test_the_query_of_a_bulk_data_address_is_its_archives_own() -> None:
    assert asked(f"{STUDY}/bulk/7", b"offset=3&length=4").target == f"{STUDY}/bulk/7?offset=3&length=4"


def test_a_wado_uri_becomes_the_picture_that_it_means() -> None:
    further = b"&frameNumber=2&rows=64&columns=32&windowCenter=40&windowWidth=400&imageQuality=80"
    found = asked("nodes/cq-pacs/wado", URI + further + b"&contentType=image/png")
    assert found.target == (f"{INSTANCE}/frames/2/rendered?quality=80&viewport=32,64&window=40,400,linear")
    assert (found.resource, found.accept, found.way) == ("rendered", "image/png", "cq-pacs")


def test_a_wado_uri_for_dicom_becomes_the_instance_as_a_single_part() -> None:
    found = asked("wado", URI + b"&contentType=application%2Fdicom&transferSyntax=1.2.840.10008.1.2.5")
    assert (found.resource, found.target) == ("instance", INSTANCE)
    assert found.accept == "application/dicom; transfer-syntax=1.2.840.10008.1.2.5"


@pytest.mark.parametrize(
    "query",
    [
        b"",
        b"requestType=WADO",
        URI.replace(b"WADO", b"QIDO"),
        URI + b"&anonymize=yes",
        URI + b"&region=0,0,1,1",
        URI + b"&windowCenter=4",
        URI + b"&frameNumber=x",
        URI + b"&contentType=application/dicom&frameNumber=1",
        URI + b"&contentType=application/dicom&transferSyntax=x",
    ],
)
def test_a_wado_uri_that_cannot_be_answered_is_refused(query: bytes) -> None:
    with pytest.raises(BadParameter):
        asked("wado", query)


@settings(max_examples=50)
@given(st.text(max_size=30), st.binary(max_size=30))
def test_no_address_whatever_raises_anything_else(path: str, query: bytes) -> None:
    for begin in ("/dicomweb/", "/dicomweb/studies/", f"/dicomweb/{INSTANCE}/", "/dicomweb/wado"):
        try:
            asked_of(begin + path, query, "")
        except (BadParameter, NotFound):
            continue
