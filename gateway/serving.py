"""The HTTP server: uvicorn, with bounds on what its callers may keep it busy with, and an end in order.

uvicorn takes any number of connections, request lines and headers of any length and any number of requests
ahead of their answers, and waits for a request and for the reader of an answer without an end;
:class:`Bounded` gives up connections that go beyond a limit. :class:`Joining` sends the head of an answer
with its body. :class:`Draining` goes on listening while what was taken in is answered.
"""

from __future__ import annotations

import asyncio
import socket
import time
from types import FrameType
from typing import TYPE_CHECKING, Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.log import Log
from gateway.tasks import settle

if TYPE_CHECKING:
    from gateway.app import Application

HEAD_BYTES = 65_536
"""Request line and headers together; a client certificate passed on by the proxy takes a few thousand."""
CONNECTIONS = 4096
"""At one time; whoever comes on top finds the connection closed, and a balancer tries another process."""
AHEAD = 256
"""Requests of one connection that may wait for the answer to the one before; nobody in earnest sends many."""
ARRIVE_S = 30.0
"""Seconds for a whole request, from its first byte or from when the connection was made."""
UPLOADS = ("/dicomweb/", "/studies")
"""Where addresses begin whose requests may take longer, as long as they make progress: images are stored, by
a gateway or (:mod:`gateway.bridge`) in front of an archive."""
TAKE_S, TAKE_BYTES = 10.0, 16_384
"""Whoever takes in less of an answer than so many bytes in so many seconds, or sends less of what he stores,
keeps others from their turns."""
CLOSE_S = 2
"""Seconds for what is left of a request when the time to drain is over, and for a last byte to go out."""


class Joining:
    """A transport that sends the head of an answer together with what follows it: one system call and one
    packet, a fifth of a short answer's CPU. A head that nothing follows goes out when the loop turns."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""
        self.is_closing = transport.is_closing  # asked after every answer

    def __getattr__(self, name: str) -> Any:
        """All else is that of the transport."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """A head (it is written whole), or some of a body."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.writelines((head, data))
        elif data[:9] == b"HTTP/1.1 ":
            self._head = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Send what is held back, and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head and not self.is_closing():  # else there is nobody any more, and the loop would complain
            self.write(b"")


class Bounded(HttpToolsProtocol):
    """One connection, whose requests have heads of at most :data:`HEAD_BYTES` and arrive in time, and whose
    answers are taken in. A request that waits (``state["gone"]``) is told when its caller hangs up."""

    arrive_s, take_s, most = ARRIVE_S, TAKE_S, CONNECTIONS
    _head = 0
    _in_head = True
    _whole = False
    _sent = 0
    _arriving: asyncio.TimerHandle | None = None
    _taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A caller."""
        super().connection_made(transport)
        self.transport = Joining(transport, self.loop)  # type: ignore[assignment]
        if len(self.connections) > self.most:
            transport.abort()
        self._arriving = self.loop.call_later(self.arrive_s, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Some bytes: of a head, as long as none is complete."""
        self._sent += len(data)
        if self._in_head:
            self._head += len(data)
        self._unset_keepalive_if_required()
        while data:
            try:
                self.parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as offer:  # llhttp reads nothing more of this request
                data = self._without_offer() + data[offer.args[0] :] if self._should_upgrade() else b""
            except httptools.HttpParserError:
                self.send_400_response("Invalid HTTP request received.")
                break
        if self._head > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The headers of this request are too large.")
        if not self._whole and self._arriving is None:
            self._arriving = self.loop.call_later(self.arrive_s, self.transport.abort)

    def _should_upgrade(self) -> bool:
        """Whether a head is left aside that offers another protocol, such as HTTP/2 without TLS."""
        return self.scope["method"] != "CONNECT"

    def _without_offer(self) -> bytes:
        """That head again without the offer, which may be ignored (RFC 9110 §7.8)."""
        line = f"{self.scope['method']} ".encode() + self.url
        line += f" HTTP/{self.scope['http_version']}\r\n".encode()
        headers = (b"%s: %s\r\n" % header for header in self.headers if header[0] != b"upgrade")
        return line + b"".join(headers) + b"\r\n"

    def on_message_begin(self) -> None:
        """The first byte of a request. What is raised here ends the connection with 400."""
        if len(self.pipeline) >= AHEAD:
            raise ValueError("too many requests were sent ahead of their answers")
        self._whole = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A body follows, or the next head."""
        self._head, self._in_head = 0, False
        super().on_headers_complete()
        if self.scope["method"] == "POST" and self.scope.get("path", "").startswith(UPLOADS):
            if self._arriving:
                self._arriving.cancel()
            self._arriving = self.loop.call_later(self.take_s, self._look_at_upload, self._sent)

    def on_message_complete(self) -> None:
        """The next head follows."""
        self._in_head = self._whole = True
        if self._arriving:
            self._arriving.cancel()
            self._arriving = None
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The caller is slower than the answer."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        if self._taking:
            self._taking.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller, or this side, has hung up."""
        for timer in (self._arriving, self._taking):
            if timer:
                timer.cancel()
        super().connection_lost(exc)
        if self.cycle and (gone := self.cycle.scope["state"].get("gone")):
            gone()

    def _look_at_upload(self, before: int) -> None:
        if self._sent - before < TAKE_BYTES and not self.flow.read_paused:  # else it is this side that waits
            self.transport.abort()
        else:
            self._arriving = self.loop.call_later(self.take_s, self._look_at_upload, self._sent)

    def _watch(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._taking = self.loop.call_later(self.take_s, self._look, left)

    def _look(self, before: int) -> None:
        if before - self.transport.get_write_buffer_size() < TAKE_BYTES:
            self.transport.abort()
        else:
            self._watch()


def config_of(app: Any, host: str, port: int) -> uvicorn.Config:
    """How an application is served."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=Bounded,
        ws="none",
        access_log=False,
        log_level="critical",
        server_header=False,
        timeout_graceful_shutdown=CLOSE_S,
    )


class Draining(uvicorn.Server):
    """Serves a gateway until it is told to stop, and then ends with status 0.

    What was taken in is answered first, for at most ``seconds``. Who looks at ``/health/ready`` meanwhile is
    told no, and who asks anything else 503 and to close the connection: a balancer understands that better
    than a closed port. A second signal ends the waiting.
    """

    def __init__(self, config: uvicorn.Config, app: Application, seconds: int, log: Log) -> None:
        super().__init__(config)
        self._flow = app.flow
        self._seconds = seconds
        self._log = log

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or SIGINT; they are not raised again at the end, as uvicorn does."""
        again, self.should_exit = self.should_exit, True
        self._flow.stopping = True
        if again:
            self._flow.hurry()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and settle (:func:`gateway.tasks.settle`)."""
        await super().startup(sockets)
        settle()

    async def main_loop(self) -> None:
        """Serve, and drain."""
        await super().main_loop()
        began = time.monotonic()
        self._log("draining", requests=self._flow.busy)
        left = await self._flow.drain(self._seconds)
        self._log("drained", left=left, took_ms=round((time.monotonic() - began) * 1000))
