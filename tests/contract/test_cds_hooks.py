"""CDS Hooks 2.0: discovery, requests that the HL7 validator judged, and cards."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.demo.people import BY_KEY
from gateway.faces.cards import REASONS_SYSTEM
from gateway.faces.orders import valid
from tests.contract.calls import hook, order, patient
from tests.gateway.live import STRANGER, Live

SERVICE = "/cds-services/result-recognition"
SELECT = "/cds-services/result-recognition-select"
HISTORY = "/cds-services/result-history"
OFFERED = {
    "result-recognition": "order-sign",
    "result-recognition-select": "order-select",
    "result-history": "patient-view",
}
INDEX = Path(__file__).resolve().parents[3] / "shared/conformance/cdshooks/index.json"
REQUESTS = [
    (case["file"], case["hl7_validator"])
    for case in (json.loads(INDEX.read_bytes()) if INDEX.exists() else [])
    if case["kind"] == "request"
]
PANEL = "肝功能12项"


def called(name: str, *orders: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A call of a hook; an order-select selects all that have an id."""
    call = hook(*orders, **more) | {"hook": name}
    if name == "patient-view":
        del call["context"]["draftOrders"]
    if name == "order-select":
        call["context"]["selections"] = [f"ServiceRequest/{one['id']}" for one in orders if "id" in one]
    return call


def suggestion_of(his: httpx.Client, *orders: dict[str, Any]) -> dict[str, Any]:
    """The suggestion of the card on the only order."""
    (card,) = his.post(SERVICE, json=hook(*orders)).json()["cards"]
    assert card["selectionBehavior"] == "at-most-one"
    (suggestion,) = card["suggestions"]
    return dict(suggestion)


@pytest.fixture
def his(gateway: Live) -> httpx.Client:
    return gateway.client()


def test_the_requests_of_the_test_material_are_there(conformance: Path) -> None:
    assert REQUESTS


@pytest.mark.parametrize("service", OFFERED)
@pytest.mark.parametrize(("file", "verdict"), REQUESTS)
def test_a_request_is_taken_or_refused_as_the_validator_says(
    gateway: Live, his: httpx.Client, conformance: Path, file: str, verdict: str, service: str
) -> None:
    before = gateway.kept()
    answer = his.post(
        f"/cds-services/{service}",
        content=(conformance / "cdshooks" / file).read_bytes(),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code in ((200, 412) if verdict == "accept" else (400, 412))
    if answer.status_code == 200:
        assert isinstance(answer.json()["cards"], list)
    assert gateway.kept() == before  # none of them has an order that recognition is about


def test_discovery_offers_one_service_a_hook_with_its_prefetch(gateway: Live) -> None:
    services = gateway.client("").get("/cds-services").json()["services"]
    assert {service["id"]: service["hook"] for service in services} == OFFERED
    for service in services:
        assert service["prefetch"] == {"patient": "Patient/{{context.patientId}}"}
        assert {"title", "description", "usageRequirements"} <= service.keys()


def test_discovery_that_did_not_change_is_not_sent_again(gateway: Live) -> None:
    first = gateway.client("").get("/cds-services")
    again = gateway.client("").get("/cds-services", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("service", OFFERED)
def test_every_service_that_is_offered_answers_its_hook_and_takes_feedback(
    his: httpx.Client, service: str
) -> None:
    call = called(OFFERED[service], order(id="o1"))
    (card,) = his.post(f"/cds-services/{service}", json=call).json()["cards"]
    sent = {"card": card["uuid"], "outcome": "overridden"}
    assert his.post(f"/cds-services/{service}/feedback", json={"feedback": [sent]}).status_code == 200


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


@pytest.mark.parametrize(
    ("name", "words"), [(f"{'　' * 150}白蛋白", "不必再开"), ("某院特需套餐" * 30, "未作查询")]
)
def test_a_long_name_leaves_room_for_what_matters(his: httpx.Client, name: str, words: str) -> None:
    (card,) = his.post(SERVICE, json=hook(order(name))).json()["cards"]
    assert words in card["summary"]


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


def test_no_call_is_sent_on_to_another_address(his: httpx.Client) -> None:
    """With its token, and to a host that the caller named."""
    for address in (f"{SERVICE}/", "/cds-services/", "/api/v1/checks/"):
        answer = his.post(address, json=hook(), headers={"Host": "elsewhere.example"})
        assert (answer.status_code, answer.headers.get("location")) == (404, None)


def test_the_same_hook_instance_gives_the_same_cards(his: httpx.Client) -> None:
    call = hook()
    assert his.post(SERVICE, json=call).content == his.post(SERVICE, json=call).content


def test_a_card_tells_verdict_value_age_and_reasons_of_the_prior_result(his: httpx.Client) -> None:
    (card,) = his.post(SERVICE, json=hook()).json()["cards"]
    (line,) = [line for line in card["detail"].splitlines() if "可互认：" in line]
    assert "白蛋白 40.8 g/L" in line
    assert "天前" in line
    assert "各项核对均通过" in line


# Suggestions


def test_an_order_whose_result_is_there_can_be_taken_off(his: httpx.Client) -> None:
    suggestion = suggestion_of(his, order(id="o1"))
    assert suggestion["isRecommended"] is True
    (action,) = suggestion["actions"]
    assert (action["type"], action["resourceId"]) == ("delete", "ServiceRequest/o1")


def test_a_panel_is_replaced_by_what_is_left_to_order(his: httpx.Client) -> None:
    call = hook(order(PANEL, id="p1", priority="routine"))
    told = his.post(SERVICE, json=call).json()
    (advice,) = told["extension"]["org.lianren.decision"]["advice"]
    (suggestion,) = told["cards"][0]["suggestions"]
    delete, *creates = suggestion["actions"]
    assert delete["resourceId"] == "ServiceRequest/p1"
    made = [valid(create["resource"], "ServiceRequest", "resource") for create in creates]
    assert [one["code"]["coding"][0]["code"] for one in made] == [one["code"] for one in advice["to_order"]]
    assert len(advice["served"]) + len(creates) == 12
    assert not any("id" in one for one in made)
    assert {one["priority"] for one in made} == {"routine"}


def test_what_replaces_a_panel_names_its_patient_by_reference_alone(his: httpx.Client) -> None:
    subject = {"reference": "Patient/p1", "display": "某某", "identifier": patient()["identifier"][0]}
    _, create, *_ = suggestion_of(his, order(PANEL, id="p1", subject=subject))["actions"]
    assert create["resource"]["subject"] == {"reference": "Patient/p1"}


def test_what_replaces_a_panel_is_itself_an_order_that_can_be_read(his: httpx.Client) -> None:
    _, create, *_ = suggestion_of(his, order(PANEL, id="p1"))["actions"]
    (card,) = his.post(SERVICE, json=hook(create["resource"])).json()["cards"]
    assert card["summary"].startswith(create["resource"]["code"]["text"])


def test_an_order_that_cannot_be_named_has_no_suggestion(his: httpx.Client) -> None:
    (card,) = his.post(SERVICE, json=hook(order())).json()["cards"]
    assert not {"suggestions", "selectionBehavior"} & card.keys()


def test_an_order_is_named_by_its_full_url_where_it_has_no_id(his: httpx.Client) -> None:
    call = hook(order())
    call["context"]["draftOrders"]["entry"][0]["fullUrl"] = "https://his.example/fhir/ServiceRequest/7"
    (card,) = his.post(SERVICE, json=call).json()["cards"]
    assert card["suggestions"][0]["actions"][0]["resourceId"] == "ServiceRequest/7"


def test_the_full_url_of_another_resource_names_no_order(his: httpx.Client) -> None:
    call = hook(order())
    call["context"]["draftOrders"]["entry"][0]["fullUrl"] = "https://his.example/fhir/MedicationRequest/7"
    (card,) = his.post(SERVICE, json=call).json()["cards"]
    assert "suggestions" not in card


def test_of_two_drafts_with_one_id_none_is_taken_off(his: httpx.Client) -> None:
    cards = his.post(SERVICE, json=hook(order("白蛋白", id="o1"), order("总蛋白", id="o1"))).json()["cards"]
    assert [("不必再开" in card["summary"], "suggestions" in card) for card in cards] == [
        (True, False),
        (False, False),
    ]


def test_what_replaces_a_panel_is_not_defined_by_what_defines_the_panel(his: httpx.Client) -> None:
    panel = order(PANEL, id="p1", instantiatesUri=["urn:example:lft"], note=[{"text": "空腹"}])
    _, create, *_ = suggestion_of(his, panel)["actions"]
    assert "instantiatesUri" not in create["resource"]
    assert create["resource"]["note"] == [{"text": "空腹"}]


def test_an_order_for_which_nothing_was_found_is_left_alone(his: httpx.Client) -> None:
    (card,) = his.post(SERVICE, json=hook(order("总蛋白", id="o1"))).json()["cards"]
    assert "suggestions" not in card


# The other hooks


def test_of_draft_orders_only_the_selected_ones_are_asked_about(his: httpx.Client) -> None:
    call = called("order-select", order("白蛋白", id="o1"), order("总蛋白", id="o2"))
    call["context"]["selections"] = ["ServiceRequest/o2"]
    (card,) = his.post(SELECT, json=call).json()["cards"]
    assert card["summary"].startswith("总蛋白")


def test_a_draft_that_was_not_selected_may_be_unfinished(his: httpx.Client) -> None:
    call = called("order-select", order("白蛋白", id="o1"), {**order(id="o2"), "code": {}})
    call["context"]["selections"] = ["ServiceRequest/o1"]
    assert his.post(SELECT, json=call).status_code == 200


@pytest.mark.parametrize(
    ("selections", "field"),
    [
        (None, "context.selections"),
        (["o1"], "context.selections[0]"),
        (["ServiceRequest/o1", "ServiceRequest/o9"], "context.selections[1]"),
    ],
)
def test_a_selection_that_is_none_is_refused(
    gateway: Live, his: httpx.Client, selections: object, field: str
) -> None:
    before = gateway.kept()
    call = called("order-select", order(id="o1"))
    call["context"]["selections"] = selections
    answer = his.post(SELECT, json=call)
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert gateway.kept() == before


def test_an_opened_chart_has_one_card_of_what_may_be_recognised(his: httpx.Client) -> None:
    told = his.post(HISTORY, json=called("patient-view", who=patient(BY_KEY["jia"].number))).json()
    (card,) = told["cards"]
    assert "可互认" in card["summary"]
    assert "白细胞计数" in card["detail"]
    assert told["extension"]["org.lianren.decision"]["moment"] == "reception"


def test_an_opened_chart_of_which_nothing_is_known_has_no_card(his: httpx.Client) -> None:
    answer = his.post(HISTORY, json=called("patient-view", who=patient(STRANGER)))
    assert (answer.status_code, answer.json()["cards"]) == (200, [])


# What an order says


@pytest.mark.parametrize(
    "more",
    [
        {"code": {"coding": [{"system": "urn:wst886", "code": "1100104A"}]}},
        {"code": {"coding": [{"system": "http://loinc.org", "code": "1751-7", "display": "Albumin SerPl"}]}},
        {"code": {"coding": [{"system": "http://loinc.org", "code": "1751-7"}]}},
        {
            "code": {
                "coding": [
                    {"system": "http://loinc.org", "code": "1751-7", "display": "Albumin"},
                    {"system": "urn:lianren:local:EX-CQ-01", "code": "ALB01", "display": "白蛋白"},
                ]
            }
        },
        {
            "priority": "urgent",
            "reasonCode": [{"text": "复查"}],
            "performer": [{"reference": "Organization/1"}],
            "requester": {"reference": "Practitioner/1"},
            "specimen": [{"display": "血清"}],
            "extension": [{"url": "urn:example:x", "valueString": "y"}],
        },
    ],
)
def test_an_order_is_read_in_every_shape_that_hospitals_give_it(
    his: httpx.Client, more: dict[str, Any]
) -> None:
    told = his.post(SERVICE, json=hook(order(**more))).json()["extension"]["org.lianren.decision"]
    assert [item["code"] for item in told["advice"][0]["served"]] == ["1100104A"]


def test_a_loinc_code_that_stands_for_no_item_is_read_by_its_display(his: httpx.Client) -> None:
    code = {"coding": [{"system": "http://loinc.org", "code": "99999-9", "display": "白蛋白"}]}
    told = his.post(SERVICE, json=hook(order(code=code))).json()["extension"]["org.lianren.decision"]
    assert told["advice"][0]["planned"] == "白蛋白"


def test_a_text_goes_before_a_loinc_code(his: httpx.Client) -> None:
    code = {"coding": [{"system": "http://loinc.org", "code": "1751-7"}], "text": "总蛋白"}
    told = his.post(SERVICE, json=hook(order(code=code))).json()["extension"]["org.lianren.decision"]
    assert told["advice"][0]["planned"] == "总蛋白"


def test_more_orders_than_a_check_may_have_are_refused_where_they_stand(his: httpx.Client) -> None:
    answer = his.post(SERVICE, json=hook(*[order()] * 51))
    assert (answer.status_code, answer.json()["field"]) == (400, "context.draftOrders.entry[50].resource")


def test_an_order_that_names_two_items_is_refused(his: httpx.Client) -> None:
    coding = [{"system": f"{REASONS_SYSTEM[:-7]}items", "code": code} for code in ("1100104A", "1100204A")]
    answer = his.post(SERVICE, json=hook(order(code={"coding": coding})))
    assert (answer.status_code, answer.json()["field"]) == (
        400,
        "context.draftOrders.entry[0].resource.code",
    )


def test_what_lies_ahead_of_the_patient_is_told_by_an_extension(his: httpx.Client) -> None:
    call = hook() | {"extension": {"org.lianren.context": {"forensic": True}}}
    told = his.post(SERVICE, json=call).json()["extension"]["org.lianren.decision"]
    assert {reason["rule"] for one in told["verdicts"] for reason in one["reasons"]} == {"N5"}


@pytest.mark.parametrize(
    ("context", "field"),
    [
        ("operation", ""),
        ({"forensic": "yes"}, ".forensic"),
        ({"setting": "990000198201200080"}, ".setting"),
        ({"x": True}, ""),
    ],
)
def test_a_situation_that_cannot_be_read_is_refused_where_it_stands(
    his: httpx.Client, context: object, field: str
) -> None:
    answer = his.post(SERVICE, json=hook() | {"extension": {"org.lianren.context": context}})
    assert answer.status_code == 400
    assert answer.json()["field"] == f"extension.org.lianren.context{field}"
    assert "990000198201200080" not in answer.text


# Feedback


def test_feedback_becomes_an_outcome_of_what_the_card_was_about(gateway: Live, his: httpx.Client) -> None:
    (card,) = his.post(SERVICE, json=hook(order(id="o1"))).json()["cards"]
    before = gateway.kept()
    sent = {
        "card": card["uuid"],
        "outcome": "accepted",
        "acceptedSuggestions": [{"id": card["suggestions"][0]["uuid"]}],
        "outcomeTimestamp": "2026-11-22T00:00:00Z",
    }
    assert his.post(f"{SERVICE}/feedback", json={"feedback": [sent]}).status_code == 200
    assert gateway.kept() == (before[0] + 1, before[1] + 1, before[2])
    assert gateway.events("outcome_recorded")[-1]["outcome"] == "accepted"


def test_feedback_that_comes_again_changes_nothing(gateway: Live, his: httpx.Client) -> None:
    (card,) = his.post(SERVICE, json=hook()).json()["cards"]
    reason = card["overrideReasons"][0]
    at = datetime.now(UTC).isoformat()
    sent = {"card": card["uuid"], "outcome": "overridden", "overrideReason": {"reason": reason}}
    call = {"feedback": [sent | {"outcomeTimestamp": at}]}
    his.post(f"{SERVICE}/feedback", json=call)
    before = gateway.kept()
    assert his.post(f"{SERVICE}/feedback", json=call).status_code == 200
    assert gateway.kept() == before


def test_the_time_of_feedback_is_that_of_the_doctors_word(his: httpx.Client) -> None:
    told = his.post(SERVICE, json=hook()).json()
    check, at = told["extension"]["org.lianren.decision"]["id"], datetime.now(UTC) - timedelta(seconds=2)
    sent = {"card": f"{check}.0", "outcome": "accepted", "outcomeTimestamp": at.isoformat()}
    his.post(f"{SERVICE}/feedback", json={"feedback": [sent]})
    same = {
        "outcome": "accepted",
        "result": told["extension"]["org.lianren.decision"]["verdicts"][0]["result"]["id"],
    }
    kept = his.post(f"/api/v1/checks/{check}/outcomes", json=same | {"at": at.isoformat()}).json()
    assert datetime.fromisoformat(kept["at"]) == at


def test_the_override_reasons_of_a_card_are_taken_back(gateway: Live, his: httpx.Client) -> None:
    (card,) = his.post(SERVICE, json=hook()).json()["cards"]
    reason = next(reason for reason in card["overrideReasons"] if reason["code"] == "01")
    for told in (reason, {"code": "02"}):  # a client needs to send no more than the code
        sent = {"card": card["uuid"], "outcome": "overridden", "overrideReason": {"reason": told}}
        assert his.post(f"{SERVICE}/feedback", json={"feedback": [sent]}).status_code == 200
        assert gateway.events("outcome_recorded")[-1]["reason_code"] == f"platform-A:{told['code']}"


def test_a_comment_alone_is_the_reason_that_is_none_of_the_others(gateway: Live, his: httpx.Client) -> None:
    (card,) = his.post(SERVICE, json=hook()).json()["cards"]
    sent = {"card": card["uuid"], "outcome": "overridden", "overrideReason": {"userComment": "家属要求"}}
    assert his.post(f"{SERVICE}/feedback", json={"feedback": [sent]}).status_code == 200
    assert gateway.events("outcome_recorded")[-1]["reason_code"] == "platform-A:08"


def test_a_card_that_was_dismissed_without_a_word_was_viewed(gateway: Live, his: httpx.Client) -> None:
    (card,) = his.post(SERVICE, json=hook()).json()["cards"]
    sent = {"card": card["uuid"], "outcome": "overridden"}
    assert his.post(f"{SERVICE}/feedback", json={"feedback": [sent]}).status_code == 200
    assert gateway.events("outcome_recorded")[-1]["outcome"] == "viewed"


@pytest.mark.parametrize(
    ("changed", "status", "field"),
    [
        ({"card": uuid.uuid4().hex + ".0"}, 404, "card"),
        ({"card": "x"}, 404, "card"),
        (
            {"outcome": "accepted", "acceptedSuggestions": [{"id": "another"}]},
            404,
            "acceptedSuggestions[0].id",
        ),
        ({"overrideReason": {"reason": {"code": "77"}}}, 400, "overrideReason.reason.code"),
        ({"overrideReason": {"reason": {"code": "1", "system": "x"}}}, 400, "overrideReason.reason.system"),
        ({"overrideReason": {"reason": {"code": "99"}}}, 400, "overrideReason.userComment"),
    ],
)
def test_feedback_that_is_about_nothing_known_is_refused_where_it_stands(
    gateway: Live, his: httpx.Client, changed: dict[str, Any], status: int, field: str
) -> None:
    (card,) = his.post(SERVICE, json=hook()).json()["cards"]
    before = gateway.kept()
    sent = {"card": card["uuid"], "outcome": "overridden"} | changed
    answer = his.post(f"{SERVICE}/feedback", json={"feedback": [sent]})
    assert (answer.status_code, answer.json()["field"]) == (status, f"feedback[0].{field}")
    assert gateway.kept() == before


def test_a_card_that_the_answer_does_not_have_is_none(his: httpx.Client) -> None:
    (card,) = his.post(SERVICE, json=hook()).json()["cards"]
    for other in ("1", "00000000000000000001", "all", "０"):
        sent = {"card": f"{card['uuid'].partition('.')[0]}.{other}", "outcome": "overridden"}
        assert his.post(f"{SERVICE}/feedback", json={"feedback": [sent]}).status_code == 404


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


@pytest.mark.parametrize("reference", ["Group/1", "Location/1", "#p1", "Patient?identifier=1"])
def test_an_order_for_what_is_no_patient_is_refused(gateway: Live, his: httpx.Client, reference: str) -> None:
    before = gateway.kept()
    answer = his.post(SERVICE, json=hook(order(subject={"reference": reference})))
    place = "context.draftOrders.entry[0].resource.subject.reference"
    assert (answer.status_code, answer.json()["field"]) == (400, place)
    assert gateway.kept() == before


@pytest.mark.parametrize(
    "references",
    [
        (f"urn:uuid:{uuid.uuid4()}", f"urn:uuid:{uuid.uuid4()}"),
        ("https://a.example/fhir/Patient/p1", "https://b.example/fhir/Patient/p1"),
    ],
)
def test_orders_for_patients_at_different_places_are_refused(
    gateway: Live, his: httpx.Client, references: tuple[str, str]
) -> None:
    before = gateway.kept()
    orders = [order(subject={"reference": reference}) for reference in references]
    answer = his.post(SERVICE, json=hook(*orders))
    place = "context.draftOrders.entry[1].resource.subject"
    assert (answer.status_code, answer.json()["field"]) == (400, place)
    assert gateway.kept() == before


def test_a_retired_number_of_the_patient_is_passed_over(his: httpx.Client) -> None:
    who = patient()
    who["identifier"].insert(0, who["identifier"][0] | {"use": "old", "value": BY_KEY["jia"].number})
    (card,) = his.post(SERVICE, json=hook(who=who)).json()["cards"]
    assert "不必再开" in card["summary"]  # that of the patient in front, and not of the number's owner


def test_a_patient_with_two_resident_numbers_is_nobody(gateway: Live, his: httpx.Client) -> None:
    before = gateway.kept()
    who = patient()
    who["identifier"].append(who["identifier"][0] | {"value": BY_KEY["jia"].number})
    answer = his.post(SERVICE, json=hook(who=who))
    assert (answer.status_code, answer.json()["field"]) == (400, "prefetch.patient.identifier")
    assert BY_KEY["jia"].number not in answer.text
    assert gateway.kept() == before


def test_an_outcome_in_place_of_the_patient_is_no_patient(his: httpx.Client) -> None:
    call = hook()
    issue = {"severity": "error", "code": "not-found"}
    call["prefetch"] = {"patient": {"resourceType": "OperationOutcome", "issue": [issue]}}
    answer = his.post(SERVICE, json=call)
    assert (answer.status_code, answer.json()["field"]) == (412, "prefetch.patient")


def test_a_patient_who_says_the_id_of_the_context_is_taken(his: httpx.Client) -> None:
    assert his.post(SERVICE, json=hook(who=patient() | {"id": "p1"})).status_code == 200
