"""The boundary of a window, in both clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recognition import last_moment
from recognition.window import SHANGHAI, in_shanghai, limit
from tests.recognition.cases import CST, NOW, window_row

BASES = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(CST))  # noqa: DTZ001
CLOCKS = pytest.mark.parametrize("clock", ["calendar_days", "elapsed_24h"])


def last(base: datetime, days: int = 7, **row: Any) -> datetime:
    return last_moment(window_row(days=days, **row), base)


def test_calendar_days_count_dates_and_the_last_date_counts_in_full() -> None:
    reported = datetime(2026, 11, 1, 23, 59, tzinfo=CST)
    assert last(reported) == datetime(2026, 11, 8, 23, 59, 59, 999999, tzinfo=CST)


def test_calendar_days_count_the_date_in_shanghai_and_not_in_utc() -> None:
    evening_utc = datetime(2026, 11, 1, 16, 30, tzinfo=UTC)  # 00:30 on 2 November in Shanghai
    assert last(evening_utc, 1) == datetime(2026, 11, 3, 23, 59, 59, 999999, tzinfo=CST)


def test_elapsed_periods_count_to_the_instant() -> None:
    reported = datetime(2026, 11, 1, 23, 59, tzinfo=CST)
    assert last(reported, clock="elapsed_24h") == reported + timedelta(days=7)


def test_a_boundary_that_excludes_ends_calendar_days_a_day_earlier() -> None:
    reported = datetime(2026, 11, 1, 9, 0, tzinfo=CST)
    assert last(reported, boundary="excluding") == datetime(2026, 11, 7, 23, 59, 59, 999999, tzinfo=CST)


def test_a_boundary_that_excludes_leaves_out_the_last_instant_of_elapsed_periods() -> None:
    reported = datetime(2026, 11, 1, 9, 0, tzinfo=CST)
    ends = last(reported, clock="elapsed_24h", boundary="excluding")
    assert ends == reported + timedelta(days=7) - timedelta(microseconds=1)


def test_without_viewing_days_there_is_no_viewing_period() -> None:
    assert limit(window_row(days=7), NOW, NOW).viewing is None


@pytest.mark.parametrize(
    ("base", "performed", "reported", "counted"),
    [
        ("report", NOW - timedelta(days=2), NOW, NOW),
        ("report", NOW, None, NOW),
        ("performed", NOW - timedelta(days=2), NOW, NOW - timedelta(days=2)),
        ("performed", None, NOW, NOW),
        ("performed", None, None, None),
    ],
)
def test_a_window_counts_from_its_base_or_from_the_other_time_where_that_is_unknown(
    base: str, performed: datetime | None, reported: datetime | None, counted: datetime | None
) -> None:
    assert limit(window_row(base=base), performed, reported).base == counted


def test_a_limit_without_a_time_has_no_end() -> None:
    found = limit(window_row(view_days=60), None, None)
    assert (found.until, found.viewing) == (None, None)


def test_a_limit_holds_the_end_of_the_window_and_of_the_viewing_period() -> None:
    found = limit(window_row(days=7, view_days=60), NOW, NOW)
    assert (found.until, found.viewing) == (last(NOW), last(NOW, 60))


@CLOCKS
@pytest.mark.parametrize("boundary", ["including", "excluding"])
def test_a_window_that_leaves_the_calendar_ends_with_it(clock: str, boundary: str) -> None:
    late = datetime(9999, 12, 20, tzinfo=UTC)
    assert last(late, 30, clock=clock, boundary=boundary) == datetime.max.replace(tzinfo=SHANGHAI)


@pytest.mark.parametrize("year", [1, 9999])
@pytest.mark.parametrize("hours", [-14, 0, 14])
def test_an_instant_at_the_edge_of_the_calendar_has_a_day(year: int, hours: int) -> None:
    month, day, hour = (1, 1, 0) if year == 1 else (12, 31, 23)
    edge = datetime(year, month, day, hour, tzinfo=timezone(timedelta(hours=hours)))
    assert in_shanghai(edge).tzinfo is SHANGHAI


@CLOCKS
@given(base=BASES, days=st.integers(1, 400), later=st.timedeltas(timedelta(0), timedelta(days=30)))
def test_a_later_report_never_expires_earlier(
    clock: str, base: datetime, days: int, later: timedelta
) -> None:
    assert last(base, days, clock=clock) <= last(base + later, days, clock=clock)


@given(base=BASES, days=st.integers(1, 400))
def test_calendar_days_never_end_before_the_same_number_of_elapsed_days(base: datetime, days: int) -> None:
    assert last(base, days) >= last(base, days, clock="elapsed_24h")


@CLOCKS
@given(base=BASES, days=st.integers(1, 400))
def test_a_boundary_that_excludes_always_ends_earlier(clock: str, base: datetime, days: int) -> None:
    assert last(base, days, clock=clock, boundary="excluding") < last(base, days, clock=clock)
