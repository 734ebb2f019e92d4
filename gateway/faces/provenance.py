"""Provenance in the FHIR face: read by the id of a mark, searched by the record that was marked."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from msgspec import Raw
from starlette.responses import Response

from gateway.errors import BadParameter
from gateway.faces._parameters import form_of, sought
from gateway.faces.common import FHIR_JSON, client_of, gateway_of, reply
from gateway.faces.describe import describe
from gateway.marks.provenance import Provenances
from gateway.marks.service import Marks

router = APIRouter(prefix="/fhir", tags=["fhir"])
OFFERED = {"target": "text"}
_TARGET = {
    "name": "target",
    "in": "query",
    "required": True,
    "description": "the record that was marked, as the hospital's server names it: Observation/1",
    "schema": {"type": "string"},
}


def capability() -> dict[str, Any]:
    """What the CapabilityStatement says of it."""
    return {
        "type": "Provenance",
        "interaction": [{"code": "read"}, {"code": "search-type"}],
        "searchParam": [{"name": "target", "type": "reference"}],
    }


@router.get(
    "/Provenance/{mark_id}",
    openapi_extra=describe(media_type=FHIR_JSON, refusals=(403, 404)),
    summary="The signed Provenance of a mark",
)
async def read(mark_id: str, request: Request) -> Response:
    """The marked result and a detached JWS over it, for auditors and the institution that examined."""
    resource = await _provenances(request).read(mark_id, client_of(request))
    return reply(Raw(resource), media_type=FHIR_JSON)


@router.get(
    "/Provenance",
    openapi_extra=describe(media_type=FHIR_JSON, refusals=(400, 403)) | {"parameters": [_TARGET]},
    summary="Provenances of a record",
)
@router.post(
    "/Provenance/_search",
    openapi_extra=describe(media_type=FHIR_JSON, refusals=(400, 403, 413, 415)) | form_of([_TARGET]),
    summary="Provenances of a record, by a form",
)
async def search(request: Request) -> Response:
    """``?target=Observation/1``: those of the marks that were issued for this record."""
    client = client_of(request)
    asked = await sought(request, OFFERED)
    if not (target := asked.text("target")):
        raise BadParameter("is missing; name the record that was marked", field="target")
    found = await _provenances(request).of_record(target, client)
    base = f"{gateway_of(request).settings.base_url}/fhir/Provenance"
    bundle: dict[str, Any] = {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": len(found),
        "link": [{"relation": "self", "url": f"{base}?{urlencode({'target': target})}"}],
    }
    if found:  # a list that is empty is no FHIR
        bundle["entry"] = [
            {"fullUrl": f"{base}/{id_}", "resource": Raw(resource), "search": {"mode": "match"}}
            for id_, resource in found
        ]
    return reply(bundle, media_type=FHIR_JSON)


def _provenances(request: Request) -> Provenances:
    gateway = gateway_of(request)
    return Provenances(gateway, Marks(gateway))
