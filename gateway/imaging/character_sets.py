"""Whether the texts of an instance are in the character set that it states (PS3.5 §6.1), and what they are
where not.

pydicom knows the names of character sets and their escape sequences; what does not fit it decodes with
losses, so the decoding here is Python's own, which does not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydicom.charset import CODES_TO_ENCODINGS, handled_encodings, python_encoding

from gateway.imaging.elements import ITEM, Data, Element
from gateway.imaging.instances import UNREADABLE, Refused

CHARSET = 0x00080005
_TEXTS = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))  # PS3.5 §6.1.2.2: what (0008,0005) is for
_HANZI = re.compile("[\u3400-\u9fff]")
_ASCII = ("", "ISO_IR 6", "ISO 2022 IR 6")
_NAMES = python_encoding | {"ISO_IR 203": "iso8859_15", "ISO 2022 IR 203": "iso8859_15"}
_CODES = CODES_TO_ENCODINGS | {b"\x1b-b": "iso8859_15"}
"""pydicom's, and Latin-9 (PS3.3 tables C.12-2 and C.12-3)."""
_BESIDE_SMALL = re.compile(rb"[a-z][\x80-\xff]|[\x80-\xff][a-z]")
_CAPITAL_AFTER_SMALL = re.compile(rb"[a-z\xdf-\xff][\xc0-\xde]")
_NO_LETTER = re.compile(rb"[\x80-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf\xd7\xf7]")


class Texts:
    """Looks whether texts are in the character set that they are said to be in; items of sequences may state
    one of their own, and have that of what they stand in otherwise (PS3.5 §7.5.3)."""

    def __init__(self) -> None:
        self._sets: list[tuple[str, ...]] = [("ascii",)]

    def take(self, one: Element, data: Data) -> None:
        """Look at an element. Raises Refused."""
        if one.tag == ITEM:
            self._sets[one.depth :] = [self._sets[one.depth - 1]]
        elif one.tag == CHARSET:
            self._sets[one.depth] = encodings_of(data[one.start : one.start + one.length])
        elif one.vr in _TEXTS:
            value = data[one.start : one.start + one.length]
            if (not value.isascii() or b"\x1b" in value) and self.of(value, one.depth) is None:
                told = f"; probably {probably}" if (probably := likely(value)) else ""
                raise Refused(UNREADABLE, f"has text not in its character set{told}")

    def of(self, value: bytes, depth: int = 0) -> str | None:
        """A text of the data set, or of its item at this depth; None where it is in another character set."""
        stated = self._sets[depth]
        value = value.rstrip(b"\0 ")
        return None if mislabelled(value, stated) else decoded(value, stated)


def encodings_of(value: bytes) -> tuple[str, ...]:
    """Python's names of what a Specific Character Set (0008,0005) states. Raises Refused."""
    names = [name.strip() for name in value.decode("latin-1").rstrip("\0 ").split("\\")]
    if any(name not in _NAMES for name in names):
        raise Refused(UNREADABLE, "states a character set that DICOM does not have")
    return tuple("ascii" if name in _ASCII else _NAMES[name] for name in names)


def decoded(value: bytes, encodings: Sequence[str]) -> str | None:
    """A text in these character sets with code extensions (PS3.5 §6.1.2.5); None where it is not all in
    them."""
    text = ""
    try:
        for fragment in re.findall(rb"^[^\x1b]+|\x1b[^\x1b]*", value):
            if not fragment.startswith(b"\x1b"):
                text += fragment.decode(encodings[0])
                continue
            code = fragment[: 4 if fragment.startswith((b"\x1b$(", b"\x1b$)")) else 3]
            encoding = _CODES.get(code, "")
            if encoding not in (*encodings, "iso8859"):
                return None
            text += fragment[0 if encoding in handled_encodings else len(code) :].decode(encoding)
    except UnicodeError:
        return None
    return text


def likely(value: bytes) -> str:
    """What bytes are that are no ASCII: the term of PS3.3 table C.12.1.1.2, or nothing."""
    for encoding, term in (("utf-8", "ISO_IR 192 (UTF-8)"), ("gb18030", "GB18030")):
        try:
            value.decode(encoding)
        except UnicodeError:
            continue
        return term
    return ""


def mislabelled(value: bytes, encodings: Sequence[str]) -> bool:
    """Whether bytes that can be read as stated are Hanzi of another encoding beyond doubt: two characters or
    more, and nothing but them. Western words are none, though each pair of letters is a Hanzi of GB 2312
    (``Größe``, ``AGRÉÉE``), and neither are the alphabets of other labels."""
    if len(encodings) > 1:
        return False
    match encodings[0]:
        case "latin_1":
            words = _BESIDE_SMALL.search(value) or not (
                _NO_LETTER.search(value) or _CAPITAL_AFTER_SMALL.search(value)
            )
            return _hanzi(value, "utf-8") or (not words and _hanzi(value, "gb2312"))
        case "GB18030" | "GBK" | "GB2312":
            return _hanzi(value, "utf-8") and not _hanzi(value, "gb2312")
    return False


def _hanzi(value: bytes, encoding: str) -> bool:
    try:
        told = [char for char in value.decode(encoding) if not char.isascii()]
    except UnicodeError:
        return False
    return len(told) > 1 and all(_HANZI.match(char) for char in told)
