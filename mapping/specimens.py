"""Specimens: what a message's field states, and what an item takes.

A word stands for what was taken from the patient: 血清 is serum alone, 血 may be serum, plasma or whole
blood. A serum item also takes plasma, a plasma item no serum. Two readings agree where they share one.
"""

from __future__ import annotations

from mapping.text import folded

_BLOOD = frozenset({"serum", "plasma", "whole"})
_SERUM, _PLASMA, _WHOLE, URINE = (frozenset({m}) for m in ("serum", "plasma", "whole", "urine"))
_DAY, _CSF, _STOOL, _ARTERIAL, _VAGINAL = (
    frozenset({m}) for m in ("day-urine", "csf", "stool", "arterial", "vaginal")
)
_WORDS = {
    **dict.fromkeys(("血清", "SERUM", "SER"), _SERUM),
    **dict.fromkeys(("血浆", "PLASMA", "PLAS"), _PLASMA),
    **dict.fromkeys(("全血", "静脉全血", "末梢血", "EDTA全血", "WHOLEBLOOD", "WB", "BLD"), _WHOLE),
    **dict.fromkeys(("血", "静脉血"), _BLOOD),
    **dict.fromkeys(("尿", "尿液", "随机尿", "晨尿", "中段尿", "URINE", "UR"), URINE),
    **dict.fromkeys(("24小时尿", "24H尿", "24小时尿液", "24H尿液"), _DAY),
    **dict.fromkeys(("脑脊液", "CSF"), _CSF),
    **dict.fromkeys(("粪便", "大便", "粪", "便", "STOOL"), _STOOL),
    **dict.fromkeys(("动脉血", "血气"), _ARTERIAL),
    **dict.fromkeys(("白带", "阴道分泌物"), _VAGINAL),
}
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
