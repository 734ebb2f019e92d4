"""What a doctor reads at the order moment: the cards of one answer (CDS Hooks 2.0, Card Attributes).

One card for each planned examination, and one for each name that could not be read: silence there would look
like "nothing found". A card informs; it never stops an order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from catalog import ReasonCode
from gateway.model import AdviceOut, CheckAnswer, Unnamed, VerdictOut

REASONS_SYSTEM = "https://lianren.example/fhir/CodeSystem/reasons"
_MARKDOWN = re.compile(r"[\\`*_{}\[\]()<>#+!|~-]")


def cards_of(answer: CheckAnswer, codes: Sequence[ReasonCode]) -> list[dict[str, Any]]:
    """The cards of an answer; ``codes`` are offered as reasons for overriding them."""
    reasons = [
        {"code": code.code, "system": f"{REASONS_SYSTEM}/{code.system}", "display": code.zh} for code in codes
    ]
    cards = [_card(number, advice, answer, reasons) for number, advice in enumerate(answer.advice)]
    return cards + [_unnamed(unnamed, answer) for unnamed in answer.unnamed]


def _unnamed(unnamed: Unnamed, answer: CheckAnswer) -> dict[str, Any]:
    return {
        "summary": f"{unnamed.name}：未能对应到互认目录，未作查询"[:139],
        "indicator": "info",
        "detail": f"{_text(unnamed.zh)} ({_text(unnamed.en)})\n\n名称登记号 review id: {unnamed.review}",
        "source": _source(answer),
    }


def _source(answer: CheckAnswer) -> dict[str, str]:
    return {"label": f"联认 {answer.catalogue.version}"}


def _card(
    number: int, advice: AdviceOut, answer: CheckAnswer, reasons: list[dict[str, str]]
) -> dict[str, Any]:
    """One planned examination; a summary has fewer than 140 characters."""
    summary = f"{advice.planned}：{advice.zh}"
    served = {item.code for item in advice.served}
    lines = [f"{_text(advice.zh)}\n"]
    lines += [f"- {_text(answer.consent.zh)}"] if answer.consent.zh else []
    lines += [f"- 首选 {_text(best.item.name)}：{_text(best.zh)}" for best in advice.best if best.others]
    about = [
        verdict
        for verdict in answer.verdicts
        if verdict.verdict != "recognised" or (verdict.serves and verdict.serves.code in served)
    ]
    for verdict in about:
        result = verdict.result
        told = f"{result.institution.name} {result.local_name}{_value(verdict)}：{verdict.reasons[0].zh}"
        lines.append(f"- {_text(told)}")
    notes = dict.fromkeys(note.zh for verdict in about for note in verdict.notes)
    lines += [f"- 注：{_text(note)}" for note in notes]
    silent = [node.node for node in answer.nodes if node.state not in ("answered", "empty")]
    if silent:
        lines.append("- 未能应答的节点：" + "、".join(silent))
    if answer.catalogue.notice_zh:
        lines.append(f"- {answer.catalogue.notice_zh}")
    return {
        "uuid": f"{answer.id}.{number}",
        "summary": summary if len(summary) < 140 else f"{summary[:138]}…",
        "indicator": "info" if answer.complete and answer.consent.basis != "break_glass" else "warning",
        "detail": "\n".join(lines),
        "source": _source(answer),
        "overrideReasons": reasons,
    }


def _value(verdict: VerdictOut) -> str:
    """Value, unit and range as the hospital wrote them, and the value in the catalogue's unit."""
    result, converted = verdict.result, verdict.converted
    value = f" {result.value} {result.unit}".rstrip() if result.value else ""
    value += f" = {converted.value} {converted.unit}" if converted else ""
    return value + (f" ({result.reference})" if result.reference else "")


def _text(words: str) -> str:
    """Words for ``detail``, which is GitHub Flavored Markdown: a name makes no link and no image."""
    return _MARKDOWN.sub(r"\\\g<0>", words)
