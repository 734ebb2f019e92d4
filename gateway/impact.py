"""What a draft would change: stored cases decided again under it, before it is published.

Every case of the last N days is decided under the catalogue as it would stand once the draft is in force, at
the moment it was asked at, and compared with what was answered. Verdicts that would differ are counted by
planned item and reason; so are checks whose orders would change; and checks that can no longer be decided,
because an item that was planned is gone, apart from both.

Memory holds a page of cases and the counts, whatever the number of cases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from adapters.store import Store
from catalog import Catalogue, UnknownEntry
from gateway.cases import Said, StoredCase, cases, replay, said, shifts
from gateway.ids import time_of
from recognition import VerdictCode

Progress = Callable[[int, float], None]
"""Told now and then: cases so far, and the share (0 to 1) of the period that they are of."""

Outcome = VerdictCode | Literal[""]
"""A verdict; empty where the result is not judged, because it matters to nothing that is planned."""

_TOLD_EVERY = 500


class ItemShift(Struct, frozen=True, kw_only=True):
    """So many verdicts for one planned item go from one verdict and main rule to another.

    ``name`` is the item's in the draft; empty where it has no such item.
    """

    item: str
    name: str
    before: Outcome
    rule_before: str
    after: Outcome
    rule: str
    verdicts: int


class Gone(Struct, frozen=True):
    """So many checks cannot be decided under the draft, because it lacks what they name."""

    kind: str
    code: str
    checks: int


class Impact(Struct, frozen=True, kw_only=True):
    """What a draft would change in a period.

    ``checks`` were decided again. Of these ``changed`` have a verdict or main reason that differs, in
    ``more_to_order`` something would be left to order that was not, in ``less_to_order`` something would not
    that was (a check can be in both; ``orders_changed`` counts it once). ``undecidable`` stand apart.
    """

    catalogue: str
    since: datetime
    until: datetime
    checks: int
    changed: int
    orders_changed: int
    more_to_order: int
    less_to_order: int
    shifts: tuple[ItemShift, ...]
    undecidable: tuple[Gone, ...]


class Tally:
    """Counts what changes, case by case."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._checks = self._changed = self._orders = self._more = self._less = 0
        self._shifts: Counter[tuple[str, Outcome, str, Outcome, str]] = Counter()
        self._gone: Counter[tuple[str, str]] = Counter()

    def add(self, case: StoredCase) -> None:
        """Decide a case again and count what differs."""
        try:
            decision = replay(case, self._catalogue)
        except UnknownEntry as unknown:
            self._gone[unknown.kind, unknown.code] += 1
            return
        self._checks += 1
        changed = False
        for shift in shifts(case.verdicts, tuple(said(verdict) for verdict in decision.verdicts)):
            before, after = _outcome(shift.before), _outcome(shift.after)
            if before != after:
                changed = True
                named = shift.after or shift.before
                self._shifts[(named and (named.serves or named.item)) or "", *before, *after] += 1
        self._changed += changed
        orders = list(zip(case.to_order, (set(a.to_order) for a in decision.advice), strict=True))
        more = any(not new <= set(old) for old, new in orders)
        less = any(not set(old) <= new for old, new in orders)
        self._more += more
        self._less += less
        self._orders += more or less

    def total(self, start: datetime, end: datetime) -> Impact:
        """The counts so far, most frequent first."""
        items = self._catalogue.items
        return Impact(
            catalogue=self._catalogue.version,
            since=start,
            until=end,
            checks=self._checks,
            changed=self._changed,
            orders_changed=self._orders,
            more_to_order=self._more,
            less_to_order=self._less,
            shifts=tuple(
                ItemShift(
                    item=item,
                    name=items[item].name if item in items else "",
                    before=before,
                    rule_before=rule_before,
                    after=after,
                    rule=rule,
                    verdicts=count,
                )
                for (item, before, rule_before, after, rule), count in sorted(
                    self._shifts.items(), key=lambda entry: (-entry[1], entry[0])
                )
            ),
            undecidable=tuple(
                Gone(kind, code, count)
                for (kind, code), count in sorted(self._gone.items(), key=lambda entry: (-entry[1], entry[0]))
            ),
        )


async def impact(
    store: Store,
    catalogue: Catalogue,
    start: datetime,
    end: datetime,
    progress: Progress = lambda _done, _share: None,
) -> Impact:
    """What this catalogue would change in the cases that a store keeps of a period.

    Raises:
        StoreUnavailable: the cases cannot be read.
    """
    tally = Tally(catalogue)
    done, period = 0, max(end - start, timedelta(milliseconds=1))
    async for id_, case in cases(store, start, end):
        tally.add(case)
        done += 1
        if done % _TOLD_EVERY == 0:
            progress(done, (time_of(id_) - start) / period)
    progress(done, 1.0)
    return tally.total(start, end)


def _outcome(one: Said | None) -> tuple[Outcome, str]:
    return (one.verdict, one.rules[0]) if one else ("", "")
