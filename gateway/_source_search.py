"""The searches that the FHIR source understands, over the key fields of one resource (R4 section 3.1.1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from adapters.fhir_read import Coding, Key
from adapters.fhir_time import span
from gateway.body import BadBody

PARAMETERS: dict[str, dict[str, str]] = {
    "Patient": {"_id": "token", "identifier": "token"},
    "Observation": {
        "_id": "token",
        "identifier": "token",
        "patient": "reference",
        "status": "token",
        "category": "token",
        "code": "token",
        "date": "date",
    },
    "DiagnosticReport": {
        "_id": "token",
        "identifier": "token",
        "patient": "reference",
        "status": "token",
        "category": "token",
        "code": "token",
        "date": "date",
        "issued": "date",
    },
    "ImagingStudy": {
        "_id": "token",
        "identifier": "token",
        "patient": "reference",
        "status": "token",
        "started": "date",
    },
}
"""The search parameters by type, with their FHIR types; ``code:text`` comes with ``code``."""

INDEXED = ("_id", "identifier", "patient")

_COMMA = re.compile(r"(?<!\\),")
_DATE = re.compile(r"(eq|ge|le|gt|lt)?(\d.*)")


class Condition(Struct, frozen=True):
    """One parameter of a search: any of the values fits."""

    name: str
    values: tuple[str, ...]

    def holds(self, key: Key) -> bool:
        """Whether a resource with these key fields fits."""
        return any(_HOLDS[self.name](key, value) for value in self.values)

    def earliest(self) -> float | None:
        """Of a date, the moment (POSIX) before which nothing fits; None where there is no such moment."""
        starts = []
        for value in self.values:
            prefix, (low, high) = _bounds(self.name, value)
            if prefix in ("le", "lt"):
                return None
            starts.append(high if prefix == "gt" else low)
        return min(starts)


def conditions(type_: str, pairs: Sequence[tuple[str, str]]) -> list[Condition]:
    """Read the parameters of a search for one type; all must hold.

    Raises:
        BadBody: 400 for a parameter or a value that is not understood.
    """
    known = PARAMETERS[type_]
    found = []
    for name, text in pairs:
        plain = name.removesuffix(":text") if name == "code:text" else name
        if plain not in known:
            todo = f"use {', '.join([*known, '_count'])}"
            raise BadBody("search", f"a parameter that {type_} is not searched by here", todo, 400)
        values = tuple(value.replace("\\,", ",") for value in _COMMA.split(text))
        if not all(values) or (known[plain] == "token" and any(value.endswith("|") for value in values)):
            raise BadBody(name, "a value is missing", "give a value", 400)
        if known[plain] == "date":
            for value in values:
                _bounds(name, value)
        if known[plain] == "reference":
            values = tuple(value if "/" in value else f"Patient/{value}" for value in values)
        found.append(Condition(name, values))
    return found


def tokens(key: Key) -> Iterable[tuple[str, str]]:
    """Name and value of what the store indexes, in every form that a search may ask in."""
    for identifier in key.identifier:
        if identifier.value:
            yield "identifier", f"{identifier.system}|{identifier.value}"
            yield "identifier", identifier.value
    if key.subject.reference:
        yield "patient", key.subject.local


def _bounds(name: str, value: str) -> tuple[str, tuple[float, float]]:
    match = _DATE.fullmatch(value)
    period = span(match[2]) if match else None
    if match is None or period is None:
        raise BadBody(name, "not a FHIR date with one of eq, ge, le, gt, lt", "write ge2026-01-31", 400)
    return match[1] or "eq", (period[0].timestamp(), period[1].timestamp())


def _date(texts: Callable[[Key], tuple[str, str]], name: str) -> Callable[[Key, str], bool]:
    def holds(key: Key, value: str) -> bool:
        begin, finish = (span(text) for text in texts(key))
        if begin is None and finish is None:
            return False
        start = begin[0].timestamp() if begin else float("-inf")
        end = finish[1].timestamp() if finish else float("inf")
        prefix, (low, high) = _bounds(name, value)
        within = low <= start and end <= high
        if prefix == "eq":
            return within
        above, below = end > high, start < low  # R4 section 3.1.1.4.8: the period beyond the value overlaps
        return {"ge": above or within, "gt": above, "le": below or within, "lt": below}[prefix]

    return holds


def _effective(key: Key) -> tuple[str, str]:
    moment = key.effective_date_time or key.effective_instant
    return (moment, moment) if moment else (key.effective_period.start, key.effective_period.end)


def _coded(codings: Iterable[Coding], value: str) -> bool:
    system, bar, code = value.rpartition("|")
    return any(c.code == code and (not bar or c.system == system) for c in codings)


def _text(key: Key, value: str) -> bool:
    texts = (key.code.text, *(coding.display for coding in key.code.coding))
    return any(text.casefold().startswith(value.casefold()) for text in texts)


_HOLDS: dict[str, Callable[[Key, str], bool]] = {
    "_id": lambda key, value: key.id == value,
    "identifier": lambda key, value: ("identifier", value) in tokens(key),
    "patient": lambda key, value: key.subject.local == value,
    "status": lambda key, value: key.status == value.rpartition("|")[2],
    "category": lambda key, value: any(_coded(concept.coding, value) for concept in key.category),
    "code": lambda key, value: _coded(key.code.coding, value),
    "code:text": _text,
    "date": _date(_effective, "date"),
    "issued": _date(lambda key: (key.issued, key.issued), "issued"),
    "started": _date(lambda key: (key.started, key.started), "started"),
}
