"""Reading a resource at its node by an address that an answer gave: whose it is decides who sees it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.store import Store
from gateway.demo.people import BY_KEY
from security.ledger import read_entry
from tests.gateway.live import OTHER, OWN, Live, audit, gateway_with, reading
from tests.node_cases import SYSTEM, observation, report
from tests.node_cases import patient as patient_of
from tests.serving import Reply, http_answer, misbehave

pytestmark = pytest.mark.xdist_group("reading")  # one worker starts its servers

ME, YOU, SILENT = (BY_KEY[key] for key in ("jia", "yi", "bing"))
CARD = {"system": "urn:oid:2.16.156.10011.1.19", "value": "A1234567890"}
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
FAR = {"id": "gw-sc", "kind": "gateway", "url": "http://127.0.0.1:9", "owner": "sc"}
PACS = {"id": "pacs", "kind": "dicomweb", "url": "http://127.0.0.1:9", "institution": OWN, "identity": "one"}

RAW = json.dumps(observation(meta={"versionId": "3"}), indent=2, ensure_ascii=False)
RAW = RAW.replace("43.5", "43.50")
ONE: dict[str, Any] = {
    "Patient/p1": patient_of("p1", ME.number),
    "Patient/p2": patient_of("p2", YOU.number),
    "Patient/p3": patient_of("p3", "990000198001010017"),
    "Patient/p4": patient_of("p4", SILENT.number)
    | {"identifier": [CARD, {"system": SYSTEM, "value": SILENT.number}]},
    "Observation/o1": RAW,
    "Observation/o1/_history/2": RAW.replace('"3"', '"2"').replace("43.50", "43.40"),
    "Observation/nobody": observation("nobody", subject={}),
    "Observation/chart": observation("chart", category=[{"coding": [{"code": "social-history"}]}]),
    "Observation/weak": observation("weak", subject={"reference": "Patient/p3"}),
    "Observation/denied": observation("denied", subject={"reference": "Patient/p4"}),
    "Observation/both": observation("both"),
    "Practitioner/d1": {"resourceType": "Practitioner", "id": "d1", "name": [{"text": "示例医师"}]},
    "DiagnosticReport/r1": report("r1", meta={"versionId": "a.b"}),
    **{
        f"Observation/odd{n}": observation(f"odd{n}", meta={"versionId": version})
        for n, version in enumerate(["版", "a\r\nSet-Cookie: x=y", 'a"b', "x" * 65])
    },
}
TWO: dict[str, Any] = {
    "Patient/p1": patient_of("p1", YOU.number),
    "Observation/both": observation("both", code={"text": "钾"}),
    "Observation/only": observation("only"),
}


def holding(resources: dict[str, Any], seen: list[str]) -> Any:
    """A node that has these resources by their addresses."""

    def reply(first: str, _: bytes) -> Reply:
        seen.append(first)
        found = resources.get(first.split(" ")[1].strip("/"))
        if found is None:
            return NOT_FOUND
        return http_answer((found if isinstance(found, str) else json.dumps(found)).encode())

    return reply


def node(id_: str, url: str, institution: str = OWN) -> dict[str, Any]:
    return {"id": id_, "kind": "fhir", "url": url, "institution": institution, "timeout_ms": 5000}


@pytest.fixture(scope="module")
def seen() -> list[str]:
    return []


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, seen: list[str]) -> Iterator[Live]:
    """A gateway over two nodes, an archive and another gateway."""
    folder = tmp_path_factory.mktemp("reading")
    with ExitStack() as stack:
        one, two = (stack.enter_context(misbehave(holding(held, seen))) for held in (ONE, TWO))
        nodes = [node("one", one), node("two", two, OTHER), PACS, FAR]
        yield stack.enter_context(gateway_with(folder, nodes))


def get(live: Live, place: str, client: str = "his", **headers: str) -> httpx.Response:
    return live.client(client).get(f"/fhir/{place}", headers=headers)


def code(answer: httpx.Response) -> str:
    (issue,) = answer.json()["issue"]
    return str(issue["details"]["coding"][0]["code"])


@pytest.mark.parametrize("place", ["nodes/one/Observation/o1", "Observation/o1"])
def test_the_bytes_are_those_of_the_node_with_its_version(live: Live, place: str) -> None:
    answer = get(live, place)
    assert answer.status_code == 200, answer.text
    assert answer.text == RAW
    assert answer.headers["etag"] == 'W/"3"'
    assert answer.headers["cache-control"] == "no-store"


def test_a_former_version_is_read_where_the_node_has_it(live: Live) -> None:
    assert "43.40" in get(live, "nodes/one/Observation/o1/_history/2").text
    assert get(live, "nodes/one/Observation/o1/_history/3").text == RAW
    assert get(live, "nodes/one/Observation/o1/_history/1").status_code == 404


def test_a_version_that_is_no_number_keeps_its_name(live: Live) -> None:
    assert get(live, "nodes/one/DiagnosticReport/r1").headers["etag"] == 'W/"a.b"'


@pytest.mark.parametrize("n", range(4))
def test_a_version_that_is_no_version_stands_in_no_header(live: Live, n: int) -> None:
    answer = get(live, f"nodes/one/Observation/odd{n}")
    assert answer.status_code == 200
    assert not {"etag", "set-cookie"} & answer.headers.keys()


@pytest.mark.parametrize("place", ["Observation/%2e%2e", "Observation/o1/_history/%2E", "Observation/a%20b"])
def test_a_step_of_a_path_is_no_id_and_no_node_is_asked_for_it(
    live: Live, seen: list[str], place: str
) -> None:
    before = len(seen)
    assert get(live, f"nodes/one/{place}").status_code == 404
    assert len(seen) == before


def test_an_unchanged_one_is_not_sent_again(live: Live) -> None:
    answer = get(live, "nodes/one/Observation/o1", **{"If-None-Match": 'W/"3"'})
    assert (answer.status_code, answer.content) == (304, b"")


def test_an_id_that_several_nodes_have_is_refused_with_the_address_of_each(live: Live) -> None:
    answer = get(live, "Observation/both")
    assert (answer.status_code, code(answer)) == (409, "multiple-matches")
    for name in ("one", "two"):
        assert f"/fhir/nodes/{name}/Observation/both" in answer.text
        assert get(live, f"nodes/{name}/Observation/both").status_code == 200


@pytest.mark.parametrize(
    "place",
    [
        "nodes/one/Observation/nobody",
        "nodes/one/Observation/weak",
        "nodes/one/Observation/chart",
        "nodes/one/Patient/p3",
        "nodes/one/Observation/none",
        "nodes/two/Observation/o1",
        "nodes/none/Observation/o1",
        "nodes/pacs/Observation/o1",
        "nodes/gw-sc/Observation/o1",
        "Observation/nobody",
    ],
)
def test_what_is_not_there_or_nobody_knows_whose_it_is_is_told_to_nobody(live: Live, place: str) -> None:
    before = live.kept()[0]
    answer = get(live, place)
    assert (answer.status_code, code(answer)) == (404, "not-found")
    assert live.kept()[0] == before


def test_who_is_no_patient_needs_no_consent(live: Live) -> None:
    assert get(live, "nodes/one/Practitioner/d1").json()["name"] == [{"text": "示例医师"}]


@pytest.mark.parametrize("name", ["", "auditor", "operator", "peer", "nobody", "ambulance", "publisher"])
def test_only_hospitals_read_what_others_have_and_nobody_is_asked(
    live: Live, seen: list[str], name: str
) -> None:
    before = len(seen)
    assert get(live, "nodes/one/Observation/o1", name).status_code in (401, 403, 404)
    assert len(seen) == before


@pytest.mark.parametrize(
    "document",
    [{"type": "resident-id", "value": SILENT.number}, {"type": "health-card", "value": CARD["value"]}],
)
def test_what_a_person_does_not_want_shown_is_not_under_whichever_number_it_was_said(
    live: Live, document: dict[str, str]
) -> None:
    assert get(live, "nodes/one/Observation/denied").status_code == 200
    said = live.client().post("/api/v1/consents", json={"patient": document, "decision": "deny"}).json()
    answer = get(live, "nodes/one/Observation/denied")
    searched = get(live, "Observation?patient=Patient/p4")
    revoked = live.client().post(f"/api/v1/consents/{said['id']}/revocation", json={"patient": document})
    assert revoked.status_code == 200, revoked.text
    assert (answer.status_code, code(answer)) == (403, "consent-denied")
    assert "43.5" not in answer.text
    (outcome,) = (entry["resource"] for entry in searched.json()["entry"])
    assert "suppressed" in [issue["code"] for issue in outcome["issue"]]


def test_what_left_the_house_is_in_the_ledger_before_it_leaves(live: Live, tmp_path: Path) -> None:
    answer = get(live, "nodes/one/Observation/o1")
    event = live.events("resource_read")[-1]
    payloads = reading(live, lambda store: payloads_of(store, event["read"]))
    assert [kind for kind, _ in payloads] == ["question", "answer", "answer"]
    assert payloads[0][1]["query"] == {"_id": ["o1"]}
    assert payloads[-1][1]["bytes"] == hashlib.sha256(answer.content).hexdigest()
    assert ME.number not in json.dumps([payload for _, payload in payloads])
    assert audit(live, tmp_path) == []


async def payloads_of(store: Store, id_: str) -> list[tuple[str, dict[str, Any]]]:
    """Types and payloads of the entries of one exchange, in their order."""
    told: list[tuple[str, str, str, dict[str, Any]]] = []
    for entry in [read_entry(body) for body in await store.entries(0, 10_000)]:
        secret = await store.secret(entry.commit)
        payload = json.loads(secret.payload) if secret and secret.payload[:1] == b"{" else {}
        told.append((entry.commit, entry.binds, entry.type, payload))
    (question,) = [c for c, _, type_, p in told if type_ == "question" and p.get("check") == id_]
    return [(type_, payload) for c, binds, type_, payload in told if question in (c, binds)]


def test_nothing_personal_stands_in_headers_or_log(live: Live) -> None:
    answer = get(live, "nodes/one/Patient/p1")
    assert ME.number in answer.text
    assert ME.number not in json.dumps(dict(answer.headers)) + live.log.getvalue()


def test_a_search_finds_a_person_by_the_address_of_the_patient(live: Live, seen: list[str]) -> None:
    before = len(seen)
    answer = get(live, "Observation?patient=Patient/p2")
    assert answer.status_code == 200, answer.text
    assert any("Patient/_search" in first for first in seen[before:])
    assert not any(YOU.number in first for first in seen)


@pytest.mark.parametrize("reference", ["p1", "Patient/p1", "http://127.0.0.1/fhir/nodes/one/Patient/p1"])
def test_at_a_node_a_person_is_searched_by_his_patient_there(live: Live, reference: str) -> None:
    assert get(live, f"nodes/one/Observation?patient={reference}").status_code == 200


@pytest.mark.parametrize(
    ("reference", "status"),
    [
        ("Patient/p1", 409),
        ("Patient/p3", 404),
        ("Patient/none", 404),
        ("Group/g1", 400),
        ("http://x.example/Patient/p1", 400),
    ],
)
def test_an_address_of_no_one_patient_is_refused(live: Live, reference: str, status: int) -> None:
    assert get(live, f"Observation?patient={reference}").status_code == status


def test_a_node_that_cannot_be_heard_is_named(tmp_path: Path) -> None:
    broken = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
    with ExitStack() as stack:
        one, two = (stack.enter_context(misbehave(r)) for r in (holding(ONE, []), lambda *_: broken))
        live = stack.enter_context(gateway_with(tmp_path, [node("one", one), node("two", two)]))
        there = get(live, "nodes/one/Observation/o1")
        refused = [get(live, place) for place in ("nodes/two/Observation/o1", "Observation/o1")]
    assert there.status_code == 200
    for answer in refused:
        assert (answer.status_code, code(answer)) == (502, "node-unheard")
        assert "node two" in answer.text


# What was published here


@pytest.fixture(scope="module")
def publishing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway to which a hospital has put a Patient, an observation twice, and one of nobody."""
    node = {"id": "own", "kind": "published", "institution": OWN}
    with gateway_with(tmp_path_factory.mktemp("publishing"), [node]) as live:
        for resource in (
            patient_of("p1", ME.number) | {"identifier": [CARD, {"system": SYSTEM, "value": ME.number}]},
            observation(status="preliminary"),
            observation(),
            observation("nobody", subject={"reference": "Patient/p9"}),
            observation("gone"),
        ):
            path = f"/fhir/{resource['resourceType']}/{resource['id']}"
            answer = live.client("publisher").put(path, json=resource, headers=FHIR)
            assert answer.status_code in (200, 201), answer.text
        assert live.client("publisher").delete("/fhir/Observation/gone").status_code in (200, 204)
        yield live


FHIR = {"Content-Type": "application/fhir+json"}


@pytest.mark.parametrize("place", ["Observation/o1", "nodes/own/Observation/o1"])
def test_what_was_published_is_read_with_its_version(publishing: Live, place: str) -> None:
    answer = get(publishing, place, "other")
    assert answer.status_code == 200, answer.text
    assert (answer.json()["status"], answer.headers["etag"]) == ("final", 'W/"2"')
    former = get(publishing, f"{place}/_history/1", "other")
    assert (former.json()["status"], former.headers["etag"]) == ("preliminary", 'W/"1"')


def test_the_history_of_what_was_published_is_told_and_recorded(publishing: Live, tmp_path: Path) -> None:
    answer = get(publishing, "nodes/own/Observation/o1/_history", "other")
    assert answer.status_code == 200, answer.text
    assert [one["resource"]["status"] for one in answer.json()["entry"]] == ["final", "preliminary"]
    assert publishing.events("resource_read")[-1]["resources"] == 2
    assert audit(publishing, tmp_path) == []


@pytest.mark.parametrize("path", ["o1", "o1/_history/1", "o1/_history"])
def test_a_no_under_another_number_of_a_published_patient_counts(publishing: Live, path: str) -> None:
    document = {"type": "health-card", "value": CARD["value"]}
    said = publishing.client().post("/api/v1/consents", json={"patient": document, "decision": "deny"}).json()
    answer = get(publishing, f"nodes/own/Observation/{path}", "other")
    revoke = f"/api/v1/consents/{said['id']}/revocation"
    publishing.client().post(revoke, json={"patient": document}).raise_for_status()
    assert (answer.status_code, code(answer)) == (403, "consent-denied")


@pytest.mark.parametrize(
    "place",
    ["Observation/nobody", "Observation/gone", "Observation/o1/_history/3", "Observation/o1/_history/x"],
)
def test_what_is_nobody_s_or_deleted_is_told_to_no_other(publishing: Live, place: str) -> None:
    assert get(publishing, place, "other").status_code == 404


def test_elsewhere_no_history_is_kept(live: Live) -> None:
    assert get(live, "nodes/one/Observation/o1/_history").status_code == 405
    assert get(live, "Observation/o1/_history").status_code == 404
