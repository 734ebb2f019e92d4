"""One node as the broker sees it: its breaker, its turns, and the questions on their way to it.

A :class:`Flight` is one question under way, which several may wait for. It ends by itself: at its deadline,
unless it may go on for a while for the sake of the next question. A node that is late has failed, and an
answer that comes late makes up for it. At most half of a node's turns are kept by flights that nobody waits
for; of more, the one that has been left for longest is given up.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Literal

from msgspec import Struct

from adapters import Answer, Fault, Node, Question, Report, State, elapsed_ms
from gateway.broker.breaker import Breaker
from gateway.broker.turns import NoTurn, Turns
from gateway.nodes import Placed
from gateway.settings import NodeSettings
from gateway.tracing import span
from mapping import LocalName

FAIR_S, FAIR = 0.3, 0.9
"""A node that was given less time than this, and than nine tenths of its own, has not failed where it was not
done."""


class LaneState(Struct, frozen=True, kw_only=True):
    """How it stands between this process and a node: its breaker, the failures in a row and the last one's
    state, the seconds until it is tried again, requests under way, questions that wait, and the last report
    with its time (seconds since 1970; 0: not asked yet)."""

    node: str
    breaker: Literal["closed", "open", "trying"]
    failures: int
    reason: str
    rests_s: float
    in_flight: int
    waiting: int
    last: Report | None
    last_at: float


class Flight:
    """A question on its way to a node, as the node is asked it.

    ``asked`` is the time of the wall clock. ``borrow`` may get the answer from another replica in place of a
    turn here; then it is ``borrowed``. ``names`` were read for it. A ``forgotten`` one tells nobody else what
    it brings. Of one that is ``chosen``, a caller said what is asked: that a node refuses it, or has no good
    answer to it, is no failure of the node.
    """

    __slots__ = (
        "asked", "borrow", "borrowed", "chosen", "counted", "flying", "forgotten", "late", "names",
        "person", "question", "started", "task", "timer", "under", "waiters",
    )  # fmt: skip

    task: asyncio.Task[Answer]
    timer: asyncio.TimerHandle

    def __init__(
        self, question: Question, asked: float, person: str = "", under: str = "", *, chosen: bool = False
    ) -> None:
        self.question = question
        self.chosen = chosen
        self.person = person
        self.under = under
        self.asked = asked
        self.started = time.monotonic()
        self.borrow: Callable[[Flight], Awaitable[Answer | None]] | None = None
        self.names: dict[LocalName, None] = {}
        self.waiters = 1
        self.flying = self.late = self.counted = self.borrowed = self.forgotten = False

    @property
    def over(self) -> float:
        """When it ends, as it stands; one that has no turn by its deadline gets none afterwards."""
        question = self.question
        return self.started + question.budget + (question.patience if self.flying else 0.0)

    @property
    def answer(self) -> Answer | None:
        """What it brought, if it is back."""
        if not self.task.done() or self.task.cancelled():
            return None
        return self.task.result()


Call = Callable[[Node, Flight], Awaitable[Answer]]


class Lane:
    """The way to one node.

    Args:
        placed: the node and its settings.
        identity: for an archive, the settings of the node that knows its patients.
        switched: called when the breaker opens (True) or closes.
    """

    def __init__(
        self, placed: Placed, identity: NodeSettings | None, switched: Callable[[Lane, bool], None]
    ) -> None:
        settings = placed.settings
        what = settings.model_dump_json() + (identity.model_dump_json() if identity else "")
        self.placed = placed
        self.node = placed.node
        self.breaker = Breaker(settings.breaker_failures, settings.breaker_s)
        self.turns = Turns(settings.connections, settings.waiting)
        self.place = hashlib.sha256(what.encode()).hexdigest()[:16]
        self.flights: dict[str, list[Flight]] = {}
        self.last: Report | None = None
        self.last_at = 0.0
        self.hedges = 0
        self._left: deque[Flight] = deque()
        self._most_left = max(1, settings.connections // 2)
        self._switched = switched

    @property
    def settings(self) -> NodeSettings:
        """Those that the node was made from."""
        return self.placed.settings

    @property
    def state(self) -> LaneState:
        """How it stands."""
        breaker = self.breaker
        rests = breaker.rests_s
        return LaneState(
            node=self.node.id,
            breaker="closed" if breaker.closed else "open" if rests else "trying",
            failures=breaker.failures,
            reason=breaker.reason,
            rests_s=round(rests, 3),
            in_flight=self.turns.taken,
            waiting=self.turns.waiting,
            last=self.last,
            last_at=self.last_at,
        )

    def start(self, flight: Flight, call: Call) -> Flight:
        """Set a question on its way; the breaker admitted it."""
        flight.task = asyncio.create_task(self._fly(flight, call))
        flight.timer = asyncio.get_running_loop().call_later(flight.question.budget, self._deadline, flight)
        self.flights.setdefault(flight.person, []).append(flight)
        flight.task.add_done_callback(lambda _: self._landed(flight))
        return flight

    def join(self, flight: Flight) -> None:
        """One more waits for a flight."""
        flight.waiters += 1
        if flight in self._left:
            self._left.remove(flight)

    def leave(self, flight: Flight, *, given_up: bool) -> None:
        """One of those who wait for a flight waits no longer; nobody's question that was given up goes on."""
        flight.waiters -= 1
        if flight.waiters or flight.task.done() or flight.task.cancelling():
            return
        if given_up:
            flight.task.cancel()
            return
        self._left.append(flight)
        if len(self._left) > self._most_left:
            self._left.popleft().task.cancel()

    def silent(self, took_ms: int, state: State, fault: Fault, detail: str) -> Answer:
        """The answer of a node that gave none."""
        node = self.node
        return Answer(
            report=Report(
                node=node.id, kind=node.kind, state=state, took_ms=took_ms, fault=fault, detail=detail
            )
        )

    async def _fly(self, flight: Flight, call: Call) -> Answer:
        started = time.monotonic()
        try:
            if flight.borrow and (answer := await flight.borrow(flight)):
                flight.borrowed = True
                self.breaker.abandoned()
                return answer
            await self.turns.take(background=flight.question.background)
            flight.flying = True
            try:
                told = {"lianren.node": self.node.id, "lianren.kind": self.node.kind}
                with span("ask node", told, "client") as asking:
                    answer = await (
                        self._hedged(flight, call) if self._hedges(flight) else call(self.node, flight)
                    )
                    asking.set({"lianren.state": answer.report.state})
            finally:
                self.turns.give()
        except NoTurn:
            self.breaker.abandoned()
            detail = f"not asked: {self.settings.waiting} questions wait for it already"
            return self.silent(elapsed_ms(started), "skipped", "gateway", detail)
        except Exception as error:  # a node raises nothing for its other side: it is our fault
            self.breaker.abandoned()
            detail = f"asking it failed here: {type(error).__name__}"
            return self.silent(elapsed_ms(started), "faulty", "gateway", detail)
        self._judge(flight, answer.report)
        return answer

    def _hedges(self, flight: Flight) -> bool:
        """Only a question without effects is asked twice; what another gateway is asked, it keeps."""
        return self.settings.hedge_ms > 0 and self.node.kind != "gateway" and not flight.question.background

    async def _hedged(self, flight: Flight, call: Call) -> Answer:
        """Ask, and ask once more where no answer comes and a turn is free; the first good answer counts."""
        asked = [asyncio.ensure_future(call(self.node, flight))]
        try:
            done, pending = await asyncio.wait(asked, timeout=self.settings.hedge_ms / 1000)
            if pending and self.turns.free and self.breaker.closed:
                await self.turns.take()
                self.hedges += 1
                asked.append(asyncio.ensure_future(call(self.node, flight)))
                asked[1].add_done_callback(lambda _: self.turns.give())
                pending.add(asked[1])
            while not (good := [t for t in done if t.result().report.heard]) and pending:
                more, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                done |= more
            return (good or asked)[0].result()
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    def _deadline(self, flight: Flight) -> None:
        """Nobody of its own question waits any more."""
        flight.late = True
        if not flight.flying:
            self.breaker.abandoned()
            flight.task.cancel()
            return
        self._failed(flight, "late")
        if flight.question.patience <= 0:
            flight.task.cancel()
            return
        flight.timer = asyncio.get_running_loop().call_later(flight.question.patience, self._over, flight)

    def _over(self, flight: Flight) -> None:
        self._failed(flight, "late")
        flight.task.cancel()

    def _landed(self, flight: Flight) -> None:
        flight.timer.cancel()
        if flight in self._left:
            self._left.remove(flight)
        beside = self.flights[flight.person]
        beside.remove(flight)
        if not beside:
            del self.flights[flight.person]
        if flight.task.cancelled() and not flight.late:
            self.breaker.abandoned()

    def _judge(self, flight: Flight, report: Report) -> None:
        if report.state != "skipped":
            self.last, self.last_at = report, time.time()
        if report.heard:
            if self.breaker.succeeded():
                self._switched(self, False)
        elif flight.chosen and report.state in ("refused", "faulty"):
            self.breaker.abandoned()
        elif report.fault == "node" and report.state != "skipped":
            self._failed(flight, report.state)
        else:
            self.breaker.abandoned()

    def _failed(self, flight: Flight, state: State) -> None:
        """Once for each flight, however many wait for it."""
        given = time.monotonic() - flight.started
        if state == "late" and given < FAIR * min(self.settings.timeout_ms / 1000, FAIR_S):
            self.breaker.abandoned()
            return
        if flight.counted:
            return
        flight.counted = True
        if state == "late":
            self.last_at = time.time()
            self.last = self.silent(round(given * 1000), "late", "node", "no answer in time").report
        if self.breaker.failed(state):
            self._switched(self, True)
