"""Why a check was decided as it was: every step of every result, and how the recognised ones were ranked.

The trace is taken by the same step functions and the same ranking as the decision; what a step looked at is
read from the case that it was given. There is no second logic that could tell another story. Plain values,
for JSON; words for people are those of the rules. Of a result that was not matched to the person by a strong
identifier nothing is explained but that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise

from msgspec import Struct

from catalog import Catalogue
from recognition.best import Judged, difference, recognised
from recognition.case import Case
from recognition.context import holds, values
from recognition.decide import decision_of, judge_all, reason
from recognition.model import Check, Decision, Reason, Result, VerdictCode
from recognition.steps import STEPS, ranges

Looked = dict[str, bool | int | str | None]


class Asked(Struct, frozen=True):
    """A condition that applied: the rule, its text, the facts it asked for, and whether it held."""

    rule: str
    when: str
    facts: dict[str, bool | int | str]
    holds: bool


class Counted(Struct, frozen=True, kw_only=True):
    """A window that was used: which row, from when it counted and until when; ``own`` is the receiver's."""

    list: str
    target: str
    setting: str
    days: int
    view_days: int
    clock: str
    base: str
    boundary: str
    own: bool
    is_default: bool
    source: str
    counted_from: datetime | None
    until: datetime | None
    viewable_until: datetime | None


class StepTrace(Struct, frozen=True, kw_only=True):
    """One step on one result: what it looked at, and the rules it found; ``passed`` without a fault."""

    number: int
    zh: str
    en: str
    passed: bool
    reasons: tuple[Reason, ...]
    notes: tuple[Reason, ...]
    looked: Looked
    asked: tuple[Asked, ...] = ()
    windows: tuple[Counted, ...] = ()


class Trace(Struct, frozen=True, kw_only=True):
    """One result against one planned item (``aim``; None where its name could not be read)."""

    result: str
    node: str
    aim: str | None
    item: str | None
    verdict: VerdictCode
    steps: tuple[StepTrace, ...]


class Standing(Struct, frozen=True):
    """A recognised result in the ranking for an item, and why it stands before the next one."""

    result: str
    node: str
    zh: str
    en: str


class Ranking(Struct, frozen=True):
    """The recognised results for one item, the one to show first in front."""

    item: str
    standings: tuple[Standing, ...]


class Explanation(Struct, frozen=True, kw_only=True):
    """A decision with its traces (in the order of its verdicts), its rankings, and what plays no part in it.

    ``unrelated`` are the ids of results that are nothing planned, serve for nothing planned and are akin to
    nothing planned; they have no verdict.
    """

    check: Check
    decision: Decision
    traces: tuple[Trace, ...]
    rankings: tuple[Ranking, ...]
    unrelated: tuple[str, ...]


def explain(check: Check, results: Sequence[Result], catalogue: Catalogue) -> Explanation:
    """Decide, and say how; the decision is the one that :func:`recognition.decide` gives.

    Raises:
        UnknownEntry: the receiver or a planned item is not in the catalogue.
    """
    ranked = judge_all(check, results, catalogue)
    shown = {(judged.case.result.node, judged.case.result.id) for judged in ranked}
    return Explanation(
        check=check,
        decision=decision_of(check, catalogue, ranked),
        traces=tuple(_trace(judged) for judged in ranked),
        rankings=tuple(_rankings(ranked)),
        unrelated=tuple(sorted(r.id for r in results if (r.node, r.id) not in shown)),
    )


def _trace(judged: Judged) -> Trace:
    case, verdict = judged.case, judged.verdict
    weak = case.result.identity != "strong"
    return Trace(
        result=case.result.id,
        node=case.result.node,
        aim=case.aim.item.code if case.aim and not weak else None,
        item=verdict.item,
        verdict=verdict.verdict,
        steps=tuple(_step(case, number) for number in range(1, 2 if weak else len(STEPS) + 1)),
    )


def _step(case: Case, number: int) -> StepTrace:
    zh, en, step = STEPS[number - 1]
    rules = case.question.catalogue.rules
    found = [reason(case.question, number, finding) for finding in step(case)]
    notes = tuple(one for one in found if rules[one.rule].effect == "note")
    reasons = tuple(one for one in found if rules[one.rule].effect != "note")
    return StepTrace(
        number=number,
        zh=zh,
        en=en,
        passed=not reasons,
        reasons=reasons,
        notes=notes,
        looked=_LOOKED[en](case) if en in _LOOKED else {},
        asked=_asked(case, number),
        windows=_counted(case) if en == "window" else (),
    )


def _asked(case: Case, number: int) -> tuple[Asked, ...]:
    conditions = case.aim.conditions.get(number, ()) if case.aim else ()
    return tuple(
        Asked(rule.id, condition.text, values(case, sorted(condition.facts)), holds(case, rule, condition))
        for rule, condition in conditions
    )


def _counted(case: Case) -> tuple[Counted, ...]:
    return tuple(
        Counted(
            list=limit.window.list,
            target=limit.window.target,
            setting=limit.window.setting,
            days=limit.window.days,
            view_days=limit.window.view_days,
            clock=limit.window.clock,
            base=limit.window.base,
            boundary=limit.window.boundary,
            own=bool(limit.window.institution),
            is_default=limit.window.is_default,
            source=limit.window.source,
            counted_from=limit.base,
            until=limit.until,
            viewable_until=limit.viewing,
        )
        for limit in case.limits
    )


def _rankings(ranked: Sequence[Judged]) -> list[Ranking]:
    rankings = []
    for item, order in recognised(ranked).items():
        words = [*(difference(one, following) for one, following in pairwise(order)), ("", "")]
        standings = (
            Standing(judged.verdict.result.id, judged.verdict.result.node, zh, en)
            for judged, (zh, en) in zip(order, words, strict=True)
        )
        rankings.append(Ranking(item, tuple(standings)))
    return rankings


def _match(case: Case) -> Looked:
    reading = case.result.reading
    return {
        "local_name": case.result.local_name,
        "concept": reading.concept,
        "unread": reading.reason,
        "exact": case.exact,
        "stand_in": f"{case.stand_in.zh} {case.stand_in.en}" if case.stand_in else None,
        "stand_in_owner": case.stand_in.owner if case.stand_in else None,
        "list": case.aim.list.id if case.aim and case.aim.list else None,
    }


def _object(case: Case) -> Looked:
    result, images, newer = case.result, case.result.images, case.version.superseded_by
    return {
        "value": result.value,
        "unit": result.unit,
        "images_held": images.held if images else None,
        "images_expected": images.expected if images else None,
        "status": result.status,
        "superseded_by": newer.id if newer else None,
        "undecided_versions": case.version.undecided,
    }


def _mark(case: Case) -> Looked:
    mark = case.result.mark
    return {
        "state": mark.state if mark else None,
        "printed": case.result.printed_mark or (mark.printed if mark else ""),
        "ranges": " ".join(scope or "?" for scope in ranges(case, mark)) if mark else "",
        "receiver_region": case.question.region,
    }


def _qualification(case: Case) -> Looked:
    return {
        "institution": case.result.institution,
        "day": case.day.isoformat() if case.day else None,
        "records": " ".join(record.id for record in case.records),
        "held": " ".join(record.id for record in case.holding),
    }


def _quality(case: Case) -> Looked:
    converted = case.converted
    return {
        "unit": case.result.unit,
        "listed_units": " ".join(case.item.units) if case.item else "",
        "comparable": case.comparable,
        "factor": converted.factor if converted else None,
        "factor_source": converted.source if converted else None,
        "flags": " ".join(case.result.flags),
    }


_LOOKED: dict[str, Callable[[Case], Looked]] = {
    "identity": lambda case: {"identity": case.result.identity},
    "match": _match,
    "object": _object,
    "mark": _mark,
    "qualification": _qualification,
    "data quality": _quality,
}
"""What the steps without conditions or windows look at, by the step's name."""
