"""The explanation tells what the decision did, step by step, and nothing of somebody else's result."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from recognition import Explanation, Reading, Result, decide, explain
from recognition.explain import StepTrace, Trace
from recognition.steps import STEPS
from tests.recognition.cases import (
    ALBUMIN,
    CHEST_BOTH,
    CHEST_PLAIN,
    GLUCOSE,
    POTASSIUM,
    catalogue,
    check,
    ct,
    from_chongqing,
    imaging_item,
    lab,
    window_row,
    with_windows,
)


def explained(
    *results: Result, item: str = ALBUMIN, receiver: str = "EX-SC-01", **context: Any
) -> Explanation:
    return explain(check(item, receiver=receiver, **context), results, catalogue())


def step(found: Explanation, number: int) -> StepTrace:
    (trace,) = found.traces
    return trace.steps[number - 1]


def test_every_step_is_told_in_order_with_its_name() -> None:
    (trace,) = explained(lab()).traces
    assert [(s.number, s.zh, s.en) for s in trace.steps] == [
        (number, zh, en) for number, (zh, en, _) in enumerate(STEPS, start=1)
    ]


def test_a_trace_names_result_aim_item_and_verdict() -> None:
    (trace,) = explained(ct(CHEST_BOTH), item=CHEST_PLAIN).traces
    assert (trace.result, trace.node, trace.aim, trace.item, trace.verdict) == (
        f"cq-pacs/{CHEST_BOTH}",
        "cq-pacs",
        CHEST_PLAIN,
        CHEST_BOTH,
        "recognised",
    )


def test_a_step_that_is_met_is_passed_and_one_that_is_not_has_its_reasons() -> None:
    found = explained(lab(value=""))
    assert [s.number for s in found.traces[0].steps if not s.passed] == [3]
    assert [r.rule for r in step(found, 3).reasons] == ["R3.3"]


def test_only_the_window_step_has_windows_and_only_two_steps_have_conditions() -> None:
    (trace,) = explained(lab()).traces
    assert [s.number for s in trace.steps if s.windows] == [7]
    assert {s.number for s in trace.steps if s.asked} <= {6, 8}


def test_several_records_units_and_flags_are_told_with_blanks_between() -> None:
    twice = catalogue().qualifications + tuple(
        msgspec.structs.replace(q, id="Q-2") for q in catalogue().qualifications if q.id == "Q-HB-01-01"
    )
    under = msgspec.structs.replace(catalogue(), qualifications=twice)
    (trace,) = explain(check(), [lab(flags=("a:b", "c:d"))], under).traces
    assert (trace.steps[4].looked["records"], trace.steps[4].looked["held"]) == ("Q-HB-01-01 Q-2",) * 2
    assert trace.steps[8].looked["flags"] == "a:b c:d"
    found = explained(from_chongqing("1600204A"), item="1600204A")
    assert step(found, 9).looked["listed_units"] == "ng/mL μg/L"


def test_an_unread_name_has_no_listed_units_and_a_missing_mark_prints_nothing() -> None:
    found = explained(lab(reading=Reading(None, None, "unknown"), mark=None))
    assert (step(found, 9).looked["listed_units"], step(found, 4).looked["printed"]) == ("", "")
    assert step(found, 9).looked["comparable"] is True


def test_a_note_fails_no_step() -> None:
    found = step(explained(ct(), item=CHEST_PLAIN), 7)
    assert (found.passed, [note.rule for note in found.notes], found.reasons) == (True, ["R7.6"], ())


def test_traces_stand_in_the_order_of_the_verdicts() -> None:
    found = explained(lab(id="old", version_key="a", days_ago=9), lab(id="new", version_key="b"))
    assert (
        [t.result for t in found.traces] == [v.result.id for v in found.decision.verdicts] == ["new", "old"]
    )


def test_the_window_that_was_used_is_told_and_whether_it_was_a_default() -> None:
    (used,) = step(explained(ct(), item=CHEST_PLAIN), 7).windows
    row = catalogue().window(catalogue().item(CHEST_PLAIN), "cy-imaging", "outpatient")
    assert row is not None
    assert (used.list, used.target, used.days, used.clock, used.base, used.boundary, used.setting) == (
        row.list,
        row.target,
        row.days,
        row.clock,
        row.base,
        row.boundary,
        row.setting,
    )
    assert (used.is_default, used.own, used.source, used.view_days) == (True, False, row.source, 0)
    assert (used.counted_from, used.viewable_until) == (ct().performed, None)
    assert used.until == explained(ct(), item=CHEST_PLAIN).decision.verdicts[0].expires


def test_the_receivers_own_window_is_told_beside_the_lists() -> None:
    found = explained(from_chongqing(GLUCOSE), item=GLUCOSE, receiver="EX-SC-02")
    assert [(w.own, w.days, w.is_default) for w in step(found, 7).windows] == [
        (False, 30, False),
        (True, 7, False),
    ]


def test_the_viewing_period_is_told() -> None:
    under = with_windows(window_row(view_days=60))
    (trace,) = explain(check(), [lab()], under).traces
    (used,) = trace.steps[6].windows
    assert (used.view_days, used.viewable_until is not None) == (60, True)


def test_every_condition_that_applied_is_told_with_its_facts_and_its_answer() -> None:
    asked = {a.rule: a for a in step(explained(lab(), pre_operation=True), 8).asked}
    assert (asked["N3a"].when, asked["N3a"].facts, asked["N3a"].holds) == (
        "pre_operation",
        {"pre_operation": True},
        True,
    )
    assert (asked["N1"].facts, asked["N1"].holds) == ({"condition_changed": False}, False)
    assert "N8a" not in asked  # a rule of another area


def test_level_rules_are_told_at_their_step() -> None:
    moved = catalogue().institutions | {
        "EX-SC-01": msgspec.structs.replace(catalogue().institutions["EX-SC-01"], region="150000")
    }
    under = msgspec.structs.replace(catalogue(), institutions=moved)
    (trace,) = explain(check(), [lab(institution="EX-CQ-02")], under).traces
    (asked,) = trace.steps[5].asked
    assert (asked.rule, asked.facts, asked.holds) == ("L3", {"issuer_level": 3, "receiver_level": 5}, True)


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (1, {"identity": "strong"}),
        (
            2,
            {
                "local_name": "白蛋白测定",
                "concept": "ALB|S|QN|-",
                "unread": "",
                "exact": True,
                "stand_in": None,
                "stand_in_owner": None,
                "list": "cy-lab",
            },
        ),
        (
            3,
            {
                "value": "4.12",
                "unit": "g/dL",
                "images_held": None,
                "images_expected": None,
                "status": "final",
                "superseded_by": None,
                "undecided_versions": False,
            },
        ),
        (4, {"state": "valid", "printed": "全国HR", "ranges": "CN CN", "receiver_region": "510100"}),
        (
            5,
            {"institution": "EX-HB-01", "day": "2026-11-15", "records": "Q-HB-01-01", "held": "Q-HB-01-01"},
        ),
        (
            9,
            {
                "unit": "g/dL",
                "listed_units": "g/L",
                "comparable": False,
                "factor": "10",
                "factor_source": "conversion factor, general knowledge, unverified",
                "flags": "",
            },
        ),
    ],
)
def test_a_step_tells_what_it_looked_at(number: int, told: dict[str, Any]) -> None:
    assert step(explained(lab(value="4.12", unit="g/dL")), number).looked == told


def test_a_stand_in_is_told_with_its_owner() -> None:
    looked = step(explained(ct(CHEST_BOTH), item=CHEST_PLAIN), 2).looked
    relation = catalogue().stand_in(CHEST_PLAIN, CHEST_BOTH)
    assert relation is not None
    assert (looked["stand_in"], looked["stand_in_owner"]) == (f"{relation.zh} {relation.en}", relation.owner)


def test_images_and_the_version_that_counts_are_told() -> None:
    older, newer = ct(id="older"), ct(id="newer", days_ago=8)
    found = explain(check(CHEST_PLAIN), [older, newer], catalogue())
    looked = next(t for t in found.traces if t.result == "older").steps[2].looked
    assert (looked["images_held"], looked["images_expected"], looked["superseded_by"]) == (120, 120, "newer")


def test_a_range_that_names_no_region_is_told_as_unknown() -> None:
    looked = step(explained(lab(printed_mark="月球HR")), 4).looked
    assert (looked["ranges"], looked["printed"]) == ("CN ? CN", "月球HR")


def test_what_is_missing_is_told_as_nothing() -> None:
    bare = lab(mark=None, performed=None, reported=None)
    assert step(explained(bare), 4).looked["ranges"] == ""
    assert step(explained(bare), 4).looked["state"] is None
    assert step(explained(bare), 5).looked["day"] is None


def test_a_name_that_could_not_be_read_has_no_aim_and_asks_no_condition() -> None:
    found = explained(lab(reading=Reading(None, None, "unknown")))
    (trace,) = found.traces
    assert (trace.aim, trace.item, trace.steps[7].asked, trace.steps[6].windows) == (None, None, (), ())


def test_of_somebody_elses_result_only_the_identity_is_told() -> None:
    (trace,) = explained(lab(identity="weak")).traces
    assert (trace.aim, trace.item, [s.number for s in trace.steps]) == (None, None, [1])
    assert trace.steps[0].looked == {"identity": "weak"}
    assert trace == Trace(
        result=trace.result, node=trace.node, aim=None, item=None, verdict="not_recognised", steps=trace.steps
    )


def test_the_ranking_tells_winner_and_losers_and_why_each_stands_before_the_next() -> None:
    found = explained(
        lab(id="second", version_key="a", days_ago=6),
        lab(id="first", version_key="b"),
        lab(id="refused", version_key="c", value=""),
        lab(id="third", version_key="d", days_ago=6),
    )
    (ranking,) = found.rankings
    assert ranking.item == ALBUMIN
    assert [(s.result, s.node, s.zh, s.en) for s in ranking.standings] == [
        ("first", "hb-lis", "检查日期较近", "examined on a later day"),
        (
            "second",
            "hb-lis",
            "各项相同，按标识排序",
            "no difference that matters, in the order of their ids",
        ),
        ("third", "hb-lis", "", ""),
    ]


def test_every_item_that_is_served_has_its_ranking() -> None:
    head = imaging_item("CT|颅脑|-|plain|-")
    found = explain(check(head, CHEST_PLAIN), [ct(), ct(head)], catalogue())
    assert [ranking.item for ranking in found.rankings] == sorted([head, CHEST_PLAIN])


def test_rankings_stand_in_the_order_of_the_plan() -> None:
    planned = ("1700104A", ALBUMIN)
    found = explain(check(*planned), [from_chongqing(code) for code in sorted(planned)], catalogue())
    assert tuple(ranking.item for ranking in found.rankings) == planned
    assert tuple(best.item for best in found.decision.advice[0].best) == planned


def test_results_that_play_no_part_are_named() -> None:
    found = explained(lab(), ct(), lab(POTASSIUM))
    assert found.unrelated == tuple(sorted([ct().id, lab(POTASSIUM).id]))


def test_the_check_is_kept_with_its_explanation() -> None:
    asked = check(ALBUMIN)
    assert explain(asked, [], catalogue()).check == asked


def test_an_explanation_survives_json() -> None:
    found = explained(lab(), lab(id="b", identity="weak"), lab(id="c", value="4", unit="g/dL"))
    assert msgspec.json.decode(msgspec.json.encode(found), type=Explanation) == found


def test_the_decision_is_the_one_that_decide_gives() -> None:
    results = [lab(), lab(POTASSIUM, days_ago=9), lab(id="x", identity="weak"), ct()]
    asked = check(ALBUMIN, POTASSIUM)
    assert explain(asked, results, catalogue()).decision == decide(asked, results, catalogue())
