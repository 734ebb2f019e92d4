"""Scatter one question over all nodes, gather what comes back by the deadline, and leave no node unnamed.

What happens with each node, in this order; the first that applies ends it:

1. kinds      a node that is not asked for any of these kinds is ``skipped``
2. pointers   so is one that announces everything it holds and announced nothing here
3. memory     what it said a moment ago is told again                              (:mod:`.memory`)
4. joining    an equal question on its way is waited for
5. breaker    a node that failed again and again is ``skipped``, with the fault    (:mod:`.breaker`)
6. borrowing  what another replica is asking for is waited for                     (:mod:`.replicas`)
7. a turn     so many requests to a node at one time, so many waiting              (:mod:`.turns`)
8. asking     once, or once more where it is slow and set to be                    (:mod:`.lane`)

Another gateway's answer is signed for one question, so 3, 4 and 6 are not for gateways.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime
from functools import partial

from msgspec.structs import replace

from adapters import Answer, FhirNode, Node, Question, Report, join_images
from gateway.broker.lane import Call, Flight, Lane, LaneState
from gateway.broker.memory import Memory, Told, covers
from gateway.broker.replicas import Replicas
from gateway.broker.round import Gathered, Round, Wait
from gateway.broker.watching import Watching
from gateway.nodes import Placed
from gateway.pointers import Known, Pointers
from gateway.rules import Rules

JOINED = 0.75
"""What a flight must have left of the time that a question has, to be joined by it."""


class Broker:
    """Asks the nodes.

    Args:
        nodes: the nodes of now.
        owner: the owner id of this gateway, so that none that a question comes to asks it back.
        pointers: what is known to be held where.
        memory: what was said a moment ago.
        watching: told of each report, and of what else happens to nodes.
    """

    def __init__(
        self,
        nodes: Callable[[], Sequence[Placed]],
        *,
        owner: str,
        pointers: Pointers,
        memory: Memory,
        watching: Watching,
    ) -> None:
        self._nodes = nodes
        self._owner = owner
        self._pointers = pointers
        self._memory = memory
        self._shared = memory.shared
        self._watching = watching
        self._placed: Sequence[Placed] = ()
        self._known_lanes: dict[str, Lane] = {}
        self._flying: set[asyncio.Task[Answer]] = set()
        self._replicas = Replicas(memory, self._lanes)

    def start(self) -> None:
        """Begin to look which nodes other replicas leave alone."""
        self._replicas.start()

    async def aclose(self) -> None:
        """Give up what is under way."""
        flying = list(self._flying)
        for task in flying:
            task.cancel()
        await asyncio.gather(*flying, return_exceptions=True)
        await self._replicas.aclose()

    async def gather(self, question: Question, rules: Rules) -> Gathered:
        """Ask every node at once, its names to be read by these rules; back within ``question.budget``.

        A node that is not back by then, or by its own time, is ``late``; what it says afterwards is kept for
        the next question. Other gateways are asked only while the question has hops left.
        """
        around = Round(question, time.monotonic(), await self._known(question), rules, rules.reads_by)
        lanes = [lane for lane in self._lanes() if lane.node.kind != "gateway" or question.hops > 0]
        gateways = [lane.settings.owner for lane in lanes if lane.node.kind == "gateway"]
        told = await self._told(lanes, around)
        async with self.answering(question.id, question.budget) if gateways else nullcontext():
            said: list[Answer | Wait] = []
            for lane in lanes:
                asked = around.asked(lane, (*gateways, self._owner))
                said.append(
                    around.skipped(lane, asked)
                    or self._again(lane, told.get(lane.node.id), asked, around)
                    or self._set_out(lane, asked, around)
                )
            answers = await self._all(said, around)
        institutions = {lane.node.id: lane.node.institution for lane in lanes}
        near = [answer for answer in answers if answer.report.kind != "gateway"]
        far = [answer for answer in answers if answer.report.kind == "gateway"]
        return Gathered(
            answers,
            join_images(near, institutions),
            tuple((answer.gateway, result) for answer in far for result in answer.results),
        )

    async def ask(
        self,
        question: Question,
        call: Callable[[Node, Question], Awaitable[Answer]],
        nodes: Collection[str] | None = None,
    ) -> tuple[Answer, ...]:
        """Put something else to every node, or to ``nodes`` alone: one answer for each, in their order.

        Kinds, pointers, breakers, turns and deadline are those of :meth:`gather`; nothing is told again,
        joined or waited for beyond the deadline, and what a node refuses or answers wrongly does not count
        against it, because callers choose what is asked. ``call`` gets the question as that node is asked it,
        and may answer ``skipped`` for a node itself.
        """
        around = Round(question, time.monotonic(), await self._known(question))
        lanes = [lane for lane in self._lanes() if nodes is None or lane.node.id in nodes]
        gateways = [lane.settings.owner for lane in lanes if lane.node.kind == "gateway"]
        going = question.hops > 0 and gateways
        async with self.answering(question.id, question.budget) if going else nullcontext():
            said: list[Answer | Wait] = []
            for lane in lanes:
                asked = around.asked(lane, (*gateways, self._owner))
                said.append(
                    around.skipped(lane, asked)
                    or self._launched(lane, asked, around, lambda node, flight: call(node, flight.question))
                )
            return await self._all(said, around)

    def skip(self, detail: str) -> tuple[Report, ...]:
        """The report of every node where none is asked on behalf of this caller; ``detail`` says why."""
        reports = tuple(lane.silent(0, "skipped", "caller", detail).report for lane in self._lanes())
        for report in reports:
            self._watching.report(report)
        return reports

    async def forget(self, node: str, persons: Sequence[str]) -> None:
        """Something came through a node for these pseudonyms: what was said before is not told again, nor who
        they are there."""
        if lane := self._known_lanes.get(node):
            for known in (lane, self._known_lanes.get(lane.settings.identity)):
                if known and isinstance(known.node, FhirNode):
                    known.node.forget(persons)
            for person in persons:
                for flight in lane.flights.get(person, ()):
                    flight.forgotten = True
        await self._memory.forget(node, persons)

    def answering(self, question_id: str, seconds: float) -> AbstractAsyncContextManager[bool]:
        """While a question is answered here: whether no other task does so, nor another replica. One that
        comes back on its way through other gateways is not asked again."""
        return self._replicas.answering(question_id, seconds)

    def states(self) -> tuple[LaneState, ...]:
        """How it stands between this process and each node."""
        return tuple(lane.state for lane in self._lanes())

    def _lanes(self) -> list[Lane]:
        """One lane a node; another one, without a history, where something of the node was changed."""
        placed = self._nodes()
        if placed is not self._placed:
            before, self._placed = self._known_lanes, placed
            self._known_lanes, settings = {}, {one.node.id: one.settings for one in placed}
            for one in placed:
                lane = before.pop(one.node.id, None)
                if lane is None or lane.placed is not one:
                    lane = Lane(one, settings.get(one.settings.identity), self._switched)
                    self._watching.lane(lane)
                self._known_lanes[one.node.id] = lane
            for gone in before:
                self._watching.gone(gone)
        return [*self._known_lanes.values()]

    async def _known(self, question: Question) -> Known:
        """What is known to be held; nothing where that takes too much of the time, or says nothing of any
        node: not of what lies in the own store, nor of another gateway."""
        told = any(_kept(lane) or lane.settings.publishes for lane in self._lanes())
        if not (told and question.pseudonyms):
            return Known()
        try:
            async with asyncio.timeout(question.budget / 4):
                return await self._pointers.of(question.pseudonyms)
        except TimeoutError:
            return Known()

    async def _told(self, lanes: Sequence[Lane], around: Round) -> dict[str, Told]:
        """What the nodes said of the person a moment ago, here or to another replica."""
        memory, question = self._memory, around.question
        if not (memory.on and question.pseudonyms):
            return {}
        person = question.pseudonyms[0]
        asked = {lane.node.id: kinds for lane in lanes if _kept(lane) and (kinds := around.asked(lane).kinds)}
        if self._shared.shared:
            found = {node: memory.find(node, person) for node in asked}
            missing = {node: asked[node] for node, told in found.items() if not (told and memory.fresh(told))}
            if missing:
                await self._replicas.soon(memory.fetch(missing, person), question.budget, None)
        return {node: told for node in asked if (told := memory.find(node, person))}

    def _again(self, lane: Lane, told: Told | None, asked: Question, around: Round) -> Answer | None:
        """What the node said a moment ago, where that answers the question."""
        if told is None:
            return None
        answer = self._memory.answers(told, asked, lane.place, around.under, around.published(lane))
        if answer:
            around.read_again(told.names)
            self._watching.reused(lane, "told")
        return answer

    def _set_out(self, lane: Lane, asked: Question, around: Round) -> Answer | Wait:
        """A flight that brings the answer: one on its way already, or a new one."""
        person = asked.pseudonyms[0] if asked.pseudonyms and _kept(lane) else ""
        if person:
            now = time.monotonic()
            ends = around.began + min(asked.budget, lane.settings.timeout_ms / 1000)
            for flight in lane.flights.get(person, ()):
                held = flight.question
                if (
                    flight.under == around.under
                    and covers(held.kinds, held.since, asked.kinds, asked.since)
                    and flight.over - now >= JOINED * (ends - now)
                    and not (held.background and not asked.background)
                    and not flight.forgotten
                    and flight.asked > around.published(lane)
                ):
                    lane.join(flight)
                    self._watching.reused(lane, "joined")
                    return Wait(lane, asked, flight, ends, joined=True)
        return self._launched(lane, asked, around, around.prior, person)

    def _launched(
        self, lane: Lane, asked: Question, around: Round, call: Call, person: str = ""
    ) -> Answer | Wait:
        """A new flight, if the breaker admits it; one for a ``person`` may be told to others."""
        breaker, settings = lane.breaker, lane.settings
        if not breaker.admits():
            when = f"in {breaker.rests_s:.1f} s" if breaker.rests_s else "now by another question"
            why = f"it failed {breaker.failures} times in a row ({breaker.reason})"
            detail = f"left alone: {why if breaker.failures else breaker.reason}; tried again {when}"
            return lane.silent(0, "skipped", "node", detail)
        left = asked.budget - (time.monotonic() - around.began)
        limit = max(0.001, min(left, settings.timeout_ms / 1000))
        patience = settings.late_ms / 1000 if person and self._memory.on else 0.0
        since = _day(asked.since) if person else asked.since
        asking = replace(asked, since=since, budget=limit, patience=patience)
        flight = Flight(asking, self._memory.now(), person, around.under, chosen=around.rules is None)
        if person and self._memory.on and self._shared.shared:
            flight.borrow = partial(self._replicas.borrowed, lane, around.published(lane))
        lane.start(flight, call)
        self._flying.add(flight.task)
        flight.task.add_done_callback(lambda _: self._back(lane, flight, around.known))
        return Wait(lane, asked, flight, time.monotonic() + limit)

    async def _all(self, said: Sequence[Answer | Wait], around: Round) -> tuple[Answer, ...]:
        """Every node's answer: at once where each is back, else when the last one's time is over."""
        waits = [one for one in said if isinstance(one, Wait)]
        given_up = True
        try:
            while pending := [wait for wait in waits if wait.open]:
                soonest = min(wait.ends for wait in pending) - time.monotonic()
                await asyncio.wait([wait.flight.task for wait in pending], timeout=max(0.0, soonest))
            given_up = False
        finally:
            for wait in waits:
                wait.lane.leave(wait.flight, given_up=given_up)
        answers = []
        for one in said:
            answer = one if isinstance(one, Answer) else one.landed(around)
            self._watching.report(answer.report)  # before it is said what is known of the person
            answers.append(around.with_known(answer))
        return tuple(answers)

    def _back(self, lane: Lane, flight: Flight, known: Known) -> None:
        """A flight ended: what it brought is kept for the next question."""
        self._flying.discard(flight.task)
        answer = flight.answer
        self._watching.back(lane, flight, answer)
        if not flight.person:
            return
        told = None
        if answer and answer.report.heard and not flight.borrowed:
            self._pointers.seen(flight.question, answer, known)
            if self._memory.ttl(answer) and not flight.forgotten:
                told = Told(
                    answer=answer,
                    place=lane.place,
                    under=flight.under,
                    kinds=flight.question.kinds,
                    since=flight.question.since,
                    asked=flight.asked,
                    told=self._memory.now(),
                    names=tuple(flight.names),
                )
                self._memory.keep(lane.node.id, flight.person, told)
        self._replicas.tell(lane, flight, told)

    def _switched(self, lane: Lane, opened: bool) -> None:
        """A breaker opened or closed here: the log and the other replicas hear of it."""
        self._watching.switched(lane, opened)
        self._replicas.switched(lane, opened)


def _day(moment: datetime) -> datetime:
    """The beginning of a day. Every question is asked from a moment of its own on; so that one answer stands
    for those of a day, whichever began first and by whose clock, a node is asked from there on."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _kept(lane: Lane) -> bool:
    """Whether what a node says is told to others: what another gateway signed for one question is not, and
    what lies in the own store need not be."""
    return lane.node.kind in ("fhir", "dicomweb")
