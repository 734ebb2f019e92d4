"""The tokens that a resource is found by on a shelf, and those that a search asks for.

``identifier|<system>|<value>`` and ``identifier||<value>`` stand for each identifier of a resource, and
``subject|<Type>/<id>`` for whom it is about, wherever that stands.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct, field

from adapters.fhir_read import Identifier, Reference
from gateway.resources.conditions import Condition, parts, unescaped

WHOM = (("subject",), ("for",))
"""Where it stands whom something is about: that of a Task in ``for``."""
_ABOUT = ("Patient", "Group", "Device", "Location", "Substance")
"""What something can be about (R4: ``subject`` of the types that have such a token)."""


class _Found(Struct, frozen=True):
    identifier: tuple[Identifier, ...] = ()
    subject: Reference = Reference()
    whom: Reference = field(name="for", default=Reference())


def tokens(body: bytes) -> list[str]:
    """Those of a resource that was taken in; each once."""
    found = msgspec.json.decode(body, type=_Found)
    told = [
        f"identifier|{system}|{one.value}"
        for one in found.identifier
        if one.value
        for system in (one.system, "")
    ]
    told += [subject(one.reference) for one in (found.subject, found.whom) if one.reference]
    return list(dict.fromkeys(told))


def asked(wanted: Sequence[Condition]) -> list[str]:
    """What a shelf is asked for by a search: whatever fits has one of these. Empty where no condition says,
    so that all resources of the type may fit."""
    for one in wanted:
        if one.name == "identifier":
            stated = [parts(value) for value in one.values]
            if all(value for _, value in stated):
                return [f"identifier|{system or ''}|{value}" for system, value in stated]
        if one.parameter.paths in WHOM and one.modifier in ("", *_ABOUT):
            named = [unescaped(value) for value in one.values]
            types = (one.modifier,) if one.modifier else one.parameter.targets or _ABOUT
            full = [one for v in named for one in ([v] if "/" in v else [f"{t}/{v}" for t in types])]
            return [subject(one) for one in full]
    return []


def subject(reference: str) -> str:
    """The token of what is about this one."""
    return f"subject|{Reference(reference).local}"
