"""From a check and the prior results to verdicts: pure, the same answer for the same input, in any order."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from catalog import Catalogue
from recognition.advice import advise
from recognition.best import Judged, rank, recognised
from recognition.case import Case, Question, cases
from recognition.context import question_of
from recognition.model import (
    VERDICT_ORDER,
    Check,
    Decision,
    Reading,
    Reason,
    Result,
    Verdict,
    VerdictCode,
)
from recognition.steps import STEPS, Finding, identity

RECOGNISED = "R0.1"
_NUMBERED = tuple(enumerate(STEPS, start=1))


def decide(check: Check, results: Sequence[Result], catalogue: Catalogue) -> Decision:
    """Judge every result that matters to what is planned (:func:`recognition.case.cases`).

    The order of the verdicts is that of :mod:`recognition.best`.

    Raises:
        UnknownEntry: the receiver or a planned item is not in the catalogue.
    """
    return decision_of(check, catalogue, judge_all(check, results, catalogue))


def judge_all(check: Check, results: Sequence[Result], catalogue: Catalogue) -> list[Judged]:
    """The verdicts with what they were given on, in their order; raises as :func:`decide` does."""
    if len({(result.node, result.id) for result in results}) < len(results):
        results = sorted(results, key=msgspec.json.encode)  # so that even these have one order
    judged = [Judged(judge(case), case) for case in cases(question_of(check, catalogue), results)]
    judged.sort(key=rank)
    return judged


def decision_of(check: Check, catalogue: Catalogue, ranked: Sequence[Judged]) -> Decision:
    """The decision that these verdicts make."""
    found = recognised(ranked)
    return Decision(
        catalogue=catalogue.version,
        verdicts=tuple(judged.verdict for judged in ranked),
        advice=tuple(advise(planned, found, catalogue) for planned in check.planned),
    )


def judge(case: Case) -> Verdict:
    """Take all steps. The worst effect is the verdict, and what has it leads the reasons."""
    question = case.question
    if case.result.identity != "strong":
        return _withheld(case)
    reasons: list[Reason] = []
    notes: list[Reason] = []
    worst = 0
    for number, (_, _, step) in _NUMBERED:
        for finding in step(case):
            effect = question.catalogue.rule(finding[0]).effect
            if effect == "note":
                notes.append(reason(question, number, finding))
            else:
                reasons.append(reason(question, number, finding))
                worst = max(worst, VERDICT_ORDER.index(effect))
    verdict: VerdictCode = VERDICT_ORDER[worst]
    if not reasons:
        by = case.stand_in
        reasons.append(reason(question, 0, (RECOGNISED, by.zh if by else "", by.en if by else "")))
    elif len(reasons) > 1:  # stable, so in the order of the steps
        reasons.sort(key=lambda found: question.catalogue.rule(found.rule).effect != verdict)
    return Verdict(
        result=case.result,
        verdict=verdict,
        serves=case.serves,
        item=case.item.code if case.item else None,
        list=case.aim.list.id if case.aim and case.aim.list else None,
        reasons=tuple(reasons),
        notes=tuple(notes),
        converted=case.converted,
        expires=case.expires,
    )


def reason(question: Question, step: int, finding: Finding) -> Reason:
    """A finding in the words of its rule, with the particulars in brackets."""
    worded = question.worded.get(finding)
    if worded is None:
        rule_id, zh, en = finding
        rule = question.catalogue.rule(rule_id)
        worded = question.worded[finding] = Reason(
            rule_id,
            step,
            f"{rule.zh}（{zh}）" if zh else rule.zh,
            f"{rule.en} ({en})" if en else rule.en,
            rule.reason_code,
        )
    return worded


def _withheld(case: Case) -> Verdict:
    """Somebody else's result, perhaps: that there is one is said, and nothing else of it."""
    reasons = tuple(reason(case.question, 1, finding) for finding in identity(case))
    blank = Result(
        id=case.result.id,
        node=case.result.node,
        kind=case.result.kind,
        institution="",
        local_name="",
        reading=Reading(None, None, ""),
        identity="weak",
        status="final",
        performed=None,
        reported=None,
        version_key="",
    )
    return Verdict(result=blank, verdict="not_recognised", serves=None, item=None, list=None, reasons=reasons)
