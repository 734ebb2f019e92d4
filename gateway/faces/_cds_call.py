"""A CDS Hooks call, read strictly: its context, the orders that it is about, and how to get at the Patient.

The hook of the call says what is asked, whichever service of ours it was sent to. ``order-sign`` is about all
draft orders, ``order-select`` about the selected ones, ``patient-view`` about none. Orders that are no
ServiceRequest are none of these services' business.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct

from catalog import Catalogue
from gateway.errors import BadRequest, PrefetchMissing
from gateway.faces.orders import Order, converted, order_of, placed
from gateway.model import LOOK_BACK_DAYS, HistoryRequest, PersonIn

HOOKS = ("order-sign", "order-select", "patient-view")
BREAK_GLASS = "org.lianren.break-glass"
"""Extension of a call: in an emergency, why to go on against the patient's consent."""
CONTEXT = "org.lianren.context"
"""Extension of a call: what the ``context`` of a check says, such as an operation ahead."""
REASON, SITUATION = f"extension.{BREAK_GLASS}", f"extension.{CONTEXT}"
"""Where these stand in a call."""
_ID = re.compile(r"(?!\.+$)[A-Za-z0-9\-.]{1,64}")  # FHIR R4 id that is no step in a path
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_REFERENCE = re.compile(r"[A-Z][A-Za-z]{1,63}/[A-Za-z0-9\-.]{1,64}")
_FULL_URL = re.compile(r"https?://[^?#]*/(([A-Z][A-Za-z]{1,63})/[A-Za-z0-9\-.]{1,64})")


class FhirAuthorization(Struct, frozen=True):
    """An access token for the caller's FHIR server, for one call: it is kept nowhere."""

    access_token: Annotated[str, Meta(pattern=r"^[!-~]{1,8192}$(?!\n)")]
    token_type: Annotated[str, Meta(pattern=r"^[Bb]earer$(?!\n)")]


class HookCall(Struct, frozen=True, rename="camel", kw_only=True):
    """A service call; fields that CDS Hooks defines and these services do not need are let pass."""

    hook: str
    hook_instance: str
    context: dict[str, Any]
    prefetch: dict[str, Any] | None = None
    fhir_server: str | None = None
    fhir_authorization: FhirAuthorization | None = None
    extension: dict[str, Any] | None = None

    def told(self, name: str) -> Any:
        """What an extension of the call says."""
        return (self.extension or {}).get(name)

    @property
    def patient_id(self) -> str:
        """The id of the Patient on the caller's FHIR server."""
        return str(self.context["patientId"])


class Draft(Struct, frozen=True):
    """A draft order, and its reference (``ServiceRequest/7``) on the caller's FHIR server; empty where the
    draft has none yet, or not for itself."""

    order: Order
    reference: str


def refuse_odd(call: HookCall) -> None:
    """What every hook has in common.

    Raises:
        BadRequest: the hook is none of these services', or a field of its context is missing or malformed.
    """
    if call.hook not in HOOKS:
        raise BadRequest(f"must be one of {', '.join(HOOKS)}", field="hook")
    if not _UUID.fullmatch(call.hook_instance):
        raise BadRequest("must be a UUID", field="hookInstance")
    for name in ("userId", "patientId"):
        if not isinstance(call.context.get(name), str):
            raise BadRequest("is missing or no string", field=f"context.{name}")
    for name in ("patientId", "encounterId"):
        if (given := call.context.get(name)) is not None and not _ID.fullmatch(str(given)):
            raise BadRequest("must be a FHIR id, without the resource type", field=f"context.{name}")
    if not isinstance(call.told(CONTEXT), dict | None):
        raise BadRequest("must be an object, as the context of a check", field=SITUATION)


def drafts_of(call: HookCall, catalogue: Catalogue) -> list[Draft]:
    """The ServiceRequests that an order hook is about, read by the catalogue in force.

    Raises:
        BadRequest: the draft orders are no Bundle of resources, a selection is none of them, or an order
            says nothing that can be named.
    """
    place = "context.draftOrders"
    bundle = call.context.get("draftOrders")
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        raise BadRequest("must be a Bundle", field=place)
    entries = bundle.get("entry") or []
    if not isinstance(entries, list):
        raise BadRequest("must be a list", field=f"{place}.entry")
    read = [_read(entry, f"{place}.entry[{number}].resource") for number, entry in enumerate(entries)]
    if call.hook == "order-select":
        selected = _selected(call, {reference for _, _, reference in read})
        read = [one for one in read if one[2] in selected]
    told = Counter(reference for _, _, reference in read)
    return [
        Draft(order_of(resource, where, catalogue), reference if told[reference] == 1 else "")
        for where, resource, reference in read
        if resource["resourceType"] == "ServiceRequest"
    ]


def history_request(call: HookCall, person: PersonIn, longest: int) -> HistoryRequest:
    """What is asked when a chart is opened: what the patient has, back to ``longest`` days at most.

    Raises:
        BadRequest: a field that the REST face would refuse too.
    """
    fields = {
        "request_id": call.hook_instance,
        "patient": {"type": person.type, "value": person.value},
        "look_back_days": min(LOOK_BACK_DAYS, longest),
        "context": call.told(CONTEXT) or {},
    }
    if (reason := call.told(BREAK_GLASS)) is not None:
        fields["break_glass"] = {"reason": reason}
    with placed((), "hookInstance", REASON, SITUATION):
        return converted(fields, HistoryRequest)


def prefetched(call: HookCall) -> Mapping[str, Any] | None:
    """The Patient that came along; None where the caller left him out, found none (null), or could not read
    him: then an OperationOutcome stands in his place."""
    patient = (call.prefetch or {}).get("patient")
    found = isinstance(patient, dict) and patient.get("resourceType") != "OperationOutcome"
    return patient if found else None


def access(call: HookCall) -> tuple[str, str]:
    """The FHIR server that may be asked for the Patient, and the token for it.

    Raises:
        PrefetchMissing: the call gives none.
    """
    if not call.fhir_server or call.fhir_authorization is None:
        raise PrefetchMissing(
            "send the Patient that discovery asks for, or fhirServer with fhirAuthorization",
            field="prefetch.patient",
        )
    return call.fhir_server, call.fhir_authorization.access_token


def _read(entry: object, where: str) -> tuple[str, dict[str, Any], str]:
    """Where a draft stands, its resource, and its reference."""
    resource = entry.get("resource") if isinstance(entry, dict) else None
    if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
        raise BadRequest("is no resource", field=where)
    assert isinstance(entry, dict)  # noqa: S101 - it has a resource
    if isinstance(resource.get("id"), str):
        return where, resource, f"{resource['resourceType']}/{resource['id']}"
    found = _FULL_URL.fullmatch(str(entry.get("fullUrl")))
    return where, resource, found[1] if found and found[2] == resource["resourceType"] else ""


def _selected(call: HookCall, known: set[str]) -> set[str]:
    """The references of the selected orders."""
    place = "context.selections"
    selections = call.context.get("selections")
    if not isinstance(selections, list):
        raise BadRequest("is missing or no list", field=place)
    for number, reference in enumerate(selections):
        if not isinstance(reference, str) or not _REFERENCE.fullmatch(reference):
            raise BadRequest("must be a reference such as ServiceRequest/7", field=f"{place}[{number}]")
        if reference not in known:
            raise BadRequest("is none of the draft orders", field=f"{place}[{number}]")
    return set(selections)
