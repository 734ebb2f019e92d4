"""From a hospital's own name to a concept and an item, or to silence with a reason.

The catalogue's names and aliases are compiled into one table of canonical texts. A name is read only when
the whole of it, after the marks are taken out, is one of them, or is one followed by another of the same item
in brackets (白蛋白(ALB)): nothing is compared by likeness, because names that look alike differ in just the
slot that matters. The message's own fields may confirm a reading or contradict it; a contradiction is an
abstention. A stated specimen chooses another item of the analyte only for a name that says no specimen itself
(:mod:`mapping.specimens`): UREA in urine is urea in urine, SCr in urine is a conflict.

Reasons of an abstention, in :data:`REASONS`:

- ``empty``: there is no name, or nothing but a mark;
- ``lost_character``: a character of the name was lost on its way;
- ``unknown``: no item has this name;
- ``no_modality``: an imaging name would be read with its modality, and neither it nor a field says it;
- ``specimen_unsaid``: the name means different items in blood and urine, and no field says the specimen;
- ``scale_unsaid``: a test-strip analyte in urine that does not say 定量: strip or measurement;
- ``conflict``: name and fields, or two marks in the name, contradict each other, or the stated specimen is
  not known;
- ``ambiguous``: several items have the name, or an imaging name carries an HR that may be high resolution.
"""

from __future__ import annotations

import re
from collections import defaultdict

from msgspec import Struct

from catalog import Catalogue, Item
from mapping import specimens
from mapping.text import Text, canonical

REASONS = (
    "empty",
    "lost_character",
    "unknown",
    "no_modality",
    "specimen_unsaid",
    "scale_unsaid",
    "conflict",
    "ambiguous",
)
"""Every reason that an abstention can have."""

_MODALITY = re.compile(r"(?:CT|MRI|MR|核磁共振|磁共振|核磁|DR|CR|DX|X线|X光|数字化摄影)(?![A-Z])")
_MODALITIES = {"核磁共振": "MR", "磁共振": "MR", "核磁": "MR", "MRI": "MR", "CT": "CT", "MR": "MR"}
_VESSEL = re.compile(r"(CT|MR)(?=[AVUE]|CP)")

BARE = frozenset(
    {"白细胞", "红细胞", "葡萄糖", "蛋白", "蛋白质", "胆红素", "酮体", "隐血", "潜血", "亚硝酸盐", "上皮细胞"}
    | {"管型", "酸碱度", "PH", "比重", "颜色"}
    | {"GLU", "WBC", "RBC", "ALB", "TP", "PRO", "BIL", "KET", "UA", "LEU", "NIT", "BLD", "SG", "URO", "ERY"}
)
"""Names that mean different items in blood, urine, stool and smear: read only with a stated specimen.

A name is bare in any of its usual lengths: 葡萄糖, 葡萄糖测定, 葡萄糖(GLU), 白细胞计数.
"""

_STRIP = BARE | {"白蛋白", "总蛋白"}
"""What a urine strip shows as well: in urine such a name is read only where it says that it is measured."""

_ENDING = re.compile(r"(?<=.)(?:测定|检测|检查|计数|总数|数目|数|值)$")
_ABBREVIATION = re.compile(r"\(([^()一-鿿]*[A-Z][^()一-鿿]*)\)")


class LocalName(Struct, frozen=True, kw_only=True):
    """A name as a message carries it, with the fields beside it; empty where the message is silent."""

    name: str
    kind: str = ""
    modality: str = ""
    specimen: str = ""


class Named(Struct, frozen=True, kw_only=True):
    """The reading of one name. ``target`` and ``item`` are None on an abstention, and ``reason`` says why.

    ``spans`` are ``(start, end, slot)`` over the canonical text; ``tables`` is the catalogue version used.
    """

    name: str
    target: str | None
    item: str | None
    reason: str
    spans: tuple[tuple[int, int, str], ...]
    tables: str
    mark: str | None


class _Entry(Struct, frozen=True):
    """An item under one of its names, and what that name says of the specimen."""

    item: Item
    said: frozenset[str]


class Normaliser:
    """Compiled from one catalogue version; read-only, so it can be shared and swapped."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._version = catalogue.version
        self._imaging: dict[tuple[str, str], dict[str, Item]] = defaultdict(dict)
        self._lab: dict[str, dict[str, _Entry]] = defaultdict(dict)
        self._twins: dict[tuple[str, ...], list[Item]] = defaultdict(list)
        self._panels: dict[str, str] = {}
        for item in catalogue.items.values():
            texts = [canonical(name).canonical for name in (item.name, *item.aliases)]
            if item.kind == "imaging":
                modality = item.concept.split("|")[0]
                for text in texts:
                    self._imaging[modality, _without_modality(text)[0]][item.code] = item
            else:
                self._twins[_but_specimen(item)].append(item)
                for text in texts:
                    self._lab[text][item.code] = _Entry(item, specimens.said(text, texts))
        self._parts = "\n".join(rest for _, rest in self._imaging)
        for panel in catalogue.panels.values():
            for name in (panel.code, panel.name, *panel.aliases):
                self._panels[canonical(name).canonical] = panel.code

    def read(self, local: LocalName) -> Named:
        """The item of this name, or an abstention with its reason. Never raises.

        Where ``kind`` is empty an imaging reading is tried first, then a laboratory one.
        """
        text = canonical(local.name)
        if text.lost:
            return self._silent(local, text, "lost_character")
        if not text.canonical:
            return self._silent(local, text, "empty")
        if text.marks_differ:
            return self._silent(local, text, "conflict")
        kinds = (local.kind,) if local.kind in ("imaging", "lab") else ("imaging", "lab")
        silent: Named | None = None
        for kind in kinds:
            found = self._read_imaging(local, text) if kind == "imaging" else self._read_lab(local, text)
            if found.item:
                return found
            silent = found if silent is None or found.reason != "unknown" else silent
        return silent or self._silent(local, text, "unknown")

    def panel(self, name: str) -> str | None:
        """The code of the panel with this name or code, or None."""
        return self._panels.get(canonical(name).canonical)

    def _read_imaging(self, local: LocalName, text: Text) -> Named:
        rest, named = _without_modality(text.canonical)
        field = {"DX": "DR", "CR": "DR", "MRI": "MR"}.get(local.modality.upper(), local.modality.upper())
        if named and field and named != field:
            return self._silent(local, text, "conflict")
        modality = named or field
        if not modality:
            completed = any((each, rest) in self._imaging for each in ("DR", "CT", "MR"))
            return self._silent(local, text, "no_modality" if completed else "unknown")
        items = self._imaging.get((modality, rest))
        if not items:
            return self._silent(local, text, "unknown")
        # (HR) and (胸部HR) are high resolution as well as they are marks; 川渝HR is a mark.
        if len(items) > 1 or any(said in self._parts for said in text.ranges):
            return self._silent(local, text, "ambiguous")
        (item,) = items.values()
        return self._said(local, text, item)

    def _read_lab(self, local: LocalName, text: Text) -> Named:
        key = text.canonical
        core = _ENDING.sub("", _ABBREVIATION.sub("", key))
        stated = specimens.stated(local.specimen)
        if stated is None and core in BARE:
            return self._silent(local, text, "specimen_unsaid")
        if stated == specimens.URINE and core in _STRIP:
            return self._silent(local, text, "scale_unsaid")
        entries = self._find(key)
        if not entries:
            return self._silent(local, text, "unknown")
        if len(entries) > 1:
            return self._silent(local, text, "ambiguous")
        (entry,) = entries.values()
        item, said = entry.item, entry.said
        if said == specimens.URINE and specimens.without_urine(core) in _STRIP and not _is_name(key, item):
            return self._silent(local, text, "scale_unsaid")
        if stated is None:
            return self._said(local, text, item)
        if said and not said & stated:
            return self._silent(local, text, "conflict")
        if stated & _takes(item):
            return self._said(local, text, item)
        # One analyte in another specimen is another item (尿素: 1700204A serum, 1700210A urine). A name that
        # says none means blood by convention, except where its analyte is measured in urine alone (mALB).
        twins = [twin for twin in self._twins[_but_specimen(item)] if stated & _takes(twin)]
        if said or item.concept.split("|")[1] not in ("S", "P", "B") or len(twins) != 1:
            return self._silent(local, text, "conflict")
        return self._said(local, text, twins[0])

    def _find(self, key: str) -> dict[str, _Entry]:
        """The items of this name by code: as it stands, with or without 测定, or without its abbreviation.

        A bracketed abbreviation is a check digit: it counts where it is a name of the same item.
        """
        for form in (key, key + "测定", key.removesuffix("测定")):
            if entries := self._lab.get(form):
                return entries
        if found := _ABBREVIATION.search(key):
            spelled, short = (
                self._find(key[: found.start()] + key[found.end() :]),
                self._lab.get(found[1], {}),
            )
            if spelled.keys() == short.keys():
                return {c: _Entry(e.item, e.said | short[c].said) for c, e in spelled.items()}
        return {}

    def _said(self, local: LocalName, text: Text, item: Item | None, reason: str = "") -> Named:
        return Named(
            name=local.name,
            target=item.concept if item else None,
            item=item.code if item else None,
            reason=reason,
            spans=((0, len(text.canonical), "alias"),) if item else (),
            tables=self._version,
            mark=text.mark,
        )

    def _silent(self, local: LocalName, text: Text, reason: str) -> Named:
        return self._said(local, text, None, reason)


def _without_modality(text: str) -> tuple[str, str]:
    """The text without its modality word, and the modality; CTA and MRCP keep theirs and still tell it."""
    found = _MODALITY.search(text)
    if found is None:
        vessel = _VESSEL.search(text)
        return text, vessel[1] if vessel else ""
    rest = text[: found.start()] + text[found.end() :]
    return rest.strip("-_:/"), _MODALITIES.get(found[0], "DR")


def _but_specimen(item: Item) -> tuple[str, ...]:
    analyte, _, *rest = item.concept.split("|")
    return analyte, *rest


def _takes(item: Item) -> frozenset[str]:
    return specimens.takes(item.concept.split("|")[1])


def _is_name(key: str, item: Item) -> bool:
    return key == canonical(item.name).canonical
