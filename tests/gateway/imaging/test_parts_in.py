"""The body of a request that stores, as it comes off the wire."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.body import BadBody
from gateway.imaging.parts_in import Parts, boundary_of

HEADER = b"Content-Type: application/dicom\r\n\r\n"


def parts(body: bytes, *cuts: int, most_bytes: int = 1000, boundary: bytes = b"xx") -> list[bytes]:
    """The parts of a body that comes in pieces."""
    kept = bytearray()
    found = Parts(boundary, kept.extend, most_parts=3, most_bytes=most_bytes)
    places = [0, *sorted(cuts), len(body)]
    for start, end in pairwise(places):
        found.feed(body[start:end])
    found.end()
    return [bytes(kept[one.start : one.start + one.length]) for one in found.spans]


def body(*contents: bytes, header: bytes = HEADER) -> bytes:
    return b"".join(b"--xx\r\n" + header + content + b"\r\n" for content in contents) + b"--xx--\r\n"


@given(
    st.lists(
        st.binary(min_size=1, max_size=40).filter(lambda one: b"--xx" not in one), min_size=1, max_size=3
    ),
    st.lists(st.integers(0, 100), max_size=6),
)
@settings(deadline=None)
def test_parts_come_out_as_they_went_in_however_the_body_is_cut(
    contents: list[bytes], cuts: list[int]
) -> None:
    sent = b"a preamble\r\n" + body(*contents) + b"an epilogue"
    assert parts(sent, *(cut for cut in cuts if cut <= len(sent))) == contents


@given(st.binary(max_size=80), st.lists(st.integers(0, 80), max_size=3))
@settings(deadline=None)
def test_any_other_bytes_are_refused_as_the_callers_fault(sent: bytes, cuts: list[int]) -> None:
    with pytest.raises(BadBody) as refused:
        parts(b"--xx\r\n" + sent, *(cut for cut in cuts if cut <= len(sent)))
    assert refused.value.status in (400, 413, 415)


def test_a_content_that_nearly_has_the_boundary_is_kept_whole() -> None:
    content = b"\r\n--x\r\n-\r\n--\r\n\r\n --xx"
    assert parts(body(content)) == [content]


def test_white_space_may_follow_a_boundary() -> None:
    assert parts(b"--xx \t\r\n" + HEADER + b"a\r\n--xx--") == [b"a"]


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"", "never comes"),
        (body(b"a").replace(b"xx", b"yy"), "never comes"),
        (body(b"a").replace(b"\r\n", b"\n"), "with CRLF"),
        (body(b"a")[:-8], "ends before its closing boundary"),
        (b"--xx--\r\n", "no part in it"),
        (body(b"a", b"b").replace(b"\r\n--xx\r\n", b"\r\n--xxy\r\n"), "begins like its boundary"),
        (body(b""), "nothing"),
        (b"--xx\r\n" + HEADER + b"--xx--\r\n", "nothing"),
        (body(b"a", header=HEADER[:-4] + b"\r\n folded\r\n\r\n"), "a header line that is none"),
        (body(b"a", header=b"x: " + b"y" * 5000 + b"\r\n\r\n"), "a header without an end"),
    ],
)
def test_a_body_of_which_two_readers_could_make_different_things_is_refused(sent: bytes, words: str) -> None:
    with pytest.raises(BadBody, match=words) as refused:
        parts(sent)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "header",
    [
        b"\r\n",
        b"Content-Type: text/plain\r\n\r\n",
        b"Content-Type: application/dicom+json\r\n\r\n",
        HEADER[:-2] + b"Content-Transfer-Encoding: base64\r\n\r\n",
    ],
)
def test_a_part_that_is_no_instance_is_refused_by_its_media_type(header: bytes) -> None:
    with pytest.raises(BadBody, match="part 2") as refused:
        parts(body(b"a")[:-8] + b"\r\n--xx\r\n" + header + b"b\r\n--xx--")
    assert refused.value.status == 415


def test_one_part_too_many_is_too_large() -> None:
    with pytest.raises(BadBody) as refused:
        parts(body(b"a", b"b", b"c", b"d"))
    assert refused.value.status == 413


def test_a_part_is_given_up_as_soon_as_it_is_too_long() -> None:
    with pytest.raises(BadBody) as refused:
        parts(b"--xx\r\n" + HEADER + b"a" * 200, most_bytes=100)
    assert refused.value.status == 413


@pytest.mark.parametrize(
    "said",
    [
        'multipart/related; type="application/dicom"; boundary="a b"',
        'Multipart/Related;boundary="a b" ;type=application/dicom;',
    ],
)
def test_a_boundary_may_be_quoted(said: str) -> None:
    assert boundary_of(said) == b"a b"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("", 415),
        ("application/dicom", 415),
        ("multipart/form-data; boundary=a", 415),
        ('multipart/related; type="application/dicom+json"; boundary=a', 415),
        ("multipart/related; type=application/dicom; boundary=a; boundary=b", 415),
        ('multipart/related; type="application/dicom"', 400),
        (f'multipart/related; type="application/dicom"; boundary={"a" * 71}', 400),
        ('multipart/related; type="application/dicom"; boundary="a\tb"', 400),
    ],
)
def test_a_content_type_without_one_clear_boundary_is_refused(said: str, status: int) -> None:
    with pytest.raises(BadBody) as refused:
        boundary_of(said)
    assert refused.value.status == status
