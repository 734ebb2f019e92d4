"""What must hold of windows and rules: no overlap, known facts, and every step of a decision in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from catalog._references import covered, known
from catalog._sheets import Sheets
from catalog.conditions import ConditionRefused, compile_condition
from catalog.entries import ANY, LATER, NOTES, RULES, Rule, Window
from catalog.errors import Finding
from catalog.tables import Row, Sheet

LONGEST = 36_500
"""Days: a hundred years, for what never changes."""

Place = tuple[str, int]
"""A file and a row."""


def check_windows(sheets: Sheets) -> Iterator[Finding]:
    """What is wrong with windows, those of two lists of one area included."""
    sheet = sheets.windows
    yield from known(sheet, "list", lambda window: (window.list,), sheets.lists.has)
    yield from covered(sheets, sheet, "target", lambda window: window.target)
    for row in sheet.rows:
        window = row.value
        if not 1 <= window.days <= LONGEST:
            yield sheet.finding(row, "days", f"must be 1 or more, and at most {LONGEST}")
        if window.view_days > LONGEST:
            yield sheet.finding(row, "view_days", f"must be at most {LONGEST}")
        if window.view_days and window.view_days < window.days:
            message = f"{window.view_days} is less than the {window.days} days of the window"
            yield sheet.finding(row, "view_days", f"{message}; write at least those, or 0 for none")
        if (" " in window.target) or window.target.startswith(("kind:", "list:")):
            yield sheet.finding(row, "target", f"must be {ANY}, group:… or one item code")
        item = sheets.items.get(window.target)
        if item and sheets.lists.has(window.list) and window.list not in item.lists:
            message = f"item {item.code} is not in the list {window.list!r}; add it there or drop the row"
            yield sheet.finding(row, "target", message)
    yield from _overlaps(sheets)


def _overlaps(sheets: Sheets) -> Iterator[Finding]:
    """Two lists of one area that give one item different windows: nobody could say which one holds."""
    regions = {row.value.id: row.value.region for row in sheets.lists.rows}
    given = {
        (row.value.list, row.value.target, row.value.setting): row
        for row in sheets.windows.rows
        if not row.value.institution
    }
    unlike: dict[tuple[Place, Place], list[str]] = {}
    for item in sheets.items.values():
        for setting in ("outpatient", "inpatient", "emergency"):
            first: dict[str, Row[Window]] = {}
            for name in (name for name in item.lists if name in regions):
                keys = ((name, target, when) for target in item.targets for when in (setting, ANY))
                row = next((given[key] for key in keys if key in given), None)
                if row and _span(row.value) != _span(first.setdefault(regions[name], row).value):
                    before = first[regions[name]]
                    codes = unlike.setdefault(((row.file, row.number), (before.file, before.number)), [])
                    codes.append(item.code)
    for ((file, number), before_place), codes in unlike.items():
        items = ", ".join(list(dict.fromkeys(codes))[:5])
        message = f"another window of the same area is given in {'{}:{}'.format(*before_place)} for {items}"
        yield Finding(file, number, "days", f"{message}; make the two equal")


def _span(window: Window) -> tuple[object, ...]:
    return window.days, window.clock, window.base, window.boundary, window.view_days


def check_rules(sheets: Sheets) -> Iterator[Finding]:
    """What is wrong with the rules of the decision, the level rules and the negative list."""
    ids: dict[str, str] = {}
    for sheet in (sheets.rules, sheets.negative, sheets.levels):
        for row in sheet.rows:
            rule = row.value
            system, _, code = rule.reason_code.partition(":")
            if rule.reason_code and not sheets.reason_codes.has(system, code):
                message = f"{rule.reason_code!r} is no system:code of reason_codes.csv; correct or add it"
                yield sheet.finding(row, "reason_code", message)
            if (holder := ids.setdefault(rule.id, sheet.table.file)) != sheet.table.file:
                yield sheet.finding(row, "id", f"{rule.id!r} is already in {holder}; give it another id")
            for effect, bearers in (("recognised", RULES[:1]), ("note", NOTES)):
                if (rule.effect == effect) != (rule.id in bearers):
                    message = f"{effect!r} is the effect of {', '.join(bearers)} and of no other; correct it"
                    yield sheet.finding(row, "effect", message)
    for row in sheets.rules.rows:
        if row.value.id not in RULES:
            message = f"{row.value.id!r} is no rule of a decision; they are {', '.join(RULES)}"
            yield sheets.rules.finding(row, "id", message)
        elif row.value.step != int(row.value.id[1]):
            yield sheets.rules.finding(row, "step", f"must be the digit after R, {row.value.id[1]}")
    for rule_id in RULES:
        if rule_id not in LATER and not sheets.rules.has(rule_id):
            message = f"rule {rule_id} is missing; a decision needs its words, source and owner"
            yield Finding(sheets.rules.table.file, 0, "id", message)
    yield from _conditions(sheets, sheets.negative)
    yield from _conditions(sheets, sheets.levels)


def _conditions(sheets: Sheets, sheet: Sheet[Rule]) -> Iterator[Finding]:
    yield from covered(sheets, sheet, "items", lambda rule: rule.items)
    yield from known(sheet, "region", lambda rule: (rule.region,), sheets.regions.has)
    has: dict[str, Callable[[str], bool]] = {
        "item": sheets.has_item,
        "group": sheets.groups.__contains__,
        "issuer": sheets.institutions.has,
    }
    for row in sheet.rows:
        try:
            said = compile_condition(row.value.when).said
        except ConditionRefused as refused:
            yield sheet.finding(row, "when", refused.message)
            continue
        for fact, value in sorted(said):
            if fact in has and not has[fact](value):
                message = (
                    f"there is no {fact} {value!r} in this catalogue, so that it says nothing; correct it"
                )
                yield sheet.finding(row, "when", message)
