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
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct

from adapters.errors import KeyTaken, StoreError, StoreUnavailable
from adapters.store import Committed, Document, Head, Store, Tally
from adapters.subtrees import proof, root_at
from security.errors import Check, LedgerRefused, TrustError
from security.keys import Signer
from security.ledger import Sealed
from security.note import Checkpoint, hash_of, sign, split
from security.tree import consistency_proof, inclusion_proof

WAITING = 4096
SIGN_SECONDS = 5.0
_ADVICE = "restore the newest copy of the database, or begin a new ledger under another origin"


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

    ``signers`` each add a line to the note (Ed25519 for stock tools, SM2); they are called in a thread of
    their own, once a batch. Those that take longer than ``sign_seconds`` fail the batch, and until they are
    done nothing more is committed. At most ``waiting`` appends queue. The origin names the hash (``…/sm3``,
    else SHA-256).

    ``guard`` is asked at the start, before anything is signed, and raises StoreError when somebody outside
    this database knows a longer ledger or another one. What is learned later comes in by :meth:`refuse`.
    """

    def __init__(
        self,
        store: Store,
        signers: Sequence[Signer],
        origin: str,
        *,
        waiting: int = WAITING,
        sign_seconds: float = SIGN_SECONDS,
        guard: Callable[[Head], Awaitable[None]] | None = None,
    ) -> None:
        self.store = store
        self.signers = signers
        self.origin = origin
        self.hash_name = hash_of(origin)
        self.waiting = waiting
        self._guard = guard
        self._sign_seconds = sign_seconds
        self._signer: ThreadPoolExecutor | None = None
        self._late: asyncio.Future[str] | None = None
        self._began = self._took = 0.0
        self._failed = False
        self._refusal = ""
        self._newest: tuple[int, bytes, str] = (0, b"", "")
        self._queue: list[_Append] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Compare the ledger with its newest checkpoint, sign the head if it has none yet, and take appends.

        Raises StoreError when the ledger lacks entries that were signed for or has others in their place:
        then it came back from a backup, or was changed, and going on would fork it. A database that was
        restored as a whole agrees with itself; only the ``guard`` tells that one.
        """
        if self.store.hash_name != self.hash_name:
            raise StoreError(
                f"the store hashes with {self.store.hash_name}; {self.origin} says {self.hash_name}"
            )
        self._signer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint-signer")
        note = await self.store.note()  # before the head, which other replicas may move on
        head = await self.store.head()
        if note is not None:
            published = await self._published(note, head)
            self._newest = (published.size, published.root, note)
        if self._guard is not None:
            await self._guard(head)
        if note is None or self._newest[0] < head.size:
            await self._publish(head.size, head.root)
        self._closing, self._refusal = False, ""
        self._task = asyncio.create_task(self._run(), name="sequencer")

    async def close(self) -> None:
        """Take no more appends, and return when those that wait are answered. Safe to call twice."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait((self._task,))
            self._task = None
        if self._signer is not None:
            self._signer.shutdown(wait=False)
            self._signer = None

    @property
    def queued(self) -> int:
        """How many appends wait; of ``waiting`` at most."""
        return len(self._queue)

    @property
    def seconds(self) -> float:
        """How long the last batch took, or the one that is under way takes already if that is longer."""
        under_way = time.monotonic() - self._began if self._began else 0.0
        return max(self._took, under_way)

    @property
    def trouble(self) -> str:
        """Why nothing is committed now, or nothing."""
        if self._refusal:
            return f"this ledger is not continued: {self._refusal}"
        if self._late is not None and not self._late.done():
            return "the signer of checkpoints has not answered yet"
        return ""

    async def check(self) -> None:
        """Return when the store answers and, where the last batch could not be kept, when a write of nothing
        and its signature succeed; :attr:`trouble` is told apart. Raises StoreUnavailable."""
        if self.trouble or not self._failed:
            return await self.store.ping()
        committed = await self._commit((), (), ())
        await self._publish(committed.size, committed.root)
        self._failed = False
        return None

    def refuse(self, why: str) -> None:
        """Commit and sign nothing from now on, until a new start: every append raises StoreUnavailable with
        ``why``. A batch that is being committed is not signed any more."""
        self._refusal = why

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
        StoreUnavailable when the store cannot be reached, signing fails or is refused, or too many wait
        (nothing of it was queued then); KeyTaken when a document exists or an entry's id stands for another
        entry; LedgerRefused for an entry sealed for another hash.
        """
        if self._task is None or self._closing:
            raise StoreUnavailable("the ledger is closed: nothing can be kept until the gateway has started")
        self._refuse_troubled()
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

        Reads O(log size). Raises LedgerRefused unless 0 ≤ index < size ≤ the ledger's.
        """
        await self._within(size)
        return await proof(self.store, lambda read: inclusion_proof(index, size, read, self.hash_name))

    async def consistency(self, old: int, new: int) -> list[bytes]:
        """The proof that the ledger of ``new`` entries begins with that of ``old`` (RFC 6962 §2.1.2).

        Reads O(log new). Raises LedgerRefused unless 0 ≤ old ≤ new ≤ the ledger's size.
        """
        await self._within(new)
        return await proof(self.store, lambda read: consistency_proof(old, new, read, self.hash_name))

    async def _run(self) -> None:
        while self._queue or not self._closing:
            await self._wake.wait()
            self._wake.clear()
            batch, self._queue = self._queue, []
            self._began = time.monotonic()
            try:
                if batch:
                    await self._settle(batch)
                    self._failed = False
            except Exception as error:  # whatever it was: nobody is left waiting, and the next batch is tried
                self._failed = True
                for append in batch:
                    append.fail(error)
            self._took, self._began = time.monotonic() - self._began, 0.0

    async def _settle(self, batch: Sequence[_Append]) -> None:
        self._refuse_troubled()
        placed: list[tuple[_Append, tuple[int, ...]]] = []
        try:
            committed = await self._commit(
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
            committed = await self._commit(append.entries, append.documents, append.tallies)
        except (KeyTaken, LedgerRefused) as refused:
            indexes = [await self._index_of(entry) for entry in append.entries]
            found = tuple(index for index in indexes if index is not None)
            if found and len(found) == len(indexes):  # one transaction kept them, with their documents
                return found
            append.fail(refused)
            return None
        return tuple(range(committed.first_index, committed.size))

    async def _commit(
        self, entries: Sequence[Sealed], documents: Sequence[Document], tallies: Sequence[Tally]
    ) -> Committed:
        """Commit, and refuse to go on where the ledger is shorter than what was signed here: the database was
        restored, or a standby took over without its tail. What was signed is laid into it, so that no replica
        starts on it, and those that run refuse with their next round to the witnesses."""
        signed = self._newest  # not the newest afterwards: a check beside may be told of its commit late
        committed = await self.store.commit(entries, documents, tallies)
        if committed.first_index < signed[0]:
            self.refuse(
                f"the database held {committed.first_index} entries, but {signed[0]} were signed: it came"
                f" back from a backup; {_ADVICE}"
            )
            await self.store.put_note(*signed)
        return committed

    async def _index_of(self, entry: Sealed) -> int | None:
        index = await self.store.index_of(entry.entry_id)
        same = index is not None and await self.store.leaves(index, 1) == [entry.leaf]
        return index if same else None

    async def _publish(self, size: int, root: bytes) -> str:
        """Sign the checkpoint of a committed size and store its note."""
        self._refuse_troubled()
        text = Checkpoint(self.origin, size, root).to_text()
        signing = asyncio.get_running_loop().run_in_executor(
            self._signer, lambda: sign(text, self.origin, self.signers)
        )
        try:
            note = await asyncio.wait_for(asyncio.shield(signing), self._sign_seconds)
        except TimeoutError:
            self._late = signing
            raise StoreUnavailable(
                f"the checkpoint of size {size} was not signed within {self._sign_seconds:g} s"
            ) from None
        except TrustError as error:
            raise StoreUnavailable(f"the checkpoint of size {size} could not be signed: {error}") from error
        await self.store.put_note(size, root, note)
        self._newest = max(self._newest, (size, root, note))
        return note

    def _refuse_troubled(self) -> None:
        if trouble := self.trouble:
            raise StoreUnavailable(trouble)

    async def _published(self, note: str, head: Head) -> Checkpoint:
        """The newest stored checkpoint. Raises StoreError when the ledger does not continue it."""
        try:
            published = Checkpoint.from_text(split(note)[0])
        except LedgerRefused as error:
            raise StoreError(f"the newest stored checkpoint cannot be read: {error}") from error
        if published.origin != self.origin:
            raise StoreError(
                f"this store holds the ledger {published.origin}, not {self.origin}: name it, or use another"
            )
        if published.size > head.size:
            raise StoreError(
                f"the ledger has {head.size} entries, but {published.size} were signed: {_ADVICE}"
            )
        if published.root != (head.root if published.size == head.size else await self._root(published.size)):
            raise StoreError(f"the first {published.size} entries are not those that were signed: {_ADVICE}")
        return published

    async def _root(self, size: int) -> bytes:
        (root,) = await proof(self.store, lambda read: [root_at(size, read, self.hash_name)])
        return root

    async def _within(self, size: int) -> None:
        if size > (known := (await self.store.head()).size):
            raise LedgerRefused(Check.CONSISTENCY, f"the ledger has {known} entries, not {size}")
