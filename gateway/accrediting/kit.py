"""What the checks of one node share: how it is asked, by the adapter that a gateway asks it with, and what
it said so far."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from adapters import Answer, Line, Node, NodeFaulty, Question
from catalog import Catalogue
from gateway.accrediting.values import ExpectedIn, Patient, Patients, State
from gateway.settings import NodeSettings
from mapping.sites import Reads
from recognition import Result
from security.identity import Identifier, identifier

BUDGET = 20.0
"""Seconds for one question while what is looked at is not time."""
REACH = timedelta(days=3660)
_LONG, _COUNT = r"\d{15,}[0-9Xx]?", re.compile(r"\d{1,3}")
SHOWN = 8
"""How many places or names a finding lists."""


class NothingShown(Exception):
    """There are no results to look at, for a reason that has a finding of its own (``identity.own``)."""


class Seen(Struct, frozen=True):
    """What a check came to: the state of its finding, and particulars."""

    state: State
    seen: str = ""


class Kit:
    """One node under accreditation.

    Args:
        settings: as a gateway would ask it.
        node: the adapter.
        line: a line of its own, for what the adapter does not ask.
        patients: who is in it, and who is not.
        catalogue: what its names and units are held against.
        reads: what reads its names.
        now: the time of the accreditation (aware).
    """

    def __init__(
        self,
        settings: NodeSettings,
        node: Node,
        line: Line,
        patients: Patients,
        *,
        catalogue: Catalogue,
        reads: Reads,
        now: datetime,
    ) -> None:
        self.settings = settings
        self.node = node
        self.line = line
        self.patients = patients
        self.catalogue = catalogue
        self.reads = reads
        self.now = now
        self.software = ""
        self._answers: tuple[Answer, ...] | None = None
        said = [text for one in patients.known for text in (one.said.value, one.said.local, one.said.name)]
        numbers = [one.value for one in (*(each.person for each in patients.known), *patients.unknown)]
        theirs = [
            re.escape(text) for text in (*said, *numbers) if len(text) > 1 and not _COUNT.fullmatch(text)
        ]
        self._personal = re.compile("|".join([*sorted(theirs, key=len, reverse=True), _LONG]))

    def question(self, person: Identifier, budget: float = BUDGET) -> Question:
        """What a gateway asks, as far back as it ever does."""
        return Question(
            id="accreditation",
            person=person,
            kinds=tuple(self.settings.kinds),
            since=self.now - REACH,
            at=self.now,
            receiver=self.settings.institution,
            budget=budget,
        )

    async def answers(self) -> tuple[Answer, ...]:
        """Its answer for each patient, asked once.

        Raises:
            NodeFaulty: there is none for one of them, with the reason.
        """
        if self._answers is None:
            self._answers = tuple(
                [await self.node.prior(self.question(patient.person)) for patient in self.patients.known]
            )
        for number, answer in enumerate(self._answers, start=1):
            if answer.report.state not in ("answered", "empty"):
                raise NodeFaulty(f"patient {number}: {answer.report.state}: {answer.report.detail}")
        return self._answers

    async def shown(self) -> tuple[Answer, ...]:
        """The same answers, for checks of what is in them. Raises NothingShown."""
        try:
            return await self.answers()
        except NodeFaulty:
            raise NothingShown from None

    async def results(self) -> list[Result]:
        """Everything that it showed. Raises NothingShown."""
        return [result for answer in await self.shown() for result in answer.results]

    async def expected(self) -> list[tuple[ExpectedIn, Result | None]]:
        """What the owner expects, each with the result that it is. Raises NothingShown."""
        found: list[tuple[ExpectedIn, Result | None]] = []
        for patient, answer in zip(self.patients.known, await self.shown(), strict=True):
            wanted = [one for one in patient.said.results if one.kind in self.settings.kinds]
            found += [(one, _match(one, answer.results)) for one in wanted]
        return found

    def told(self, text: str) -> str:
        """The text for a report, of which a node may have written some: without the patients' names and
        numbers, anything else that looks like a number, and characters that a terminal or page obeys."""
        plain = "".join(character if character.isprintable() else " " for character in text)
        pieces = self._personal.sub("…", plain).split("; ")  # before it is cut: half a number is one too
        return "; ".join(piece[:80] for piece in pieces)[:1000]

    def strangers(self) -> list[Identifier]:
        """Numbers that it cannot know: those of the file, or one that is made up."""
        return [*self.patients.unknown] or [_stranger()]


async def each(kit: Kit, look: Callable[[Patient], Awaitable[str | None]], state: State = "fix") -> Seen:
    """Look at every patient: nothing to say is well, and None where there is nothing to look at."""
    wrong, looked = [], 0
    for number, patient in enumerate(kit.patients.known, start=1):
        said = await look(patient)
        looked += said is not None
        if said:
            wrong.append(f"patient {number}: {said}")
    return unless(wrong, looked, state)


def passed(seen: str = "") -> Seen:
    """Nothing to do."""
    return Seen("passed", seen)


def unless(wrong: Sequence[str], total: int, state: State = "fix") -> Seen:
    """Passed where nothing is wrong; else how much of how much, and the first places."""
    if not total:
        return Seen("not_made", "0")
    if not wrong:
        return passed(f"{total}/{total}")
    return Seen(state, f"{total - len(wrong)}/{total}: {listed(wrong)}")


def listed(places: Sequence[str]) -> str:
    """The first of them."""
    first = list(dict.fromkeys(places))[:SHOWN]
    return "; ".join(first) + (" …" if len(places) > len(first) else "")


def _match(wanted: ExpectedIn, results: Sequence[Result]) -> Result | None:
    """The result that is meant: by study UID, else by name, and by time where there are several."""
    found = [
        result
        for result in results
        if result.kind == wanted.kind
        and (
            result.study_uid == wanted.study_uid
            if wanted.study_uid
            else result.local_name.strip() == wanted.name.strip()
        )
    ]
    at_time = [result for result in found if wanted.performed and result.performed == wanted.performed]
    return next(iter(at_time or found), None)


def _stranger() -> Identifier:
    """A resident number, by its old form, of area 990000, which is not assigned: nobody has it."""
    old = f"9900009901{1 + secrets.randbelow(28):02d}{secrets.randbelow(1000):03d}"
    return identifier("resident-id", old)
