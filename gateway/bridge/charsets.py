"""Texts of what an archive answers to a C-FIND, and the character set in which it is asked.

Many archives send names in GB18030 or UTF-8 and name no Specific Character Set (0008,0005), or a wrong one:
:func:`gateway.imaging.texts.decoded` reads them as what they can be proven to be. What is named counts first,
then what the operator says that the archive uses.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset

from gateway.imaging.texts import decoded

UTF8 = "ISO_IR 192"

TEXTS = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
_CODECS = {UTF8: "utf-8", "GB18030": "gb18030", "GBK": "gbk"}


def settle(answer: Dataset, charsets: Sequence[str]) -> None:
    """Decode the texts of an answer, as it was read off the wire; ``charsets`` is what the archive uses where
    it names none."""
    charsets = _named(answer) or charsets
    for tag in list(answer.keys()):
        element = answer.get_item(tag)
        if isinstance(element, RawDataElement) and element.value:
            vr = element.VR or (dictionary_VR(tag) if dictionary_has_tag(tag) else "UN")
            if vr in TEXTS:
                answer[tag] = DataElement(tag, vr, decoded(element.value.rstrip(b" \0"), charsets))
            elif vr == "SQ":
                for item in answer[tag].value:
                    settle(item, charsets)


def speak(keys: Dataset, charset: str) -> None:
    """Name the character set of a query whose keys need one: the archive's where it has the characters."""
    texts = "\n".join(str(element.value) for element in keys if element.VR in TEXTS and element.value)
    if not texts.isascii():
        keys.SpecificCharacterSet = charset if charset and _has(texts, charset) else UTF8


def _named(answer: Dataset) -> list[str]:
    value = answer.get("SpecificCharacterSet")
    values = [value] if isinstance(value, str) else list(value or ())
    return [str(one).strip() for one in values] if any(values) else []


def _has(texts: str, charset: str) -> bool:
    try:
        texts.encode(_CODECS.get(charset, "ascii"))
    except UnicodeEncodeError:
        return False
    return True
