"""Cross-origin calls: a CDS client may be a page in a browser (CDS Hooks 2.0, CORS), and an image viewer is.

Pure ASGI, inside of the Guard and around everything else, so that a preflight, which has no token, costs no
turn. What a page is told waits in the request's state for the Guard, which puts it onto every answer: also a
refusal can be read. Each part of the gateway that pages may call has origins of its own. Only configured
origins are told anything, and each is named: never ``*``. Cookies count nowhere here, so no answer allows
credentials; the token goes in a header that the page sets itself.

A viewer that computes with shared memory is isolated by its own server (``Cross-Origin-Embedder-Policy``);
its browser then takes images only where they say that they are for other sites, too
(``Cross-Origin-Resource-Policy``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.faces.access import HOOKS, IMAGES

_VARY = (b"vary", b"Origin")


class Part(Struct, frozen=True):
    """What pages of some origins may call below an address: methods, headers they may send and read; and what
    else each answer to them says."""

    below: str
    origins: frozenset[bytes]
    methods: bytes
    sent: bytes
    read: bytes
    further: tuple[tuple[bytes, bytes], ...] = ()


def parts(hooks: Iterable[str], images: Iterable[str]) -> list[Part]:
    """The parts that pages of these origins may call: CDS Hooks, and DICOMweb to look at images."""
    found = [
        Part(
            HOOKS,
            frozenset(origin.encode() for origin in hooks),
            methods=b"GET, POST",
            sent=b"authorization, content-type, x-request-id",
            read=b"retry-after, www-authenticate, x-request-id",
        ),
        Part(
            IMAGES,
            frozenset(origin.encode() for origin in images),
            methods=b"GET, HEAD",
            sent=b"accept, authorization, if-range, range, x-request-id",
            read=b"accept-ranges, content-length, content-location, content-range, lianren-nodes,"
            b" retry-after, warning, www-authenticate, x-request-id",
            further=((b"cross-origin-resource-policy", b"cross-origin"),),
        ),
    ]
    return [part for part in found if part.origins]


class Origins:
    """Lets pages call these parts of ``inner``."""

    def __init__(self, inner: ASGIApp, parts: Sequence[Part]) -> None:
        self._inner = inner
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        path = scope["path"] if scope["type"] == "http" else ""
        part = next((one for one in self._parts if path.startswith(one.below)), None)
        if part is None:
            await self._inner(scope, receive, send)
            return
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"")
        told = scope["state"]["told"] = [_VARY]
        if origin in part.origins:
            told += [(b"access-control-allow-origin", origin), *part.further]
            told.append((b"access-control-expose-headers", part.read))
            if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
                allowed = [
                    (b"access-control-allow-methods", part.methods),
                    (b"access-control-allow-headers", part.sent),
                    (b"access-control-max-age", b"600"),
                ]
                await send({"type": "http.response.start", "status": 204, "headers": allowed})
                await send({"type": "http.response.body"})
                return
        await self._inner(scope, receive, send)
