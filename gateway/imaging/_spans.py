"""Dates, times, and moments of a search as spans of comparable text (PS3.4 sections C.2.2.2.1 and C.2.2.2.5).

A value that leaves out its smaller parts is the whole of what it names: ``2230`` the minute, ``2026`` the
year. A range takes in both of its ends.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Literal

from msgspec import Struct

_CLOCK = r"(?:[01]\d|2[0-3])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?"
_OFFSET = r"[+-](?:0\d|1[0-4])[0-5]\d"
_MOMENT = rf"\d{{4}}(?:\d\d(?:\d\d(?:{_CLOCK})?)?)?(?:{_OFFSET})?"
_DATES = re.compile(r"\d{8}")
_TIMES = re.compile(_CLOCK)
_MOMENTS = re.compile(rf"(\d{{4,14}})(?:\.(\d{{1,6}}))?({_OFFSET})?")
_SHAPES = {
    "DA": re.compile(r"(?P<first>\d{8})?(?P<dash>-)?(?P<last>\d{8})?"),
    "TM": re.compile(rf"(?P<first>{_CLOCK})?(?P<dash>-)?(?P<last>{_CLOCK})?"),
    "DT": re.compile(rf"(?P<first>{_MOMENT})?(?P<dash>-)?(?P<last>{_MOMENT})?"),
}
_HOME = timezone(timedelta(hours=8))
"""The offset of moments that do not say theirs: China's."""
_LATEST = "~"
"""Later than any date: it sorts after the digits."""

Form = Literal["one", "between", "until", "since"]


class Span(Struct, frozen=True):
    """From ``low`` to ``high``, both included, and how it was written."""

    low: str
    high: str
    form: Form

    def holds(self, text: str | None) -> bool:
        """Whether a comparable text lies in it; what could not be read does not."""
        return text is not None and self.low <= text <= self.high

    def then(self, times: Span) -> Span:
        """The span of moments between a range of dates and one of times (PS3.4 C.2.2.2.5.4)."""
        return Span(self.low + times.low, self.high + times.high, self.form)


def span(vr: str, text: str) -> Span | None:
    """What is asked for of a date (DA), time (TM) or moment (DT); None where it is no such. It may end before
    it begins: times do that between two days."""
    found = _SHAPES[vr].fullmatch(text) if text.isascii() else None
    if found is None or not (found["first"] or found["last"]):
        return None
    first, last = found["first"], found["last"]
    if not found["dash"]:
        if first and last:  # nothing parts them, so it is no range
            return None
        last = first
        form: Form = "one"
    else:
        form = "between" if first and last else "since" if first else "until"
    low = comparable(vr, first) if first else ""
    high = comparable(vr, last, latest=True) if last else _LATEST
    return None if low is None or high is None else Span(low, high, form)


def comparable(vr: str, text: str, *, latest: bool = False) -> str | None:
    """A date, time or moment as text that sorts; with ``latest``, the last moment of what it names.

    The forms of before DICOM 3.0 (``2026.01.31``, ``10:30:00``) are read in what archives hold (PS3.5 6.2).
    """
    return _READERS[vr](text, latest)


def _date(text: str, latest: bool) -> str | None:
    digits = text.replace(".", "")
    if not (digits.isascii() and _DATES.fullmatch(digits)):
        return None
    try:
        date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None
    return digits


def _time(text: str, latest: bool) -> str | None:
    written = text.replace(":", "")
    if not (written.isascii() and _TIMES.fullmatch(written)):
        return None
    clock, _, fraction = written.partition(".")
    clock += ("5959" if latest else "0000")[len(clock) - 2 :]
    return f"{clock}.{fraction:{'9' if latest else '0'}<6}"


def _moment(text: str, latest: bool) -> str | None:
    found = _MOMENTS.fullmatch(text) if text.isascii() else None
    if found is None or len(found[1]) % 2:
        return None
    digits, fraction, offset = found.groups()
    year, month = int(digits[:4]), int(digits[4:6] or ("12" if latest else "1"))
    written = digits[8:] + (f".{fraction}" if fraction else "")
    clock = _time(written or ("23" if latest else "00"), latest)
    try:
        day = int(digits[6:8] or (calendar.monthrange(year, month)[1] if latest else 1))
        if clock is None:
            return None
        moment = datetime(
            year,
            month,
            day,
            int(clock[:2]),
            int(clock[2:4]),
            min(int(clock[4:6]), 59),  # a leap second counts as the one before it
            int(clock[7:]),
            tzinfo=datetime.strptime(offset, "%z").tzinfo if offset else _HOME,
        )
        return moment.astimezone(UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError):
        return None


_READERS: dict[str, Callable[[str, bool], str | None]] = {"DA": _date, "TM": _time, "DT": _moment}
