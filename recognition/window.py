"""互认时限: until when a result stays recognisable, in both clocks.

The policy counts days where the hospital is, so dates are taken in Asia/Shanghai (which has had no daylight
saving since 1991). Sources: the two clocks observed in the field, ``docs/steward.md``. A time at the very end
of the calendar, where adding a day would leave it, stays at that end: absurd times reach a decision too.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct

from catalog import Window
from recognition.model import Result

SHANGHAI = ZoneInfo("Asia/Shanghai")
_END = datetime.max.replace(tzinfo=SHANGHAI)


class Limit(Struct, frozen=True):
    """A window as it applies to one result: counted from ``base``, recognisable until, viewable until.

    All three are None where the result carries no time; ``viewing`` is also None without a viewing period.
    """

    window: Window
    base: datetime | None
    until: datetime | None
    viewing: datetime | None


def limit(window: Window, performed: datetime | None, first_reported: datetime | None) -> Limit:
    """The limit of a window; it counts from the other time where the wanted one is not known.

    The report time is that of the first version: a correction does not make an examination newer.
    """
    base = (first_reported or performed) if window.base == "report" else (performed or first_reported)
    if base is None:
        return Limit(window, None, None, None)
    viewing = _last(window, base, window.view_days) if window.view_days else None
    return Limit(window, base, _last(window, base, window.days), viewing)


def day_of(result: Result) -> date | None:
    """The day of the examination where the hospital is; that of the report where only this is known."""
    when = result.performed or result.reported
    return in_shanghai(when).date() if when else None


def in_shanghai(when: datetime) -> datetime:
    """The same instant on a clock in Asia/Shanghai."""
    try:
        return when.astimezone(SHANGHAI)
    except OverflowError:
        return when.replace(tzinfo=SHANGHAI)


def last_moment(window: Window, base: datetime) -> datetime:
    """The last instant at which a result with this base time is inside the window, in Asia/Shanghai.

    ``calendar_days``: the date of the base time plus ``days``, up to the end of that day.
    ``elapsed_24h``: the base time plus ``days`` times 24 hours, that instant included.
    With the boundary ``excluding``, the day before and the last microsecond before.
    """
    return _last(window, base, window.days)


def _last(window: Window, base: datetime, days: int) -> datetime:
    local, whole = in_shanghai(base), window.boundary == "including"
    try:
        if window.clock == "elapsed_24h":
            last = local + timedelta(hours=24 * days)
            return last if whole else last - timedelta(microseconds=1)
        day = local.date() + timedelta(days=days if whole else days - 1)
        return datetime.combine(day, time.max, tzinfo=SHANGHAI)
    except OverflowError:
        return _END
