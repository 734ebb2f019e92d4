"""A question that goes on: 四川 asks the alliance, which asks 重庆, which would ask both of them again."""

from __future__ import annotations

import io
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from adapters import Report
from gateway.app import create_app
from gateway.demo.processes import free_port
from gateway.keeper import roots_of
from gateway.keyring import make_keys, open_keys
from gateway.log import Log
from gateway.model import CheckAnswer
from gateway.settings import Settings
from tests.gateway.live import CLIENTS, NODE, OWN, ask, body, settings_for, source_of
from tests.serving import serve

pytestmark = pytest.mark.xdist_group("hops")  # one worker starts its servers

PEERS = {"sc": ["lab8"], "lab8": ["sc", "cq"], "cq": ["sc", "lab8"]}
"""Whom each gateway asks."""
TOKENS = {name: secrets.token_urlsafe(16) for name in CLIENTS}


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CheckAnswer]:
    """The answer in Chengdu to a question that may pass two gateways."""
    folder = tmp_path_factory.mktemp("hops")
    with ExitStack() as stack:
        enter = stack.enter_context
        source, _ = enter(source_of(folder))
        (folder / "token").write_text(TOKENS["peer"])
        ports = {owner: free_port() for owner in PEERS}
        urls = {owner: f"http://127.0.0.1:{port}" for owner, port in ports.items()}
        node = {"id": NODE, "kind": "fhir", "url": source, "institution": OWN, "timeout_ms": 7000}
        settings = {owner: _prepared(folder, owner, [node] if owner == "cq" else [], urls) for owner in PEERS}
        clients = {}
        for owner, one in settings.items():
            url = enter(serve(create_app(one, Log(io.StringIO())), ports[owner]))
            headers = {"Authorization": f"Bearer {TOKENS['other']}"}
            clients[owner] = enter(httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False))
        for client in clients.values():
            while client.get("/health/ready").json()["key_lists_missing"]:
                time.sleep(0.05)
        yield ask(clients["sc"], body())


def _prepared(folder: Path, owner: str, nodes: list[dict[str, Any]], urls: dict[str, str]) -> Settings:
    peers = [
        {
            "id": f"gw-{other}",
            "kind": "gateway",
            "url": urls[other],
            "owner": other,
            "timeout_ms": 7000,
            "token_file": folder / "token",
        }
        for other in PEERS[owner]
    ]
    pins = [
        {"owner": other, "url": urls[other], "keys_file": folder / f"{other}-roots.json"}
        for other in PEERS
        if other != owner
    ]
    (home := folder / owner).mkdir()
    settings = settings_for(home, TOKENS, [*nodes, *peers], owner, pins=pins, hops=4)
    make_keys(settings)
    roots = roots_of(open_keys(settings), owner)
    (folder / f"{owner}-roots.json").write_bytes(msgspec.json.encode(roots))
    return settings


def reports(answer: CheckAnswer) -> dict[tuple[str, str], Report]:
    return {(report.via, report.node): report for report in answer.nodes}


def test_the_answer_names_every_node_on_the_way_and_the_way_to_it(answer: CheckAnswer) -> None:
    states = {place: report.state for place, report in reports(answer).items()}
    assert states == {
        ("", "gw-lab8"): "answered",
        ("gw-lab8", "gw-sc"): "skipped",
        ("gw-lab8", "gw-cq"): "answered",
        ("gw-lab8/gw-cq", "gw-sc"): "skipped",
        ("gw-lab8/gw-cq", "gw-lab8"): "skipped",
        ("gw-lab8/gw-cq", NODE): "answered",
    }


def test_no_gateway_that_was_asked_is_asked_again_and_nothing_is_left_out(answer: CheckAnswer) -> None:
    skipped = [report for report in answer.nodes if report.state == "skipped"]
    assert {(r.fault, r.detail) for r in skipped} == {
        ("", "not asked: this question is on its way to it already")
    }
    assert answer.complete


def test_a_result_that_another_gateway_passed_on_is_there_and_its_mark_does_not_count(
    answer: CheckAnswer,
) -> None:
    (verdict,) = answer.verdicts
    assert verdict.result.id.startswith("gw-lab8/gw-cq/")
    assert verdict.verdict != "recognised"
