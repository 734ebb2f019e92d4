"""A search on one shelf: nobody is asked, and everything that fits is shown as it is kept.

A shelf finds by its tokens; among what it finds, each resource is looked at, the newest first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from gateway.resources._matching import local
from gateway.resources.conditions import CHAINS, Condition, Resource, condition, elements, opened
from gateway.resources.parameters import TABLE
from gateway.resources.query import Include, Query
from gateway.resources.searchset import Row, Searchset, ordered, shaped
from gateway.resources.stamping import stamped
from gateway.resources.tokens import asked
from gateway.resources.values import Kept, Shelf

_SAVED = ("meta.lastUpdated",)
LIMIT = 5000
"""How many resources of a type are looked at, the newest ones."""


async def search(shelf: Shelf, query: Query, homes: Sequence[str] = (), below: str = "") -> Searchset:
    """What fits on the shelf, the newest saved first where no order is asked for.

    Args:
        homes: the base URLs under which these resources are known.
        below: what stands before ``<Type>/<id>`` in their addresses below the service base.
    """
    wanted = [one for one in query.conditions if one.name not in CHAINS]
    persons = [(one, await _patients(shelf, one)) for one in query.conditions if one.name in CHAINS]
    found = []
    dated = any(one.parameter.paths == _SAVED for one in wanted)
    for kept in await _candidates(shelf, query.type, wanted, persons):
        resource = (_dated(kept) if dated else opened(kept.body)) if query.conditions else {}
        if all(one.holds(resource, homes) for one in wanted) and all(
            one.holds(resource) or not known.isdisjoint(_named(resource, one.parameter.paths, homes))
            for one, known in persons
        ):
            found.append(kept)
    rows: list[Row] = []
    included: dict[str, bytes] = {}
    for kept in () if query.counted else ordered(found, query, stamped):
        row = Row(f"{below}{kept.type}/{kept.id}", shaped(stamped(kept), query))
        if query.includes or query.revincludes:
            along = {f"{below}{one.type}/{one.id}": one for one in await _along(shelf, query, kept, homes)}
            included |= {place: stamped(one) for place, one in along.items()}
            row = replace(row, along=tuple(along))
        rows.append(row)
    return Searchset(
        address=f"{below}{query.address}",
        count=query.count,
        total=len(found) if query.totalled else None,
        rows=tuple(rows),
        included=included,
    )


async def _candidates(
    shelf: Shelf, type_: str, wanted: Sequence[Condition], persons: Sequence[tuple[Condition, set[str]]]
) -> Sequence[Kept]:
    """Everything that can fit, and more."""
    ids = next((one.values for one in wanted if one.name == "_id"), None)
    if ids is not None:
        standing = [await shelf.get(type_, id_) for id_ in dict.fromkeys(ids)]
        return [kept for kept in standing if kept and not kept.deleted]
    tokens = asked(wanted)
    if persons and not tokens and (known := persons[0][1]):
        tokens = asked([condition(type_, "patient", ",".join(sorted(known)))])
    return await shelf.listed(type_, tokens, LIMIT)


async def _patients(shelf: Shelf, one: Condition) -> set[str]:
    """``Patient/<id>`` of those who have the identifier of a chained parameter."""
    has = condition("Patient", "identifier", ",".join(value.replace(",", "\\,") for value in one.values))
    listed = await shelf.listed("Patient", asked([has]), LIMIT)
    return {f"Patient/{kept.id}" for kept in listed if has.fits(kept.body)}


async def _along(shelf: Shelf, query: Query, kept: Kept, homes: Sequence[str]) -> list[Kept]:
    """What comes along with a match: what it refers to, and what refers to it."""
    resource, place = opened(kept.body), f"{kept.type}/{kept.id}"
    named = [one for include in query.includes for one in referred(resource, include, homes)]
    places = [one.partition("/") for one in dict.fromkeys(named) if one != place]
    found = [await shelf.get(type_, id_) for type_, _, id_ in places]
    along = [one for one in found if one and not one.deleted]
    for include in query.revincludes:
        subjects = _named(resource, ("subject",), homes) if kept.type != "Patient" else (place,)
        about = [condition(include.source, "subject", one) for one in subjects]
        listed = await shelf.listed(include.source, asked(about), LIMIT)
        along += [one for one in listed if place in referred(opened(one.body), include, homes)]
    return along


def referred(resource: Resource, include: Include, homes: Sequence[str]) -> list[str]:
    """``<Type>/<id>`` of what a resource refers to by a parameter, of the wanted types."""
    named = _named(resource, TABLE[include.source][include.name].paths, homes)
    return [one for one in named if one.partition("/")[0] in include.targets and one.count("/") == 1]


def _named(resource: Resource, paths: Iterable[str], homes: Sequence[str]) -> Iterator[str]:
    for path in paths:
        for one in elements(resource, path):
            if isinstance(one, dict) and isinstance(one.get("reference"), str):
                yield local(one["reference"], homes)


def _dated(kept: Kept) -> Resource:
    """The resource with the time when it was kept, by which it is searched, too."""
    resource = opened(kept.body)
    meta = resource.get("meta")
    saved = kept.saved.isoformat(timespec="milliseconds")
    return resource | {"meta": (meta if isinstance(meta, dict) else {}) | {"lastUpdated": saved}}
