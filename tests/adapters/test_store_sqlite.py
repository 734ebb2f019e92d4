"""What only the SQLite store has: its file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from adapters.errors import StoreUnavailable
from adapters.sqlite import SqliteStore
from adapters.store import Store
from security.ledger import Sealed
from security.note import NoteVerifier

pytestmark = pytest.mark.anyio

CHECKOUT = Path(__file__).resolve().parents[2]


def contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


async def test_nothing_acknowledged_is_lost_when_the_process_is_killed(
    tmp_path: Path, store_origin: str, store_check: Callable[[Store, Sequence[NoteVerifier]], Awaitable[None]]
) -> None:
    command = [sys.executable, str(Path(__file__).with_name("store_appender.py")), str(tmp_path / "store.db")]
    with subprocess.Popen([*command, store_origin], stdout=subprocess.PIPE, cwd=CHECKOUT, text=True) as child:  # noqa: ASYNC220
        assert child.stdout
        verifier = NoteVerifier.from_text(child.stdout.readline().strip())
        lines = [child.stdout.readline() for _ in range(100)]
        child.kill()
        lines += child.stdout.readlines()
    store = SqliteStore(tmp_path / "store.db")
    await store.open()
    acknowledged = [line.split() for line in lines if line.endswith("\n")]
    found = {entry_id: await store.index_of(entry_id) for _, entry_id in acknowledged}
    assert len(found) >= 100
    assert found == {entry_id: int(index) for index, entry_id in acknowledged}
    await store_check(store, [verifier])
    await store.close()


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
