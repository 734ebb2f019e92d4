"""What the FHIR source takes in: a resource is checked, and its bytes stay what they are.

The models of fhir.resources check structure and types, and leave out four things that are checked beside
them: required bindings, JSON null and empty arrays (R4 section 2.6.2), decimals written as strings, and
base64. Invariants that they leave out are not checked here.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from functools import cache
from importlib import import_module
from typing import Any

import msgspec
from msgspec import Raw, Struct

from adapters.fhir_read import Key
from gateway.body import BadBody, decode

TYPES = ("Patient", "DiagnosticReport", "Observation", "ImagingStudy")
BOM = b"\xef\xbb\xbf"  # RFC 8259 section 8.1 lets a parser pass over it; what is kept goes on without

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_QUANTITIES = re.compile(r"[a-z]+Quantity|low|high|numerator|denominator|origin")
_ATTACHMENTS = frozenset({"photo", "presentedForm", "valueAttachment"})

_STATUS = frozenset({"registered", "cancelled", "entered-in-error", "unknown"})
_REPORTED = _STATUS | {"preliminary", "final", "amended", "corrected"}
BINDINGS: dict[str, dict[str, frozenset[str]]] = {
    "Patient": {"gender": frozenset({"male", "female", "other", "unknown"})},
    "Observation": {"status": _REPORTED},
    "DiagnosticReport": {"status": _REPORTED | {"partial", "appended"}},
    "ImagingStudy": {"status": _STATUS | {"available"}},
}
"""The required bindings of R4 4.0.1 that a recipient decides by."""


class Taken(Struct, frozen=True):
    """A resource that may be kept: its type and id, the fields it is found by, its bytes."""

    type: str
    id: str
    key: Key
    body: bytes


def take(raw: bytes, type_: str, id_: str, *, new: bool = False) -> Taken:
    """Check a resource for this place. A ``new`` one gets the id, whatever it carried before.

    Raises:
        BadBody: 400 for what is no JSON, 422 with the path for what is no such resource.
    """
    body = raw.removeprefix(BOM)
    key = decode(body, Key)
    if key.resource_type != type_:
        raise BadBody("resourceType", f"not the {type_} of the address", "send it to its own address", 422)
    if not new and key.id != id_:
        raise BadBody("id", "not the id of the address", "make them equal", 422)
    if not _ID.fullmatch(id_):
        raise BadBody("id", "not a FHIR id", "use up to 64 letters, digits, '-' and '.'", 422)
    _check_shape(msgspec.json.decode(body), type_, "")
    _check_model(body, type_)
    for field, codes in BINDINGS[type_].items():
        if (code := getattr(key, field)) and code not in codes:
            raise BadBody(f"{type_}.{field}", "not in the required value set", "use one of its codes", 422)
    if new:
        members = msgspec.json.decode(body, type=dict[str, Raw])
        body = msgspec.json.encode(members | {"id": Raw(msgspec.json.encode(id_))})
    return Taken(type_, id_, key, body)


def _check_model(body: bytes, type_: str) -> None:
    from pydantic import ValidationError  # with the models half a second of import, not needed to serve

    try:
        _model(type_).model_validate_json(body)
    except ValidationError as wrong:
        first = wrong.errors(include_input=False, include_url=False, include_context=False)[0]
        path = ".".join((type_, *(str(part) for part in first["loc"])))
        raise BadBody(path, str(first["type"]).replace("_", " "), "see FHIR R4", 422) from None
    except (ValueError, TypeError, AttributeError, KeyError, AssertionError):
        raise BadBody(type_, "cannot be read as this type", "see FHIR R4", 422) from None


@cache
def _model(type_: str) -> Any:
    return getattr(import_module(f"fhir.resources.R4B.{type_.lower()}"), type_)


def _check_shape(value: Any, path: str, name: str) -> None:
    if value is None or value == [] or value == {}:
        raise BadBody(path, "null or empty", "leave the element out", 422)
    if isinstance(value, list):
        for index, element in enumerate(value):
            if element is not None:  # a gap beside an extension of a repeated primitive
                _check_shape(element, f"{path}[{index}]", name)
    elif isinstance(value, dict):
        if _QUANTITIES.fullmatch(name) and isinstance(value.get("value"), str):
            raise BadBody(f"{path}.value", "a decimal written as a string", "write a JSON number", 422)
        if name in _ATTACHMENTS and "data" in value:
            _check_base64(value["data"], f"{path}.data")
        for member, element in value.items():
            _check_shape(element, f"{path}.{member}", member)


def _check_base64(data: Any, path: str) -> None:
    try:
        b64decode("".join(data.split()), validate=True)
    except (AttributeError, ValueError, binascii.Error):
        raise BadBody(path, "not base64", "encode it by RFC 4648", 422) from None
