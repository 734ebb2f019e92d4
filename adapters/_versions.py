"""What holding resources comes to, for both databases: which versions they become, and which rows go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from adapters.errors import VersionTaken
from adapters.schema import digest_of, held_row, moment
from adapters.store import Held

Place = tuple[str, str]
"""Node and id."""
Key = tuple[str, int, str, str]
"""Person, time, node and id of a row."""

STANDING = "person, at, node, id, version, saved, newest, digest, length(body)"
"""The columns of ``held`` that tell what stands at a place."""


class Standing(Struct, frozen=True):
    """The last version at a place; ``newest`` unless the one after it was erased or expired."""

    key: Key
    version: int
    saved: int
    newest: bool
    digest: bytes
    deleted: bool

    @classmethod
    def of(cls, row: Any) -> Standing:
        """What a row of :data:`STANDING` says."""
        *key, version, saved, newest, digest, length = row
        return cls(tuple(key), version, saved, bool(newest), digest, not length)

    @property
    def place(self) -> Place:
        return self.key[2:]

    @property
    def counts(self) -> bool:
        """Whether the resource is there."""
        return self.newest and not self.deleted


class Plan(Struct, frozen=True):
    """What is to be done, in this order: places and times whose tokens go, places whose newest row goes,
    places where it becomes a former version, rows of ``held`` and ``token`` that come. ``stands`` is what
    stands there then, ``gone`` how many are deleted that nobody named."""

    gone: int
    untold: list[tuple[str, str, int]]
    replaced: list[Place]
    superseded: list[Place]
    rows: list[tuple[Any, ...]]
    tokens: list[tuple[Any, ...]]
    stands: dict[Place, Held]


def by_place(held: Sequence[Held]) -> dict[Place, Held]:
    """The last of each place, in the order of the places, in which they are locked."""
    found = {(one.node, one.id): one for one in held}
    return {place: found[place] for place in sorted(found)}


def planned(
    wanted: Mapping[Place, Held],
    found: Sequence[Standing],
    afresh: Sequence[tuple[str, str]],
    expected: Mapping[Place, int],
) -> Plan:
    """What holding comes to where ``found`` stands at the wanted places and at others of those in ``afresh``.

    Raises VersionTaken.
    """
    standing, now = {one.place: one for one in found}, datetime.now(UTC)
    left = [
        Held(person=one.key[0], at=moment(one.key[1]), node=one.key[2], id=one.key[3], body=b"", saved=now)
        for one in found
        if one.counts and one.place not in wanted and (one.key[0], one.key[2]) in afresh
    ]
    plan = Plan(len(left), [], [], [], [], [], {})
    for one in (*left, *wanted.values()):
        place = one.node, one.id
        last = standing.get(place)
        current = last if last and last.newest else None
        stands = current.version if current else 0
        if expected.get(place, stands) != stands:
            raise VersionTaken(*place)
        version = last.version if last else 0
        if one.deleted and (current is None or current.deleted):
            saved = moment(current.saved) if current else one.saved
            plan.stands[place] = replace(one, version=version if current else 0, saved=saved)
            continue
        laid = replace(one, version=version + 1)
        if current:
            plan.untold.append((*place, current.key[1]))
            if not one.deleted and current.counts and digest_of(one) == current.digest:
                laid = replace(one, version=version, saved=moment(current.saved))
                plan.replaced.append(place)
            else:
                plan.superseded.append(place)
        row = held_row(laid)
        plan.rows.append(row)
        plan.tokens.extend((one.node, token, one.id, row[1]) for token in sorted({*one.tokens}))
        plan.stands[place] = laid
    return plan
