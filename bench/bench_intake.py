"""Intake of a DiagnosticReport with 20 Observations; bar: at least half the rate of fhir.resources alone.

The baseline is what the models of fhir.resources need to parse the same bytes. Intake does that too, and
reads the bytes strictly, walks over the resource once, and reads the fields it is found by.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from fhir.resources.R4B.observation import Observation

from bench.machine import cpu_us, heading
from gateway.resources.intake import take, validated

_NUMBERS = range(1, 21)
_MODELS: dict[str, Any] = {"DiagnosticReport": DiagnosticReport, "Observation": Observation}


def main() -> None:
    """Measure and print."""
    heading("intake of a report with 20 observations", "python -m bench.bench_intake")
    observations = [_observation(number) for number in _NUMBERS]
    apart = [_report([f"Observation/o{n}" for n in _NUMBERS]), *observations]
    contained = [_report([f"#o{n}" for n in _NUMBERS], contained=observations)]
    for title, resources in (("apart (21 resources)", apart), ("contained (1 resource)", contained)):
        bodies = [(resource["resourceType"], msgspec.json.encode(resource)) for resource in resources]
        for type_, body in bodies:
            assert not validated(body, type_)
        alone = cpu_us(partial(_parse, bodies), number=10)
        taken = cpu_us(partial(_take, bodies), number=10)
        size = sum(len(body) for _, body in bodies) / 1000
        print(f"  {title:23} {size:5.1f} kB: fhir.resources {alone:6.0f} µs, intake {taken:6.0f} µs,"
              f" {alone / taken:.2f} of its rate (bar: 0.5)")  # fmt: skip


def _parse(bodies: Sequence[tuple[str, bytes]]) -> None:
    for type_, body in bodies:
        _MODELS[type_].model_validate_json(body)


def _take(bodies: Sequence[tuple[str, bytes]]) -> None:
    for type_, body in bodies:
        take(body, type_, "new", new=True)


def _report(results: Sequence[str], **further: Any) -> dict[str, Any]:
    return {
        "resourceType": "DiagnosticReport",
        "id": "r1",
        **further,
        "identifier": [{"system": "urn:lianren:report:EX-CQ-01", "value": "L20261101001"}],
        "status": "final",
        "category": [
            {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "LAB"}]}
        ],
        "code": {"text": "肝功能12项"},
        "subject": {"reference": "Patient/p1", "display": "患者示例"},
        "effectiveDateTime": "2026-11-01T08:05:00+08:00",
        "issued": "2026-11-01T10:30:00.000+08:00",
        "performer": [_performer()],
        "result": [{"reference": result} for result in results],
    }


def _observation(number: int) -> dict[str, Any]:
    quantity = {"unit": "U/L", "system": "http://unitsofmeasure.org", "code": "U/L"}
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "identifier": [{"system": "urn:lianren:report:EX-CQ-01", "value": f"L20261101001/{number}"}],
        "status": "final",
        "category": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                        "code": "laboratory",
                    }
                ]
            }
        ],
        "code": {
            "coding": [
                {
                    "system": "urn:lianren:local:EX-CQ-01",
                    "code": f"LIS{number:03}",
                    "display": "丙氨酸氨基转移酶",
                },
                {"system": "http://loinc.org", "code": "1742-6"},
            ],
            "text": "丙氨酸氨基转移酶",
        },
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2026-11-01T08:05:00+08:00",
        "issued": "2026-11-01T10:30:00.000+08:00",
        "performer": [_performer()],
        "specimen": {"display": "血清"},
        "valueQuantity": {"value": 72.5 + number} | quantity,
        "interpretation": [{"text": "正常"}],
        "referenceRange": [
            {"low": {"value": 9} | quantity, "high": {"value": 50} | quantity, "text": "9–50"}
        ],
    }


def _performer() -> dict[str, Any]:
    return {
        "identifier": {"system": "urn:lianren:institution", "value": "EX-CQ-01"},
        "display": "重庆示例第一医院",
    }


if __name__ == "__main__":
    main()
