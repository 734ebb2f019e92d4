"""Orders as FHIR carries them (ServiceRequest and Patient), read into a check request.

Shared by the FHIR operation and the CDS Hooks service, so that one order means one thing in both. Resources
are validated with fhir.resources (the R4B models, declared as 4.0.1) before a field is believed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from catalog import Catalogue
from catalog.fhir import ITEM_SYSTEM
from gateway.errors import BadRequest, RequestIdReused
from gateway.model import CheckRequest, PersonIn, PlannedIn
from gateway.terminology import LOCAL_SYSTEM, LOINC, PANEL_SYSTEM, WST_886
from mapping.tables import tables
from security.errors import IdentityRefused
from security.identity import HEALTH_CARD_SYSTEM, RESIDENT_SYSTEM, SYSTEMS, Identifier, identifier_in

_CATALOGUE = (ITEM_SYSTEM, PANEL_SYSTEM)
_KNOWN = ", ".join(SYSTEMS)
T = TypeVar("T")
_SYSTEMS = (RESIDENT_SYSTEM, HEALTH_CARD_SYSTEM)
_REFERENCE = re.compile(r"(?:^|/)Patient/([A-Za-z0-9\-.]{1,64})(?:/_history/[^/]+)?$")
_PLANNED = re.compile(r"planned\[(\d+)\]")
LOAD_AFTER_S = 1.0
"""When the models are loaded: once the gateway has started, which must not take longer for them."""
_KINDS = {"363679005": "imaging", "imaging": "imaging", "108252007": "lab", "laboratory": "lab"}


class Order(Struct, frozen=True):
    """One ordered examination: where it stands in the caller's body, what it plans, the ServiceRequest."""

    place: str
    planned: PlannedIn
    request: Mapping[str, Any]


def check_request(
    request_id: str,
    person: PersonIn,
    orders: Sequence[Order],
    break_glass: object = None,
    reason: str = "",
    *,
    context: Mapping[str, object] | None = None,
    place: str = "",
) -> CheckRequest:
    """A check request from orders that another face read, under the same rules as the REST face's.

    ``break_glass`` is the reason of an emergency access where there is one, ``reason`` where it stands.
    ``context`` is that of the REST face, ``place`` where it stands.

    Raises:
        BadRequest: a field that the REST face would refuse too.
    """
    fields: dict[str, object] = {
        "request_id": request_id,
        "patient": msgspec.to_builtins(person),
        "planned": [msgspec.to_builtins(order.planned) for order in orders],
        "context": dict(context or {}),
    }
    # R4 request-priority: stat is for an emergency, the fourth situation in which a repeat is allowed
    if any(order.request.get("priority") == "stat" for order in orders):
        fields["context"] = {**(context or {}), "emergency": True}
    if break_glass is not None:
        fields["break_glass"] = {"reason": break_glass}
    with placed(orders, "requestId", reason, place):
        return converted(fields, CheckRequest)


def converted(fields: Mapping[str, object], kind: type[T]) -> T:
    """Fields that a face read elsewhere, as the request that the REST face reads.

    Raises:
        BadRequest: one that the REST face would refuse too.
    """
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as wrong:
        what, _, place = str(wrong).partition(" - at `$.")
        if what.startswith("Invalid "):  # msgspec repeats the value, which may be a person's number
            what = "is malformed, or none of the allowed values"
        raise BadRequest(what, field=place.rstrip("`")) from None


@contextmanager
def placed(orders: Sequence[Order], request_id: str, reason: str, context: str = "") -> Iterator[None]:
    """Say of a refused planned item, request id, reason or context where it stands in the caller's body."""
    try:
        yield
    except RequestIdReused as wrong:
        wrong.field = request_id
        raise
    except BadRequest as wrong:
        if found := _PLANNED.match(wrong.field):
            wrong.field = f"{orders[int(found[1])].place}.code"
        elif wrong.field == "planned":  # more than one check may have
            wrong.field = orders[-1].place
        elif wrong.field.startswith("break_glass"):
            wrong.field = reason
        elif context and wrong.field.startswith("context"):
            wrong.field = f"{context}{wrong.field.removeprefix('context')}"
        raise


def valid(resource: object, expected: str, field: str) -> Mapping[str, Any]:
    """The resource, when it is a valid one of the expected type.

    Raises:
        BadRequest: another type, or invalid; ``field`` is the FHIRPath of the fault.
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
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        raise BadRequest(f"is no valid {expected}: {first['msg']}", field=f"{field}{place}") from None
    except (ValueError, TypeError, KeyError, RecursionError) as wrong:
        raise BadRequest(f"is no valid {expected} ({type(wrong).__name__})", field=field) from None
    return resource


def load() -> None:
    """Import and build the models beside the event loop: a doctor's first order would wait for it (0.3 s)."""
    subject = {"reference": "Patient/1"}
    order = {"resourceType": "ServiceRequest", "status": "draft", "intent": "order", "subject": subject}
    valid({"resourceType": "Patient"}, "Patient", "")
    valid(order, "ServiceRequest", "")


def order_of(resource: object, field: str, catalogue: Catalogue) -> Order:
    """A valid ServiceRequest as an order, read by the catalogue in force.

    Raises:
        BadRequest: it is none, or orders nothing that can be named.
    """
    request = valid(resource, "ServiceRequest", field)
    return Order(field, _planned(request, field, catalogue), request)


def person_of(patients: Sequence[tuple[str, Mapping[str, Any]]], orders: Sequence[Order]) -> PersonIn:
    """The one person that all patients and orders are about; ``patients`` come with their places.

    Raises:
        BadRequest: nobody is identified by a system known here, or not everything is about one person.
        IdentityRefused: a number is malformed.
    """
    people: list[tuple[str, PersonIn]] = []
    ids: list[tuple[str, str]] = []
    elsewhere: list[tuple[str, str]] = []  # servers and urn: that nothing but each other can be compared with
    for place, patient in patients:
        people.append((place, patient_by(patient.get("identifier") or [], place)))
        if patient.get("id"):
            ids.append((f"{place}.id", patient["id"]))
    for order in orders:
        subject, place = order.request.get("subject") or {}, f"{order.place}.subject"
        reference = subject.get("reference") or ""
        if found := _REFERENCE.search(reference):
            ids.append((place, found[1]))
            elsewhere += [(place, reference[: found.start()])] if found.start() else []
        elif reference.startswith("urn:"):
            elsewhere.append((place, reference))
        elif reference:
            raise BadRequest("leads to no Patient; send Patient/<id>", field=f"{place}.reference")
        if subject.get("identifier") and (not patients or subject["identifier"].get("system") in _SYSTEMS):
            people.append((place, patient_by([subject["identifier"]], place)))
    if not people:
        raise BadRequest(
            f"has no identifier of a system known here: {_KNOWN}", field=f"{orders[0].place}.subject"
        )
    for same in (people, ids, elsewhere):
        for place, one in same:
            if one != same[0][1]:
                raise BadRequest(f"is another person than {same[0][0]}", field=place)
    return people[0][1]


def patient_by(identifiers: Sequence[object], field: str) -> PersonIn:
    """The person of the first Identifier of a system known here that is in use.

    Raises:
        BadRequest: there is none, or two resident numbers, one of which is another person's.
        IdentityRefused: its number is malformed.
    """
    found: list[Identifier] = []
    for number, entry in enumerate(identifiers):
        if not isinstance(entry, dict) or entry.get("use") == "old":  # one written wrongly may be another's
            continue
        system, value = entry.get("system"), entry.get("value")
        if not (isinstance(system, str) and isinstance(value, str)) or (found and system != RESIDENT_SYSTEM):
            continue
        try:
            person = identifier_in(system, value)
        except IdentityRefused as refused:
            refused.field = f"{field}.identifier[{number}].value"
            raise
        found += [person] if person else []
    if not found:
        raise BadRequest(f"has no identifier of a system known here: {_KNOWN}", field=f"{field}.identifier")
    if len({person.value for person in found if person.system == RESIDENT_SYSTEM}) > 1:
        raise BadRequest("has two resident numbers; say of one that it is old", field=f"{field}.identifier")
    return PersonIn(found[0].type, found[0].text)


def _planned(order: Mapping[str, Any], field: str, catalogue: Catalogue) -> PlannedIn:
    """A catalogue code where the order has one, else the hospital's own name; a code of WS/T 886 or LOINC
    alone will do.

    Of several codings the hospital's own says its name; what others display may be another language's. A
    LOINC code that stands for an item goes before its own display, for the same reason.
    """
    code = order.get("code") or {}
    codings = code.get("coding") or []
    items = {c["code"] for c in codings if c.get("system") in _CATALOGUE and c.get("code")}
    if len(items) > 1:
        raise BadRequest("names more than one item or panel; send an order each", field=f"{field}.code")
    if items:
        return PlannedIn(item=items.pop())
    own: Mapping[str, Any] = next(
        (c for c in codings if (c.get("system") or "").startswith(LOCAL_SYSTEM)), {}
    )
    alone = codings[0].get("code", "") if len(codings) == 1 and not code.get("text") else ""
    loinc = tables().loinc.get(alone, "") if alone and codings[0].get("system") == LOINC else ""
    if item := catalogue.item_for(loinc):
        return PlannedIn(item=item.code)
    shown = [c["display"] for c in (own, *codings) if c.get("display")]
    name = code.get("text") or next(iter(shown), "")
    if not name and (national := next((c.get("code") for c in codings if c.get("system") == WST_886), "")):
        return PlannedIn(item=national)
    if not name:
        raise BadRequest("has neither a catalogue code, a text nor a display", field=f"{field}.code")
    categories = [
        c.get("code", "") for category in order.get("category") or [] for c in category.get("coding") or []
    ]
    kind = next((_KINDS[c] for c in categories if c in _KINDS), "")
    specimen = next((s.get("display", "") for s in order.get("specimen") or []), "")
    return PlannedIn(name=name, kind=kind, specimen=specimen, code=own.get("code", ""))  # type: ignore[arg-type]
