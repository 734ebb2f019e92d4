"""What the doctor did: which outcomes are kept, which reasons count as refusals, and what is refused."""

from __future__ import annotations

import hashlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest

from adapters.store import Document
from gateway.demo.people import BY_KEY
from gateway.ids import new_id
from gateway.model import CheckAnswer, OutcomeIn, OutcomeOut
from tests.gateway.live import Live, ask, body, reading


@pytest.fixture
def answer(his: httpx.Client) -> CheckAnswer:
    return ask(his, body())


def send(his: httpx.Client, answer: CheckAnswer, **fields: Any) -> httpx.Response:
    outcome = {"result": answer.verdicts[0].result.id} | fields
    return his.post(f"/api/v1/checks/{answer.id}/outcomes", json=outcome)


def kept(response: httpx.Response) -> OutcomeOut:
    assert response.status_code == 200, response.text
    return msgspec.json.decode(response.content, type=OutcomeOut)


def refused(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["field"]


@pytest.mark.parametrize("outcome", ["accepted", "viewed", "cited", "withdrawn"])
def test_what_is_no_refusal_needs_no_reason_and_counts_as_nothing(
    his: httpx.Client, answer: CheckAnswer, outcome: str
) -> None:
    recorded = kept(send(his, answer, outcome=outcome))
    assert (recorded.outcome, recorded.check) == (outcome, answer.id)
    assert recorded.counts_as_refusal is msgspec.UNSET


def test_an_outcome_stands_in_the_ledger_behind_its_verdict(his: httpx.Client, answer: CheckAnswer) -> None:
    assert kept(send(his, answer, outcome="accepted")).ledger.index > answer.ledger.index


def test_a_declined_result_with_a_reason_counts_as_a_refusal(his: httpx.Client, answer: CheckAnswer) -> None:
    recorded = kept(send(his, answer, outcome="declined", system="platform-A", code="01"))
    assert recorded.counts_as_refusal is True


@pytest.mark.parametrize(("code", "text"), [("98", ""), ("99", "2型糖尿病")])
def test_codes_98_and_99_do_not_count_as_refusals(
    his: httpx.Client, answer: CheckAnswer, code: str, text: str
) -> None:
    recorded = kept(send(his, answer, outcome="declined", system="platform-A", code=code, text=text))
    assert recorded.counts_as_refusal is False


@pytest.mark.parametrize("text", ["", " ", "\u3000"])
def test_code_99_needs_the_disease_in_words(his: httpx.Client, answer: CheckAnswer, text: str) -> None:
    response = send(his, answer, outcome="declined", system="platform-A", code="99", text=text)
    assert refused(response) == (422, "text")


@pytest.mark.parametrize(
    ("reason", "field"),
    [
        ({}, "system"),
        ({"system": "platform-A", "code": "97"}, "code"),
        ({"system": "platform-X", "code": "01"}, "system"),
        ({"code": "01"}, "system"),
        ({"system": "platform-A", "code": "1"}, "code"),
    ],
)
def test_a_declined_result_needs_a_published_reason(
    his: httpx.Client, answer: CheckAnswer, reason: dict[str, str], field: str
) -> None:
    assert refused(send(his, answer, outcome="declined", **reason)) == (422, field)


def test_an_outcome_sent_again_is_kept_once(gateway: Live, his: httpx.Client, answer: CheckAnswer) -> None:
    first = send(his, answer, outcome="cited").json()
    kept = gateway.kept()
    assert send(his, answer, outcome="cited").json() == first
    assert gateway.kept() == kept


def test_an_outcome_before_the_check_is_refused(his: httpx.Client, answer: CheckAnswer) -> None:
    assert refused(send(his, answer, outcome="cited", at="2001-01-01T00:00:00+08:00")) == (422, "at")


def test_the_result_of_another_check_is_refused(his: httpx.Client, answer: CheckAnswer) -> None:
    other = ask(his, body("尿葡萄糖定量", patient=BY_KEY["chou"].number))
    response = send(his, answer, result=other.verdicts[0].result.id, outcome="accepted")
    assert refused(response) == (422, "result")


def test_the_check_of_another_institution_is_not_found(gateway: Live, answer: CheckAnswer) -> None:
    response = send(gateway.client("other"), answer, outcome="accepted")
    assert (response.status_code, response.json()["code"]) == (404, "not-found")


def test_an_auditor_records_no_outcome(gateway: Live, answer: CheckAnswer) -> None:
    assert send(gateway.client("auditor"), answer, outcome="accepted").status_code == 403


def test_an_unknown_outcome_is_refused(his: httpx.Client, answer: CheckAnswer) -> None:
    assert refused(send(his, answer, outcome="ignored")) == (422, "outcome")


def test_an_outcome_in_the_future_is_refused(his: httpx.Client, answer: CheckAnswer) -> None:
    response = send(his, answer, outcome="accepted", at="2199-01-01T00:00:00+08:00")
    assert refused(response) == (422, "at")


def test_a_refused_outcome_leaves_nothing_behind(
    gateway: Live, his: httpx.Client, answer: CheckAnswer
) -> None:
    before = gateway.kept()
    send(his, answer, outcome="declined", system="platform-A", code="97")
    assert gateway.kept() == before


def test_what_is_said_again_after_it_was_taken_back_is_a_new_word(
    gateway: Live, his: httpx.Client, answer: CheckAnswer
) -> None:
    first = kept(send(his, answer, outcome="accepted"))
    kept(send(his, answer, outcome="withdrawn"))
    before = gateway.kept()
    again = kept(send(his, answer, outcome="accepted"))
    assert again.id != first.id
    assert gateway.kept()[:2] == (before[0] + 1, before[1] + 1)


def test_an_outcome_sent_ten_times_at_once_is_kept_once(
    gateway: Live, his: httpx.Client, answer: CheckAnswer
) -> None:
    before = gateway.kept()
    with ThreadPoolExecutor(10) as pool:
        sent = list(pool.map(lambda _: send(his, answer, outcome="accepted"), range(10)))
    assert {response.status_code for response in sent} == {200}
    assert len({response.content for response in sent}) == 1
    assert gateway.kept()[:2] == (before[0] + 1, before[1] + 1)


def test_words_that_change_at_once_are_all_kept(his: httpx.Client, answer: CheckAnswer) -> None:
    def flip(number: int) -> set[int]:
        words = ("accepted", "withdrawn") if number % 2 else ("withdrawn", "accepted")
        return {send(his, answer, outcome=word).status_code for word in words * 4}

    with ThreadPoolExecutor(16) as pool:
        assert set().union(*pool.map(flip, range(16))) == {200}


def kept_by_0_4(gateway: Live, answer: CheckAnswer, **fields: Any) -> OutcomeOut:
    """An outcome as a version before 0.5 kept it: its id does not say of which check it is."""
    now = datetime.now(UTC)
    said = OutcomeIn(result=answer.verdicts[0].result.id, **fields)
    one = OutcomeOut(
        id=new_id(now),
        check=answer.id,
        result=said.result,
        outcome=said.outcome,
        at=said.at or now,
        ledger=answer.ledger,
    )
    key = f"{answer.id}|{hashlib.sha256(msgspec.json.encode(said)).hexdigest()}"
    document = Document(kind="outcome", id=one.id, key=key, body=msgspec.json.encode(one), at=now)
    reading(gateway, lambda store: store.commit([], [document]))
    return one


def test_what_a_version_before_kept_is_still_the_doctors_word(
    gateway: Live, his: httpx.Client, answer: CheckAnswer
) -> None:
    kept_by_0_4(gateway, answer, outcome="accepted")
    read = his.get(f"/api/v1/reminders/{answer.id}").json()
    assert (read["items"][0]["status"], read["open"]) == (1, 0)


def test_what_a_version_before_kept_is_not_kept_again(
    gateway: Live, his: httpx.Client, answer: CheckAnswer
) -> None:
    one = kept_by_0_4(gateway, answer, outcome="accepted")
    before = gateway.kept()
    assert kept(send(his, answer, outcome="accepted")).id == one.id
    assert gateway.kept() == before


def test_what_a_version_before_kept_can_be_withdrawn(
    gateway: Live, his: httpx.Client, answer: CheckAnswer
) -> None:
    kept_by_0_4(gateway, answer, outcome="accepted")
    told = {"request_id": uuid.uuid4().hex, "decision": "withdraw"}
    withdrawn = his.post(f"/api/v1/checks/{answer.id}/decision", json=told)
    assert (withdrawn.status_code, len(withdrawn.json()["open"])) == (200, 1)


def test_the_last_word_goes_by_the_time_of_the_decision(his: httpx.Client, answer: CheckAnswer) -> None:
    now = datetime.now(UTC)
    kept(send(his, answer, outcome="accepted", at=now.isoformat()))
    earlier = (now - timedelta(minutes=1)).isoformat()
    kept(send(his, answer, outcome="withdrawn", at=earlier))
    assert his.get(f"/api/v1/reminders/{answer.id}").json()["items"][0]["status"] == 1


def test_a_word_on_one_of_two_that_are_the_same_result_follows_that_on_the_other(
    twins: Live,
) -> None:
    his = twins.client()
    answer = ask(his, body())
    one, other = (verdict.result.id for verdict in answer.verdicts)
    assert answer.verdicts[0].also == (other,)
    seen = []
    for result, word in ((one, "accepted"), (other, "withdrawn"), (one, "accepted"), (one, "accepted")):
        id_ = kept(send(his, answer, result=result, outcome=word)).id
        seen.append((id_, his.get(f"/api/v1/reminders/{answer.id}").json()["items"][0]["status"]))
    ids, statuses = zip(*seen, strict=True)
    assert statuses == (1, 2, 1, 1)
    assert len({*ids}) == 3  # the last is a repeat


def test_the_ledger_names_the_document_that_is_erased_with_it(
    gateway: Live, his: httpx.Client, answer: CheckAnswer
) -> None:
    recorded = kept(send(his, answer, outcome="viewed"))
    secret = reading(gateway, lambda store: store.secret(recorded.ledger.entry))
    assert secret is not None
    assert msgspec.json.decode(secret.payload)["id"] == recorded.id
    assert reading(gateway, lambda store: store.document("outcome", recorded.id)) is not None


def test_the_outcomes_of_a_check_lie_together(his: httpx.Client, answer: CheckAnswer) -> None:
    recorded = kept(send(his, answer, outcome="accepted"))
    assert recorded.id.startswith(f"{answer.id}.")
    assert len(recorded.id) <= 64  # a FHIR id
