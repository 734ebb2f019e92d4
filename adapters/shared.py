"""What replicas share for a while: values, and whose turn it is to ask.

Equal questions that arrive at several replicas in one moment are asked once: whoever is the ``first`` asks,
sets the value and releases; the others wait for that and read the value. It is a cache all the same. Where it
is away everybody is the first: the question is asked once more than it had to be, and nothing is wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Protocol

from adapters.cache import Cache, LocalCache


class Shared(Cache, Protocol):
    """A cache with turns; raises nothing. Keys hold no braces: Redis Cluster places keys by them."""

    @property
    def shared(self) -> bool:
        """Whether other processes see the same."""
        ...

    async def many(self, keys: Sequence[str]) -> list[bytes | None]:
        """What ``get`` tells of each key, asked at once."""
        ...

    async def first(self, key: str, seconds: float) -> bool:
        """Whether nobody has the turn for this key: then the caller has it until it releases it, for at most
        ``seconds``. True also where that cannot be told."""
        ...

    async def release(self, key: str) -> None:
        """Give the turn back, after the value was set or the work failed; without one nothing happens."""
        ...

    async def wait(self, key: str, seconds: float) -> bytes | None:
        """The value of the key once nobody has its turn any more.

        None where there is none then, where the turn took longer than ``seconds``, and where that cannot be
        told: ask yourself. An older value stays where the one with the turn failed, so a caller that asks for
        something new looks at what it gets.
        """
        ...


class LocalShared(LocalCache):
    """What the tasks of this process share."""

    shared = False

    def __init__(self, max_bytes: int = 64 << 20, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(max_bytes, clock)
        self._turns: dict[str, asyncio.Event] = {}

    async def many(self, keys: Sequence[str]) -> list[bytes | None]:
        return [await self.get(key) for key in keys]

    async def first(self, key: str, seconds: float) -> bool:
        if key in self._turns:
            return False
        over = self._turns[key] = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, self._end, key, over)
        return True

    async def release(self, key: str) -> None:
        if over := self._turns.get(key):
            self._end(key, over)

    async def wait(self, key: str, seconds: float) -> bytes | None:
        if over := self._turns.get(key):
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), seconds)
            if not over.is_set():
                return None
        return await self.get(key)

    def _end(self, key: str, over: asyncio.Event) -> None:
        over.set()
        if self._turns.get(key) is over:
            del self._turns[key]
