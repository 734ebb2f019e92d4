"""What is taken in: a resource is checked, and its bytes stay what they are.

The bytes pass :func:`gateway.body.read_json` (UTF-8, no name twice), one walk of our own
(:mod:`gateway.resources.shape`) and the models of fhir.resources (cardinalities, forms of primitives).
Everything that is wrong is told at once, up to a hundred faults, but invariants only once the structure is
right.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from importlib import import_module
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from adapters.fhir_read import FHIR_ID, Key
from gateway.body import read_json
from gateway.resources.issues import Issue, ResourceRefused
from gateway.resources.shape import MOST, UNKNOWN, Walk

T = TypeVar("T")

_LARGE = 32 * 1024
_THREAD = ThreadPoolExecutor(1, thread_name_prefix="intake")
BOM = b"\xef\xbb\xbf"  # RFC 8259 section 8.1 lets a parser pass over it; what is kept goes on without


class Taken(Struct, frozen=True):
    """A resource that may be kept: its type and id, the fields it is found by, its bytes."""

    type: str
    id: str
    key: Key
    body: bytes


def take(raw: bytes, type_: str, id_: str, *, new: bool = False) -> Taken:
    """Check a resource for this place. A ``new`` one gets the id, whatever it carried before.

    Raises:
        BadBody: 400 for what is no JSON that every parser reads alike.
        ResourceRefused: 422 with all that is wrong with it.
    """
    body = raw.removeprefix(BOM)
    if issues := validated(body, type_, id_ if not new else ""):
        raise ResourceRefused(issues)
    if new:
        members = msgspec.json.decode(body, type=dict[str, Raw])
        body = msgspec.json.encode(members | {"id": Raw(msgspec.json.encode(id_))})
    return Taken(type_, id_, msgspec.json.decode(body, type=Key), body)


async def beside(work: Callable[..., T], raw: bytes, *further: Any, **named: Any) -> T:
    """What one of the functions here makes of a body, others being served meanwhile: seconds of work on a
    large one go to a thread, one after the other, and many small ones, of a Bundle, let others in between."""
    if len(raw) < _LARGE:
        await asyncio.sleep(0)
        return work(raw, *further, **named)
    return await asyncio.get_running_loop().run_in_executor(_THREAD, partial(work, raw, *further, **named))


def validated(raw: bytes, type_: str, id_: str = "") -> tuple[Issue, ...]:
    """What is wrong with a resource of this type (any of R4), to be put at the id where one is given.

    Raises:
        BadBody: 400 for what is no JSON that every parser reads alike.
    """
    body = raw.removeprefix(BOM)
    read_json(body)
    try:
        resource = _typed(body, type_)
    except ResourceRefused as refused:
        return refused.issues
    placed = []
    if id_ and resource.get("id") != id_:
        placed.append(Issue(f"{type_}.id", "value", "not the id of the address"))
    elif id_ and not FHIR_ID.fullmatch(id_):
        placed.append(Issue(f"{type_}.id", "value", "not a FHIR id: up to 64 letters, digits, '-' and '.'"))
    return (*placed, *_faults(resource, body, type_))


def check_bundle(raw: bytes) -> None:
    """Check a Bundle around its resources, which :func:`take` checks one by one.

    Raises:
        BadBody: 400 for what is no JSON that every parser reads alike.
        ResourceRefused: 422 with all that is wrong with it.
    """
    body = raw.removeprefix(BOM)
    read_json(body)
    bundle = _typed(body, "Bundle")
    entries = bundle.get("entry")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        entries = []
    bare = [{name: entry[name] for name in entry if name != "resource"} for entry in entries]
    thin = [entry | _thin(entry["resource"]) if "resource" in entry else entry for entry in entries]
    if issues := _faults(
        bundle | ({"entry": thin} if thin else {}),
        msgspec.json.encode(bundle | ({"entry": bare} if bare else {})),
        "Bundle",
    ):
        raise ResourceRefused(issues)


def _thin(resource: Any) -> dict[str, Any]:
    """What of a resource counts for the Bundle around it."""
    meta = resource.get("meta") if isinstance(resource, dict) else None
    return {
        "resource": {"resourceType": "Basic"} | ({"meta": meta} if isinstance(meta, dict) and meta else {})
    }


def _faults(resource: dict[str, Any], body: bytes, type_: str) -> list[Issue]:
    walk = Walk(resource)
    if len(walk.issues) == MOST:
        return walk.issues
    modelled = [issue for issue in _modelled(body, type_) if issue.path not in walk.amiss]
    if not modelled:
        return walk.judged()
    told = {issue.path for issue in walk.issues}
    return (walk.issues + [issue for issue in modelled if issue.path not in told])[:MOST]


def _typed(body: bytes, type_: str) -> dict[str, Any]:
    resource = msgspec.json.decode(body)
    if not isinstance(resource, dict) or resource.get("resourceType") != type_:
        raise ResourceRefused([Issue("resourceType", "structure", f"not the {type_} that belongs here")])
    return resource


def _modelled(body: bytes, type_: str) -> list[Issue]:
    from pydantic import ValidationError  # with the models half a second of import, not needed to serve

    try:
        _model(type_).model_validate_json(body)
    except ValidationError as wrong:
        errors = wrong.errors(include_input=False, include_url=False, include_context=False)
        return [_issue(type_, str(one["type"]), one["loc"]) for one in errors if one["type"] != _ODD_UUID]
    except (ValueError, TypeError, AttributeError, KeyError, AssertionError):
        return [Issue(type_, "structure", "cannot be read as this type")]
    return []


@cache
def _model(type_: str) -> Any:
    return getattr(import_module(f"fhir.resources.R4B.{type_.lower()}"), type_)


_ODD_UUID = "uuid_version"  # R4 allows every version; the form is the walk's
_STRUCTURE = re.compile(r".*_type|json_invalid|model_validation_format")


def _issue(type_: str, kind: str, place: tuple[int | str, ...]) -> Issue:
    """An error of the models; their own message is left out, for it may repeat the value."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part[:64]}" for part in place)
    if kind.endswith("missing"):
        code, words = "required", "missing"
    elif kind == "extra_forbidden":
        code, words = "structure", UNKNOWN
    elif _STRUCTURE.fullmatch(kind):
        code, words = "structure", "not of the element's type"
    else:
        code, words = "value", "not of the form that the element has"
    return Issue(f"{type_}{path}", code, words)
