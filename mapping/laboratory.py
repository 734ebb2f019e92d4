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
from mapping.reading import LocalName, Read, Silent, Token, dangling, scan
from mapping.tables import SILENT_IN_LABORATORY, Analyte, Setting, Tables
from mapping.units import canonical_unit

_DROP = dict.fromkeys(map(ord, SILENT_IN_LABORATORY))
_BLOOD = frozenset("SPB")
_TIMED = frozenset({"GLU", "INS", "CPEP"})
_CODES = {"UREA.N": "UREA", "PH.U": "PH", "GLU.S": "GLU", "GLU.F": "GLU", "HCG.U": "HCG", "HPSERO": "HPAB"}
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
    "电泳": frozenset({"ALB", "A1GLB", "A2GLB", "BGLB", "B1GLB", "GGLB"}),
    "初筛": frozenset({"HIVAB", "TPAB", "HCVAB", "HBSAG"}),
}
_PERCENT = frozenset(
    {"HBA1C", "GA", "HCT", "PT%", "SO2", "O2HB", "RDWCV", "PDW", "PLCR", "PLTCRIT", "AT3", "LFR"}
    | {"AFPL3", "F/T-PSA", "A1GLB", "BGLB", "GGLB"}
)
"""Analytes that are a share by themselves, so that a % beside them is their unit."""

_UNIT_SCALES = {"U/L": "ACT", "IU/L": "ACT", "ng/mL": "QN", "ug/L": "QN"}
_RESULT_SCALES = {
    "QN": "QN",
    "QL": "QL",
    "定量": "QN",
    "定性": "QL",
    "QUANTITATIVE": "QN",
    "QUALITATIVE": "QL",
}
_ROUTINE = frozenset({"UA", "STOOL", "VAGINAL", "CSF", "SEDIMENT", "BG"})


class _Said:
    """The words of one name, by slot."""

    def __init__(self) -> None:
        self.analytes: list[tuple[int, str]] = []
        self.weak: list[str] = []
        self.unknown: list[Token] = []
        self.slots: dict[str, list[str]] = {}
        self.over: list[int] = []
        self.plus = False

    def one(self, slot: str) -> str:
        """The value of a slot that may be said once; empty where it is not.

        Raises:
            Silent: it is said in two ways.
        """
        values = set(self.slots.get(slot, ()))
        if len(values) > 1:
            raise Silent("conflict", tuple(sorted(values)))
        return next(iter(values), "")


class Laboratory:
    """Reads laboratory names with one set of tables; ``known`` are the concepts the catalogue adds."""

    def __init__(self, tables: Tables, known: Iterable[str] = ()) -> None:
        self._tables = tables
        self._known = tables.vocabulary["analyte"] | {concept.split("|")[0] for concept in known}
        self._settings: dict[str, Setting | None] = {}

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
        said = self._said(tokens)
        setting = self._setting(said, local)
        if "panel" in said.slots and not said.analytes and not said.weak:
            return self._panel(said, tokens), "panel"
        stem, ratio = self._stem(said)
        for panel in said.slots.get("panel", ()):
            # 肝功能GPT is one analyte of the panel; 血常规CRP is a panel and another test.
            if said.plus or _CODES.get(stem, stem) not in self._tables.panels[panel].members:
                raise Silent("several", (panel, stem))
        if said.unknown:
            self._typing_slips(said, stem)
        if "family" in said.slots and stem not in said.one("family").split(";"):
            raise Silent("conflict", (said.one("family"), stem))
        if ratio:
            said.slots.pop("ratio", None)
            said.slots.pop("share", None)
        analyte = self._tables.analytes[stem]
        time = self._time(said, stem)
        way = said.one("way")
        if not way and setting is not None and stem in _SEEN:
            way = {"SEDIMENT": "沉渣", "STOOL": "镜检"}.get(setting.code, "")
        specimen = self._specimen(said, analyte, setting, local)
        code = self._code(said, analyte, specimen, way, local)
        scale, way = self._scale(said, analyte, code, specimen, way, setting, local)
        if way == "全程" and code in ("CRP", "HSCRP"):
            code = "CRP"
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

    def _said(self, tokens: Sequence[Token]) -> _Said:
        said = _Said()
        dangling(tokens)
        for place, token in enumerate(tokens):
            word = token.word
            if word is None:
                said.unknown.append(token)
            elif word.slot == "analyte":
                said.analytes.append((place, word.value))
            elif word.slot == "weak":
                said.weak.append(word.value)
            elif word.slot == "outside":
                raise Silent("out_of_scope", residue=token.text)
            elif word.slot == "joiner":
                if word.value in "/、":
                    said.over.append(place)
                said.plus |= word.value in "+、;"
            elif word.slot not in ("noise", "method", "unit"):
                said.slots.setdefault(word.slot, []).append(word.value)
        return said

    def _setting(self, said: _Said, local: LocalName) -> Setting | None:
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
        if text == ";;":
            return None
        if text not in self._settings:
            if len(self._settings) > 4096:
                self._settings.clear()
            self._settings[text] = self._find(text)
        return self._settings[text]

    def _find(self, beside: str) -> Setting | None:
        found = {s.code: s for word, s in self._tables.settings.items() if word in beside and not s.modality}
        if "SEDIMENT" in found:
            found.pop("UA", None)
        return next(iter(found.values())) if len(found) == 1 else None

    def _panel(self, said: _Said, tokens: Sequence[Token]) -> str:
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
        key += "".join(c for c in own if c.isdigit())
        return "|".join(("PANEL", family, specimen, *([key] if key else [])))

    def _stem(self, said: _Said) -> tuple[str, bool]:
        """The analyte of the name; a ratio of two has a code of its own."""
        stems = list(dict.fromkeys(stem for _, stem in said.analytes))
        if len(stems) > 1 and len({_CODES.get(stem, stem) for stem in stems}) == 1:
            # 空腹血糖(GLU): of GLU.F, GLU.S and GLU the narrower word says more.
            stems = [min(stems, key=lambda stem: ("." not in stem, stem))]
        if not stems:
            if said.unknown or not said.weak:
                raise Silent("unknown", residue=" ".join(token.text for token in said.unknown))
            raise Silent("ambiguous", tuple(sorted(self._tables.weak[said.weak[0]])), said.weak[0])
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

    def _weak(self, said: _Said, stems: set[str]) -> None:
        for text in said.weak:
            if not self._tables.weak[text] & stems:
                raise Silent("conflict", (*sorted(stems), *sorted(self._tables.weak[text])), text)

    def _typing_slips(self, said: _Said, stem: str) -> None:
        own = self._tables.short.get(stem, frozenset())
        for token in said.unknown:
            slip = (
                token.text.isascii()
                and token.text.isalpha()
                and len(token.text) >= 3
                and any(_one_slip(token.text, text) for text in own)
            )
            if not slip:
                raise Silent("unknown", residue=" ".join(token.text for token in said.unknown))

    def _time(self, said: _Said, stem: str) -> str:
        times = said.slots.get("time", [])
        if "?" in times:
            raise Silent("time_unsaid")
        distinct = set(times)
        if "2hPP?" in distinct:
            if "PP" not in distinct:
                raise Silent("time_unsaid")
            distinct = distinct - {"2hPP?", "PP"} | {"2hPP"}
        if stem == "GLU.F":
            distinct.add("fasting")
        if len(distinct) > 1:
            raise Silent("conflict", tuple(sorted(distinct)))
        if distinct and _CODES.get(stem, stem) not in _TIMED:
            raise Silent("time_unsaid")
        return next(iter(distinct), "")

    def _specimen(self, said: _Said, analyte: Analyte, setting: Setting | None, local: LocalName) -> str:
        """The specimen of the concept: said, meant by convention, or stated beside the name."""
        default = analyte.default
        if analyte.code in ("GLU.S", "GLU.F") or (said.slots.get("time") and "S" in analyte.specimens):
            default = default or "S"  # 血糖, 空腹葡萄糖
        elif analyte.code in _SEEN and "count" in said.slots and "way" not in said.slots:
            default = "B"  # 白细胞计数
        named = self._named(said, analyte, default)
        stated = specimens.stated(local.specimen)
        if stated is not None:
            return self._agreed(named, default, stated, analyte)
        specimen = named or default
        if setting is not None and setting.specimen:
            if setting.code in _ROUTINE:
                if named and named != setting.specimen and (setting.specimen, named) != ("U", "U24"):
                    raise Silent("conflict", (named, setting.specimen))
                specimen = named or setting.specimen
            specimen = specimen or setting.specimen
        if not specimen:
            raise Silent("specimen_unsaid", tuple(f"{analyte.code}|{s}" for s in sorted(analyte.specimens)))
        if specimen == "P" and "P" not in analyte.specimens and "S" in analyte.specimens:
            specimen = "S"
        if specimen not in analyte.specimens:
            raise Silent("conflict", (f"{analyte.code}|{specimen}",))
        return specimen

    @staticmethod
    def _named(said: _Said, analyte: Analyte, default: str) -> str:
        """The specimen that the name says; 血 is whatever blood its analyte is measured in."""
        words = set(said.slots.get("specimen", ()))
        if "U24?" in words and "U" in words:  # 尿蛋白(24h)
            words = words - {"U24?"} | {"U24"}
        if "U24" in words:
            words.discard("U")
        if words & {"S", "P", "B", "BG"}:
            words.discard("blood")
        if len(words) > 1:
            raise Silent("conflict", tuple(sorted(words)))
        named = next(iter(words), "")
        if named == "U24?":
            raise Silent("time_unsaid", residue="24h")
        if named == "?":
            raise Silent("not_listed", (analyte.code,))
        if named == "blood":
            if default and default not in _BLOOD | {"BG"}:
                raise Silent("conflict", (default, "S"))
            return default or ("S" if "S" in analyte.specimens else "B")
        return named

    @staticmethod
    def _agreed(named: str, default: str, stated: frozenset[str], analyte: Analyte) -> str:
        """The specimen of a name beside a stated one: a conflict where they share none."""
        if named:
            day = named == "U24" and stated == specimens.URINE  # a field seldom says how long was collected
            if not (day or stated & specimens.takes(named)):
                raise Silent("conflict", (named, *sorted(stated)))
            return named
        if default and stated & specimens.takes(default):
            return default
        fitting = [s for s in sorted(analyte.specimens) if stated & specimens.takes(s)]
        if len(fitting) == 1 and (default in ("", "S", "P", "B")):
            return fitting[0]
        raise Silent("conflict", (default, *sorted(stated)))

    def _code(self, said: _Said, analyte: Analyte, specimen: str, way: str, local: LocalName) -> str:
        counted, share = "count" in said.slots, said.one("share")
        ratio = "ratio" in said.slots
        if analyte.shares:
            return analyte.code + self._share(counted, bool(share) or ratio, analyte, local)
        if ratio or (share and analyte.code not in _PERCENT):
            raise Silent("ambiguous", (analyte.code,), "比值")
        if counted and analyte.code not in ("WBC", "RBC", "PLT", "EPI", "CAST", "~BACT", "~SEPI"):
            raise Silent("ambiguous", (analyte.code,), "计数")
        other = analyte.elsewhere.get(specimen)
        if other is not None and not (counted or way in ("镜检", "沉渣")):
            if other == "!":
                raise Silent("ambiguous", (f"{analyte.code}|{specimen}",))
            return other
        if other == "!" and analyte.code != "RBC":
            raise Silent("ambiguous", (f"{analyte.code}|{specimen}",))
        if analyte.code == "HPSERO" and not said.slots.get("specimen"):
            raise Silent("unknown", (analyte.code,))
        variation = said.one("variation")
        if variation and analyte.code not in ("RDW?", f"RDW{variation}"):
            raise Silent("unknown", residue=variation)
        if analyte.code == "RDW?" and variation:
            return f"RDW{variation}"
        if analyte.code == "RDW?":
            return {"fL": "RDWSD", "%": "RDWCV"}.get(canonical_unit(local.unit), "RDW?")
        return _CODES.get(analyte.code, analyte.code)

    @staticmethod
    def _share(counted: bool, share: bool, analyte: Analyte, local: LocalName) -> str:
        """``#`` for a number of cells, ``%`` for their share: from the name, else from the unit."""
        unit = canonical_unit(local.unit)
        by_unit = "%" if unit == "%" else "#" if unit.endswith(("/L", "/uL")) else ""
        said = "#" if counted else "%" if share else ""
        candidates = tuple(f"{analyte.code}{s}" for s in sorted(analyte.shares))
        if (counted and share) or (said and by_unit and said != by_unit):
            raise Silent("conflict", candidates)
        if not (said or by_unit):
            raise Silent("share_unsaid", candidates)
        return said or by_unit

    def _scale(
        self,
        said: _Said,
        analyte: Analyte,
        code: str,
        specimen: str,
        way: str,
        setting: Setting | None,
        local: LocalName,
    ) -> tuple[str, str]:
        """The scale, and the qualifier that is left of the way the test is done."""
        scale = said.one("scale")
        if code == "CKMB":
            scale = {"MASS": "QN"}.get(scale, scale)
            by_unit = _UNIT_SCALES.get(canonical_unit(local.unit), "")
            if scale and by_unit and scale != by_unit:
                raise Silent("conflict", (f"CKMB|{scale}", f"CKMB|{by_unit}"))
            return scale or by_unit or "?", way
        if scale in ("ACT", "MASS"):
            if scale == "MASS" or not analyte.enzyme:
                raise Silent("unknown", residue=scale)
            scale = "QN"
        stated = _RESULT_SCALES.get(local.result_type.strip().upper(), "")
        if scale and stated and scale != stated:
            raise Silent("conflict", (scale, stated))
        scale = scale or stated
        if way == "初筛":
            scale = scale or "QL"
        elif way == "試紙":
            if analyte.code == "ALB":
                raise Silent("ambiguous", (f"ALB|{specimen}", f"MALB|{specimen}"))
            scale = scale or "QL"
        elif way in ("镜检", "沉渣") and "count" not in said.slots:
            scale = scale or "?"
        if code in _SEEN and specimen != "B":
            scale = scale or ("QN" if "count" in said.slots else "?")
        if scale:
            return scale, way
        if "count" in said.slots:
            return "QN", way
        if specimen in ("U", "U24") and code in ("GLU", "PRO", "LEU", "ALB"):
            strip = setting is not None and setting.code == "UA"
            return "QL" if strip else "?", way
        if analyte.elsewhere.get(specimen) == code:
            return "QL" if specimen == "U" else "?", way
        return analyte.scale, way


_SEEN = frozenset({"WBC", "RBC"})
_NUMERALS = {ord(c): None for c in "0123456789一二三四五六七八九十两大小项类群分()（）ABCDEF甲乙丙男女加"}


def _one_slip(one: str, other: str) -> bool:
    """Whether one letter was put in, left out or replaced, or two neighbours changed places."""
    if one == other:
        return True
    if abs(len(one) - len(other)) > 1 or len(other) < 3:
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    a, b = one[start:], other[start:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])


def _spans(tokens: Sequence[Token], text: str, bare: str) -> tuple[tuple[int, int, str], ...]:
    if len(text) == len(bare):
        return tuple([(t.start, t.end, t.word.slot) for t in tokens if t.word])
    kept = [place for place, c in enumerate(text) if c not in SILENT_IN_LABORATORY]
    return tuple([(kept[t.start], kept[t.end - 1] + 1, t.word.slot) for t in tokens if t.word])
