"""Who a person is at one node: looked up once by all who ask in the same moment, and remembered shortly.

A FHIR server and the archive beside it are asked about one person at the same time, and a doctor's next
question follows within seconds: the patient's ids there are the same. They are remembered by pseudonym and
without the person's number, for a bounded number of persons; what is too old goes when another person is
looked up. Whoever finds that they are not so any more looks them up anew. A person whom the node does not
know is not remembered.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from msgspec import Struct

from adapters.fhir_read import Patient
from adapters.node import Question
from security.identity import Identifier

SECONDS = 10.0
PERSONS = 4096


class Known(Struct, frozen=True):
    """The Patients of one person at a node, without the number that was asked for; the bytes' digests."""

    patients: tuple[Patient, ...]
    digests: tuple[bytes, ...]


class _Asked(Struct, frozen=True):
    answer: asyncio.Task[Known]
    at: float


class Patients:
    """Looks persons up with ``look_up``, which raises NodeError."""

    def __init__(
        self,
        look_up: Callable[[Identifier], Coroutine[Any, Any, Known]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look_up = look_up
        self._clock = clock
        self._asked: OrderedDict[str, _Asked] = OrderedDict()

    async def of(self, question: Question, *, anew: bool = False) -> tuple[Known, bool]:
        """Who the person is, and whether that was remembered from an earlier question.

        Raises:
            NodeError: it could not be asked.
        """
        if not question.pseudonyms:
            return await self._look_up(question.person), False
        name = question.pseudonyms[0]
        asked, now = self._asked.get(name), self._clock()
        remembered = asked is not None and asked.answer.done()
        if asked is None or (remembered and (anew or asked.at + SECONDS < now)):
            remembered = False
            asked = _Asked(asyncio.create_task(self._look_up(question.person)), now)
            self._asked[name] = asked
            self._asked.move_to_end(name)
            asked.answer.add_done_callback(lambda task: self._keep(name, task))
            while (oldest := next(iter(self._asked.values()))).answer.done() and oldest.at + SECONDS < now:
                self._asked.popitem(last=False)
            if len(self._asked) > PERSONS:
                self._asked.popitem(last=False)
        if remembered:
            return asked.answer.result(), True
        return await asyncio.shield(asked.answer), False

    def forget(self, pseudonyms: Sequence[str]) -> None:
        """Look these persons up anew with the next question."""
        for name in pseudonyms:
            self._asked.pop(name, None)

    async def aclose(self) -> None:
        """End what is being looked up, and forget."""
        running = [asked.answer for asked in self._asked.values() if not asked.answer.done()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._asked.clear()

    def _keep(self, name: str, task: asyncio.Task[Known]) -> None:
        failed = task.cancelled() or task.exception() is not None
        asked = self._asked.get(name)
        if asked is not None and asked.answer is task and (failed or not task.result().patients):
            del self._asked[name]
