"""Whether a DICOM file may be stored (PS3.10, PS3.5): its structure, its UIDs, whose it is, its texts.

What one reader could take otherwise than another is refused before an archive reads it, and so is what could
not be found or shown again: a name whose bytes are not in the character set that it states is lost to
everybody who believes it. Nothing is mended here; the message says what it probably is.

pydicom has the dictionaries; it is loaded with the first instance.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import re
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom.datadict import dictionary_VR
from pydicom.uid import UID

from gateway.imaging.character_sets import Texts
from gateway.imaging.elements import PIXEL_DATA, Data, Element, Malformed, Syntax, walk
from gateway.imaging.instances import CLASS, MISMATCH, SYNTAX, UNREADABLE, Instance, Refused
from gateway.imaging.parts_in import Span
from quality.record import DICOM_UID

_MAGIC, _META = b"DICM", Syntax()
_PROGRAMS = (b"MZ", b"\x7fELF", b"#!")
"""What no preamble begins with (PS3.10 §7.1 leaves it open): the file would be a program as well."""
_SYNTAXES = {
    "1.2.840.10008.1.2": Syntax(explicit=False),
    "1.2.840.10008.1.2.2": Syntax(order="big"),
}
_DEFLATED = "1.2.840.10008.1.2.1.99"
_REFUSED_SYNTAXES = ("JPIP", "SMPTE", "RFC 2557", "XML", "Papyrus")
"""Whose pixel data lie elsewhere, or that are no files."""
_STORAGE = ("1.2.840.10008.5.1.4.1.1.", "1.2.840.10008.5.1.4.34.")

_NO_SINGLE_VALUE = re.compile(r"[*?\\\x00-\x1f\x7f-\x9f\ufffd]")
"""Wildcards (PS3.4 §C.2.2.2.4), what separates values, and what is no character (PS3.5 §6.1.3)."""

_CLASS_TAG, _INSTANCE_TAG = 0x00080016, 0x00080018
_PATIENT, _ISSUER, _STUDY, _SERIES = 0x00100020, 0x00100021, 0x0020000D, 0x0020000E
_SAMPLES, _PHOTOMETRIC, _FRAMES = 0x00280002, 0x00280004, 0x00280008
_ROWS, _COLUMNS, _BITS = 0x00280010, 0x00280011, 0x00280100
_PIXELS = (_ROWS, _COLUMNS, _SAMPLES, _FRAMES, _BITS)
_WANTED = frozenset((_CLASS_TAG, _INSTANCE_TAG, _PATIENT, _ISSUER, _STUDY, _SERIES, _PHOTOMETRIC, *_PIXELS))


def examine(data: Data, span: Span, most: int, folder: Path | None = None) -> Instance:
    """The instance of a part.

    Args:
        data: where the part lies.
        most: bytes of a deflated one when it is inflated, for which ``folder`` has room.

    Raises:
        Refused: it is not stored.
    """
    sop_class = uid = ""
    try:
        sop_class, uid, syntax, start = _meta(data, span)
        kind, transfer = UID(sop_class), UID(syntax)
        if kind.type != "SOP Class" or "Storage" not in kind.name or not kind.startswith(_STORAGE):
            raise Refused(CLASS, "SOP Class is none that is stored here")
        if transfer.type != "Transfer Syntax" or transfer.name.startswith(_REFUSED_SYNTAXES):
            raise Refused(SYNTAX, "Transfer Syntax is none that is stored here")
        written = _SYNTAXES.get(syntax, Syntax())
        end = span.start + span.length
        if syntax == _DEFLATED:
            with _inflated(data, start, end, most, folder) as inflated:
                values = _values(inflated, 0, len(inflated), written)
        else:
            values = _values(data, start, end, written)
        uid = values.uid(_INSTANCE_TAG, "SOP Instance")  # the file's meta information may have a former one
        if values.text(_CLASS_TAG) != sop_class:
            raise Refused(MISMATCH, "SOP Class UID is another one than in its file meta")
        patient = values.patient
        if patient is None or _NO_SINGLE_VALUE.search(patient):
            raise Refused(UNREADABLE, "Patient ID is missing or no single value")
        return Instance(
            span=span,
            sop_class=sop_class,
            syntax=syntax,
            uid=uid,
            study=values.uid(_STUDY, "Study"),
            series=values.uid(_SERIES, "Series"),
            patient=patient,
            issuer=values.text(_ISSUER),
            sha256=_digest(data, span),
        )
    except Malformed as wrong:
        raise Refused(UNREADABLE, str(wrong), sop_class, uid) from None
    except Refused as refused:
        refused.sop_class, refused.uid = sop_class, uid
        raise


def _meta(data: Data, span: Span) -> tuple[str, str, str, int]:
    """SOP Class and Instance UID and Transfer Syntax UID of the File Meta Information (PS3.10 §7.1), and
    where the data set begins."""
    start, end = span.start + 132, span.start + span.length
    if data[start - 4 : min(start, end)] != _MAGIC or data[span.start : start].startswith(_PROGRAMS):
        raise Malformed("is no DICOM file: no preamble with DICM")
    head = data[start : start + 12]
    if end - start < 12 or head[:8] != b"\x02\x00\x00\x00UL\x04\x00":
        raise Malformed("has no File Meta Information Group Length")
    begins = start + 12 + int.from_bytes(head[8:], "little")
    if begins > end:
        raise Malformed("is cut off in its File Meta Information")
    read = _Values()
    for one in walk(data, start, begins, _META, _vr_of):
        if one.tag >> 16 != 2:
            raise Malformed("has a wrong File Meta Information Group Length")
        if one.tag in (0x00020002, 0x00020003, 0x00020010):
            read.take(one, data)
    return (
        read.uid(0x00020002, "Media Storage SOP Class"),
        read.uid(0x00020003, "Media Storage SOP Instance"),
        read.uid(0x00020010, "Transfer Syntax"),
        begins,
    )


class _Values:
    """The values that are asked for."""

    def __init__(self) -> None:
        self._found: dict[int, bytes] = {}
        self.patient: str | None = None

    def take(self, one: Element, data: Data) -> None:
        if one.length > 1024:
            raise Malformed("has an identifying value of more than 1024 bytes")
        self._found[one.tag] = data[one.start : one.start + one.length]

    def raw(self, tag: int) -> bytes | None:
        return self._found.get(tag)

    def text(self, tag: int) -> str:
        return self._found.get(tag, b"").decode("latin-1").rstrip("\0 ").lstrip(" ")

    def uid(self, tag: int, name: str) -> str:
        """Raises Malformed unless it is one (PS3.5 §9.1)."""
        found = self._found.get(tag, b"").decode("latin-1").removesuffix("\0")  # PS3.5 §9.1: to even length
        if not DICOM_UID.fullmatch(found):
            raise Malformed(f"{name} UID is {'no UID' if found else 'missing'}")
        return found

    def number(self, tag: int, syntax: Syntax) -> int:
        """Of VR US, or IS for the number of frames; 1 where there is none."""
        value = self._found.get(tag, b"")
        if tag == _FRAMES:
            text = self.text(tag)
            return int(text) if re.fullmatch(r"\d{1,9}", text) else 1
        return int.from_bytes(value, syntax.order) if value else 1


def _values(data: Data, start: int, end: int, syntax: Syntax) -> _Values:
    """What is read of a data set, all of which is gone through."""
    values, texts = _Values(), Texts()
    for one in walk(data, start, end, syntax, _vr_of):
        if one.tag >> 16 < 8:
            raise Malformed("has elements of a group that no data set has")
        texts.take(one, data)
        if one.depth == 0 and one.tag in _WANTED:
            values.take(one, data)
        if one.depth == 0 and one.tag == PIXEL_DATA:
            _pixels(one, values, syntax)
    if (number := values.raw(_PATIENT)) is not None and (text := texts.of(number)) is not None:
        values.patient = text.strip(" ")
    return values


def _pixels(one: Element, values: _Values, syntax: Syntax) -> None:
    """Whether native pixels are as many as the header says (PS3.5 §8.1.1). Raises Malformed."""
    if values.text(_PHOTOMETRIC).endswith(("_422", "_420")):
        return
    bits = math.prod(values.number(tag, syntax) for tag in _PIXELS)
    if one.length < -(-bits // 8):
        raise Malformed("has fewer pixels than its header says")


@contextmanager
def _inflated(data: Data, start: int, end: int, most: int, folder: Path | None) -> Iterator[Data]:
    """The data set of a deflated file (PS3.5 §A.5), at most so many bytes of it. Raises Malformed."""
    inflate, rest = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            for at in range(start, end, 65_536):
                piece = data[at : min(at + 65_536, end)]
                rest = end - at - len(piece)
                while piece and not inflate.eof:
                    file.write(inflate.decompress(piece, 65_536))
                    piece = inflate.unconsumed_tail
                    if file.tell() > most:
                        raise Malformed(f"inflates to more than {most} bytes")
                if inflate.eof:
                    break
            else:
                file.write(inflate.flush())  # the end of a last match, at most
        except zlib.error:
            raise Malformed("is not deflated as it says") from None
        if not inflate.eof or len(inflate.unused_data) + rest > 8:  # padding, or the end of a gzip
            raise Malformed("does not end where its deflated bytes do")
        if not file.tell():
            raise Malformed("has no data set")
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield mapped


def _digest(data: Data, span: Span) -> str:
    with memoryview(data) as view, view[span.start : span.start + span.length] as part:
        return hashlib.sha256(part).hexdigest()


def _vr_of(tag: int) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"
