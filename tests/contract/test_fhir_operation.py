"""The FHIR operation: the forms in which a person and orders may come, and refusals as OperationOutcome."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from security.identity import RESIDENT_SYSTEM
from tests.contract.calls import FHIR, ITEMS, order, parameters, patient
from tests.gateway.live import PATIENT, STRANGER, Live

Parameters = dict[str, Any]
PATH = "/fhir/ServiceRequest/$check-recognition"
SUBJECT = {"identifier": {"system": RESIDENT_SYSTEM, "value": PATIENT}}


@pytest.fixture
def his(gateway: Live) -> httpx.Client:
    return gateway.client()


def send(his: httpx.Client, resource: Parameters, media: str = FHIR) -> httpx.Response:
    return his.post(PATH, json=resource, headers={"Content-Type": media})


def verdicts(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == FHIR
    found = [p["part"] for p in answer.json()["parameter"] if p["name"] == "verdict"]
    return [part["valueCode"] for parts in found for part in parts if part["name"] == "verdict"]


def issue(answer: httpx.Response) -> tuple[int, str]:
    told = answer.json()
    assert told["resourceType"] == "OperationOutcome"
    return answer.status_code, told["issue"][0]["details"]["coding"][0]["code"]


def test_an_order_alone_whose_subject_is_identified_will_do(his: httpx.Client) -> None:
    assert verdicts(send(his, order(subject=SUBJECT))) == ["recognised"]


def test_an_order_in_parameters_whose_subject_is_identified_will_do(his: httpx.Client) -> None:
    only = {
        "resourceType": "Parameters",
        "parameter": [{"name": "order", "resource": order(subject=SUBJECT)}],
    }
    assert verdicts(send(his, only)) == ["recognised"]


def test_plain_json_is_taken_too(his: httpx.Client) -> None:
    assert verdicts(send(his, parameters(), "application/json")) == ["recognised"]


def test_a_catalogue_code_counts_before_the_hospitals_own_name(his: httpx.Client) -> None:
    coded = order("某院特需套餐乙")
    coded["code"]["coding"] = [{"system": ITEMS, "code": "1100104A"}]
    assert verdicts(send(his, parameters(coded))) == ["recognised"]


def test_a_display_is_a_name_where_there_is_no_text(his: httpx.Client) -> None:
    coded = order() | {"code": {"coding": [{"system": "urn:local", "code": "1", "display": "白蛋白"}]}}
    assert verdicts(send(his, parameters(coded))) == ["recognised"]


def test_orders_for_two_persons_are_not_mixed(gateway: Live, his: httpx.Client) -> None:
    other = {"identifier": {"system": RESIDENT_SYSTEM, "value": STRANGER}}
    both = [{"name": "order", "resource": order(subject=who)} for who in (SUBJECT, other)]
    before = gateway.kept()
    assert issue(send(his, {"resourceType": "Parameters", "parameter": both}))[0] == 422
    assert gateway.kept() == before


def test_two_patients_are_not_mixed(gateway: Live, his: httpx.Client) -> None:
    both = parameters()
    both["parameter"].append({"name": "patient", "resource": patient(STRANGER)})
    before = gateway.kept()
    assert issue(send(his, both))[0] == 422
    assert gateway.kept() == before


def test_a_request_id_with_another_order_is_a_conflict(his: httpx.Client) -> None:
    first, second = parameters(), parameters(order("总蛋白"))
    for resource in (first, second):
        resource["parameter"].append({"name": "requestId", "valueString": "fhir-conflict-1"})
    assert verdicts(send(his, first))
    assert issue(send(his, second)) == (409, "request-id-reused")


@pytest.mark.parametrize(
    ("client", "status", "code"), [("", 401, "not-authenticated"), ("auditor", 403, "not-permitted")]
)
def test_who_may_not_ask_is_told_in_the_shape_of_the_face(
    gateway: Live, client: str, status: int, code: str
) -> None:
    assert issue(send(gateway.client(client), parameters())) == (status, code)


def test_an_order_that_says_nothing_is_refused_at_its_code(his: httpx.Client) -> None:
    answer = send(his, parameters(order() | {"code": {}}))
    assert answer.status_code == 422
    assert "parameter[0].resource" in answer.json()["issue"][0]["expression"][0]
