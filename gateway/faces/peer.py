"""The face for other gateways: their question, our nodes' results, each with our mark."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from adapters import PeerAnswer, PeerQuestion, commitment
from gateway.body import decode
from gateway.faces.common import body_of, client_of, reply
from gateway.faces.describe import describe

router = APIRouter(prefix="/api/v1", tags=["gateways"])


@router.post(
    "/results",
    openapi_extra=describe(PeerQuestion, PeerAnswer, refusals=(400, 403, 413, 415, 422)),
    summary="Prior results, for another gateway",
)
async def results(request: Request) -> Response:
    """Results of this gateway's nodes for one person, marked, with the state of every node."""
    client = client_of(request)
    raw = await body_of(request)
    answer = await request.app.state.peers.answer(decode(raw, PeerQuestion), commitment(raw), client)
    return reply(answer)
