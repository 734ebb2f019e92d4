"""Scatter one question over all nodes, gather what comes back by the deadline, and leave no node unnamed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from adapters import Answer, Fault, Node, Question, Report, State, elapsed_ms, join_images
from recognition import Result


class Gathered(Struct, frozen=True):
    """Answers of every asked node.

    ``own`` are the results of this gateway's nodes, joined with what its archives hold; ``foreign`` those of
    other gateways, by owner. They are kept apart because only the own ones may be signed here, and another
    gateway speaks for its own institutions alone.
    """

    answers: tuple[Answer, ...]
    own: tuple[Result, ...]
    foreign: tuple[tuple[str, Result], ...]

    @property
    def reports(self) -> tuple[Report, ...]:
        """One report for every node asked, those behind another gateway included."""
        return tuple(report for answer in self.answers for report in (answer.report, *answer.behind))

    @property
    def complete(self) -> bool:
        """Whether every asked node was heard."""
        return all(report.state in ("answered", "empty") for report in self.reports)


class Broker:
    """Asks the nodes; holds no state between questions.

    Args:
        nodes: every node of this gateway.
        observe: called with each report, for metrics and the log.
    """

    def __init__(self, nodes: Sequence[Node], observe: Callable[[Report], None]) -> None:
        self._nodes = tuple(nodes)
        self._observe = observe

    async def gather(self, question: Question) -> Gathered:
        """Ask every node at once; back within ``question.budget``. A node that is not is reported ``late``.

        Other gateways are asked only while the question has hops left, which cuts loops.
        """
        asked = [node for node in self._nodes if node.kind != "gateway" or question.hops > 0]
        started = time.monotonic()
        tasks = [asyncio.create_task(node.prior(question)) for node in asked]
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=question.budget)
            took = elapsed_ms(started)
            answers = tuple(_said(node, task, took) for node, task in zip(asked, tasks, strict=True))
        finally:
            for task in tasks:
                task.cancel()
        for answer in answers:
            self._observe(answer.report)
        institutions = {node.id: node.institution for node in asked}
        near = [answer for answer in answers if answer.report.kind != "gateway"]
        far = [answer for answer in answers if answer.report.kind == "gateway"]
        return Gathered(
            answers,
            join_images(near, institutions),
            tuple((answer.gateway, result) for answer in far for result in answer.results),
        )

    def skip(self, detail: str) -> tuple[Report, ...]:
        """The report of every node where none is asked; ``detail`` says why."""
        reports = tuple(_silent(node, 0, "skipped", "", detail).report for node in self._nodes)
        for report in reports:
            self._observe(report)
        return reports


def _said(node: Node, task: asyncio.Task[Answer], took_ms: int) -> Answer:
    """What a node's task came to; one that broke is this gateway's fault, and costs no other answer."""
    if not task.done():
        return _silent(node, took_ms, "late", "node", "no answer before the deadline")
    if error := task.exception():
        return _silent(node, took_ms, "faulty", "gateway", f"asking it failed here: {type(error).__name__}")
    return task.result()


def _silent(node: Node, took_ms: int, state: State, fault: Fault, detail: str) -> Answer:
    return Answer(
        report=Report(node=node.id, kind=node.kind, state=state, took_ms=took_ms, fault=fault, detail=detail)
    )
