"""Write the FHIR definitions of this gateway: ``python -m openapi.definitions``. A test compares.

StructureDefinitions of the extensions (:mod:`gateway.resources.extensions`), CodeSystems and ValueSets of the
words that answers use, OperationDefinitions, SearchParameters, the CapabilityStatement that every gateway
instantiates, and the ImplementationGuide that lists them: one file each, in ``openapi/fhir``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from adapters.node import Fault, State
from catalog.fhir import BASE
from gateway.errors import INTERNAL, TABLE
from gateway.faces import capability
from gateway.naming import UNNAMED
from gateway.resources import extensions
from gateway.resources.parameters import TABLE as PARAMETERS
from gateway.terminology import UNNAMED_SYSTEM
from openapi._extensions import structures
from openapi._head import Resource, head
from openapi._operations import operations
from recognition import VerdictCode

FOLDER = Path(__file__).with_name("fhir")
_VERDICT_WORDS: dict[VerdictCode, str] = {
    "recognised": "互认",
    "view_only": "仅供调阅",
    "not_recognised": "不互认",
}
_STATE_WORDS: dict[State, str] = {
    "answered": "The node was asked and has something",
    "empty": "The node was asked and has nothing",
    "late": "The node did not answer in time",
    "refused": "The node refused the question",
    "unreachable": "No connection to the node",
    "faulty": "The node answered something that cannot be used",
    "skipped": "The node was not asked",
}
_FAULT_WORDS: dict[Fault, str] = {
    "caller": "Of the caller",
    "gateway": "Of the gateway",
    "node": "Of the node",
}


def definitions() -> Iterator[Resource]:
    """All but the guide."""
    yield from structures()
    yield from _terminology()
    yield from operations()
    yield from _parameters()
    yield {
        **head("CapabilityStatement", "lianren", "Lianren gateway", ""),
        "description": "What a gateway for the mutual recognition of results offers as a FHIR R4 server.",
        "kind": "requirements",
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [capability.rest({"description": "SMART Backend Services with system scopes"})],
    }


def guide(listed: Iterable[Resource]) -> Resource:
    """The ImplementationGuide with these definitions."""
    return {
        **head("ImplementationGuide", "lianren", "Lianren", ""),
        "description": "Recognition of examination and laboratory results in FHIR terms; read docs/fhir.md.",
        "packageId": "example.lianren.fhir",
        "license": "Apache-2.0",
        "fhirVersion": ["4.0.1"],
        "definition": {
            "resource": [
                {
                    "reference": {"reference": f"{one['resourceType']}/{one['id']}"},
                    "name": one["title"] if "title" in one else one["name"],
                    "exampleBoolean": False,
                }
                for one in listed
            ]
        },
    }


# Words


def _terminology() -> Iterator[Resource]:
    rows = {row.code: row for row in (*TABLE.values(), INTERNAL)}
    unnamed = {code: f"{zh} / {en}" for code, (zh, en) in UNNAMED.items()}
    for name, url, title, words in (
        ("verdicts", extensions.VERDICTS, "Verdicts on a prior result", _VERDICT_WORDS),
        ("node-states", extensions.NODE_STATES, "States of a node in an answer", _STATE_WORDS),
        ("faults", extensions.FAULTS, "Whose fault it was", _FAULT_WORDS),
        ("unnamed", UNNAMED_SYSTEM, "Why a name has no item", unnamed),
        ("errors", extensions.ERRORS, "Why something is refused", {code: code for code in sorted(rows)}),
    ):
        yield _code_system(name, url, title, words)
        yield {
            **head("ValueSet", name, title, f"{title}: all of them."),
            "compose": {"include": [{"system": url}]},
        }


def _code_system(name: str, url: str, title: str, words: Mapping[Any, str]) -> Resource:
    return {
        **head("CodeSystem", name, title, f"{title}."),
        "url": url,
        "caseSensitive": True,
        "valueSet": f"{BASE}/ValueSet/{name}",
        "content": "complete",
        "count": len(words),
        "concept": [{"code": code, "display": display} for code, display in words.items()],
    }


def _parameters() -> Iterator[Resource]:
    """Those that R4 does not have."""
    one = PARAMETERS["DiagnosticReport"]["imaging-study"]
    yield {
        **head("SearchParameter", "DiagnosticReport-imaging-study", "", "The study that a report is on."),
        "code": "imaging-study",
        "base": ["DiagnosticReport"],
        "type": one.kind,
        "expression": "DiagnosticReport.imagingStudy",
        "xpath": "f:DiagnosticReport/f:imagingStudy",
        "xpathUsage": "normal",
        "target": list(one.targets),
    }


def files() -> dict[str, str]:
    """The name of each file and its text."""
    listed = list(definitions())
    return {
        f"{one['resourceType']}-{one['id']}.json": json.dumps(one, ensure_ascii=False, indent=1) + "\n"
        for one in (*listed, guide(listed))
    }


def main() -> None:
    """Write the folder beside this file."""
    FOLDER.mkdir(exist_ok=True)
    written = files()
    for old in FOLDER.glob("*.json"):
        if old.name not in written:
            old.unlink()
    for name, text in written.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
