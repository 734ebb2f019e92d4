"""How many requests a client may send in a minute.

In one process the generic cell rate algorithm: a client may save up one minute's requests, and gets each back
after its share of the minute; one number a client, no window with an edge. Replicas share a count in Redis
(``limits``, sliding window counter): each takes a twentieth of the allowance at a time, so that hardly a
request waits for Redis, and what a replica took and did not use is the most by which the count is off. While
Redis is away, every process counts for itself.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from gateway.errors import TooManyRequests

if TYPE_CHECKING:
    from limits.aio.strategies import SlidingWindowCounterRateLimiter

_MINUTE, _SHARES = 60.0, 20
_REST_S = 5.0


class Allowance:
    """Counts the requests of all clients.

    Args:
        redis: address of the Redis or Redis Cluster that replicas share; empty to count in this process.
        owner: the owner id of the gateway, whose replicas count together.
        failed: is told of each failure of Redis.
        timeout_seconds: how long each exchange with Redis may take.
    """

    def __init__(
        self,
        redis: str = "",
        failed: Callable[[str, Exception], None] = lambda _operation, _error: None,
        *,
        owner: str = "",
        timeout_seconds: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._owner = owner
        self._failed = failed
        self._timeout = timeout_seconds
        self._clock = clock
        self._open = AsyncExitStack()
        self._limiter: SlidingWindowCounterRateLimiter | None = None
        self._connection: Any = None
        self._rests_until = 0.0
        self._full: dict[str, float] = {}  # when a client has its whole minute again
        self._taken: dict[str, int] = {}  # of the shared count, not used yet
        self._refused: dict[str, float] = {}  # until when the shared count need not be asked again
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def spend(self, client: str, per_minute: int) -> None:
        """Count one request.

        Raises:
            TooManyRequests: there is no room; it says after how many seconds there is.
        """
        if not self.spent(client, per_minute):
            async with self._turns[client]:  # whoever waited finds what the one before took
                if not self.spent(client, per_minute):
                    await self._spend_shared(client, per_minute)

    def spent(self, client: str, per_minute: int) -> bool:
        """Count one request without waiting for anybody; False where that takes :meth:`spend`.

        Raises:
            TooManyRequests: see there.
        """
        if self._taken and self._taken.get(client, 0) > 0:
            self._taken[client] -= 1
        elif not self._redis or self._clock() < self._rests_until:
            self._spend_here(client, per_minute)
        else:
            return False
        return True

    def load(self) -> None:
        """Import what the shared count needs, so that no request waits for it (100 ms)."""
        if self._redis:
            import limits.aio.strategies  # noqa: F401

            import adapters.redis_cache  # noqa: F401

    async def aclose(self) -> None:
        """Close the connections."""
        await self._open.aclose()

    def _spend_here(self, client: str, per_minute: int) -> None:
        now = self._clock()
        full = max(self._full.get(client, 0.0), now) + _MINUTE / per_minute
        if full - now > _MINUTE + 1e-6:
            raise _refusal(client, per_minute, full - now - _MINUTE)
        self._full[client] = full

    async def _spend_shared(self, client: str, per_minute: int) -> None:
        from limits import RateLimitItemPerMinute

        if (left := self._refused.get(client, 0.0) - self._clock()) > 0:
            raise _refusal(client, per_minute, left)
        item, many = RateLimitItemPerMinute(per_minute), max(1, per_minute // _SHARES)
        try:
            limiter = await self._connected()
            for cost in (many, 1):
                async with asyncio.timeout(self._timeout):
                    granted = await limiter.hit(item, client, cost=cost)
                if granted:
                    self._taken[client] = self._taken.get(client, 0) + cost - 1
                    return
            async with asyncio.timeout(self._timeout):
                window = await limiter.get_window_stats(item, client)
        except Exception as error:  # the cluster client lets more through than RedisError and OSError
            self._rests_until = self._clock() + _REST_S
            self._failed("limit", error)
            self._spend_here(client, per_minute)
            return
        seconds = max(0.0, window.reset_time - time.time())
        self._refused[client] = self._clock() + min(1.0, seconds)
        raise _refusal(client, per_minute, seconds)

    async def _connected(self) -> SlidingWindowCounterRateLimiter:
        if self._limiter is None:
            from limits.aio.storage import RedisClusterStorage, RedisStorage
            from limits.aio.strategies import SlidingWindowCounterRateLimiter

            from adapters.redis_cache import CLUSTER, cluster_of, disconnect, pool_of

            storage: RedisStorage
            options: dict[str, Any] = {"implementation": "redispy", "key_prefix": f"{self._owner}|limit"}
            if CLUSTER in self._redis:
                options |= cluster_of(self._redis, self._timeout)
                storage = RedisClusterStorage("async+redis+cluster://", **options)
            else:
                options["connection_pool"] = pool = pool_of(self._redis, self._timeout)
                self._open.push_async_callback(pool.disconnect)
                storage = RedisStorage("async+redis://", **options)
            bridge: Any = storage.bridge
            self._connection = bridge.get_connection()
            self._open.push_async_callback(disconnect, self._connection)
            self._limiter = SlidingWindowCounterRateLimiter(storage)
        async with asyncio.timeout(2 * self._timeout):
            await self._connection.initialize()  # a cluster is not asked while others still learn of it
        return self._limiter


def _refusal(client: str, per_minute: int, seconds: float) -> TooManyRequests:
    return TooManyRequests(
        f"client {client} has sent its {per_minute} requests of a minute",
        retry_after=max(1, math.ceil(seconds)),
    )
