"""Which version of a result counts."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recognition import Result, decide
from recognition.versions import told_alike, versions
from tests.recognition.cases import ALBUMIN, CST, NOW, catalogue, check, lab, rules

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


@pytest.mark.parametrize("status", ["cancelled", "entered-in-error"])
def test_a_retraction_stands_above_a_later_correction(status: str) -> None:
    assert judged(old(status=status), new(status="corrected")) == {"old": ["R3.4"], "new": ["R3.5"]}


def test_a_later_preliminary_report_does_not_supersede_a_final_one() -> None:
    assert judged(old(), new(status="preliminary"))["old"] == ["R0.1"]


def test_two_different_values_of_one_moment_are_not_relied_on() -> None:
    assert judged(old(), new(reported=old().reported)) == {"old": ["R3.6"], "new": ["R3.6"]}


def test_one_value_told_twice_counts() -> None:
    assert judged(old(), old(node="other")) == {"old": ["R0.1"]}


def test_a_correction_does_not_make_an_examination_newer() -> None:
    first = old(days_ago=40)
    corrected = new(days_ago=40, reported=NOW - timedelta(days=1), status="corrected")
    assert judged(first, corrected)["new"] == ["R7.1"]


def test_the_window_of_a_correction_runs_from_the_first_report_and_not_from_the_examination() -> None:
    performed, first = NOW - timedelta(days=40), NOW - timedelta(days=29)
    versions = [
        old(performed=performed, reported=first),
        new(performed=performed, reported=NOW - timedelta(days=1), status="corrected"),
    ]
    verdicts = {v.result.id: v for v in decide(check(ALBUMIN), versions, catalogue()).verdicts}
    until = datetime.combine(first.date() + timedelta(days=30), time.max, tzinfo=CST)
    assert (rules(verdicts["new"]), verdicts["new"].expires) == (["R0.1"], until)


def test_versions_without_any_report_time_are_told_apart_by_their_rank() -> None:
    assert judged(old(reported=None), new(reported=None, status="corrected")) == {
        "old": ["R3.5"],
        "new": ["R0.1"],
    }


def test_the_reason_says_when_the_newer_version_was_reported() -> None:
    decision = decide(check(ALBUMIN), [old(), new(status="corrected")], catalogue())
    (reason,) = next(v.reasons for v in decision.verdicts if v.result.id == "old")
    assert reason.zh.endswith("（新版报告于2026-11-16 10:00）")
    assert reason.en.endswith("(newer version of 2026-11-16 10:00)")


def test_of_two_tellings_of_the_newer_version_the_same_one_is_named_in_any_order() -> None:
    tellings = [new(status="corrected", node=node) for node in ("b", "a")]
    for order in (tellings, tellings[::-1]):
        newer = versions([old(), *order])[0].superseded_by
        assert newer is not None
        assert newer.node == "a"


def test_a_newer_version_without_a_report_time_is_named_without_it() -> None:
    decision = decide(check(ALBUMIN), [old(), new(status="corrected", reported=None)], catalogue())
    (reason,) = next(v.reasons for v in decision.verdicts if v.result.id == "old")
    assert reason.zh.endswith("（新版报告于?）")


@pytest.mark.parametrize("differs", ["value", "unit", "specimen", "study_uid", "performed", "status"])
def test_versions_that_stand_level_are_undecided_when_anything_of_the_result_differs(differs: str) -> None:
    changes: dict[str, Any] = {
        "value": "21",
        "unit": "g/dL",
        "specimen": "血浆",
        "study_uid": "2.25.7",
        "performed": NOW - timedelta(days=5, hours=1),
        "status": "amended",
    }
    one = old(status="corrected")
    told: dict[str, Any] = {"id": "other", differs: changes[differs]}
    other = msgspec.structs.replace(one, **told)
    assert all("R3.6" in found for found in judged(one, other).values())


@pytest.mark.parametrize("apart", [{"institution": "EX-HA-01"}, {"version_key": "another"}])
def test_only_results_of_one_institution_and_key_are_versions_of_one_another(apart: dict[str, str]) -> None:
    assert judged(old(), new(status="corrected", **apart))["old"] == ["R0.1"]


@pytest.mark.parametrize("status", ["final", "corrected", "entered-in-error"])
@given(st.permutations([0, 1, 2]))
def test_what_counts_does_not_depend_on_the_order(status: str, order: list[int]) -> None:
    group = [old(), new(), lab(id="third", status=status, reported=NOW - timedelta(days=3), value="7")]
    assert judged(*(group[i] for i in order)) == judged(*group)


def told(node: str, **changes: Any) -> Result:
    """The same result as a node tells it."""
    return lab(**({"id": f"{node}/1", "node": node, "version_key": "r1/1", "value": "43.5"} | changes))


def test_the_same_told_by_two_nodes_names_each_the_other() -> None:
    here, there = told("a"), told("b")
    assert told_alike([here, there]) == {"a/1": ("b/1",), "b/1": ("a/1",)}


@pytest.mark.parametrize(
    "changes",
    [
        {"value": "99"},
        {"institution": "EX-SC-01"},
        {"version_key": "x"},
        {"status": "amended"},
        {"identity": "weak"},
    ],
)
def test_what_differs_in_anything_that_counts_is_told_for_itself(changes: dict[str, Any]) -> None:
    assert told_alike([told("a"), told("b", **changes)]) == {}


def test_one_result_that_serves_twice_is_not_another_one() -> None:
    assert told_alike([told("a"), told("a")]) == {}
