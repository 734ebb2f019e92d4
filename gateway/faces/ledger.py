"""The ledger and the trust list, for auditors, witnesses and other gateways: C2SP tlog-tiles and proofs.

Leaves hold commitments and codes only, so reading them needs no permission beyond reaching the gateway.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from gateway.errors import BadRequest, NotFound
from gateway.faces.common import gateway_of, reply
from gateway.faces.describe import describe
from security import tiles
from security.errors import LedgerRefused

router = APIRouter(tags=["ledger"])
PROOF_QUERY = (
    ("index", "index of the entry, for an inclusion proof"),
    ("old", "size of the older tree, for a consistency proof"),
    ("size", "size of the tree; the newest if left out"),
)
IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable"}


@router.get(
    "/ledger/checkpoint",
    openapi_extra=describe(media_type="text/plain", refusals=(404,), token=False),
    summary="The newest signed checkpoint",
)
async def checkpoint(request: Request) -> Response:
    """C2SP tlog-checkpoint, signed with Ed25519 and SM2."""
    note = await gateway_of(request).store.note()
    if note is None:
        raise NotFound("nothing has been recorded yet, so there is no checkpoint")
    return PlainTextResponse(note, headers={"Cache-Control": "no-cache"})


@router.get(
    "/ledger/proof",
    openapi_extra=describe(query=PROOF_QUERY, refusals=(422,), token=False),
    summary="Inclusion or consistency proof",
)
async def proof(request: Request) -> Response:
    """``?index=&size=`` gives an inclusion proof, ``?old=&size=`` a consistency proof (RFC 6962, 2.1)."""
    gateway = gateway_of(request)
    head = await gateway.store.head()
    given = {
        name: _number(request, name) for name in ("index", "old", "size") if name in request.query_params
    }
    size = given.get("size", head.size)
    if not 0 < size <= head.size:
        raise BadRequest(f"must be between 1 and the ledger's size {head.size}", field="size")
    if ("index" in given) == ("old" in given):
        raise BadRequest("send either index or old", field="index")
    name, bound = ("index", size - 1) if "index" in given else ("old", size)
    if given[name] > bound:
        raise BadRequest(f"must be at most {bound}", field=name)
    if name == "index":
        hashes = await gateway.sequencer.inclusion(given["index"], size)
    else:
        hashes = await gateway.sequencer.consistency(given["old"], size)
    return reply({name: given[name], "size": size, "hashes": [value.hex() for value in hashes]})


@router.get(
    "/ledger/tile/{path:path}",
    openapi_extra=describe(media_type="application/octet-stream", refusals=(404,), token=False),
    summary="A tile of hashes or a bundle of entries",
)
async def tile(path: str, request: Request) -> Response:
    """C2SP tlog-tiles: ``entries/<N>``, ``<L>/<N>``, partial ones with ``.p/<W>``; immutable once served."""
    gateway = gateway_of(request)
    try:
        level, index, width = tiles.parse_path(f"tile/{path}")
    except LedgerRefused as refused:
        raise NotFound(str(refused)) from None
    height = tiles.TILE_HEIGHT * (level or 0)
    first = index * tiles.TILE_WIDTH
    if (first + width) << height > (await gateway.store.head()).size:
        raise NotFound("the ledger does not reach this tile yet")
    if level is None:
        body = tiles.encode_entries(await gateway.store.entries(first, width))
    else:
        body = b"".join(await gateway.store.subtrees(height, index * tiles.TILE_WIDTH, width))
    return Response(body, media_type="application/octet-stream", headers=IMMUTABLE)


@router.get("/trust/keys", openapi_extra=describe(token=False), summary="The signed key list of this gateway")
async def keys(request: Request) -> Response:
    """Public keys of this gateway, signed by its roots, which others pin."""
    return Response(gateway_of(request).trust.envelope, media_type="application/json")


def _number(request: Request, name: str) -> int:
    text = request.query_params[name]
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise BadRequest("must be a whole number", field=name)
    return int(text)
