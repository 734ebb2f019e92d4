"""Limits of acceptability in every published shape, at their edges."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality import Limit, NotANumber

ALT = Limit(shape="percent", standard="WS/T 403-2024", percent=Decimal(15))
PH = Limit(shape="absolute", standard="WS/T 403-2024", amount=Decimal("0.04"))
K = Limit(
    shape="piecewise",
    standard="WS/T 403-2024",
    percent=Decimal(6),
    amount=Decimal("0.2"),
    threshold=Decimal("3.3"),
)
METER = Limit(
    shape="piecewise",
    standard="WS/T 403-2024",
    percent=Decimal(20),
    amount=Decimal("1.1"),
    threshold=Decimal("5.5"),
    to_threshold=False,
)
PO2 = Limit(shape="larger", standard="Beijing 2025", percent=Decimal(10), amount=Decimal(10))
HBSAG = Limit(shape="equal", standard="Beijing 2025")


@pytest.mark.parametrize(
    ("limit", "value", "target", "accepted"),
    [
        (ALT, "115", "100", True),
        (ALT, "85", "100", True),
        (ALT, "115.01", "100", False),
        (ALT, "84.99", "100", False),
        (PH, "7.44", "7.40", True),
        (PH, "7.441", "7.40", False),
        (K, "3.5", "3.3", True),
        (K, "3.51", "3.3", False),
        (K, "3.5087", "3.31", False),
        (K, "5.3", "5.0", True),
        (K, "5.301", "5.0", False),
        (METER, "6.6", "5.5", True),
        (METER, "6.601", "5.5", False),
        (METER, "6.5", "5.4", True),
        (METER, "6.501", "5.4", False),
        (PO2, "60", "50", True),
        (PO2, "60.1", "50", False),
        (PO2, "165", "150", True),
        (PO2, "165.1", "150", False),
        (HBSAG, "阳性 ", "阳性", True),
        (HBSAG, "阴性", "阳性", False),
    ],
)
def test_a_result_on_the_limit_is_acceptable_and_one_beyond_is_not(
    limit: Limit, value: str, target: str, accepted: bool
) -> None:
    assert limit.accepts(value, target) is accepted


@pytest.mark.parametrize("value", ["<0.1", "", "溶血", "NaN", "Infinity"])
def test_what_is_no_number_is_not_scored(value: str) -> None:
    with pytest.raises(NotANumber):
        ALT.accepts(value, "100")


@given(st.decimals(1, 1000, places=2), st.decimals(0, 100, places=2))
def test_the_larger_of_two_accepts_what_either_accepts(target: Decimal, distance: Decimal) -> None:
    value = str(target + distance)
    either = any(
        Limit(shape=shape, standard="", percent=Decimal(10), amount=Decimal(10)).accepts(value, str(target))
        for shape in ("percent", "absolute")
    )
    assert PO2.accepts(value, str(target)) is either
