"""One unit in its notations is one unit; two units never are."""

from __future__ import annotations

import pytest

from mapping import canonical_unit, same_unit


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("10^9/L", "×10⁹/L"),
        ("10^9/L", "10*9/L"),
        ("μmol/L", "umol/L"),
        ("µmol/L", "μmol/l"),
        ("g/L", "ｇ／Ｌ"),
        ("10^9/L", "*10^9/L"),
        ("10^9/L", "10E9/l"),
        ("10^9/L", "X10^9/L"),
        ("U/L", "u/l"),
        ("mIU/mL", "miu/ml"),
        ("μIU/mL", "uIU/ml"),
        ("mmol/L", "mmol·L⁻¹"),
        ("mmol/L", "mMol/l"),
        ("μmol/L", "UMOL/L"),
        ("kU/L", "KU/L"),
        ("mEq/L", "meq/l"),
        ("fL", "FL"),
        ("mg/dL", "mg/dl"),
        ("mmHg", "MMHG"),
        ("mg/L FEU", "mg/l(FEU)"),
    ],
)
def test_notations_of_one_unit_are_the_same(one: str, other: str) -> None:
    assert same_unit(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("g/L", "mg/L"),
        ("U/L", "IU/L"),
        ("10^9/L", "10^12/L"),
        ("mmol/L", "mg/dL"),
        ("", "g/L"),
        ("g/L", "G/L"),
        ("mIU/mL", "MIU/mL"),
        ("mIU/mL", "mIU/ML"),
        ("mmol/L", "MMOL/L"),
        ("mg/L", "Mg/L"),
        ("nmol/L", "Nmol/L"),
        ("pmol/L", "Pmol/L"),
        ("kU/L", "mU/L"),
        ("μU/mL", "mU/mL"),
        ("s", "S"),
        ("mPa", "MPa"),
        ("10^3/μL", "10^3/mL"),
        ("mol", "mol.L-1"),
    ],
)
def test_different_units_are_never_the_same(one: str, other: str) -> None:
    assert not same_unit(one, other)


@pytest.mark.parametrize("unit", ["uU/mL", "10*3/ul", "mmol.L-1", "S/CO", "%", "", "μg/dl", "copies/mL"])
def test_a_canonical_unit_is_its_own_canonical_unit(unit: str) -> None:
    assert canonical_unit(canonical_unit(unit)) == canonical_unit(unit)
