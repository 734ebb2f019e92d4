"""A search on one shelf: nobody is asked, and everything that fits is shown as it is kept.

A shelf finds by its tokens; among what it finds, each resource is looked at, the newest first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from gateway.resources._matching import local
from gateway.resources.conditions import Condition, Resource, elements, looked_at, opened
from gateway.resources.parameters import TABLE
from gateway.resources.query import Include, Query
from gateway.resources.searchset import Row, Searchset, issue, ordered, passed_over, shaped
from gateway.resources.stamping import stamped
from gateway.resources.tokens import WHOM, asked, subject
from gateway.resources.values import Kept, Shelf

_SAVED = ("meta.lastUpdated",)
LIMIT = 5000
"""How many resources of a type are looked at, the newest ones."""
_WHOM = [path for paths in WHOM for path in paths]
_TURN = 100
"""After how many resources others have their turn."""
_TOKENS = 200
"""How many tokens a shelf is asked for at once; where it would be more, all of the type are looked at."""


async def search(shelf: Shelf, query: Query, homes: Sequence[str] = (), below: str = "") -> Searchset:
    """What fits on the shelf, the newest saved first where no order is asked for.

    Args:
        homes: the base URLs under which these resources are known.
        below: what stands before ``<Type>/<id>`` in their addresses below the service base.
    """
    looking = _Looking(shelf, homes)
    found = await looking.fitting(query.type, query.conditions)
    rows: list[Row] = []
    included: dict[str, bytes] = {}
    if not query.counted:
        found = ordered(found, query, stamped)
        along = await looking.along(found, query) if query.includes or query.revincludes else {}
        for kept in found:
            place = _place(kept)
            beside = tuple(f"{below}{one}" for one in along.get(place, ()))
            rows.append(Row(f"{below}{place}", shaped(stamped(kept), query), along=beside))
        included = {f"{below}{place}": stamped(one) for held in along.values() for place, one in held.items()}
    return Searchset(
        address=f"{below}{query.address}",
        count=query.count,
        total=len(found) if query.totalled else None,
        rows=tuple(rows),
        included=included,
        outcome=_outcome(query, looking.cut),
    )


def _outcome(query: Query, cut: Iterable[str]) -> bytes:
    issues = passed_over(query)
    if types := ", ".join(sorted(cut)):
        words = (
            f"of {types} only the newest {LIMIT:,} were looked at, older ones may fit: name a patient or id"
        )
        issues.append(issue("warning", "incomplete", words))
    return msgspec.json.encode(issues) if issues else b""


class _Looking:
    """What one search looks at; ``cut`` are the types of which there may be more."""

    def __init__(self, shelf: Shelf, homes: Sequence[str]) -> None:
        self._shelf = shelf
        self._homes = homes
        self.cut: set[str] = set()

    async def fitting(self, type_: str, conditions: Sequence[Condition]) -> list[Kept]:
        """All that meets the conditions."""
        wanted = [one for one in conditions if not one.chained]
        chains = [(one, await self._led_to(*one.chained)) for one in conditions if one.chained]
        dated = any(one.parameter.paths == _SAVED for one in wanted)
        candidates = await self._candidates(type_, wanted, chains)
        if not conditions:
            return [*candidates]
        look = looked_at(conditions)
        found = []
        for number, kept in enumerate(candidates, 1):
            if number % _TURN == 0:
                await asyncio.sleep(0)
            resource = _dated(kept, look(kept.body)) if dated else look(kept.body)
            if all(one.holds(resource, self._homes) for one in wanted) and all(
                one.holds(resource, self._homes)
                or not known.isdisjoint(_named(resource, one.parameter.paths, self._homes))
                for one, known in chains
            ):
                found.append(kept)
        return found

    async def _led_to(self, type_: str, wanted: Condition) -> set[str]:
        """``<Type>/<id>`` of what a chained parameter leads to."""
        return {_place(kept) for kept in await self.fitting(type_, [wanted])}

    async def _candidates(
        self, type_: str, wanted: Sequence[Condition], chains: Sequence[tuple[Condition, set[str]]]
    ) -> Sequence[Kept]:
        """Everything that can fit, and more."""
        ids = next((one.values for one in wanted if one.name == "_id"), None)
        if ids is not None:
            standing = [await self._shelf.get(type_, id_) for id_ in dict.fromkeys(ids)]
            return [kept for kept in standing if kept and not kept.deleted]
        if any(not known and not one.tests for one, known in chains):
            return []
        tokens = asked(wanted)
        for one, known in chains:
            if not tokens and known and one.parameter.paths in WHOM:
                tokens = [subject(place) for place in sorted(known)]
        return await self._listed(type_, tokens)

    async def _listed(self, type_: str, tokens: Sequence[str]) -> Sequence[Kept]:
        found = await self._shelf.listed(type_, tokens if len(tokens) <= _TOKENS else (), LIMIT)
        if len(found) >= LIMIT:
            self.cut.add(type_)
        return found

    async def along(self, found: Sequence[Kept], query: Query) -> dict[str, dict[str, Kept]]:
        """By the place of each match what it refers to, and what refers to it, by place."""
        if not found:
            return {}
        bodies = {_place(kept): opened(kept.body) for kept in found}
        naming = {
            place: [named for one in query.includes for named in referred(body, one, self._homes)]
            for place, body in bodies.items()
        }
        standing: dict[str, Kept | None] = {}
        for named in (named for listed in naming.values() for named in listed):
            if named not in standing:
                type_, _, id_ = named.partition("/")
                standing[named] = await self._shelf.get(type_, id_)
        along: dict[str, dict[str, Kept]] = {place: {} for place in bodies}
        for place, listed in naming.items():
            for named in listed:
                if (kept := standing[named]) and not kept.deleted and named != place:
                    along[place][named] = kept
        for source in dict.fromkeys(one.source for one in query.revincludes):
            following = [one for one in query.revincludes if one.source == source]
            for kept in await self._listed(source, self._about(source, bodies)):
                body, own = opened(kept.body), _place(kept)
                for place in {place for one in following for place in referred(body, one, self._homes)}:
                    if place in along and place != own:
                        along[place][own] = kept
        return along

    def _about(self, source: str, bodies: Mapping[str, Resource]) -> list[str]:
        """The tokens by which whatever of a type refers to one of these is found: it is about the same
        person. None where it is not found so, or one of them is about nobody."""
        if "subject" not in TABLE[source] or TABLE[source]["subject"].paths not in WHOM:
            return []
        about: set[str] = set()
        for place, body in bodies.items():
            persons = (place,) if place.startswith("Patient/") else _named(body, _WHOM, self._homes)
            if not (told := {subject(one) for one in persons}):
                return []
            about |= told
        return sorted(about)


def _place(kept: Kept) -> str:
    return f"{kept.type}/{kept.id}"


def referred(resource: Resource, include: Include, homes: Sequence[str]) -> list[str]:
    """``<Type>/<id>`` of what a resource refers to by a parameter, of the wanted types."""
    named = _named(resource, TABLE[include.source][include.name].paths, homes)
    return [one for one in named if one.partition("/")[0] in include.targets and one.count("/") == 1]


def _named(resource: Resource, paths: Iterable[str], homes: Sequence[str]) -> Iterator[str]:
    for path in paths:
        for one in elements(resource, path):
            if isinstance(one, dict) and isinstance(one.get("reference"), str):
                yield local(one["reference"], homes)


def _dated(kept: Kept, resource: Resource) -> Resource:
    """The resource with the time when it was kept, by which it is searched, too."""
    meta = resource.get("meta")
    saved = kept.saved.isoformat(timespec="milliseconds")
    return {**resource, "meta": (meta if isinstance(meta, dict) else {}) | {"lastUpdated": saved}}
