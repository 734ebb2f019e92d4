"""CDS Hooks 2.0: advice at the order moment and when a chart is opened, with the decision of the REST face.

Three services, one hook each (:data:`SERVICES`); discovery is public, as it tells nothing of anybody. Every
call brings a token of ours, or the JWT of a CDS client (:mod:`gateway.access.tokens`). In an emergency the
call's extension ``org.lianren.break-glass`` says why to go on against the patient's consent.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.access.clients import Client
from gateway.errors import BadRequest, NotFound
from gateway.faces._cds_call import (
    BREAK_GLASS,
    CONTEXT,
    REASON,
    SITUATION,
    Draft,
    HookCall,
    access,
    drafts_of,
    history_request,
    prefetched,
    refuse_odd,
)
from gateway.faces._cds_feedback import OFFERED_REASONS, FeedbackCall, outcomes_of, parts, saying_where
from gateway.faces.cards import cards_of
from gateway.faces.common import JSON, client_of, gateway_of, read, reply
from gateway.faces.describe import describe
from gateway.faces.orders import check_request, person_of, placed, valid
from gateway.flow import spent, waited_s
from gateway.model import CheckAnswer, PersonIn
from gateway.outcomes import Asked

router = APIRouter(prefix="/cds-services", tags=["cds-hooks"])
CALLING = (400, 403, 409, 412, 413, 415)
_NEEDS = (
    "Patient 须含居民身份证号等强标识；请预取 patient，或提供 fhirServer 与 fhirAuthorization"
    "（其地址须先由网关运维登记）。The Patient must carry a strong identifier such as the resident number."
)
SERVICES = tuple(
    {
        "hook": hook,
        "id": name,
        "title": title,
        "description": description,
        "prefetch": {"patient": "Patient/{{context.patientId}}"},
        "usageRequirements": _NEEDS,
    }
    for hook, name, title, description in (
        (
            "order-sign",
            "result-recognition",
            "检查检验结果互认提示（签署医嘱）",
            "签署前查询可互认的已有结果 (prior results that may serve for what is being signed)",
        ),
        (
            "order-select",
            "result-recognition-select",
            "检查检验结果互认提示（选择医嘱）",
            "选择时查询可互认的已有结果 (prior results that may serve for what is being selected)",
        ),
        (
            "patient-view",
            "result-history",
            "近期检查检验结果提示（打开病历）",
            "打开病历时提示近期可互认的结果 (recent results that may be recognised)",
        ),
    )
)
DISCOVERY = msgspec.json.encode({"services": SERVICES})
ETAG = f'"{hashlib.sha256(DISCOVERY).hexdigest()[:32]}"'
_FETCHING = 0.5
"""Of the deadline, what fetching the Patient may take."""


@router.get("", openapi_extra=describe(token=False), summary="Discovery")
async def discovery(request: Request) -> Response:
    """What is offered, and which data to send along."""
    headers = {"ETag": ETAG, "Cache-Control": "public, max-age=3600"}
    if ETAG in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(DISCOVERY, headers=headers, media_type=JSON)


async def advise(request: Request) -> Response:
    """Cards for the draft orders or the opened chart, and the whole decision as an extension."""
    client = client_of(request)
    call = await read(request, HookCall)
    refuse_odd(call)
    catalogue = gateway_of(request).rules.catalogue
    drafts: list[Draft] = []
    if call.hook == "patient-view":
        answer = await _history(request, call, client)
    elif drafts := drafts_of(call, catalogue):
        answer = await _check(request, call, client, drafts)
    else:
        return reply({"cards": []})
    offered = [code for code in catalogue.reason_codes.values() if code.system == OFFERED_REASONS]
    viewer = gateway_of(request).settings.viewer_url
    # a card stands in a record for years; a viewer that wants a token is linked to by a viewing
    cards = cards_of(answer, offered, drafts, "" if "{token}" in viewer else viewer)
    return reply({"cards": cards, "extension": {"org.lianren.decision": answer}})


async def feedback(request: Request) -> Response:
    """Accepted and overridden cards become outcomes of every recognised result that the card was about."""
    client = client_of(request)
    call = await read(request, FeedbackCall)
    now = datetime.now(UTC)
    outcomes: list[Asked] = []
    for number, entry in enumerate(call.feedback):
        place = f"feedback[{number}]"
        try:
            answer = await request.app.state.checks.answer(parts(entry)[0], client)
        except NotFound as wrong:
            wrong.field = f"{place}.card"
            raise
        outcomes += outcomes_of(entry, answer, now, place)
    if outcomes:
        with saying_where():
            await request.app.state.outcomes.record(outcomes, client)
    return reply({})


for _service in SERVICES:
    router.add_api_route(
        f"/{_service['id']}",
        advise,
        methods=["POST"],
        openapi_extra=describe(HookCall, refusals=CALLING),
        summary=f"Advice at {_service['hook']}",
    )
    router.add_api_route(
        f"/{_service['id']}/feedback",
        feedback,
        methods=["POST"],
        openapi_extra=describe(FeedbackCall, refusals=(400, 403, 404, 413, 415)),
        summary=f"What became of the cards of {_service['hook']}",
    )


async def _check(request: Request, call: HookCall, client: Client, drafts: Sequence[Draft]) -> CheckAnswer:
    orders = [draft.order for draft in drafts]
    person = await _person(request, call, client, drafts)
    asked = check_request(
        call.hook_instance,
        person,
        orders,
        call.told(BREAK_GLASS),
        REASON,
        context=call.told(CONTEXT),
        place=SITUATION,
    )
    with placed(orders, "hookInstance", REASON, SITUATION):
        answer: CheckAnswer = (await request.app.state.checks.ask(asked, client, "cds")).answer
    return answer


async def _history(request: Request, call: HookCall, client: Client) -> CheckAnswer:
    person = await _person(request, call, client, ())
    asked = history_request(call, person, gateway_of(request).settings.lookback_days)
    with placed((), "hookInstance", REASON, SITUATION):
        answer: CheckAnswer = (await request.app.state.checks.history(asked, client, "cds")).answer
    return answer


async def _person(request: Request, call: HookCall, client: Client, drafts: Sequence[Draft]) -> PersonIn:
    """The Patient that came along or is fetched, who must be the context's and every order's."""
    place, patient = "prefetch.patient", prefetched(call)
    if patient is None:
        server, token = access(call)
        place, began = "fhirServer", time.monotonic()
        budget = gateway_of(request).settings.deadline_ms / 1000 * _FETCHING - waited_s()
        patient = await request.app.state.prefetching.patient(
            client.id, server, token, call.patient_id, budget=max(budget, 0.05)
        )
        spent(time.monotonic() - began)
    patient = valid(patient, "Patient", place)
    if patient.get("id", call.patient_id) != call.patient_id:
        raise BadRequest("is another patient than context.patientId", field=f"{place}.id")
    identified = {**patient, "id": call.patient_id}
    return person_of([(place, identified)], [draft.order for draft in drafts])
