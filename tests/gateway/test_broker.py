"""Nodes that fail, each in its own way: each is named with its state and whose fault it was."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from adapters import Report
from gateway.model import CheckAnswer
from tests.gateway.live import NODE, OWN, Live, ask, body, gateway_with, source_of
from tests.serving import http_answer, misbehave

DEADLINE_MS = 2000
REFUSAL = http_answer(b'{"resourceType":"OperationOutcome"}', "403 Forbidden")
PAGE = http_answer(b"<html>maintenance</html>", media="text/html")
TORN = http_answer(b'{"resourceType":"Bundle","entry":[', length=4000)


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CheckAnswer]:
    """The answer of a gateway of whose seven nodes one is well."""
    folder = tmp_path_factory.mktemp("broken")
    with ExitStack() as stack:
        enter = stack.enter_context
        urls = {
            NODE: enter(source_of(folder))[0],
            "hanging": enter(misbehave(lambda _, __: None)),
            "refusing": enter(misbehave(lambda _, __: REFUSAL)),
            "unreachable": f"http://127.0.0.1:{enter(_nobody()).getsockname()[1]}",
            "page": enter(misbehave(lambda _, __: PAGE)),
            "torn": enter(misbehave(lambda _, __: TORN)),
            "failing": enter(misbehave(lambda _, __: http_answer(b"", "500 Internal Server Error"))),
        }
        nodes = [
            {"id": name, "kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 60_000}
            for name, url in urls.items()
        ]
        live: Live = enter(gateway_with(folder, nodes, deadline_ms=DEADLINE_MS))
        yield ask(live.client(), body())


@pytest.fixture(scope="module")
def reports(answer: CheckAnswer) -> dict[str, Report]:
    return {report.node: report for report in answer.nodes}


def _nobody() -> socket.socket:
    """A bound port on which nobody listens."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    return bound


def test_the_nodes_that_are_well_are_complete(answer: CheckAnswer, reports: dict[str, Report]) -> None:
    assert reports[NODE].state == "answered"
    assert [verdict.verdict for verdict in answer.verdicts] == ["recognised"]


def test_an_answer_that_lacks_a_node_says_so(answer: CheckAnswer) -> None:
    assert not answer.complete


def test_a_node_that_hangs_is_late_at_the_deadline(reports: dict[str, Report]) -> None:
    report = reports["hanging"]
    assert (report.state, report.fault) == ("late", "node")
    assert report.took_ms <= DEADLINE_MS * 1.1


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("refusing", "refused"),
        ("unreachable", "unreachable"),
        ("page", "faulty"),
        ("torn", "faulty"),
        ("failing", "faulty"),
    ],
)
def test_a_node_that_fails_is_named_with_its_state_and_fault(
    reports: dict[str, Report], name: str, state: str
) -> None:
    report = reports[name]
    assert (report.state, report.fault) == (state, "node")
    assert report.detail
