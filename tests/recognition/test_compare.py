"""A unit becomes another by a listed factor, exactly, or not at all."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import Conversion
from recognition import decide
from recognition.compare import comparable, convert, needs_unit
from recognition.model import Converted
from tests.recognition.cases import ALBUMIN, catalogue, check, judged, lab, notes, rules

ITEM = catalogue().item(ALBUMIN)
TENFOLD = Conversion(ALBUMIN, "g/dL", "g/L", Decimal(10), Decimal(0), "a test", "illustrative")


def converted(value: str, *, unit: str = "g/dL", by: Conversion = TENFOLD, reference: str = "") -> Converted:
    found = convert(lab(value=value, unit=unit, reference=reference), ITEM, [by])
    assert found is not None, value
    return found


@pytest.mark.parametrize("unit", ["g/L", "g／L", "g/l"])
def test_another_notation_of_the_items_unit_is_comparable(unit: str) -> None:
    assert comparable(lab(unit=unit), ITEM)


@pytest.mark.parametrize("unit", ["g/dL", "mg/L", "克/升", "?"])
def test_another_unit_is_not_comparable(unit: str) -> None:
    assert not comparable(lab(unit=unit), ITEM)


def test_any_listed_unit_is_comparable() -> None:
    two = msgspec.structs.replace(ITEM, units=("g/L", "U/L"))
    assert comparable(lab(unit="u/l"), two)


def test_a_value_without_a_unit_is_not_judged_by_its_unit() -> None:
    assert comparable(lab(unit=""), ITEM)


def test_a_unit_where_the_catalogue_gives_none_is_not_comparable() -> None:
    bare = msgspec.structs.replace(ITEM, units=())
    assert (comparable(lab(unit="nmol/L"), bare), needs_unit(bare)) == (False, False)


def test_a_qualitative_value_needs_no_unit_and_is_not_judged_by_one() -> None:
    qualitative = msgspec.structs.replace(ITEM, concept="ALB|S|QL|-")
    assert (comparable(lab(unit="S/CO"), qualitative), needs_unit(qualitative)) == (True, False)


def test_a_quantitative_value_needs_its_unit() -> None:
    assert needs_unit(ITEM)


def test_the_product_is_exact_and_keeps_its_digits() -> None:
    assert converted("4.12") == Converted("41.20", "g/L", "10", "a test")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("<4.1", "<41.0"),
        ("<= 4.1", "<=41.0"),
        (" >=4", ">=40"),
        ("＞4.1", ">41.0"),
        ("≤4", "≤40"),
        ("≥ 4", "≥40"),
        ("-4", "-40"),
        ("+4", "40"),
        ("４.１", "41.0"),
    ],
)
def test_comparators_and_signs_survive(written: str, value: str) -> None:
    assert converted(written).value == value


@pytest.mark.parametrize(
    "written",
    [
        "",
        "++",
        "阳性",
        "1:80",
        "3-5",
        "1,200",
        "1 200",
        "4. 1",
        "10⁹",
        "1e3",
        "<",
        ">>4",
        "4.1 g/dL",
        ".5",
        "4.",
        "nan",
    ],
)
def test_what_is_no_single_number_is_not_converted(written: str) -> None:
    assert convert(lab(value=written, unit="g/dL"), ITEM, [TENFOLD]) is None


def test_a_number_of_more_than_twenty_digits_is_not_converted() -> None:
    assert converted("1" * 20).value == "1" * 20 + "0"
    assert convert(lab(value="1" * 21, unit="g/dL"), ITEM, [TENFOLD]) is None


def test_an_unlisted_unit_is_not_converted() -> None:
    assert convert(lab(value="4.1", unit="mg/dL"), ITEM, [TENFOLD]) is None


def test_a_conversion_to_a_unit_that_the_item_does_not_have_is_not_used() -> None:
    elsewhere = msgspec.structs.replace(TENFOLD, to_unit="mmol/L")
    assert convert(lab(value="4.1", unit="g/dL"), ITEM, [elsewhere]) is None
    assert convert(lab(value="4.1", unit="g/dL"), ITEM, [elsewhere, TENFOLD]) is not None


@pytest.mark.parametrize("factor", [Decimal(-1), Decimal(0)])
def test_a_factor_that_would_turn_bounds_round_is_not_used(factor: Decimal) -> None:
    wrong = msgspec.structs.replace(TENFOLD, factor=factor)
    assert convert(lab(value="<4.1", unit="g/dL"), ITEM, [wrong]) is None


def test_a_conversion_to_any_of_the_items_units_is_used() -> None:
    two = msgspec.structs.replace(ITEM, units=("U/L", "g/L"))
    assert convert(lab(value="4.1", unit="g/dL"), two, [TENFOLD]) is not None


def test_units_are_compared_in_any_notation() -> None:
    assert converted("4.1", unit="ｇ/ｄＬ").value == "41.0"


def test_a_line_with_an_offset_is_named_with_it() -> None:
    line = msgspec.structs.replace(TENFOLD, factor=Decimal("0.09148"), offset=Decimal("2.152"))
    found = converted("53", by=line)
    assert (found.value, found.factor) == ("7.00044", "0.09148+2.152")


def test_a_negative_offset_keeps_its_sign() -> None:
    line = msgspec.structs.replace(TENFOLD, offset=Decimal("-2.5"))
    assert (converted("1", by=line).value, converted("1", by=line).factor) == ("7.5", "10-2.5")


def test_a_tiny_factor_gives_no_exponent() -> None:
    tiny = msgspec.structs.replace(TENFOLD, factor=Decimal("1E-9"))
    assert converted("1", by=tiny).value == "0.000000001"


@given(st.decimals(-(10**12), 10**12, places=8), st.decimals("0.0001", 10**6, places=4))
def test_nothing_is_rounded(number: Decimal, factor: Decimal) -> None:
    found = converted(format(number, "f"), by=msgspec.structs.replace(TENFOLD, factor=factor))
    from fractions import Fraction

    assert Fraction(found.value) == Fraction(number) * Fraction(factor)


@pytest.mark.parametrize(
    ("written", "reference"),
    [
        ("3.5-5.5", "35.0-55.0"),
        ("3.5 ~ 5.5", "35.0 ~ 55.0"),
        ("3.5--5.5", "35.0--55.0"),
        ("3.5～5.5", "35.0~55.0"),
        ("3.5至5.5", "35.0至55.0"),
        ("＜5.5", "<55.0"),
        ("≥3.5", "≥35.0"),
        ("(3.5,5.5]", "(35.0,55.0]"),
        ("[3.5，5.5）", "[35.0,55.0)"),
    ],
)
def test_the_bounds_of_the_reference_range_survive_as_inclusive_or_exclusive_as_they_were(
    written: str, reference: str
) -> None:
    assert converted("4", reference=written).reference == reference


@pytest.mark.parametrize(
    "written", ["", "-3--1", "<1,200", "0-1,200", "阴性", "男 3-5 女 2-4", "3.5-5.5 g/dL", "3-4-5"]
)
def test_a_reference_that_is_not_one_range_is_left_out(written: str) -> None:
    assert converted("4", reference=written).reference == ""


def test_a_converted_value_is_recognised_and_says_so() -> None:
    verdict = judged(lab(value="4.12", unit="g/dL"))
    assert (verdict.verdict, notes(verdict)) == ("recognised", ["R9.3"])
    assert verdict.notes[0].zh.endswith("（4.12 g/dL → 41.20 g/L）")
    assert verdict.notes[0].en.endswith("(4.12 g/dL → 41.20 g/L)")


def test_the_value_as_written_stays_beside_the_converted_one() -> None:
    verdict = judged(lab(value="4.12", unit="g/dL"))
    assert (verdict.result.value, verdict.result.unit) == ("4.12", "g/dL")
    assert verdict.converted == Converted(
        "41.20", "g/L", "10", "conversion factor, general knowledge, unverified"
    )


def test_a_value_in_the_items_unit_is_not_converted() -> None:
    assert judged(lab()).converted is None


def test_a_value_in_any_listed_unit_is_left_as_it_is_though_a_conversion_is_listed_for_it() -> None:
    two = msgspec.structs.replace(ITEM, units=("g/L", "g/dL"))
    under = msgspec.structs.replace(catalogue(), items=catalogue().items | {ALBUMIN: two})
    (verdict,) = decide(check(), [lab(value="4.12", unit="g/dL")], under).verdicts
    assert (verdict.verdict, verdict.converted, verdict.notes) == ("recognised", None, ())


def test_a_unit_that_cannot_be_converted_is_named_beside_the_one_that_was_wanted() -> None:
    verdict = judged(lab(unit="mmol/L"))
    assert (verdict.verdict, rules(verdict)) == ("view_only", ["R9.1"])
    assert verdict.reasons[0].zh.endswith("（mmol/L≠g/L）")
    assert verdict.reasons[0].en.endswith("(mmol/L, not g/L)")


def test_a_unit_where_none_is_wanted_is_said_to_be_too_much() -> None:
    verdict = judged(lab("2300101A", value="40", unit="nmol/L"))
    assert any(reason.zh.endswith("（nmol/L≠无单位）") for reason in verdict.reasons)
    assert any(reason.en.endswith("(nmol/L, not without a unit)") for reason in verdict.reasons)
