"""Which version of a result counts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recognition import Result, decide
from tests.recognition.cases import ALBUMIN, NOW, catalogue, check, lab, rules

LATER = NOW - timedelta(days=4)


def judged(*versions: Result) -> dict[str, list[str]]:
    decision = decide(check(ALBUMIN), versions, catalogue())
    return {verdict.result.id: rules(verdict) for verdict in decision.verdicts}


def old(**changes: Any) -> Result:
    return lab(id="old", value="43.5", **changes)


def new(**changes: Any) -> Result:
    return lab(id="new", **{"value": "21", "reported": LATER, **changes})


def test_a_correction_supersedes_the_value_it_corrects() -> None:
    assert judged(old(), new(status="corrected")) == {"old": ["R3.5"], "new": ["R0.1"]}


def test_a_correction_without_a_time_still_supersedes() -> None:
    assert judged(old(), new(status="corrected", reported=None))["old"] == ["R3.5"]


def test_a_correction_of_the_same_moment_supersedes() -> None:
    assert judged(old(), new(status="corrected", reported=old().reported))["old"] == ["R3.5"]


def test_a_retraction_stands_above_a_later_report() -> None:
    retracted = old(status="entered-in-error")
    assert judged(retracted, new()) == {"old": ["R3.4"], "new": ["R3.5"]}


def test_two_different_values_of_one_moment_are_not_relied_on() -> None:
    assert judged(old(), new(reported=old().reported)) == {"old": ["R3.6"], "new": ["R3.6"]}


def test_one_value_told_twice_counts() -> None:
    assert judged(old(), old(node="other")) == {"old": ["R0.1"]}


def test_a_correction_does_not_make_an_examination_newer() -> None:
    first = old(days_ago=40)
    corrected = new(days_ago=40, reported=NOW - timedelta(days=1), status="corrected")
    assert judged(first, corrected)["new"] == ["R7.1"]


@pytest.mark.parametrize("status", ["final", "corrected", "entered-in-error"])
@given(st.permutations([0, 1, 2]))
def test_what_counts_does_not_depend_on_the_order(status: str, order: list[int]) -> None:
    group = [old(), new(), lab(id="third", status=status, reported=NOW - timedelta(days=3), value="7")]
    assert judged(*(group[i] for i in order)) == judged(*group)
