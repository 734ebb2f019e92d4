"""A publisher searches what he keeps himself: no person named, no ledger entry, nothing of anybody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.demo.people import BY_KEY
from tests.gateway.live import OTHER, OWN, Live, gateway_with
from tests.node_cases import observation, patient

pytestmark = pytest.mark.xdist_group("search")  # one worker starts its servers

SYSTEM = "urn:oid:2.16.156.10011.1.3"
PERSON = BY_KEY["jia"].number
NODES = [
    {"id": "own", "kind": "published", "institution": OWN},
    {"id": "theirs", "kind": "published", "institution": OTHER},
]


def numbered(id_: str, day: int, **changes: Any) -> dict[str, Any]:
    return observation(
        id_,
        identifier=[{"system": f"urn:lianren:report:{OWN}", "value": f"{id_}/1"}],
        effectiveDateTime=f"2026-11-{day:02}T08:00:00+08:00",
        **changes,
    )


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway with a published node of the own institution and one of another, each with results."""
    with gateway_with(tmp_path_factory.mktemp("own"), NODES) as live:
        for name, held in (("publisher", ["o1", "o2", "o3"]), ("other-publisher", ["x1"])):
            resources = [patient(number=PERSON), *(numbered(id_, n + 1) for n, id_ in enumerate(held))]
            for one in resources:
                put(live, name, one)
        yield live


def put(live: Live, name: str, resource: dict[str, Any]) -> None:
    answer = live.client(name).put(
        f"/fhir/{resource['resourceType']}/{resource['id']}",
        content=json.dumps(resource, ensure_ascii=False).encode(),
        headers={"Content-Type": "application/fhir+json"},
    )
    assert answer.status_code in (200, 201), answer.text


def search(live: Live, path: str, name: str = "publisher", **parameters: Any) -> httpx.Response:
    return live.client(name).get(f"/fhir/{path}", params=parameters)


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [entry["resource"]["id"] for entry in answer.json().get("entry", ())]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, ["o3", "o2", "o1"]),
        ({"_sort": "date"}, ["o1", "o2", "o3"]),
        ({"patient": "Patient/p1", "date": "ge2026-11-02", "_sort": "date"}, ["o2", "o3"]),
        ({"identifier": f"urn:lianren:report:{OWN}|o2/1"}, ["o2"]),
        ({"_id": "x1"}, []),
    ],
)
def test_what_he_published_is_found(live: Live, parameters: dict[str, Any], expected: list[str]) -> None:
    assert ids(search(live, "Observation", **parameters)) == expected


def test_it_is_found_by_a_patient_s_number_in_a_form(live: Live) -> None:
    form = {"patient.identifier": f"{SYSTEM}|{PERSON}", "_include": "Observation:patient", "_sort": "date"}
    answer = live.client("publisher").post("/fhir/Observation/_search", data=form)
    assert ids(answer) == ["o1", "o2", "o3", "p1"]
    assert PERSON not in json.dumps(answer.json()["link"])


def test_a_search_of_his_own_leaves_nothing_in_the_ledger(live: Live) -> None:
    before = live.kept()
    search(live, "Observation")
    assert live.kept() == before


def test_pages_of_his_own_lead_on_and_leave_nothing_in_the_ledger(live: Live) -> None:
    before = live.kept()
    first = search(live, "Observation", _count=2, _sort="date")
    (following,) = [link["url"] for link in first.json()["link"] if link["relation"] == "next"]
    path = following.removeprefix(f"{live.settings.base_url}/fhir/")
    assert ids(first) + ids(search(live, path)) == ["o1", "o2", "o3"]
    assert search(live, path, "other-publisher").status_code == 410
    assert live.kept() == before


def test_the_node_may_be_named_and_is_then_in_every_address(live: Live) -> None:
    answer = search(live, "nodes/own/Observation", _sort="date")
    urls = [entry["fullUrl"] for entry in answer.json()["entry"]]
    assert [url.partition("/fhir/")[2] for url in urls] == [f"nodes/own/Observation/o{n}" for n in (1, 2, 3)]


def test_a_publisher_does_not_search_the_node_of_another_institution(live: Live) -> None:
    assert search(live, "nodes/theirs/Observation").status_code == 403
    assert ids(search(live, "Observation", "other-publisher")) == ["x1"]


def test_a_publisher_is_told_which_version_each_resource_is(live: Live) -> None:
    put(live, "publisher", numbered("o9", 9))
    put(live, "publisher", numbered("o9", 9, status="corrected"))
    (entry,) = search(live, "Observation", _id="o9").json()["entry"]
    assert (entry["resource"]["meta"]["versionId"], entry["resource"]["status"]) == ("2", "corrected")
    assert live.client("publisher").delete("/fhir/Observation/o9").status_code in (200, 204)
    assert ids(search(live, "Observation", _id="o9")) == []


def test_what_is_passed_over_is_named(live: Live) -> None:
    prefer = {"Prefer": "handling=lenient"}
    answer = live.client("publisher").get("/fhir/Observation", params={"made-up": "1"}, headers=prefer)
    assert answer.json()["entry"][-1]["resource"]["issue"][0]["code"] == "not-supported"


@pytest.mark.parametrize("name", ["name", "birthdate", "phone:not", "address-city:contains"])
def test_a_patient_is_not_searched_by_his_card_in_an_address(live: Live, name: str) -> None:
    assert live.client("publisher").get("/fhir/Patient", params={name: "true"}).status_code == 400
    assert (
        live.client("publisher").post("/fhir/Patient/_search", data={"name:missing": "true"}).status_code
        == 200
    )


@pytest.mark.parametrize("name", ["his", "auditor", "operator"])
def test_nobody_else_searches_without_a_person(live: Live, name: str) -> None:
    assert search(live, "Observation", name).status_code in (400, 403)
    assert search(live, "Task", name).status_code == 403


def test_a_hospital_finds_over_nodes_what_was_published(live: Live) -> None:
    form = {"patient.identifier": f"{SYSTEM}|{PERSON}", "identifier": f"urn:lianren:report:{OWN}|o2/1"}
    answer = live.client().post("/fhir/Observation/_search", data=form)
    matches = [entry for entry in answer.json()["entry"] if entry["search"]["mode"] == "match"]
    assert [entry["fullUrl"].partition("/fhir/")[2] for entry in matches] == ["nodes/own/Observation/o2"]


# Of somebody nobody knows


@pytest.fixture(scope="module")
def unknown(live: Live) -> Live:
    """The node with a Patient without a document's number, and his result and order."""
    whom = {"reference": "Patient/p7"}
    local = {"system": "urn:lianren:mrn:EX-CQ-01", "value": "7"}
    named = [{"family": "Huanzhe Wuming"}]
    order = {"status": "active", "intent": "order", "code": {"text": "白蛋白"}, "subject": whom}
    for one in (
        {"resourceType": "Patient", "id": "p7", "identifier": [local], "name": named},
        {"resourceType": "ServiceRequest", "id": "s7", **order},
        {"resourceType": "Task", "id": "t7", "status": "requested", "intent": "order", "for": whom},
        {
            **numbered("o7", 7, subject=whom),
            "basedOn": [{"reference": "ServiceRequest/s7"}],
        },
    ):
        put(live, "publisher", one)
    return live


@pytest.mark.parametrize("name", ["publisher", "hospital"])
@pytest.mark.parametrize(
    ("path", "parameters", "expected"),
    [
        ("Observation", {"patient": "Patient/p7"}, ["o7"]),
        ("Observation", {"subject": "p7", "_include": "Observation:patient"}, ["o7", "p7"]),
        ("Observation", {"patient": "http://127.0.0.1/fhir/nodes/own/Patient/p7"}, ["o7"]),
        ("nodes/own/Observation", {"patient": "Patient/p7"}, ["o7"]),
        (
            "Observation",
            {"subject:Patient.family": "Huanzhe", "_include": "Observation:subject"},
            ["o7", "p7"],
        ),
        ("Observation", {"based-on": "ServiceRequest/s7", "_include": "*"}, ["o7", "p7", "s7"]),
        ("Observation", {"_id": "o7"}, ["o7"]),
        ("Patient", {"_id": "p7", "_revinclude": "Observation:patient"}, ["p7", "o7"]),
        ("Task", {"patient": "p7"}, ["t7"]),
        ("Encounter", {"patient": "p7"}, []),
    ],
)
def test_his_patient_whom_nobody_knows_is_searched_at_his_node(
    unknown: Live, name: str, path: str, parameters: dict[str, str], expected: list[str]
) -> None:
    before = unknown.kept()
    assert sorted(ids(search(unknown, path, name, **parameters))) == sorted(expected)
    assert unknown.kept() == before


@pytest.mark.parametrize("name", ["his", "other", "other-publisher"])
def test_nobody_else_finds_him(unknown: Live, name: str) -> None:
    for parameters in ({"patient": "Patient/p7"}, {"subject:Patient.family": "Huanzhe"}, {"_id": "o7"}):
        answer = search(unknown, "Observation", name, **parameters)
        assert answer.status_code in (400, 404) or ids(answer) == []


def test_who_is_known_is_searched_over_nodes_and_on_record(live: Live) -> None:
    before = live.kept()
    answer = search(live, "Observation", "hospital", patient="Patient/p1")
    assert {"o1", "o2", "o3"} <= {e["resource"].get("id") for e in answer.json()["entry"]}
    assert live.kept() != before


def test_what_tells_who_he_is_stands_in_no_link(unknown: Live) -> None:
    form = {"subject:Patient.family": "Huanzhe", "patient.identifier": "urn:lianren:mrn:EX-CQ-01|7"}
    answer = unknown.client("publisher").post("/fhir/Observation/_search", data=form)
    assert ids(answer) == ["o7"]
    assert "Huanzhe" not in json.dumps(answer.json()["link"])


@pytest.mark.parametrize(
    ("type_", "name", "value"),
    [
        ("Observation", "subject:Patient.identifier", PERSON),
        ("Observation", "patient.identifier", f"|{PERSON}"),
        ("Observation", "performer:identifier", f"{SYSTEM}|{PERSON}"),
        ("Patient", "identifier:of-type", f"http://terminology.hl7.org/CodeSystem/v2-0203|NI|{PERSON}"),
        ("Patient", "identifier:not", PERSON),
    ],
)
def test_a_number_is_refused_in_an_address_however_it_is_asked(
    live: Live, type_: str, name: str, value: str
) -> None:
    answer = search(live, type_, **{name: value})
    assert (answer.status_code, PERSON in answer.text) == (400, False)
    assert "would tell in an address" in answer.text


def test_a_hospital_does_not_search_by_what_a_patient_is_not(live: Live) -> None:
    form = {"identifier:not": f"{SYSTEM}|{PERSON}"}
    assert live.client().post("/fhir/Patient/_search", data=form).status_code == 400


# By an id alone


def test_a_hospital_reads_by_an_id_alone_and_that_is_on_record(live: Live) -> None:
    before = live.kept()
    answer = search(live, "Observation", "other", _id="o2")
    (entry,) = answer.json()["entry"]
    assert entry["fullUrl"].partition("/fhir/")[2] == "nodes/own/Observation/o2"
    assert entry["resource"] == numbered("o2", 2)
    assert live.kept() != before


def test_an_id_that_nobody_has_finds_nothing(live: Live) -> None:
    answer = search(live, "Observation", "other", _id="nowhere")
    assert (answer.status_code, answer.json()["total"]) == (200, 0)
    assert search(live, "nodes/theirs/Observation", "his", _id="o2").json()["total"] == 0
    counted = search(live, "Observation", "his", _id="o2", _summary="count")
    assert counted.json().get("total") == 1, counted.text


def test_a_hospital_that_publishes_reads_by_id_what_stands_elsewhere(live: Live) -> None:
    assert ids(search(live, "Observation", "hospital", _id="x1")) == ["x1"]
    assert ids(search(live, "nodes/theirs/Observation", "hospital", _id="x1")) == ["x1"]


def test_nothing_comes_along_with_an_id_alone(live: Live) -> None:
    assert search(live, "Observation", "his", _id="o2", _include="Observation:patient").status_code == 400
