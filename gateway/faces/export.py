"""``$export`` of the system (HL7 Bulk Data Access 2): the asynchronous pattern, its manifest and its files.

The export is complete when it is accepted (:mod:`gateway.exporting`), so the first look at its status has the
manifest: no client ever waits for a 202 there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from gateway.errors import BadParameter
from gateway.exporting import TYPES, Cut, Exporting, File, ends
from gateway.faces._audit_resource import resource_of
from gateway.faces._parameters import Asked, from_body, from_query, lenient
from gateway.faces.common import FHIR_JSON, JSON, client_of, gateway_of, read, reply
from gateway.faces.describe import describe
from gateway.faces.fhir import parameters_of
from gateway.wiring import Gateway

router = APIRouter(prefix="/fhir", tags=["fhir"])
NDJSON = "application/fhir+ndjson"
OPERATION = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export"
OFFERED = {"_type": "texts", "_since": "text", "_outputFormat": "text"}
_MEANT = {
    "_type": f"of which types, with commas: {', '.join(TYPES)} (decisions); all of them unless given",
    "_since": "a moment: what was recorded then or later",
    "_outputFormat": NDJSON,
}
_EARLIEST, _LATEST = datetime(1970, 1, 2, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
"""Between these a time zone and clocks that differ can be reckoned with."""
_FORMATS = ("", NDJSON, "application/ndjson", "ndjson")


def _accepted(*refusals: int, body: type | None = None) -> dict[str, Any]:
    told = describe(body, media_type=FHIR_JSON, refusals=refusals)
    del told["x-responses"]["200"]
    told["x-responses"]["202"] = {"description": "Accepted; Content-Location says where it goes on"}
    return told


_BY_QUERY = _accepted(400) | {
    "parameters": [
        {"name": name, "in": "query", "description": words, "schema": {"type": "string"}}
        for name, words in _MEANT.items()
    ]
}


def capability() -> dict[str, Any]:
    """What the CapabilityStatement says of it, below ``rest.operation``."""
    return {"name": "export", "definition": OPERATION}


def exporting_of(request: Request) -> Exporting:
    """The exports of the running gateway."""
    return Exporting(gateway_of(request))


@router.get("/$export", openapi_extra=_BY_QUERY, summary="Export decisions and AuditEvents")
async def by_query(request: Request) -> Response:
    """For auditors, with ``Prefer: respond-async``. That it was asked for is recorded."""
    client_of(request)
    asked = from_query(request.scope["query_string"], OFFERED, ignore=lenient(request.scope))
    understood = [(name, text) for name, texts in asked.values.items() for text in texts]
    return await _begin(request, asked, f"?{urlencode(understood, safe=',:/')}" if understood else "")


@router.post(
    "/$export",
    openapi_extra=_accepted(400, 413, 415, 422, body=dict),
    summary="Export decisions and AuditEvents",
)
async def by_body(request: Request) -> Response:
    """The same with Parameters."""
    client_of(request)
    body = await read(request, dict[str, Any], FHIR_JSON, JSON)
    return await _begin(request, from_body(body, OFFERED, ignore=lenient(request.scope)), "")


async def _begin(request: Request, asked: Asked, query: str) -> Response:
    preferred = ",".join(request.headers.getlist("prefer"))
    if "respond-async" not in preferred.replace(" ", "").replace(";", ",").split(","):
        raise BadParameter("must be respond-async: an export is asynchronous", field="Prefer")
    if asked.text("_outputFormat") not in _FORMATS:
        raise BadParameter(f"only {NDJSON} is written here", field="_outputFormat")
    named = [one for text in asked.values.get("_type", ()) for one in text.split(",")]
    if unknown := {*named} - {*TYPES}:
        raise BadParameter(f"cannot be {min(unknown)[:64]}; offered are {', '.join(TYPES)}", field="_type")
    base = f"{gateway_of(request).settings.base_url}/fhir"
    types = [type_ for type_ in TYPES if type_ in named or not named]
    id_ = await exporting_of(request).begin(
        types, _moment(asked.text("_since")), f"{base}/$export{query}", client_of(request)
    )
    headers = {"Content-Location": f"{base}/_export/{id_}", "Cache-Control": "no-store"}
    return Response(status_code=202, headers=headers)


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return min(max(moment, _EARLIEST), _LATEST)
    except ValueError:
        pass
    raise BadParameter("must be an instant such as 2026-11-22T08:00:00+08:00", field="_since")


@router.get(
    "/_export/{export_id}",
    openapi_extra=describe(media_type=JSON, refusals=(403, 404), refused=(FHIR_JSON,)),
    summary="The manifest of an export",
)
async def manifest(export_id: str, request: Request) -> Response:
    """For the client that began it; its files can be fetched until ``Expires``."""
    exporting = exporting_of(request)
    cut = await exporting.cut(export_id, client_of(request))
    base = f"{gateway_of(request).settings.base_url}/fhir/_export/{export_id}"
    told = {
        "transactionTime": cut.at.isoformat(timespec="milliseconds"),
        "request": cut.request,
        "requiresAccessToken": True,
        "output": [
            {"type": file.type, "url": f"{base}/{file.name}"}
            | ({"count": file.count} if file.count is not None else {})
            for file in exporting.files(cut)
        ],
        "error": [],
    }
    return reply(told, headers={"Expires": format_datetime(ends(export_id), usegmt=True)})


@router.delete("/_export/{export_id}", openapi_extra=_accepted(404), summary="Drop an export")
async def drop(export_id: str, request: Request) -> Response:
    """It is over at once."""
    await exporting_of(request).drop(export_id, client_of(request))
    return Response(status_code=202)


@router.get(
    "/_export/{export_id}/{name}",
    openapi_extra=describe(media_type=NDJSON, refusals=(403, 404), refused=(FHIR_JSON,)),
    summary="One file of an export",
)
async def file(export_id: str, name: str, request: Request) -> Response:
    """A resource a line. That it was read is recorded before the first one leaves."""
    exporting = exporting_of(request)
    cut, opened = await exporting.opened(export_id, name, client_of(request))
    lines = _lines(exporting, cut, opened, gateway_of(request))
    return StreamingResponse(lines, media_type=NDJSON, headers={"Cache-Control": "no-store"})


async def _lines(exporting: Exporting, cut: Cut, file: File, gateway: Gateway) -> AsyncIterator[bytes]:
    settings = gateway.settings
    if file.type == "AuditEvent":
        async for event in exporting.events(cut, file):
            shown = resource_of(event, settings.owner, f"{settings.base_url}/fhir")
            yield msgspec.json.encode(shown) + b"\n"
    else:
        async for answer in exporting.decisions(cut):
            yield msgspec.json.encode({**parameters_of(answer), "id": answer.id}) + b"\n"
