"""Specimens: what a message's field states, what a name says, and what an item takes.

A word stands for what was taken from the patient: 血清 is serum alone, 血 may be serum, plasma or whole
blood. A serum item also takes plasma, a plasma item no serum. Two readings agree where they share one.

Whether a name says its specimen is computed from its text, so that no list has to carry it. Names of analytes
that hold a specimen's character (尿素, 血红蛋白, 凝血) are taken out first; what remains says a specimen by
any specimen word in it (尿糖, 肌酐(血), 脑脊液LDH), a Latin specimen word of its own, or a specimen's initial
in brackets (CREA(U)). An abbreviation says it where, without its first letter S, P, B or U, it begins another
name of the same item: SCR is S + CR of CREA, while UREA is no U + REA. A false alarm only
abstains.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

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
_INITIALS = {"S": _SERUM, "P": _PLASMA, "B": _WHOLE, "U": URINE}
_ANALYTES = re.compile("尿素|尿酸|尿胆[原素]|尿肽|利尿|血红蛋白|血小板|血细胞|血沉|血管|凝血|溶血")
_IN_NAMES = re.compile("|".join(sorted((w for w in _WORDS if not w.isascii()), key=len, reverse=True)))
_LATIN = re.compile("[A-Z]+")
_INITIAL = re.compile(r"\(([SPBU])\)")


def stated(field: str) -> frozenset[str] | None:
    """What a field may mean: None where it is empty, the empty set where nobody knows the word."""
    word = folded(field)
    return _WORDS.get(word, frozenset()) if word else None


def said(name: str, others: Iterable[str]) -> frozenset[str]:
    """What a canonical name says of its specimen, the empty set where it is free of it.

    ``others`` are the canonical names of the same item.
    """
    text = _ANALYTES.sub(" ", name)
    found = [_WORDS[word] for word in _IN_NAMES.findall(text)]
    found += [_WORDS[word] for word in _LATIN.findall(text) if word in _WORDS]
    found += [_INITIALS[letter] for letter in _INITIAL.findall(text)]
    short = name[1:]
    if name[:1] in _INITIALS and len(short) > 1 and any(o.startswith(short) for o in others):
        found.append(_INITIALS[name[0]])
    return frozenset().union(*found)


def takes(specimen: str) -> frozenset[str]:
    """What an item with this specimen slot is measured in."""
    return _TAKES.get(specimen, frozenset())


def without_urine(name: str) -> str:
    """A canonical name without the word that says urine: 葡萄糖 of 尿液葡萄糖."""
    return re.sub(r"\(尿液?\)|尿液|尿(?![素酸胆])", "", name)
