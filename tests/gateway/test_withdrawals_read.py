"""What was withdrawn at one replica counts at the others, for every question that comes afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from adapters.sequencer import Sequencer
from adapters.sqlite import SqliteStore
from gateway.marks.withdrawing import Withdrawals
from gateway.signing import Signing
from security.keys import KeyPair
from security.status import Withdrawn

NOW = datetime.now(UTC)
ORIGIN = "sc.lianren.example/exchange"
MARK = "0b" * 16


def between_replicas(
    tmp_path: Path, run: Callable[[Withdrawals, Callable[[], Awaitable[None]]], Awaitable[None]]
) -> None:
    """``run`` with the withdrawals of one replica and what makes one at the other."""

    async def both() -> None:
        store = SqliteStore(tmp_path / "store")
        await store.open()
        key = KeyPair.generate("Ed25519", "sc", "log", NOW, letter="l")
        sequencer = Sequencer(store, [key], ORIGIN)
        await sequencer.start()
        here, there = (Withdrawals("sc", sequencer, Signing([])) for _ in range(2))
        await run(here, lambda: there.note([Withdrawn(bytes.fromhex(MARK), "amended", NOW)], "cq"))
        await sequencer.close()
        await store.close()

    asyncio.run(both())


def test_a_question_knows_what_was_withdrawn_before_it_came(tmp_path: Path) -> None:
    async def run(here: Withdrawals, withdraw: Callable[[], Awaitable[None]]) -> None:
        await here.refresh()
        await withdraw()
        await here.refresh(time.monotonic())
        assert here.of_mark(MARK) is not None

    between_replicas(tmp_path, run)


def test_what_was_read_since_the_question_came_is_not_read_again(tmp_path: Path) -> None:
    async def run(here: Withdrawals, withdraw: Callable[[], Awaitable[None]]) -> None:
        asked = time.monotonic()
        await here.refresh(asked)
        await withdraw()
        await here.refresh(asked)
        assert here.of_mark(MARK) is None

    between_replicas(tmp_path, run)
