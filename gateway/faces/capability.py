"""What this server offers (FHIR R4 4.0.1, http.html#capabilities), put together from what each face says.

``GET /fhir/metadata`` needs no token. The statement is made once and told with its tag, so that a client
which has it is answered 304. ``mode=terminology`` gives TerminologyCapabilities.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from msgspec import Struct
from starlette.responses import Response

from catalog.fhir import BASE
from gateway.errors import BadParameter
from gateway.faces import (
    audit_events,
    consent_fhir,
    directory,
    export,
    fhir,
    provenance,
    resources,
    search,
    subscriptions,
    terminology,
)
from gateway.faces._parameters import from_query
from gateway.faces._terminology import Terminologies
from gateway.faces.common import FHIR_JSON
from gateway.faces.describe import describe
from gateway.wiring import Gateway

router = APIRouter(prefix="/fhir", tags=["fhir"])
PUBLISHED = "2026-11-22"
"""When what is offered last changed."""
REQUIREMENTS = f"{BASE}/CapabilityStatement/lianren"
GUIDE = f"{BASE}/ImplementationGuide/lianren"
OFFERED = {"mode": "text", "_summary": "text"}
_MANDATORY = frozenset({"resourceType", "status", "date", "kind", "fhirVersion", "format"})
_Resource = dict[str, Any]
_SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}


def offered() -> list[_Resource]:
    """What is offered, as CapabilityStatement.rest.resource has it, by type; the operations of the whole
    system stand under no type."""
    return merged(
        [
            *fhir.capabilities(),
            *search.capabilities(),
            *resources.capabilities(),
            *directory.capabilities(),
            *terminology.capabilities(),
            consent_fhir.capability(),
            provenance.capability(),
            audit_events.capability(),
            subscriptions.capability(),
        ]
    )


def merged(told: Iterable[_Resource]) -> list[_Resource]:
    """One entry a type, in their order: lists put together, each name once, and what else is said, once."""
    types: dict[str, _Resource] = {}
    for entry in told:
        held = types.setdefault(entry["type"], {})
        for name, value in entry.items():
            if isinstance(value, list):
                held[name] = list({_name(one): one for one in (*held.get(name, ()), *value)}.values())
            elif held.setdefault(name, value) != value:
                raise AssertionError(f"two faces say otherwise of {entry['type']}.{name}")
    return [types[type_] for type_ in sorted(types)]


def rest(security: _Resource) -> _Resource:
    """CapabilityStatement.rest."""
    return {
        "mode": "server",
        "security": security,
        "resource": offered(),
        "interaction": [{"code": code} for code in resources.SYSTEM],
        "operation": [export.capability()],
    }


def statement(gateway: Gateway, version: str) -> _Resource:
    """The CapabilityStatement of a running gateway, of a version of this program."""
    settings = gateway.settings
    return {
        "resourceType": "CapabilityStatement",
        "name": "LianrenGateway",
        "status": "active",
        "date": PUBLISHED,
        "kind": "instance",
        "instantiates": [REQUIREMENTS],
        "software": {"name": "Lianren", "version": version},
        "implementation": {"description": settings.name, "url": f"{settings.base_url}/fhir"},
        "fhirVersion": "4.0.1",
        "format": [FHIR_JSON, "json"],
        "implementationGuide": [GUIDE],
        "rest": [rest(_security(gateway.clients.tokens.endpoint))],
    }


def _security(endpoint: str) -> _Resource:
    """SMART Backend Services, and where its token endpoint is (SMART App Launch 2, conformance)."""
    services = "http://terminology.hl7.org/CodeSystem/restful-security-service"
    uris = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
    return {
        "extension": [{"url": uris, "extension": [{"url": "token", "valueUri": endpoint}]}],
        "cors": False,
        "service": [{"coding": [{"system": services, "code": "SMART-on-FHIR"}]}],
        "description": "SMART Backend Services with system scopes; or a fixed token over mutual TLS",
    }


def _name(entry: Any) -> str:
    """By what an entry of a list is known: its code, its name, or all of it."""
    return str(entry.get("code") or entry.get("name") or entry) if isinstance(entry, dict) else str(entry)


class _Told(Struct, frozen=True):
    body: bytes
    tag: str


class Capabilities:
    """The statements of a running gateway, each made once; ``version`` is that of this program."""

    def __init__(self, gateway: Gateway, terminologies: Terminologies, version: str) -> None:
        self._gateway = gateway
        self._terminologies = terminologies
        self._version = version
        self._told: dict[tuple[str, str, str], _Told] = {}

    def told(self, mode: str, summary: str) -> _Told:
        """The statement for a mode, as much of it as is wanted. Raises BadParameter."""
        if mode not in ("full", "normative", "terminology"):
            raise BadParameter("must be full, normative or terminology", field="mode")
        if summary not in ("true", "false", "text", "data"):
            raise BadParameter("must be true, false, text or data", field="_summary")
        now = self._terminologies.now() if mode == "terminology" else None
        key = (mode, summary, now.version if now else "")
        kept = self._told.get(key)
        if kept is None:
            whole = statement(self._gateway, self._version)
            if now:
                whole = terminology.statement(now, whole)
            body = msgspec.json.encode(_summarised(whole, summary))
            kept = self._told[key] = _Told(body, f'W/"{hashlib.sha256(body).hexdigest()[:32]}"')
        return kept


def _summarised(resource: _Resource, summary: str) -> _Resource:
    if summary in ("false", "data"):
        return resource
    kept = {name: value for name, value in resource.items() if summary == "true" or name in _MANDATORY}
    if "rest" in kept:
        kept["rest"] = [_in_short(one) for one in kept["rest"]]
    return {"resourceType": kept.pop("resourceType"), "meta": {"tag": [_SUBSETTED]}, **kept}


def _in_short(told: _Resource) -> _Resource:
    """CapabilityStatement.rest without interactions and search parameters, which are no summary elements."""
    listed = [{name: one[name] for name in ("type", "operation") if name in one} for one in told["resource"]]
    return {name: value for name, value in told.items() if name != "interaction"} | {"resource": listed}


@router.get(
    "/metadata",
    openapi_extra=describe(media_type=FHIR_JSON, token=False, refusals=(400,)),
    summary="CapabilityStatement",
)
async def metadata(request: Request) -> Response:
    """What this server offers: no more than works."""
    asked = from_query(request.scope["query_string"], OFFERED, ignore=True)
    capabilities: Capabilities = request.app.state.capabilities
    told = capabilities.told(asked.text("mode") or "full", asked.text("_summary") or "false")
    headers = {"ETag": told.tag, "Cache-Control": "no-cache"}
    if told.tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(told.body, headers=headers, media_type=FHIR_JSON)
