"""The face of the witness (C2SP tlog-witness), the cosigned checkpoint, and conflicts on record."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from gateway.errors import NotFound
from gateway.faces.common import body_of, client_of, gateway_of, reply
from gateway.faces.describe import describe
from gateway.witness.cosigning import Conflicts, status_of
from gateway.witness.witnessing import newest_cosigned
from security.errors import WitnessRefused

router = APIRouter(tags=["ledger"])
TEXT = "text/plain"


@router.post(
    "/witness/add-checkpoint",
    openapi_extra=describe(
        str,
        media_type=TEXT,
        refusals=(400, 403, 404, 409, 413, 415, 422),
        refused=(TEXT, "text/x.tlog.size"),
        token=False,
    ),
    summary="Cosign a checkpoint of another gateway's ledger",
)
async def add_checkpoint(request: Request) -> Response:
    """The body is the old size, a consistency proof and the signed checkpoint; the answer signature lines.

    409 says the size of the newest checkpoint that was cosigned here. The log's signature on the checkpoint
    is what authenticates the request.
    """
    body = await body_of(request, TEXT, "application/octet-stream", "")
    try:
        lines = await gateway_of(request).cosigner.add(body)
    except WitnessRefused as refused:
        status, media_type, text = status_of(refused)
        return Response(text, status, media_type=media_type)
    return PlainTextResponse(lines)


@router.get(
    "/witness/{log}/checkpoint",
    openapi_extra=describe(media_type=TEXT, refusals=(404,), token=False),
    summary="The newest checkpoint of a log that was cosigned here",
)
async def witnessed(log: str, request: Request) -> Response:
    """``log`` is the SHA-256 of the log's origin in hexadecimal. A log that lost entries learns it here."""
    if (note := await gateway_of(request).cosigner.newest(log)) is None:
        raise NotFound("no checkpoint of this log was cosigned here")
    return PlainTextResponse(note, headers={"Cache-Control": "no-cache"})


@router.get(
    "/ledger/checkpoint/cosigned",
    openapi_extra=describe(media_type=TEXT, refusals=(404,), token=False),
    summary="The newest checkpoint that a quorum of gateways signed",
)
async def cosigned(request: Request) -> Response:
    """C2SP tlog-checkpoint with cosignatures; it may lie behind the newest checkpoint."""
    if (note := await newest_cosigned(gateway_of(request).store)) is None:
        raise NotFound("no checkpoint has been signed by a quorum yet")
    return PlainTextResponse(note, headers={"Cache-Control": "no-cache"})


@router.get(
    "/api/v1/conflicts",
    openapi_extra=describe(answer=Conflicts, refusals=(403,)),
    summary="Checkpoints that contradict each other",
)
async def conflicts(request: Request) -> Response:
    """Two notes of one size each, both signed by one log: the evidence of its misbehaviour."""
    client_of(request).require("operator")
    return reply(await gateway_of(request).cosigner.conflicts())
