"""The named facts that conditions ask about (:data:`catalog.FACTS`), each established in one place.

A fact is of the encounter (the same for all results of a check) or of one result against one planned item.
What nobody said is False, or empty; a result without a time counts as older than every event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial

from catalog import LEVELS, Catalogue, Condition, Institution, Rule
from catalog.conditions import Value
from recognition.case import Case, Question
from recognition.model import Check
from recognition.wanted import under

_GRADES = {level: grade for grade, level in enumerate(LEVELS)}
_SAID = (
    "setting", "condition_changed", "pre_operation", "pre_transfusion", "forensic", "serial",
    "drug_treatment", "endemic_area", "disease", "intervening_procedure",
)  # fmt: skip


_SINCE = {f"{kind}_since": kind for kind in ("operation", "transfusion", "intervention", "treatment")}


def question_of(check: Check, catalogue: Catalogue) -> Question:
    """The check under this catalogue, with the facts of the encounter.

    Raises:
        UnknownEntry: the catalogue does not hold the asking institution.
    """
    receiver, context = catalogue.institution(check.receiver), check.context
    facts: dict[str, Value] = {name: getattr(context, name) for name in _SAID}
    facts["emergency"] = context.emergency or context.setting == "emergency"
    facts["receiver_level"] = _GRADES[receiver.level]
    if not context.events:
        facts |= dict.fromkeys(_SINCE, False)
    answers = under(catalogue).answers(context, check.receiver)
    return Question(
        check=check, catalogue=catalogue, region=receiver.region, facts=facts, answers=answers, worded={}
    )


def applying(case: Case, step: int) -> list[Rule]:
    """The rules of a step whose conditions hold, in the order of their ids."""
    if case.aim is None:
        return []
    answers = case.question.answers
    return [
        rule
        for rule, condition in case.aim.conditions[step]
        if (known := answers.get(rule.id)) or (known is None and holds(case, rule, condition))
    ]


def holds(case: Case, rule: Rule, condition: Condition) -> bool:
    """Whether the condition of a rule holds; one that asks for the encounter alone is evaluated once."""
    question = case.question
    if condition.facts <= question.facts.keys():
        held = question.answers[rule.id] = condition.holds(question.facts)
        return held
    return condition.holds(values(case, condition.facts))


def values(case: Case, names: Iterable[str]) -> dict[str, Value]:
    """The values of these facts; every fact of :data:`catalog.FACTS` has one."""
    facts = case.question.facts
    return {name: facts[name] if name in facts else OF_RESULT[name](case) for name in names}


def _since(kind: str, case: Case) -> bool:
    when = case.result.performed or case.result.reported
    return any(
        event.kind == kind and (when is None or event.at >= when)
        for event in case.question.check.context.events
    )


def _age_hours(case: Case) -> int:
    when = case.result.performed or case.result.reported
    return (case.question.check.at - when) // timedelta(hours=1) if when else 0


def _issuer(case: Case) -> Institution | None:
    return case.question.catalogue.institutions.get(case.result.institution)


def _issuer_level(case: Case) -> int:
    issuer = _issuer(case)
    return _GRADES[issuer.level] if issuer else 0


def _same_alliance(case: Case) -> bool:
    issuer = _issuer(case)
    receiver = case.question.catalogue.institution(case.question.check.receiver)
    return issuer is not None and not set(issuer.alliances).isdisjoint(receiver.alliances)


OF_RESULT: dict[str, Callable[[Case], Value]] = {
    **{name: partial(_since, kind) for name, kind in _SINCE.items()},
    "abnormal": lambda case: case.result.abnormal,
    "stand_in": lambda case: case.stand_in is not None,
    "printed_mark": lambda case: bool(case.result.printed_mark),
    "age_hours": _age_hours,
    "sites": lambda case: case.sites,
    "item": lambda case: case.aim.item.code if case.aim else "",
    "kind": lambda case: case.result.kind,
    "group": lambda case: case.aim.item.group if case.aim else "",
    "issuer": lambda case: case.result.institution,
    "issuer_level": _issuer_level,
    "same_institution": lambda case: case.result.institution == case.question.check.receiver,
    "same_alliance": _same_alliance,
}
"""The facts of one result. Those of the encounter are :attr:`recognition.case.Question.facts`."""
