"""What the words of a laboratory name say, slot by slot, before it is combined."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mapping.reading import Silent, Token, dangling

SEEN = frozenset({"WBC", "RBC"})
"""Cells that are counted in blood and seen under the microscope elsewhere."""

CODES = {"UREA.N": "UREA", "PH.U": "PH", "GLU.S": "GLU", "GLU.F": "GLU", "HCG.U": "HCG", "HPSERO": "HPAB"}
"""The analyte of a row that stands for a narrower word of it (空腹血糖, 尿素氮)."""

UNIT_SCALES = {"U/L": "ACT", "IU/L": "ACT", "NG/ML": "QN", "UG/L": "QN"}
_TELLING = ("超敏", "高敏", "高灵敏", "游离", "半")
"""What a bracket that ends in 法 may say about the analyte, and not about the method alone."""

_OF_METHODS = frozenset({"method", "noise", "unit", "joiner"})
_REAGENTS = frozenset({"NH3", "FE", "UREA", "UA", "GLU", "LAC", "MG", "CU"})
"""Analytes in the names of methods: the 氨 of 肌氨酸氧化酶法, the 铁 of 亚铁嗪法."""


class Said:
    """The words of one name, by slot."""

    def __init__(self) -> None:
        self.analytes: list[tuple[int, str]] = []
        self.weak: list[str] = []
        self.unknown: list[Token] = []
        self.slots: dict[str, list[str]] = {}
        self.over: list[int] = []
        self.plus = False
        self.scale_by_unit = ""

    def one(self, slot: str) -> str:
        """The value of a slot that may be said once; empty where it is not.

        Raises:
            Silent: it is said in two ways.
        """
        values = set(self.slots.get(slot, ()))
        if len(values) > 1:
            raise Silent("conflict", tuple(sorted(values)))
        return next(iter(values), "")


def said_by(tokens: Sequence[Token]) -> Said:
    """The words of a name, by slot; brackets that name a method are left out.

    Raises:
        Silent: a word is outside the laboratory, or a sign dangles.
    """
    said = Said()
    dangling(tokens)
    tokens = _without_methods(tokens)
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
        elif word.slot == "unit":
            said.scale_by_unit = UNIT_SCALES.get(token.text, "")
        elif word.slot not in ("noise", "method"):
            said.slots.setdefault(word.slot, []).append(word.value)
    return said


def typing_slips(unknown: Sequence[Token], own: Iterable[str]) -> None:
    """Unknown letters one typing slip away from the abbreviation of their own analyte are taken for it.

    Raises:
        Silent: what nobody knows is no such slip.
    """
    for token in unknown:
        slip = (
            token.text.isascii()
            and token.text.isalpha()
            and len(token.text) >= 3
            and any(_one_slip(token.text, text) for text in own)
        )
        if not slip:
            raise Silent("unknown", residue=" ".join(token.text for token in unknown))


def _without_methods(tokens: Sequence[Token]) -> Sequence[Token]:
    """The tokens without brackets that name a method (钒酸盐氧化法, 脲酶-谷氨酸脱氢酶法, BCG法).

    A method does not change the item, so its reagents need no table; a bracket with any word that does
    (定性法, 质量法, 试纸法) is left as it stands.
    """
    kept: list[Token] = []
    opened = -1
    for token in tokens:
        kept.append(token)
        if token.text == "(":
            opened = len(kept) - 1
        elif token.text == ")" and opened >= 0:
            inside = kept[opened + 1 : -1]
            text = "".join(t.text for t in inside)
            if (
                text.endswith("法")
                and any(t.word is None for t in inside)
                and all(
                    t.word is None or t.word.slot in _OF_METHODS or t.word.value in _REAGENTS for t in inside
                )
                and not any(word in text for word in _TELLING)
            ):
                del kept[opened:]
            opened = -1
    return kept


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
