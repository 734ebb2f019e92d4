"""What goes into a decision and what comes out of it: plain read-only values.

A :class:`Check` is the question, a :class:`Result` one prior result as an adapter read it, a
:class:`Decision` the answer with one :class:`Verdict` for each result that matters to the question.
Times are aware; values stay as they were written ("<0.1" is text, and stays text).
No value here carries a person's name or number: a person is a pseudonym by the time a decision is made.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from catalog import Kind, Setting

VerdictCode = Literal["recognised", "view_only", "not_recognised"]
Identity = Literal["strong", "weak"]
ResultStatus = Literal["final", "amended", "corrected", "preliminary", "cancelled", "entered-in-error"]
MarkState = Literal["valid", "invalid", "withdrawn", "unverifiable", "unsigned"]

VERDICT_ORDER: tuple[VerdictCode, ...] = ("recognised", "view_only", "not_recognised")


class Reading(Struct, frozen=True):
    """What mapping made of a local name: the item and concept, or why there is none."""

    item: str | None
    concept: str | None
    reason: str


class Planned(Struct, frozen=True):
    """One examination the doctor is about to order: an item, or a panel with its member items."""

    name: str
    items: tuple[str, ...]
    panel: str | None = None


class Event(Struct, frozen=True, forbid_unknown_fields=True):
    """Something done to the patient at a time; it matters to results from before it."""

    kind: Literal["operation", "transfusion", "intervention", "treatment"]
    at: Annotated[datetime, Meta(tz=True)]


class Context(Struct, frozen=True, forbid_unknown_fields=True):
    """Facts of the encounter that the negative list asks about; unknown facts are False.

    ``serial``: the examination is one of a series that diagnosis or monitoring needs (reason 99).
    ``drug_treatment`` and ``endemic_area`` (six months or more of residence) are about ``disease``.
    """

    setting: Setting = "outpatient"
    emergency: bool = False
    condition_changed: bool = False
    pre_operation: bool = False
    pre_transfusion: bool = False
    forensic: bool = False
    intervening_procedure: bool = False
    serial: bool = False
    drug_treatment: bool = False
    endemic_area: bool = False
    disease: Annotated[str, Meta(pattern=r"^[a-z0-9-]{0,40}$(?!\n)")] = ""
    events: Annotated[tuple[Event, ...], Meta(max_length=50)] = ()


class Check(Struct, frozen=True, kw_only=True):
    """核对: is there a prior result that serves for what is planned? ``at`` is the moment of asking."""

    at: datetime
    receiver: str
    planned: tuple[Planned, ...]
    context: Context = Context()


class Images(Struct, frozen=True):
    """What an archive said of a study's images: ``None`` where it could not be asked."""

    held: int | None
    expected: int | None = None


class Mark(Struct, frozen=True):
    """The recognition mark of a result: its scope (a region), as printed, and what its signature is worth.

    ``unverifiable``: the issuer's key list is not at hand, so nothing can be said of the signature.
    """

    scope: str | None
    printed: str
    state: MarkState
    id: str = ""
    signed: str = ""


class Result(Struct, frozen=True, kw_only=True, weakref=True):
    """One prior result 结果: a laboratory value with its unit, or an imaging study with its images.

    ``local_name``, ``value`` and ``reference`` (the range, its bounds inclusive or not) are as written by the
    hospital. ``digest`` is the SHA-256 over
    :func:`recognition.facts`, which a mark is bound to. ``version_key`` is equal for two versions of one
    result; which one counts is :mod:`recognition.versions`.
    """

    id: str
    node: str
    kind: Kind
    institution: str
    local_name: str
    reading: Reading
    identity: Identity
    status: ResultStatus
    performed: datetime | None
    reported: datetime | None
    version_key: str
    specimen: str = ""
    value: str = ""
    unit: str = ""
    reference: str = ""
    abnormal: bool = False
    study_uid: str = ""
    images: Images | None = None
    printed_mark: str = ""
    mark: Mark | None = None
    flags: tuple[str, ...] = ()
    source: str = ""


class Reason(Struct, frozen=True):
    """Why: the rule, its words in Chinese and English, and the particulars of this case."""

    rule: str
    step: int
    zh: str
    en: str
    reason_code: str = ""


class Converted(Struct, frozen=True):
    """The value in the catalogue's unit, by a listed factor; the comparator and the exact product are kept.

    ``factor`` is written with its offset where it has one: ``0.09148+2.152``. ``reference`` is the report's
    range by the same factor, each bound as inclusive as it was; empty where it cannot be read as one range.
    """

    value: str
    unit: str
    factor: str
    source: str
    reference: str = ""


class Verdict(Struct, frozen=True, kw_only=True):
    """The answer for one prior result. ``reasons`` starts with the main one, and is never empty.

    ``notes`` are rules that change no verdict and that a reader should know; ``converted`` is there where the
    value was written in another unit.
    """

    result: Result
    verdict: VerdictCode
    serves: str | None
    item: str | None
    list: str | None
    reasons: tuple[Reason, ...]
    notes: tuple[Reason, ...] = ()
    converted: Converted | None = None
    expires: datetime | None = None


class Best(Struct, frozen=True):
    """Which recognised result to show first for an item, and why it and not one of the ``others``."""

    item: str
    result: str
    others: int
    zh: str
    en: str


class Advice(Struct, frozen=True):
    """For one planned examination: which items are served by a recognised result, and the least to order.

    Where a planned item is the sum of others (a panel of its own code), the members stand for it.
    """

    planned: str
    panel: str | None
    served: tuple[str, ...]
    to_order: tuple[str, ...]
    best: tuple[Best, ...] = ()


class Decision(Struct, frozen=True, kw_only=True):
    """Verdicts of one check under one catalogue version, in the order of :mod:`recognition.best`."""

    catalogue: str
    verdicts: tuple[Verdict, ...]
    advice: tuple[Advice, ...] = field(default=())
