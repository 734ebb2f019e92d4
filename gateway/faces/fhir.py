"""The FHIR face, first form: the CapabilityStatement, and the recognition check as an operation.

``POST /fhir/ServiceRequest/$check-recognition`` takes Parameters with ``order`` (ServiceRequest, one or more)
and ``patient`` (Patient, by which the person is known; a ServiceRequest whose subject carries the identifier
will do), or one ServiceRequest alone; it answers Parameters with the same decision as the other faces.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.errors import BadRequest
from gateway.faces.common import FHIR_JSON, JSON, client_of, gateway_of, read, reply
from gateway.faces.describe import describe
from gateway.faces.orders import ITEM_SYSTEM, check_request, person_of, planned_of, valid
from gateway.model import CheckAnswer, CheckRequest, VerdictOut

router = APIRouter(prefix="/fhir", tags=["fhir"])
OPERATION = "https://lianren.example/fhir/OperationDefinition/check-recognition"


@router.get("/metadata", openapi_extra=describe(media_type=FHIR_JSON), summary="CapabilityStatement")
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
                    "resource": [
                        {
                            "type": "ServiceRequest",
                            "operation": [{"name": "check-recognition", "definition": OPERATION}],
                        }
                    ],
                }
            ],
        },
        media_type=FHIR_JSON,
    )


@router.post(
    "/ServiceRequest/$check-recognition",
    openapi_extra=describe(media_type=FHIR_JSON),
    summary="Ask before ordering, in FHIR terms",
)
async def check_recognition(request: Request) -> Response:
    """The recognition check as a FHIR operation (operations.html)."""
    client = client_of(request)
    body = await read(request, dict[str, Any], FHIR_JSON, JSON)
    answer = await request.app.state.checks.ask(_check_request(body), client, "fhir")
    return reply(_parameters(answer), media_type=FHIR_JSON)


def _check_request(body: Mapping[str, Any]) -> CheckRequest:
    if body.get("resourceType") == "ServiceRequest":
        body = {"resourceType": "Parameters", "parameter": [{"name": "order", "resource": body}]}
    given: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    parameters = valid(body, "Parameters", "Parameters")
    for number, parameter in enumerate(parameters.get("parameter") or []):
        place = f"Parameters.parameter[{number}]"
        given.setdefault(parameter.get("name", ""), []).append((place, parameter))
    unknown = given.keys() - {"order", "patient", "requestId"}
    if unknown:
        raise BadRequest(
            "is no parameter of this operation; it takes order, patient and requestId",
            field=given[unknown.pop()][0][0],
        )
    orders = [
        (f"{place}.resource", valid(parameter.get("resource"), "ServiceRequest", f"{place}.resource"))
        for place, parameter in given.get("order", [])
    ]
    if not orders:
        raise BadRequest("has no parameter 'order' with a ServiceRequest", field="Parameters.parameter")
    if patients := given.get("patient"):
        place, parameter = patients[0]
        patient = valid(parameter.get("resource"), "Patient", f"{place}.resource")
        person = person_of(patient.get("identifier") or [], f"{place}.resource")
    else:
        place, order = orders[0]
        person = person_of([(order.get("subject") or {}).get("identifier")], f"{place}.subject")
    ids = [
        parameter.get("valueString") or parameter.get("valueId")
        for _, parameter in given.get("requestId", [])
    ]
    return check_request(
        {
            "request_id": ids[0] if ids else uuid.uuid4().hex,
            "patient": {"type": person.type, "value": person.value},
            "planned": [planned_of(order, place) for place, order in orders],
        }
    )


def _parameters(answer: CheckAnswer) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": "decision", "valueId": answer.id},
        {"name": "requestId", "valueString": answer.request_id},
        {"name": "catalogue", "valueString": answer.catalogue.version},
        {"name": "complete", "valueBoolean": answer.complete},
        *(_verdict(verdict) for verdict in answer.verdicts),
    ]
    for advice in answer.advice:
        part: list[dict[str, Any]] = [{"name": "planned", "valueString": advice.planned}]
        part += [{"name": "served", "valueCoding": _coding(item.code, item.name)} for item in advice.served]
        part += [
            {"name": "toOrder", "valueCoding": _coding(item.code, item.name)} for item in advice.to_order
        ]
        parameters.append({"name": "advice", "part": part})
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
    part += [
        {
            "name": "reason",
            "part": [
                {"name": "rule", "valueCode": reason.rule},
                {"name": "zh", "valueString": reason.zh},
                {"name": "en", "valueString": reason.en},
            ],
        }
        for reason in verdict.reasons
    ]
    return {"name": "verdict", "part": part}


def _coding(code: str, name: str) -> dict[str, str]:
    return {"system": ITEM_SYSTEM, "code": code, "display": name}
