"""For the operator and the orchestrator: alive, ready, metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.faces.common import gateway_of, reply
from gateway.faces.describe import describe

router = APIRouter(tags=["operations"])


@router.get("/health/live", openapi_extra=describe(token=False), summary="The process answers")
async def live() -> Response:
    """200 while the process serves requests at all."""
    return reply({"status": "ok"})


@router.get("/health/ready", openapi_extra=describe(token=False), summary="Checks can be answered")
async def ready(request: Request) -> Response:
    """200 when evidence can be kept, else 503; what will stop it soon, or counts for less, is a warning."""
    if request.app.state.flow.stopping:
        told_to = "this process was told to stop; it answers what it has taken in"
        return reply({"status": "not ready", "reasons": [told_to], "warnings": []}, status=503)
    gateway = gateway_of(request)
    findings = await gateway.readiness.findings()
    told = {level: [one.detail for one in findings if one.level == level] for level in ("fail", "warn")}
    if told["fail"]:
        return reply({"status": "not ready", "reasons": told["fail"], "warnings": told["warn"]}, status=503)
    return reply(
        {
            "status": "ok",
            "catalogue": gateway.rules.catalogue.version,
            "illustrative": gateway.rules.catalogue.illustrative,
            "key_lists_missing": gateway.trust.missing,
            "warnings": told["warn"],
        }
    )


@router.get(
    "/metrics", openapi_extra=describe(media_type="text/plain", token=False), summary="Prometheus metrics"
)
async def metrics(request: Request) -> Response:
    """The exposition text; labels hold nothing about a person."""
    gateway = gateway_of(request)
    if not any(one.part == "store" for one in await gateway.readiness.findings()):
        gateway.metrics.log_size.set((await gateway.store.head()).size)
    return Response(gateway.metrics.render(), media_type="text/plain; version=0.0.4")
