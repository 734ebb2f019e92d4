"""A circuit breaker: a node that fails again and again is left alone for a while, then tried by one question.

Closed, it lets every question through. After ``failures`` in a row it opens for ``seconds``; when they are
over, one question tries the node, and the others do without it until that one is back. Each failed try
doubles the time, up to :data:`LONGEST_S`. Any answer closes it again, also one that came too late for its
question.
"""

from __future__ import annotations

import time
from collections.abc import Callable

LONGEST_S = 60.0
"""A node is tried at least this often, unless it is set to be left alone for longer at first."""


class Breaker:
    """The breaker of one node.

    Args:
        failures: how many in a row open it.
        seconds: how long it stays open at first.
        clock: seconds that only grow.
    """

    def __init__(self, failures: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = failures
        self._first = seconds
        self._clock = clock
        self._longest = max(seconds, LONGEST_S)
        self._until = 0.0
        self._open_s = 0.0
        self._heard = -LONGEST_S
        self._trying = False
        self.failures = 0
        self.reason = ""

    @property
    def closed(self) -> bool:
        """Whether every question is let through."""
        return self._until == 0.0

    @property
    def rests_s(self) -> float:
        """Seconds until the node is tried again; 0 where it may be asked, or is being tried now."""
        return max(0.0, self._until - self._clock())

    def admits(self) -> bool:
        """Whether the node may be asked. Where this question is the one that tries it, it has to end in
        :meth:`succeeded`, :meth:`failed` or :meth:`abandoned`."""
        if self.closed:
            return True
        if self._trying or self.rests_s > 0:
            return False
        self._trying = True
        return True

    def succeeded(self) -> bool:
        """The node answered. Says whether that closed the breaker."""
        closed = not self.closed
        self._until, self._open_s, self._trying = 0.0, 0.0, False
        self._heard = self._clock()
        self.failures, self.reason = 0, ""
        return closed

    def failed(self, reason: str) -> bool:
        """The node failed, in this way. Says whether that opened the breaker, for the first time or again."""
        self.failures += 1
        self.reason = reason
        if self._trying or (self.closed and self.failures >= self._most):
            self._trying = False
            self._open_s = min(self._open_s * 2 or self._first, self._longest)
            self._until = self._clock() + self._open_s
            return True
        return False

    def abandoned(self) -> None:
        """The question that tried the node was given up; the next one tries it."""
        self._trying = False

    def adopt(self, seconds: float) -> None:
        """Another replica left the node alone: so does this one for so long, unless it just heard it."""
        now = self._clock()
        if not self._trying and now - self._heard > seconds:
            self.reason = self.reason or "another replica could not hear it"
            self._until = max(self._until, now + seconds)
