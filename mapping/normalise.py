"""From a hospital's own name to concepts and items, or to silence with a reason.

The order of work for one name:

1. canonical text, marks taken out (:mod:`mapping.text`);
2. the catalogue in force: a name or alias of an item is a confirmed name, read as a whole;
3. the grammars explain every character from tables (:mod:`mapping.imaging`, :mod:`mapping.laboratory`);
   nothing is compared by likeness, because names that look alike differ in just the slot that matters;
4. the message's own fields and codes confirm or contradict; a contradiction is an abstention with both
   readings;
5. the gate: a concept must be one of the notation or of the catalogue; its item is the catalogue's item with
   exactly this concept, never the nearest. A slot that is not said (method or side ``U``, scale ``?``) fits
   no item that has it.
"""

from __future__ import annotations

import re
from collections import defaultdict

from catalog import Catalogue
from mapping import specimens
from mapping.imaging import Imaging
from mapping.laboratory import Laboratory
from mapping.reading import LocalName, Named, Read
from mapping.slots import differing
from mapping.tables import Tables, tables
from mapping.text import LONGEST, Text, canonical, folded, places

_DIFFERS = {
    "no_modality": "modality",
    "part_unsaid": "part",
    "part_undivided": "part",
    "several_regions": "part",
    "side_unsaid": "side",
    "method_unsaid": "method",
    "view_unsaid": "view",
    "specimen_unsaid": "specimen",
    "scale_unsaid": "scale",
    "share_unsaid": "share",
    "time_unsaid": "time",
}

_BARE = frozenset(
    {"GLU", "WBC", "RBC", "PRO", "BIL", "KET", "OB", "NIT", "LEU", "SG", "PH", "COLOR", "EPI", "CAST"}
    | {"CU", "ZN"}
)
"""Analytes whose name means other items in blood, urine, stool and smear, whoever confirmed it for one."""

_STRIP = re.compile(r"(?:GLU|WBC|RBC|ALB|TP|PRO|BIL|KET|UA|LEU|NIT|BLD|SG|URO|ERY)(?:测定|检测|检查|值)?")
"""Abbreviations that a urine strip prints as well: an alias of a serum item only beside its specimen."""


class Normaliser:
    """Compiled from one catalogue version; read-only, so it can be shared and swapped."""

    def __init__(self, catalogue: Catalogue, held: Tables | None = None) -> None:
        held = held or tables()
        self._version = f"{catalogue.version};{held.version}"
        self._items = dict(catalogue.items)
        self._concepts: dict[str, list[str]] = defaultdict(list)
        self._confirmed: dict[str, dict[str, set[str]]] = {"imaging": {}, "lab": {}}
        self._panels: dict[str, str] = {}
        for item in catalogue.items.values():
            self._concepts[item.concept].append(item.code)
            for name in (item.name, *item.aliases):
                self._confirmed[item.kind].setdefault(folded(name), set()).add(item.code)
        for panel in catalogue.panels.values():
            for name in (panel.code, panel.name, *panel.aliases):
                self._panels[canonical(name).canonical] = panel.code
        concepts = {kind: [i.concept for i in catalogue.items.values() if i.kind == kind]
                    for kind in ("imaging", "lab")}  # fmt: skip
        self._imaging = Imaging(held, concepts["imaging"])
        self._laboratory = Laboratory(held, concepts["lab"])
        self._loinc = held.loinc
        self._regions = frozenset(t for t, word in held.imaging.words.items() if word.slot == "part")

    def read(self, local: LocalName) -> Named:
        """The concepts and items of this name, or an abstention with its reason. Never raises.

        Where ``kind`` is empty an imaging reading is tried first, then a laboratory one.
        """
        if len(local.name) > LONGEST:
            return self._named(local, Text("", None, False), "", Read(reason="unknown"))
        text = canonical(local.name)
        if text.lost:
            return self._named(local, text, "", Read(reason="lost_character"))
        if not text.canonical:
            return self._named(local, text, "", Read(reason="empty"))
        if text.marks_differ:
            return self._named(local, text, "", Read(reason="conflict"))
        comparable = folded(text.canonical)
        if len(comparable) > LONGEST:
            return self._named(local, text, "", Read(reason="unknown"))
        if local.kind == "imaging":
            return self._named(local, text, comparable, self._read_imaging(comparable, text, local))
        if local.kind == "lab":
            return self._named(local, text, comparable, self._read_lab(comparable, local))
        found = self._read_imaging(comparable, text, local)
        if not found.concepts:
            other = self._read_lab(comparable, local)
            closer = other.reason != "unknown" or len(other.residue) < len(found.residue)
            if other.concepts or (found.reason == "unknown" and closer):
                found = other
        return self._named(local, text, comparable, found)

    def panel(self, name: str) -> str | None:
        """The code of the panel with this name or code, or None."""
        return self._panels.get(canonical(name).canonical)

    def _read_imaging(self, comparable: str, text: Text, local: LocalName) -> Read:
        found = self._imaging.read(comparable, local)
        # (HR) and (胸部HR) are high resolution as well as they are marks; 川渝HR is a mark.
        if found.concepts and any(not said or folded(said) in self._regions for said in text.ranges):
            return Read(reason="ambiguous", candidates=found.concepts, residue="HR", spans=found.spans)
        if found.concepts or found.reason not in ("unknown", "not_listed", "ambiguous", "method_unsaid"):
            return found
        confirmed = self._confirmed["imaging"].get(comparable, ())
        concepts = tuple({self._items[code].concept for code in confirmed})
        return (
            Read(concepts=concepts, spans=((0, len(comparable), "alias"),)) if len(concepts) == 1 else found
        )

    def _read_lab(self, comparable: str, local: LocalName) -> Read:
        setting = self._laboratory.beside(local)
        if local.specimen.strip() == "" and setting is None and _STRIP.fullmatch(comparable):
            return Read(reason="specimen_unsaid", spans=((0, len(comparable), "analyte"),))
        found = self._laboratory.read(comparable, local)
        if found.reason in ("unknown", "not_listed", "ambiguous", "scale_unsaid") or (
            found.reason == "specimen_unsaid" and found.candidates[0].split("|")[0] not in _BARE
        ):
            found = self._alias(comparable, local) or found
        return self._codes(found, local)

    def _alias(self, comparable: str, local: LocalName) -> Read | None:
        """The concept of a confirmed name, where the specimen beside it does not say otherwise."""
        codes = self._confirmed["lab"].get(comparable, ())
        concepts = {self._items[code].concept for code in codes}
        if len(concepts) != 1:
            return None
        (concept,) = concepts
        specimen = concept.split("|")[1]
        stated, setting = specimens.stated(local.specimen), self._laboratory.beside(local)
        if stated is not None and not stated & specimens.takes(specimen):
            return None
        if setting is not None and setting.specimen != specimen:
            return None
        return Read(concepts=(concept,), spans=((0, len(comparable), "alias"),))

    def _codes(self, found: Read, local: LocalName) -> Read:
        """Codes beside a name confirm or contradict what was read; they never make a reading."""
        if not (found.concepts and (local.wst886 or local.loinc)) or found.concepts[0].startswith("PANEL"):
            return found
        (concept,) = found.concepts
        for code, meant in (
            (local.wst886, self._items[local.wst886].concept if local.wst886 in self._items else ""),
            (local.loinc, self._loinc.get(local.loinc, "")),
        ):
            if code and meant and not _may_be(concept, meant):
                return Read(reason="conflict", candidates=(concept, meant), spans=found.spans, residue=code)
        return found

    def _named(self, local: LocalName, text: Text, comparable: str, read: Read) -> Named:
        items: list[str] = []
        for concept in read.concepts:
            held = self._concepts.get(concept, ())
            if len(held) == 1:
                items.append(held[0])
        complete = bool(read.concepts) and len(items) == len(read.concepts)
        reason = read.reason
        if complete:
            reason = "" if len(items) == 1 else "several"
        elif read.concepts and not reason:
            reason = "not_listed"
        differs = _DIFFERS.get(reason, "") if reason else ""
        if reason == "conflict" and len(read.candidates) == 2:
            differs = next(iter(differing(*read.candidates)), "")
        return Named(
            name=local.name,
            target=" ;; ".join(read.concepts) or None,
            item=items[0] if complete and len(items) == 1 else None,
            reason=reason,
            spans=_over(local.name, comparable, read.spans),
            tables=self._version,
            mark=text.mark,
            items=tuple(items) if complete else (),
            residue=read.residue,
            candidates=read.candidates,
            differs=differs,
        )


def _may_be(concept: str, meant: str) -> bool:
    """Whether a code's concept agrees with a reading in analyte, specimen and, where it is said, scale.

    A sampling time or method that the name adds (空腹血糖) is written beside the code, not in it.
    """
    return all(
        one == other or one == "?"
        for one, other in zip(concept.split("|")[:3], meant.split("|")[:3], strict=True)
    )


def _over(name: str, text: str, spans: tuple[tuple[int, int, str], ...]) -> tuple[tuple[int, int, str], ...]:
    """Spans over the comparable text, as spans over the name as written."""
    if not spans or name == text:
        return spans
    if len(name) == len(text) and folded(name) == text:
        return spans
    at = places(name, text)
    if at is None:
        return ((0, len(name), "name"),)
    return tuple([(at[start], at[end - 1] + 1, slot) for start, end, slot in spans])
