"""Best prior: which of several results to show first, and why.

The verdict comes first, and among equal verdicts the order of the plan: a doctor reads a panel in its order.
What serves for one planned item is ranked by, in this order:

1. the later day of the examination, where the hospital is: a condition changes with time, so that the newest
   result is the least likely to have been overtaken (situation 1 of 国卫医发〔2022〕6号);
2. of one day, the planned item itself before one that stands in for it: it is what was asked for, and nothing
   rests on a containment that a clinical owner laid down;
3. the wider area of the mark, which the stricter evaluation gives (全国HR before 川渝HR; the range of a mark
   follows the level of the evaluation, Guangming Daily 2022-02-22);
4. the higher level of the qualification that held on the day;
5. fewer notes: a value as written before a converted one;
6. the later instant of the examination.

Node, id and item make the order total, so that it depends on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import get_args

from msgspec import Struct

from catalog import Level
from recognition.case import Case
from recognition.model import VERDICT_ORDER, Best, Verdict

_LEVELS = {level: place for place, level in enumerate(get_args(Level))}


class Judged(Struct, frozen=True):
    """A verdict beside the case that it was given on."""

    verdict: Verdict
    case: Case


CRITERIA: tuple[tuple[str, str], ...] = (
    ("检查日期较近", "examined on a later day"),
    ("与拟开项目一致，不是替代项目", "the planned item itself, not a stand-in"),
    ("互认标识的范围较大", "a mark for a wider area"),
    ("质量评价的级别较高", "a qualification of a higher level"),
    ("提示较少，数值未经换算", "fewer notes, no conversion"),
    ("同日检查中时间较近", "later on the same day"),
)
"""What decides, in order: the words for the one that stands first by it."""

_LAST = 1e18


def merits(judged: Judged) -> tuple[float, ...]:
    """A number for each of the criteria; the smaller stands first."""
    case, catalogue = judged.case, judged.case.question.catalogue
    mark, when = case.result.mark, case.result.performed or case.result.reported
    return (
        -case.day.toordinal() if case.day else _LAST,
        not case.exact,
        catalogue.depth(mark.scope) if mark and mark.scope in catalogue.regions else _LAST,
        min([_LEVELS[record.level] for record in case.reaching], default=_LAST),
        len(judged.verdict.notes),
        -when.timestamp() if when else _LAST,
    )


_ALONE = ("唯一可互认的结果", "the only result that is recognised")
_EQUAL = ("各项相同，按标识排序", "no difference that matters, in the order of their ids")


def rank(judged: Judged) -> tuple[object, ...]:
    """The key by which verdicts are sorted, best first. The place of somebody else's result tells nothing."""
    result, place = judged.verdict.result, VERDICT_ORDER.index(judged.verdict.verdict)
    key = (judged.case.place, *merits(judged)) if result.identity == "strong" else (_LAST,)
    return place, key, result.node, result.id, judged.verdict.serves or ""


def difference(first: Judged, second: Judged) -> tuple[str, str]:
    """Why the first stands before the second, in Chinese and English."""
    pairs = zip(CRITERIA, merits(first), merits(second), strict=True)
    return next((words for words, one, other in pairs if one != other), _EQUAL)


def recognised(ranked: Iterable[Judged]) -> dict[str, list[Judged]]:
    """The recognised results by the item that they serve for, best first."""
    found: dict[str, list[Judged]] = {}
    for judged in ranked:
        verdict = judged.verdict
        if verdict.serves is not None and verdict.verdict == "recognised":
            found.setdefault(verdict.serves, []).append(judged)
    return found


def best(item: str, found: Sequence[Judged]) -> Best:
    """The one to show first, of the recognised results for an item."""
    zh, en = difference(found[0], found[1]) if len(found) > 1 else _ALONE
    return Best(item, found[0].verdict.result.id, len(found) - 1, zh, en)
