"""The whole network: every hard case comes out right, and a node that is killed is named."""

from __future__ import annotations

import io
import json
import subprocess
import time
import uuid
from typing import cast

import httpx
import msgspec
import pytest
from rich.console import Console

from adapters._patients import SECONDS as REMEMBERED
from gateway.demo.network import Network
from gateway.demo.peers import lianren
from gateway.demo.people import BY_KEY
from gateway.demo.questions import ask_trap
from gateway.demo.show import _print_next
from gateway.demo.traps import TRAPS, Trap
from gateway.model import CheckAnswer

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("network")]
BY_NAME = {trap.key: trap for trap in TRAPS}


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.key)
def test_a_hard_case_comes_out_right(network: Network, trap: Trap) -> None:
    assert ask_trap(network, trap).wrong == ()


def test_a_foreign_result_carries_the_verified_mark_of_its_gateway(network: Network) -> None:
    verdict = ask_trap(network, BY_NAME["chest-ct"]).answer.verdicts[0]
    assert verdict.mark is not None
    assert (verdict.mark.state, verdict.mark.printed) == ("valid", "川渝HR")


def test_every_node_is_named_with_the_gateway_it_was_reached_by(network: Network) -> None:
    answer = ask_trap(network, BY_NAME["liver-panel"]).answer
    asked = {(node.node, node.via) for node in answer.nodes}
    assert {("sc-his", ""), ("gw-cq", ""), ("cq-his", "gw-cq"), ("hb-lis", "gw-lab8")} <= asked
    assert len([node for node in answer.nodes if node.kind != "gateway"]) == 12


def test_an_answer_is_known_only_to_the_gateway_that_gave_it(network: Network) -> None:
    answer = ask_trap(network, BY_NAME["chest-ct"]).answer
    there = network.gateways["cq"]
    headers = {"Authorization": f"Bearer {there.tokens['EX-CQ-01']}"}
    response = httpx.get(f"{there.url}/api/v1/checks/{answer.id}", headers=headers, trust_env=False)
    assert response.status_code == 404


def test_the_step_that_opens_a_viewing_lists_the_images_of_the_other_region(network: Network) -> None:
    out = io.StringIO()
    _print_next(Console(file=out, highlight=False, soft_wrap=True), network)
    (command,) = (line for line in out.getvalue().splitlines() if "/api/v1/viewings" in line)
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60, check=True)
    (study,) = json.loads(done.stdout)
    assert study["00771001"]["Value"] == ["RECOGNISED"]
    assert study["0077100C"]["Value"] == ["gw-cq/cq-pacs"]


def ask_again(network: Network, person: str, planned: dict[str, str]) -> CheckAnswer:
    """Ask in Chengdu."""
    gateway = network.gateways["sc"]
    asked = {
        "request_id": uuid.uuid4().hex,
        "patient": {"type": "resident-id", "value": BY_KEY[person].number},
        "planned": [planned],
    }
    response = httpx.post(
        f"{gateway.url}/api/v1/checks",
        json=asked,
        headers={"Authorization": f"Bearer {gateway.tokens['EX-SC-01']}"},
        timeout=30,
        trust_env=False,
    )
    assert response.status_code == 200, response.text
    return msgspec.json.decode(response.content, type=CheckAnswer)


@pytest.fixture(scope="module")
def without_cq_his(network: Network) -> tuple[CheckAnswer, CheckAnswer]:
    """What is said of an albumin and of a chest CT while the system of 重庆示例第一医院 is gone; it is back
    afterwards, with its records."""
    gone = network.nodes["cq-his"]
    words = [str(word) for word in cast("list[str]", gone.process.args)]
    gone.stop()
    time.sleep(REMEMBERED)  # what it said before is told for two seconds, and its patients are known for ten
    answers = (
        ask_again(network, "ding", {"name": "白蛋白", "kind": "lab"}),
        ask_again(network, "jia", {"name": "胸部CT平扫", "kind": "imaging"}),
    )
    words = words[words.index("gateway.cli") + 1 :]
    network.nodes["cq-his"] = lianren(
        gone.log.parent, words, gone.url, f"{gone.url}/metadata", name=gone.name
    )
    return answers


def test_a_node_that_is_killed_is_named_and_the_others_still_answer(
    without_cq_his: tuple[CheckAnswer, CheckAnswer],
) -> None:
    answer = without_cq_his[0]
    states = {node.node: node for node in answer.nodes}
    assert states["cq-his"].state in ("unreachable", "late")
    assert states["cq-his"].fault == "node"
    assert states["hb-lis"].state == "answered"
    assert [verdict.result.node for verdict in answer.verdicts] == ["hb-lis"]
    assert not answer.complete


def test_an_archive_whose_patients_nobody_knows_any_more_says_so(
    without_cq_his: tuple[CheckAnswer, CheckAnswer],
) -> None:
    image = without_cq_his[1]
    archive = next(node for node in image.nodes if node.node == "cq-pacs")
    assert archive.state not in ("answered", "empty")  # it is found by the numbers that cq-his knows
    assert archive.detail
    assert not image.complete


def test_a_node_that_came_back_is_heard_again(network: Network) -> None:
    assert ask_again(network, "jia", {"name": "胸部CT平扫", "kind": "imaging"}).complete
