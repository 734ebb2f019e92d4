"""200 checks at one time, a node hanging, one refusing and one slow: only honest states, flat memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.enduring import KNOWING, Endured, endure, gateway
from tests.peers import needed

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("endurance")]


@pytest.fixture(scope="module")
def endured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endured]:
    with needed(), gateway(tmp_path_factory.mktemp("endurance")) as (url, process):
        yield endure(url, process, 14)


def test_every_check_is_answered(endured: Endured) -> None:
    assert set(endured.statuses) == {200}
    assert endured.answers >= 300


def test_no_answer_says_what_is_not_so(endured: Endured) -> None:
    assert endured.lies == []


def test_nodes_that_work_are_heard_beside_those_that_do_not(endured: Endured) -> None:
    for name in KNOWING:
        assert endured.states[name, "answered", ""] > endured.answers / 8
        assert endured.states[name, "empty", ""] > endured.answers / 8


def test_nodes_that_do_not_work_are_named_and_then_left_alone(endured: Endured) -> None:
    for name, state in (("hanging", "late"), ("refusing", "refused")):
        assert endured.states[name, state, "node"] > 0
        assert endured.states[name, "skipped", "node"] > 0


def test_memory_stays_within_what_its_caches_may_take(endured: Endured) -> None:
    assert max(endured.memory_mb) < 300  # they fill in the first minute; bench_endurance shows how far
