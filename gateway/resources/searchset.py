"""The searchset Bundle: what fits, page by page, as it came or as little of it as is wanted.

Only where less than the whole of a resource is wanted its bytes are put together anew, member by member, each
with its own bytes: a decimal stays as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from gateway.resources._matching import written
from gateway.resources._summaries import MANDATORY, SUMMARY
from gateway.resources.conditions import elements, opened
from gateway.resources.extensions import conflict, source
from gateway.resources.parameters import TABLE
from gateway.resources.query import Query

T = TypeVar("T")
Place = tuple[str, str]
"""The way to a node (``<node>``, ``<peer>/<node>``), and the address of a resource below the service base."""

_MEMBERS = msgspec.json.Decoder(dict[str, Raw])
_ENCODE = msgspec.json.Encoder().encode
_ALWAYS = frozenset({"resourceType", "id", "implicitRules", "modifierExtension"})
_SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}
_CHOICES = frozenset(
    {"value", "effective", "deceased", "occurrence", "multipleBirth", "asNeeded", "quantity"}
)
_FORM = re.compile(r"[A-Z]")
_MATCH, _INCLUDE = b',"search":{"mode":"match"}}', b',"search":{"mode":"include"}}'
_OUTCOME = b',{"resource":{"resourceType":"OperationOutcome","issue":'


class Row(Struct, frozen=True):
    """A match: its address below the service base, its bytes, the further places where the very same stands
    and those where it is said to be otherwise, and the addresses of what comes along with it."""

    place: str
    raw: bytes
    sources: tuple[Place, ...] = ()
    conflicts: tuple[Place, ...] = ()
    along: tuple[str, ...] = ()


class Searchset(Struct, frozen=True, kw_only=True):
    """All that a search found: ``rows`` in their order, of which a page has ``count``; ``total`` where it is
    to be told; what comes along by its address; ``outcome``, the issues (JSON) that every page tells, if any.
    ``id`` is of the search, where it has one, and ``address`` the search below the service base."""

    address: str
    count: int
    total: int | None
    id: str = ""
    rows: tuple[Row, ...] = ()
    included: dict[str, bytes] = {}
    outcome: bytes = b""

    @property
    def paged(self) -> bool:
        """Whether there is more than one page."""
        return 0 < self.count < len(self.rows)

    def shown(self, start: int = 0) -> Sequence[Row]:
        """The matches of the page that begins with this one."""
        return self.rows[start : start + self.count]

    def page(self, base: str, start: int = 0, name: str = "") -> bytes:
        """The Bundle of the page that begins with this match; pages are found by ``name``, where there are
        several."""
        rows = self.shown(start)
        head: dict[str, Any] = {"resourceType": "Bundle", **({"id": self.id} if self.id else {})}
        head |= {"type": "searchset"} | ({} if self.total is None else {"total": self.total})
        head["link"] = [{"relation": rel, "url": url} for rel, url in self._links(base, start, name)]
        parts = [_ENCODE(head)[:-1]]
        prefixes: dict[str, bytes] = {}
        for row in rows:
            _begin(parts, prefixes, base, row.place, row.raw)
            if row.sources or row.conflicts:
                parts += (b',"extension":', _ENCODE(_beside(base, row)))
            parts.append(_MATCH)
        for place in dict.fromkeys(place for row in rows for place in row.along):
            _begin(parts, prefixes, base, place, self.included[place])
            parts.append(_INCLUDE)
        if self.outcome:
            parts += (_OUTCOME, self.outcome, b'},"search":{"mode":"outcome"}}')
        if len(parts) == 1:  # a list that is empty is no FHIR
            return parts[0] + b"}"
        parts[1] = b',"entry":[' + parts[1][1:]
        return b"".join([*parts, b"]}"])

    def _links(self, base: str, start: int, name: str) -> Iterable[tuple[str, str]]:
        yield "self", f"{base}/_page/{name}.{start}" if start else f"{base}/{self.address}"
        if name and self.paged:
            pages = {"first": 0, "previous": max(0, start - self.count), "next": start + self.count}
            for relation, at in pages.items():
                if at < len(self.rows) and (relation != "previous" or start):
                    yield relation, f"{base}/_page/{name}.{at}"


def issue(severity: str, code: str, words: str) -> dict[str, Any]:
    """One of the issues that an answer tells."""
    return {"severity": severity, "code": code, "diagnostics": words}


def passed_over(query: Query) -> list[dict[str, Any]]:
    """That parameters are not known here, as the caller would rather have it."""
    if not query.ignored:
        return []
    return [issue("warning", "not-supported", f"not offered and passed over: {', '.join(query.ignored)}")]


def _begin(parts: list[bytes], prefixes: dict[str, bytes], base: str, place: str, raw: bytes) -> None:
    """Everything of an entry but its end. An id needs no escapes; what stands before it may."""
    above, _, id_ = place.rpartition("/")
    if (prefix := prefixes.get(above)) is None:
        prefix = prefixes[above] = b',{"fullUrl":' + _ENCODE(f"{base}/{above}/")[:-1]
    parts += (prefix, id_.encode(), b'","resource":', raw)


def _beside(base: str, row: Row) -> list[dict[str, Any]]:
    told = [source(f"{base}/{place}", node) for node, place in row.sources]
    return told + [conflict(f"{base}/{place}", node) for node, place in row.conflicts]


def shaped(raw: bytes | Raw, query: Query) -> bytes:
    """As much of a match as is wanted of it, marked as less than the whole."""
    if query.whole:
        return bytes(raw)
    type_, members = query.type, _MEMBERS.decode(raw)
    named = {
        "": MANDATORY.get(type_, frozenset()) | {*query.elements},
        "text": MANDATORY.get(type_, frozenset()) | {"text"},
        "true": SUMMARY.get(type_, frozenset()),
        "data": members.keys() - {"text"},
    }[query.summary if query.summary != "false" else ""]
    kept = {name: held for name, held in members.items() if _wanted(name, named)}
    meta = _MEMBERS.decode(members["meta"]) if "meta" in members else {}
    tags = msgspec.json.decode(meta.get("tag", b"[]"), type=list[Raw])
    meta["tag"] = Raw(_ENCODE([*tags, _SUBSETTED]))
    first = {name: kept.pop(name) for name in ("resourceType", "id") if name in kept}
    return _ENCODE(first | {"meta": meta} | kept)


def _wanted(name: str, named: Set[str]) -> bool:
    """Whether a member is one of these elements, its extensions (``_status``), or a form of a choice of
    them (``value`` is ``valueQuantity``)."""
    plain = name.removeprefix("_")
    return plain != "meta" and (
        plain in _ALWAYS
        or plain in named
        or any(plain.startswith(one) and _FORM.match(plain, len(one)) for one in named & _CHOICES)
    )


def ordered(found: Iterable[T], query: Query, body: Callable[[T], bytes | Raw]) -> list[T]:
    """What was found in the order of ``_sort``; what has no such element comes last, and of what is equal
    stays the order that it came in."""
    rows = [(opened(bytes(body(one))) if query.sort else {}, one) for one in found]
    for name, down in reversed(query.sort):
        keyed = [
            (_sorted_by(query.type, name, resource, down=down), (resource, one)) for resource, one in rows
        ]
        held = sorted(((key, row) for key, row in keyed if key is not None), key=_first, reverse=down)
        rows = [row for _, row in held] + [row for key, row in keyed if key is None]
    return [one for _, one in rows]


def _first(keyed: tuple[Any, object]) -> Any:
    return keyed[0]


def _sorted_by(type_: str, name: str, resource: Mapping[str, Any], *, down: bool) -> float | str | None:
    """By what a resource is sorted: the earliest of its values, or the last one where the order goes down
    (R4 section 3.1.1.5.1)."""
    parameter = TABLE[type_][name]
    found = [one for path in parameter.paths for one in elements(resource, path)]
    if parameter.kind == "date":
        times = [period[down] for one in found if (period := written(one))]
        return (max(times) if down else min(times)) if times else None
    words = [word for one in found for word in _words(one)]
    return (max(words) if down else min(words)) if words else None


def _words(element: Any) -> list[str]:
    """A code, a name, or the codes of a concept, else its text."""
    if isinstance(element, str):
        return [element]
    if not isinstance(element, dict):
        return []
    codings = element.get("coding")
    codes = [one.get("code") for one in codings if isinstance(one, dict)] if isinstance(codings, list) else []
    named = [element.get("family"), element.get("text")]
    return [word for word in (codes or named) if isinstance(word, str)]
