"""The face of operators: what ``lianren doctor`` finds, asked for from elsewhere."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from msgspec import Struct
from starlette.responses import Response

from gateway.doctor import Finding, examine
from gateway.faces.common import client_of, gateway_of, reply
from gateway.faces.describe import describe

router = APIRouter(prefix="/api/v1", tags=["operations"])


class DoctorOut(Struct, frozen=True):
    """``ok`` where every finding is."""

    ok: bool
    findings: list[Finding]


@router.get(
    "/doctor", openapi_extra=describe(None, DoctorOut), summary="What is configured, reachable, expiring"
)
async def doctor(request: Request) -> Response:
    """Catalogues, keys, store, disk, Redis, clients, pins and nodes, each looked at now. For operators."""
    client_of(request).require("operator")
    gateway = gateway_of(request)
    settings, states = gateway.settings, gateway.broker.states()
    # It opens keys, which is slow on purpose: in a thread, so that no check waits for it.
    findings = await asyncio.to_thread(lambda: asyncio.run(examine(settings, states)))
    return reply(DoctorOut(all(finding.ok for finding in findings), findings))
