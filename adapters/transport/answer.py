"""An answer, as it comes in and as it is handed over: whole, or piece by piece."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from msgspec import Struct

from adapters.errors import NodeError
from adapters.transport.terms import Timeouts


class Reply(Struct, frozen=True):
    """An HTTP answer; the names of its headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Call(Struct):
    """A question under way and what has come of its answer.

    ``waiter`` is done with the :class:`Reply`, or at the head with the ``incoming`` where there is one.
    ``fed`` counts all bytes that arrived, ``size`` those of the body. ``head``: the final answer's head is
    there; ``whole``: all of it is; ``until_close``: the end of the connection is its end; ``keep``: the
    connection may be used again.
    """

    waiter: asyncio.Future[Any]
    timeouts: Timeouts
    end: float
    most: int
    incoming: Incoming | None = None
    writing: bool = False
    fed: int = 0
    fields: int = 0
    head_size: int = 0
    interim: int = 0
    status: int = 0
    headers: dict[str, str] = {}
    head: bool = False
    until_close: bool = False
    body: bytearray = msgspec.field(default_factory=bytearray)
    size: int = 0
    whole: bool = False
    keep: bool = False

    def take(self) -> bytes:
        """What is there of the body."""
        piece = bytes(self.body)
        self.body.clear()
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

    async def read(self) -> bytes:
        """What has arrived, at least a byte of it; empty at the end.

        Raises:
            NodeError: the rest of the answer does not come or is not valid.
        """
        call = self._call
        while not call.body:
            if self._error:
                raise self._error
            if call.whole:
                return b""
            self._more = asyncio.get_running_loop().create_future()
            await self._more
        piece = call.take()
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
