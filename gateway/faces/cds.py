"""CDS Hooks 2.0: advice at the order moment, with the same decision as the REST face.

Discovery offers ``order-sign``. An ``order-select`` call is answered alike, for clients that send the orders
earlier; a ``patient-view`` call has no orders, so it has no cards. In an emergency the call's extension
``org.lianren.break-glass`` says why to go on against the patient's consent.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from fastapi import APIRouter, Request
from msgspec import Struct
from starlette.responses import Response

from gateway.errors import BadRequest, NotFound, PrefetchMissing
from gateway.faces.cards import REASONS_SYSTEM, cards_of
from gateway.faces.common import client_of, gateway_of, read, reply
from gateway.faces.describe import describe
from gateway.faces.orders import Order, check_request, order_of, person_of, placed, valid
from gateway.model import OutcomeIn, PersonIn, ShortText
from gateway.outcomes import Asked

router = APIRouter(prefix="/cds-services", tags=["cds-hooks"])
SERVICE = "result-recognition"
BREAK_GLASS = "org.lianren.break-glass"
CALLING = (400, 403, 409, 412, 413, 415)
HOOKS = ("order-sign", "order-select", "patient-view")
OFFERED_REASONS = "platform-A"
"""The code system whose reasons a card offers; the others are accepted too."""
_CARD = re.compile(r"([0-9a-f]{32})\.([0-9]{1,2})", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")  # FHIR R4 id
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


class HookCall(Struct, frozen=True, rename="camel", kw_only=True):
    """A service call; fields that CDS Hooks defines and this service does not need are let pass."""

    hook: str
    hook_instance: str
    context: dict[str, Any]
    prefetch: dict[str, Any] = {}
    extension: dict[str, Any] = {}


class Override(Struct, frozen=True, rename="camel"):
    """Why a card was overridden: one of its reasons, and what the doctor wrote."""

    reason: OverrideCode | None = None
    user_comment: ShortText = ""


class OverrideCode(Struct, frozen=True):
    """The Coding of an override reason."""

    code: ShortText = ""
    system: ShortText = ""


class Feedback(Struct, frozen=True, kw_only=True, rename="camel"):
    """One entry of a feedback call: what became of a card."""

    card: ShortText
    outcome: Literal["accepted", "overridden"]
    override_reason: Override = Override()


class FeedbackCall(Struct, frozen=True):
    """The body of a feedback call."""

    feedback: list[Feedback]


@router.get("", openapi_extra=describe(), summary="Discovery")
async def discovery(request: Request) -> Response:
    """What is offered, and which data to send along."""
    client_of(request)
    service = {
        "hook": HOOKS[0],
        "id": SERVICE,
        "title": "检查检验结果互认提示",
        "description": "开单前查询外院可互认的结果 (prior results that may serve for what is being ordered)",
        "prefetch": {"patient": "Patient/{{context.patientId}}"},
    }
    return reply({"services": [service]})


@router.post(
    f"/{SERVICE}", openapi_extra=describe(HookCall, refusals=CALLING), summary="Advice at the order moment"
)
async def advise(request: Request) -> Response:
    """Cards for the draft orders, and the whole decision as an extension."""
    client = client_of(request)
    call = await read(request, HookCall)
    orders = _orders(call)
    if not orders:
        return reply({"cards": []})
    person, reason, place = _person(call, orders), call.extension.get(BREAK_GLASS), f"extension.{BREAK_GLASS}"
    asked = check_request(call.hook_instance, person, orders, reason, place)
    with placed(orders, "hookInstance", place):
        answer = (await request.app.state.checks.ask(asked, client, "cds")).answer
    published = gateway_of(request).rules.catalogue.reason_codes.values()
    offered = [code for code in published if code.system == OFFERED_REASONS]
    return reply({"cards": cards_of(answer, offered), "extension": {"org.lianren.decision": answer}})


@router.post(
    f"/{SERVICE}/feedback",
    openapi_extra=describe(FeedbackCall, refusals=(400, 403, 404, 413, 415)),
    summary="What became of the cards",
)
async def feedback(request: Request) -> Response:
    """Accepted and overridden cards become outcomes of every recognised result that the card was about."""
    client = client_of(request)
    call = await read(request, FeedbackCall)
    outcomes: list[Asked] = []
    for number, entry in enumerate(call.feedback):
        found = _CARD.fullmatch(entry.card)
        try:
            answer = await request.app.state.checks.answer(found[1] if found else "", client)
        except NotFound as wrong:
            wrong.field = f"feedback[{number}].card"
            raise
        if found is None or int(found[2]) >= len(answer.advice):
            raise NotFound("is no card that your institution got", field=f"feedback[{number}].card")
        served = {item.code for item in answer.advice[int(found[2])].served}
        outcomes += [
            Asked(answer.id, _outcome(entry, verdict.result.id), f"feedback[{number}].overrideReason.")
            for verdict in answer.verdicts
            if verdict.verdict == "recognised" and verdict.serves and verdict.serves.code in served
        ]
    if outcomes:
        await request.app.state.outcomes.record(outcomes, client)
    return reply({})


def _outcome(entry: Feedback, result: str) -> OutcomeIn:
    if entry.outcome == "accepted":
        return OutcomeIn(result=result, outcome="accepted")
    reason = entry.override_reason.reason or OverrideCode()
    return OutcomeIn(
        result=result,
        outcome="declined",
        system=reason.system.removeprefix(f"{REASONS_SYSTEM}/"),
        code=reason.code,
        text=entry.override_reason.user_comment,
    )


def _orders(call: HookCall) -> list[Order]:
    """The ServiceRequests of the draft orders; medication and other orders are none of this service's."""
    if call.hook not in HOOKS:
        raise BadRequest(f"must be one of {', '.join(HOOKS)}", field="hook")
    if not _UUID.fullmatch(call.hook_instance):
        raise BadRequest("must be a UUID", field="hookInstance")
    for name in ("userId", "patientId"):
        if not isinstance(call.context.get(name), str):
            raise BadRequest("is missing or no string", field=f"context.{name}")
    for name in ("patientId", "encounterId"):
        if name in call.context and not _ID.fullmatch(str(call.context[name])):
            raise BadRequest("must be a FHIR id, without the resource type", field=f"context.{name}")
    if call.hook == "patient-view":
        return []
    place = "context.draftOrders"
    bundle = call.context.get("draftOrders")
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        raise BadRequest("must be a Bundle", field=place)
    entries = bundle.get("entry") or []
    if not isinstance(entries, list):
        raise BadRequest("must be a list", field=f"{place}.entry")
    orders = []
    for number, entry in enumerate(entries):
        where = f"{place}.entry[{number}].resource"
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
            raise BadRequest("is no resource", field=where)
        if resource["resourceType"] == "ServiceRequest":
            orders.append(order_of(resource, where))
    return orders


def _person(call: HookCall, orders: list[Order]) -> PersonIn:
    """The Patient of the prefetch, who must be the context's and every order's."""
    place = "prefetch.patient"
    if not isinstance(call.prefetch.get("patient"), dict):
        raise PrefetchMissing("send the Patient that discovery asks for", field=place)
    patient = valid(call.prefetch["patient"], "Patient", place)
    if patient.get("id", call.context["patientId"]) != call.context["patientId"]:
        raise BadRequest("is another patient than context.patientId", field=f"{place}.id")
    return person_of([(place, {**patient, "id": call.context["patientId"]})], orders)
