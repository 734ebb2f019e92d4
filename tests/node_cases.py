"""A person, a question, and resources of one hospital, for the tests of the nodes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from adapters import Answer, FhirNode, Node, Question
from catalog import load
from mapping import Normaliser
from security.identity import Identifier

SYSTEM = "urn:oid:2.16.156.10011.1.3"
NUMBER = "990000198001010012"
OTHER_NUMBER = "990000198502020024"
MRN_SYSTEM = "urn:lianren:mrn:EX-CQ-01"
MRN = "CQ01007013"
NOW = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
PRINTED_MARK = "https://lianren.example/fhir/StructureDefinition/printed-mark"


@cache
def normaliser() -> Normaliser:
    return Normaliser(load())


def question(**changes: Any) -> Question:
    asked: dict[str, Any] = {
        "id": "q-1",
        "person": Identifier("resident", SYSTEM, NUMBER),
        "kinds": ("lab", "imaging"),
        "since": NOW - timedelta(days=90),
        "at": NOW,
        "receiver": "EX-SC-01",
        "budget": 5.0,
    }
    return Question(**asked | changes)


def ask(node: Node, asked: Question | None = None) -> Answer:
    """Ask a node in a loop of its own, and close it."""

    async def run() -> Answer:
        try:
            return await node.prior(asked or question())
        finally:
            await node.aclose()

    return asyncio.run(run())


def searching(node: FhirNode, type_: str, bound: str, asked: Question | None = None) -> Answer:
    """Search a node in a loop of its own, and close it."""

    async def run() -> Answer:
        try:
            return await node.search(asked or question(), type_, bound)
        finally:
            await node.aclose()

    return asyncio.run(run())


def patient(id_: str = "p1", number: str = NUMBER, mrn: str = MRN) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": id_,
        "identifier": [{"system": SYSTEM, "value": number}, {"system": MRN_SYSTEM, "value": mrn}],
    }


def observation(id_: str = "o1", **changes: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": id_,
        "identifier": [{"system": "urn:lianren:report:EX-CQ-01", "value": "r1/1"}],
        "status": "final",
        "category": [_coding("http://terminology.hl7.org/CodeSystem/observation-category", "laboratory")],
        "code": {"text": "血清白蛋白"},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2026-11-10T08:00:00+08:00",
        "issued": "2026-11-10T11:00:00+08:00",
        "performer": [_performer()],
        "specimen": {"display": "血清"},
        "valueQuantity": {"value": 43.5, "unit": "g/L"},
    } | changes


def study(id_: str = "s1", uid: str = "2.25.1", **changes: Any) -> dict[str, Any]:
    return {
        "resourceType": "ImagingStudy",
        "id": id_,
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}],
        "status": "available",
        "modality": [{"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "CT"}],
        "subject": {"reference": "Patient/p1"},
        "started": "2026-11-11T09:30:00+08:00",
        "numberOfSeries": 1,
        "numberOfInstances": 3,
        "description": "CT 胸部平扫",
    } | changes


def report(id_: str = "d1", **changes: Any) -> dict[str, Any]:
    return {
        "resourceType": "DiagnosticReport",
        "id": id_,
        "extension": [{"url": PRINTED_MARK, "valueString": "川渝HR"}],
        "identifier": [{"system": "urn:lianren:report:EX-CQ-01", "value": "ct/1"}],
        "status": "final",
        "category": [_coding("http://terminology.hl7.org/CodeSystem/v2-0074", "RAD")],
        "code": {"text": "CT 胸部平扫"},
        "subject": {"reference": "Patient/p1"},
        "issued": "2026-11-11T10:15:00+08:00",
        "performer": [_performer()],
        "imagingStudy": [{"reference": "ImagingStudy/s1"}],
    } | changes


def transaction(*resources: dict[str, Any], type_: str = "transaction") -> dict[str, Any]:
    entries = [
        {"resource": r, "request": {"method": "PUT", "url": f"{r['resourceType']}/{r['id']}"}}
        for r in resources
    ]
    return {"resourceType": "Bundle", "type": type_, "entry": entries}


def searchset(*resources: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": r} for r in resources]}


def _coding(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def _performer() -> dict[str, Any]:
    return {"identifier": {"system": "urn:lianren:institution", "value": "EX-CQ-01"}}
