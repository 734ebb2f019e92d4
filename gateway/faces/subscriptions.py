"""Subscription in the FHIR face: made, read, searched, changed and ended by the system it is for."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.faces._parameters import from_query, lenient
from gateway.faces.common import FHIR_JSON, JSON, body_of, client_of, gateway_of, reply
from gateway.faces.describe import describe
from gateway.subscriptions import TOPICS, Subscriptions
from gateway.subscriptions.resource import BACKPORT, shown, status
from gateway.subscriptions.values import Kept, State

router = APIRouter(prefix="/fhir/Subscription", tags=["fhir"])
OFFERED = {"status": "text", "criteria": "text"}
_STATUS = "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-status"
_WRITING = (400, 404, 413, 415, 422)


def capability() -> dict[str, Any]:
    """What the CapabilityStatement says of it."""
    topic = f"{BACKPORT}/capabilitystatement-subscriptiontopic-canonical"
    return {
        "type": "Subscription",
        "extension": [{"url": topic, "valueCanonical": one} for one in TOPICS],
        "interaction": [{"code": code} for code in ("create", "read", "update", "delete", "search-type")],
        "searchParam": [{"name": "status", "type": "token"}, {"name": "criteria", "type": "string"}],
        "operation": [{"name": "status", "definition": _STATUS}],
    }


def subscriptions_of(request: Request) -> Subscriptions:
    """The subscriptions of the running gateway."""
    return cast("Subscriptions", request.app.state.subscriptions)


_CREATED = describe(dict, media_type=FHIR_JSON, refusals=_WRITING)
_CREATED["x-responses"]["201"] = _CREATED["x-responses"].pop("200")


@router.post("", openapi_extra=_CREATED, summary="Subscribe to a topic")
async def create(request: Request) -> Response:
    """A Subscription by the R5 backport: a topic as criteria, rest-hook, payload id-only or empty."""
    client = client_of(request)
    subscriptions = subscriptions_of(request)
    kept = await subscriptions.create(await body_of(request, FHIR_JSON, JSON), client)
    location = f"{gateway_of(request).settings.base_url}/fhir/Subscription/{kept.id}"
    return _reply(kept, State.new(kept), 201, {"Location": location})


@router.get(
    "",
    openapi_extra=describe(media_type=FHIR_JSON, refusals=(400, 403))
    | {
        "parameters": [
            {"name": name, "in": "query", "schema": {"type": "string"}, "description": words}
            for name, words in (("status", "requested, active, error or off"), ("criteria", "a topic"))
        ]
    },
    summary="The subscriptions of this system",
)
async def search(request: Request) -> Response:
    """Its own alone."""
    client = client_of(request)
    asked = from_query(request.scope["query_string"], OFFERED, ignore=lenient(request.scope))
    states, topics = ({*asked.text(name).split(",")} - {""} for name in OFFERED)
    found = [
        (kept, state)
        for kept, state in await subscriptions_of(request).of_client(client)
        if (not states or state.status in states) and (not topics or kept.topic in topics)
    ]
    base = f"{gateway_of(request).settings.base_url}/fhir/Subscription"
    entries = [
        {"fullUrl": f"{base}/{kept.id}", "resource": shown(kept, state), "search": {"mode": "match"}}
        for kept, state in found
    ]
    return reply(_searchset(entries), media_type=FHIR_JSON)


@router.get(
    "/{subscription_id}",
    openapi_extra=describe(media_type=FHIR_JSON, refusals=(403, 404)),
    summary="Read a subscription",
)
async def read(subscription_id: str, request: Request) -> Response:
    """With the status that it has by now, and what went wrong."""
    return _reply(*await subscriptions_of(request).read(subscription_id, client_of(request)))


@router.put(
    "/{subscription_id}",
    openapi_extra=describe(dict, media_type=FHIR_JSON, refusals=_WRITING),
    summary="Change a subscription",
)
async def update(subscription_id: str, request: Request) -> Response:
    """Status ``off`` ends it for now, ``requested`` begins it again. No event is lost."""
    client = client_of(request)
    subscriptions = subscriptions_of(request)
    await subscriptions.update(subscription_id, await body_of(request, FHIR_JSON, JSON), client)
    return _reply(*await subscriptions.read(subscription_id, client))


_DELETED = describe(media_type=FHIR_JSON, refusals=(403, 404))
_DELETED["x-responses"]["204"] = {"description": "It is gone"}
del _DELETED["x-responses"]["200"]


@router.delete("/{subscription_id}", openapi_extra=_DELETED, summary="End a subscription")
async def delete(subscription_id: str, request: Request) -> Response:
    """What was not delivered yet is dropped."""
    await subscriptions_of(request).delete(subscription_id, client_of(request))
    return Response(status_code=204)


@router.get(
    "/{subscription_id}/$status",
    openapi_extra=describe(media_type=FHIR_JSON, refusals=(403, 404)),
    summary="How far a subscription came",
)
async def status_of(subscription_id: str, request: Request) -> Response:
    """A searchset with its SubscriptionStatus, which is Parameters in R4."""
    kept, state = await subscriptions_of(request).read(subscription_id, client_of(request))
    told = status(kept, state, "query-status", gateway_of(request).settings.base_url)
    entry = {"fullUrl": f"urn:uuid:{told['id']}", "resource": told, "search": {"mode": "match"}}
    return reply(_searchset([entry]), media_type=FHIR_JSON)


def _searchset(entries: list[dict[str, Any]]) -> dict[str, Any]:
    bundle = {"resourceType": "Bundle", "type": "searchset", "total": len(entries)}
    return bundle | ({"entry": entries} if entries else {})


def _reply(kept: Kept, state: State, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    tags = {"ETag": f'W/"{kept.version}"', "Cache-Control": "no-store"}
    body = msgspec.json.encode(shown(kept, state))
    return Response(body, status, tags | (headers or {}), FHIR_JSON)
