"""Stores for the tests: SQLite and a real PostgreSQL, the same tests on both, and a real Redis.

A server that is missing skips its tests with the line that says how to get it; where ``CI`` is ``true`` it
fails them.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from adapters.postgres import PostgresStore
from adapters.sealing import SealedStore
from adapters.sqlite import SqliteStore
from adapters.store import Store
from gateway.demo.peers import postgres, redis
from security.digests import HashName
from security.envelope import Envelope
from security.keys import KeyPair
from security.ledger import Sealed, seal
from security.note import NoteVerifier, verify
from security.tree import Frontier, leaf_hash, root_of
from tests.peers import started

ORIGIN = "log.cq.example/exchange"
NOW = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)


ON_SQLITE_FIRST = ("test_sealing.py", "test_sequencer.py", "test_store_results.py", "test_store_versions.py")
"""On PostgreSQL these belong to the slow part; test_store.py is run on both at once."""


@pytest.hookimpl(tryfirst=True)  # before the marks are looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.name in ON_SQLITE_FIRST and "postgres" in item.name:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def store_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running PostgreSQL."""
    with started(lambda: postgres(tmp_path_factory.mktemp("postgres"))) as peer:
        peer.stop_signal = signal.SIGQUIT  # nothing of it is kept: it need not write down what it has
        yield peer.url


@pytest.fixture(scope="session")
def store_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running Redis."""
    with started(lambda: redis(tmp_path_factory.mktemp("redis"))) as peer:
        yield peer.url


@pytest.fixture
async def store_schema(store_postgres: str, tmp_path: Path) -> str:
    """The address of a PostgreSQL schema that nothing else uses."""
    connection = await asyncpg.connect(store_postgres)
    name = f"test_{abs(hash(tmp_path))}"
    await connection.execute(f"CREATE SCHEMA {name}")
    await connection.close()
    return f"{store_postgres}?search_path={name}"


@pytest.fixture(params=["sqlite", "postgres", "sealed"])
def store_new(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Store]:
    """Makes store objects, not open yet, all on one new database."""
    if request.param == "sealed":
        envelope = Envelope({"payload-202611a": bytes(32)}, "payload-202611a")
        return lambda hash_name="sha256": SealedStore(SqliteStore(tmp_path / "store.db", hash_name), envelope)
    if request.param == "sqlite":
        return lambda hash_name="sha256": SqliteStore(tmp_path / "store.db", hash_name)
    address = request.getfixturevalue("store_schema")
    return lambda hash_name="sha256": PostgresStore(address, hash_name)


@pytest.fixture
async def store_raw(store_new: Callable[..., Store]) -> AsyncIterator[Store]:
    """An open store, for tests that leave a ledger which does not verify."""
    store = store_new()
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def store_open(store_raw: Store, store_signer: KeyPair) -> AsyncIterator[Store]:
    """An open store whose whole ledger is verified after the test."""
    yield store_raw
    await check_ledger(store_raw, [NoteVerifier.of(ORIGIN, store_signer.public)])


@pytest.fixture(scope="session")
def store_signer() -> KeyPair:
    return KeyPair.generate("Ed25519", "cq", "ledger", NOW)


@pytest.fixture(scope="session")
def store_origin() -> str:
    return ORIGIN


@pytest.fixture(scope="session")
def store_check() -> Callable[..., object]:
    return check_ledger


@pytest.fixture(scope="session")
def store_seal() -> Callable[..., list[Sealed]]:
    """Seals that many new entries."""

    def sealed(count: int = 1, hash_name: HashName = "sha256") -> list[Sealed]:
        return [
            seal("question", b"payload %d" % n, time=NOW, from_="cq", to="sc", hash_name=hash_name)
            for n in range(count)
        ]

    return sealed


async def check_ledger(store: Store, verifiers: Sequence[NoteVerifier]) -> None:
    """Verify a whole ledger: leaves from bodies, head from leaves, the newest note's signatures and root."""
    head = await store.head()
    bodies = await store.entries(0, head.size + 1)
    leaves = [leaf_hash(body, store.hash_name) for body in bodies]
    assert leaves == await store.leaves(0, head.size + 1)
    assert head.frontier == Frontier().extend(leaves, store.hash_name)
    assert (head.size, head.root) == (len(leaves), root_of(leaves, store.hash_name))
    if note := await store.note():
        verified = verify(note, verifiers)
        published = verified.checkpoint
        assert set(verified.signed_by) == set(verifiers)
        assert published.size <= head.size
        assert published.root == root_of(leaves[: published.size], store.hash_name)
