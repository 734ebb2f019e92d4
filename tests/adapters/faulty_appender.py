"""Appends to a ledger without end, and dies or meets a full disk where it is told to.

``python faulty_appender.py WORDS``; WORDS is JSON: ``store`` (a file or a postgresql:// address), ``origin``,
``key`` (an Ed25519 key in PKCS#8, hex), ``step`` at which the process kills itself (empty: never), ``bytes``
that a file may have before the disk counts as full (0: any). It prints a line before and after each append:

    try <entry ids> <document id>
    ok <index of the first> <entry ids> <size and root of the checkpoint>
    refused <message>                       the disk was full; then it is not any more
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from adapters.errors import StoreUnavailable
from adapters.postgres import PostgresStore
from adapters.sequencer import Sequencer
from adapters.sqlite import SqliteStore
from adapters.store import Committed, Document, Store, Tally
from security.keys import KeyPair, new_record
from security.ledger import Sealed, seal
from security.note import Checkpoint, split

NOW = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
BATCHES = 15
"""What happens before the fault."""


class Fault:
    """Kills this process at a step, after it was passed a number of times."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._left = BATCHES

    def __call__(self, step: str) -> None:
        self._left -= step == self._step
        if self._left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


class DyingStore:
    """A real store with a fault before and after each of its two effects."""

    def __init__(self, store: Store, fault: Fault) -> None:
        self._store, self._fault = store, fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(
        self, entries: Sequence[Sealed], documents: Sequence[Document], tallies: Sequence[Tally]
    ) -> Committed:
        self._fault("before commit")
        committed = await self._store.commit(entries, documents, tallies)
        self._fault("after commit")
        return committed

    async def put_note(self, size: int, root: bytes, note: str) -> None:
        self._fault("before note")
        await self._store.put_note(size, root, note)
        self._fault("after note")


class DyingSigner:
    """A real signer with a fault before and after signing."""

    def __init__(self, signer: KeyPair, fault: Fault) -> None:
        self.public, self.kid, self.algorithm = signer.public, signer.kid, signer.algorithm
        self._signer, self._fault = signer, fault

    def sign(self, message: bytes) -> bytes:
        self._fault("before sign")
        signature = self._signer.sign(message)
        self._fault("after sign")
        return signature


def tell(*words: object) -> None:
    print(*words, flush=True)


def key_of(pkcs8: bytes) -> KeyPair:
    """The key pair; its public part is found by signing with it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key

    private = load_der_private_key(pkcs8, None)
    raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return KeyPair(new_record(raw, "Ed25519", "cq", "log", NOW), pkcs8)


async def append(sequencer: Sequencer, entries: list[Sealed]) -> None:
    ids = ",".join(entry.entry_id for entry in entries)
    document = Document(kind="check", id=entries[0].entry_id, body=b"{}", at=NOW)
    tell("try", ids, document.id)
    receipt = await sequencer.append(entries, [document])
    checkpoint = Checkpoint.from_text(split(receipt.note)[0])
    tell("ok", receipt.indexes[0], ids, f"{checkpoint.size}:{checkpoint.root.hex()}")


def sealed(count: int, size: int = 100) -> list[Sealed]:
    return [
        seal("question", os.urandom(size), time=NOW, from_="cq", to="sc", hash_name="sha256")
        for _ in range(count)
    ]


async def for_ever(sequencer: Sequencer, count: int) -> None:
    while True:
        await append(sequencer, sealed(count))


async def until_full(sequencer: Sequencer, limit: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    entries = sealed(2, 50_000)
    try:
        while True:
            await append(sequencer, entries)
            entries = sealed(2, 50_000)
    except StoreUnavailable as full:
        tell("refused", full)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await append(sequencer, entries)
    await append(sequencer, sealed(1))


async def main(words: dict[str, Any]) -> None:
    where, fault = words["store"], Fault(words["step"])
    store = PostgresStore(where) if where.startswith("postgresql:") else SqliteStore(Path(where))
    await store.open()
    signer = DyingSigner(key_of(bytes.fromhex(words["key"])), fault)
    sequencer = Sequencer(cast("Store", DyingStore(store, fault)), [signer], words["origin"])
    await sequencer.start()
    if words["bytes"]:
        await until_full(sequencer, words["bytes"])
    else:
        await asyncio.gather(*(for_ever(sequencer, 1 + n % 3) for n in range(8)))
    await sequencer.close()
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
