"""From a check and the prior results to verdicts: pure, the same answer for the same input, in any order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from catalog import Catalogue, Item
from recognition.model import (
    VERDICT_ORDER,
    Advice,
    Check,
    Decision,
    Planned,
    Reading,
    Reason,
    Result,
    Verdict,
    VerdictCode,
)
from recognition.steps import STEPS, Case, receiver_of
from recognition.versions import versions
from recognition.window import day_of

RECOGNISED = "R0.1"
WEAK = "R1.1"


def decide(check: Check, results: Sequence[Result], catalogue: Catalogue) -> Decision:
    """Judge every result that matters to what is planned, under this catalogue version.

    A result matters when its item is planned, may stand in for a planned one, is the same analyte or body
    part in another form, or carries a name of the same kind that could not be read: what a person would
    otherwise miss is shown with the reason why it does not count.

    Raises:
        UnknownEntry: the receiver or a planned item is not in the catalogue.
    """
    region, level = receiver_of(check, catalogue)
    ordered = [catalogue.item(code) for planned in check.planned for code in planned.items]
    wanted = _Wanted(ordered, catalogue)
    verdicts = []
    for result, version in zip(results, versions(results), strict=True):
        item = catalogue.items.get(result.reading.item or "")
        day = day_of(result)
        records = catalogue.qualifications_of(result.institution, item) if item else ()
        for aim in wanted.by(result, item):
            lists = catalogue.lists_for(aim, region) if aim else ()
            exact = aim is not None and item is not None and aim.code == item.code
            case = Case(
                check=check,
                result=result,
                catalogue=catalogue,
                receiver_region=region,
                receiver_level=level,
                ordered=aim,
                item=item,
                exact=exact,
                stand_in=catalogue.stand_in(aim.code, item.code) if aim and item and not exact else None,
                list=lists[0] if lists else None,
                window=catalogue.window(aim, lists[0].id, check.context.setting) if aim and lists else None,
                version=version,
                day=day,
                holding=tuple(q for q in records if day and q.holds(day)),
            )
            verdicts.append(_judge(case))
    verdicts.sort(key=_rank)
    return Decision(
        catalogue=catalogue.version,
        verdicts=tuple(verdicts),
        advice=tuple(_advise(planned, verdicts) for planned in check.planned),
    )


class _Wanted:
    """The planned items, looked up from the side of a result."""

    def __init__(self, ordered: Iterable[Item], catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._codes = {item.code: item for item in ordered}
        self._kinds = {item.kind for item in self._codes.values()}
        self._subjects: dict[tuple[str, ...], Item] = {}
        for item in self._codes.values():
            self._subjects.setdefault(_subject(item), item)

    def by(self, result: Result, item: Item | None) -> list[Item | None]:
        """The planned items to judge the result against: those it is or may stand in for, else one akin.

        One None where its name could not be read; nothing where the result does not matter.
        """
        if result.kind not in self._kinds:
            return []
        if item is None:
            return [None]
        serving = self._catalogue.serves(item.code)
        matching: list[Item | None] = [w for code, w in self._codes.items() if code in serving]
        if not matching and (akin := self._subjects.get(_subject(item))):
            matching.append(akin)
        return matching


def _subject(item: Item) -> tuple[str, ...]:
    """What an examination looks at: the analyte, or modality and body part."""
    slots = item.concept.split("|")
    return tuple(slots[:1] if item.kind == "lab" else slots[:2])


def _judge(case: Case) -> Verdict:
    if case.result.identity != "strong":
        return _withheld(case)
    reasons: list[Reason] = []
    worst = 0
    for number, step in enumerate(STEPS, start=2):
        for rule_id, zh, en in step(case):
            rule = case.catalogue.rule(rule_id)
            worst = max(worst, VERDICT_ORDER.index(rule.effect))
            reasons.append(Reason(rule_id, number, _zh(rule.zh, zh), _en(rule.en, en), rule.reason_code))
    if not reasons:
        rule, by = case.catalogue.rule(RECOGNISED), case.stand_in
        reasons.append(
            Reason(RECOGNISED, 0, _zh(rule.zh, by.zh if by else ""), _en(rule.en, by.en if by else ""))
        )
    verdict: VerdictCode = VERDICT_ORDER[worst]
    reasons.sort(key=lambda reason: case.catalogue.rule(reason.rule).effect != verdict)  # stable: step order
    return Verdict(
        result=case.result,
        verdict=verdict,
        serves=case.ordered.code if case.ordered and (case.exact or case.stand_in) else None,
        item=case.item.code if case.item else None,
        list=case.list.id if case.list else None,
        reasons=tuple(reasons),
        expires=case.expires,
    )


def _withheld(case: Case) -> Verdict:
    """Somebody else's result, perhaps: that there is one is said, and nothing else of it."""
    rule = case.catalogue.rule(WEAK)
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
    reasons = (Reason(WEAK, 1, rule.zh, rule.en, rule.reason_code),)
    return Verdict(result=blank, verdict=rule.effect, serves=None, item=None, list=None, reasons=reasons)


def _zh(words: str, particulars: str) -> str:
    return f"{words}（{particulars}）" if particulars else words


def _en(words: str, particulars: str) -> str:
    return f"{words} ({particulars})" if particulars else words


def _rank(verdict: Verdict) -> tuple[int, float, str, str, str]:
    when = verdict.result.performed or verdict.result.reported
    recency = -when.timestamp() if when else 0.0
    return (
        VERDICT_ORDER.index(verdict.verdict),
        recency,
        verdict.result.node,
        verdict.result.id,
        verdict.serves or "",
    )


def _advise(planned: Planned, verdicts: Iterable[Verdict]) -> Advice:
    recognised = {v.serves for v in verdicts if v.verdict == "recognised"}
    return Advice(
        planned=planned.name,
        panel=planned.panel,
        served=tuple(code for code in planned.items if code in recognised),
        to_order=tuple(code for code in planned.items if code not in recognised),
    )
