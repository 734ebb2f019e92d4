"""AuditEvent in the FHIR face: the ledger's entries for auditors, searched and read, never written."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from msgspec import Struct
from starlette.responses import Response

from adapters.fhir_time import span
from gateway.audit.auditing import Auditing, Event, Found, Wanted
from gateway.errors import BadParameter, NotFound
from gateway.faces._audit_resource import Pattern, pattern_of, resource_of
from gateway.faces._parameters import Asked, form_of, sought
from gateway.faces.common import FHIR_JSON, client_of, gateway_of, reply
from gateway.faces.describe import describe

router = APIRouter(prefix="/fhir", tags=["fhir"])
COUNT, MOST = 50, 200
OFFERED = {
    "date": "texts",
    "agent": "text",
    "entity": "text",
    "type": "text",
    "subtype": "text",
    "action": "text",
    "outcome": "text",
    "_count": "number",
    "_before": "number",
}
_MEANT = {
    "date": "when it was recorded; eq, ge, gt, le or lt before it; may be repeated",
    "agent": "who took part: the id of a client, node or gateway, with or without urn:lianren:…|",
    "entity": "what it is about: id of an entry, mark, check or pseudonym, with or without urn:lianren:…|",
    "type": "code or system|code",
    "subtype": "code or system|code",
    "action": "C, R, U, D or E; several with commas",
    "outcome": "0; nothing else is recorded",
    "_count": f"resources of a page, {COUNT} unless given, at most {MOST}",
    "_before": "where a page begins; comes with the link to the next one",
}
_PREFIXED = re.compile(r"(eq|ge|gt|le|lt)?([0-9].*)", re.DOTALL)


def capability() -> dict[str, Any]:
    """What the CapabilityStatement says of it."""
    types = {"date": "date", "agent": "reference", "entity": "reference"}
    return {
        "type": "AuditEvent",
        "interaction": [{"code": "read"}, {"code": "search-type"}],
        "searchParam": [
            {"name": name, "type": types.get(name, "token")} for name in OFFERED if not name.startswith("_")
        ],
    }


@router.get(
    "/AuditEvent/{commit}",
    openapi_extra=describe(media_type=FHIR_JSON, refusals=(403, 404)),
    summary="One entry of the ledger as an AuditEvent",
)
async def read(commit: str, request: Request) -> Response:
    """By the commitment of the entry; for auditors. The reading is recorded."""
    gateway, client = gateway_of(request), client_of(request)
    event = await Auditing(gateway).read(commit, client)
    if event is None:
        raise NotFound("the ledger has no entry of this id", field="id")
    settings = gateway.settings
    return reply(resource_of(event, settings.owner, f"{settings.base_url}/fhir"), media_type=FHIR_JSON)


_PARAMETERS: list[dict[str, Any]] = [
    {
        "name": name,
        "in": "query",
        "description": words,
        "schema": {"type": "integer", "minimum": 0} if OFFERED[name] == "number" else {"type": "string"},
    }
    for name, words in _MEANT.items()
]


@router.get(
    "/AuditEvent",
    openapi_extra=describe(media_type=FHIR_JSON, refusals=(400, 403)) | {"parameters": _PARAMETERS},
    summary="Search the ledger as AuditEvents, the newest first",
)
@router.post(
    "/AuditEvent/_search",
    openapi_extra=describe(media_type=FHIR_JSON, refusals=(400, 403, 413, 415)) | form_of(_PARAMETERS),
    summary="Search the ledger as AuditEvents, by a form",
)
async def search(request: Request) -> Response:
    """For auditors; the search is recorded. A page may be short while the link ``next`` leads on: each
    request goes through a bounded stretch of the ledger."""
    gateway, client = gateway_of(request), client_of(request)
    asked = await sought(request, OFFERED)
    count = min(asked.number("_count") or COUNT, MOST)
    settings = gateway.settings
    told = {name: values for name, values in asked.values.items() if name in OFFERED}
    found = await Auditing(gateway).search(
        _wanted(asked), told, client, before=asked.number("_before"), count=count
    )
    return reply(_bundle(found, told, settings.owner, f"{settings.base_url}/fhir"), media_type=FHIR_JSON)


def _bundle(found: Found, told: dict[str, list[Any]], owner: str, base: str) -> dict[str, Any]:
    address = f"{base}/AuditEvent"
    links = [{"relation": "self", "url": _link(address, told)}]
    if found.before is not None:
        links.append({"relation": "next", "url": _link(address, told | {"_before": [found.before]})})
    bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "link": links}
    entries = [
        {
            "fullUrl": f"{address}/{event.entry.commit}",
            "resource": resource_of(event, owner, base),
            "search": {"mode": "match"},
        }
        for event in found.events
    ]
    return bundle | ({"entry": entries} if entries else {})


def _link(address: str, told: dict[str, list[Any]]) -> str:
    query = urlencode(told, doseq=True)
    return f"{address}?{query}" if query else address


def _wanted(asked: Asked) -> Wanted:
    start, end = _period(asked.values.get("date", []))
    tests = [
        *_coded(asked.text("type"), lambda pattern: (pattern.type,)),
        *_coded(asked.text("subtype"), lambda pattern: pattern.subtypes),
    ]
    actions = frozenset(asked.text("action").split(",")) - {""}
    if not actions <= set("CRUDE"):
        raise BadParameter("must be C, R, U, D or E", field="action")
    recorded = asked.text("outcome").rpartition("|")[2] in ("", "0")

    def fits(event: Event) -> bool:
        pattern = pattern_of(event)
        return recorded and (not actions or pattern.action in actions) and all(t(pattern) for t in tests)

    return Wanted(
        start=start, end=end, concerns=_ids(asked.text("agent")), about=_ids(asked.text("entity")), fits=fits
    )


def _ids(text: str) -> frozenset[str]:
    return frozenset(one.rpartition("|")[2] for one in text.split(",")) - {""}


def _coded(
    text: str, codes: Callable[[Pattern], tuple[tuple[str, str, str], ...]]
) -> list[Callable[[Pattern], bool]]:
    """A test for any of the tokens ``code`` or ``system|code`` (R4 search.html#token), if there are any."""
    wanted = [one.rpartition("|") for one in text.split(",") if one]
    if not wanted:
        return []
    return [
        lambda pattern: any(
            code == coded[1] and (not bar or system == coded[0])
            for system, bar, code in wanted
            for coded in codes(pattern)
        )
    ]


class _Bounds(Struct):
    start: datetime | None = None
    end: datetime | None = None

    def narrow(self, start: datetime | None, end: datetime | None) -> None:
        if start is not None:
            self.start = start if self.start is None else max(self.start, start)
        if end is not None:
            self.end = end if self.end is None else min(self.end, end)


def _period(texts: list[str]) -> tuple[datetime | None, datetime | None]:
    """From when to before when, of dates with prefixes (R4 search.html#date). Raises BadParameter."""
    bounds = _Bounds()
    for text in texts:
        match = _PREFIXED.fullmatch(text)
        period = span(match[2]) if match else None
        if match is None or period is None:
            raise BadParameter(
                "must be a date such as 2026-11-22, with eq, ge, gt, le or lt before it", field="date"
            )
        first, after = period
        match match[1]:
            case "ge":
                bounds.narrow(first, None)
            case "gt":
                bounds.narrow(after, None)
            case "le":
                bounds.narrow(None, after)
            case "lt":
                bounds.narrow(None, first)
            case _:
                bounds.narrow(first, after)
    return bounds.start, bounds.end
