"""Advice in a sentence: what is recognised, what is left to order, and that somebody was not heard."""

from __future__ import annotations

import pytest

from gateway.answers import sentence
from recognition import Advice
from tests.recognition.cases import ALBUMIN, CHEST_PLAIN, catalogue, imaging_item

LIVER = catalogue().panels["LFT"].members
ABDOMEN = imaging_item("CT|上腹部|-|plain|-")


@pytest.mark.parametrize(
    ("advice", "zh", "en"),
    [
        (
            Advice("白蛋白", None, (ALBUMIN,), ()),
            "已有可互认的结果，不必再开",
            "already recognised: nothing to order",
        ),
        (
            Advice("肝功能12项", "LFT", LIVER, ()),
            "12项均可互认，不必再开",
            "all 12 recognised: nothing to order",
        ),
        (
            Advice("肝功能12项", "LFT", tuple(c for c in LIVER if c[:5] != "15002"), ("1500204A",)),
            "12项中11项可互认，仅需开具：天门冬氨酸氨基转移酶测定",
            "11 of 12 recognised: order AST",
        ),
        (
            Advice("胸部+上腹部CT平扫", None, (CHEST_PLAIN,), (ABDOMEN,)),
            "2项中1项可互认，仅需开具：CT 上腹部平扫",
            "1 of 2 recognised: order CT 上腹部平扫",
        ),
        (
            Advice("白蛋白", None, (), (ALBUMIN,)),
            "未找到可互认的结果，须开具",
            "nothing recognised: order it",
        ),
    ],
    ids=["one", "whole panel", "panel", "parts", "none"],
)
def test_advice_is_a_sentence_in_both_languages(advice: Advice, zh: str, en: str) -> None:
    assert sentence(advice, catalogue(), complete=True) == (zh, en)


@pytest.mark.parametrize(
    ("served", "zh", "en"),
    [
        (
            (),
            "未找到可互认的结果，须开具（查询不完整）",
            "nothing recognised: order it (not every node was heard)",
        ),
        (
            (CHEST_PLAIN,),
            "2项中1项可互认，仅需开具（查询不完整）：CT 上腹部平扫",
            "1 of 2 recognised: order CT 上腹部平扫 (not every node was heard)",
        ),
    ],
    ids=["none", "parts"],
)
def test_what_is_left_to_order_of_an_incomplete_answer_may_be_too_much(
    served: tuple[str, ...], zh: str, en: str
) -> None:
    assert sentence(Advice("CT", None, served, (ABDOMEN,)), catalogue(), complete=False) == (zh, en)


def test_where_nothing_is_left_to_order_it_does_not_matter_who_was_not_heard() -> None:
    advice = Advice("白蛋白", None, (ALBUMIN,), ())
    assert sentence(advice, catalogue(), complete=False) == sentence(advice, catalogue(), complete=True)
