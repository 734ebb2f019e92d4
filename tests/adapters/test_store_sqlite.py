"""What only the SQLite store has: its file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.errors import StoreUnavailable
from adapters.sqlite import SqliteStore
from security.ledger import Sealed

pytestmark = pytest.mark.anyio


def contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


async def test_an_erased_payload_is_in_no_file_any_more(
    tmp_path: Path, store_seal: Callable[[int], list[Sealed]]
) -> None:
    store = SqliteStore(tmp_path / "store.db")
    await store.open()
    kept, erased = store_seal(2)
    await store.commit([kept, erased], [])
    await store.erase(erased.entry_id)
    stored = contents(tmp_path)  # before closing tidies up
    await store.close()
    assert kept.salt in stored
    assert erased.salt not in stored


async def test_only_its_owner_can_read_the_file(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    await store.open()
    await store.put_note(0, bytes(32), "note")
    found = modes(tmp_path)
    await store.close()
    assert found == dict.fromkeys(("store.db", "store.db-wal", "store.db-shm"), 0o600)


async def test_a_folder_that_is_missing_makes_the_store_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"missing/store\.db"):
        await SqliteStore(tmp_path / "missing/store.db").open()


async def test_a_file_that_is_no_database_makes_the_store_unavailable(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"no database" * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        await SqliteStore(tmp_path / "store.db").open()
