"""What can be reached from a code: the areas above a region, the members of a panel and theirs."""

from __future__ import annotations

from collections.abc import Mapping


def reached(onwards: Mapping[str, tuple[str, ...]], code: str) -> tuple[str, ...]:
    """Everything that can be reached, the nearest first; the code itself only where it lies in a circle."""
    found: dict[str, None] = {}
    ahead = onwards.get(code, ())
    while ahead:
        fresh = dict.fromkeys(each for each in ahead if each not in found)
        found |= fresh
        ahead = tuple(further for each in fresh for further in onwards.get(each, ()))
    return tuple(found)
