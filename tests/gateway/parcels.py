"""What a hospital of the demonstration holds of a person, as it publishes it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
from msgspec import Raw, Struct

from adapters.fhir_read import Key, read
from gateway.demo.people import BY_KEY
from gateway.demo.records import everything

NODE = "cq-index"


class _Entry(Struct):
    resource: Raw


class _Bundle(Struct):
    entry: list[_Entry]


@cache
def records_of(node: str, person: str) -> dict[str, bytes]:
    """The resources of one person at a node of the demonstration, by ``Type/id``, as they are written."""
    bundle = msgspec.json.decode(everything(datetime.now(UTC)).bundles[node], type=_Bundle)
    found = {}
    for entry in bundle.entry:
        key = read(entry.resource, Key)
        if f"Patient/{person}" in (key.subject.reference, f"{key.resource_type}/{key.id}"):
            found[f"{key.resource_type}/{key.id}"] = bytes(entry.resource)
    return found


def collection(*resources: bytes) -> dict[str, Any]:
    """A collection Bundle of these resources."""
    entry = [{"resource": Raw(resource)} for resource in resources]
    return {"resourceType": "Bundle", "type": "collection", "entry": entry}


def publication(person: str, *resources: bytes, node: str = NODE, **more: Any) -> bytes:
    """The body of a publication about somebody of the demonstration, with a request id of its own."""
    asked: dict[str, Any] = {
        "request_id": uuid.uuid4().hex,
        "node": node,
        "patient": {"type": "resident-id", "value": BY_KEY[person].number},
    }
    if resources:
        asked["bundle"] = collection(*resources)
    return msgspec.json.encode(asked | more)
