"""Whether one element of a resource fits one value of a search, by the FHIR type of the parameter.

Each function reads the value and gives the test. What cannot be read raises ValueError with what is wrong
and, after a semicolon, what to do; it repeats nothing of the value. Elements are a node's, of whatever form.
"""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from math import inf
from typing import Any

from adapters.fhir_time import span

Test = Callable[[Any, Sequence[str]], bool]
"""Of an element, and the base URLs of the server that it is from."""
Span = tuple[float, float]

_PREFIXED = re.compile(r"(eq|ne|gt|lt|ge|le|sa|eb|ap)?([-+]?\d.*)", re.DOTALL)
_NUMBER = re.compile(r"[-+]?\d{1,30}(\.\d{1,30})?([eE][-+]?\d{1,2})?", re.ASCII)
_TENTH = Decimal("0.1")


def token(system: str | None, code: str, implied: str) -> Test:
    """A code, of a system, of any (None) or of none (empty); every code of a system where it is empty.
    ``implied`` is the system of elements that are plain codes."""
    if not code and not system:
        raise ValueError("a value is missing; send <system>|<code>")

    def fits(coded: Any, member: str) -> bool:
        return (not code or coded.get(member) == code) and system in (None, coded.get("system", ""))

    def test(element: Any, _: Sequence[str]) -> bool:
        if isinstance(element, bool):
            return code == str(element).lower()
        if isinstance(element, str):
            return element == code and (system is None or not implied or system == implied)
        if not isinstance(element, dict):
            return False
        if "coding" in element:
            return any(fits(coding, "code") for coding in _dicts(element["coding"]))
        if "value" in element:
            if system is not None and element.get("system") in _CONTACT:  # R4: a contact point has its use
                return bool(element["value"] == code and element.get("use", "") == system)
            return fits(element, "value")
        return "code" in element and fits(element, "code")

    return test


def of_type(*given: str) -> Test:
    """``:of-type``: an identifier by the system and code of its type, and its value."""
    if len(given) != 3 or not all(given):
        raise ValueError("not an identifier with its type; send <system>|<code>|<value>")
    system, code, value = given
    kind = token(system, code, "")

    def test(element: Any, homes: Sequence[str]) -> bool:
        return (
            isinstance(element, dict) and element.get("value") == value and kind(element.get("type"), homes)
        )

    return test


def wording(text: str) -> Test:
    """``:text``: the beginning of what a person reads of a code, or of the type of an identifier."""
    wanted = folded(text)

    def test(element: Any, _: Sequence[str]) -> bool:
        return any(folded(one).startswith(wanted) for one in _readable(element))

    return test


def reference(value: str, targets: Sequence[str]) -> Test:
    """A resource by its id, its type and id, or its address; it must be of one of the types, if any."""

    def test(element: Any, homes: Sequence[str]) -> bool:
        if not isinstance(element, dict) or not isinstance(element.get("reference"), str):
            return False
        stands, wanted = local(element["reference"], homes), local(value, homes)
        type_, _, id_ = stands.rpartition("/")
        if targets and type_.rpartition("/")[2] not in targets:
            return False
        return wanted in (stands, id_) if "://" not in stands else wanted == stands

    return test


def logical(system: str | None, value: str) -> Test:
    """``:identifier``: what a reference says of the resource instead of where it stands."""
    fits = token(system, value, "")

    def test(element: Any, homes: Sequence[str]) -> bool:
        return isinstance(element, dict) and fits(element.get("identifier"), homes)

    return test


def local(address: str, homes: Sequence[str]) -> str:
    """``Type/id`` of what stands below one of the base URLs, without a version; others as they are."""
    address = address.partition("/_history/")[0] if "/_history/" in address else address
    if "://" not in address:
        return address
    for home in homes:
        if address.startswith(f"{home}/"):
            return address[len(home) + 1 :]
    return address


def string(text: str, modifier: str) -> Test:
    """A text's beginning, whatever its case and accents; all of it, or a part."""
    wanted = text if modifier == "exact" else folded(text)

    def test(element: Any, _: Sequence[str]) -> bool:
        held = _texts(element)
        if modifier == "exact":
            return wanted in held
        if modifier == "contains":
            return any(wanted in folded(one) for one in held)
        return any(folded(one).startswith(wanted) for one in held)

    return test


def folded(text: str) -> str:
    """A text without the differences that a search by string passes over."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(sign for sign in plain if not unicodedata.combining(sign))


def uri(wanted: str, modifier: str) -> Test:
    """An address; ``below`` what begins with it, ``above`` what it begins with."""

    def test(element: Any, _: Sequence[str]) -> bool:
        if not isinstance(element, str):
            return False
        longer, shorter = (element, wanted) if modifier == "below" else (wanted, element)
        return element == wanted or (bool(modifier) and longer.startswith(f"{shorter.rstrip('/')}/"))

    return test


def date(value: str) -> Test:
    """A date or time with a prefix, against what was written as such or as a period (R4 section
    3.1.1.4.4)."""
    prefix, low, high = _bounds(value)

    def test(element: Any, _: Sequence[str]) -> bool:
        period = written(element)
        return period is not None and _compared(prefix, period, (low, high))

    return test


def earliest(value: str) -> float | None:
    """The moment (POSIX seconds) before which nothing fits a date; None where there is none."""
    prefix, low, high = _bounds(value)
    if prefix in ("le", "lt", "eb", "ne"):
        return None
    return high if prefix in ("gt", "sa") else low


def written(element: Any) -> Span | None:
    """First instant and the first after it (POSIX seconds) of a date, a Period or a Timing."""
    if isinstance(element, str):
        period = span(element)
        return (period[0].timestamp(), period[1].timestamp()) if period else None
    if not isinstance(element, dict):
        return None
    if "repeat" in element or "event" in element:
        repeat = element.get("repeat")
        bounds = repeat.get("boundsPeriod") if isinstance(repeat, dict) else None
        events = element["event"] if isinstance(element.get("event"), list) else ()
        spans = [one for one in map(written, [*events, bounds]) if one]
        return (min(low for low, _ in spans), max(high for _, high in spans)) if spans else None
    begin, finish = (written(element[name]) if name in element else None for name in ("start", "end"))
    if begin is None and finish is None:
        return None
    return begin[0] if begin else -inf, finish[1] if finish else inf


def quantity(number: str, system: str = "", *code: str) -> Test:
    """``[prefix]number[|system|code]``: the number as written, units as written and never converted."""
    match = _PREFIXED.fullmatch(number)
    if match is None or not _NUMBER.fullmatch(match[2]) or len(code) > 1:
        raise ValueError(
            "not a number with a prefix and unit; write ge5.4 or 5.4|http://unitsofmeasure.org|g/L"
        )
    prefix, value, unit = match[1] or "eq", Decimal(match[2]), "".join(code)
    exponent = int(value.as_tuple().exponent)
    half = Decimal(5).scaleb(exponent - (2 if exponent > 0 else 1))  # what the digits leave open

    def test(element: Any, _: Sequence[str]) -> bool:
        if not isinstance(element, dict) or not isinstance(element.get("value"), int | Decimal):
            return False
        if unit and unit not in (
            [element.get("code")] if system else [element.get("code"), element.get("unit")]
        ):
            return False
        if system and element.get("system") != system:
            return False
        held, comparator = Decimal(element["value"]), str(element.get("comparator", ""))
        start = Decimal("-Infinity") if "<" in comparator else held
        end = Decimal("Infinity") if ">" in comparator else held
        same = held == value and comparator not in ("<", ">")
        within = not comparator and value - half <= held < value + half
        about = end >= value - abs(value * _TENTH) and start <= value + abs(value * _TENTH)
        return {
            "eq": within,
            "ne": not within,
            "gt": end > value,
            "lt": start < value,
            "ge": end > value or same,
            "le": start < value or same,
            "sa": start > value or (held == value and comparator == ">"),
            "eb": end < value or (held == value and comparator == "<"),
            "ap": about,
        }[prefix]

    return test


_CONTACT = ("phone", "fax", "email", "pager", "url", "sms", "other")


def _bounds(value: str) -> tuple[str, float, float]:
    match = _PREFIXED.fullmatch(value)
    period = span(match[2]) if match else None
    if match is None or period is None:
        raise ValueError("not a FHIR date with one of eq, ne, ge, le, gt, lt, sa, eb, ap; write ge2026-01-31")
    return match[1] or "eq", period[0].timestamp(), period[1].timestamp()


def _compared(prefix: str, held: Span, asked: Span) -> bool:
    (start, end), (low, high) = held, asked
    within = low <= start and end <= high
    if prefix == "ap":
        slack = 0.1 * abs(time.time() - low)
        return start < high + slack and end > low - slack
    return {
        "eq": within,
        "ne": not within,
        "gt": end > high,
        "lt": start < low,
        "ge": end > high or within,
        "le": start < low or within,
        "sa": start >= high,
        "eb": end <= low,
    }[prefix]


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    return (one for one in value if isinstance(one, dict)) if isinstance(value, list) else iter(())


def _readable(element: Any) -> Iterator[str]:
    if isinstance(element, dict):
        for one in (element.get("text"), element.get("display")):
            if isinstance(one, str):
                yield one
        for coding in _dicts(element.get("coding")):
            yield from _readable(coding)
        yield from _readable(element.get("type"))


def _texts(element: Any) -> list[str]:
    """The texts of a string, a HumanName or an Address."""
    if isinstance(element, str):
        return [element]
    held = element.values() if isinstance(element, dict) else element if isinstance(element, list) else ()
    return [text for one in held if isinstance(one, str | list) for text in _texts(one)]
