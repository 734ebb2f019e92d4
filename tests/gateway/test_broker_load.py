"""Many questions at once over nodes of every kind of trouble: only honest answers, in time, nothing left."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import pytest

from adapters import Answer, Question
from gateway.broker import Gathered
from tests.gateway.brokers import Fake, Say, answer, broker_over, failed, placed, question, result, rules

pytestmark = pytest.mark.anyio

QUESTIONS, BUDGET = 200, 0.25
SAID = {
    "well": {"answered"},
    "slow": {"answered", "late", "skipped"},
    "hanging": {"late", "skipped"},
    "refusing": {"refused", "skipped"},
    "flapping": {"answered", "unreachable", "skipped"},
    "broken": {"faulty"},
}
"""What may honestly be said of each node."""


def behaving(name: str, chance: random.Random) -> Say:
    """How the node of this name answers."""

    async def say(asked: Question) -> Answer:
        if name == "slow":
            await asyncio.sleep(chance.uniform(0.0, 0.3))
        elif name == "hanging":
            await asyncio.sleep(60)
        elif name == "refusing":
            return failed(name, "refused")
        elif name == "flapping" and chance.random() < 0.3:
            return failed(name)
        elif name == "broken":
            raise RuntimeError
        return answer(name, result(name))

    return say


def honest(gathered: Gathered) -> bool:
    """Each node is named once with what may be said of it, and only whole answers are called complete."""
    reports = {report.node: report for report in gathered.reports}
    allowed = all(reports[name].state in states for name, states in SAID.items())
    blamed = all((r.state == "answered") != bool(r.fault) for r in reports.values())
    told = {name for name, report in reports.items() if report.state == "answered"}
    return (
        len(gathered.reports) == len(SAID)
        and allowed
        and blamed
        and {found.node for found in gathered.own} == told
        and not gathered.complete
    )


@pytest.mark.slow
async def test_under_load_every_answer_is_honest_and_in_time_and_nothing_is_left(tmp_path: Path) -> None:
    chance = random.Random(6)  # noqa: S311 - a repeatable one
    before = asyncio.all_tasks()
    nodes = [placed(Fake(name, say=behaving(name, chance)), connections=8, waiting=32) for name in SAID]
    async with broker_over(tmp_path, nodes, cache_s=0.2, cache_empty_s=0.2) as b:
        await b.ask()

        async def one(number: int) -> tuple[Gathered, float]:
            await asyncio.sleep(chance.uniform(0, 1.0))
            began = time.monotonic()
            asked = question(pseudonyms=(f"p{number % 50}",), budget=BUDGET, background=number % 5 == 0)
            return await b.broker.gather(asked, rules()), time.monotonic() - began

        told = await asyncio.gather(*(one(number) for number in range(QUESTIONS)))
        states = {state.node: state for state in b.broker.states()}
        assert states["hanging"].in_flight <= 4  # half of its turns, for late answers
        assert [gathered.reports for gathered, _ in told if not honest(gathered)] == []
        assert max(took for _, took in told) < BUDGET + 1  # the machine's own pauses
        assert all(state.waiting == 0 for state in states.values())
    assert asyncio.all_tasks() == before
