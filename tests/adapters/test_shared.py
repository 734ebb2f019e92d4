"""What replicas share: in this process, in a real Redis, and in a real Redis Cluster."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from adapters.errors import StoreError
from adapters.redis_cache import RedisCache, cluster_of
from adapters.shared import LocalShared, Shared
from gateway.demo.peers import cluster_url, redis, redis_cluster, redis_says
from gateway.demo.processes import Peer, free_port
from tests.peers import needed, started

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.xdist_group("shared")]

Replicas = tuple[Shared, Shared]
KEYS = [f"key-{number}" for number in range(30)]
"""Enough that each server of a cluster has some."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Peer]]:
    with needed(), ExitStack() as stack:
        peers = redis_cluster(tmp_path_factory.mktemp("cluster"))
        for peer in peers:
            stack.callback(peer.stop)
        yield peers


@pytest.fixture(params=["local", "redis", "cluster"])
async def replicas(request: pytest.FixtureRequest) -> AsyncIterator[Replicas]:
    """What two replicas see; where nothing is shared, one process twice."""
    if request.param == "local":
        local = LocalShared()
        yield local, local
        return
    address = (
        request.getfixturevalue("store_redis")
        if request.param == "redis"
        else cluster_url(request.getfixturevalue("cluster"))
    )
    one, other = RedisCache(address, timeout_seconds=2), RedisCache(address, timeout_seconds=2)
    yield one, other
    await one.close()
    await other.close()


async def test_what_one_replica_sets_the_other_finds(replicas: Replicas) -> None:
    for number, key in enumerate(KEYS):
        await replicas[0].set(f"{key} found", b"%d" % number, 60)
    keys = [f"{key} found" for key in (*KEYS, "never set")]
    assert await replicas[1].many(keys) == [*(b"%d" % n for n in range(len(KEYS))), None]


async def test_nothing_is_found_under_no_key(replicas: Replicas) -> None:
    assert await replicas[0].many([]) == []


async def test_one_of_many_is_the_first(replicas: Replicas) -> None:
    found = await asyncio.gather(*(replicas[n % 2].first("turn", 60) for n in range(20)))
    assert sorted(found) == [False] * 19 + [True]


async def test_a_turn_that_was_given_back_is_the_next_ones(replicas: Replicas) -> None:
    assert await replicas[0].first("given back", 60)
    await replicas[0].release("given back")
    assert await replicas[1].first("given back", 60)


async def test_a_turn_ends_with_its_time(replicas: Replicas) -> None:
    assert await replicas[0].first("short turn", 0.05)
    await asyncio.sleep(0.1)
    assert await replicas[1].first("short turn", 60)


async def test_turns_of_different_keys_are_apart(replicas: Replicas) -> None:
    assert all([await replicas[n % 2].first(f"{key} apart", 60) for n, key in enumerate(KEYS)])


async def test_whoever_waits_gets_the_value_that_the_first_sets(replicas: Replicas) -> None:
    assert await replicas[0].first("awaited", 60)
    waiting = [asyncio.create_task(replicas[n % 2].wait("awaited", 10)) for n in range(4)]
    await asyncio.sleep(0.02)
    assert not any(task.done() for task in waiting)
    await replicas[0].set("awaited", b"\0value", 60)
    await replicas[0].release("awaited")
    assert await asyncio.gather(*waiting) == [b"\0value"] * 4


async def test_whoever_waits_does_not_get_the_value_from_before_the_turn(replicas: Replicas) -> None:
    await replicas[0].set("renewed", b"old", 60)
    assert await replicas[0].first("renewed", 60)
    waiting = asyncio.create_task(replicas[1].wait("renewed", 10))
    await asyncio.sleep(0.02)
    await replicas[0].set("renewed", b"new", 60)
    await replicas[0].release("renewed")
    assert await waiting == b"new"


async def test_a_first_that_failed_keeps_nobody_waiting(replicas: Replicas) -> None:
    assert await replicas[0].first("failed", 60)
    waiting = asyncio.create_task(replicas[1].wait("failed", 60))
    await asyncio.sleep(0.01)
    await replicas[0].release("failed")
    assert await asyncio.wait_for(waiting, 5) is None


async def test_a_first_that_died_keeps_nobody_waiting_beyond_its_time(replicas: Replicas) -> None:
    assert await replicas[0].first("died", 0.1)
    assert await asyncio.wait_for(replicas[1].wait("died", 60), 5) is None


async def test_nobody_waits_longer_than_was_said(replicas: Replicas) -> None:
    await replicas[0].set("long", b"old", 60)
    assert await replicas[0].first("long", 60)
    assert await asyncio.wait_for(replicas[1].wait("long", 0.05), 5) is None


async def test_without_a_turn_the_value_is_there_at_once(replicas: Replicas) -> None:
    await replicas[0].set("there", b"1", 60)
    assert await replicas[1].wait("there", 60) == b"1"


def test_only_redis_is_shared() -> None:
    assert (LocalShared().shared, RedisCache("redis://127.0.0.1:9").shared) == (False, True)


async def test_a_turn_is_given_back_only_by_the_replica_that_has_it(store_redis: str) -> None:
    late, now = RedisCache(store_redis), RedisCache(store_redis)
    assert await late.first("taken over", 0.02)
    await asyncio.sleep(0.04)
    assert await now.first("taken over", 60)
    await late.release("taken over")
    assert not await late.first("taken over", 60)
    await late.close()
    await now.close()


async def test_gateways_that_share_a_redis_keep_apart(store_redis: str) -> None:
    one, other = RedisCache(store_redis, prefix="cq|"), RedisCache(store_redis, prefix="sc|")
    await one.set("apart", b"cq", 60)
    assert (await other.get("apart"), await other.many(["apart"])) == (None, [None])
    assert [await one.first("apart", 60), await other.first("apart", 60)] == [True, True]
    assert await other.wait("other", 0) is None
    await other.delete("apart")
    assert (await one.get("apart"), await one.many(["apart"])) == (b"cq", [b"cq"])
    await one.close()
    await other.close()


async def test_where_redis_is_away_everybody_asks_and_nobody_waits() -> None:
    away = RedisCache(f"redis://127.0.0.1:{free_port()}/0")
    assert [await away.first("key", 60), await away.first("key", 60)] == [True, True]
    assert await asyncio.wait_for(away.wait("key", 60), 5) is None
    await away.release("key")
    assert await away.many(["key", "other"]) == [None, None]
    await away.close()


async def test_more_operations_at_once_than_connections_are_no_failure(store_redis: str) -> None:
    errors: list[str] = []
    cache = RedisCache(store_redis, lambda operation, _: errors.append(operation), timeout_seconds=5)
    await asyncio.gather(*(cache.set(f"crowd-{n}", b"%d" % n, 60) for n in range(500)))
    found = await asyncio.gather(*(cache.get(f"crowd-{n}") for n in range(500)))
    assert (errors, found) == ([], [b"%d" % n for n in range(500)])
    await cache.close()


async def until(seen: Callable[[], AsyncIterator[bool]]) -> None:
    """Wait for something to become so."""
    async with asyncio.timeout(10):
        async for so in seen():
            if so:
                return
            await asyncio.sleep(0.05)


async def test_a_redis_that_hangs_and_comes_back_is_used_again(tmp_path: Path) -> None:
    errors: list[str] = []
    with started(lambda: redis(tmp_path)) as peer:
        cache = RedisCache(
            peer.url, lambda name, _: errors.append(name), timeout_seconds=0.05, rest_seconds=0.2
        )
        await cache.set("key", b"1", 60)
        peer.signal(signal.SIGSTOP)
        begun = asyncio.get_running_loop().time()
        assert await asyncio.gather(*(cache.get("key") for _ in range(500))) == [None] * 500
        assert asyncio.get_running_loop().time() - begun < 2
        assert len(errors) <= 64
        peer.signal(signal.SIGCONT)

        async def back() -> AsyncIterator[bool]:
            while True:
                yield await cache.get("key") == b"1"

        await until(back)
        await cache.close()


async def test_a_redis_that_was_restarted_is_used_again(tmp_path: Path) -> None:
    with started(lambda: redis(tmp_path)) as peer:
        cache = RedisCache(peer.url, rest_seconds=0.05)
        await cache.set("key", b"1", 60)
        peer.restart()

        async def back() -> AsyncIterator[bool]:
            while True:
                await cache.set("key", b"2", 60)
                yield await cache.get("key") == b"2"

        await until(back)
        await cache.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_without_one_of_its_masters_a_cluster_loses_the_keys_of_that_one_alone(tmp_path: Path) -> None:
    with needed(), ExitStack() as stack:
        peers = redis_cluster(tmp_path)
        for peer in peers:
            stack.callback(peer.stop)
        cache = RedisCache(cluster_url(peers), timeout_seconds=1, rest_seconds=0.1)
        for key in KEYS:
            await cache.set(key, key.encode(), 60)
        assert await cache.many(KEYS) == [key.encode() for key in KEYS]
        own = int(redis_says(peers[1].url, "DBSIZE")[1:])
        peers[1].signal(signal.SIGKILL)

        async def alone() -> AsyncIterator[bool]:
            while True:
                found = await cache.many(KEYS)
                assert all(value in (None, key.encode()) for key, value in zip(KEYS, found, strict=True))
                yield found.count(None) == own

        await until(alone)
        firsts = [await cache.first(key, 60) for key in KEYS for _ in range(2)]
        assert firsts.count(True) == len(KEYS) + own
        peers[1].restart()

        async def whole() -> AsyncIterator[bool]:
            while True:
                for key in KEYS:
                    await cache.set(key, b"again", 60)
                yield await cache.many(KEYS) == [b"again"] * len(KEYS)

        await until(whole)
        await cache.close()
    gc.collect()  # the client leaves what was cut off to the collector


async def test_a_key_that_moved_to_another_master_is_followed(cluster: list[Peer]) -> None:
    cache = RedisCache(cluster_url(cluster), timeout_seconds=2)
    await cache.set("moved", b"1", 60)
    slot = int(redis_says(cluster[0].url, "CLUSTER KEYSLOT moved")[1:])
    names = [redis_says(peer.url, "CLUSTER MYID").split(b"\r\n")[1].decode() for peer in cluster]
    holder = slot * len(cluster) // 16384
    to = (holder + 1) % len(cluster)
    redis_says(cluster[holder].url, "DEL moved")
    for peer in (cluster[to], cluster[holder]):
        assert redis_says(peer.url, f"CLUSTER SETSLOT {slot} NODE {names[to]}") == b"+OK\r\n"
    errors: list[str] = []
    await cache.set("moved", b"2", 60)
    assert (await cache.get("moved"), errors) == (b"2", [])
    assert redis_says(cluster[to].url, "GET moved") == b"$1\r\n2\r\n"
    await cache.close()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[str]:
    """The ``host:port`` of a Redis behind TLS and a password, whose authority is ``authority.pem``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (tmp_path / "authority.pem").write_bytes(certificate.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "key.pem").write_bytes(private)
    port = free_port()
    words = ["--tls-port", str(port), "--tls-auth-clients", "no", "--requirepass", "geheim"]
    words += ["--tls-cert-file", str(tmp_path / "authority.pem"), "--tls-key-file", str(tmp_path / "key.pem")]
    with started(lambda: redis(tmp_path, *words)):
        yield f"localhost:{port}"


async def test_redis_is_spoken_to_over_tls_with_a_password(guarded: str, tmp_path: Path) -> None:
    errors: list[str] = []
    trusted = f"rediss://:geheim@{guarded}/0?ssl_ca_certs={tmp_path / 'authority.pem'}"
    elsewhere = trusted.replace("localhost", "127.0.0.1")  # which the certificate does not name
    for address, found in ((trusted, b"1"), (f"rediss://:geheim@{guarded}/0", None), (elsewhere, None)):
        cache = RedisCache(address, lambda _, error: errors.append(str(error)), timeout_seconds=2)
        await cache.set("key", b"1", 60)
        assert await cache.get("key") == found
        await cache.close()
    assert len(errors) == 2


@pytest.mark.parametrize(
    "address",
    [
        "redis+cluster://",
        "redis+cluster://:geheim@host:port",
        "http+cluster://:geheim@host:1",
        "redis+cluster://:geheim@host:1,",
    ],
)
def test_a_cluster_address_that_cannot_be_read_is_not_repeated(address: str) -> None:
    with pytest.raises(StoreError) as caught:
        RedisCache(address)
    assert "geheim" not in str(caught.value)


def test_a_cluster_address_has_every_server_and_the_password_once() -> None:
    options = cluster_of("rediss+cluster://me:a%40b@one:1,two:2?ssl_ca_certs=/ca.pem", 0.1)
    assert [(node.host, node.port) for node in options["startup_nodes"]] == [("one", 1), ("two", 2)]
    assert {key: options[key] for key in ("username", "password", "ssl", "ssl_ca_certs")} == {
        "username": "me",
        "password": "a@b",
        "ssl": True,
        "ssl_ca_certs": "/ca.pem",
    }
