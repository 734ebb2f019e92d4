"""The face of marks: their state and the status list for everybody, withdrawing and printing for who may.

What stands below ``/trust`` names no person and no result, so it needs no token; anybody may keep it.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from gateway.errors import BadRequest
from gateway.faces.common import client_of, gateway_of, read, reply
from gateway.faces.describe import CALLER, describe
from gateway.marks.printing import label, picture
from gateway.marks.service import READERS, Marks
from gateway.model import MarkStatusOut, NoticesOut, WithdrawalIn, WithdrawalOut
from security import status as status_lists
from security.mark import Mark

router = APIRouter(tags=["marks"])
CACHED = {"Cache-Control": "public, max-age=60"}
PRIVATE = {"Cache-Control": "no-store"}
READING = (403, 404)
SINCE = (("since", "number after which withdrawals are asked for; 0 for all"),)


@router.get(
    "/trust/status",
    openapi_extra=describe(media_type=status_lists.MEDIA_TYPE, token=False),
    summary="The signed list of withdrawn marks",
)
async def status_list(request: Request) -> Response:
    """A COSE_Sign1 with every withdrawn mark that has not expired: to keep, and to check marks by offline."""
    tag, body = await gateway_of(request).withdrawals.status_list(datetime.now(UTC))
    headers = CACHED | {"ETag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=status_lists.MEDIA_TYPE, headers=headers)


@router.get(
    "/trust/marks/{mark_id}",
    openapi_extra=describe(None, MarkStatusOut, refusals=(404,), token=False),
    summary="Whether a mark counts",
)
async def mark_status(mark_id: str, request: Request) -> Response:
    """Valid, withdrawn with the reason, or expired; of marks that this gateway issued."""
    return reply(await marks_of(request).status(mark_id, datetime.now(UTC)), headers=CACHED)


@router.post(
    "/api/v1/marks/{mark_id}/withdrawal",
    openapi_extra=describe(WithdrawalIn, WithdrawalOut, refusals=[s for s in CALLER if s != 409]),
    summary="Withdraw a mark",
)
async def withdraw(mark_id: str, request: Request) -> Response:
    """By a steward, or the institution that examined; it holds in the next check, everywhere."""
    client = client_of(request)
    return reply(await marks_of(request).withdraw(mark_id, await read(request, WithdrawalIn), client))


@router.get(
    "/api/v1/withdrawals",
    openapi_extra=describe(None, NoticesOut, refusals=(403, 422), query=SINCE),
    summary="Withdrawn marks that own checks recognised",
)
async def withdrawals(request: Request) -> Response:
    """Marks of any gateway, withdrawn since, that this institution's checks recognised."""
    client = client_of(request)
    text = request.query_params.get("since", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise BadRequest("must be a whole number", field="since")
    return reply(await marks_of(request).notices(int(text), client))


@router.get(
    "/api/v1/marks/{mark_id}/proof",
    openapi_extra=describe(media_type="text/plain", refusals=READING),
    summary="Proof that the ledger holds a mark",
)
async def proof(mark_id: str, request: Request) -> Response:
    """C2SP tlog-proof: entry, inclusion proof and signed checkpoint in one file, to be verified offline."""
    return PlainTextResponse(await marks_of(request).proof(mark_id, client_of(request)), headers=PRIVATE)


@router.get(
    "/api/v1/marks/{mark_id}.svg",
    openapi_extra=describe(media_type="image/svg+xml", refusals=READING),
    summary="A mark as a label to print",
)
async def svg(mark_id: str, request: Request) -> Response:
    """QR code, printed form, item and institution, 90 mm wide."""
    mark, catalogue = await _mark(mark_id, request), gateway_of(request).rules.catalogue
    item = catalogue.items.get(mark.claims.item)
    institution = catalogue.institutions.get(mark.claims.institution)
    names = (item.name if item else "", institution.name if institution else "")
    body = await asyncio.to_thread(label, mark, *names)  # takes 10 ms, as the picture does
    return Response(body, media_type="image/svg+xml", headers=PRIVATE)


@router.get(
    "/api/v1/marks/{mark_id}.png",
    openapi_extra=describe(media_type="image/png", refusals=READING),
    summary="The QR code of a mark",
)
async def png(mark_id: str, request: Request) -> Response:
    """The code alone, about 32 mm square at the resolution that the file states."""
    body = await asyncio.to_thread(picture, await _mark(mark_id, request))
    return Response(body, media_type="image/png", headers=PRIVATE)


def marks_of(request: Request) -> Marks:
    """What answers about marks."""
    return Marks(gateway_of(request))


async def _mark(mark_id: str, request: Request) -> Mark:
    client_of(request).require(*READERS)
    return await marks_of(request).mark(mark_id)
