"""What an archive that only gives out whole instances is spared: metadata, frames and bulk data of a file.

Pure functions over the bytes of one DICOM file (PS3.10). Nothing is decoded or transcoded: frames leave as
they are in the file, with the media type that belongs to its transfer syntax (PS3.18 section 8.7.3.3.2).
"""

from __future__ import annotations

import base64
import json
import re
import warnings
import zlib
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from adapters.errors import NodeFaulty
from gateway.errors import NotAcceptable, NotFound

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

OCTETS = "application/octet-stream"
EXPLICIT, IMPLICIT, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99"
INLINE = 1024
"""Bytes of a value up to which it stands in the metadata itself (PS3.18 section F.2.7)."""
INFLATED, INFLATION = 16 * 1024 * 1024, 100
"""Bytes that any deflated file may have when it is inflated, and how many times its own size besides."""

_BINARY = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
_PIXELS = 0x7FE00010
_PIXEL_DATA = frozenset((0x7FE00008, 0x7FE00009, _PIXELS))
_STEP = re.compile(r"[0-9A-Fa-f]{8}|[0-9]{1,6}")
_JPEG, _VIDEO = "1.2.840.10008.1.2.4.", range(100, 108)
_MEDIA = {
    **dict.fromkeys((50, 51, 57, 70), "image/jpeg"),
    **dict.fromkeys((80, 81), "image/jls"),
    **dict.fromkeys((90, 91), "image/jp2"),
    **dict.fromkeys((92, 93), "image/jpx"),
    **dict.fromkeys((110, 111, 112), "image/jxl"),
    **dict.fromkeys((201, 202, 203), "image/jphc"),
}


class Frame(Struct, frozen=True):
    """One frame, or a bulk value: its media type, its transfer syntax where it has one, and its bytes."""

    media: str
    syntax: str
    data: bytes


def complete(head: bytes) -> bool:
    """Whether the beginning of a file holds everything before its pixels: then no more of it is needed for
    :func:`metadata_of`. False for a file that cannot be read that far, and for one that is deflated."""
    from pydicom.filereader import read_partial

    reached = False

    def stop(tag: int, *_: object) -> bool:
        nonlocal reached
        reached = reached or tag in _PIXEL_DATA
        return reached

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read_partial(BytesIO(head), stop)
    except Exception:  # pydicom raises whatever a cut file makes it meet
        return False
    return reached


def metadata_of(file: bytes, at: str = "", *, study: str = "") -> bytes:
    """The metadata of an instance: one DICOM JSON object (PS3.18 section F.2), texts in UTF-8.

    Args:
        file: a DICOM file; of its pixels only the beginning need be there.
        at: the address of the instance. Large values stand below it (:func:`bulk_of`).
        study: the address of its study, where that of the instance is to be made of it.

    Raises:
        NodeFaulty: it is no DICOM file that can be read.
    """
    dataset = _read(file, pixels=False)
    if study:
        at = f"{study}/series/{dataset.get('SeriesInstanceUID')}/instances/{dataset.get('SOPInstanceUID')}"
    told = object_of(dataset, f"{at}/bulkdata")
    if not dataset.file_meta.get("TransferSyntaxUID"):
        raise NodeFaulty("gave out an instance that does not say its transfer syntax")
    told["00083002"] = {"vr": "UI", "Value": [str(dataset.file_meta.TransferSyntaxUID)]}  # section 10.4.1.1.2
    if "Rows" in dataset:
        told["7FE00010"] = {"vr": "OW", "BulkDataURI": f"{at}/bulkdata/7FE00010"}
    if "00080005" in told:
        told["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}  # section F.2.2: it is UTF-8 now
    return encoded(dict(sorted(told.items())))


def encoded(value: Any) -> bytes:
    """JSON of what pydicom gives, whose texts and numbers are of types of its own.

    Raises:
        ValueError, TypeError: there is something in it that has no place in JSON.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def frames_of(file: bytes, numbers: Sequence[int]) -> tuple[Frame, ...]:
    """Frames of an instance by their numbers, of which the first is 1, in the order asked for.

    Raises:
        NodeFaulty: it is no DICOM file that can be read.
        NotFound: it has no such frame.
        NotAcceptable: the file keeps its frames in a way in which they cannot be told apart as they are.
    """
    dataset = _read(file, pixels=True)
    count = _count(dataset)
    if _PIXELS not in dataset or any(not 1 <= number <= count for number in numbers):
        raise NotFound("the instance has no such frame")
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if syntax in (EXPLICIT, IMPLICIT, DEFLATED):
        return tuple(Frame(OCTETS, EXPLICIT, one) for one in _native(dataset, numbers))
    media = _media(syntax)
    try:
        frames = _encapsulated(dataset, count, numbers)
    except Exception:  # pydicom's ways of meeting fragments that do not add up are many
        raise NodeFaulty("gave out an instance whose pixels cannot be told apart") from None
    return tuple(Frame(media, syntax, frame) for frame in frames)


def bulk_of(file: bytes, path: str) -> Frame:
    """A value of an instance by its place: tags and numbers of items, as :func:`metadata_of` says it.

    Raises:
        NodeFaulty: it is no DICOM file that can be read.
        NotFound: there is no such value.
    """
    place: Any = _read(file, pixels=True)
    for step in path.split("/"):
        if not _STEP.fullmatch(step):
            raise NotFound("the instance has no such bulk data")
        try:
            place = place[int(step, 16)] if len(step) == 8 else place.value[int(step)]
        except (KeyError, IndexError, AttributeError, TypeError):
            raise NotFound("the instance has no such bulk data") from None
    value = getattr(place, "value", None)
    if not isinstance(value, bytes):
        raise NotFound("the instance has no such bulk data")
    return Frame(OCTETS, "", value)


def _read(file: bytes, *, pixels: bool) -> Dataset:
    from pydicom import config
    from pydicom.filereader import dcmread, read_dataset

    try:
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            source = BytesIO(file)
            dataset = dcmread(source, stop_before_pixels=True, specific_tags=[0x00080005])
            syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
            if syntax == DEFLATED:
                begin = 144 + int(dataset.file_meta.FileMetaInformationGroupLength)
                inside = zlib.decompressobj(-zlib.MAX_WBITS)
                plain = inside.decompress(file[begin:], INFLATED + INFLATION * len(file))
                if inside.unconsumed_tail:
                    raise NodeFaulty("gave out an instance that becomes too large when it is inflated")
                inflated = read_dataset(BytesIO(plain), is_implicit_VR=False, is_little_endian=True)
                inflated.file_meta = dataset.file_meta
                return inflated
            source.seek(0)
            return dcmread(source, stop_before_pixels=not pixels)
    except NodeFaulty:
        raise
    except Exception:  # pydicom raises whatever a broken file makes it meet
        raise NodeFaulty("gave out an instance that is no DICOM file that can be read") from None


def object_of(dataset: Dataset, at: str) -> dict[str, Any]:
    """A dataset in DICOM JSON. An element that cannot be told is there without a value."""
    told: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tag in sorted(dataset.keys()):
            if tag in _PIXEL_DATA or tag.element == 0:  # F.2.2: no group lengths
                continue
            name = f"{int(tag):08X}"
            try:
                told[name] = _element(dataset[tag], f"{at}/{name}")
            except Exception:  # the values of a file are what its machine wrote
                told[name] = {"vr": str(getattr(dataset.get_item(tag), "VR", None) or "UN")[:2]}
    return told


def _element(element: DataElement, at: str) -> dict[str, Any]:
    if element.VR == "SQ":
        items = [object_of(item, f"{at}/{number}") for number, item in enumerate(element.value)]
        return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
    if element.VR in _BINARY and isinstance(element.value, bytes):
        if not element.value:
            return {"vr": element.VR}
        if len(element.value) > INLINE:
            return {"vr": element.VR, "BulkDataURI": at}
        return {"vr": element.VR, "InlineBinary": base64.b64encode(element.value).decode()}
    told: dict[str, Any] = element.to_json_dict(None, INLINE)
    encoded(told)  # what has no place in JSON, such as half of a surrogate pair, is found here
    return told


def _count(dataset: Dataset) -> int:
    try:
        return int(dataset.get("NumberOfFrames") or 1)
    except (TypeError, ValueError):
        raise NodeFaulty("gave out an instance with a number of frames that is none") from None


def _native(dataset: Dataset, numbers: Sequence[int]) -> list[bytes]:
    try:
        samples = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("SamplesPerPixel") or 1)
        bits, pixels = samples * int(dataset.BitsAllocated), bytes(dataset[_PIXELS].value)
    except (AttributeError, TypeError, ValueError):
        raise NodeFaulty("gave out an instance that does not say how large its frames are") from None
    if dataset.get("PhotometricInterpretation") == "YBR_FULL_422":
        bits = bits * 2 // 3  # PS3.3 section C.7.6.3.1.2: two of three samples
    if bits % 8:
        raise NotAcceptable("frames of this instance share bytes; retrieve the instance")
    size = bits // 8
    if not size or len(pixels) < size * max(numbers, default=0):
        raise NodeFaulty("gave out an instance with fewer pixels than it says")
    return [pixels[size * (number - 1) : size * number] for number in numbers]


def _encapsulated(dataset: Dataset, count: int, numbers: Sequence[int]) -> list[bytes]:
    from pydicom.encaps import generate_frames

    offsets = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    extended = (offsets[0], offsets[1]) if offsets[0] and offsets[1] else None
    wanted, found = set(numbers), dict[int, bytes]()
    frames = generate_frames(dataset[_PIXELS].value, number_of_frames=count, extended_offsets=extended)
    for number, frame in enumerate(frames, 1):
        if number in wanted:
            found[number] = frame
        if number >= max(numbers):
            break
    return [found[number] for number in numbers]


def _media(syntax: str) -> str:
    if syntax == "1.2.840.10008.1.2.5":
        return "image/dicom-rle"
    last = syntax.removeprefix(_JPEG)
    number = int(last) if syntax.startswith(_JPEG) and last.isdigit() else 0
    if number in _MEDIA:
        return _MEDIA[number]
    if number in _VIDEO:
        raise NotAcceptable("this instance is a video, which has no frames of its own; retrieve the instance")
    raise NotAcceptable("frames of this transfer syntax cannot be given out as they are")
