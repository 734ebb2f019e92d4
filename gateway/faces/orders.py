"""Orders as FHIR carries them (ServiceRequest and Patient), read into a check request.

Shared by the FHIR operation and the CDS Hooks service, so that one order means one thing in both. Resources
are validated with fhir.resources (the R4B models, declared as 4.0.1) before a field is believed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.errors import BadRequest
from gateway.model import CheckRequest, PersonIn, PlannedIn
from security.identity import HEALTH_CARD_SYSTEM, PASSPORT_SYSTEM, RESIDENT_SYSTEM, identifier_in

ITEM_SYSTEM = "https://lianren.example/fhir/CodeSystem/items"
_KINDS = {"363679005": "imaging", "imaging": "imaging", "108252007": "lab", "laboratory": "lab"}


def check_request(fields: Mapping[str, object]) -> CheckRequest:
    """A check request from fields that another face read, under the same rules as the REST face's.

    Raises:
        BadRequest: a field that the REST face would refuse too.
    """
    try:
        return msgspec.convert(msgspec.to_builtins(fields), CheckRequest)
    except msgspec.ValidationError as wrong:
        what, _, place = str(wrong).partition(" - at `$.")
        raise BadRequest(what, field=place.rstrip("`")) from None


def valid(resource: object, expected: str, field: str) -> Mapping[str, Any]:
    """The resource, when it is a valid one of the expected type.

    Raises:
        BadRequest: another type, or invalid; ``field`` is the path to the fault.
    """
    if not isinstance(resource, dict) or resource.get("resourceType") != expected:
        found = resource.get("resourceType") if isinstance(resource, dict) else type(resource).__name__
        raise BadRequest(f"must be a {expected}, not {found!r}", field=field)
    from fhir.resources.R4B import get_fhir_model_class
    from pydantic import ValidationError

    try:
        get_fhir_model_class(expected).model_validate(resource)
    except ValidationError as wrong:
        first = wrong.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadRequest(f"is no valid {expected}: {first['msg']}", field=f"{field}.{place}") from None
    except (ValueError, TypeError, KeyError, RecursionError) as wrong:
        raise BadRequest(f"is no valid {expected} ({type(wrong).__name__})", field=field) from None
    return resource


def person_of(identifiers: Sequence[object], field: str) -> PersonIn:
    """The first identifier of an accepted system.

    Raises:
        BadRequest: there is none; the accepted systems are listed.
        IdentityRefused: it is malformed.
    """
    for entry in identifiers:
        system, value = (entry.get("system"), entry.get("value")) if isinstance(entry, dict) else (None, None)
        if isinstance(system, str) and isinstance(value, str) and (person := identifier_in(system, value)):
            return PersonIn(person.type, person.text)
    known = f"{RESIDENT_SYSTEM}, {HEALTH_CARD_SYSTEM}, {PASSPORT_SYSTEM}<country>"
    raise BadRequest(f"has no identifier of a system known here: {known}", field=f"{field}.identifier")


def planned_of(order: Mapping[str, Any], field: str) -> PlannedIn:
    """What a ServiceRequest orders: a catalogue code where it has one, else the hospital's own name.

    Raises:
        BadRequest: the order says neither.
    """
    code = order.get("code") or {}
    codings = code.get("coding") or []
    if item := next((c.get("code") for c in codings if c.get("system") == ITEM_SYSTEM), None):
        return PlannedIn(item=item)
    name = code.get("text") or next((c.get("display") for c in codings if c.get("display")), "")
    if not name:
        raise BadRequest("has neither a catalogue code, a text nor a display", field=f"{field}.code")
    categories = [
        c.get("code", "") for category in order.get("category") or [] for c in category.get("coding") or []
    ]
    kind = next((_KINDS[c] for c in categories if c in _KINDS), "")
    specimen = next((s.get("display", "") for s in order.get("specimen") or []), "")
    return PlannedIn(name=name, kind=kind, specimen=specimen)  # type: ignore[arg-type]
