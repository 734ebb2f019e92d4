"""The catalogue: what may be recognised, where, until when, and by whom it was examined.

A catalogue *version* is a folder of human-editable tables (``load.py`` reads it). Compiled, it is one
read-only :class:`Catalogue`: every look-up a decision needs is a dictionary access, and swapping a version
is swapping one reference, so a running check finishes under the version it began with.

The parts:

* *regions* form a tree in which a region may have several parents: 湖北 lies in 国家 and in the laboratory
  alliance. A *scope* is a region; it contains itself and everything below it.
* *lists* (互认目录) are what a region publishes: an owner, a scope, a kind, a default window. An *item* is in
  one or more lists. Laboratory items carry WS/T 886-2026 codes, so that one item can stand in several lists.
* *windows* are given for a list and an item, a group, or the whole list; the most specific one wins.
* *rules* hold the words, source, owner and effect of every step a decision takes; the *negative list* adds
  conditions on named facts. A rule without reason and source cannot be loaded.
* *qualifications* say which institution may have which items recognised, from when to when, how far.

``source`` says where a row was read, ``certainty`` how: ``seen-official``, ``seen-press`` or ``seen-code``
(on an official page, in the press, in public code), ``general-knowledge``, ``borrowed`` (from another
region), ``derived`` (a proposal) or ``illustrative`` (only the form is real).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from functools import cached_property
from typing import Literal, TypeVar

from msgspec import Struct

from catalog.errors import UnknownEntry

Kind = Literal["imaging", "lab"]
Clock = Literal["calendar_days", "elapsed_24h"]
Base = Literal["report", "performed"]
Effect = Literal["recognised", "view_only", "not_recognised"]
Status = Literal["active", "suspended", "withdrawn"]
Setting = Literal["outpatient", "inpatient", "emergency", "*"]

ANY = "*"
T = TypeVar("T")

FACTS = (
    "emergency",
    "condition_changed",
    "pre_operation",
    "pre_transfusion",
    "forensic",
    "intervening_procedure",
    "rapid_change",
    "abnormal",
)
"""The facts a line of the negative list may name; the decision knows how to establish each of them."""

RULES = (
    *("R0.1", "R1.1", "R2.1", "R2.2", "R2.3", "R2.4"),
    *("R3.1", "R3.2", "R3.3", "R3.4", "R3.5", "R3.6", "R3.7"),
    *(
        "R4.1",
        "R4.2",
        "R4.3",
        "R4.4",
        "R4.5",
        "R5.1",
        "R5.2",
        "R5.3",
        "R6.1",
        "R7.1",
        "R7.2",
        "R7.3",
        "R9.1",
        "R9.2",
    ),
)
"""The rules a decision speaks by. A catalogue gives each its words; one that is missing cannot be loaded."""


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


class ItemList(Struct, frozen=True):
    """A published recognition list (互认目录) of one region."""

    id: str
    name: str
    kind: Kind
    region: str
    owner: str
    source: str
    certainty: str


class Item(Struct, frozen=True):
    """One 互认项目. ``concept`` is its meaning in the notation of mapping; ``unit`` what its values carry."""

    code: str
    name: str
    kind: Kind
    concept: str
    group: str
    lists: tuple[str, ...]
    aliases: tuple[str, ...]
    units: tuple[str, ...]
    source: str
    certainty: str


class Panel(Struct, frozen=True):
    """A laboratory panel with its member items in this version."""

    code: str
    name: str
    aliases: tuple[str, ...]
    members: tuple[str, ...]
    source: str
    certainty: str


class Window(Struct, frozen=True):
    """互认时限: how many days a result stays recognisable, and how they are counted.

    ``calendar_days`` counts dates in Asia/Shanghai and the last date counts in full; ``elapsed_24h`` counts
    unbroken periods of 24 hours, and the last instant still counts.
    """

    list: str
    target: str
    days: int
    clock: Clock
    base: Base
    setting: Setting
    is_default: bool
    source: str
    certainty: str


class Rule(Struct, frozen=True):
    """One step of the decision, or one line of the negative list, in words and with its effect.

    ``fact`` is set for the negative list: the name of the fact that must hold. ``items`` and ``region`` say
    where the line applies. ``reason_code`` (``system:code``, or empty) is the code a doctor would give for
    repeating the examination. Only one rule has the effect ``recognised``: the words for "all steps passed".
    """

    id: str
    step: int
    effect: Effect
    fact: str
    items: str
    region: str
    zh: str
    en: str
    reason_code: str
    source: str
    owner: str
    certainty: str


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
    source: str


class Qualification(Struct, frozen=True):
    """institution × items × period, granted by an evaluation at a level that gives the scope."""

    id: str
    institution: str
    items: str
    valid_from: date
    valid_to: date
    scope: str
    basis: str
    status: Status
    status_from: date | None
    reason: str
    source: str

    def holds(self, day: date) -> bool:
        """Whether it counted on this day: inside its period, and not suspended or withdrawn by then."""
        stopped = self.status != "active" and (self.status_from is None or self.status_from <= day)
        return self.valid_from <= day <= self.valid_to and not stopped


class Hierarchy(Struct, frozen=True):
    """A region's rule on levels; ``not_lower``: the issuing institution may not rank below the receiver."""

    region: str
    rule: Literal["not_lower"]
    source: str
    certainty: str


LEVELS = ("未定级", "一级", "二级乙等", "二级甲等", "三级乙等", "三级甲等")
"""Grades of Chinese hospitals, low to high; the order is what a hierarchy rule compares."""


class Catalogue(Struct, frozen=True, dict=True, kw_only=True):
    """One version, compiled and read-only. Codes are the keys of every mapping.

    Raises:
        UnknownEntry: from the look-ups that are given a code this version does not hold.
    """

    version: str
    name: str
    owner: str
    effective_from: datetime
    illustrative: bool
    notice_zh: str
    notice_en: str
    regions: dict[str, Region]
    lists: dict[str, ItemList]
    items: dict[str, Item]
    panels: dict[str, Panel]
    windows: tuple[Window, ...]
    rules: dict[str, Rule]
    stand_ins: tuple[StandIn, ...]
    reason_codes: dict[tuple[str, str], ReasonCode]
    institutions: dict[str, Institution]
    qualifications: tuple[Qualification, ...]
    hierarchies: tuple[Hierarchy, ...]

    @cached_property
    def _above(self) -> dict[str, frozenset[str]]:
        def climb(code: str) -> frozenset[str]:
            return frozenset({code}).union(*(climb(p) for p in self.regions[code].parents))

        return {code: climb(code) for code in self.regions}

    @cached_property
    def _by_concept(self) -> dict[str, Item]:
        return {item.concept: item for item in self.items.values()}

    @cached_property
    def _windows(self) -> dict[tuple[str, str, str], Window]:
        return {(w.list, w.target, w.setting): w for w in self.windows}

    @cached_property
    def _stand_ins(self) -> dict[tuple[str, str], StandIn]:
        return {(s.ordered, s.prior): s for s in self.stand_ins}

    @cached_property
    def _serves(self) -> dict[str, frozenset[str]]:
        found: dict[str, set[str]] = {}
        for relation in self.stand_ins:
            found.setdefault(relation.prior, {relation.prior}).add(relation.ordered)
        return {prior: frozenset(codes) for prior, codes in found.items()}

    @cached_property
    def _qualifications(self) -> dict[str, tuple[Qualification, ...]]:
        found: dict[str, list[Qualification]] = {}
        for q in self.qualifications:
            found.setdefault(q.institution, []).append(q)
        return {code: tuple(qs) for code, qs in found.items()}

    @cached_property
    def _marks(self) -> dict[str, str]:
        return {mark: region.code for region in self.regions.values() for mark in region.marks}

    @cached_property
    def _patterns(self) -> dict[str, frozenset[str]]:
        return {}  # filled by covers(): a decision asks the same few patterns again and again

    @cached_property
    def negative_list(self) -> tuple[Rule, ...]:
        """The rules that name a fact, in the order of their ids."""
        return tuple(sorted((r for r in self.rules.values() if r.fact), key=lambda r: r.id))

    def region(self, code: str) -> Region:
        """The region of this code."""
        return self._get("region", self.regions, code)

    def item(self, code: str) -> Item:
        """The item of this code."""
        return self._get("item", self.items, code)

    def institution(self, code: str) -> Institution:
        """The institution of this code."""
        return self._get("institution", self.institutions, code)

    def item_for(self, concept: str) -> Item | None:
        """The item that this concept projects onto, or None: never the nearest one."""
        return self._by_concept.get(concept)

    def contains(self, scope: str, region: str) -> bool:
        """Whether the area ``scope`` holds ``region``: 川渝 holds 成都, 成都 does not hold 川渝."""
        return scope in self._above.get(region, frozenset())

    def depth(self, region: str) -> int:
        """How many areas hold this one, itself included: the smaller, the wider the area."""
        return len(self._above[region])

    def scope_of_mark(self, printed: str, issuer_region: str) -> str | None:
        """The region that a printed range means; a bare HR (empty range) means the issuer's province."""
        if printed:
            return self._marks.get(printed)
        return next((c for c in self._up(issuer_region) if self.regions[c].kind == "province"), None)

    def lists_for(self, item: Item, receiver_region: str) -> tuple[ItemList, ...]:
        """The lists with this item whose scope holds the receiver, narrowest area first."""
        held = [self.lists[name] for name in item.lists]
        fitting = [entry for entry in held if self.contains(entry.region, receiver_region)]
        return tuple(sorted(fitting, key=lambda entry: (-self.depth(entry.region), entry.id)))

    def window(self, item: Item, list_id: str, setting: Setting) -> Window | None:
        """The most specific window: item before group before list, the encounter's setting before any."""
        for target in (item.code, f"group:{item.group}", ANY):
            for where in (setting, ANY):
                if found := self._windows.get((list_id, target, where)):
                    return found
        return None

    def stand_in(self, ordered: str, prior: str) -> StandIn | None:
        """The relation by which item ``prior`` may serve for item ``ordered``, or None."""
        return self._stand_ins.get((ordered, prior))

    def serves(self, prior: str) -> frozenset[str]:
        """The codes an item may serve for: its own, and those that it may stand in for."""
        return self._serves.get(prior) or frozenset({prior})

    def covers(self, pattern: str, item: Item) -> bool:
        """Whether ``*``, ``kind:lab``, ``list:…``, ``group:…`` or a blank-separated set of codes names it."""
        covered = self._patterns.get(pattern)
        if covered is None:
            covered = frozenset(code for code, held in self.items.items() if _names(pattern, held))
            self._patterns[pattern] = covered
        return item.code in covered

    def qualifications_of(self, institution: str, item: Item) -> tuple[Qualification, ...]:
        """Every qualification record of this institution that covers the item, whatever its period."""
        return tuple(q for q in self._qualifications.get(institution, ()) if self.covers(q.items, item))

    def hierarchy(self, receiver_region: str) -> Hierarchy | None:
        """The level rule of the receiver's area, or None where there is none."""
        return next((h for h in self.hierarchies if self.contains(h.region, receiver_region)), None)

    def rule(self, rule_id: str) -> Rule:
        """The rule of this id."""
        return self._get("rule", self.rules, rule_id)

    def _up(self, region: str) -> Iterator[str]:
        if region in self.regions:
            yield region
            for parent in self.regions[region].parents:
                yield from self._up(parent)

    def _get(self, kind: str, table: dict[str, T], code: str) -> T:
        try:
            return table[code]
        except KeyError:
            raise UnknownEntry(kind, code, self.version) from None


def _names(pattern: str, item: Item) -> bool:
    for part in pattern.split():
        head, _, rest = part.partition(":")
        if part in (ANY, item.code) or (head, rest) in (("kind", item.kind), ("group", item.group)):
            return True
        if head == "list" and rest in item.lists:
            return True
    return False
