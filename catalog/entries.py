"""The rows of a catalogue: plain read-only values, one struct a table. Their fields are the tables' columns.

``source`` says where a row was read, ``certainty`` how: ``seen-official``, ``seen-press`` or ``seen-code``
(on an official page, in the press, in public code), ``general-knowledge``, ``borrowed`` (from another
region), ``derived`` (a proposal) or ``illustrative`` (only the form is real).
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

from catalog.errors import CatalogueError, Finding

Kind = Literal["imaging", "lab"]
Clock = Literal["calendar_days", "elapsed_24h"]
Base = Literal["report", "performed"]
Boundary = Literal["including", "excluding"]
Effect = Literal["recognised", "note", "view_only", "not_recognised"]
Level = Literal["national", "agreement", "provincial", "prefecture", "district"]
Status = Literal["active", "suspended", "withdrawn"]
Setting = Literal["outpatient", "inpatient", "emergency", "*"]

ANY = "*"
_SHANGHAI = ZoneInfo("Asia/Shanghai")

RULES = (
    *("R0.1", "R1.1", "R2.1", "R2.2", "R2.3", "R2.4"),
    *("R3.1", "R3.2", "R3.3", "R3.4", "R3.5", "R3.6", "R3.7"),
    *("R4.1", "R4.2", "R4.3", "R4.4", "R4.5"),
    *("R5.1", "R5.2", "R5.3"),
    *("R7.1", "R7.2", "R7.3", "R7.4", "R7.5", "R7.6"),
    *("R9.1", "R9.2", "R9.3", "R9.4", "R9.5"),
)
"""The rules a decision speaks by. A catalogue gives each its words; one that is missing cannot be loaded."""

LATER = ("R9.5",)
"""Those of them that catalogues were published without: where one is missing, nothing is said by it."""

NOTES = ("R7.6", "R9.3", "R9.4", "R9.5")
"""The rules that tell a reader something and change no verdict."""


class Region(Struct, frozen=True):
    """An area of the region tree. ``marks`` are the printed ranges that mean it (川渝 for 川渝HR)."""

    code: str
    name: str
    kind: Literal["nation", "agreement", "province", "city", "district"]
    parents: tuple[str, ...]
    marks: tuple[str, ...]
    source: str
    certainty: str

    @property
    def mark(self) -> str:
        """The mark of this range as it is printed: 川渝HR."""
        return f"{self.marks[0] if self.marks else self.name}HR"


class Edition(Struct, frozen=True, kw_only=True):
    """What one owner publishes under one version: the head of a catalogue folder.

    ``id`` stays the same from version to version; one version of each id is in force at a time. ``scope`` is
    the area that the owner speaks for: no list, rule or qualification of the edition reaches beyond it. For
    ``overlap_days`` after it takes force its predecessor may still be asked for by the codes it dropped.
    """

    id: str
    version: str
    name: str
    owner: str
    scope: str
    effective_from: datetime
    overlap_days: int
    illustrative: bool
    notice_zh: str
    notice_en: str


class ItemList(Struct, frozen=True):
    """A published recognition list (互认目录) of one region.

    ``additions``: institutions of the region may tighten it for themselves.
    """

    id: str
    name: str
    kind: Kind
    region: str
    owner: str
    additions: bool
    edition: str
    source: str
    certainty: str


class Item(Struct, frozen=True):
    """One 互认项目. ``concept`` is its meaning in the notation of mapping; ``units`` what its values carry.

    ``method_dependent``: values of different methods or platforms cannot be followed as one series.
    """

    code: str
    name: str
    kind: Kind
    concept: str
    group: str
    lists: tuple[str, ...]
    aliases: tuple[str, ...]
    units: tuple[str, ...]
    method_dependent: bool
    source: str
    certainty: str

    @property
    def targets(self) -> tuple[str, str, str]:
        """The targets of windows that name it, the most specific first."""
        return self.code, f"group:{self.group}", ANY


class Panel(Struct, frozen=True):
    """Several items that are ordered as one, with the members of this version: a laboratory panel, an
    examination of several parts, or an item that is the sum of others (plain + contrast; then ``code`` is
    that item's)."""

    code: str
    name: str
    aliases: tuple[str, ...]
    members: tuple[str, ...]
    source: str
    certainty: str


class Window(Struct, frozen=True):
    """互认时限: how many days a result stays recognisable, and how they are counted.

    ``calendar_days`` counts dates in Asia/Shanghai and the last date counts in full; ``elapsed_24h`` counts
    unbroken periods of 24 hours. ``boundary`` says whether the last day or instant itself still counts.
    Within ``view_days`` (0: none) a result that is too old to be recognised may still be viewed.
    ``institution`` is
    empty, or the one asking institution that tightens the window for itself; that one has no ``view_days``.
    """

    list: str
    target: str
    days: int
    clock: Clock
    base: Base
    boundary: Boundary
    setting: Setting
    institution: str
    view_days: int
    is_default: bool
    source: str
    certainty: str


class Rule(Struct, frozen=True, kw_only=True):
    """One step of the decision, or one condition of the negative list or on levels, in words and effect.

    ``when`` is the condition of the latter (:mod:`catalog.conditions`) and empty for the former; ``items``,
    ``region`` and ``institution`` (empty: every one) say where it applies. ``reason_code`` (``system:code``,
    or empty) is the code a doctor would give for repeating the examination. Only one rule has the effect
    ``recognised``: the words for "all steps passed". A ``note`` changes no verdict (:data:`NOTES`).

    Raises:
        CatalogueError: id, words, source or owner is missing.
    """

    id: str
    step: int
    effect: Effect
    when: str = ""
    items: str = ANY
    region: str = ""
    institution: str = ""
    zh: str
    en: str
    reason_code: str = ""
    source: str
    owner: str
    certainty: str

    def __post_init__(self) -> None:
        for field in ("id", "zh", "en", "source", "owner"):
            if not getattr(self, field).strip():
                raise CatalogueError((Finding("rule", 0, field, "is empty; a rule needs it"),))


class StandIn(Struct, frozen=True):
    """A prior item that may serve for an ordered one. Never a name mapping; it has a clinical owner."""

    ordered: str
    prior: str
    zh: str
    en: str
    owner: str
    source: str
    certainty: str


class ReasonCode(Struct, frozen=True):
    """A reason a doctor gives for not recognising. 98 and 99 do not count as refusals."""

    system: str
    code: str
    zh: str
    en: str
    counts_as_refusal: bool
    needs_text: bool
    source: str


class Institution(Struct, frozen=True):
    """A health institution. ``level`` is the Chinese grade; ``gateway`` the owner id of its gateway."""

    code: str
    name: str
    region: str
    level: str
    gateway: str
    alliances: tuple[str, ...]
    source: str


class Qualification(Struct, frozen=True):
    """institution × items × period, granted by an evaluation at a level that gives the scope.

    ``items`` may be all or some of a laboratory's. ``basis`` names the evaluation, ``level`` its level,
    ``batch`` the circular or round it was published in. ``status_from`` is when a suspension or withdrawal
    began.
    """

    id: str
    institution: str
    items: str
    valid_from: date
    valid_to: date
    scope: str
    level: Level
    basis: str
    batch: str
    status: Status
    status_from: datetime | None
    reason: str
    source: str

    def holds(self, day: date) -> bool:
        """Whether it counted on this day of an examination, in Asia/Shanghai.

        Both ends of the period count. The day on which it was suspended or withdrawn no longer does,
        whatever the hour: what is judged is the day of the examination.
        """
        return self.valid_from <= day <= self.valid_to and (self.stopped is None or day < self.stopped)

    @property
    def stopped(self) -> date | None:
        """The day, in Asia/Shanghai, on which it was suspended or withdrawn; None where it was not."""
        if self.status == "active":
            return None
        return self.status_from.astimezone(_SHANGHAI).date() if self.status_from else self.valid_from


class Conversion(Struct, frozen=True):
    """value in ``to_unit`` = value in ``unit`` × ``factor`` + ``offset``, for this item and no other."""

    item: str
    unit: str
    to_unit: str
    factor: Decimal
    offset: Decimal
    source: str
    certainty: str


class Price(Struct, frozen=True):
    """What one of the items costs in an area, in yuan: for estimates of what was saved, and nothing else."""

    items: str
    region: str
    amount: Decimal
    source: str
    certainty: str


LEVELS = ("未定级", "一级", "二级乙等", "二级甲等", "三级乙等", "三级甲等")
"""Grades of Chinese hospitals, low to high; the order is what a hierarchy rule compares."""
