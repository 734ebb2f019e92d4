"""Names and texts of DICOM JSON as they were meant, where an archive lost their character set on the way.

DICOM JSON is UTF-8 (PS3.18 §F.2). Archives in China hold GB18030 and GBK, often unlabelled or labelled as
Latin-1 (PS3.3 §C.12.1.1.2), and some write the bytes as if each were a character, or leave the escape
sequences of ISO 2022 in (PS3.5 §6.1.2.5). Such a text is put right only with a proof: its characters are
bytes again, all of these are the Hanzi, kana, hangul or signs of one character set, and written in that they
are the same bytes. Without a label, that has to hold for whole pairs and fours of bytes, with a common Hanzi
among them and no word of Latin letters around: ``Größe`` and ``CORAÇÃO`` stay what they are. A label of
another character set is believed in its place; one says nothing where other texts beside it came right. What
was lost for good, as U+FFFD, question marks, or a name of which nothing but separators is left, is read
anew from the header of an image (:func:`from_header`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from typing import Any

from gateway.imaging.keywords import TAG

Dataset = dict[str, Any]

CHARSET = "00080005"
_TEXTS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_CHINESE = frozenset({"GB18030", "GBK", "ISO 2022 IR 58", "ISO 2022 GB18030", "ISO 2022 GBK"})
_OTHERS = {
    "ISO_IR 144": "iso8859-5", "ISO_IR 127": "iso8859-6", "ISO_IR 126": "iso8859-7",
    "ISO_IR 138": "iso8859-8", "ISO_IR 166": "tis-620", "ISO_IR 13": "shift_jis", "ISO 2022 IR 149": "euc_kr",
}  # fmt: skip
"""Character sets whose letters are none of Latin-1 (PS3.3 tables C.12-2 to C.12-4), and Python's codecs."""

_LETTER = re.compile(
    r"[\u2e80-\u2fd5\u3040-\u30ff\uff66-\uff9f\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff]"
)
_SIGNS = re.compile(
    r"[\x20-\x7e\t\r\n\f\xb0\xb1\xb7\xd7\xf7\u0391-\u03c9\u2010-\u203b\u2103-\u22ff\u2460-\u25ff"
    r"\u3000-\u30ff\uff01-\uffee]"
)
_PAIR = (
    rb"(?:[\x09-\x7e]|[\x81-\xa0][\x80-\xfe]|[\xa1-\xa9\xb0-\xf7][\xa1-\xfe]"
    rb"|[\x81-\x9f][0-9][\x81-\xfe][0-9])"  # GBK/3, GB 2312, and four bytes of GB18030
)
_PAIRS = re.compile(_PAIR + rb"+")
_COMMON = re.compile(_PAIR + rb"*?(?:[\xb0-\xd7][\xa1-\xfe]|[\x81-\x9f][0-9][\x81-\xfe][0-9])")  # level 1
_WITHIN_LATIN = re.compile(rb"[a-z][\x80-\xff]|[\xa1-\xff][a-z]")
_GB2312 = re.compile(rb"[\xb0-\xf7][\xa1-\xfe]")
_TOUCHING = re.compile(r"[0-9A-Za-z][^\x00-\x7f]|[^\x00-\x7f][0-9A-Za-z]")
_TWO = re.compile(r"[\u3400-\u9fff]{2}")
_BELOW = ("0020000E", "00080018")
"""By what an image and its series are known."""
_OF_STUDY = frozenset({"00081030", "00080080", "00080090", "00081048", "00081060", "00321060"})
"""What all images of a study say alike, besides the patient."""
_ESCAPE = re.compile(r"\x1b[ -/]+[0-~]")
_LOST_NAME = re.compile(r"\^.*|[\^= ]*+\?[?^= ]*+", re.DOTALL)
_LEFT = r"\$(?:[@B]|\(D|\)[AC])[!-~]{2}"  # of an escape sequence whose first byte was dropped
_LOST = re.compile(rf"\ufffd|\?\?|{_LEFT}")
_DROPPED = re.compile(_LEFT.encode())
_WITHOUT = re.compile(rb'"Ideographic"\s*:\s*"[ -!#-\[\]-~]+"')
_CODECS = {
    "(B": "ascii", "(J": "shift_jis", ")I": "shift_jis", "$)A": "gb2312", "$)C": "euc_kr",
    "-A": "latin-1", "-B": "iso8859-2", "-C": "iso8859-3", "-D": "iso8859-4", "-L": "iso8859-5",
    "-G": "iso8859-6", "-F": "iso8859-7", "-H": "iso8859-8", "-M": "iso8859-9", "-T": "tis-620",
}  # fmt: skip
"""Escape sequences (PS3.3 tables C.12-3 and C.12-4) and Python's codecs; those of Japanese in G0 follow."""
_STATEFUL = {"$B": "iso2022_jp", "$@": "iso2022_jp", "$(D": "iso2022_jp_2"}

_OCTETS = {ord(char): n for n in range(128, 160) if (char := bytes([n]).decode("cp1252", "ignore"))}


def suspicious(body: bytes) -> bool:
    """Whether there may be a text in a body of JSON that is not as it was meant; it costs next to nothing.

    Characters from U+0080 to U+00FF begin with C2 or C3 in UTF-8, and nothing else holds these bytes.
    """
    return (
        (b"\xc3" in body or b"\xc2" in body)
        or (b"\\" in body and (b"\\u00" in body or b"\\ufffd" in body))
        or (b"\xef" in body and b"\xef\xbf\xbd" in body)
        or (b"?" in body and (b"??" in body or b'"?' in body))
        or (b"$" in body and _DROPPED.search(body) is not None)
        or _WITHOUT.search(body) is not None
    )


def mended(dataset: Dataset) -> tuple[Dataset, bool]:
    """A data set with every text put right that can be proven, and whether some text is lost."""
    named, texts = dataset.get(CHARSET), _texts(dataset)
    declared = named.get("Value") if isinstance(named, dict) else None
    labels = [str(one) for one in declared] if isinstance(declared, list) else []
    right = any(_octets(text) is None and any(map(str.isalpha, _foreign(text))) for text in texts)
    other = _OTHERS.get(labels[-1], "") if labels and not right else ""
    hinted = (not _CHINESE.isdisjoint(labels) or any(map(_certain, texts))) and not right and not other
    told = _mapped(dataset, lambda text: repaired(text, hinted=hinted, other=other))
    lost = any(map(_is_lost, _texts(told))) or any(map(_without_hanzi, told.values()))
    return told, lost


def repaired(text: str, *, hinted: bool = False, other: str = "") -> str:
    """A text as it was meant; itself where nothing else is proven. ``hinted``: its data set is known to be
    in a Chinese character set; ``other``: to be in this one (Python's codec)."""
    if "\x1b" in text:
        return _without_escapes(text)
    if text.isascii() or (octets := _octets(text)) is None:
        return text
    return _proven(octets, "utf-8") or (_in_other(octets, other) if other else _in_gb(octets, hinted)) or text


def decoded(value: bytes, charsets: Sequence[str]) -> str:
    """The text of an element whose data set says these values of Specific Character Set (none: empty), which
    may be wrong (PS3.5 §6.1.2)."""
    text = value.decode("latin-1")
    if "\x1b" in text:
        meant = _without_escapes(text)
        return meant if "\x1b" not in meant else _by_escapes(value, charsets) or meant
    for codec in ("gb18030",) * (not _CHINESE.isdisjoint(charsets)) + ("utf-8",):
        if found := _proven(value, codec):
            return found
    meant = repaired(text, other=_OTHERS.get(charsets[-1], "") if charsets else "")
    return meant if meant != text else _by_label(value, charsets)


def from_header(dataset: Dataset, header: bytes) -> Dataset:
    """A data set whose lost texts are read from the header of one of its images (a DICOM file, as far as its
    beginning is there), or of another image of its study, which says nothing of its series; itself where that
    cannot be read."""
    try:
        return {**dataset, **_read_anew(dataset, header)}
    except Exception:  # whatever a broken file makes pydicom raise
        return dataset


def _read_anew(dataset: Dataset, header: bytes) -> Dataset:
    """The elements with lost texts, as the header has them."""
    from pydicom import dcmread

    file = dcmread(BytesIO(header), stop_before_pixels=True, force=True)
    named = file.get("SpecificCharacterSet") or []
    charsets = [named] if isinstance(named, str) else [str(one) for one in named]
    same = all(_of(dataset.get(tag) or {}) in ([], [str(file[tag].value)]) for tag in _BELOW if tag in file)
    read: Dataset = {}
    for tag, element in dataset.items():
        is_text = isinstance(element, dict) and str(element.get("vr")) in _TEXTS and TAG.fullmatch(tag)
        if not (is_text and (same or tag in _OF_STUDY or tag.startswith("0010"))):
            continue
        value = getattr(file.get_item(int(tag, 16)), "value", None)
        if isinstance(value, bytes):
            text, vr = decoded(value.rstrip(b" \0"), charsets), element["vr"]
            if _is_left(_of(element), text, value) or _without_hanzi(element):
                values = [_name(one) if vr == "PN" else one for one in text.split("\\")]
                read[tag] = {"vr": vr, "Value": values}
    return read


def _is_left(told: list[str], text: str, value: bytes) -> bool:
    """Whether an archive told what is left of a text without its Hanzi: signs that stand for them, nothing,
    or all of it that is ASCII and no more."""
    left, kept = "".join(told), ("", _bare(text), _bare(value.decode("latin-1")))
    dropped = left.isascii() and not text.isascii() and _bare(left) in kept
    return dropped or any(map(_is_lost, told))


def _without_hanzi(element: Any) -> bool:
    """Whether a name has an ideographic group and nothing ideographic in it: escape sequences were dropped,
    and the bytes of its Hanzi are letters now."""
    if not isinstance(element, dict) or element.get("vr") != "PN":
        return False
    values = element.get("Value")
    names = (
        [one.get("Ideographic") for one in values if isinstance(one, dict)]
        if isinstance(values, list)
        else []
    )
    return any(isinstance(one, str) and one.isascii() and one.strip(" ^") for one in names)


def _bare(text: str) -> str:
    """What is ASCII of a text, without spaces and what parts values and groups."""
    return re.sub(r"[^!-<>-\[\]-~]", "", text)


def _mapped(dataset: Dataset, change: Callable[[str], str]) -> Dataset:
    """A data set with every text of it changed, those in sequences too."""
    told = dict(dataset)
    for tag, element in dataset.items():
        values = element.get("Value") if isinstance(element, dict) else None
        if not isinstance(values, list):
            continue
        if element.get("vr") == "SQ":
            values = [_mapped(item, change) if isinstance(item, dict) else item for item in values]
        elif element.get("vr") == "PN":
            values = [
                {group: change(text) if isinstance(text, str) else text for group, text in name.items()}
                if isinstance(name, dict)
                else name
                for name in values
            ]
        elif str(element.get("vr")) in _TEXTS:
            values = _changed(values, change)
        else:
            continue
        told[tag] = {**element, "Value": values}
    return told


def _changed(values: list[Any], change: Callable[[str], str]) -> list[Any]:
    """Texts of one element. The second byte of a Hanzi in GBK may be a backslash, which parts values."""
    if len(values) > 1 and all(isinstance(one, str) for one in values):
        whole = "\\".join(values)
        if (meant := change(whole)) != whole:
            return meant.split("\\")
    return [change(one) if isinstance(one, str) else one for one in values]


def _texts(dataset: Mapping[str, Any]) -> list[str]:
    """All texts of a data set; of names, each group."""
    found: list[str] = []
    for element in dataset.values():
        if isinstance(element, dict):
            if element.get("vr") == "SQ":
                items = element.get("Value")
                for item in items if isinstance(items, list) else ():
                    found += _texts(item) if isinstance(item, dict) else ()
            elif str(element.get("vr")) in _TEXTS:
                found += _of(element)
    return found


def _of(element: Mapping[str, Any]) -> list[str]:
    values = element.get("Value")
    listed = values if isinstance(values, list) else ()
    texts = (text for one in listed for text in (one.values() if isinstance(one, dict) else (one,)))
    return [text for text in texts if isinstance(text, str)]


def _octets(text: str) -> bytes | None:
    """The bytes that somebody read as characters of Latin-1 or Windows-1252; None where it was neither."""
    try:
        return text.translate(_OCTETS).encode("latin-1")
    except UnicodeEncodeError:
        return None


def _proven(octets: bytes, codec: str) -> str:
    """What bytes say in a character set, where that is East Asian text in these very bytes; else empty."""
    try:
        text = octets.decode(codec)
        same = text.encode(codec) == octets
    except UnicodeError:
        return ""
    signs = all(_LETTER.match(char) or _SIGNS.match(char) for char in text)
    return text if same and signs and _LETTER.search(text) else ""


def _in_gb(octets: bytes, hinted: bool) -> str:
    """What bytes say in GB18030; empty where that is not proven. A word of Latin letters with single accents
    is no proof: their pairs with ASCII letters are Hanzi that hardly anybody uses."""
    certain = bool(_PAIRS.fullmatch(octets) and _COMMON.match(octets) and not _WITHIN_LATIN.search(octets))
    text = _proven(octets, "gb18030") if certain or hinted else ""
    if _TOUCHING.search(text):
        proof = _GB2312.search(octets) if hinted else _TWO.search(text)
        return text if proof else ""
    return text


def _in_other(octets: bytes, codec: str) -> str:
    """What bytes say in another character set, where all beyond ASCII is letters."""
    try:
        text = octets.decode(codec)
    except UnicodeError:
        return ""
    return text if all(map(str.isalpha, _foreign(text))) else ""


def _foreign(text: str) -> list[str]:
    return [char for char in text if char > "\x7f"]


def _certain(text: str) -> bool:
    octets = None if text.isascii() else _octets(text)
    return octets is not None and bool(_in_gb(octets, False))


def _is_lost(text: str) -> bool:
    return bool(_LOST.search(text) or _LOST_NAME.fullmatch(text))


def _without_escapes(text: str) -> str:
    """A text with the escape sequences of ISO 2022 obeyed, or taken out where its Hanzi are there already."""
    octets = _octets(text)
    if octets is None:
        bare = _ESCAPE.sub("", text)
        return bare if _LETTER.search(bare) and "\x1b" not in bare else text
    told, code = [], "(B"
    for piece in re.split(r"(\x1b[ -/]+[0-~])", octets.decode("latin-1")):
        if piece.startswith("\x1b"):
            code = piece[1:]
            continue
        data = piece.encode("latin-1")
        try:
            if code in _STATEFUL:
                told.append((b"\x1b" + code.encode() + data + b"\x1b(B").decode(_STATEFUL[code]))
            else:
                told.append(data.decode(_CODECS[code]))
        except (KeyError, UnicodeError):
            return text
    return "".join(told)


def _by_escapes(value: bytes, charsets: Sequence[str]) -> str:
    """A text in these character sets with code extensions; empty where it is not all in them."""
    from gateway.imaging.character_sets import decoded, encodings_of
    from gateway.imaging.instances import Refused

    with suppress(Refused):
        return decoded(value, encodings_of("\\".join(charsets).encode("latin-1", "replace"))) or ""
    return ""


def _by_label(value: bytes, charsets: Sequence[str]) -> str:
    from pydicom.charset import convert_encodings, decode_bytes

    return decode_bytes(value, convert_encodings(list(charsets) or [""]), set())


def _name(text: str) -> dict[str, str]:
    """A name in DICOM JSON: its groups, as far as they are there (PS3.18 §F.2.2)."""
    return {group: one for group, one in zip(_GROUPS, text.split("="), strict=False) if one}
