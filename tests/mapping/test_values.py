"""A printed result is parsed beside the text as written."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping import value


@pytest.mark.parametrize(
    ("text", "comparator", "number"),
    [
        ("5.60", "", "5.60"),
        ("<0.1", "<", "0.1"),
        ("＜0.10", "<", "0.10"),
        ("≥1000", ">=", "1000"),
        ("大于 50", ">", "50"),
        ("1,234.5", "", "1234.5"),
        ("1.2×10^9", "", "1.2E9"),
        ("2.5E+3", "", "2.5E3"),
        ("5.6 ↑", "", "5.6"),
        ("-1.5", "", "-1.5"),
    ],
)
def test_a_number_keeps_its_digits_and_its_comparator(text: str, comparator: str, number: str) -> None:
    parsed = value(text)
    assert (parsed.form, parsed.comparator, parsed.number) == ("number", comparator, Decimal(number))


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        *(("阴性(-)", "0"), ("阴性", "0"), ("-", "0"), ("(－)", "0"), ("±", "0.5"), ("1+", "1"), ("+", "1")),
        *(("＋＋", "2"), ("3+", "3"), ("阳性(2+)", "2"), ("弱阳性", "0.5"), ("Negative", "0")),
    ],
)
def test_a_grade_is_read_from_its_notations(text: str, grade: str) -> None:
    assert (value(text).form, value(text).number) == ("grade", Decimal(grade))


@pytest.mark.parametrize("text", ["3.5~5.5", "3.5-5.5", "3.5—5.5", "3.5～5.5", "3.5--5.5", "3.5至5.5"])
def test_a_range_has_two_ends(text: str) -> None:
    parsed = value(text)
    assert (parsed.form, parsed.number, parsed.high) == ("range", Decimal("3.5"), Decimal("5.5"))


@pytest.mark.parametrize(("text", "number"), [("1:80", 80), ("1：160", 160), ("1:80(+)", 80)])
def test_a_titre_is_read_by_its_reciprocal(text: str, number: int) -> None:
    assert (value(text).form, value(text).number) == ("titre", Decimal(number))


@pytest.mark.parametrize("text", ["黄色", "阴性(+)", "5.5-3.5", "2:80", "1.2.3", "见报告", "9" * 100])
def test_anything_else_is_text(text: str) -> None:
    assert (value(text).form, value(text).number) == ("text", None)


@given(st.text(max_size=80))
def test_every_text_stays_as_it_was_written(text: str) -> None:
    assert value(text).text == text


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9))
def test_a_number_is_its_own_value(number: Decimal) -> None:
    assert value(str(number)).number == number
