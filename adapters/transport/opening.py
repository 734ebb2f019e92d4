"""Making a connection: TCP, TLS with the host name verified, and an HTTP proxy on the way."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Callable
from typing import Any, cast

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


class Way:
    """Where a connection leads and how. ``proxy`` speaks plain HTTP.

    ``absolute``: requests name the whole address, because a proxy reads them (RFC 9112 §3.2.2).
    """

    def __init__(self, origin: Origin, tls: Tls, proxy: Origin | None) -> None:
        self.origin, self.tls, self.proxy = origin, tls, proxy
        self.absolute = proxy is not None and origin.scheme == "http"
        self._looking: asyncio.Task[list[Any]] | None = None

    async def addresses(self) -> list[tuple[str, int]]:
        """Where the first connection of this way may be made to, by number.

        A name is looked up once at a time. A look-up cannot be ended and holds one of the few threads of the
        loop, so that a name for which no name server answers would soon hold up those of all other nodes.
        """
        host, port = (self.proxy or self.origin).host, (self.proxy or self.origin).port
        if ":" in host or host.replace(".", "").isdigit():
            return [(host, port)]
        if self._looking is None or self._looking.done():
            looking = asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self._looking = asyncio.ensure_future(looking)
        return [found[4][:2] for found in await asyncio.shield(self._looking)]


async def connect(way: Way, seconds: float, end: float, on_lost: Callable[[Connection], None]) -> Connection:
    """A connection, TLS included, within so many seconds and before the loop's time ``end``.

    Raises:
        NodeUnreachable: none could be made.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout_at(min(end, loop.time() + seconds)):
            *others, last = await way.addresses()
            for address in others:
                try:
                    return await _connected(way, address, on_lost)
                except ssl.SSLError:
                    raise
                except OSError:
                    continue
            return await _connected(way, last, on_lost)
    except TimeoutError:
        raise NodeUnreachable("no connection in time") from None
    except ssl.SSLCertVerificationError as error:
        why = _UNTRUSTED.get(error.verify_code, "comes from nobody who is trusted here")
        raise NodeUnreachable(f"its certificate {why}") from None
    except ssl.SSLError:
        raise NodeUnreachable("no TLS connection") from None
    except (OSError, UnicodeError):  # the latter where a host name has an impossible label
        raise NodeUnreachable("no connection") from None


async def _connected(way: Way, address: tuple[str, int], on_lost: Callable[[Connection], None]) -> Connection:
    loop, origin = asyncio.get_running_loop(), way.origin
    context = way.tls.context() if origin.scheme == "https" else None
    if way.proxy is None or context is None:
        name = origin.host if context else None
        _, connection = await loop.create_connection(
            lambda: Connection(on_lost), *address, ssl=context, server_hostname=name
        )
        return connection
    transport, tunnel = await loop.create_connection(_Tunnel, *address)
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
