"""The log and the metrics: declared fields only, and nothing about a person, whatever was asked."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from gateway.demo.people import BY_KEY
from gateway.log import EVENTS, Log
from tests.gateway.live import PATIENT, Live, body, persons_in


def test_a_field_that_an_event_does_not_declare_is_refused() -> None:
    stream = io.StringIO()
    with pytest.raises(ValueError, match="does not declare"):
        Log(stream)("check_answered", check="1", patient=PATIENT)
    assert stream.getvalue() == ""


def test_an_event_that_is_not_declared_is_refused() -> None:
    with pytest.raises(KeyError):
        Log(io.StringIO())("patient_seen")


def test_no_event_declares_a_field_for_a_person() -> None:
    declared = frozenset().union(*EVENTS.values())
    assert not declared & {"patient", "person", "value", "number", "birth_date", "identifier", "body"}


def test_a_session_of_checks_refusals_and_outcomes_tells_nothing_of_a_person(
    gateway: Live, his: httpx.Client
) -> None:
    for person in BY_KEY.values():
        his.post("/api/v1/checks", json=body("白蛋白", "血糖", person.name, patient=person.number))
        his.post("/api/v1/checks", json=body(patient=person.number[:-1] + "?"))
        his.get(f"/api/v1/checks/{person.number}")
        his.post(
            f"/api/v1/checks/{person.number}/outcomes", json={"result": person.number, "outcome": "cited"}
        )
    text = gateway.log.getvalue() + gateway.client("").get("/metrics").text
    assert persons_in(text) == []


def test_a_member_name_of_a_body_does_not_come_into_the_log(gateway: Live, his: httpx.Client) -> None:
    refused = his.post("/api/v1/checks", json=body() | {PATIENT: 1})
    assert refused.status_code == 422
    assert persons_in(gateway.log.getvalue()) == []


def test_a_member_name_of_a_resource_does_not_come_into_the_log(gateway: Live, his: httpx.Client) -> None:
    order = {"resourceType": "ServiceRequest", "status": "active", "intent": "order", PATIENT: 1}
    refused = his.post("/fhir/ServiceRequest/$check-recognition", json=order)
    assert refused.status_code == 422
    assert persons_in(gateway.log.getvalue()) == []


def test_a_number_in_place_of_a_request_id_does_not_come_into_the_log(
    gateway: Live, his: httpx.Client
) -> None:
    his.get("/api/v1/checks/1", headers={"X-Request-Id": PATIENT})
    assert persons_in(gateway.log.getvalue()) == []


def test_a_check_is_one_event_with_its_ledger_index(gateway: Live, his: httpx.Client) -> None:
    given = his.post("/api/v1/checks", json=body()).json()
    (event,) = (event for event in gateway.events("check_answered") if event["check"] == given["id"])
    assert (event["client"], event["face"], event["replayed"]) == ("his", "rest", False)
    assert event["ledger_index"] == given["ledger"]["index"]


def test_a_line_that_is_written_for_a_request_has_its_id(gateway: Live, his: httpx.Client) -> None:
    given = his.post("/api/v1/checks", json=body(), headers={"X-Request-Id": "order-18"})
    (event,) = (one for one in gateway.events("check_answered") if one["check"] == given.json()["id"])
    assert event["request"] == "order-18"


def test_a_line_that_belongs_to_no_request_has_no_id(gateway: Live) -> None:
    (event,) = gateway.events("started")
    assert "request" not in event


def test_two_requests_at_once_keep_their_ids_apart(gateway: Live, his: httpx.Client) -> None:
    def ask(number: int) -> tuple[str, str]:
        id_ = f"order-at-once-{number}"
        asked = httpx.post(
            f"{gateway.url}/api/v1/checks",
            json=body(),
            headers={**his.headers, "X-Request-Id": id_},
            timeout=30,
        )
        return asked.json()["id"], id_

    with ThreadPoolExecutor(4) as pool:
        given = dict(pool.map(ask, range(8)))
    told = {one["check"]: one["request"] for one in gateway.events("check_answered") if one["check"] in given}
    assert told == given


def test_a_refusal_is_one_event(gateway: Live, his: httpx.Client) -> None:
    refused = his.post("/api/v1/checks", json=body(deadline_ms=1))
    (event,) = (e for e in gateway.events("request_refused") if e["request"] == refused.json()["request"])
    assert (event["status"], event["code"], event["route"]) == (422, "bad-body", "/api/v1/checks")


def test_the_metrics_count_checks_verdicts_nodes_and_refusals(gateway: Live, his: httpx.Client) -> None:
    his.post("/api/v1/checks", json=body())
    his.post("/api/v1/checks", json={})
    text = his.get("/metrics").text
    for name in ("checks", "verdicts", "node_answers", "refusals"):
        assert f"lianren_{name}_total{{" in text
    assert f"lianren_ledger_size {float(gateway.kept()[0])}" in text
