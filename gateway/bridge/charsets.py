"""The character set of what an archive answers to a C-FIND, and of what it is asked in.

Many archives send names in GB18030 or UTF-8 and name no Specific Character Set (0008,0005), or a wrong one.
What is named is taken where the bytes are such; else what the operator says that the archive uses; else what
the bytes can be. A set of one byte that is named is never doubted here: every byte is a letter in it.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

UTF8, GB18030 = "ISO_IR 192", "GB18030"

_TEXTS = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
_CODECS = {UTF8: "utf-8", GB18030: "gb18030", "GBK": "gbk"}
_ASCII = ("", "ISO_IR 6")
_EXTENDED = ["", "ISO 2022 IR 58", "ISO 2022 IR 87", "ISO 2022 IR 149"]  # each is told by its own escapes


def settle(match: Dataset, charset: str) -> None:
    """Give an answer, as it was read off the wire, the character set that its bytes are in.

    ``charset`` is what the archive uses where it does not say.
    """
    texts = b"\n".join(_texts(match))
    found = charset_of(_named(match), texts, charset)
    encoding = match.original_encoding
    match.SpecificCharacterSet = found
    match.set_original_encoding(encoding[0], encoding[1], convert_encodings(found))


def charset_of(named: list[str], texts: bytes, charset: str) -> list[str]:
    """The Specific Character Set of these bytes, of which ``named`` is told."""
    if texts.isascii() and b"\x1b" not in texts:
        return named or [UTF8]
    if b"\x1b" in texts:
        return named if len(named) > 1 else [*named[:1], *_EXTENDED[1:]] if named else _EXTENDED
    if named and named[0] not in _ASCII and (named[0] not in _CODECS or _is(texts, named[0])):
        return named
    return next(([one] for one in (charset, UTF8, GB18030) if _is(texts, one)), named or [UTF8])


def speak(keys: Dataset, charset: str) -> None:
    """Name the character set of a query whose keys need one: the archive's where it has the characters."""
    texts = "\n".join(str(element.value) for element in keys if element.VR in _TEXTS and element.value)
    if not texts.isascii():
        keys.SpecificCharacterSet = charset if charset and _has(texts, charset) else UTF8


def _named(match: Dataset) -> list[str]:
    value = match.get("SpecificCharacterSet")
    values = [value] if isinstance(value, str) else list(value or ())
    return [str(one).strip() for one in values] if any(values) else []


def _texts(dataset: Dataset) -> Iterable[bytes]:
    for tag in dataset.keys():  # noqa: SIM118 - iterating a dataset would decode it
        element = dataset.get_item(tag)
        if isinstance(element, RawDataElement) and element.value and _vr(element) in _TEXTS:
            yield element.value


def _vr(element: RawDataElement) -> str:
    """Its value representation, which implicit transfer syntaxes leave to the dictionary."""
    return element.VR or (dictionary_VR(element.tag) if dictionary_has_tag(element.tag) else "UN")


def _is(texts: bytes, charset: str) -> bool:
    try:
        texts.decode(_CODECS.get(charset, "ascii"))
    except UnicodeDecodeError:
        return False
    return True


def _has(texts: str, charset: str) -> bool:
    try:
        texts.encode(_CODECS.get(charset, "ascii"))
    except UnicodeEncodeError:
        return False
    return True
