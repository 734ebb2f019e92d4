"""FHIR searches over all nodes: whole bytes, honest states, and the person's number nowhere."""

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
from gateway.resources.extensions import CONFLICT, SOURCE
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
        if first.startswith("GET /Patient/p1 "):
            return http_answer(json.dumps(patient(number=PATIENT)).encode())
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
def sent() -> dict[str, list[_Entry]]:
    """What the node was given of the person's resources, by type."""
    bundle = msgspec.json.decode(everything(datetime.now(UTC)).bundles[NODE], type=_Bundle)
    keyed = [(json.loads(bytes(entry.resource)), bytes(entry.resource)) for entry in bundle.entry]
    (mine,) = [r["id"] for r, _ in keyed if any(i["value"] == PATIENT for i in r.get("identifier", ()))]
    return {
        type_: [
            _Entry(msgspec.Raw(raw))
            for resource, raw in keyed
            if resource["resourceType"] == type_ and resource["subject"]["reference"] == f"Patient/{mine}"
        ]
        for type_ in TYPES
    }


class _Entry(msgspec.Struct):
    resource: msgspec.Raw


class _Bundle(msgspec.Struct):
    entry: list[_Entry]


def _members(entry: _Entry) -> dict[str, bytes]:
    """The members of a resource other than meta, each as its bytes stand there."""
    members = msgspec.json.decode(entry.resource, type=dict[str, msgspec.Raw])
    return {name: bytes(held) for name, held in members.items() if name != "meta"}


@pytest.mark.parametrize("type_", TYPES)
def test_every_resource_of_the_person_is_found_byte_by_byte(
    live: Live, sent: dict[str, list[_Entry]], type_: str
) -> None:
    answer = search(live, type_)
    shown = msgspec.json.decode(answer.content, type=_Bundle).entry[:-1]  # the last one is the outcome
    assert answer.json()["total"] == len(shown)
    # the node says in meta which version it is, and leaves the rest as it came
    assert sorted(map(_members, shown), key=str) == sorted(map(_members, sent[type_]), key=str)


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


def test_every_node_and_gateway_has_a_state(live: Live) -> None:
    answer = search(live)
    told = states(answer)
    assert told.pop("sc") in ("unreachable", "skipped")  # left alone once it was unreachable several times
    assert told == {NODE: "answered", "cq-pacs": "skipped"}
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


def test_pages_fit_together_whatever_the_nodes_say_meanwhile(many: Live) -> None:
    first = search(many, number=PATIENT, _count="4")
    second = many.client().get(_linked(many, first, "next"))
    back = many.client().get(_linked(many, second, "previous"))
    shown = [[entry["resource"]["id"] for entry in matches(one)] for one in (first, second, back)]
    assert shown == [["d06", "d05", "d03", "d02"], ["d01", "d04"], ["d06", "d05", "d03", "d02"]]
    assert {one.json()["total"] for one in (first, second, back)} == {6}
    assert all(states(one) == {"one": "answered", "two": "answered"} for one in (first, second, back))
    assert "next" not in _links(second)


def test_the_last_page_has_no_next_and_a_short_answer_no_pages(many: Live) -> None:
    assert _links(search(many, number=PATIENT, _count="6")).keys() == {"self"}


def test_a_page_is_shown_to_the_client_that_searched_and_to_nobody_else(many: Live) -> None:
    page = _linked(many, search(many, number=PATIENT, _count="1"), "next")
    assert many.client("other").get(page).status_code == 410
    assert many.client().get(page).status_code == 200
    assert many.client("").get(page).status_code == 401


@pytest.mark.parametrize("page", ["nobody-knows.1", "x", "x.-1", "x.1x"])
def test_a_page_that_is_forgotten_or_none_is_gone(many: Live, page: str) -> None:
    answer = many.client().get(f"/fhir/_page/{page}")
    assert (answer.status_code, answer.json()["resourceType"]) == (410, "OperationOutcome")


def test_every_page_is_in_the_ledger_bound_to_its_question(many: Live) -> None:
    first = search(many, number=PATIENT, _count="5")
    second = many.client().get(_linked(many, first, "next"))
    *_, one, two = reading(many, lambda store: _payloads(store, first.json()["id"]))
    told = [payload["bytes"] for _, payload in (one, two)]
    assert told == [hashlib.sha256(answer.content).hexdigest() for answer in (first, second)]
    assert [payload["resources"] for _, payload in (one, two)] == [5, 1]


def _links(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 200, answer.text
    return {link["relation"]: link["url"] for link in answer.json()["link"]}


def _linked(live: Live, answer: httpx.Response, relation: str) -> str:
    """The address of another page, at the port where the gateway runs."""
    return _links(answer)[relation].replace(live.settings.base_url, live.url, 1)


def test_the_link_of_a_search_is_without_the_person(live: Live) -> None:
    answer = search(live, status="final", _count="1")
    links = _links(answer)
    assert links["self"].endswith("/fhir/Observation?status=final&_count=1")
    assert PATIENT not in json.dumps([links, [entry["fullUrl"] for entry in matches(answer)]])


def test_nothing_personal_stands_in_headers_or_log(live: Live) -> None:
    answer = search(live)
    told = json.dumps(dict(answer.headers)) + live.log.getvalue()
    assert PATIENT not in told
    (event, *_) = live.events("search_answered")
    assert event["type"] in TYPES


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"_include": "Observation:performer"}, "_include"),
        ({"_include:iterate": "Observation:specimen"}, "_include:iterate"),
        ({"_revinclude": "DiagnosticReport:patient"}, "_revinclude"),
        ({"_sort": "value-quantity"}, "_sort"),
        ({"_summary": "most"}, "_summary"),
        ({"status:above": "final"}, "status:above"),
        ({"value-quantity": "much"}, "value-quantity"),
        ({"patient": "Patient/1"}, "patient.identifier"),
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
        data={"patient.identifier": f"{SYSTEM}|{PATIENT}", "_made-up": "x"},
        headers={"Prefer": "handling=lenient"},
    )
    assert matches(answer)
    assert "not-supported" in codes(answer)


def test_parameters_in_the_address_are_refused(live: Live) -> None:
    answer = live.client().post("/fhir/Observation/_search?status=final", data={})
    assert answer.status_code == 400


def test_a_search_by_get_names_the_patient_by_a_reference(live: Live) -> None:
    by_number = search(live)
    (subject,) = {entry["resource"]["subject"]["reference"] for entry in matches(by_number)}
    full = f"{live.settings.base_url}/fhir/nodes/{NODE}/{subject}"
    for reference in (subject, subject.removeprefix("Patient/"), full):
        by_reference = live.client().get("/fhir/Observation", params={"patient": reference})
        assert [e["fullUrl"] for e in matches(by_reference)] == [e["fullUrl"] for e in matches(by_number)]


@pytest.mark.parametrize(
    ("type_", "name"),
    [
        ("Observation", "patient.identifier"),
        ("Observation", "subject.identifier"),
        ("Observation", "patient:identifier"),
        ("Patient", "identifier"),
    ],
)
def test_a_number_in_an_address_is_refused_and_not_repeated(live: Live, type_: str, name: str) -> None:
    for text in (f"{SYSTEM}|{PATIENT}", PATIENT, f"urn:lianren:mrn:{OWN}|1,{SYSTEM}|{PATIENT}"):
        answer = live.client().get(f"/fhir/{type_}", params={name: text})
        assert answer.status_code == 400
        assert answer.json()["issue"][0]["expression"] == [name]
        assert PATIENT not in answer.text + live.log.getvalue()


def test_the_patient_himself_is_found_by_number_at_each_node(live: Live) -> None:
    form = {"identifier": f"{SYSTEM}|{PATIENT}"}
    (entry,) = matches(live.client().post("/fhir/Patient/_search", data=form))
    assert PATIENT in json.dumps(entry["resource"]["identifier"])
    assert entry["fullUrl"].endswith(f"/fhir/nodes/{NODE}/Patient/{entry['resource']['id']}")


def test_one_node_alone_can_be_searched(many: Live) -> None:
    form = {"patient.identifier": f"{SYSTEM}|{PATIENT}", "_sort": "date"}
    answer = many.client().post("/fhir/nodes/two/Observation/_search", data=form)
    assert [entry["resource"]["id"] for entry in matches(answer)] == ["d02", "d06", "d04"]
    assert states(answer) == {"two": "answered"}
    assert _links(answer)["self"].endswith("/fhir/nodes/two/Observation?_sort=date")


def test_a_node_that_is_not_there_is_not_found_and_nobody_is_asked(live: Live) -> None:
    before = live.kept()
    form = {"patient.identifier": f"{SYSTEM}|{PATIENT}"}
    assert live.client().post("/fhir/nodes/nobody/Observation/_search", data=form).status_code == 404
    assert live.kept() == before


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
    nodes = {
        node: {"Observation": searchset(*(_numbered(id_, f"{node}/{id_}") for id_ in ("o1", "o2")))}
        for node in ("one", "two")
    }
    stack, live = over(nodes, tmp_path)
    with stack:
        answer = search(live, number=PATIENT)
    addresses = {entry["fullUrl"].partition("/nodes/")[2] for entry in matches(answer)}
    assert addresses == {f"{node}/Observation/{id_}" for node in ("one", "two") for id_ in ("o1", "o2")}
    assert "incomplete" not in codes(answer)


def _numbered(id_: str, number: str, **changes: Any) -> dict[str, Any]:
    return observation(id_, identifier=[{"system": f"urn:lianren:report:{OWN}", "value": number}], **changes)


def test_the_same_result_at_two_nodes_is_shown_once_and_says_where_it_also_stands(tmp_path: Path) -> None:
    held = {"Observation": searchset(_numbered("o1", "7/1"))}
    stack, live = over({"one": held, "two": held}, tmp_path)
    with stack:
        (entry,) = matches(search(live, number=PATIENT))
    (extension,) = entry["extension"]
    assert extension["url"] == SOURCE
    assert "/nodes/two/Observation/o1" in json.dumps(extension)


def test_the_same_result_with_other_values_is_shown_side_by_side(tmp_path: Path) -> None:
    other = _numbered("o1", "7/1", valueQuantity={"value": 1.5, "unit": "g/L"})
    nodes = {
        "one": {"Observation": searchset(_numbered("o1", "7/1"))},
        "two": {"Observation": searchset(other)},
    }
    stack, live = over(nodes, tmp_path)
    with stack:
        entries = matches(search(live, number=PATIENT))
    assert [entry["extension"][0]["url"] for entry in entries] == [CONFLICT, CONFLICT]


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


def test_searches_at_once_are_each_answered(live: Live, sent: dict[str, list[_Entry]]) -> None:
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
