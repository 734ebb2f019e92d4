"""The tables of an edition, and the tables of several editions as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from catalog.entries import (
    Conversion,
    Institution,
    Item,
    ItemList,
    Panel,
    Price,
    Qualification,
    ReasonCode,
    Region,
    Rule,
    StandIn,
    Window,
)
from catalog.errors import Finding
from catalog.tables import Row, Sheet, Table

HEAD = "catalogue.toml"
"""The file that makes a folder an edition."""

REGIONS = Table("regions.csv", Region, ("code",), ("parents", "marks"))
LISTS = Table("lists.csv", ItemList, ("id",), edition="edition")
IMAGING = Table(
    "items_imaging.csv", Item, ("code",), ("aliases", "units"), {"kind": "imaging", "method_dependent": False}
)
LAB = Table("items_lab.csv", Item, ("code",), ("aliases", "units", "method_dependent"), {"kind": "lab"})
PANELS = Table("panels.csv", Panel, ("code",), ("aliases",))
WINDOWS = Table(
    "windows.csv", Window, ("list", "target", "setting", "institution"), ("institution", "view_days")
)
RULES_TABLE = Table(
    "rules.csv", Rule, ("id",), ("reason_code",), {"when": "", "items": "*", "region": "", "institution": ""}
)
NEGATIVE = Table("negative_list.csv", Rule, ("id",), ("reason_code", "institution"), {"step": 8})
LEVELS_TABLE = Table("level_rules.csv", Rule, ("id",), ("reason_code", "institution"), {"step": 6})
STAND_INS = Table("stand_ins.csv", StandIn, ("ordered", "prior"))
REASON_CODES = Table("reason_codes.csv", ReasonCode, ("system", "code"))
INSTITUTIONS = Table("institutions.csv", Institution, ("code",), ("alliances",))
QUALIFICATIONS = Table("qualifications.csv", Qualification, ("id",), ("status_from", "reason", "batch"))
CONVERSIONS = Table("conversions.csv", Conversion, ("item", "unit", "to_unit"), ("offset",))
PRICES = Table("prices.csv", Price, ("items", "region"))


class Sheets(Struct, frozen=True, dict=True, kw_only=True):
    """Every table, as read."""

    regions: Sheet[Region]
    lists: Sheet[ItemList]
    imaging: Sheet[Item]
    lab: Sheet[Item]
    panels: Sheet[Panel]
    windows: Sheet[Window]
    rules: Sheet[Rule]
    negative: Sheet[Rule]
    levels: Sheet[Rule]
    stand_ins: Sheet[StandIn]
    reason_codes: Sheet[ReasonCode]
    institutions: Sheet[Institution]
    qualifications: Sheet[Qualification]
    conversions: Sheet[Conversion]
    prices: Sheet[Price]

    @classmethod
    def of(cls, read: Mapping[str, Sheet[Any]]) -> Sheets:
        """From file name → sheet."""
        return cls(**{name: read[table.file] for name, table in _NAMES.items()})

    def has_item(self, code: str) -> bool:
        """Whether either item table has this code."""
        return self.imaging.has(code) or self.lab.has(code)

    @cached_property
    def items(self) -> dict[str, Item]:
        """Code → item, of both kinds, as far as they could be read."""
        return {row.value.code: row.value for row in self.imaging.rows + self.lab.rows}

    @cached_property
    def parents(self) -> dict[str, tuple[str, ...]]:
        """Region → the regions that it lies in."""
        return {row.value.code: row.value.parents for row in self.regions.rows}

    @cached_property
    def homes(self) -> dict[str, str]:
        """Institution → its region."""
        return {row.value.code: row.value.region for row in self.institutions.rows}

    @cached_property
    def groups(self) -> frozenset[str]:
        """The groups that items are in."""
        return frozenset(item.group for item in self.items.values())


_NAMES: dict[str, Table[Any]] = {
    "regions": REGIONS,
    "lists": LISTS,
    "imaging": IMAGING,
    "lab": LAB,
    "panels": PANELS,
    "windows": WINDOWS,
    "rules": RULES_TABLE,
    "negative": NEGATIVE,
    "levels": LEVELS_TABLE,
    "stand_ins": STAND_INS,
    "reason_codes": REASON_CODES,
    "institutions": INSTITUTIONS,
    "qualifications": QUALIFICATIONS,
    "conversions": CONVERSIONS,
    "prices": PRICES,
}
TABLES: tuple[Table[Any], ...] = tuple(_NAMES.values())
"""Every table that an edition may have."""


def merge(parts: Sequence[Sheets]) -> tuple[Sheets, list[Finding]]:
    """The tables of several editions as one, and what is in two of them and may not be.

    An item may stand in several editions, each with its own lists and names, when all mean one concept in
    the same units (those of one would count everywhere); its name and source are those of the list that
    comes first. Everything else has one owner.
    """
    findings: list[Finding] = []
    merged = {
        table.file: _merged([getattr(part, name) for part in parts], findings)
        for name, table in _NAMES.items()
    }
    return Sheets.of(merged), findings


def _merged(sheets: Sequence[Sheet[Any]], findings: list[Finding]) -> Sheet[Any]:
    table = sheets[0].table
    first: dict[tuple[object, ...], Row[Any]] = {}
    for sheet in sheets:
        for row in sheet.rows:
            key = tuple(getattr(row.value, name) for name in table.key)
            before = first.get(key)
            if before is None:
                first[key] = row
            elif table.make is Item:
                first[key] = _one_item(before, row, findings)
            else:
                message = f"{' '.join(map(str, key))!r} is already in {before.file}; it can have one owner"
                findings.append(Finding(row.file, row.number, table.key[0], message))
    return Sheet(table, tuple(first.values()), frozenset().union(*(sheet.keys for sheet in sheets)))


def _one_item(before: Row[Item], row: Row[Item], findings: list[Finding]) -> Row[Item]:
    if min(row.value.lists, default="") < min(before.value.lists, default=""):
        before, row = row, before
    one, other = before.value, row.value
    for name in ("kind", "concept", "group", "units"):
        held, given = getattr(one, name), getattr(other, name)
        if held != given and (name != "units" or set(held) != set(given)):
            shown = "; ".join(held) if name == "units" else held
            message = f"item {other.code} has the {name} {shown!r} in {before.file}; one code means one thing"
            findings.append(Finding(row.file, row.number, name, message))
    joined = replace(
        one,
        lists=tuple(sorted({*one.lists, *other.lists})),
        aliases=_union(one.aliases, (*((other.name,) if other.name != one.name else ()), *other.aliases)),
        method_dependent=one.method_dependent or other.method_dependent,
    )
    return Row(before.file, before.number, joined)


def _union(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*one, *other)))
