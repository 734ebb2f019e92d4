"""The one door into the ledger: callers append, one task commits, signs and answers.

The task takes whatever has queued while it was busy, commits it as one batch, signs one checkpoint, stores
the note, and only then answers: commit → sign → store the note → answer. What is not committed is never
signed, and what was answered is both. A crash between two steps is harmless: a committed size has exactly one
root, so signing it again, at the next start, is no fork. Any number of replicas may run a sequencer over one
PostgreSQL; the head's row lock puts their batches in one order.

A caller that gets StoreUnavailable does not know whether its entries stand in the ledger. It repeats
``append`` with the same entries; those that stand there already are answered with the place that they have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec import Struct

from adapters.errors import KeyTaken, StoreError, StoreUnavailable
from adapters.store import Document, Head, Store, Tally
from security.errors import Check, LedgerRefused, TrustError
from security.keys import Signer
from security.ledger import Sealed
from security.note import Checkpoint, hash_of, sign, split
from security.tree import Frontier, Tree, consistency_proof, inclusion_proof

WAITING = 4096
_CHUNK = 65_536


class Receipt(Struct, frozen=True):
    """Where an append's entries stand, and the size and signed note of a checkpoint that covers them."""

    indexes: tuple[int, ...]
    size: int
    note: str


class _Append:
    def __init__(
        self, entries: Sequence[Sealed], documents: Sequence[Document], tallies: Sequence[Tally]
    ) -> None:
        self.entries = entries
        self.documents = documents
        self.tallies = tallies
        self.done: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()

    def answer(self, receipt: Receipt) -> None:
        if not self.done.done():  # its caller may have given up
            self.done.set_result(receipt)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class Sequencer:
    """Appends to the ledger of an open store and signs its checkpoints under ``origin``.

    ``signers`` each add a line to the note (Ed25519 for stock tools, SM2); they are called on the event loop,
    once a batch. At most ``waiting`` appends queue. The origin names the hash (``…/sm3``, else SHA-256).
    """

    def __init__(
        self, store: Store, signers: Sequence[Signer], origin: str, *, waiting: int = WAITING
    ) -> None:
        self.store = store
        self.signers = signers
        self.origin = origin
        self.hash_name = hash_of(origin)
        self.waiting = waiting
        self._queue: list[_Append] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Compare the ledger with its newest checkpoint, sign the head if it has none yet, and take appends.

        Raises StoreError when the ledger lacks entries that were signed for or has others in their place:
        then it came back from a backup, or was changed, and going on would fork it. A database that was
        restored as a whole agrees with itself; only the witnesses and published copies tell that one.
        """
        if self.store.hash_name != self.hash_name:
            raise StoreError(
                f"the store hashes with {self.store.hash_name}; {self.origin} says {self.hash_name}"
            )
        note = await self.store.note()  # before the head, which other replicas may move on
        head = await self.store.head()
        if note is None or await self._published(note, head) < head.size:
            await self._publish(head.size, head.root)
        self._closing = False
        self._task = asyncio.create_task(self._run(), name="sequencer")

    async def close(self) -> None:
        """Take no more appends, and return when those that wait are answered. Safe to call twice."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait((self._task,))
            self._task = None

    async def append(
        self,
        entries: Sequence[Sealed],
        documents: Sequence[Document] = (),
        tallies: Sequence[Tally] = (),
    ) -> Receipt:
        """Keep entries (in their order, densely), documents and tallies together, and return when that is
        durable and signed.

        A caller that is cancelled meanwhile leaves them kept as a whole or not at all. Without entries there
        is nothing by which a repeated append is recognised: its documents are then taken. Raises
        StoreUnavailable when the store cannot be reached, signing fails, or too many wait (nothing of it was
        queued then); KeyTaken when a document exists or an entry's id stands for another entry; LedgerRefused
        for an entry sealed for another hash.
        """
        if self._task is None or self._closing:
            raise StoreUnavailable("the ledger is closed: nothing can be kept until the gateway has started")
        if len(self._queue) >= self.waiting:
            raise StoreUnavailable(
                f"{len(self._queue)} writes wait for the ledger already: try again in a second"
            )
        append = _Append(entries, documents, tallies)
        self._queue.append(append)
        self._wake.set()
        return await append.done

    async def inclusion(self, index: int, size: int) -> list[bytes]:
        """The proof that entry ``index`` stands in the ledger's first ``size`` entries (RFC 6962 §2.1.1).

        Reads all leaves below ``size``: O(size). Raises LedgerRefused unless 0 ≤ index < size ≤ the ledger's.
        """
        tree = await self._tree(size)
        return inclusion_proof(index, size, tree.hash_at, self.hash_name)

    async def consistency(self, old: int, new: int) -> list[bytes]:
        """The proof that the ledger of ``new`` entries begins with that of ``old`` (RFC 6962 §2.1.2).

        Reads all leaves below ``new``: O(new). Raises LedgerRefused unless 0 ≤ old ≤ new ≤ the ledger's size.
        """
        tree = await self._tree(new)
        return consistency_proof(old, new, tree.hash_at, self.hash_name)

    async def _run(self) -> None:
        while self._queue or not self._closing:
            await self._wake.wait()
            self._wake.clear()
            batch, self._queue = self._queue, []
            try:
                if batch:
                    await self._settle(batch)
            except Exception as error:  # whatever it was: nobody is left waiting, and the next batch is tried
                for append in batch:
                    append.fail(error)

    async def _settle(self, batch: Sequence[_Append]) -> None:
        placed: list[tuple[_Append, tuple[int, ...]]] = []
        try:
            committed = await self.store.commit(
                [entry for append in batch for entry in append.entries],
                [document for append in batch for document in append.documents],
                [tally for append in batch for tally in append.tallies],
            )
        except (KeyTaken, LedgerRefused):  # by one of them: the others shall not suffer
            for append in batch:
                if (indexes := await self._place(append)) is not None:
                    placed += [(append, indexes)]
            head = await self.store.head()
            size, root = head.size, head.root
        else:
            size, root, first = committed.size, committed.root, committed.first_index
            for append in batch:
                placed.append((append, tuple(range(first, first + len(append.entries)))))
                first += len(append.entries)
        if placed:
            note = await self._publish(size, root)
            for append, indexes in placed:
                append.answer(Receipt(indexes, size, note))

    async def _place(self, append: _Append) -> tuple[int, ...] | None:
        """Commit one append by itself: its indexes (of an earlier try too), or None when it failed."""
        try:
            committed = await self.store.commit(append.entries, append.documents, append.tallies)
        except (KeyTaken, LedgerRefused) as refused:
            indexes = [await self._index_of(entry) for entry in append.entries]
            found = tuple(index for index in indexes if index is not None)
            if found and len(found) == len(indexes):  # one transaction kept them, with their documents
                return found
            append.fail(refused)
            return None
        return tuple(range(committed.first_index, committed.size))

    async def _index_of(self, entry: Sealed) -> int | None:
        index = await self.store.index_of(entry.entry_id)
        same = index is not None and await self.store.leaves(index, 1) == [entry.leaf]
        return index if same else None

    async def _publish(self, size: int, root: bytes) -> str:
        """Sign the checkpoint of a committed size and store its note."""
        try:
            note = sign(Checkpoint(self.origin, size, root).to_text(), self.origin, self.signers)
        except TrustError as error:
            raise StoreUnavailable(f"the checkpoint of size {size} could not be signed: {error}") from error
        await self.store.put_note(size, root, note)
        return note

    async def _published(self, note: str, head: Head) -> int:
        """The size of the newest stored note. Raises StoreError when the ledger does not continue it."""
        try:
            published = Checkpoint.from_text(split(note)[0])
        except LedgerRefused as error:
            raise StoreError(f"the newest stored checkpoint cannot be read: {error}") from error
        advice = "restore the newest copy of the database, or begin a new ledger under another origin"
        if published.origin != self.origin:
            raise StoreError(
                f"this store holds the ledger {published.origin}, not {self.origin}: name it, or use another"
            )
        if published.size > head.size:
            raise StoreError(
                f"the ledger has {head.size} entries, but {published.size} were signed: {advice}"
            )
        if published.root != (head.root if published.size == head.size else await self._root(published.size)):
            raise StoreError(f"the first {published.size} entries are not those that were signed: {advice}")
        return published.size

    async def _root(self, size: int) -> bytes:
        frontier = Frontier()
        while leaves := await self.store.leaves(frontier.size, min(_CHUNK, size - frontier.size)):
            frontier = frontier.extend(leaves, self.hash_name)
        return frontier.root(self.hash_name)

    async def _tree(self, size: int) -> Tree:
        known = (await self.store.head()).size
        if size > known:
            raise LedgerRefused(Check.CONSISTENCY, f"the ledger has {known} entries, not {size}")
        return await asyncio.to_thread(Tree, await self.store.leaves(0, size), self.hash_name)
