"""A cache in Redis, which replicas share; a module of its own, since the client takes long to import."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from adapters.errors import StoreError


class RedisCache:
    """A cache in Redis, for replicas that share it.

    ``on_error(operation, error)`` is told of each failure (``get``, ``set``, ``delete``), to log and count
    it. An operation takes ``timeout_seconds`` at most; after a failure, reads and writes rest for
    ``rest_seconds``, so that a Redis that hangs does not slow every question down. Raises StoreError for a
    URL that cannot be read.
    """

    def __init__(
        self,
        url: str,
        on_error: Callable[[str, Exception], None] = lambda _operation, _error: None,
        *,
        timeout_seconds: float = 0.1,
        rest_seconds: float = 1.0,
    ) -> None:
        try:
            self._redis: Redis = Redis.from_url(
                url,
                socket_timeout=timeout_seconds,
                socket_connect_timeout=timeout_seconds,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError:  # its message may quote the URL, which may hold a password
            raise StoreError("the Redis address is not redis://user:password@host:port/number") from None
        self._on_error = on_error
        self._rest_seconds = rest_seconds
        self._rests_until = 0.0

    async def get(self, key: str) -> bytes | None:
        if self._rests():
            return None
        value = await self._ask("get", self._redis.get(key))
        return value if isinstance(value, bytes) else None

    async def set(self, key: str, value: bytes, ttl_seconds: float) -> None:
        if not self._rests():
            await self._ask("set", self._redis.set(key, value, px=max(1, round(ttl_seconds * 1000))))

    async def delete(self, key: str) -> None:
        await self._ask("delete", self._redis.delete(key))

    async def close(self) -> None:
        await self._redis.aclose()

    def _rests(self) -> bool:
        return time.monotonic() < self._rests_until

    async def _ask(self, operation: str, question: Awaitable[object]) -> object:
        try:
            return await question
        except (RedisError, OSError) as error:
            self._rests_until = time.monotonic() + self._rest_seconds
            self._on_error(operation, error)
            return None
