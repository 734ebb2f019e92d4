"""Properties of the whole decision."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import UnknownEntry
from recognition import Images, Mark, Planned, Reading, decide, digest
from recognition.model import VERDICT_ORDER, Check
from tests.recognition.cases import (
    ALBUMIN,
    CHEST_BOTH,
    CHEST_PLAIN,
    NOW,
    POTASSIUM,
    catalogue,
    check,
    ct,
    judged,
    lab,
)

results = st.builds(
    lab,
    st.sampled_from([ALBUMIN, POTASSIUM]),
    days_ago=st.floats(0, 60),
    id=st.uuids().map(str),
    status=st.sampled_from(["final", "corrected", "preliminary"]),
    mark=st.sampled_from([None, Mark("CN", "全国HR", "valid"), Mark("420100", "武汉HR", "valid")]),
    version_key=st.sampled_from(["a", "b", "c"]),
    reading=st.sampled_from(
        [Reading(ALBUMIN, "", ""), Reading(POTASSIUM, "", ""), Reading(None, None, "unknown")]
    ),
)
lists_of_results = st.lists(results, max_size=6, unique_by=lambda r: r.id)


@given(lists_of_results, st.randoms(use_true_random=False))
def test_verdicts_do_not_depend_on_the_order_of_results(found, random) -> None:  # type: ignore[no-untyped-def]
    shuffled = random.sample(found, len(found))
    asked = check(ALBUMIN, POTASSIUM)
    assert decide(asked, found, catalogue()) == decide(asked, shuffled, catalogue())


@given(lists_of_results)
def test_every_verdict_has_a_reason_with_words_in_both_languages(found) -> None:  # type: ignore[no-untyped-def]
    for verdict in decide(check(ALBUMIN, POTASSIUM), found, catalogue()).verdicts:
        assert verdict.reasons
        assert all(reason.zh and reason.en for reason in verdict.reasons)


@given(days=st.floats(0, 29), earlier=st.floats(0, 29))
def test_a_result_inside_its_window_is_not_less_recognisable_for_having_come_earlier(
    days: float, earlier: float
) -> None:
    asked_sooner = check(ALBUMIN, at=NOW - timedelta(days=min(days, earlier)))
    result = lab(days_ago=max(days, earlier))
    later, sooner = judged(result), judged(result, asked_sooner)
    assert VERDICT_ORDER.index(sooner.verdict) <= VERDICT_ORDER.index(later.verdict)


def test_advice_names_what_is_served_and_what_is_left_to_order() -> None:
    panel = catalogue().panels["LFT"]
    found = [lab(code, id=code) for code in panel.members if code not in ("1500104A", "1500204A")]
    asked = Check(at=NOW, receiver="EX-SC-01", planned=(Planned(panel.name, panel.members, "LFT"),))
    advice = decide(asked, found, catalogue()).advice[0]
    assert (len(advice.served), set(advice.to_order)) == (10, {"1500104A", "1500204A"})


def test_one_study_may_serve_for_two_planned_examinations() -> None:
    decision = decide(check(CHEST_PLAIN, CHEST_BOTH), [ct(CHEST_BOTH)], catalogue())
    assert decision.advice[0].to_order == ()


def test_a_result_of_another_kind_does_not_appear() -> None:
    assert decide(check(CHEST_PLAIN), [lab()], catalogue()).verdicts == ()


def test_another_body_part_does_not_appear() -> None:
    head = next(i.code for i in catalogue().items.values() if i.concept.startswith("CT|颅脑|"))
    assert decide(check(CHEST_PLAIN), [ct(head)], catalogue()).verdicts == ()


def test_the_best_verdict_comes_first() -> None:
    gone = ct(id="gone", images=Images(0, 10), version_key="gone")
    verdicts = decide(check(CHEST_PLAIN), [gone, ct()], catalogue()).verdicts
    assert [v.verdict for v in verdicts] == ["recognised", "not_recognised"]


def test_an_unknown_receiver_is_an_error_and_not_an_empty_answer() -> None:
    with pytest.raises(UnknownEntry, match="institution"):
        decide(check(ALBUMIN, receiver="NOBODY"), [], catalogue())


def test_the_digest_follows_the_facts_and_not_our_reading_of_them() -> None:
    result = lab()
    assert digest(result) == digest(msgspec.structs.replace(result, reading=Reading(None, None, "unknown")))
    assert digest(result) != digest(msgspec.structs.replace(result, value="41.20"))


def test_the_digest_is_taken_over_rfc_8785_bytes() -> None:
    import json

    import rfc8785

    from recognition import facts

    result = lab(value="<0.1", local_name='白蛋白"\\\n\x01')
    assert facts(result) == rfc8785.dumps(json.loads(facts(result)))
