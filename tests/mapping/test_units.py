"""One unit in its notations is one unit; two units never are."""

from __future__ import annotations

import pytest

from mapping import same_unit


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("10^9/L", "×10⁹/L"),
        ("10^9/L", "10*9/L"),
        ("μmol/L", "umol/L"),
        ("µmol/L", "μmol/l"),
        ("g/L", "ｇ／Ｌ"),
        ("10^9/L", "*10^9/L"),
    ],
)
def test_notations_of_one_unit_are_the_same(one: str, other: str) -> None:
    assert same_unit(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("g/L", "mg/L"), ("U/L", "IU/L"), ("10^9/L", "10^12/L"), ("mmol/L", "mg/dL"), ("", "g/L")],
)
def test_different_units_are_never_the_same(one: str, other: str) -> None:
    assert not same_unit(one, other)
