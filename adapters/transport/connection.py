"""One connection to a node: one question at a time in HTTP/1.1 (RFC 9112), read strictly.

llhttp parses; what it lets pass and what must not is refused here, each by a sentence: an answer is either
whole and unambiguous or a fault, and a connection that has seen a fault is closed and never used again. An
answer is handed over only when the bytes that arrived with its end have been looked at, so that a
Content-Length that lies in either direction is seen.

Times are kept by one timer a connection that is set late: a phase only moves the deadline, and a timer that
fires early sets itself again, so a call on a kept connection sets no timer at all.
"""

from __future__ import annotations

import asyncio
import math
import select
import ssl
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NoReturn, cast

import httptools

from adapters.errors import NodeError, NodeFaulty, NodeLate, NodeUnreachable
from adapters.transport.answer import Call, Incoming, Reply
from adapters.transport.terms import Timeouts

MOST_HEADERS = 100
MOST_HEAD = 32 * 1024
MOST_INTERIM = 8
"""Bounds of an answer's head: fields, their bytes, and 1xx answers before it."""

_FRAMING = 64 * 1024  # bytes that carry no body, and eight more for each one that does: a chunk of one is six
_HIGH = 256 * 1024  # bytes that wait for a slow reader before the node has to
_NEVER = math.inf

KEEP_S = 4.0
"""How long an idle connection is kept: less than the five seconds after which uvicorn and others close."""


class _Arriving(threading.local):
    """Where a thread's bytes arrive: its loop has each filling read before it turns to another connection."""

    def __init__(self) -> None:
        # Measured: with a quarter of this a megabyte costs twice the CPU.
        self.buffer = memoryview(bytearray(256 * 1024))


_ARRIVING = _Arriving()


class Connection(asyncio.BufferedProtocol):
    """A connection; ``on_lost`` is called once when it is gone.

    ``usable``: open, idle and never at fault. ``heard``: whether a byte of the present answer has arrived.
    ``transport``: what TLS begins on where that stands already.
    """

    _call: Call  # while busy

    def __init__(
        self, on_lost: Callable[[Connection], None], transport: asyncio.Transport | None = None
    ) -> None:
        if transport:
            self._transport = transport
        self.usable = False
        self.heard = False
        self._on_lost = on_lost
        self._buffer = _ARRIVING.buffer
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._readable = select.poll()
        self._timer: asyncio.TimerHandle | None = None
        self._alarm = self._deadline = _NEVER
        self._busy = False
        self._reading = True
        self._phase = self._fault = ""

    # -- asking ------------------------------------------------------------------------------------------

    def ask(
        self,
        request: bytes,
        timeouts: Timeouts,
        end: float,
        most: int,
        *,
        streamed: bool = False,
        rest: Iterator[bytes] | None = None,
    ) -> asyncio.Future[Any]:
        """Send a request, and the ``rest`` of it piece by piece as it is taken. What becomes of it by the
        loop's time ``end``: the whole answer, a :class:`Reply` of at most so many bytes; ``streamed``, an
        :class:`Incoming` when its head is there; or a NodeError.
        """
        call = Call(self._loop.create_future(), timeouts, end, most)
        if streamed:
            call.incoming = Incoming(call, partial(self.flow, True))
        self.usable = self.heard = False
        call.rest = rest
        self._call, self._busy, self._phase = call, True, "did not begin to answer"
        self._transport.write(request)
        if not call.writing:
            self._sent()
        return call.waiter

    def stale(self) -> bool:
        """Whether something has arrived since the last answer: an end, or bytes nobody asked for."""
        return bool(self._readable.poll(0))

    def abort(self) -> None:
        """Close at once; whoever waits here has left."""
        self.usable = self._busy = False
        self._transport.abort()

    def fail(self, error: NodeError) -> None:
        """Close at once, and tell whoever waits."""
        busy = self._busy
        self.abort()
        if not busy:
            return
        call = self._call
        if not call.waiter.done():
            call.waiter.set_exception(error)
            call.waiter.exception()  # whoever has just left will not look at it
        elif call.incoming:
            call.incoming.fail(error)

    def flow(self, on: bool) -> None:
        """Read on, or let the node wait; its time stands still meanwhile."""
        if not self._busy or on is self._reading:
            return
        self._reading = on
        if on:
            self._transport.resume_reading()
            self._by(self._call.timeouts.between_bytes)
        else:
            self._transport.pause_reading()
            self._deadline = _NEVER

    # -- asyncio.Protocol --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._readable.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        # Told as soon as a byte cannot be sent; of 0 the TLS of asyncio makes that it never can.
        self._transport.set_write_buffer_limits(high=1, low=0)
        self.usable = True

    def pause_writing(self) -> None:
        if self._busy:
            self._call.writing, self._phase = True, "did not take the question"
            self._by(self._call.timeouts.write)

    def resume_writing(self) -> None:
        if self._busy:
            self._call.writing = False
            self._sent()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if not self._busy:
            self.abort()  # bytes after an answer that is already handed over
            return
        call, self.heard = self._call, True
        call.fed += nbytes
        try:
            self._parser.feed_data(self._buffer[:nbytes])
        except httptools.HttpParserError as error:  # its words are llhttp's own and carry no data
            self.fail(NodeFaulty(self._fault or f"sent no valid HTTP answer: {error}"))
            return
        except httptools.HttpParserUpgrade:
            self.fail(NodeFaulty("wants to speak another protocol"))
            return
        if call.fed - _FRAMING > 9 * call.size:
            self.fail(NodeFaulty("sent more framing than answer"))
        elif call.whole:
            self._finish(call)
        else:
            self._phase = "stopped in the middle of its answer"
            if call.incoming and call.head:
                call.incoming.wake()
            self._by(call.timeouts.between_bytes)
            if call.incoming and call.held >= _HIGH:
                self.flow(False)

    def eof_received(self) -> None:
        self.usable = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        if self._timer:
            self._timer.cancel()
        if self._busy:
            call = self._call
            if exc is None and call.until_close and not self._cut():
                self._finish(call)
            elif exc is None and self.heard:
                self.fail(NodeFaulty("broke off in the middle of its answer"))
            elif exc is None:
                self.fail(NodeFaulty("closed the connection without an answer"))
            else:
                self.fail(NodeUnreachable("the connection broke"))
        self._on_lost(self)

    def _cut(self) -> bool:
        """Whether TLS ended without its close_notify: anybody on the way can do that (RFC 9112 §9.8)."""
        tls = self._transport.get_extra_info("ssl_object")
        try:
            return tls is not None and bool(tls.read(1))
        except ssl.SSLZeroReturnError:
            return False
        except ssl.SSLError:
            return True

    # -- httptools ---------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._call.whole:
            self._refuse("sent bytes after its answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        call = self._call
        call.fields += 1
        call.head_size += len(name) + len(value)
        if call.fields > MOST_HEADERS or call.head_size > MOST_HEAD:
            self._refuse("sent too many or too long headers")
        if not call.head:  # after it these are trailers, which nobody here reads (RFC 9110 §6.5.1)
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            told = call.headers.get(key)
            call.headers[key] = text if told is None else f"{told}, {text}"

    def on_headers_complete(self) -> None:
        call = self._call
        status, headers = self._parser.get_status_code(), call.headers
        if status == 101 or not 100 <= status <= 599:
            self._refuse("answered with a status that was not asked for")
        if status < 200:
            call.interim += 1
            if call.interim > MOST_INTERIM:
                self._refuse("sent too many interim answers")
            headers.clear()
            return
        version, length = self._parser.get_http_version(), headers.get("content-length")
        coding = headers.get("transfer-encoding")
        if version not in ("1.1", "1.0"):
            self._refuse("answered in another version of HTTP")
        if coding is not None and (length is not None or version == "1.0" or coding.lower() != "chunked"):
            self._refuse("framed its answer in a way that can be read as two different ones")
        if status == 204 and (coding is not None or length not in (None, "0")):
            self._refuse("sent a body with an answer that has none")
        if headers.get("content-encoding", "identity").lower() != "identity":
            self._refuse("answered in an encoding that was not asked for")
        if length is not None and int(length) > call.most:
            self._refuse(f"answered with more than {call.most} bytes")
        call.status, call.head = status, True
        call.until_close = length is None and coding is None and status not in (204, 304)

    def on_body(self, piece: bytes) -> None:
        call = self._call
        call.size += len(piece)
        if call.size > call.most:
            self._refuse(f"answered with more than {call.most} bytes")
        call.add(piece)

    def on_message_complete(self) -> None:
        call = self._call
        if call.head:  # else it was an interim answer
            call.whole = True
            call.keep = self._parser.should_keep_alive() and not call.writing and call.rest is None

    # -- within ------------------------------------------------------------------------------------------

    def _sent(self) -> None:
        """What was written is taken: write on, a piece in each turn of the loop, or wait for the answer."""
        if not self._busy or self._call.writing:
            return
        call = self._call
        if call.rest and (piece := next(call.rest, b"")):
            self._phase = "did not take the question"
            self._by(call.timeouts.write)
            self._transport.write(piece)
            self._loop.call_soon(self._sent)
            return
        call.rest = None
        if not self.heard:
            self._phase = "did not begin to answer"
            self._by(call.timeouts.first_byte)

    def _refuse(self, fault: str) -> NoReturn:
        """Stop the parser, from within one of its callbacks."""
        self._fault = fault
        raise httptools.HttpParserError(fault)

    def _finish(self, call: Call) -> None:
        """The answer is whole: hand it over, and keep the connection if it may be kept."""
        self._busy, call.whole = False, True
        del self._call  # an idle connection keeps nobody's data
        if call.keep:
            if not self._reading:
                self._reading = True
                self._transport.resume_reading()
            self.usable = True
            self._until(self._loop.time() + KEEP_S)
        else:
            self.abort()
        if call.incoming:
            call.incoming.wake()
        elif not call.waiter.done():
            call.waiter.set_result(Reply(call.status, call.headers, call.whole_body()))

    def _by(self, seconds: float) -> None:
        """The present phase may take so many seconds, within the time of the whole."""
        self._until(min(self._loop.time() + seconds, self._call.end))

    def _until(self, deadline: float) -> None:
        self._deadline = deadline
        if deadline < self._alarm:
            if self._timer:
                self._timer.cancel()
            self._alarm, self._timer = deadline, self._loop.call_at(deadline, self._on_time)

    def _on_time(self) -> None:
        self._alarm, self._timer = _NEVER, None
        if self._loop.time() < self._deadline:
            if self._deadline is not _NEVER:
                self._until(self._deadline)
        elif self._busy:
            self.fail(NodeLate(f"connected, but {self._phase} in time"))
        else:
            self.abort()  # idle for long enough
