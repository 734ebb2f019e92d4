"""The store in PostgreSQL, for any number of gateway replicas.

A commit is one statement that inserts everything and moves the one row of ``log_head``, if the head is still
where this replica left it. Where another replica moved it, a commit takes four messages and its turn: begin,
lock the row (so that writers follow one another, behind a pooler too), the statement, commit. Indexes come
from the head, never from a sequence, which would leave gaps on a rollback.

The database must flush what it commits: ``open`` refuses ``fsync`` or ``synchronous_commit`` switched off.
For a standby that may take over, replicate synchronously; a lost tail of a published ledger cannot be
repaired. The address may name several hosts: the one that takes writes is used, and looked for again after a
failover (:mod:`adapters._postgres_connections`). What grows is partitioned
(:mod:`adapters._postgres_partitions`), which is looked after at the start and once an hour.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import asyncpg

from adapters import _postgres_documents, _postgres_tables
from adapters import _postgres_results as results
from adapters._postgres_connections import LONG_SECONDS, Connections
from adapters._postgres_partitions import (
    CASES,
    HELD,
    TOKENS,
    Series,
    drop_before,
    keep,
    keep_held,
    made_until,
    month_of,
)
from adapters.errors import KeyTaken, StoreUnavailable
from adapters.schema import (
    HIGHEST,
    INT64,
    SECRETS,
    TRIM,
    document_row,
    leaves_of,
    micros,
    pack_frontier,
    row_document,
    row_held,
    row_pointer,
    row_tally,
    span,
    tally_row,
    trims,
    unpack_frontier,
)
from adapters.store import (
    Committed,
    Document,
    Head,
    Held,
    Holding,
    Pointer,
    Secret,
    Tally,
    added_up,
    each,
    refuse_everything,
    refuse_repeats,
    storable,
)
from adapters.subtrees import grow
from security.digests import HashName
from security.ledger import Sealed
from security.tree import Frontier

KEEP_SECONDS = 3600.0

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
    INSERT INTO document (kind, id, key, body, at, person)
    SELECT kind, new.id, key, body, at, person
    FROM head, unnest($13::text[], $14::text[], $15::text[], $16::bytea[], $17::text[], $18::text[])
        AS new (kind, id, key, body, at, person)
    RETURNING kind, key, id
), keys AS (
    INSERT INTO document_key (kind, key, id)
    SELECT kind, key, id FROM documents WHERE key IS NOT NULL
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
_COUNTED = "WITH gone AS ({} RETURNING 1) SELECT count(*) FROM gone"
_FORGET = "DELETE FROM tally WHERE kind = $1 AND id = $2"
_ERASE = "DELETE FROM secret USING entry WHERE secret.idx = entry.idx AND entry_id = ANY($1)"


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
        self.columns = [list(column) for column in zip(*rows, strict=True)] or [[]] * 6


class PostgresStore:
    """A :class:`adapters.store.Store` in the database that ``dsn`` names
    (``postgresql://user:password@host:port,host:port/db``).

    Without ``migrate``, tables that are not of this version are refused. Raises StoreError for a DSN that
    cannot be read; no message repeats it, since it may hold a password.
    """

    def __init__(
        self, dsn: str, hash_name: HashName = "sha256", connections: int = 8, *, migrate: bool = True
    ) -> None:
        self.hash_name: HashName = hash_name
        self._migrating = migrate
        self._connections = Connections(dsn, connections)
        self._keeping: asyncio.Task[None] | None = None
        self._months: set[int] = set()  # of held results, whose partitions were looked for
        self._last: Frontier | None = None  # the head as this replica's last commit left it
        self._alone: Frontier | None = None  # the same, while nobody else seems to write

    async def open(self) -> None:
        self._connections.open()
        try:
            async with self._connections.connection() as connection:
                for setting in ("fsync", "synchronous_commit"):
                    if (value := await connection.fetchval(f"SHOW {setting}")) not in ("on", "remote_apply"):
                        raise self._connections.refused(f"{setting} is {value}; a crash would lose commits")
                async with connection.transaction():
                    await _postgres_tables.migrate(connection, self.hash_name, self._migrating)
            with suppress(StoreUnavailable):  # what has no partition yet is caught by the rest
                await self.keep_partitions()
        except BaseException:
            await self.close()
            raise
        self._keeping = asyncio.create_task(self._keep_partitions(), name="partitions")

    async def close(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait((self._keeping,))
            self._keeping = None
        await self._connections.close()

    async def revision(self) -> str:
        """The revision of the tables (:mod:`adapters.migrations`), empty where there are none; also of a
        store that is not open."""
        async with self._reached(), self._connections.connection() as connection:
            return (await _postgres_tables.found(connection))[0]

    async def downgrade(self, to: str) -> None:
        """Take the tables back to an earlier revision, in a store that nobody has open.

        What later revisions keep is lost. Raises StoreError where there is no such way.
        """
        async with self._reached(), self._connections.transaction() as connection:
            await _postgres_tables.downgrade(connection, to)

    async def keep_partitions(self, now: datetime | None = None) -> None:
        """Make the partitions that are missing, and some ahead. Raises StoreUnavailable."""
        async with self._connections.connection() as connection:
            size = await connection.fetchval("SELECT size FROM log_head")
            await keep(connection, now or datetime.now(UTC), size)

    async def partitioned_until(self) -> datetime:
        """Up to when there are partitions for what is kept; also of a store that is not open."""
        async with self._reached(), self._connections.connection() as connection:
            return await made_until(connection)

    async def ping(self) -> None:
        await self._row("SELECT size FROM log_head")

    async def commit(
        self, entries: Sequence[Sealed], documents: Sequence[Document], tallies: Sequence[Tally] = ()
    ) -> Committed:
        refuse_repeats(entries, documents)
        batch = _Batch(entries, documents, tallies, leaves_of(entries, self.hash_name))
        async with self._connections.connection() as connection:
            try:
                return await self._ahead(connection, batch) or await self._in_turn(connection, batch)
            except asyncpg.UniqueViolationError:
                taken = await connection.fetchval(
                    "SELECT entry_id FROM entry WHERE entry_id = ANY($1) LIMIT 1", batch.ids
                )
                if taken is not None:
                    raise KeyTaken("entry", taken) from None
                place = await connection.fetchval(_postgres_documents.TAKEN, *batch.columns[:3])
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
                raise self._connections.refused("the locked head moved")
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
        row = await self._row("SELECT id FROM document_key WHERE kind = $1 AND key = $2", kind, key)
        return await self.document(kind, row[0]) if row else None

    async def documents(self, kind: str, after: str = "", limit: int = 100) -> list[Document]:
        query = "SELECT * FROM document WHERE kind = $1 AND id > $2 ORDER BY id LIMIT $3"
        return [row_document(row) for row in await self._rows(query, kind, after, limit)]

    async def keyed(self, kind: str, begin: str, after: str = "", limit: int = 100) -> list[Document]:
        rows = await self._rows(_postgres_documents.KEYED, kind, begin, after, begin + HIGHEST, limit)
        return [row_document(row) for row in rows]

    async def prune(self, kind: str, before: str) -> int:
        dropped = await self._drop(CASES, before) if kind == "case" and storable(before) else 0
        return dropped + await self._delete(_postgres_documents.PRUNE, kind, before, seconds=LONG_SECONDS)

    async def remove(self, kind: str, *ids: str) -> int:
        return await self._delete(_postgres_documents.REMOVE, kind, list(filter(storable, ids)))

    async def replace(self, document: Document) -> None:
        async with self._connections.transaction() as connection:
            await _postgres_documents.replace(connection, document)

    async def tally(self, kind: str, id: str) -> Tally | None:  # noqa: A002
        row = await self._row("SELECT * FROM tally WHERE kind = $1 AND id = $2", kind, id)
        return row_tally(row) if row else None

    async def tallies(self, kind: str, after: str = "", limit: int = 100) -> list[Tally]:
        query = "SELECT * FROM tally WHERE kind = $1 AND id > $2 ORDER BY id LIMIT $3"
        return [row_tally(row) for row in await self._rows(query, kind, after, limit)]

    async def forget(self, kind: str, id: str) -> bool:  # noqa: A002
        return await self._delete(_COUNTED.format(_FORGET), kind, id) > 0

    async def hold(
        self,
        held: Sequence[Held],
        pointers: Sequence[Pointer] = (),
        afresh: Sequence[tuple[str, str]] = (),
        expected: Mapping[tuple[str, str], int] | None = None,
    ) -> Holding:
        months = {month_of(one.at) for one in held}
        if new := months - self._months:  # what comes late has its partition too
            with suppress(StoreUnavailable):
                async with self._connections.connection() as connection:
                    await keep_held(connection, datetime.now(UTC), new)
            self._months |= new
        async with self._connections.transaction() as connection:
            return await results.hold(connection, held, pointers, afresh, expected or {})

    async def held(
        self, persons: Sequence[str], since: datetime, nodes: Sequence[str], limit: int = 1000
    ) -> list[Held]:
        fit = [list(filter(storable, names)) for names in (persons, nodes)]
        return await self._held(results.HELD, *fit, micros(since), limit)

    async def place(self, node: str, ids: Sequence[str]) -> list[Held]:
        return await self._held(results.PLACE, node, list(filter(storable, ids)))

    async def version(self, node: str, id: str, version: int) -> Held | None:  # noqa: A002
        return next(iter(await self._held(results.VERSION, node, id, min(version, INT64))), None)

    async def versions(self, node: str, id: str, limit: int) -> list[Held]:  # noqa: A002
        return await self._held(results.VERSIONS, node, id, limit)

    async def listed(self, node: str, type: str, tokens: Sequence[str], limit: int) -> list[Held]:  # noqa: A002
        if not tokens:
            return await self._held(results.LISTED, node, type, limit)
        return await self._held(results.FOUND, node, type, limit, list(filter(storable, tokens)))

    async def waiting(self, node: str, subject: str, limit: int = 500) -> list[Held]:
        return await self._held(results.WAITING, node, subject, limit)

    async def others(self, node: str, subject: str, persons: Sequence[str]) -> list[str]:
        rows = await self._rows(results.OTHERS, node, subject, list(filter(storable, persons)))
        return [row[0] for row in rows]

    async def adopt(self, held: Sequence[Held]) -> None:
        async with self._connections.transaction() as connection:
            await results.adopt(connection, held)

    async def pointers(self, persons: Sequence[str]) -> list[Pointer]:
        rows = await self._rows(results.POINTERS, list(filter(storable, persons)))
        return [row_pointer(row) for row in rows]

    async def unhold(
        self, *, persons: Sequence[str] = (), node: str = "", before: datetime | None = None
    ) -> int:
        refuse_everything(persons, node, before)
        if not storable(node):
            return 0
        dropped = 0
        if before is not None and not persons and not node:
            await self._drop(TOKENS, micros(before))
            dropped = await self._drop(HELD, micros(before))
        async with self._connections.transaction() as connection:
            return dropped + await results.unhold(connection, persons, node, before)

    async def repoint(self, node: str, to: str) -> int:
        if not (storable(node) and storable(to)):
            return 0
        async with self._connections.transaction() as connection:
            return await results.repoint(connection, node, to)

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
        if (index := await self.index_of(entry_id)) is None:
            return None
        row = await self._row("SELECT salt, payload FROM secret WHERE idx = $1", index)
        return Secret(*row) if row else None

    async def secrets(self, start: int, limit: int = 100) -> list[tuple[int, str, Secret]]:
        rows = await self._rows(SECRETS, min(start, INT64), limit)
        return [(index, entry_id, Secret(*row)) for index, entry_id, *row in rows]

    async def erase(self, *entry_ids: str) -> int:
        return await self._delete(_COUNTED.format(_ERASE), list(filter(storable, entry_ids)))

    async def put_note(self, size: int, root: bytes, note: str) -> None:
        async with self._connections.connection() as connection:
            await connection.execute(_PUT_NOTE, size, root, note)

    async def note(self, size: int | None = None) -> str | None:
        if size is None:
            row = await self._row("SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1")
        else:
            row = await self._row("SELECT note FROM checkpoint WHERE size = $1", min(size, INT64))
        return row[0] if row else None

    async def _drop(self, series: Series, before: Any) -> int:
        async with self._connections.transaction() as connection:  # which ends before row by row begins
            return await drop_before(connection, series, before)

    async def _keep_partitions(self) -> None:
        while True:
            await asyncio.sleep(KEEP_SECONDS)
            with suppress(StoreUnavailable):
                await self.keep_partitions()

    @asynccontextmanager
    async def _reached(self) -> AsyncIterator[None]:
        """For a while, the connections of a store that is not open."""
        self._connections.open()
        try:
            yield
        finally:
            if self._keeping is None:
                await self._connections.close()

    async def _rows(self, query: str, *values: object) -> list[Any]:
        if not all(storable(value) for value in values if isinstance(value, str)):
            return []
        return await self._connections.read(query, *values)

    async def _held(self, query: str, *values: object) -> list[Held]:
        return await each(await self._rows(query, *values), row_held)

    async def _row(self, query: str, *values: object) -> Any:
        return next(iter(await self._rows(query, *values)), None)

    async def _delete(self, query: str, *values: object, seconds: float | None = None) -> int:
        if not all(storable(value) for value in values if isinstance(value, str)):
            return 0
        async with self._connections.connection() as connection:
            deleted: int = await connection.fetchval(query, *values, timeout=seconds)
            return deleted
