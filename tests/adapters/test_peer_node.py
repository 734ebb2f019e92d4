"""Another gateway as a node: what is sent, what is believed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapters import Answer, PeerAnswer, PeerGateway, PeerKeys, PeerPerson, PeerQuestion, Report, commitment
from recognition import SHANGHAI, Mark, Reading, Result
from security.errors import KeyStoreError, UnknownKey
from security.http_signature import check_answer, sign_answer, verify
from security.keys import KeyPair, PublicKey
from tests.node_cases import NOW, NUMBER, ask, question
from tests.serving import Reply, http_answer, misbehave, noting, serve

RESULT = Result(
    id="hb-lis/Observation/o1",
    node="hb-lis",
    kind="lab",
    institution="EX-HB-01",
    local_name="血清白蛋白",
    reading=Reading("1100104A", "ALB|S|QN|-", ""),
    identity="strong",
    status="final",
    performed=NOW,
    reported=NOW,
    version_key="r1/1",
    value="43.10",
    unit="g/L",
    mark=Mark("CN", "全国HR", "valid", "m1", "signed"),
)
BEHIND = Report(node="hb-lis", kind="fhir", state="answered", took_ms=3, results=1)
LATE = Report(node="nx-lis", kind="fhir", state="late", took_ms=300, fault="node")
OLD = NOW - timedelta(days=92)
BORN = datetime.now(UTC) - timedelta(days=1)
OURS, THEIRS = (KeyPair.generate("Ed25519", owner, "peer", BORN) for owner in ("cq", "lab8"))
THIRD, UNKNOWN = (KeyPair.generate("SM2", owner, "peer", BORN) for owner in ("sc", "jjj"))
TRUSTED = {key.kid: key.public for key in (OURS, THEIRS, THIRD)}


def key_of(kid: str, at: datetime) -> PublicKey:
    if kid not in TRUSTED:
        raise UnknownKey(f"key {kid} is in no trusted list")
    TRUSTED[kid].check(at, "peer")
    return TRUSTED[kid]


def answer_to(body: bytes, **changes: Any) -> bytes:
    answer: dict[str, Any] = {
        "gateway": "lab8",
        "catalogue": "c1",
        "question": commitment(body),
        "results": (RESULT,),
        "nodes": (BEHIND, LATE),
    }
    return msgspec.json.encode(PeerAnswer(**answer | changes))


def asked_of(reply: Callable[[str, bytes], Reply], **changes: Any) -> Answer:
    with misbehave(reply) as url:
        keys = PeerKeys(OURS, key_of)
        node = PeerGateway("gw-lab8", url, owner="lab8", keys=keys, timeout=2.0, token="t0k3n")
        return ask(node, question(**changes))


def signed(question: bytes, answer: bytes, signer: KeyPair = THEIRS, now: datetime | None = None) -> bytes:
    """An answer as its gateway sends it."""
    headers = sign_answer(question, answer, signer, now or datetime.now(UTC))
    return http_answer(answer, media="application/json", headers=headers)


def good(_: str, body: bytes) -> Reply:
    return signed(body, answer_to(body))


def test_results_and_marks_come_through_with_the_node_in_front_of_their_ids() -> None:
    named = msgspec.structs.replace(RESULT, id="gw-lab8/hb-lis/Observation/o1")
    assert asked_of(good).results == (named,)


def test_the_answer_names_the_gateway_that_gave_it() -> None:
    assert asked_of(good).gateway == "lab8"


def test_reports_of_the_nodes_behind_say_by_which_gateway() -> None:
    assert [(r.node, r.state, r.via) for r in asked_of(good).behind] == [
        ("hb-lis", "answered", "gw-lab8"),
        ("nx-lis", "late", "gw-lab8"),
    ]


def test_reports_of_nodes_behind_the_next_gateway_say_the_whole_way() -> None:
    behind = msgspec.structs.replace(LATE, via="gw-jjj")
    answer = asked_of(lambda _, body: signed(body, answer_to(body, nodes=(BEHIND, behind))))
    assert [report.via for report in answer.behind] == ["gw-lab8", "gw-lab8/gw-jjj"]


@contextmanager
def signing_node() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """A gateway that notes headers and body of each question."""
    seen: list[tuple[dict[str, str], bytes]] = []

    async def answer(request: Request) -> Response:
        body = await request.body()
        seen.append((dict(request.headers), body))
        return Response(b"{}", media_type="application/json")

    with serve(Starlette(routes=[Route("/api/v1/results", answer, methods=["POST"])])) as url:
        yield url, seen


def sent(**changes: Any) -> dict[str, Any]:
    bodies: list[bytes] = []

    def reply(first: str, body: bytes) -> Reply:
        assert first == "POST /api/v1/results HTTP/1.1"
        bodies.append(body)
        return good(first, body)

    asked_of(reply, **changes)
    found: dict[str, Any] = json.loads(bodies[0])
    return found


def test_the_question_is_the_whole_contract() -> None:
    body = sent()
    assert body["person"] == {"type": "resident", "value": NUMBER}
    fields = {"id", "person", "kinds", "since", "at", "receiver", "budget_ms", "hops", "purpose", "salt"}
    assert set(body) == fields


def test_a_question_that_may_go_further_says_whom_it_is_on_its_way_to() -> None:
    assert sent(hops=2, asked=("cq", "sc"))["asked"] == ["cq", "sc"]


def test_a_question_that_goes_no_further_says_nothing_of_others() -> None:
    assert "asked" not in sent(hops=1, asked=("cq", "sc"))


def test_the_purpose_goes_along() -> None:
    assert sent(purpose="BTG")["purpose"] == "BTG"


def test_no_two_questions_have_one_commitment() -> None:
    assert sent()["salt"] != sent()["salt"]


def test_the_budget_leaves_a_tenth_for_the_way() -> None:
    assert sent(budget=1.0)["budget_ms"] == 900


def test_a_hop_is_used_up() -> None:
    assert sent(hops=2)["hops"] == 1


def test_without_a_hop_the_gateway_is_skipped_and_not_called() -> None:
    called: list[str] = []
    answer = asked_of(noting(called, http_answer(b"{}")), hops=0)
    assert (answer.report.state, answer.report.fault, called) == ("skipped", "", [])


@pytest.mark.parametrize(
    "changes",
    [
        {"question": "0" * 64},
        {"results": (msgspec.structs.replace(RESULT, performed=NOW.replace(tzinfo=None)),)},
        {"nodes": (LATE,)},
        {"gateway": "sc"},
        {"results": (msgspec.structs.replace(RESULT, performed=datetime(1, 1, 1, tzinfo=SHANGHAI)),)},
        {"results": (msgspec.structs.replace(RESULT, reported=datetime.max.replace(tzinfo=UTC)),)},
        {"results": (msgspec.structs.replace(RESULT, reported=NOW + timedelta(days=1, seconds=1)),)},
        {"results": (msgspec.structs.replace(RESULT, performed=OLD, reported=OLD),)},
        {"results": (RESULT,) * 5001},
    ],
    ids=[
        "another question",
        "time without a zone",
        "result of no node",
        "another gateway",
        "year 1",
        "year 9999",
        "tomorrow",
        "before the period",
        "no end of results",
    ],
)
def test_an_answer_that_does_not_hold_together_is_a_fault(changes: dict[str, Any]) -> None:
    answer = asked_of(lambda _, body: signed(body, answer_to(body, **changes)))
    assert (answer.report.state, answer.results, answer.behind) == ("faulty", (), ())
    assert "signature" not in answer.report.detail


def test_a_result_of_another_kind_than_was_asked_for_is_a_fault() -> None:
    answer = asked_of(good, kinds=("imaging",))
    assert (answer.report.state, answer.results) == ("faulty", ())


def test_the_answer_is_held_to_its_question() -> None:
    answer = asked_of(good)
    assert answer.signed is not None
    assert check_answer(answer.signed, key_of).owner == "lab8"
    assert answer.signed.answer == answer.digest.hex()


UNSIGNED: dict[str, Callable[[str, bytes], Reply]] = {
    "without a signature": lambda _, body: http_answer(answer_to(body), media="application/json"),
    "by another gateway": lambda _, body: signed(body, answer_to(body), THIRD),
    "by a key nobody knows": lambda _, body: signed(body, answer_to(body), UNKNOWN),
    "to another question": lambda _, body: signed(b"{}", answer_to(body)),
    "of two minutes ago": lambda _, body: signed(
        body, answer_to(body), now=datetime.now(UTC) - timedelta(minutes=2)
    ),
    "changed on the way": lambda _, body: signed(body, answer_to(body)).replace(b"43.10", b"4.310"),
}


@pytest.mark.parametrize("what", UNSIGNED)
def test_an_answer_that_its_gateway_did_not_sign_is_a_fault(what: str) -> None:
    answer = asked_of(UNSIGNED[what])
    assert (answer.report.state, answer.results, answer.signed) == ("faulty", (), None)
    assert "signature" in answer.report.detail


def test_the_question_is_signed() -> None:
    with signing_node() as (url, seen):
        ask(PeerGateway("gw-lab8", url, owner="lab8", keys=PeerKeys(OURS, key_of), timeout=2.0))
    ((headers, body),) = seen
    asked = verify("POST", f"{url}/api/v1/results", headers, body, key_of, datetime.now(UTC))
    assert asked.kid == OURS.kid


class Broken:
    """A signer whose device does not answer."""

    public, kid, algorithm = OURS.public, OURS.kid, OURS.algorithm

    def sign(self, message: bytes) -> bytes:
        raise KeyStoreError("the device does not answer")


def test_a_question_that_cannot_be_signed_is_not_asked() -> None:
    called: list[str] = []
    with misbehave(noting(called, http_answer(b"{}"))) as url:
        node = PeerGateway("gw-lab8", url, owner="lab8", keys=PeerKeys(Broken(), key_of))
        with pytest.raises(KeyStoreError):
            ask(node)
    assert called == []


def test_without_keys_the_gateway_is_skipped_and_not_called() -> None:
    called: list[str] = []
    with misbehave(noting(called, http_answer(b"{}"))) as url:
        answer = ask(PeerGateway("gw-lab8", url, owner="lab8"))
    assert (answer.report.state, answer.report.fault, called) == ("skipped", "gateway", [])


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"gateway":1}', b"{"])
def test_something_else_than_an_answer_is_a_fault(body: bytes) -> None:
    assert asked_of(lambda _, asked: signed(asked, body)).report.detail.startswith("answered with something")


def test_a_gateway_without_results_is_empty_and_its_nodes_are_named() -> None:
    answer = asked_of(lambda _, body: signed(body, answer_to(body, results=())))
    assert (answer.report.state, len(answer.behind)) == ("empty", 2)


def test_a_hanging_gateway_is_late() -> None:
    assert asked_of(lambda *_: None, budget=0.2).report.state == "late"


def test_a_question_with_a_field_too_many_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps(sent() | {"more": 1}), type=PeerQuestion)


def test_a_question_with_more_than_four_hops_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps(sent() | {"hops": 5}), type=PeerQuestion)


def test_a_question_that_names_no_owners_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps(sent() | {"asked": ["Nobody's id"]}), type=PeerQuestion)


def test_a_question_with_a_time_without_zone_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps(sent() | {"at": "2026-11-20T08:30:00"}), type=PeerQuestion)


def test_a_person_s_number_is_not_in_its_repr() -> None:
    assert NUMBER not in repr(PeerPerson("resident", NUMBER))
