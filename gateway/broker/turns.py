"""Whose turn it is at a node: so many requests at one time, so many questions waiting, a doctor's first."""

from __future__ import annotations

import asyncio
from collections import deque


class NoTurn(Exception):
    """So many questions wait for their turn that this one does not."""


class Turns:
    """The turns at one node: ``together`` at one time, at most ``waiting`` questions in the two queues."""

    def __init__(self, together: int, waiting: int) -> None:
        self._together = together
        self._most = waiting
        self._queues: tuple[deque[asyncio.Future[None]], ...] = (deque(), deque())
        self.taken = 0

    @property
    def free(self) -> bool:
        """Whether a turn can be had at once."""
        return self.taken < self._together

    @property
    def waiting(self) -> int:
        """How many questions wait."""
        return sum(map(len, self._queues))

    async def take(self, *, background: bool = False) -> None:
        """Wait for a turn; :meth:`give` gives it back. What is asked in the background lets all others pass,
        and makes room for them where too many wait.

        Raises:
            NoTurn: too many wait already.
        """
        if self.free:
            self.taken += 1
            return
        if self.waiting >= self._most:
            if background or not self._queues[True]:
                raise NoTurn
            last = self._queues[True].pop()
            if not last.done():  # it may have been given up just now
                last.set_exception(NoTurn())
        turn = asyncio.get_running_loop().create_future()
        queue = self._queues[background]
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in queue:
                queue.remove(turn)
            elif not turn.cancelled() and turn.exception() is None:
                self.give()  # it was this one's turn at the moment it was given up
            raise

    def give(self) -> None:
        """The turn is over; whoever waits first has it next."""
        for queue in self._queues:
            while queue:
                turn = queue.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
        self.taken -= 1
