"""FHIR searches over all own nodes: whole bytes, honest states, and the person's number nowhere."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from adapters.store import Store
from gateway.demo.people import BY_KEY
from gateway.demo.records import everything
from security.ledger import read_entry
from tests.gateway import parcels
from tests.gateway.live import NODE, OWN, STRANGER, Live, audit, gateway_with, reading, source_of
from tests.node_cases import observation, patient, report, searchset, study
from tests.serving import Reply, http_answer, misbehave

pytestmark = pytest.mark.xdist_group("search")  # one worker starts its servers

SYSTEM = "urn:oid:2.16.156.10011.1.3"
PATIENT = BY_KEY["jia"].number
TYPES = ("DiagnosticReport", "Observation", "ImagingStudy")
ANNOUNCED = {"group": "lab", "first": "2026-01-01T00:00:00+08:00", "last": "2026-11-20T00:00:00+08:00"}
FAR = {"id": "sc", "kind": "gateway", "url": "http://127.0.0.1:9", "owner": "sc"}
PACS = {
    "id": "cq-pacs",
    "kind": "dicomweb",
    "url": "http://127.0.0.1:9",
    "institution": OWN,
    "identity": NODE,
}


def fhir(id_: str, url: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 5000} | more


def replying(answers: dict[str, Any]) -> Any:
    """A FHIR node that answers searches by type; bytes as they are, None never."""

    def reply(first: str, _: bytes) -> Reply:
        type_ = first.split("/")[1].split("?")[0].split(" ")[0]
        found = answers.get(type_, searchset(patient(number=PATIENT)) if type_ == "Patient" else searchset())
        return found if found is None or isinstance(found, bytes) else http_answer(json.dumps(found).encode())

    return reply


def search(
    live: Live, type_: str = "Observation", number: str = PATIENT, **parameters: Any
) -> httpx.Response:
    form = {"patient.identifier": f"{SYSTEM}|{number}"} | parameters
    return live.client().post(f"/fhir/{type_}/_search", data=form)


def matches(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    return [entry for entry in response.json()["entry"] if entry["search"]["mode"] == "match"]


def states(response: httpx.Response) -> dict[str, str]:
    """State by node."""
    return {
        issue["details"]["text"]: issue["details"]["coding"][0]["code"]
        for issue in outcome(response)["issue"]
        if "details" in issue
    }


def outcome(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    (found,) = [e["resource"] for e in response.json()["entry"] if e["search"]["mode"] == "outcome"]
    assert found["resourceType"] == "OperationOutcome"
    return dict(found)


def codes(response: httpx.Response) -> set[str]:
    return {issue["code"] for issue in outcome(response)["issue"]}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway over a source, an archive that is never asked, and another gateway."""
    folder = tmp_path_factory.mktemp("search")
    with source_of(folder) as (url, node), gateway_with(folder, [fhir(NODE, url), PACS, FAR]) as live:
        live.node = node
        yield live


@pytest.fixture(scope="module")
def sent() -> dict[str, list[bytes]]:
    """The bytes that the node was given of the person's resources, by type."""
    bundle = msgspec.json.decode(everything(datetime.now(UTC)).bundles[NODE], type=_Bundle)
    keyed = [(json.loads(bytes(entry.resource)), bytes(entry.resource)) for entry in bundle.entry]
    (mine,) = [r["id"] for r, _ in keyed if any(i["value"] == PATIENT for i in r.get("identifier", ()))]
    return {
        type_: [
            raw
            for resource, raw in keyed
            if resource["resourceType"] == type_ and resource["subject"]["reference"] == f"Patient/{mine}"
        ]
        for type_ in TYPES
    }


class _Entry(msgspec.Struct):
    resource: msgspec.Raw


class _Bundle(msgspec.Struct):
    entry: list[_Entry]


@pytest.mark.parametrize("type_", TYPES)
def test_every_resource_of_the_person_is_found_byte_by_byte(
    live: Live, sent: dict[str, list[bytes]], type_: str
) -> None:
    answer = search(live, type_)
    assert len(matches(answer)) == len(sent[type_]) == answer.json()["total"]
    assert all(raw in answer.content for raw in sent[type_])


def day(number: int, **changes: Any) -> dict[str, Any]:
    """An albumin of a day of November."""
    times = {
        "effectiveDateTime": f"2026-11-{number:02}T08:00:00+08:00",
        "issued": f"2026-11-{number:02}T11:00:00+08:00",
    }
    return observation(f"d{number:02}", **(times | changes))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway over two nodes with observations of six days."""
    one = [day(1), day(5, code={"text": "钾"}), day(3, status="corrected")]
    two = [day(2), day(6, code={"coding": [{"system": "urn:x", "code": "K"}]}), day(4, effectiveDateTime="")]
    nodes = {"one": {"Observation": searchset(*one)}, "two": {"Observation": searchset(*two)}}
    stack, live = over(nodes, tmp_path_factory.mktemp("many"))
    with stack:
        yield live


def days(live: Live, **parameters: Any) -> list[str]:
    return [e["resource"]["id"] for e in matches(search(live, number=PATIENT, **parameters))]


def test_the_newest_of_all_nodes_stand_first_and_those_without_a_time_last(many: Live) -> None:
    assert days(many) == ["d06", "d05", "d03", "d02", "d01", "d04"]


@pytest.mark.parametrize("type_", TYPES)
def test_an_answer_is_a_bundle_by_its_model(live: Live, type_: str) -> None:
    from fhir.resources.R4B.bundle import Bundle

    bundle = Bundle.model_validate_json(search(live, type_, _count="1").content)
    assert (bundle.type, bundle.total is not None) == ("searchset", True)


def test_an_address_names_the_node_and_agrees_with_the_id(live: Live) -> None:
    for entry in matches(search(live)):
        assert entry["fullUrl"].endswith(f"/fhir/nodes/{NODE}/Observation/{entry['resource']['id']}")


def test_every_node_has_a_state_and_gateways_are_named_as_skipped(live: Live) -> None:
    answer = search(live)
    assert states(answer) == {NODE: "answered", "cq-pacs": "skipped", "sc": "skipped"}
    assert "incomplete" in codes(answer)


def test_a_person_nobody_knows_is_an_empty_searchset_with_states(live: Live) -> None:
    answer = search(live, number=STRANGER)
    assert (matches(answer), states(answer)[NODE]) == ([], "empty")


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({"code:text": "钾"}, ["d05"]),
        ({"code": "urn:x|K"}, ["d06"]),
        ({"status": "corrected"}, ["d03"]),
        ({"status": "corrected,entered-in-error"}, ["d03"]),
        ({"category": "laboratory", "code:text": "钾"}, ["d05"]),
        ({"category": "vital-signs"}, []),
        ({"date": ["ge2026-11-02", "lt2026-11-05"]}, ["d03", "d02"]),
        ({"date": "2026-11-06"}, ["d06"]),
        ({"date": "le2026-11-02"}, ["d02", "d01"]),
    ],
)
def test_only_what_meets_every_condition_is_shown(
    many: Live, parameters: dict[str, Any], found: list[str]
) -> None:
    assert days(many, **parameters) == found


def test_a_count_keeps_the_newest_and_says_how_many_there_are(many: Live) -> None:
    some = search(many, number=PATIENT, _count="2")
    assert [entry["resource"]["id"] for entry in matches(some)] == ["d06", "d05"]
    assert some.json()["total"] == 6
    assert "too-costly" in codes(some)


def test_the_link_of_a_search_is_without_the_person(live: Live) -> None:
    answer = search(live, status="final", _count="1")
    (link,) = answer.json()["link"]
    assert link["url"].endswith("/fhir/Observation?status=final&_count=1")
    assert PATIENT not in json.dumps([entry["fullUrl"] for entry in matches(answer)])


def test_nothing_personal_stands_in_headers_or_log(live: Live) -> None:
    answer = search(live)
    told = json.dumps(dict(answer.headers)) + live.log.getvalue()
    assert PATIENT not in told
    (event, *_) = live.events("search_answered")
    assert event["type"] in TYPES


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"_include": "Observation:specimen"}, "_include"),
        ({"_id": "x"}, "_id"),
        ({"patient": "Patient/1"}, "patient"),
        ({"started": "ge2026-01-01"}, "started"),
        ({"date": "yesterday"}, "date"),
        ({"_count": "many"}, "_count"),
        ({"patient.identifier": PATIENT}, "patient.identifier"),
        ({"patient.identifier": f"urn:made-up|{PATIENT}"}, "patient.identifier"),
        ({"patient.identifier": f"{SYSTEM}|990000198001010017"}, "patient.identifier"),
        ({"patient.identifier": ""}, "patient.identifier"),
    ],
)
def test_a_parameter_that_is_wrong_is_refused_by_name_and_nobody_is_asked(
    live: Live, parameters: dict[str, str], field: str
) -> None:
    before = live.kept()
    answer = search(live, **parameters)
    assert answer.status_code in (400, 422)
    (issue,) = answer.json()["issue"]
    assert issue["expression"] == [field]
    assert PATIENT not in answer.text
    assert live.kept() == before


def test_an_unknown_parameter_is_passed_over_where_the_caller_is_lenient(live: Live) -> None:
    answer = live.client().post(
        "/fhir/Observation/_search",
        data={"patient.identifier": f"{SYSTEM}|{PATIENT}", "_include": "x"},
        headers={"Prefer": "handling=lenient"},
    )
    assert matches(answer)


def test_parameters_in_the_address_are_refused(live: Live) -> None:
    answer = live.client().post("/fhir/Observation/_search?status=final", data={})
    assert answer.status_code == 400


def test_a_search_by_get_is_not_offered(live: Live) -> None:
    assert live.client().get("/fhir/Observation").status_code in (404, 405)


@pytest.mark.parametrize("name", ["auditor", "operator", "peer"])
def test_only_hospital_systems_search(live: Live, name: str) -> None:
    form = {"patient.identifier": f"{SYSTEM}|{PATIENT}"}
    assert live.client(name).post("/fhir/Observation/_search", data=form).status_code == 403


def test_a_client_without_an_institution_or_for_emergencies_alone_is_refused(live: Live) -> None:
    form = {"patient.identifier": f"{SYSTEM}|{PATIENT}"}
    for name in ("nobody", "ambulance"):
        assert live.client(name).post("/fhir/Observation/_search", data=form).status_code == 403


def test_what_left_the_house_is_in_the_ledger_before_it_leaves(live: Live, tmp_path: Path) -> None:
    answer = search(live)
    payloads = reading(live, lambda store: _payloads(store, answer.json()["id"]))
    kinds = [kind for kind, _ in payloads]
    assert kinds == ["question", "answer", "answer", "answer", "answer"]
    assert [payload["node"] for _, payload in payloads[1:-1]] == [NODE, "cq-pacs", "sc"]
    assert payloads[1][1]["resources"] == len(matches(answer))
    assert payloads[-1][1]["bytes"] == hashlib.sha256(answer.content).hexdigest()
    assert PATIENT not in json.dumps([payload for _, payload in payloads])
    assert audit(live, tmp_path) == []


async def _payloads(store: Store, search_id: str) -> list[tuple[str, dict[str, Any]]]:
    """Types and payloads of the entries of one search, in their order."""
    entries = [read_entry(body) for body in await store.entries(0, 10_000)]
    told: list[tuple[str, str, dict[str, Any]]] = []
    for entry in entries:
        secret = await store.secret(entry.commit)
        payload = json.loads(secret.payload) if secret and secret.payload[:1] == b"{" else {}
        told.append((entry.commit, entry.binds, payload | {"_type": entry.type}))
    (question,) = [c for c, _, p in told if p["_type"] == "question" and p.get("check") == search_id]
    return [(p["_type"], p) for c, binds, p in told if question in (c, binds)]


def test_a_person_who_said_no_is_not_searched_for(live: Live) -> None:
    person = BY_KEY["jie"].number
    before = matches(search(live, number=person))
    directive = {"patient": {"type": "resident-id", "value": person}, "decision": "deny"}
    said = live.client().post("/api/v1/consents", json=directive)
    assert said.status_code in (200, 201), said.text
    asked = live.node.requests if live.node else 0
    answer = search(live, number=person)
    assert before
    assert (matches(answer), live.node.requests if live.node else 0) == ([], asked)
    assert set(states(answer).values()) == {"skipped"}
    assert "suppressed" in codes(answer)


ELSEWHERE: dict[str, Any] = {"subject": {"reference": "Patient/p2"}}


def over(nodes: dict[str, dict[str, Any]], folder: Path, **settings: Any) -> tuple[ExitStack, Live]:
    """A gateway over nodes that answer so."""
    stack = ExitStack()
    placed = [fhir(id_, stack.enter_context(misbehave(replying(a)))) for id_, a in nodes.items()]
    return stack, stack.enter_context(gateway_with(folder, placed, **settings))


def test_two_nodes_with_the_same_ids_are_both_shown(tmp_path: Path) -> None:
    held = {"Observation": searchset(observation(), observation("o2"))}
    stack, live = over({"one": held, "two": held}, tmp_path)
    with stack:
        answer = search(live, number=PATIENT)
    addresses = {entry["fullUrl"].partition("/nodes/")[2] for entry in matches(answer)}
    assert addresses == {f"{node}/Observation/{id_}" for node in ("one", "two") for id_ in ("o1", "o2")}
    assert "incomplete" not in codes(answer)


def test_who_a_person_is_at_a_node_is_looked_up_anew_after_a_publication(tmp_path: Path) -> None:
    seen: list[str] = []

    def reply(first: str, body: bytes) -> Reply:
        seen.append(first)
        answered: Reply = answering(first, body)
        return answered

    answering = replying({"Observation": searchset(observation())})
    news = parcels.publication("jia", node="one", announced=[ANNOUNCED])
    with misbehave(reply) as url, gateway_with(tmp_path, [fhir("one", url, publishes=True)]) as live:
        for _ in range(2):
            sent = live.client("publisher").post(
                "/api/v1/publications", content=news, headers={"Content-Type": "application/json"}
            )
            assert sent.status_code == 200, sent.text
            assert [len(matches(search(live, number=PATIENT))) for _ in range(2)] == [1, 1]
            news = news.replace(b'"request_id":"', b'"request_id":"2', 1)
    assert sum("/Patient/" in first for first in seen) == 2


def test_what_a_node_shows_twice_is_shown_once(tmp_path: Path) -> None:
    stack, live = over({"one": {"Observation": searchset(observation(), observation())}}, tmp_path)
    with stack:
        assert len(matches(search(live, number=PATIENT))) == 1


def test_a_node_with_another_person_s_resource_is_named_and_the_others_shown(tmp_path: Path) -> None:
    wrong = {"Observation": searchset(observation("x1"), observation("x2", **ELSEWHERE))}
    stack, live = over({"good": {"Observation": searchset(observation())}, "wrong": wrong}, tmp_path)
    with stack:
        answer = search(live, number=PATIENT)
    assert states(answer) == {"good": "answered", "wrong": "faulty"}
    assert [entry["resource"]["id"] for entry in matches(answer)] == ["o1"]
    assert "incomplete" in codes(answer)


def test_a_hanging_node_is_late_within_the_time_that_the_caller_would_wait(tmp_path: Path) -> None:
    hanging: dict[str, Any] = {"Observation": None}
    nodes = {"good": {"Observation": searchset(observation())}, "hanging": hanging}
    stack, live = over(nodes, tmp_path, search_deadline_ms=60_000)
    with stack:
        began = datetime.now(UTC)
        answer = live.client().post(
            "/fhir/Observation/_search",
            data={"patient.identifier": f"{SYSTEM}|{PATIENT}"},
            headers={"Prefer": "handling=strict, wait=1"},
        )
        took = datetime.now(UTC) - began
    assert states(answer) == {"good": "answered", "hanging": "late"}
    assert took < timedelta(seconds=2)


def test_results_of_other_types_and_vital_signs_are_not_shown(tmp_path: Path) -> None:
    vital = observation("v1", category=[{"coding": [{"code": "vital-signs"}]}])
    held = {
        "Observation": searchset(observation(), vital),
        "DiagnosticReport": searchset(report()),
        "ImagingStudy": searchset(study()),
    }
    stack, live = over({"one": held}, tmp_path)
    with stack:
        shown = {type_: matches(search(live, type_, PATIENT)) for type_ in TYPES}
    assert {type_: [e["resource"]["id"] for e in found] for type_, found in shown.items()} == {
        "Observation": ["o1"],
        "DiagnosticReport": ["d1"],
        "ImagingStudy": ["s1"],
    }


def test_what_lies_outside_the_period_asked_for_is_named_and_not_shown(tmp_path: Path) -> None:
    held = {"Observation": searchset(observation(), observation("o2", effectiveDateTime="2026-01-10"))}
    stack, live = over({"one": held}, tmp_path)
    with stack:
        answer = search(live, number=PATIENT, date="ge2026-06-01")
    assert [entry["resource"]["id"] for entry in matches(answer)] == ["o1"]
    assert "1 resources lie outside the period asked for: Observation[1]" in answer.text


def test_searches_at_once_are_each_answered(live: Live, sent: dict[str, list[bytes]]) -> None:
    async def run() -> list[int]:
        headers = {"Authorization": f"Bearer {live.tokens['his']}"}
        async with httpx.AsyncClient(
            base_url=live.url, headers=headers, trust_env=False, timeout=30
        ) as client:
            form = {"patient.identifier": f"{SYSTEM}|{PATIENT}"}
            asked = [client.post("/fhir/Observation/_search", data=form) for _ in range(20)]
            return [len(matches(answer)) for answer in await asyncio.gather(*asked)]

    assert set(asyncio.run(run())) == {len(sent["Observation"])}


@pytest.mark.parametrize("type_", TYPES)
def test_what_was_published_is_found_as_it_was_sent(tmp_path: Path, type_: str) -> None:
    held = parcels.records_of(NODE, "jia")
    published = {"id": parcels.NODE, "kind": "published", "institution": OWN}
    with gateway_with(tmp_path, [published]) as live:
        client = live.client("publisher")
        sent = client.post(
            "/api/v1/publications",
            content=parcels.publication("jia", *held.values()),
            headers={"Content-Type": "application/json"},
        )
        assert sent.status_code == 200, sent.text
        answer = search(live, type_)
    assert states(answer) == {parcels.NODE: "answered"}
    mine = [raw for place, raw in held.items() if place.startswith(f"{type_}/")]
    assert len(matches(answer)) == len(mine)
    assert all(raw in answer.content for raw in mine)
    assert "incomplete" not in codes(answer)
