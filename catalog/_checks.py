"""What must hold inside and between the tables of a catalogue: references, cycles, names.

Windows and rules are in :mod:`catalog._rule_checks`; how far an edition and a hospital's own additions reach
is :mod:`catalog._reach`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from catalog._names import canonical_name, matches
from catalog._references import covered, known
from catalog._rule_checks import check_rules, check_windows
from catalog._sheets import Sheets
from catalog._tree import reached
from catalog.entries import LEVELS, Item, Panel, Qualification
from catalog.errors import Finding
from catalog.tables import Row, Sheet

_ITEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LIST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,39}")
"""So that a code can stand in a pattern, and a list's id be one of FHIR."""
_SLOTS = {"imaging": "modality|part|side|method|view", "lab": "analyte|specimen|scale|qualifier"}
_AREAS = {
    "national": "nation",
    "agreement": "agreement",
    "provincial": "province",
    "prefecture": "city",
    "district": "district",
}
"""The kind of area that an evaluation of this level reaches: its organiser's (国卫医发〔2022〕6号)."""


def check(sheets: Sheets) -> Iterator[Finding]:
    """Every finding that needs more than one cell to be seen."""
    yield from _regions(sheets)
    yield from _formed(sheets.lists, "id", _LIST)
    yield from _items(sheets)
    yield from _names(sheets)
    yield from _panels(sheets)
    yield from _stand_ins(sheets)
    yield from check_windows(sheets)
    yield from check_rules(sheets)
    yield from _conversions(sheets)
    yield from _institutions(sheets)
    yield from _qualifications(sheets)
    yield from _prices(sheets)
    yield from known(sheets.lists, "region", lambda entry: (entry.region,), sheets.regions.has)


def _regions(sheets: Sheets) -> Iterator[Finding]:
    sheet = sheets.regions
    yield from known(sheet, "parents", lambda region: region.parents, sheet.has)
    marks: dict[str, str] = {}
    for row in sheet.rows:
        if row.value.code in reached(sheets.parents, row.value.code):
            yield sheet.finding(row, "parents", f"{row.value.code!r} lies in itself; break the cycle")
        for mark in row.value.marks:
            if (owner := marks.setdefault(mark, row.value.code)) != row.value.code:
                message = f"the range {mark!r} already means region {owner}; it can mean one only"
                yield sheet.finding(row, "marks", message)


def _formed(sheet: Sheet[Any], column: str, form: re.Pattern[str]) -> Iterator[Finding]:
    for row in sheet.rows:
        if not form.fullmatch(text := getattr(row.value, column)):
            message = f"{text!r} is no code; write ASCII letters, digits, dots and hyphens, without blanks"
            yield sheet.finding(row, column, message)


def _items(sheets: Sheets) -> Iterator[Finding]:
    kinds = {row.value.id: row.value.kind for row in sheets.lists.rows}
    codes: dict[str, str] = {}
    concepts: dict[str, str] = {}
    for sheet in (sheets.imaging, sheets.lab):
        yield from known(sheet, "lists", lambda item: item.lists, sheets.lists.has)
        yield from _formed(sheet, "code", _ITEM)
        for row in sheet.rows:
            item = row.value
            if (other := codes.setdefault(item.code, sheet.table.file)) != sheet.table.file:
                yield sheet.finding(row, "code", f"{item.code!r} is already in {other}; give it another code")
            slots = item.concept.split("|")
            whole = len(slots) == _SLOTS[item.kind].count("|") + 1 and slots[0] != "-"
            if not whole or any(slot in ("", "?") or slot.split() != [slot] for slot in slots):
                message = (
                    f"{item.concept!r} is no concept; write {_SLOTS[item.kind]}, - where a slot is empty"
                )
                yield sheet.finding(row, "concept", message)
            if (holder := concepts.setdefault(item.concept, item.code)) != item.code:
                message = f"{item.concept!r} is already the concept of item {holder}; keep one of the two"
                yield sheet.finding(row, "concept", message)
            for name in item.lists:
                if kinds.get(name, item.kind) != item.kind:
                    message = f"the list {name!r} is a list of kind {kinds[name]}; choose one of {item.kind}"
                    yield sheet.finding(row, "lists", message)


def _names(sheets: Sheets) -> Iterator[Finding]:
    """A name means one item of its kind, or one panel; a panel may have the name of the item it makes up."""
    held: dict[str, set[str]] = {}
    for sheet in (sheets.imaging, sheets.lab):
        yield from _distinct(sheet)
        for row in sheet.rows:
            for name in (row.value.name, *row.value.aliases):
                held.setdefault(canonical_name(name), set()).add(row.value.code)
    yield from _distinct(sheets.panels)
    for panel in sheets.panels.rows:
        for name in (panel.value.name, *panel.value.aliases):
            if others := held.get(canonical_name(name), set()) - {panel.value.code}:
                message = f"the name {name!r} is that of item {min(others)}; a name can mean one thing only"
                yield sheets.panels.finding(panel, "aliases", message)


def _distinct(sheet: Sheet[Item] | Sheet[Panel]) -> Iterator[Finding]:
    first: dict[str, Row[Item] | Row[Panel]] = {}
    for row in sheet.rows:
        for name in (row.value.name, *row.value.aliases):
            if (before := first.setdefault(canonical_name(name), row)) is not row:
                place = (
                    f"row {before.number}" if before.file == row.file else f"{before.file}:{before.number}"
                )
                message = f"the name {name!r} is already given in {place}; a name can mean one thing only"
                yield Finding(row.file, row.number, "aliases", message)


def _panels(sheets: Sheets) -> Iterator[Finding]:
    sheet = sheets.panels
    yield from known(sheet, "members", lambda panel: panel.members, sheets.has_item)
    members = {row.value.code: row.value.members for row in sheet.rows}
    for row in sheet.rows:
        panel = row.value
        if panel.code in reached(members, panel.code):
            yield sheet.finding(row, "members", f"{panel.code!r} holds itself; take it out of its members")
        if len(set(panel.members)) < len(panel.members):
            yield sheet.finding(row, "members", "has a member twice; keep one of the two")
        whole = sheets.items.get(panel.code)
        if whole and panel.name != whole.name:
            message = f"is not the name of item {whole.code}, {whole.name!r}, which the panel makes up"
            yield sheet.finding(row, "name", f"{message}; write that name, or another code")
        for member in panel.members:
            if whole and (part := sheets.items.get(member)) and part.kind != whole.kind:
                message = f"item {member} is of another kind than item {whole.code}; correct it"
                yield sheet.finding(row, "members", message)


def _stand_ins(sheets: Sheets) -> Iterator[Finding]:
    sheet = sheets.stand_ins
    yield from known(sheet, "ordered", lambda entry: (entry.ordered,), sheets.has_item)
    yield from known(sheet, "prior", lambda entry: (entry.prior,), sheets.has_item)
    serving: dict[str, tuple[str, ...]] = {}
    for row in sheet.rows:
        serving[row.value.ordered] = (*serving.get(row.value.ordered, ()), row.value.prior)
    for row in sheet.rows:
        ordered, prior = row.value.ordered, row.value.prior
        if ordered in {prior, *reached(serving, prior)}:
            message = f"{ordered} would stand in for itself by way of {prior}; remove a row of the circle"
            yield sheet.finding(row, "prior", message)


def _conversions(sheets: Sheets) -> Iterator[Finding]:
    sheet = sheets.conversions
    yield from known(sheet, "item", lambda entry: (entry.item,), sheets.lab.has)
    for row in sheet.rows:
        entry = row.value
        if entry.unit == entry.to_unit:
            yield sheet.finding(row, "to_unit", "is the unit itself; a conversion needs two units")
        if entry.factor <= 0:
            yield sheet.finding(row, "factor", "must be above 0; another would turn values round")
        item = sheets.items.get(entry.item)
        if item and entry.to_unit not in item.units:
            units = ", ".join(item.units) or "none"
            yield sheet.finding(
                row, "to_unit", f"{entry.to_unit!r} is no unit of item {item.code}; they are {units}"
            )


def _institutions(sheets: Sheets) -> Iterator[Finding]:
    sheet = sheets.institutions
    yield from known(sheet, "region", lambda entry: (entry.region,), sheets.regions.has)
    named = Counter(name for row in sheet.rows for name in set(row.value.alliances))
    for row in sheet.rows:
        if row.value.level not in LEVELS:
            message = f"{row.value.level!r} is no grade; write one of: {', '.join(LEVELS)}"
            yield sheet.finding(row, "level", message)
        for name in row.value.alliances:
            if named[name] == 1:
                message = (
                    f"no other institution is of the alliance {name!r}; correct the name, or leave it out"
                )
                yield sheet.finding(row, "alliances", message)


def _qualifications(sheets: Sheets) -> Iterator[Finding]:
    sheet = sheets.qualifications
    yield from known(sheet, "institution", lambda entry: (entry.institution,), sheets.institutions.has)
    yield from known(sheet, "scope", lambda entry: (entry.scope,), sheets.regions.has)
    yield from covered(sheets, sheet, "items", lambda entry: entry.items)
    kinds = {row.value.code: row.value.kind for row in sheets.regions.rows}
    for row in sheet.rows:
        entry = row.value
        wanted = _AREAS[entry.level]
        if (kind := kinds.get(entry.scope, wanted)) != wanted:
            message = f"a {entry.level} evaluation reaches a {wanted}, and {entry.scope} is a {kind}"
            yield sheet.finding(row, "level", f"{message}; correct level or scope")
        yield from _period(sheet, row)
    yield from _stopped(sheets)


def _stopped(sheets: Sheets) -> Iterator[Finding]:
    """Another record of the same evaluation that goes on where one was stopped: the stop would be in vain."""
    records: dict[tuple[str, ...], list[Row[Qualification]]] = {}
    for row in sheets.qualifications.rows:
        key = (row.value.institution, row.value.scope, row.value.basis)
        records.setdefault(key, []).append(row)
    for held in records.values():
        for row in held:
            if (day := row.value.stopped) is None:
                continue
            for other in (
                each.value for each in held if each.value.valid_from < day and each.value.holds(day)
            ):
                both = (
                    i
                    for i in sheets.items.values()
                    if matches(row.value.items, i) and matches(other.items, i)
                )
                if item := next(both, None):
                    message = f"record {other.id} goes on for item {item.code}; end it, or take the item out"
                    yield sheets.qualifications.finding(row, "status", message)


def _period(sheet: Sheet[Qualification], row: Row[Qualification]) -> Iterator[Finding]:
    entry = row.value
    if entry.valid_to < entry.valid_from:
        yield sheet.finding(row, "valid_to", f"lies before valid_from {entry.valid_from}; exchange the two")
    for column, value, what in (
        ("status_from", entry.status_from, "time it began"),
        ("reason", entry.reason, "reason"),
    ):
        if entry.status != "active" and not value:
            yield sheet.finding(row, column, f"is empty; a {entry.status} record needs the {what}")
        if entry.status == "active" and value:
            yield sheet.finding(row, column, "must be empty in an active record; or is it suspended?")


def _prices(sheets: Sheets) -> Iterator[Finding]:
    sheet = sheets.prices
    yield from known(sheet, "region", lambda price: (price.region,), sheets.regions.has)
    yield from covered(sheets, sheet, "items", lambda price: price.items)
    for row in sheet.rows:
        if row.value.amount <= 0:
            yield sheet.finding(row, "amount", "must be more than 0; leave out what has no price")
