"""What a caller takes, and what an archive is asked for because of it."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import NotAcceptable
from gateway.imaging.accept import Form, Media, Resource, accepted, media_of

OCTETS, DICOM = "application/octet-stream", "application/dicom"
RELATED = "multipart/related"


def asked(resource: Resource, header: str, *, one: bool = True) -> list[str]:
    return [form.accept for form in accepted(resource, header, one=one).forms]


def related(media: str, further: str = "") -> str:
    return f'{RELATED}; type="{media}"{further}'


@pytest.mark.parametrize(
    ("resource", "default"),
    [
        ("study", related(DICOM)),
        ("series", related(DICOM)),
        ("instance", related(DICOM)),
        ("frames", related(OCTETS)),
        ("bulk", related(OCTETS)),
        ("metadata", "application/dicom+json"),
        ("rendered", "image/jpeg"),
        ("thumbnail", "image/jpeg"),
    ],
)
@pytest.mark.parametrize("header", ["", "*/*", "nonsense/, */*;q=0.1"])
def test_without_a_wish_an_archive_is_asked_for_the_default(
    resource: Resource, default: str, header: str
) -> None:
    assert asked(resource, header)[0] == default


@pytest.mark.parametrize(
    "header",
    [
        'multipart/related; type="*/*"',  # dicomweb-client's
        "multipart/related",
        "multipart/related; type=application/octet-stream",
        'Multipart/Related;Type="application/octet-stream";q=0.5',
    ],
)
def test_every_way_to_ask_for_frames_becomes_the_one_that_all_archives_know(header: str) -> None:
    assert asked("frames", header) == [related(OCTETS)]


def test_an_archive_is_asked_for_one_media_type_at_a_time_the_preferred_first() -> None:
    header = f"{related('image/jls')};q=0.3, {related('image/jp2')}, {related(OCTETS)};q=0.8"
    assert asked("frames", header) == [related("image/jp2"), related(OCTETS), related("image/jls")]


def test_any_transfer_syntax_includes_the_one_that_is_given_unasked() -> None:
    assert asked("instance", related(DICOM, "; transfer-syntax=*")) == [
        related(DICOM, "; transfer-syntax=*"),
        related(DICOM),
    ]


def test_a_named_transfer_syntax_is_asked_for_and_no_other_is_taken() -> None:
    wanted = accepted("instance", related(DICOM, "; transfer-syntax=1.2.840.10008.1.2.4.90"))
    assert wanted.forms == (Form(related(DICOM, "; transfer-syntax=1.2.840.10008.1.2.4.90")),)
    assert wanted.takes(Media(RELATED, DICOM, "1.2.840.10008.1.2.4.90"))
    assert not wanted.takes(Media(RELATED, DICOM, "1.2.840.10008.1.2.1"))


def test_a_single_part_may_come_out_of_a_multipart_answer() -> None:
    assert accepted("instance", DICOM).forms == (Form(DICOM, single=True), Form(related(DICOM), single=True))


@pytest.mark.parametrize(
    ("resource", "header", "one"),
    [
        ("study", DICOM, False),
        ("frames", OCTETS, False),
        ("frames", "image/png, text/html", True),
        ("metadata", "application/xml", True),
        ("metadata", "application/dicom+json;q=0", True),
        ("rendered", "image/tiff", True),
        ("rendered", related("image/jpeg"), True),
        ("instance", "application/zip", True),
        ("instance", "no media type at all", True),
    ],
)
def test_what_is_not_given_is_refused(resource: Resource, header: str, one: bool) -> None:
    with pytest.raises(NotAcceptable):
        accepted(resource, header, one=one)


def test_a_weight_of_nothing_takes_a_type_out_of_a_range() -> None:
    wanted = accepted("frames", f"{related('*/*')}, {related('image/jp2')};q=0")
    assert wanted.takes(Media(RELATED, OCTETS))
    assert not wanted.takes(Media(RELATED, "image/jp2"))


def test_metadata_are_taken_under_both_names_of_their_type() -> None:
    assert asked("metadata", "application/json, application/dicom+json") == ["application/dicom+json"]


def test_a_transfer_syntax_inside_of_the_type_is_read() -> None:
    told = 'multipart/related; type="application/octet-stream; transfer-syntax=1.2.3"; boundary="a b"'
    assert media_of(told) == Media(RELATED, OCTETS, "1.2.3", boundary="a b")


@given(st.text(st.sampled_from('abc/*;=,"\\ q01.multipart/related;type="application/dicom"'), max_size=80))
def test_no_header_whatever_raises_anything_else(header: str) -> None:
    with suppress(NotAcceptable):
        assert accepted("frames", header).forms


@pytest.mark.parametrize("header", ['"\\' * 30_000, '\\"' * 30_000, 'a/b;x="\\' * 9_000])
def test_quotes_that_nothing_closes_take_no_time(header: str) -> None:
    began = time.process_time()
    with pytest.raises(NotAcceptable):
        accepted("frames", header)
    assert time.process_time() - began < 0.5
