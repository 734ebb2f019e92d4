"""Reminders: one check in the short shape that a hospital's system shows in a box, and what became of it.

At *reception* 就诊提醒 nothing is planned: what the patient has is shown. At the *order* 开单提醒 what serves
for the draft order is. Both are checks (:mod:`gateway.checks`): consent, evidence, marks and the request id
are theirs, and the id of a reminder is the id of its check. ``status`` of a result is the doctor's word on it
as it stands when the reminder is read, so a system that reads it again has its box up to date.

The moments, and the statuses 0 不互认, 1 已互认, 2 未处理, are those of hospital front ends of provincial
sharing platforms, as read in public code (docs/his.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from catalog import Kind
from gateway.access.clients import Client
from gateway.answers import one_each
from gateway.checks import Checks
from gateway.decisions import open_results
from gateway.errors import BadRequest
from gateway.model import (
    LOOK_BACK_DAYS,
    AwareTime,
    BreakGlass,
    CatalogueRef,
    CheckAnswer,
    CheckRequest,
    Coded,
    ConsentRule,
    HistoryRequest,
    LedgerRef,
    Moment,
    OutcomeCode,
    PersonIn,
    PlannedIn,
    RequestId,
    VerdictOut,
)
from gateway.outcomes import Kept, Outcomes, stand_of
from recognition import Context, VerdictCode
from recognition.window import in_shanghai

Status = Literal[0, 1, 2]
STATUSES: dict[Status, tuple[str, str]] = {
    0: ("不互认", "declined"),
    1: ("已互认", "recognised"),
    2: ("未处理", "open"),
}
_STATUS: dict[OutcomeCode, Status] = {"accepted": 1, "declined": 0}
_HEARD = ("answered", "empty")


class ReminderRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """提醒: at ``reception`` what the patient has of the last ``look_back_days`` (30, if left out); at the
    ``order`` what serves for what is ``planned``, however far its window reaches back."""

    request_id: RequestId
    patient: PersonIn
    moment: Literal["reception", "order"]
    planned: Annotated[list[PlannedIn], Meta(max_length=50)] = []
    look_back_days: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    context: Context = Context()
    asked_at: AwareTime | None = None
    deadline_ms: Annotated[int, Meta(ge=50, le=10_000)] | None = None
    break_glass: BreakGlass | UnsetType = UNSET


class ReminderItem(Struct, frozen=True, kw_only=True):
    """One prior result: ``reason`` is the main one; ``status`` what the doctor said of it, 2 while nothing.

    ``age_days`` are the days from its day to that of the question, in Asia/Shanghai; ``own`` says that it is
    the asking institution's. ``mark`` is the mark as printed, where it is valid; ``withdrawn`` says that
    it was withdrawn since. ``also`` are the ids of the very same result as other nodes tell it: a word on one
    of them is a word on all.
    """

    result: str
    also: tuple[str, ...]
    kind: Kind
    institution: Coded
    own: bool
    local_name: str
    item: Coded | None
    performed: datetime | None
    reported: datetime | None
    age_days: int | None
    value: str
    unit: str
    reference: str
    study_uid: str
    verdict: VerdictCode
    reason_zh: str
    reason_en: str
    mark: str
    expires: datetime | None
    withdrawn: bool
    status: Status
    status_zh: str
    status_en: str


class ReminderOut(Struct, frozen=True, kw_only=True):
    """A check in short; ``id`` is that of the check, where the rest stands.

    ``open``: how many recognised results are left to decide about. ``not_heard``: nodes that could not be
    heard; while ``complete`` is false, "nothing found" is not certain.
    """

    id: str
    request_id: str
    moment: Moment
    answered_at: datetime
    complete: bool
    not_heard: tuple[str, ...]
    open: int
    zh: str
    en: str
    items: tuple[ReminderItem, ...]
    unnamed: tuple[str, ...]
    consent: ConsentRule
    catalogue: CatalogueRef
    ledger: LedgerRef


class Reminders:
    """Reminds, and reminds again."""

    def __init__(self, checks: Checks, outcomes: Outcomes) -> None:
        self._checks = checks
        self._outcomes = outcomes

    async def remind(self, request: ReminderRequest, client: Client) -> ReminderOut:
        """Ask, or with the same request id ask again: the same check, with the statuses of now.

        Raises:
            BadRequest: ``planned`` or ``look_back_days`` does not go with the moment; else as
                :meth:`gateway.checks.Checks.ask`.
        """
        shared = {name: getattr(request, name) for name in _SHARED}
        if request.moment == "order":
            if not request.planned:
                raise BadRequest("is empty; at the order, send what is planned", field="planned")
            if request.look_back_days is not UNSET:
                raise BadRequest(
                    "is for the reception; at the order every item has its window", field="look_back_days"
                )
            asked = await self._checks.ask(CheckRequest(planned=request.planned, **shared), client, "rest")
        else:
            if request.planned:
                raise BadRequest("is for the order; at reception nothing is planned", field="planned")
            days = LOOK_BACK_DAYS if request.look_back_days is UNSET else request.look_back_days
            history = HistoryRequest(look_back_days=days, **shared)
            asked = await self._checks.history(history, client, "rest")
        return await self._reminder(asked.answer)

    async def again(self, check: str, client: Client) -> ReminderOut:
        """The reminder that a check is, with the statuses of now.

        Raises:
            NotFound: no such check was answered for this institution.
        """
        return await self._reminder(await self._checks.answer(check, client))

    async def _reminder(self, answer: CheckAnswer) -> ReminderOut:
        return reminder_of(answer, await self._outcomes.stands(answer.id))


_SHARED = ("request_id", "patient", "context", "asked_at", "deadline_ms", "break_glass")


def reminder_of(answer: CheckAnswer, stands: Mapping[str, Kept]) -> ReminderOut:
    """A check in short, with the last word (``stands``) on each of its results."""
    withdrawn = {one.result for one in answer.withdrawn}
    items = tuple(
        _item(verdict, answer, stand_of(verdict, stands), verdict.result.id in withdrawn)
        for verdict in one_each(answer.verdicts)
    )
    left = len(open_results(answer, stands))
    zh, en = _sentence(answer, items, left)
    return ReminderOut(
        id=answer.id,
        request_id=answer.request_id,
        moment=answer.moment,
        answered_at=answer.answered_at,
        complete=answer.complete,
        not_heard=tuple(node.node for node in answer.nodes if node.fault and node.state not in _HEARD),
        open=left,
        zh=zh,
        en=en,
        items=items,
        unnamed=tuple(one.name for one in answer.unnamed),
        consent=answer.consent,
        catalogue=answer.catalogue,
        ledger=answer.ledger,
    )


def _item(verdict: VerdictOut, answer: CheckAnswer, stand: Kept | None, withdrawn: bool) -> ReminderItem:
    result, main = verdict.result, verdict.reasons[0]
    status = _STATUS.get(stand.outcome, 2) if stand else 2
    when = result.performed or result.reported
    age = (in_shanghai(answer.answered_at).date() - in_shanghai(when).date()).days if when else None
    return ReminderItem(
        result=result.id,
        also=verdict.also,
        kind=result.kind,
        institution=result.institution,
        own=result.institution.code == answer.receiver.code,
        local_name=result.local_name,
        item=verdict.item,
        performed=result.performed,
        reported=result.reported,
        age_days=age,
        value=result.value,
        unit=result.unit,
        reference=result.reference,
        study_uid=result.study_uid,
        verdict=verdict.verdict,
        reason_zh=main.zh,
        reason_en=main.en,
        mark=verdict.mark.printed if verdict.mark and verdict.mark.state == "valid" else "",
        expires=verdict.expires,
        withdrawn=withdrawn,
        status=status,
        status_zh=STATUSES[status][0],
        status_en=STATUSES[status][1],
    )


def _sentence(answer: CheckAnswer, items: tuple[ReminderItem, ...], left: int) -> tuple[str, str]:
    """What the box says: of an order the advice on each planned item, at reception what there is."""
    if answer.moment == "order":
        said = [(f"{one.planned}：{one.zh}", f"{one.planned}: {one.en}") for one in answer.advice]
        said += [(f"{one.name}：{one.zh}", f"{one.name}: {one.en}") for one in answer.unnamed]
        return "；".join(zh for zh, _ in said), "; ".join(en for _, en in said)
    if not answer.consent.permitted:
        return "患者未授权，未作查询", "not searched: the patient has not consented"
    good = sum(item.verdict == "recognised" for item in items)
    zh, en = f"近期有{len(items)}份检查检验结果", f"recent results: {len(items)}"
    zh += f"，{good}份可互认，其中{left}份未处理" if good else ""
    en += f", recognised: {good}, open of these: {left}" if good else ""
    if not items:
        zh, en = "未找到近期检查检验结果", "no recent result found"
    if unread := len(answer.unnamed):
        zh, en = f"{zh}；{unread}个名称未能对应到互认目录", f"{en}; names on no list: {unread}"
    if not answer.complete:
        zh, en = f"{zh}（查询不完整）", f"{en} (not every node was heard)"
    return zh, en
