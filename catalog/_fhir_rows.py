"""One table of an edition as the concepts of a FHIR R4 CodeSystem, and back to the texts of its cells.

The columns decide the shape, so a column that the model gains is exported without a word here: the column
that names a row is the concept's ``code`` (several together, where one is not enough, and then they are
properties as well), ``name`` or ``zh`` is its ``display``, ``en`` and ``aliases`` are designations, and every
other column is a property. Empty cells are left out, because FHIR has no empty values. Decimals are strings:
a JSON number loses the digits that were written.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, get_args, get_origin
from urllib.parse import quote

from catalog.errors import Finding
from catalog.tables import Table

SYNONYM = {"system": "http://snomed.info/sct", "code": "900000000000013009", "display": "Synonym"}
"""R4 designation-use: another name of the same thing."""

SLOTS = {
    "imaging": ("modality", "part", "side", "method", "view"),
    "lab": ("analyte", "specimen", "scale", "qualifier"),
}
"""The parts of an item's concept, in their order; they are properties beside the whole."""

PublicationStatus = Literal["draft", "active", "retired"]
"""R4 publication-status, without unknown."""

_HALF = re.compile(r"[\ud800-\udfff]")
_WHOLE = range(1_000_000_000)
_OPEN = re.compile(r"[%|\s]")


class _Refused(Exception):
    """A value of another type than the column's; the message says what to send."""


class Shape:
    """How the rows of one table are concepts.

    Attributes:
        properties: column → its R4 concept-property-type and the element that holds it.
    """

    def __init__(self, table: Table[Any]) -> None:
        self._table = table
        self._hints = table.columns()
        names = (name for name in ("name", "zh") if name in self._hints and name not in table.key)
        self._display = next(names, None)
        apart = {self._display, "en", "aliases", *(table.key if len(table.key) == 1 else ())}
        self.properties = {name: _element(hint) for name, hint in self._hints.items() if name not in apart}

    def concept(self, row: Any) -> dict[str, Any]:
        """A row as a concept."""
        concept: dict[str, Any] = {"code": self._code(row)}
        if self._display:
            concept["display"] = getattr(row, self._display)
        designations: list[dict[str, Any]] = []
        if english := getattr(row, "en", ""):
            designations.append({"language": "en", "value": english})
        designations += [{"use": SYNONYM, "value": alias} for alias in getattr(row, "aliases", ())]
        if designations:
            concept["designation"] = designations
        properties: list[dict[str, Any]] = []
        for name, (kind, element) in self.properties.items():
            held = getattr(row, name)
            for one in held if isinstance(held, tuple) else (held,):
                plain = one if kind in ("boolean", "integer") else _cell(one)
                if plain != "":
                    properties.append({"code": name, element: plain})
        return concept | {"property": properties}

    def cells(
        self, concept: dict[str, Any], path: str, ignored: frozenset[str], findings: list[Finding]
    ) -> dict[str, str]:
        """The cells of a concept; what cannot be read is appended to ``findings`` with its FHIRPath.

        ``ignored`` are properties that are no columns; whether they are right is seen when all is written
        again.
        """
        cells = dict.fromkeys(self._hints, "")

        def take(name: str, value: object, where: str) -> None:
            hint = self._hints[name]
            try:
                text = _read(value, hint)
            except _Refused as wrong:
                findings.append(Finding(where, 0, "", str(wrong)))
            else:
                cells[name] = f"{cells[name]};{text}" if cells[name] and get_origin(hint) is tuple else text

        if len(self._table.key) == 1:
            take(self._table.key[0], concept.get("code"), f"{path}.code")
        if self._display:
            take(self._display, concept.get("display"), f"{path}.display")
        for number, designation in enumerate(listed(concept, "designation", path, findings)):
            where = f"{path}.designation[{number}]"
            name = "en" if designation.get("language") == "en" and "en" in self._hints else "aliases"
            if name in self._hints:
                take(name, designation.get("value"), f"{where}.value")
            else:
                findings.append(Finding(where, 0, "", "these rows have no other names; remove it"))
        for number, entry in enumerate(listed(concept, "property", path, findings)):
            where, name = f"{path}.property[{number}]", str(entry.get("code"))
            kind, element = self.properties.get(name, ("", ""))
            if element in entry:
                take(name, entry[element], f"{where}.{element}")
            elif element:
                findings.append(Finding(where, 0, "", f"{name} is of the type {kind}; send {element}"))
            elif name not in ignored:
                message = f"is no property here; they are {', '.join(self.properties)}"
                findings.append(Finding(f"{where}.code", 0, "", message))
        return cells

    def _code(self, row: Any) -> str:
        """The code of a row: its key, or its keys joined by ``|``."""
        parts = [_cell(getattr(row, name)) for name in self._table.key]
        if len(parts) > 1:
            parts = [_OPEN.sub(lambda found: quote(found[0]), part) for part in parts]
        return "|".join(parts)


def slots_of(kind: str, concept: str) -> list[dict[str, str]]:
    """The slots of an item's concept that say something, as properties."""
    names, parts = SLOTS[kind], concept.split("|")
    if len(names) != len(parts):
        return []
    told = zip(names, parts, strict=True)
    return [{"code": name, "valueString": part} for name, part in told if part not in ("", "-")]


def listed(within: dict[str, Any], name: str, path: str, findings: list[Finding]) -> list[dict[str, Any]]:
    """The objects of a repeating element; anything else is a finding."""
    held = within.get(name, [])
    if not isinstance(held, list) or not all(isinstance(one, dict) for one in held):
        findings.append(Finding(f"{path}.{name}", 0, "", "must be a list of objects; see FHIR R4"))
        return []
    return held


def _cell(value: Any) -> str:
    """A value as the text of its cell."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime) and (value.utcoffset() or timedelta()) % timedelta(minutes=1):
        value = value.astimezone(UTC)  # before 1901 Asia/Shanghai is 8:05:43 ahead, which FHIR cannot write
    return value.isoformat() if isinstance(value, date) else str(value)


def _element(hint: Any) -> tuple[str, str]:
    if hint in (bool, int):
        return ("boolean", "valueBoolean") if hint is bool else ("integer", "valueInteger")
    if get_origin(hint) is Literal:
        return "code", "valueCode"
    kinds = {hint, *get_args(hint)}
    return ("dateTime", "valueDateTime") if kinds & {date, datetime} else ("string", "valueString")


def _read(value: object, hint: Any) -> str:
    """The text of the cell for a FHIR value."""
    if hint is bool:
        if not isinstance(value, bool):
            raise _Refused("must be true or false")
        return _cell(value)
    if hint is int:
        if not isinstance(value, int) or isinstance(value, bool) or value not in _WHOLE:
            raise _Refused("must be a whole number from 0 to 999999999")
        return str(value)
    if not isinstance(value, str) or not value:
        raise _Refused("must be text, and not empty")
    if _HALF.search(value):
        raise _Refused("holds half a character; remove it")
    return value
