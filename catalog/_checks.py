"""What must hold between the tables of a catalogue: references, cycles, ambiguous names, complete rules."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import get_args

from msgspec import Struct

from catalog._tables import Row, Sheet, T
from catalog.errors import Finding
from catalog.model import (
    ANY,
    FACTS,
    LEVELS,
    RULES,
    Hierarchy,
    Institution,
    Item,
    ItemList,
    Kind,
    Panel,
    Qualification,
    ReasonCode,
    Region,
    Rule,
    StandIn,
    Window,
)

_SLOTS = {"imaging": "modality|part|side|method|view", "lab": "analyte|specimen|scale|qualifier"}


class Sheets(Struct, frozen=True, dict=True, kw_only=True):
    """Every table of one folder, as read."""

    regions: Sheet[Region]
    lists: Sheet[ItemList]
    imaging: Sheet[Item]
    lab: Sheet[Item]
    panels: Sheet[Panel]
    windows: Sheet[Window]
    rules: Sheet[Rule]
    negative: Sheet[Rule]
    stand_ins: Sheet[StandIn]
    reason_codes: Sheet[ReasonCode]
    institutions: Sheet[Institution]
    qualifications: Sheet[Qualification]
    hierarchy: Sheet[Hierarchy]

    def has_item(self, code: str) -> bool:
        """Whether either item table has this code."""
        return self.imaging.has(code) or self.lab.has(code)

    @cached_property
    def items(self) -> dict[str, Item]:
        """Code → item, of both kinds, as far as they could be read."""
        return {row.value.code: row.value for row in self.imaging.rows + self.lab.rows}

    @cached_property
    def groups(self) -> frozenset[str]:
        """The groups that items are in."""
        return frozenset(item.group for item in self.items.values())


def check(sheets: Sheets) -> Iterator[Finding]:
    """Every finding that needs more than one cell to be seen."""
    yield from _regions(sheets)
    yield from _items(sheets)
    yield from _names(sheets.imaging, lambda item: (item.name, *item.aliases))
    yield from _names(sheets.lab, lambda item: (item.name, *item.aliases))
    yield from _names(sheets.panels, lambda panel: (panel.name, *panel.aliases))
    yield from _windows(sheets)
    yield from _rules(sheets)
    yield from _institutions(sheets)
    yield from _qualifications(sheets)
    yield from _known(sheets.lists, "region", lambda entry: (entry.region,), sheets.regions.has)
    yield from _known(sheets.panels, "members", lambda panel: panel.members, sheets.lab.has)
    yield from _known(sheets.stand_ins, "ordered", lambda entry: (entry.ordered,), sheets.has_item)
    yield from _known(sheets.stand_ins, "prior", lambda entry: (entry.prior,), sheets.has_item)
    yield from _known(sheets.hierarchy, "region", lambda entry: (entry.region,), sheets.regions.has)


def _known(
    sheet: Sheet[T], column: str, refers_to: Callable[[T], Iterable[str]], has: Callable[[str], bool]
) -> Iterator[Finding]:
    for row in sheet.rows:
        for code in refers_to(row.value):
            if not has(code):
                yield sheet.finding(
                    row, column, f"{code!r} is in no row of this catalogue; correct or add it"
                )


def _regions(sheets: Sheets) -> Iterator[Finding]:
    sheet = sheets.regions
    yield from _known(sheet, "parents", lambda region: region.parents, sheet.has)
    parents = {row.value.code: row.value.parents for row in sheet.rows}
    marks: dict[str, str] = {}
    for row in sheet.rows:
        if row.value.code in _ancestors(row.value.code, parents):
            yield sheet.finding(row, "parents", f"{row.value.code!r} lies in itself; break the cycle")
        for mark in row.value.marks:
            if (owner := marks.setdefault(mark, row.value.code)) != row.value.code:
                message = f"the range {mark!r} already means region {owner}; it can mean one only"
                yield sheet.finding(row, "marks", message)


def _ancestors(code: str, parents: dict[str, tuple[str, ...]]) -> set[str]:
    found: set[str] = set()
    ahead = list(parents.get(code, ()))
    while ahead:
        if (parent := ahead.pop()) not in found:
            found.add(parent)
            ahead.extend(parents.get(parent, ()))
    return found


def _items(sheets: Sheets) -> Iterator[Finding]:
    kinds = {row.value.id: row.value.kind for row in sheets.lists.rows}
    codes: dict[str, str] = {}
    concepts: dict[str, str] = {}
    for sheet in (sheets.imaging, sheets.lab):
        yield from _known(sheet, "lists", lambda item: item.lists, sheets.lists.has)
        for row in sheet.rows:
            item = row.value
            if (other := codes.setdefault(item.code, sheet.table.file)) != sheet.table.file:
                yield sheet.finding(row, "code", f"{item.code!r} is already in {other}; give it another code")
            if item.concept.count("|") != _SLOTS[item.kind].count("|"):
                message = f"{item.concept!r} is no concept; write {_SLOTS[item.kind]}"
                yield sheet.finding(row, "concept", message)
            if (holder := concepts.setdefault(item.concept, item.code)) != item.code:
                message = f"{item.concept!r} is already the concept of item {holder}; keep one of the two"
                yield sheet.finding(row, "concept", message)
            for name in item.lists:
                if kinds.get(name, item.kind) != item.kind:
                    message = f"the list {name!r} is a list of kind {kinds[name]}; choose one of {item.kind}"
                    yield sheet.finding(row, "lists", message)


def _names(sheet: Sheet[T], names: Callable[[T], Iterable[str]]) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for row in sheet.rows:
        for name in names(row.value):
            if (before := first.setdefault(canonical(name), row.number)) != row.number:
                message = (
                    f"the name {name!r} is already given in row {before}; a name can mean one thing only"
                )
                yield sheet.finding(row, "aliases", message)


def canonical(name: str) -> str:
    """The form in which two names count as the same: compatibility forms, case and blanks folded."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())


def _windows(sheets: Sheets) -> Iterator[Finding]:
    sheet = sheets.windows
    yield from _known(sheet, "list", lambda window: (window.list,), sheets.lists.has)
    for row in sheet.rows:
        window = row.value
        if window.days < 1:
            yield sheet.finding(row, "days", "must be 1 or more")
        if (" " in window.target) or window.target.startswith(("kind:", "list:")):
            yield sheet.finding(row, "target", f"must be {ANY}, group:… or one item code")
            continue
        for message in _pattern_faults(sheets, window.target):
            yield sheet.finding(row, "target", message)
        item = sheets.items.get(window.target)
        if item and sheets.lists.has(window.list) and window.list not in item.lists:
            message = f"item {item.code} is not in the list {window.list!r}; add it there or drop the row"
            yield sheet.finding(row, "target", message)


def _pattern_faults(sheets: Sheets, pattern: str) -> Iterator[str]:
    """What is wrong with a pattern as ``Catalogue.covers`` reads it."""
    readable = sheets.imaging.keys is not None and sheets.lab.keys is not None
    for part in pattern.split():
        head, colon, rest = part.partition(":")
        if not colon:
            if part != ANY and not sheets.has_item(part):
                yield f"{part!r} is no item of this catalogue; correct or add it"
        elif head == "kind":
            if rest not in get_args(Kind):
                yield f"{rest!r} is no kind; write one of: {', '.join(get_args(Kind))}"
        elif head == "list":
            if not sheets.lists.has(rest):
                yield f"{rest!r} is no list of this catalogue; correct or add it"
        elif head != "group":
            yield f"{part!r} is no pattern; write {ANY}, kind:…, list:…, group:… or codes with blanks"
        elif readable and rest not in sheets.groups:
            yield f"no item is in the group {rest!r}; the groups are {', '.join(sorted(sheets.groups))}"


def _rules(sheets: Sheets) -> Iterator[Finding]:
    reasons = sheets.reason_codes
    ids = {row.value.id: sheets.rules.table.file for row in sheets.rules.rows}
    for sheet in (sheets.rules, sheets.negative):
        for row in sheet.rows:
            rule = row.value
            system, _, code = rule.reason_code.partition(":")
            if rule.reason_code and not reasons.has(system, code):
                message = f"{rule.reason_code!r} is no system:code of reason_codes.csv; correct or add it"
                yield sheet.finding(row, "reason_code", message)
            if (holder := ids.get(rule.id, sheet.table.file)) != sheet.table.file:
                yield sheet.finding(row, "id", f"{rule.id!r} is already in {holder}; give it another id")
            if (rule.effect == "recognised") != (rule.id == RULES[0]):
                message = f"'recognised' is the effect of {RULES[0]} and of no other rule; correct it"
                yield sheet.finding(row, "effect", message)
    for row in sheets.rules.rows:
        if row.value.id not in RULES:
            message = f"{row.value.id!r} is no rule of a decision; they are {', '.join(RULES)}"
            yield sheets.rules.finding(row, "id", message)
    for rule_id in RULES:
        if not sheets.rules.has(rule_id):
            message = f"rule {rule_id} is missing; a decision needs its words, source and owner"
            yield Finding(sheets.rules.table.file, 0, "id", message)
    for row in sheets.negative.rows:
        rule = row.value
        if rule.fact not in FACTS:
            message = f"{rule.fact!r} is no fact; write one of: {', '.join(FACTS)}"
            yield sheets.negative.finding(row, "fact", message)
        for message in _pattern_faults(sheets, rule.items):
            yield sheets.negative.finding(row, "items", message)
    yield from _known(sheets.negative, "region", lambda rule: (rule.region,), sheets.regions.has)


def _institutions(sheets: Sheets) -> Iterator[Finding]:
    sheet = sheets.institutions
    yield from _known(sheet, "region", lambda entry: (entry.region,), sheets.regions.has)
    for row in sheet.rows:
        if row.value.level not in LEVELS:
            message = f"{row.value.level!r} is no grade; write one of: {', '.join(LEVELS)}"
            yield sheet.finding(row, "level", message)


def _qualifications(sheets: Sheets) -> Iterator[Finding]:
    sheet = sheets.qualifications
    yield from _known(sheet, "institution", lambda entry: (entry.institution,), sheets.institutions.has)
    yield from _known(sheet, "scope", lambda entry: (entry.scope,), sheets.regions.has)
    for row in sheet.rows:
        for message in _pattern_faults(sheets, row.value.items):
            yield sheet.finding(row, "items", message)
        yield from _period(sheet, row)


def _period(sheet: Sheet[Qualification], row: Row[Qualification]) -> Iterator[Finding]:
    entry = row.value
    if entry.valid_to < entry.valid_from:
        yield sheet.finding(row, "valid_to", f"lies before valid_from {entry.valid_from}; exchange the two")
    if entry.status != "active" and entry.status_from is None:
        yield sheet.finding(row, "status_from", f"is empty; a {entry.status} record needs the day it began")
    if entry.status != "active" and not entry.reason:
        yield sheet.finding(row, "reason", f"is empty; a {entry.status} record needs its reason")
