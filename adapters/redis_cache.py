"""What replicas share in Redis or Redis Cluster; a module of its own, since the client takes long to import.

Redis away costs time, never an answer: a failure is a miss, an event for the operator, and a short rest in
which that server is not asked; then one operation tries it. In a cluster each server rests for itself, so
that one that fails takes only its part of the keys with it. At most ``TOGETHER`` operations are under way;
further ones wait for them, which never takes longer than those may take.

Gateways that share a Redis keep apart by a prefix of their keys: what one was told is not said by another,
and a question that both answer is no loop.

A turn is a key of its own that ends by itself, beside the value's: ``{key}|turn`` holds the name of the
replica that has it. The braces keep both on one server of a cluster, so that one command reads them together.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from adapters.errors import StoreError

CLUSTER = "+cluster://"
TOGETHER = 64
POLL_S = (0.002, 0.02)
"""Between two looks whether a turn is over: at first, and at most."""
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end"


def pool_of(url: str, timeout_seconds: float) -> ConnectionPool:
    """The connections to one server: ``redis://``, ``rediss://``, ``unix://``.

    Raises StoreError for an address that cannot be read.
    """
    try:
        return ConnectionPool.from_url(url, **_patience(timeout_seconds))
    except ValueError:  # its message may quote the URL, which may hold a password
        raise _unreadable() from None


def cluster_of(url: str, timeout_seconds: float) -> dict[str, Any]:
    """The arguments of a client of ``redis+cluster://user:password@host:port,host:port``.

    Raises StoreError for an address that cannot be read.
    """
    scheme, _, rest = url.partition(CLUSTER)
    address, mark, query = rest.partition("?")
    user, at, places = address.rpartition("@")
    try:
        nodes: list[Any] = [
            parse_url(f"{scheme}://{user}{at}{place}{mark}{query}") for place in places.split(",")
        ]
        found = [ClusterNode(node.pop("host"), node.pop("port", 6379)) for node in nodes]
    except (ValueError, KeyError):
        raise _unreadable() from None
    options: dict[str, Any] = nodes[0]
    tls = options.pop("connection_class", None) is SSLConnection
    return {
        **options,
        **_patience(timeout_seconds),
        "startup_nodes": found,
        "ssl": tls,
        "require_full_coverage": False,  # without one server the others go on
    }


async def disconnect(redis: Redis | RedisCluster) -> None:
    """Close all connections."""
    await redis.aclose()
    if isinstance(redis, RedisCluster):  # it leaves them open when it was about to learn of the servers anew
        await redis.nodes_manager.aclose("nodes_cache")
        await redis.nodes_manager.aclose("startup_nodes")


def _patience(timeout_seconds: float) -> dict[str, Any]:
    return {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "retry": Retry(NoBackoff(), 0),
    }


def _unreadable() -> StoreError:
    return StoreError(
        "the Redis address is neither redis://user:password@host:port/number"
        " nor redis+cluster://user:password@host:port,host:port (rediss for TLS)"
    )


class RedisCache:
    """Values and turns in Redis (``adapters.shared.Shared``), for replicas that share them.

    ``on_error(operation, error)`` is told of each failure (``get``, ``set``, …), to log and count it. An
    exchange takes ``timeout_seconds`` at most, an operation that has to connect first twice that. After a
    failure, the server rests for ``rest_seconds``, so that one that hangs does not slow every question down.
    Every key begins with ``prefix``. Raises StoreError for a URL that cannot be read.
    """

    shared = True

    def __init__(
        self,
        url: str,
        on_error: Callable[[str, Exception], None] = lambda _operation, _error: None,
        *,
        prefix: str = "",
        timeout_seconds: float = 0.1,
        rest_seconds: float = 1.0,
    ) -> None:
        self._redis: Redis | RedisCluster = (
            RedisCluster(**cluster_of(url, timeout_seconds))
            if CLUSTER in url
            else Redis.from_pool(pool_of(url, timeout_seconds))
        )
        self._on_error = on_error
        self._prefix = prefix
        self._timeout = 2 * timeout_seconds
        self._rest_seconds = rest_seconds
        self._rests_until: dict[str, float] = {}
        self._room = asyncio.Semaphore(TOGETHER)
        self._name = secrets.token_bytes(8)

    async def get(self, key: str) -> bytes | None:
        key = self._prefix + key
        return _bytes(await self._ask("get", key, lambda: self._redis.get(key)))

    async def many(self, keys: Sequence[str]) -> list[bytes | None]:
        if isinstance(self._redis, RedisCluster):  # a server that fails costs its keys alone
            return await asyncio.gather(*(self.get(key) for key in keys))
        names, nothing = [self._prefix + key for key in keys], [None] * len(keys)
        found = await self._ask("get", "", lambda: self._redis.mget(names), nothing) if names else nothing
        return [_bytes(value) for value in found]

    async def set(self, key: str, value: bytes, ttl_seconds: float) -> None:
        key = self._prefix + key
        await self._ask("set", key, lambda: self._redis.set(key, value, px=_ms(ttl_seconds)))

    async def delete(self, key: str) -> None:
        key = self._prefix + key
        await self._ask("delete", key, lambda: self._redis.delete(key), even_at_rest=True)

    async def first(self, key: str, seconds: float) -> bool:
        turn = _turn(self._prefix + key)
        taken = await self._ask(
            "first", turn, lambda: self._redis.set(turn, self._name, px=_ms(seconds), nx=True), True
        )
        return bool(taken)

    async def release(self, key: str) -> None:
        turn = _turn(self._prefix + key)
        await self._ask("release", turn, lambda: self._redis.eval(_RELEASE, 1, turn, self._name))

    async def wait(self, key: str, seconds: float) -> bytes | None:
        key = self._prefix + key
        end, pause = time.monotonic() + seconds, POLL_S[0]
        while True:
            value, turn = await self._ask(
                "wait", key, lambda: self._redis.mget(key, _turn(key)), (None, None)
            )
            if turn is None:
                return _bytes(value)
            if (left := end - time.monotonic()) <= 0:
                return None
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, POLL_S[1])

    async def close(self) -> None:
        await disconnect(self._redis)

    async def _ask(
        self,
        operation: str,
        key: str,
        question: Callable[[], Awaitable[Any]],
        otherwise: Any = None,
        *,
        even_at_rest: bool = False,
    ) -> Any:
        """What Redis says, or else ``otherwise``."""
        async with self._room:
            server, now = self._server(key), time.monotonic()
            if (until := self._rests_until.get(server)) and not even_at_rest:
                if now < until:
                    return otherwise
                self._rests_until[server] = now + self._timeout  # one tries, the others go on without
            try:
                async with asyncio.timeout(self._timeout):
                    await self._redis.initialize()  # a cluster is not asked while others still learn of it
                    said = await question()
            except Exception as error:  # the cluster client lets more through than RedisError and OSError
                self._rests_until[server] = time.monotonic() + self._rest_seconds
                self._on_error(operation, error)
                return otherwise
            self._rests_until.pop(server, None)
            return said

    def _server(self, key: str) -> str:
        """The server of a cluster that has this key, as far as known; empty for the one there is."""
        if not isinstance(self._redis, RedisCluster):
            return ""
        nodes = self._redis.nodes_manager.slots_cache.get(self._redis.keyslot(key))
        return str(nodes[0].name) if nodes else ""


def _turn(key: str) -> str:
    return f"{{{key}}}|turn"


def _bytes(value: object) -> bytes | None:
    return value if isinstance(value, bytes) else None


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
