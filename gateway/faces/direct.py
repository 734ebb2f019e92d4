"""The routes that are asked most, answered ahead of the router; :mod:`gateway.app` has the one list of them.

A route of FastAPI costs two to three times what its answer does where that is short. Each of these is a
registered route as well, which describes it, and answers alike where it is reached that way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import NamedTuple

from fastapi import APIRouter, FastAPI
from msgspec import Struct
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.resources.formats import refuse_other_formats


class Answered(NamedTuple):
    """An answer with a status and headers of its own."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Answer = Callable[[FastAPI, Scope, Receive], Awaitable[bytes | Answered]]


class Quick(Struct, frozen=True):
    """A route, and what makes the bytes of its answer (200 where it says nothing else) in a media type;
    ``below``: the address below which everything but operations is answered so."""

    route: Route
    media: str
    answer: Answer
    below: str = ""


def quick(router: APIRouter, path: str, media: str, answer: Answer) -> list[Quick]:
    """The registered routes of a path, one for each set of methods, to be answered so."""
    routes = (route for route in router.routes if isinstance(route, Route) and route.path == path)
    return [Quick(route, media, answer) for route in routes]


class Direct:
    """Pure ASGI, ahead of what else stands before the router of ``app``; ``inner`` gets all other requests.

    It stands inside of :class:`~gateway.faces.common.Guard`, which gives requests their ids and errors their
    shape, takes a slash off the end of FHIR addresses, and refuses who takes no JSON there.
    """

    def __init__(self, inner: ASGIApp, app: FastAPI, routes: Iterable[Quick]) -> None:
        self._inner = inner
        self._app = app
        self._quick = {
            (method, f"{one.below}/" if one.below else one.route.path): (
                one,
                [(b"cache-control", b"no-store"), (b"content-type", one.media.encode())],
            )
            for one in routes
            for method in one.route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http":
            method, path = scope["method"], scope["path"]
            if path.startswith("/fhir/") or path == "/fhir":
                path = scope["path"] = path.rstrip("/")
                refuse_other_formats(scope["query_string"], scope["headers"])
            found = self._quick.get((method, path))
            if not found and "$" not in path:
                found = self._quick.get((method, path[: path.find("/", len("/fhir/")) + 1]))
            if found:
                one, headers = found
                scope["route"] = one.route  # by which logs and traces name it
                status, body = 200, await one.answer(self._app, scope, receive)
                if isinstance(body, Answered):
                    status, told, body = body
                    headers = headers + [(n.lower().encode(), v.encode()) for n, v in told.items()]
                headers = [*headers, (b"content-length", b"%d" % len(body))]
                await send({"type": "http.response.start", "status": status, "headers": headers})
                await send({"type": "http.response.body", "body": body})
                return
        await self._inner(scope, receive, send)
