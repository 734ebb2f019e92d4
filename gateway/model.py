"""What callers send and get, in every face: one request and one answer, as plain values.

The REST face speaks these as JSON; the FHIR operation and the CDS Hooks service translate from and to them,
so that all three give the same decision.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from adapters.node import Report
from catalog import Kind
from recognition import Context, Converted, Images, Mark, Reason, VerdictCode

AwareTime = Annotated[datetime, Meta(tz=True, description="RFC 3339 date-time with an offset")]
RequestId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,64}$(?!\n)", description="the caller's own id")]
ShortText = Annotated[str, Meta(max_length=200)]


class PersonIn(Struct, frozen=True, forbid_unknown_fields=True):
    """A person's number: resident-id 居民身份证, passport, health-card 电子健康卡."""

    type: ShortText
    value: ShortText


class PlannedIn(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One planned examination: the hospital's ``name`` with its own ``code`` and fields, or an ``item`` or
    panel code of the catalogue.
    """

    name: ShortText = ""
    item: ShortText = ""
    kind: Literal["imaging", "lab", ""] = ""
    modality: ShortText = ""
    specimen: ShortText = ""
    code: ShortText = ""


class CheckRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """核对: may an earlier result serve for what is planned? One ``request_id`` has one answer."""

    request_id: RequestId
    patient: PersonIn
    planned: Annotated[list[PlannedIn], Meta(min_length=1, max_length=50)]
    context: Context = Context()
    asked_at: AwareTime | None = None
    deadline_ms: Annotated[int, Meta(ge=50, le=10_000)] | None = None


class Coded(Struct, frozen=True):
    """A catalogue code with its name."""

    code: str
    name: str


class ResultOut(Struct, frozen=True, kw_only=True):
    """A prior result as the issuing hospital wrote it; ``reference`` is its range for this value."""

    id: str
    node: str
    kind: Kind
    institution: Coded
    local_name: str
    status: str
    performed: datetime | None
    reported: datetime | None
    specimen: str
    value: str
    unit: str
    study_uid: str
    images: Images | None
    reference: str = ""


class VerdictOut(Struct, frozen=True, kw_only=True):
    """The verdict on one prior result; the first reason is the main one.

    ``notes`` change no verdict and should be read. ``converted`` is the value in the catalogue's unit, where
    it was written in another.
    """

    verdict: VerdictCode
    reasons: tuple[Reason, ...]
    result: ResultOut
    item: Coded | None
    serves: Coded | None
    list: str | None
    mark: Mark | None
    expires: datetime | None
    notes: tuple[Reason, ...] = ()
    converted: Converted | None = None


class BestOut(Struct, frozen=True):
    """Which recognised result (its id) to show first for an item, and why it and not one of the others."""

    item: Coded
    result: str
    others: int
    zh: str
    en: str


class AdviceOut(Struct, frozen=True):
    """For one planned examination, number ``index`` of the request: what is served, what is left to order.

    ``zh`` and ``en`` say it in a sentence.
    """

    index: int
    planned: str
    panel: str | None
    served: tuple[Coded, ...]
    to_order: tuple[Coded, ...]
    best: tuple[BestOut, ...] = ()
    zh: str = ""
    en: str = ""


class Unnamed(Struct, frozen=True):
    """A planned name, number ``index`` of the request, that has no item: nothing was searched for it.

    ``review`` is the id of its row in the review queue, where a steward can say what it means; empty where
    something in it looks like a person's number.
    """

    index: int
    name: str
    reason: str
    review: str
    zh: str
    en: str


class CatalogueRef(Struct, frozen=True):
    """The catalogue version decided under, and what it says of itself."""

    version: str
    illustrative: bool
    notice_zh: str
    notice_en: str


class LedgerRef(Struct, frozen=True):
    """Where the evidence of this answer stands in the ledger."""

    origin: str
    entry: str
    index: int


class CheckAnswer(Struct, frozen=True, kw_only=True):
    """The answer of a check, as things stood at ``answered_at``; ``asked_at`` is the caller's own time.

    ``complete`` is false where a node could not be heard: see ``nodes``.
    """

    id: str
    request_id: str
    receiver: Coded
    asked_at: datetime
    answered_at: datetime
    catalogue: CatalogueRef
    complete: bool
    advice: tuple[AdviceOut, ...]
    verdicts: tuple[VerdictOut, ...]
    unnamed: tuple[Unnamed, ...]
    nodes: tuple[Report, ...]
    ledger: LedgerRef


OutcomeCode = Literal["accepted", "declined", "viewed", "cited", "withdrawn"]


class OutcomeIn(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """处置: what the doctor did about one result of a check.

    ``declined`` needs a reason: ``system`` and ``code`` of a published reason code. Codes 98 and 99 of
    platform-A do not count as refusals; a code that asks for text (99: the disease name) needs ``text``.
    """

    result: ShortText
    outcome: OutcomeCode
    at: AwareTime | None = None
    system: ShortText = ""
    code: ShortText = ""
    text: ShortText = ""


class OutcomeOut(Struct, frozen=True, kw_only=True):
    """An outcome as recorded. ``counts_as_refusal`` is unset unless the outcome is ``declined``."""

    id: str
    check: str
    result: str
    outcome: OutcomeCode
    at: datetime
    ledger: LedgerRef
    counts_as_refusal: bool | UnsetType = UNSET


class Problem(Struct, frozen=True, omit_defaults=True):
    """RFC 9457 problem details, with whose fault it was."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    fault: str
    request: str
    field: str = ""
