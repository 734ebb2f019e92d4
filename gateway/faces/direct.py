"""The routes that are asked most, answered ahead of the router; :mod:`gateway.app` has the one list of them.

A route of FastAPI costs two to three times what its answer does where that is short. Each of these is a
registered route as well, which describes it, and answers alike where it is reached that way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from fastapi import APIRouter, FastAPI
from msgspec import Struct
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send


class Quick(Struct, frozen=True):
    """A route, and what makes the bytes of its answer (200) in a media type."""

    route: Route
    media: str
    answer: Callable[[FastAPI, Scope, Receive], Awaitable[bytes]]


def quick(
    router: APIRouter, path: str, media: str, answer: Callable[[FastAPI, Scope, Receive], Awaitable[bytes]]
) -> list[Quick]:
    """The registered routes of a path, one for each set of methods, to be answered so."""
    routes = (route for route in router.routes if isinstance(route, Route) and route.path == path)
    return [Quick(route, media, answer) for route in routes]


class Direct:
    """Pure ASGI, ahead of what else stands before the router of ``app``; ``inner`` gets all other requests.

    It stands inside of :class:`~gateway.faces.common.Guard`, which gives requests their ids and errors their
    shape, and takes a slash off the end of FHIR addresses.
    """

    def __init__(self, inner: ASGIApp, app: FastAPI, routes: Iterable[Quick]) -> None:
        self._inner = inner
        self._app = app
        self._quick = {
            (method, one.route.path): (
                one,
                [(b"cache-control", b"no-store"), (b"content-type", one.media.encode())],
            )
            for one in routes
            for method in one.route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http":
            if scope["path"].startswith("/fhir/"):
                scope["path"] = scope["path"].rstrip("/")
            if found := self._quick.get((scope["method"], scope["path"])):
                one, headers = found
                scope["route"] = one.route  # by which logs and traces name it
                body = await one.answer(self._app, scope, receive)
                headers = [*headers, (b"content-length", b"%d" % len(body))]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body", "body": body})
                return
        await self._inner(scope, receive, send)
