"""The slots of a concept, what a confirmation decides in them, and how many persons that takes."""

from __future__ import annotations

from collections.abc import Iterable

from mapping.reading import Named

IMAGING_SLOTS = ("modality", "part", "side", "method", "view")
LAB_SLOTS = ("analyte", "specimen", "scale", "qualifier")
TWO_PERSONS = frozenset({"side", "method", "specimen", "scale"})
"""Slots in which a wrong reading harms a patient (plain for contrast, left for right, urine for blood)."""

_UNSAID = frozenset({"", "U", "?"})


def slots_of(concept: str) -> dict[str, str]:
    """A concept's slots with their values; empty for what is no single concept."""
    values = concept.split("|")
    names = {len(IMAGING_SLOTS): IMAGING_SLOTS, len(LAB_SLOTS): LAB_SLOTS}.get(len(values), ())
    return dict(zip(names, values, strict=False)) if ";;" not in concept else {}


def differing(one: str, other: str) -> tuple[str, ...]:
    """The slots in which two concepts of a kind differ."""
    first, second = slots_of(one), slots_of(other)
    return tuple(slot for slot in first if slot in second and first[slot] != second[slot])


def decided(own: Named, concept: str) -> tuple[str, ...]:
    """The slots of a concept that a mapping would decide, because the name's own reading leaves them open.

    A slot is settled only where every reading that the grammars hold possible says just this. A slot that
    does not apply (``-``) is settled where none of them, and no word of the name, says otherwise.
    """
    readings = [slots_of(reading) for reading in (own.target or "", *own.candidates)]
    readings = [slots for slots in readings if slots.keys() == slots_of(concept).keys()]
    words = {slot for _, _, slot in own.spans}
    found = []
    for slot, value in slots_of(concept).items():
        said = {reading[slot] for reading in readings}
        settled = said == {value} if said else value == "-" and slot not in words
        if not settled or value in _UNSAID:
            found.append(slot)
    return tuple(found)


def persons_for(slots: Iterable[str]) -> int:
    """How many persons have to confirm a mapping that decides these slots."""
    return 2 if TWO_PERSONS.intersection(slots) else 1
