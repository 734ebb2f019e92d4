"""Evidence: what an exchange leaves in the ledger; and without a ledger there is no answer."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from adapters import Store
from gateway.evidence import digest_of
from recognition import digest
from security.ledger import Entry, opens, read_entry
from tests.gateway.brokers import result
from tests.gateway.live import Live, ask, body, reading


def entries(gateway: Live, after: int) -> list[tuple[Entry, bytes, bytes, bytes]]:
    """Entry, body, salt and payload of everything from an index on."""

    async def read(store: Store) -> list[tuple[Entry, bytes, bytes, bytes]]:
        found = []
        for one in await store.entries(after, 1000):
            entry = read_entry(one)
            if secret := await store.secret(entry.commit):
                found.append((entry, one, secret.salt, secret.payload))
        return found

    return reading(gateway, read)


@contextmanager
def unwritable(store: Path) -> Iterator[None]:
    """While another process holds the write lock, nothing can be committed."""
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


def test_a_check_leaves_question_answer_and_verdict_bound_to_the_question(
    gateway: Live, his: httpx.Client
) -> None:
    ask(his, body())  # so that the result has its mark already
    before = gateway.kept()[0]
    answer = ask(his, body())
    (question, *_), *others = entries(gateway, before)
    assert [question.type, *(entry.type for entry, *_ in others)] == ["question", "answer", "verdict"]
    assert {entry.binds for entry, *_ in others} == {question.commit}
    assert others[-1][0].commit == answer.ledger.entry


def test_the_digest_of_a_result_is_not_remembered_beyond_the_result() -> None:
    one = result()
    assert digest_of(one) == digest_of(result()) == digest(one)
    gone = weakref.ref(one)
    del one
    assert gone() is None


def test_the_payload_of_every_entry_opens_its_commitment(gateway: Live, his: httpx.Client) -> None:
    before = gateway.kept()[0]
    ask(his, body())
    assert all(opens(raw, salt, payload) for _, raw, salt, payload in entries(gateway, before))


def test_an_outcome_is_bound_to_the_verdict_it_is_about(gateway: Live, his: httpx.Client) -> None:
    answer = ask(his, body())
    before = gateway.kept()[0]
    outcome = {"result": answer.verdicts[0].result.id, "outcome": "accepted"}
    his.post(f"/api/v1/checks/{answer.id}/outcomes", json=outcome)
    ((entry, *_),) = entries(gateway, before)
    assert (entry.type, entry.binds) == ("outcome", answer.ledger.entry)


def test_no_entry_and_no_payload_holds_a_persons_number(gateway: Live, his: httpx.Client) -> None:
    asked = body()
    ask(his, asked)
    number = asked["patient"]["value"].encode()
    assert not [entry for entry, raw, _, payload in entries(gateway, 0) if number in raw + payload]


def test_one_person_at_two_visits_has_one_pseudonym_in_payloads_only(
    gateway: Live, his: httpx.Client
) -> None:
    before = gateway.kept()[0]
    ask(his, body())
    ask(his, body())
    found = entries(gateway, before)
    persons = {msgspec.json.decode(payload)["person"] for e, _, _, payload in found if e.type == "question"}
    (pseudonym,) = persons
    assert not [entry for entry, raw, *_ in found if pseudonym.encode() in raw]


@pytest.mark.slow
def test_without_a_ledger_there_is_no_answer_and_nothing_is_kept(gateway: Live, his: httpx.Client) -> None:
    asked, before = body(), gateway.kept()[:2]
    with unwritable(gateway.store):
        refused = his.post("/api/v1/checks", json=asked)
    problem = refused.json()
    assert (refused.status_code, problem["code"], problem["fault"]) == (
        503,
        "evidence-unavailable",
        "gateway",
    )
    assert int(refused.headers["retry-after"]) > 0
    assert "verdicts" not in problem
    assert gateway.kept()[:2] == before
    assert gateway.events("evidence_unavailable")
    assert ask(his, asked).complete  # the same request id, once the ledger can be written again
