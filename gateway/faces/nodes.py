"""The face of operators for nodes: how each is set, and how it stands with it at this replica."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from msgspec import Struct
from starlette.responses import Response

from adapters import Report
from gateway.broker import LaneState
from gateway.faces.common import client_of, gateway_of, reply
from gateway.faces.describe import describe
from gateway.nodes import Standing

router = APIRouter(prefix="/api/v1", tags=["operations"])


class NodeOut(Struct, frozen=True, kw_only=True):
    """A node. ``set_at``: when its settings were given at run time; none where the file has them.
    ``refused``: why it cannot be asked. ``breaker`` and what follows are of this replica; ``last`` is what it
    reported when it was asked last."""

    settings: dict[str, Any]
    set_at: datetime | None
    refused: str
    breaker: str = "closed"
    failures: int = 0
    tried_again_in_s: float = 0.0
    in_flight: int = 0
    waiting: int = 0
    last: Report | None = None
    last_at: datetime | None = None


class NodesOut(Struct, frozen=True):
    """The nodes in their order; ``broken``: the change behind which none counts, mostly empty."""

    nodes: list[NodeOut]
    broken: str


@router.get(
    "/nodes",
    openapi_extra=describe(None, NodesOut, refusals=(403,)),
    summary="The nodes, and how it stands with each",
)
async def nodes(request: Request) -> Response:
    """Settings name files of credentials and hold none. For operators."""
    client_of(request).require("operator")
    gateway = gateway_of(request)
    states = {state.node: state for state in gateway.broker.states()}
    told = [_told(one, states.get(one.settings.id)) for one in gateway.nodes.standing()]
    return reply(NodesOut(told, gateway.nodes.broken))


def _told(standing: Standing, state: LaneState | None) -> NodeOut:
    settings = standing.settings.model_dump(mode="json")
    if state is None:
        return NodeOut(settings=settings, set_at=standing.at, refused=standing.refused)
    return NodeOut(
        settings=settings,
        set_at=standing.at,
        refused=standing.refused,
        breaker=state.breaker,
        failures=state.failures,
        tried_again_in_s=round(state.rests_s, 1),
        in_flight=state.in_flight,
        waiting=state.waiting,
        last=state.last,
        last_at=datetime.fromtimestamp(state.last_at, UTC) if state.last_at else None,
    )
