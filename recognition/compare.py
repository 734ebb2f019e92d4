"""Comparability of laboratory values: one unit becomes another by a listed factor, or not at all.

A value in another unit than the item's is converted only with the conversion that the catalogue lists for
this very item, because factors belong to an analyte in a specimen and not to units. An unknown unit is not
comparable and never equal. What the hospital wrote stays beside the converted value. The product is exact:
decimal, nothing rounded, so that two gateways get the same digits. A comparator ("<0.1") keeps its meaning,
and so do the bounds of a reference range, those that exclude themselves included: only a positive factor is
used, because another would turn them round.

A text that is no single number ("++", "1:80", "3-5", "1,200", "1 200", "10⁹") is not converted: nobody knows
what a factor would mean for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Context, Decimal

from catalog import Conversion, Item
from mapping import same_unit
from recognition.model import Converted, Result

_NUMBER = r"[0-9]{1,20}(?:\.[0-9]{1,20})?"
_SIGN = r"(?:[<>]=?|[≤≥≦≧])?"
_VALUE = re.compile(rf"\s*({_SIGN})\s*([+-]?{_NUMBER})\s*")
# Bounds are unsigned: in "-3--1" nobody can tell a dash between two bounds from a sign. A comma separates
# bounds in an interval alone: "<1,200" is no range from 1 to 200.
_RANGE = re.compile(
    rf"\s*([\[(])?\s*{_SIGN}\s*({_NUMBER})"
    rf"(?:\s*(?:--?|~|至|—|–|(?(1),|(?!)))\s*({_NUMBER}))?\s*[\])]?\s*"
)
_PLAIN = {full: full - 0xFEE0 for full in range(0xFF01, 0xFF5F)}
"""Full-width signs and digits as plain ones; unlike NFKC it leaves 10⁹ alone."""
_EXACT = Context(prec=200)


def needs_unit(item: Item) -> bool:
    """Whether a value is incomplete without a unit: not a qualitative one, nor where the list gives none."""
    return bool(item.units) and not _qualitative(item)


def comparable(result: Result, item: Item) -> bool:
    """Whether the value is in a unit that the catalogue lists for the item, so far as it carries a unit."""
    unit = result.unit
    return (
        not unit
        or unit in item.units
        or _qualitative(item)
        or any(same_unit(unit, listed) for listed in item.units)
    )


def convert(result: Result, item: Item, listed: Iterable[Conversion]) -> Converted | None:
    """The value in the item's unit; None without a conversion listed for it, or where it is no number."""
    value = _VALUE.fullmatch(result.value.translate(_PLAIN))
    if value is None:
        return None
    for conversion in listed:
        if (
            conversion.factor > 0
            and same_unit(result.unit, conversion.unit)
            and any(same_unit(conversion.to_unit, unit) for unit in item.units)
        ):
            offset = f"{conversion.offset:+}" if conversion.offset else ""
            return Converted(
                value=value[1] + _exact(value[2], conversion),
                unit=conversion.to_unit,
                factor=f"{conversion.factor}{offset}",
                source=conversion.source,
                reference=_reference(result.reference, conversion),
            )
    return None


def _qualitative(item: Item) -> bool:
    return item.concept.split("|")[2:3] == ["QL"]


def _reference(written: str, conversion: Conversion) -> str:
    """The range with its bounds converted and all its signs kept; empty where it is not one range."""
    text = written.translate(_PLAIN)
    found = _RANGE.fullmatch(text)
    if found is None:
        return ""
    for bound in (3, 2):  # from the end, so that the places before it stay right
        if found[bound] is not None:
            start, end = found.span(bound)
            text = text[:start] + _exact(text[start:end], conversion) + text[end:]
    return text.strip()


def _exact(number: str, conversion: Conversion) -> str:
    product = _EXACT.multiply(Decimal(number), conversion.factor)
    return format(_EXACT.add(product, conversion.offset), "f")
