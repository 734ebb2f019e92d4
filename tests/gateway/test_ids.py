"""Ids that sort by time and tell nothing else."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from gateway.ids import new_id, since, time_of

MILLISECOND = timedelta(milliseconds=1)
moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(moments)
def test_an_id_is_32_hexadecimal_digits(now: datetime) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", new_id(now))


@given(moments, moments)
def test_ids_sort_by_the_time_they_were_made_at(one: datetime, other: datetime) -> None:
    first, second = sorted((one, other))
    if second - first >= MILLISECOND:
        assert new_id(first) < new_id(second)


@given(moments)
def test_the_beginning_of_a_moment_stands_before_its_ids_and_after_earlier_ones(now: datetime) -> None:
    assert since(now) < new_id(now)
    assert now - MILLISECOND < datetime(1970, 1, 1, tzinfo=UTC) or new_id(now - MILLISECOND) < since(now)


@given(moments)
def test_an_id_tells_its_time_to_the_millisecond(now: datetime) -> None:
    assert timedelta() <= now - time_of(new_id(now)) < MILLISECOND


def test_the_zone_of_a_moment_makes_no_other_time() -> None:
    now = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
    assert since(now) == since(now.astimezone(timezone(timedelta(hours=8))))


def test_two_ids_of_one_moment_differ() -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    assert len({new_id(now) for _ in range(100)}) == 100
