"""FHIR searches over all own nodes: ``POST /fhir/{DiagnosticReport|Observation|ImagingStudy}/_search``.

The answer is one searchset, the newest first: the resources' own bytes, then an OperationOutcome that says of
every node how it was and of the whole whether it is complete. ``fullUrl`` names the node,
``…/fhir/nodes/<node>/<Type>/<id>``, so that a relative reference inside a resource leads to its own node's
resource; it identifies and is not served. The person's number comes in the form and stands in no address:
the link ``self`` is without it.
"""

from __future__ import annotations

import re
from typing import Any, cast
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from adapters import Report
from gateway._source_search import PARAMETERS, conditions
from gateway.body import receive as take_in
from gateway.errors import BadParameter
from gateway.faces._parameters import Asked, from_query, lenient
from gateway.faces.common import FHIR_JSON, let_in
from gateway.faces.describe import describe
from gateway.faces.direct import Quick, quick
from gateway.search import BOUNDS, Found, Searching, Wanted
from security.errors import IdentityRefused
from security.identity import SYSTEMS, Identifier, identifier_in

router = APIRouter(prefix="/fhir", tags=["fhir"])
FORM = "application/x-www-form-urlencoded"
_TYPES = frozenset({FORM})
PATIENT = "patient.identifier"
MOST = 1000
LONGEST = 60.0
"""Seconds that a caller may want a search to take."""
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,3})\"?\s*(?=[,;]|$)")
_STATE = "urn:lianren:node-state"
_ENCODE = msgspec.json.Encoder().encode
_END = b',"search":{"mode":"match"}},'


def offered(type_: str) -> dict[str, str]:
    """The parameters of a search, with their kinds."""
    names = [name for name in PARAMETERS[type_] if name not in ("_id", "patient")]
    coded = ["code:text"] if "code" in names else []
    return {PATIENT: "text", **dict.fromkeys([*names, *coded], "texts"), "_count": "number"}


def capabilities() -> list[dict[str, Any]]:
    """What the CapabilityStatement says of it."""
    return [
        {
            "type": type_,
            "interaction": [
                {
                    "code": "search-type",
                    "documentation": f"only POST [base]/{type_}/_search, with {PATIENT}=<system>|<number>",
                }
            ],
            "searchParam": [
                {"name": name, "type": kind}
                for name, kind in PARAMETERS[type_].items()
                if name not in ("_id", "patient")
            ],
        }
        for type_ in BOUNDS
    ]


def _described(type_: str) -> dict[str, Any]:
    extra = describe(dict, media_type=FHIR_JSON, refusals=(400, 403, 413, 415, 422))
    properties = {
        name: {"type": "integer", "minimum": 0} if kind == "number" else {"type": "string"}
        for name, kind in offered(type_).items()
    }
    form = {"schema": {"type": "object", "properties": properties, "required": [PATIENT]}}
    return extra | {"requestBody": {"required": True, "content": {FORM: form}}}


async def _searched(app: FastAPI, type_: str, scope: Scope, receive: Receive) -> bytes:
    """The searchset of one search."""
    client, settings = let_in(scope), app.state.gateway.settings
    if scope["query_string"]:
        raise BadParameter("must stand in the body, where no log keeps them", field="parameters")
    form = await take_in(scope, receive, limit=settings.body_limit, types=_TYPES)
    asked = from_query(form, offered(type_), ignore=lenient(scope))
    wanted = _wanted(type_, asked, _seconds(scope) or settings.search_deadline_ms / 1000)
    base, searching = f"{settings.base_url.rstrip('/')}/fhir", cast("Searching", app.state.searching)
    return await searching.answer(wanted, client, lambda found: written(found, wanted, base))


def _route(type_: str) -> list[Quick]:
    async def searched(app: FastAPI, scope: Scope, receive: Receive) -> bytes:
        return await _searched(app, type_, scope, receive)

    async def search(request: Request) -> Response:
        body = await searched(request.app, request.scope, request.receive)
        return Response(body, media_type=FHIR_JSON, headers={"Cache-Control": "no-store"})

    search.__doc__ = f"The person's resources of type {type_} at all own nodes, as the nodes sent them."
    router.add_api_route(
        f"/{type_}/_search",
        search,
        methods=["POST"],
        name=f"search_{type_}",
        openapi_extra=_described(type_),
        summary=f"Search {type_} over all own nodes",
    )
    return quick(router, f"/fhir/{type_}/_search", FHIR_JSON, searched)


DIRECT = [one for type_ in BOUNDS for one in _route(type_)]


def _wanted(type_: str, asked: Asked, seconds: float) -> Wanted:
    """Raises BadParameter, BadBody, IdentityRefused."""
    told = {name: values for name, values in asked.values.items() if name != PATIENT and name[0] != "_"}
    count = asked.number("_count")
    return Wanted(
        type=type_,
        person=_person(asked.text(PATIENT)),
        conditions=conditions(type_, [(name, value) for name, values in told.items() for value in values]),
        count=MOST if count is None else min(count, MOST),
        seconds=seconds,
        told=told | ({"_count": [count]} if count is not None else {}),
    )


def _person(token: str) -> Identifier:
    system, bar, value = token.partition("|")
    if not bar:
        raise BadParameter("is missing or has no system; send <system>|<number>", field=PATIENT)
    try:
        person = identifier_in(system, value)
    except IdentityRefused as refused:
        refused.field = PATIENT
        raise
    if person is None:
        raise BadParameter(f"is of no system that is known here: {', '.join(SYSTEMS)}", field=PATIENT)
    return person


def _seconds(scope: Scope) -> float | None:
    """How long the caller would wait (RFC 7240 section 4.3); None where it does not say."""
    preferred = b",".join(value for name, value in scope["headers"] if name == b"prefer")
    wait = _WAIT.search(preferred.decode("latin-1"))
    return min(float(wait[1]), LONGEST) if wait else None


def written(found: Found, wanted: Wanted, base: str) -> bytes:
    """The searchset Bundle; the matches' bytes are those that came."""
    query = urlencode(wanted.told, doseq=True)
    link = f"{base}/{wanted.type}?{query}" if query else f"{base}/{wanted.type}"
    head = _ENCODE(
        {
            "resourceType": "Bundle",
            "id": found.id,
            "type": "searchset",
            "total": found.total,
            "link": [{"relation": "self", "url": link}],
        }
    )
    places = {
        report.node: b'{"fullUrl":' + _ENCODE(f"{base}/nodes/{report.node}/{wanted.type}/")[:-1]
        for report in found.reports
    }
    parts: list[bytes | msgspec.Raw] = [head[:-1], b',"entry":[']
    for _, node, id_, raw in found.matches:
        parts += (places[node], id_.encode(), b'","resource":', raw, _END)
    outcome = {"resource": _outcome(found), "search": {"mode": "outcome"}}
    return b"".join([*parts, _ENCODE(outcome), b"]}"])


def _outcome(found: Found) -> dict[str, Any]:
    issues = [_issue(report) for report in found.reports]
    if left := found.total - len(found.matches):
        words = (
            f"{left} further resources fit; narrow the dates, or ask for more with _count (at most {MOST})"
        )
        issues.append({"severity": "warning", "code": "too-costly", "diagnostics": words})
    if not found.consent.permitted:
        issues.append({"severity": "warning", "code": "suppressed", "diagnostics": found.consent.en})
    elif not found.complete:
        words = "not every node was heard: the person may have more than is shown"
        issues.append({"severity": "warning", "code": "incomplete", "diagnostics": words})
    nothing = {"severity": "information", "code": "informational", "diagnostics": "no node is configured"}
    return {"resourceType": "OperationOutcome", "issue": issues or [nothing]}


def _issue(report: Report) -> dict[str, Any]:
    """The state of one node, in the words of a check's answer."""
    whole = not report.fault
    words = f"{report.node}: {report.state}, {report.results} resources, {report.took_ms} ms"
    words += f", fault: {report.fault}" if report.fault else ""
    words += f"; {report.detail}" if report.detail else ""
    return {
        "severity": "information" if whole else "warning",
        "code": "informational" if whole else "incomplete",
        "details": {"coding": [{"system": _STATE, "code": report.state}], "text": report.node},
        "diagnostics": words,
    }
