"""The grammar of laboratory names: time, specimen, analyte, property, scale, and what may stand around them.

Every character must be explained, or the name is not read. A bracketed abbreviation is a check digit: it
must belong to the analyte that is named; unknown letters one typing slip away from its own abbreviation are
taken for that (CARE for CREA), anything else is not. An abbreviation that collides in practice (PCT, TG, P)
confirms a name and never is one. A specimen that is not said is the one that the analyte is meant in by
convention, and where there is no such convention (葡萄糖, 白细胞) the name is not read without one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mapping import specimens
from mapping.reading import LocalName, Read, Silent, Token, scan
from mapping.said import CODES, SEEN, Said, said_by, typing_slips
from mapping.scales import code_of, scale_of
from mapping.tables import SILENT_IN_LABORATORY, Setting, Tables
from mapping.text import remembered

_DROP = dict.fromkeys(map(ord, SILENT_IN_LABORATORY))
_TIMED = frozenset({"GLU", "INS", "CPEP"})
_BELONGS = {
    "全程": frozenset({"CRP", "HSCRP"}),
    "体温校正": frozenset({"PH", "PO2", "PCO2"}),
    "FEU": frozenset({"DD"}),
    "DDU": frozenset({"DD"}),
    "免疫法": frozenset({"OB", "BLD"}),
    **dict.fromkeys(
        ("镜检", "沉渣"),
        frozenset({"WBC", "RBC", "CAST", "CRYS", "EPI", "TRICH", "FUNGI", "OVA", "~BACT", "~SEPI"}),
    ),
    "电泳": frozenset({"ALB", "A1GLB", "A2GLB", "BGLB", "~B1GLB", "GGLB"}),
    "初筛": frozenset({"HIVAB", "TPAB", "HCVAB", "HBSAG"}),
}


class Laboratory:
    """Reads laboratory names with one set of tables; ``known`` are the concepts the catalogue adds."""

    def __init__(self, tables: Tables, known: Iterable[str] = ()) -> None:
        self._tables = tables
        self._known = tables.vocabulary["analyte"] | {concept.split("|")[0] for concept in known}
        self._remembered = remembered(self._find)

    def read(self, text: str, local: LocalName) -> Read:
        """The concept that a comparable text names, or a reason. Spans are over ``text``."""
        bare = text.translate(_DROP)
        tokens = scan(bare, self._tables.laboratory, numbers=False)
        spans = _spans(tokens, text, bare)
        try:
            concept, reason = self._concept(tokens, local)
        except Silent as silent:
            return Read(
                reason=silent.reason, candidates=silent.candidates, residue=silent.residue, spans=spans
            )
        return Read(concepts=(concept,), reason=reason, spans=spans)

    def _concept(self, tokens: Sequence[Token], local: LocalName) -> tuple[str, str]:
        said = said_by(tokens)
        setting = self._setting(said, local)
        if "panel" in said.slots and not said.analytes and not said.weak:
            return self._panel(said, tokens), "panel"
        stem, ratio = self._stem(said, setting)
        for panel in said.slots.get("panel", ()):
            # 肝功能GPT is one analyte of the panel; 血常规CRP is a panel and another test.
            if said.plus or CODES.get(stem, stem) not in self._tables.panels[panel].members:
                raise Silent("several", (panel, stem))
        if said.unknown:
            typing_slips(said.unknown, self._tables.short.get(stem, ()))
        if "family" in said.slots and stem not in said.one("family").split(";"):
            raise Silent("conflict", (said.one("family"), stem))
        if ratio:
            said.slots.pop("ratio", None)
            said.slots.pop("share", None)
        analyte = self._tables.analytes[stem]
        time = self._time(said, stem)
        if not time and setting is not None and setting.code == "TIMED":
            raise Silent("time_unsaid")
        way = said.one("way")
        specimen = specimens.of(said, analyte, setting, local)
        if way == "干化学" and specimen == "U":
            way = "試紙"
        if not way and setting is not None and stem in SEEN:
            way = {"SEDIMENT": "沉渣", "STOOL": "镜检"}.get(setting.code, "")
        code = code_of(said, analyte, specimen, way, local)
        scale, way = scale_of(said, analyte, code, specimen, way, setting, local)
        if way == "全程" and code in ("CRP", "HSCRP"):
            code = "CRP"
        elif way == "干化学":
            way = ""
        elif (way in _BELONGS and code not in _BELONGS[way]) or (way == "試紙" and specimen != "U"):
            raise Silent("ambiguous", residue=way)
        elif way == "IFCC" and code != "HBA1C":
            way = ""
        if stem == "UREA.N":
            way = "尿素氮"  # urea nitrogen, another quantity where it is given as mass
        concept = "|".join((code, specimen, scale, time or way or "-"))
        if code not in self._known:
            raise Silent("not_listed", (concept,))
        return concept, "scale_unsaid" if scale == "?" else ""

    def _setting(self, said: Said, local: LocalName) -> Setting | None:
        """What panel, department and context say; a panel named with its analyte counts as one."""
        inside = said.slots.get("panel", ()) if said.analytes else ()
        found = self.beside(local)
        for code in inside:
            named = next((s for s in self._tables.settings.values() if s.code == code), None)
            if found and named and found.code != named.code:
                raise Silent("conflict", (found.code, named.code))
            found = named or found
        return found

    def beside(self, local: LocalName) -> Setting | None:
        """The one setting that panel, department and context of a message name, or None."""
        text = f"{local.panel};{local.department};{local.context}".upper()
        return None if text == ";;" else self._remembered(text)

    def _find(self, beside: str) -> Setting | None:
        found: dict[str, Setting] = {}
        for word, setting in self._tables.settings.items():
            if word in beside and not setting.modality:
                beside = beside.replace(word, " ")  # 尿素 is no urine, 尿常规 says more than 尿
                found[setting.code] = setting
        found.pop("", None)
        if "SEDIMENT" in found:
            found.pop("UA", None)
        taken = {code: s for code, s in found.items() if s.specimen not in specimens.BLOOD}
        # 尿生化, 脑脊液生化: what was taken says more than the bench on which it is measured.
        found = taken or found
        return next(iter(found.values())) if len(found) == 1 else None

    def _panel(self, said: Said, tokens: Sequence[Token]) -> str:
        families = set(said.slots["panel"])
        if len(families) > 1:
            raise Silent("several", tuple(sorted(families)))
        rest = {"time", "way", "specimen", "count", "share", "ratio"} & said.slots.keys()
        (family,) = families
        specimen = self._tables.panels[family].specimen
        stated = said.one("specimen")
        if rest - {"specimen", "share"} or (stated and stated not in (specimen, "blood")):
            raise Silent("unknown", residue=" ".join(t.text for t in tokens if t.word is None))
        unknown = "".join(token.text for token in said.unknown)
        if unknown.translate(_NUMERALS):
            raise Silent("unknown", residue=unknown)
        # 甲功三项 and 甲功七项 are one family and two panels: the numeral is part of the panel's key.
        key = "".join(
            token.text for token in tokens if token.word is None or token.word.slot in ("scale", "share")
        )
        own = next(t for t in tokens if t.word is not None and t.word.slot == "panel").text
        if family != "HBV5":  # 两对半 and 五项 are the family itself
            key += "".join(c for c in own if c in _DIGITS)
        return "|".join(("PANEL", family, specimen, *([key] if key else [])))

    def _stem(self, said: Said, setting: Setting | None) -> tuple[str, bool]:
        """The analyte of the name; a ratio of two has a code of its own."""
        stems = list(dict.fromkeys(stem for _, stem in said.analytes))
        if len(stems) > 1 and len({CODES.get(stem, stem) for stem in stems}) == 1:
            # 空腹血糖(GLU): of GLU.F, GLU.S and GLU the narrower word says more.
            stems = [min(stems, key=lambda stem: ("." not in stem, stem))]
        stems = [stem for stem in stems if not any(self._wider(stem, other) for other in stems)]
        if not stems:
            if said.unknown or not said.weak:
                raise Silent("unknown", residue=" ".join(token.text for token in said.unknown))
            meant = self._tables.weak[said.weak[0]] & self._members(said, setting)
            if len(meant) != 1:
                raise Silent("ambiguous", tuple(sorted(self._tables.weak[said.weak[0]])), said.weak[0])
            stems = list(meant)
        if len(stems) == 3 and self._tables.ratios.get((stems[0], stems[1])) == stems[2]:
            stems = stems[:2]  # 白蛋白/球蛋白(A/G): the ratio is named once more
        if len(stems) == 2 and said.over:
            first, second = ([place for place, stem in said.analytes if stem == wanted] for wanted in stems)
            between = [place for place in said.over if first[0] < place < second[-1]]
            ratio = self._tables.ratios.get((stems[0], stems[1])) if between else None
            if ratio and not said.unknown:
                self._weak(said, {*stems, ratio})
                return ratio, True
        if len(stems) > 1:
            raise Silent("ambiguous", tuple(stems))
        self._weak(said, set(stems))
        if said.over and not (said.weak and len(said.analytes) == 1):
            # 肌酐/尿, PSA/TPSA: half of a ratio was lost, or its order is unclear.
            raise Silent("ambiguous", tuple(stems), "/")
        return stems[0], False

    def _members(self, said: Said, setting: Setting | None) -> frozenset[str]:
        """The analytes of the panel in or beside a name: PT of 凝血功能 is no other PT."""
        codes = {*said.slots.get("panel", ()), setting.code if setting is not None else ""}
        panels = [self._tables.panels[code] for code in codes if code in self._tables.panels]
        return panels[0].members if len(panels) == 1 else frozenset()

    def _wider(self, stem: str, other: str) -> bool:
        """Whether another word of the name says more: 红细胞分布宽度(RDW-CV), 白细胞(LEU)."""
        return stem != other and (
            other in self._tables.analytes[stem].elsewhere.values() or (stem == "RDW?" and other[:3] == "RDW")
        )

    def _weak(self, said: Said, stems: set[str]) -> None:
        for text in said.weak:
            if not self._tables.weak[text] & stems:
                raise Silent("conflict", (*sorted(stems), *sorted(self._tables.weak[text])), text)

    def _time(self, said: Said, stem: str) -> str:
        times = said.slots.get("time", [])
        if "?" in times:
            raise Silent("time_unsaid")
        distinct = set(times)
        if "2hPP?" in distinct:
            if "PP" not in distinct:
                raise Silent("time_unsaid")
            distinct = distinct - {"2hPP?"} | {"2hPP"}
        if "2hPP" in distinct:
            distinct.discard("PP")
        if stem == "GLU.F" or (
            CODES.get(stem, stem) == "GLU" and any("GLU.F" in self._tables.weak[text] for text in said.weak)
        ):
            distinct.add("fasting")  # FBG beside 血糖
        if len(distinct) > 1:
            raise Silent("conflict", tuple(sorted(distinct)))
        if distinct and (CODES.get(stem, stem) not in _TIMED or "U" in said.slots.get("specimen", ())):
            raise Silent("time_unsaid")
        return next(iter(distinct), "")


_DIGITS = "0123456789一二三四五六七八九十"
_NUMERALS = {ord(c): None for c in _DIGITS + "两大小项类群分()ABCDEF甲乙丙男女加"}


def _spans(tokens: Sequence[Token], text: str, bare: str) -> tuple[tuple[int, int, str], ...]:
    if len(text) == len(bare):
        return tuple([(t.start, t.end, t.word.slot) for t in tokens if t.word])
    kept = [place for place, c in enumerate(text) if c not in SILENT_IN_LABORATORY]
    return tuple([(kept[t.start], kept[t.end - 1] + 1, t.word.slot) for t in tokens if t.word])
