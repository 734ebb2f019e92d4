"""The published description is that of the running gateway, and its examples are what the gateway says."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from adapters import PeerAnswer
from adapters.peer import PeerResources, PeerStudies
from gateway.citing import CitationsOut
from gateway.decisions import DecidedOut, DecisionsOut
from gateway.explaining import ExplainAnswer
from gateway.faces.catalogues import CataloguesOut
from gateway.history import ReminderOut
from gateway.imaging.opening import ViewingOut
from gateway.model import CheckAnswer, OutcomeOut, Problem
from gateway.persons.consenting import ConsentOut, ConsentsOut
from gateway.resources.values import STORED
from gateway.statistics import Statistics
from gateway.steward_values import (
    EntryOut,
    ErasedOut,
    MappingOut,
    MappingsOut,
    ProposalsOut,
    QueueOut,
    RevocationOut,
)
from tests.contract.names import mark_withdrawn, names_told
from tests.gateway.live import PATIENT, Live

PUBLISHED = Path(__file__).resolve().parents[2] / "openapi"
DESCRIPTION: dict[str, Any] = json.loads((PUBLISHED / "openapi.json").read_bytes())
EXAMPLES = {
    file.stem: json.loads(file.read_bytes()) for file in sorted((PUBLISHED / "examples").glob("*.json"))
}
CHECK_ID = EXAMPLES["check"]["response"]["id"]
CONSENT_ID = EXAMPLES["consent"]["response"]["id"]
MAPPING_ID = EXAMPLES["mapping-revoked"]["response"]["mapping"]["id"]
ENTRY_ID = EXAMPLES["check"]["response"]["ledger"]["entry"]
MARK_ID = EXAMPLES["check"]["response"]["verdicts"][0]["mark"]["id"]
WITHDRAWN_ID = EXAMPLES["mark-withdrawal"]["response"]["mark"]
OPERATIONS = [
    (f"{method.upper()} {path}", operation)
    for path, operations in DESCRIPTION["paths"].items()
    for method, operation in operations.items()
]
NO_JSON = (
    "GET /metrics",
    "POST /fhir/Consent/_search",
    "POST /fhir/AuditEvent/_search",
    "POST /fhir/CodeSystem/_search",
    "POST /fhir/ConceptMap/_search",
    "POST /fhir/Endpoint/_search",
    "POST /fhir/Organization/_search",
    "POST /fhir/Practitioner/_search",
    "POST /fhir/Provenance/_search",
    "POST /fhir/ValueSet/_search",
    "POST /fhir/Observation/_search",
    "GET /fhir/$export",  # 202 and an address
    "POST /fhir/$export",
    "GET /fhir/_page/{page}",  # its client's alone, for minutes
    "GET /fhir/_export/{export_id}",  # its client's alone, for a day
    "DELETE /fhir/_export/{export_id}",
    "DELETE /fhir/{type}",  # 204
    "DELETE /fhir/{type}/{id}",
    "GET /fhir/_export/{export_id}/{name}",
    "POST /fhir/Subscription",  # needs an endpoint that the operator allows
    "GET /fhir/Subscription/{subscription_id}",
    "PUT /fhir/Subscription/{subscription_id}",
    "DELETE /fhir/Subscription/{subscription_id}",
    "GET /fhir/Subscription/{subscription_id}/$status",
    "POST /oauth/token",  # a form with an assertion that counts once
    "POST /witness/add-checkpoint",
    "GET /witness/{log}/checkpoint",
    "GET /ledger/checkpoint",
    "GET /ledger/checkpoint/cosigned",
    "GET /ledger/tile/{path}",
    "GET /trust/status",
    "GET /api/v1/viewings/{viewing_id}",  # its institution's alone, for minutes
    "DELETE /api/v1/viewings/{viewing_id}",
    "GET /api/v1/marks/{mark_id}/proof",
    "GET /api/v1/marks/{mark_id}.svg",
    "GET /api/v1/marks/{mark_id}.png",
)
ALIKE = re.compile(
    r".* /fhir/nodes/\{node\}(/.*)?"  # as the same without the node
    r"|.* /dicomweb/.*"  # what archives hold, shown by the blocks of docs/imaging.md
    rf"|(GET|POST) /fhir/({'|'.join({*STORED} - {'Observation', 'Organization', 'Practitioner'})})(/_search)?"
)
"""What needs no example of its own: Observations stand for all that is searched."""
TYPES: dict[str, type] = {
    "POST /api/v1/checks": CheckAnswer,
    "GET /api/v1/checks/{check_id}": CheckAnswer,
    "POST /api/v1/checks/{check_id}/outcomes": OutcomeOut,
    "POST /api/v1/checks/{check_id}/decision": DecidedOut,
    "POST /api/v1/checks/{check_id}/citations": CitationsOut,
    "POST /api/v1/decisions": DecisionsOut,
    "POST /api/v1/reminders": ReminderOut,
    "GET /api/v1/reminders/{check_id}": ReminderOut,
    "POST /api/v1/explain": ExplainAnswer,
    "POST /api/v1/results": PeerAnswer,
    "POST /api/v1/viewings": ViewingOut,
    "POST /api/v1/studies": PeerStudies,
    "POST /api/v1/resources": PeerResources,
    "POST /api/v1/resources/read": PeerResources,
    "GET /api/v1/review": QueueOut,
    "GET /api/v1/review/{review_id}": EntryOut,
    "DELETE /api/v1/review/{review_id}": ErasedOut,
    "POST /api/v1/review/{review_id}/confirmations": MappingOut,
    "GET /api/v1/review/proposals": ProposalsOut,
    "GET /api/v1/mappings": MappingsOut,
    "GET /api/v1/mappings/{mapping_id}/decisions": RevocationOut,
    "POST /api/v1/mappings/{mapping_id}/revocations": RevocationOut,
    "GET /api/v1/statistics": Statistics,
    "GET /api/v1/catalogues": CataloguesOut,
    "POST /api/v1/consents": ConsentOut,
    "GET /api/v1/consents/{consent_id}": ConsentOut,
    "POST /api/v1/consents/{consent_id}/revocation": ConsentOut,
    "POST /api/v1/consents/search": ConsentsOut,
}


def shape(value: Any) -> Any:
    """A JSON value without what differs from day to day: its names and kinds."""
    match value:
        case dict():
            return {name: shape(inner) for name, inner in value.items()}
        case list():
            return [shape(inner) for inner in value]
        case bool() | None:
            return value
        case int() | float():
            return "number"
        case _:
            return "text"


Ids = dict[str, str]


@pytest.fixture(scope="module")
def ids(gateway: Live) -> Ids:
    """The ids that the examples name, and those that the same things have in this gateway."""
    answer = gateway.client().post("/api/v1/checks", json=EXAMPLES["check"]["request"])
    said = gateway.client().post("/api/v1/consents", json=EXAMPLES["consent"]["request"])
    entry = str(answer.json()["ledger"]["entry"])
    mark = str(answer.json()["verdicts"][0]["mark"]["id"])
    return {
        CHECK_ID: str(answer.json()["id"]),
        CONSENT_ID: str(said.json()["id"]),
        ENTRY_ID: entry,
        MAPPING_ID: names_told(gateway),
        MARK_ID: mark,
        WITHDRAWN_ID: mark_withdrawn(gateway),
    }


@pytest.fixture(scope="module")
def lives(gateway: Live, publishing: Live) -> dict[str, Live]:
    """The gateways that examples are sent to: one over a source, and one that is published to and has the
    resource that the examples read."""
    first = sent(publishing, EXAMPLES["fhir-update"], {})
    assert first.status_code in (200, 201), first.text
    return {"": gateway, "publishing": publishing}


def sent(gateway: Live, example: dict[str, Any], ids: Ids) -> httpx.Response:
    """What the gateway answers to an example's request."""
    told = json.dumps(example)
    for shown, here in ids.items():
        told = told.replace(shown, here)
    example = json.loads(told)
    method, path = example["operation"].split()
    request = example.get("request")
    if request and "at" in request:  # another gateway's question is answered while it is new
        request["at"] = datetime.now(UTC).isoformat()
    if request and "ends" in request:
        request["ends"] = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
    return gateway.client(example["client"]).request(
        method,
        path.format(**example.get("path", {})),
        params=example.get("query"),
        content=None if request is None else json.dumps(request).encode(),
        headers={"Content-Type": example["media"]} if request is not None else {},
    )


def test_the_published_description_is_that_of_the_running_gateway(gateway: Live) -> None:
    running = gateway.client("").get("/openapi.json").json()
    assert running == DESCRIPTION, "run: python openapi/generate.py"


def test_every_reference_of_the_description_leads_somewhere() -> None:
    def references(value: Any) -> set[str]:
        if isinstance(value, dict):
            return {value["$ref"]} if "$ref" in value else set().union(*map(references, value.values()))
        return set().union(*map(references, value)) if isinstance(value, list) else set()

    names = {reference.removeprefix("#/components/schemas/") for reference in references(DESCRIPTION)}
    assert names <= DESCRIPTION["components"]["schemas"].keys()


@pytest.mark.parametrize(("name", "operation"), OPERATIONS)
def test_an_operation_describes_its_body_and_nothing_that_it_never_answers(
    name: str, operation: dict[str, Any]
) -> None:
    assert operation["summary"]
    assert operation["description"]
    bodiless = name.endswith("$recognition")
    assert ("requestBody" in operation) == (name.startswith(("POST", "PUT")) and not bodiless)
    assert "HTTPValidationError" not in json.dumps(operation)


@pytest.mark.parametrize(("name", "operation"), OPERATIONS)
def test_an_operation_says_whether_it_needs_a_token(
    gateway: Live, name: str, operation: dict[str, Any]
) -> None:
    method, path = name.replace("{type}", "Observation").replace("{node}", "cq-his").split()
    media = next(iter(operation.get("requestBody", {}).get("content", {})), "application/json")
    answer = gateway.client("").request(
        method, path, content=b"{}" if method in ("POST", "PUT") else None, headers={"Content-Type": media}
    )
    assert (answer.status_code == 401) == ("security" in operation)


@pytest.mark.parametrize(
    "name", [name for name, _ in OPERATIONS if name not in NO_JSON and not ALIKE.fullmatch(name)]
)
def test_an_operation_has_an_example_that_succeeds(name: str) -> None:
    assert [e for e in EXAMPLES.values() if e["operation"] == name and e["status"] in (200, 201)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_answered_as_it_says(lives: dict[str, Live], ids: Ids, name: str) -> None:
    example = EXAMPLES[name]
    answer = sent(lives[example.get("gateway", "")], example, ids)
    assert answer.status_code == example["status"]
    assert shape(answer.json()) == shape(example["response"])


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_answer_has_the_media_type_and_status_that_are_described(
    lives: dict[str, Live], ids: Ids, name: str
) -> None:
    example = EXAMPLES[name]
    answer = sent(lives[example.get("gateway", "")], example, ids)
    described = dict(OPERATIONS)[example["operation"]]["responses"][str(answer.status_code)]["content"]
    assert list(described) == [answer.headers["content-type"].partition(";")[0]]


@pytest.mark.parametrize("name", [name for name, e in EXAMPLES.items() if e["operation"] in TYPES])
def test_an_example_is_of_the_type_that_is_described(name: str) -> None:
    example = EXAMPLES[name]
    kind = TYPES[example["operation"]] if example["status"] == 200 else Problem
    read: object = msgspec.json.decode(json.dumps(example["response"]), type=kind)
    assert json.loads(msgspec.json.encode(read)).keys() == example["response"].keys()


@pytest.mark.parametrize("path", ["/ledger/checkpoint", "/ledger/tile/entries/000.p/1", "/metrics"])
def test_what_is_no_json_is_described_as_what_it_is(gateway: Live, ids: Ids, path: str) -> None:
    answer = gateway.client("").get(path)
    name = "GET /ledger/tile/{path}" if "tile" in path else f"GET {path}"
    described = dict(OPERATIONS)[name]["responses"]["200"]["content"]
    assert list(described) == [answer.headers["content-type"].partition(";")[0]]


def test_the_parameters_of_a_proof_are_described() -> None:
    described = dict(OPERATIONS)["GET /ledger/proof"].get("parameters", [])
    assert {parameter["name"] for parameter in described} == {"index", "old", "size"}


def test_an_example_shows_no_number_but_the_synthetic_patients() -> None:
    # between gateways a resource travels with its Patient, by whom the asking one knows whose it is
    text = json.dumps([e["response"] for name, e in EXAMPLES.items() if name != "peer-read"])
    assert PATIENT not in text


def test_what_the_fhir_face_answers_is_valid_fhir(gateway: Live) -> None:
    from fhir.resources.R4B import get_fhir_model_class

    for example in EXAMPLES.values():
        resource = example["response"]
        if "/fhir/" in example["operation"] and "resourceType" in resource:
            get_fhir_model_class(resource["resourceType"]).model_validate(resource)
