"""CDS Hooks 2.0: discovery, requests that the HL7 validator judged, and cards."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from gateway.demo.people import BY_KEY
from tests.contract.calls import hook, order, patient
from tests.gateway.live import Live

SERVICE = "/cds-services/result-recognition"
INDEX = Path(__file__).resolve().parents[3] / "shared/conformance/cdshooks/index.json"
REQUESTS = [
    (case["file"], case["hl7_validator"])
    for case in (json.loads(INDEX.read_bytes()) if INDEX.exists() else [])
    if case["kind"] == "request"
]


@pytest.fixture
def his(gateway: Live) -> httpx.Client:
    return gateway.client()


def test_the_requests_of_the_test_material_are_there(conformance: Path) -> None:
    assert REQUESTS


@pytest.mark.parametrize(("file", "verdict"), REQUESTS)
def test_a_request_is_taken_or_refused_as_the_validator_says(
    gateway: Live, his: httpx.Client, conformance: Path, file: str, verdict: str
) -> None:
    before = gateway.kept()
    answer = his.post(
        SERVICE,
        content=(conformance / "cdshooks" / file).read_bytes(),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code in ((200, 412) if verdict == "accept" else (400, 412))
    if answer.status_code == 200:
        assert isinstance(answer.json()["cards"], list)
    assert gateway.kept() == before  # none of them has an order that recognition is about


def test_discovery_offers_the_service_with_its_prefetch(his: httpx.Client) -> None:
    (service,) = his.get("/cds-services").json()["services"]
    assert (service["hook"], service["id"]) == ("order-sign", "result-recognition")
    assert service["prefetch"] == {"patient": "Patient/{{context.patientId}}"}


def test_an_order_without_its_prefetch_is_412(gateway: Live, his: httpx.Client) -> None:
    before = gateway.kept()
    call = hook()
    del call["prefetch"]
    answer = his.post(SERVICE, json=call)
    assert (answer.status_code, answer.json()["field"]) == (412, "prefetch.patient")
    assert gateway.kept() == before


def test_a_card_has_what_the_specification_asks_for(his: httpx.Client) -> None:
    (card,) = his.post(SERVICE, json=hook()).json()["cards"]
    assert 0 < len(card["summary"]) < 140
    assert card["indicator"] in ("info", "warning", "critical")
    assert card["source"]["label"]
    assert card["uuid"]


def test_every_order_has_its_card(his: httpx.Client) -> None:
    cards = his.post(SERVICE, json=hook(order("白蛋白"), order("总蛋白"))).json()["cards"]
    assert [("可互认的结果" in card["summary"], "未找到" in card["summary"]) for card in cards] == [
        (True, False),
        (True, True),
    ]


def test_an_order_whose_name_is_on_no_list_has_a_card_that_says_so(his: httpx.Client) -> None:
    (card,) = his.post(SERVICE, json=hook(order("某院特需套餐乙"))).json()["cards"]
    assert "某院特需套餐乙" in card["summary"] + card["detail"]


def test_markup_in_a_name_is_no_markup_in_the_detail_of_a_card(his: httpx.Client) -> None:
    answer = his.post(SERVICE, json=hook(order("<img src=x onerror=alert(1)>白蛋白")))
    assert not [card for card in answer.json()["cards"] if "<img" in card.get("detail", "")]


def test_the_same_hook_instance_gives_the_same_cards(his: httpx.Client) -> None:
    call = hook()
    assert his.post(SERVICE, json=call).content == his.post(SERVICE, json=call).content


def test_feedback_becomes_an_outcome_of_what_the_card_was_about(gateway: Live, his: httpx.Client) -> None:
    (card,) = his.post(SERVICE, json=hook()).json()["cards"]
    before = gateway.kept()
    sent = {"card": card["uuid"], "outcome": "accepted", "outcomeTimestamp": "2026-11-22T00:00:00Z"}
    assert his.post(f"{SERVICE}/feedback", json={"feedback": [sent]}).status_code == 200
    assert gateway.kept() == (before[0] + 1, before[1] + 1, before[2])
    assert gateway.events("outcome_recorded")[-1]["outcome"] == "accepted"


def test_the_override_reasons_of_a_card_are_taken_back(gateway: Live, his: httpx.Client) -> None:
    (card,) = his.post(SERVICE, json=hook()).json()["cards"]
    reason = next(reason for reason in card["overrideReasons"] if reason["code"] == "01")
    sent = {"card": card["uuid"], "outcome": "overridden", "overrideReason": {"reason": reason}}
    assert his.post(f"{SERVICE}/feedback", json={"feedback": [sent]}).status_code == 200
    assert gateway.events("outcome_recorded")[-1]["reason_code"] == "platform-A:01"


def test_a_patient_whom_nobody_knows_has_a_card_that_finds_nothing(his: httpx.Client) -> None:
    (card,) = his.post(SERVICE, json=hook(order("肌酐"), who=patient(BY_KEY["zi"].number))).json()["cards"]
    assert "未找到" in card["summary"]


def test_the_patient_of_the_prefetch_is_that_of_the_context(gateway: Live, his: httpx.Client) -> None:
    before = gateway.kept()
    answer = his.post(SERVICE, json=hook(who=patient() | {"id": "p2"}))  # the context says p1
    assert (answer.status_code, answer.json()["field"]) == (400, "prefetch.patient.id")
    assert gateway.kept() == before


def test_an_order_for_another_patient_than_that_of_the_context_is_refused(
    gateway: Live, his: httpx.Client
) -> None:
    before = gateway.kept()
    answer = his.post(SERVICE, json=hook(order(), order(subject={"reference": "Patient/p2"})))
    assert answer.status_code == 400
    assert answer.json()["field"] == "context.draftOrders.entry[1].resource.subject"
    assert gateway.kept() == before


def test_a_patient_who_says_the_id_of_the_context_is_taken(his: httpx.Client) -> None:
    assert his.post(SERVICE, json=hook(who=patient() | {"id": "p1"})).status_code == 200
