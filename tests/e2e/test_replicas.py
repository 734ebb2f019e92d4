"""Replicas of one gateway over a real PostgreSQL and a real Redis, as in production.

Two of them in this process, for what they know of each other; three as processes of their own under load, of
which one is killed.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from gateway.demo.peers import postgres, redis
from gateway.demo.people import check_digit
from gateway.demo.processes import Peer, wait_until
from gateway.source import create_source
from tests.e2e.processes import Fleet, asking, assert_kept, client_of, fleet, ward_client
from tests.gateway.live import NODE, OWN, Counted, Live, ask, body, gateway_with, source_of, started
from tests.gateway.parcels import NODE as INDEX
from tests.gateway.publishing import SECONDS, config_of, edition, published, soon, states, until, version_of
from tests.gateway.test_review import confirm, met, new_name, planned, queue, revoke
from tests.peers import needed
from tests.serving import serve

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("replicas")]

Stores = tuple[Peer, Peer]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    folder = tmp_path_factory.mktemp("stores")
    with needed(), ExitStack() as stack:
        yield stack.enter_context(postgres(folder)), stack.enter_context(redis(folder))


@pytest.fixture(scope="module")
def both(stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Live, Live]]:
    folder = tmp_path_factory.mktemp("gateway")
    database, cache = stores
    with ExitStack() as stack:
        url, _ = stack.enter_context(source_of(folder))
        nodes: list[dict[str, Any]] = [
            {"id": NODE, "kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 7000},
            {"id": INDEX, "kind": "published", "institution": OWN},
        ]
        one: Live = stack.enter_context(
            gateway_with(folder, nodes, store=database.url, redis=cache.url, catalogue_poll_s=1)
        )
        other = stack.enter_context(started(one.settings, one.tokens))
        yield one, other


@pytest.fixture(scope="module")
def replicas(both: tuple[Live, Live]) -> tuple[httpx.Client, httpx.Client]:
    return both[0].client(), both[1].client()


def test_an_answer_of_one_replica_is_repeated_by_the_other(
    replicas: tuple[httpx.Client, httpx.Client],
) -> None:
    asked = body()
    assert ask(replicas[0], asked) == ask(replicas[1], asked)


def test_a_mark_issued_by_one_replica_is_used_by_the_other(
    replicas: tuple[httpx.Client, httpx.Client],
) -> None:
    marks = [{v.mark.id for v in ask(client, body()).verdicts if v.mark} for client in replicas]
    assert marks[0] == marks[1] != set()


def test_what_both_replicas_create_by_one_identifier_at_once_is_created_once(both: tuple[Live, Live]) -> None:
    publishers = [live.client("publisher") for live in both]
    for _ in range(5):
        stated = {"system": "urn:x", "value": uuid.uuid4().hex}
        entry = {
            "resource": {"resourceType": "Patient", "identifier": [stated]},
            "request": {
                "method": "POST",
                "url": "Patient",
                "ifNoneExist": f"identifier=urn:x|{stated['value']}",
            },
        }
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
        with ThreadPoolExecutor(8) as threads:
            sent = [threads.submit(publishers[n % 2].post, "/fhir", json=bundle) for n in range(8)]
        told = [one.result().json()["entry"][0]["response"] for one in sent]
        assert len({one["location"] for one in told}) == 1
        assert sorted(one["status"] for one in told) == ["200 OK"] * 7 + ["201 Created"]


def test_one_request_id_at_both_replicas_at_once_has_one_answer(
    replicas: tuple[httpx.Client, httpx.Client],
) -> None:
    asked = body()
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda client: ask(client, asked), replicas)
    assert first == second


def at_once(replicas: tuple[httpx.Client, httpx.Client], path: str, *sent: dict[str, Any]) -> list[Any]:
    """The answers to these calls, each sent five times to either replica, all at once."""
    calls = [(client, one) for one in sent for client in replicas * 5]
    with ThreadPoolExecutor(len(calls)) as pool:
        answers = list(pool.map(lambda call: call[0].post(path, json=call[1]), calls))
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
    return [answer.json() for answer in answers]


def test_a_reminder_at_both_replicas_at_once_is_one_check(
    replicas: tuple[httpx.Client, httpx.Client],
) -> None:
    asked = {name: value for name, value in body().items() if name != "planned"} | {"moment": "reception"}
    reminders = at_once(replicas, "/api/v1/reminders", asked)
    assert all(one == reminders[0] for one in reminders)


def test_a_decision_at_both_replicas_at_once_is_kept_once(
    replicas: tuple[httpx.Client, httpx.Client],
) -> None:
    answer = ask(replicas[0], body())
    told = {"request_id": uuid.uuid4().hex, "decision": "recognise"}
    decided = at_once(replicas, f"/api/v1/checks/{answer.id}/decision", told)
    assert all(one == decided[0] for one in decided)
    assert decided[0]["state"] == "closed"


def test_two_decisions_with_one_request_id_at_both_replicas_at_once_are_one_and_a_conflict(
    replicas: tuple[httpx.Client, httpx.Client],
) -> None:
    answer = ask(replicas[0], body())
    told = {"request_id": uuid.uuid4().hex, "results": [answer.verdicts[0].result.id]}
    decisions = [told | {"decision": decision} for decision in ("recognise", "cancel")]
    path = f"/api/v1/checks/{answer.id}/decision"
    with ThreadPoolExecutor(2) as pool:
        sent = pool.map(lambda one, client: client.post(path, json=one), decisions, replicas)
        assert sorted(one.status_code for one in sent) == [200, 409]


def test_words_that_change_at_both_replicas_at_once_are_all_kept(
    replicas: tuple[httpx.Client, httpx.Client],
) -> None:
    answer = ask(replicas[0], body())
    words = [{"result": answer.verdicts[0].result.id, "outcome": one} for one in ("accepted", "withdrawn")]
    for _ in range(5):
        at_once(replicas, f"/api/v1/checks/{answer.id}/outcomes", *words)


def test_many_checks_at_both_replicas_leave_a_ledger_without_gaps(
    replicas: tuple[httpx.Client, httpx.Client],
) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: ask(replicas[n % 2], body()), range(24)))
    indexes = [answer.ledger.index for answer in answers]
    assert len(set(indexes)) == 24
    size = int(replicas[0].get("/ledger/checkpoint").text.splitlines()[1])
    proof = replicas[1].get("/ledger/proof", params={"index": max(indexes), "size": size})
    assert proof.status_code == 200


def test_the_editions_of_the_first_start_are_published_once(
    replicas: tuple[httpx.Client, httpx.Client],
) -> None:
    one, other = (client.get("/api/v1/catalogues").json()["editions"] for client in replicas)
    assert one == other
    assert {edition["state"] for edition in one} == {"in_force"}


def test_both_replicas_change_over_in_the_same_moment(
    both: tuple[Live, Live], stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIANREN_STORE", stores[0].url)
    cut, clients = soon(4), [live.client() for live in both]
    published(edition(tmp_path, "1", cut), config_of(both[0], tmp_path))
    until(lambda: all(states(client).get("ex-lab@1") == "announced" for client in clients), 3)

    def go_on(number: int) -> list[tuple[datetime, bool]]:
        seen = []
        while datetime.now(UTC) < cut + 0.5 * SECONDS:
            answer = ask(clients[number % 2], body())
            seen.append((answer.answered_at, "ex-lab@1" in answer.catalogue.version))
        return seen

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(go_on, range(2))
    for seen in (one, other):
        assert {new for _, new in seen} == {False, True}
        assert [at for at, new in seen if new != (at >= cut)] == []
    assert version_of(clients[0]) == version_of(clients[1])


def test_two_persons_at_two_replicas_confirm_a_name_for_both_and_take_it_back(
    both: tuple[Live, Live],
) -> None:
    one, other = both
    name = new_name()
    review = met(one.client(), name)
    assert met(other.client(), name) == review
    assert confirm(one.client("steward"), review).state == "waiting"
    mapping = confirm(other.client("second"), review)
    assert mapping.state == "in_force"
    until(lambda: ask(one.client(), planned(name)).unnamed == (), 4)
    check = ask(other.client(), planned(name)).id
    decisions = revoke(one.client("steward"), mapping.id).decisions
    assert check in {decision.check for decision in decisions}
    until(lambda: ask(other.client(), planned(name)).unnamed != (), 4)
    (row,) = [n for g in queue(other.client("steward")).groups for n in g.names if n.id == review]
    assert row.count >= 3


def test_the_two_persons_may_confirm_at_both_replicas_in_one_moment(both: tuple[Live, Live]) -> None:
    review = met(both[0].client(), new_name())
    stewards = both[0].client("steward"), both[1].client("second")
    with ThreadPoolExecutor(2) as pool:
        states = list(pool.map(lambda steward: confirm(steward, review).state, stewards))
    assert sorted(states) == ["in_force", "waiting"]


def test_without_its_database_a_gateway_is_not_ready_and_answers_nothing(
    stores: Stores, replicas: tuple[httpx.Client, httpx.Client]
) -> None:
    stores[0].stop()
    assert replicas[0].get("/health/ready").status_code == 503
    refused = replicas[0].post("/api/v1/checks", json=body())
    assert (refused.status_code, refused.json()["fault"]) == (503, "gateway")
    assert "127.0.0.1" not in refused.text


# Three replicas as processes


class Watched(Counted):
    """A node that counts its requests, and takes the time that it is told to take."""

    seconds = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += scope["type"] == "http"
        await asyncio.sleep(self.seconds if scope["type"] == "http" else 0)
        await self._app(scope, receive, send)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Watched]]:
    """The node of the three: its URL, and what it is asked."""
    folder = tmp_path_factory.mktemp("source")
    with source_of(folder):  # fills the file that the watched one serves
        node = Watched(create_source(folder / f"{NODE}.sqlite3", institution=OWN))
    with serve(node) as url:
        yield url, node


@pytest.fixture(scope="module")
def three(source: tuple[str, Watched], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("three")
    with needed(), ExitStack() as stack, pytest.MonkeyPatch.context() as environment:
        environment.setenv("LIANREN_STORE", stack.enter_context(postgres(folder)).url)
        environment.setenv("LIANREN_REDIS", stack.enter_context(redis(folder)).url)
        node = {"id": NODE, "kind": "fhir", "url": source[0], "institution": OWN, "timeout_ms": 7000}
        clients = [ward_client("his"), ward_client("few", 60)]
        yield stack.enter_context(fleet(folder, 3, [node], clients=clients, cache_s=2.0, cache_empty_s=1.0))


def test_one_request_id_at_three_processes_at_once_has_one_answer(three: Fleet) -> None:
    with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
        clients = [stack.enter_context(client_of(url)) for url in three.urls]
        for _ in range(10):
            asked = body()
            first, *others = pool.map(lambda client, asked=asked: ask(client, asked), clients)
            assert others == [first, first]


def test_what_three_processes_are_asked_at_once_the_node_is_asked_once(
    three: Fleet, source: tuple[str, Watched]
) -> None:
    with ExitStack() as stack, ThreadPoolExecutor(6) as pool:
        clients = [stack.enter_context(client_of(url)) for url in three.urls]
        numbers = [f"9900001900010120{n}" + check_digit(f"9900001900010120{n}") for n in range(2)]
        before = source[1].requests
        ask(clients[0], body(patient=numbers[0]))
        alone = source[1].requests - before
        source[1].seconds = 0.5  # so that all ask before the first has its answer
        answers = list(pool.map(lambda n: ask(clients[n % 3], body(patient=numbers[1])), range(6)))
    source[1].seconds = 0.0
    assert source[1].requests - before == 2 * alone
    assert {(answer.complete, answer.verdicts) for answer in answers} == {(True, ())}


def test_three_processes_grant_a_client_its_requests_once(three: Fleet) -> None:
    with ExitStack() as stack, ThreadPoolExecutor(6) as pool:
        clients = [stack.enter_context(client_of(url, "few")) for url in three.urls]
        answers = list(pool.map(lambda n: clients[n % 3].get("/api/v1/checks/none").status_code, range(120)))
    assert set(answers) == {404, 429}
    assert 50 <= answers.count(404) <= 60


def test_a_replica_that_hangs_while_it_asks_costs_the_others_time_and_no_answer(
    three: Fleet, source: tuple[str, Watched]
) -> None:
    number = "99000019000101210"
    asked = body(patient=number + check_digit(number))
    with client_of(three.urls[0]) as first, client_of(three.urls[1]) as second, ThreadPoolExecutor(1) as pool:
        before, source[1].seconds = source[1].requests, 1.0
        hanging = pool.submit(ask, first, asked)
        wait_until(lambda: source[1].requests > before, 5)
        three.replicas[0].signal(SIGSTOP)
        source[1].seconds = 0.0
        try:
            begun = time.monotonic()
            answer = ask(second, asked)
            took = time.monotonic() - begun
        finally:
            three.replicas[0].signal(SIGCONT)
        assert hanging.result() == answer
    assert (answer.complete, answer.verdicts) == (True, ())
    assert took < 8  # the deadline of a check


def test_a_killed_replica_loses_no_acknowledged_decision(three: Fleet, tmp_path: Path) -> None:
    with asking(three.urls, 9) as wards:
        wards.go_on(60)
        three.replicas[1].signal(SIGKILL)
        wards.go_on(60)
    assert wards.refused == {}
    assert 0 < len(wards.unanswered) <= 9
    with client_of(three.urls[0]) as client:
        for asked in wards.unanswered:
            assert ask(client, asked) == ask(client, asked)
    assert_kept(three.config, three.urls[2], wards.answers, tmp_path)
