"""Specimens: what a message's field states, and what an item takes.

A word stands for what was taken from the patient: 血清 is serum alone, 血 may be serum, plasma or whole
blood. A serum item also takes plasma, a plasma item no serum. Two readings agree where they share one.
"""

from __future__ import annotations

from mapping.reading import LocalName, Silent
from mapping.said import SEEN, Said
from mapping.tables import Analyte, Setting
from mapping.text import folded

_ANY_BLOOD = frozenset({"serum", "plasma", "whole"})
_SERUM, _PLASMA, _WHOLE, URINE = (frozenset({m}) for m in ("serum", "plasma", "whole", "urine"))
_DAY, _CSF, _STOOL, _ARTERIAL, _VAGINAL = (
    frozenset({m}) for m in ("day-urine", "csf", "stool", "arterial", "vaginal")
)
_WORDS = {
    **dict.fromkeys(("血清", "SERUM", "SER"), _SERUM),
    **dict.fromkeys(("血浆", "PLASMA", "PLAS"), _PLASMA),
    **dict.fromkeys(("全血", "静脉全血", "末梢血", "EDTA全血", "WHOLEBLOOD", "WB", "BLD"), _WHOLE),
    **dict.fromkeys(("血", "静脉血"), _ANY_BLOOD),
    **dict.fromkeys(("尿", "尿液", "随机尿", "晨尿", "中段尿", "URINE", "UR"), URINE),
    **dict.fromkeys(("24小时尿", "24H尿", "24小时尿液", "24H尿液"), _DAY),
    **dict.fromkeys(("脑脊液", "CSF"), _CSF),
    **dict.fromkeys(("粪便", "大便", "粪", "便", "STOOL"), _STOOL),
    **dict.fromkeys(("动脉血", "血气"), _ARTERIAL),
    **dict.fromkeys(("白带", "阴道分泌物"), _VAGINAL),
}
BLOOD = frozenset("SPB")
_ROUTINE = frozenset({"UA", "STOOL", "VAGINAL", "CSF", "SEDIMENT", "BG", "URINE", "URINE24"})
_TAKES = {
    "S": _SERUM | _PLASMA,
    "P": _PLASMA,
    "B": _WHOLE,
    "U": URINE,
    "U24": _DAY,
    "CSF": _CSF,
    "F": _STOOL,
    "BG": _ARTERIAL,
    "V": _VAGINAL,
}


def stated(field: str) -> frozenset[str] | None:
    """What a field may mean: None where it is empty, the empty set where nobody knows the word."""
    word = folded(field)
    return _WORDS.get(word, frozenset()) if word else None


def takes(specimen: str) -> frozenset[str]:
    """What an item with this specimen slot is measured in."""
    return _TAKES.get(specimen, frozenset())


def of(said: Said, analyte: Analyte, setting: Setting | None, local: LocalName) -> str:
    """The specimen of the concept: said, meant by convention, or stated beside the name."""
    default = analyte.default
    if analyte.code in ("GLU.S", "GLU.F") or (said.slots.get("time") and "S" in analyte.specimens):
        default = default or "S"  # 血糖, 空腹葡萄糖
    elif analyte.code in SEEN and "count" in said.slots and "way" not in said.slots:
        default = "B"  # 白细胞计数
    named = _named(said, analyte, default)
    field = stated(local.specimen)
    if field is not None:
        return _agreed(named, default, field, analyte)
    specimen = named or default
    if setting is not None and setting.specimen == "?":
        raise Silent("not_listed", (analyte.code,))
    if setting is not None and setting.specimen:
        if setting.code in _ROUTINE:
            if named and named != setting.specimen and (setting.specimen, named) != ("U", "U24"):
                raise Silent("conflict", (named, setting.specimen))
            specimen = named or setting.specimen
        elif specimen == "BG" and not named:
            raise Silent("conflict", (specimen, setting.specimen))
        specimen = specimen or setting.specimen
    if not specimen:
        raise Silent("specimen_unsaid", tuple(f"{analyte.code}|{s}" for s in sorted(analyte.specimens)))
    if specimen == "P" and "P" not in analyte.specimens and "S" in analyte.specimens:
        specimen = "S"
    if specimen not in analyte.specimens:
        raise Silent("conflict", (f"{analyte.code}|{specimen}",))
    return specimen


def _named(said: Said, analyte: Analyte, default: str) -> str:
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
        if default and default not in BLOOD | {"BG"}:
            raise Silent("conflict", (default, "S"))
        return default or next((s for s in ("S", "BG") if s in analyte.specimens), "B")
    return named


def _agreed(named: str, default: str, stated: frozenset[str], analyte: Analyte) -> str:
    """The specimen of a name beside a stated one: a conflict where they share none."""
    if named:
        day = named == "U24" and stated == URINE  # a field seldom says how long was collected
        if not (day or stated & takes(named)):
            raise Silent("conflict", (named, *sorted(stated)))
        return named
    if default and stated & takes(default):
        return default
    fitting = [s for s in sorted(analyte.specimens) if stated & takes(s)]
    if len(fitting) == 1 and (default in ("", "S", "P", "B")):
        return fitting[0]
    raise Silent("conflict", (default, *sorted(stated)))
