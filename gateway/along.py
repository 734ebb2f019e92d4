"""What comes along with the matches of a search over nodes: each from what its own node has of the person."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping

from msgspec import Struct

from adapters import Answer, Match
from gateway.merging import Shown
from gateway.resources.conditions import opened
from gateway.resources.local import referred
from gateway.resources.query import Query


class Heard(Struct, frozen=True):
    """What every node said; ``along``: what it said of what else it has of the person, by node and type."""

    answers: tuple[Answer, ...]
    along: Mapping[tuple[str, str], Answer]


class Along:
    """What comes along with the matches of a search, each from what its node has of the person.

    ``homes`` gives the base URLs under which the resources of a node are known, by the way to it.
    """

    def __init__(self, query: Query, heard: Heard, homes: Callable[[str], tuple[str, ...]]) -> None:
        self._query = query
        self._homes = homes
        self._standing: dict[tuple[str, str], Shown] = {}
        self._referring: dict[tuple[str, str], list[Shown]] = defaultdict(list)
        for (node, type_), answer in heard.along.items():
            following = [include for include in query.revincludes if include.source == type_]
            for match in answer.matches:
                one = shown_of(match, node, "")
                self._standing[one.node, _local(one)] = one
                resource = opened(bytes(one.raw)) if following else {}
                for include in following:
                    for place in referred(resource, include, homes(one.node)):
                        self._referring[one.node, place].append(one)

    def of(self, shown: Shown) -> list[Shown]:
        """What a match refers to, and what refers to it; each once."""
        query, way = self._query, shown.node
        found = {one.place: one for one in self._referring.get((way, _local(shown)), ())}
        if query.includes:
            homes, match = self._homes(way), opened(bytes(shown.raw))
            for place in (place for include in query.includes for place in referred(match, include, homes)):
                if one := self._standing.get((way, place)):
                    found[one.place] = one
        found.pop(shown.place, None)
        return [*found.values()]


def _local(one: Shown) -> str:
    return f"{one.head.resource_type}/{one.head.id}"


def shown_of(match: Match, node: str, institution: str) -> Shown:
    """A match with the way to its node; ``institution`` is whose results a node of one's own has."""
    way = f"{node}/{match.node}" if match.node else node
    return Shown(match.key, match.raw, match.at, way, institution)


def types_along(query: Query) -> list[str]:
    """The types that may come along with what fits."""
    targets = [type_ for include in query.includes for type_ in include.targets]
    return list(dict.fromkeys([*targets, *(include.source for include in query.revincludes)]))
