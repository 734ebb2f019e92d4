"""The face of explain: why a decision came out as it did, and what it would be under other rules."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.explaining import ExplainAnswer, ExplainRequest
from gateway.faces.common import client_of, read, reply
from gateway.faces.describe import describe

router = APIRouter(prefix="/api/v1", tags=["checks"])


@router.post(
    "/explain",
    openapi_extra=describe(ExplainRequest, ExplainAnswer, refusals=(400, 403, 404, 413, 415, 422)),
    summary="Explain a decision, or a hypothetical one",
)
async def explain(request: Request) -> Response:
    """A stored decision by its id, or a hypothetical check with hypothetical results, under any version and
    at any time: what every step found. For a stored one, what differs from what was decided."""
    client = client_of(request)
    return reply(await request.app.state.explaining.explain(await read(request, ExplainRequest), client))
