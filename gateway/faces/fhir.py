"""Recognition in FHIR terms: the check before an order, and the recognition of a report that is there.

``POST /fhir/ServiceRequest/$check-recognition`` takes Parameters with ``order`` (ServiceRequest, one or more)
and ``patient`` (Patient, by which the person is known; a ServiceRequest whose subject carries the identifier
will do), or one ServiceRequest alone; in an emergency ``breakGlass``, the reason for going on against the
patient's consent. It answers Parameters with the same decision as the other faces.
``/fhir/DiagnosticReport/<id>/$recognition``, also below ``/fhir/nodes/<node>``, answers the same shape for
the results of one report.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from catalog import Catalogue
from catalog.fhir import BASE, ITEM_SYSTEM
from gateway.body import decode
from gateway.errors import BadRequest
from gateway.faces._parameters import from_body, from_query, lenient
from gateway.faces.common import FHIR_JSON, JSON, body_of, client_of, gateway_of, read, reply
from gateway.faces.describe import describe
from gateway.faces.orders import Order, check_request, order_of, person_of, placed, valid
from gateway.model import CheckAnswer, CheckRequest, VerdictOut
from gateway.resources.extensions import recognition
from gateway.resources.values import Place
from recognition import Reason

router = APIRouter(prefix="/fhir", tags=["fhir"])
BREAK_GLASS = "Parameters.parameter.where(name='breakGlass')"
OPERATION = f"{BASE}/OperationDefinition/check-recognition"
RECOGNITION = f"{BASE}/OperationDefinition/recognition"


def capabilities() -> list[dict[str, Any]]:
    """What the CapabilityStatement says of it."""
    return [
        {
            "type": "ServiceRequest",
            "operation": [{"name": "check-recognition", "definition": OPERATION}],
        },
        {
            "type": "DiagnosticReport",
            "operation": [{"name": "recognition", "definition": RECOGNITION}],
        },
    ]


@router.post(
    "/ServiceRequest/$check-recognition",
    openapi_extra=describe(dict, media_type=FHIR_JSON, refusals=(400, 403, 409, 413, 415, 422)),
    summary="Ask before ordering, in FHIR terms",
)
async def check_recognition(request: Request) -> Response:
    """The recognition check as a FHIR operation (operations.html)."""
    client = client_of(request)
    body = await read(request, dict[str, Any], FHIR_JSON, JSON)
    asked, orders = _check_request(body, gateway_of(request).rules.catalogue)
    with placed(orders, "Parameters.parameter.where(name='requestId')", BREAK_GLASS):
        answer = (await request.app.state.checks.ask(asked, client, "fhir")).answer
    return reply(parameters_of(answer), media_type=FHIR_JSON)


async def recognise(request: Request) -> Response:
    """What of this report is recognised at your institution: the verdict on each of its results. It is a
    check, with consent, evidence and a decision id."""
    place = Place("DiagnosticReport", request.path_params["id"], request.path_params.get("node", ""))
    client = client_of(request)
    from_query(request.scope["query_string"], {}, ignore=lenient(request.scope))
    if request.method == "POST" and (body := await body_of(request, FHIR_JSON, JSON, "")):
        from_body(decode(body, dict[str, Any]), {}, ignore=lenient(request.scope))
    answer = await request.app.state.recognising.report(place, client)
    return reply(parameters_of(answer), media_type=FHIR_JSON)


for _base, _names in (("", ("id",)), ("/nodes/{node:path}", ("node", "id"))):
    for _method in ("GET", "POST"):
        router.add_api_route(
            f"{_base}/DiagnosticReport/{{id}}/$recognition",
            recognise,
            methods=[_method],
            openapi_extra=describe(media_type=FHIR_JSON, refusals=(400, 403, 404, 409, 422, 502))
            | {
                "parameters": [
                    {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                    for name in _names
                ]
            },
            summary="What of a report is recognised",
        )


def _check_request(body: Mapping[str, Any], catalogue: Catalogue) -> tuple[CheckRequest, list[Order]]:
    if body.get("resourceType") == "ServiceRequest":
        order = order_of(body, "ServiceRequest", catalogue)
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
            orders.append(order_of(parameter.get("resource"), f"{place}.resource", catalogue))
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


def parameters_of(answer: CheckAnswer) -> dict[str, Any]:
    """A decision as the Parameters that ``$check-recognition`` answers."""
    part: list[dict[str, Any]]
    parameters: list[dict[str, Any]] = [
        {"name": "decision", "valueId": answer.id},
        {"name": "requestId", "valueString": answer.request_id},
        {"name": "catalogue", "valueString": answer.catalogue.version},
        {"name": "complete", "valueBoolean": answer.complete},
        *(_verdict(verdict, answer.catalogue.version) for verdict in answer.verdicts),
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


def _verdict(verdict: VerdictOut, catalogue: str) -> dict[str, Any]:
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
    return {"extension": [recognition(verdict, catalogue)], "name": "verdict", "part": part}


def _reason(name: str, reason: Reason) -> dict[str, Any]:
    return {
        "name": name,
        "part": [{"name": "rule", "valueCode": reason.rule}, *_words(reason.zh, reason.en)],
    }


def _words(zh: str, en: str) -> list[dict[str, Any]]:
    return [{"name": "zh", "valueString": zh}, {"name": "en", "valueString": en}]


def _coding(code: str, name: str) -> dict[str, str]:
    return {"system": ITEM_SYSTEM, "code": code, "display": name}
