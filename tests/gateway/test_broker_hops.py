"""A question that goes on: 四川 asks the alliance, which asks 重庆, which would ask both of them again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adapters import Report
from gateway.model import CheckAnswer
from tests.gateway.chain import chain
from tests.gateway.live import NODE, ask, body

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hops")]  # one worker starts its servers


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CheckAnswer]:
    """The answer in Chengdu to a question that may pass two gateways."""
    with chain(tmp_path_factory.mktemp("hops")) as gateways:
        yield ask(gateways["sc"].client("other"), body())


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
