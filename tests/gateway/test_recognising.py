"""The recognition of one report: its verdicts, whose word is asked, and what is left on record."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from gateway.demo.people import BY_KEY
from gateway.resources.extensions import RECOGNITION
from security.identity import RESIDENT_SYSTEM
from tests.gateway.live import INDEX, NODE, OWN, Live, audit, gateway_of_hospital, persons_in

CHEST = "DiagnosticReport/ct-chest-report"
NOW = datetime.now(UTC).isoformat(timespec="seconds")
LIVER, PANELS, ELSEWHERE, STRANGE = (
    f"DiagnosticReport/{id_}" for id_ in ("liver", "panels", "elsewhere", "strange")
)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway over a hospital's source, and over what it publishes: one report with two results."""
    with gateway_of_hospital(tmp_path_factory.mktemp("recognising")) as running:
        publish(running)
        yield running


def publish(live: Live) -> None:
    """A laboratory report of two results, and a third result beside it; further reports of panels that lead
    to each other, of what lies on another server, and of another person's results."""
    patient = {"resourceType": "Patient", "identifier": [number("jia")]}
    another = {"resourceType": "Patient", "identifier": [number("yi")]}
    observations = [observation("alb", "白蛋白", 43.1, "g/L"), observation("tp", "总蛋白", 70.5, "g/L")]
    report = {
        "resourceType": "DiagnosticReport",
        "status": "final",
        "category": category("LAB"),
        "code": {"text": "肝功能"},
        "subject": {"reference": "Patient/p1"},
        "issued": NOW,
        "performer": [performer()],
        "result": [{"reference": "Observation/alb"}, {"reference": "Observation/tp"}],
    }
    of_panels = report | {"result": [{"reference": "Observation/outer"}]}
    elsewhere = report | {"result": [{"reference": "https://other.example/fhir/Observation/alb"}]}
    client = live.client("publisher")
    for place, resource in (
        ("Patient/p1", patient),
        ("Patient/p2", another),
        ("Observation/theirs", observation("theirs", "白蛋白", 40, "g/L") | subject("p2")),
        ("Observation/mixed", panel("mixed", "theirs", "alb") | subject("p2")),
        (STRANGE, report | {"result": [{"reference": f"Observation/{id_}"} for id_ in ("theirs", "mixed")]}),
        ("Observation/inner", panel("inner", "alb", "outer")),
        ("Observation/outer", panel("outer", "inner", "tp")),
        (PANELS, of_panels),
        (ELSEWHERE, elsewhere),
        *((f"Observation/{one['id']}", one) for one in observations),
        ("Observation/alt", observation("alt", "丙氨酸氨基转移酶", 20, "U/L")),
        (LIVER, report),
    ):
        resource["id"] = place.partition("/")[2]
        answer = client.put(f"/fhir/{place}", json=resource)
        assert answer.status_code == 201, answer.text


def subject(patient: str) -> dict[str, Any]:
    return {"subject": {"reference": f"Patient/{patient}"}}


def panel(id_: str, *members: str) -> dict[str, Any]:
    """An Observation without a value of its own."""
    references = [{"reference": f"Observation/{one}"} for one in members]
    header = observation(id_, "肝功能", 0, "") | {"hasMember": references}
    del header["valueQuantity"]
    return header


def observation(id_: str, name: str, value: float, unit: str) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": id_,
        "status": "final",
        "category": [{"coding": [{"code": "laboratory"}]}],
        "code": {"text": name},
        "subject": {"reference": "Patient/p1"},
        "specimen": {"display": "血清"},
        "effectiveDateTime": NOW,
        "issued": NOW,
        "performer": [performer()],
        "valueQuantity": {"value": value, "unit": unit},
    }


def category(code: str) -> list[dict[str, Any]]:
    return [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": code}]}]


def performer() -> dict[str, Any]:
    return {"identifier": {"system": "urn:lianren:institution", "value": OWN}}


def number(key: str) -> dict[str, str]:
    return {"system": RESIDENT_SYSTEM, "value": BY_KEY[key].number}


def ask(client: httpx.Client, report: str = CHEST, method: str = "GET", **more: Any) -> httpx.Response:
    return client.request(method, f"/fhir/{report}/$recognition", **more)


def verdicts(answer: httpx.Response) -> dict[str, str]:
    """Result → verdict."""
    assert answer.status_code == 200, answer.text
    told = [
        {part["name"]: part for part in one["part"]}
        for one in answer.json()["parameter"]
        if one["name"] == "verdict"
    ]
    return {one["result"]["valueString"]: one["verdict"]["valueCode"] for one in told}


def told(answer: httpx.Response, name: str) -> Any:
    (found,) = [one for one in answer.json()["parameter"] if one["name"] == name]
    return next(value for key, value in found.items() if key.startswith("value"))


@pytest.mark.parametrize("below", ["", f"nodes/{NODE}/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_imaging_report_is_one_result(live: Live, below: str, method: str) -> None:
    answer = ask(live.client(), f"{below}{CHEST}", method)
    assert verdicts(answer).keys() == {f"{NODE}/{CHEST}"}


def test_of_a_laboratory_report_each_result_has_a_verdict_and_no_other_has(live: Live) -> None:
    answer = ask(live.client("other"), f"nodes/{INDEX}/{LIVER}")
    assert verdicts(answer).keys() == {f"{INDEX}/Observation/alb", f"{INDEX}/Observation/tp"}


def test_what_the_panels_of_a_report_hold_is_of_the_report(live: Live) -> None:
    answer = ask(live.client("other"), PANELS)
    assert verdicts(answer).keys() == {f"{INDEX}/Observation/alb", f"{INDEX}/Observation/tp"}


def test_what_a_report_leads_to_on_another_server_is_no_result_of_the_node(live: Live) -> None:
    assert verdicts(ask(live.client("other"), ELSEWHERE)) == {}


def test_of_another_person_nothing_is_said_whatever_a_report_names(live: Live) -> None:
    assert verdicts(ask(live.client("other"), STRANGE)) == {}


def test_only_the_items_of_the_report_are_planned(live: Live) -> None:
    answer = ask(live.client("other"), LIVER).json()
    planned = [
        part["valueString"]
        for one in answer["parameter"]
        if one["name"] == "advice"
        for part in one["part"]
        if part["name"] == "planned"
    ]
    assert sorted(planned) == ["总蛋白测定", "白蛋白测定"]


def test_the_verdict_is_an_extension_too(live: Live) -> None:
    answer = ask(live.client())
    (verdict,) = [one for one in answer.json()["parameter"] if one["name"] == "verdict"]
    (extension,) = verdict["extension"]
    parts = {one["url"]: one for one in extension["extension"]}
    assert extension["url"] == RECOGNITION
    assert parts["verdict"]["valueCode"] == verdicts(answer)[f"{NODE}/{CHEST}"]
    assert parts["catalogue"]["valueString"] == told(answer, "catalogue")
    assert parts["reason"]["extension"][0]["valueCode"]


def test_statistics_do_not_count_it_among_the_reminders_at_reception(live: Live) -> None:
    check = told(ask(live.client("other"), LIVER), "decision")
    assert live.client("other").get(f"/api/v1/checks/{check}").json()["moment"] == "report"


def test_it_is_a_check_that_can_be_read_and_answered(live: Live) -> None:
    answer = ask(live.client("other"), LIVER)
    check = told(answer, "decision")
    kept = live.client("other").get(f"/api/v1/checks/{check}")
    assert kept.status_code == 200
    outcome = {"result": f"{INDEX}/Observation/alb", "outcome": "viewed"}
    assert live.client("other").post(f"/api/v1/checks/{check}/outcomes", json=outcome).status_code == 200


def test_every_asking_is_a_check_of_its_own(live: Live) -> None:
    assert told(ask(live.client()), "decision") != told(ask(live.client()), "decision")


def test_an_empty_parameters_resource_is_taken(live: Live) -> None:
    assert verdicts(ask(live.client(), method="POST", json={"resourceType": "Parameters"}))


def test_a_parameter_that_is_not_offered_is_refused(live: Live) -> None:
    asked = {"resourceType": "Parameters", "parameter": [{"name": "colour", "valueString": "red"}]}
    assert ask(live.client(), method="POST", json=asked).status_code == 400
    assert ask(live.client(), params={"colour": "red"}).status_code == 400


@pytest.mark.parametrize("report", ["DiagnosticReport/none", f"nodes/none/{CHEST}"])
def test_a_report_that_is_nowhere_is_not_found(live: Live, report: str) -> None:
    assert ask(live.client(), report).status_code == 404


@pytest.mark.parametrize(("client", "status"), [("", 401), ("auditor", 403), ("publisher", 403)])
def test_it_is_not_for_everybody(live: Live, client: str, status: int) -> None:
    before = live.kept()
    assert ask(live.client(client)).status_code == status
    assert live.kept() == before


def test_a_patient_who_does_not_want_it_is_not_told_about(live: Live) -> None:
    key, report = "bing", "DiagnosticReport/mr-brain-report"
    assert verdicts(ask(live.client("third"), report))
    consent = {
        "patient": {"type": "resident-id", "value": BY_KEY[key].number},
        "decision": "deny",
        "receivers": ["EX-HB-01"],
    }
    assert live.client().post("/api/v1/consents", json=consent).status_code == 200
    answer = ask(live.client("third"), report)
    assert answer.status_code == 403
    assert answer.json()["issue"][0]["details"]["coding"][0]["code"] == "consent-denied"
    assert verdicts(ask(live.client(), report))


def test_nothing_of_the_person_is_in_the_log(live: Live) -> None:
    ask(live.client())
    assert persons_in(live.log.getvalue()) == []
    assert live.events("internal_error") == []


def test_the_ledger_of_it_verifies(live: Live, tmp_path: Any) -> None:
    ask(live.client())
    assert audit(live, tmp_path / uuid.uuid4().hex) == []
