"""The pointer index: which nodes hold something of a group for a person, and from when to when.

A pointer is a hint and never an answer. A node without one is asked anyway; only a node that said it
announces everything it holds (``publishes``) is left out where it announced nothing. So a pointer too many
costs a question, and one too few only matters for such a node, whose pointers are its own word.

Pointers come from publications (:mod:`gateway.publications`) and from what was seen in answers. What was seen
is written beside the questions, together and a moment later; where the store is away for long, the oldest of
it is forgotten, because the next question sees it again. They lie under pseudonyms and go with everything
else that is kept of a person (:meth:`gateway.audit.retention.Retention.person`). A node that gets another id
takes its pointers along (:meth:`adapters.store.Store.repoint`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec import Struct

from adapters import Answer, Question, StoreError
from adapters.store import Pointer, Store, widened
from gateway.tasks import stop
from recognition import SHANGHAI, Result

EVERY = 1.0
"""Seconds between two writes of what was seen."""
WAITING = 4096
"""How many pointers wait to be written, at most."""

_WORDS = {"lab": "laboratory results", "imaging": "imaging"}


class Known(Struct, frozen=True):
    """What is known of one person; ``whole`` where the index could be read."""

    pointers: tuple[Pointer, ...] = ()
    whole: bool = False

    def announced_nothing(self, node: str, question: Question) -> bool:
        """Whether a node that announces everything has nothing of what is asked for."""
        return self.whole and not self._of(node, question)

    def told(self, node: str, question: Question) -> str:
        """What a node that cannot be heard is known to hold of what is asked for, in words; else empty."""
        found = self._of(node, question)
        if not found:
            return ""
        latest = max(pointer.last for pointer in found).astimezone(SHANGHAI)
        groups = sorted({_words(pointer.group) for pointer in found})
        return f"is known to hold {', '.join(groups)} of {latest:%Y-%m}"

    def _of(self, node: str, question: Question) -> list[Pointer]:
        return [
            pointer
            for pointer in self.pointers
            if pointer.node == node
            and pointer.group.partition(":")[0] in question.kinds
            and pointer.last >= question.since
        ]


class Pointers:
    """The index of a gateway, in its store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[tuple[str, str, str], Pointer] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self, every: float = EVERY) -> None:
        """Begin to write what was seen."""
        self._task = asyncio.create_task(self._run(every))

    async def aclose(self) -> None:
        """Write what waits, as far as the store takes it, and stop."""
        await stop(self._task)
        await self.flush()

    async def of(self, pseudonyms: Sequence[str]) -> Known:
        """What is known to be held for a person, and where; nothing while the store is away."""
        try:
            return Known(tuple(await self._store.pointers(pseudonyms)), whole=True)
        except StoreError:
            return Known()

    def seen(self, question: Question, answer: Answer, known: Known) -> None:
        """Remember what a node showed, where it is more than what was ``known``; never waits."""
        if not question.pseudonyms:
            return
        held = {(pointer.node, pointer.group): pointer for pointer in known.pointers}
        person, node = question.pseudonyms[0], answer.report.node
        for pointer in pointers_of(person, node, answer.results, question.at, dict(answer.modalities)):
            had = held.get((node, pointer.group))
            if had is None or pointer.first < had.first or pointer.last > had.last:
                self._note(pointer)

    async def flush(self) -> None:
        """Write what waits; while the store is away it goes on waiting."""
        waiting, self._waiting = self._waiting, {}
        if not waiting:
            return
        try:
            await self._store.hold((), tuple(waiting.values()))
        except StoreError:
            for pointer in waiting.values():
                self._note(pointer)

    def _note(self, pointer: Pointer) -> None:
        place = pointer.person, pointer.node, pointer.group
        had = self._waiting.pop(place, None)
        (self._waiting[place],) = widened([had, pointer] if had else [pointer])
        if len(self._waiting) > WAITING:
            del self._waiting[next(iter(self._waiting))]

    async def _run(self, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            await self.flush()


def pointers_of(
    person: str,
    node: str,
    results: Iterable[Result],
    noted: datetime,
    modalities: dict[str, str] | None = None,
    *,
    published: bool = False,
) -> list[Pointer]:
    """The pointers to these results, one a group; a result without a time has none.

    ``modalities`` are those that an archive states, by result; else the concept's own counts. A pointer
    reaches to the later of the two times of its results, by which questions are bounded too.
    """
    found = []
    for result in results:
        if times := [moment for moment in (result.performed, result.reported) if moment]:
            pointer = Pointer(
                person=person,
                node=node,
                group=_group(result, modalities or {}),
                first=min(times),
                last=max(times),
                noted=noted,
                published=published,
            )
            found.append(pointer)
    return widened(found)


def _group(result: Result, modalities: dict[str, str]) -> str:
    if result.kind == "lab":
        return "lab"
    modality = modalities.get(result.id) or (result.reading.concept or "").split("|")[0]
    return f"imaging:{modality}" if modality else "imaging"


def _words(group: str) -> str:
    kind, _, modality = group.partition(":")
    return f"{_WORDS[kind]} ({modality})" if modality else _WORDS[kind]
