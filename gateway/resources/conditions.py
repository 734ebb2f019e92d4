"""Searches as conditions on one resource (R4 section 3.1.1), by the table of parameters.

A resource is looked at as it is written: :func:`opened` keeps decimals as decimals. Whatever store it lies
in, the same conditions are applied, since servers differ in what they make of a search.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from msgspec import Struct

from gateway.body import BadBody
from gateway.resources import _matching
from gateway.resources._matching import Test
from gateway.resources.parameters import REFERENCES, TABLE, Parameter

Resource = Mapping[str, Any]

PARAMETERS: dict[str, dict[str, str]] = {
    type_: {name: one.kind for name, one in own.items()} for type_, own in TABLE.items()
}
"""The search parameters by type, with their FHIR types."""
MODIFIERS: dict[str, tuple[str, ...]] = {
    "token": ("not", "text", "of-type"),
    "reference": ("identifier",),
    "string": ("exact", "contains"),
    "uri": ("below", "above"),
    "date": (),
    "quantity": (),
}
"""The modifiers by FHIR type; ``missing`` goes with all, and a type (``subject:Patient``) with references."""
CHAINS = ("patient.identifier", "subject.identifier")
"""The chained parameters of a search over nodes: by what a reference says of the Patient, or by the Patient
that it leads to. On one shelf (``own``) any parameter is chained to a reference that leads to one type."""


def _decimal(text: str) -> Decimal | None:
    """None for one that is beyond all bounds."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


_DECODER = msgspec.json.Decoder(dict[str, Any], float_hook=_decimal)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MEMBER = msgspec.json.Decoder(float_hook=_decimal)
_PIECE = re.compile(r"\\.|.", re.DOTALL)
_ESCAPED = re.compile(r"\\([\\,$|])")
_TYPE = re.compile(r"[A-Z][A-Za-z]+")
_MOST = 100
"""How many values one parameter may list."""


class Condition(Struct, frozen=True):
    """One parameter of a search, ``name`` and ``values`` as they were sent: any of the values fits, or with
    ``:not`` none. A chained one fits also where what it leads to fits ``chained``: its type, and what must
    hold there."""

    name: str
    values: tuple[str, ...]
    modifier: str
    parameter: Parameter
    tests: tuple[Test, ...]
    chained: tuple[str, Condition] | None = None

    def fits(self, body: bytes) -> bool:
        """Whether a resource that was taken in fits."""
        return self.holds(opened(body))

    def holds(self, resource: Resource, homes: Sequence[str] = ()) -> bool:
        """Whether a resource fits; what stands below one of the base URLs ``homes`` is its own server's."""
        found = [*self._elements(resource)]
        if self.modifier == "missing":
            return bool(found) != (self.values == ("true",))
        return any(test(one, homes) for one in found for test in self.tests) != (self.modifier == "not")

    def earliest(self) -> float | None:
        """Of a date, the moment (POSIX) before which nothing fits; None where there is no such moment."""
        starts = [] if self.modifier else [_matching.earliest(value) for value in self.values]
        return None if None in starts else min((one for one in starts if one is not None), default=None)

    def _elements(self, resource: Resource) -> Iterator[Any]:
        member, wanted = self.parameter.where
        for path in self.parameter.paths:
            for one in elements(resource, path):
                if not member or (isinstance(one, dict) and one.get(member) == wanted):
                    yield one


def opened(body: bytes) -> dict[str, Any]:
    """A resource to look at; its decimals are :class:`~decimal.Decimal`. In one of a node that has a whole
    number beyond all bounds there is nothing to be seen."""
    try:
        return _DECODER.decode(body)
    except msgspec.MsgspecError:
        return {}


def looked_at(wanted: Sequence[Condition]) -> Callable[[bytes], dict[str, Any]]:
    """What opens of a resource the members that these conditions look at."""
    names = {path.partition(".")[0] for one in wanted for path in one.parameter.paths}

    def look(body: bytes) -> dict[str, Any]:
        members = _MEMBERS.decode(body)
        return {name: _MEMBER.decode(members[name]) for name in names if name in members}

    return look


def conditions(type_: str, pairs: Sequence[tuple[str, str]]) -> list[Condition]:
    """Read the parameters of a search for one type over nodes; all must hold.

    Raises:
        BadBody: 400 for a parameter, modifier or value that is not understood; ``field`` is the parameter.
    """
    return [condition(type_, name, text) for name, text in pairs]


def condition(type_: str, name: str, text: str, *, own: bool = False) -> Condition:
    """One of :func:`conditions`, or of a search on one shelf (``own``)."""
    if name in CHAINS or (own and "." in name):
        return _chain(type_, name, text)
    plain, _, modifier = name.partition(":")
    parameter = TABLE[type_].get(plain)
    if parameter is None:
        raise BadBody(
            name[:64], "not a parameter by which this type is searched", "see the CapabilityStatement", 400
        )
    if modifier and modifier != "missing" and modifier not in MODIFIERS[parameter.kind]:
        fits = parameter.kind == "reference" and _TYPE.fullmatch(modifier)
        if not fits or (parameter.targets and modifier not in parameter.targets):
            offered = ", ".join(("missing", *MODIFIERS[parameter.kind]))
            raise BadBody(name[:64], "a modifier that is not offered", f"use one of {offered}", 400)
    values = tuple(split(text, ","))
    if not all(values) or len(values) > _MOST:
        raise BadBody(name, "a value is missing, or there are too many", "give up to 100 values", 400)
    targets = (modifier,) if _TYPE.fullmatch(modifier) else parameter.targets
    if parameter.kind == "reference" and modifier not in ("missing", "identifier") and len(targets) == 1:
        values = tuple(value if "/" in value else f"{targets[0]}/{value}" for value in values)
    if modifier == "missing":
        if values not in (("true",), ("false",)):
            raise BadBody(name, "neither true nor false", "use one of them", 400)
        return Condition(name, values, modifier, parameter, ())
    try:
        tests = tuple(_test(parameter, modifier, targets, value) for value in values)
    except ValueError as wrong:
        what, _, todo = str(wrong).partition("; ")
        raise BadBody(name, what, todo, 400) from None
    return Condition(name, values, modifier, parameter, tests)


def _chain(type_: str, name: str, text: str) -> Condition:
    """A chained parameter, of one link."""
    link, _, rest = name.partition(".")
    plain, _, target = link.partition(":")
    parameter = TABLE[type_].get(plain)
    targets = REFERENCES.get(type_, {}).get(plain, ())
    target = target or (targets[0] if len(targets) == 1 else "Patient" if plain == "subject" else "")
    if parameter is None or target not in targets or "." in rest:
        todo = "chain one parameter to a reference to one type, as subject:Patient.family"
        raise BadBody(name[:64], "not a chain that is followed", todo, 400)
    there = condition(target, rest, text)
    said = condition(type_, f"{plain}:identifier", text).tests if rest == "identifier" else ()
    return Condition(name, there.values, "identifier", parameter, said, (target, there))


def met(wanted: Sequence[Condition], body: bytes, homes: Sequence[str] = ()) -> bool:
    """Whether a resource meets all conditions."""
    if not wanted:
        return True
    resource = opened(body)
    return all(one.holds(resource, homes) for one in wanted)


def elements(resource: Resource, path: str) -> list[Any]:
    """What stands at a path, each of a list by itself."""
    found: list[Any] = [resource]
    for name in path.split("."):
        held = (one.get(name) for one in found if isinstance(one, dict))
        found = [one for value in held if value is not None for one in _each(value)]
    return found


def split(text: str, mark: str) -> list[str]:
    """The parts of a value between marks that no backslash stands before; escapes are left in them."""
    if "\\" not in text:
        return text.split(mark)
    found = [""]
    for piece in _PIECE.findall(text):
        if piece == mark:
            found.append("")
        else:
            found[-1] += piece
    return found


def parts(value: str) -> tuple[str | None, str]:
    """System and code of a token: None where any system will do, empty for none at all."""
    system, *code = (unescaped(part) for part in split(value, "|"))
    return (system, "|".join(code)) if code else (None, system)


def unescaped(text: str) -> str:
    """A part of a value as it is meant (R4 section 3.1.1.4.7)."""
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def _each(value: Any) -> Any:
    return value if isinstance(value, list) else (value,)


def _test(parameter: Parameter, modifier: str, targets: Sequence[str], value: str) -> Test:
    kind = parameter.kind
    if kind == "token":
        if modifier == "of-type":
            return _matching.of_type(*(unescaped(part) for part in split(value, "|")))
        if modifier == "text":
            return _matching.wording(unescaped(value))
        return _matching.token(*parts(value), parameter.system)
    if kind == "reference":
        if modifier == "identifier":
            return _matching.logical(*parts(value))
        return _matching.reference(unescaped(value), targets)
    if kind == "string":
        return _matching.string(unescaped(value), modifier)
    if kind == "uri":
        return _matching.uri(unescaped(value), modifier)
    if kind == "quantity":
        return _matching.quantity(*(unescaped(part) for part in split(value, "|")))
    return _matching.date(value)
