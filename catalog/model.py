"""The catalogue: what may be recognised, where, until when, and by whom it was examined.

An *edition* is what one owner publishes for one area under one version: a folder of human-editable tables
(``load.py`` reads it). The editions in force together (national, 川渝 imaging, 川渝 laboratory, alliance),
compiled, are one read-only :class:`Catalogue`: every look-up a decision needs is a dictionary access, and
swapping a version is swapping one reference, so a running check finishes under the version it began with.

The parts:

* *regions* form a tree in which a region may have several parents: 湖北 lies in 国家 and in the laboratory
  alliance. A *scope* is a region; it contains itself and everything below it.
* *lists* (互认目录) are what a region publishes: an owner, a scope, a kind, a default window. An *item* is in
  one or more lists. Laboratory items carry WS/T 886-2026 codes, so that one item can stand in several lists.
* *windows* are given for a list and an item, a group, or the whole list; the most specific one wins.
* *rules* hold the words, source, owner and effect of every step a decision takes; the *negative list* and the
  *level rules* (step 6) add conditions on named facts (:mod:`catalog.conditions`). A rule without id, words,
  source and owner cannot be made.
* an institution may *add* windows and lines of the negative list for itself where a list allows it; by their
  form they can tighten and never loosen.
* *conversions* are the only factors by which one unit becomes another, each for one item.
* *qualifications* say which institution may have which items recognised, from when to when, how far.
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import TypeVar

from msgspec import Struct

from catalog._names import canonical_name, matches
from catalog._tree import reached
from catalog.conditions import Condition, compile_condition
from catalog.entries import (
    ANY,
    Conversion,
    Edition,
    Institution,
    Item,
    ItemList,
    Panel,
    Price,
    Qualification,
    ReasonCode,
    Region,
    Rule,
    Setting,
    StandIn,
    Window,
)
from catalog.errors import UnknownEntry
from catalog.timeline import label_of

T = TypeVar("T")


class Catalogue(Struct, frozen=True, dict=True, kw_only=True):
    """The editions in force together, compiled and read-only. Codes are the keys of every mapping.

    Raises:
        UnknownEntry: from the look-ups that are given a code this version does not hold.
    """

    editions: tuple[Edition, ...]
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
    conversions: tuple[Conversion, ...]
    prices: tuple[Price, ...]

    @cached_property
    def version(self) -> str:
        """What answers and evidence carry: the version where all editions share it, else ``id@version+…``."""
        return label_of(self.editions)

    @cached_property
    def effective_from(self) -> datetime:
        """Since when these editions are in force together."""
        return max(edition.effective_from for edition in self.editions)

    @cached_property
    def illustrative(self) -> bool:
        """Whether any edition is."""
        return any(edition.illustrative for edition in self.editions)

    @cached_property
    def notices(self) -> tuple[str, str]:
        """What an illustrative edition says of itself, in Chinese and English; empty where none is."""
        return next(((e.notice_zh, e.notice_en) for e in self.editions if e.illustrative), ("", ""))

    @cached_property
    def _above(self) -> dict[str, frozenset[str]]:
        return {code: frozenset(self._up(code)) for code in self.regions}

    @cached_property
    def _parents(self) -> dict[str, tuple[str, ...]]:
        return {region.code: region.parents for region in self.regions.values()}

    @cached_property
    def _by_concept(self) -> dict[str, Item]:
        return {item.concept: item for item in self.items.values()}

    @cached_property
    def _by_name(self) -> dict[str, tuple[Item, ...]]:
        found: dict[str, list[Item]] = {}
        for item in self.items.values():
            for name in {canonical_name(name) for name in (item.name, *item.aliases)}:
                found.setdefault(name, []).append(item)
        return {name: tuple(items) for name, items in found.items()}

    @cached_property
    def _windows(self) -> dict[tuple[str, str, str, str], Window]:
        return {(w.list, w.target, w.setting, w.institution): w for w in self.windows}

    @cached_property
    def _stand_ins(self) -> dict[tuple[str, str], StandIn]:
        return {(s.ordered, s.prior): s for s in self.stand_ins}

    @cached_property
    def _serves(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, set[str]] = {}
        for relation in self.stand_ins:
            found.setdefault(relation.prior, {relation.prior}).add(relation.ordered)
        return {prior: tuple(sorted(codes)) for prior, codes in found.items()}

    @cached_property
    def _qualifications(self) -> dict[str, tuple[Qualification, ...]]:
        found: dict[str, list[Qualification]] = {}
        for q in self.qualifications:
            found.setdefault(q.institution, []).append(q)
        return {code: tuple(qs) for code, qs in found.items()}

    @cached_property
    def _conversions(self) -> dict[str, tuple[Conversion, ...]]:
        found: dict[str, list[Conversion]] = {}
        for conversion in self.conversions:
            found.setdefault(conversion.item, []).append(conversion)
        return {code: tuple(listed) for code, listed in found.items()}

    @cached_property
    def _marks(self) -> dict[str, str]:
        return {mark: region.code for region in self.regions.values() for mark in region.marks}

    @cached_property
    def _patterns(self) -> dict[str, frozenset[str]]:
        return {}  # filled by covers(): a decision asks the same few patterns again and again

    @cached_property
    def _applying(self) -> dict[tuple[int, str, str, str], tuple[tuple[Rule, Condition], ...]]:
        return {}  # filled by conditions_for(), as above

    @cached_property
    def conditions(self) -> tuple[tuple[Rule, Condition], ...]:
        """The rules with a condition, in the order of their ids: level rules and negative list."""
        listed = sorted((rule for rule in self.rules.values() if rule.when), key=lambda rule: rule.id)
        return tuple((rule, compile_condition(rule.when)) for rule in listed)

    def region(self, code: str) -> Region:
        """The region of this code."""
        return self._get("region", self.regions, code)

    def item(self, code: str) -> Item:
        """The item of this code."""
        return self._get("item", self.items, code)

    def institution(self, code: str) -> Institution:
        """The institution of this code."""
        return self._get("institution", self.institutions, code)

    def rule(self, rule_id: str) -> Rule:
        """The rule of this id."""
        return self._get("rule", self.rules, rule_id)

    def edition_of(self, item: Item) -> Edition | None:
        """The edition that publishes the first of the item's lists; None for an item of no list."""
        wanted = self.lists[item.lists[0]].edition if item.lists else ""
        return next((edition for edition in self.editions if edition.id == wanted), None)

    def item_for(self, concept: str) -> Item | None:
        """The item that this concept projects onto, or None: never the nearest one."""
        return self._by_concept.get(concept)

    def items_named(self, name: str) -> tuple[Item, ...]:
        """The items with this name or alias: width, case and blanks folded, and nothing else alike."""
        return self._by_name.get(canonical_name(name), ())

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

    def window(self, item: Item, list_id: str, setting: Setting, institution: str = "") -> Window | None:
        """The most specific window: item before group before list, the encounter's setting before any.

        With an ``institution``: the one that it added for itself, which counts beside the list's own.
        """
        for target in item.targets:
            for where in (setting, ANY):
                if found := self._windows.get((list_id, target, where, institution)):
                    return found
        return None

    def stand_in(self, ordered: str, prior: str) -> StandIn | None:
        """The relation by which item ``prior`` may serve for item ``ordered``, or None."""
        return self._stand_ins.get((ordered, prior))

    def serves(self, prior: str) -> tuple[str, ...]:
        """The codes an item may serve for, in order: its own, and those that it may stand in for."""
        return self._serves.get(prior) or (prior,)

    def covers(self, pattern: str, item: Item) -> bool:
        """Whether ``*``, ``kind:lab``, ``list:…``, ``group:…`` or a blank-separated set of codes names it."""
        covered = self._patterns.get(pattern)
        if covered is None:
            covered = frozenset(code for code, held in self.items.items() if matches(pattern, held))
            self._patterns[pattern] = covered
        return item.code in covered

    def conditions_for(
        self, step: int, item: Item, receiver_region: str, receiver: str
    ) -> tuple[tuple[Rule, Condition], ...]:
        """The conditions of a step that apply to this item at this institution, in the order of their ids."""
        key = (step, item.code, receiver_region, receiver)
        found = self._applying.get(key)
        if found is None:
            found = tuple(
                (rule, condition)
                for rule, condition in self.conditions
                if rule.step == step
                and rule.institution in ("", receiver)
                and self.contains(rule.region, receiver_region)
                and self.covers(rule.items, item)
            )
            self._applying[key] = found
        return found

    def qualifications_of(self, institution: str, item: Item) -> tuple[Qualification, ...]:
        """Every qualification record of this institution that covers the item, whatever its period."""
        return tuple(q for q in self._qualifications.get(institution, ()) if self.covers(q.items, item))

    def conversions_of(self, item: Item) -> tuple[Conversion, ...]:
        """The listed conversions of this item's values."""
        return self._conversions.get(item.code, ())

    def price(self, item: Item, region: str) -> Price | None:
        """The estimate of the narrowest area that holds the region, or None."""
        fitting = [p for p in self.prices if self.contains(p.region, region) and self.covers(p.items, item)]
        return min(fitting, key=lambda p: (-self.depth(p.region), p.items == ANY, p.items), default=None)

    def _up(self, region: str) -> tuple[str, ...]:
        """The region and every area that holds it, the nearest first; nothing for an unknown one."""
        return (region, *reached(self._parents, region)) if region in self.regions else ()

    def _get(self, kind: str, table: dict[str, T], code: str) -> T:
        try:
            return table[code]
        except KeyError:
            raise UnknownEntry(kind, code, self.version) from None
