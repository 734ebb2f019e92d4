"""What callers send and get, in every face: one request and one answer, as plain values.

The REST face speaks these as JSON; the FHIR operation and the CDS Hooks service translate from and to them,
so that all three give the same decision.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from adapters.node import Report
from catalog import Kind
from recognition import Context, Converted, Images, Mark, Reason, VerdictCode
from security.status import Reason as WithdrawalReason

AwareTime = Annotated[datetime, Meta(tz=True, description="RFC 3339 date-time with an offset")]
RequestId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,64}$(?!\n)", description="the caller's own id")]
ShortText = Annotated[str, Meta(max_length=200)]


class PersonIn(Struct, frozen=True, forbid_unknown_fields=True):
    """A person's number and its type, such as resident-id 居民身份证; docs/his.md lists the types."""

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


class BreakGlass(Struct, frozen=True, forbid_unknown_fields=True):
    """紧急调阅: in an emergency, go on where the patient's consent says no. ``reason`` names no person."""

    reason: Annotated[str, Meta(min_length=2, max_length=200)]


class CheckRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """核对: may an earlier result serve for what is planned? One ``request_id`` has one answer."""

    request_id: RequestId
    patient: PersonIn
    planned: Annotated[list[PlannedIn], Meta(min_length=1, max_length=50)]
    context: Context = Context()
    asked_at: AwareTime | None = None
    deadline_ms: Annotated[int, Meta(ge=50, le=10_000)] | None = None
    break_glass: BreakGlass | UnsetType = UNSET


Moment = Literal["order", "reception", "report"]
"""When a hospital's system asks: with an order at hand, when the patient comes, or about one report."""

LOOK_BACK_DAYS = 30
"""How far a reminder at reception looks back: what sharing platforms use, as read in public code."""


class HistoryRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """就诊提醒: what does the patient have of the last ``look_back_days`` that may be recognised here?"""

    request_id: RequestId
    patient: PersonIn
    look_back_days: Annotated[int, Meta(ge=1)] = LOOK_BACK_DAYS
    context: Context = Context()
    asked_at: AwareTime | None = None
    deadline_ms: Annotated[int, Meta(ge=50, le=10_000)] | None = None
    break_glass: BreakGlass | UnsetType = UNSET


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
    it was written in another. ``also`` are the ids of the very same result as other nodes tell it, each of
    which has its own verdict beside this one.
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
    also: tuple[str, ...] = ()


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


class ConsentRule(Struct, frozen=True, kw_only=True):
    """What the patient's word means for a question: whether it may be answered, and on what basis.

    ``none``: the patient said nothing about it; ``consent``: the record with the id ``consent`` decides;
    ``break_glass``: an emergency was declared, against that record where one is named.
    """

    permitted: bool = True
    basis: Literal["none", "consent", "break_glass"] = "none"
    consent: str = ""
    zh: str = ""
    en: str = ""


class WithdrawnOut(Struct, frozen=True, kw_only=True):
    """标识撤回: the mark of a result (its id in the check) was withdrawn by its issuer at ``at``, and why."""

    result: str
    mark: str
    reason: WithdrawalReason
    at: datetime
    zh: str
    en: str


class CheckAnswer(Struct, frozen=True, kw_only=True):
    """The answer of a check, as things stood at ``answered_at``; ``asked_at`` is the caller's own time.

    At reception, and about a report, nothing is planned: ``advice`` is about the items that were found, and
    ``unnamed`` has the names of results that are on no list.

    ``complete`` is false where a node could not be heard: see ``nodes``. Where ``consent`` does not permit,
    none was asked. ``withdrawn`` is there when an answer is read again: marks that were withdrawn since.
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
    consent: ConsentRule = ConsentRule()
    moment: Moment = "order"
    withdrawn: tuple[WithdrawnOut, ...] = ()


class AnnouncedIn(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """That a node holds something of a group (``lab``, ``imaging``, ``imaging:CT``) of a person, performed or
    reported from ``first`` to ``last``."""

    group: Annotated[str, Meta(pattern=r"^(lab|imaging(:[A-Z]{2,16})?)$(?!\n)")]
    first: AwareTime
    last: AwareTime


class EntryIn(Struct, frozen=True):
    """One resource of a Bundle."""

    resource: Raw


class BundleIn(Struct, frozen=True, kw_only=True, rename="camel"):
    """A FHIR R4 collection Bundle."""

    resource_type: Literal["Bundle"]
    type: Literal["collection"]
    entry: Annotated[list[EntryIn], Meta(min_length=1, max_length=1000)]


class PublicationIn(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a node holds of one person: announced only, or with the resources themselves (``bundle``).

    ``bundle`` is a FHIR R4 collection Bundle of the Patient and his DiagnosticReports, Observations,
    ImagingStudies and Specimens; a resource that came before is replaced. ``removed`` names those
    (``Observation/a1``) that are gone; ``afresh``: everything that came before is. One ``request_id`` is
    carried out once.
    """

    request_id: RequestId
    node: ShortText
    patient: PersonIn
    announced: Annotated[list[AnnouncedIn], Meta(max_length=50)] = []
    bundle: BundleIn | UnsetType = UNSET
    removed: Annotated[list[ShortText], Meta(max_length=1000)] = []
    afresh: bool = False


class PointerOut(Struct, frozen=True, kw_only=True):
    """That the node is known to hold something of a group, from ``first`` to ``last``."""

    group: str
    first: datetime
    last: datetime


class PublicationOut(Struct, frozen=True, kw_only=True):
    """A publication as carried out: how many resources were kept and removed, and what is known by it."""

    id: str
    request_id: str
    node: str
    kept: int
    removed: int
    pointers: tuple[PointerOut, ...]
    ledger: LedgerRef


class WithdrawalIn(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """撤回标识: why a mark is withdrawn. ``text`` is for ``other``, in words that name no person."""

    reason: WithdrawalReason
    text: ShortText = ""


class WithdrawalOut(Struct, frozen=True, kw_only=True):
    """A mark as withdrawn, and where that stands in the ledger; ``zh`` and ``en`` say why."""

    mark: str
    reason: WithdrawalReason
    at: datetime
    zh: str
    en: str
    ledger: LedgerRef


class NoticeOut(Struct, frozen=True, kw_only=True):
    """A withdrawal that concerns a check of this institution: its ``number`` here, the mark, the result."""

    number: int
    mark: str
    issuer: str
    reason: WithdrawalReason
    at: datetime
    check: str
    result: str
    item: str
    zh: str
    en: str


class NoticesOut(Struct, frozen=True, kw_only=True):
    """Withdrawals after a number; ask again with ``since`` = ``next``. One may come twice, never none."""

    withdrawals: tuple[NoticeOut, ...]
    next: int


class MarkStatusOut(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether a mark of this gateway counts; ``zh`` and ``en`` say why not, where it is withdrawn (with
    ``reason`` and ``at``), or ``invalid``: its key no longer counts."""

    mark: str
    issuer: str
    status: Literal["valid", "withdrawn", "expired", "invalid"]
    issued: datetime
    expires: datetime
    reason: WithdrawalReason | UnsetType = UNSET
    at: datetime | UnsetType = UNSET
    zh: str = ""
    en: str = ""


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
