"""The connections of a PostgreSQL store: bounded, to whichever server of the address takes writes now.

A connection stays with the store between uses: to give it back to the driver's pool and to take it again
costs as much as a commit. Where a connection breaks, or its server became a standby, all that are idle are
dropped, since they went to the same server; the next ones try every host of the address again. A read is then
repeated once. A write never is: it may have happened.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from adapters.errors import StoreError, StoreUnavailable

ANSWER_SECONDS = 10.0
CONNECT_SECONDS = 5.0
LONG_SECONDS = 3600.0
"""For what goes through whole tables."""
_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
_BROKEN = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # was told to go while nobody listened
    ConnectionError,
)
_HOSTS = re.compile(r"([\w.%-]+|\[[0-9a-fA-F:.]+\])?(:\d+)?(,([\w.%-]+|\[[0-9a-fA-F:.]+\])(:\d+)?)*")


class Connections:
    """At most ``limit`` connections to the database that ``dsn`` names, which may list several hosts.

    Raises StoreError for a DSN that cannot be read; no message repeats it, since it may hold a password.
    """

    def __init__(self, dsn: str, limit: int) -> None:
        self._limit = limit
        self._idle: list[Any] = []
        self._free = asyncio.Semaphore(limit)
        self._open = False
        try:
            parts = urlsplit(dsn)
        except ValueError:
            parts = urlsplit("")
        user, at, hosts = parts.netloc.rpartition("@")
        if not parts.scheme or "@" in parts.path or not _HOSTS.fullmatch(hosts):
            raise StoreError("the PostgreSQL address is not postgresql://user:password@host:port/name")
        self._where = f"{hosts or 'local'}{parts.path}"
        # of one host each, so that one that does not answer leaves time for the next
        self._addresses = [
            dsn.replace(parts.netloc, user + at + host, 1) if "," in hosts else dsn
            for host in hosts.split(",")
        ]
        self._taken = self._addresses[0]

    def open(self) -> None:
        """Give out connections from now on."""
        self._open = True

    async def close(self) -> None:
        """Give out none any more, wait for those that are used, and end all. Safe to call twice."""
        self._open = False
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                for _ in range(self._limit):
                    await self._free.acquire()
        idle, self._idle, self._free = self._idle, [], asyncio.Semaphore(self._limit)
        for connection in idle:
            with suppress(*_ERRORS):  # a dead server ends it too
                await connection.close(timeout=CONNECT_SECONDS)

    async def read(self, query: str, *values: object) -> list[Any]:
        """The rows of a query that changes nothing."""
        with self._errors():
            try:
                async with self._borrowed() as connection:
                    rows: list[Any] = await connection.fetch(query, *values)
            except _BROKEN:
                async with self._borrowed() as connection:
                    rows = await connection.fetch(query, *values)
            return rows

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection for a while; the driver's errors become the contract's."""
        with self._errors():
            async with self._borrowed() as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """A connection with a transaction on it."""
        # at any other isolation level, waiting for a lock ends in a serialization failure
        async with self.connection() as connection, connection.transaction(isolation="read_committed"):
            yield connection

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[Any]:
        if not self._open:
            raise self.unavailable("the store is not open")
        free = self._free
        async with asyncio.timeout(CONNECT_SECONDS):
            await free.acquire()
        try:
            connection = self._kept() or await self._new()
            try:
                yield connection
            except (*_BROKEN, TimeoutError):
                for one in (connection, *self._idle):
                    one.terminate()
                raise
            except asyncio.CancelledError:  # a transaction may be left on it, or an answer to come
                connection.terminate()
                raise
            finally:
                if not connection.is_closed():
                    self._idle.append(connection)
        finally:
            free.release()

    def _kept(self) -> Any:
        while self._idle:
            if not (connection := self._idle.pop()).is_closed():
                return connection
        return None

    async def _new(self) -> Any:
        failure: Exception = OSError()
        for address in dict.fromkeys((self._taken, *self._addresses)):
            try:
                connection = await asyncpg.connect(
                    address,
                    timeout=CONNECT_SECONDS / len(self._addresses),
                    command_timeout=ANSWER_SECONDS,
                    target_session_attrs="read-write",
                )
            except ValueError:  # asyncpg quotes the part of the DSN that it cannot read
                raise StoreError(f"PostgreSQL at {self._where}: its address cannot be read") from None
            except (*_BROKEN, OSError) as error:
                failure = error
            else:
                self._taken = address
                return connection
        raise failure

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except _ERRORS as error:
            # first line only: what follows in PostgreSQL's messages may quote a row
            said = str(error.args[0]) if len(error.args) == 1 else str(error)
            raise self.unavailable((said.splitlines() or ["no answer in time"])[0]) from error

    def unavailable(self, why: str) -> StoreUnavailable:
        """What is raised, with the place, when the database cannot be used."""
        return StoreUnavailable(f"PostgreSQL at {self._where}: {why}")

    def refused(self, why: str) -> StoreError:
        """What is raised, with the place, when the database must not be used."""
        return StoreError(f"PostgreSQL at {self._where}: {why}")
