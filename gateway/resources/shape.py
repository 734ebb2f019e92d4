"""One walk over a resource, for what the models of fhir.resources leave out.

Those check cardinalities and the forms of dates, uris and ids, by R4B. The walk finds, in one pass and each
with its path: null, empty objects, arrays and strings (R4 section 2.6.2), elements that R4 does not have,
JSON of another class than the element's type (a decimal as a string), codes outside of required value sets,
base64, narratives, a subject (and what else decides) of a type that it cannot be. It comes before the models,
for it is cheap and stops at :data:`MOST` faults, while they spend seconds on a hostile resource. The
invariants that it comes by are asked after them (:meth:`Walk.judged`). What stands in a resource of a type
that the table does not know is looked through for what holds everywhere.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from gateway.resources.bindings import Element, elements, resource_types
from gateway.resources.identities import wrong_numbers
from gateway.resources.invariants import INVARIANTS
from gateway.resources.issues import Issue

_LITERAL = re.compile(
    r"(https?://[^?#]*/)?([A-Z][A-Za-z]+)/[A-Za-z0-9\-.]{1,64}(?:/_history/[A-Za-z0-9\-.]{1,64})?"
)
_EMPTY: tuple[Any, ...] = (None, "", [], {})
_ANY = Element(kind="Element")
_JUDGED = frozenset({*INVARIANTS, "Patient", "Practitioner", "Organization"})
_OPEN = frozenset({"DomainResource", "Element"})
"""What an object of a type that is not known is looked through as."""
UNKNOWN = "not an element of R4 in this place"
MOST = 100
"""How many faults of a resource are told."""


class _Enough(Exception):
    """There are as many faults as are told."""


class Walk:
    """The walk over a resource, its type being the one it names, with the ``issues`` of its structure.

    ``amiss`` has paths of what R4 has and the models refuse: ``_valueString`` and its like in extensions,
    Meta as a value.
    """

    def __init__(self, root: dict[str, Any]) -> None:
        self.issues: list[Issue] = []
        self.amiss: set[str] = set()
        self._root = root
        self._later: list[tuple[dict[str, Any], str, Element | None, str]] = []
        self._types = elements()
        self._pointed: set[str] = set()  # what stands behind a '#'; '' is the whole resource
        contained = root.get("contained")
        self._contained = {
            str(inner.get("id")): str(inner.get("resourceType"))
            for inner in (contained if isinstance(contained, list) else ())
            if isinstance(inner, dict)
        }
        with suppress(_Enough):
            self._resource(root, str(root["resourceType"]))

    def judged(self) -> list[Issue]:
        """The issues, with those of broken invariants; the models have said that the structure is right."""
        sound = not self.issues
        with suppress(_Enough):
            for value, type_, element, path in self._later:
                for rule in INVARIANTS.get(type_, ()):
                    if not rule.holds(value):
                        self._broken(path, rule.key, rule.words)
                if type_ in ("Patient", "Practitioner", "Organization"):
                    for issue in wrong_numbers(value, path):
                        self._wrong(issue.path, issue.code, issue.words)
                if element is not None:
                    self._reference(value, element.targets, path)
            if sound:
                self._containment(self._root)
        return self.issues

    def _resource(self, value: dict[str, Any], path: str) -> None:
        type_ = value.get("resourceType")
        known = isinstance(type_, str) and type_ in resource_types()
        self._object(value, str(type_) if known else "DomainResource", path)

    def _containment(self, root: dict[str, Any]) -> None:
        for index, inner in enumerate(root.get("contained", ())):
            path, meta = f"{root['resourceType']}.contained[{index}]", inner.get("meta", {})
            if "contained" in inner:
                self._broken(path, "dom-2", "a contained resource that contains another")
            if not {inner.get("id"), ""} & self._pointed:
                self._broken(path, "dom-3", "nothing refers to the contained resource")
            if "versionId" in meta or "lastUpdated" in meta:
                self._broken(path, "dom-4", "a contained resource with a version of its own")
            if "security" in meta:
                self._broken(path, "dom-5", "a contained resource with a security label")

    def _object(self, value: dict[str, Any], type_: str, path: str, element: Element | None = None) -> None:
        before = len(self.issues)
        members, known = self._types[type_], type_ not in _OPEN
        for name, child in value.items():
            place = f"{path}.{name[:64]}"
            if child in _EMPTY and child is not False and child != 0:
                self._wrong(place, "structure", "null or empty; leave the element out")
            elif known and name not in members and not self._is_known(name, type_, place):
                self._wrong(place, "structure", UNKNOWN)
            elif child.__class__ is list:
                member = members.get(name, _ANY)
                for index, one in enumerate(child):
                    if one is None and _is_gap(value, name, index):
                        continue
                    if one in _EMPTY and one is not False and one != 0:
                        self._wrong(f"{place}[{index}]", "structure", "null or empty; leave it out")
                    else:
                        self._one(one, member, f"{place}[{index}]")
            else:
                self._one(child, members.get(name, _ANY), place)
        if len(self.issues) == before and (type_ in _JUDGED or element):
            self._later.append((value, type_, element, path))

    def _is_known(self, name: str, type_: str, place: str) -> bool:
        """Whether an element that the table does not name may stand in a type of it."""
        if name == "resourceType":
            return type_ in resource_types()
        member = self._types[type_].get(name[1:])
        if not name.startswith("_") or member is None or member.kind:
            return False
        if type_ == "Extension":
            self.amiss.add(place)
        return True

    def _one(self, value: Any, element: Element, path: str) -> None:
        if value.__class__ is str and value[0] == "#":
            self._pointed.add(value[1:])
        if not element.kind:
            if value.__class__ not in element.json:
                self._wrong(path, "value", "another class of JSON value than the element's type")
            elif element.form is not None and not element.form(value):
                self._wrong(path, element.code, element.words)
        elif value.__class__ is dict:
            if element.kind == "Resource":
                self._resource(value, path)
            else:
                if element.kind == "Meta":
                    self.amiss.add(path)
                self._object(value, element.kind, path, element if element.kind == "Reference" else None)
        elif element is not _ANY:
            self._wrong(path, "structure", "not an object")

    def _reference(self, value: dict[str, Any], targets: frozenset[str], path: str) -> None:
        literal = value.get("reference", "")
        type_ = None
        if literal.startswith("#"):
            type_ = self._contained.get(literal[1:])
            if type_ is None and literal != "#":
                self._broken(path, "ref-1", "refers to a contained resource that is not there")
        elif (match := _LITERAL.fullmatch(literal)) and (not match[1] or match[2] in resource_types()):
            type_ = match[2]
        for named in (type_, value.get("type")):
            if targets and named and named in resource_types() and named not in targets:
                self._wrong(path, "value", f"refers to a {named}, which this element cannot refer to")
                break

    def _wrong(self, path: str, code: str, words: str) -> None:
        self.issues.append(Issue(path, code, words))
        if len(self.issues) == MOST:
            raise _Enough

    def _broken(self, path: str, key: str, words: str) -> None:
        self._wrong(path, "invariant", f"{key}: {words}")


def _is_gap(value: dict[str, Any], name: str, index: int) -> bool:
    """Whether a null in the array of a repeated primitive stands beside an extension, or the other way round
    (R4 section 2.6.2.3)."""
    beside = value.get(name[1:] if name.startswith("_") else f"_{name}")
    return isinstance(beside, list) and len(beside) > index and beside[index] is not None
