"""Under load a database, a Redis or a node goes away and comes back, and the clock steps.

What a gateway answers meanwhile is right or an honest refusal, and what it answered stays answered.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from gateway.demo.peers import cluster_url, lianren, postgres, redis, redis_cluster
from gateway.demo.processes import MissingPeer, Peer, free_port, wait_until
from gateway.model import CheckAnswer
from tests.e2e.processes import Fleet, asking, assert_kept, client_of, fleet
from tests.gateway.live import NODE, OWN, ask, body, source_of
from tests.peers import needed

pytestmark = pytest.mark.slow

HOUR = timedelta(hours=1)
REFUSALS = {(503, "evidence-unavailable", "gateway"), (503, "store-unavailable", "gateway")}
"""What a gateway may say while its database is away."""


@pytest.fixture
def environment() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patched:
        yield patched


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with needed(), ExitStack() as opened:
        yield opened


def one_node(stack: ExitStack, folder: Path) -> dict[str, object]:
    url, _ = stack.enter_context(source_of(folder))
    return {"id": NODE, "kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 7000}


def told(answer: bytes) -> CheckAnswer:
    return msgspec.json.decode(answer, type=CheckAnswer)


def test_a_postgresql_that_restarts_under_load_takes_no_answer_with_it(
    stack: ExitStack, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    database = stack.enter_context(postgres(tmp_path))
    environment.setenv("LIANREN_STORE", database.url)
    gateways = stack.enter_context(fleet(tmp_path, 2, [one_node(stack, tmp_path)]))
    with asking(gateways.urls, 6) as wards:
        wards.go_on(20)
        database.restart()
        wards.go_on(20)
        database.signal(signal.SIGKILL)  # and now without a word
        database.process.wait()
        wait_until(lambda: sum(wards.refused.values()) >= 6, 30)
        database.restart()
        wards.go_on(20)
    assert set(wards.refused) <= REFUSALS
    with client_of(gateways.urls[0]) as client:
        for asked in wards.unanswered[-6:]:
            assert ask(client, asked) == ask(client, asked)
    assert_kept(gateways.config, gateways.urls[1], wards.answers, tmp_path)


@pytest.mark.parametrize("kind", ["one", "cluster"])
def test_a_redis_that_restarts_or_hangs_under_load_is_noticed_by_nobody(
    stack: ExitStack, tmp_path: Path, environment: pytest.MonkeyPatch, kind: str
) -> None:
    servers = [redis(tmp_path)] if kind == "one" else redis_cluster(tmp_path)
    for server in servers:
        stack.callback(server.stop)
    environment.setenv("LIANREN_STORE", stack.enter_context(postgres(tmp_path)).url)
    environment.setenv("LIANREN_REDIS", servers[0].url if kind == "one" else cluster_url(servers))
    node = one_node(stack, tmp_path)
    gateways = stack.enter_context(fleet(tmp_path, 2, [node], cache_s=2.0, cache_empty_s=1.0))
    with asking(gateways.urls, 6) as wards:
        wards.go_on(20)
        servers[-1].restart()
        wards.go_on(20)
        servers[-1].signal(signal.SIGSTOP)
        wards.go_on(20)
        servers[-1].signal(signal.SIGCONT)
        wards.go_on(20)
        servers[0].signal(signal.SIGKILL)
        wards.go_on(20)
    assert (wards.refused, wards.unanswered) == ({}, [])
    assert all(told(answer).complete for answer in wards.answers.values())
    assert_kept(gateways.config, gateways.urls[1], wards.answers, tmp_path)


@pytest.fixture
def archive(stack: ExitStack, tmp_path: Path) -> tuple[Peer, dict[str, object]]:
    """A second node as a process of its own, and its settings."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    words = ["source", "--store", str(tmp_path / "second.sqlite3"), "--institution", OWN, "--port", str(port)]
    peer = stack.enter_context(lianren(tmp_path, words, url, f"{url}/metadata", name="second"))
    node = {"id": "second", "kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 2000}
    return peer, node | {"breaker_failures": 3, "breaker_s": 0.5}


def states(gateways: Fleet, node: str = "second") -> set[tuple[str, str]]:
    """How this node stands in one more answer, and whose fault that is."""
    with client_of(gateways.urls[0]) as client:
        return {(report.state, report.fault) for report in ask(client, body()).nodes if report.node == node}


def test_a_killed_node_is_left_alone_for_a_while_and_asked_again_when_it_lives(
    stack: ExitStack, tmp_path: Path, archive: tuple[Peer, dict[str, object]]
) -> None:
    second, settings = archive
    gateways = stack.enter_context(fleet(tmp_path, 1, [one_node(stack, tmp_path), settings]))
    with asking(gateways.urls, 4) as wards:
        wards.go_on(8)
        assert states(gateways) == {("empty", "")}
        second.signal(signal.SIGKILL)
        second.process.wait()
        wait_until(lambda: states(gateways) == {("skipped", "node")}, 20)
        second.restart()
        wait_until(lambda: states(gateways) == {("empty", "")}, 20)
        wards.go_on(8)
    assert (wards.refused, wards.unanswered) == ({}, [])
    seen = set()
    for answer in map(told, wards.answers.values()):
        at = {report.node: (report.state, report.fault) for report in answer.nodes}
        assert at[NODE] == ("answered", "")
        assert answer.complete == (at["second"] == ("empty", ""))
        seen.add(at["second"])
    assert {("empty", ""), ("unreachable", "node"), ("skipped", "node")} <= seen


@pytest.fixture
def clock(tmp_path: Path, environment: pytest.MonkeyPatch) -> Path:
    """A file that says by how many seconds the wall clock of processes started now is wrong (libfaketime);
    time that passes is measured by the true one, as on a machine whose clock was set."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        with needed():
            raise MissingPeer("libfaketime", "apt-get install libfaketime")
    assert library
    file = tmp_path / "clock"
    _set(file, 2 * HOUR)  # its keys were made two hours ago, so they count when the clock goes back
    environment.setenv("LD_PRELOAD", str(library))
    environment.setenv("FAKETIME_TIMESTAMP_FILE", str(file))
    environment.setenv("FAKETIME_CACHE_DURATION", "1")
    environment.setenv("DONT_FAKE_MONOTONIC", "1")
    return file


def _set(clock: Path, ahead: timedelta) -> None:
    clock.write_text(f"{ahead.total_seconds():+.0f}")


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_clock_that_steps_under_load_breaks_nothing(
    stack: ExitStack, tmp_path: Path, clock: Path, environment: pytest.MonkeyPatch, step: timedelta
) -> None:
    gateways = stack.enter_context(fleet(tmp_path, 1, [one_node(stack, tmp_path)], cache_s=2.0))
    environment.delenv("LD_PRELOAD")
    with asking(gateways.urls, 4) as wards:
        wards.go_on(20)
        _set(clock, 2 * HOUR + step)
        with client_of(gateways.urls[0]) as client:
            wait_until(lambda: _off(ask(client, body())) == 2 * HOUR + step, 10)
        wards.go_on(20)
    assert (wards.refused, wards.unanswered) == ({}, [])
    assert all(told(answer).complete for answer in wards.answers.values())
    assert_kept(gateways.config, gateways.urls[0], wards.answers, tmp_path)


def _off(answer: CheckAnswer) -> timedelta:
    """By how many whole hours the clock that stamped an answer is wrong."""
    return round((answer.answered_at - datetime.now(UTC)) / HOUR) * HOUR
