"""The face of viewings: a hospital's system opens one for its viewer, looks at it, and ends it."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.faces.common import client_of, read, reply
from gateway.faces.describe import CALLER, describe
from gateway.imaging.opening import Opening, ViewingOut, ViewingRequest, ViewingState

router = APIRouter(prefix="/api/v1", tags=["images"])


@router.post(
    "/viewings",
    openapi_extra=describe(ViewingRequest, ViewingOut, refusals=(*CALLER, 502)),
    summary="Open a viewing of a patient's images",
)
async def open_viewing(request: Request) -> Response:
    """What the patient has of images, in the order of its relevance, and a token by which a viewer gets them
    from `/dicomweb`: of this patient alone, for this institution and purpose, until the viewing ends. What is
    opened is recorded as viewed."""
    client = client_of(request)
    return reply(await _opening(request).open(await read(request, ViewingRequest), client))


@router.get(
    "/viewings/{viewing_id}",
    openapi_extra=describe(None, ViewingState, refusals=(404,)),
    summary="Look at an open viewing",
)
async def viewing(viewing_id: str, request: Request) -> Response:
    """A viewing of this institution that has not ended; its token is not told again."""
    return reply(await _opening(request).state(viewing_id, client_of(request)))


@router.delete(
    "/viewings/{viewing_id}",
    openapi_extra=describe(None, ViewingState, refusals=(404,)),
    summary="End a viewing",
)
async def end(viewing_id: str, request: Request) -> Response:
    """Its token opens nothing any more, from now on or, at other replicas, within two seconds."""
    return reply(await _opening(request).end(viewing_id, client_of(request)))


def _opening(request: Request) -> Opening:
    return cast("Opening", request.app.state.opening)
