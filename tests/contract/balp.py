"""A small validator of FHIR resources against the profiles of IHE BALP: cardinalities, fixed and pattern
values, and slices told apart by a value, as far as those profiles use them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

BASE = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/"
REQUIRED_CODES = {
    "https://profiles.ihe.net/ITI/BALP/ValueSet/AllSearchVS": {"search", "search-type", "search-system"},
    "https://profiles.ihe.net/ITI/BALP/ValueSet/AllReadVS": {"read", "vread"},
    "https://profiles.ihe.net/ITI/BALP/ValueSet/AllUpdateVS": {"update", "patch"},
    "https://profiles.ihe.net/ITI/BALP/ValueSet/RestObjectRoles": {"1", "3", "4"},
}
"""Members of the value sets of required bindings that our own resources may use; the sets themselves are not
part of the material."""


@cache
def profile(folder: Path, url: str) -> dict[str, Any]:
    """The StructureDefinition of a canonical url."""
    file = folder / f"StructureDefinition-{url.removeprefix(BASE)}.json"
    return dict(msgspec.json.decode(file.read_bytes()))


def elements(folder: Path, url: str) -> list[dict[str, Any]]:
    """The element definitions of a profile, those of its bases first."""
    if not url.startswith(BASE):
        return []
    own = profile(folder, url)
    return [*elements(folder, own["baseDefinition"]), *own["differential"]["element"]]


def faults(folder: Path, resource: dict[str, Any]) -> list[str]:
    """What is wrong with a resource by the profiles that it claims; at least one must be."""
    claimed = resource.get("meta", {}).get("profile", [])
    if not claimed:
        return ["no profile is claimed"]
    return [fault for url in claimed for fault in _Check(elements(folder, url), resource).faults()]


class _Check:
    def __init__(self, definitions: list[dict[str, Any]], resource: dict[str, Any]) -> None:
        self.definitions = definitions
        self.resource = resource

    def faults(self) -> Iterator[str]:
        for definition in self.definitions:
            path = definition["id"].split(".")[1:]
            if not path:
                continue
            for place, parent in self._parents(self.resource, path[:-1], "AuditEvent"):
                values = self._members(parent, path[-1], ".".join(["AuditEvent", *path[:-1]]))
                yield from _cardinality(definition, values, f"{place}.{path[-1]}")
                for value in values:
                    yield from _values(definition, value, f"{place}.{path[-1]}")

    def _parents(self, value: Any, path: list[str], place: str) -> Iterator[tuple[str, Any]]:
        """The values at a path that may name slices."""
        if not path:
            yield place, value
            return
        for member in self._members(value, path[0], place):
            yield from self._parents(member, path[1:], f"{place}.{path[0]}")

    def _members(self, parent: Any, step: str, place: str) -> list[Any]:
        name, _, slice_ = step.partition(":")
        found = parent.get(name) if isinstance(parent, dict) else None
        members = found if isinstance(found, list) else [] if found is None else [found]
        if not slice_:
            return members
        return [member for member in members if self._in_slice(member, f"{place}.{step}")]

    def _in_slice(self, member: Any, slice_id: str) -> bool:
        """By `type`, or by the member itself where that is what the slicing looks at."""
        for definition in self.definitions:
            if definition["id"] in (slice_id, f"{slice_id}.type"):
                value = member.get("type") if definition["id"].endswith(".type") else member
                wanted = _wanted(definition)
                if wanted is not None:
                    return _matches(wanted, value) and self._role_fits(member, slice_id)
                if definition.get("binding", {}).get("strength") == "required" and isinstance(value, dict):
                    codes = REQUIRED_CODES.get(definition["binding"]["valueSet"])
                    return codes is not None and value.get("code") in codes
        return False

    def _role_fits(self, member: Any, slice_id: str) -> bool:
        """Two slices of entity share the type 2; one of them fixes the role too."""
        roles = [_wanted(d) for d in self.definitions if d["id"] == f"{slice_id}.role"]
        return all(wanted is None or _matches(wanted, member.get("role")) for wanted in roles)


def _wanted(definition: dict[str, Any]) -> Any:
    return next((value for key, value in definition.items() if key.startswith(("fixed", "pattern"))), None)


def _cardinality(definition: dict[str, Any], values: list[Any], place: str) -> Iterator[str]:
    if len(values) < definition.get("min", 0):
        yield f"{place}: {len(values)}, at least {definition['min']}"
    most = definition.get("max", "*")
    if most != "*" and len(values) > int(most):
        yield f"{place}: {len(values)}, at most {most}"


def _values(definition: dict[str, Any], value: Any, place: str) -> Iterator[str]:
    wanted = _wanted(definition)
    if wanted is not None and not _matches(wanted, value):
        yield f"{place}: does not match {wanted}"
    binding = definition.get("binding", {})
    codes = REQUIRED_CODES.get(binding.get("valueSet", ""))
    if binding.get("strength") == "required" and codes is not None and value.get("code") not in codes:
        yield f"{place}: {value.get('code')} is not in the value set"


def _matches(pattern: Any, value: Any) -> bool:
    """R4 elementdefinition: the value holds at least what the pattern has."""
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(
            _matches(part, value.get(key)) for key, part in pattern.items()
        )
    if isinstance(pattern, list):
        return isinstance(value, list) and all(any(_matches(p, v) for v in value) for p in pattern)
    return bool(pattern == value)
