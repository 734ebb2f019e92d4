"""Encryption at rest, on both databases: what lies in them tells nothing, and its key turns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.errors import StoreError
from adapters.postgres import PostgresStore
from adapters.rewrapping import PAGE, Rows, postgres_rows, rewrap, sealed_under, sqlite_rows
from adapters.sealing import CLOSED, SealedStore, blind, is_sealed
from adapters.sqlite import SqliteStore
from adapters.store import Document, Held, Store, Tally
from security.envelope import CipherName, Envelope
from security.ledger import Sealed, seal

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
FORMER, CURRENT = "payload-202611a", "payload-202611b"
KEYS = {FORMER: b"1" * 32, CURRENT: b"2" * 32}
TOLD = b"what a hospital sent"
pytestmark = pytest.mark.anyio


def former(cipher: CipherName = "AES-256-GCM") -> Envelope:
    """Seals with the first key, and knows no other."""
    return Envelope({FORMER: KEYS[FORMER]}, FORMER, cipher)


def current(cipher: CipherName = "AES-256-GCM") -> Envelope:
    """Seals with the second key, and opens what the first one sealed."""
    return Envelope(KEYS, CURRENT, cipher)


def entry(payload: bytes = TOLD) -> Sealed:
    return seal("question", payload, time=NOW, from_="cq", to="sc", hash_name="sha256")


def document(name: str = "d1", body: bytes = TOLD) -> Document:
    return Document(kind="check", id=name, key=f"key of {name}", body=body, at=NOW)


def tally(name: str = "t1", body: bytes = TOLD) -> Tally:
    return Tally(kind="unknown", id=name, body=body, first=NOW, last=NOW)


def whose(store: Store) -> str:
    """Whose results stand in a store, as it is called there."""
    return "p1" if isinstance(store, SealedStore) else blind("p1")


def held(name: str, person: str) -> Held:
    return Held(person=person, at=NOW, node="cq-his", id=name, body=TOLD)


async def fill(store: Store, count: int = 1) -> list[Sealed]:
    """That many entries, documents, tallies and held results."""
    entries = [entry(TOLD + b" %d" % number) for number in range(count)]
    documents = [document(f"d{number:04}") for number in range(count)]
    await store.commit(entries, documents, [tally(f"t{number:04}") for number in range(count)])
    await store.hold([held(f"Observation/{number}", whose(store)) for number in range(count)])
    return entries


async def all_in(store: Store) -> list[bytes]:
    """Everything in a store that may be sealed."""
    secrets = [part for _, _, one in await store.secrets(0, 5000) for part in (one.salt, one.payload)]
    documents = [one.body for one in await store.documents("check", "", 5000)]
    tallies = [one.body for one in await store.tallies("unknown", "", 5000)]
    results = [one.body for one in await store.held([whose(store)], NOW, ["cq-his"], 5000)]
    return [*secrets, *documents, *tallies, *results]


@pytest.fixture(params=["sqlite", "postgres"])
def store_new(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Store]:
    """Makes the two stores below; conftest's gives a sealed one too."""
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path / "store.db")
    address = request.getfixturevalue("store_schema")
    return lambda: PostgresStore(address)


def told_in(folder: Path) -> list[Path]:
    """The files in which a payload stands in clear."""
    return [file for file in folder.iterdir() if TOLD in file.read_bytes()]


@pytest.fixture
def rows(store_raw: Store, request: pytest.FixtureRequest) -> AbstractAsyncContextManager[Rows]:
    """The tables of the store, as the command that turns the key opens them."""
    if isinstance(store_raw, SqliteStore):
        return sqlite_rows(store_raw.path)
    return postgres_rows(request.getfixturevalue("store_schema"))


def test_a_sealed_store_has_every_method_of_a_store() -> None:
    methods = {name for name in vars(Store) if not name.startswith("_")}
    assert methods <= vars(SealedStore).keys()


@pytest.mark.parametrize("cipher", ["AES-256-GCM", "SM4-GCM"])
async def test_what_is_kept_comes_back_as_it_was(store_raw: Store, cipher: CipherName) -> None:
    store = SealedStore(store_raw, former(cipher))
    kept = entry()
    await store.commit([kept], [document()], [tally()])
    await store.replace(document("d2", b"later"))
    secret = await store.secret(kept.entry_id)
    assert secret is not None
    assert (secret.salt, secret.payload) == (kept.salt, kept.payload)
    assert await store.secrets(0) == [(0, kept.entry_id, secret)]
    assert await store.document("check", "d1") == document()
    assert await store.find("check", "key of d2") == document("d2", b"later")
    assert await store.documents("check") == [document(), document("d2", b"later")]
    assert await store.tally("unknown", "t1") == tally()
    assert await store.tallies("unknown") == [tally()]


async def test_the_database_holds_neither_salt_nor_payload_nor_body(store_raw: Store) -> None:
    await fill(SealedStore(store_raw, former()))
    salt, *sealed = await all_in(store_raw)
    assert salt == b""
    assert all(map(is_sealed, sealed))
    assert not any(TOLD in one for one in sealed)


async def test_the_ledger_and_the_names_of_documents_stay_readable(store_raw: Store) -> None:
    store = SealedStore(store_raw, former())
    (kept,) = await fill(store)
    assert await store_raw.entries(0, 1) == [kept.body]
    found = await store_raw.find("check", "key of d0000")
    assert found is not None
    assert (found.id, found.at) == ("d0000", NOW)


Single = Callable[[Store], Awaitable[object]]
SINGLE: dict[str, Single] = {
    "document": lambda store: store.document("check", "d0000"),
    "document by key": lambda store: store.find("check", "key of d0000"),
    "tally": lambda store: store.tally("unknown", "t0000"),
}


@pytest.mark.parametrize("what", SINGLE)
async def test_what_was_laid_there_unsealed_is_refused(store_raw: Store, what: str) -> None:
    await fill(store_raw)
    with pytest.raises(StoreError, match="is not sealed"):
        await SINGLE[what](SealedStore(store_raw, former()))


async def test_a_payload_with_its_salt_beside_it_is_refused(store_raw: Store) -> None:
    (kept,) = await fill(store_raw)
    with pytest.raises(StoreError, match="is not sealed"):
        await SealedStore(store_raw, former()).secret(kept.entry_id)


async def test_in_a_page_what_was_laid_there_unsealed_tells_nothing(store_raw: Store) -> None:
    await fill(store_raw)
    assert await all_in(SealedStore(store_raw, former())) == [CLOSED, b"", CLOSED, CLOSED, CLOSED]


async def test_a_store_that_was_never_sealed_is_not_opened(store_raw: Store) -> None:
    await fill(store_raw)
    await store_raw.close()
    with pytest.raises(StoreError, match="lianren keys seal"):
        await SealedStore(store_raw, former()).open()


async def test_an_erased_payload_is_gone(store_raw: Store) -> None:
    store = SealedStore(store_raw, former())
    (kept,) = await fill(store)
    assert await store.erase(kept.entry_id) == 1
    assert await store.secret(kept.entry_id) is None


@pytest.mark.parametrize(
    "read", [lambda store: store.document("check", "d2"), lambda store: store.find("check", "key of d2")]
)
async def test_a_body_that_was_moved_to_another_row_is_refused(store_raw: Store, read: Single) -> None:
    store = SealedStore(store_raw, former())
    await store.replace(document())
    moved = await store_raw.document("check", "d1")
    assert moved is not None
    await store_raw.replace(document("d2", moved.body))
    with pytest.raises(StoreError, match=r"document\|body\|check\|d2"):
        await read(store)


async def test_in_a_page_one_damaged_body_does_not_hide_the_others(store_raw: Store) -> None:
    store = SealedStore(store_raw, former())
    await store.replace(document("d1"))
    await store_raw.replace(document("d2", former().seal(TOLD, "elsewhere")))
    await store.replace(document("d3"))
    first, damaged, last = await store.documents("check")
    assert (first.body, last.body) == (TOLD, TOLD)
    assert is_sealed(damaged.body)


async def test_what_another_process_sealed_under_a_newer_key_is_read(store_raw: Store) -> None:
    store = SealedStore(store_raw, former(), reread=current)
    await SealedStore(store_raw, current()).replace(document())
    assert await store.document("check", "d1") == document()


async def test_without_its_key_nothing_is_read(store_raw: Store) -> None:
    await SealedStore(store_raw, current()).replace(document())
    with pytest.raises(StoreError, match=f"under key {CURRENT}"):
        await SealedStore(store_raw, former()).document("check", "d1")


async def test_after_the_key_was_turned_the_former_one_opens_nothing(
    store_raw: Store, rows: AbstractAsyncContextManager[Rows]
) -> None:
    entries = await fill(SealedStore(store_raw, former()), PAGE + 3)
    async with rows as opened:
        assert await rewrap(opened, current()) == 4 * (PAGE + 3) + 1  # and the key that blinds
        assert await sealed_under(opened, FORMER) == 0
        assert await sealed_under(opened, CURRENT) == 4 * (PAGE + 3) + 1
    turned = SealedStore(store_raw, Envelope({CURRENT: KEYS[CURRENT]}, CURRENT))
    assert [secret.payload for _, _, secret in await turned.secrets(0, 5000)] == [
        one.payload for one in entries
    ]
    assert {one.body for one in await turned.documents("check", "", 5000)} == {TOLD}
    assert {one.body for one in await turned.tallies("unknown", "", 5000)} == {TOLD}
    assert {one.body for one in await turned.held(["p1"], NOW, ["cq-his"], 5000)} == {TOLD}


async def test_turning_the_key_seals_nothing_that_somebody_laid_there(
    store_raw: Store, rows: AbstractAsyncContextManager[Rows]
) -> None:
    await fill(store_raw)
    async with rows as opened:
        with pytest.raises(StoreError, match="is not sealed"):
            await rewrap(opened, current())


async def test_a_first_sealing_seals_what_was_never_sealed(
    store_raw: Store, rows: AbstractAsyncContextManager[Rows]
) -> None:
    (kept,) = await fill(store_raw)
    async with rows as opened:
        assert await rewrap(opened, current(), first=True) == 4
    salt, *sealed = await all_in(store_raw)
    assert (salt, all(map(is_sealed, sealed))) == (b"", True)
    assert await all_in(SealedStore(store_raw, current())) == [kept.salt, kept.payload, TOLD, TOLD, TOLD]


async def test_a_first_sealing_that_was_stopped_leaves_a_store_that_is_not_opened(
    store_raw: Store, rows: AbstractAsyncContextManager[Rows]
) -> None:
    await fill(store_raw, PAGE + 1)

    def stop(table: str, done: int, total: int) -> None:
        if (table, done) == ("secret", PAGE):
            raise KeyboardInterrupt

    async with rows as opened:
        with pytest.raises(KeyboardInterrupt):
            await rewrap(opened, current(), stop, first=True)
    await store_raw.close()
    with pytest.raises(StoreError, match="lianren keys seal"):
        await SealedStore(store_raw, current()).open()


async def test_a_turn_that_was_stopped_goes_on(
    store_raw: Store, rows: AbstractAsyncContextManager[Rows]
) -> None:
    await fill(SealedStore(store_raw, former()), 2 * PAGE)

    def stop(table: str, done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    async with rows as opened:
        with pytest.raises(KeyboardInterrupt):
            await rewrap(opened, current(), stop)
        assert await sealed_under(opened, CURRENT) == PAGE
        assert await rewrap(opened, current()) == 7 * PAGE + 1
        assert await rewrap(opened, current()) == 0


async def test_a_turn_tells_how_far_it_is(store_raw: Store, rows: AbstractAsyncContextManager[Rows]) -> None:
    await fill(SealedStore(store_raw, former()), 2)
    told: list[tuple[str, int, int]] = []
    async with rows as opened:
        await rewrap(opened, current(), lambda *step: told.append(step))
    counts = {"document": 3, "tally": 2, "held": 2, "secret": 2}
    steps = [(table, done, count) for table, count in counts.items() for done in (0, count)]
    assert told == steps * 2  # the second time through finds nothing to do


async def test_a_row_that_does_not_open_stops_a_turn_and_is_named(
    store_raw: Store, rows: AbstractAsyncContextManager[Rows]
) -> None:
    await store_raw.replace(document("d1", former().seal(TOLD, "elsewhere")))
    async with rows as opened:
        with pytest.raises(StoreError, match=r"document\|body\|check\|d1"):
            await rewrap(opened, current())


class Beside:
    """The rows, and a gateway beside them that seals one document more after each of the first writes."""

    def __init__(self, rows: Rows, running: Store, times: int) -> None:
        self.read = rows.read
        self._rows = rows
        self._running = running
        self._left = times

    async def write(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        await self._rows.write(statement, rows)
        if self._left:
            self._left -= 1
            await self._running.replace(document(f"a{self._left}"))


async def test_what_is_kept_while_the_key_turns_is_turned_too(
    store_raw: Store, rows: AbstractAsyncContextManager[Rows]
) -> None:
    running = SealedStore(store_raw, former())
    await fill(running)
    async with rows as opened:
        await rewrap(Beside(opened, running, 3), current(), settle=0)
        assert await sealed_under(opened, FORMER) == 0


async def test_a_gateway_that_never_takes_up_the_new_key_is_told_of(
    store_raw: Store, rows: AbstractAsyncContextManager[Rows]
) -> None:
    running = SealedStore(store_raw, former())
    await fill(running)
    async with rows as opened:
        with pytest.raises(StoreError, match="goes on sealing under a former key"):
            await rewrap(Beside(opened, running, 99), current(), settle=0)


async def test_turned_sqlite_files_hold_no_former_text(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(path)
    await store.open()
    await fill(store, 20)
    assert told_in(tmp_path)
    async with sqlite_rows(path) as opened:
        await rewrap(opened, current(), first=True)
    await store.close()
    assert not told_in(tmp_path)


async def test_a_database_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="unable to open"):
        async with sqlite_rows(tmp_path / "missing.db"):
            pass
    with pytest.raises(StoreError, match="PostgreSQL"):
        async with postgres_rows("postgresql://lianren@127.0.0.1:1/lianren"):
            pass
