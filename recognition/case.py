"""What the steps look at: the question, and one result seen against one planned item.

What is the same for all results of a check (lists, windows, facts of the encounter, words of a rule) is
worked out once, in :class:`Question` and :class:`recognition.wanted.Aim`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime

from msgspec import Struct

from catalog import Catalogue, Item, Qualification, StandIn
from catalog.conditions import Value
from recognition.compare import comparable, convert
from recognition.model import Check, Converted, Reason, Result
from recognition.versions import STANDING, Version, versions
from recognition.wanted import Aim, planned_codes, under
from recognition.window import Limit, day_of, limit


class Question(Struct, frozen=True, kw_only=True):
    """A check under one catalogue, and what is the same for all its results.

    ``region`` is the receiver's, ``facts`` are those of the encounter. ``answers`` (of conditions that ask
    for nothing else) and ``worded`` (reasons in full) are filled as they are first needed.
    """

    check: Check
    catalogue: Catalogue
    region: str
    facts: dict[str, Value]
    answers: dict[str, bool]
    worded: dict[tuple[str, str, str], Reason]

    def holds_receiver(self, scope: str) -> bool:
        """Whether this area holds the asking institution."""
        return self.catalogue.contains(scope, self.region)


class Case(Struct, frozen=True, kw_only=True):
    """One result seen against the planned item it is nearest to.

    ``aim`` is None where the result's name could not be put onto the catalogue, ``place`` where it stands in
    the plan. ``day`` is the day of the
    examination where the hospital is. ``holding`` are those of the institution's qualification ``records``
    for the item that held on it, ``reaching`` those of them whose area holds the receiver. ``limits`` are the
    windows that apply, the list's first. ``sites`` is the number of body parts that this institution imaged
    on that day.
    """

    question: Question
    result: Result
    aim: Aim | None
    place: int
    item: Item | None
    exact: bool
    stand_in: StandIn | None
    version: Version
    day: date | None
    records: tuple[Qualification, ...]
    holding: list[Qualification]
    reaching: list[Qualification]
    limits: tuple[Limit, ...]
    sites: int
    comparable: bool
    converted: Converted | None

    @property
    def serves(self) -> str | None:
        """The planned item that the result is, or may stand in for; None for one that is only akin."""
        return self.aim.item.code if self.aim and (self.exact or self.stand_in) else None

    @property
    def expires(self) -> datetime | None:
        """The last instant at which this result is recognisable, by the windows alone.

        None without a window, and where a time is missing or in the future.
        """
        ends: list[datetime] = []
        for each in self.limits:
            if each.base is None or each.until is None or each.base > self.question.check.at:
                return None
            ends.append(each.until)
        return min(ends, default=None)


def cases(question: Question, results: Sequence[Result]) -> Iterator[Case]:
    """Every result that matters, against every planned item that it matters to.

    A result matters when its item is planned, is part of a planned sum, may stand in for either, or is the
    same analyte or body part in another form; and when its name could not be read: what a person would
    otherwise miss is shown with the reason why it does not count.

    Raises:
        UnknownEntry: a planned item is not in the catalogue.
    """
    catalogue = question.catalogue
    known = under(catalogue)
    check = question.check
    codes = tuple(code for entry in check.planned for code in planned_codes(entry, catalogue))
    wanted = known.wanted(codes, check.context.setting, check.receiver, question.region)
    sites = _sites(results)
    for result, version in zip(results, versions(results), strict=True):
        item = catalogue.items.get(result.reading.item or "")
        if item is not None and item.kind != result.kind:
            item = None  # images are no value: such a reading is as good as none
        aims = wanted.by(result, item)
        if not aims:
            continue
        if result.identity != "strong":
            del aims[1:]  # that there is one is all that will be said
        day = day_of(result)
        records: tuple[Qualification, ...] = ()
        alike, converted = True, None
        if item is not None:
            records = known.records(result.institution, item.code)
            alike = comparable(result, item)
            converted = None if alike else convert(result, item, catalogue.conversions_of(item))
        holding = [record for record in records if record.holds(day)] if day else []
        reaching = [record for record in holding if question.holds_receiver(record.scope)]
        for aim in aims:
            exact = aim is not None and item is not None and aim.item.code == item.code
            yield Case(
                question=question,
                result=result,
                aim=aim,
                place=wanted.place(aim),
                item=item,
                exact=exact,
                stand_in=catalogue.stand_in(aim.item.code, item.code) if aim and item and not exact else None,
                version=version,
                day=day,
                records=records,
                holding=holding,
                reaching=reaching,
                limits=_limits(aim, result, version) if aim else (),
                sites=sites[result.institution, day],
                comparable=alike,
                converted=converted,
            )


def _limits(aim: Aim, result: Result, version: Version) -> tuple[Limit, ...]:
    """None without a window of the list: an institution's own addition can only tighten that one."""
    if aim.window is None:
        return ()
    windows = (aim.window, aim.own) if aim.own else (aim.window,)
    return tuple(limit(window, result.performed, version.first_reported) for window in windows)


def _sites(results: Iterable[Result]) -> dict[tuple[str, date | None], int]:
    """How many body parts an institution holds images of, by day: of this person, from reports that stand."""
    parts: dict[tuple[str, date | None], set[str]] = defaultdict(set)
    for result in results:
        if result.kind == "imaging" and result.identity == "strong" and result.status in STANDING:
            slots = (result.reading.concept or "").split("|")
            if len(slots) > 1 and result.images and result.images.held:
                parts[result.institution, day_of(result)].add(slots[1])
    return defaultdict(int, {key: len(found) for key, found in parts.items()})
