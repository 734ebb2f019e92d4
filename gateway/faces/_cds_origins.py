"""Cross-origin calls of CDS Hooks: a CDS client may be a page in a browser (CDS Hooks 2.0, CORS).

Pure ASGI, inside of the Guard and around everything else, so that refusals can be read by the page too, and a
preflight, which has no token, costs no turn. Only configured origins are told anything, and each is named:
never ``*``. Cookies count nowhere here, so no answer allows credentials; the token goes in a header that the
page sets itself.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.faces.access import HOOKS

_VARY = (b"vary", b"Origin")
_ALLOWED = [
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"authorization, content-type, x-request-id"),
    (b"access-control-max-age", b"600"),
]
_EXPOSED = (b"access-control-expose-headers", b"retry-after, www-authenticate, x-request-id")


class Origins:
    """Lets pages of these origins call the CDS services of ``inner``."""

    def __init__(self, inner: ASGIApp, origins: Iterable[str]) -> None:
        self._inner = inner
        self._origins = frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if not self._origins or scope["type"] != "http" or not scope["path"].startswith(HOOKS):
            await self._inner(scope, receive, send)
            return
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"")
        told = [_VARY]
        if origin in self._origins:
            told.append((b"access-control-allow-origin", origin))
            if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
                await send({"type": "http.response.start", "status": 204, "headers": told + _ALLOWED})
                await send({"type": "http.response.body"})
                return
            told.append(_EXPOSED)

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *told]
            await send(message)

        await self._inner(scope, receive, tell)
