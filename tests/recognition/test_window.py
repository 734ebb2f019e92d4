"""The boundary of a window, in both clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import Window
from recognition import last_moment
from tests.recognition.cases import CST


def window(days: int, clock: str) -> Window:
    return Window("cy-lab", "*", days, clock, "report", "*", False, "test", "test")  # type: ignore[arg-type]


def test_calendar_days_count_dates_and_the_last_date_counts_in_full() -> None:
    reported = datetime(2026, 11, 1, 23, 59, tzinfo=CST)
    assert last_moment(window(7, "calendar_days"), reported) == datetime(
        2026, 11, 8, 23, 59, 59, 999999, tzinfo=CST
    )


def test_calendar_days_count_the_date_in_shanghai_and_not_in_utc() -> None:
    evening_utc = datetime(2026, 11, 1, 16, 30, tzinfo=UTC)  # 00:30 on 2 November in Shanghai
    assert last_moment(window(1, "calendar_days"), evening_utc).date() == datetime(2026, 11, 3).date()  # noqa: DTZ001


def test_elapsed_periods_count_to_the_instant() -> None:
    reported = datetime(2026, 11, 1, 23, 59, tzinfo=CST)
    assert last_moment(window(7, "elapsed_24h"), reported) == reported + timedelta(days=7)


@pytest.mark.parametrize("clock", ["calendar_days", "elapsed_24h"])
@given(
    base=st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(CST)),  # noqa: DTZ001
    days=st.integers(1, 400),
    later=st.timedeltas(timedelta(0), timedelta(days=30)),
)
def test_a_later_report_never_expires_earlier(
    clock: str, base: datetime, days: int, later: timedelta
) -> None:
    assert last_moment(window(days, clock), base) <= last_moment(window(days, clock), base + later)


@given(
    base=st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(CST)),  # noqa: DTZ001
    days=st.integers(1, 400),
)
def test_calendar_days_never_end_before_the_same_number_of_elapsed_days(base: datetime, days: int) -> None:
    assert last_moment(window(days, "calendar_days"), base) >= last_moment(window(days, "elapsed_24h"), base)
