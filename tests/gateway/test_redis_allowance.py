"""How many requests a client may send, counted together by replicas in a real Redis and a real cluster."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.access.allowance import Allowance
from gateway.demo.peers import cluster_url, redis, redis_cluster
from gateway.errors import TooManyRequests
from tests.peers import needed, started

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("allowance")]  # one worker starts its servers


@pytest.fixture(scope="module", params=["redis", "cluster"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp(request.param)
    with needed(), ExitStack() as stack:
        peers = [redis(folder)] if request.param == "redis" else redis_cluster(folder)
        for peer in peers:
            stack.callback(peer.stop)
        yield peers[0].url if request.param == "redis" else cluster_url(peers)


def together(
    address: str,
    work: Callable[[Sequence[Allowance]], Awaitable[int]],
    failed: Callable[[str, Exception], None] = lambda _operation, _error: None,
    timeout_seconds: float = 5,
) -> int:
    """What comes of three replicas at work."""

    async def run() -> int:
        replicas = [Allowance(address, failed, timeout_seconds=timeout_seconds) for _ in range(3)]
        try:
            return await work(replicas)
        finally:
            for replica in replicas:
                await replica.aclose()

    return asyncio.run(run())


async def granted(replica: Allowance, client: str, per_minute: int) -> bool:
    try:
        await replica.spend(client, per_minute)
    except TooManyRequests:
        return False
    return True


def test_three_replicas_grant_one_clients_requests_once(address: str) -> None:
    async def work(replicas: Sequence[Allowance]) -> int:
        return sum([await granted(replicas[n % 3], "in turn", 100) for n in range(200)])

    assert 85 <= together(address, work) <= 100  # each may hold what it took and did not use


def test_a_crowd_is_granted_what_is_left_and_not_refused_for_its_number(address: str) -> None:
    async def work(replicas: Sequence[Allowance]) -> int:
        asked = (granted(replicas[n % 3], f"crowd-{n % 2}", 1000) for n in range(600))
        return sum(await asyncio.gather(*asked))

    assert together(address, work) == 600


def test_a_crowd_that_is_too_large_is_refused_for_the_rest(address: str) -> None:
    async def work(replicas: Sequence[Allowance]) -> int:
        return sum(await asyncio.gather(*(granted(replicas[n % 3], "too large", 100) for n in range(500))))

    assert 85 <= together(address, work) <= 100


def test_gateways_that_share_a_redis_count_apart(address: str) -> None:
    async def run() -> list[bool]:
        gateways = [Allowance(address, owner=owner, timeout_seconds=5) for owner in ("cq", "sc")]
        try:
            return [await granted(gateway, "his", 1) for gateway in gateways]
        finally:
            for gateway in gateways:
                await gateway.aclose()

    assert asyncio.run(run()) == [True, True]


def test_while_redis_hangs_each_process_counts_for_itself_without_delay(tmp_path: Path) -> None:
    failed: list[str] = []
    with started(lambda: redis(tmp_path)) as peer:

        async def work(replicas: Sequence[Allowance]) -> int:
            assert await granted(replicas[0], "his", 20)
            peer.signal(signal.SIGSTOP)
            begun = asyncio.get_running_loop().time()
            found = sum([await granted(replicas[1], "his", 20) for _ in range(100)])
            assert asyncio.get_running_loop().time() - begun < 1
            peer.signal(signal.SIGCONT)
            return found

        assert together(peer.url, work, lambda name, _: failed.append(name), timeout_seconds=0.05) == 20
    assert set(failed) == {"limit"}
