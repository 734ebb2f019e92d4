"""For the operator and the orchestrator: alive, ready, metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from adapters import StoreError
from gateway.faces.common import gateway_of, reply
from gateway.faces.describe import describe

router = APIRouter(tags=["operations"])


@router.get("/health/live", openapi_extra=describe(token=False), summary="The process answers")
async def live() -> Response:
    """200 while the process serves requests at all."""
    return reply({"status": "ok"})


@router.get("/health/ready", openapi_extra=describe(token=False), summary="Checks can be answered")
async def ready(request: Request) -> Response:
    """200 when evidence can be kept; missing key lists are named and do not make the gateway unready."""
    gateway = gateway_of(request)
    try:
        await gateway.store.ping()
    except StoreError:
        return reply({"status": "store unavailable"}, status=503)
    return reply(
        {
            "status": "ok",
            "catalogue": gateway.rules.catalogue.version,
            "illustrative": gateway.rules.catalogue.illustrative,
            "key_lists_missing": gateway.trust.missing,
        }
    )


@router.get(
    "/metrics", openapi_extra=describe(media_type="text/plain", token=False), summary="Prometheus metrics"
)
async def metrics(request: Request) -> Response:
    """The exposition text; labels hold nothing about a person."""
    gateway = gateway_of(request)
    gateway.metrics.log_size.set((await gateway.store.head()).size)
    return Response(gateway.metrics.render(), media_type="text/plain; version=0.0.4")
