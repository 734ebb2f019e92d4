"""The face of stewards: the review queue, confirmations, confirmed mappings, and taking them back."""

from __future__ import annotations

import re
from typing import Any, cast

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.errors import BadRequest
from gateway.faces.common import client_of, read, reply
from gateway.faces.describe import describe
from gateway.steward_values import (
    ConfirmIn,
    EntryOut,
    ErasedOut,
    MappingOut,
    MappingsOut,
    ProposalsOut,
    QueueOut,
    RevocationOut,
    RevokeIn,
)
from gateway.stewarding import Stewarding

LARGEST = 500
_TEXT = {"type": "string", "maxLength": 200}
_SITE = {"name": "site", "in": "query", "description": "institution; all if left out", "schema": _TEXT}
_REASON = {
    "name": "reason",
    "in": "query",
    "description": "why there is no item; all if left out",
    "schema": _TEXT,
}
_PAGE = [
    {
        "name": "limit",
        "in": "query",
        "description": "entries of a page",
        "schema": {"type": "integer", "minimum": 1, "maximum": LARGEST, "default": 50},
    },
    {"name": "after", "in": "query", "description": "next of the page before", "schema": _TEXT},
]
_REFUSALS = (400, 403, 404, 413, 415, 422)

router = APIRouter(prefix="/api/v1", tags=["names"])


@router.get(
    "/review",
    openapi_extra=describe(None, QueueOut, refusals=(403, 422)) | {"parameters": [_SITE, _REASON, *_PAGE]},
    summary="Names that no item was found for",
)
async def queue(request: Request) -> Response:
    """By site, reason and unexplained token, those of the most messages first."""
    site, reason, after, limit = _query(request, "site", "reason")
    return reply(await _stewarding(request).queue(client_of(request), site, reason, limit, after))


@router.get(
    "/review/proposals",
    openapi_extra=describe(None, ProposalsOut, refusals=(403,)),
    summary="Words that three sites have confirmed alike",
)
async def proposals(request: Request) -> Response:
    """Each with the row of its table as it would be, and what it would change of what was confirmed."""
    return reply(await _stewarding(request).proposals(client_of(request)))


@router.get(
    "/review/{review_id}",
    openapi_extra=describe(None, EntryOut, refusals=(403, 404)),
    summary="One name, and what it may mean",
)
async def entry(review_id: str, request: Request) -> Response:
    """The name as it is read now, and items with names like it, with what confirming each would decide."""
    return reply(await _stewarding(request).entry(client_of(request), review_id))


@router.delete(
    "/review/{review_id}",
    openapi_extra=describe(None, ErasedOut, refusals=(403,)),
    summary="Erase a name from the queue",
)
async def erase(review_id: str, request: Request) -> Response:
    """For what should not stand there. The name comes back when it is met again; a mapping stays."""
    return reply(await _stewarding(request).erase(client_of(request), review_id))


@router.post(
    "/review/{review_id}/confirmations",
    openapi_extra=describe(ConfirmIn, MappingOut, refusals=_REFUSALS),
    summary="Confirm what a name means",
)
async def confirm(review_id: str, request: Request) -> Response:
    """In force at once, or when another person has confirmed the same: that is so where it decides a side, a
    method, a specimen or a scale that the name does not say."""
    client = client_of(request)
    return reply(await _stewarding(request).confirm(client, review_id, await read(request, ConfirmIn)))


@router.get(
    "/mappings",
    openapi_extra=describe(None, MappingsOut, refusals=(403, 422)) | {"parameters": [_SITE, *_PAGE]},
    summary="Confirmed mappings",
)
async def mappings(request: Request) -> Response:
    """In force, revoked, and waiting for another person; each with who confirmed it, when, in which words."""
    site, after, limit = _query(request, "site")
    return reply(_stewarding(request).mappings(client_of(request), site, limit, after))


@router.get(
    "/mappings/{mapping_id}/decisions",
    openapi_extra=describe(None, RevocationOut, refusals=(403, 404, 422)) | {"parameters": _PAGE},
    summary="Decisions that rested on a mapping",
)
async def decisions(mapping_id: str, request: Request) -> Response:
    """In the order of time, by the ids of their checks."""
    after, limit = _query(request)
    return reply(await _stewarding(request).decisions(client_of(request), mapping_id, limit, after))


@router.post(
    "/mappings/{mapping_id}/revocations",
    openapi_extra=describe(RevokeIn, RevocationOut, refusals=_REFUSALS),
    summary="Take a confirmed mapping back",
)
async def revoke(mapping_id: str, request: Request) -> Response:
    """One person is enough. The answer begins to list the decisions that rested on it."""
    client = client_of(request)
    return reply(
        await _stewarding(request).revoke(client, mapping_id, await read(request, RevokeIn), LARGEST)
    )


def _stewarding(request: Request) -> Stewarding:
    return cast("Stewarding", request.app.state.stewarding)


def _query(request: Request, *texts: str) -> Any:
    """The named texts, then ``after``, then ``limit``. Raises BadRequest."""
    given, known = request.query_params, (*texts, "after", "limit")
    for name in given:
        if name not in known:
            raise BadRequest(f"is no parameter; they are {', '.join(known)}", field=name[:64])
        if len(given.getlist(name)) > 1 or len(given[name]) > 200:
            raise BadRequest("is there twice, or too long; send it once", field=name)
    limit = given.get("limit", "50")
    if not re.fullmatch(r"[0-9]{1,3}", limit) or not 1 <= int(limit) <= LARGEST:
        raise BadRequest(f"must be a whole number from 1 to {LARGEST}", field="limit")
    return (*(given.get(name, "") for name in (*texts, "after")), int(limit))
