"""The two metrics that every request changes: how many were answered, and how long they took.

They are counted by the one event loop, so they need none of the locks and label look-ups of the library's own
metrics, which cost a tenth of a short answer's CPU.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class RequestCounts(Collector):
    """Counts requests by face and status, and times them by face in buckets up to each of ``bounds``."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = (*bounds, float("inf"))
        self._answered: Counter[tuple[str, int | str]] = Counter()
        self._took: defaultdict[str, list[int]] = defaultdict(lambda: [0] * len(self._bounds))
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def add(self, face: str, status: int | str, seconds: float) -> None:
        """One request; ``status`` is ``aborted`` where no answer began."""
        self._answered[face, status] += 1
        self._took[face][bisect_left(self._bounds, seconds)] += 1
        self._seconds[face] += seconds

    def collect(self) -> Iterator[Metric]:
        """Both, as they stand."""
        answered = CounterMetricFamily("lianren_requests", "Requests answered", labels=("face", "status"))
        for (face, status), many in list(self._answered.items()):
            answered.add_metric((face, str(status)), many)
        took = HistogramMetricFamily(
            "lianren_request_seconds", "Time of a request, waiting included", labels=("face",)
        )
        names = (*map(str, self._bounds[:-1]), "+Inf")
        for face, counts in list(self._took.items()):
            buckets = list(zip(names, accumulate(counts), strict=True))
            took.add_metric((face,), buckets, self._seconds[face])
        return iter((answered, took))
