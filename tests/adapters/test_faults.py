"""What a ledger survives: processes killed at every step, a database that goes and comes back, full disks,
signers that fail in every way, a clock that jumps.

After each fault the ledger is started again, appended to, and verified as a whole: every answer that was
given stands where it was said to stand, every checkpoint that was given out is one of the ledger's own, and
what was under way is there completely or not at all.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import cast

import asyncpg
import pytest
from msgspec import Struct

from adapters.errors import StoreError, StoreUnavailable
from adapters.postgres import PostgresStore
from adapters.sequencer import Receipt, Sequencer
from adapters.sqlite import SqliteStore
from adapters.store import Store
from gateway.demo.peers import postgres
from gateway.demo.processes import Peer
from security.errors import SignatureRefused
from security.keys import KeyPair
from security.ledger import Sealed, read_entry, seal
from security.note import Checkpoint, NoteVerifier, split
from security.tree import root_of
from tests.adapters.conftest import NOW, ORIGIN, check_ledger
from tests.peers import started

pytestmark = pytest.mark.anyio

CHECKOUT = Path(__file__).resolve().parents[2]
STEPS = ("before commit", "after commit", "before sign", "after sign", "before note", "after note")
Seal = Callable[..., list[Sealed]]


class Told(Struct):
    """What an appender said before it ended."""

    tried: list[tuple[list[str], str]]
    answered: list[tuple[int, list[str], int, str]]
    refused: list[str]


def appender(store: str, key: KeyPair, *, step: str = "", file_bytes: int = 0) -> subprocess.Popen[str]:
    words = {"store": store, "origin": ORIGIN, "key": key.pkcs8.hex(), "step": step, "bytes": file_bytes}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.adapters.faulty_appender", json.dumps(words)],
        stdout=subprocess.PIPE,
        cwd=CHECKOUT,
        text=True,
    )


def read_told(lines: Sequence[str]) -> Told:
    told = Told([], [], [])
    for line in lines:
        if not line.endswith("\n"):  # cut off by the kill
            continue
        word, *rest = line.split()
        if word == "try":
            told.tried.append((rest[0].split(","), rest[1]))
        elif word == "ok":
            size, root = rest[2].split(":")
            told.answered.append((int(rest[0]), rest[1].split(","), int(size), root))
        else:
            told.refused.append(line)
    return told


async def check_survived(store: Store, key: KeyPair, *all_told: Told) -> None:
    """Start the ledger again, append to it, and hold it against what was said."""
    await store.open()
    sequencer = Sequencer(store, [key], ORIGIN)
    await sequencer.start()
    later = [seal("question", b"after", time=NOW, from_="cq", to="sc", hash_name="sha256")]
    assert (await sequencer.append(later)).size == (await store.head()).size
    await check_ledger(store, [NoteVerifier.of(ORIGIN, key.public)])
    leaves = await store.leaves(0, 1_000_000)
    bodies = await store.entries(0, 1_000_000)
    place = {read_entry(body).commit: index for index, body in enumerate(bodies)}
    for told in all_told:
        for first, ids, size, root in told.answered:
            assert [place[entry_id] for entry_id in ids] == list(range(first, first + len(ids)))
            assert first + len(ids) <= size
            assert root_of(leaves[:size], "sha256").hex() == root
        for ids, document in told.tried:
            there = {entry_id in place for entry_id in ids}
            there.add(await store.document("check", document) is not None)
            assert len(there) == 1
    await sequencer.close()
    await store.close()


@pytest.fixture(params=["sqlite", "postgres"])
def store_address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new store is: a file or an address."""
    if request.param == "sqlite":
        return str(tmp_path / "store.db")
    address: str = request.getfixturevalue("store_schema")
    return address


def store_at(address: str) -> Store:
    return PostgresStore(address) if address.startswith("postgresql:") else SqliteStore(Path(address))


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
async def test_a_gateway_killed_at_a_step_loses_nothing_that_it_answered(
    store_address: str, store_signer: KeyPair, step: str
) -> None:
    with appender(store_address, store_signer, step=step) as child:
        assert child.stdout
        lines = child.stdout.readlines()
    assert child.returncode == -signal.SIGKILL
    told = read_told(lines)
    assert len(told.answered) > 14
    await check_survived(store_at(store_address), store_signer, told)


@pytest.mark.slow
async def test_a_gateway_killed_at_any_moment_loses_nothing_that_it_answered(
    store_address: str, store_signer: KeyPair
) -> None:
    with appender(store_address, store_signer) as child:
        assert child.stdout
        lines = [child.stdout.readline() for _ in range(1000)]
        child.kill()
        lines += child.stdout.readlines()
    await check_survived(store_at(store_address), store_signer, read_told(lines))


@pytest.mark.slow
async def test_of_two_racing_replicas_one_is_killed_and_the_other_goes_on(
    store_schema: str, store_signer: KeyPair
) -> None:
    with appender(store_schema, store_signer) as one, appender(store_schema, store_signer) as other:
        assert one.stdout
        assert other.stdout
        first, second = [], [other.stdout.readline() for _ in range(100)]
        first = [one.stdout.readline() for _ in range(1000)]
        one.kill()
        first += one.stdout.readlines()
        second += [other.stdout.readline() for _ in range(3000)]
        other.kill()
        second += other.stdout.readlines()
    await check_survived(store_at(store_schema), store_signer, read_told(first), read_told(second))


@pytest.mark.slow
async def test_a_full_disk_refuses_and_goes_on_when_there_is_room_again(
    tmp_path: Path, store_signer: KeyPair
) -> None:
    address = str(tmp_path / "store.db")
    with appender(address, store_signer, file_bytes=3 << 20) as child:
        assert child.stdout
        told = read_told(child.stdout.readlines())
    assert child.returncode == 0
    assert [line.startswith("refused the SQLite store") for line in told.refused] == [True]
    assert len(told.answered) > 10
    await check_survived(store_at(address), store_signer, told)


class OwnServer:
    """A PostgreSQL of one test, which it may stop, start again and starve."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._words = len(cast("list[str]", peer.process.args))

    def crash(self) -> None:
        """Immediate shutdown: nothing is written any more, as in a power cut."""
        self.peer.process.send_signal(signal.SIGQUIT)
        self.peer.process.wait()

    def start(self, file_blocks: str = "unlimited") -> None:
        """With a limit of 512-byte blocks, no file of the server grows beyond it."""
        owner = os.stat(self.peer.scratch) if self.peer.scratch else None
        command = cast("list[str]", self.peer.process.args)
        self.peer.process = subprocess.Popen(
            ["sh", "-c", 'ulimit -S -f "$0"; exec "$@"', file_blocks, *command[-self._words :]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            user=owner.st_uid if owner else None,
            group=owner.st_gid if owner else None,
        )


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[OwnServer]:
    with started(lambda: postgres(tmp_path / "own")) as peer:
        yield OwnServer(peer)


class Client:
    """Appends through a sequencer and, as a gateway's callers do, repeats what was not answered."""

    def __init__(self, sequencer: Sequencer, sealed: Seal) -> None:
        self._sequencer = sequencer
        self._seal = sealed
        self.told = Told([], [], [])

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.once()

    async def once(self) -> None:
        entries = self._seal(2)
        receipt: Receipt | None = None
        while receipt is None:
            try:
                receipt = await self._sequencer.append(entries)
            except StoreUnavailable as away:
                self.told.refused.append(str(away))
                await asyncio.sleep(0.02)
        signed = Checkpoint.from_text(split(receipt.note)[0])
        ids = [entry.entry_id for entry in entries]
        self.told.answered.append((receipt.indexes[0], ids, signed.size, signed.root.hex()))


async def opened(store: Store) -> None:
    """Open the store as soon as its server answers."""
    for _ in range(200):
        with suppress(StoreUnavailable):
            return await store.open()
        await asyncio.sleep(0.05)
    return await store.open()


@pytest.mark.slow
async def test_a_database_that_crashes_under_two_replicas_and_comes_back_has_every_answer_once(
    own_server: OwnServer, store_signer: KeyPair, store_seal: Seal
) -> None:
    stores = [PostgresStore(own_server.peer.url) for _ in range(2)]
    for store in stores:
        await store.open()
    sequencers = [Sequencer(store, [store_signer], ORIGIN) for store in stores]
    for sequencer in sequencers:
        await sequencer.start()
    clients = [Client(sequencer, store_seal) for sequencer in sequencers for _ in range(4)]
    stop = asyncio.Event()
    running = [asyncio.create_task(client.run(stop)) for client in clients]

    for _ in range(2):
        await asyncio.sleep(0.3)
        await asyncio.to_thread(own_server.crash)
        await asyncio.sleep(0.2)
        own_server.start()
    before = [len(client.told.answered) for client in clients]
    assert min(before) > 0
    await asyncio.sleep(1)
    stop.set()
    await asyncio.gather(*running)
    for sequencer in sequencers:
        await sequencer.close()
    for store in stores:
        await store.close()
    assert all(client.told.refused for client in clients)
    assert all(len(client.told.answered) > count for client, count in zip(clients, before, strict=True))
    await check_survived(
        PostgresStore(own_server.peer.url), store_signer, *(client.told for client in clients)
    )


@pytest.mark.slow
async def test_a_database_whose_disk_is_full_refuses_and_goes_on_when_there_is_room_again(
    own_server: OwnServer, store_signer: KeyPair
) -> None:
    def large() -> list[Sealed]:
        payload = os.urandom(400_000)
        return [seal("question", payload, time=NOW, from_="cq", to="sc", hash_name="sha256")]

    async def append_large(told: Told) -> None:
        receipt = await sequencer.append(entries := large())
        signed = Checkpoint.from_text(split(receipt.note)[0])
        ids = [entry.entry_id for entry in entries]
        told.answered.append((receipt.indexes[0], ids, signed.size, signed.root.hex()))

    own_server.crash()
    own_server.start(str(20 << 11))  # 20 MiB; a segment of its log has 16
    store = PostgresStore(own_server.peer.url)
    await opened(store)
    sequencer = Sequencer(store, [store_signer], ORIGIN)
    await sequencer.start()
    told = Told([], [], [])
    while not told.refused:
        try:
            await append_large(told)
        except StoreUnavailable as full:
            told.refused.append(str(full))
    assert "File too large" in told.refused[0]
    with pytest.raises(StoreUnavailable, match="File too large"):
        await sequencer.append(large())
    own_server.crash()
    own_server.start()
    client = Client(sequencer, lambda _: large())
    await client.once()
    assert client.told.answered[0][0] == len(told.answered)
    await sequencer.close()
    await store.close()
    await check_survived(PostgresStore(own_server.peer.url), store_signer, told, client.told)


HEAD = "SELECT size, frontier FROM log_head"


async def test_a_database_restored_under_a_running_gateway_is_not_continued_nor_started_on(
    store_schema: str, store_signer: KeyPair, store_seal: Seal
) -> None:
    store = PostgresStore(store_schema)
    await store.open()
    sequencer = Sequencer(store, [store_signer], ORIGIN)
    await sequencer.start()
    await sequencer.append(store_seal(2))
    database = await asyncpg.connect(store_schema)
    backup = await database.fetchrow(HEAD)
    last = await sequencer.append(store_seal(3))
    for table in ("secret", "entry"):
        await database.execute(f"DELETE FROM {table} WHERE idx >= 2")  # noqa: S608 - two constants
    await database.execute("DELETE FROM checkpoint WHERE size > 2")
    await database.execute("UPDATE log_head SET size = $1, frontier = $2", *backup)
    await database.close()
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="held 2 entries, but 5 were signed"):
            await sequencer.append(store_seal())
    await sequencer.close()
    assert await store.note() == last.note
    with pytest.raises(StoreError, match="has 3 entries, but 5 were signed"):
        await Sequencer(store, [store_signer], ORIGIN).start()
    await store.close()


class BadSigner:
    """A real signer in a bad crypto machine; ``behave`` is called around each signature."""

    def __init__(self, signer: KeyPair) -> None:
        self.public, self.kid, self.algorithm = signer.public, signer.kid, signer.algorithm
        self._signer = signer
        self.before: Callable[[], object] = lambda: None
        self.after: Callable[[], object] = lambda: None

    def sign(self, message: bytes) -> bytes:
        self.before()
        signature = self._signer.sign(message)
        self.after()
        return signature


def out_of_order() -> None:
    raise SignatureRefused("the crypto machine does not answer")


@pytest.fixture
async def bad_signer(store_signer: KeyPair) -> BadSigner:
    return BadSigner(store_signer)


@pytest.fixture
async def store_sequencer(store_open: Store, bad_signer: BadSigner) -> AsyncIterator[Sequencer]:
    sequencer = Sequencer(store_open, [bad_signer], ORIGIN, sign_seconds=0.2)
    await sequencer.start()
    yield sequencer
    await sequencer.close()


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_signer_that_fails_before_or_after_it_signed_leaves_one_checkpoint_a_size(
    store_sequencer: Sequencer, bad_signer: BadSigner, store_seal: Seal, moment: str
) -> None:
    entries = store_seal(2)
    setattr(bad_signer, moment, out_of_order)
    with pytest.raises(StoreUnavailable, match="could not be signed"):
        await store_sequencer.append(entries)
    assert await store_sequencer.store.note(2) is None
    setattr(bad_signer, moment, lambda: None)
    receipt = await store_sequencer.append(entries)
    assert (receipt.indexes, receipt.size) == ((0, 1), 2)
    assert await store_sequencer.store.note(2) == receipt.note


@contextmanager
def held(signer: BadSigner) -> Iterator[tuple[threading.Event, threading.Event]]:
    """The signer sets the first event when it is asked, and returns when the second is set, or this ends."""
    asked, gate = threading.Event(), threading.Event()

    def wait() -> None:
        asked.set()
        gate.wait()

    signer.before = wait
    try:
        yield asked, gate
    finally:
        gate.set()


async def test_a_slow_signer_does_not_hold_up_anything_else(
    store_sequencer: Sequencer, bad_signer: BadSigner, store_seal: Seal
) -> None:
    with held(bad_signer) as (signing, gate):
        waiting = asyncio.create_task(store_sequencer.append(store_seal()))
        await asyncio.to_thread(signing.wait)
        assert (await store_sequencer.store.head()).size == 1
        assert not waiting.done()
        gate.set()
        assert (await waiting).indexes == (0,)


async def test_while_a_signer_hangs_nothing_more_is_committed(
    store_sequencer: Sequencer, bad_signer: BadSigner, store_seal: Seal
) -> None:
    entries = store_seal()
    with held(bad_signer):
        with pytest.raises(StoreUnavailable, match=r"was not signed within 0\.2 s"):
            await store_sequencer.append(entries)
        with pytest.raises(StoreUnavailable, match="has not answered yet"):
            await store_sequencer.append(store_seal())
        assert (await store_sequencer.store.head()).size == 1
    receipt: Receipt | None = None
    while receipt is None:
        with suppress(StoreUnavailable):  # until its thread is back
            receipt = await store_sequencer.append(entries)
        await asyncio.sleep(0)
    assert receipt.indexes == (0,)


async def test_a_clock_that_jumps_back_leaves_the_order_of_the_ledger(
    store_sequencer: Sequencer, store_check: Callable[..., Awaitable[None]]
) -> None:
    times = [NOW, NOW + timedelta(hours=2), NOW - timedelta(days=400), NOW]
    for time in times:
        entry = seal("question", b"payload", time=time, from_="cq", to="sc", hash_name="sha256")
        await store_sequencer.append([entry])
    bodies = await store_sequencer.store.entries(0, 10)
    assert [read_entry(body).time for body in bodies] == times
