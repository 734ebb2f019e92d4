"""What is seen of the nodes from outside: metrics and log events."""

from __future__ import annotations

from functools import cache
from typing import Literal

from adapters import Answer, Report
from gateway.broker.lane import Flight, Lane
from gateway.log import Log
from gateway.metrics import Metrics


class Watching:
    """Counts and logs what happens to nodes; no word about a person."""

    def __init__(self, log: Log, metrics: Metrics) -> None:
        self._log = log
        self._metrics = metrics
        self._answers = cache(metrics.nodes.labels)
        self._seconds = cache(metrics.node_seconds.labels)

    def lane(self, lane: Lane) -> None:
        """A node is there, or was changed."""
        node, metrics = lane.node.id, self._metrics
        metrics.node_in_flight.labels(node).set_function(lambda: lane.turns.taken)
        metrics.node_waiting.labels(node).set_function(lambda: lane.turns.waiting)
        metrics.node_left_alone.labels(node).set_function(lambda: int(not lane.breaker.closed))

    def gone(self, node: str) -> None:
        """A node was taken away."""
        for gauge in (
            self._metrics.node_in_flight,
            self._metrics.node_waiting,
            self._metrics.node_left_alone,
        ):
            gauge.remove(node)

    def report(self, report: Report) -> None:
        """What a question got from a node."""
        self._answers(report.node, report.state).inc()
        if not report.heard and report.state != "skipped":
            self._log(
                "node_failed",
                node=report.node,
                state=report.state,
                took_ms=report.took_ms,
                detail=report.detail,
            )

    def back(self, lane: Lane, flight: Flight, answer: Answer | None) -> None:
        """A request to a node ended."""
        node = lane.node.id
        if answer is not None and answer.report.state != "skipped" and not flight.borrowed:
            self._seconds(node).observe(answer.report.took_ms / 1000)
            if flight.late:
                self._metrics.node_late.labels(node).inc()
        if lane.hedges:
            self._metrics.node_hedges.labels(node).inc(lane.hedges)
            lane.hedges = 0

    def reused(self, lane: Lane, how: Literal["told", "joined"]) -> None:
        """A question was answered without a request."""
        self._metrics.node_reused.labels(lane.node.id, how).inc()

    def switched(self, lane: Lane, opened: bool) -> None:
        """A node is left alone, or answers again."""
        if opened:
            rests = round(lane.breaker.rests_s, 1)
            self._log("node_left_alone", node=lane.node.id, reason=lane.breaker.reason, seconds=rests)
        else:
            self._log("node_back", node=lane.node.id)
