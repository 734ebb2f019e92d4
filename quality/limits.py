"""Limits of acceptability of one result of an external quality assessment, in the shapes that are published.

=============== ======================================================= ================================
``percent``     |value - target| ≤ percent of the target                ALT 15 %, WS/T 403-2024
``absolute``    |value - target| ≤ amount                               pH 0.04, WS/T 403-2024
``piecewise``   absolute at a small target, per cent above              K 0.2 mmol/L to 3.3, else 6 %
``larger``      the larger of both                                      PO2 10 mmHg or 10 %, Beijing
``equal``       equal to the expected result                            HBsAg, Beijing
=============== ======================================================= ================================

Published limits differ for one analyte (ALT 15 % in WS/T 403-2024, 16 % in the national plan of 2026), so a
limit carries the name of its standard. The examples are a third party's transcription.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Literal

from msgspec import Struct

from catalog import canonical_name
from quality.errors import NotANumber

Shape = Literal["percent", "absolute", "piecewise", "larger", "equal"]


class Limit(Struct, frozen=True, kw_only=True):
    """How far a result may be from its target.

    ``amount`` and ``threshold`` are in the unit of the target. ``to_threshold``: a target equal to the
    threshold still has the absolute limit (WS/T 403-2024), or already that in per cent.
    """

    shape: Shape
    standard: str
    percent: Decimal = Decimal(0)
    amount: Decimal = Decimal(0)
    threshold: Decimal = Decimal(0)
    to_threshold: bool = True

    def accepts(self, value: str, target: str) -> bool:
        """Whether a result is acceptable; a result exactly on the limit is.

        Both are decimal text in one unit; for the shape ``equal`` any text, where width, case and blanks do
        not matter.

        Raises:
            NotANumber: one of them is no number, and this limit needs two.
        """
        if self.shape == "equal":
            return canonical_name(value) == canonical_name(target)
        aim = number(target)
        return abs(number(value) - aim) <= self._room(aim)

    def _room(self, target: Decimal) -> Decimal:
        part = abs(target) * self.percent / 100
        if self.shape == "percent":
            return part
        if self.shape == "absolute":
            return self.amount
        if self.shape == "larger":
            return max(part, self.amount)
        small = target < self.threshold or (self.to_threshold and target == self.threshold)
        return self.amount if small else part


def number(text: str) -> Decimal:
    """A finite decimal number.

    Raises:
        NotANumber: it is none; a bound such as ``<0.1`` is none either.
    """
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite():
        raise NotANumber(f"{text[:40]!r} is no number; score it by hand, or send a number")
    return value
