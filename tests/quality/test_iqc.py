"""The Westgard rules, each at its edge."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality import NotANumber, broken, in_control, z_scores


def series(*z: str) -> list[Decimal]:
    return [Decimal(text) for text in z]


@pytest.mark.parametrize(
    ("z", "rules"),
    [
        ((), ()),
        (("2",), ()),
        (("2.1",), ("1-2s",)),
        (("-2.1",), ("1-2s",)),
        (("3",), ("1-2s",)),
        (("-3.1",), ("1-2s", "1-3s")),
        (("2.1", "2.1"), ("1-2s", "2-2s")),
        (("-2.1", "-2.1"), ("1-2s", "2-2s")),
        (("2.1", "2"), ()),
        (("2.1", "0", "2.1"), ("1-2s",)),
        (("2.1", "-2.1"), ("1-2s", "R-4s")),
        (("2.1", "-2"), ()),
        (("0.1",) * 10, ("10-x",)),
        (("-0.1",) * 10, ("10-x",)),
        (("0.1",) * 9, ()),
        (("0", *("0.1",) * 9), ()),
    ],
)
def test_the_last_value_breaks_these_rules(z: tuple[str, ...], rules: tuple[str, ...]) -> None:
    assert broken(series(*z)) == rules


def test_a_warning_alone_is_in_control() -> None:
    assert in_control(series("2.5"))


def test_what_rejects_is_out_of_control() -> None:
    assert not in_control(series("3.5"))


def test_values_are_measured_in_standard_deviations() -> None:
    assert z_scores(series("10", "14"), Decimal(12), Decimal(2)) == series("-1", "1")


@pytest.mark.parametrize("deviation", ["0", "-1", "NaN"])
def test_a_control_without_spread_cannot_be_judged(deviation: str) -> None:
    with pytest.raises(NotANumber):
        z_scores(series("1"), Decimal(1), Decimal(deviation))


@given(st.lists(st.decimals(-4, 4, places=1), max_size=12))
def test_both_sides_of_the_mean_are_judged_alike(z: list[Decimal]) -> None:
    assert broken(z) == broken([-value for value in z])


def test_a_value_that_is_no_number_cannot_be_judged() -> None:
    with pytest.raises(NotANumber):
        z_scores(series("NaN"), Decimal(1), Decimal(1))
