"""Decisions on checks: what they are about, what is left open, and what a repeated request id changes."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from gateway.decisions import DecidedOut, open_results, shown_results
from gateway.demo.people import BY_KEY
from gateway.model import CheckAnswer, Coded
from gateway.outcomes import Kept
from tests.gateway.live import Live, ask, body, gateway_over_source, reading

SEVERAL, NEVER_MARKED = BY_KEY["jia"].number, BY_KEY["geng"].number
REASON = {"system": "platform-A", "code": "01"}


@pytest.fixture
def answer(his: httpx.Client) -> CheckAnswer:
    """A check with three recognised results and one that may be viewed only."""
    return asked(his)


def asked(his: httpx.Client) -> CheckAnswer:
    planned = [{"name": name} for name in ("白细胞计数", "血小板计数", "血红蛋白", "胸部CT平扫")]
    return ask(his, body(patient=SEVERAL) | {"planned": planned})


def ids(answer: CheckAnswer) -> list[str]:
    """The ids of its results, the recognised ones first."""
    return [verdict.result.id for verdict in answer.verdicts]


def send(his: httpx.Client, answer: CheckAnswer, decision: str, **fields: Any) -> httpx.Response:
    told = {"request_id": uuid.uuid4().hex, "decision": decision} | fields
    return his.post(f"/api/v1/checks/{answer.id}/decision", json=told)


def decide(his: httpx.Client, answer: CheckAnswer, decision: str, **fields: Any) -> DecidedOut:
    response = send(his, answer, decision, **fields)
    assert response.status_code == 200, response.text
    return msgspec.json.decode(response.content, type=DecidedOut)


def refused(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["field"]


def statuses(his: httpx.Client, answer: CheckAnswer) -> list[int]:
    return [item["status"] for item in his.get(f"/api/v1/reminders/{answer.id}").json()["items"]]


def test_a_decision_without_results_is_about_all_that_are_recognised(
    his: httpx.Client, answer: CheckAnswer
) -> None:
    decided = decide(his, answer, "recognise")
    assert [one.result for one in decided.outcomes] == ids(answer)[:3]
    assert {one.outcome for one in decided.outcomes} == {"accepted"}
    assert (decided.state, decided.open) == ("closed", ())


def test_a_decision_about_some_leaves_the_others_open(his: httpx.Client, answer: CheckAnswer) -> None:
    first, *others = ids(answer)[:3]
    decided = decide(his, answer, "recognise", results=[first])
    assert (decided.state, decided.open) == ("pending", tuple(others))


def test_not_to_recognise_needs_a_published_reason(his: httpx.Client, answer: CheckAnswer) -> None:
    assert refused(send(his, answer, "not_recognise")) == (422, "system")
    assert refused(send(his, answer, "not_recognise", **REASON | {"code": "97"})) == (422, "code")
    assert statuses(his, answer) == [2, 2, 2, 2]


def test_not_to_recognise_counts_as_its_reason_says(his: httpx.Client, answer: CheckAnswer) -> None:
    decided = decide(his, answer, "not_recognise", **REASON)
    assert [one.counts_as_refusal for one in decided.outcomes] == [True, True, True]
    assert statuses(his, answer) == [0, 0, 0, 2]


def test_the_rest_may_be_decided_about_otherwise(his: httpx.Client, answer: CheckAnswer) -> None:
    decide(his, answer, "recognise", results=ids(answer)[:1])
    decided = decide(his, answer, "not_recognise", **REASON)
    assert [one.result for one in decided.outcomes] == ids(answer)[1:3]
    assert statuses(his, answer) == [1, 0, 0, 2]


def test_to_cancel_closes_what_is_open_and_decides_nothing(his: httpx.Client, answer: CheckAnswer) -> None:
    decide(his, answer, "recognise", results=ids(answer)[:1])
    decided = decide(his, answer, "cancel")
    assert (len(decided.outcomes), decided.state) == (2, "closed")
    assert statuses(his, answer) == [1, 2, 2, 2]


def test_what_was_cancelled_is_opened_again_by_a_single_word_too(
    his: httpx.Client, answer: CheckAnswer
) -> None:
    decide(his, answer, "cancel")
    first = ids(answer)[0]
    said = {"result": first, "outcome": "withdrawn"}
    assert his.post(f"/api/v1/checks/{answer.id}/outcomes", json=said).status_code == 200
    assert his.get(f"/api/v1/reminders/{answer.id}").json()["open"] == 1


def test_to_cancel_where_nothing_is_open_changes_nothing(
    gateway: Live, his: httpx.Client, answer: CheckAnswer
) -> None:
    decide(his, answer, "recognise")
    kept = gateway.kept()
    assert decide(his, answer, "cancel").outcomes == ()
    assert gateway.kept() == kept


@pytest.mark.parametrize("decision", ["recognise", "not_recognise"])
def test_a_decision_may_be_withdrawn_and_made_again(
    his: httpx.Client, answer: CheckAnswer, decision: str
) -> None:
    reason = REASON if decision == "not_recognise" else {}
    decide(his, answer, decision, **reason)
    withdrawn = decide(his, answer, "withdraw")
    assert (len(withdrawn.outcomes), withdrawn.state, len(withdrawn.open)) == (3, "pending", 3)
    assert decide(his, answer, decision, **reason).state == "closed"


def test_one_of_several_is_withdrawn(his: httpx.Client, answer: CheckAnswer) -> None:
    decide(his, answer, "recognise")
    second = ids(answer)[1]
    assert decide(his, answer, "withdraw", results=[second]).open == (second,)


def test_what_was_not_decided_about_cannot_be_withdrawn(his: httpx.Client, answer: CheckAnswer) -> None:
    assert refused(send(his, answer, "withdraw")) == (422, "results")
    assert refused(send(his, answer, "withdraw", results=ids(answer)[:1])) == (422, "results[0]")


def test_the_doctor_may_recognise_what_was_only_to_be_viewed(his: httpx.Client, answer: CheckAnswer) -> None:
    decided = decide(his, answer, "recognise", results=ids(answer)[3:])
    assert (decided.outcomes[0].outcome, decided.state) == ("accepted", "pending")


def test_where_nothing_is_recognised_there_is_nothing_to_decide_about(his: httpx.Client) -> None:
    answer = ask(his, body(patient=NEVER_MARKED))
    assert refused(send(his, answer, "recognise")) == (422, "results")


def test_the_result_of_another_check_is_refused_by_its_place(his: httpx.Client, answer: CheckAnswer) -> None:
    results = [ids(answer)[0], "cq-his/Observation/other"]
    assert refused(send(his, answer, "recognise", results=results)) == (422, "results[1]")
    assert statuses(his, answer) == [2, 2, 2, 2]


def test_a_decision_sent_again_changes_nothing(gateway: Live, his: httpx.Client, answer: CheckAnswer) -> None:
    told = {"request_id": uuid.uuid4().hex, "results": ids(answer)[:1]}
    first = send(his, answer, "recognise", **told)
    kept = gateway.kept()
    assert send(his, answer, "recognise", **told).content == first.content
    assert gateway.kept() == kept


def test_a_decision_sent_again_says_what_is_open_by_now(his: httpx.Client, answer: CheckAnswer) -> None:
    told = {"request_id": uuid.uuid4().hex, "results": ids(answer)[:1]}
    decide(his, answer, "recognise", **told)
    decide(his, answer, "recognise")
    assert decide(his, answer, "recognise", **told).state == "closed"


def test_the_same_request_id_with_another_body_is_a_conflict(his: httpx.Client, answer: CheckAnswer) -> None:
    told = {"request_id": uuid.uuid4().hex}
    decide(his, answer, "recognise", **told)
    assert refused(send(his, answer, "withdraw", **told)) == (409, "request_id")


def test_the_same_request_id_for_another_check_is_a_conflict(his: httpx.Client, answer: CheckAnswer) -> None:
    told = {"request_id": uuid.uuid4().hex}
    decide(his, answer, "recognise", **told)
    assert refused(send(his, asked(his), "recognise", **told)) == (409, "request_id")


def test_one_decision_sent_ten_times_at_once_is_kept_once(
    gateway: Live, his: httpx.Client, answer: CheckAnswer
) -> None:
    told, kept = {"request_id": uuid.uuid4().hex}, gateway.kept()
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: send(his, answer, "recognise", **told).content, range(10)))
    assert len(set(answers)) == 1
    assert gateway.kept()[:2] == (kept[0] + 3, kept[1] + 3)


def test_every_outcome_of_a_decision_stands_in_the_ledger(his: httpx.Client, answer: CheckAnswer) -> None:
    decided = decide(his, answer, "recognise")
    assert all(one.ledger.index > answer.ledger.index for one in decided.outcomes)


def test_the_ledger_says_which_decision_an_outcome_is_of(
    gateway: Live, his: httpx.Client, answer: CheckAnswer
) -> None:
    entry = decide(his, answer, "cancel").outcomes[0].ledger.entry
    secret = reading(gateway, lambda store: store.secret(entry))
    assert secret is not None
    assert msgspec.json.decode(secret.payload)["decision"] == "cancel"


def test_decisions_on_several_checks_are_kept_together(his: httpx.Client) -> None:
    first, second = asked(his), asked(his)
    sent = [
        {"check": first.id, "request_id": uuid.uuid4().hex, "decision": "recognise"},
        {"check": second.id, "request_id": uuid.uuid4().hex, "decision": "not_recognise", **REASON},
    ]
    decided = his.post("/api/v1/decisions", json={"decisions": sent}).json()["decisions"]
    assert [(one["check"], one["decision"], one["state"]) for one in decided] == [
        (first.id, "recognise", "closed"),
        (second.id, "not_recognise", "closed"),
    ]


def test_a_batch_with_something_wrong_is_refused_as_a_whole(
    gateway: Live, his: httpx.Client, answer: CheckAnswer
) -> None:
    sent = [
        {"check": answer.id, "request_id": uuid.uuid4().hex, "decision": "recognise"},
        {"check": asked(his).id, "request_id": uuid.uuid4().hex, "decision": "not_recognise"},
    ]
    kept = gateway.kept()
    response = his.post("/api/v1/decisions", json={"decisions": sent})
    assert refused(response) == (422, "decisions[1].system")
    assert gateway.kept() == kept


def test_a_batch_says_which_check_is_not_found(his: httpx.Client, answer: CheckAnswer) -> None:
    sent = [
        {"check": check, "request_id": uuid.uuid4().hex, "decision": "recognise"}
        for check in (answer.id, "0" * 32)
    ]
    response = his.post("/api/v1/decisions", json={"decisions": sent})
    assert refused(response) == (404, "decisions[1].check")


def test_a_batch_divides_the_results_of_one_check(his: httpx.Client, answer: CheckAnswer) -> None:
    first, *others = ids(answer)[:3]
    sent = [
        {"check": answer.id, "request_id": uuid.uuid4().hex, "decision": "recognise", "results": [first]},
        {"check": answer.id, "request_id": uuid.uuid4().hex, "decision": "not_recognise", **REASON},
    ]
    decided = his.post("/api/v1/decisions", json={"decisions": sent}).json()["decisions"]
    assert [[one["result"] for one in decision["outcomes"]] for decision in decided] == [[first], others]


def test_a_batch_decides_once_about_a_result(his: httpx.Client, answer: CheckAnswer) -> None:
    one = {"check": answer.id, "results": ids(answer)[:1]}
    sent = [
        {**one, "request_id": uuid.uuid4().hex, "decision": "recognise"},
        {**one, "request_id": uuid.uuid4().hex, "decision": "not_recognise", **REASON},
    ]
    response = his.post("/api/v1/decisions", json={"decisions": sent})
    assert refused(response) == (422, "decisions[1].results[0]")


def test_a_request_id_that_stands_twice_in_a_batch_is_refused(his: httpx.Client, answer: CheckAnswer) -> None:
    sent = [
        {"check": one.id, "request_id": "twice-in-a-batch", "decision": "recognise"}
        for one in (answer, asked(his))
    ]
    response = his.post("/api/v1/decisions", json={"decisions": sent})
    assert refused(response) == (422, "decisions[1].request_id")


def test_a_decision_may_be_sent_again_alone_that_came_in_a_batch(
    gateway: Live, his: httpx.Client, answer: CheckAnswer
) -> None:
    one = {"request_id": uuid.uuid4().hex, "decision": "recognise"}
    first = his.post("/api/v1/decisions", json={"decisions": [{"check": answer.id, **one}]}).json()
    kept = gateway.kept()
    assert his.post(f"/api/v1/checks/{answer.id}/decision", json=one).json() == first["decisions"][0]
    assert gateway.kept() == kept


def test_the_check_of_another_institution_is_not_found(gateway: Live, answer: CheckAnswer) -> None:
    assert send(gateway.client("other"), answer, "recognise").status_code == 404


def test_an_auditor_decides_nothing(gateway: Live, answer: CheckAnswer) -> None:
    assert send(gateway.client("auditor"), answer, "recognise").status_code == 403


def test_statistics_count_a_decision_as_they_count_outcomes(tmp_path: Path) -> None:
    with gateway_over_source(tmp_path) as fresh:  # of its own: which counts are hidden depends on all others
        his = fresh.client()

        def accepted() -> int:
            days = {"from": "2020-01-01", "to": "2100-01-01", "by": "item"}
            told = fresh.client("auditor").get("/api/v1/statistics", params=days)
            return int(told.json()["total"]["counts"]["accepted"])

        for _ in range(5):  # small counts are hidden
            decide(his, asked(his), "recognise")
        before = accepted()
        answers = [asked(his), asked(his)]
        for answer in answers:
            decide(his, answer, "recognise")
        assert accepted() == before + 6
        for answer in answers:
            decide(his, answer, "withdraw")
        assert accepted() == before


def test_what_is_perhaps_another_persons_is_no_result_to_decide_about(answer: CheckAnswer) -> None:
    first, *others = answer.verdicts
    withheld = structs.replace(first, result=structs.replace(first.result, institution=Coded("", "")))
    shown = shown_results(structs.replace(answer, verdicts=(withheld, *others)))
    assert [*shown] == ids(answer)[1:]


def test_the_very_same_result_of_two_nodes_is_decided_about_once(answer: CheckAnswer) -> None:
    first, second, *others = answer.verdicts
    one, two = first.result.id, second.result.id
    twins = (structs.replace(first, also=(two,)), structs.replace(second, also=(one,)), *others)
    both = structs.replace(answer, verdicts=twins)
    stands = {
        one: Kept(
            id="1",
            check=answer.id,
            result=one,
            outcome="accepted",
            at=answer.answered_at,
            ledger=answer.ledger,
        )
    }
    assert open_results(both, {}) == (one, ids(answer)[2])
    assert open_results(both, stands) == (ids(answer)[2],)
    assert open_results(both, {two: stands[one]}) == (ids(answer)[2],)


def test_of_the_very_same_result_of_two_nodes_what_was_taken_back_at_one_is_not_taken_back_again(
    twins: Live,
) -> None:
    his = twins.client()
    answer = ask(his, body())
    one, other = ids(answer)
    assert decide(his, answer, "recognise", results=[one]).state == "closed"
    assert decide(his, answer, "withdraw", results=[other]).open == (one,)
    assert refused(send(his, answer, "withdraw")) == (422, "results")


steps = st.lists(
    st.tuples(
        st.sampled_from(["recognise", "not_recognise", "cancel", "withdraw"]), st.sets(st.integers(0, 2))
    ),
    max_size=4,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_after_any_decisions_the_open_results_are_those_without_a_word(
    his: httpx.Client, steps: list[tuple[str, set[int]]]
) -> None:
    answer = asked(his)
    results, closed = ids(answer)[:3], set[str]()
    for decision, places in steps:
        named = [results[place] for place in sorted(places)]
        response = send(his, answer, decision, results=named, **REASON)
        if response.status_code != 200:
            continue
        about = {one["result"] for one in response.json()["outcomes"]}
        closed = closed - about if decision == "withdraw" else closed | about
        assert response.json()["open"] == [result for result in results if result not in closed]
