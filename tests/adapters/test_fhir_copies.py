"""One resource of a FHIR server by its address: its own bytes, its version, and whose it is."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from adapters import Answer, Copy, FhirNode
from gateway.demo.people import BY_KEY
from tests.node_cases import SYSTEM, normaliser, observation, question
from tests.node_cases import patient as patient_of
from tests.serving import Reply, http_answer, misbehave

NUMBER, OTHER = BY_KEY["jia"].number, BY_KEY["yi"].number
CARD = {"system": "urn:oid:2.16.156.10011.1.19", "value": "A1234567890"}
META = {"versionId": "3", "lastUpdated": "2026-11-10T12:00:00+08:00"}
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def patient(id_: str = "p1", number: str = NUMBER, **changes: Any) -> dict[str, Any]:
    return patient_of(id_, number) | changes


def served(resources: dict[str, Any], place: str, version: str = "", *, whose: bool = True) -> Answer:
    """What a server that has these resources (by their addresses) answers to a read; BASE is its address."""

    def reply(first: str, _: bytes) -> Reply:
        found = resources.get(first.split(" ")[1].strip("/"))
        if found is None:
            return NOT_FOUND
        return (
            found
            if isinstance(found, bytes)
            else http_answer(json.dumps(found).replace("BASE", url).encode())
        )

    async def run() -> Answer:
        node = FhirNode("one", url, "EX-CQ-01", normaliser, timeout=2.0)
        try:
            type_, id_ = place.split("/")
            return await node.read(question(), type_, id_, version, whose=whose)
        finally:
            await node.aclose()

    with misbehave(reply) as url:
        return asyncio.run(run())


def copy(resources: dict[str, Any], place: str, version: str = "") -> Copy:
    answer = served(resources, place, version)
    assert answer.report.state == "answered", answer.report
    assert answer.copy
    return answer.copy


def whose(subject: dict[str, Any], *patients: dict[str, Any]) -> list[str]:
    """The numbers by which the person of an observation with this subject is known."""
    held = {f"Patient/{one['id']}": one for one in patients}
    found = copy(held | {"Observation/o1": observation(subject=subject)}, "Observation/o1")
    return [person.value for person in found.whose]


AT = {"reference": "Patient/p1"}


def test_the_bytes_are_those_of_the_server() -> None:
    raw = json.dumps(observation()).replace("43.5", "43.50").encode()
    held = {"Observation/o1": http_answer(raw), "Patient/p1": patient()}
    assert copy(held, "Observation/o1").raw == raw


def test_whose_it_is_says_the_patient_it_refers_to() -> None:
    assert whose(AT, patient()) == [NUMBER]


def test_a_patient_says_itself_who_it_is_and_the_strongest_number_first() -> None:
    held = patient(identifier=[CARD, {"system": SYSTEM, "value": NUMBER}])
    found = copy({"Patient/p1": held}, "Patient/p1")
    assert [person.type for person in found.whose] == ["resident-id", "health-card"]


@pytest.mark.parametrize(
    "subject",
    [
        {"reference": "BASE/Patient/p1"},
        {"reference": "Patient/p1/_history/2"},
        AT | {"identifier": {"system": SYSTEM, "value": NUMBER}},
        AT | {"identifier": {"system": "urn:lianren:mrn:EX-CQ-01", "value": "M-1"}},
        {"identifier": {"system": SYSTEM, "value": NUMBER}},
    ],
)
def test_every_way_to_name_the_person_is_understood(subject: dict[str, Any]) -> None:
    assert whose(subject, patient()) == [NUMBER]


@pytest.mark.parametrize(
    "subject",
    [
        {},
        {"display": "示例患者"},
        {"reference": "Patient/p9"},
        {"reference": "Patient/.."},
        {"reference": "Group/g1"},
        {"reference": "#p"},
        {"reference": "http://elsewhere.example/fhir/Patient/p1"},
        {"identifier": {"system": "urn:lianren:mrn:EX-CQ-01", "value": "M-1"}},
        {"identifier": {"system": SYSTEM, "value": "990000198001010017"}},
        AT | {"identifier": {"system": SYSTEM, "value": OTHER}},
    ],
)
def test_where_it_cannot_be_said_nobody_is_named(subject: dict[str, Any]) -> None:
    assert whose(subject, patient()) == []


def test_a_patient_with_two_numbers_of_one_kind_is_nobody() -> None:
    two = [{"system": SYSTEM, "value": number} for number in (NUMBER, OTHER)]
    assert whose(AT, patient(identifier=two)) == []


def test_a_patient_without_a_document_is_nobody() -> None:
    assert whose(AT, patient(identifier=[])) == []


def test_a_patient_who_says_that_he_means_something_else_is_nobody() -> None:
    assert whose(AT, patient(modifierExtension=[{"url": "urn:x", "valueBoolean": True}])) == []


def test_a_patient_of_another_id_than_was_asked_for_is_a_fault() -> None:
    held = {"Observation/o1": observation(), "Patient/p1": patient("p2")}
    assert served(held, "Observation/o1").report.state == "faulty"


def test_whose_it_is_is_not_looked_at_where_nobody_wants_to_know() -> None:
    answer = served({"Observation/o1": observation()}, "Observation/o1", whose=False)
    assert answer.copy
    assert answer.copy.whose == ()


def test_what_is_not_there_is_empty() -> None:
    answer = served({}, "Observation/o1")
    assert (answer.report.state, answer.copy) == ("empty", None)


@pytest.mark.parametrize(
    "found",
    [
        observation("o2"),
        observation() | {"resourceType": "Specimen"},
        [],
        {"id": "o1"},
        http_answer(b"<html>"),
    ],
    ids=["another id", "another type", "no object", "no resource", "no JSON"],
)
def test_another_answer_than_the_resource_is_a_fault(found: Any) -> None:
    assert served({"Observation/o1": found}, "Observation/o1").report.state == "faulty"


def test_the_version_and_its_time_are_the_server_s() -> None:
    found = copy({"Observation/o1": observation(meta=META), "Patient/p1": patient()}, "Observation/o1")
    assert (found.version, found.saved) == ("3", datetime(2026, 11, 10, 4, tzinfo=UTC))


def test_a_version_is_read_by_its_own_address() -> None:
    former = observation(meta=META, status="preliminary")
    held = {"Observation/o1/_history/3": former, "Patient/p1": patient()}
    assert b"preliminary" in copy(held, "Observation/o1", "3").raw


def test_a_server_without_versions_is_read_as_it_is_where_that_is_the_version() -> None:
    held = {"Observation/o1": observation(meta=META), "Patient/p1": patient()}
    assert copy(held, "Observation/o1", "3").version == "3"
    assert served(held, "Observation/o1", "2").report.state == "empty"


@pytest.mark.parametrize("status", ["400 Bad Request", "405 Not Allowed", "501 Not Implemented"])
def test_a_server_that_refuses_to_say_versions_is_read_as_it_is(status: str) -> None:
    refusal = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
    held = {"Observation/o1/_history/3": refusal, "Observation/o1": observation(meta=META)}
    assert copy(held | {"Patient/p1": patient()}, "Observation/o1", "3").version == "3"


def test_another_version_than_was_asked_for_is_a_fault() -> None:
    held = {"Observation/o1/_history/2": observation(meta=META)}
    assert served(held, "Observation/o1", "2").report.state == "faulty"
