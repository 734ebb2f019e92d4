"""What was published, is in force and will be, for every client: a hospital plans its change-over by it."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter, Request
from msgspec import Struct
from starlette.responses import Response

from gateway.faces.common import client_of, gateway_of, reply
from gateway.faces.describe import describe
from gateway.rules import EditionState

router = APIRouter(prefix="/api/v1", tags=["catalogues"])


class CataloguesOut(Struct, frozen=True):
    """``version`` is what answers carry now; ``refused`` the editions that this gateway does not take."""

    at: datetime
    version: str
    editions: tuple[EditionState, ...]
    refused: tuple[str, ...]


@router.get(
    "/catalogues",
    openapi_extra=describe(None, CataloguesOut),
    summary="Editions of the catalogue and their states",
)
async def catalogues(request: Request) -> Response:
    """Every published edition: announced, in force, overlapping or superseded, from when, until when."""
    client_of(request)
    gateway, now = gateway_of(request), datetime.now(UTC)
    return reply(
        CataloguesOut(
            at=now,
            version=gateway.rules.catalogue.version,
            editions=gateway.catalogues.states(now),
            refused=tuple(sorted(gateway.catalogues.refused)),
        )
    )
