"""The plain JSON face for HIS vendors: ask, read again, say what the doctor did."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.faces.common import client_of, read, reply
from gateway.faces.describe import CALLER, describe
from gateway.model import CheckAnswer, CheckRequest, OutcomeIn, OutcomeOut
from gateway.outcomes import Asked

ASKING = tuple(status for status in CALLER if status != 404)

router = APIRouter(prefix="/api/v1", tags=["checks"])


@router.post(
    "/checks",
    openapi_extra=describe(CheckRequest, CheckAnswer, refusals=ASKING),
    summary="Ask before ordering",
)
async def ask(request: Request) -> Response:
    """May an earlier result serve for what is planned? The same request id gives the same answer again."""
    client = client_of(request)
    return reply(await request.app.state.checks.ask(await read(request, CheckRequest), client, "rest"))


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
