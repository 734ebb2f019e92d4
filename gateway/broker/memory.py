"""What nodes said a moment ago: told again for ``cache_s``, to narrower questions too.

One answer stands for each node and person, the newest. It is told again to a question of no more kinds and of
no earlier time, under the same rules (the readings in it are theirs), and only while nothing was published
through the node since it was asked. Only whole answers are kept: one with a fault is asked for again, and so
is that of an archive which did not show in time what it lists. What was read on the way to it is kept with
it, so that whoever is told it again counts the same names.

Answers lie in this process. Where replicas share a Redis they lie there too, sealed as in the store, since
they are results of patients; a value that does not open is none.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import get_args

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from adapters import Answer, Question, in_reach
from adapters.shared import Shared
from catalog import Kind
from mapping import LocalName
from security.envelope import Envelope
from security.errors import TrustError

KINDS: tuple[Kind, ...] = get_args(Kind)
ROOM = 16_384
"""How many results this process keeps; an answer without any counts as one."""


class Told(Struct, frozen=True, kw_only=True):
    """A node's answer, and to what question: ``under`` which rules, ``asked`` and ``told`` when (seconds of
    the wall clock, as replicas share it), by ``place`` (the settings of the node). ``names`` were read."""

    answer: Answer
    place: str
    under: str
    kinds: tuple[Kind, ...]
    since: datetime
    asked: float
    told: float
    names: tuple[LocalName, ...] = ()


class Memory:
    """The answers of all nodes.

    Args:
        shared: where replicas keep theirs.
        envelope: what seals for that.
        answered_s: how long results are told again; 0: never.
        empty_s: the same for an answer without any.
        clock: the wall clock.
    """

    def __init__(
        self,
        shared: Shared,
        envelope: Callable[[], Envelope],
        answered_s: float,
        empty_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.shared = shared
        self._envelope = envelope
        self._seconds = {"answered": answered_s, "empty": empty_s}
        self.now = clock
        self._kept: OrderedDict[tuple[str, str], Told] = OrderedDict()
        self._results = 0

    def ttl(self, answer: Answer) -> float:
        """How long an answer is told again; 0 for what is not kept."""
        report = answer.report
        unseen = report.kind == "dicomweb" and any(
            result.images and result.images.held is None for result in answer.results
        )
        return 0 if report.fault or unseen else self._seconds.get(report.state, 0)

    @property
    def on(self) -> bool:
        """Whether anything is kept at all."""
        return any(self._seconds.values())

    @property
    def results(self) -> int:
        """How much is kept here, of :data:`ROOM`."""
        return self._results

    def fresh(self, told: Told) -> bool:
        """Whether it may be told again by its age."""
        return 0 <= self.now() - told.told < self.ttl(told.answer)

    def find(self, node: str, person: str) -> Told | None:
        """What this process has."""
        return self._kept.get((node, person))

    async def fetch(self, wanted: Mapping[str, Sequence[Kind]], person: str) -> None:
        """Keep here what other replicas have of these nodes, of such kinds or of all, in one look."""
        places = {
            self.key(node, person, asked): (node, asked)
            for node, kinds in wanted.items()
            for asked in (kinds, KINDS)
        }
        values = await self.shared.many([*places])
        for (node, asked), value in zip(places.values(), values, strict=True):
            if value is not None:
                self.opened(node, person, asked, value)

    def opened(self, node: str, person: str, kinds: Sequence[Kind], value: bytes) -> Told | None:
        """A shared value, kept here from now on; None where it does not open or is of another version."""
        try:
            data = self._envelope().open(value, self.key(node, person, kinds))
            told = msgspec.msgpack.decode(data, type=Told)
        except (TrustError, msgspec.MsgspecError):
            return None
        self.keep(node, person, told)
        return told

    def keep(self, node: str, person: str, told: Told) -> None:
        """Tell this again from now on, in this process; unless it has something newer."""
        held = self.find(node, person)
        if held and self.fresh(held) and held.asked > told.asked:
            return
        self._drop(node, person)
        self._kept[node, person] = told
        self._results += _size(told)
        while self._kept:
            if self._results <= ROOM and self.fresh(next(iter(self._kept.values()))):
                return
            self._drop(*next(iter(self._kept)))

    async def share(self, node: str, person: str, told: Told) -> None:
        """Let the other replicas tell it, too."""
        key = self.key(node, person, told.kinds)
        sealed = self._envelope().seal(msgspec.msgpack.encode(told), key)
        await self.shared.set(key, sealed, self.ttl(told.answer))

    @staticmethod
    def key(node: str, person: str, kinds: Sequence[Kind]) -> str:
        """Under which replicas share the answer to a question of these kinds, and the turn to ask it."""
        return f"answer|{node}|{person}|{'+'.join(sorted({*kinds}))}"

    async def forget(self, node: str, persons: Sequence[str]) -> None:
        """Something changed: ask again."""
        for person in persons:
            self._drop(node, person)
            for kinds in (KINDS, *((kind,) for kind in KINDS)) if self.shared.shared else ():
                await self.shared.delete(self.key(node, person, kinds))

    def answers(
        self, told: Told, question: Question, place: str, under: str, published: float
    ) -> Answer | None:
        """The answer to this question, as far as ``told`` has it; ``published``: when something last came
        through the node (0: never)."""
        age = self.now() - told.told
        fits = (told.place, told.under) == (place, under) and covers(
            told.kinds, told.since, question.kinds, question.since
        )
        if not fits or not self.fresh(told) or told.asked <= published:
            return None
        answer = narrowed(told.answer, question)
        report = replace(answer.report, took_ms=0, age_ms=max(1, round(age * 1000)))
        return replace(answer, report=report)

    def _drop(self, node: str, person: str) -> None:
        if told := self._kept.pop((node, person), None):
            self._results -= _size(told)


def covers(kinds: Sequence[Kind], since: datetime, wanted: Sequence[Kind], reach: datetime) -> bool:
    """Whether what was asked, of these kinds since then, holds what is wanted."""
    return set(wanted) <= set(kinds) and since <= reach


def narrowed(answer: Answer, question: Question) -> Answer:
    """Of an answer to a wider question what answers this one."""
    results = tuple(r for r in answer.results if r.kind in question.kinds and in_reach(r, question))
    if len(results) == len(answer.results):
        return answer
    kept = {result.id for result in results}
    found = bool(results or answer.report.detail)
    return replace(
        answer,
        report=replace(answer.report, results=len(results), state="answered" if found else "empty"),
        results=results,
        modalities=tuple(pair for pair in answer.modalities if pair[0] in kept),
    )


def _size(told: Told) -> int:
    return max(1, len(told.answer.results))
