"""What is planned, looked up from the side of a result.

A planned item may be a *sum*: a panel with the item's own code says of which parts (plain + contrast = plain,
contrast). A result for a part then matters too, because with it only the other parts need to be ordered.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from msgspec import Struct

from catalog import Catalogue, Condition, Item, ItemList, Qualification, Rule, Setting, Window
from recognition.model import Check, Planned, Result

CONDITIONAL = (6, 8)
"""The steps whose rules are conditions: hierarchy and negative list."""


class Under:
    """A catalogue told apart by identity, as the key of what was worked out under it: it is read-only, so
    that stays right, and comparing two catalogues by their content would cost more than a decision."""

    __slots__ = ("catalogue",)

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue

    def __hash__(self) -> int:
        return id(self.catalogue)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Under) and other.catalogue is self.catalogue


class Aim(Struct, frozen=True):
    """A planned item, or a part of one, at the asking institution: the list that counts, and its rules.

    ``own`` is the window that the institution added for itself; it counts beside the list's. ``conditions``
    are those that apply to the item there, by step.
    """

    item: Item
    list: ItemList | None
    window: Window | None
    own: Window | None
    conditions: dict[int, tuple[tuple[Rule, Condition], ...]]


def planned_codes(planned: Planned, catalogue: Catalogue) -> tuple[str, ...]:
    """The items to serve: those that are planned, and for a panel that is itself an item that item alone."""
    return (planned.panel,) if planned.panel in catalogue.items else planned.items


class Wanted:
    """The aims of a check.

    Raises:
        UnknownEntry: a planned item is not in the catalogue.
    """

    def __init__(self, check: Check, under: Under, region: str) -> None:
        catalogue = self._catalogue = under.catalogue
        self._under, self._region = under, region
        self._setting, self._receiver = check.context.setting, check.receiver
        items = {
            code: catalogue.item(code) for entry in check.planned for code in planned_codes(entry, catalogue)
        }
        self._wholes = dict.fromkeys(items, frozenset[str]())
        """Every code that a result may serve for, and the planned sums that it is only a part of."""
        for whole in items.keys() & catalogue.panels.keys():
            for part in parts(whole, catalogue):
                if part not in items:
                    self._wholes[part] = self._wholes.get(part, frozenset()) | {whole}
        self._kinds = {item.kind for item in items.values()}
        self._subjects: dict[tuple[str, ...], str] = {}
        for code in sorted(items):
            self._subjects.setdefault(_subject(items[code]), code)

    def by(self, result: Result, item: Item | None) -> list[Aim | None]:
        """What to judge the result against: that which it is or may stand in for, else one that is akin.

        A result that serves for a whole is not held against the whole's parts as well. One None where its
        name could not be read; nothing where the result does not matter.
        """
        if result.kind not in self._kinds:
            return []
        if item is None:
            return [None]
        serving = self._catalogue.serves(item.code)
        wholes = self._wholes
        codes = [code for code in serving if code in wholes and wholes[code].isdisjoint(serving)]
        if not codes and (akin := self._subjects.get(_subject(item))):
            codes.append(akin)
        return [_aim(self._under, code, self._region, self._setting, self._receiver) for code in codes]


@lru_cache(maxsize=1 << 14)
def _aim(under: Under, code: str, region: str, setting: Setting, receiver: str) -> Aim:
    catalogue = under.catalogue
    item = catalogue.item(code)
    found = next(iter(catalogue.lists_for(item, region)), None)
    return Aim(
        item,
        found,
        catalogue.window(item, found.id, setting) if found else None,
        catalogue.window(item, found.id, setting, receiver) if found and found.additions else None,
        {step: catalogue.conditions_for(step, item, region, receiver) for step in CONDITIONAL},
    )


@lru_cache(maxsize=1 << 14)
def records_of(under: Under, institution: str, code: str) -> tuple[Qualification, ...]:
    """Every qualification record of an institution for an item, whatever its period."""
    return under.catalogue.qualifications_of(institution, under.catalogue.item(code))


def parts(whole: str, catalogue: Catalogue) -> Iterable[str]:
    """The parts of a sum, and theirs."""
    found: set[str] = set()
    ahead = [whole]
    while ahead:
        panel = catalogue.panels.get(ahead.pop())
        for part in panel.members if panel else ():
            if part not in found:
                found.add(part)
                ahead.append(part)
    return sorted(found)


def _subject(item: Item) -> tuple[str, ...]:
    """What an examination looks at: the analyte, or modality and body part."""
    slots = item.concept.split("|")
    return tuple(slots[:1] if item.kind == "lab" else slots[:2])
