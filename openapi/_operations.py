"""The OperationDefinitions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from catalog.fhir import BASE
from gateway.faces import fhir
from gateway.faces._terminology import TRANSLATE
from openapi._head import Resource, head

Told = tuple[str, str, Any]
"""Of an answer: name, cardinality, and a type or the parts."""
_BOTH: tuple[Told, ...] = (("zh", "1..1", "string"), ("en", "1..1", "string"))
_TOLD_REASON: tuple[Told, ...] = (("rule", "1..1", "code"), *_BOTH)
_CONVERTED = ("value", "unit", "factor", "source", "reference")
_ANSWER: tuple[Told, ...] = (
    ("decision", "1..1", "id"),
    ("requestId", "1..1", "string"),
    ("catalogue", "1..1", "string"),
    ("complete", "1..1", "boolean"),
    (
        "verdict",
        "0..*",
        (
            ("verdict", "1..1", "code"),
            ("result", "1..1", "string"),
            ("institution", "1..1", "Identifier"),
            ("localName", "0..1", "string"),
            ("item", "0..1", "Coding"),
            ("serves", "0..1", "Coding"),
            ("mark", "0..1", "string"),
            ("expires", "0..1", "dateTime"),
            ("value", "0..1", "string"),
            ("unit", "0..1", "string"),
            ("reference", "0..1", "string"),
            ("converted", "0..1", tuple((name, "0..1", "string") for name in _CONVERTED)),
            ("reason", "1..*", _TOLD_REASON),
            ("note", "0..*", _TOLD_REASON),
        ),
    ),
    ("notice", "0..1", _BOTH),
    (
        "consent",
        "0..1",
        (("permitted", "1..1", "boolean"), ("basis", "1..1", "code"), ("consent", "0..1", "id"), *_BOTH),
    ),
    (
        "advice",
        "0..*",
        (
            ("planned", "1..1", "string"),
            ("served", "0..*", "Coding"),
            ("toOrder", "0..*", "Coding"),
            (
                "best",
                "0..*",
                (
                    ("item", "1..1", "Coding"),
                    ("result", "1..1", "string"),
                    ("others", "1..1", "integer"),
                    *_BOTH,
                ),
            ),
            *_BOTH,
        ),
    ),
    ("unnamed", "0..*", (("name", "1..1", "string"), ("reason", "1..1", "code"))),
    (
        "node",
        "0..*",
        (
            ("node", "1..1", "string"),
            ("state", "1..1", "code"),
            ("tookMs", "1..1", "integer"),
            ("fault", "0..1", "code"),
            ("via", "0..1", "string"),
            ("detail", "0..1", "string"),
        ),
    ),
    (
        "ledger",
        "1..1",
        (("origin", "1..1", "string"), ("entry", "1..1", "string"), ("index", "1..1", "integer")),
    ),
)
"""What both operations answer; docs/fhir.md says what it means."""


def operations() -> Iterator[Resource]:
    """Those of recognition, and ``$translate``, which takes and says more than that of R4."""
    told = [_out(*one) for one in _ANSWER]
    yield {
        **_operation("check-recognition", fhir.OPERATION, "Ask before ordering again", "ServiceRequest"),
        "affectsState": True,
        "type": True,
        "instance": False,
        "parameter": [
            _in("order", "1..*", "ServiceRequest", "What is planned"),
            _in("patient", "0..1", "Patient", "Whom it is for, by a number, where no order says so"),
            _in("requestId", "0..1", "string", "The caller's own id: the same one has the same answer"),
            _in("breakGlass", "0..1", "string", "Why an emergency goes against the patient's consent"),
            *told,
        ],
    }
    yield {
        **_operation("recognition", fhir.RECOGNITION, "What of a report is recognised", "DiagnosticReport"),
        "affectsState": False,
        "type": False,
        "instance": True,
        "parameter": told,
    }
    url, about = (
        f"{BASE}/OperationDefinition/ConceptMap-translate",
        "A code or a hospital's own name as an item",
    )
    concept: tuple[Told, ...] = (
        ("equivalence", "1..1", "code"),
        ("concept", "1..1", "Coding"),
        ("source", "0..1", "uri"),
    )
    yield {
        **_operation("ConceptMap-translate", url, about, "ConceptMap"),
        "base": "http://hl7.org/fhir/OperationDefinition/ConceptMap-translate",
        "code": TRANSLATE.name,
        "affectsState": False,
        "type": True,
        "instance": True,
        "parameter": [
            *(
                _in(name, "0..1", _KINDS.get(kind, _TYPES.get(name, "string")), _WORDS[name])
                for name, kind in TRANSLATE.offered.items()
            ),
            _out("result", "1..1", "boolean"),
            _out("message", "0..1", "string"),
            _out("reason", "0..1", "Coding"),
            _out("match", "0..*", concept),
        ],
    }


_KINDS = {"coding": "Coding", "concept": "CodeableConcept"}
_TYPES = {"url": "uri", "code": "code", "system": "uri", "targetsystem": "uri"}
_WORDS = {
    "url": "The ConceptMap; the one of concepts and names where it is left out",
    "conceptMapVersion": "The version of the catalogue",
    "version": "The version of the catalogue",
    "targetsystem": "That of items, and no other",
    "kind": "imaging or lab: what kind of examination the name is of",
    "modality": "The modality, as the hospital writes it",
    "specimen": "The specimen, as the hospital writes it",
    "code": "The code",
    "system": "Its system",
    "coding": "The code with its system",
    "codeableConcept": "Codes, and the hospital's own name as text",
    "display": "The hospital's own name",
}


def _operation(name: str, url: str, title: str, resource: str) -> Resource:
    return {
        **head("OperationDefinition", name, title, f"{title}; read docs/fhir.md."),
        "url": url,
        "kind": "operation",
        "code": name,
        "resource": [resource],
        "system": False,
    }


def _in(name: str, cardinality: str, type_: str, words: str) -> Resource:
    least, _, most = cardinality.partition("..")
    told = {"name": name, "use": "in", "min": int(least), "max": most, "documentation": words}
    return told | {"type": type_}


def _out(name: str, cardinality: str, what: str | Sequence[Told]) -> Resource:
    least, _, most = cardinality.partition("..")
    told: Resource = {"name": name, "use": "out", "min": int(least), "max": most}
    if isinstance(what, str):
        return told | {"type": what}
    return told | {"part": [_out(*part) for part in what]}
