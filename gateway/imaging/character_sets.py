"""Whether the texts of an instance are in the character set that it states (PS3.5 §6.1), and what they are
where not.

pydicom knows the names of character sets and their escape sequences; what does not fit it decodes with
losses, so the decoding here is Python's own, which does not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydicom.charset import CODES_TO_ENCODINGS, handled_encodings, python_encoding

from gateway.imaging.elements import Data, Element
from gateway.imaging.instances import UNREADABLE, Refused

CHARSET = 0x00080005
_TEXTS = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))  # PS3.5 §6.1.2.2: what (0008,0005) is for
_HANZI = re.compile("[\u3400-\u9fff]")
_ASCII = ("", "ISO_IR 6", "ISO 2022 IR 6")
_LATIN = re.compile(r"latin_1|iso8859_\d|iso_ir_\d+")


class Texts:
    """Looks whether texts are in the character set that they are said to be in; items of sequences may state
    one of their own, and have that of what they stand in otherwise (PS3.5 §7.5.3)."""

    def __init__(self) -> None:
        self._sets: list[tuple[int, tuple[str, ...]]] = [(0, ("ascii",))]

    def take(self, one: Element, data: Data) -> None:
        """Look at an element. Raises Refused."""
        if one.tag != CHARSET and one.vr not in _TEXTS:
            return
        del self._sets[one.depth + 1 :]
        if len(self._sets) > one.depth > 0 and self._sets[one.depth][0] != one.item:
            del self._sets[one.depth]
        while len(self._sets) <= one.depth:
            self._sets.append((one.item, self._sets[-1][1]))
        if one.tag == CHARSET:
            self._sets[one.depth] = (one.item, encodings_of(data[one.start : one.start + one.length]))
            return
        value = data[one.start : one.start + one.length].rstrip(b"\0 ")
        stated = self._sets[one.depth][1]
        if value.isascii() and b"\x1b" not in value:
            return
        fits, probably = decodes(value, stated), likely(value)
        if not fits or meant(value, stated):
            told = f"; probably {probably}" if probably else ""
            raise Refused(UNREADABLE, f"has text not in its character set{told}")


def encodings_of(value: bytes) -> tuple[str, ...]:
    """Python's names of what a Specific Character Set (0008,0005) states. Raises Refused."""
    names = [name.strip() for name in value.decode("latin-1").rstrip("\0 ").split("\\")]
    if any(name not in python_encoding and name not in _ASCII for name in names):
        raise Refused(UNREADABLE, "states a character set that DICOM does not have")
    return tuple("ascii" if name in _ASCII else python_encoding[name] for name in names)


def decodes(value: bytes, encodings: Sequence[str]) -> bool:
    """Whether all of a text is in these character sets, with code extensions (PS3.5 §6.1.2.5)."""
    try:
        for fragment in re.findall(rb"^[^\x1b]+|\x1b[^\x1b]*", value):
            if not fragment.startswith(b"\x1b"):
                fragment.decode(encodings[0])
                continue
            code = fragment[: 4 if fragment.startswith((b"\x1b$(", b"\x1b$)")) else 3]
            encoding = CODES_TO_ENCODINGS.get(code, "")
            if encoding not in (*encodings, "iso8859") or len(encodings) < 2:
                return False
            fragment[0 if encoding in handled_encodings else len(code) :].decode(encoding)
    except UnicodeError:
        return False
    return True


def likely(value: bytes) -> str:
    """What bytes are that are no ASCII: the term of PS3.3 table C.12.1.1.2, or nothing."""
    for encoding, term in (("utf-8", "ISO_IR 192 (UTF-8)"), ("gb18030", "GB18030")):
        try:
            value.decode(encoding)
        except UnicodeError:
            continue
        return term
    return ""


def meant(value: bytes, encodings: Sequence[str]) -> bool:
    """Whether bytes that can be read as stated are Hanzi of another encoding beyond doubt: two characters or
    more, and nothing but them."""
    first, other = encodings[0], ""
    if first.lower() in ("gb18030", "gbk", "gb2312") or _LATIN.fullmatch(first):
        other = "utf-8"
        if not _hanzi(value, other) and _LATIN.fullmatch(first):
            other = "gb2312"
    return len(encodings) == 1 and bool(other) and _hanzi(value, other)


def _hanzi(value: bytes, encoding: str) -> bool:
    try:
        told = [char for char in value.decode(encoding) if not char.isascii()]
    except UnicodeError:
        return False
    return len(told) > 1 and all(_HANZI.match(char) for char in told)
