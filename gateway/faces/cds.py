"""CDS Hooks 2.0: advice at the order moment, with the same decision as the REST face.

Discovery offers ``order-sign``. An ``order-select`` call is answered alike, for clients that send the orders
earlier; a ``patient-view`` call has no orders, so it has no cards. An order is never blocked: a card informs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from msgspec import Struct
from starlette.responses import Response

from gateway.errors import BadRequest, PrefetchMissing
from gateway.faces.common import client_of, gateway_of, read, reply
from gateway.faces.describe import describe
from gateway.faces.orders import check_request, person_of, planned_of, valid
from gateway.model import AdviceOut, CheckAnswer, CheckRequest, OutcomeIn

router = APIRouter(prefix="/cds-services", tags=["cds-hooks"])
SERVICE = "result-recognition"
HOOKS = ("order-sign", "order-select", "patient-view")
REASONS_SYSTEM = "https://lianren.example/fhir/CodeSystem/reasons"
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")  # FHIR R4 id
_MARKDOWN = re.compile(r"[\\`*_{}\[\]()<>#+!|~-]")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


class HookCall(Struct, frozen=True, rename="camel", kw_only=True):
    """A service call; fields that CDS Hooks defines and this service does not need are let pass."""

    hook: str
    hook_instance: str
    context: dict[str, Any]
    prefetch: dict[str, Any] = {}


class Feedback(Struct, frozen=True, kw_only=True, rename="camel"):
    """One entry of a feedback call: what became of a card."""

    card: str
    outcome: str
    outcome_timestamp: str = ""
    override_reason: dict[str, Any] = {}


class FeedbackCall(Struct, frozen=True):
    """The body of a feedback call."""

    feedback: list[Feedback]


@router.get("", summary="Discovery")
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


@router.post(f"/{SERVICE}", openapi_extra=describe(), summary="Advice at the order moment")
async def advise(request: Request) -> Response:
    """Cards for the draft orders, and the whole decision as an extension."""
    client = client_of(request)
    call = await read(request, HookCall)
    asked = _check_request(call)
    if asked is None:
        return reply({"cards": []})
    answer = await request.app.state.checks.ask(asked, client, "cds")
    reasons = [
        {"code": code.code, "system": f"{REASONS_SYSTEM}/{code.system}", "display": code.zh}
        for code in gateway_of(request).rules.catalogue.reason_codes.values()
        if code.system == "platform-A"
    ]
    cards = [_card(number, advice, answer, reasons) for number, advice in enumerate(answer.advice)]
    return reply({"cards": cards, "extension": {"org.lianren.decision": answer}})


@router.post(f"/{SERVICE}/feedback", openapi_extra=describe(), summary="What became of the cards")
async def feedback(request: Request) -> Response:
    """Accepted and overridden cards become outcomes of every recognised result that the card was about."""
    client = client_of(request)
    call = await read(request, FeedbackCall)
    state = request.app.state
    for number, entry in enumerate(call.feedback):
        check_id, _, card = entry.card.partition(".")
        answer = await state.checks.answer(check_id, client)
        if not card.isdigit() or int(card) >= len(answer.advice):
            raise BadRequest("is no card of this service", field=f"feedback[{number}].card")
        if entry.outcome not in ("accepted", "overridden"):
            raise BadRequest("is neither accepted nor overridden", field=f"feedback[{number}].outcome")
        reason = entry.override_reason.get("reason") or {}
        served = {item.code for item in answer.advice[int(card)].served}
        for verdict in answer.verdicts:
            if verdict.verdict == "recognised" and verdict.serves and verdict.serves.code in served:
                outcome = OutcomeIn(
                    result=verdict.result.id,
                    outcome="accepted" if entry.outcome == "accepted" else "declined",
                    system=str(reason.get("system", "")).removeprefix(f"{REASONS_SYSTEM}/"),
                    code=str(reason.get("code", "")),
                    text=str(entry.override_reason.get("userComment", "")),
                )
                await state.outcomes.record(check_id, outcome, client)
    return reply({})


def _check_request(call: HookCall) -> CheckRequest | None:
    """None where nothing is planned that recognition is about."""
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
        return None
    orders = _orders(call.context.get("draftOrders"))
    if not orders:
        return None
    if not isinstance(call.prefetch.get("patient"), dict):
        raise PrefetchMissing("send the Patient that discovery asks for", field="prefetch.patient")
    patient = valid(call.prefetch["patient"], "Patient", "prefetch.patient")
    person = person_of(patient.get("identifier") or [], "prefetch.patient")
    return check_request(
        {
            "request_id": call.hook_instance,
            "patient": {"type": person.type, "value": person.value},
            "planned": [planned_of(order, place) for place, order in orders],
        }
    )


def _orders(bundle: object) -> list[tuple[str, Mapping[str, Any]]]:
    """The ServiceRequests of ``draftOrders``; medication and other orders are none of this service's."""
    place = "context.draftOrders"
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        raise BadRequest("must be a Bundle", field=place)
    entries = bundle.get("entry") or []
    if not isinstance(entries, list):
        raise BadRequest("must be a list", field=f"{place}.entry")
    orders = []
    for number, entry in enumerate(entries):
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
            raise BadRequest("is no resource", field=f"{place}.entry[{number}].resource")
        if resource["resourceType"] == "ServiceRequest":
            where = f"{place}.entry[{number}].resource"
            orders.append((where, valid(resource, "ServiceRequest", where)))
    return orders


def _card(
    number: int, advice: AdviceOut, answer: CheckAnswer, reasons: list[dict[str, str]]
) -> dict[str, Any]:
    """One card for one planned examination (CDS Hooks 2.0, Card Attributes; summary below 140 characters)."""
    total = len(advice.served) + len(advice.to_order)
    if not advice.served:
        summary = f"{advice.planned}：未找到可互认的结果"
    elif advice.to_order:
        summary = f"{advice.planned}：{total}项中{len(advice.served)}项可互认，其余须开单"
    else:
        summary = f"{advice.planned}：已有可互认的结果"
    served = {item.code for item in advice.served}
    lines = [
        f"- {_text(verdict.result.institution.name)} {_text(verdict.result.local_name)}："
        f"{_text(verdict.reasons[0].zh)}"
        for verdict in answer.verdicts
        if verdict.verdict != "recognised" or (verdict.serves and verdict.serves.code in served)
    ]
    if advice.served and advice.to_order:
        lines.append("- 须开单：" + "、".join(_text(item.name) for item in advice.to_order))
    silent = [node.node for node in answer.nodes if node.state not in ("answered", "empty")]
    if silent:
        lines.append("- 未能应答的节点：" + "、".join(silent))
    if answer.catalogue.illustrative:
        lines.append(f"- {answer.catalogue.notice_zh}")
    return {
        "uuid": f"{answer.id}.{number}",
        "summary": summary[:139],
        "indicator": "info",
        "detail": "\n".join(lines),
        "source": {"label": f"联认 {answer.catalogue.version}"},
        "overrideReasons": reasons,
    }


def _text(words: str) -> str:
    """Words for ``detail``, which is GitHub Flavored Markdown: a name makes no link and no image."""
    return _MARKDOWN.sub(r"\\\g<0>", words)
