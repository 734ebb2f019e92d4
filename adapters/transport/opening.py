"""Making a connection: TCP, TLS with the host name verified, and an HTTP proxy on the way."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from typing import cast

from msgspec import Struct

from adapters.errors import NodeUnreachable
from adapters.transport.connection import Connection
from adapters.transport.terms import Origin, Tls

_MOST = 16 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")

# X509_V_ERR_… of OpenSSL's x509_vfy.h: what an operator can act on.
_UNTRUSTED = {
    9: "is not valid yet",
    10: "has expired",
    18: "is signed by itself",
    62: "is for another host name",
    64: "is for another address",
}


class Way(Struct, frozen=True):
    """Where a connection leads and how. ``proxy`` speaks plain HTTP."""

    origin: Origin
    tls: Tls
    proxy: Origin | None = None

    @property
    def absolute(self) -> bool:
        """Whether requests name the whole address, because a proxy reads them (RFC 9112 §3.2.2)."""
        return self.proxy is not None and self.origin.scheme == "http"


async def connect(way: Way, seconds: float, end: float, on_lost: Callable[[Connection], None]) -> Connection:
    """A connection, TLS included, within so many seconds and before the loop's time ``end``.

    Raises:
        NodeUnreachable: none could be made.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout_at(min(end, loop.time() + seconds)):
            return await _connected(way, on_lost)
    except TimeoutError:
        raise NodeUnreachable("no connection in time") from None
    except ssl.SSLCertVerificationError as error:
        why = _UNTRUSTED.get(error.verify_code, "comes from nobody who is trusted here")
        raise NodeUnreachable(f"its certificate {why}") from None
    except ssl.SSLError:
        raise NodeUnreachable("no TLS connection") from None
    except (OSError, UnicodeError):  # the latter where a host name has an impossible label
        raise NodeUnreachable("no connection") from None


async def _connected(way: Way, on_lost: Callable[[Connection], None]) -> Connection:
    loop, origin = asyncio.get_running_loop(), way.origin
    context = way.tls.context() if origin.scheme == "https" else None
    if way.proxy is None or context is None:
        first = way.proxy or origin
        _, connection = await loop.create_connection(
            lambda: Connection(on_lost),
            first.host,
            first.port,
            ssl=context,
            server_hostname=origin.host if context else None,
        )
        return connection
    transport, tunnel = await loop.create_connection(_Tunnel, way.proxy.host, way.proxy.port)
    try:
        transport.write(f"CONNECT {origin.authority} HTTP/1.1\r\nHost: {origin.authority}\r\n\r\n".encode())
        await tunnel.open
        connection = Connection(on_lost, transport)
        secured = await loop.start_tls(transport, connection, context, server_hostname=origin.host)
        if transport.is_closing():  # it spoke in the moment in which TLS stood
            raise NodeUnreachable("the connection broke")
    except BaseException:
        transport.abort()
        raise
    connection.connection_made(cast("asyncio.Transport", secured))
    return connection


class _Tunnel(asyncio.Protocol):
    """The answer to CONNECT (RFC 9110 §9.3.6); ``open`` is done when the tunnel stands."""

    def __init__(self) -> None:
        self.open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._head = b""

    def data_received(self, data: bytes) -> None:
        if self.open.done():
            return
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        status = _STATUS.match(head + b"\r") if end else None
        if status and status[1].startswith(b"2") and not rest:
            self.open.set_result(None)
        elif status and not status[1].startswith(b"2"):
            self._refuse(f"the proxy refused with status {status[1].decode()}")
        elif end or len(self._head) > _MOST:
            self._refuse("the proxy did not open a tunnel")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.open.done():
            self._refuse("the proxy closed the connection")

    def _refuse(self, why: str) -> None:
        self.open.set_exception(NodeUnreachable(why))
        self.open.exception()  # whoever has just left will not look at it
