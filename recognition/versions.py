"""Which version of a result counts.

Versions of one result share institution and version key. A retraction stands above a correction, a correction
above a final report, that above a preliminary one, whatever times they carry (FHIR R4 observation-status: a
corrected report does not become final again); within one rank the later report counts. Where two different
versions stand level, because their times are equal or missing, none of them can be relied on.

The window of a corrected result runs from its first report: a correction does not make an examination newer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from recognition.model import Result, ResultStatus

_RANK = {
    "preliminary": 0,
    "final": 1,
    "amended": 2,
    "corrected": 2,
    "cancelled": 3,
    "entered-in-error": 3,
}
STANDING = frozenset({"final", "amended", "corrected"})
"""The states of a report that has been issued and stands."""
_NEVER = datetime.min.replace(tzinfo=UTC)


class Version(Struct, frozen=True):
    """How a result stands among its versions: what superseded it, whether that is undecided, first report."""

    superseded_by: Result | None
    undecided: bool
    first_reported: datetime | None


def version_order(status: ResultStatus, reported: datetime | None) -> tuple[int, datetime]:
    """How high a version of a result stands among the others: the highest counts."""
    return _RANK[status], reported or _NEVER


def versions(results: Sequence[Result]) -> list[Version]:
    """The standing of every result, in the order of the results; it does not depend on that order."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault(_key(result), []).append(result)
    standing = {key: _Group(group) for key, group in groups.items() if len(group) > 1}
    return [
        standing[key].standing(result)
        if (key := _key(result)) in standing
        else Version(None, False, result.reported)
        for result in results
    ]


def told_alike(results: Iterable[Result]) -> dict[str, tuple[str, ...]]:
    """Of each result (its id) that stands at several places and says the very same there, the ids of the
    others, in their order. Each is judged by itself: its mark and its node are its own."""
    groups: dict[tuple[object, ...], set[str]] = {}
    for result in results:
        if result.identity == "strong":
            groups.setdefault((_key(result), result.reported, _content(result)), set()).add(result.id)
    return {id_: tuple(sorted(ids - {id_})) for ids in groups.values() if len(ids) > 1 for id_ in ids}


class _Group:
    """Several versions of one result."""

    def __init__(self, members: list[Result]) -> None:
        self._first = min((r.reported for r in members if r.reported), default=None)
        self._best = max(_order(r) for r in members)
        leading = [r for r in members if _order(r) == self._best]
        self._leader = min(leading, key=lambda r: (r.node, r.id))
        self._undecided = len({_content(r) for r in leading}) > 1

    def standing(self, result: Result) -> Version:
        above = None if _order(result) == self._best else self._leader
        return Version(above, self._undecided, self._first)


def _key(result: Result) -> tuple[str, str]:
    return result.institution, result.version_key


def _content(result: Result) -> tuple[object, ...]:
    """What two tellings of one version agree on, whichever record they were read from."""
    return result.value, result.unit, result.specimen, result.performed, result.study_uid, result.status


def _order(result: Result) -> tuple[int, datetime]:
    return version_order(result.status, result.reported)
