"""A right call at every face that takes a body; the tests of this folder spoil it."""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
from msgspec import Struct

from security.identity import RESIDENT_SYSTEM
from tests.gateway.live import OWN, PATIENT, Live, ask, body

Place = tuple[str | int, ...]
ITEMS = "https://lianren.example/fhir/CodeSystem/items"
FHIR = "application/fhir+json"


class Call(Struct, frozen=True):
    """A face: where it is, its media type, who may call it, and a body that it takes."""

    path: str
    media: str
    client: str
    body: dict[str, Any]

    def send(self, live: Live, content: bytes | dict[str, Any], **headers: str) -> httpx.Response:
        """Send a body (bytes as they are, anything else as JSON)."""
        data = content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode()
        return live.client(self.client).post(
            self.path, content=data, headers={"Content-Type": self.media, **headers}
        )

    def fresh(self) -> dict[str, Any]:
        """The body as one that was not sent before: another request id, or another word of the doctor's."""
        spoilt = copy.deepcopy(self.body)
        match spoilt:
            case {"request_id": _}:
                spoilt["request_id"] = uuid.uuid4().hex
            case {"hookInstance": _}:
                spoilt["hookInstance"] = str(uuid.uuid4())
            case {"outcome": _}:
                spoilt["text"] = uuid.uuid4().hex
            case {"check": _, "results": [result]}:
                result["value"] = uuid.uuid4().hex
            case {"decisions": [decision]}:
                decision["request_id"] = uuid.uuid4().hex
            case {"feedback": [{"overrideReason": reason}]}:
                reason["userComment"] = uuid.uuid4().hex
        return spoilt

    def spoilt(self, place: Place, value: Any) -> dict[str, Any]:
        """The body with another value at one place."""
        spoilt = self.fresh()
        inner: Any = spoilt
        for step in place[:-1]:
            inner = inner[step]
        inner[place[-1]] = value
        return spoilt

    def texts(self) -> list[Place]:
        """The places of all texts in the body."""
        return list(_texts(self.body, ()))


def order(name: str = "白蛋白", **more: Any) -> dict[str, Any]:
    """A ServiceRequest for a laboratory item in the hospital's own words."""
    coding = {"system": "http://snomed.info/sct", "code": "108252007"}
    return {
        "resourceType": "ServiceRequest",
        "status": "draft",
        "intent": "order",
        "subject": {"reference": "Patient/p1"},
        "category": [{"coding": [coding]}],
        "code": {"text": name},
        **more,
    }


def patient(number: str = PATIENT) -> dict[str, Any]:
    """A Patient who is known by the resident number."""
    return {"resourceType": "Patient", "identifier": [{"system": RESIDENT_SYSTEM, "value": number}]}


def parameters(*orders: dict[str, Any], who: dict[str, Any] | None = None) -> dict[str, Any]:
    """The Parameters of the FHIR operation."""
    given = [{"name": "order", "resource": resource} for resource in orders or (order(),)]
    return {
        "resourceType": "Parameters",
        "parameter": [*given, {"name": "patient", "resource": who or patient()}],
    }


def hook(*orders: dict[str, Any], who: dict[str, Any] | None = None) -> dict[str, Any]:
    """A call of the CDS Hooks service."""
    entries = [
        {"fullUrl": f"urn:uuid:{uuid.uuid4()}", "resource": resource} for resource in orders or (order(),)
    ]
    return {
        "hook": "order-sign",
        "hookInstance": str(uuid.uuid4()),
        "context": {
            "userId": "Practitioner/1",
            "patientId": "p1",
            "draftOrders": {"resourceType": "Bundle", "type": "collection", "entry": entries},
        },
        "prefetch": {"patient": who or patient()},
    }


def selecting() -> dict[str, Any]:
    """A call when an order was selected, with the situation of the patient."""
    call = hook(order(id="o1"))
    call["context"]["selections"] = ["ServiceRequest/o1"]
    extension = {"org.lianren.context": {"setting": "inpatient", "disease": "echinococcosis"}}
    return call | {"hook": "order-select", "extension": extension}


def opening() -> dict[str, Any]:
    """A call when a chart was opened, with a way to fetch what came along."""
    call = hook()
    del call["context"]["draftOrders"]
    access = {"access_token": "t", "token_type": "Bearer", "expires_in": 300, "scope": "s", "subject": "l"}
    return call | {"hook": "patient-view", "fhirServer": "https://his.example", "fhirAuthorization": access}


def reminding() -> dict[str, Any]:
    """A reminder at reception."""
    return {
        "request_id": uuid.uuid4().hex,
        "patient": {"type": "resident-id", "value": PATIENT},
        "moment": "reception",
        "context": {"setting": "outpatient"},
    }


def calls(live: Live) -> dict[str, Call]:
    """A right call at every face that takes a body; outcome and feedback are about one answered check."""
    answer = ask(live.client(), body())
    result = answer.verdicts[0].result.id
    question = {
        "id": uuid.uuid4().hex,
        "person": {"type": "resident-id", "value": PATIENT},
        "kinds": ["lab"],
        "since": "2026-01-01T00:00:00+08:00",
        "at": answer.asked_at.isoformat(),
        "receiver": OWN,
        "budget_ms": 5000,
        "hops": 0,
    }
    reason = {"code": "99", "system": "https://lianren.example/fhir/CodeSystem/reasons/platform-A"}
    feedback = {
        "card": f"{answer.id}.0",
        "outcome": "overridden",
        "outcomeTimestamp": answer.asked_at.isoformat(),
        "overrideReason": {"reason": reason, "userComment": "2型糖尿病"},
    }
    outcome = {"result": result, "outcome": "declined", "system": "platform-A", "code": "99", "text": "慢病"}
    reasoned = {name: outcome[name] for name in ("system", "code", "text")}
    decision = {
        "request_id": uuid.uuid4().hex,
        "decision": "not_recognise",
        "results": [result],
        "at": datetime.now(UTC).isoformat(),
        **reasoned,
    }
    decided = decision | {"request_id": uuid.uuid4().hex, "check": answer.id}
    cited = {"results": [result], "lang": "zh"}
    context = {
        "setting": "inpatient",
        "disease": "echinococcosis",
        "events": [{"kind": "treatment", "at": answer.asked_at.isoformat()}],
    }
    rest = body() | {"context": context, "asked_at": answer.asked_at.isoformat()}
    rest["planned"][0]["specimen"] = "血清"
    explain = {
        "check": {"receiver": OWN, "planned": ["1100104A"], "context": context},
        "results": [
            {
                "id": "r1",
                "kind": "lab",
                "institution": OWN,
                "local_name": "白蛋白",
                "specimen": "血清",
                "reading": {"item": "1100104A", "concept": "ALB|S|QN|-", "reason": ""},
                "performed": answer.asked_at.isoformat(),
                "reported": answer.asked_at.isoformat(),
                "version_key": "r1",
                "value": "40.8",
                "unit": "g/L",
                "reference": "40–55",
                "flags": ["completeness:no-name"],
                "mark": {"scope": "CHUANYU", "printed": "川渝HR", "state": "valid"},
            }
        ],
        "catalogue": answer.catalogue.version,
        "at": answer.asked_at.isoformat(),
    }
    checks = "/api/v1/checks"
    service = "/cds-services/result-recognition"
    return {
        "rest": Call(checks, "application/json", "his", rest),
        "explain": Call("/api/v1/explain", "application/json", "his", explain),
        "outcomes": Call(f"{checks}/{answer.id}/outcomes", "application/json", "his", outcome),
        "reminder": Call("/api/v1/reminders", "application/json", "his", reminding()),
        "decision": Call(f"{checks}/{answer.id}/decision", "application/json", "his", decision),
        "decisions": Call("/api/v1/decisions", "application/json", "his", {"decisions": [decided]}),
        "citations": Call(f"{checks}/{answer.id}/citations", "application/json", "his", cited),
        "fhir": Call("/fhir/ServiceRequest/$check-recognition", FHIR, "his", parameters()),
        "cds": Call(service, "application/json", "his", hook()),
        "select": Call(f"{service}-select", "application/json", "his", selecting()),
        "history": Call("/cds-services/result-history", "application/json", "his", opening()),
        "feedback": Call(f"{service}/feedback", "application/json", "his", {"feedback": [feedback]}),
        "peer": Call("/api/v1/results", "application/json", "peer", question),
    }


def _texts(value: Any, path: Place) -> Iterator[Place]:
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*path, index))
