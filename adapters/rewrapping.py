"""Sealing again what a store keeps under a new key, or for the first time what a version before 0.3 kept.

Works beside running gateways, page by page in short transactions; a row that changes meanwhile is left as it
then is. What is sealed under the current key already is passed over, so that a run that was stopped goes on
when it runs again. The tables are those of :mod:`adapters.schema`.

Former bytes may still lie in free pages of the database, in its log and in backups: SQLite's are overwritten
and truncated here, PostgreSQL's go when it vacuums, backups by their own retention.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from adapters.errors import StoreError, StoreUnavailable
from adapters.schema import INT64
from adapters.sealing import UNSEALED, is_sealed, place_of
from security.envelope import Envelope
from security.errors import PayloadRefused

PAGE = 500
_BUSY_SECONDS = 10.0
_PASSES = 10

Progress = Callable[[str, int, int], None]
"""Hears of a table, the rows that were looked at, and how many there are."""


class Rows(Protocol):
    """A database, as far as this needs it; parameters are ``$1``, ``$2``, …

    Raises StoreUnavailable when it cannot be reached or does not answer in time.
    """

    async def read(self, query: str, *values: object) -> list[Any]:
        """The rows of a query."""
        ...

    async def write(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """One statement for each row of parameters, in one durable transaction."""
        ...


class _Table(Struct, frozen=True):
    """How the sealed column of a table is paged through and written."""

    before_all: tuple[str | int, ...]
    page: str
    write: str


_BODIES = (
    "SELECT kind, id, body FROM {0} WHERE (kind, id) > ($1, $2) ORDER BY kind, id LIMIT $3",
    "UPDATE {0} SET body = $1 WHERE kind = $2 AND id = $3 AND body = $4",
)
_TABLES = {
    "document": _Table(("", ""), *(part.format("document") for part in _BODIES)),
    "tally": _Table(("", ""), *(part.format("tally") for part in _BODIES)),
    "held": _Table(
        ("", -INT64, "", "", 0),
        "SELECT person, at, node, id, version, body FROM held"
        " WHERE (person, at, node, id, version) > ($1, $2, $3, $4, $5)"
        " ORDER BY person, at, node, id, version LIMIT $6",
        "UPDATE held SET body = $1 WHERE person = $2 AND at = $3 AND node = $4 AND id = $5 AND version = $6"
        " AND body = $7",
    ),
    # the last: by its newest row a store tells whether a first sealing came to its end
    "secret": _Table(
        (-1,),
        "SELECT idx, entry_id, salt, payload FROM secret JOIN entry USING (idx)"
        " WHERE idx > $1 ORDER BY idx LIMIT $2",
        "UPDATE secret SET salt = $1, payload = $2 WHERE idx = $3 AND payload = $4",
    ),
}


async def rewrap(
    rows: Rows,
    envelope: Envelope,
    progress: Progress = lambda *_: None,
    *,
    settle: float = 1.0,
    first: bool = False,
) -> int:
    """Seal everything under the envelope's current key, and say how many rows that took.

    A row that is not sealed is refused, since anybody who writes to the database could have laid it there;
    with ``first`` it is sealed, which is for the content of a version that did not seal.

    Goes through the tables until nothing is left to do, because a gateway that runs seals under the former
    key until it has read the new one, for which ``settle`` seconds are waited.

    Raises:
        StoreError: a row is not sealed or does not open: it was changed, or its key is gone. What came
            before it is done. Or a gateway goes on sealing under a former key.
        StoreUnavailable: the database does not answer.
    """
    done = 0
    for number in range(_PASSES):
        changed = sum([await _through(rows, name, envelope, progress, first) for name in _TABLES])
        if not changed:
            return done
        done += changed
        await asyncio.sleep(settle if number else 0)
    raise StoreError(
        "a gateway goes on sealing under a former key: give it this folder of keys, restart it, and run this"
        " again"
    )


async def sealed_under(rows: Rows, key_id: str, progress: Progress = lambda *_: None) -> int:
    """How many rows a key seals. Raises StoreError as :func:`rewrap`."""
    found = 0
    for name in _TABLES:
        async for page in _pages(rows, name, progress):
            found += sum(is_sealed(row[-1]) and _key_id(row[-1], name) == key_id for row in page)
    return found


async def _through(rows: Rows, name: str, envelope: Envelope, progress: Progress, first: bool) -> int:
    """One pass through a table: how many rows it changed."""
    done = 0
    async for page in _pages(rows, name, progress):
        try:
            changes = [change for row in page if (change := _change(name, row, envelope, first))]
        except PayloadRefused as refused:
            raise StoreError(f"the store's content: {refused}") from None
        if changes:
            await rows.write(_TABLES[name].write, changes)
            done += len(changes)
    return done


async def _pages(rows: Rows, name: str, progress: Progress) -> AsyncIterator[list[Any]]:
    table = _TABLES[name]
    total = (await rows.read(f"SELECT count(*) FROM {name}"))[0][0]  # noqa: S608 - one of these constants
    last, seen = table.before_all, 0
    progress(name, seen, total)
    while page := await rows.read(table.page, *last, PAGE):
        yield page
        last, seen = tuple(page[-1][: len(last)]), seen + len(page)
        progress(name, seen, max(seen, total))


def _change(name: str, row: Any, envelope: Envelope, first: bool) -> tuple[object, ...] | None:
    """The parameters that write a row sealed under the current key; None where it is."""
    written: tuple[bytes, ...] = ()
    where: tuple[object, ...]
    if name == "held" and not row[-1]:  # of what was deleted there is no body
        return None
    if name == "secret":
        index, entry_id, salt, payload = row
        place, plain, where = place_of(name, entry_id), bool(salt), (index, payload)
        written = (b"",)
    else:
        *names, payload = row
        salt, plain, where = b"", not is_sealed(payload), tuple(row)
        # of held results: person and id
        place = place_of(name, *(names if name != "held" else (names[0], names[3])))
    if plain and not first:
        raise PayloadRefused(f"{place}: {UNSEALED}")
    sealed = envelope.seal(salt + payload, place) if plain else envelope.rewrap(payload, place)
    return (*written, sealed, *where) if sealed else None


def _key_id(sealed: bytes, name: str) -> str:
    try:
        return Envelope.key_id(sealed)
    except PayloadRefused as refused:
        raise StoreError(f"the store's content, table {name}: {refused}") from None


@asynccontextmanager
async def sqlite_rows(path: Path) -> AsyncIterator[Rows]:
    """The file of a :class:`adapters.sqlite.SqliteStore`, which may be in use."""
    rows = _Sqlite(path)
    try:
        yield rows
    finally:
        await asyncio.to_thread(rows.close)


@asynccontextmanager
async def postgres_rows(dsn: str) -> AsyncIterator[Rows]:
    """The database of an :class:`adapters.postgres.PostgresStore`, which may be in use."""
    import asyncpg

    with _unavailable("PostgreSQL", asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        connection = await asyncpg.connect(
            dsn, timeout=_BUSY_SECONDS, command_timeout=60.0, target_session_attrs="read-write"
        )
        try:
            yield _Postgres(connection)
        finally:
            await connection.close()


class _Sqlite:
    def __init__(self, path: Path) -> None:
        with _unavailable(str(path), sqlite3.Error):
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw",
                _BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
                uri=True,
            )
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA secure_delete = ON")

    async def read(self, query: str, *values: object) -> list[Any]:
        return await asyncio.to_thread(self._read, query, values)

    def _read(self, query: str, values: Sequence[object]) -> list[Any]:
        with _unavailable("SQLite", sqlite3.Error):
            return self._connection.execute(query, _named(values)).fetchall()

    async def write(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        await asyncio.to_thread(self._write, statement, rows)

    def _write(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        with _unavailable("SQLite", sqlite3.Error), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(statement, map(_named, rows))

    def close(self) -> None:
        with _unavailable("SQLite", sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._connection.close()


class _Postgres:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def read(self, query: str, *values: object) -> list[Any]:
        rows: list[Any] = await self._connection.fetch(query, *values)
        return rows

    async def write(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        await self._connection.executemany(statement, rows)


def _named(values: Sequence[object]) -> dict[str, object]:
    """Parameters as sqlite3 takes ``$1``: by name."""
    return {str(number): value for number, value in enumerate(values, 1)}


@contextmanager
def _unavailable(where: str, *errors: type[Exception]) -> Iterator[None]:
    """The driver's errors become the contract's; of PostgreSQL's the first line, more may quote a row."""
    try:
        yield
    except errors as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise StoreUnavailable(f"{where}: {said}") from error
