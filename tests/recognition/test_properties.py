"""What holds for every decision, whatever is found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from catalog import FACTS, Rule
from recognition import Check, Context, Event, Images, Mark, Planned, Reading, Result, decide, explain
from recognition.model import VERDICT_ORDER, Identity, MarkState, ResultStatus
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
    condition,
    ct,
    lab,
    with_rules,
)

ITEMS = [
    ALBUMIN,
    POTASSIUM,
    GLUCOSE,
    URINE_GLUCOSE,
    CHEST_PLAIN,
    CHEST_BOTH,
    "2100104A",
    "2400104B",
    "CT-030",
]
INSTITUTIONS = ["EX-HB-01", "EX-CQ-01", "EX-SC-01", "EX-SC-02", "EX-XX-99", ""]
TEXTS = st.sampled_from(
    ["", "41.2", "<0.1", "阳性", "g/L", "g/dL", "mg/L FEU", "全国HR", "川渝HR", "HR", "★"]
)
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=8)), timezone(timedelta(hours=-12))])
ANY_TIME = st.datetimes(timezones=ZONES)
RECENT = st.integers(0, 60 * 24).map(lambda hours: NOW - timedelta(hours=hours))
MARKS = st.none() | st.builds(
    Mark,
    st.sampled_from([None, "CN", "CHUANYU", "420100", "nowhere"]),
    TEXTS,
    st.sampled_from(get_args(MarkState)),
)
IMAGES = st.none() | st.builds(Images, st.none() | st.integers(-1, 3), st.none() | st.integers(0, 3))
READINGS = st.sampled_from(
    [Reading(code, catalogue().item(code).concept, "") for code in ITEMS]
    + [Reading(None, None, "unknown"), Reading(None, "CT", "conflict"), Reading("gone", None, "")]
)


def results(times: st.SearchStrategy[datetime], **changes: Any) -> st.SearchStrategy[Result]:
    """Any result at all, with these times."""
    fields: dict[str, Any] = {
        "id": st.sampled_from("abcdef"),
        "node": st.sampled_from(["n", "m"]),
        "kind": st.sampled_from(["lab", "imaging"]),
        "institution": st.sampled_from(INSTITUTIONS),
        "local_name": TEXTS,
        "reading": READINGS,
        "identity": st.sampled_from(get_args(Identity)),
        "status": st.sampled_from(get_args(ResultStatus)),
        "performed": st.none() | times,
        "reported": st.none() | times,
        "version_key": st.sampled_from("xyz"),
        "value": TEXTS,
        "unit": TEXTS,
        "reference": TEXTS,
        "abnormal": st.booleans(),
        "images": IMAGES,
        "printed_mark": TEXTS,
        "mark": MARKS,
        "flags": st.sampled_from([(), ("completeness:no-status",), ("made:up",)]),
    }
    return st.builds(Result, **fields | changes)


good = st.one_of(
    st.builds(lab, st.sampled_from([ALBUMIN, GLUCOSE]), days_ago=st.integers(0, 40)),
    st.builds(ct, st.sampled_from([CHEST_PLAIN, CHEST_BOTH]), days_ago=st.integers(0, 40)),
)
found_here = st.lists(results(RECENT) | good, max_size=6)


def events(times: st.SearchStrategy[datetime]) -> st.SearchStrategy[tuple[Event, ...]]:
    kinds = st.sampled_from(["operation", "transfusion", "intervention", "treatment"])
    return st.lists(st.builds(Event, kinds, times), max_size=2).map(tuple)


def checks(times: st.SearchStrategy[datetime], at: st.SearchStrategy[datetime]) -> st.SearchStrategy[Check]:
    contexts = st.builds(
        Context,
        setting=st.sampled_from(["outpatient", "inpatient", "emergency"]),
        emergency=st.booleans(),
        pre_operation=st.booleans(),
        serial=st.booleans(),
        drug_treatment=st.booleans(),
        disease=st.sampled_from(["", "kashin-beck", "echinococcosis"]),
        events=events(times),
    )
    planned = st.builds(
        Planned,
        st.just("planned"),
        st.lists(st.sampled_from(ITEMS), max_size=3).map(tuple),
        st.sampled_from([None, "LFT", CHEST_BOTH]),
    )
    return st.builds(
        Check,
        at=at,
        receiver=st.sampled_from(["EX-SC-01", "EX-SC-02", "EX-HN-01"]),
        planned=st.lists(planned, max_size=2).map(tuple),
        context=contexts,
    )


asked_here = checks(RECENT, st.just(NOW))


def worst(asked: Check, found: list[Result], rule: Rule | None = None) -> dict[tuple[str, str | None], int]:
    """The place of every verdict in the order from best to worst."""
    under = with_rules(rule) if rule else catalogue()
    return {
        (v.result.id, v.serves or v.item): VERDICT_ORDER.index(v.verdict)
        for v in decide(asked, found, under).verdicts
    }


@given(checks(ANY_TIME, ANY_TIME), st.lists(results(ANY_TIME), max_size=4))
def test_no_typed_input_stops_a_decision_or_its_explanation(asked: Check, found: list[Result]) -> None:
    explained = explain(asked, found, catalogue())
    assert explained.decision == decide(asked, found, catalogue())
    assert msgspec.json.encode(explained)


@given(asked_here, found_here, st.randoms(use_true_random=False))
def test_a_decision_does_not_depend_on_the_order_of_results(
    asked: Check, found: list[Result], random: Any
) -> None:
    assert decide(asked, found, catalogue()) == decide(asked, random.sample(found, len(found)), catalogue())


@given(asked_here, found_here)
def test_every_verdict_has_a_reason_with_words_in_both_languages(asked: Check, found: list[Result]) -> None:
    for verdict in decide(asked, found, catalogue()).verdicts:
        assert verdict.reasons
        assert all(reason.zh and reason.en for reason in verdict.reasons + verdict.notes)
        main = catalogue().rule(verdict.reasons[0].rule)
        assert main.effect == verdict.verdict


@given(asked_here, found_here)
def test_every_planned_item_is_served_or_to_be_ordered_and_never_both(
    asked: Check, found: list[Result]
) -> None:
    decision = decide(asked, found, catalogue())
    recognised = {v.serves for v in decision.verdicts if v.verdict == "recognised"}
    for advice in decision.advice:
        assert set(advice.served) <= recognised
        assert not recognised & set(advice.to_order)
        assert [best.item for best in advice.best] == list(advice.served)


distinct = st.lists(good, min_size=1, max_size=4).map(
    lambda found: [
        msgspec.structs.replace(result, id=str(n), version_key=str(n)) for n, result in enumerate(found)
    ]
)


@given(asked_here, distinct, results(RECENT, id=st.just("new")))
def test_another_result_makes_no_verdict_better_but_by_counting_as_a_site_or_a_version(
    asked: Check, found: list[Result], new: Result
) -> None:
    asked = msgspec.structs.replace(asked, context=msgspec.structs.replace(asked.context, disease=""))
    before, after = worst(asked, found), worst(asked, [*found, new])
    assert all(after[key] >= place for key, place in before.items())


@given(
    asked_here, distinct, st.sampled_from(sorted(FACTS)), st.booleans(), st.sampled_from(VERDICT_ORDER[1:])
)
def test_no_condition_makes_a_verdict_better(
    asked: Check, found: list[Result], fact: str, negated: bool, effect: str
) -> None:
    zero = {"bool": "true", "int": "1", "text": "'outpatient'"}[FACTS[fact].type]
    line = condition(f"{fact} {'!=' if negated else '=='} {zero}", effect=effect)
    before, after = worst(asked, found), worst(asked, found, line)
    assert before.keys() == after.keys()
    assert all(after[key] >= place for key, place in before.items())


@given(asked_here, distinct, IMAGES)
def test_taking_images_away_makes_no_verdict_better(asked: Check, found: list[Result], fewer: Images) -> None:
    expected = {r.id: r.images.expected for r in found if r.images}
    held = min(fewer.held or 0, 120) if fewer else 0
    poorer = [
        msgspec.structs.replace(r, images=Images(held, expected[r.id])) if r.images else r for r in found
    ]
    before, after = worst(asked, found), worst(asked, poorer)
    assert all(after[key] >= place for key, place in before.items())


@given(days=st.floats(0, 29), earlier=st.floats(0, 29))
def test_a_result_inside_its_window_is_not_less_recognisable_for_having_come_earlier(
    days: float, earlier: float
) -> None:
    sooner = check(ALBUMIN, at=NOW - timedelta(days=min(days, earlier)))
    found = [lab(days_ago=max(days, earlier))]
    (late,), (soon,) = worst(check(), found).values(), worst(sooner, found).values()
    assert soon <= late
