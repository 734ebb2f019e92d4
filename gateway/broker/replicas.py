"""What the brokers of several replicas tell each other through Redis: answers, who asks, whom to leave alone.

It is never waited for where an answer does not gain by it, and Redis away means that every replica does for
itself what it would have done alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from adapters import Answer
from gateway.broker.lane import Flight, Lane
from gateway.broker.memory import Memory, Told
from gateway.tasks import stop

T = TypeVar("T")

POLL_S = 1.0
"""Between two looks which nodes other replicas leave alone."""
AFTERWARDS = 1024
"""How many messages to the others may be under way; further ones are left out."""


class Replicas:
    """The other replicas, as far as this one knows.

    Args:
        memory: what was said a moment ago, with the store that replicas share it in.
        lanes: the ways to the nodes of now.
    """

    def __init__(self, memory: Memory, lanes: Callable[[], Sequence[Lane]]) -> None:
        self._memory = memory
        self._shared = memory.shared
        self._lanes = lanes
        self._messages: set[asyncio.Task[Any]] = set()
        self._answering: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look which nodes the others leave alone."""
        if self._shared.shared:
            self._task = asyncio.create_task(self._follow())

    async def aclose(self) -> None:
        """Stop looking, and leave unsaid what was not said yet."""
        await stop(self._task)
        for message in list(self._messages):
            await stop(message)

    def tell(self, lane: Lane, flight: Flight, told: Told | None) -> None:
        """What a flight brought, for the others; nothing where it failed, so that they ask for themselves."""
        if flight.borrow and not flight.borrowed:
            self._send(self._tell(lane.node.id, flight, told))

    async def borrowed(self, lane: Lane, published: float, flight: Flight) -> Answer | None:
        """The answer that another replica is asking for; None where it is for this one to ask, or was asked
        before something was ``published`` through the node.

        Half of the time is left for that, because the other one may be gone.
        """
        node, person, question = lane.node.id, flight.person, flight.question
        key = self._memory.key(node, person, question.kinds)
        seconds = question.budget + question.patience
        if await self.soon(self._shared.first(key, seconds), question.budget, True):
            return None
        value = await self._shared.wait(key, question.budget / 2)
        told = self._memory.opened(node, person, question.kinds, value) if value else None
        answer = told and self._memory.answers(told, question, lane.place, flight.under, published)
        if told and answer:
            flight.names = dict.fromkeys(told.names)
            return answer
        return None

    def switched(self, lane: Lane, opened: bool) -> None:
        """A breaker opened or closed here."""
        if self._shared.shared:
            key = _left_alone(lane)
            told = self._shared.set(key, b"1", lane.breaker.rests_s) if opened else self._shared.delete(key)
            self._send(told)

    async def soon(self, asking: Coroutine[Any, Any, T], budget: float, otherwise: T) -> T:
        """What they share, within a quarter of the time that a question has; else ``otherwise``. It is not
        given up: whoever asks has to see by itself that Redis is away."""
        task = self._under_way(asking)
        await asyncio.wait([task], timeout=budget / 4)
        return task.result() if task.done() else otherwise

    @asynccontextmanager
    async def answering(self, question_id: str, seconds: float) -> AsyncIterator[bool]:
        """While a question is answered: whether nobody else does so, in this process or another."""
        if question_id in self._answering:
            yield False
            return
        self._answering.add(question_id)
        shared, key, turn = self._shared, f"question|{question_id}", True
        try:
            if shared.shared:
                turn = await self.soon(shared.first(key, seconds), seconds, True)
            yield turn
        finally:
            self._answering.discard(question_id)
            if turn and shared.shared:
                self._send(shared.release(key))

    async def _tell(self, node: str, flight: Flight, told: Told | None) -> None:
        if told:
            await self._memory.share(node, flight.person, told)
        await self._shared.release(self._memory.key(node, flight.person, flight.question.kinds))

    async def _follow(self) -> None:
        """Leave alone what the others leave alone."""
        while True:
            await asyncio.sleep(POLL_S)
            lanes = self._lanes()
            values = await self._shared.many([_left_alone(lane) for lane in lanes])
            for lane, value in zip(lanes, values, strict=True):
                if value:
                    lane.breaker.adopt(2 * POLL_S)

    def _send(self, message: Coroutine[Any, Any, None]) -> None:
        """Say it while nobody waits; where too much is being said already, leave it."""
        if len(self._messages) >= AFTERWARDS:
            message.close()
            return
        self._under_way(message)

    def _under_way(self, message: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(message)
        self._messages.add(task)
        task.add_done_callback(self._messages.discard)
        return task


def _left_alone(lane: Lane) -> str:
    return f"breaker|{lane.node.id}|{lane.place}"
