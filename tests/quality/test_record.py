"""The data-quality flags of one result."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from quality import assess
from recognition import Reading, Result

NOW = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


def flags(**changes: Any) -> tuple[str, ...]:
    good: dict[str, Any] = {
        "id": "his/Observation/o1",
        "node": "his",
        "kind": "lab",
        "institution": "EX-CQ-01",
        "local_name": "白蛋白",
        "reading": Reading("1100104A", "ALB|S|QN|-", ""),
        "identity": "strong",
        "status": "final",
        "performed": NOW - 3 * HOUR,
        "reported": NOW - HOUR,
        "version_key": "r1/1",
        "value": "43.10",
        "unit": "g/L",
    }
    return assess(Result(**good | changes), NOW)


def test_a_good_result_has_no_flag() -> None:
    assert flags() == ()


def test_flags_of_the_reading_are_kept_in_order_and_once() -> None:
    assert flags(flags=("z:z", "a:a", "a:a")) == ("a:a", "z:z")


def test_a_moment_equal_to_the_asking_is_not_in_the_future() -> None:
    assert flags(performed=NOW, reported=NOW) == ()


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"reported": NOW - 4 * HOUR}, "timeliness:reported-before-performed"),
        ({"reported": NOW + HOUR}, "timeliness:reported-in-the-future"),
        ({"institution": ""}, "completeness:no-institution"),
        ({"local_name": "  "}, "completeness:no-name"),
        ({"performed": None}, "completeness:no-performed-time"),
        ({"reported": None}, "completeness:no-report-time"),
        ({"study_uid": "1.2.x"}, "accuracy:study-uid-malformed"),
        ({"study_uid": "1.02.3"}, "accuracy:study-uid-malformed"),
        ({"study_uid": "1" * 65}, "accuracy:study-uid-malformed"),
        ({"reported": None, "status": "corrected"}, "continuity:version-without-report-time"),
    ],
)
def test_one_finding_is_one_flag(changes: dict[str, Any], flag: str) -> None:
    assert flags(**changes) == (flag,)


def test_an_examination_in_the_future_is_flagged() -> None:
    assert "timeliness:performed-in-the-future" in flags(performed=NOW + HOUR)


def test_two_marks_that_differ_are_flagged() -> None:
    found = flags(local_name="【全国HR】白蛋白", printed_mark="川渝HR")
    assert found == ("consistency:mark-on-name-and-report-differ",)


@pytest.mark.parametrize(
    ("name", "mark"),
    [("【全国HR】白蛋白", "全国HR"), ("【全国HR】白蛋白", ""), ("★白蛋白", "鄂HR"), ("白蛋白", "川渝HR")],
)
def test_marks_that_do_not_contradict_are_not_flagged(name: str, mark: str) -> None:
    assert flags(local_name=name, printed_mark=mark) == ()


@pytest.mark.parametrize("value", ["43.10", "<0.1", "≥ 5", "＞100", "0-5", "1E-3", "-2.5", "1:80", ""])
def test_numbers_bounds_and_ranges_are_readable(value: str) -> None:
    assert flags(value=value) == ()


@pytest.mark.parametrize("value", ["溶血", "43.1↑", "4,3", "1.2.3", "++", "< "])
def test_another_value_beside_a_unit_is_flagged(value: str) -> None:
    assert flags(value=value) == ("accuracy:value-not-readable",)


def test_words_without_a_unit_are_a_value() -> None:
    assert flags(value="阴性", unit="") == ()


@pytest.mark.parametrize("said", ["performed:date-only", "performed:no-zone"])
def test_a_missing_time_that_was_explained_is_flagged_once(said: str) -> None:
    assert flags(performed=None, flags=(said,)) == (said,)


def test_a_preliminary_result_needs_no_report_time() -> None:
    assert flags(reported=None, status="preliminary") == ()
