"""The elements of FHIR R4 4.0.1, as far as the walk over a resource needs them: type, codes, targets.

``r4.json`` holds what the published definitions say of the types that are stored here, of what these may
refer to (and so contain), of Bundle and of the datatypes; ``tests/contract/r4_definitions.py`` makes it. A
shape there is a type's name; ``code <value set>`` where that binding is required; ``Reference <types>`` where
it says whose a result is or what belongs to it. The member without a name is what a type is derived from.
Value sets without an end, such as media types, are left out.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from msgspec import Struct

from adapters.fhir_read import FHIR_ID
from gateway.resources.narrative import NOT_ALLOWED, is_narrative

_UUID = re.compile("urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_CONTROL, _SPACE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]"), re.compile(r"[\x00-\x1f\s]")
_WHOLE = frozenset({"integer", "positiveInt", "unsignedInt"})


class Element(Struct, frozen=True, kw_only=True):
    """What may stand in an element: values of the JSON classes ``json`` that have a ``form`` (else ``words``
    tells, with the issue ``code``), or, where ``kind`` names one, an object of that type."""

    kind: str = ""
    json: tuple[type, ...] = ()
    form: Callable[[Any], bool] | None = None
    code: str = "value"
    words: str = ""
    targets: frozenset[str] = frozenset()


class _Table(Struct, frozen=True):
    types: dict[str, dict[str, str]]
    codes: dict[str, str]


@cache
def elements() -> dict[str, dict[str, Element]]:
    """Of each type, its members by their names in JSON. Backbones are named by path (``Patient.contact``)."""
    read = files("gateway.resources").joinpath("r4.json").read_bytes()
    table = msgspec.json.decode(read, type=_Table)
    made: dict[str, Element] = {}

    def element(shape: str) -> Element:
        if shape not in made:
            made[shape] = _element(shape, table)
        return made[shape]

    def members(name: str) -> dict[str, Element]:
        own = table.types[name]
        inherited = members(own[""]) if own[""] else {}
        return inherited | {member: element(shape) for member, shape in own.items() if member}

    return {name: members(name) for name in table.types}


@cache
def resource_types() -> frozenset[str]:
    """The resource types that the table knows."""
    return frozenset(name for name, members in elements().items() if "implicitRules" in members)


def _element(shape: str, table: _Table) -> Element:
    name, _, rest = shape.partition(" ")
    if name == "Reference":
        return Element(kind=name, targets=frozenset(rest.split()))
    if rest in table.codes:
        codes = frozenset(table.codes[rest].split())
        words = "not in the required value set"
        return Element(json=(str,), form=codes.__contains__, code="code-invalid", words=words)
    if name in _WHOLE:
        return Element(json=(int,))
    if name in ("boolean", "decimal"):
        return Element(json=(bool,) if name == "boolean" else (int, float))
    if name == "xhtml":
        return Element(json=(str,), form=is_narrative, code="invariant", words=NOT_ALLOWED)
    if name in _FORMS:
        form, words = _FORMS[name]
        return Element(json=(str,), form=form, words=words)
    if name in _DATES:
        return Element(json=(str,))
    return Element(kind=name if name in table.types else "Resource")


def _is_id(text: str) -> bool:
    return FHIR_ID.fullmatch(text) is not None


def _is_uuid(text: str) -> bool:
    return _UUID.fullmatch(text) is not None


def _is_text(text: str) -> bool:
    return _CONTROL.search(text) is None


def _is_uri(text: str) -> bool:
    return _SPACE.search(text) is None


def _is_base64(text: str) -> bool:
    try:
        b64decode("".join(text.split()), validate=True)
    except ValueError:
        return False
    return True


_DATES = frozenset({"code", "date", "dateTime", "instant", "time"})
"""Their forms are the models'."""
_STRING, _URI = (_is_text, "holds control characters"), (_is_uri, "a URI with whitespace in it")
_FORMS: dict[str, tuple[Callable[[str], bool], str]] = {
    "base64Binary": (_is_base64, "not base64 (RFC 4648)"),
    "canonical": _URI,
    "id": (_is_id, "not a FHIR id: up to 64 letters, digits, '-' and '.'"),
    "markdown": _STRING,
    "oid": _URI,
    "string": _STRING,
    "uri": _URI,
    "url": _URI,
    "uuid": (_is_uuid, "not a UUID as a URI (RFC 4122)"),
}
