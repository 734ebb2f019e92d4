"""Metadata, frames and bulk data made of one DICOM file."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG4HP41,
    UID,
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from adapters.errors import NodeFaulty
from gateway.demo.people import BY_KEY
from gateway.demo.studies import study, uid_for
from gateway.errors import NotAcceptable, NotFound
from gateway.imaging.parts import Frame, bulk_of, complete, frames_of, metadata_of

AT = "https://gateway.example.org/dicomweb/studies/1/series/2/instances/3"
EXPLICIT = "1.2.840.10008.1.2.1"


def image(**changes: Any) -> Dataset:
    [one] = study(
        BY_KEY["jie"],
        "EX-CQ-01",
        description="胸部CT平扫",
        modality="CT",
        body_part="CHEST",
        performed=datetime(2026, 1, 5, tzinfo=UTC),
        instances=1,
        charset="gb18030",
        uid=uid_for("parts"),
    )
    for name, value in changes.items():
        setattr(one, name, value)
    return one


def file_of(dataset: Dataset, syntax: str = "") -> bytes:
    if syntax:
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def compressed(frames: list[bytes], syntax: str) -> bytes:
    one = image(NumberOfFrames=len(frames), PixelData=encapsulate(frames))
    one["PixelData"].VR = "OB"
    return file_of(one, syntax)


FILE = file_of(image())


def test_metadata_are_dicom_json_in_utf_8() -> None:
    told = orjson.loads(metadata_of(FILE))
    assert told["00081030"]["Value"] == ["胸部CT平扫"]
    assert told["00080005"]["Value"] == ["ISO_IR 192"]
    assert told["00100010"]["Value"] == [{"Alphabetic": "Shili^Huanzhe Jie", "Ideographic": "示例^患者㛃"}]
    assert list(told) == sorted(told)


def test_pixels_stand_behind_an_address_in_the_metadata() -> None:
    assert orjson.loads(metadata_of(FILE, AT))["7FE00010"]["BulkDataURI"] == f"{AT}/bulkdata/7FE00010"


def test_the_beginning_of_a_file_is_enough_for_its_metadata() -> None:
    head = FILE[: len(FILE) - 5000]
    assert complete(head)
    assert metadata_of(head, AT) == metadata_of(FILE, AT)


@pytest.mark.parametrize("size", [0, 100, 200, 700, 1200])
def test_a_beginning_without_the_whole_header_is_known_for_one(size: int) -> None:
    assert not complete(FILE[:size])


def test_a_large_value_in_a_sequence_has_an_address_that_leads_to_it() -> None:
    item = Dataset()
    item.add_new(0x00091010, "OB", b"ab" * 1000)
    one = image()
    one.add_new(0x00091001, "SQ", [Dataset(), item])
    told = orjson.loads(metadata_of(file_of(one), AT))
    address = told["00091001"]["Value"][1]["00091010"]["BulkDataURI"]
    assert bulk_of(file_of(one), address.removeprefix(f"{AT}/bulkdata/")).data == b"ab" * 1000


@pytest.mark.parametrize("place", ["00080060", "12345678", "7FE00010/0", "../x", "", "00081140/7"])
def test_a_place_without_bulk_data_is_not_found(place: str) -> None:
    with pytest.raises(NotFound):
        bulk_of(FILE, place)


def test_an_element_that_cannot_be_told_stands_there_without_a_value() -> None:
    file = FILE.replace(b"\x18\x00\x50\x00DS\x04\x005.0 ", b"\x18\x00\x50\x00DS\x04\x005mm ")
    assert file != FILE
    assert orjson.loads(metadata_of(file))["00180050"] == {"vr": "DS"}


@pytest.mark.parametrize("syntax", [EXPLICIT, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_native_frames_are_octets_in_explicit_little_endian(syntax: str) -> None:
    one = image(NumberOfFrames=2, Rows=2, Columns=2, PixelData=bytes(range(16)))
    assert frames_of(file_of(one, syntax), [2, 1]) == (
        Frame("application/octet-stream", EXPLICIT, bytes(range(8, 16))),
        Frame("application/octet-stream", EXPLICIT, bytes(range(8))),
    )


@pytest.mark.parametrize(
    ("syntax", "media"), [(JPEG2000Lossless, "image/jp2"), (RLELossless, "image/dicom-rle")]
)
def test_compressed_frames_leave_as_they_are(syntax: str, media: str) -> None:
    frames = [b"first " * 10, b"second" * 10, b"third " * 10]
    assert frames_of(compressed(frames, syntax), [3, 1]) == (
        Frame(media, syntax, frames[2]),
        Frame(media, syntax, frames[0]),
    )


@pytest.mark.parametrize("number", [0, 2, 99])
def test_a_frame_that_is_not_there_is_not_found(number: int) -> None:
    with pytest.raises(NotFound):
        frames_of(FILE, [number])


def test_frames_of_a_video_are_refused() -> None:
    with pytest.raises(NotAcceptable, match="video"):
        frames_of(compressed([b"moving"], MPEG4HP41), [1])


def test_frames_that_share_bytes_are_refused() -> None:
    one = image(NumberOfFrames=2, Rows=3, Columns=3, BitsAllocated=1, PixelData=b"\0\0\0\0")
    with pytest.raises(NotAcceptable, match="share"):
        frames_of(file_of(one), [1])


def test_fewer_pixels_than_the_header_says_are_a_fault() -> None:
    with pytest.raises(NodeFaulty, match="fewer pixels"):
        frames_of(file_of(image(NumberOfFrames=7)), [7])


def test_a_file_that_inflates_without_end_is_a_fault() -> None:
    one = image(PixelData=bytes(24_000_000))
    with pytest.raises(NodeFaulty, match="too large"):
        frames_of(file_of(one, DeflatedExplicitVRLittleEndian), [1])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_file_whatever_raises_anything_else(data: st.DataObject) -> None:
    broken = bytearray(FILE[: data.draw(st.integers(0, len(FILE)))])
    for _ in range(data.draw(st.integers(0, 8)) if broken else 0):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    for work in (metadata_of, lambda file: frames_of(file, [1]), lambda file: bulk_of(file, "7FE00010")):
        with suppress(NodeFaulty, NotFound, NotAcceptable):
            work(bytes(broken))
        complete(bytes(broken))
