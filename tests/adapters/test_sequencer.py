"""The sequencer over both stores: order, faults before and after each effect, cancellation, restarts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Literal, cast

import pytest

from adapters.errors import KeyTaken, StoreError, StoreUnavailable
from adapters.sequencer import Receipt, Sequencer
from adapters.store import Committed, Document, Head, Store, Tally
from security.errors import LedgerRefused, UnsupportedAlgorithm
from security.keys import KeyPair, Signer
from security.ledger import Sealed, seal
from security.note import Checkpoint, NoteVerifier, sign, verify
from security.tree import verify_consistency, verify_inclusion

pytestmark = pytest.mark.anyio

Seal = Callable[..., list[Sealed]]
NewStore = Callable[..., Store]
Effect = Literal["commit", "put_note"]
When = Literal["before", "after"]
AT = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
ORIGIN = "log.cq.example/exchange"


class FaultyStore:
    """A real store of which an effect fails once, before or after it happened; commits can be held up."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.fault: tuple[Effect, When] | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()
        self.batches: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(
        self, entries: Sequence[Sealed], documents: Sequence[Document], tallies: Sequence[Tally]
    ) -> Committed:
        self.batches.append(len(entries))
        self.begun.set()
        await self.gate.wait()
        self._fail("commit", "before")
        committed = await self._store.commit(entries, documents, tallies)
        self._fail("commit", "after")
        return committed

    async def put_note(self, size: int, root: bytes, note: str) -> None:
        self._fail("put_note", "before")
        await self._store.put_note(size, root, note)
        self._fail("put_note", "after")

    def _fail(self, effect: Effect, when: When) -> None:
        if self.fault == (effect, when):
            self.fault = None
            raise StoreUnavailable(f"{effect} fails {when} it happened")


class FaultySigner:
    """A real signer whose machine can be out of order."""

    def __init__(self, signer: KeyPair) -> None:
        self.public, self.kid, self.algorithm = signer.public, signer.kid, signer.algorithm
        self._signer = signer
        self.broken = False

    def sign(self, message: bytes) -> bytes:
        if self.broken:
            raise UnsupportedAlgorithm("the crypto machine does not answer")
        return self._signer.sign(message)


@asynccontextmanager
async def running(
    store: object, *signers: Signer, origin: str = ORIGIN, **options: Any
) -> AsyncIterator[Sequencer]:
    sequencer = Sequencer(cast("Store", store), signers, origin, **options)
    await sequencer.start()
    try:
        yield sequencer
    finally:
        await sequencer.close()


def doc(id_: str, key: str = "") -> Document:
    return Document(kind="check", id=id_, key=key, body=b"{}", at=AT)


def checkpoint(note: str, *signers: Signer) -> Checkpoint:
    verifiers = [NoteVerifier.of(ORIGIN, signer.public) for signer in signers]
    verified = verify(note, verifiers)
    assert set(verified.signed_by) == set(verifiers)
    return verified.checkpoint


async def held_up(sequencer: Sequencer, store: FaultyStore, entries: list[Sealed]) -> asyncio.Task[Receipt]:
    """An append whose commit has begun and does not end before the gate opens."""
    store.gate.clear()
    task = asyncio.create_task(sequencer.append(entries))
    await store.begun.wait()
    return task


async def test_a_receipt_proves_its_entries(
    store_open: Store, store_signer: KeyPair, store_seal: Seal
) -> None:
    entries = store_seal(3)
    async with running(store_open, store_signer) as sequencer:
        await sequencer.append(store_seal(2))
        receipt = await sequencer.append(entries, [doc("D-1")])
        signed = checkpoint(receipt.note, store_signer)
        assert (receipt.indexes, receipt.size, signed.size) == ((2, 3, 4), 5, 5)
        for index, entry in zip(receipt.indexes, entries, strict=True):
            proof = await sequencer.inclusion(index, receipt.size)
            verify_inclusion(entry.leaf, index, receipt.size, proof, signed.root, "sha256")
    assert await store_open.document("check", "D-1") == doc("D-1")


async def test_later_checkpoints_continue_earlier_ones(
    store_open: Store, store_signer: KeyPair, store_seal: Seal
) -> None:
    async with running(store_open, store_signer) as sequencer:
        old = checkpoint((await sequencer.append(store_seal(3))).note, store_signer)
        new = checkpoint((await sequencer.append(store_seal(4))).note, store_signer)
        proof = await sequencer.consistency(old.size, new.size)
    verify_consistency(old.size, new.size, proof, old.root, new.root, "sha256")


@pytest.mark.parametrize(("index", "size"), [(0, 3), (2, 2), (-1, 2), (0, 10**30), (0, -1)])
async def test_a_proof_beyond_the_ledger_is_refused(
    store_open: Store, store_signer: KeyPair, store_seal: Seal, index: int, size: int
) -> None:
    async with running(store_open, store_signer) as sequencer:
        await sequencer.append(store_seal(2))
        with pytest.raises(LedgerRefused):
            await sequencer.inclusion(index, size)


async def test_callers_that_wait_share_one_commit_and_one_checkpoint(
    store_open: Store, store_signer: KeyPair, store_seal: Seal
) -> None:
    store = FaultyStore(store_open)
    async with running(store, store_signer) as sequencer:
        first = await held_up(sequencer, store, store_seal())
        others = [asyncio.create_task(sequencer.append(store_seal(2))) for _ in range(20)]
        await asyncio.sleep(0)
        store.gate.set()
        receipts = await asyncio.gather(first, *others)
    assert store.batches == [1, 40]
    assert len({receipt.note for receipt in receipts}) == 2
    assert [index for receipt in receipts for index in receipt.indexes] == list(range(41))


async def test_of_a_batch_only_the_offender_fails(
    store_open: Store, store_signer: KeyPair, store_seal: Seal
) -> None:
    async with running(store_open, store_signer) as sequencer:
        await sequencer.append(store_seal(), [doc("D-1", "request-1")])
        results = await asyncio.gather(
            sequencer.append(store_seal(), [doc("D-2", "request-2")]),
            sequencer.append(store_seal(), [doc("D-3", "request-1")]),
            sequencer.append(store_seal(1, "sm3"), [doc("D-4")]),
            sequencer.append(store_seal(), [doc("D-5", "request-5")]),
            return_exceptions=True,
        )
    assert [type(result) for result in results] == [Receipt, KeyTaken, LedgerRefused, Receipt]
    assert [document.id for document in await store_open.documents("check")] == ["D-1", "D-2", "D-5"]
    assert (await store_open.head()).size == 3


async def test_of_two_equal_keys_in_one_batch_the_first_is_kept(
    store_open: Store, store_signer: KeyPair, store_seal: Seal
) -> None:
    async with running(store_open, store_signer) as sequencer:
        results = await asyncio.gather(
            *(sequencer.append(store_seal(), [doc(f"D-{n}", "request-1")]) for n in range(3)),
            return_exceptions=True,
        )
    assert [type(result) for result in results] == [Receipt, KeyTaken, KeyTaken]


@pytest.mark.parametrize("effect", ["commit", "put_note"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_after_a_fault_the_same_appends_are_kept_once(
    store_open: Store, store_signer: KeyPair, store_seal: Seal, effect: Effect, when: When
) -> None:
    store = FaultyStore(store_open)
    appends = [(store_seal(2), [doc(f"D-{n}", f"request-{n}")]) for n in range(3)]
    async with running(store, store_signer) as sequencer:
        await sequencer.append(store_seal())
        store.fault = (effect, when)
        failed = await asyncio.gather(
            *(sequencer.append(*append) for append in appends), return_exceptions=True
        )
        healed = await asyncio.gather(*(sequencer.append(*append) for append in appends))
    assert [type(result) for result in failed] == [StoreUnavailable] * 3
    assert [receipt.indexes for receipt in healed] == [(1, 2), (3, 4), (5, 6)]
    assert {checkpoint(receipt.note, store_signer).size for receipt in healed} == {7}
    assert (await store_open.head()).size == 7


async def test_while_signing_fails_nobody_gets_a_receipt(
    store_open: Store, store_signer: KeyPair, store_seal: Seal
) -> None:
    entries = store_seal(2)
    signer = FaultySigner(store_signer)
    async with running(store_open, signer) as sequencer:
        signer.broken = True
        with pytest.raises(StoreUnavailable, match="could not be signed"):
            await sequencer.append(entries)
        signer.broken = False
        receipt = await sequencer.append(entries)
    assert receipt.indexes == (0, 1)


async def test_an_entry_id_that_stands_for_another_entry_is_refused(
    store_open: Store, store_signer: KeyPair, store_seal: Seal
) -> None:
    (entry,) = store_seal()
    other = seal("answer", entry.payload, time=AT, from_="sc", to="cq", salt=entry.salt, hash_name="sha256")
    assert other.entry_id == entry.entry_id
    async with running(store_open, store_signer) as sequencer:
        await sequencer.append([entry])
        with pytest.raises(KeyTaken):
            await sequencer.append([other])


async def test_an_append_of_old_and_new_entries_together_is_refused(
    store_open: Store, store_signer: KeyPair, store_seal: Seal
) -> None:
    entries = store_seal()
    async with running(store_open, store_signer) as sequencer:
        await sequencer.append(entries)
        with pytest.raises(KeyTaken):
            await sequencer.append(entries + store_seal())
    assert (await store_open.head()).size == 1


async def test_who_is_cancelled_during_the_commit_finds_the_entries_once(
    store_open: Store, store_signer: KeyPair, store_seal: Seal
) -> None:
    store, entries = FaultyStore(store_open), store_seal(2)
    async with running(store, store_signer) as sequencer:
        first = await held_up(sequencer, store, entries)
        queued = asyncio.create_task(sequencer.append(others := store_seal(2)))
        await asyncio.sleep(0)
        first.cancel()
        queued.cancel()
        store.gate.set()
        assert (await sequencer.append(entries)).indexes == (0, 1)
        assert (await sequencer.append(others)).indexes == (2, 3)
    assert (await store_open.head()).size == 4


async def test_too_many_waiting_appends_are_refused_at_once(
    store_open: Store, store_signer: KeyPair, store_seal: Seal
) -> None:
    store = FaultyStore(store_open)
    async with running(store, store_signer, waiting=2) as sequencer:
        first = await held_up(sequencer, store, store_seal())
        waiting = [asyncio.create_task(sequencer.append(store_seal())) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable, match="2 writes wait"):
            await sequencer.append(store_seal())
        store.gate.set()
        receipts = await asyncio.gather(first, *waiting)
    assert [receipt.indexes for receipt in receipts] == [(0,), (1,), (2,)]


async def test_closing_answers_those_who_wait_and_then_refuses(
    store_open: Store, store_signer: KeyPair, store_seal: Seal
) -> None:
    store = FaultyStore(store_open)
    async with running(store, store_signer) as sequencer:
        first = await held_up(sequencer, store, store_seal())
        second = asyncio.create_task(sequencer.append(store_seal()))
        await asyncio.sleep(0)
        closing = asyncio.create_task(sequencer.close())
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable, match="closed"):
            await sequencer.append(store_seal())
        store.gate.set()
        await closing
        assert [task.result().indexes for task in (first, second)] == [(0,), (1,)]


async def test_a_new_ledger_has_a_signed_checkpoint_of_nothing(
    store_open: Store, store_signer: KeyPair
) -> None:
    async with running(store_open, store_signer):
        note = await store_open.note()
    assert note is not None
    assert checkpoint(note, store_signer).size == 0


async def test_a_head_that_a_crash_left_unsigned_is_signed_at_the_start(
    store_open: Store, store_signer: KeyPair, store_seal: Seal
) -> None:
    async with running(store_open, store_signer) as sequencer:
        await sequencer.append(store_seal(3))
    await store_open.commit(store_seal(2), [])
    async with running(store_open, store_signer):
        note = await store_open.note()
    assert note is not None
    assert checkpoint(note, store_signer).size == 5


async def test_a_ledger_that_lacks_signed_entries_is_not_continued(
    store_raw: Store, store_signer: KeyPair, store_seal: Seal
) -> None:
    await store_raw.commit(store_seal(2), [])
    await store_raw.put_note(
        3, bytes(32), sign(Checkpoint(ORIGIN, 3, bytes(32)).to_text(), ORIGIN, [store_signer])
    )
    with pytest.raises(StoreError, match="the ledger has 2 entries, but 3 were signed"):
        await Sequencer(store_raw, [store_signer], ORIGIN).start()


@pytest.mark.parametrize("size", [1, 2])
async def test_a_ledger_with_other_entries_than_signed_is_not_continued(
    store_raw: Store, store_signer: KeyPair, store_seal: Seal, size: int
) -> None:
    await store_raw.commit(store_seal(2), [])
    signed = sign(Checkpoint(ORIGIN, size, bytes(32)).to_text(), ORIGIN, [store_signer])
    await store_raw.put_note(size, bytes(32), signed)
    with pytest.raises(StoreError, match=f"the first {size} entries are not those that were signed"):
        await Sequencer(store_raw, [store_signer], ORIGIN).start()


async def test_the_ledger_of_another_origin_is_not_continued(
    store_open: Store, store_signer: KeyPair
) -> None:
    async with running(store_open, store_signer):
        pass
    with pytest.raises(StoreError, match=f"this store holds the ledger {re.escape(ORIGIN)}"):
        await Sequencer(store_open, [store_signer], "log.sc.example/exchange").start()


async def test_a_note_that_is_none_stops_the_start(store_raw: Store, store_signer: KeyPair) -> None:
    await store_raw.put_note(0, bytes(32), "not a note")
    with pytest.raises(StoreError, match="cannot be read"):
        await Sequencer(store_raw, [store_signer], ORIGIN).start()


async def test_an_origin_that_names_another_hash_is_refused(store_open: Store, store_signer: KeyPair) -> None:
    with pytest.raises(StoreError, match="hashes with sha256"):
        await Sequencer(store_open, [store_signer], "log.cq.example/exchange/sm3").start()


async def test_two_sequencers_over_one_ledger_interleave_densely(
    store_open: Store, store_new: NewStore, store_signer: KeyPair, store_seal: Seal
) -> None:
    other = store_new()
    await other.open()
    async with running(store_open, store_signer) as one, running(other, store_signer) as two:

        async def append_ten(sequencer: Sequencer) -> list[Receipt]:
            return [await sequencer.append(store_seal(2)) for _ in range(10)]

        results = await asyncio.gather(*(append_ten(sequencer) for sequencer in (one, two) for _ in range(4)))
    await other.close()
    receipts = [receipt for result in results for receipt in result]
    assert sorted(index for receipt in receipts for index in receipt.indexes) == list(range(160))
    assert all(max(receipt.indexes) < checkpoint(receipt.note, store_signer).size for receipt in receipts)


async def test_a_checkpoint_carries_a_line_of_each_signer(
    store_open: Store, store_signer: KeyPair, store_seal: Seal
) -> None:
    try:
        sm2 = KeyPair.generate("SM2", "cq", "ledger", AT)
    except UnsupportedAlgorithm as missing:
        pytest.skip(str(missing))
    async with running(store_open, store_signer, sm2) as sequencer:
        receipt = await sequencer.append(store_seal())
    assert checkpoint(receipt.note, store_signer, sm2).size == 1


async def test_a_guard_that_refuses_stops_the_start_before_anything_is_signed(
    store_raw: Store, store_signer: KeyPair, store_seal: Seal
) -> None:
    async def knows_more(head: Head) -> None:
        raise StoreError(f"a witness knows more than {head.size} entries")

    await store_raw.commit(store_seal(2), [])
    with pytest.raises(StoreError, match="knows more than 2"):
        await Sequencer(store_raw, [store_signer], ORIGIN, guard=knows_more).start()
    assert await store_raw.note() is None


async def test_a_refusal_while_running_keeps_nothing_more(
    store_open: Store, store_signer: KeyPair, store_seal: Seal
) -> None:
    async with running(store_open, store_signer) as sequencer:
        await sequencer.append(store_seal())
        sequencer.refuse("a witness knows another ledger")
        with pytest.raises(StoreUnavailable, match="a witness knows another ledger"):
            await sequencer.append(store_seal())
    assert (await store_open.head()).size == 1


async def test_a_refusal_during_a_commit_leaves_it_unsigned(
    store_open: Store, store_signer: KeyPair, store_seal: Seal
) -> None:
    store = FaultyStore(store_open)
    async with running(store, store_signer) as sequencer:
        appended = await held_up(sequencer, store, store_seal())
        sequencer.refuse("a witness knows another ledger")
        store.gate.set()
        with pytest.raises(StoreUnavailable, match="another ledger"):
            await appended
    note = await store_open.note()
    assert note is not None
    assert checkpoint(note, store_signer).size == 0
