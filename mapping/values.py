"""Results as Chinese reports print them, parsed beside the text as written.

The text stays what it is; the parsed form says what may be computed with: a number with its comparator
(``<0.1``), a range (``3.5~5.5``), a titre (``1:80``), or a grade (``1+``, ``阴性(-)``). Numbers are
:class:`~decimal.Decimal`, so that the digits as written are kept. What is none of these is text.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from typing import Literal

from msgspec import Struct

Form = Literal["empty", "number", "range", "titre", "grade", "text"]
Comparator = Literal["", "<", "<=", ">", ">=", "~"]

_DIGITS = r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d{1,30})(?:\.\d{1,30})?(?:[eE][+-]?\d{1,2}|[x×*]10\^?[+-]?\d{1,2})?"
_COMPARATORS: dict[str, Comparator] = {
    "<": "<", "小于": "<", "低于": "<", ">": ">", "大于": ">", "高于": ">", "<=": "<=", "≤": "<=", "≦": "<=",
    "小于等于": "<=", ">=": ">=", "≥": ">=", "≧": ">=", "大于等于": ">=", "约": "~", "≈": "~",
}  # fmt: skip
_NUMBER = re.compile(
    rf"(?P<comparator>{'|'.join(sorted(map(re.escape, _COMPARATORS), key=len, reverse=True))})?"
    rf"(?P<number>{_DIGITS})"
)
_RANGE = re.compile(rf"(?P<low>{_DIGITS})(?:~|-{{1,2}}|至|到)(?P<high>{_DIGITS})")
_TITRE = re.compile(r"(?P<comparator>[<>]=?|≤|≥)?1[::](?P<number>\d{1,9})(?P<sign>\([-+±]\))?")
_GRADES: dict[str, Decimal] = {
    **dict.fromkeys(("-", "(-)", "阴性", "neg", "negative", "未检出", "未见"), Decimal(0)),
    **dict.fromkeys(("±", "(±)", "+-", "+/-", "可疑", "弱阳性", "trace"), Decimal("0.5")),
    **dict.fromkeys(("+", "(+)", "阳性", "pos", "positive"), Decimal(1)),
    "强阳性": Decimal(3),
}
_PLUS = re.compile(r"\(?(?:(?P<count>[1-4])\+|\+(?P<after>[1-4])|(?P<signs>\+{1,4}))\)?")
_WITH_SIGN = re.compile(r"(?P<word>阴性|阳性|弱阳性|强阳性|可疑)\((?P<sign>[^()]{1,4})\)")
_BLANKS = re.compile(r"\s+")
_LONGEST = 64


class Value(Struct, frozen=True, kw_only=True):
    """A result as written, and what it says.

    ``number`` is the value of a number, the reciprocal of a titre (80 of 1:80), or a grade from 0 (negative)
    over 0.5 (trace) and 1+ to 4+; ``high`` is the upper end of a range whose lower one is ``number``.
    """

    text: str
    form: Form
    comparator: Comparator = ""
    number: Decimal | None = None
    high: Decimal | None = None


def value(text: str) -> Value:
    """The parsed form of a printed result. Never raises; what cannot be parsed is text."""
    if len(text) > _LONGEST:
        return Value(text=text, form="text")
    bare = _BLANKS.sub("", unicodedata.normalize("NFKC", text)).replace("\u2212", "-").replace("—", "-")
    bare = bare.replace("∼", "~").replace("〜", "~").rstrip("↑↓")
    if not bare:
        return Value(text=text, form="empty")
    if (grade := _grade(bare.lower())) is not None:
        return Value(text=text, form="grade", number=grade)
    if found := _NUMBER.fullmatch(bare):
        comparator = _COMPARATORS.get(found["comparator"] or "", "")
        return Value(text=text, form="number", comparator=comparator, number=_decimal(found["number"]))
    if found := _TITRE.fullmatch(bare):
        comparator = _COMPARATORS.get(found["comparator"] or "", "")
        return Value(text=text, form="titre", comparator=comparator, number=Decimal(found["number"]))
    if found := _RANGE.fullmatch(bare):
        low, high = _decimal(found["low"]), _decimal(found["high"])
        if low <= high:
            return Value(text=text, form="range", number=low, high=high)
    return Value(text=text, form="text")


def _grade(bare: str) -> Decimal | None:
    if bare in _GRADES:
        return _GRADES[bare]
    if found := _PLUS.fullmatch(bare):
        return Decimal(found["count"] or found["after"] or len(found["signs"]))
    if found := _WITH_SIGN.fullmatch(bare):
        word, sign = _GRADES[found["word"]], _grade(found["sign"])
        # 阳性(2+) is graded by its sign; 阴性(+) contradicts itself and stays text.
        if sign is not None and (word == 0) == (sign == 0):
            return sign
    return None


def _decimal(digits: str) -> Decimal:
    plain = digits.replace(",", "")
    power = re.split(r"[x×*]10\^?", plain)
    return Decimal(f"{power[0]}E{power[1]}" if len(power) == 2 else plain)
