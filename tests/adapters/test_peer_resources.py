"""FHIR resources behind another gateway: what is sent, what is believed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from adapters import Answer, PeerGateway, PeerKeys, PeerPerson, Report, commitment
from adapters.peer import MOST_RESOURCES, PeerRead, PeerResource, PeerResources, PeerSearch
from gateway.demo.people import BY_KEY
from security.identity import identifier
from tests.adapters.test_peer_node import OURS, key_of, signed
from tests.node_cases import observation, patient, question
from tests.serving import Reply, http_answer, misbehave, noting

ME = identifier("resident-id", BY_KEY["jia"].number)
OTHER = BY_KEY["yi"].number
BEHIND = Report(node="hb-lis", kind="fhir", state="answered", took_ms=3, results=1)
FURTHER = msgspec.structs.replace(BEHIND, node="jjj-his", via="gw-jjj")


NUMBERED = observation(subject={"identifier": {"system": ME.system, "value": OTHER}})


def resource(content: Any = None, node: str = "hb-lis", **more: Any) -> PeerResource:
    return PeerResource(node=node, resource=Raw(json.dumps(content or observation()).encode()), **more)


def answer_to(body: bytes, *resources: PeerResource, **changes: Any) -> bytes:
    answer: dict[str, Any] = {
        "gateway": "lab8",
        "question": commitment(body),
        "resources": resources or (resource(),),
        "nodes": (BEHIND, FURTHER),
    }
    return msgspec.json.encode(PeerResources(**answer | changes))


def good(*resources: PeerResource, **changes: Any) -> Callable[[str, bytes], Reply]:
    return lambda _, body: signed(body, answer_to(body, *resources, **changes))


def asked_of(
    reply: Callable[[str, bytes], Reply],
    ask: Callable[[PeerGateway], Any] | None = None,
    type_: str = "Observation",
    **changes: Any,
) -> Answer:
    """What a gateway that replies so answers to a search, or to another question."""

    async def run() -> Answer:
        node = PeerGateway("gw-lab8", url, owner="lab8", keys=PeerKeys(OURS, key_of), timeout=2.0)
        try:
            put = question(person=ME, **changes)
            bound = "date" if type_ == "Observation" else ""
            found: Answer = await (
                ask(node) if ask else node.search(put, type_, bound, [("status", "final")])
            )
            return found
        finally:
            await node.aclose()

    with misbehave(reply) as url:
        return asyncio.run(run())


def read_of(reply: Callable[[str, bytes], Reply], version: str = "", **changes: Any) -> Answer:
    put = question(person=ME, **changes)
    return asked_of(reply, lambda node: node.read(put, "hb-lis", "Observation", "o1", version))


def sent(ask: Callable[[Callable[[str, bytes], Reply]], Answer]) -> tuple[str, dict[str, Any]]:
    """Address and body of a question."""
    seen: list[tuple[str, bytes]] = []

    def reply(first: str, body: bytes) -> Reply:
        seen.append((first, body))
        return http_answer(b"{}")

    ask(reply)
    ((first, body),) = seen
    return first.split(" ")[1], json.loads(body)


def test_resources_come_in_their_own_bytes_with_the_way_to_their_node() -> None:
    raw = json.dumps(observation(), indent=3).replace("43.5", "43.50").encode()
    (match,) = asked_of(good(PeerResource(node="gw-jjj/jjj-his", resource=Raw(raw)))).matches
    assert (bytes(match.raw), match.node) == (raw, "gw-jjj/jjj-his")


def test_the_nodes_behind_are_named_with_the_whole_way() -> None:
    assert [report.via for report in asked_of(good()).behind] == ["gw-lab8", "gw-lab8/gw-jjj"]


def test_a_search_says_the_person_in_the_body_alone_and_its_conditions() -> None:
    address, body = sent(asked_of)
    assert address == "/api/v1/resources"
    assert body["person"] == {"type": "resident-id", "value": ME.value}
    assert (body["type"], body["bound"], body["conditions"]) == ("Observation", "date", [["status", "final"]])


def test_conditions_that_no_question_holds_are_left_to_the_asker() -> None:
    def ask(node: PeerGateway) -> Any:
        given = [("_id", "x" * 1025), *[("status", "final")] * 70]
        return node.search(question(person=ME), "Observation", "date", given)

    _, body = sent(lambda reply: asked_of(reply, ask))
    assert body["conditions"] == [["status", "final"]] * 64


def test_a_read_says_where_and_no_person() -> None:
    address, body = sent(lambda reply: read_of(reply, "3"))
    assert address == "/api/v1/resources/read"
    assert (body["node"], body["type"], body["resource"], body["version"]) == (
        "hb-lis",
        "Observation",
        "o1",
        "3",
    )
    assert ME.value not in json.dumps(body)


@pytest.mark.parametrize("ask", [asked_of, read_of])
def test_a_hop_is_used_up_and_without_one_it_is_skipped(ask: Any) -> None:
    assert sent(lambda reply: ask(reply, hops=2))[1]["hops"] == 1
    called: list[str] = []
    answer = ask(noting(called, http_answer(b"{}")), hops=0)
    assert (answer.report.state, answer.report.fault, called) == ("skipped", "", [])


FAULTS: dict[str, Callable[[str, bytes], Reply]] = {
    "unsigned": lambda _, body: http_answer(answer_to(body), media="application/json"),
    "another question": good(question="0" * 64),
    "another gateway": good(gateway="sc"),
    "a node that it does not report": good(resource(node="nx-lis")),
    "another person by number": good(resource(NUMBERED)),
    "another type": good(resource(patient(number=ME.value))),
    "no answer": lambda _, body: signed(body, b"{}"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_an_answer_to_a_search_that_does_not_hold_is_a_fault(what: str) -> None:
    answer = asked_of(FAULTS[what])
    assert (answer.report.state, answer.matches) == ("faulty", ())


def test_an_answer_of_more_resources_than_one_answer_holds_is_a_fault() -> None:
    answer = asked_of(good(*[resource()] * (MOST_RESOURCES + 1)))
    assert (answer.report.state, answer.matches) == ("faulty", ())


@pytest.mark.parametrize("name", ["../hb", "hb/../x", "HB", "hb?x", "", "a/a/a/a/a/a"])
@pytest.mark.parametrize("ask", [asked_of, read_of])
def test_a_node_of_a_name_that_leads_elsewhere_is_a_fault(ask: Any, name: str) -> None:
    odd = msgspec.structs.replace(BEHIND, node=name)
    assert ask(good(resource(node=name), nodes=(BEHIND, odd))).report.state == "faulty"


def test_a_patient_without_the_number_that_was_asked_for_is_a_fault() -> None:
    assert asked_of(good(resource(patient(number=OTHER))), type_="Patient").report.state == "faulty"
    assert asked_of(good(resource(patient(number=ME.value))), type_="Patient").report.state == "answered"


def test_a_resource_from_before_the_time_asked_for_is_left_out_and_named() -> None:
    answer = asked_of(good(resource(observation(effectiveDateTime="2020-01-01"))))
    assert (answer.matches, answer.report.fault) == ((), "node")


def test_a_copy_comes_with_its_version_and_whose_it_is() -> None:
    saved = datetime(2026, 11, 10, tzinfo=UTC)
    me = PeerPerson(ME.type, ME.text)
    found = read_of(good(resource(version="3", saved=saved, whose=(me,)))).copy
    assert found
    assert (found.version, found.saved, found.whose) == ("3", saved, (ME,))


@pytest.mark.parametrize(
    ("said", "told"),
    [("2026-11-10T08:00:00+08:00", datetime(2026, 11, 10, tzinfo=UTC)), ("0001-01-01T00:00:00+14:00", None)],
)
def test_when_a_copy_was_saved_is_told_in_the_time_of_the_world(said: str, told: datetime | None) -> None:
    me = PeerPerson(ME.type, ME.text)
    found = read_of(good(resource(saved=datetime.fromisoformat(said), whose=(me,)))).copy
    assert found
    assert (found.saved, found.saved and found.saved.tzinfo) == (told, told and UTC)


def test_nothing_there_is_empty() -> None:
    answer = read_of(lambda _, body: signed(body, answer_to(body, nodes=(BEHIND,), resources=())))
    assert (answer.report.state, answer.copy, len(answer.behind)) == ("empty", None, 1)


@pytest.mark.parametrize(
    "resources",
    [
        (resource(), resource()),
        (resource(node="gw-jjj/jjj-his"),),
        (resource(observation("o2")),),
        (resource(whose=(PeerPerson("resident-id", "1"),)),),
        (resource({"id": 1}),),
        (resource(NUMBERED, whose=(PeerPerson(ME.type, ME.text),)),),
        (resource(NUMBERED),),
    ],
    ids=["two", "another node", "another id", "no number", "no resource", "another person", "of nobody"],
)
def test_an_answer_to_a_read_that_does_not_hold_is_a_fault(resources: tuple[PeerResource, ...]) -> None:
    answer = read_of(good(*resources))
    assert (answer.report.state, answer.copy) == ("faulty", None)


def test_the_answer_is_held_to_its_question() -> None:
    answer = asked_of(good())
    assert answer.signed
    assert answer.signed.answer == answer.digest.hex()


READ = {
    "id": "0" * 32,
    "at": "2026-11-20T08:30:00Z",
    "receiver": "EX-SC-01",
    "budget_ms": 100,
    "hops": 0,
    "node": "hb-lis",
    "type": "Observation",
    "resource": "o1",
}


@pytest.mark.parametrize(
    "changes",
    [
        {"node": "../hb-lis"},
        {"node": "HB"},
        {"type": "observation"},
        {"resource": "o/1"},
        {"resource": ""},
        {"version": "1/2"},
        {"more": 1},
    ],
)
def test_a_read_of_something_that_is_no_address_is_refused(changes: dict[str, Any]) -> None:
    assert msgspec.convert(READ, PeerRead).version == ""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(READ | changes, PeerRead)


def test_a_search_with_a_field_too_many_is_refused() -> None:
    body = sent(asked_of)[1] | {"id": "0" * 32}
    assert msgspec.convert(body, PeerSearch).type == "Observation"
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(body | {"more": 1}, PeerSearch)
