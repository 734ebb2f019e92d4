"""Counts what became of every check, item by item; the words for each count are in ``_statistics_words``.

The unit is an *item of a check*: the prior results that could serve for one planned item. On the issuers'
side it is divided once more, by the institution that issued the results. What stands for a result is the last
word on it by the time of the decision (accepted and then withdrawn is withdrawn); what stands for the unit is
an acceptance if any of its results stands accepted, else the last word. An outcome counts with its check,
however late it comes, so that numerator and denominator are about the same questions. Checks at the order, at
reception and about reports are never counted together: of one visit there are often several, about the same
results.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from msgspec import Struct

from catalog import Catalogue
from gateway._statistics_words import COUNTS
from gateway.model import Coded, Moment, OutcomeCode
from recognition import VerdictCode
from security.keys import SHANGHAI

By = Literal["region", "institution", "item", "day", "week", "month", "reason"]
Side = Literal["receiver", "issuer"]


class ResultShown(Struct, frozen=True):
    """Of a result in an answer, what is counted by."""

    id: str
    institution: Coded


class VerdictShown(Struct, frozen=True):
    """Of a verdict in an answer, what is counted."""

    verdict: VerdictCode
    result: ResultShown
    item: Coded | None
    serves: Coded | None
    also: tuple[str, ...] = ()


class AnswerShown(Struct, frozen=True):
    """Of an answer, what is counted."""

    id: str
    answered_at: datetime
    verdicts: tuple[VerdictShown, ...]
    moment: Moment = "order"


class CheckShown(Struct, frozen=True):
    """Of a kept check, what is counted; the rest of the document is not read."""

    institution: str
    answer: AnswerShown


class Told(Struct, frozen=True):
    """What was said of a result, and when; ``reason`` is ``system:code`` of one that was declined."""

    result: str
    outcome: OutcomeCode
    at: int
    reason: str = ""
    refusal: bool = False


class Tally:
    """The counts of rows, added up check by check.

    ``rows``: row → column → count; ``saved``: row → estimate in yuan; ``unpriced``: row → items without a
    price; ``sources``: where the prices were read.
    """

    def __init__(self, catalogue: Catalogue, by: By, side: Side, institution: str = "") -> None:
        self.rows: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.saved: defaultdict[str, Decimal] = defaultdict(Decimal)
        self.unpriced: defaultdict[str, set[str]] = defaultdict(set)
        self.sources: set[str] = set()
        self._catalogue = catalogue
        self._by = by
        self._side = side
        self._only = institution
        self._prices: dict[tuple[str, str], Decimal | None] = {}

    @property
    def part_of(self) -> dict[str, str]:
        """Column → the column that it is a part of; each reason that occurred is a part of its kind."""
        columns = {count.id: count.part_of for count in COUNTS}
        reasons = sorted({column for row in self.rows.values() for column in row} - columns.keys())
        return columns | {column: column.partition(":")[0] for column in reasons}

    def add(self, check: CheckShown, told: Iterable[Told]) -> None:
        """Count a check with what was told of its results."""
        of_result: defaultdict[str, list[Told]] = defaultdict(list)
        for one in told:
            of_result[one.result].append(one)
        units: defaultdict[tuple[str, str], list[VerdictShown]] = defaultdict(list)
        for verdict in check.answer.verdicts:
            if item := verdict.serves or verdict.item:
                issuer = verdict.result.institution.code
                units[item.code, issuer if self._side == "issuer" else ""].append(verdict)
        for (item_code, issuer), verdicts in units.items():
            institution = issuer if self._side == "issuer" else check.institution
            if self._only in ("", institution):
                self._unit(check, item_code, institution, verdicts, of_result)

    def _unit(
        self,
        check: CheckShown,
        item: str,
        institution: str,
        verdicts: Sequence[VerdictShown],
        told: Mapping[str, list[Told]],
    ) -> None:
        # what several nodes tell of the very same result is one: a word on one of them is a word on all
        results = {tuple(sorted((verdict.result.id, *verdict.also))) for verdict in verdicts}
        words = [_in_time(one for id_ in ids for one in told.get(id_, ())) for ids in results]
        stands = [stand for of_one in words if (stand := _last_word(of_one))]
        stand = max(stands, key=lambda one: (one.outcome == "accepted", one.at), default=None)
        outcome = stand.outcome if stand else None
        said = Counter(one.outcome for of_one in words for one in of_one)
        counts = Counter(on_record=1, viewed=said["viewed"], cited=said["cited"])
        reason = ""
        if any(verdict.verdict == "recognised" for verdict in verdicts):
            column: str = outcome or "without_feedback"
            if stand and outcome == "declined":
                column, reason = ("declined" if stand.refusal else "set_apart"), stand.reason
                counts[f"{column}:{reason}"] = 1
            counts["reminders"] = counts[column] = 1
        else:
            counts["accepted_otherwise" if outcome == "accepted" else "not_reminded"] = 1
        if self._by == "reason" and not reason:
            return
        row = self._row(check.answer.answered_at, item, institution, reason)
        self.rows[row].update(counts)
        if outcome == "accepted":
            self._save(row, item, check.institution)

    def _row(self, answered_at: datetime, item: str, institution: str, reason: str) -> str:
        if self._by == "institution":
            return institution
        if self._by == "region":
            held = self._catalogue.institutions.get(institution)
            return held.region if held else ""
        if self._by == "item":
            return item
        return reason if self._by == "reason" else _PERIODS[self._by](answered_at.astimezone(SHANGHAI).date())

    def _save(self, row: str, code: str, receiver: str) -> None:
        """Price an examination that was not repeated, where it would have been made."""
        if (code, receiver) not in self._prices:
            item, place = self._catalogue.items.get(code), self._catalogue.institutions.get(receiver)
            price = self._catalogue.price(item, place.region) if item and place else None
            self._prices[code, receiver] = price.amount if price else None
            if price:
                self.sources.add(price.source)
        amount = self._prices[code, receiver]
        if amount is None:
            self.unpriced[row].add(code)
        else:
            self.saved[row] += amount


_PERIODS: dict[str, Callable[[date], str]] = {
    "day": date.isoformat,
    "week": lambda day: f"{day:%G-W%V}",  # ISO 8601
    "month": lambda day: f"{day:%Y-%m}",
}


def _in_time(told: Iterable[Told]) -> list[Told]:
    return sorted(told, key=lambda one: one.at)


def _last_word(told: Iterable[Told]) -> Told | None:
    """What stands for a result: the last decision on it; to view or cite it decides nothing."""
    decisions = [one for one in told if one.outcome in ("accepted", "declined", "withdrawn")]
    return decisions[-1] if decisions else None
