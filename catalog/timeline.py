"""When which edition counts: published editions in the order of time, and what is in force at a moment.

An edition is in force from its ``effective_from`` until the next one of its id takes over. At any moment one
edition of each id is in force, and these together are what decisions are taken under: a *selection*. For the
``overlap_days`` of its successor a superseded edition *overlaps*: what the successor dropped may still be
asked for by its old codes.

A timeline is a value. A label (``Catalogue.version``) that stands in evidence must mean the same for ever, so
an edition that would give a label another meaning cannot be added.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Literal

from msgspec import Struct

from catalog.entries import Edition
from catalog.errors import CatalogueError, Finding, UnknownEntry

State = Literal["announced", "in_force", "overlapping", "superseded"]
Selection = tuple[Edition, ...]
"""One edition of each id, in the order of the ids."""

SHANGHAI = timezone(timedelta(hours=8))
_ID = re.compile(r"[a-z][a-z0-9-]{0,30}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")


class Published(Struct, frozen=True):
    """The head of a published edition and the digest of its files."""

    edition: Edition
    digest: str


class Standing(Struct, frozen=True):
    """A published edition at a moment.

    ``until`` is when it is or was superseded, for an overlapping one when the overlap ends; None where no
    successor is announced.
    """

    published: Published
    state: State
    until: datetime | None


class Timeline:
    """Every published edition.

    Raises:
        CatalogueError: an id or version that a label cannot carry, an id and version published twice, two
            editions of one id from one moment on, or one label for different selections.
    """

    def __init__(self, published: Iterable[Published] = ()) -> None:
        self._by_name: dict[str, Published] = {}
        self._by_id: dict[str, list[Edition]] = {}
        for one in published:
            self._take(one)
        for editions in self._by_id.values():
            editions.sort(key=lambda edition: edition.effective_from)
        self.moments = tuple(sorted({one.edition.effective_from for one in self._by_name.values()}))
        self._labels: dict[str, Selection] = {}
        ends = {_overlap_end(later) for editions in self._by_id.values() for later in editions[1:]}
        for moment in sorted(ends.union(self.moments)):
            for selection in (self.at(moment), *(former for former, _ in self.overlapping(moment))):
                if self._labels.setdefault(label_of(selection), selection) != selection:
                    message = "would be the name of two different catalogues; give another"
                    raise _refused(selection[-1], "version", f"{label_of(selection)!r} {message}")

    def _take(self, one: Published) -> None:
        edition = one.edition
        if not _ID.fullmatch(edition.id):
            raise _refused(edition, "id", "must be a-z, 0-9 and -, at most 31 of them")
        if not _VERSION.fullmatch(edition.version):
            raise _refused(
                edition, "version", "must be letters, digits, '.', '_' and '-', at most 32 of them"
            )
        held = self._by_name.setdefault(name_of(edition), one)
        if held.digest != one.digest:
            raise _refused(edition, "version", "is published with other content; give it a new version")
        if held is not one:
            raise _refused(edition, "version", "is published already")
        editions = self._by_id.setdefault(edition.id, [])
        for other in editions:
            if other.effective_from == edition.effective_from:
                raise _refused(
                    edition, "effective_from", f"{name_of(other)} takes force at the same time; move one"
                )
        editions.append(edition)

    def add(self, further: Iterable[Published]) -> Timeline:
        """The timeline with further editions.

        Raises:
            CatalogueError: see the class; or a label of this timeline would mean something else in that one.
        """
        further = tuple(further)
        grown = Timeline((*self._by_name.values(), *further))
        for label, selection in self._labels.items():
            if grown.named(label) != selection:
                raise _refused(
                    further[0].edition,
                    "version",
                    f"{label!r} names a catalogue that counts without it; give it another version",
                )
        return grown

    def get(self, name: str) -> Published | None:
        """The edition of ``id@version``, or None."""
        return self._by_name.get(name)

    def at(self, when: datetime) -> Selection:
        """What is in force at a moment; empty before everything."""
        found = (self._in_force(edition_id, when) for edition_id in sorted(self._by_id))
        return tuple(edition for edition in found if edition is not None)

    def _in_force(self, edition_id: str, when: datetime) -> Edition | None:
        editions = self._by_id.get(edition_id, [])
        place = bisect_right(editions, when, key=lambda edition: edition.effective_from)
        return editions[place - 1] if place else None

    def replaced_by(self, edition: Edition) -> Edition | None:
        """What an edition replaces when it takes force, or would replace; None for the first of its id."""
        return self._in_force(edition.id, edition.effective_from - timedelta.resolution)

    def standings(self, when: datetime) -> tuple[Standing, ...]:
        """Every edition with its state at a moment, by id and time."""
        return tuple(
            self._standing(edition, successor, when)
            for _, editions in sorted(self._by_id.items())
            for edition, successor in zip(editions, (*editions[1:], None), strict=True)
        )

    def _standing(self, edition: Edition, successor: Edition | None, when: datetime) -> Standing:
        published = self._by_name[name_of(edition)]
        if edition.effective_from > when:
            return Standing(published, "announced", successor.effective_from if successor else None)
        if successor is None or successor.effective_from > when:
            return Standing(published, "in_force", successor.effective_from if successor else None)
        if when < (end := _overlap_end(successor)):
            return Standing(published, "overlapping", end)
        return Standing(published, "superseded", successor.effective_from)

    def overlapping(self, when: datetime) -> tuple[tuple[Selection, datetime], ...]:
        """The selections that may still be asked for at a moment, each with its end; the nearest first.

        Each has one overlapping edition in the place of its successor; the last, where several ids overlap,
        has all of them.
        """
        current = {edition.id: edition for edition in self.at(when)}
        former = [
            (standing.published.edition, standing.until)
            for standing in self.standings(when)
            if standing.state == "overlapping" and standing.until
        ]
        former.sort(key=lambda one: one[0].effective_from, reverse=True)
        found = [(_sorted({**current, old.id: old}), end) for old, end in former]
        newest = {old.id: old for old, _ in reversed(former)}
        if len(newest) > 1:
            found.append((_sorted({**current, **newest}), min(end for _, end in former)))
        return tuple(found)

    def named(self, label: str) -> Selection:
        """What a label means: a version that all share, ``id@version`` with what was in force when it took
        force, or several of these joined by ``+``, alone.

        Raises:
            UnknownEntry: nothing published has this label.
        """
        if found := self._labels.get(label):
            return found
        names = label.split("+")
        held = [self._by_name[name].edition for name in names if name in self._by_name]
        if len(held) < len(names):
            held = [one.edition for one in self._by_name.values() if one.edition.version == label]
        elif len(held) == 1:
            return self.at(held[0].effective_from)
        if not held:
            raise UnknownEntry("edition", label, "the timeline")
        return _sorted({edition.id: edition for edition in held})


def name_of(edition: Edition) -> str:
    """``id@version``."""
    return f"{edition.id}@{edition.version}"


def label_of(selection: Iterable[Edition]) -> str:
    """How evidence names these editions: the version where all share it, else ``id@version+…``."""
    selection = tuple(selection)
    versions = {edition.version for edition in selection}
    return versions.pop() if len(versions) == 1 else "+".join(sorted(map(name_of, selection)))


def shown(moment: datetime) -> str:
    """A moment as people in China read it: 2027-01-01 00:00 +08:00."""
    return f"{moment.astimezone(SHANGHAI):%Y-%m-%d %H:%M} +08:00"


def _overlap_end(successor: Edition) -> datetime:
    return successor.effective_from + timedelta(days=successor.overlap_days)


def _sorted(editions: dict[str, Edition]) -> Selection:
    return tuple(edition for _, edition in sorted(editions.items()))


def _refused(edition: Edition, column: str, message: str) -> CatalogueError:
    return CatalogueError((Finding(name_of(edition), 0, column, message),))
