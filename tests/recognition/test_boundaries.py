"""The boundary cases of the field, each under its own sentence.

Some are settled before a decision and are tested there: a mark inside the name and a bare HR
(tests/mapping/test_text.py, tests/mapping/test_normalise.py, tests/catalog/test_catalog_model.py), two date
formats (tests/adapters/test_fhir_read.py), the same request id with another body
(tests/gateway/test_checks.py).
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

import msgspec
import pytest

from catalog import Qualification
from recognition import Mark, Reading, Verdict, decide
from tests.recognition.cases import (
    ALBUMIN,
    CHEST_BOTH,
    CHEST_PLAIN,
    CST,
    GLUCOSE,
    NOW,
    URINE_GLUCOSE,
    catalogue,
    check,
    ct,
    from_chongqing,
    judged,
    lab,
    notes,
    rules,
    window_row,
    with_windows,
)

CKMB_MASS, CKMB_ACTIVITY, D_DIMER, HBA1C = "2100104A", "2100204A", "0501703A", "1100301A"
INSTANT = timedelta(microseconds=1)
LAB8 = Mark("LAB8", "检验联盟HR", "valid")


def asked_at(moment: timedelta, **row: object) -> Verdict:
    """A value of 10:00 on 20 November, asked for so much later, under a window of seven days."""
    found = lab(days_ago=0)
    decision = decide(check(ALBUMIN, at=NOW + moment), [found], with_windows(window_row(**row)))
    return decision.verdicts[0]


def test_boundary_of_the_window_with_the_clock_of_calendar_days() -> None:
    end_of_the_last_day = timedelta(days=7, hours=14) - INSTANT
    assert asked_at(end_of_the_last_day).verdict == "recognised"
    assert rules(asked_at(end_of_the_last_day + INSTANT)) == ["R7.1"]


def test_boundary_of_the_window_with_the_clock_of_elapsed_24_hours() -> None:
    assert asked_at(timedelta(days=7), clock="elapsed_24h").verdict == "recognised"
    assert rules(asked_at(timedelta(days=7) + INSTANT, clock="elapsed_24h")) == ["R7.1"]


def test_boundary_of_the_window_that_excludes_its_last_instant() -> None:
    row = {"clock": "elapsed_24h", "boundary": "excluding"}
    assert asked_at(timedelta(days=7) - INSTANT, **row).verdict == "recognised"
    assert rules(asked_at(timedelta(days=7), **row)) == ["R7.1"]


def test_boundary_of_the_viewing_period() -> None:
    assert rules(asked_at(timedelta(days=20), clock="elapsed_24h", view_days=20)) == ["R7.4"]
    assert rules(asked_at(timedelta(days=20) + INSTANT, clock="elapsed_24h", view_days=20)) == ["R7.1"]


def test_serum_urine_pair() -> None:
    assert rules(judged(from_chongqing(URINE_GLUCOSE), check(GLUCOSE))) == ["R2.2"]


@pytest.mark.parametrize(
    ("found", "wanted"), [(CKMB_MASS, CKMB_ACTIVITY), (CKMB_ACTIVITY, CKMB_MASS)], ids=["mass", "activity"]
)
def test_ck_mb_mass_and_activity_are_two_items(found: str, wanted: str) -> None:
    assert rules(judged(lab(found, mark=LAB8), check(wanted, receiver="EX-HN-01")))[0] == "R2.2"


def test_ck_mb_mass_with_the_unit_of_the_activity_is_not_comparable() -> None:
    verdict = judged(lab(CKMB_MASS, mark=LAB8, unit="U/L"), check(CKMB_MASS, receiver="EX-HN-01"))
    assert ("R9.1" in rules(verdict), verdict.converted) == (True, None)


def test_feu_is_comparable_with_feu() -> None:
    assert judged(from_chongqing(D_DIMER, unit="mg/L（FEU）")).verdict == "recognised"


@pytest.mark.parametrize("unit", ["mg/L DDU", "mg/L", "ng/mL DDU"])
def test_feu_is_not_comparable_with_ddu_or_with_a_unit_that_does_not_say(unit: str) -> None:
    verdict = judged(from_chongqing(D_DIMER, value="0.4", unit=unit))
    assert (rules(verdict), verdict.converted) == (["R9.1"], None)


def test_hba1c_of_the_ifcc_becomes_ngsp_by_its_line_with_an_offset() -> None:
    verdict = judged(from_chongqing(HBA1C, value="53", unit="mmol/mol"))
    assert verdict.converted is not None
    assert (verdict.converted.value, verdict.converted.unit) == ("7.00044", "%")
    assert (rules(verdict), notes(verdict)) == (["R0.1"], ["R9.3"])


def test_superseded_report_version() -> None:
    first, second = lab(id="first"), lab(id="second", reported=NOW - timedelta(days=4), value="39")
    verdicts = {v.result.id: rules(v) for v in decide(check(), [first, second], catalogue()).verdicts}
    assert verdicts == {"first": ["R3.5"], "second": ["R0.1"]}


def holding(**changes: object) -> tuple[Qualification, ...]:
    """The national qualification of Wuhan, changed."""
    record = next(q for q in catalogue().qualifications if q.id == "Q-HB-01-01")
    return (msgspec.convert(msgspec.to_builtins(record) | changes, Qualification),)


@pytest.mark.parametrize(
    ("ended", "verdict"), [(date(2026, 11, 15), "recognised"), (date(2026, 11, 14), "not_recognised")]
)
def test_institution_whose_qualification_ended_between_examination_and_query(
    ended: date, verdict: str
) -> None:
    past = msgspec.structs.replace(catalogue(), qualifications=holding(valid_to=ended))
    assert decide(check(), [lab(days_ago=5)], past).verdicts[0].verdict == verdict


@pytest.mark.parametrize(("since", "rule"), [(16, "R0.1"), (15, "R5.2")])
def test_institution_whose_qualification_was_suspended_between_examination_and_query(
    since: int, rule: str
) -> None:
    stopped = datetime(2026, 11, since, 12, tzinfo=CST)
    records = holding(status="suspended", status_from=stopped, reason="质评不合格")
    past = msgspec.structs.replace(catalogue(), qualifications=records)
    assert rules(decide(check(), [lab(days_ago=5)], past).verdicts[0]) == [rule]


def test_cross_province_mark_at_a_third_province() -> None:
    found = ct(mark=Mark("CHUANYU", "川渝HR", "valid"))
    assert judged(found, check(CHEST_PLAIN, receiver="EX-SC-02")).verdict == "recognised"
    assert "R4.1" in rules(judged(found, check(CHEST_PLAIN, receiver="EX-HB-01")))


def test_plain_ct_of_the_neck_alone_is_no_item_and_is_viewed_only() -> None:
    assert catalogue().item_for("CT|颈部|-|plain|-") is None
    both = catalogue().item_for("CT|颈部|-|plain+contrast|-")
    assert both is not None
    neck = ct(CHEST_PLAIN, reading=Reading(None, "CT|颈部|-|plain|-", "not_in_catalogue"))
    assert (judged(neck, check(both.code)).verdict, rules(judged(neck, check(both.code)))) == (
        "view_only",
        ["R2.1"],
    )


def test_enhanced_study_satisfying_a_plain_item() -> None:
    verdict = judged(ct(CHEST_BOTH), check(CHEST_PLAIN))
    assert (verdict.verdict, verdict.serves, verdict.item) == ("recognised", CHEST_PLAIN, CHEST_BOTH)
    assert "平扫" in verdict.reasons[0].zh
