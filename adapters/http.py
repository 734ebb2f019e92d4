"""One HTTP client a node, and the only module that imports httpx.

A :class:`Line` speaks to one base URL and to nothing else: redirects are not followed, proxies of the
environment are not used, bodies are counted while they arrive, and everything that can go wrong is one of the
four :class:`~adapters.errors.NodeError`. A message carries a status or a size, never a URL, a parameter or a
piece of a body, because each of these may hold a person's number.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import unquote, urlencode, urlsplit

import httpx
from msgspec import Struct

from adapters.errors import NodeFaulty, NodeLate, NodeRefused, NodeUnreachable

Params = Mapping[str, str] | Sequence[tuple[str, str]]

# Both log the address of every request, and a QIDO query carries a patient's number there.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

JSON_TYPES = (
    "application/json",
    "application/fhir+json",
    "application/dicom+json",
    "application/jwk-set+json",
)


class Timeouts(Struct, frozen=True, kw_only=True):
    """Seconds: for each phase of a call, and for the whole of it."""

    connect: float = 1.0
    write: float = 5.0
    read: float = 5.0
    pool: float = 1.0
    total: float = 10.0

    @classmethod
    def within(cls, seconds: float) -> Timeouts:
        """Every phase inside this total."""
        return cls(connect=min(1.0, seconds), write=seconds, read=seconds, pool=seconds, total=seconds)


class Limits(Struct, frozen=True, kw_only=True):
    """How many connections to the node at once, and how many bytes one answer may have."""

    connections: int = 16
    body: int = 8 * 1024 * 1024


class Reply(Struct, frozen=True):
    """An HTTP answer; the names of its headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Line:
    """The connections to one node. Safe for concurrent use; give them back with :meth:`aclose`."""

    def __init__(
        self,
        base_url: str,
        *,
        timeout: Timeouts = Timeouts(),  # noqa: B008 - frozen
        headers: Mapping[str, str] | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._timeout = timeout
        self._limits = limits
        self._client = httpx.AsyncClient(
            base_url=self.base_url,
            headers={"Accept-Encoding": "identity", **(headers or {})},
            timeout=httpx.Timeout(
                connect=timeout.connect, read=timeout.read, write=timeout.write, pool=timeout.pool
            ),
            # Below the five seconds after which uvicorn and others close an idle connection.
            limits=httpx.Limits(
                max_connections=limits.connections,
                max_keepalive_connections=limits.connections,
                keepalive_expiry=4.0,
            ),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # one question tells the next nothing
            follow_redirects=False,
            trust_env=False,
            verify=_system_trust(),
        )

    async def get_json(
        self, path: str, params: Params = (), *, accept: str = "application/json", budget: float | None = None
    ) -> bytes:
        """The body of a JSON answer as UTF-8 bytes; empty where the node has nothing to say (204).

        ``budget``: seconds for this call, where that is less than the line's total.

        Raises:
            NodeError: its class says what went wrong.
        """
        request = self._client.build_request(
            "GET",
            self._target(path),
            params=httpx.QueryParams(_pairs(params)) if params else None,
            headers={"Accept": accept},
        )
        return (await self._call(request, budget, self._json)).body

    async def post_form(
        self, path: str, form: Params, *, accept: str = "application/json", budget: float | None = None
    ) -> bytes:
        """Like :meth:`get_json`, with the parameters in the body, where no log keeps them."""
        content = urlencode(_pairs(form)).encode()
        headers = {"Accept": accept, "Content-Type": "application/x-www-form-urlencoded"}
        request = self._client.build_request("POST", self._target(path), content=content, headers=headers)
        return (await self._call(request, budget, self._json)).body

    async def post_json(
        self, path: str, body: bytes, *, headers: Mapping[str, str] | None = None, budget: float | None = None
    ) -> Reply:
        """Send a JSON body with further headers, and return the JSON answer."""
        headers = {"Accept": "application/json", "Content-Type": "application/json", **(headers or {})}
        request = self._client.build_request("POST", self._target(path), content=body, headers=headers)
        return await self._call(request, budget, self._json)

    async def exchange(
        self, method: str, path: str, body: bytes = b"", *, budget: float | None = None
    ) -> Reply:
        """One call whose answer, of whatever status and media type, the caller judges. Raises NodeError."""
        headers = {"Content-Type": "text/plain; charset=utf-8"} if body else {}
        request = self._client.build_request(method, self._target(path), content=body, headers=headers)
        return await self._call(request, budget, self._read)

    def below(self, url: str) -> str:
        """The part of an absolute or relative URL below the base, for :meth:`get_json`.

        Raises:
            NodeFaulty: it leads elsewhere: another scheme, host or port, or out of the base path.
        """
        base, link = urlsplit(self.base_url), urlsplit(url)
        path = link.path
        inside = not link.scheme and not link.netloc and not path.startswith("/")
        if (link.scheme, link.netloc) == (base.scheme, base.netloc):
            rest = path.removeprefix(base.path)
            inside = path.startswith(base.path) and rest[:1] in ("", "/")
            path = rest
        if not inside or ".." in unquote(path).replace("\\", "/").split("/"):
            raise NodeFaulty("its answer continues at an address outside the node")
        return path.lstrip("/") + (f"?{link.query}" if link.query else "")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _target(self, path: str) -> str:
        # A path that is empty or starts with "?" belongs to the base itself; httpx would add a slash.
        return f"{self.base_url}{path}" if path[:1] in ("", "?") else path

    async def _call(
        self,
        request: httpx.Request,
        budget: float | None,
        read: Callable[[httpx.Response], Awaitable[Reply]],
    ) -> Reply:
        total = self._timeout.total if budget is None else min(budget, self._timeout.total)
        try:
            async with asyncio.timeout(total):
                response = await self._client.send(request, stream=True)
                try:
                    return await read(response)
                finally:
                    await response.aclose()
        except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout):
            raise NodeLate("connected, but did not answer in time") from None
        except httpx.PoolTimeout:
            raise NodeLate("all connections to it are waiting for answers") from None
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise NodeUnreachable("no connection") from None
        except httpx.NetworkError:
            raise NodeUnreachable("the connection broke") from None
        except (httpx.HTTPError, httpx.InvalidURL):
            raise NodeFaulty("did not send a whole HTTP answer") from None

    async def _json(self, response: httpx.Response) -> Reply:
        status = response.status_code
        if 400 <= status < 500:
            raise NodeRefused(f"refused with status {status}")
        if not 200 <= status < 300:
            raise NodeFaulty(f"answered with status {status}")
        if status == 204:
            return Reply(status, dict(response.headers), b"")
        media, _, parameters = response.headers.get("content-type", "").lower().partition(";")
        if media.strip() not in JSON_TYPES or ("charset" in parameters and "utf-8" not in parameters):
            raise NodeFaulty(f"answered with status {status}, but not in JSON")
        reply = await self._read(response)
        try:
            reply.body.decode("utf-8")
        except UnicodeDecodeError:
            raise NodeFaulty("answered with a body that is not UTF-8") from None
        return reply

    async def _read(self, response: httpx.Response) -> Reply:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise NodeFaulty("answered in an encoding that was not asked for")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self._limits.body:
                raise NodeFaulty(f"answered with more than {self._limits.body} bytes")
        return Reply(response.status_code, dict(response.headers), bytes(body))


def _pairs(params: Params) -> tuple[tuple[str, str], ...]:
    return tuple(params.items() if isinstance(params, Mapping) else params)


@cache
def _system_trust() -> ssl.SSLContext:
    return ssl.create_default_context()  # reading the system's certificates takes milliseconds: once
