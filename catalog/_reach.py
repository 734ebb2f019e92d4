"""How far an edition and a hospital's own additions reach: not beyond their owner's area, never loosening.

A stand-in, a panel or a conversion has no area of its own: an edition gives them for items that are listed
in its scope. The words of a decision count in every area, so they belong where the scope holds all lists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from catalog._names import matches
from catalog._references import holds
from catalog._sheets import HEAD, Sheets
from catalog.errors import Finding
from catalog.tables import Row, Sheet

if TYPE_CHECKING:
    from catalog.load import Draft


def check_reach(drafts: Sequence[Draft], sheets: Sheets) -> Iterator[Finding]:
    """Every row that speaks for more than its edition's scope, or for an institution that may not add it."""
    first: dict[str, Draft] = {}
    for draft in drafts:
        edition = draft.edition
        if (before := first.setdefault(edition.id, draft)) is not draft:
            message = f"{edition.id!r} is also {before.edition.version}; one version of it can be in force"
            yield Finding(draft.place + HEAD, 0, "id", message)
        if not sheets.regions.has(edition.scope):
            message = f"{edition.scope!r} is no region of this catalogue; correct or add it"
            yield Finding(draft.place + HEAD, 0, "scope", message)
            continue
        yield from _areas(draft, sheets)
        yield from _lists(draft, sheets)
        yield from _items(draft, sheets)
    yield from _own_windows(sheets)
    yield from _own_rules(sheets, sheets.negative)
    yield from _own_rules(sheets, sheets.levels)


def _areas(draft: Draft, sheets: Sheets) -> Iterator[Finding]:
    own, scope = draft.sheets, draft.edition.scope
    tables: tuple[tuple[Sheet[Any], str], ...] = (
        (own.lists, "region"),
        (own.negative, "region"),
        (own.levels, "region"),
        (own.institutions, "region"),
        (own.prices, "region"),
        (own.qualifications, "scope"),
    )
    for sheet, column in tables:
        for row in sheet.rows:
            if not holds(sheets, scope, region := getattr(row.value, column)):
                message = (
                    f"{region} lies outside {scope}, the scope of edition {draft.edition.id}; correct it"
                )
                yield sheet.finding(row, column, message)


def _lists(draft: Draft, sheets: Sheets) -> Iterator[Finding]:
    """An edition fills its own lists; a window for another's list is a hospital's addition."""
    own = draft.sheets
    for items in (own.imaging, own.lab):
        for row in items.rows:
            for name in row.value.lists:
                if sheets.lists.has(name) and not own.lists.has(name):
                    message = f"{name!r} is a list of another edition; its owner adds items to it"
                    yield items.finding(row, "lists", message)
    for window in own.windows.rows:
        region = sheets.homes.get(window.value.institution)
        foreign = sheets.lists.has(window.value.list) and not own.lists.has(window.value.list)
        if foreign and (region is None or not holds(sheets, draft.edition.scope, region)):
            message = f"{window.value.list!r} is a list of another edition; its owner sets its windows"
            yield own.windows.finding(window, "list", message)


def _items(draft: Draft, sheets: Sheets) -> Iterator[Finding]:
    own, scope = draft.sheets, draft.edition.scope
    beyond = {row.value.id for row in sheets.lists.rows if not holds(sheets, scope, row.value.region)}
    tables: tuple[tuple[Sheet[Any], str, Callable[[Any], Iterable[str]]], ...] = (
        (own.stand_ins, "ordered", lambda entry: (entry.ordered,)),
        (own.panels, "members", lambda panel: (panel.code, *panel.members)),
        (own.conversions, "item", lambda entry: (entry.item,)),
    )
    for sheet, column, codes in tables:
        for row in sheet.rows:
            for code in codes(row.value):
                item = sheets.items.get(code)
                if item and beyond.issuperset(item.lists):
                    message = f"no list with item {code} lies in {scope}, the scope of edition"
                    yield sheet.finding(row, column, f"{message} {draft.edition.id}; drop the row")
    if beyond and own.rules.rows:
        message = f"counts in every area, and the list {min(beyond)!r} lies outside {scope}; drop the table"
        yield Finding(draft.place + own.rules.table.file, 0, "", message)


def _own_windows(sheets: Sheets) -> Iterator[Finding]:
    lists = {row.value.id: row.value for row in sheets.lists.rows}
    for row in sheets.windows.rows:
        window = row.value
        if not window.institution:
            continue
        if window.view_days:
            message = "must be empty in a hospital's own window, which can only tighten"
            yield sheets.windows.finding(row, "view_days", message)
        if window.list in lists:
            yield from _addition(sheets, sheets.windows, row, (window.list,))


def _own_rules(sheets: Sheets, sheet: Sheet[Any]) -> Iterator[Finding]:
    for row in sheet.rows:
        rule = row.value
        if not rule.institution:
            continue
        home = sheets.homes.get(rule.institution, "")
        if not holds(sheets, rule.region, home):
            message = (
                f"{rule.institution} lies outside the rule's region {rule.region}; correct one of the two"
            )
            yield sheet.finding(row, "institution", message)
        concerned = {
            name for item in sheets.items.values() if matches(rule.items, item) for name in item.lists
        }
        there = [
            entry.value.id
            for entry in sheets.lists.rows
            if entry.value.id in concerned and holds(sheets, entry.value.region, home)
        ]
        yield from _addition(sheets, sheet, row, there)


def _addition(sheets: Sheets, sheet: Sheet[Any], row: Row[Any], lists: Sequence[str]) -> Iterator[Finding]:
    """Whether the institution of this row may add to these lists."""
    code = row.value.institution
    if not sheets.institutions.has(code):
        message = f"{code!r} is in no row of this catalogue; correct or add it"
        yield sheet.finding(row, "institution", message)
        return
    for entry in sheets.lists.rows:
        if entry.value.id not in lists:
            continue
        if not entry.value.additions:
            message = f"the list {entry.value.id!r} allows no additions of institutions; drop the row"
            yield sheet.finding(row, "institution", message)
        if not holds(sheets, entry.value.region, sheets.homes.get(code, "")):
            message = f"{code} lies outside the region of the list {entry.value.id!r}; drop the row"
            yield sheet.finding(row, "institution", message)
