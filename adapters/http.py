"""The line to one node: JSON in and out, and the four errors when it is not.

A :class:`Line` speaks to one base URL and to nothing else, over a pool of its own
(:mod:`adapters.transport`): redirects are not followed, proxies of the environment and cookies are not used,
bodies are counted while they arrive, and everything that can go wrong is one of the four
:class:`~adapters.errors.NodeError`. A message carries a status or a size, never a URL, a parameter or a piece
of a body, because each of these may hold a person's number.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import lru_cache
from urllib.parse import unquote, urlencode, urljoin, urlsplit

from adapters.errors import NodeFaulty, NodeMissing, NodeRefused, NodeUnreachable
from adapters.transport import Incoming, Limits, Origin, Pool, Reply, Timeouts, Tls, json_text
from adapters.transport.request import header_lines, request, target

Params = Mapping[str, str] | Sequence[tuple[str, str]]
Headers = tuple[tuple[str, str], ...]

PASSED_ON: ContextVar[Headers] = ContextVar("PASSED_ON", default=())
"""Headers added to every request of this context: the trace it belongs to (W3C Trace Context)."""

_ELSEWHERE = "its answer continues at an address outside the node"


class Line:
    """The connections to one node. Safe for concurrent use; give them back with :meth:`aclose`.

    ``headers`` go with each request. ``proxy`` is the address of an HTTP proxy on the way. ``charset`` is
    that of JSON answers which do not say UTF-8: ``utf-8`` or ``gb18030``.

    Raises:
        NodeError: the address, the proxy's, or a header cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout: Timeouts = Timeouts(),  # noqa: B008 - frozen
        headers: Mapping[str, str] | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        tls: Tls | None = None,
        proxy: str = "",
        charset: str = "utf-8",
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._timeout = timeout
        self._charset = charset
        self._pool = Pool(base_url, limits=limits, tls=tls, proxy=proxy)
        self._path = urlsplit(self.base_url).path
        self._always = f"Host: {self._pool.origin.host_header}\r\n" + header_lines(
            [("User-Agent", "lianren"), ("Accept-Encoding", "identity"), *(headers or {}).items()]
        )

    async def get_json(
        self,
        path: str,
        params: Params = (),
        *,
        accept: str = "application/json",
        credentials: Mapping[str, str] | None = None,
        budget: float | None = None,
        parts: bool = False,
    ) -> bytes:
        """The body of a JSON answer as UTF-8 bytes; empty where the node has nothing to say (204).

        ``credentials``: headers that go with this call alone, and are kept nowhere. ``budget``: seconds for
        this call, where that is less than the line's total. ``parts``: how deep the answer is nested, the
        caller looks at (:func:`adapters.transport.refuse_deep`).

        Raises:
            NodeError: its class says what went wrong.
        """
        if params:
            path = f"{path}{'&' if '?' in path else '?'}{urlencode(_pairs(params))}"
        own = tuple((credentials or {}).items())
        headers = (("Accept", accept),)
        return (await self._json("GET", path, headers, None, budget, credentials=own, parts=parts)).body

    async def post_form(
        self,
        path: str,
        form: Params | str,
        *,
        accept: str = "application/json",
        budget: float | None = None,
        parts: bool = False,
    ) -> bytes:
        """Like :meth:`get_json`, with the parameters in the body, where no log keeps them; they may
        be encoded already.

        For searches: like every read here it is sent a second time where a kept connection ends instead of
        answering. :meth:`post_json` is not.
        """
        headers = (("Accept", accept), ("Content-Type", "application/x-www-form-urlencoded"))
        body = (form if isinstance(form, str) else urlencode(_pairs(form))).encode()
        return (await self._json("POST", path, headers, body, budget, repeatable=True, parts=parts)).body

    async def post_json(
        self, path: str, body: bytes, *, headers: Mapping[str, str] | None = None, budget: float | None = None
    ) -> Reply:
        """Send a JSON body with further headers, and return the JSON answer."""
        further = {"Accept": "application/json", "Content-Type": "application/json", **(headers or {})}
        return await self._json("POST", path, tuple(further.items()), body, budget)

    async def exchange(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        budget: float | None = None,
    ) -> Reply:
        """One call whose answer, of whatever status and media type, the caller judges. Raises NodeError."""
        plain = {"Content-Type": "text/plain; charset=utf-8"} if body else {}
        data = self._request(method, path, tuple((plain | dict(headers or {})).items()), body)
        return await self._ask(data, budget, repeatable=method == "GET")

    async def send(
        self,
        path: str,
        pieces: Iterator[bytes],
        length: int,
        *,
        headers: Mapping[str, str],
        times: Timeouts,
    ) -> Reply:
        """POST a body of ``length`` bytes, piece by piece as the node takes it; its answer is the caller's to
        judge. It is not sent again. ``times`` count in place of the line's own; ``times.write`` is for each
        piece.

        Raises:
            NodeError: there is no answer.
        """
        data = self._request("POST", path, tuple(headers.items()), b"", further=length)
        end = asyncio.get_running_loop().time() + times.total
        return await self._pool.ask(data, times, end, repeatable=False, rest=pieces)

    @asynccontextmanager
    async def stream(
        self, path: str, *, accept: str, headers: Mapping[str, str] | None = None, budget: float | None = None
    ) -> AsyncIterator[Incoming]:
        """GET an answer of whatever status and media type, and read its body piece by piece.

        ``budget`` is for its head; the body may take as long as pieces of it come. Leaving early closes the
        connection.

        Raises:
            NodeError: there is no answer; and so do reads, when its rest does not come.
        """
        further = (("Accept", accept), *(headers or {}).items())
        data, end = self._request("GET", path, further, None), self._end(budget)
        async with self._pool.stream(data, self._timeout, end, repeatable=True) as incoming:
            yield incoming

    def below(self, url: str) -> str:
        """The part of an absolute or relative URL below the base, for :meth:`get_json`.

        Raises:
            NodeFaulty: it leads elsewhere: another scheme, host or port, or out of the base path.
        """
        try:
            link = urlsplit(urljoin(f"{self.base_url}/", url))
            origin = Origin.of(f"{link.scheme}://{link.netloc}")
        except (ValueError, NodeUnreachable):
            raise NodeFaulty(_ELSEWHERE) from None
        rest = link.path.removeprefix(self._path)
        steps = [step.partition(";")[0] for step in unquote(rest).replace("\\", "/").split("/")]
        below = link.path.startswith(self._path) and rest[:1] in ("", "/") and ".." not in steps
        if origin != self._pool.origin or not below:
            raise NodeFaulty(_ELSEWHERE)
        return rest.lstrip("/") + (f"?{link.query}" if link.query else "")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    async def _json(
        self,
        method: str,
        path: str,
        headers: Headers,
        body: bytes | None,
        budget: float | None,
        *,
        credentials: Headers = (),
        repeatable: bool = False,
        parts: bool = False,
    ) -> Reply:
        data = self._request(method, path, headers, body, credentials)
        reply = await self._ask(data, budget, repeatable=repeatable or method == "GET")
        status = reply.status
        if 400 <= status < 500 or status == 501:
            kind = NodeMissing if status in (404, 410) else NodeRefused
            raise kind(f"refused with status {status}")
        if not 200 <= status < 300:
            raise NodeFaulty(f"answered with status {status}")
        if status == 204:
            return reply
        text = json_text(reply.body, reply.headers.get("content-type", ""), self._charset, parts=parts)
        return reply if text is reply.body else Reply(status, reply.headers, text)

    async def _ask(self, data: bytes, budget: float | None, *, repeatable: bool) -> Reply:
        return await self._pool.ask(data, self._timeout, self._end(budget), repeatable=repeatable)

    def _request(
        self,
        method: str,
        path: str,
        headers: Headers,
        body: bytes | None,
        credentials: Headers = (),
        *,
        further: int | None = None,
    ) -> bytes:
        # A path that is empty or starts with "?" belongs to the base itself.
        if path[:1] not in ("", "?", "/"):
            path = f"/{path}"
        where = target(self._path + path)
        if where[:1] != "/":
            where = f"/{where}"
        return request(
            method,
            self._pool.prefix + where,
            self._always + _lines(headers) + header_lines((*PASSED_ON.get(), *credentials)),
            body,
            further,
        )

    def _end(self, budget: float | None) -> float:
        total = self._timeout.total if budget is None else min(budget, self._timeout.total)
        return asyncio.get_running_loop().time() + total


_lines = lru_cache(maxsize=64)(header_lines)  # the same few again and again, and no credentials


def _pairs(params: Params) -> tuple[tuple[str, str], ...]:
    return tuple(params.items() if isinstance(params, Mapping) else params)
