"""Whether a change loosens or tightens: whether something may be recognised, or viewed, that was not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any, Literal

from msgspec.structs import replace

from catalog._names import matches
from catalog.entries import ANY, Effect, Window
from catalog.model import Catalogue

Direction = Literal["tightens", "loosens", "other"]
Judge = Callable[[Any, Any, Catalogue, Catalogue], int]
"""Value before and after, old catalogue and new → above 0 for loosens, below 0 for tightens."""

Within = Callable[[str, str, Catalogue, Catalogue], bool]
"""Inner and outer value, old catalogue and new → whether the one lies within the other."""

_DAYS = ("days", "clock", "boundary")
_SEVERITY: dict[Effect, int] = {"recognised": 0, "note": 0, "view_only": 1, "not_recognised": 2}
_CONDITIONS = (6, 8)
"""The steps whose rules may come and go: level rules and the negative list."""


def field_effect(
    table: str, field: str, before: Any, after: Any, old: Catalogue, new: Catalogue
) -> Direction:
    """What it means that a column of a row changed, from ``before`` to ``after``."""
    was, now = getattr(before, field), getattr(after, field)
    if table == "windows" and field in _DAYS:
        earlier = _DAYS[: _DAYS.index(field)]  # the columns are changed one after another
        so_far = replace(before, **{name: getattr(after, name) for name in earlier})
        return _direction(_reach(replace(so_far, **{field: now})) - _reach(so_far))
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


def _reach(window: Window) -> int:
    """What orders windows by their last moment, whatever the hour of the base time.

    Calendar days last to the end of the last date, or of the date before it; periods of 24 hours to the same
    hour of the last date, or just before it.
    """
    ends = {
        ("calendar_days", "including"): 2,
        ("elapsed_24h", "including"): 1,
        ("elapsed_24h", "excluding"): 0,
        ("calendar_days", "excluding"): -2,
    }
    return 4 * window.days + ends[window.clock, window.boundary]


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
    old, new = (beside, row) if came else (row, beside)
    signs = [_reach(new) - _reach(old)]
    for name in ("base", "view_days"):
        judge = _FIELDS["windows", name]
        signs.append(judge(getattr(old, name), getattr(new, name), without, without))
    # Longer in one respect and shorter in another: what may loosen is said first.
    return max(signs) if max(signs) > 0 else min(signs)


def _more(was: Any, now: Any, *_: Catalogue) -> int:
    return 0 if was is None or now is None else (now > was) - (now < was)


def _fewer(was: date | None, now: date | None, *_: Catalogue) -> int:
    return -_more(was, now)


def _came(was: tuple[str, ...], now: tuple[str, ...], *_: Catalogue) -> int:
    return 1 if set(now) - set(was) else -1 if set(was) - set(now) else 0


def _went(was: tuple[str, ...], now: tuple[str, ...], *_: Catalogue) -> int:
    return _came(now, was)


def _any(*_: Any) -> int:
    """What cannot be seen from the tables alone, or does both: what may loosen is said first."""
    return 1


def _granted(within: Within) -> Judge:
    """Where more is granted: loosens unless the new lies within the old."""

    def judge(was: str, now: str, old: Catalogue, new: Catalogue) -> int:
        return (not within(now, was, old, new)) or -(not within(was, now, old, new))

    return judge


def _forbidden(within: Within) -> Judge:
    """Where more is forbidden: loosens unless the old lies within the new."""
    granted = _granted(within)
    return lambda was, now, old, new: granted(now, was, old, new)


def _in_area(inner: str, outer: str, old: Catalogue, new: Catalogue) -> bool:
    return old.contains(outer, inner) or (inner not in old.regions and new.contains(outer, inner))


def _in_items(inner: str, outer: str, old: Catalogue, new: Catalogue) -> bool:
    """Whether a pattern names no more items than another one, of those that both catalogues have."""
    held = [old.items[code] for code in old.items.keys() & new.items.keys()]
    return all(matches(outer, item) for item in held if matches(inner, item))


def _in_institution(inner: str, outer: str, *_: Catalogue) -> bool:
    return outer in ("", inner)


def _severer(was: Effect, now: Effect, *_: Catalogue) -> int:
    return _SEVERITY[was] - _SEVERITY[now]


_FIELDS: dict[tuple[str, str], Judge] = {
    ("editions", "overlap_days"): _more,
    ("lists", "region"): _granted(_in_area),
    # Another meaning both loosens and tightens.
    ("items", "name"): _any,
    ("items", "concept"): _any,
    ("items", "group"): _any,
    ("items", "lists"): _came,
    ("items", "aliases"): _came,
    ("items", "units"): lambda was, now, *_: _came(was, now) if now else 1,
    ("windows", "view_days"): _more,
    # A report follows its examination.
    ("windows", "base"): lambda was, now, *_: (now == "report") - (was == "report"),
    ("rules", "effect"): _severer,
    ("rules", "when"): _any,
    ("rules", "items"): _forbidden(_in_items),
    ("rules", "region"): _forbidden(_in_area),
    ("rules", "institution"): _forbidden(_in_institution),
    ("panels", "name"): _any,
    ("panels", "aliases"): _came,
    ("panels", "members"): _went,
    ("qualifications", "institution"): _any,
    ("qualifications", "items"): _granted(_in_items),
    ("qualifications", "scope"): _granted(_in_area),
    ("qualifications", "valid_from"): _fewer,
    ("qualifications", "valid_to"): _more,
    ("qualifications", "status"): lambda was, now, *_: (now == "active") - (was == "active"),
    ("qualifications", "status_from"): _more,
    # Lists and rules follow the area; a lower grade recognises more, a higher one is recognised more.
    ("institutions", "region"): _any,
    ("institutions", "level"): _any,
    ("institutions", "gateway"): _any,
    ("institutions", "alliances"): _came,
    ("conversions", "factor"): _any,
    ("conversions", "offset"): _any,
    ("regions", "kind"): _any,
    ("regions", "parents"): _any,
    ("regions", "marks"): _came,
}

_ROWS: dict[str, Callable[[Any], int]] = {
    "lists": lambda _: 1,
    "items": lambda row: bool(row.lists),
    "rules": lambda row: -_SEVERITY[row.effect] if row.step in _CONDITIONS else 0,
    "stand_ins": lambda _: 1,
    "panels": lambda _: 1,
    # One that is stopped still counts for examinations of the days before.
    "qualifications": lambda row: row.stopped is None or row.valid_from < row.stopped,
    "institutions": lambda _: 1,
    "conversions": lambda _: 1,
    "regions": lambda row: bool(row.marks),
}
"""Table → the sign of a row that came; of one that went it is the opposite."""
