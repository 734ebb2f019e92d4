"""The FHIR face, first form: the CapabilityStatement, and the recognition check as an operation.

``POST /fhir/ServiceRequest/$check-recognition`` takes Parameters with ``order`` (ServiceRequest, one or more)
and ``patient`` (Patient, by which the person is known; a ServiceRequest whose subject carries the identifier
will do), or one ServiceRequest alone; in an emergency ``breakGlass``, the reason for going on against the
patient's consent. It answers Parameters with the same decision as the other faces.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from catalog.fhir import ITEM_SYSTEM
from gateway.errors import BadRequest
from gateway.faces import audit_events, consent_fhir, provenance, search, terminology
from gateway.faces.common import FHIR_JSON, JSON, client_of, gateway_of, read, reply
from gateway.faces.describe import describe
from gateway.faces.orders import Order, check_request, order_of, person_of, placed, valid
from gateway.model import CheckAnswer, CheckRequest, VerdictOut
from recognition import Reason

router = APIRouter(prefix="/fhir", tags=["fhir"])
BREAK_GLASS = "Parameters.parameter.where(name='breakGlass')"
OPERATION = "https://lianren.example/fhir/OperationDefinition/check-recognition"


@router.get(
    "/metadata", openapi_extra=describe(media_type=FHIR_JSON, token=False), summary="CapabilityStatement"
)
async def metadata(request: Request) -> Response:
    """What this server offers (FHIR R4 4.0.1, http.html#capabilities): no more than works."""
    gateway = gateway_of(request)
    return reply(
        {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "date": gateway.rules.catalogue.effective_from.isoformat(),
            "kind": "instance",
            "implementation": {
                "description": gateway.settings.name,
                "url": f"{gateway.settings.base_url}/fhir",
            },
            "fhirVersion": "4.0.1",
            "format": ["json"],
            "rest": [
                {
                    "mode": "server",
                    "security": _security(gateway.clients.tokens.endpoint),
                    "resource": [
                        {
                            "type": "ServiceRequest",
                            "operation": [{"name": "check-recognition", "definition": OPERATION}],
                        },
                        *search.capabilities(),
                        *terminology.capabilities(),
                        consent_fhir.capability(),
                        provenance.capability(),
                        audit_events.capability(),
                    ],
                }
            ],
        },
        media_type=FHIR_JSON,
    )


def _security(endpoint: str) -> dict[str, Any]:
    """SMART Backend Services, and where its token endpoint is (SMART App Launch 2, conformance)."""
    services = "http://terminology.hl7.org/CodeSystem/restful-security-service"
    uris = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
    return {
        "extension": [{"url": uris, "extension": [{"url": "token", "valueUri": endpoint}]}],
        "service": [{"coding": [{"system": services, "code": "SMART-on-FHIR"}]}],
    }


@router.post(
    "/ServiceRequest/$check-recognition",
    openapi_extra=describe(dict, media_type=FHIR_JSON, refusals=(400, 403, 409, 413, 415, 422)),
    summary="Ask before ordering, in FHIR terms",
)
async def check_recognition(request: Request) -> Response:
    """The recognition check as a FHIR operation (operations.html)."""
    client = client_of(request)
    asked, orders = _check_request(await read(request, dict[str, Any], FHIR_JSON, JSON))
    with placed(orders, "Parameters.parameter.where(name='requestId')", BREAK_GLASS):
        answer = (await request.app.state.checks.ask(asked, client, "fhir")).answer
    return reply(_parameters(answer), media_type=FHIR_JSON)


def _check_request(body: Mapping[str, Any]) -> tuple[CheckRequest, list[Order]]:
    if body.get("resourceType") == "ServiceRequest":
        order = order_of(body, "ServiceRequest")
        return check_request(uuid.uuid4().hex, person_of([], [order]), [order]), [order]
    orders: list[Order] = []
    patients: list[tuple[str, Mapping[str, Any]]] = []
    request_id = uuid.uuid4().hex
    break_glass = None
    listed = body.get("parameter") if body.get("resourceType") == "Parameters" else None
    for number, parameter in enumerate(listed if isinstance(listed, list) else []):
        place = f"Parameters.parameter[{number}]"
        name = parameter.get("name") if isinstance(parameter, dict) else None
        if name == "order":
            orders.append(order_of(parameter.get("resource"), f"{place}.resource"))
        elif name == "patient":
            place = f"{place}.resource"
            patients.append((place, valid(parameter.get("resource"), "Patient", place)))
        elif name == "requestId":
            request_id = parameter.get("valueString") or parameter.get("valueId")
        elif name == "breakGlass":
            break_glass = parameter.get("valueString", "")
        else:
            raise BadRequest(
                "is none of the parameters order, patient, requestId and breakGlass", field=place
            )
    valid(body, "Parameters", "Parameters")
    if not orders:
        raise BadRequest("has no parameter 'order' with a ServiceRequest", field="Parameters.parameter")
    person = person_of(patients, orders)
    return check_request(request_id, person, orders, break_glass, BREAK_GLASS), orders


def _parameters(answer: CheckAnswer) -> dict[str, Any]:
    part: list[dict[str, Any]]
    parameters: list[dict[str, Any]] = [
        {"name": "decision", "valueId": answer.id},
        {"name": "requestId", "valueString": answer.request_id},
        {"name": "catalogue", "valueString": answer.catalogue.version},
        {"name": "complete", "valueBoolean": answer.complete},
        *(_verdict(verdict) for verdict in answer.verdicts),
    ]
    if answer.catalogue.notice_zh:
        notice = _words(answer.catalogue.notice_zh, answer.catalogue.notice_en)
        parameters.append({"name": "notice", "part": notice})
    consent = answer.consent
    if consent.basis != "none":
        part = [
            {"name": "permitted", "valueBoolean": consent.permitted},
            {"name": "basis", "valueCode": consent.basis},
        ]
        part += [{"name": "consent", "valueId": consent.consent}] if consent.consent else []
        parameters.append({"name": "consent", "part": part + _words(consent.zh, consent.en)})
    for advice in answer.advice:
        part = [{"name": "planned", "valueString": advice.planned}]
        part += [{"name": "served", "valueCoding": _coding(item.code, item.name)} for item in advice.served]
        part += [
            {"name": "toOrder", "valueCoding": _coding(item.code, item.name)} for item in advice.to_order
        ]
        part += [
            {
                "name": "best",
                "part": [
                    {"name": "item", "valueCoding": _coding(best.item.code, best.item.name)},
                    {"name": "result", "valueString": best.result},
                    {"name": "others", "valueInteger": best.others},
                    *_words(best.zh, best.en),
                ],
            }
            for best in advice.best
        ]
        parameters.append({"name": "advice", "part": part + _words(advice.zh, advice.en)})
    for unnamed in answer.unnamed:
        part = [
            {"name": "name", "valueString": unnamed.name},
            {"name": "reason", "valueCode": unnamed.reason},
        ]
        parameters.append({"name": "unnamed", "part": part})
    for node in answer.nodes:
        part = [
            {"name": "node", "valueString": node.node},
            {"name": "state", "valueCode": node.state},
            {"name": "tookMs", "valueInteger": node.took_ms},
        ]
        part += [{"name": "fault", "valueCode": node.fault}] if node.fault else []
        part += [{"name": "via", "valueString": node.via}] if node.via else []
        part += [{"name": "detail", "valueString": node.detail}] if node.detail else []
        parameters.append({"name": "node", "part": part})
    ledger = [
        {"name": "origin", "valueString": answer.ledger.origin},
        {"name": "entry", "valueString": answer.ledger.entry},
        {"name": "index", "valueInteger": answer.ledger.index},
    ]
    parameters.append({"name": "ledger", "part": ledger})
    return {"resourceType": "Parameters", "parameter": parameters}


def _verdict(verdict: VerdictOut) -> dict[str, Any]:
    result = verdict.result
    part: list[dict[str, Any]] = [
        {"name": "verdict", "valueCode": verdict.verdict},
        {"name": "result", "valueString": result.id},
        {
            "name": "institution",
            "valueIdentifier": {"system": "urn:lianren:institution", "value": result.institution.code},
        },
    ]
    if result.local_name:
        part.append({"name": "localName", "valueString": result.local_name})
    if verdict.item:
        part.append({"name": "item", "valueCoding": _coding(verdict.item.code, verdict.item.name)})
    if verdict.serves:
        part.append({"name": "serves", "valueCoding": _coding(verdict.serves.code, verdict.serves.name)})
    if verdict.mark and verdict.mark.signed:
        part.append({"name": "mark", "valueString": verdict.mark.signed})
    if verdict.expires:
        part.append({"name": "expires", "valueDateTime": verdict.expires.isoformat(timespec="seconds")})
    for name, text in (("value", result.value), ("unit", result.unit), ("reference", result.reference)):
        part += [{"name": name, "valueString": text}] if text else []
    if verdict.converted:
        told = msgspec.to_builtins(verdict.converted)
        inner = [{"name": name, "valueString": text} for name, text in told.items() if text]
        part.append({"name": "converted", "part": inner})
    part += [_reason("reason", reason) for reason in verdict.reasons]
    part += [_reason("note", note) for note in verdict.notes]
    return {"name": "verdict", "part": part}


def _reason(name: str, reason: Reason) -> dict[str, Any]:
    return {
        "name": name,
        "part": [{"name": "rule", "valueCode": reason.rule}, *_words(reason.zh, reason.en)],
    }


def _words(zh: str, en: str) -> list[dict[str, Any]]:
    return [{"name": "zh", "valueString": zh}, {"name": "en", "valueString": en}]


def _coding(code: str, name: str) -> dict[str, str]:
    return {"system": ITEM_SYSTEM, "code": code, "display": name}
