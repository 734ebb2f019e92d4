"""Where institutions announce or publish what they hold of a person."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.faces.common import client_of, read, reply
from gateway.faces.describe import CALLER, describe
from gateway.model import PublicationIn, PublicationOut

router = APIRouter(prefix="/api/v1", tags=["publications"])


@router.post(
    "/publications",
    openapi_extra=describe(
        PublicationIn, PublicationOut, refusals=tuple(status for status in CALLER if status != 404)
    ),
    summary="Announce or publish what a node holds of a person",
)
async def publish(request: Request) -> Response:
    """Pointers, resources, or that something is gone. The same request id is carried out once."""
    client = client_of(request)
    return reply(await request.app.state.publications.take(await read(request, PublicationIn), client))
