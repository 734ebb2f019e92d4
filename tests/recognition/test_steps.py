"""Each step refuses what it is there to refuse, and nothing else."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest

from recognition import Context, Images, Mark, Reading, decide
from tests.recognition.cases import (
    ALBUMIN,
    CHEST_BOTH,
    CHEST_PLAIN,
    GLUCOSE,
    NOW,
    POTASSIUM,
    URINE_GLUCOSE,
    catalogue,
    check,
    ct,
    imaging_item,
    judged,
    lab,
    rules,
)


def test_a_value_that_meets_every_step_is_recognised() -> None:
    verdict = judged(lab())
    assert (verdict.verdict, rules(verdict), verdict.serves) == ("recognised", ["R0.1"], ALBUMIN)


def test_a_study_that_meets_every_step_is_recognised() -> None:
    assert judged(ct()).verdict == "recognised"


def test_another_persons_result_is_refused_and_not_shown() -> None:
    verdict = judged(lab(identity="weak"))
    assert rules(verdict) == ["R1.1"]
    assert (verdict.item, verdict.expires, verdict.result.performed, verdict.result.mark) == (None,) * 4
    assert (verdict.result.value, verdict.result.local_name, verdict.result.institution) == ("", "", "")


def test_a_name_that_cannot_be_read_is_shown_for_viewing_only() -> None:
    verdict = judged(lab(reading=Reading(None, None, "unknown")), check(ALBUMIN))
    assert (verdict.verdict, rules(verdict)[0]) == ("view_only", "R2.1")


def test_a_name_that_contradicts_its_fields_is_viewed_only() -> None:
    assert rules(judged(lab(reading=Reading(None, None, "conflict")), check(ALBUMIN)))[0] == "R2.3"


def test_urine_glucose_does_not_serve_for_serum_glucose() -> None:
    verdict = judged(lab(URINE_GLUCOSE), check(GLUCOSE))
    assert (verdict.verdict, rules(verdict)[0]) == ("not_recognised", "R2.2")


def test_an_enhanced_study_serves_for_a_plain_order_by_the_stand_in_relation() -> None:
    verdict = judged(ct(CHEST_BOTH), check(CHEST_PLAIN))
    assert (verdict.verdict, verdict.serves, verdict.item) == ("recognised", CHEST_PLAIN, CHEST_BOTH)


def test_a_plain_study_does_not_serve_for_an_enhanced_order() -> None:
    assert rules(judged(ct(CHEST_PLAIN), check(CHEST_BOTH)))[0] == "R2.2"


def test_the_left_knee_does_not_serve_for_the_right() -> None:
    left, right = (imaging_item(f"DR|膝关节|{side}|-|正侧位") for side in "LR")
    assert rules(judged(ct(left), check(right)))[0] == "R2.2"


def test_an_item_in_no_list_of_the_receivers_area_is_viewed_only() -> None:
    only_alliance = next(i.code for i in catalogue().items.values() if i.lists == ("lab8-lab",))
    assert "R2.4" in rules(judged(lab(only_alliance)))


def test_a_study_whose_images_are_gone_is_not_recognised() -> None:
    verdict = judged(ct(images=Images(held=0, expected=120)))
    assert (verdict.verdict, rules(verdict)[0]) == ("not_recognised", "R3.1")


def test_a_study_with_fewer_images_than_its_manifest_is_not_recognised() -> None:
    assert rules(judged(ct(images=Images(held=119, expected=120))))[0] == "R3.1"


@pytest.mark.parametrize("images", [None, Images(held=None, expected=120)])
def test_a_study_whose_archive_could_not_be_asked_is_viewed_only(images: Images | None) -> None:
    verdict = judged(ct(images=images))
    assert (verdict.verdict, rules(verdict)[0]) == ("view_only", "R3.2")


def test_images_that_nobody_counted_at_the_source_are_viewed_only() -> None:
    verdict = judged(ct(images=Images(held=120, expected=None)))
    assert (verdict.verdict, rules(verdict)[0]) == ("view_only", "R3.7")


def test_a_name_that_cannot_be_read_is_not_refused_for_its_missing_unit() -> None:
    unread = lab(reading=Reading(None, None, "unknown"), value="阴性", unit="")
    assert "R3.3" not in rules(judged(unread, check(ALBUMIN)))


@pytest.mark.parametrize("missing", [{"value": ""}, {"unit": ""}])
def test_a_value_without_number_or_unit_is_not_recognised(missing: dict[str, Any]) -> None:
    assert rules(judged(lab(**missing)))[0] == "R3.3"


@pytest.mark.parametrize("status", ["preliminary", "cancelled", "entered-in-error"])
def test_a_report_that_is_not_final_is_not_recognised(status: str) -> None:
    assert rules(judged(lab(status=status)))[0] == "R3.4"


def test_an_older_version_gives_way_to_the_newer_one() -> None:
    old = lab(id="old")
    new = lab(id="new", reported=NOW - timedelta(days=4), status="corrected")
    verdicts = {v.result.id: v for v in decide(check(ALBUMIN), [old, new], catalogue()).verdicts}
    assert (rules(verdicts["old"]), rules(verdicts["new"])) == (["R3.5"], ["R0.1"])


def test_a_city_mark_does_not_leave_its_city() -> None:
    verdict = judged(lab(mark=Mark("420100", "武汉HR", "valid")))
    assert (verdict.verdict, rules(verdict)) == ("view_only", ["R4.1"])


@pytest.mark.parametrize(
    ("state", "rule"),
    [("invalid", "R4.2"), ("withdrawn", "R4.4"), ("unsigned", "R4.3"), ("unverifiable", "R4.5")],
)
def test_a_mark_that_is_worth_nothing_says_which_way(state: str, rule: str) -> None:
    assert rules(judged(lab(mark=Mark("CN", "全国HR", state))))[0] == rule  # type: ignore[arg-type]


def test_a_result_that_ought_to_have_a_mark_and_has_none_says_so() -> None:
    assert "R4.3" in rules(judged(lab(mark=None)))


def test_an_institution_that_was_never_qualified_is_not_recognised() -> None:
    assert rules(judged(lab(institution="EX-SX-01", mark=None)))[0] in ("R5.1", "R5.2", "R4.3")
    nobody = msgspec.structs.replace(catalogue(), qualifications=())
    decision = decide(check(ALBUMIN), [lab(mark=None)], nobody)
    assert rules(decision.verdicts[0])[0] == "R5.1"


def test_a_suspended_qualification_is_named_with_its_reason() -> None:
    verdict = judged(lab("1500204A", mark=None))
    assert rules(verdict)[0] == "R5.2"
    assert "（" in verdict.reasons[0].zh


def test_a_qualification_that_ended_after_the_examination_still_counts() -> None:
    ended = (NOW - timedelta(days=2)).date()
    records = tuple(
        msgspec.structs.replace(q, valid_from=date(2025, 1, 1), valid_to=ended, status="active")
        for q in catalogue().qualifications
    )
    past = msgspec.structs.replace(catalogue(), qualifications=records)
    assert decide(check(ALBUMIN), [lab(days_ago=5)], past).verdicts[0].verdict == "recognised"
    assert rules(decide(check(ALBUMIN), [lab(days_ago=1)], past).verdicts[0])[0] == "R5.1"


def test_an_unknown_institution_is_viewed_only() -> None:
    assert "R5.3" in rules(judged(lab(institution="XX-01")))


def test_a_region_without_a_hierarchy_rule_does_not_compare_levels() -> None:
    assert "R6.1" not in rules(judged(ct(institution="EX-CQ-02")))


def test_a_region_with_a_hierarchy_rule_refuses_a_lower_level() -> None:
    moved = {
        **catalogue().institutions,
        "EX-SC-01": msgspec.structs.replace(catalogue().institutions["EX-SC-01"], region="320000"),
    }
    jiangsu = msgspec.structs.replace(catalogue(), institutions=moved)
    decision = decide(check(CHEST_PLAIN), [ct(institution="EX-CQ-02")], jiangsu)
    assert "R6.1" in rules(decision.verdicts[0])


def test_a_result_older_than_its_window_is_not_recognised() -> None:
    verdict = judged(lab(POTASSIUM, days_ago=9))
    assert (verdict.verdict, rules(verdict)[0]) == ("not_recognised", "R7.1")


@pytest.mark.parametrize(
    "times",
    [{"performed": None, "reported": None}, {"performed": NOW + timedelta(hours=1), "reported": None}],
)
def test_a_result_of_unknown_or_future_time_is_not_recognised(times: dict[str, Any]) -> None:
    assert "R7.3" in rules(judged(lab(**times)))


def test_a_result_of_an_absurd_time_does_not_stop_the_decision() -> None:
    far = datetime(9999, 12, 31, tzinfo=UTC)
    assert "R7.3" in rules(judged(lab(performed=far, reported=far)))


def test_a_fact_of_the_encounter_that_nobody_knows_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="emergenzy"):
        msgspec.convert({"emergenzy": True}, Context)


@pytest.mark.parametrize(
    ("fact", "rule"),
    [
        ("condition_changed", "N1"),
        ("pre_operation", "N3a"),
        ("pre_transfusion", "N3b"),
        ("emergency", "N4"),
        ("forensic", "N5"),
    ],
)
def test_a_national_situation_allows_a_repeat_and_leaves_the_result_for_viewing(fact: str, rule: str) -> None:
    verdict = judged(lab(), check(ALBUMIN, **dict[str, Any]({fact: True})))
    assert (verdict.verdict, rules(verdict)) == ("view_only", [rule])


def test_an_emergency_department_is_an_emergency_without_saying_so() -> None:
    assert "N4" in rules(judged(lab(), check(ALBUMIN, setting="emergency")))


def test_a_foreign_unit_is_viewed_only() -> None:
    verdict = judged(lab(unit="mmol/L"))
    assert (verdict.verdict, rules(verdict)) == ("view_only", ["R9.1"])


def test_a_flag_on_the_record_is_viewed_only() -> None:
    verdict = judged(lab(flags=("timeliness:reported-before-performed",)))
    assert (verdict.verdict, rules(verdict)) == ("view_only", ["R9.2"])
