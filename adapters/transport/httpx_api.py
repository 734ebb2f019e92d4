"""httpx's interface over the same pools, for code that wants it. The only module here that imports httpx.

Import it where it is used: httpx takes a third of a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from adapters.errors import NodeError, NodeLate, NodeUnreachable
from adapters.transport.answer import Incoming
from adapters.transport.pool import Pool
from adapters.transport.request import header_lines, target
from adapters.transport.request import request as request_bytes
from adapters.transport.terms import Limits, Origin, Timeouts, Tls

logging.getLogger("httpx").setLevel(logging.CRITICAL)  # it logs addresses, which may hold a person's number

_OWN = ("host", "connection", "content-length", "transfer-encoding", "accept-encoding")
_REPEATABLE = ("GET", "OPTIONS", "PUT", "DELETE")  # RFC 9110 §9.2.2
_LONG = 86_400.0


class PoolTransport(httpx.AsyncBaseTransport):
    """A transport to the origin of a pool; requests to another are refused."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; its answer streams. Raises the errors of httpx."""
        with _as_httpx(request):
            asked = f"{request.url.scheme}://{request.url.netloc.decode('ascii')}"
            if request.method in ("HEAD", "CONNECT") or Origin.of(asked) != self._pool.origin:
                raise httpx.UnsupportedProtocol(
                    "this transport speaks to one origin, without HEAD", request=request
                )
            headers = [
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in request.headers.raw
                if name.decode("latin-1").lower() not in _OWN
            ]
            lines = f"Host: {self._pool.origin.host_header}\r\n" + header_lines(
                [("Accept-Encoding", "identity"), *headers]
            )
            where = self._pool.prefix + target(request.url.raw_path.decode("ascii"))
            data = request_bytes(request.method, where, lines, await request.aread() or None)
            timeouts = _timeouts(request)
            end = asyncio.get_running_loop().time() + timeouts.total
            repeatable, most = request.method in _REPEATABLE, self._pool.limits.body
            lent = self._pool.stream(data, timeouts, end, repeatable=repeatable, most=most)
            incoming = await lent.__aenter__()
        return httpx.Response(
            incoming.status, headers=incoming.headers, stream=_Body(request, incoming, lent)
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.aclose()


def client(
    base_url: str,
    *,
    timeout: Timeouts = Timeouts(),  # noqa: B008 - frozen
    headers: Mapping[str, str] | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    tls: Tls | None = None,
    proxy: str = "",
) -> httpx.AsyncClient:
    """A client of httpx for one origin: no redirects, cookies, proxies of the environment or netrc."""
    return httpx.AsyncClient(
        base_url=base_url,
        transport=PoolTransport(Pool(base_url, limits=limits, tls=tls, proxy=proxy)),
        timeout=httpx.Timeout(
            connect=timeout.connect, read=timeout.first_byte, write=timeout.write, pool=timeout.total
        ),
        headers=headers,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        follow_redirects=False,
        trust_env=False,
    )


class _Body(httpx.AsyncByteStream):
    def __init__(
        self, request: httpx.Request, incoming: Incoming, lent: AbstractAsyncContextManager[Incoming]
    ) -> None:
        self._request = request
        self._incoming = incoming
        self._lent = lent

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx(self._request):
            async for piece in self._incoming:
                yield piece

    async def aclose(self) -> None:
        await self._lent.__aexit__(None, None, None)


@contextmanager
def _as_httpx(request: httpx.Request) -> Iterator[None]:
    """Turn errors of a node into those of httpx."""
    try:
        yield
    except NodeUnreachable as error:
        raise httpx.ConnectError(error.detail, request=request) from None
    except NodeLate as error:
        raise httpx.ReadTimeout(error.detail, request=request) from None
    except NodeError as error:
        raise httpx.RemoteProtocolError(error.detail, request=request) from None


def _timeouts(request: httpx.Request) -> Timeouts:
    told = request.extensions.get("timeout", {})
    connect, write, read, turn = (told.get(phase) or _LONG for phase in ("connect", "write", "read", "pool"))
    return Timeouts(
        connect=connect, write=write, first_byte=read, between_bytes=read, total=connect + write + read + turn
    )
