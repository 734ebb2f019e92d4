"""An answer, as it comes in and as it is handed over: whole, or piece by piece."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from adapters.errors import NodeError
from adapters.transport.terms import Timeouts

_SMALL = 16 * 1024  # bytes of a piece that is cheaper copied than kept by itself


class Reply(Struct, frozen=True):
    """An HTTP answer; the names of its headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Call(Struct):
    """A question under way and what has come of its answer.

    ``waiter`` is done with the :class:`Reply`, or at the head with the ``incoming`` where there is one.
    ``rest`` is what is still to be sent. ``pieces`` and after them ``small`` are what is there of the body,
    ``held`` bytes of it. ``fed`` counts all bytes that arrived, ``size`` those of the body. ``head``: the
    final answer's head is there; ``whole``: all of it is; ``until_close``: the end of the connection is its
    end; ``keep``: the connection may be used again.
    """

    waiter: asyncio.Future[Any]
    timeouts: Timeouts
    end: float
    most: int
    incoming: Incoming | None = None
    rest: Iterator[bytes] | None = None
    writing: bool = False
    fed: int = 0
    fields: int = 0
    head_size: int = 0
    interim: int = 0
    status: int = 0
    headers: dict[str, str] = {}
    head: bool = False
    until_close: bool = False
    pieces: deque[bytes] = msgspec.field(default_factory=deque)
    small: bytearray = msgspec.field(default_factory=bytearray)
    held: int = 0
    size: int = 0
    whole: bool = False
    keep: bool = False

    def add(self, piece: bytes) -> None:
        """Some of the body. A large piece is kept as it is, small ones are put together."""
        if len(piece) < _SMALL:
            self.small += piece
        else:
            if self.small:
                self.pieces.append(self._together())
            self.pieces.append(piece)
        self.held += len(piece)

    def take(self) -> bytes:
        """The next of what is there of the body."""
        piece = self.pieces.popleft() if self.pieces else self._together()
        self.held -= len(piece)
        return piece

    def whole_body(self) -> bytes:
        """All of it."""
        return b"".join((*self.pieces, self.small)) if self.pieces else bytes(self.small)

    def _together(self) -> bytes:
        piece = bytes(self.small)
        self.small.clear()
        return piece


class Incoming:
    """An answer whose head is there and whose body is read piece by piece.

    A reader who is slow stops the node (TCP holds it), so that at most half a megabyte waits here.
    """

    def __init__(self, call: Call, resume: Callable[[], None]) -> None:
        self._call = call
        self._resume = resume
        self._error: NodeError | None = None
        self._more: asyncio.Future[None] | None = None

    @property
    def status(self) -> int:
        """The status code."""
        return self._call.status

    @property
    def headers(self) -> dict[str, str]:
        """The headers; their names are in lower case."""
        return self._call.headers

    @property
    def delimited(self) -> bool:
        """Whether its length or its coding says where it ends; else only that the connection does."""
        return not self._call.until_close

    async def read(self) -> bytes:
        """What has arrived, at least a byte of it; empty at the end.

        Raises:
            NodeError: the rest of the answer does not come or is not valid.
        """
        call = self._call
        while not call.held:
            if self._error:
                raise self._error
            if call.whole:
                return b""
            self._more = asyncio.get_running_loop().create_future()
            await self._more
        piece = call.take()
        if not call.held:
            self._resume()
        return piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self.read():
            yield piece

    def wake(self) -> None:
        """Something has arrived: for the connection to say."""
        call = self._call
        if not call.waiter.done():
            call.waiter.set_result(self)
            call.end = math.inf  # from here on the time between two pieces counts
        if self._more and not self._more.done():
            self._more.set_result(None)

    def fail(self, error: NodeError) -> None:
        """Nothing more will arrive: for the connection to say."""
        self._error = error
        self.wake()
