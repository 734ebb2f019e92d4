"""One round of the broker: a question on its way around the nodes, what its parts have in common, and what it
brings back."""

from __future__ import annotations

import time
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from adapters import Answer, Node, Question, Report, elapsed_ms
from gateway.broker.lane import Flight, Lane
from gateway.broker.memory import narrowed
from gateway.pointers import Known
from gateway.rules import Rules, reading
from mapping import LocalName, Named
from mapping.sites import Reads
from recognition import Result


class Round(Struct):
    """A question with when it began (``time.monotonic()``), what is known to be held for its person, and the
    rules that names are read by, where it asks for results."""

    question: Question
    began: float
    known: Known
    rules: Rules | None = None
    under: str = ""

    def asked(self, lane: Lane, owners: Sequence[str] = ()) -> Question:
        """The question as a node is asked it; a gateway hears of all ``owners`` who are asked it too."""
        kinds = tuple(kind for kind in self.question.kinds if kind in lane.settings.kinds)
        if lane.node.kind != "gateway":
            return self.question if kinds == self.question.kinds else replace(self.question, kinds=kinds)
        return replace(self.question, kinds=kinds, asked=tuple(sorted({*self.question.asked, *owners})))

    def skipped(self, lane: Lane, asked: Question) -> Answer | None:
        """That a node is not asked where nothing is left out by that."""
        detail, settings = "", lane.settings
        if not asked.kinds:
            detail = f"not asked: it is asked for {' and '.join(settings.kinds)} alone"
        elif settings.publishes and self.known.announced_nothing(settings.id, asked):
            detail = "not asked: it announced nothing for this person"
        elif lane.node.kind == "gateway" and settings.owner in self.question.asked:
            detail = "not asked: this question is on its way to it already"
        return lane.silent(0, "skipped", "", detail) if detail else None

    def published(self, lane: Lane) -> float:
        """When something last came through a node for the person, as far as is known; 0: never."""
        node = lane.node.id
        noted = [p.noted.timestamp() for p in self.known.pointers if p.published and p.node == node]
        return max(noted, default=0.0)

    async def prior(self, node: Node, flight: Flight) -> Answer:
        """Ask a node for prior results; the names that it reads are noted in the flight."""
        if self.rules is None:
            raise TypeError("prior results are read by rules")
        noting = _Noting(self.rules.normaliser, flight.names)
        with reading(replace(self.rules, normaliser=noting)):
            return await node.prior(flight.question)

    def read_again(self, names: Sequence[LocalName]) -> None:
        """Who is told an answer that was made for somebody else has read its names, too: they count for the
        review queue, and for what rests on a confirmed one."""
        if self.rules:
            for local in names:
                self.rules.normaliser.read(local)

    def with_known(self, answer: Answer) -> Answer:
        """Of a node that was not heard is said what it is known to hold."""
        report = answer.report
        if report.complete:
            return answer
        if not (told := self.known.told(report.node, self.question)):
            return answer
        detail = f"{report.detail}; it {told}" if report.detail else f"it {told}"
        return replace(answer, report=replace(report, detail=detail))


class Wait(Struct):
    """That a round waits for a flight, until when, and whether another one had set that on its way."""

    lane: Lane
    asked: Question
    flight: Flight
    ends: float
    joined: bool = False

    @property
    def open(self) -> bool:
        """Whether there is something left to wait for."""
        return not self.flight.task.done() and self.ends > time.monotonic()

    def landed(self, around: Round) -> Answer:
        """What the flight brought to this round, or that it is not back."""
        lane, flight, took_ms = self.lane, self.flight, elapsed_ms(around.began)
        if (answer := flight.answer) is None:
            if flight.flying:
                return lane.silent(took_ms, "late", "node", "no answer before the deadline")
            busy = f"no turn before the deadline: {lane.settings.connections} requests to it were under way"
            return lane.silent(took_ms, "late", "gateway", busy)
        if self.joined or flight.borrowed:
            around.read_again(tuple(flight.names))
        if self.joined:
            answer = replace(answer, report=replace(answer.report, took_ms=took_ms))
        return narrowed(answer, self.asked) if flight.person else answer


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
        """Whether nothing was left out: every node was heard, or skipped for a reason that is no fault."""
        return all(report.complete for report in self.reports)


class _Noting:
    """Reads names as ``reads`` does, and notes them."""

    def __init__(self, reads: Reads, names: dict[LocalName, None]) -> None:
        self._reads = reads
        self._names = names

    def read(self, local: LocalName) -> Named:
        self._names[local] = None
        return self._reads.read(local)

    def panel(self, name: str) -> str | None:
        return self._reads.panel(name)
