"""互认时限: until when a result stays recognisable, in both clocks.

The policy counts days where the hospital is, so dates are taken in Asia/Shanghai (which has had no daylight
saving since 1991). Sources: the two clocks observed in the field, ``docs/steward.md``.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from catalog import Window
from recognition.model import Result

SHANGHAI = ZoneInfo("Asia/Shanghai")


def day_of(result: Result) -> date | None:
    """The day of the examination where the hospital is; that of the report where only this is known."""
    when = result.performed or result.reported
    return when.astimezone(SHANGHAI).date() if when else None


def last_moment(window: Window, base: datetime) -> datetime:
    """The last instant at which a result with this base time is inside the window, in Asia/Shanghai.

    ``calendar_days``: the date of the base time plus ``days``, up to the end of that day.
    ``elapsed_24h``: the base time plus ``days`` times 24 hours, that instant included.
    """
    local = base.astimezone(SHANGHAI)
    if window.clock == "elapsed_24h":
        return (base + timedelta(hours=24 * window.days)).astimezone(SHANGHAI)
    return datetime.combine(local.date() + timedelta(days=window.days), time.max, tzinfo=SHANGHAI)
