"""The connections to one origin: bounded, kept alive, lent to one call at a time."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import cast

from adapters.errors import NodeFaulty, NodeLate, NodeUnreachable
from adapters.transport.answer import Incoming, Reply
from adapters.transport.connection import Connection
from adapters.transport.opening import Way, connect
from adapters.transport.terms import Limits, Origin, Timeouts, Tls

_CLOSED = "the line to it was closed here"


class Pool:
    """Connections to the origin of one URL, and to nothing else. Safe for concurrent use in one event loop.

    A call that finds all connections taken waits for its turn; so may ``limits.waiting`` calls, and one more
    is refused at once. A call whose task is cancelled closes its connection.

    Raises:
        NodeUnreachable: the address or that of the proxy is none.
    """

    def __init__(
        self,
        url: str,
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        tls: Tls | None = None,
        proxy: str = "",
    ) -> None:
        self.origin = Origin.of(url)
        self._way = Way(self.origin, tls or Tls(), Origin.of(proxy) if proxy else None)
        if self._way.proxy and self._way.proxy.scheme != "http":
            raise NodeUnreachable("its proxy is not http://host[:port]: see the settings")
        self.limits = limits
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._taken = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._closed = False
        self._gone = asyncio.Event()

    @property
    def prefix(self) -> str:
        """What a request's target begins with: the origin where a proxy reads it (RFC 9112 §3.2.2)."""
        return f"{self.origin.scheme}://{self.origin.host_header}" if self._way.absolute else ""

    async def ask(
        self,
        request: bytes,
        timeouts: Timeouts,
        end: float,
        *,
        repeatable: bool,
        rest: Iterator[bytes] | None = None,
    ) -> Reply:
        """The whole answer to a request and its ``rest``, within the pool's limit and by the loop's time
        ``end``.

        A ``repeatable`` request is sent once more where a kept connection ended before a byte of the answer:
        the node had closed it before the question came (RFC 9112 §9.3.1).

        Raises:
            NodeError: its class says what went wrong.
        """
        connection, reply = await self._put(request, timeouts, end, repeatable, self.limits.body, rest=rest)
        self._give_back(connection)
        return cast("Reply", reply)

    @asynccontextmanager
    async def stream(
        self, request: bytes, timeouts: Timeouts, end: float, *, repeatable: bool, most: int = sys.maxsize
    ) -> AsyncIterator[Incoming]:
        """The answer as soon as its head is there, by ``end``; the body may take as long as it comes.

        Raises:
            NodeError: its class says what went wrong.
        """
        connection, incoming = await self._put(request, timeouts, end, repeatable, most, streamed=True)
        try:
            yield cast("Incoming", incoming)
        finally:
            self._give_back(connection)

    async def aclose(self) -> None:
        """Close the connections; what is under way on them fails."""
        self._closed = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(NodeUnreachable(_CLOSED))
        for connection in tuple(self._open):
            connection.fail(NodeUnreachable(_CLOSED))
        if self._open:
            await self._gone.wait()

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        if self._closed and not self._open:
            self._gone.set()

    async def _put(
        self,
        request: bytes,
        timeouts: Timeouts,
        end: float,
        repeatable: bool,
        most: int,
        *,
        streamed: bool = False,
        rest: Iterator[bytes] | None = None,
    ) -> tuple[Connection, Reply | Incoming]:
        """Put the question on a connection, which is the caller's to give back."""
        if self._taken < self.limits.connections:
            self._taken += 1
        else:
            await self._turn(end)
        connection = self._kept()
        kept = connection is not None
        try:
            while True:
                if connection is None:
                    connection = await self._connect(timeouts, end)
                try:
                    return connection, await connection.ask(
                        request, timeouts, end, most, streamed=streamed, rest=rest
                    )
                except (NodeFaulty, NodeUnreachable):
                    if not (kept and repeatable) or connection.heard:
                        raise
                    connection, kept = None, False
        except BaseException:
            self._give_back(connection)
            raise

    async def _connect(self, timeouts: Timeouts, end: float) -> Connection:
        if self._closed:
            raise NodeUnreachable(_CLOSED)
        connection = await connect(self._way, timeouts.connect, end, self._lost)
        if self._closed or not connection.usable:
            connection.abort()
            raise NodeUnreachable(_CLOSED if self._closed else "the connection broke")
        self._open.add(connection)
        return connection

    def _kept(self) -> Connection | None:
        """The connection that was used last, of those that can still be used."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and not connection.stale():
                return connection
            connection.abort()
        return None

    def _give_back(self, connection: Connection | None) -> None:
        if connection is not None and connection.usable and not self._closed:
            self._idle.append(connection)
        elif connection is not None:
            connection.abort()
        self._pass_on()

    async def _turn(self, end: float) -> None:
        """Wait until somebody passes on a turn."""
        if len(self._waiters) >= self.limits.waiting:
            raise NodeLate("too many questions are waiting for it")
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout_at(end):
                await waiter
        except BaseException as error:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif waiter.done() and not waiter.cancelled() and not waiter.exception():
                self._pass_on()  # given, and too late to be taken
            if isinstance(error, TimeoutError):
                raise NodeLate("all connections to it are waiting for answers") from None
            raise

    def _pass_on(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._taken -= 1
