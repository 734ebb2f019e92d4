"""A whole gateway: nodes that fail are named, what was said is told again, one question is answered once."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters import Report, Store
from gateway.model import CheckAnswer
from security.ledger import read_entry
from tests.gateway.live import NODE, OWN, PATIENT, Live, ask, audit, body, gateway_with, reading, source_of
from tests.serving import http_answer, misbehave

DEADLINE_MS = 2000
REFUSAL = http_answer(b'{"resourceType":"OperationOutcome"}', "403 Forbidden")
PAGE = http_answer(b"<html>maintenance</html>", media="text/html")
TORN = http_answer(b'{"resourceType":"Bundle","entry":[', length=4000)


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CheckAnswer]:
    """The answer of a gateway of whose seven nodes one is well."""
    folder = tmp_path_factory.mktemp("broken")
    with ExitStack() as stack:
        enter = stack.enter_context
        urls = {
            NODE: enter(source_of(folder))[0],
            "hanging": enter(misbehave(lambda _, __: None)),
            "refusing": enter(misbehave(lambda _, __: REFUSAL)),
            "unreachable": f"http://127.0.0.1:{enter(_nobody()).getsockname()[1]}",
            "page": enter(misbehave(lambda _, __: PAGE)),
            "torn": enter(misbehave(lambda _, __: TORN)),
            "failing": enter(misbehave(lambda _, __: http_answer(b"", "500 Internal Server Error"))),
        }
        nodes = [
            {"id": name, "kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 60_000}
            for name, url in urls.items()
        ]
        live: Live = enter(gateway_with(folder, nodes, deadline_ms=DEADLINE_MS))
        yield ask(live.client(), body())


@pytest.fixture(scope="module")
def reports(answer: CheckAnswer) -> dict[str, Report]:
    return {report.node: report for report in answer.nodes}


def _nobody() -> socket.socket:
    """A bound port on which nobody listens."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    return bound


def test_the_nodes_that_are_well_are_complete(answer: CheckAnswer, reports: dict[str, Report]) -> None:
    assert reports[NODE].state == "answered"
    assert [verdict.verdict for verdict in answer.verdicts] == ["recognised"]


def test_an_answer_that_lacks_a_node_says_so(answer: CheckAnswer) -> None:
    assert not answer.complete


def test_a_node_that_hangs_is_late_at_the_deadline(reports: dict[str, Report]) -> None:
    report = reports["hanging"]
    assert (report.state, report.fault) == ("late", "node")
    assert report.took_ms <= DEADLINE_MS * 1.1


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("refusing", "refused"),
        ("unreachable", "unreachable"),
        ("page", "faulty"),
        ("torn", "faulty"),
        ("failing", "faulty"),
    ],
)
def test_a_node_that_fails_is_named_with_its_state_and_fault(
    reports: dict[str, Report], name: str, state: str
) -> None:
    report = reports[name]
    assert (report.state, report.fault) == (state, "node")
    assert report.detail


@pytest.fixture(scope="module")
def remembering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway that tells again what its node said, and has another one that is slow."""
    folder = tmp_path_factory.mktemp("remembering")

    def late(_: str, __: bytes) -> bytes:
        time.sleep(0.5)
        return TORN

    with ExitStack() as stack:
        url, node = stack.enter_context(source_of(folder))
        slow = stack.enter_context(misbehave(late))
        nodes: list[dict[str, Any]] = [
            {"id": NODE, "kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 7000},
            {
                "id": "slow",
                "kind": "fhir",
                "url": slow,
                "institution": OWN,
                "timeout_ms": 5000,
                "kinds": ["imaging"],
            },
        ]
        live = stack.enter_context(gateway_with(folder, nodes, cache_s=60, cache_empty_s=60))
        live.node = node
        yield live


def heard(answer: CheckAnswer) -> Report:
    return next(report for report in answer.nodes if report.node == NODE)


def test_a_second_question_is_answered_from_what_was_said_and_recorded_as_any_other(
    remembering: Live, tmp_path: Path
) -> None:
    first = ask(remembering.client(), body())
    entries, _, requests = remembering.kept()
    second = ask(remembering.client(), body())
    assert remembering.kept()[0] > entries
    assert remembering.kept()[2] == requests
    assert [v.verdict for v in second.verdicts] == [v.verdict for v in first.verdicts] == ["recognised"]
    assert (heard(first).age_ms, heard(second).age_ms > 0, heard(second).took_ms) == (0, True, 0)
    assert audit(remembering, tmp_path) == []


def answers_after(live: Live, before: int) -> list[dict[str, Any]]:
    """The payloads of what nodes said, from an index of the ledger on."""

    async def read(store: Store) -> list[dict[str, Any]]:
        found = [read_entry(body) for body in await store.entries(before, 100)]
        kept = [await store.secret(entry.commit) for entry in found if entry.type == "answer"]
        return [msgspec.json.decode(secret.payload) for secret in kept if secret]

    return reading(live, read)


def test_evidence_says_how_old_an_answer_was_that_was_told_again(remembering: Live) -> None:
    for _ in range(2):
        before, _, _ = remembering.kept()
        age_ms = heard(ask(remembering.client(), body())).age_ms
    said = {payload["node"]: payload for payload in answers_after(remembering, before)}
    assert said[NODE]["age_ms"] == age_ms > 0
    assert "age_ms" not in said["slow"]


def test_the_same_question_twice_at_a_time_is_answered_once_and_never_as_if_it_were_whole(
    remembering: Live,
) -> None:
    now = datetime.now(UTC)
    question: dict[str, Any] = {
        "id": uuid.uuid4().hex,
        "person": {"type": "resident-id", "value": PATIENT},
        "kinds": ["imaging", "lab"],
        "since": (now - timedelta(days=90)).isoformat(),
        "at": now.isoformat(),
        "receiver": OWN,
        "budget_ms": 5000,
        "hops": 1,
    }
    client = remembering.client("peer")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.post, "/api/v1/results", json=question)
        time.sleep(0.2)
        second = pool.submit(client.post, "/api/v1/results", json=question)
        told, again = (asked.result().json()["nodes"] for asked in (first, second))
    assert {report["state"] for report in told} == {"answered", "faulty"}
    assert {(report["state"], report["fault"]) for report in again} == {("skipped", "caller")}


def test_what_happens_to_nodes_is_measured(remembering: Live) -> None:
    for _ in range(2):  # the second is told what the node said to the first
        ask(remembering.client(), body())
    text = remembering.client("operator").get("/metrics").text
    for name in ("seconds_count", "reused_total", "in_flight", "waiting", "left_alone"):
        assert f"lianren_node_{name}{{" in text
