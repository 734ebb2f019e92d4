"""From a decision to the answer that every face gives: codes with their names, and advice in a sentence."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from adapters import Report
from catalog import Catalogue
from gateway.model import (
    AdviceOut,
    BestOut,
    CatalogueRef,
    CheckAnswer,
    Coded,
    ConsentRule,
    LedgerRef,
    Moment,
    ResultOut,
    Unnamed,
    VerdictOut,
)
from gateway.rules import Rules
from recognition import Advice, Check, Decision, Verdict
from recognition.versions import told_alike


def answer_of(
    check: Check,
    decision: Decision,
    rules: Rules,
    *,
    id: str,  # noqa: A002 - the field's own name
    request_id: str,
    moment: Moment,
    asked_at: datetime,
    places: tuple[int, ...],
    unnamed: tuple[Unnamed, ...],
    nodes: tuple[Report, ...],
    complete: bool,
    ledger: LedgerRef,
    consent: ConsentRule,
) -> CheckAnswer:
    """The answer of a check. ``places`` are those of the planned examinations in the request."""
    catalogue = rules.catalogue
    also = told_alike(verdict.result for verdict in decision.verdicts)
    return CheckAnswer(
        id=id,
        request_id=request_id,
        moment=moment,
        receiver=Coded(check.receiver, catalogue.institution(check.receiver).name),
        asked_at=asked_at,
        answered_at=check.at,
        catalogue=CatalogueRef(catalogue.version, catalogue.illustrative, *rules.notices),
        complete=complete,
        advice=tuple(
            _advice(place, advice, catalogue, complete=complete, permitted=consent.permitted)
            for place, advice in zip(places, decision.advice, strict=True)
        ),
        verdicts=tuple(
            _verdict(verdict, catalogue, also.get(verdict.result.id, ())) for verdict in decision.verdicts
        ),
        unnamed=unnamed,
        nodes=nodes,
        ledger=ledger,
        consent=consent,
    )


def sentence(
    advice: Advice, catalogue: Catalogue, *, complete: bool, permitted: bool = True
) -> tuple[str, str]:
    """What is left to order, in Chinese and in English; and that somebody was not heard, or nobody asked
    because the patient has not consented, where it matters.
    """
    served, total = len(advice.served), len(advice.served) + len(advice.to_order)
    if not advice.to_order:
        if total == 1:
            return "已有可互认的结果，不必再开", "already recognised: nothing to order"
        return f"{total}项均可互认，不必再开", f"all {total} recognised: nothing to order"
    gap_zh, gap_en = ("", "") if complete else ("（查询不完整）", " (not every node was heard)")
    if not permitted:
        gap_zh, gap_en = "（患者未授权，未作查询）", " (not searched: the patient has not consented)"
    if not served:
        return f"未找到可互认的结果，须开具{gap_zh}", f"nothing recognised: order it{gap_en}"
    items = [catalogue.item(code) for code in advice.to_order]
    names_zh = "、".join(item.name for item in items)
    names_en = ", ".join(item.concept.split("|")[0] if item.kind == "lab" else item.name for item in items)
    return (
        f"{total}项中{served}项可互认，仅需开具{gap_zh}：{names_zh}",
        f"{served} of {total} recognised: order {names_en}{gap_en}",
    )


def one_each(verdicts: Iterable[VerdictOut]) -> list[VerdictOut]:
    """Each result once, with its best verdict, in the order of the answer: a result may serve for several
    planned items, and several nodes may tell the very same one."""
    found: list[VerdictOut] = []
    seen: set[str] = set()
    for verdict in verdicts:  # best first
        if verdict.result.id not in seen:
            found.append(verdict)
            seen |= {verdict.result.id, *verdict.also}
    return found


def _advice(
    place: int, advice: Advice, catalogue: Catalogue, *, complete: bool, permitted: bool
) -> AdviceOut:
    zh, en = sentence(advice, catalogue, complete=complete, permitted=permitted)
    return AdviceOut(
        place,
        advice.planned,
        advice.panel,
        served=tuple(_item(catalogue, code) for code in advice.served),
        to_order=tuple(_item(catalogue, code) for code in advice.to_order),
        best=tuple(
            BestOut(_item(catalogue, best.item), best.result, best.others, best.zh, best.en)
            for best in advice.best
        ),
        zh=zh,
        en=en,
    )


def _item(catalogue: Catalogue, code: str) -> Coded:
    return Coded(code, catalogue.item(code).name)


def _verdict(verdict: Verdict, catalogue: Catalogue, also: tuple[str, ...]) -> VerdictOut:
    result = verdict.result
    institution = catalogue.institutions.get(result.institution)
    return VerdictOut(
        verdict=verdict.verdict,
        reasons=verdict.reasons,
        notes=verdict.notes,
        result=ResultOut(
            id=result.id,
            node=result.node,
            kind=result.kind,
            institution=Coded(result.institution, institution.name if institution else ""),
            local_name=result.local_name,
            status=result.status,
            performed=result.performed,
            reported=result.reported,
            specimen=result.specimen,
            value=result.value,
            unit=result.unit,
            reference=result.reference,
            study_uid=result.study_uid,
            images=result.images,
        ),
        converted=verdict.converted,
        item=_item(catalogue, verdict.item) if verdict.item else None,
        serves=_item(catalogue, verdict.serves) if verdict.serves else None,
        list=verdict.list,
        mark=result.mark,
        expires=verdict.expires,
        also=also,
    )
