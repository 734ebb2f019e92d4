"""The face of decisions on a check, and of citations: several results at once, told apart by a request id."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.citing import CitationsIn, CitationsOut
from gateway.decisions import DecidedOut, DecisionIn, DecisionsIn, DecisionsOut
from gateway.faces.common import JSON, client_of, read, reply
from gateway.faces.describe import CALLER, describe

router = APIRouter(prefix="/api/v1", tags=["checks"])
TEXT = "text/plain"


@router.post(
    "/checks/{check_id}/decision",
    openapi_extra=describe(DecisionIn, DecidedOut, refusals=CALLER),
    summary="Decide about the results of a check",
)
async def decide(check_id: str, request: Request) -> Response:
    """Recognise some, do not recognise others, cancel, or withdraw a decision. The same request id with the
    same body is carried out once."""
    client = client_of(request)
    decision = await read(request, DecisionIn)
    (decided,) = await request.app.state.decisions.decide([(check_id, decision)], client, batch=False)
    return reply(decided)


@router.post(
    "/decisions",
    openapi_extra=describe(DecisionsIn, DecisionsOut, refusals=CALLER),
    summary="Decide about several checks",
)
async def decide_all(request: Request) -> Response:
    """Decisions on one check or several, kept together or not at all."""
    client = client_of(request)
    sent = [(one.check, one) for one in (await read(request, DecisionsIn)).decisions]
    return reply(DecisionsOut(await request.app.state.decisions.decide(sent, client)))


@router.post(
    "/checks/{check_id}/citations",
    openapi_extra=describe(CitationsIn, CitationsOut, refusals=CALLER),
    summary="Text for the record",
)
async def cite(check_id: str, request: Request) -> Response:
    """Results as sentences that can be put into the record; that they are cited is recorded.

    ``Accept: text/plain`` gives the text alone, unless JSON is accepted too.
    """
    client = client_of(request)
    cited = await request.app.state.citing.cite(check_id, await read(request, CitationsIn), client)
    accept = request.headers.get("accept", "")
    if TEXT in accept and JSON not in accept:  # some clients ask for both, whatever they call
        return Response(f"{cited.text}\n", media_type=TEXT, headers={"Cache-Control": "no-store"})
    return reply(cited)
