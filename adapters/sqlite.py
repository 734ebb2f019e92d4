"""The store in one SQLite file, for one gateway process on one machine.

Write-ahead log with ``synchronous=FULL``: a commit that returned is on the disk. Writes run in one thread,
each in a ``BEGIN IMMEDIATE`` transaction; reads run on the event loop's thread on a connection of their own,
where a point read takes microseconds and a hop to a thread eight times as long. Other processes (export,
audit) may open the file at the same time.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import astuple

from adapters import _sqlite_results as results
from adapters import _sqlite_tables as tables
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

T = TypeVar("T")
BUSY_SECONDS = 5.0
CACHE_KIB = 65_536
CHECKPOINT_PAGES = 8192


class SqliteStore:
    """A :class:`adapters.store.Store` in the file ``path``, which is made, readable by its owner alone.

    Without ``migrate``, tables that are not of this version are refused.
    """

    def __init__(self, path: Path, hash_name: HashName = "sha256", *, migrate: bool = True) -> None:
        self.path = path
        self.hash_name: HashName = hash_name
        self._migrating = migrate
        self._thread: ThreadPoolExecutor | None = None
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None

    async def open(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        try:
            await self._in_thread(self._connect)
            await self._write(lambda opened: tables.migrate(opened, self.hash_name, self._migrating))
            with self._errors():
                self._reader = sqlite3.connect(self.path, isolation_level=None)
                self._reader.execute("PRAGMA query_only = ON")
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        if self._reader:
            self._reader.close()
            self._reader = None
        if self._thread:
            await self._in_thread(self._disconnect)
            self._thread.shutdown()
            self._thread = None

    async def revision(self) -> str:
        """The revision of the tables (:mod:`adapters.migrations`), empty where there are none; also of
        a store that is not open."""
        return await self._beside(lambda connection: tables.found(connection)[0])

    async def downgrade(self, to: str) -> None:
        """Take the tables back to an earlier revision, in a store that nobody has open.

        What later revisions keep is lost. Raises StoreError where there is no such way.
        """
        await self._beside(lambda connection: tables.downgrade(connection, to))

    async def ping(self) -> None:
        self._row("SELECT size FROM log_head")

    async def commit(
        self, entries: Sequence[Sealed], documents: Sequence[Document], tallies: Sequence[Tally] = ()
    ) -> Committed:
        refuse_repeats(entries, documents)
        return await self._write(lambda connection: self._append(connection, entries, documents, tallies))

    async def document(self, kind: str, id: str) -> Document | None:  # noqa: A002
        return self._document("SELECT * FROM document WHERE kind = ? AND id = ?", kind, id)

    async def find(self, kind: str, key: str) -> Document | None:
        return self._document("SELECT * FROM document WHERE kind = ? AND key = ?", kind, key)

    async def documents(self, kind: str, after: str = "", limit: int = 100) -> list[Document]:
        query = "SELECT * FROM document WHERE kind = ? AND id > ? ORDER BY id LIMIT ?"
        return [row_document(row) for row in self._rows(query, kind, after, limit)]

    async def keyed(self, kind: str, begin: str, after: str = "", limit: int = 100) -> list[Document]:
        query = (
            "SELECT * FROM document WHERE kind = ? AND key >= ? AND key > ? AND key < ? ORDER BY key LIMIT ?"
        )
        rows = self._rows(query, kind, begin, after, begin + HIGHEST, limit)
        return [row_document(row) for row in rows]

    async def prune(self, kind: str, before: str) -> int:
        return await self._delete("DELETE FROM document WHERE kind = ? AND id < ?", (kind, before))

    async def remove(self, kind: str, *ids: str) -> int:
        rows = ((kind, id_) for id_ in ids)
        return await self._delete("DELETE FROM document WHERE kind = ? AND id = ?", *rows)

    async def replace(self, document: Document) -> None:
        def work(connection: sqlite3.Connection) -> None:
            try:
                connection.execute(
                    "INSERT INTO document VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (kind, id) DO UPDATE SET"
                    " key = excluded.key, body = excluded.body, at = excluded.at, person = excluded.person",
                    document_row(document),
                )
            except sqlite3.IntegrityError:
                raise KeyTaken(document.kind, document.key) from None

        await self._write(work)

    async def tally(self, kind: str, id: str) -> Tally | None:  # noqa: A002
        row = self._row("SELECT * FROM tally WHERE kind = ? AND id = ?", kind, id)
        return row_tally(row) if row else None

    async def tallies(self, kind: str, after: str = "", limit: int = 100) -> list[Tally]:
        query = "SELECT * FROM tally WHERE kind = ? AND id > ? ORDER BY id LIMIT ?"
        return [row_tally(row) for row in self._rows(query, kind, after, limit)]

    async def forget(self, kind: str, id: str) -> bool:  # noqa: A002
        return await self._delete("DELETE FROM tally WHERE kind = ? AND id = ?", (kind, id)) > 0

    async def hold(
        self,
        held: Sequence[Held],
        pointers: Sequence[Pointer] = (),
        afresh: Sequence[tuple[str, str]] = (),
        expected: Mapping[tuple[str, str], int] | None = None,
    ) -> Holding:
        return await self._write(
            lambda connection: results.hold(connection, held, pointers, afresh, expected or {})
        )

    async def held(
        self, persons: Sequence[str], since: datetime, nodes: Sequence[str], limit: int = 1000
    ) -> list[Held]:
        among, values = results.named(person=persons, node=nodes)
        query = (
            f"SELECT * FROM held WHERE {among} AND at >= ? AND {results.CURRENT} ORDER BY at DESC, node, id"  # noqa: S608
        )
        return self._held(f"{query} LIMIT ?", *values, micros(since), limit)

    async def place(self, node: str, ids: Sequence[str]) -> list[Held]:
        if len(ids) == 1:
            return self._held(results.PLACE, node, ids[0])
        among, values = results.named(node=[node], id=ids)
        # of those from before there were versions, the newest comes last and stays
        found = self._held(f"SELECT * FROM held WHERE {among} AND newest = 1 ORDER BY at", *values)  # noqa: S608
        return [*{one.id: one for one in found}.values()]

    async def version(self, node: str, id: str, version: int) -> Held | None:  # noqa: A002
        query = "SELECT * FROM held WHERE node = ? AND id = ? AND version = ? ORDER BY at DESC LIMIT 1"
        return next(iter(self._held(query, node, id, min(version, INT64))), None)

    async def versions(self, node: str, id: str, limit: int) -> list[Held]:  # noqa: A002
        query = "SELECT * FROM held WHERE node = ? AND id = ? ORDER BY version DESC, at DESC LIMIT ?"
        return self._held(query, node, id, limit)

    async def listed(self, node: str, type: str, tokens: Sequence[str], limit: int) -> list[Held]:  # noqa: A002
        among, values = results.listed(node, type, tokens)
        query = f"SELECT held.* FROM held WHERE {among} ORDER BY saved DESC, id LIMIT ?"  # noqa: S608
        return await each(self._rows(query, *values, limit), row_held)

    async def waiting(self, node: str, subject: str, limit: int = 500) -> list[Held]:
        query = "SELECT * FROM held WHERE node = ? AND subject = ? AND person = '' LIMIT ?"
        return self._held(query, node, subject, limit)

    async def others(self, node: str, subject: str, persons: Sequence[str]) -> list[str]:
        theirs, values = results.named(person=[*persons, ""])
        query = f"SELECT id FROM held WHERE node = ? AND subject = ? AND {results.CURRENT} AND NOT ({theirs})"  # noqa: S608
        return [id_ for (id_,) in self._rows(query, node, subject, *values)]

    async def adopt(self, held: Sequence[Held]) -> None:
        await self._write(lambda connection: results.adopt(connection, held))

    async def pointers(self, persons: Sequence[str]) -> list[Pointer]:
        among, values = results.named(person=persons)
        query = f"SELECT * FROM pointer WHERE {among} ORDER BY node, grp, person"  # noqa: S608
        return [row_pointer(row) for row in self._rows(query, *values)]

    async def unhold(
        self, *, persons: Sequence[str] = (), node: str = "", before: datetime | None = None
    ) -> int:
        refuse_everything(persons, node, before)
        erased = await self._write(lambda connection: results.unhold(connection, persons, node, before))
        await self._truncate()
        return erased

    async def repoint(self, node: str, to: str) -> int:
        return await self._write(lambda connection: results.repoint(connection, node, to))

    async def head(self) -> Head:
        frontier = unpack_frontier(*self._row("SELECT size, frontier FROM log_head"))
        return Head(frontier.size, frontier.root(self.hash_name), frontier)

    async def entries(self, start: int, count: int) -> list[bytes]:
        query = "SELECT body FROM entry WHERE idx >= ? AND idx < ? ORDER BY idx"
        return [body for (body,) in self._rows(query, *span(start, count))]

    async def leaves(self, start: int, count: int) -> list[bytes]:
        query = "SELECT leaf FROM entry WHERE idx >= ? AND idx < ? ORDER BY idx"
        return [leaf for (leaf,) in self._rows(query, *span(start, count))]

    async def subtrees(self, level: int, start: int, count: int) -> list[bytes]:
        if level == 0:
            return await self.leaves(start, count)
        query = "SELECT root FROM subtree WHERE level = ? AND idx >= ? AND idx < ? ORDER BY idx"
        return [root for (root,) in self._rows(query, level, *span(start, count))]

    async def index_of(self, entry_id: str) -> int | None:
        row = self._row("SELECT idx FROM entry WHERE entry_id = ?", entry_id)
        return row[0] if row else None

    async def secret(self, entry_id: str) -> Secret | None:
        query = "SELECT salt, payload FROM secret JOIN entry USING (idx) WHERE entry_id = ?"
        row = self._row(query, entry_id)
        return Secret(*row) if row else None

    async def secrets(self, start: int, limit: int = 100) -> list[tuple[int, str, Secret]]:
        rows = self._rows(SECRETS.replace("$", "?"), min(start, INT64), limit)
        return [(index, entry_id, Secret(*row)) for index, entry_id, *row in rows]

    async def erase(self, *entry_ids: str) -> int:
        return await self._delete(
            "DELETE FROM secret WHERE idx = (SELECT idx FROM entry WHERE entry_id = ?)",
            *((entry_id,) for entry_id in entry_ids),
        )

    async def _delete(self, query: str, *rows: tuple[str, ...]) -> int:
        fit = [names for names in rows if all(map(storable, names))]
        if not fit:
            return 0
        erased = await self._write(lambda connection: connection.executemany(query, fit).rowcount)
        if erased:
            await self._truncate()
        return erased

    async def _truncate(self) -> None:
        """Until it is truncated, the write-ahead log keeps the pages of what was erased as they were."""
        await self._in_thread(
            lambda: self._open_writer().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        )

    async def put_note(self, size: int, root: bytes, note: str) -> None:
        await self._in_thread(lambda: self._note(size, root, note))

    async def note(self, size: int | None = None) -> str | None:
        if size is None:
            row = self._row("SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1")
        else:
            row = self._row("SELECT note FROM checkpoint WHERE size = ?", min(size, INT64))
        return row[0] if row else None

    # the writer's thread

    def _connect(self) -> None:
        # SQLite gives its side files the same mode
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        self._writer = sqlite3.connect(self.path, BUSY_SECONDS, isolation_level=None)
        self._writer.execute("PRAGMA synchronous = FULL")
        self._writer.execute("PRAGMA secure_delete = ON")
        # entry ids are random, so each writes another page of their index: keep these, copy them back seldom
        self._writer.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self._writer.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        ends = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._writer.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:  # in this one statement SQLite does not wait for others itself
                if time.monotonic() > ends:
                    raise
                time.sleep(0.01)
            else:
                return

    def _disconnect(self) -> None:
        if self._writer:
            self._writer.close()
            self._writer = None

    def _open_writer(self) -> sqlite3.Connection:
        if self._writer is None:
            raise self._unavailable("it is not open")
        return self._writer

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._open_writer()
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def _note(self, size: int, root: bytes, note: str) -> None:
        """A lost note is signed again at the next start: this write alone need not wait for the disk."""
        connection = self._open_writer()
        connection.execute("PRAGMA synchronous = NORMAL")
        try:
            connection.execute(
                "INSERT INTO checkpoint VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (size, root, note)
            )
        finally:
            connection.execute("PRAGMA synchronous = FULL")

    def _append(
        self,
        connection: sqlite3.Connection,
        entries: Sequence[Sealed],
        documents: Sequence[Document],
        tallies: Sequence[Tally],
    ) -> Committed:
        frontier = unpack_frontier(*connection.execute("SELECT size, frontier FROM log_head").fetchone())
        grown, complete = grow(frontier, leaves_of(entries, self.hash_name), self.hash_name)
        placed = list(enumerate(entries, frontier.size))
        try:
            connection.executemany(
                "INSERT INTO entry VALUES (?, ?, ?, ?)",
                [(index, entry.entry_id, entry.body, entry.leaf) for index, entry in placed],
            )
            connection.executemany(
                "INSERT INTO secret VALUES (?, ?, ?)",
                [(index, entry.salt, entry.payload) for index, entry in placed],
            )
            connection.executemany("INSERT INTO subtree VALUES (?, ?, ?)", map(astuple, complete))
            connection.executemany(
                "INSERT INTO document VALUES (?, ?, ?, ?, ?, ?)", list(map(document_row, documents))
            )
        except sqlite3.IntegrityError:
            connection.execute("ROLLBACK")  # what is found now was there before
            _name_the_taken(connection, entries, documents)
            raise
        connection.executemany(
            "INSERT INTO tally VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (kind, id) DO UPDATE"
            " SET body = excluded.body, last = excluded.last, count = count + excluded.count",
            [tally_row(tally) for tally in added_up(tallies)],
        )
        connection.executemany(TRIM, [dict(zip("1234", group, strict=True)) for group in trims(tallies)])
        connection.execute("UPDATE log_head SET size = ?, frontier = ?", (grown.size, pack_frontier(grown)))
        return Committed(frontier.size, grown.size, grown.root(self.hash_name))

    # ways in, with the driver's errors turned into the contract's

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._thread is None:
            raise self._unavailable("it is not open")
        with self._errors():
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _beside(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """A transaction in the file, whether or not the store is open."""

        def alone() -> T:
            other = SqliteStore(self.path)
            other._connect()
            try:
                return other._transaction(work)
            finally:
                other._disconnect()

        with self._errors():
            return await asyncio.to_thread(alone)

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._in_thread(lambda: self._transaction(work))

    def _rows(self, query: str, *values: object) -> list[Any]:
        if self._reader is None:
            raise self._unavailable("it is not open")
        try:
            return self._reader.execute(query, values).fetchall()
        except UnicodeEncodeError:  # no row has a lone surrogate
            return []
        except (sqlite3.Error, OSError) as error:
            raise self._unavailable(str(error)) from error

    def _row(self, query: str, *values: object) -> Any:
        return next(iter(self._rows(query, *values)), None)

    def _held(self, query: str, *values: object) -> list[Held]:
        return [row_held(row) for row in self._rows(query, *values)]

    def _document(self, query: str, kind: str, name: str) -> Document | None:
        row = self._row(query, kind, name)
        return row_document(row) if row else None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self._unavailable(str(error)) from error

    def _unavailable(self, why: str) -> StoreUnavailable:
        return StoreUnavailable(f"the SQLite store {self.path}: {why}")


def _name_the_taken(
    connection: sqlite3.Connection, entries: Sequence[Sealed], documents: Sequence[Document]
) -> None:
    """Raise KeyTaken for the first of these that stands in the database."""
    for entry in entries:
        if connection.execute("SELECT 1 FROM entry WHERE entry_id = ?", (entry.entry_id,)).fetchone():
            raise KeyTaken("entry", entry.entry_id)
    query = "SELECT 1 FROM document WHERE kind = ? AND (id = ? OR key = ?)"
    for document in documents:
        if connection.execute(query, document_row(document)[:3]).fetchone():
            raise KeyTaken(document.kind, document.key or document.id)
