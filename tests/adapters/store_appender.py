"""Appends to a SQLite ledger without end; prints its verifier key, then index and entry id of each answer.

Run as ``python store_appender.py FILE ORIGIN`` by the test that kills it.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

from adapters.sequencer import Sequencer
from adapters.sqlite import SqliteStore
from security.keys import KeyPair
from security.ledger import seal
from security.note import NoteVerifier


async def main(path: Path, origin: str) -> None:
    now = datetime.now(UTC)
    signer = KeyPair.generate("Ed25519", "cq", "ledger", now)
    store = SqliteStore(path)
    await store.open()
    sequencer = Sequencer(store, [signer], origin)
    await sequencer.start()
    print(NoteVerifier.of(origin, signer.public).to_text(), flush=True)

    async def append_for_ever() -> None:
        while True:
            entry = seal("question", b"payload", time=now, from_="cq", to="sc", hash_name="sha256")
            receipt = await sequencer.append([entry])
            print(receipt.indexes[0], entry.entry_id, flush=True)

    await asyncio.gather(*(append_for_ever() for _ in range(4)))


asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
