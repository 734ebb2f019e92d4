"""Whether an object of DICOM JSON (PS3.18 annex F) meets a condition: attribute matching of PS3.4 C.2.2.2.

A condition is compiled once for a search and asked of every object of every archive, because archives differ
in what they make of one. An attribute that is not there, or empty, meets no condition but an empty one.

Where the standard leaves it open: a name meets a condition when one of its groups does (alphabetic,
ideographic, phonetic), unless the condition names groups itself; several values of a condition mean any of
them, unless ``multiplevaluematching`` asks for all (C.2.2.2.8). Names are compared without regard to case,
everything else as it is written (C.2.2.2.1, C.2.2.2.4).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from msgspec import Struct

from gateway.errors import BadParameter
from gateway.imaging import fuzzy
from gateway.imaging._spans import Span, comparable, span
from quality.record import DICOM_UID

Dataset = Mapping[str, Any]
Test = Callable[[Any], bool]
Like = Callable[[Sequence[str]], bool]

_UIDS = 1024
"""How many UIDs a list of them may have."""
EMPTY = '""'
"""What asks for attributes without a value (C.2.2.2.7)."""

_TEXTS = frozenset({"AE", "AS", "AT", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT"})
_NARRATIVE = frozenset({"LT", "ST", "UR", "UT"})
"""Of one value, in which a backslash is a backslash and leading spaces count (PS3.5 section 6.2)."""
_WILD = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_NUMBERS = frozenset({"DS", "IS", "SL", "SS", "SV", "UL", "US", "UV"})
_FLOATS = frozenset({"FD", "FL"})
_PRECISION = 1e-6
"""Binary fractions are told in different lengths: seven digits are what FL holds."""
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
PAIRS = (
    ("00080020", "00080030"),
    ("00080021", "00080031"),
    ("00080022", "00080032"),
    ("00080023", "00080033"),
    ("00100030", "00100032"),
    ("00400002", "00400003"),
    ("00400244", "00400245"),
    ("00400250", "00400251"),
)
"""Dates and the times that go with them."""


class Modes(Struct, frozen=True):
    """How a search matches beyond the plain way: PS3.18 sections 8.3.4.2, 8.3.4.5 and 8.3.4.6."""

    fuzzy: bool = False
    empty: bool = False
    multiple: bool = False


class Condition(Struct, frozen=True):
    """What an object has to meet; ``tags`` are the attributes of it that are looked at."""

    tags: tuple[str, ...]
    holds: Callable[[Dataset], bool]


def universal(vr: str, text: str) -> bool:
    """Whether every value meets it, and no value, too (C.2.2.2.3): it asks for the attribute alone."""
    return not text or (vr in _WILD and not text.strip("*"))


def condition(name: str, tag: str, vr: str, text: str, modes: Modes) -> Condition:
    """The condition that an attribute has a value as ``text`` asks for; ``name`` is its parameter.

    Raises:
        BadParameter: no value of such an attribute can be as the text asks for.
    """
    if modes.empty and text == EMPTY:
        return Condition((tag,), lambda dataset: not values_of(dataset, tag))
    tests = _tests(name, vr, text, modes)
    joined = all if modes.multiple else any

    def holds(dataset: Dataset) -> bool:
        values = values_of(dataset, tag)
        return bool(values) and joined(any(test(value) for value in values) for test in tests)

    return Condition((tag,), holds)


def within(tag: str, conditions: Sequence[Condition]) -> Condition:
    """The condition that one item of a sequence meets all of these (C.2.2.2.6)."""

    def holds(dataset: Dataset) -> bool:
        items = (item for item in values_of(dataset, tag) if isinstance(item, Mapping))
        return any(all(one.holds(item) for one in conditions) for item in items)

    return Condition((tag,), holds)


def combined(name: str, days: str, times: str, tags: tuple[str, str]) -> Condition | None:
    """A range of dates and one of times as a range of moments, where both are of one form (C.2.2.2.5.4).

    Raises:
        BadParameter: it ends before it begins.
    """
    day, time = tags
    dates, clocks = span("DA", days), span("TM", times)
    if dates is None or clocks is None or dates.form != clocks.form or dates.form == "one":
        return None
    moments = dates.then(clocks)
    if moments.low > moments.high:
        raise BadParameter("ends before it begins, with its time", field=name)

    def holds(dataset: Dataset) -> bool:
        for date, clock in zip(values_of(dataset, day), values_of(dataset, time), strict=False):
            on, at = comparable("DA", _text(date)), comparable("TM", _text(clock))
            if on and at and moments.holds(on + at):
                return True
        return False

    return Condition(tags, holds)


def values_of(dataset: Dataset, tag: str) -> list[Any]:
    """The values of an attribute that are there; an archive may write anything, so nothing is presumed."""
    element = dataset.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    return [one for one in values if _filled(one)] if isinstance(values, list) else []


def _filled(value: object) -> bool:
    """Padding is no value (PS3.5 section 6.2), and a name without a group is none."""
    return any(value.values()) if isinstance(value, Mapping) else value is not None and _text(value) != ""


def _tests(name: str, vr: str, text: str, modes: Modes) -> list[Test]:
    if vr == "UI":
        return [_uids(name, text)]
    if vr in ("DA", "DT", "TM"):
        return [_spans(name, vr, text)]
    if vr == "PN":
        texts = text.split("\\")
        alike = fuzzy.likenesses(texts) if modes.fuzzy else [None] * len(texts)
        return [_named(one, like) for one, like in zip(texts, alike, strict=True)]
    if vr in _TEXTS:
        return [_worded(vr, one) for one in _several(vr, text)]
    if vr in _NUMBERS or vr in _FLOATS:
        return [_numbered(name, vr, one) for one in text.split("\\")]
    raise BadParameter(f"cannot be searched by: its values are of {vr}; leave it empty", field=name)


def _several(vr: str, text: str) -> list[str]:
    """The values of a condition: viewers part those of CS with commas, too, which no code string holds."""
    if vr in _NARRATIVE:
        return [text]
    return re.split(r"[\\,]", text) if vr == "CS" else text.split("\\")


def _text(value: object) -> str:
    return str(value).strip(" \0")


def _uids(name: str, text: str) -> Test:
    """A list of UIDs: of PS3.4 with backslashes, of PS3.18 with commas (C.2.2.2.2, section 8.3.4.1)."""
    uids = frozenset(re.split(r"[\\,]", text))
    if len(uids) > _UIDS:
        raise BadParameter(f"lists more than {_UIDS} UIDs", field=name)
    if not all(one.isascii() and DICOM_UID.fullmatch(one) for one in uids):
        raise BadParameter("is no UID, or list of UIDs with commas", field=name)
    return lambda value: _text(value) in uids


def _spans(name: str, vr: str, text: str) -> Test:
    asked: Span | None = span(vr, text.replace(" ", "+"))  # what a + of an offset is where nobody encoded it
    if asked is None or asked.low > asked.high:
        shape = {"DA": "20260131", "TM": "083000", "DT": "20260131083000+0800"}[vr]
        todo = f"write {shape}, or a range {shape}-{shape}, -{shape} or {shape}-"
        raise BadParameter(f"is no such value, or ends before it begins: {todo}", field=name)
    return lambda value: asked.holds(comparable(vr, _text(value)))


def _worded(vr: str, text: str) -> Test:
    def plain(value: object) -> str:
        return str(value).rstrip(" \0") if vr in _NARRATIVE else _text(value)

    if vr in _WILD and wild(text):
        pattern = globbed(plain(text))
        return lambda value: pattern.fullmatch(plain(value)) is not None
    asked = plain(text)
    return lambda value: plain(value) == asked


def _numbered(name: str, vr: str, text: str) -> Test:
    asked = _decimal(text)
    if asked is None:
        raise BadParameter("is no number", field=name)
    near = _PRECISION if vr in _FLOATS else 0

    def test(value: object) -> bool:
        held = _decimal(str(value))
        return held == asked or bool(held and near and math.isclose(held, asked, rel_tol=near))

    return test


def _decimal(text: str) -> Decimal | None:
    try:
        number = Decimal(text.strip(" \0"))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _named(text: str, like: Like | None) -> Test:
    """A name: group by group where it is written so, otherwise as any group (C.2.2.2.1, C.2.2.2.4)."""
    asked = [_group(one) for one in text.split("=")]
    tests = [_glob_or_equal(one) for one in asked]

    def test(value: object) -> bool:
        groups = groups_of(value)
        if len(asked) == 1:
            literal = any(tests[0](_group(one)) for one in groups if one)
        else:
            groups += [""] * (len(asked) - len(groups))
            literal = all(
                check(_group(held)) for one, check, held in zip(asked, tests, groups, strict=False) if one
            )
        return literal or (like is not None and like(groups))

    return test


def groups_of(name: object) -> list[str]:
    """The groups of a person name: alphabetic, ideographic, phonetic (PS3.18 F.2.2, PS3.5 section 6.2.1)."""
    if isinstance(name, Mapping):
        return [str(name.get(group) or "") for group in _GROUPS]
    return str(name).split("=")


def _group(text: str) -> str:
    """A group of a name, comparable: case, composed characters, and empty last components do not count."""
    parts = unicodedata.normalize("NFC", text.strip(" \0")).casefold().split("^")
    return "^".join(part.strip() for part in parts).rstrip("^")


def _glob_or_equal(asked: str) -> Callable[[str], bool]:
    if not wild(asked):
        return lambda held: held == asked
    shorter = asked
    while shorter.endswith("^*"):  # WANG^* is meant for WANG, too: an empty last component is not written
        shorter = shorter[:-2]
    patterns = [globbed(one) for one in {asked, shorter}]
    return lambda held: any(pattern.fullmatch(held) for pattern in patterns)


def wild(text: str) -> bool:
    """Whether it is a pattern (C.2.2.2.4)."""
    return "*" in text or "?" in text


def globbed(text: str) -> re.Pattern[str]:
    """A pattern of ``*`` and ``?``; each star takes the first place that fits, so time is bounded."""
    text = re.sub(r"[*?]+", lambda run: "?" * run[0].count("?") + "*" * ("*" in run[0]), text)
    parts = ["".join("." if one == "?" else re.escape(one) for one in part) for part in text.split("*")]
    if len(parts) == 1:
        return re.compile(parts[0], re.DOTALL)
    first, *middle, last = parts
    return re.compile(first + "".join(f"(?>.*?{part})" for part in middle if part) + ".*" + last, re.DOTALL)
