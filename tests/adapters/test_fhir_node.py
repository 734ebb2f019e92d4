"""A FHIR node over a real source, and over nodes that answer what they should not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters import Answer, Dialect, DicomwebNode, FhirNode, Question, Report
from gateway.source import create_source
from recognition import Result
from security.identity import Identifier
from tests.node_cases import (
    MRN,
    MRN_SYSTEM,
    NOW,
    NUMBER,
    OTHER_NUMBER,
    SYSTEM,
    ask,
    normaliser,
    observation,
    patient,
    question,
    report,
    searching,
    searchset,
    study,
    transaction,
)
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


def subject_of(subject: dict[str, Any]) -> str:
    """The state of a node whose one observation has this subject; BASE stands for the node's own address."""
    written = json.dumps(searchset(observation(subject=subject)))

    def reply(first: str, body: bytes) -> Reply:
        if not first.startswith("POST /Observation"):
            return fhir_reply({})(first, body)
        return http_answer(written.replace("BASE", address[0]).encode())

    address: list[str] = []
    with misbehave(reply) as url:
        address.append(url)
        return ask(node(url, timeout=2.0)).report.state


ASKED = {"system": SYSTEM, "value": NUMBER}


@pytest.mark.parametrize(
    "subject",
    [
        {"reference": "BASE/Patient/p1"},
        {"reference": "BASE/Patient/p1/_history/3"},
        {"reference": "Patient/p1/_history/3"},
        {"identifier": ASKED},
        {"reference": "Patient/p1", "identifier": ASKED},
        {"reference": "Patient/p1", "identifier": {"system": MRN_SYSTEM, "value": MRN}},
    ],
)
def test_a_subject_may_be_relative_absolute_versioned_or_a_number(subject: dict[str, Any]) -> None:
    assert subject_of(subject) == "answered"


@pytest.mark.parametrize(
    "subject",
    [
        {"reference": "http://elsewhere.example/fhir/Patient/p1"},
        {"reference": "BASE.example/Patient/p1"},
        {"reference": "#p1"},
        {"reference": "Group/Patient/p1"},
        {"identifier": {"value": NUMBER}},
        {"identifier": {"system": "urn:other", "value": NUMBER}},
        {"identifier": {"system": MRN_SYSTEM, "value": MRN}},
        {"reference": "Patient/p1", "identifier": {"system": SYSTEM, "value": OTHER_NUMBER}},
        {"reference": "Patient/p2", "identifier": ASKED},
    ],
)
def test_a_subject_that_is_not_surely_the_person_is_a_fault(subject: dict[str, Any]) -> None:
    assert subject_of(subject) == "faulty"


def test_a_record_with_a_modifier_is_named_and_the_others_kept() -> None:
    odd = observation("odd", modifierExtension=[{"url": "urn:not", "valueBoolean": True}])
    found = asked_of({"Observation": searchset(observation(), odd)}).report
    assert (found.fault, found.results) == ("node", 1)
    assert "Observation[1]" in found.detail


GLUCOSE = observation(code={"text": "葡萄糖"}, specimen={"reference": "Specimen/sp1"})


def specimen_answer(specimen: dict[str, Any] | None) -> Answer:
    """A node that holds GLUCOSE; asked for Specimens too it gives this one, or refuses where it is None."""

    def reply(first: str, body: bytes) -> Reply:
        if not first.startswith("POST /Observation"):
            return fhir_reply({})(first, body)
        found = searchset(GLUCOSE)
        if b"_include=Observation%3Aspecimen" in body:
            if specimen is None:
                return http_answer(b"{}", "400 Bad Request")
            found["entry"].append({"resource": specimen, "search": {"mode": "include"}})
        return http_answer(json.dumps(found).encode())

    with misbehave(reply) as url:
        return ask(node(url, timeout=2.0))


def specimen(**changes: Any) -> dict[str, Any]:
    subject = {"reference": "Patient/p1"}
    return {"resourceType": "Specimen", "id": "sp1", "type": {"text": "尿液"}, "subject": subject} | changes


def test_a_specimen_that_is_referred_to_is_asked_for() -> None:
    (result,) = specimen_answer(specimen()).results
    assert result.specimen == "尿液"


@pytest.mark.parametrize("given", [None, specimen(id="other"), specimen(type=7)])
def test_a_specimen_that_does_not_come_is_unknown(given: dict[str, Any] | None) -> None:
    (result,) = specimen_answer(given).results
    assert (result.specimen, result.reading.item) == ("?", None)


def test_a_specimen_of_somebody_else_is_a_fault() -> None:
    assert specimen_answer(specimen(**ELSEWHERE)).report.state == "faulty"


def lab_report(**changes: Any) -> dict[str, Any]:
    return report(category=[{"coding": [{"code": "LAB"}]}], imagingStudy=[]) | changes


def lost(changes: dict[str, Any], **asked: Any) -> Report:
    """What the node reports of one observation and this report."""
    found = {"Observation": searchset(observation()), "DiagnosticReport": searchset(lab_report(**changes))}
    return asked_of(found, question(**asked)).report


@pytest.mark.parametrize(
    "changes",
    [
        {"result": [{"reference": "#o9"}], "contained": [observation("o9")]},
        {"contained": [observation("o9")]},
        {"result": [{"reference": "Observation/o1"}, {"reference": "Observation/gone"}]},
        {"result": [{"reference": "http://elsewhere.example/fhir/Observation/o1"}]},
    ],
)
def test_a_laboratory_report_whose_results_are_not_shown_is_named(changes: dict[str, Any]) -> None:
    found = lost(changes)
    assert (found.fault, found.results) == ("node", 1)
    assert "DiagnosticReport[0]" in found.detail


@pytest.mark.parametrize(
    "changes",
    [
        {"result": [{"reference": "Observation/o1"}]},
        {"result": [{"reference": "Observation/gone"}], "status": "entered-in-error"},
        {"result": [{"reference": "Observation/old"}], "effectiveDateTime": "2026-01-10T08:00:00+08:00"},
    ],
    ids=["shown", "retracted", "older than asked"],
)
def test_a_laboratory_report_with_nothing_lost_is_not_named(changes: dict[str, Any]) -> None:
    assert (lost(changes).fault, lost(changes).detail) == ("", "")


def test_results_that_were_not_asked_for_are_not_lost() -> None:
    assert lost({"result": [{"reference": "Observation/gone"}]}, kinds=("imaging",)).fault == ""


def test_an_observation_in_a_retracted_report_is_retracted() -> None:
    held = lab_report(status="entered-in-error", result=[{"reference": "Observation/o1"}])
    answer = asked_of({"Observation": searchset(observation()), "DiagnosticReport": searchset(held)})
    assert [result.status for result in answer.results] == ["entered-in-error"]


@pytest.mark.parametrize("status", ["entered-in-error", "preliminary"])
def test_what_a_panel_of_a_report_holds_is_no_better_than_the_report(status: str) -> None:
    members = ["Observation/o1", "Observation/header", "QuestionnaireResponse/q1"]
    header = observation("header", hasMember=[{"reference": member} for member in members])
    del header["valueQuantity"]
    held = lab_report(status=status, result=[{"reference": "Observation/header"}])
    found = {"Observation": searchset(observation(), header), "DiagnosticReport": searchset(held)}
    answer = asked_of(found)
    assert [(result.source, result.status) for result in answer.results] == [("Observation/o1", status)]
    assert answer.report.fault == ""


def test_of_too_many_results_the_newest_are_kept_and_that_is_said() -> None:
    many = [observation(f"m{n:04}", effectiveDateTime="2026-11-10T08:00:00+08:00") for n in range(500)]
    older = [observation(f"a{n}", effectiveDateTime="2026-11-09T08:00:00+08:00") for n in range(3)]
    answer = asked_of({"Observation": searchset(*older, *many)})
    assert (answer.report.results, answer.report.fault) == (500, "node")
    assert {result.id[:21] for result in answer.results} == {"cq-his/Observation/m0"}
    assert "503 results" in answer.report.detail


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


def test_pages_that_are_too_much_together_are_a_fault() -> None:
    page = searchset() | {"link": [{"relation": "next", "url": "Observation?again"}], "text": "x" * 7_000_000}
    answer = asked_of({"Observation": page}, question(budget=10.0))
    assert answer.report.state == "faulty"
    assert "bytes" in answer.report.detail


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


PSEUDONYM = ("e1.a",)


def noted(answers: dict[str, Any], seen: list[tuple[str, bytes]]) -> Callable[[str, bytes], Reply]:
    """As :func:`fhir_reply`, with each request's first line and body noted."""

    def reply(first: str, body: bytes) -> Reply:
        seen.append((first, body))
        return fhir_reply(answers)(first, body)

    return reply


def asked_in(dialect: Dialect, answers: dict[str, Any] | None = None) -> list[tuple[str, bytes]]:
    """What a node with this dialect is sent."""
    seen: list[tuple[str, bytes]] = []
    with misbehave(noted(answers or {}, seen)) as url:
        ask(node(url, dialect=dialect))
    return seen


def test_a_server_that_takes_only_get_is_asked_by_get() -> None:
    seen = asked_in(Dialect(search="get"))
    assert all(first.startswith("GET /") and not body for first, body in seen)
    assert any("patient=Patient%2Fp1" in first and "_count=200" in first for first, _ in seen)


def test_a_server_that_knows_the_bare_id_is_asked_by_it() -> None:
    bodies = [body for first, body in asked_in(Dialect(patient="id")) if "/Patient/" not in first]
    assert bodies
    assert all(b"patient=p1&" in body for body in bodies)


def test_a_server_that_finds_nothing_with_a_date_is_asked_without_one() -> None:
    assert not any(b"=ge" in body for _, body in asked_in(Dialect(since=False)))


def test_a_server_is_asked_for_pages_of_the_size_it_can_do() -> None:
    assert all(b"_count=7" in body for _, body in asked_in(Dialect(page=7)))


def test_a_server_that_is_not_to_be_asked_for_specimens_is_not() -> None:
    seen = asked_in(Dialect(specimens=False), {"Observation": searchset(GLUCOSE)})
    assert not any(b"_include" in body for _, body in seen)


MANY = [observation(f"t{n}", effectiveDateTime=f"2026-{n:02}-10T08:00:00+08:00") for n in range(1, 12)]


@given(st.lists(st.sampled_from(MANY), unique_by=lambda one: one["id"]), st.integers(1, 300))
@settings(max_examples=15)
def test_a_server_without_dates_gives_what_one_with_dates_gives(held: list[Any], days: int) -> None:
    since = NOW - timedelta(days=days)
    found = [one for one in held if datetime.fromisoformat(one["effectiveDateTime"]) >= since]

    def answers(dialect: Dialect, shown: list[Any]) -> Answer:
        with misbehave(fhir_reply({"Observation": searchset(*shown)})) as url:
            return ask(node(url, dialect=dialect), question(since=since))

    bounded, unbounded = answers(Dialect(), found), answers(Dialect(since=False), held)
    assert bounded.results == unbounded.results
    assert (bounded.report.fault, unbounded.report.fault) == ("", "")


def test_answers_in_gb18030_are_read_where_they_do_not_say_so() -> None:
    body = json.dumps(searchset(observation()), ensure_ascii=False).encode("gb18030")
    with misbehave(fhir_reply({"Observation": http_answer(body)})) as url:
        answer = ask(node(url, charset="gb18030"))
    assert [result.local_name for result in answer.results] == ["血清白蛋白"]


def rounds(url: str, *asked: Question, **how: Any) -> list[Answer]:
    """One node asked these one after the other."""

    async def run() -> list[Answer]:
        his = node(url, **how)
        try:
            return [await his.prior(one) for one in asked]
        finally:
            await his.aclose()

    return asyncio.run(run())


def looked_up(seen: list[tuple[str, bytes]]) -> int:
    return sum("/Patient/" in first for first, _ in seen)


def test_a_person_is_looked_up_once_for_questions_that_follow_each_other() -> None:
    seen: list[tuple[str, bytes]] = []
    one = question(pseudonyms=PSEUDONYM)
    with misbehave(noted({"Observation": searchset(observation())}, seen)) as url:
        first, second = rounds(url, one, one)
    assert (first.results, first.digest) == (second.results, second.digest)
    assert looked_up(seen) == 1


def test_a_person_who_is_to_be_forgotten_is_looked_up_anew() -> None:
    seen: list[tuple[str, bytes]] = []

    async def run(url: str) -> None:
        his = node(url)
        try:
            for _ in range(2):
                await his.prior(question(pseudonyms=PSEUDONYM))
                his.forget(PSEUDONYM)
        finally:
            await his.aclose()

    with misbehave(noted({}, seen)) as url:
        asyncio.run(run(url))
    assert looked_up(seen) == 2


@pytest.mark.parametrize(("levels", "state"), [(57, "answered"), (62, "faulty")])
def test_the_levels_of_a_match_count_with_those_above_it(levels: int, state: str) -> None:
    deep: Any = 1
    for _ in range(levels - 1):
        deep = [deep]
    held = searchset(observation(extension=deep))
    with misbehave(fhir_reply({"Observation": held})) as url:
        assert searching(node(url), "Observation", "date").report.state == state


def test_matches_beside_one_that_cannot_be_read_are_shown_and_it_is_named() -> None:
    held = searchset(observation("o1"), observation("o2", effectiveDateTime=5), observation("o3"))
    with misbehave(fhir_reply({"Observation": held})) as url:
        answer = searching(node(url), "Observation", "date")
    assert [match.key.id for match in answer.matches] == ["o1", "o3"]
    assert "could not be read: Observation[1]" in answer.report.detail


def test_a_person_without_a_pseudonym_is_looked_up_every_time() -> None:
    seen: list[tuple[str, bytes]] = []
    with misbehave(noted({}, seen)) as url:
        rounds(url, question(), question())
    assert looked_up(seen) == 2


def test_a_person_who_was_not_known_is_looked_up_again() -> None:
    seen: list[tuple[str, bytes]] = []
    one = question(pseudonyms=PSEUDONYM)
    with misbehave(noted({"Patient": searchset()}, seen)) as url:
        rounds(url, one, one)
    assert looked_up(seen) == 2


def test_two_persons_are_not_taken_for_each_other() -> None:
    other = question(
        person=Identifier("resident", SYSTEM, OTHER_NUMBER), pseudonyms=("e1.b",), kinds=("lab",)
    )
    with misbehave(fhir_reply({"Observation": searchset(observation())})) as url:
        mine, theirs = rounds(url, question(pseudonyms=PSEUDONYM), other)
    assert (mine.report.state, theirs.report.state) == ("answered", "faulty")


def test_a_patient_whose_id_changed_is_looked_up_anew() -> None:
    turn = {"id": "p1"}

    def reply(first: str, body: bytes) -> Reply:
        mine = patient(turn["id"])
        held = searchset(observation(subject={"reference": f"Patient/{turn['id']}"}))
        return fhir_reply({"Patient": searchset(mine), "Observation": held})(first, body)

    async def run(url: str) -> tuple[Answer, Answer]:
        his = node(url)
        try:
            before = await his.prior(question(pseudonyms=PSEUDONYM))
            turn["id"] = "p9"
            return before, await his.prior(question(pseudonyms=PSEUDONYM))
        finally:
            await his.aclose()

    with misbehave(reply) as url:
        before, after = asyncio.run(run(url))
    assert [before.report.state, after.report.state] == ["answered", "answered"]


def test_a_record_that_goes_on_contradicting_stays_a_fault() -> None:
    seen: list[tuple[str, bytes]] = []
    one = question(pseudonyms=PSEUDONYM)
    with misbehave(noted({"Observation": searchset(observation(**ELSEWHERE))}, seen)) as url:
        assert [answer.report.state for answer in rounds(url, one, one)] == ["faulty", "faulty"]
    assert looked_up(seen) == 2


def test_an_archive_and_its_fhir_server_look_a_person_up_together() -> None:
    seen: list[tuple[str, bytes]] = []

    async def run(url: str) -> tuple[Answer, Answer]:
        his = node(url)
        pacs = DicomwebNode("cq-pacs", url, "EX-CQ-01", his, normaliser)
        one = question(pseudonyms=PSEUDONYM)
        try:
            return await asyncio.gather(his.prior(one), pacs.prior(one))
        finally:
            await pacs.aclose()
            await his.aclose()

    with misbehave(noted({"studies": http_answer(b"[]")}, seen)) as url:
        asyncio.run(run(url))
    assert looked_up(seen) == 1


def test_a_question_that_is_given_up_leaves_the_look_up_to_the_other() -> None:
    async def run(url: str) -> tuple[str, tuple[str, ...]]:
        his = node(url)
        one = question(pseudonyms=PSEUDONYM)
        try:
            given_up = asyncio.create_task(his.prior(msgspec.structs.replace(one, budget=0.05)))
            numbers = asyncio.create_task(his.patient_numbers(one, MRN_SYSTEM))
            return (await given_up).report.state, await numbers
        finally:
            await his.aclose()

    def reply(first: str, body: bytes) -> Reply:
        if "/Patient/" in first:
            time.sleep(0.3)
        return fhir_reply({})(first, body)

    with misbehave(reply) as url:
        assert asyncio.run(run(url)) == ("late", (MRN,))


def test_a_node_with_patience_goes_on_after_the_budget() -> None:
    def reply(first: str, body: bytes) -> Reply:
        if "/Observation/" in first:
            time.sleep(0.3)
        return fhir_reply({"Observation": searchset(observation())})(first, body)

    with misbehave(reply) as url:
        assert ask(node(url), question(budget=0.1)).report.state == "late"
        assert ask(node(url), question(budget=0.1, patience=2.0)).report.state == "answered"


def test_a_search_gives_the_bytes_that_came() -> None:
    written = json.dumps(observation(), ensure_ascii=False, indent=3).replace("43.5", "43.50").encode()
    body = b'{"resourceType":"Bundle","type":"searchset","entry":[{"resource":%s}]}' % written
    with misbehave(fhir_reply({"Observation": http_answer(body)})) as url:
        (match,) = searching(node(url), "Observation", "date").matches
    assert bytes(match.raw) == written


@pytest.mark.parametrize(
    ("held", "state", "shown", "words"),
    [
        ([observation(), observation("x", **ELSEWHERE)], "faulty", [], "another person"),
        ([observation(), observation("x", effectiveDateTime="2026-01-10")], "answered", ["o1"], "outside"),
        ([observation(), observation("a/b")], "answered", ["o1"], "could not be read"),
        ([observation(), observation("v", category=[])], "answered", ["o1"], ""),
        ([report()], "faulty", [], "another type"),
        ([], "empty", [], ""),
    ],
    ids=["another person", "before the period", "an id that is none", "no laboratory result", "type", "none"],
)
def test_a_search_shows_only_what_was_searched_for(
    held: list[Any], state: str, shown: list[str], words: str
) -> None:
    with misbehave(fhir_reply({"Observation": searchset(*held)})) as url:
        answer = searching(node(url), "Observation", "date")
    assert answer.report.state == state
    assert [match.key.id for match in answer.matches] == shown
    assert words in answer.report.detail
    assert bool(words) == bool(answer.report.fault)


def test_a_search_for_the_person_shows_the_patient_as_he_is_now() -> None:
    seen: list[str] = []

    def reply(first: str, body: bytes) -> Reply:
        seen.append(first)
        if first.startswith("GET /Patient/p1 "):
            return http_answer(json.dumps(patient() | {"gender": "female"}).encode())
        return fhir_reply({})(first, body)

    with misbehave(reply) as url:
        (match,) = searching(node(url), "Patient", "").matches
    assert (match.key.id, b"female" in bytes(match.raw)) == ("p1", True)
    assert not any(NUMBER in first for first in seen)


def test_a_patient_who_has_become_somebody_else_since_he_was_looked_up_is_not_shown() -> None:
    other = http_answer(json.dumps(patient(number=OTHER_NUMBER)).encode())

    def reply(first: str, body: bytes) -> Reply:
        return other if first.startswith("GET /Patient/p1 ") else fhir_reply({})(first, body)

    with misbehave(reply) as url:
        answer = searching(node(url), "Patient", "")
    assert (answer.report.state, answer.matches) == ("faulty", ())


@pytest.mark.parametrize(("type_", "by"), [("ServiceRequest", "authored"), ("Specimen", "collected")])
def test_what_often_has_no_time_is_searched_without_one_and_sorted_by_it(type_: str, by: str) -> None:
    seen: list[bytes] = []
    one = {
        "resourceType": type_,
        "id": "x1",
        "subject": {"reference": "Patient/p1"},
        "authoredOn": "2026-11-10T08:00:00+08:00",
        "collection": {"collectedDateTime": "2026-11-10T08:00:00+08:00"},
    }

    def reply(first: str, body: bytes) -> Reply:
        if type_ in first:
            seen.append(body)
        return fhir_reply({type_: searchset(one)})(first, body)

    with misbehave(reply) as url:
        (match,) = searching(node(url), type_, by).matches
    assert match.at == datetime(2026, 11, 10, tzinfo=UTC).timestamp()
    assert by.encode() not in seen[0]
