"""The store in PostgreSQL, for any number of gateway replicas.

A commit is one statement that inserts everything and moves the one row of ``log_head``, if the head is still
where this replica left it. Where another replica moved it, a commit takes four messages and its turn: begin,
lock the row (so that writers follow one another, behind a pooler too), the statement, commit. Indexes come
from the head, never from a sequence, which would leave gaps on a rollback.

The database must flush what it commits: ``open`` refuses ``fsync`` or ``synchronous_commit`` switched off.
For a standby that may take over, replicate synchronously; a lost tail of a published ledger cannot be
repaired.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from msgspec.structs import astuple

from adapters.errors import KeyTaken, StoreError, StoreUnavailable
from adapters.schema import (
    CHUNK,
    INT64,
    LAST_SUBTREE,
    POSTGRES,
    SECRETS,
    TRIM,
    VERSIONS,
    check_hash,
    document_row,
    leaves_of,
    pack_frontier,
    pending,
    row_document,
    row_tally,
    span,
    tally_row,
    trims,
    unpack_frontier,
)
from adapters.store import Committed, Document, Head, Secret, Tally, added_up, refuse_repeats, storable
from adapters.subtrees import grow
from security.digests import HashName
from security.ledger import Sealed
from security.tiles import TILE_WIDTH
from security.tree import Frontier

ANSWER_SECONDS = 10.0
CONNECT_SECONDS = 5.0
MIGRATION_SECONDS = 3600.0
_DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
_MIGRATION_LOCK = 0x6C69616E72656E  # any number that other programs on this database do not lock

# Everything hangs on the head, which moves only where it still is what the batch was made for.
_APPEND = """
WITH head AS (
    UPDATE log_head SET size = $1, frontier = $2 WHERE size = $3 AND frontier = $4 RETURNING id
), entries AS (
    INSERT INTO entry (idx, entry_id, body, leaf)
    SELECT $3 + place - 1, entry_id, body, leaf
    FROM head, unnest($5::text[], $6::bytea[], $7::bytea[])
        WITH ORDINALITY AS new (entry_id, body, leaf, place)
), secrets AS (
    INSERT INTO secret (idx, salt, payload)
    SELECT $3 + place - 1, salt, payload
    FROM head, unnest($8::bytea[], $9::bytea[]) WITH ORDINALITY AS new (salt, payload, place)
), subtrees AS (
    INSERT INTO subtree (level, idx, root)
    SELECT level, idx, root
    FROM head, unnest($10::bigint[], $11::bigint[], $12::bytea[]) AS new (level, idx, root)
), documents AS (
    INSERT INTO document (kind, id, key, body, at)
    SELECT kind, new.id, key, body, at
    FROM head, unnest($13::text[], $14::text[], $15::text[], $16::bytea[], $17::text[])
        AS new (kind, id, key, body, at)
)
SELECT id FROM head
"""
_ADD = """
INSERT INTO tally (kind, id, body, first, last, count)
SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::bigint[])
ON CONFLICT (kind, id) DO UPDATE
SET body = excluded.body, last = excluded.last, count = tally.count + excluded.count
"""
# A lost note is signed again at the next start: this transaction alone need not wait for the disk.
_PUT_NOTE = """
WITH unflushed AS (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO checkpoint (size, root, note) SELECT $1::bigint, $2::bytea, $3::text FROM unflushed
ON CONFLICT DO NOTHING
"""
_TAKEN_DOCUMENT = """
SELECT new.place FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS new (kind, id, key, place)
JOIN document AS old ON old.kind = new.kind AND (old.id = new.id OR old.key = new.key) LIMIT 1
"""
_REPLACE = """
INSERT INTO document (kind, id, key, body, at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (kind, id) DO UPDATE SET key = excluded.key, body = excluded.body, at = excluded.at
"""


class _Batch:
    """One commit, as the statements take it."""

    def __init__(
        self,
        entries: Sequence[Sealed],
        documents: Sequence[Document],
        tallies: Sequence[Tally],
        leaves: list[bytes],
    ) -> None:
        self.entries = entries
        self.tallies = tallies
        self.leaves = leaves
        self.ids = [entry.entry_id for entry in entries]
        rows = map(document_row, documents)
        self.columns = [list(column) for column in zip(*rows, strict=True)] or [[]] * 5


class PostgresStore:
    """A :class:`adapters.store.Store` in the database that ``dsn`` names
    (``postgresql://user:password@host/db``).

    Raises StoreError for a DSN that cannot be read; no message repeats it, since it may hold a password.
    """

    def __init__(self, dsn: str, hash_name: HashName = "sha256", connections: int = 8) -> None:
        self.hash_name: HashName = hash_name
        self._dsn = dsn
        self._connections = connections
        self._pool: Any = None
        self._idle: list[Any] = []
        self._free = asyncio.Semaphore(connections)
        self._last: Frontier | None = None  # the head as this replica's last commit left it
        self._alone: Frontier | None = None  # the same, while nobody else seems to write
        try:
            parts = urlsplit(dsn)
            self._where = f"{parts.hostname or 'local'}:{parts.port or 5432}{parts.path}"
        except ValueError:
            raise StoreError(
                "the PostgreSQL address is not postgresql://user:password@host:port/name"
            ) from None

    async def open(self) -> None:
        try:
            self._pool = await asyncpg.create_pool(
                self._dsn,
                min_size=1,
                max_size=self._connections,
                timeout=CONNECT_SECONDS,
                command_timeout=ANSWER_SECONDS,
                reset=_keep_session,
            )
        except ValueError:  # asyncpg quotes the part of the DSN that it cannot read
            raise StoreError(f"PostgreSQL at {self._where}: its address cannot be read") from None
        except _DRIVER_ERRORS as error:
            raise self._unavailable(error) from error
        try:
            async with self._connection() as connection:
                for setting in ("fsync", "synchronous_commit"):
                    if (value := await connection.fetchval(f"SHOW {setting}")) not in ("on", "remote_apply"):
                        raise StoreError(
                            f"PostgreSQL at {self._where}: {setting} is {value}; a crash would lose commits"
                        )
                async with connection.transaction():
                    await self._migrate(connection)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        if self._pool is not None:
            pool, self._pool = self._pool, None
            with suppress(*_DRIVER_ERRORS):  # a dead server ends it too
                while self._idle:
                    await pool.release(self._idle.pop())
                await pool.close()

    async def ping(self) -> None:
        await self._row("SELECT size FROM log_head")

    async def commit(
        self, entries: Sequence[Sealed], documents: Sequence[Document], tallies: Sequence[Tally] = ()
    ) -> Committed:
        refuse_repeats(entries, documents)
        batch = _Batch(entries, documents, tallies, leaves_of(entries, self.hash_name))
        async with self._connection() as connection:
            try:
                return await self._ahead(connection, batch) or await self._in_turn(connection, batch)
            except asyncpg.UniqueViolationError:
                taken = await connection.fetchval(
                    "SELECT entry_id FROM entry WHERE entry_id = ANY($1) LIMIT 1", batch.ids
                )
                if taken is not None:
                    raise KeyTaken("entry", taken) from None
                place = await connection.fetchval(_TAKEN_DOCUMENT, *batch.columns[:3])
                if place is None:
                    raise
                document = documents[place - 1]
                raise KeyTaken(document.kind, document.key or document.id) from None

    async def _ahead(self, connection: Any, batch: _Batch) -> Committed | None:
        """The commit in one message, where the head is as this replica left it; None where it is not."""
        frontier, self._alone = self._alone, None
        if frontier is None or batch.tallies:
            return None
        with suppress(asyncpg.SerializationError):  # the server isolates strictly, and another was first
            return await self._append(connection, frontier, batch)
        return None

    async def _in_turn(self, connection: Any, batch: _Batch) -> Committed:
        """The commit that waits for the head, which the others cannot move meanwhile."""
        # at any other isolation level, waiting for the lock ends in a serialization failure
        async with connection.transaction(isolation="read_committed"):
            frontier = unpack_frontier(
                *await connection.fetchrow("SELECT size, frontier FROM log_head FOR UPDATE")
            )
            others = frontier != self._last
            committed = await self._append(connection, frontier, batch)
            if committed is None:
                raise StoreError(f"PostgreSQL at {self._where}: the locked head moved")
            if counted := [tally_row(tally) for tally in added_up(batch.tallies)]:
                await connection.execute(_ADD, *map(list, zip(*counted, strict=True)))
                await connection.executemany(TRIM, trims(batch.tallies))
        if others:
            self._alone = None  # they will move it again: waiting in turn costs less than being refused
        return committed

    async def _append(self, connection: Any, frontier: Frontier, batch: _Batch) -> Committed | None:
        grown, complete = grow(frontier, batch.leaves, self.hash_name)
        moved = await connection.fetchval(
            _APPEND,
            grown.size,
            pack_frontier(grown),
            frontier.size,
            pack_frontier(frontier),
            batch.ids,
            [entry.body for entry in batch.entries],
            batch.leaves,
            [entry.salt for entry in batch.entries],
            [entry.payload for entry in batch.entries],
            [subtree.level for subtree in complete],
            [subtree.index for subtree in complete],
            [subtree.root for subtree in complete],
            *batch.columns,
        )
        if moved is None:
            return None
        self._last = self._alone = grown
        return Committed(frontier.size, grown.size, grown.root(self.hash_name))

    async def document(self, kind: str, id: str) -> Document | None:  # noqa: A002
        row = await self._row("SELECT * FROM document WHERE kind = $1 AND id = $2", kind, id)
        return row_document(row) if row else None

    async def find(self, kind: str, key: str) -> Document | None:
        row = await self._row("SELECT * FROM document WHERE kind = $1 AND key = $2", kind, key)
        return row_document(row) if row else None

    async def documents(self, kind: str, after: str = "", limit: int = 100) -> list[Document]:
        query = "SELECT * FROM document WHERE kind = $1 AND id > $2 ORDER BY id LIMIT $3"
        return [row_document(row) for row in await self._rows(query, kind, after, limit)]

    async def prune(self, kind: str, before: str) -> int:
        return len(
            await self._rows("DELETE FROM document WHERE kind = $1 AND id < $2 RETURNING 1", kind, before)
        )

    async def remove(self, kind: str, *ids: str) -> int:
        query = "DELETE FROM document WHERE kind = $1 AND id = ANY($2) RETURNING 1"
        return len(await self._rows(query, kind, list(filter(storable, ids))))

    async def replace(self, document: Document) -> None:
        async with self._connection() as connection:
            try:
                await connection.execute(_REPLACE, *document_row(document))
            except asyncpg.UniqueViolationError:
                raise KeyTaken(document.kind, document.key) from None

    async def tally(self, kind: str, id: str) -> Tally | None:  # noqa: A002
        row = await self._row("SELECT * FROM tally WHERE kind = $1 AND id = $2", kind, id)
        return row_tally(row) if row else None

    async def tallies(self, kind: str, after: str = "", limit: int = 100) -> list[Tally]:
        query = "SELECT * FROM tally WHERE kind = $1 AND id > $2 ORDER BY id LIMIT $3"
        return [row_tally(row) for row in await self._rows(query, kind, after, limit)]

    async def forget(self, kind: str, id: str) -> bool:  # noqa: A002
        query = "DELETE FROM tally WHERE kind = $1 AND id = $2 RETURNING id"
        return await self._row(query, kind, id) is not None

    async def head(self) -> Head:
        frontier = unpack_frontier(*await self._row("SELECT size, frontier FROM log_head"))
        return Head(frontier.size, frontier.root(self.hash_name), frontier)

    async def entries(self, start: int, count: int) -> list[bytes]:
        query = "SELECT body FROM entry WHERE idx >= $1 AND idx < $2 ORDER BY idx"
        return [row[0] for row in await self._rows(query, *span(start, count))]

    async def leaves(self, start: int, count: int) -> list[bytes]:
        query = "SELECT leaf FROM entry WHERE idx >= $1 AND idx < $2 ORDER BY idx"
        return [row[0] for row in await self._rows(query, *span(start, count))]

    async def subtrees(self, level: int, start: int, count: int) -> list[bytes]:
        if level == 0:
            return await self.leaves(start, count)
        query = "SELECT root FROM subtree WHERE level = $1 AND idx >= $2 AND idx < $3 ORDER BY idx"
        return [row[0] for row in await self._rows(query, level, *span(start, count))]

    async def index_of(self, entry_id: str) -> int | None:
        row = await self._row("SELECT idx FROM entry WHERE entry_id = $1", entry_id)
        return row[0] if row else None

    async def secret(self, entry_id: str) -> Secret | None:
        query = "SELECT salt, payload FROM secret JOIN entry USING (idx) WHERE entry_id = $1"
        row = await self._row(query, entry_id)
        return Secret(*row) if row else None

    async def secrets(self, start: int, limit: int = 100) -> list[tuple[int, str, Secret]]:
        rows = await self._rows(SECRETS, min(start, INT64), limit)
        return [(index, entry_id, Secret(*row)) for index, entry_id, *row in rows]

    async def erase(self, *entry_ids: str) -> int:
        query = (
            "DELETE FROM secret USING entry WHERE secret.idx = entry.idx AND entry_id = ANY($1) RETURNING 1"
        )
        return len(await self._rows(query, [entry_id for entry_id in entry_ids if storable(entry_id)]))

    async def put_note(self, size: int, root: bytes, note: str) -> None:
        async with self._connection() as connection:
            await connection.execute(_PUT_NOTE, size, root, note)

    async def note(self, size: int | None = None) -> str | None:
        if size is None:
            row = await self._row("SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1")
        else:
            row = await self._row("SELECT note FROM checkpoint WHERE size = $1", min(size, INT64))
        return row[0] if row else None

    async def _migrate(self, connection: Any) -> None:
        await connection.execute(
            "SELECT pg_advisory_xact_lock($1)", _MIGRATION_LOCK
        )  # replicas start together
        await connection.execute(VERSIONS)
        applied = await connection.fetchval("SELECT count(*) FROM schema_version")
        for version, statements in pending(applied, POSTGRES):
            for statement in statements:
                await connection.execute(statement, timeout=MIGRATION_SECONDS)
            await connection.execute("INSERT INTO schema_version VALUES ($1)", version)
        await connection.execute(
            "INSERT INTO log_head VALUES (1, 0, '', $1) ON CONFLICT DO NOTHING", self.hash_name
        )
        size, born_with = await connection.fetchrow("SELECT size, hash FROM log_head")
        check_hash(born_with, self.hash_name)
        if await connection.fetchval(LAST_SUBTREE) < size // TILE_WIDTH:
            await self._fill(connection)

    async def _fill(self, connection: Any) -> None:
        """Write the subtrees of a ledger that was begun before they were kept."""
        frontier, query = Frontier(), "SELECT leaf FROM entry WHERE idx >= $1 AND idx < $2 ORDER BY idx"
        while rows := await connection.fetch(query, *span(frontier.size, CHUNK)):
            frontier, complete = grow(frontier, [row[0] for row in rows], self.hash_name)
            await connection.executemany(
                "INSERT INTO subtree VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", list(map(astuple, complete))
            )

    async def _rows(self, query: str, *values: object) -> list[Any]:
        if not all(storable(value) for value in values if isinstance(value, str)):
            return []
        async with self._connection() as connection:
            rows: list[Any] = await connection.fetch(query, *values)
            return rows

    async def _row(self, query: str, *values: object) -> Any:
        return next(iter(await self._rows(query, *values)), None)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        """A connection for a while; the driver's errors become the contract's.

        Between uses it stays with the store: to give it back to the pool and to take it again costs as much
        as a commit.
        """
        if self._pool is None:
            raise StoreUnavailable(f"PostgreSQL at {self._where}: the store is not open")
        pool = self._pool
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._free.acquire()
            try:
                connection = await self._take(pool)
                try:
                    yield connection
                finally:
                    await self._give_back(pool, connection)
            finally:
                self._free.release()
        except _DRIVER_ERRORS as error:
            raise self._unavailable(error) from error

    async def _take(self, pool: Any) -> Any:
        while self._idle:
            if not (connection := self._idle.pop()).is_closed():
                return connection
            await pool.release(connection)  # which opens another in its place
        async with asyncio.timeout(CONNECT_SECONDS):
            return await pool.acquire()

    async def _give_back(self, pool: Any, connection: Any) -> None:
        if self._pool is pool and not connection.is_closed():
            self._idle.append(connection)
        else:
            await pool.release(connection)

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        """First line only: what follows in PostgreSQL's messages may quote a row."""
        why = (str(error.args[0]) if len(error.args) == 1 else str(error)).splitlines() or [
            "no answer in time"
        ]
        return StoreUnavailable(f"PostgreSQL at {self._where}: {why[0]}")


async def _keep_session(_connection: Any) -> None:
    """No reset when a connection goes back: nothing here changes a session, and it costs a message."""
