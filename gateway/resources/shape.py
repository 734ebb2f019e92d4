"""One walk over a resource, for what the models of fhir.resources leave out.

Those check elements, cardinalities and the forms of dates, uris and ids. The walk finds, in one pass and
each with its path: null, empty objects, arrays and strings (R4 section 2.6.2), JSON of another class than the
element's type (a decimal as a string), codes outside of required value sets, base64, narratives, a subject
(and what else decides) of a type that it cannot be, and the invariants. What stands in a resource of a type
that the table does not know is looked through for what holds everywhere.
"""

from __future__ import annotations

import re
from typing import Any

from gateway.resources.bindings import Element, elements, resource_types
from gateway.resources.identities import wrong_numbers
from gateway.resources.invariants import INVARIANTS
from gateway.resources.issues import Issue

_LITERAL = re.compile(
    r"(https?://[^?#]*/)?([A-Z][A-Za-z]+)/[A-Za-z0-9\-.]{1,64}(?:/_history/[A-Za-z0-9\-.]{1,64})?"
)
_CONTAINED = re.compile(r"[A-Za-z]+\.contained\[\d+\]")
_EMPTY: tuple[Any, ...] = (None, "", [], {})
_ANY = Element(kind="Element")


def walk(resource: dict[str, Any], *, judged: bool) -> list[Issue]:
    """What is wrong with a resource, its type being the one it names.

    ``judged``: its structure is known to be right, so that the invariants can be asked.
    """
    found = _Walk(resource, judged)
    if found.resource(resource, str(resource["resourceType"])):
        found.containment(resource)
    return found.issues


class _Walk:
    def __init__(self, root: dict[str, Any], judged: bool) -> None:
        self.issues: list[Issue] = []
        self._judged = judged
        self._types = elements()
        self._pointed: set[str] = set()  # what stands behind a '#'; '' is the whole resource
        contained = root.get("contained")
        self._contained = {
            str(inner.get("id")): str(inner.get("resourceType"))
            for inner in (contained if isinstance(contained, list) else ())
            if isinstance(inner, dict)
        }

    def resource(self, value: dict[str, Any], path: str) -> bool:
        """Look through a resource, and say whether its structure is known to be right."""
        type_ = value.get("resourceType")
        known = isinstance(type_, str) and type_ in self._types
        return self._object(value, str(type_) if known else "DomainResource", path)

    def containment(self, root: dict[str, Any]) -> None:
        """The invariants between a resource and what it contains."""
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

    def _object(self, value: dict[str, Any], type_: str, path: str) -> bool:
        """Look through an object, and say whether its structure is known to be right."""
        before = len(self.issues)
        members = self._types[type_]
        for name, child in value.items():
            place = f"{path}.{name}"
            if child in _EMPTY and child is not False and child != 0:
                self._wrong(place, "structure", "null or empty; leave the element out")
            elif child.__class__ is list:
                element = members.get(name, _ANY)
                for index, one in enumerate(child):
                    if one is None and _is_gap(value, name, index):
                        continue
                    if one in _EMPTY and one is not False and one != 0:
                        self._wrong(f"{place}[{index}]", "structure", "null or empty; leave it out")
                    else:
                        self._one(one, element, f"{place}[{index}]")
            else:
                self._one(child, members.get(name, _ANY), place)
        sound = self._judged and len(self.issues) == before
        if sound:
            for rule in INVARIANTS.get(type_, ()):
                if not rule.holds(value):
                    self._broken(path, rule.key, rule.words)
            if type_ in ("Patient", "Practitioner", "Organization"):
                self.issues += wrong_numbers(value, path)
        return sound

    def _one(self, value: Any, element: Element, path: str) -> None:
        if value.__class__ is str and value[0] == "#":
            self._pointed.add(value[1:])
        if not element.kind:
            if value.__class__ not in element.json:
                self._wrong(path, "value", "another class of JSON value than the element's type")
            elif element.form is not None and not element.form(value):
                self._wrong(path, element.code, element.words)
        elif value.__class__ is dict:
            if element.kind == "Resource" and not _CONTAINED.fullmatch(path):  # of a Bundle: whole by itself
                inner = _Walk(value, self._judged)
                inner.resource(value, path)
                self.issues += inner.issues
            elif element.kind == "Resource":
                self.resource(value, path)
            else:
                sound = self._object(value, element.kind, path)
                if sound and element.kind == "Reference":
                    self._reference(value, element.targets, path)
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

    def _broken(self, path: str, key: str, words: str) -> None:
        self._wrong(path, "invariant", f"{key}: {words}")


def _is_gap(value: dict[str, Any], name: str, index: int) -> bool:
    """Whether a null in the array of a repeated primitive stands beside an extension, or the other way round
    (R4 section 2.6.2.3)."""
    beside = value.get(name[1:] if name.startswith("_") else f"_{name}")
    return isinstance(beside, list) and len(beside) > index and beside[index] is not None
