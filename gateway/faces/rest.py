"""The plain JSON face for HIS vendors: ask, read again, say what the doctor did.

A doctor waits while a check is asked, so :class:`Direct` answers it ahead of the router; its registered route
describes it.
"""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.body import decode
from gateway.body import receive as take_in
from gateway.checks import Checks
from gateway.faces.common import JSON, client_of, let_in, read, reply
from gateway.faces.describe import CALLER, describe
from gateway.model import CheckAnswer, CheckRequest, OutcomeIn, OutcomeOut
from gateway.outcomes import Asked

ASKING = tuple(status for status in CALLER if status != 404)
CHECKS_PATH = "/api/v1/checks"
_TYPES = frozenset({JSON})
_HEADERS = ((b"cache-control", b"no-store"), (b"content-type", JSON.encode()))

router = APIRouter(prefix="/api/v1", tags=["checks"])


@router.post(
    "/checks",
    openapi_extra=describe(CheckRequest, CheckAnswer, refusals=ASKING),
    summary="Ask before ordering",
)
async def ask(request: Request) -> Response:
    """May an earlier result serve for what is planned? The same request id gives the same answer again."""
    body = await _asked(request.app, request.scope, request.receive)
    return Response(body, headers={"Cache-Control": "no-store"}, media_type=JSON)


class Direct:
    """Pure ASGI, ahead of the router of ``app`` and of what else stands before it: answers checks.

    It stands inside of :class:`~gateway.faces.common.Guard`, which gives requests their ids and errors their
    shape.
    """

    def __init__(self, inner: ASGIApp, app: FastAPI) -> None:
        self._inner = inner
        self._app = app
        self._route = router.routes[0]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"] != CHECKS_PATH or scope["method"] != "POST":
            await self._inner(scope, receive, send)
            return
        scope["route"] = self._route  # by which logs and traces name it
        body = await _asked(self._app, scope, receive)
        headers = [*_HEADERS, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _asked(app: FastAPI, scope: Scope, receive: Receive) -> bytes:
    """The JSON of the answer to a check."""
    client, checks = let_in(scope), cast("Checks", app.state.checks)
    limit = app.state.gateway.settings.body_limit
    request = decode(await take_in(scope, receive, limit=limit, types=_TYPES), CheckRequest)
    return (await checks.ask(request, client, "rest")).json


@router.get(
    "/checks/{check_id}",
    openapi_extra=describe(None, CheckAnswer, refusals=(404,)),
    summary="Read an answer again",
)
async def answer(check_id: str, request: Request) -> Response:
    """The answer that was given under this id, to the institution that asked or to an auditor."""
    return reply(await request.app.state.checks.answer(check_id, client_of(request)))


@router.post(
    "/checks/{check_id}/outcomes",
    openapi_extra=describe(OutcomeIn, OutcomeOut, refusals=CALLER),
    summary="Say what the doctor did",
)
async def outcome(check_id: str, request: Request) -> Response:
    """Accepted, declined with a reason code, viewed, cited or withdrawn, for one result of the check."""
    client = client_of(request)
    asked = Asked(check_id, await read(request, OutcomeIn))
    (recorded,) = await request.app.state.outcomes.record([asked], client)
    return reply(recorded)
