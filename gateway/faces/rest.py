"""The plain JSON face for HIS vendors: ask, read again, say what the doctor did.

A doctor waits while a check is asked, so it is answered ahead of the router (:mod:`gateway.faces.direct`).
"""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from gateway.body import decode
from gateway.body import receive as take_in
from gateway.checks import Checks
from gateway.faces.common import JSON, client_of, let_in, read, reply
from gateway.faces.describe import CALLER, describe
from gateway.faces.direct import quick
from gateway.model import CheckAnswer, CheckRequest, OutcomeIn, OutcomeOut
from gateway.outcomes import Asked

ASKING = tuple(status for status in CALLER if status != 404)
_TYPES = frozenset({JSON})

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


async def _asked(app: FastAPI, scope: Scope, receive: Receive) -> bytes:
    """The JSON of the answer to a check."""
    client, checks = let_in(scope), cast("Checks", app.state.checks)
    limit = app.state.gateway.settings.body_limit
    request = decode(await take_in(scope, receive, limit=limit, types=_TYPES), CheckRequest)
    return (await checks.ask(request, client, "rest")).json


DIRECT = quick(router, "/api/v1/checks", JSON, _asked)


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
