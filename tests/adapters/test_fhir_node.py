"""A FHIR node over a real source, and over nodes that answer what they should not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from adapters import Answer, FhirNode, Question, Report
from gateway.demo.peers import medplum
from gateway.source import create_source
from recognition import Result
from tests.node_cases import (
    MRN,
    MRN_SYSTEM,
    NUMBER,
    OTHER_NUMBER,
    ask,
    normaliser,
    observation,
    patient,
    question,
    report,
    searchset,
    study,
    transaction,
)
from tests.peers import started
from tests.serving import Reply, http_answer, misbehave, noting, serve

FHIR = {"Content-Type": "application/fhir+json"}
LABORATORY = observation(
    "o1", valueQuantity={"value": 0.1, "comparator": "<", "unit": "ng/mL"}, code={"text": "降钙素原"}
)
ELSEWHERE: dict[str, Any] = {"subject": {"reference": "Patient/p2"}}
RECORDS = (
    patient(),
    patient("p2", OTHER_NUMBER, "CQ01007026"),
    LABORATORY,
    observation("o2", effectiveDateTime="2026-01-10T08:00:00+08:00", issued="2026-01-10T11:00:00+08:00"),
    observation("o3", **ELSEWHERE),
    observation("o4", category=[{"coding": [{"code": "vital-signs"}]}]),
    study(),
    report(),
    study("s2", **ELSEWHERE),
)


def node(url: str, **how: Any) -> FhirNode:
    return FhirNode("cq-his", url, "EX-CQ-01", normaliser, **how)


def by_id(answer: Answer) -> dict[str, Result]:
    return {result.id: result for result in answer.results}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    app = create_source(tmp_path_factory.mktemp("source") / "s.sqlite3", institution="EX-CQ-01")
    with serve(app) as url:
        seeded = httpx.post(url, content=json.dumps(transaction(*RECORDS)), headers=FHIR, trust_env=False)
        assert seeded.status_code == 200, seeded.text
        yield url


def test_the_results_of_the_person_are_found(source: str) -> None:
    answer = ask(node(source))
    assert sorted(by_id(answer)) == ["cq-his/DiagnosticReport/d1", "cq-his/Observation/o1"]


def test_the_report_counts_what_was_found(source: str) -> None:
    found = ask(node(source)).report
    assert (found.node, found.kind, found.state, found.results, found.fault) == (
        "cq-his",
        "fhir",
        "answered",
        2,
        "",
    )


def test_a_value_stays_as_it_was_written(source: str) -> None:
    assert by_id(ask(node(source)))["cq-his/Observation/o1"].value == "<0.1"


def test_only_the_kinds_that_were_asked_for_come_back(source: str) -> None:
    assert {r.kind for r in ask(node(source), question(kinds=("lab",))).results} == {"lab"}


def test_a_person_who_is_not_known_is_an_empty_answer(source: str) -> None:
    unknown = question().person.__class__("resident", "urn:oid:2.16.156.10011.1.3", "990000199912310033")
    assert ask(node(source), question(person=unknown)).report.state == "empty"


def test_answers_have_a_digest(source: str) -> None:
    assert len(ask(node(source)).digest) == 32


def test_the_local_numbers_are_those_of_the_person(source: str) -> None:
    async def run() -> tuple[str, ...]:
        his = node(source)
        try:
            return await his.patient_numbers(question(), MRN_SYSTEM)
        finally:
            await his.aclose()

    assert asyncio.run(run()) == (MRN,)


def test_a_ping_reaches_the_node(source: str) -> None:
    async def run() -> Report:
        his = node(source)
        try:
            return await his.ping()
        finally:
            await his.aclose()

    assert asyncio.run(run()).state == "answered"


def test_every_page_of_a_long_answer_is_read(tmp_path: Any) -> None:
    many = [observation(f"m{n:04}") for n in range(450)]
    with serve(create_source(tmp_path / "s.sqlite3", institution="EX-CQ-01")) as url:
        bundle = json.dumps(transaction(patient(), *many))
        assert httpx.post(url, content=bundle, headers=FHIR, timeout=30, trust_env=False).status_code == 200
        assert ask(node(url), question(budget=20.0)).report.results == 450


def fhir_reply(answers: dict[str, Any]) -> Callable[[str, bytes], Reply]:
    """Answer searches by type; a Patient search finds the person unless said otherwise."""

    def reply(first: str, _: bytes) -> Reply:
        type_ = first.split("/")[1].split("?")[0].split(" ")[0]
        found = answers.get(type_, searchset(patient()) if type_ == "Patient" else searchset())
        return found if found is None or isinstance(found, bytes) else http_answer(json.dumps(found).encode())

    return reply


def asked_of(answers: dict[str, Any], asked: Question | None = None) -> Answer:
    with misbehave(fhir_reply(answers)) as url:
        return ask(node(url, timeout=2.0), asked)


def test_a_patient_with_another_number_is_a_fault() -> None:
    answer = asked_of({"Patient": searchset(patient(number=OTHER_NUMBER))})
    assert (answer.report.state, answer.report.fault, answer.results) == ("faulty", "node", ())
    assert "another person" in answer.report.detail


def test_a_node_that_returns_everybody_is_a_fault() -> None:
    everybody = searchset(patient(), patient("p2", OTHER_NUMBER))
    assert asked_of({"Patient": everybody}).report.state == "faulty"


def test_an_observation_of_another_patient_is_a_fault_that_is_named() -> None:
    answer = asked_of({"Observation": searchset(observation(), observation("x", **ELSEWHERE))})
    assert answer.report.state == "faulty"
    assert "Observation[1]" in answer.report.detail


def test_a_record_without_a_subject_is_a_fault() -> None:
    assert asked_of({"ImagingStudy": searchset(study(subject={}))}).report.state == "faulty"


@pytest.mark.parametrize("subject", ["http://his.example/fhir/Patient/p1", "Patient/p1/_history/3"])
def test_a_subject_may_be_absolute_or_versioned(subject: str) -> None:
    answer = asked_of({"Observation": searchset(observation(subject={"reference": subject}))})
    assert answer.report.results == 1


def test_a_record_that_cannot_be_read_is_counted_and_the_others_kept() -> None:
    odd = observation("odd", code="not a concept")
    answer = asked_of({"Observation": searchset(observation(), odd)})
    assert (answer.report.state, answer.report.fault, answer.report.results) == ("answered", "node", 1)
    assert "Observation[1]" in answer.report.detail


def test_a_value_that_is_no_number_is_counted_too() -> None:
    odd = observation("odd", valueQuantity={"value": "43.5", "unit": "g/L"})
    assert "Observation[0]" in asked_of({"Observation": searchset(odd)}).report.detail


def test_the_order_of_the_records_does_not_matter() -> None:
    records = [observation("a"), observation("b", code={"text": "钾"}), observation("c")]
    one = asked_of({"Observation": searchset(*records)})
    assert one.results == asked_of({"Observation": searchset(*reversed(records))}).results


@pytest.mark.parametrize(
    "wrong",
    [
        {"resourceType": "CapabilityStatement", "type": "searchset"},
        {"resourceType": "Bundle", "type": "collection"},
        {"resourceType": "OperationOutcome"},
        [],
        b"",
        http_answer(b"{"),
        searchset(patient()),
    ],
    ids=["type", "collection", "outcome", "list", "nothing", "half", "another type"],
)
def test_an_answer_that_is_no_search_result_is_a_fault(wrong: Any) -> None:
    assert asked_of({"Observation": wrong}).report.state == "faulty"


def test_an_outcome_beside_the_matches_is_passed_over() -> None:
    found = searchset(observation())
    found["entry"].append({"resource": {"resourceType": "OperationOutcome"}, "search": {"mode": "outcome"}})
    assert asked_of({"Observation": found}).report.results == 1


def test_a_next_page_elsewhere_is_a_fault_and_not_fetched() -> None:
    fetched: list[str] = []
    with misbehave(noting(fetched, http_answer(b"{}"))) as elsewhere:
        link = [{"relation": "next", "url": f"{elsewhere}/Observation"}]
        answer = asked_of({"Observation": searchset(observation()) | {"link": link}})
    assert (answer.report.state, fetched) == ("faulty", [])


def test_pages_without_end_are_a_fault() -> None:
    link = [{"relation": "next", "url": "Observation?again"}]
    answer = asked_of({"Observation": searchset() | {"link": link}})
    assert answer.report.state == "faulty"
    assert "pages" in answer.report.detail


def test_a_search_that_is_refused_makes_the_node_refused() -> None:
    assert asked_of({"ImagingStudy": http_answer(b"{}", "403 Forbidden")}).report.state == "refused"


def test_a_hanging_search_is_late_within_the_budget() -> None:
    answer = asked_of({"Observation": None}, question(budget=0.2))
    assert answer.report.state == "late"
    assert answer.report.took_ms < 1000


def test_a_node_that_is_gone_is_unreachable() -> None:
    with misbehave(lambda *_: b"") as url:
        gone = url
    assert ask(node(gone)).report.state == "unreachable"


def test_no_report_repeats_the_number() -> None:
    for answers in ({"Patient": searchset(patient(number=OTHER_NUMBER))}, {"Observation": [NUMBER]}):
        assert NUMBER not in asked_of(answers).report.detail


def test_the_number_is_in_no_address() -> None:
    seen: list[str] = []

    def reply(first: str, body: bytes) -> Reply:
        seen.append(first)
        return fhir_reply({})(first, body)

    with misbehave(reply) as url:
        ask(node(url))
    assert len(seen) == 4
    assert not any(NUMBER in first for first in seen)


@pytest.mark.slow
def test_medplum_answers_as_a_node(tmp_path_factory: pytest.TempPathFactory) -> None:
    peer = started(lambda: medplum(tmp_path_factory.mktemp("medplum")))
    with peer, httpx.Client(base_url=peer.url, headers=FHIR, trust_env=False, timeout=30) as client:
        person = client.post("/Patient", json=patient()).json()
        subject: dict[str, Any] = {"subject": {"reference": f"Patient/{person['id']}"}}
        imaging = client.post("/ImagingStudy", json=study(**subject)).json()
        reference = [{"reference": f"ImagingStudy/{imaging['id']}"}]
        client.post("/DiagnosticReport", json=report(imagingStudy=reference, **subject))
        client.post("/Observation", json=observation(**subject))
        answer = ask(node(peer.url))
    assert sorted(r.kind for r in answer.results) == ["imaging", "lab"], answer.report
