"""Whether a change loosens or tightens: whether something may be recognised, or viewed, that was not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any, Literal

from catalog.entries import ANY, Effect, Window
from catalog.model import Catalogue

Direction = Literal["tightens", "loosens", "other"]
Judge = Callable[[Any, Any, Catalogue, Catalogue], int]
"""Value before and after, old catalogue and new → above 0 for loosens, below 0 for tightens."""

_SEVERITY: dict[Effect, int] = {"recognised": 0, "note": 0, "view_only": 1, "not_recognised": 2}
_CONDITIONS = (6, 8)
"""The steps whose rules may come and go: level rules and the negative list."""


def field_effect(table: str, field: str, was: Any, now: Any, old: Catalogue, new: Catalogue) -> Direction:
    """What it means that a column of a row changed."""
    judge = _FIELDS.get((table, field))
    return _direction(judge(was, now, old, new)) if judge else "other"


def row_effect(table: str, row: Any, without: Catalogue, *, came: bool) -> Direction:
    """What it means that a row came (or went); ``without`` is the catalogue that does not have it."""
    if table == "windows":
        return _direction(_window_row(row, without, came=came))
    judge = _ROWS.get(table)
    sign = judge(row) if judge else 0
    return _direction(sign if came else -sign)


def _direction(sign: int) -> Direction:
    return "loosens" if sign > 0 else "tightens" if sign < 0 else "other"


def _window_row(row: Window, without: Catalogue, *, came: bool) -> int:
    if row.institution:  # an institution's own counts beside the list's: it can only tighten
        return -1 if came else 1
    item = without.items.get(row.target)
    targets = (row.target, *((f"group:{item.group}",) if item else ()), ANY)
    listed = {(w.target, w.setting): w for w in without.windows if w.list == row.list and not w.institution}
    keys = ((target, setting) for target in targets for setting in (row.setting, ANY))
    beside = next((listed[key] for key in keys if key in listed), None)
    if beside is None:  # no window at all: nothing was recognised (R7.2)
        return 1 if came else -1
    steps = [
        judge(getattr(beside, field), getattr(row, field), without, without)
        for (table, field), judge in _FIELDS.items()
        if table == "windows"
    ]
    signs = [step if came else -step for step in steps]
    # Longer in one respect and shorter in another: what may loosen is said first.
    return 1 if max(signs) > 0 else min(signs)


def _more(was: Any, now: Any, *_: Catalogue) -> int:
    return 0 if was is None or now is None else (now > was) - (now < was)


def _fewer(was: date | None, now: date | None, *_: Catalogue) -> int:
    return -_more(was, now)


def _ranked(*low_to_high: str) -> Judge:
    return lambda was, now, *_: low_to_high.index(now) - low_to_high.index(was)


def _came(was: tuple[str, ...], now: tuple[str, ...], *_: Catalogue) -> int:
    return 1 if set(now) - set(was) else -1 if set(was) - set(now) else 0


def _wider(was: str, now: str, old: Catalogue, new: Catalogue) -> int:
    return new.contains(now, was) - old.contains(was, now)


def _covers_more(was: str, now: str, old: Catalogue, new: Catalogue) -> int:
    held = old.items.keys() & new.items.keys()
    before = {code for code in held if old.covers(was, old.items[code])}
    after = {code for code in held if new.covers(now, new.items[code])}
    return (before < after) - (after < before)


def _for_more(was: str, now: str, *_: Catalogue) -> int:
    """From one institution to all, or the reverse."""
    return (now == "") - (was == "")


def _severer(was: Effect, now: Effect, *_: Catalogue) -> int:
    return _SEVERITY[now] - _SEVERITY[was]


def _not(judge: Judge) -> Judge:
    return lambda was, now, old, new: -judge(was, now, old, new)


_FIELDS: dict[tuple[str, str], Judge] = {
    ("editions", "overlap_days"): _more,
    ("lists", "region"): _wider,
    # Another meaning both loosens and tightens.
    ("items", "concept"): lambda *_: 1,
    ("items", "lists"): _came,
    ("items", "aliases"): _came,
    ("items", "units"): _came,
    ("windows", "days"): _more,
    ("windows", "view_days"): _more,
    # The end of the last date is never before the same time of that day; a report follows its examination.
    ("windows", "clock"): _ranked("elapsed_24h", "calendar_days"),
    ("windows", "base"): _ranked("performed", "report"),
    ("windows", "boundary"): _ranked("excluding", "including"),
    ("rules", "effect"): _not(_severer),
    ("rules", "items"): _not(_covers_more),
    ("rules", "region"): _not(_wider),
    ("rules", "institution"): _not(_for_more),
    ("panels", "aliases"): _came,
    ("qualifications", "items"): _covers_more,
    ("qualifications", "scope"): _wider,
    ("qualifications", "valid_from"): _fewer,
    ("qualifications", "valid_to"): _more,
    ("qualifications", "status"): lambda was, now, *_: (now == "active") - (was == "active"),
    ("qualifications", "status_from"): _more,
    ("institutions", "alliances"): _came,
    ("conversions", "factor"): lambda *_: 1,
    ("conversions", "offset"): lambda *_: 1,
    ("regions", "parents"): _came,
    ("regions", "marks"): _came,
}

_ROWS: dict[str, Callable[[Any], int]] = {
    "lists": lambda _: 1,
    "items": lambda row: bool(row.lists),
    "rules": lambda row: -_SEVERITY[row.effect] if row.step in _CONDITIONS else 0,
    "stand_ins": lambda _: 1,
    "qualifications": lambda row: row.status == "active",
    "institutions": lambda _: 1,
    "conversions": lambda _: 1,
}
"""Table → the sign of a row that came; of one that went it is the opposite."""
