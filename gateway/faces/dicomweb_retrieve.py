"""WADO-RS and WADO-URI: what of a study a viewing is given, ahead of the router and piece by piece.

The addresses are registered routes as well, which describe them; a request never gets so far. It comes in by
the token of a viewing (:func:`gateway.imaging.viewing.viewing_of`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.datastructures import Headers
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters import NodeError
from gateway.errors import GatewayError, NodeUnheard, NotFound, SettingsError
from gateway.faces.describe import describe
from gateway.imaging.accept import DICOM, JPEG, JSON, OCTETS
from gateway.imaging.addresses import FACE, Asked, asked_of
from gateway.imaging.making import Outgoing
from gateway.imaging.offload import ASKED, fetched, handed_over
from gateway.imaging.retrieving import Retrieving
from gateway.imaging.values import Viewed
from gateway.imaging.viewing import viewing_of
from gateway.wiring import Gateway

router = APIRouter(tags=["dicomweb"])

_STUDY = "/studies/{study}"
_SERIES = _STUDY + "/series/{series}"
_INSTANCE = _SERIES + "/instances/{instance}"
_LEVELS = (_STUDY, _SERIES, _INSTANCE)
_MEDIA = {
    **dict.fromkeys(_LEVELS, DICOM),
    **{f"{level}/metadata": JSON for level in _LEVELS},
    **{f"{level}/{name}": JPEG for level in _LEVELS for name in ("rendered", "thumbnail")},
    f"{_INSTANCE}/frames/{{frames}}": OCTETS,
    f"{_INSTANCE}/frames/{{frames}}/rendered": JPEG,
    f"{_INSTANCE}/frames/{{frames}}/thumbnail": JPEG,
    f"{_INSTANCE}/bulkdata/{{place}}": OCTETS,
    "/wado": JPEG,
}
_DRAWN = ("/rendered", "/thumbnail")
_RENDERED = (
    ("viewport", "width and height of the picture, and the part of the image that it shows"),
    ("window", "center, width and function of the window"),
    ("quality", "of a lossy picture, 1 to 100"),
    ("annotation", "patient, technique"),
    ("accept", "in place of Accept"),
)
_URI = (
    ("requestType", "WADO"),
    *((name, "a UID") for name in ("studyUID", "seriesUID", "objectUID")),
    ("contentType", "application/dicom, or of a picture; image/jpeg if left out"),
    ("transferSyntax", "of application/dicom"),
    ("frameNumber", "of a picture"),
    *((name, "most pixels of a picture") for name in ("rows", "columns")),
    *((name, "of a picture") for name in ("windowCenter", "windowWidth", "imageQuality", "annotation")),
)
_NAME = re.compile(r"\{([a-z]+)")
_TEXT = {"schema": {"type": "string"}}
_RANGE = re.compile(r"bytes=\d{0,18}-\d{0,18}")
_NO_STORE = (b"cache-control", b"no-store")


async def retrieve() -> None:
    """Give out images, or what is in them, of one study of the viewing's person."""
    raise NotFound("there is nothing at this address")


def _described() -> Iterable[tuple[str, dict[str, Any]]]:
    for path, media in _MEDIA.items():
        for below in ("", "/nodes/{node:path}"):
            extra = describe(media_type=media, refusals=(400, 404, 406, 410, 502))
            names = _NAME.findall(below + path)
            told = _URI if path == "/wado" else _RENDERED if path.endswith(_DRAWN) else ()
            extra["parameters"] = [
                *({**_TEXT, "name": name, "in": "path", "required": True} for name in names),
                *({**_TEXT, "name": name, "in": "query", "description": meaning} for name, meaning in told),
            ]
            yield FACE + below + path, extra


for _path, _extra in _described():
    router.add_api_route(_path, retrieve, methods=["GET"], openapi_extra=_extra)

_ROUTES = [route for route in router.routes if isinstance(route, Route)]
_SHAPES: dict[tuple[str, int, bool, bool], Route | None] = {}


class Images:
    """Pure ASGI, inside of :class:`gateway.faces.access.Access`; ``inner`` gets all other requests."""

    def __init__(self, inner: ASGIApp, app: FastAPI) -> None:
        self._inner = inner
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        asked = None
        ours = scope["type"] == "http" and scope["path"].startswith(FACE)
        if ours:
            scope["path"] = scope["path"].removesuffix("/")  # some clients end addresses so
        if ours and scope["method"] in ("GET", "HEAD"):
            headers = Headers(scope=scope)
            try:
                asked = asked_of(scope["path"], scope["query_string"], ", ".join(headers.getlist("accept")))
            except GatewayError:
                viewing_of(scope)  # whoever has none, is told that first
                raise
        if asked is None:
            await self._inner(scope, receive, send)
            return
        scope["route"] = _route_of(scope["path"], asked)
        await self._let_go(scope, asked, viewing_of(scope), headers, send)

    async def _let_go(self, scope: Scope, asked: Asked, viewed: Viewed, headers: Headers, send: Send) -> None:
        """Answer, until the caller hangs up."""
        task, left = asyncio.current_task(), False

        def leave() -> None:
            nonlocal left
            left = True
            if task:
                task.cancel()

        scope["state"]["gone"] = leave
        try:
            if not await self._handed_over(scope, asked, viewed, send):
                await self._answer(scope, asked, viewed, headers, send)
        except asyncio.CancelledError:
            if not left:
                raise
        finally:
            del scope["state"]["gone"]

    async def _answer(self, scope: Scope, asked: Asked, viewed: Viewed, headers: Headers, send: Send) -> None:
        retrieving: Retrieving = self._app.state.retrieving
        ranges = {}
        if _RANGE.fullmatch(headers.get("range", "")):
            ranges = {name: headers[name] for name in ("range", "if-range") if name in headers}
        async with AsyncExitStack() as stack:
            outgoing = await retrieving.open(stack, viewed, asked, ranges)
            stack.push_async_callback(outgoing.pieces.aclose)
            told = [(name.encode(), value.encode("latin-1")) for name, value in outgoing.headers.items()]
            told += [_NO_STORE, (b"lianren-source", outgoing.source.node.encode())]
            await send({"type": "http.response.start", "status": outgoing.status, "headers": told})
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b""})
            else:
                await self._pass_on(outgoing, send)

    async def _pass_on(self, outgoing: Outgoing, send: Send) -> None:
        gateway: Gateway = self._app.state.gateway
        node, size, outcome = outgoing.source.node, 0, "left"
        length = int(outgoing.headers.get("content-length", -1))
        try:
            async for piece in outgoing.pieces:
                size += len(piece)
                if piece:
                    more = size != length
                    await send({"type": "http.response.body", "body": piece, "more_body": more})
            if size != length:
                await send({"type": "http.response.body", "body": b""})
            outcome = "whole"
        except NodeError as error:
            outcome = "broken"
            if size == length:  # the answer has gone out whole, and the next one has the connection
                return
            raise NodeUnheard(f"node {node} ({error.state}): {error.detail}") from None
        finally:
            gateway.metrics.images.labels(node, outcome).inc()
            gateway.metrics.image_bytes.labels(node).inc(size)

    async def _handed_over(self, scope: Scope, asked: Asked, viewed: Viewed, send: Send) -> bool:
        """Leave it to the nginx in front, where there is one that offers it and nothing is to be changed."""
        gateway: Gateway = self._app.state.gateway
        prefix = gateway.settings.offload
        if not prefix or scope["method"] == "HEAD" or (ASKED, b"nginx") not in scope["headers"]:
            return False
        retrieving: Retrieving = self._app.state.retrieving
        handed = await retrieving.handed_over(viewed, asked)
        if handed is None:
            return False
        source, accept = handed
        node = next((one.settings for one in gateway.nodes.placed() if one.node.id == source.node), None)
        if node is None or node not in fetched(gateway.settings):
            return False  # it was set at run time, and nginx does not know it
        try:
            told = handed_over(prefix, node, asked.target, accept)
        except SettingsError:
            return False
        told += [(b"content-length", b"0"), (b"lianren-source", source.node.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": told})
        await send({"type": "http.response.body", "body": b""})
        gateway.metrics.images.labels(source.node, "handed-over").inc()
        return True


def _route_of(path: str, asked: Asked) -> Route | None:
    """The route that describes an address: by it logs and traces name the request."""
    shape = asked.resource, min(asked.below.count("/"), 12), bool(asked.way), path.endswith("/wado")
    if shape not in _SHAPES:
        scope = {"type": "http", "path": path, "method": "GET", "root_path": ""}
        _SHAPES[shape] = next((route for route in _ROUTES if route.matches(scope)[0] is Match.FULL), None)
    return _SHAPES[shape]
