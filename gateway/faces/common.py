"""What every face needs: who asks, the body, the answer's bytes, and one error shape a face.

RFC 9457 problem details for REST, CDS Hooks, ledger and operations; OperationOutcome for FHIR.
"""

from __future__ import annotations

import math
import random
import re
import traceback
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import msgspec
from fastapi import Request
from msgspec import structs
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters import AdapterError
from gateway.access.clients import Client
from gateway.body import decode, receive
from gateway.errors import (
    INTERNAL,
    TERSE,
    Failure,
    NotAuthenticated,
    NotPermitted,
    Row,
    TooManyRequests,
    failure_of,
    outcome_of,
    title,
)
from gateway.log import ABOUT, Log
from gateway.metrics import Metrics
from gateway.model import Problem
from gateway.wiring import Gateway

T = TypeVar("T")
JSON = "application/json"
FHIR_JSON = "application/fhir+json"
PROBLEM_JSON = "application/problem+json"
REQUEST_ID = "X-Request-Id"
TOKEN_PATH = "/oauth/token"  # noqa: S105 - an address
_OAUTH = (
    "invalid_request",
    "invalid_client",
    "unsupported_grant_type",
    "invalid_scope",
    "temporarily_unavailable",
)
"""Errors of RFC 6749 section 5.2; the last, of its section 4.1.2.1, where one may come again."""
_RANDOM = random.Random()  # noqa: S311 - tells requests apart, and is no secret: no system call each
_REQUEST_ID = REQUEST_ID.lower().encode()
_SCOPE = re.compile(r"[!#-\[\]-~]+")  # RFC 6749 section 3.3: an address may be made of other characters
_ID = re.compile(r"(?!.*[0-9]{15})[A-Za-z0-9._:-]{1,64}")  # it goes into the log: no person's number


def gateway_of(request: Request) -> Gateway:
    """The running gateway behind a request."""
    return cast("Gateway", request.app.state.gateway)


def client_of(request: Request) -> Client:
    """Who asks, once its scopes let it in by this door (:func:`gateway.access.scopes.needed`).

    Raises:
        NotAuthenticated, NotPermitted, TooManyRequests: see docs/errors.md.
    """
    return let_in(request.scope)


def let_in(scope: Scope) -> Client:
    """:func:`client_of` for an ASGI scope that :class:`gateway.faces.access.Access` has seen."""
    recognised = scope["state"].get("client")
    if isinstance(recognised, Exception):
        raise recognised
    if recognised is None:
        raise NotAuthenticated("there is no Authorization header")
    client = cast("Client", recognised)
    client.pass_through(scope["method"], scope["path"])
    return client


async def body_of(request: Request, *media_types: str) -> bytes:
    """The bytes of the body. Raises BadBody for its size or media type."""
    limit = gateway_of(request).settings.body_limit
    return await receive(request.scope, request.receive, limit=limit, types=frozenset(media_types or (JSON,)))


async def read(request: Request, kind: type[T], *media_types: str) -> T:
    """The body as ``kind``; everything that is wrong with it is a BadBody that names the field."""
    return decode(await body_of(request, *media_types), kind)


def reply(
    value: Any, *, status: int = 200, media_type: str = JSON, headers: dict[str, str] | None = None
) -> Response:
    """A value as JSON; answers with a person's data are never kept by a cache on the way."""
    return Response(
        msgspec.json.encode(value),
        status,
        headers={"Cache-Control": "no-store", **(headers or {})},
        media_type=media_type,
    )


def render(
    failure: Failure, path: str, request_id: str, further: Mapping[str, str] | None = None
) -> Response:
    """A failure in the shape of the face of this path; ``further`` headers go along (a 405 has Allow)."""
    row = failure.row
    if path.startswith("/cds-services") and row.status == 422:  # CDS Hooks 2.0 knows 400 and 412
        row = structs.replace(row, status=400)
    headers = dict(further or {})
    if row.status == 503:
        headers.setdefault("Retry-After", "5")
    if path == TOKEN_PATH:
        later = row.status == 429 or row.status >= 500
        error = failure.field if failure.field in _OAUTH else _OAUTH[-1] if later else _OAUTH[0]
        told = {"error": error, "error_description": failure.message}
        return reply(told, status=row.status, headers=headers)
    if path.startswith("/fhir"):
        return reply(outcome_of(failure), status=row.status, media_type=FHIR_JSON, headers=headers)
    problem = Problem(
        type=f"urn:lianren:error:{row.code}",
        title=title(row),
        status=row.status,
        detail=failure.message,
        code=row.code,
        fault=row.fault,
        request=request_id,
        field=failure.field,
    )
    return reply(problem, status=row.status, media_type=PROBLEM_JSON, headers=headers)


class Guard:
    """Pure ASGI, around all faces: gives each request an id, and turns every exception into the face's shape.

    What has no row in the table of errors is answered as ``internal``; the log gets the exception's class and
    the place it was raised at, never its message, which could hold a person's data.

    Why somebody is not let in stands in the log in full, and in the answer only where ``explained``.

    ``metrics`` is set once the gateway runs.
    """

    def __init__(self, app: ASGIApp, log: Log, *, explained: bool = False) -> None:
        self._app = app
        self._log = log
        self._explained = explained
        self.metrics: Metrics | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(_REQUEST_ID, b"").decode("latin-1")
        request_id = given if _ID.fullmatch(given) else f"{_RANDOM.getrandbits(128):032x}"
        scope.setdefault("state", {})["request_id"] = request_id
        ABOUT.set({**ABOUT.get(), "request": request_id})
        started = False

        async def with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                scope["state"]["status"] = message["status"]
                told = scope["state"].get("told", ())
                message["headers"] = [*message.get("headers", ()), *told, (_REQUEST_ID, request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, with_id)
        except Exception as error:  # the one place where everything ends up
            if not scope["state"].get("refused"):
                response = self._refusal(scope, error)
                if started:
                    raise
                await response(scope, receive, with_id)

    async def handle(self, request: Request, error: Exception) -> Response:
        """An exception that a route raised, as a response."""
        return self._refusal(request.scope, error)

    def _refusal(self, scope: Scope, error: Exception) -> Response:
        """Log and count a failure, and render it."""
        scope["state"]["refused"] = True
        failure = routing_failure(error) if isinstance(error, HTTPException) else failure_of(error)
        row, request_id = failure.row, scope["state"]["request_id"]
        fields: dict[str, str | int] = {
            "request": request_id,
            "method": scope["method"],
            "route": getattr(scope.get("route"), "path", ""),
            "status": row.status,
            "code": row.code,
        }
        if row.event == "evidence_unavailable" and isinstance(
            cause := error.__cause__ or error, AdapterError
        ):
            fields["detail"] = str(cause)
        if row.event == "internal_error":
            last = traceback.extract_tb(error.__traceback__)[-1]
            fields["error"] = type(error).__name__
            fields["place"] = f"{last.name}:{last.lineno}"
            if row is not INTERNAL:  # what the house raises itself holds nothing of a person
                fields["detail"] = str(error)
        if (terse := TERSE.get(type(error))) is not None:
            fields["reason"] = str(error)
            if not self._explained:
                failure = structs.replace(failure, message=terse)
        self._log(row.event, **fields)
        if self.metrics:
            self.metrics.refusals.labels(row.code).inc()
        return render(failure, scope["path"], request_id, self._headers(scope, error))

    def _headers(self, scope: Scope, error: Exception) -> Mapping[str, str]:
        """What goes along: RFC 6750 section 3 for who is not let in, RFC 6585 section 4 for too many."""
        match error:
            case HTTPException(status_code=405):
                return {"Allow": _allowed(scope)}
            case HTTPException():
                return error.headers or {}
            case NotAuthenticated():
                sent = any(name == b"authorization" for name, _ in scope["headers"])
                return {"WWW-Authenticate": 'Bearer error="invalid_token"' if sent else "Bearer"}
            case NotPermitted():
                shown = self._explained and _SCOPE.fullmatch(error.scope)
                told = f', scope="{error.scope}"' if shown else ""
                return {"WWW-Authenticate": f'Bearer error="insufficient_scope"{told}'}
            case TooManyRequests():
                return {"Retry-After": str(math.ceil(error.retry_after))}
        return {}


def _allowed(scope: Scope) -> str:
    """All methods of an address (RFC 9110 section 15.5.6); the router names those of one route."""
    asked = [(method, {**scope, "method": method}) for method in ("DELETE", "GET", "POST", "PUT")]
    routes = scope["app"].routes
    return ", ".join(n for n, one in asked if any(route.matches(one)[0] is Match.FULL for route in routes))


_ROUTING = {
    404: Row(404, "no-such-route", "caller", "not-found", "request_refused"),
    405: Row(405, "method-not-allowed", "caller", "not-supported", "request_refused"),
}


def routing_failure(error: HTTPException) -> Failure:
    """What the router itself refuses."""
    row = _ROUTING.get(error.status_code, INTERNAL)
    return Failure(row, str(error.detail))
