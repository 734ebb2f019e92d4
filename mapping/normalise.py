"""From a hospital's own name to a concept and an item, or to silence with a reason.

The catalogue's names and aliases are compiled into one table of canonical texts. A name is read only when
the whole of it, after the mark is taken out, is one of them: nothing is compared by likeness, because names
that look alike differ in just the slot that matters. The message's own fields may confirm a reading, choose
between specimens of one analyte, or contradict it; a contradiction is an abstention.

Reasons of an abstention: ``unknown``, ``no_modality``, ``specimen_unsaid``, ``conflict``, ``lost_character``,
``ambiguous``, ``empty``.
"""

from __future__ import annotations

import re
from collections import defaultdict

from msgspec import Struct

from catalog import Catalogue, Item
from mapping.text import Text, canonical

_MODALITY = re.compile(r"(?:CT|MRI|MR|核磁共振|磁共振|核磁|DR|CR|DX|X线|X光|数字化摄影)(?![A-Z])")
_MODALITIES = {"核磁共振": "MR", "磁共振": "MR", "核磁": "MR", "MRI": "MR", "CT": "CT", "MR": "MR"}
_VESSEL = re.compile(r"(CT|MR)(?=[AVUE]|CP)")

_SPECIMENS = {
    "S": ("血清", "血浆", "血", "静脉血", "SERUM", "PLASMA", "SER", "PLAS"),
    "P": ("血浆", "血", "静脉血", "PLASMA", "PLAS"),
    "B": ("全血", "血", "静脉血", "末梢血", "EDTA全血", "WHOLEBLOOD", "WB", "BLD"),
    "U": ("尿", "尿液", "随机尿", "晨尿", "中段尿", "URINE", "UR"),
    "U24": ("24小时尿", "24H尿"),
    "CSF": ("脑脊液", "CSF"),
    "F": ("粪便", "大便", "STOOL"),
    "BG": ("动脉血",),
    "V": ("白带", "阴道分泌物"),
}

BARE = frozenset(
    {"白细胞", "红细胞", "葡萄糖", "蛋白", "胆红素", "酮体", "隐血", "潜血", "亚硝酸盐", "上皮细胞"}
    | {"酸碱度", "PH", "比重", "颜色"}
)
"""Names that mean different items in blood, urine, stool and smear: read only with a stated specimen."""


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


class Normaliser:
    """Compiled from one catalogue version; read-only, so it can be shared and swapped."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._version = catalogue.version
        self._imaging: dict[tuple[str, str], Item] = {}
        self._lab: dict[str, Item] = {}
        self._twins: dict[str, list[Item]] = defaultdict(list)
        self._panels: dict[str, str] = {}
        for item in catalogue.items.values():
            texts = [canonical(name).canonical for name in (item.name, *item.aliases)]
            if item.kind == "imaging":
                modality = item.concept.split("|")[0]
                for text in texts:
                    self._imaging.setdefault((modality, _without_modality(text)[0]), item)
            else:
                self._twins[item.concept.split("|")[0]].append(item)
                for text in texts:
                    self._lab.setdefault(text, item)
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
            return self._silent(local, text, "no_modality")
        item = self._imaging.get((modality, rest))
        return self._said(local, text, item) if item else self._silent(local, text, "unknown")

    def _read_lab(self, local: LocalName, text: Text) -> Named:
        key = text.canonical
        stated = canonical(local.specimen).canonical
        if key in BARE and not stated:
            return self._silent(local, text, "specimen_unsaid")
        item = self._lab.get(key) or self._lab.get(key + "测定") or self._lab.get(key.removesuffix("测定"))
        if item is None:
            return self._silent(local, text, "unknown")
        if stated and not _fits(item, stated):
            # One analyte in another specimen is another item (葡萄糖: 1700104A serum, 1700110A urine).
            twins = [t for t in self._twins[item.concept.split("|")[0]] if _fits(t, stated)]
            named_specimen = any(key.startswith(s) for names in _SPECIMENS.values() for s in names)
            if len(twins) != 1 or named_specimen:
                return self._silent(local, text, "conflict")
            item = twins[0]
        return self._said(local, text, item)

    def _said(self, local: LocalName, text: Text, item: Item) -> Named:
        return Named(
            name=local.name,
            target=item.concept,
            item=item.code,
            reason="",
            spans=((0, len(text.canonical), "alias"),),
            tables=self._version,
            mark=text.mark,
        )

    def _silent(self, local: LocalName, text: Text, reason: str) -> Named:
        return Named(
            name=local.name,
            target=None,
            item=None,
            reason=reason,
            spans=(),
            tables=self._version,
            mark=text.mark,
        )


def _without_modality(text: str) -> tuple[str, str]:
    """The text without its modality word, and the modality; CTA and MRCP keep theirs and still tell it."""
    found = _MODALITY.search(text)
    if found is None:
        vessel = _VESSEL.search(text)
        return text, vessel[1] if vessel else ""
    rest = text[: found.start()] + text[found.end() :]
    return rest.strip("-_:/"), _MODALITIES.get(found[0], "DR")


def _fits(item: Item, stated: str) -> bool:
    return stated in _SPECIMENS.get(item.concept.split("|")[1], ())
