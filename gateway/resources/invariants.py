"""The invariants of R4 4.0.1 for the types that are stored here, and for Bundle, by type.

Those that hold of every element or resource (ele-1, ref-1, dom-2 to dom-5) are in the walk itself
(:mod:`gateway.resources.shape`), txt-1 and txt-2 in :mod:`gateway.resources.narrative`. Numbers are compared
as numbers and times where both say enough to be compared, as FHIRPath does.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from msgspec import Struct, json

Node = dict[str, Any]


class Invariant(Struct, frozen=True):
    """An invariant by its key: whether it ``holds`` of an object, and what is wrong where it does not."""

    key: str
    holds: Callable[[Node], bool]
    words: str


def _has(node: Node, *names: str) -> bool:
    """Whether one of the elements exists, be it by an extension alone (``_name``)."""
    return any(name in node or f"_{name}" in node for name in names)


def _needs(name: str, other: str) -> Callable[[Node], bool]:
    """That ``name`` does not stand without ``other``."""
    return lambda node: not _has(node, name) or _has(node, other)


def _valued(node: Node, stem: str = "value") -> bool:
    """Whether the choice element has a value, of whatever type (not only an extension: ``_valueString``)."""
    return any(name.startswith(stem) and name[len(stem) :][:1].isupper() for name in node)


def _in_ucum(quantity: Node) -> bool:
    return quantity.get("system", _UCUM) == _UCUM and (_has(quantity, "code") or not _has(quantity, "value"))


def _is_duration(quantity: Node) -> bool:
    return not _has(quantity, "code") or (quantity.get("system") == _UCUM and _has(quantity, "value"))


def _ordered(node: Node) -> bool:
    low, high = node.get("low", {}), node.get("high", {})
    if any(low.get(name) != high.get(name) for name in ("system", "code", "unit")):
        return True
    return "value" not in low or "value" not in high or bool(low["value"] <= high["value"])


def _in_time(node: Node, first: str = "start", last: str = "end") -> bool:
    start, end = node.get(first), node.get(last)
    if not (start and end):
        return True
    try:
        return datetime.fromisoformat(start) <= datetime.fromisoformat(end)
    except (ValueError, TypeError):  # a year or a month, or a day beside a time: compared as far as both say
        length = min(len(start), len(end), 10)
        return bool(start[:length] <= end[:length])


def _not_repeated(observation: Node) -> bool:
    codings = _codings(observation)
    components = observation.get("component", ())
    return not _valued(observation) or not any(codings & _codings(component) for component in components)


def _codings(node: Node) -> set[bytes]:
    return {json.encode(coding, order="sorted") for coding in node.get("code", {}).get("coding", ())}


def _nobody_s_home(name: str) -> Callable[[Node], bool]:
    return lambda node: all(one.get("use") != "home" for one in node.get(name, ()))


def _only_in(name: str, *types: str) -> Callable[[Node], bool]:
    return lambda bundle: bundle.get("type") in types or not any(name in e for e in bundle.get("entry", ()))


def _each_in(name: str, *types: str) -> Callable[[Node], bool]:
    return lambda bundle: all(
        (name in entry) == (bundle.get("type") in types) for entry in bundle.get("entry", ())
    )


def _distinct(bundle: Node) -> bool:
    urls = [
        (entry["fullUrl"], entry.get("resource", {}).get("meta", {}).get("versionId"))
        for entry in bundle.get("entry", ())
        if "fullUrl" in entry
    ]
    return bundle.get("type") == "history" or len(set(urls)) == len(urls)


_UCUM = "http://unitsofmeasure.org"
_QUANTITY = Invariant("qty-3", _needs("code", "system"), "a coded unit without its system")

INVARIANTS: dict[str, tuple[Invariant, ...]] = {
    "Age": (
        _QUANTITY,
        Invariant(
            "age-1",
            lambda node: _in_ucum(node) and node.get("value", 1) > 0,
            "no positive value with a unit of UCUM",
        ),
    ),
    "Attachment": (Invariant("att-1", _needs("data", "contentType"), "data without a contentType"),),
    "Bundle": (
        Invariant(
            "bdl-1",
            lambda node: "total" not in node or node.get("type") in ("searchset", "history"),
            "a total in what is no search or history",
        ),
        Invariant("bdl-2", _only_in("search", "searchset"), "search in what is no searchset"),
        Invariant(
            "bdl-3",
            _each_in("request", "batch", "transaction", "history"),
            "an entry without its request, or a request where none belongs",
        ),
        Invariant(
            "bdl-4",
            _each_in("response", "batch-response", "transaction-response", "history"),
            "an entry without its response, or a response where none belongs",
        ),
        Invariant("bdl-7", _distinct, "one fullUrl twice"),
    ),
    "Bundle.entry": (
        Invariant("fullUrl", lambda node: ":" in node.get("fullUrl", ":"), "a fullUrl that is not absolute"),
        Invariant("bdl-5", lambda node: _has(node, "resource", "request", "response"), "an empty entry"),
        Invariant(
            "bdl-8",
            lambda node: "/_history/" not in node.get("fullUrl", ""),
            "a fullUrl with a version in it",
        ),
    ),
    "ContactPoint": (Invariant("cpt-2", _needs("value", "system"), "a value without its system"),),
    "Count": (
        _QUANTITY,
        Invariant(
            "cnt-3",
            lambda node: _in_ucum(node) and node.get("code", "1") == "1" and node.get("value", 1) % 1 == 0,
            "no whole number with the unit 1 of UCUM",
        ),
    ),
    "Distance": (_QUANTITY, Invariant("dis-1", _in_ucum, "a value without a unit of UCUM")),
    "Duration": (
        _QUANTITY,
        Invariant("drt-1", _is_duration, "a coded unit that is none of UCUM, or has no value"),
    ),
    "Expression": (
        Invariant("exp-1", lambda node: _has(node, "expression", "reference"), "no expression or reference"),
    ),
    "Extension": (
        Invariant(
            "ext-1",
            lambda node: ("extension" in node) != (_valued(node) or _valued(node, "_value")),
            "neither a value nor extensions, or both",
        ),
    ),
    "Observation": (
        Invariant(
            "obs-6",
            lambda node: "dataAbsentReason" not in node or not _valued(node),
            "a dataAbsentReason beside a value",
        ),
        Invariant("obs-7", _not_repeated, "a value beside a component of the same code"),
    ),
    "Observation.referenceRange": (
        Invariant("obs-3", lambda node: _has(node, "low", "high", "text"), "no low, high or text"),
    ),
    "Organization": (
        Invariant("org-1", lambda node: _has(node, "identifier", "name"), "no identifier or name"),
        Invariant("org-2", _nobody_s_home("address"), "the address of a home"),
        Invariant("org-3", _nobody_s_home("telecom"), "the telecom of a home"),
    ),
    "Patient.contact": (
        Invariant(
            "pat-1",
            lambda node: _has(node, "name", "telecom", "address", "organization"),
            "no name, telecom, address or organization",
        ),
    ),
    "Period": (Invariant("per-1", _in_time, "an end before its start"),),
    "Quantity": (_QUANTITY,),
    "Range": (Invariant("rng-2", _ordered, "a low above its high"),),
    "Ratio": (
        Invariant(
            "rat-1",
            lambda node: (
                ("numerator" in node) == ("denominator" in node) and _has(node, "numerator", "extension")
            ),
            "a numerator or a denominator alone",
        ),
    ),
    "ServiceRequest": (Invariant("prr-1", _needs("orderDetail", "code"), "an orderDetail without a code"),),
    "Task": (
        Invariant(
            "inv-1",
            lambda node: _in_time(node, "authoredOn", "lastModified"),
            "last modified before it was authored",
        ),
    ),
    "Timing.repeat": (
        Invariant("tim-1", _needs("duration", "durationUnit"), "a duration without its unit"),
        Invariant("tim-2", _needs("period", "periodUnit"), "a period without its unit"),
        Invariant("tim-4", lambda node: node.get("duration", 0) >= 0, "a negative duration"),
        Invariant("tim-5", lambda node: node.get("period", 0) >= 0, "a negative period"),
        Invariant("tim-6", _needs("periodMax", "period"), "a periodMax without a period"),
        Invariant("tim-7", _needs("durationMax", "duration"), "a durationMax without a duration"),
        Invariant("tim-8", _needs("countMax", "count"), "a countMax without a count"),
        Invariant(
            "tim-9",
            lambda node: (
                "offset" not in node or ("when" in node and not {"C", "CM", "CD", "CV"} & {*node["when"]})
            ),
            "an offset without a when that it counts from",
        ),
        Invariant(
            "tim-10", lambda node: not ("timeOfDay" in node and "when" in node), "timeOfDay beside when"
        ),
    ),
}
