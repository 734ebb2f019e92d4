"""What a person said at one gateway binds what it answers to the others; an emergency reaches it too."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from gateway.demo.network import Network
from gateway.demo.people import BY_KEY
from gateway.model import CheckAnswer

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("network")]
PERSON = {"type": "resident-id", "value": BY_KEY["jia"].number}


def post(network: Network, owner: str, institution: str, path: str, sent: dict[str, Any]) -> httpx.Response:
    gateway = network.gateways[owner]
    headers = {"Authorization": f"Bearer {gateway.tokens[institution]}"}
    answer = httpx.post(f"{gateway.url}{path}", json=sent, headers=headers, trust_env=False, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer


def ask(network: Network, **more: Any) -> CheckAnswer:
    """Ask in Chengdu about the chest CT, which was made in Chongqing."""
    asked = {
        "request_id": uuid.uuid4().hex,
        "patient": PERSON,
        "planned": [{"name": "胸部CT平扫"}],
        "deadline_ms": 8000,
    }
    answer = post(network, "sc", "EX-SC-01", "/api/v1/checks", asked | more)
    return msgspec.json.decode(answer.content, type=CheckAnswer)


@pytest.fixture
def denied(network: Network) -> Iterator[str]:
    """The patient objects, in Chongqing; afterwards no more."""
    said = post(network, "cq", "EX-CQ-01", "/api/v1/consents", {"patient": PERSON, "decision": "deny"})
    id_ = said.json()["id"]
    yield id_
    post(network, "cq", "EX-CQ-01", f"/api/v1/consents/{id_}/revocation", {"patient": PERSON})


@pytest.mark.usefixtures("denied")
def test_what_was_denied_in_chongqing_is_not_shown_in_chengdu(network: Network) -> None:
    answer = ask(network)
    assert answer.consent.basis == "none"  # in Chengdu nothing was said
    states = {node.node: (node.state, node.detail) for node in answer.nodes if node.via == "gw-cq"}
    assert states
    assert {state for state, _ in states.values()} == {"skipped"}
    assert all("consent" in detail for _, detail in states.values())
    assert not answer.complete
    assert "EX-CQ-01" not in {verdict.result.institution.code for verdict in answer.verdicts}


@pytest.mark.usefixtures("denied")
def test_an_emergency_in_chengdu_is_answered_from_chongqing(network: Network) -> None:
    answer = ask(network, break_glass={"reason": "昏迷，急诊抢救"})
    assert answer.consent.basis == "break_glass"
    assert "EX-CQ-01" in {verdict.result.institution.code for verdict in answer.verdicts}


def test_after_its_revocation_it_binds_nobody(network: Network, denied: str) -> None:
    post(network, "cq", "EX-CQ-01", f"/api/v1/consents/{denied}/revocation", {"patient": PERSON})
    assert "EX-CQ-01" in {verdict.result.institution.code for verdict in ask(network).verdicts}
