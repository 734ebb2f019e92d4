"""The tokens that a resource is found by on a shelf, and those that a search asks for.

``identifier|<system>|<value>`` and ``identifier||<value>`` stand for each identifier of a resource, and
``subject|<Type>/<id>`` for whom it is about, wherever that stands.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from adapters.fhir_read import Identifier, Reference
from gateway.resources.conditions import Condition


class _Found(Struct, frozen=True):
    identifier: tuple[Identifier, ...] = ()
    subject: Reference = Reference()


def tokens(body: bytes) -> list[str]:
    """Those of a resource that was taken in; each once."""
    found = msgspec.json.decode(body, type=_Found)
    told = [
        f"identifier|{system}|{one.value}"
        for one in found.identifier
        if one.value
        for system in (one.system, "")
    ]
    told += [f"subject|{found.subject.local}"] if found.subject.reference else []
    return list(dict.fromkeys(told))


def asked(wanted: Sequence[Condition]) -> list[str]:
    """What a shelf is asked for by a search: whatever fits has one of these. Empty where no condition says,
    so that all resources of the type may fit."""
    for one in wanted:
        if one.modifier:
            continue
        if one.name == "identifier":
            named = [value.rpartition("|") for value in one.values]
            if all(value and "|" not in system for system, _, value in named):
                return [f"identifier|{system}|{value}" for system, _, value in named]
        if one.parameter.paths == ("subject",) and one.parameter.targets == ("Patient",):
            return [f"subject|{Reference(v if '/' in v else f'Patient/{v}').local}" for v in one.values]
    return []
