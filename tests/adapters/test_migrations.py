"""Tables come from every former version, go back, and are the same whichever way they came."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import asyncpg
import pytest
from msgspec.structs import replace

from adapters import migrations
from adapters.errors import StoreError
from adapters.migrations import HEAD, HISTORY, REVISIONS, TABLE
from adapters.postgres import PostgresStore
from adapters.schema import pack_frontier
from adapters.sqlite import SqliteStore
from adapters.store import Document, Held, Pointer, Secret, Tally
from gateway.ids import new_id
from security.ledger import Sealed
from security.tree import Frontier, Tree

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

Seal = Callable[..., list[Sealed]]
Some = SqliteStore | PostgresStore
AT = datetime(2026, 3, 20, 8, 30, tzinfo=UTC)
KEPT = [
    Document(kind="check", id=new_id(AT), key="request-1", body=b"check", at=AT),
    Document(kind="case", id=new_id(AT), body=b"case", at=AT),
    Document(kind="keys", id="sc", key="k", body=b"keys", at=AT),
]
HELD = Held(person="p1", at=AT, node="cq-his", id="Observation/1", body=b"held", saved=AT)
POINTER = Pointer(person="p1", node="cq-his", group="lab", first=AT, last=AT, noted=AT)


class Database:
    """Either database, below its store."""

    def __init__(self, address: Path | str) -> None:
        self.address = address

    def store(self, *, migrate: bool = True) -> Some:
        if isinstance(self.address, Path):
            return SqliteStore(self.address, migrate=migrate)
        return PostgresStore(self.address, migrate=migrate)

    @property
    def dialect(self) -> Any:
        return "sqlite" if isinstance(self.address, Path) else "postgresql"

    async def run(self, statement: str, rows: list[Any] | None = None) -> list[Any]:
        """Execute a statement, for each row where there are any; placeholders are ``$1`` …"""
        if isinstance(self.address, Path):
            with sqlite3.connect(self.address) as connection:
                words = statement.replace("$", "?")
                if rows is None:
                    found = connection.execute(words).fetchall()
                else:
                    found = connection.executemany(words, rows).fetchall()
            connection.close()
            return found
        database = cast("Any", await asyncpg.connect(self.address))
        try:
            if rows is None:
                return list(await database.fetch(statement))
            await database.executemany(statement, rows)
            return []
        finally:
            await database.close()

    async def tables(self) -> list[Any]:
        """What the tables and their indexes look like."""
        if self.dialect == "sqlite":
            found = await self.run("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
            return [(name, " ".join(sql.split())) for name, sql in found if name != TABLE]
        query = f"""
            SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default
            FROM information_schema.columns WHERE table_schema = current_schema AND table_name <> '{TABLE}'
            UNION ALL
            SELECT inhrelid::regclass::text, inhparent::regclass::text, pg_get_expr(relpartbound, oid),
            '', '', '' FROM pg_inherits JOIN pg_class ON oid = inhrelid
            WHERE relnamespace = current_schema::regnamespace AND relkind IN ('r', 'p')
            UNION ALL
            SELECT conrelid::regclass::text, pg_get_constraintdef(oid), '', '', '', '' FROM pg_constraint
            WHERE connamespace = current_schema::regnamespace AND contype <> 'n'
            AND conrelid <> '{TABLE}'::regclass
            ORDER BY 1, 2, 3
        """  # noqa: S608
        return [tuple(row) for row in await self.run(query)]


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return Database(tmp_path / "store.db")
    return Database(request.getfixturevalue("store_schema"))


async def lay(database: Database, revision: str, entries: list[Sealed]) -> None:
    """The tables and rows of a former version."""
    for version in HISTORY[: REVISIONS.index(revision) + 1]:
        for statement in version.UP[database.dialect]:
            await database.run(statement)
    await database.run("CREATE TABLE schema_version (version INTEGER PRIMARY KEY)")
    count = int(revision)
    await database.run("INSERT INTO schema_version VALUES ($1)", [(n + 1,) for n in range(count)])
    frontier = pack_frontier(Frontier().extend([entry.leaf for entry in entries], "sha256"))
    await database.run("INSERT INTO log_head VALUES (1, $1, $2, 'sha256')", [(len(entries), frontier)])
    await database.run(
        "INSERT INTO entry VALUES ($1, $2, $3, $4)",
        [(index, one.entry_id, one.body, one.leaf) for index, one in enumerate(entries)],
    )
    secrets = [
        (index if count > 2 else one.entry_id, one.salt, one.payload) for index, one in enumerate(entries)
    ]
    await database.run("INSERT INTO secret VALUES ($1, $2, $3)", secrets[1:])
    await database.run(
        "INSERT INTO document VALUES ($1, $2, $3, $4, $5)",
        [(one.kind, one.id, one.key or None, one.body, one.at.isoformat()) for one in KEPT],
    )


async def check_kept(store: Some, entries: list[Sealed]) -> None:
    """Everything of the former version is there, but the first secret, which was erased."""
    leaves = [entry.leaf for entry in entries]
    assert (await store.head()).root == Tree(leaves, "sha256").root()
    assert await store.leaves(0, 1000) == leaves
    assert len(await store.subtrees(8, 0, 256)) == len(entries) // 256
    assert await store.secret(entries[0].entry_id) is None
    assert await store.secret(entries[-1].entry_id) == Secret(entries[-1].salt, entries[-1].payload)
    assert [index for index, *_ in await store.secrets(0, 1000)] == [*range(1, len(entries))]
    for one in KEPT:
        assert await store.document(one.kind, one.id) == one
        assert not one.key or await store.find(one.kind, one.key) == one


@pytest.mark.parametrize("revision", ["0001", "0002", "0003"])
async def test_a_former_versions_store_is_taken_over(
    database: Database, store_seal: Seal, revision: str
) -> None:
    entries = store_seal(600)
    await lay(database, revision, entries)
    store = database.store()
    assert await store.revision() == revision
    await store.open()
    assert await store.revision() == HEAD
    await check_kept(store, entries)
    await store.hold([HELD], [POINTER])
    assert (await store.commit(store_seal(), [])).first_index == 600
    await store.close()


@pytest.mark.parametrize("revision", ["0001", "0002", "0003"])
async def test_the_way_back_and_forth_keeps_the_ledger_and_the_documents(
    database: Database, store_seal: Seal, revision: str
) -> None:
    entries = store_seal(600)
    store = database.store()
    await store.open()
    tally = Tally(kind="review", id="t", body=b"", first=AT, last=AT)
    await store.commit(entries, KEPT, [tally])
    await store.erase(entries[0].entry_id)
    await store.hold([HELD], [POINTER])
    await store.close()
    await store.downgrade(revision)
    assert await store.revision() == revision
    assert await database.run("SELECT count(*) FROM schema_version") == [(int(revision),)]
    await store.open()
    await check_kept(store, entries)
    assert await store.tally("review", "t") == (tally if revision != "0001" else None)
    assert await store.held(["p1"], AT, ["cq-his"]) == []
    await store.close()


async def test_what_0_4_held_is_adopted_as_first_versions(database: Database) -> None:
    store = database.store()
    await store.open()
    await store.close()
    await store.downgrade("0004")
    await database.run(
        "INSERT INTO held VALUES ($1, $2, $3, $4, $5)", [("p1", 1_000_000, "cq-his", "Observation/1", b"old")]
    )
    await store.open()
    first = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    (held,) = await store.held(["p1"], first, ["cq-his"])
    assert held == Held(
        person="p1", at=first, node="cq-his", id="Observation/1", body=b"old", version=1, saved=first
    )
    assert await store.place("cq-his", ["Observation/1"]) == [held]
    assert [one.version for one in (await store.hold([HELD])).held] == [2]
    assert await store.versions("cq-his", "Observation/1", 5) == [replace(HELD, version=2), held]
    await store.close()


async def test_the_way_back_to_0_4_keeps_what_counts(database: Database) -> None:
    store = database.store()
    await store.open()
    await store.hold([HELD, replace(HELD, id="Observation/2"), replace(HELD, id="Observation/3", person="")])
    await store.hold(
        [replace(HELD, body=b"newer", tokens=("t",)), replace(HELD, id="Observation/2", body=b"")]
    )
    await store.close()
    await store.downgrade("0004")
    found = await database.run("SELECT person, id, body FROM held")
    assert [tuple(row) for row in found] == [("p1", "Observation/1", b"newer")]


async def test_a_replica_of_the_version_before_loses_no_key_beside_the_new_tables(
    store_schema: str, store_seal: Seal
) -> None:
    database = Database(store_schema)
    await lay(database, "0003", store_seal(3))
    store = database.store()
    await store.open()
    with pytest.raises(asyncpg.NotNullViolationError):
        await database.run(
            "INSERT INTO document (kind, id, key, body, at) VALUES ($1, $2, $3, $4, $5)",
            [("check", new_id(AT), "request-2", b"", AT.isoformat())],
        )
    await store.close()


async def test_tables_are_the_same_whichever_way_they_came(database: Database, store_seal: Seal) -> None:
    store = database.store()
    await store.open()
    await store.close()
    new = await database.tables()
    await store.downgrade("0001")
    await store.open()
    await store.close()
    assert await database.tables() == new


async def test_a_start_that_may_not_migrate_says_what_to_run(database: Database, store_seal: Seal) -> None:
    with pytest.raises(StoreError, match=r"revision none, this version needs .*lianren store upgrade"):
        await database.store(migrate=False).open()
    await lay(database, "0003", store_seal(2))
    with pytest.raises(StoreError, match=r"revision 0003, .*lianren store upgrade"):
        await database.store(migrate=False).open()
    for migrate in (True, False):
        store = database.store(migrate=migrate)
        await store.open()
        await store.close()


async def test_a_store_of_a_newer_version_is_refused(database: Database) -> None:
    store = database.store()
    await store.open()
    await store.close()
    await database.run(f"UPDATE {TABLE} SET version_num = '0099'")  # noqa: S608
    with pytest.raises(StoreError, match="run the newer version"):
        await store.open()
    assert await store.revision() == "0099"


@pytest.mark.parametrize("to", ["0005", "0006", "base", ""])
async def test_the_way_back_leads_to_an_earlier_revision_alone(database: Database, to: str) -> None:
    store = database.store()
    await store.open()
    await store.close()
    with pytest.raises(StoreError, match="no way back"):
        await store.downgrade(to)
    assert await store.revision() == HEAD


async def test_an_upgrade_that_fails_leaves_the_former_tables(database: Database, store_seal: Seal) -> None:
    entries = store_seal(3)
    await lay(database, "0003", entries)
    await database.run("CREATE TABLE pointer (in_the_way INTEGER)")
    store = database.store()
    with pytest.raises(StoreError):
        await store.open()
    assert await store.revision() == "0003"
    await database.run("DROP TABLE pointer")
    await store.open()
    await check_kept(store, entries)
    await store.close()


async def test_two_that_start_at_once_take_over_a_former_store(database: Database, store_seal: Seal) -> None:
    entries = store_seal(3)
    await lay(database, "0002", entries)
    stores = [database.store(), database.store()]
    await asyncio.gather(*(store.open() for store in stores))
    for store in stores:
        await check_kept(store, entries)
        await store.close()


def test_the_revisions_follow_one_another() -> None:
    assert [version.down_revision for version in HISTORY] == [None, *REVISIONS[:-1]]


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_alembic_renders_what_a_new_store_gets(dialect: Any) -> None:
    rendered = [
        " ".join(one.split()) for one in migrations.upgrade("0001", True, dialect) if TABLE not in one
    ]
    later = [one for version in HISTORY[1:] for one in version.UP[dialect]]
    assert rendered == ["DROP TABLE schema_version", *(" ".join(one.split()) for one in later)]


def test_a_start_at_the_head_does_not_import_alembic(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys; from pathlib import Path; from adapters.sqlite import SqliteStore\n"
        f"async def main():\n for _ in range(2):\n  store = SqliteStore(Path({str(tmp_path / 's.db')!r}))\n"
        "  await store.open(); await store.close()\n"
        "asyncio.run(main()); assert not {'alembic', 'sqlalchemy'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
