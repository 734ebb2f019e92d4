"""Resources by their addresses, over HTTP: publishers write and read back, hospitals read over all nodes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.demo.people import BY_KEY
from tests.gateway.live import NODE, OWN, Live, audit, gateway_with, source_of
from tests.gateway.parcels import NODE as INDEX
from tests.gateway.parcels import records_of

pytestmark = pytest.mark.slow

FHIR = {"Content-Type": "application/fhir+json"}
RESIDENT = "urn:oid:2.16.156.10011.1.3"
NUMBER, ANOTHER = BY_KEY["jia"].number, BY_KEY["ding"].number
BASE = "http://127.0.0.1/fhir"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway with a published node of one hospital and that hospital's FHIR server."""
    with source_of(tmp_path_factory.mktemp("source")) as (url, node):
        nodes: list[dict[str, Any]] = [
            {"id": INDEX, "kind": "published", "institution": OWN},
            {"id": NODE, "kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 7000},
        ]
        with gateway_with(tmp_path_factory.mktemp("gateway"), nodes) as running:
            running.node = node
            yield running


@pytest.fixture
def publisher(live: Live, tmp_path: Path) -> Iterator[httpx.Client]:
    """The hospital's client that publishes; afterwards the ledger holds, and no log has a number."""
    client = live.client("publisher")
    client.headers.update(FHIR)
    yield client
    assert audit(live, tmp_path / "audit") == []
    assert NUMBER not in live.log.getvalue()


def patient(id_: str, number: str = NUMBER) -> dict[str, Any]:
    identifier = [{"system": RESIDENT, "value": number}]
    return {"resourceType": "Patient", "id": id_, "identifier": identifier}


def observation(id_: str, whose: str, **changes: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": id_,
        "status": "final",
        "category": [{"coding": [{"code": "laboratory"}]}],
        "code": {"text": "白蛋白"},
        "subject": {"reference": f"Patient/{whose}"},
        "effectiveDateTime": "2026-11-10T08:00:00+08:00",
        "valueQuantity": {"value": 41.0, "unit": "g/L"},
    } | changes


def put(client: httpx.Client, resource: dict[str, Any], **headers: str) -> httpx.Response:
    place = f"/fhir/{resource['resourceType']}/{resource['id']}"
    return client.put(place, content=json.dumps(resource), headers=headers)


def told(answer: httpx.Response, status: int) -> str:
    """What an OperationOutcome with this status says."""
    assert answer.status_code == status, answer.text
    assert answer.json()["resourceType"] == "OperationOutcome"
    return str(answer.json()["issue"][0]["diagnostics"])


@pytest.fixture
def known(publisher: httpx.Client) -> str:
    """A published Observation of somebody who is known there."""
    id_ = uuid.uuid4().hex
    assert put(publisher, patient(f"p-{id_}")).status_code == 201
    assert put(publisher, observation(id_, f"p-{id_}")).status_code == 201
    return id_


def test_what_was_written_is_read_back_in_its_own_bytes(publisher: httpx.Client, known: str) -> None:
    answer = publisher.get(f"/fhir/Observation/{known}")
    assert answer.headers["ETag"] == 'W/"1"'
    assert '"value": 41.0' in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_write_is_on_record_and_reading_it_back_is_not(
    live: Live, publisher: httpx.Client, known: str
) -> None:
    before = live.kept()[0]
    publisher.get(f"/fhir/Observation/{known}")
    assert live.kept()[0] == before
    put(publisher, observation(known, f"p-{known}", status="amended"))
    assert live.kept()[0] > before


def test_the_same_address_at_the_node_is_the_same_resource(publisher: httpx.Client, known: str) -> None:
    at_node = publisher.get(f"/fhir/nodes/{INDEX}/Observation/{known}")
    assert at_node.content == publisher.get(f"/fhir/Observation/{known}").content


def test_a_hospital_reads_it_and_that_is_on_record(live: Live, known: str) -> None:
    before = live.kept()[0]
    answer = live.client("other").get(f"/fhir/nodes/{INDEX}/Observation/{known}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["meta"]["versionId"] == "1"
    assert live.kept()[0] > before


def test_a_hospital_reads_the_former_version_too(live: Live, publisher: httpx.Client, known: str) -> None:
    put(publisher, observation(known, f"p-{known}", status="amended"))
    read = live.client("other").get
    assert read(f"/fhir/nodes/{INDEX}/Observation/{known}/_history/1").json()["status"] == "final"
    assert read(f"/fhir/nodes/{INDEX}/Observation/{known}/_history").json()["total"] == 2


def test_what_is_nobodys_yet_is_shown_to_its_publisher_alone(live: Live, publisher: httpx.Client) -> None:
    id_ = uuid.uuid4().hex
    assert put(publisher, observation(id_, f"unknown-{id_}")).status_code == 201
    assert publisher.get(f"/fhir/Observation/{id_}").status_code == 200
    told(live.client("other").get(f"/fhir/Observation/{id_}"), 404)


def test_what_was_nobodys_becomes_the_persons_with_the_patient(live: Live, publisher: httpx.Client) -> None:
    id_ = uuid.uuid4().hex
    put(publisher, observation(id_, f"p-{id_}"))
    put(publisher, patient(f"p-{id_}"))
    assert live.client("other").get(f"/fhir/Observation/{id_}").status_code == 200


def test_a_resource_of_a_node_is_read_in_the_bytes_of_the_node(live: Live) -> None:
    name, raw = next(
        (name, raw) for name, raw in records_of(NODE, "ding").items() if name.startswith("Observation")
    )
    answer = live.client().get(f"/fhir/nodes/{NODE}/{name}")
    assert answer.status_code == 200, answer.text
    value = json.loads(raw)
    assert {**answer.json(), "meta": value.get("meta")} == {**value, "meta": value.get("meta")}


def test_an_id_that_two_nodes_have_is_refused_with_both_addresses(
    live: Live, publisher: httpx.Client
) -> None:
    name = next(name for name in records_of(NODE, "ding") if name.startswith("Observation"))
    id_ = name.partition("/")[2]
    put(publisher, patient(f"p-{id_}", ANOTHER))
    put(publisher, observation(id_, f"p-{id_}"))
    words = told(live.client("other").get(f"/fhir/{name}"), 409)
    assert f"{BASE}/nodes/{NODE}/{name}" in words
    assert f"{BASE}/nodes/{INDEX}/{name}" in words


def test_whoever_publishes_nothing_there_may_not_write(live: Live) -> None:
    for name in ("his", "other-publisher"):
        answer = live.client(name).put("/fhir/Patient/p1", content=json.dumps(patient("p1")), headers=FHIR)
        told(answer, 403)


def test_a_node_that_is_asked_itself_is_not_written_to(publisher: httpx.Client) -> None:
    sent = json.dumps(patient("p1"))
    told(publisher.put(f"/fhir/nodes/{NODE}/Patient/p1", content=sent), 403)


def test_a_stale_update_is_refused(publisher: httpx.Client, known: str) -> None:
    changed = observation(known, f"p-{known}", status="amended")
    told(put(publisher, changed, **{"If-Match": 'W/"9"'}), 412)
    assert put(publisher, changed, **{"If-Match": 'W/"1"'}).headers["ETag"] == 'W/"2"'


def test_a_deleted_resource_is_gone_for_its_publisher_and_nowhere_for_others(
    live: Live, publisher: httpx.Client, known: str
) -> None:
    assert publisher.delete(f"/fhir/Observation/{known}").status_code == 204
    told(publisher.get(f"/fhir/Observation/{known}"), 410)
    told(live.client("other").get(f"/fhir/Observation/{known}"), 404)


def test_a_conditional_create_by_header_is_done_once(publisher: httpx.Client) -> None:
    id_ = uuid.uuid4().hex
    resource = observation("x", "nobody", identifier=[{"system": "urn:x", "value": id_}])
    asked = {"If-None-Exist": f"identifier=urn:x|{id_}"}
    answers = [publisher.post("/fhir/Observation", json=resource, headers=FHIR | asked) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[0].headers["Location"] == answers[1].headers["Location"]


def test_a_patient_is_found_by_his_number_in_a_condition(publisher: httpx.Client, known: str) -> None:
    number = BY_KEY["yi"].number
    asked = {"If-None-Exist": f"identifier={RESIDENT}|{number}"}
    answers = [
        publisher.post("/fhir/Patient", json=patient("x", number), headers=FHIR | asked) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 200]


def test_a_persons_number_in_an_address_is_refused(live: Live, publisher: httpx.Client) -> None:
    answer = publisher.put(
        "/fhir/Patient", params={"identifier": f"{RESIDENT}|{NUMBER}"}, content=json.dumps(patient("p1"))
    )
    assert NUMBER not in told(answer, 400)


def bundle(client: httpx.Client, type_: str, *entries: dict[str, Any]) -> httpx.Response:
    whole = {"resourceType": "Bundle", "type": type_, "entry": entries}
    return client.post("/fhir", json=whole, headers=FHIR)


def test_a_transaction_publishes_a_person_with_the_results(live: Live, publisher: httpx.Client) -> None:
    url = f"urn:uuid:{uuid.uuid4()}"
    result = observation("x", "x", subject={"reference": url})
    answer = bundle(
        publisher,
        "transaction",
        {"request": {"method": "POST", "url": "Observation"}, "resource": result},
        {"request": {"method": "POST", "url": "Patient"}, "resource": patient("x"), "fullUrl": url},
    )
    assert answer.status_code == 200, answer.text
    places = [one["response"]["location"].partition("/_history")[0] for one in answer.json()["entry"]]
    shown = live.client("other").get(f"/fhir/{places[0]}")
    assert shown.json()["subject"]["reference"] == places[1]


def test_a_transaction_with_one_bad_entry_keeps_nothing(publisher: httpx.Client) -> None:
    id_ = uuid.uuid4().hex
    good = {
        "request": {"method": "PUT", "url": f"Patient/{id_}"},
        "resource": patient(id_),
    }
    bad = {"request": {"method": "POST", "url": "Observation"}, "resource": {"resourceType": "Observation"}}
    answer = bundle(publisher, "transaction", good, bad)
    told(answer, 422)
    assert answer.json()["issue"][0]["expression"][0].startswith("Bundle.entry[1].resource")
    told(publisher.get(f"/fhir/Patient/{id_}"), 404)


def test_a_hospital_reads_in_a_batch_and_writes_nothing(live: Live, known: str) -> None:
    answer = bundle(
        live.client("other"),
        "batch",
        {"request": {"method": "GET", "url": f"nodes/{INDEX}/Observation/{known}"}},
        {"request": {"method": "GET", "url": f"Observation/{known}"}},
        {"request": {"method": "POST", "url": "Patient"}, "resource": patient("x")},
    )
    assert [one["response"]["status"][:3] for one in answer.json()["entry"]] == ["404", "200", "403"]


@pytest.mark.parametrize("name", ["publisher", "his"])
def test_a_resource_is_looked_at_and_not_kept(live: Live, name: str) -> None:
    before = live.kept()
    wrong = observation("v", "x", status="zzz")
    answer = live.client(name).post("/fhir/Observation/$validate", json=wrong, headers=FHIR)
    assert answer.status_code == 200
    assert answer.json()["issue"][0]["expression"] == ["Observation.status"]
    assert live.kept() == before


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/fhir/Observation/never", 404),
        ("GET", "/fhir/Observation/never/_history", 404),
        ("GET", "/fhir/Basic/1", 404),
        ("PATCH", "/fhir/Observation/1", 405),
        ("GET", "/fhir/nodes/no-such-node/Observation/1", 404),
    ],
)
def test_what_is_not_there_or_not_offered_is_an_outcome(
    live: Live, method: str, path: str, status: int
) -> None:
    told(live.client().request(method, path), status)


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/fhir", "POST"),
        ("/fhir/Observation", "DELETE, GET, POST, PUT"),
        ("/fhir/Observation/1", "DELETE, GET, PUT"),
    ],
)
def test_what_is_not_offered_names_all_that_is(live: Live, path: str, methods: str) -> None:
    assert live.client().patch(path).headers["Allow"] == methods


def test_an_address_that_leads_nowhere_is_not_found(publisher: httpx.Client, known: str) -> None:
    for path in (f"Observation/{known}/x", f"Observation/{known}%2Fx", "Observation/a%2Fb"):
        told(publisher.get(f"/fhir/{path}"), 404)


def test_a_read_counts_nothing(publisher: httpx.Client, known: str) -> None:
    assert "count" in told(publisher.get(f"/fhir/Observation/{known}?_summary=count"), 400)


def test_without_a_token_nobody_is_told_anything(live: Live, known: str) -> None:
    told(live.client("").get(f"/fhir/Observation/{known}"), 401)
