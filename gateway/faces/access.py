"""Pure ASGI, inside of the Guard: who asks, before anything else is done with a request.

It recognises the client by its token, its certificate and, for another gateway, the signature of the request
(RFC 9421), and counts the request. What it finds, or why it found nobody, waits in the request's state: a
door that needs a client raises it (:func:`gateway.faces.common.client_of`), one that needs none never does.
The token of a viewing is no client's: it is looked up for the doors to images alone
(:func:`gateway.imaging.viewing.viewing_of`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters import StoreUnavailable
from gateway.access.clients import Client
from gateway.body import BadBody, whole
from gateway.errors import ConsentDenied, NotAuthenticated, TooManyRequests
from gateway.flow import spent
from gateway.imaging.viewing import TOKEN, Viewings
from gateway.wiring import Gateway
from security import http_signature
from security.errors import KeyNotValid, SignatureRefused, UnknownKey
from security.keys import PublicKey

HOOKS = "/cds-services"
"""Where addresses begin that a CDS client calls, each time with a JWT of its own."""
IMAGES = "/dicomweb"
"""Where addresses begin that the token of a viewing opens."""
VIEWED = 100
"""How many requests a client's viewers may send for each that it may send itself: every image is one."""
_VIEWING = f"bearer {TOKEN}"
_SHOWN = (b"access_token=", f"={TOKEN}".encode())


class Access:
    """Recognises clients for the application ``app``, whose state holds the gateway."""

    def __init__(self, inner: ASGIApp, app: FastAPI) -> None:
        self._inner = inner
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http":
            given = [value for name, value in scope["headers"] if name == b"authorization"]
            shown = any(name in scope["query_string"] for name in _SHOWN)
            if given or shown:
                receive = await self._recognise(scope, receive, given, shown=shown)
        await self._inner(scope, receive, send)

    async def _recognise(self, scope: Scope, receive: Receive, given: list[bytes], *, shown: bool) -> Receive:
        gateway: Gateway = self._app.state.gateway
        clients, state = gateway.clients, scope["state"]
        try:
            if shown:
                raise NotAuthenticated("the token stands in the address, where logs keep it; make a new one")
            if len(given) > 1:
                raise NotAuthenticated("there is more than one Authorization header")
            certificate = clients.certificate(scope["headers"], scope.get("client"))
            authorization = given[0].decode("latin-1")
            if authorization[: len(_VIEWING)].lower() == _VIEWING:
                await self._view(scope, authorization[len("bearer ") :], certificate)
                return receive
            once, began = None, time.monotonic()
            if scope["path"].startswith(HOOKS):
                client, once = await clients.authenticate_hook(authorization, certificate, scope["path"])
            else:
                client = clients.authenticate(authorization, certificate)
            await self._count(client.id, client.per_minute)
            if once:
                await clients.tokens.refuse_repeated(client.id, once)
                spent(time.monotonic() - began)
            if client.owner:
                body = await whole(receive, gateway.settings.body_limit)
                receive = _again(body, receive)
                await _signed(gateway, client, scope, body)
            state["client"] = client
        except (NotAuthenticated, TooManyRequests, BadBody, StoreUnavailable) as refused:
            state["client"] = refused
        return receive

    async def _view(self, scope: Scope, token: str, certificate: str) -> None:
        """Find the viewing; that of another gateway opens with this one's certificate alone."""
        viewings: Viewings = self._app.state.viewings
        scope["state"]["client"] = NotAuthenticated(
            "the token of a viewing shows images, and does nothing else"
        )
        if scope["path"].startswith(IMAGES):
            try:
                viewed = await viewings.of(token)
                client = viewings.client(viewed)
                if "peer" in client.roles and client.certificates and certificate not in client.certificates:
                    raise NotAuthenticated(f"client {client.id} came without the certificate it is bound to")
                await self._count(f"{client.id} images", VIEWED * client.requests_per_minute)
                scope["state"]["viewing"] = viewed
            except (NotAuthenticated, ConsentDenied, TooManyRequests, StoreUnavailable) as refused:
                scope["state"]["viewing"] = refused

    async def _count(self, name: str, per_minute: int) -> None:
        """Count a request. Raises TooManyRequests."""
        allowance = self._app.state.gateway.clients.allowance
        if not allowance.spent(name, per_minute):
            await allowance.spend(name, per_minute)


async def _signed(gateway: Gateway, client: Client, scope: Scope, body: bytes) -> None:
    """Whether a key of the client's owner signed this very request, now and for the first time."""
    query = f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else ""
    path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
    url = f"{gateway.settings.base_url}{path}{query}"
    headers: Mapping[str, str] = Headers(scope=scope)

    def key_of(kid: str, at: datetime) -> PublicKey:
        key = gateway.trust.list.key(kid, at, "peer")
        if key.owner != client.owner:
            raise UnknownKey
        return key

    now = datetime.now(UTC)
    try:
        signed = http_signature.verify(scope["method"], url, headers, body, key_of, now)
    except UnknownKey:  # an id that anybody made up does not come into the log
        raise NotAuthenticated(
            f"client {client.id} signs with a key that {client.owner} does not list"
        ) from None
    except (SignatureRefused, KeyNotValid) as wrong:
        raise NotAuthenticated(f"client {client.id} signs its requests, and here {wrong}") from None
    until = signed.created + 2 * http_signature.WINDOW
    if not await gateway.clients.once.first(f"request {client.owner}", signed.nonce, until):
        raise NotAuthenticated(f"client {client.id} sent this request before: its nonce was used")


def _again(body: bytes, receive: Receive) -> Receive:
    """What gives a body out once more, and then what comes after it."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again
