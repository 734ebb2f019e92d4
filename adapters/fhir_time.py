"""FHIR's dates and times (R4 section 2.24.0.1), read without adding what was not written.

A dateTime may stop at the year, the month or the day, and a sloppy server leaves the zone out. None of these
is a moment: :func:`moment` gives None and a flag, and :func:`span` the whole period that was meant. A year
in which no examination can be (0001, 9999) is a slip or a placeholder, and overflows when its zone changes.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import lru_cache

from recognition import SHANGHAI

_FORM = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)"
    r"(?P<time>T\d\d:\d\d(?P<second>:\d\d(?P<fraction>\.\d+)?)?(?P<zone>Z|[+-]\d\d:\d\d)?)?)?)?",
    re.ASCII,
)
_EXACT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)", re.ASCII)  # most are
_DAY = 86_400
FIRST_YEAR, LAST_YEAR = 1900, 2200


def in_range(time: datetime) -> bool:
    """Whether the time lies in the years that an examination or a report can be of."""
    return FIRST_YEAR <= time.year <= LAST_YEAR


def moment(text: str, name: str) -> tuple[datetime | None, tuple[str, ...]]:
    """The aware moment, or None; and flags ``<name>:date-only``, ``:no-zone`` or ``:not-a-time``.

    An empty text is None without a flag.
    """
    if not text:
        return None, ()
    form = _form(text)
    if form is None:
        return None, (f"{name}:not-a-time",)
    if not form["time"]:
        return None, (f"{name}:date-only",)
    if not form["zone"]:
        return None, (f"{name}:no-zone",)
    try:
        return datetime.fromisoformat(text), ()
    except ValueError:
        return None, (f"{name}:not-a-time",)


def span(text: str) -> tuple[datetime, datetime] | None:
    """First instant and first instant after the period that was written; None where it is no FHIR time.

    What carries no zone is taken in Asia/Shanghai, as a search at a Chinese server means it.
    """
    form = _form(text)
    if form is None:
        return None
    try:
        if form["time"]:
            start = datetime.fromisoformat(text)
            start = start if start.tzinfo else start.replace(tzinfo=SHANGHAI)
            if form["fraction"]:
                return start, start + timedelta(milliseconds=1)
            return start, start + (timedelta(seconds=1) if form["second"] else timedelta(minutes=1))
        year, month, day = int(form["year"]), int(form["month"] or 1), int(form["day"] or 1)
        start = datetime(year, month, day, tzinfo=SHANGHAI)
        if form["day"]:
            return start, start + timedelta(days=1)
        if form["month"]:
            return start, datetime(year + month // 12, month % 12 + 1, 1, tzinfo=SHANGHAI)
        return start, datetime(year + 1, 1, 1, tzinfo=SHANGHAI)
    except ValueError:
        return None


@lru_cache(maxsize=4096)  # the results of one sample have one time
def reach(text: str) -> tuple[float, float] | None:
    """POSIX seconds of the first instant that was written, and of the first after it; None for no time.

    What carries no zone counts in the zone of the server, which may be any: it reaches a day further.
    """
    if not _EXACT.fullmatch(text):
        period, form = span(text), _form(text)
        if period is None or form is None:
            return None
        return period[0].timestamp(), period[1].timestamp() + (0 if form["zone"] else _DAY)
    try:
        start = datetime.fromisoformat(text)
    except ValueError:
        return None
    if not in_range(start):
        return None
    stamp = start.timestamp()
    return stamp, stamp + 1


def before(text: str, moment: datetime) -> bool:
    """Whether all that was written lies before a moment; False where no time was written. A search by date
    compares so (R4 section 3.1.1.4.8), in whole seconds here.
    """
    reached = reach(text)
    return reached is not None and reached[1] <= moment.timestamp() // 1


def _form(text: str) -> re.Match[str] | None:
    form = _FORM.fullmatch(text)
    return form if form and FIRST_YEAR <= int(form["year"]) <= LAST_YEAR else None
