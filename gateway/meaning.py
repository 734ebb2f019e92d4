"""A search by code that finds what local names mean: asked for an item, by its own code, WS/T 886 or LOINC.

A hospital's record often has its own name and no code at all. It is read as a check reads it
(:class:`adapters.fhir_results.Reader`), so that a search and a check say the same. Where a name is not
understood, or a code beside it says another thing, nothing is guessed: by meaning such a record is not found.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Raw

from adapters.fhir_read import Concept, DiagnosticReport, Observation, Unreadable, read
from adapters.fhir_results import Reader, specimen_of
from catalog.fhir import CONCEPT_SYSTEM, ITEM_SYSTEM
from gateway.resources.conditions import Condition, parts
from gateway.rules import Rules
from gateway.terminology import LOINC, PANEL_SYSTEM, WST_886
from mapping import LocalName
from mapping.tables import tables

TYPES = ("Observation", "DiagnosticReport")
"""The types whose ``code`` is looked up so."""
_IMAGING = frozenset({"RAD", "imaging", "363679005"})
"""Categories of reports on images (HL7 v2 table 0074, SNOMED CT)."""


class Meaning:
    """What a condition on ``code`` means by these rules: ``items``, none where it names no item."""

    def __init__(self, condition: Condition, rules: Rules) -> None:
        self._rules = rules
        found: set[str] = set()
        if condition.name == "code":
            for value in condition.values:
                found |= self._items(*parts(value))
        self.items = frozenset(found)

    @classmethod
    def of(cls, type_: str, conditions: Iterable[Condition], rules: Rules) -> dict[Condition, Meaning]:
        """The meanings of a search, by the conditions that have one."""
        read_so = [one for one in conditions if one.name == "code"] if type_ in TYPES else []
        meanings = {one: cls(one, rules) for one in read_so}
        return {one: meaning for one, meaning in meanings.items() if meaning.items}

    def fits(self, type_: str, raw: Raw, institution: str) -> bool:
        """Whether a record of one of :data:`TYPES` means one of the items; ``institution`` is whose it is
        where it does not say."""
        try:
            code, said = (self._report if type_ == "DiagnosticReport" else self._observation)(
                raw, institution
            )
        except Unreadable:
            return False
        coded = {item for coding in code.coding for item in self._items(coding.system, coding.code)}
        return bool((said or coded) & self.items) and not (said and coded and not said & coded)

    def _observation(self, raw: Raw, institution: str) -> tuple[Concept, set[str]]:
        observation = read(raw, Observation)
        reader = Reader("", institution, self._rules.normaliser)
        result = reader.laboratory(observation, (), specimen_of(observation, {}, ""))
        return observation.code, {result.reading.item} if result and result.reading.item else set()

    def _report(self, raw: Raw, institution: str) -> tuple[Concept, set[str]]:
        report = read(raw, DiagnosticReport)
        if any(coding.code in _IMAGING for concept in report.category for coding in concept.coding):
            result = Reader("", institution, self._rules.normaliser).imaging(None, report)
            return report.code, {result.reading.item} if result.reading.item else set()
        panel = self._rules.normaliser.panel(report.code.name)
        if panel:
            return report.code, self._items(PANEL_SYSTEM, panel)
        site = report.institution() or institution
        named = self._rules.normaliser.read(LocalName(name=report.code.name, kind="lab", site=site))
        return report.code, {*named.items}

    def _items(self, system: str | None, code: str) -> set[str]:
        """The items that a code stands for, in the systems whose codes mean the same everywhere."""
        catalogue = self._rules.catalogue
        if system in (None, ITEM_SYSTEM, WST_886):
            return {code} & catalogue.items.keys()
        if system == PANEL_SYSTEM and code in catalogue.panels:
            return {*catalogue.panels[code].members}
        concept = (
            tables().loinc.get(code, "") if system == LOINC else code if system == CONCEPT_SYSTEM else ""
        )
        item = catalogue.item_for(concept)
        return {item.code} if item else set()
