"""The face for other gateways: their question, our nodes' results, each with our mark; FHIR resources as
our nodes sent them, or the studies that our archives have."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from adapters import PeerAnswer, PeerQuestion
from adapters.peer import PeerRead, PeerResources, PeerSearch, PeerStudies, PeerStudiesAsked
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
    return _signed(body, signed)


@router.post(
    "/resources",
    openapi_extra=describe(PeerSearch, PeerResources, refusals=(400, 403, 413, 415, 422)),
    summary="A FHIR search, for another gateway",
)
async def resources(request: Request) -> Response:
    """FHIR resources of one person at this gateway's nodes, as the nodes sent them, with the state of every
    node.

    The answer is signed over its bytes and the question (RFC 9421).
    """
    client = client_of(request)
    raw = await body_of(request)
    return _signed(*await request.app.state.peers.search(decode(raw, PeerSearch), raw, client))


@router.post(
    "/resources/read",
    openapi_extra=describe(PeerRead, PeerResources, refusals=(400, 403, 413, 415, 422)),
    summary="One FHIR resource, for another gateway",
)
async def resource(request: Request) -> Response:
    """A FHIR resource at one of this gateway's nodes, and whose it is; none where that cannot be known.

    The answer is signed over its bytes and the question (RFC 9421).
    """
    client = client_of(request)
    raw = await body_of(request)
    return _signed(*await request.app.state.peers.read(decode(raw, PeerRead), raw, client))


@router.post(
    "/studies",
    openapi_extra=describe(PeerStudiesAsked, PeerStudies, refusals=(400, 403, 413, 415, 422)),
    summary="A person's imaging studies, for another gateway",
)
async def studies(request: Request) -> Response:
    """The studies of one person at this gateway's archives, with the state of every node, and the token of a
    viewing by which the asking gateway gets their images: `/dicomweb/nodes/<node>/studies/…`.

    The answer is signed over its bytes and the question (RFC 9421).
    """
    client = client_of(request)
    raw = await body_of(request)
    return _signed(*await request.app.state.giving.studies(decode(raw, PeerStudiesAsked), raw, client))


def _signed(body: bytes, signed: dict[str, str]) -> Response:
    return Response(body, media_type=JSON, headers={"Cache-Control": "no-store", **signed})
