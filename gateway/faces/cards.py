"""What a doctor reads: the cards of one answer (CDS Hooks 2.0, Card Attributes).

At the order one card for each planned examination, and one for each name that could not be read: silence
there would look like "nothing found". When a chart is opened one card for all that was found, and none where
there is nothing to tell. A card informs; it never stops an order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from catalog import ReasonCode
from gateway.faces._cds_call import Draft
from gateway.faces._cds_suggestions import suggested
from gateway.model import AdviceOut, CheckAnswer, Unnamed, VerdictOut
from recognition.model import VERDICT_ORDER
from recognition.window import in_shanghai

REASONS_SYSTEM = "https://lianren.example/fhir/CodeSystem/reasons"
MOST_LINES = 40
"""Results that a card lists; the decision that goes along has them all."""
_HISTORY, _NAME = "all", 60
_MARKDOWN = re.compile(r"[\\`*_{}\[\]()<>!|~&]")  # no name begins a line, where more would count
_LINKED = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?=@)", re.IGNORECASE)  # GFM 6.9: without any markup
_UID = re.compile(r"(?=.{1,64}$)[0-9]+(\.[0-9]+)*")  # DICOM PS3.5 section 9.1
_WORDS = {"recognised": "可互认", "view_only": "仅供调阅", "not_recognised": "不予互认"}
_STATES = {
    "late": "超时",
    "refused": "拒绝应答",
    "unreachable": "无法连接",
    "faulty": "应答有误",
    "skipped": "未查询",
}


def cards_of(
    answer: CheckAnswer, codes: Iterable[ReasonCode], drafts: Sequence[Draft], viewer: str
) -> list[dict[str, Any]]:
    """The cards of an answer.

    Args:
        codes: offered as reasons for overriding a card.
        drafts: the orders, by the numbers that the answer has for them.
        viewer: the address of an image viewer with ``{study_uid}``, or empty.
    """
    if answer.moment == "reception":
        return _history(answer, viewer)
    reasons = [
        {
            "code": code.code,
            "system": f"{REASONS_SYSTEM}/{code.system}",
            "display": f"{code.zh}（请附说明）" if code.needs_text else code.zh,
        }
        for code in codes
    ]
    cards = [
        _order(str(number), advice, answer, viewer)
        | suggested(advice, drafts[advice.index], card_id(answer, str(number)))
        | {"overrideReasons": reasons}
        for number, advice in enumerate(answer.advice)
    ]
    return cards + [_unnamed(unnamed, answer) for unnamed in answer.unnamed]


def card_id(answer: CheckAnswer, card: str) -> str:
    """The uuid of a card: the id of the check, and the number of the card in it."""
    return f"{answer.id}.{card}"


def results_of(answer: CheckAnswer, card: str) -> list[str] | None:
    """The recognised results that a card of the answer is about; None where it has no such card."""
    if answer.moment == "reception":
        served = {item.code for advice in answer.advice for item in advice.served}
        known = card == _HISTORY
    else:
        known = card in {str(place) for place in range(len(answer.advice))}
        served = {item.code for item in answer.advice[int(card)].served} if known else set()
    return [one.result.id for one in answer.verdicts if _serves(one, served)] if known else None


def _serves(verdict: VerdictOut, codes: Iterable[str]) -> bool:
    recognised, serves = verdict.verdict == "recognised", verdict.serves
    return recognised and serves is not None and serves.code in codes


def _unnamed(unnamed: Unnamed, answer: CheckAnswer) -> dict[str, Any]:
    return {
        "summary": _short(f"{_short(unnamed.name, _NAME)}：未能对应到互认目录，未作查询"),
        "indicator": "info",
        "detail": f"{_text(unnamed.zh)} ({_text(unnamed.en)})"
        + (f"\n\n名称登记号 review id: {unnamed.review}" if unnamed.review else ""),
        "source": _source(answer),
    }


def _order(card: str, advice: AdviceOut, answer: CheckAnswer, viewer: str) -> dict[str, Any]:
    """One planned examination: the results that serve for it, and those that were looked at and do not."""
    served = {item.code for item in advice.served}
    wanted = served | {item.code for item in advice.to_order}
    about = [
        one
        for one in answer.verdicts
        if one.serves and one.serves.code in (served if one.verdict == "recognised" else wanted)
    ]
    first = [f"{_text(advice.zh)}\n"]
    first += [f"- {_text(answer.consent.zh)}"] if answer.consent.zh else []
    first += [f"- 首选 {_text(best.item.name)}：{_text(best.zh)}" for best in advice.best if best.others]
    return _card(card, f"{_short(advice.planned, _NAME)}：{advice.zh}", first, about, answer, viewer)


def _history(answer: CheckAnswer, viewer: str) -> list[dict[str, Any]]:
    """When a chart is opened: what may be recognised, in one card."""
    gap = "" if answer.complete else "（查询不完整）"
    if not answer.consent.permitted:
        return [_card(_HISTORY, "近期检查检验结果：患者未授权，未作查询", [], [], answer, "")]
    if not answer.verdicts and not gap:
        return []
    about = [one for one in answer.verdicts if one.serves]
    good = len({one.result.id for one in about if one.verdict == "recognised"})
    summary = f"近期检查检验结果：{good}项可互认{gap}"
    consent = [f"- {_text(answer.consent.zh)}"] if answer.consent.zh else []
    return [_card(_HISTORY, summary, [f"{_text(summary)}\n", *consent], about, answer, viewer)]


def _card(
    card: str, summary: str, first: list[str], about: list[VerdictOut], answer: CheckAnswer, viewer: str
) -> dict[str, Any]:
    """A card over results, the recognised ones first, with what nobody answered for."""
    about = list(_once(sorted(about, key=lambda one: VERDICT_ORDER.index(one.verdict))))
    lines = [*first, *(_line(one, answer.answered_at) for one in about[:MOST_LINES])]
    lines += [f"- 另有{len(about) - MOST_LINES}项，见核对 {answer.id}"] if len(about) > MOST_LINES else []
    unread = len({one.result.id for one in answer.verdicts if one.item is None and one.serves is None})
    lines += [f"- 另有{unread}项结果未能对应到互认目录，未作判断"] if unread else []
    lines += [f"- 注：{_text(note)}" for note in dict.fromkeys(n.zh for one in about for n in one.notes)]
    silent = [
        f"{_text(node.node)}（{_STATES.get(node.state, '')}）" for node in answer.nodes if not node.complete
    ]
    lines += ["- 未能应答的节点：" + "、".join(silent)] if silent else []
    lines += [f"- {answer.catalogue.notice_zh}"] if answer.catalogue.notice_zh else []
    calm = answer.complete and answer.consent.basis != "break_glass"
    links = list(_links(about[:MOST_LINES], viewer)) if viewer else []
    return {
        "uuid": card_id(answer, card),
        "summary": _short(summary),
        "indicator": "info" if calm else "warning",
        "detail": "\n".join(lines),
        "source": _source(answer),
    } | ({"links": links} if links else {})


def _once(about: Iterable[VerdictOut]) -> Iterable[VerdictOut]:
    """Each result once, of those that several places tell alike the first."""
    shown: set[str] = set()
    for one in about:
        if shown.isdisjoint(one.also):
            yield one
        shown.add(one.result.id)


def _line(verdict: VerdictOut, now: datetime) -> str:
    """One prior result: verdict, where, what, when and how old, and every reason."""
    result = verdict.result
    reasons = "；".join(dict.fromkeys(reason.zh for reason in verdict.reasons))
    what = _text(f"{result.institution.name} {result.local_name}{_value(verdict)}")
    what += f"（{len(verdict.also) + 1}处相同）" if verdict.also else ""
    return f"- {_WORDS[verdict.verdict]}：{what}，{_age(verdict, now)}：{_text(reasons)}"


def _age(verdict: VerdictOut, now: datetime) -> str:
    """The day in Asia/Shanghai, and the days from there to today."""
    when = verdict.result.performed or verdict.result.reported
    if when is None:
        return "日期不详"
    day = in_shanghai(when).date()
    days = (in_shanghai(now).date() - day).days
    return f"{day}（{f'{days}天前' if days > 0 else '当天'}）"


def _links(about: Iterable[VerdictOut], viewer: str) -> Iterable[Mapping[str, str]]:
    """One link to the images of each study that may be looked at."""
    studies = {
        one.result.study_uid: one.result
        for one in about
        if one.verdict != "not_recognised" and _UID.fullmatch(one.result.study_uid)
    }
    for uid, result in studies.items():
        label = f"查看影像：{result.institution.name} {result.local_name}"
        yield {"label": label, "url": viewer.replace("{study_uid}", uid), "type": "absolute"}


def _source(answer: CheckAnswer) -> dict[str, str]:
    return {"label": f"联认 {answer.catalogue.version}"}


def _short(words: str, most: int = 140) -> str:
    """Fewer characters than ``most``: 140 for a summary, less for a name that what matters comes after."""
    return words if len(words) < most else f"{words[: most - 2]}…"


def _value(verdict: VerdictOut) -> str:
    """Value, unit and range as the hospital wrote them, and the value in the catalogue's unit."""
    result, converted = verdict.result, verdict.converted
    value = f" {result.value} {result.unit}".rstrip() if result.value else ""
    value += f" = {converted.value} {converted.unit}" if converted else ""
    return value + (f" ({result.reference})" if result.reference else "")


def _text(words: str) -> str:
    """Words for ``detail``, which is GitHub Flavored Markdown: a name makes no line of its own, no link and
    no image. What would be a link without markup is broken by a space of no width, as many renderers look for
    it behind the escapes."""
    return _LINKED.sub("\u200b", _MARKDOWN.sub(r"\\\g<0>", " ".join(words.split())))
