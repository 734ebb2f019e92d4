"""The catalogue as a FHIR R4 terminology: what its operations answer, as values; no web, no clock.

A :class:`Terminology` is compiled once from the rules of a moment and then only read: code systems, value
sets and concept maps of :func:`catalog.fhir.in_force`, with dictionaries over them. Translation reads names
by the normaliser that checks read them by, so both say the same, also why there is no item.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import msgspec

from catalog import canonical_name
from catalog.fhir import BASE, CONCEPT_SYSTEM, ITEM_SYSTEM, Resource, in_force
from gateway._code_systems import Coding, Judged, System, code_part, names_of, parameters, text_part
from gateway.errors import NotFound
from gateway.naming import UNNAMED
from gateway.rules import Rules
from mapping import LocalName

LOCAL_SYSTEM = "urn:lianren:local:"
PANEL_SYSTEM = f"{BASE}/CodeSystem/panels"
WST_886 = "urn:wst886"
"""WS/T 886-2026, whose codes the laboratory items have; no system for it has been published."""
CONCEPTS, STAND_INS = f"{BASE}/ConceptMap/concepts", f"{BASE}/ConceptMap/stand-ins"
UNNAMED_SYSTEM = "urn:lianren:unnamed"

_NO_MAP = UNNAMED | {
    "unnamed_code": (
        "院内代码没有经确认的对照，请附上项目名称",
        "no confirmed mapping has this local code; send the name with it, as display or text",
    ),
    "unknown_code": ("目录中没有此代码", "the catalogue in force has no such code"),
    "unknown_system": (
        "不对照此代码系统，请发送项目名称",
        "this code system is not mapped; send the name, or a code of items, WS/T 886 or the catalogue",
    ),
    "no_stand_in": ("没有可替代此项目的其他项目", "no other item may stand in for this one"),
}
LOINC = "http://loinc.org"

Targets = tuple[str, ...]
"""Codes of items: the one that is meant, or the several that together are."""


class Terminology:
    """The terminology of one set of rules; what translates codes and names needs none of its resources."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.version = rules.catalogue.version
        self._coded: dict[tuple[str, str], bytes] = {}
        self._answers: dict[Targets, bytes] = {}

    @cached_property
    def resources(self) -> dict[tuple[str, str], Resource]:
        """The resources by type and id."""
        return {(one["resourceType"], one["id"]): one for one in in_force(self.rules.catalogue)}

    @cached_property
    def _by_url(self) -> dict[tuple[str, str], Resource]:
        return {(one["resourceType"], one["url"]): one for one in self.resources.values()}

    def find(self, kind: str, url: str) -> Resource:
        """The resource of this type and canonical url; a ``|version`` behind it has chosen this terminology.

        Raises:
            NotFound: there is none.
        """
        try:
            return self._by_url[kind, url]
        except KeyError:
            raise NotFound(f"there is no {kind} {url} in version {self.version}") from None

    def get(self, kind: str, resource_id: str) -> Resource:
        """The resource of this type and id.

        Raises:
            NotFound: there is none.
        """
        try:
            return self.resources[kind, resource_id]
        except KeyError:
            raise NotFound(f"there is no {kind}/{resource_id} here") from None

    def system(self, url: str) -> System:
        """A code system by its url.

        Raises:
            NotFound: there is none.
        """
        found = self._systems.get(url)
        return found or System(self.find("CodeSystem", url))

    @cached_property
    def _systems(self) -> dict[str, System]:
        return {r["url"]: System(r) for (kind, _), r in self.resources.items() if kind == "CodeSystem"}

    @cached_property
    def _members(self) -> dict[str, dict[str, Resource]]:
        """Item code → concept, for each value set by its url, in the order of the catalogue."""
        items = self.system(ITEM_SYSTEM).concepts
        lists = {item.code: item.lists for item in self.rules.catalogue.items.values()}
        return {
            resource["url"]: {
                code: concept for code, concept in items.items() if name in lists[code] or name == "items"
            }
            for (kind, name), resource in self.resources.items()
            if kind == "ValueSet"
        }

    @cached_property
    def _folded(self) -> dict[str, str]:
        """Item code → everything that a filter is looked for in."""
        items = self.system(ITEM_SYSTEM).concepts
        return {
            code: "\n".join(canonical_name(name) for name in (code, *names_of(concept)))
            for code, concept in items.items()
        }

    def judge(self, value_set: Resource, coding: Coding) -> Judged:
        """ValueSet/$validate-code for one coding."""
        return self.system(ITEM_SYSTEM).judge(coding, self._members[value_set["url"]])

    def expand(
        self, value_set: Resource, text: str = "", offset: int = 0, count: int | None = None
    ) -> tuple[int, list[Resource]]:
        """How many members have the text in code, name or another name, and the concepts of one page."""
        wanted = canonical_name(text)
        members = self._members[value_set["url"]].items()
        found = [concept for code, concept in members if wanted in self._folded[code]]
        return len(found), found[offset : None if count is None else offset + count]

    # ConceptMap/$translate

    def translate(self, codings: Sequence[Coding], name: str, beside: Mapping[str, str]) -> bytes:
        """The items of codes and of a hospital's own name: Parameters of ConceptMap/$translate (R4).

        A code may confirm what the name says, or contradict it; then there is no item.

        Args:
            codings: of items, WS/T 886, concepts, panels, or a hospital's own.
            name: the hospital's own name, or empty.
            beside: kind, modality and specimen, where they are known.
        """
        if not name and len(codings) == 1 and (held := self._coded.get((codings[0].system, codings[0].code))):
            return held
        read, reason = self._by_code(codings)
        if len(read) > 1:
            return _no_map("conflict")
        own = [coding for coding in codings if coding.system.startswith(LOCAL_SYSTEM)]
        name = name or next(filter(None, (coding.display or _in_words(coding.code) for coding in own)), "")
        if not name:
            if not read:
                return _no_map(reason or ("unnamed_code" if own else "empty"))
            answer = self._matches(*read)
            if len(codings) == 1:
                self._coded[codings[0].system, codings[0].code] = answer
            return answer
        loinc = next((coding.code for coding in codings if coding.system == LOINC), "")
        said, reason, concept = self._by_name(LocalName(name=name, loinc=loinc, **beside))
        if read and said and read != {said}:
            return _no_map("conflict")
        if said or read:
            return self._matches(said or read.pop())
        return _no_map(reason, concept)

    def stand_ins(self, codings: Sequence[Coding]) -> bytes:
        """The prior items that may serve for an ordered one: Parameters of ConceptMap/$translate (R4)."""
        (group,) = self.find("ConceptMap", STAND_INS)["group"]
        ordered = {element["code"]: element["target"] for element in group["element"]}
        reason = "unknown_system"
        for coding in codings:
            if coding.system in (ITEM_SYSTEM, WST_886):
                if targets := ordered.get(coding.code):
                    matches = [self._match(one["code"], one["equivalence"], STAND_INS) for one in targets]
                    return _encoded([{"name": "result", "valueBoolean": True}, *matches])
                reason = "no_stand_in" if coding.code in self.rules.catalogue.items else "unknown_code"
        return _no_map(reason)

    def _by_code(self, codings: Sequence[Coding]) -> tuple[set[Targets], str]:
        """What the codes say, and why one says nothing."""
        catalogue = self.rules.catalogue
        found: set[Targets] = set()
        reason = ""
        for coding in codings:
            told: Targets
            if coding.system in (ITEM_SYSTEM, WST_886):
                item = catalogue.items.get(coding.code)
                told = (item.code,) if item and (coding.system == ITEM_SYSTEM or item.kind == "lab") else ()
            elif coding.system == CONCEPT_SYSTEM:
                item = catalogue.item_for(coding.code)
                told = (item.code,) if item else ()
            elif coding.system == PANEL_SYSTEM:
                told = self._panel(coding.code) if coding.code in catalogue.panels else ()
            else:
                reason = reason or ("" if coding.system.startswith(LOCAL_SYSTEM) else "unknown_system")
                continue
            reason = reason if told else "unknown_code"
            found |= {told} if told else set()
        return found, reason

    def _by_name(self, local: LocalName) -> tuple[Targets, str, str]:
        """The items of a name, or why there is none and the concept that it was read as."""
        if panel := self.rules.normaliser.panel(local.name):
            return self._panel(panel), "", ""
        named = self.rules.normaliser.read(local)
        return named.items, named.reason, named.target or ""

    def _panel(self, code: str) -> Targets:
        """The members of a panel; the item alone where the panel says of which parts an item is the sum."""
        catalogue = self.rules.catalogue
        return (code,) if code in catalogue.items else catalogue.panels[code].members

    def _matches(self, targets: Targets) -> bytes:
        """One item is what was meant; of several each is narrower than it."""
        held = self._answers.get(targets)
        if held is None:
            equivalence = "equivalent" if len(targets) == 1 else "narrower"
            told = [self._match(code, equivalence, CONCEPTS) for code in targets]
            held = self._answers[targets] = _encoded([{"name": "result", "valueBoolean": True}, *told])
        return held

    def _match(self, code: str, equivalence: str, source: str) -> Resource:
        coding = {"system": ITEM_SYSTEM, "code": code, "display": self.rules.catalogue.item(code).name}
        part = [code_part("equivalence", equivalence), {"name": "concept", "valueCoding": coding}]
        return {"name": "match", "part": [*part, {"name": "source", "valueUri": source}]}


def _no_map(reason: str, concept: str = "") -> bytes:
    """Why there is no match, in words and as a code; never an empty answer."""
    zh, en = _NO_MAP[reason]
    coding = {"system": UNNAMED_SYSTEM, "code": reason, "display": zh}
    message = f"{zh} / {en}" + (f" ({concept})" if concept else "")
    told: list[Resource] = [{"name": "result", "valueBoolean": False}, text_part("message", message)]
    return _encoded([*told, {"name": "reason", "valueCoding": coding}])


def _encoded(told: list[Resource]) -> bytes:
    return msgspec.json.encode(parameters(told))


def _in_words(code: str) -> str:
    """A hospital's code where it is itself a name in Chinese; one like TP means another thing elsewhere."""
    return code if any("\u4e00" <= letter <= "\u9fff" for letter in code) else ""
