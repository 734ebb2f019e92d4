"""Whether what a row names is there (codes of other tables, patterns of items) and in its area."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import get_args

from catalog._sheets import Sheets
from catalog._tree import reached
from catalog.entries import ANY, Kind
from catalog.errors import Finding
from catalog.tables import Sheet, T


def known(
    sheet: Sheet[T], column: str, refers_to: Callable[[T], Iterable[str]], has: Callable[[str], bool]
) -> Iterator[Finding]:
    for row in sheet.rows:
        for code in refers_to(row.value):
            if not has(code):
                yield sheet.finding(
                    row, column, f"{code!r} is in no row of this catalogue; correct or add it"
                )


def holds(sheets: Sheets, scope: str, region: str) -> bool:
    """Whether the area ``scope`` holds the region; so it is said of a region that is not known at all."""
    return not sheets.regions.has(region) or scope in {region, *reached(sheets.parents, region)}


def covered(sheets: Sheets, sheet: Sheet[T], column: str, pattern: Callable[[T], str]) -> Iterator[Finding]:
    """What is wrong with patterns as ``Catalogue.covers`` reads them."""
    for row in sheet.rows:
        for part in pattern(row.value).split():
            if fault := _part_fault(sheets, part):
                yield sheet.finding(row, column, fault)


def _part_fault(sheets: Sheets, part: str) -> str | None:
    head, colon, rest = part.partition(":")
    if not colon:
        if part == ANY or sheets.has_item(part):
            return None
        return f"{part!r} is no item of this catalogue; correct or add it"
    if head == "kind":
        kinds = get_args(Kind)
        return None if rest in kinds else f"{rest!r} is no kind; write one of: {', '.join(kinds)}"
    if head == "list":
        known = sheets.lists.has(rest)
        return None if known else f"{rest!r} is no list of this catalogue; correct or add it"
    if head != "group":
        return f"{part!r} is no pattern; write {ANY}, kind:…, list:…, group:… or codes with blanks"
    if rest in sheets.groups:
        return None
    return f"no item is in the group {rest!r}; the groups are {', '.join(sorted(sheets.groups))}"
