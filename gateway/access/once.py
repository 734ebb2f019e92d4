"""What counts once: ids of assertions and nonces of signed requests, remembered until they end anyway.

They are documents with a unique key, so the database refuses the second one whichever replica it reaches, and
a restart forgets none. Redis is not asked before: that costs each new value a third more CPU (measured), to
spare the database the rare second ones. Their ids begin with the time until which they are kept, by which
they are pruned.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from datetime import UTC, datetime

from adapters import KeyTaken, StoreError
from adapters.store import Document, Store
from gateway.ids import new_id, since
from gateway.tasks import stop

KIND = "once"
PRUNE_S = 60.0


class Once:
    """Remembers in a store that replicas share."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._task: asyncio.Task[None] | None = None

    async def first(self, whose: str, value: str, until: datetime) -> bool:
        """Whether nobody came with this value of theirs before; it is remembered ``until`` (aware).

        Raises:
            StoreUnavailable: that cannot be told, so it does not count.
        """
        key = hashlib.sha256(f"{whose}\n{value}".encode(errors="surrogatepass")).hexdigest()
        kept = Document(kind=KIND, id=new_id(until), key=key, body=b"{}", at=datetime.now(UTC))
        try:
            await self._store.commit([], [kept])
        except KeyTaken:
            return False
        return True

    def start(self) -> None:
        """Begin to forget, once a minute, what has ended."""
        self._task = asyncio.create_task(self._run(), name="once")

    async def aclose(self) -> None:
        """Stop forgetting."""
        await stop(self._task)

    async def prune(self, now: datetime) -> int:
        """Forget what ended before ``now``, and say how many there were. Raises StoreUnavailable."""
        return await self._store.prune(KIND, since(now))

    async def _run(self) -> None:
        while True:
            with suppress(StoreError):  # whoever needs it says so; the next round is a minute away
                await self.prune(datetime.now(UTC))
            await asyncio.sleep(PRUNE_S)
