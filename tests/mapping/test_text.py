"""A mark is data beside the name, never part of it."""

from __future__ import annotations

import pytest

from catalog import load
from mapping import LocalName, Normaliser, canonical
from mapping.text import LONGEST, remembered

NORMALISER = Normaliser(load())


@pytest.mark.parametrize(
    ("name", "mark"),
    [
        ("【全国HR】白蛋白", "全国"),
        ("★白蛋白", ""),
        ("*白蛋白", ""),
        ("白蛋白(鄂HR)", "鄂"),
        ("白蛋白[HR]", ""),
        ("白蛋白", None),
        ("★【全国HR】白蛋白", "全国"),
        ("【全国HR】★白蛋白", "全国"),
        ("【全国HR】白蛋白(HR)", "全国"),
        ("【全国HR】白蛋白(全国HR)", "全国"),
        ("★★白蛋白", ""),
        ("全国HR ★白蛋白", "全国"),
    ],
)
def test_marks_inside_the_name_are_kept_and_are_no_part_of_the_name(name: str, mark: str | None) -> None:
    named = NORMALISER.read(LocalName(name=name))
    assert (named.target, named.mark) == ("ALB|S|QN|-", mark)


def test_two_ranges_on_one_name_are_a_conflict() -> None:
    named = NORMALISER.read(LocalName(name="【全国HR】白蛋白(鄂HR)"))
    assert (named.target, named.reason, named.mark) == (None, "conflict", None)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("糖类抗原CA19-9", "糖类抗原CA19-9"),
        ("抗-HCV", "抗-HCV"),
        ("HLA-B*27", "HLA-B*27"),
        ("脂蛋白(a)", "脂蛋白(A)"),
        ("胸部HRCT平扫", "胸部HRCT平扫"),
        ("免疫组化(FSHR)", "免疫组化(FSHR)"),
    ],
)
def test_stars_brackets_and_letters_of_a_real_name_are_no_mark(name: str, text: str) -> None:
    read = canonical(name)
    assert (read.canonical, read.mark) == (text, None)


def test_a_name_that_is_nothing_but_a_mark_is_empty() -> None:
    assert NORMALISER.read(LocalName(name="★【全国HR】")).reason == "empty"


@pytest.mark.parametrize(("length", "asked"), [(LONGEST, 1), (LONGEST + 1, 2)])
def test_only_what_is_no_longer_than_a_name_is_remembered(length: int, asked: int) -> None:
    read = list[str]()
    note = remembered(read.append)
    for _ in range(2):
        note("x" * length)
    assert len(read) == asked
