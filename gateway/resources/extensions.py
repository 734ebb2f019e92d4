"""The extensions that answers carry: their addresses and shapes, as published in ``openapi/fhir``.

An answer stays a plain FHIR R4 resource for whoever knows none of them. All but the printed mark are complex:
their parts are extensions whose ``url`` is the name of the part.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from adapters.fhir_read import PRINTED_MARK
from adapters.node import Report
from catalog.fhir import BASE, ITEM_SYSTEM
from gateway.model import Coded, VerdictOut
from recognition import Reason

__all__ = [
    "CONFLICT",
    "ERRORS",
    "FAULTS",
    "LEDGER_INDEX",
    "NODE_STATE",
    "NODE_STATES",
    "PRINTED_MARK",
    "RECOGNITION",
    "SOURCE",
    "VERDICTS",
    "conflict",
    "node_state",
    "recognition",
    "source",
]

Extension = dict[str, Any]

_DEFINITIONS = f"{BASE}/StructureDefinition"
NODE_STATE = f"{_DEFINITIONS}/node-state"
"""On OperationOutcome.issue: how one node was, of those that an answer is from."""
SOURCE = f"{_DEFINITIONS}/source"
"""On Bundle.entry: a further place at which the same result or person stands."""
CONFLICT = f"{_DEFINITIONS}/conflict"
"""On Bundle.entry: a place at which the same result stands with other content."""
RECOGNITION = f"{_DEFINITIONS}/recognition"
"""On Parameters.parameter: the verdict on a result."""
LEDGER_INDEX = f"{_DEFINITIONS}/ledger-index"
"""On AuditEvent: the place of the entry in the ledger."""
VERDICTS = f"{BASE}/CodeSystem/verdicts"
FAULTS = f"{BASE}/CodeSystem/faults"
NODE_STATES = "urn:lianren:node-state"
ERRORS = "urn:lianren:error"


def node_state(report: Report) -> Extension:
    """How a node was: :data:`NODE_STATE` on the issue that says so in words."""
    return _complex(
        NODE_STATE,
        ("node", "valueString", report.node),
        ("kind", "valueCode", report.kind),
        ("state", "valueCode", report.state),
        ("results", "valueUnsignedInt", report.results),
        ("tookMs", "valueUnsignedInt", report.took_ms),
        ("ageMs", "valueUnsignedInt", report.age_ms or None),
        ("fault", "valueCode", report.fault),
        ("via", "valueString", report.via),
        ("detail", "valueString", report.detail),
    )


def source(full_url: str, node: str) -> Extension:
    """A further place: :data:`SOURCE`. ``node`` is the way to it: ``<node>``, or ``<peer>/<node>``."""
    return _complex(SOURCE, ("node", "valueString", node), ("fullUrl", "valueUri", full_url))


def conflict(full_url: str, node: str) -> Extension:
    """A place that says something else: :data:`CONFLICT`, as :func:`source` has it."""
    return _complex(CONFLICT, ("node", "valueString", node), ("fullUrl", "valueUri", full_url))


def recognition(verdict: VerdictOut, catalogue: str) -> Extension:
    """The verdict on one result, by a version of the catalogue: :data:`RECOGNITION`."""
    mark = verdict.mark
    told = _complex(
        RECOGNITION,
        ("verdict", "valueCode", verdict.verdict),
        ("catalogue", "valueString", catalogue),
        ("item", "valueCoding", _coding(verdict.item)),
        ("serves", "valueCoding", _coding(verdict.serves)),
        ("mark", "valueString", mark.printed if mark else ""),
        ("markId", "valueString", mark.id if mark else ""),
        ("markState", "valueCode", mark.state if mark else ""),
        ("expires", "valueDateTime", verdict.expires and verdict.expires.isoformat(timespec="seconds")),
    )
    told["extension"] += [*_reasons("reason", verdict.reasons), *_reasons("note", verdict.notes)]
    return told


def _reasons(name: str, reasons: Iterable[Reason]) -> list[Extension]:
    return [
        _complex(
            name,
            ("rule", "valueCode", reason.rule),
            ("zh", "valueString", reason.zh),
            ("en", "valueString", reason.en),
            ("reasonCode", "valueCode", reason.reason_code),
        )
        for reason in reasons
    ]


def _complex(url: str, *parts: tuple[str, str, Any]) -> Extension:
    """An extension of the parts that have something to say: name, element, value."""
    held = [{"url": name, element: value} for name, element, value in parts if value not in (None, "")]
    return {"url": url, "extension": held}


def _coding(coded: Coded | None) -> dict[str, str] | None:
    return {"system": ITEM_SYSTEM, "code": coded.code, "display": coded.name} if coded else None
