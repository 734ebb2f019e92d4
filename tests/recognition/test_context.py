"""The facts that conditions ask about, each seen through a line of the negative list."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from catalog import FACTS
from recognition import Context, Event, Images, Result, Verdict, decide
from recognition.context import OF_RESULT, question_of
from tests.recognition.cases import (
    ALBUMIN,
    CHEST_BOTH,
    CHEST_PLAIN,
    NOW,
    catalogue,
    check,
    condition,
    ct,
    imaging_item,
    lab,
    rules,
    with_rules,
)

FIVE_DAYS_AGO = NOW - timedelta(days=5)


def holds(when: str, *results: Result, **context: Any) -> bool:
    """Whether a line with this condition is found on the first result."""
    found = results or (lab(),)
    first = found[0]
    planned = (first.reading.item or ALBUMIN) if first.kind == "lab" else CHEST_PLAIN
    if first.kind == "imaging" and first.reading.item != CHEST_BOTH:
        planned = first.reading.item or CHEST_PLAIN
    decision = decide(check(planned, **context), found, with_rules(condition(when)))
    return "N99" in rules(next(v for v in decision.verdicts if v.result.id == first.id))


def test_every_fact_is_either_of_the_encounter_or_of_the_result() -> None:
    with_events = Context(events=(Event("operation", NOW),))
    asked = msgspec.structs.replace(check(), context=with_events)
    of_encounter = set(question_of(asked, catalogue()).facts)
    assert (of_encounter | set(OF_RESULT), of_encounter & set(OF_RESULT)) == (set(FACTS), set())


@pytest.mark.parametrize(
    "fact",
    [
        "condition_changed",
        "pre_operation",
        "pre_transfusion",
        "forensic",
        "serial",
        "drug_treatment",
        "endemic_area",
        "intervening_procedure",
        "emergency",
    ],
)
def test_a_fact_of_the_encounter_is_what_was_said_and_false_otherwise(fact: str) -> None:
    assert (holds(fact, **{fact: True}), holds(fact)) == (True, False)


def test_the_setting_is_a_fact() -> None:
    assert (holds("setting == 'inpatient'", setting="inpatient"), holds("setting == 'inpatient'")) == (
        True,
        False,
    )


def test_the_disease_is_a_fact() -> None:
    assert (holds("disease == 'x'", disease="x"), holds("disease == ''")) == (True, True)


@pytest.mark.parametrize(
    ("setting", "emergency", "expected"),
    [
        ("emergency", False, True),
        ("outpatient", True, True),
        ("emergency", True, True),
        ("outpatient", False, False),
    ],
)
def test_an_emergency_is_said_or_follows_from_the_setting(
    setting: str, emergency: bool, expected: bool
) -> None:
    assert holds("emergency", setting=setting, emergency=emergency) is expected


@pytest.mark.parametrize("kind", ["operation", "transfusion", "intervention", "treatment"])
@pytest.mark.parametrize(("seconds", "since"), [(-1, False), (0, True), (1, True)])
def test_an_event_counts_from_the_moment_of_the_examination(kind: str, seconds: int, since: bool) -> None:
    event = {"kind": kind, "at": FIVE_DAYS_AGO + timedelta(seconds=seconds)}
    assert holds(f"{kind}_since", events=msgspec.convert([event], tuple[Event, ...])) is since


def test_an_event_of_one_kind_is_no_event_of_another() -> None:
    assert not holds("operation_since", events=(Event("transfusion", NOW),))


def test_an_event_counts_from_the_report_where_the_time_of_the_examination_is_unknown() -> None:
    before = (Event("operation", FIVE_DAYS_AGO - timedelta(hours=1)),)
    assert not holds("operation_since", lab(performed=None), events=before)


def test_every_event_may_be_after_a_result_without_a_time() -> None:
    long_ago = (Event("operation", NOW - timedelta(days=900)),)
    assert holds("operation_since", lab(performed=None, reported=None), events=long_ago)


def test_any_of_several_events_is_enough() -> None:
    events = (Event("operation", NOW - timedelta(days=90)), Event("operation", NOW))
    assert holds("operation_since", events=events)


@pytest.mark.parametrize(("days_ago", "hours"), [(5, 120), (5.04, 120), (4.99, 119), (0, 0)])
def test_the_age_of_a_result_is_in_whole_hours(days_ago: float, hours: int) -> None:
    found = lab(days_ago=days_ago)
    assert (holds(f"age_hours == {hours}", found), holds(f"age_hours != {hours}", found)) == (True, False)


def test_the_age_of_a_result_counts_from_the_report_where_nothing_else_is_known() -> None:
    assert holds("age_hours == 120", lab(performed=None))


def test_the_age_counts_from_the_examination_and_not_from_the_report() -> None:
    assert holds("age_hours == 120", lab(reported=NOW))


def test_a_result_without_a_time_has_no_age() -> None:
    assert holds("age_hours == 0", lab(performed=None, reported=None))


def test_an_abnormal_result_is_a_fact() -> None:
    assert (holds("abnormal", lab(abnormal=True)), holds("abnormal")) == (True, False)


def test_a_stand_in_is_a_fact() -> None:
    assert (holds("stand_in", ct(CHEST_BOTH)), holds("stand_in", ct())) == (True, False)


def test_a_printed_mark_is_a_fact() -> None:
    assert (holds("printed_mark", lab(printed_mark="全国HR")), holds("printed_mark")) == (True, False)


def test_the_item_and_its_group_are_those_that_are_planned() -> None:
    plain, both = (catalogue().item(code) for code in (CHEST_PLAIN, CHEST_BOTH))
    assert holds(f"item == '{plain.code}' && group == '{plain.group}'", ct(both.code))


def test_the_kind_is_a_fact() -> None:
    assert (holds("kind == 'lab'"), holds("kind == 'imaging'", ct())) == (True, True)


def test_the_issuer_is_a_fact() -> None:
    assert (holds("issuer == 'EX-HB-01'"), holds("issuer == 'EX-SC-01'")) == (True, False)


@pytest.mark.parametrize(("issuer", "level"), [("EX-HB-01", 5), ("EX-CQ-02", 3), ("EX-XX-99", 0)])
def test_the_level_of_the_issuer_is_its_grade_and_0_where_it_is_unknown(issuer: str, level: int) -> None:
    assert holds(f"issuer_level == {level}", lab(institution=issuer))


def test_the_level_of_the_receiver_is_its_grade() -> None:
    asked = check(receiver="EX-SC-02")
    decision = decide(asked, [lab()], with_rules(condition("receiver_level == 3")))
    assert "N99" in rules(decision.verdicts[0])


def test_a_result_of_the_asking_institution_is_known_as_its_own() -> None:
    assert (holds("same_institution", lab(institution="EX-SC-01")), holds("same_institution")) == (
        True,
        False,
    )


def allied(issuer: tuple[str, ...], receiver: tuple[str, ...], institution: str = "EX-HB-01") -> Verdict:
    institutions = catalogue().institutions
    moved = institutions | {
        code: msgspec.structs.replace(institutions[code], alliances=alliances)
        for code, alliances in (("EX-HB-01", issuer), ("EX-SC-01", receiver))
    }
    rules_in_force = msgspec.structs.replace(with_rules(condition("same_alliance")), institutions=moved)
    return decide(check(), [lab(institution=institution)], rules_in_force).verdicts[0]


@pytest.mark.parametrize(
    ("issuer", "receiver", "same"),
    [
        (("甲",), ("甲",), True),
        (("甲", "乙"), ("乙", "丙"), True),
        (("甲",), ("乙",), False),
        ((), (), False),
    ],
)
def test_two_institutions_are_of_one_alliance_when_they_share_any(
    issuer: tuple[str, ...], receiver: tuple[str, ...], same: bool
) -> None:
    assert ("N99" in rules(allied(issuer, receiver))) is same


def test_an_unknown_institution_is_of_no_alliance() -> None:
    assert "N99" not in rules(allied(("甲",), ("甲",), institution="EX-XX-99"))


HAND, FOOT, OTHER_FOOT = (
    imaging_item(concept) for concept in ("DR|手|R|-|正位", "DR|足|L|-|正斜位", "DR|足|R|-|正斜位")
)


def sites(*others: Result) -> int:
    """How many sites the hand is said to be one of."""
    hand = ct(HAND, id="hand", version_key="hand")
    return next(number for number in range(9) if holds(f"sites == {number}", hand, *others))


def other(item: str = FOOT, **changes: Any) -> Result:
    return ct(item, id="other", version_key="other", **changes)


def test_the_sites_are_the_body_parts_of_that_day_at_that_institution() -> None:
    assert (sites(), sites(other())) == (1, 2)


def test_both_sides_of_a_part_are_one_site() -> None:
    assert sites(other(), ct(OTHER_FOOT, id="third", version_key="third")) == 2


def test_two_parts_of_one_side_are_two_sites() -> None:
    assert sites(other(OTHER_FOOT)) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"days_ago": 8},
        {"institution": "EX-CQ-02"},
        {"identity": "weak"},
        {"status": "preliminary"},
        {"status": "entered-in-error"},
        {"images": None},
        {"images": Images(None, 10)},
        {"images": Images(0, 10)},
    ],
)
def test_a_site_is_seen_on_images_of_a_report_that_stands(changes: dict[str, Any]) -> None:
    assert sites(other(**changes)) == 1


def test_a_laboratory_value_is_no_site() -> None:
    assert sites(lab(days_ago=9, institution="EX-CQ-01")) == 1


def test_a_study_whose_name_could_not_be_read_is_no_site() -> None:
    from recognition import Reading

    assert sites(other(reading=Reading(None, None, "unknown"))) == 1


def test_a_condition_of_the_encounter_and_the_result_is_asked_for_every_result() -> None:
    found = [lab(id="one", abnormal=True), lab(id="two", version_key="two")]
    decision = decide(
        check(condition_changed=False), found, with_rules(condition("abnormal && !condition_changed"))
    )
    assert {v.result.id: "N99" in rules(v) for v in decision.verdicts} == {"one": True, "two": False}


def test_a_note_of_the_negative_list_changes_no_verdict() -> None:
    decision = decide(check(), [lab()], with_rules(condition("true", effect="note")))
    verdict = decision.verdicts[0]
    assert (verdict.verdict, [note.rule for note in verdict.notes]) == ("recognised", ["N99"])
