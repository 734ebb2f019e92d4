"""How many requests a client may send in a minute.

In one process the generic cell rate algorithm: a client may save up one minute's requests, and gets each back
after its share of the minute; one number a client, no window with an edge. Replicas share a count in Redis
(``limits``, sliding window counter): each takes a twentieth of the allowance at a time, so that hardly a
request waits for Redis, and what a replica took and did not use is the most by which the count is off. While
Redis is away, every process counts for itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gateway.errors import TooManyRequests

if TYPE_CHECKING:
    from limits.aio.strategies import SlidingWindowCounterRateLimiter
    from redis.asyncio import ConnectionPool

_MINUTE, _SHARES = 60.0, 20
_REST_S = 5.0


class Allowance:
    """Counts the requests of all clients.

    Args:
        redis: address of the Redis that replicas share; empty to count in this process.
        failed: is told of each failure of Redis.
        timeout_seconds: how long Redis may take.
    """

    def __init__(
        self,
        redis: str = "",
        failed: Callable[[str, Exception], None] = lambda _operation, _error: None,
        *,
        timeout_seconds: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._failed = failed
        self._timeout = timeout_seconds
        self._clock = clock
        self._pool: ConnectionPool | None = None
        self._limiter: SlidingWindowCounterRateLimiter | None = None
        self._rests_until = 0.0
        self._full: dict[str, float] = {}  # when a client has its whole minute again
        self._taken: dict[str, int] = {}  # of the shared count, not used yet
        self._refused: dict[str, float] = {}  # until when the shared count need not be asked again

    async def spend(self, client: str, per_minute: int) -> None:
        """Count one request.

        Raises:
            TooManyRequests: there is no room; it says after how many seconds there is.
        """
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
            import redis.asyncio  # noqa: F401

    async def aclose(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            await self._pool.disconnect()

    def _spend_here(self, client: str, per_minute: int) -> None:
        now = self._clock()
        full = max(self._full.get(client, 0.0), now) + _MINUTE / per_minute
        if full - now > _MINUTE + 1e-6:
            raise _refusal(client, per_minute, full - now - _MINUTE)
        self._full[client] = full

    async def _spend_shared(self, client: str, per_minute: int) -> None:
        from limits import RateLimitItemPerMinute
        from redis.exceptions import RedisError

        if (left := self._refused.get(client, 0.0) - self._clock()) > 0:
            raise _refusal(client, per_minute, left)
        item, many = RateLimitItemPerMinute(per_minute), max(1, per_minute // _SHARES)
        try:
            limiter = self._connected()
            for cost in (many, 1):
                if await limiter.hit(item, client, cost=cost):
                    self._taken[client] = self._taken.get(client, 0) + cost - 1
                    return
            window = await limiter.get_window_stats(item, client)
        except (RedisError, OSError) as error:
            self._rests_until = self._clock() + _REST_S
            self._failed("limit", error)
            self._spend_here(client, per_minute)
            return
        seconds = max(0.0, window.reset_time - time.time())
        self._refused[client] = self._clock() + min(1.0, seconds)
        raise _refusal(client, per_minute, seconds)

    def _connected(self) -> SlidingWindowCounterRateLimiter:
        if self._limiter is None:
            from limits.aio.storage import RedisStorage
            from limits.aio.strategies import SlidingWindowCounterRateLimiter
            from redis.asyncio import ConnectionPool
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff

            self._pool = ConnectionPool.from_url(
                self._redis,
                socket_timeout=self._timeout,
                socket_connect_timeout=self._timeout,
                retry=Retry(NoBackoff(), 0),
            )
            options: Any = {"connection_pool": self._pool}
            storage = RedisStorage(
                f"async+{self._redis}", implementation="redispy", key_prefix="lianren", **options
            )
            self._limiter = SlidingWindowCounterRateLimiter(storage)
        return self._limiter


def _refusal(client: str, per_minute: int, seconds: float) -> TooManyRequests:
    return TooManyRequests(
        f"client {client} has sent its {per_minute} requests of a minute",
        retry_after=max(1, math.ceil(seconds)),
    )
