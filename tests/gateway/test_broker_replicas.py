"""Brokers over one Redis: they tell each other what nodes said, and ask once; without it they go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters import Answer, Question
from adapters.redis_cache import RedisCache
from gateway.demo.peers import redis, redis_says
from gateway.demo.processes import Peer, free_port
from tests.gateway.brokers import (
    Brokered,
    Fake,
    answer,
    broker_over,
    failed,
    placed,
    question,
    result,
    rules,
    says,
    slow,
)
from tests.peers import started

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with started(lambda: redis(tmp_path_factory.mktemp("redis"))) as peer:
        yield peer


@pytest.fixture
def url(server: Peer) -> str:
    redis_says(server.url, "FLUSHALL")
    return server.url


@asynccontextmanager
async def replicas(
    folder: Path, url: str, *nodes: Fake, cache_s: float = 60, redis_s: float = 0.1, **settings: Any
) -> AsyncIterator[list[Brokered]]:
    """Two brokers, each with the same nodes."""
    async with AsyncExitStack() as stack:
        brokers = []
        for number in range(2):
            (home := folder / str(number)).mkdir()
            shared = RedisCache(url, timeout_seconds=redis_s)
            stack.push_async_callback(shared.close)
            over = broker_over(
                home,
                [placed(node, **settings) for node in nodes],
                shared=shared,
                cache_s=cache_s,
                cache_empty_s=cache_s,
            )
            brokers.append(await stack.enter_async_context(over))
        yield brokers


async def settled() -> None:
    """Time for what replicas tell each other after an answer."""
    await asyncio.sleep(0.05)


async def test_what_one_replica_was_told_another_tells_again(tmp_path: Path, url: str) -> None:
    node = Fake()
    async with replicas(tmp_path, url, node) as (one, other):
        first = await one.ask()
        await settled()
        again = await other.ask()
    assert len(node.asked) == 1
    assert again[0].results == first[0].results
    assert again[0].report.age_ms > 0


async def test_what_lies_in_redis_is_sealed(tmp_path: Path, url: str) -> None:
    async with replicas(tmp_path, url, Fake()) as (one, _):
        await one.ask()
        await settled()
        value = redis_says(url, "GET answer|one|p1|imaging+lab")
    assert value[:1] == b"$"
    assert b"43.10" not in value


async def test_what_somebody_else_laid_into_redis_is_not_told(tmp_path: Path, url: str) -> None:
    node = Fake()
    redis_says(url, "SET answer|one|p1|imaging+lab forged")
    async with replicas(tmp_path, url, node) as (one, _):
        assert (await one.report()).state == "answered"
    assert len(node.asked) == 1


async def test_what_was_said_of_one_person_is_told_of_no_other(tmp_path: Path, url: str) -> None:
    node = Fake()
    async with replicas(tmp_path, url, node) as (one, other):
        await one.ask()
        await settled()
        redis_says(url, "COPY answer|one|p1|imaging+lab answer|one|p2|imaging+lab")
        await other.ask(pseudonyms=("p2",))
    assert len(node.asked) == 2


async def test_equal_questions_at_two_replicas_are_one_request(tmp_path: Path, url: str) -> None:
    node = Fake(say=slow(0.05))
    async with replicas(tmp_path, url, node) as (one, other):
        first, second = await asyncio.gather(one.ask(), other.ask())
    assert len(node.asked) == 1
    assert first[0].results == second[0].results


async def test_who_asks_for_something_else_does_not_wait_for_the_other_replica(
    tmp_path: Path, url: str
) -> None:
    node = Fake(say=slow(0.12))
    async with replicas(tmp_path, url, node, timeout_ms=200) as (one, other):
        lab, imaging = await asyncio.gather(one.report(kinds=("lab",)), other.report(kinds=("imaging",)))
    assert (lab.state, imaging.state, len(node.asked)) == ("answered", "empty", 2)


async def test_what_one_replica_was_told_of_all_kinds_another_tells_of_one(tmp_path: Path, url: str) -> None:
    node = Fake()
    async with replicas(tmp_path, url, node) as (one, other):
        await one.ask()
        await settled()
        assert (await other.report(kinds=("lab",))).age_ms > 0
    assert len(node.asked) == 1


async def test_where_the_other_replica_fails_each_asks_for_itself(tmp_path: Path, url: str) -> None:
    tries = 0

    async def first_fails(question: Question) -> Answer:
        nonlocal tries
        tries += 1
        await asyncio.sleep(0.03)
        return failed() if tries == 1 else answer("one", result())

    node = Fake(say=first_fails)
    async with replicas(tmp_path, url, node) as (one, other):
        states = {report.state for report in await asyncio.gather(one.report(), other.report())}
    assert states == {"unreachable", "answered"}


async def test_the_turn_of_a_replica_that_is_gone_is_not_waited_for_to_the_end(
    tmp_path: Path, url: str
) -> None:
    redis_says(url, "SET {answer|one|p1|imaging+lab}|turn gone PX 5000")
    node = Fake()
    async with replicas(tmp_path, url, node, timeout_ms=200) as (one, _):
        began = time.monotonic()
        assert (await one.report()).state == "answered"
        assert 0.1 <= time.monotonic() - began < 0.2


async def test_after_a_publication_at_one_replica_the_other_asks_again(tmp_path: Path, url: str) -> None:
    node = Fake()
    async with replicas(tmp_path, url, node) as (one, other):
        await one.ask()
        await settled()
        await one.broker.forget("one", ("p1",))
        await other.ask()
    assert len(node.asked) == 2


async def test_what_another_replica_asked_before_a_publication_is_not_waited_for_in_vain(
    tmp_path: Path, url: str
) -> None:
    flying = asyncio.Event()

    async def say(question: Question) -> Answer:
        flying.set()
        await asyncio.sleep(0.1)
        return answer("one", result())

    node = Fake(say=say)
    async with replicas(tmp_path, url, node, timeout_ms=1000) as (one, other):
        first = asyncio.create_task(one.ask())
        await flying.wait()
        await other.announce("one", noted=datetime.now(UTC))
        await other.ask()
        await first
    assert len(node.asked) == 2


async def test_while_redis_hangs_a_short_question_is_answered_in_its_time(tmp_path: Path, url: str) -> None:
    async with replicas(tmp_path, url, Fake(), redis_s=1.0) as (one, _):
        await one.ask(pseudonyms=("p2",))
        await settled()
        redis_says(url, "CLIENT PAUSE 600")
        began = time.monotonic()
        assert (await one.report(budget=0.3)).state == "answered"
        assert time.monotonic() - began < 0.3


async def test_what_one_replica_leaves_alone_the_other_leaves_alone_too(tmp_path: Path, url: str) -> None:
    node = Fake(say=says(failed()))
    async with replicas(tmp_path, url, node, cache_s=0, breaker_failures=1) as (one, other):
        await one.ask()
        await asyncio.sleep(1.1)
        report = await other.report()
    assert (report.state, report.fault, len(node.asked)) == ("skipped", "node", 1)


async def test_a_question_that_another_replica_answers_is_known_by_its_id(tmp_path: Path, url: str) -> None:
    async with (
        replicas(tmp_path, url) as (one, other),
        one.broker.answering("q-1", 5) as first,
        other.broker.answering("q-1", 5) as second,
    ):
        assert (first, second) == (True, False)


async def test_without_redis_every_replica_asks_for_itself(tmp_path: Path) -> None:
    node = Fake()
    async with replicas(tmp_path, f"redis://127.0.0.1:{free_port()}/0", node) as (one, other):
        states = [(await b.report()).state for b in (one, other)]
        gathered = await one.broker.gather(question(pseudonyms=("p2",)), rules())
    assert (states, gathered.complete, len(node.asked)) == (["answered"] * 2, True, 3)
