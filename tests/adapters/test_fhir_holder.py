"""Whose a hospital's own patient number is, as its FHIR server says."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from adapters import Answer, FhirNode
from tests.node_cases import MRN, MRN_SYSTEM, NUMBER, OTHER_NUMBER, normaliser, patient, question, searchset
from tests.serving import Reply, http_answer, misbehave

HIS = {"system": MRN_SYSTEM, "value": MRN}
PASSPORT = "http://hl7.org/fhir/sid/passport-FRA"


def held(*patients: dict[str, Any]) -> tuple[Answer, str]:
    """What is made of a server's answer, and what it was asked."""
    seen: list[str] = []

    def reply(first: str, body: bytes) -> Reply:
        seen.append(first + body.decode())
        read = [one for one in patients if f"/Patient/{one['id']} " in first]
        return http_answer(json.dumps(read[0] if read else searchset(*patients)).encode())

    async def run() -> Answer:
        node = FhirNode("one", url, "EX-CQ-01", normaliser, timeout=2.0)
        try:
            return await node.holder(question(), MRN_SYSTEM, MRN)
        finally:
            await node.aclose()

    with misbehave(reply) as url:
        return asyncio.run(run()), seen[0]


def test_a_local_number_is_its_holder_s() -> None:
    answer, asked = held(patient(), patient("p2"))
    assert answer.copy
    assert [person.value for person in answer.copy.whose] == [NUMBER]
    assert MRN in asked
    assert NUMBER not in asked


@pytest.mark.parametrize(
    "patients",
    [
        (),
        (patient(), patient("p2", OTHER_NUMBER)),
        (patient(), patient("p2") | {"identifier": [HIS, {"system": PASSPORT, "value": "K1234567"}]}),
        (patient(), patient("p2") | {"identifier": [HIS]}),
        (patient() | {"identifier": [{"system": MRN_SYSTEM, "value": MRN}]},),
    ],
    ids=[
        "nobody",
        "two people",
        "two by documents of two kinds",
        "two, of whom one is unknown",
        "one whose document is not known",
    ],
)
def test_a_number_that_is_not_one_person_s_is_nobody_s(patients: tuple[dict[str, Any], ...]) -> None:
    answer, _ = held(*patients)
    assert (answer.copy, answer.report.state) == (None, "empty")


def test_a_server_that_answers_with_somebody_else_is_faulty() -> None:
    answer, _ = held(patient(mrn="CQ09"))
    assert (answer.copy, answer.report.state) == (None, "faulty")
