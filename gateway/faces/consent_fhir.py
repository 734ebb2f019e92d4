"""Consent as a FHIR R4 resource: create, read, search by ``_search``, and inactivate by update.

What counts of a Consent is its patient (by identifier), ``policyRule`` (the directive) and the root
``provision``: type, period, actors and purposes. Nested rules, and conditions by class, code, data or label,
would narrow it, so a Consent with one is refused rather than read without it. Documents, performers and
narrative are not kept: what comes back is what counts. The patient does not come back, because no number is
kept; and a search names the patient in its body, never in its address.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, get_args
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from starlette.responses import Response

from adapters.fhir_time import span
from gateway.errors import BadParameter, BadRequest
from gateway.faces.common import FHIR_JSON, JSON, body_of, client_of, gateway_of, read, reply
from gateway.faces.consents import consenting_of
from gateway.faces.describe import describe
from gateway.faces.orders import patient_by, valid
from gateway.persons.consent import Decision
from gateway.persons.consenting import ConsentIn, ConsentOut
from gateway.resources.formats import refuse_format
from gateway.settings import PurposeOfUse

router = APIRouter(prefix="/fhir/Consent", tags=["fhir"])
FORM = "application/x-www-form-urlencoded"
PATIENT = "patient:identifier"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
SCOPE, DIRECTIVE, PURPOSE, ROLE = (
    f"{_TERMINOLOGY}/{name}"
    for name in ("consentscope", "v3-ActCode", "v3-ActReason", "v3-ParticipationType")
)
_INSTITUTION = "urn:lianren:institution"
_DIRECTIVES: dict[str, tuple[Decision, bool]] = {
    "OPTIN": ("permit", False),
    "OPTOUTE": ("permit", True),
    "OPTOUT": ("deny", False),
    "OPTINR": ("deny", True),
}
"""Directive → decision, and whether purposes are named."""
_PLACES = {"receivers": "actor", "end": "period.end"}
_INSTANT = timedelta(milliseconds=1)  # R4 takes the end into a Period: its last instant, as `span` reads it
_RECIPIENTS = {"IRCP", "PRCP"}
_COUNTED = {"id", "type", "period", "actor", "purpose"}
_WRITING = (400, 403, 404, 413, 415, 422, 429)


def capability() -> dict[str, Any]:
    """What is offered, as CapabilityStatement.rest.resource has it."""
    return {
        "type": "Consent",
        "interaction": [{"code": code} for code in ("create", "read", "update", "search-type")],
        "searchParam": [
            {
                "name": "patient",
                "type": "reference",
                "documentation": f"as {PATIENT}=<system>|<number> in the body of POST [base]/Consent/_search",
            }
        ],
    }


_CREATED = describe(dict, media_type=FHIR_JSON, refusals=_WRITING)
_CREATED["x-responses"]["201"] = _CREATED["x-responses"].pop("200")


@router.post("", openapi_extra=_CREATED, summary="Take down a consent")
async def create(request: Request) -> Response:
    """An active Consent of scope patient-privacy."""
    client = client_of(request)
    asked = consent_of(await read(request, dict[str, Any], FHIR_JSON, JSON))
    with _placed():
        kept = await consenting_of(request).record(asked, client)
    location = f"{gateway_of(request).settings.base_url}/fhir/Consent/{kept.id}"
    return reply(resource_of(kept), status=201, media_type=FHIR_JSON, headers={"Location": location})


_SEARCHED = describe(dict, media_type=FHIR_JSON, refusals=_WRITING)
_SEARCHED["requestBody"]["content"] = {
    FORM: {"schema": {"type": "object", "properties": {PATIENT: {"type": "string"}}, "required": [PATIENT]}}
}


@router.post("/_search", openapi_extra=_SEARCHED, summary="What a person said")
async def search(request: Request) -> Response:
    """A searchset of the person's active Consents. That it was read is recorded."""
    client = client_of(request)
    body = await body_of(request, FORM)
    try:
        fields = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=8,
        )
    except ValueError:
        raise BadParameter("is no form; send name=value pairs", field="body") from None
    asked = dict(fields)
    if request.url.query or len(asked) != len(fields) or asked.keys() - {PATIENT, "_format"}:
        raise BadParameter(f"the one parameter is {PATIENT}, once, and in the body", field="parameters")
    refuse_format(asked.get("_format", ""))
    system, bar, value = asked.get(PATIENT, "").partition("|")
    if not bar:
        raise BadParameter("is missing or has no system; send <system>|<number>", field=PATIENT)
    person = patient_by([{"system": system, "value": value}], PATIENT)
    found = await consenting_of(request).of_person(person, client)
    base = f"{gateway_of(request).settings.base_url}/fhir/Consent"
    entries = [
        {"fullUrl": f"{base}/{one.id}", "resource": resource_of(one), "search": {"mode": "match"}}
        for one in found.consents
    ]
    bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "total": len(entries)}
    return reply(bundle | ({"entry": entries} if entries else {}), media_type=FHIR_JSON)


@router.get(
    "/{consent_id}",
    openapi_extra=describe(media_type=FHIR_JSON, refusals=(403, 404)),
    summary="Read a consent again",
)
async def read_one(consent_id: str, request: Request) -> Response:
    """A Consent, to the institution that took it down or to an auditor. That it was read is recorded."""
    found = await consenting_of(request).find(consent_id, client_of(request))
    return reply(resource_of(found), media_type=FHIR_JSON)


@router.put(
    "/{consent_id}",
    openapi_extra=describe(dict, media_type=FHIR_JSON, refusals=_WRITING),
    summary="Take a consent back",
)
async def update(consent_id: str, request: Request) -> Response:
    """Of a kept Consent only its status may change, to inactive; its patient has to be named again."""
    client = client_of(request)
    body = valid(await read(request, dict[str, Any], FHIR_JSON, JSON), "Consent", "Consent")
    if body.get("id") != consent_id:
        raise BadRequest("must be the id of the address", field="Consent.id")
    if body.get("status") != "inactive":
        raise BadRequest(
            "can only become inactive; a person who says something else says it anew", field="Consent.status"
        )
    person = patient_by([(body.get("patient") or {}).get("identifier")], "Consent.patient")
    ended = await consenting_of(request).revoke(consent_id, person, client)
    return reply(resource_of(ended), media_type=FHIR_JSON)


def consent_of(body: Mapping[str, Any]) -> ConsentIn:
    """The statement of a Consent.

    Raises:
        BadRequest: it is none that is read here; ``field`` is the FHIRPath.
        IdentityRefused: the patient's number is malformed.
    """
    consent = valid(body, "Consent", "Consent")
    for name in ("modifierExtension", "implicitRules"):
        if consent.get(name):
            raise BadRequest("changes what it means in a way that is not known here", field=f"Consent.{name}")
    if consent.get("status") != "active":
        raise BadRequest("must be active", field="Consent.status")
    if "patient-privacy" not in _codes(consent.get("scope"), SCOPE):
        raise BadRequest(f"must be patient-privacy of {SCOPE}", field="Consent.scope")
    patient = consent.get("patient") or {}
    provision = consent.get("provision") or {}
    if further := provision.keys() - _COUNTED:
        raise BadRequest("is a condition that is not known here", field=f"Consent.provision.{min(further)}")
    purposes = tuple(_purposes(provision.get("purpose") or []))
    start, end = _period(provision.get("period") or {})
    return ConsentIn(
        patient=patient_by([patient.get("identifier")], "Consent.patient"),
        decision=_decision(consent, provision, named=bool(purposes)),
        purposes=purposes,
        receivers=tuple(_receivers(provision.get("actor") or [])),
        start=start,
        end=end,
    )


def resource_of(consent: ConsentOut) -> dict[str, Any]:
    """A statement as a Consent; without its patient."""
    provision: dict[str, Any] = {"type": consent.decision}
    period = {"start": consent.start, "end": consent.end and consent.end - _INSTANT}
    if told := {name: at.isoformat(timespec="milliseconds") for name, at in period.items() if at}:
        provision["period"] = told
    if consent.receivers:
        provision["actor"] = [
            {
                "role": {"coding": [{"system": ROLE, "code": "PRCP"}]},
                "reference": {"identifier": {"system": _INSTITUTION, "value": receiver}},
            }
            for receiver in consent.receivers
        ]
    if consent.purposes:
        provision["purpose"] = [{"system": PURPOSE, "code": code} for code in consent.purposes]
    return {
        "resourceType": "Consent",
        "id": consent.id,
        "status": consent.status,
        "scope": {"coding": [{"system": SCOPE, "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "dateTime": consent.recorded.isoformat(),
        "organization": [{"identifier": {"system": _INSTITUTION, "value": consent.institution}}],
        "policyRule": {"coding": [{"system": DIRECTIVE, "code": consent.directive}]},
        "provision": provision,
    }


@contextmanager
def _placed() -> Iterator[None]:
    """Say of a refused field where it stands in the Consent."""
    try:
        yield
    except BadRequest as wrong:
        name, bracket, number = wrong.field.partition("[")
        wrong.field = f"Consent.provision.{_PLACES.get(name, name)}{bracket}{number}"
        raise


def _codes(concept: Mapping[str, Any] | None, system: str) -> list[str]:
    codings = (concept or {}).get("coding") or []
    return [coding.get("code", "") for coding in codings if coding.get("system") == system]


def _decision(consent: Mapping[str, Any], provision: Mapping[str, Any], *, named: bool) -> Decision:
    """Of the provision's type, or the directive; where both are there they must say the same."""
    codes = _codes(consent.get("policyRule"), DIRECTIVE)
    if not set(codes) <= _DIRECTIVES.keys():
        raise BadRequest(f"is none of {', '.join(_DIRECTIVES)}", field="Consent.policyRule")
    type_ = provision.get("type")
    if not codes and type_ not in ("permit", "deny"):
        raise BadRequest(
            f"is missing: a type permit or deny, or a policyRule of {', '.join(_DIRECTIVES)}",
            field="Consent.provision.type",
        )
    decision: Decision = type_ or _DIRECTIVES[codes[0]][0]
    if any(_DIRECTIVES[code] != (decision, named) for code in codes):
        raise BadRequest(
            "says something else than the provision; OPTIN and OPTOUT name no purpose, OPTOUTE permits the"
            " named ones, OPTINR denies them",
            field="Consent.policyRule",
        )
    return decision


def _purposes(listed: list[Any]) -> list[PurposeOfUse]:
    for number, coding in enumerate(listed):
        if coding.get("system") != PURPOSE or coding.get("code") not in get_args(PurposeOfUse):
            raise BadRequest(
                f"must be one of {', '.join(get_args(PurposeOfUse))} of {PURPOSE}",
                field=f"Consent.provision.purpose[{number}]",
            )
    return [coding["code"] for coding in listed]


def _receivers(actors: list[Any]) -> list[str]:
    found = []
    for number, actor in enumerate(actors):
        place = f"Consent.provision.actor[{number}]"
        if not _RECIPIENTS & set(_codes(actor.get("role"), ROLE)):
            raise BadRequest(f"must be a recipient, IRCP or PRCP of {ROLE}", field=f"{place}.role")
        if actor.get("modifierExtension"):
            raise BadRequest("is a condition that is not known here", field=f"{place}.modifierExtension")
        identifier = (actor.get("reference") or {}).get("identifier") or {}
        if identifier.get("system") != _INSTITUTION or not identifier.get("value"):
            raise BadRequest(
                f"must be an institution, by an identifier of {_INSTITUTION}",
                field=f"{place}.reference",
            )
        found.append(identifier["value"])
    return found


def _period(period: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    """From the first instant of the start to before the first one after the end: a Period's end is in it."""
    start, end = (span(str(period[name])) if period.get(name) else None for name in ("start", "end"))
    for name, read_ in (("start", start), ("end", end)):
        if period.get(name) and read_ is None:
            raise BadRequest("is no time that can be", field=f"Consent.provision.period.{name}")
    return start[0] if start else None, end[1] if end else None
