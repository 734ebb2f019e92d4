"""The face for other gateways: their question, our nodes' results, each with our mark."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from adapters import PeerAnswer, PeerQuestion
from gateway.body import decode
from gateway.faces.common import JSON, body_of, client_of
from gateway.faces.describe import describe

router = APIRouter(prefix="/api/v1", tags=["gateways"])


@router.post(
    "/results",
    openapi_extra=describe(PeerQuestion, PeerAnswer, refusals=(400, 403, 413, 415, 422)),
    summary="Prior results, for another gateway",
)
async def results(request: Request) -> Response:
    """Results of this gateway's nodes for one person, marked, with the state of every node.

    The answer is signed over its bytes and the question (RFC 9421).
    """
    client = client_of(request)
    raw = await body_of(request)
    body, signed = await request.app.state.peers.answer(decode(raw, PeerQuestion), raw, client)
    return Response(body, media_type=JSON, headers={"Cache-Control": "no-store", **signed})
