"""Each step refuses what it is there to refuse, and nothing else."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest

from catalog import Window
from recognition import Check, Context, Images, Mark, Reading, Result, Verdict, decide
from tests.recognition.cases import (
    ALBUMIN,
    CHEST_BOTH,
    CHEST_PLAIN,
    CST,
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
    notes,
    rules,
    window_row,
    with_windows,
)


@pytest.mark.parametrize(
    ("flags", "verdict", "told"),
    [
        (("header:missing:KVP", "header:range:SliceThickness=20/0.1-10/mm"), "recognised", ["R9.5"]),
        (("header:made-up",), "recognised", ["R9.5"]),
        (("consistency:side-on-images-and-report-differ", "header:missing:KVP"), "view_only", ["R9.5"]),
        (("consistency:part-on-images-and-report-differ",), "view_only", []),
    ],
)
def test_what_a_header_says_is_a_note_and_another_side_or_part_may_be_viewed_only(
    flags: tuple[str, ...], verdict: str, told: list[str]
) -> None:
    found = judged(ct(flags=flags))
    assert (found.verdict, [one for one in notes(found) if one != "R7.6"]) == (verdict, told)


def test_a_catalogue_without_words_for_what_a_header_says_says_nothing_of_it() -> None:
    rules_before = {id_: rule for id_, rule in catalogue().rules.items() if id_ != "R9.5"}
    before = msgspec.structs.replace(catalogue(), rules=rules_before)
    (found,) = decide(check(CHEST_PLAIN), [ct(flags=("header:missing:KVP",))], before).verdicts
    assert (found.verdict, "R9.5" in notes(found)) == ("recognised", False)


def test_a_value_that_meets_every_step_is_recognised() -> None:
    verdict = judged(lab())
    words = catalogue().rule("R0.1")
    (reason,) = verdict.reasons
    assert (verdict.verdict, verdict.serves) == ("recognised", ALBUMIN)
    assert (reason.rule, reason.zh, reason.en) == ("R0.1", words.zh, words.en)


def test_a_study_that_meets_every_step_is_recognised() -> None:
    assert judged(ct()).verdict == "recognised"


def test_another_persons_result_is_refused_and_not_shown() -> None:
    verdict = judged(lab(identity="weak"))
    assert rules(verdict) == ["R1.1"]
    assert (verdict.item, verdict.expires, verdict.result.performed, verdict.result.mark) == (None,) * 4
    assert (verdict.result.value, verdict.result.local_name, verdict.result.institution) == ("", "", "")


def test_somebody_elses_result_is_told_by_id_node_kind_and_nothing_else() -> None:
    (verdict,) = decide(check(), [lab(identity="weak")], catalogue()).verdicts
    empty = Result(
        id=lab().id,
        node="hb-lis",
        kind="lab",
        institution="",
        local_name="",
        reading=Reading(None, None, ""),
        identity="weak",
        status="final",
        performed=None,
        reported=None,
        version_key="",
    )
    assert (verdict.result, verdict.serves, verdict.list, verdict.notes) == (empty, None, None, ())


def test_somebody_elses_result_is_told_once_however_many_it_would_serve() -> None:
    found = ct(CHEST_BOTH, identity="weak")
    assert len(decide(check(CHEST_PLAIN, CHEST_BOTH), [found], catalogue()).verdicts) == 1


def test_the_particulars_of_an_unread_name_are_the_name_and_the_reason() -> None:
    unread = judged(lab(reading=Reading(None, None, "unknown"), local_name="某项"), check(ALBUMIN))
    assert unread.reasons[0].zh.endswith("（原名“某项”（unknown））")
    assert unread.reasons[0].en.endswith("(local name, unknown)")


def test_another_item_is_named_beside_the_planned_one() -> None:
    (reason, *_) = judged(lab(URINE_GLUCOSE), check(GLUCOSE)).reasons
    found, planned = (catalogue().item(code) for code in (URINE_GLUCOSE, GLUCOSE))
    assert reason.zh.endswith(f"（已有“{found.name}”，拟开“{planned.name}”）")
    assert reason.en.endswith(
        f"(found {found.code} {found.concept}, planned {planned.code} {planned.concept})"
    )


def test_an_unlisted_item_is_named() -> None:
    only_alliance = next(i for i in catalogue().items.values() if i.lists == ("lab8-lab",))
    (reason,) = (r for r in judged(lab(only_alliance.code)).reasons if r.rule == "R2.4")
    assert reason.zh.endswith(f"（{only_alliance.name}）")
    assert reason.en.endswith(f"({only_alliance.code})")


@pytest.mark.parametrize(
    ("images", "zh", "en"),
    [
        (Images(119, 120), "（应有120幅，现有119幅）", "(119 of 120 images)"),
        (Images(0), "（应有?幅，现有0幅）", "(0 of ? images)"),
        (Images(7), "（现有7幅）", "(7 images)"),
    ],
)
def test_images_are_counted_in_the_reason(images: Images, zh: str, en: str) -> None:
    (reason,) = judged(ct(images=images)).reasons
    assert (reason.zh.endswith(zh), reason.en.endswith(en)) == (True, True)


def test_a_single_image_of_one_is_complete() -> None:
    assert judged(ct(images=Images(1, 1))).verdict == "recognised"


@pytest.mark.parametrize(("state", "id_"), [("invalid", "M7"), ("withdrawn", "M8"), ("unverifiable", "M9")])
def test_a_mark_that_is_worth_nothing_is_named(state: Any, id_: str) -> None:
    (reason,) = judged(lab(mark=Mark("CN", "全国HR", state, id_))).reasons
    assert (reason.zh.endswith(f"（{id_}）"), reason.en.endswith(f"({id_})")) == (True, True)


@pytest.mark.parametrize(
    ("printed", "verdict"),
    [
        ("全国HR", "recognised"),
        ("川渝HR", "recognised"),
        ("鄂HR", "view_only"),
        ("HR", "view_only"),
        ("月球HR", "view_only"),
    ],
)
def test_what_is_printed_must_hold_the_receiver_as_well(printed: str, verdict: str) -> None:
    assert judged(lab(printed_mark=printed)).verdict == verdict


def test_a_bare_hr_means_the_province_of_the_issuer() -> None:
    assert judged(ct(institution="EX-SC-02", printed_mark="HR")).verdict == "recognised"


def test_what_is_printed_by_an_unknown_institution_is_not_read() -> None:
    assert rules(judged(lab(printed_mark="鄂HR", institution="EX-XX-99"))) == ["R5.3"]


def test_a_mark_without_a_scope_reaches_nobody() -> None:
    assert rules(judged(lab(mark=Mark(None, "HR", "valid")))) == ["R4.1"]


def test_a_mark_reaches_no_further_than_the_qualification() -> None:
    verdict = judged(lab("1500104A"))
    assert (rules(verdict), verdict.reasons[0].zh.endswith("（全国HR）")) == (["R4.1"], True)


def test_any_qualification_that_holds_the_receiver_is_enough() -> None:
    record = next(q for q in catalogue().qualifications if q.id == "Q-HB-01-01")
    narrow = msgspec.structs.replace(record, id="Q-narrow", scope="420000")
    for records in ((record, narrow), (narrow, record)):
        both = msgspec.structs.replace(catalogue(), qualifications=records)
        assert decide(check(), [lab()], both).verdicts[0].verdict == "recognised"


def test_an_unknown_institution_is_named() -> None:
    (reason,) = judged(lab(institution="EX-XX-99")).reasons
    assert (reason.zh.endswith("（EX-XX-99）"), reason.en.endswith("(EX-XX-99)")) == (True, True)


def test_a_missing_qualification_names_the_day() -> None:
    nobody = msgspec.structs.replace(catalogue(), qualifications=())
    (reason,) = (r for r in decide(check(), [lab()], nobody).verdicts[0].reasons if r.rule == "R5.1")
    assert (reason.zh.endswith("（检查日2026-11-15）"), reason.en.endswith("(on 2026-11-15)")) == (True, True)


def test_a_suspended_qualification_names_its_reason_and_record() -> None:
    (reason, *_) = judged(lab("1500204A", mark=None)).reasons
    record = next(q for q in catalogue().qualifications if q.id == "Q-HB-01-03")
    assert (reason.zh.endswith(f"（{record.reason}）"), reason.en.endswith("(Q-HB-01-03)")) == (True, True)


def test_a_record_of_another_period_is_no_suspension() -> None:
    record = next(q for q in catalogue().qualifications if q.id == "Q-HB-01-01")
    over = msgspec.structs.replace(record, valid_from=date(2025, 1, 1), valid_to=date(2026, 11, 14))
    ahead = msgspec.structs.replace(record, valid_from=date(2026, 11, 16), valid_to=date(2027, 11, 14))
    past = msgspec.structs.replace(catalogue(), qualifications=(over, ahead))
    assert "R5.1" in rules(decide(check(), [lab(days_ago=5)], past).verdicts[0])


def test_a_suspension_on_the_first_and_last_day_of_a_record_is_a_suspension() -> None:
    record = next(q for q in catalogue().qualifications if q.id == "Q-HB-01-03")
    for start, end in ((15, 30), (1, 15)):
        one = msgspec.structs.replace(
            record, valid_from=date(2026, 11, start), valid_to=date(2026, 11, end), items="*"
        )
        past = msgspec.structs.replace(catalogue(), qualifications=(one,))
        assert "R5.2" in rules(decide(check(), [lab(days_ago=5)], past).verdicts[0])


def test_a_stand_in_is_recognised_in_the_words_of_its_relation() -> None:
    verdict = judged(ct(CHEST_BOTH), check(CHEST_PLAIN))
    relation = catalogue().stand_in(CHEST_PLAIN, CHEST_BOTH)
    assert relation is not None
    (reason,) = verdict.reasons
    assert (reason.zh.endswith(f"（{relation.zh}）"), reason.en.endswith(f"({relation.en})")) == (True, True)


def test_flags_are_told_in_words() -> None:
    flagged = lab(flags=("completeness:no-status", "made:up"))
    (reason,) = judged(flagged).reasons
    assert reason.zh.endswith("（报告状态不明、made:up）")
    assert reason.en.endswith("(no known status, made:up)")


def test_the_reasons_with_the_effect_of_the_verdict_come_first_in_the_order_of_the_steps() -> None:
    verdict = judged(lab(mark=None, status="preliminary", days_ago=40, flags=("made:up",)))
    assert rules(verdict) == ["R3.4", "R7.1", "R4.3", "R9.2"]


def test_a_verdict_names_the_list_that_counts() -> None:
    assert (judged(lab()).list, judged(ct()).list) == ("cy-lab", "cy-imaging")


def test_a_name_that_cannot_be_read_is_shown_for_viewing_only() -> None:
    verdict = judged(lab(reading=Reading(None, None, "unknown")), check(ALBUMIN))
    assert (verdict.verdict, rules(verdict)[0]) == ("view_only", "R2.1")


def test_a_study_that_was_read_as_a_laboratory_item_is_not_read_at_all() -> None:
    wrong = ct(reading=Reading(ALBUMIN, "ALB|S|QN|-", ""))
    (verdict,) = decide(check(ALBUMIN, CHEST_PLAIN), [wrong], catalogue()).verdicts
    assert (verdict.verdict, rules(verdict), verdict.item) == ("view_only", ["R2.1"], None)


def test_a_name_that_contradicts_its_fields_is_viewed_only() -> None:
    assert rules(judged(lab(reading=Reading(None, None, "conflict")), check(ALBUMIN)))[0] == "R2.3"


def test_urine_glucose_does_not_serve_for_serum_glucose() -> None:
    verdict = judged(lab(URINE_GLUCOSE), check(GLUCOSE))
    assert (verdict.verdict, rules(verdict)[0]) == ("not_recognised", "R2.2")


def test_an_enhanced_study_serves_for_a_plain_order_by_the_stand_in_relation() -> None:
    verdict = judged(ct(CHEST_BOTH), check(CHEST_PLAIN))
    assert (verdict.verdict, verdict.serves, verdict.item) == ("recognised", CHEST_PLAIN, CHEST_BOTH)


def test_a_plain_study_does_not_serve_for_an_enhanced_order() -> None:
    enhanced = imaging_item("CT|胸部|-|contrast|-")
    assert rules(judged(ct(CHEST_PLAIN), check(enhanced)))[0] == "R2.2"


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


def test_a_region_without_a_level_rule_does_not_compare_levels() -> None:
    assert rules(judged(ct(institution="EX-SC-02"))) == ["R0.1"]


def test_a_result_older_than_its_window_is_not_recognised() -> None:
    verdict = judged(lab(POTASSIUM, days_ago=9))
    assert (verdict.verdict, rules(verdict)[0]) == ("not_recognised", "R7.1")


def seen(found: Result, at: Check, *windows: Window) -> Verdict:
    """The verdict under these windows and no others."""
    return decide(at, [found], with_windows(*windows)).verdicts[0]


IMAGING = window_row(list="cy-imaging", base="performed", view_days=60)


def test_a_window_that_ended_says_how_long_it_was_and_when_it_ended() -> None:
    (reason,) = seen(lab(days_ago=8), check(), window_row()).reasons
    assert reason.zh.endswith("（时限7天，已于2026-11-19 23:59届满）")
    assert reason.en.endswith("(window of 7 days ended 2026-11-19 23:59)")


def test_a_window_from_the_examination_does_not_count_from_the_report() -> None:
    row = window_row(list="cy-imaging", base="performed")
    assert rules(seen(ct(reported=NOW), check(CHEST_PLAIN), row)) == ["R7.1"]


def test_a_window_from_the_report_does_not_count_from_the_examination() -> None:
    assert rules(seen(lab(days_ago=9, reported=NOW), check(), window_row())) == ["R0.1"]


def test_images_that_are_there_may_be_viewed_in_the_viewing_period() -> None:
    assert rules(seen(ct(), check(CHEST_PLAIN), IMAGING)) == ["R7.4"]


@pytest.mark.parametrize(
    ("images", "rule"),
    [(None, "R3.2"), (Images(None, 9), "R3.2"), (Images(0, 9), "R3.1"), (Images(0), "R3.1")],
)
def test_a_viewing_period_is_of_no_use_without_images(images: Images | None, rule: str) -> None:
    assert set(rules(seen(ct(images=images), check(CHEST_PLAIN), IMAGING))) == {rule, "R7.1"}


def test_a_study_with_some_images_may_still_be_viewed_for_what_there_is() -> None:
    found = rules(seen(ct(images=Images(1, 9)), check(CHEST_PLAIN), IMAGING))
    assert set(found) == {"R3.1", "R7.4"}


def test_a_laboratory_value_may_be_viewed_without_images() -> None:
    verdict = seen(lab(days_ago=8), check(), window_row(view_days=60))
    assert (verdict.verdict, rules(verdict)) == ("view_only", ["R7.4"])


OWN = {"institution": "EX-SC-01", "days": 3}


def test_the_receivers_own_window_ends_earlier() -> None:
    verdict = seen(lab(days_ago=4), check(), window_row(), window_row(**OWN))
    assert (verdict.verdict, rules(verdict)) == ("not_recognised", ["R7.5"])


def test_both_windows_must_hold() -> None:
    verdict = seen(lab(days_ago=8), check(), window_row(), window_row(**OWN))
    assert rules(verdict) == ["R7.1", "R7.5"]


def test_a_longer_window_of_the_receivers_own_loosens_nothing() -> None:
    longer = window_row(institution="EX-SC-01", days=90)
    assert rules(seen(lab(days_ago=8), check(), window_row(), longer)) == ["R7.1"]


def test_the_viewing_period_of_the_receivers_own_window_loosens_nothing() -> None:
    own = window_row(institution="EX-SC-01", days=90, view_days=365)
    assert seen(lab(days_ago=8), check(), window_row(), own).verdict == "not_recognised"


def test_the_receivers_own_window_for_a_setting_counts_in_that_setting() -> None:
    windows = (window_row(), window_row(**OWN, setting="inpatient"))
    assert rules(seen(lab(days_ago=4), check(ALBUMIN), *windows)) == ["R0.1"]
    assert rules(seen(lab(days_ago=4), check(ALBUMIN, setting="inpatient"), *windows)) == ["R7.5"]


def test_the_receivers_own_window_may_have_a_viewing_period() -> None:
    own = window_row(**OWN, view_days=6)
    assert rules(seen(lab(days_ago=4), check(), window_row(), own)) == ["R7.4"]


def test_another_institutions_own_window_does_not_count() -> None:
    other = window_row(institution="EX-SC-02", days=3)
    assert rules(seen(lab(days_ago=4), check(), window_row(), other)) == ["R0.1"]


def test_an_own_window_without_one_of_the_list_makes_no_window() -> None:
    assert rules(seen(lab(days_ago=1), check(), window_row(**OWN))) == ["R7.2"]


def test_an_own_window_counts_only_where_the_list_allows_additions() -> None:
    lists = catalogue().lists
    closed = msgspec.structs.replace(lists["cy-lab"], additions=False)
    under = msgspec.structs.replace(
        with_windows(window_row(), window_row(**OWN)), lists=lists | {"cy-lab": closed}
    )
    assert rules(decide(check(), [lab(days_ago=4)], under).verdicts[0]) == ["R0.1"]


def test_a_window_for_the_setting_of_the_encounter_comes_before_that_for_any() -> None:
    windows = (window_row(days=30), window_row(days=1, setting="inpatient"))
    assert rules(seen(lab(days_ago=4), check(ALBUMIN), *windows)) == ["R0.1"]
    assert rules(seen(lab(days_ago=4), check(ALBUMIN, setting="inpatient"), *windows)) == ["R7.1"]


def test_what_is_recognisable_expires_with_the_first_of_the_windows() -> None:
    verdict = seen(lab(days_ago=1), check(), window_row(), window_row(**OWN))
    assert verdict.expires == datetime(2026, 11, 22, 23, 59, 59, 999999, tzinfo=CST)


def test_what_has_expired_says_when() -> None:
    verdict = seen(lab(days_ago=8), check(), window_row())
    assert verdict.expires == datetime(2026, 11, 19, 23, 59, 59, 999999, tzinfo=CST)


@pytest.mark.parametrize("performed", [None, NOW + timedelta(seconds=1)])
def test_without_a_past_time_nothing_expires(performed: datetime | None) -> None:
    assert seen(lab(performed=performed, reported=performed), check(), window_row()).expires is None


def test_a_result_of_this_very_moment_is_not_of_the_future() -> None:
    verdict = seen(lab(days_ago=0), check(), window_row())
    assert (rules(verdict), verdict.expires is None) == (["R0.1"], False)


def test_a_time_in_the_future_for_either_window_is_refused() -> None:
    own = window_row(**OWN, base="performed")
    verdict = seen(lab(performed=NOW + timedelta(hours=1)), check(), window_row(), own)
    assert (rules(verdict)[0], verdict.expires) == ("R7.3", None)


@pytest.mark.parametrize("performed", [None, NOW + timedelta(seconds=1)])
def test_without_a_window_a_time_is_still_needed(performed: datetime | None) -> None:
    (reason, *_) = seen(lab(performed=performed, reported=None), check()).reasons
    words = catalogue().rule("R7.3")
    assert (reason.rule, reason.zh, reason.en) == ("R7.3", words.zh, words.en)


@pytest.mark.parametrize("times", [{"performed": None}, {"reported": None}, {"days_ago": 0}])
def test_without_a_window_a_time_in_the_past_is_enough(times: dict[str, Any]) -> None:
    assert "R7.2" in rules(seen(lab(**times), check()))


def test_a_default_window_says_of_how_many_days_it_is() -> None:
    (note,) = judged(ct()).notes
    assert (note.rule, note.zh.endswith("（30天）"), note.en.endswith("(30 days)")) == ("R7.6", True, True)


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
