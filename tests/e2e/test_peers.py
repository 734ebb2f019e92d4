"""Two gateways that ask each other: questions end, and a mark holds only for what was marked."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapters.peer import PATH
from gateway.app import create_app
from gateway.demo.people import BY_KEY
from gateway.keeper import roots_of
from gateway.keyring import make_keys, open_keys
from gateway.log import Log
from gateway.model import CheckAnswer
from gateway.settings import Settings
from security.http_signature import sign_answer
from security.keys import Signer
from tests.gateway.live import CLIENTS, NODE, OWN, STRANGER, ask, body, settings_for, source_of
from tests.serving import serve

pytestmark = pytest.mark.slow

TOKENS = {name: name * 3 for name in CLIENTS}
Alter = Callable[[dict[str, Any]], object]


@dataclass
class Way:
    """What stands before a gateway: it counts questions, and may change its answers, which it signs with the
    gateway's own key, as if the gateway lied; or leaves the gateway's signature as it was."""

    target: str = ""
    questions: int = 0
    alter: Alter = field(default=lambda answer: None)
    signer: Signer | None = None
    sign: bool = True

    async def pass_on(self, request: Request) -> Response:
        body = await request.body()
        async with httpx.AsyncClient(base_url=self.target, trust_env=False) as client:
            headers = {n: v for n, v in request.headers.items() if n in ("authorization", "content-type")}
            answer = await client.request(request.method, request.url.path, content=body, headers=headers)
        content = answer.content
        if request.url.path == f"/{PATH}":
            self.questions += 1
            told = msgspec.json.decode(content)
            self.alter(told)
            content = msgspec.json.encode(told)
        signed = {name: value for name, value in answer.headers.items() if name.startswith("signature")}
        if self.signer and self.sign:
            signed = sign_answer(body, content, self.signer, datetime.now(UTC))
        return Response(content, answer.status_code, signed, media_type="application/json")

    @property
    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(routes=[Route("/{path:path}", self.pass_on, methods=["GET", "POST"])])


@dataclass
class Pair:
    """The gateways 四川 and 重庆, the client that asks in Chengdu, and the ways between the two."""

    his: httpx.Client
    there: httpx.Client
    to_cq: Way
    to_sc: Way


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two gateways, each the other's peer, over one node in Chongqing."""
    folder = tmp_path_factory.mktemp("pair")
    with ExitStack() as stack:
        enter = stack.enter_context
        source, _ = enter(source_of(folder))
        ways = {"cq": Way(), "sc": Way()}
        urls = {owner: enter(serve(way.app)) for owner, way in ways.items()}
        node = {"id": NODE, "kind": "fhir", "url": source, "institution": OWN, "timeout_ms": 7000}
        settings = {
            "cq": _prepared(folder, "cq", [node], "sc", urls),
            "sc": _prepared(folder, "sc", [], "cq", urls),
        }
        for owner in ("cq", "sc"):
            ways[owner].signer = open_keys(settings[owner]).signer("peer", "Ed25519")
            ways[owner].target = enter(serve(create_app(settings[owner], Log(io.StringIO()))))
        clients = []
        for owner, name in (("sc", "other"), ("cq", "his")):
            headers = {"Authorization": f"Bearer {TOKENS[name]}"}
            address = ways[owner].target
            client = enter(httpx.Client(base_url=address, headers=headers, timeout=30, trust_env=False))
            while client.get("/health/ready").json()["key_lists_missing"]:
                time.sleep(0.05)
            clients.append(client)
        his, there = clients
        yield Pair(his, there, to_cq=ways["cq"], to_sc=ways["sc"])


def _prepared(
    folder: Path, owner: str, nodes: list[dict[str, Any]], other: str, urls: dict[str, str]
) -> Settings:
    """The settings of a gateway that has its keys, with the other one as its peer."""
    home = folder / owner
    home.mkdir()
    (home / "token").write_text(TOKENS["peer"])
    peer = {"id": f"gw-{other}", "kind": "gateway", "url": urls[other], "owner": other, "timeout_ms": 7000}
    pins = [{"owner": other, "url": urls[other], "keys_file": folder / f"{other}-roots.json"}]
    nodes = [*nodes, {**peer, "token_file": home / "token"}]
    settings = settings_for(home, TOKENS, nodes, owner, pins=pins)
    make_keys(settings)
    roots = roots_of(open_keys(settings), owner)
    (folder / f"{owner}-roots.json").write_bytes(msgspec.json.encode(roots))
    return settings


@pytest.fixture(autouse=True)
def as_it_is(pair: Pair) -> None:
    """Nothing is changed on the way, unless a test does."""
    pair.to_cq.alter = lambda answer: None
    pair.to_cq.sign = True


def rule(answer: CheckAnswer) -> str:
    (verdict,) = answer.verdicts
    return verdict.reasons[0].rule


def test_a_result_of_the_other_gateway_is_recognised_by_its_mark(pair: Pair) -> None:
    answer = ask(pair.his, body())
    assert rule(answer) == "R0.1"
    assert {(node.node, node.via) for node in answer.nodes} == {("gw-cq", ""), (NODE, "gw-cq")}


def test_two_gateways_that_ask_each_other_come_to_an_end(pair: Pair) -> None:
    before = pair.to_cq.questions, pair.to_sc.questions
    answer = ask(pair.his, body(patient=STRANGER))
    assert answer.complete
    assert (pair.to_cq.questions - before[0], pair.to_sc.questions - before[1]) == (1, 0)


def test_a_gateway_marks_only_the_results_of_its_own_institutions(pair: Pair) -> None:
    theirs, ours = (ask(client, body()).verdicts[0].mark for client in (pair.his, pair.there))
    assert theirs is not None
    assert theirs == ours


def of_another(answer: dict[str, Any]) -> None:
    """The right results with each other's marks."""
    first, second = answer["results"][:2]
    first["mark"], second["mark"] = second["mark"], first["mark"]


ALTERATIONS: dict[str, Alter] = {
    "value": lambda answer: answer["results"][0].update(value="4.08"),
    "unit": lambda answer: answer["results"][0].update(unit="mg/L"),
    "time": lambda answer: answer["results"][0].update(reported="2026-11-21T10:00:00+08:00"),
    "specimen": lambda answer: answer["results"][0].update(specimen="尿液"),
    "signature": lambda answer: answer["results"][0]["mark"].update(
        signed=answer["results"][0]["mark"]["signed"][:-2]
    ),
}


@pytest.mark.parametrize("what", ALTERATIONS)
def test_a_result_that_was_altered_after_marking_is_not_recognised(pair: Pair, what: str) -> None:
    pair.to_cq.alter = ALTERATIONS[what]
    (verdict,) = ask(pair.his, body()).verdicts
    assert verdict.verdict != "recognised"
    assert "R4.2" in [reason.rule for reason in verdict.reasons]


def test_a_mark_that_counts_more_than_it_was_signed_for_counts_as_signed(pair: Pair) -> None:
    pair.to_cq.alter = lambda answer: answer["results"][0]["mark"].update(scope="CN", printed="全国HR")
    mark = ask(pair.his, body()).verdicts[0].mark
    assert mark is not None
    assert (mark.scope, mark.printed) == ("CHUANYU", "川渝HR")


def test_a_mark_of_another_result_is_worth_nothing(pair: Pair) -> None:
    pair.to_cq.alter = of_another
    answer = ask(pair.his, body("白蛋白", "血红蛋白", patient=BY_KEY["jia"].number))
    assert not [verdict for verdict in answer.verdicts if verdict.verdict == "recognised"]


def test_a_result_without_its_mark_is_not_recognised(pair: Pair) -> None:
    pair.to_cq.alter = lambda answer: answer["results"][0].update(mark=None)
    assert rule(ask(pair.his, body())).startswith("R4.")


def test_an_answer_that_was_altered_on_the_way_is_none(pair: Pair) -> None:
    pair.to_cq.alter, pair.to_cq.sign = ALTERATIONS["value"], False
    answer = ask(pair.his, body())
    (node,) = answer.nodes
    assert (node.state, node.fault, answer.verdicts, answer.complete) == ("faulty", "node", (), False)
    assert "signature" in node.detail


def test_the_answer_to_another_question_is_the_fault_of_the_other_gateway(pair: Pair) -> None:
    pair.to_cq.alter = lambda answer: answer.update(question=hashlib.sha256(b"").hexdigest())
    answer = ask(pair.his, body())
    (node,) = answer.nodes
    assert (node.state, node.fault, answer.verdicts, answer.complete) == ("faulty", "node", (), False)


def test_results_that_the_other_gateway_did_not_mark_as_its_own_are_not_recognised(pair: Pair) -> None:
    """It says of an institution of ours that it holds the result."""
    pair.to_cq.alter = lambda answer: answer["results"][0].update(institution="EX-SC-01")
    (verdict,) = ask(pair.his, body()).verdicts
    assert verdict.verdict != "recognised"
    assert verdict.mark is not None
    assert verdict.mark.state != "valid"
