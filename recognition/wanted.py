"""What is planned, looked up from the side of a result.

A planned item may be a *sum*: a panel with the item's own code says of which parts (plain + contrast = plain,
contrast). A result for a part then matters too, because with it only the other parts need to be ordered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache, partial

from msgspec import Struct

from catalog import Catalogue, Condition, Item, ItemList, Qualification, Rule, Setting, Window
from recognition.model import Context, Planned, Result

CONDITIONAL = (6, 8)
"""The steps whose rules are conditions: hierarchy and negative list."""


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


class Under:
    """A catalogue with what was worked out under it. It is read-only, so that stays right."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.aim = lru_cache(maxsize=1 << 14)(partial(_aim, catalogue))
        self.records = lru_cache(maxsize=1 << 14)(partial(_records, catalogue))
        self.answers = lru_cache(maxsize=1 << 10)(_nothing_yet)
        self.wanted = lru_cache(maxsize=1 << 10)(partial(Wanted, catalogue, self.aim))


def _nothing_yet(context: Context, receiver: str) -> dict[str, bool]:
    """For :attr:`recognition.case.Question.answers`: the same encounter has the same ones."""
    return {}


_UNDER: dict[int, Under] = {}
_KEPT = 32
"""Catalogues at a time: those of explanations and trials must not stay for ever."""


def under(catalogue: Catalogue) -> Under:
    """What was worked out under this very catalogue; comparing two would cost more than a decision."""
    found = _UNDER.get(id(catalogue))
    if found is None:
        for oldest in list(_UNDER)[: 1 - _KEPT]:
            _UNDER.pop(oldest, None)
        found = _UNDER[id(catalogue)] = Under(catalogue)
    return found


def planned_codes(planned: Planned, catalogue: Catalogue) -> tuple[str, ...]:
    """The items to serve: those that are planned, and for a panel that is itself an item that item alone."""
    return (planned.panel,) if planned.panel in catalogue.items else planned.items


class Wanted:
    """The aims of a check for which these items are planned; read-only once it is made.

    Raises:
        UnknownEntry: a planned item is not in the catalogue.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        aim: Callable[[str, str, Setting, str], Aim],
        codes: tuple[str, ...],
        setting: Setting,
        receiver: str,
        region: str,
    ) -> None:
        self._catalogue, self._aim, self._region = catalogue, aim, region
        self._setting, self._receiver = setting, receiver
        items = {code: catalogue.item(code) for code in codes}
        self._wholes: dict[str, set[str]] = {}
        """Every code that a result may serve for, as planned, and the planned sums it is only a part of."""
        for code in items:
            for part in with_parts(code, catalogue) if code in catalogue.panels else (code,):
                sums = self._wholes.setdefault(part, set())
                if part not in items:
                    sums.add(code)
        self._places = {code: place for place, code in enumerate(self._wholes)}
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
        return [self._aim(code, self._region, self._setting, self._receiver) for code in codes]

    def place(self, aim: Aim | None) -> int:
        """Where it stands in the plan, the parts of a sum after it; behind the plan for None."""
        return self._places[aim.item.code] if aim else len(self._places)


def _aim(catalogue: Catalogue, code: str, region: str, setting: Setting, receiver: str) -> Aim:
    item = catalogue.item(code)
    found = next(iter(catalogue.lists_for(item, region)), None)
    return Aim(
        item,
        found,
        catalogue.window(item, found.id, setting) if found else None,
        catalogue.window(item, found.id, setting, receiver) if found and found.additions else None,
        {step: catalogue.conditions_for(step, item, region, receiver) for step in CONDITIONAL},
    )


def _records(catalogue: Catalogue, institution: str, code: str) -> tuple[Qualification, ...]:
    return catalogue.qualifications_of(institution, catalogue.item(code))


def with_parts(code: str, catalogue: Catalogue) -> Iterable[str]:
    """The item, and after it the parts that it is the sum of, each followed by its own."""
    found: dict[str, None] = {}
    ahead = [code]
    while ahead:
        if (one := ahead.pop()) not in found:
            found[one] = None
            if panel := catalogue.panels.get(one):
                ahead.extend(reversed(panel.members))
    return found


def _subject(item: Item) -> tuple[str, ...]:
    """What an examination looks at: the analyte, or modality and body part."""
    slots = item.concept.split("|")
    return tuple(slots[:1] if item.kind == "lab" else slots[:2])
