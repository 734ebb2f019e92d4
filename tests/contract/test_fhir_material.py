"""FHIR material that nobody here wrote: valid resources are taken in as they are, invalid ones refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.body import BadBody
from gateway.resources.intake import BOM, check_bundle, take
from gateway.resources.issues import ResourceRefused
from gateway.resources.values import STORED

MATERIAL = Path(__file__).resolve().parents[2].parent / "shared/conformance/fhir"
VALID = (
    "r4-examples",
    "ips",
    "eu-lab",
    "eu-imaging",
    "ihe-mhd",
    "balp",
    "validator-accept",
    "mutated-accept",
)
TAKEN = ("transaction", "batch")
LEFT = {
    "obs-temp-bad.json": "a profile that SNOMED CT leads to (body temperature): no profiles are judged",
    "obs-vs-1.json": "a profile that a LOINC code leads to (blood pressure): no profiles are judged",
}
"""Invalid resources of stored types that are taken in, and why."""

pytestmark = pytest.mark.skipif(not MATERIAL.is_dir(), reason="no conformance material beside the checkout")


def valid() -> Iterator[Any]:
    """Every valid resource of a stored type; those in Bundles as well, by themselves."""
    for folder in VALID:
        for file in sorted((MATERIAL / folder).glob("shared/*.json")):
            raw = file.read_bytes()
            resource = json.loads(raw.removeprefix(BOM))
            if resource["resourceType"] in STORED:
                yield pytest.param(raw, id=file.name)
            for index, entry in enumerate(resource.get("entry", ())):
                if isinstance(entry, dict) and entry.get("resource", {}).get("resourceType") in STORED:
                    yield pytest.param(msgspec.json.encode(entry["resource"]), id=f"{file.name}[{index}]")


def invalid() -> Iterator[Any]:
    """Every invalid resource that could be sent as one of a stored type, with its tier."""
    for folder in ("validator-refuse", "mutated-refuse"):
        index = MATERIAL / folder / "index.json"
        for one in json.loads(index.read_bytes()) if index.is_file() else ():
            file = MATERIAL / folder / one["file"]
            type_ = one.get("type") or file.name.partition("-")[0]
            if type_ in (*STORED, "Bundle", "(not JSON)") and file.name not in LEFT:
                yield pytest.param(file, type_, one["tier"], id=file.name)


@pytest.mark.parametrize("raw", list(valid()))
def test_a_valid_resource_is_taken_in_with_its_bytes(raw: bytes) -> None:
    resource = json.loads(raw.removeprefix(BOM))
    if "id" not in resource:
        taken = take(raw, resource["resourceType"], "new", new=True)
        assert json.loads(taken.body, parse_float=str) == json.loads(raw, parse_float=str) | {"id": "new"}
    else:
        assert take(raw, resource["resourceType"], resource["id"]).body == raw.removeprefix(BOM)


@pytest.mark.parametrize(("file", "type_", "tier"), list(invalid()))
def test_an_invalid_resource_is_refused_with_the_path_of_what_is_wrong(
    file: Path, type_: str, tier: str
) -> None:
    with pytest.raises(BadBody) as refused:
        _take(file.read_bytes(), type_)
    assert refused.value.status == (400 if tier.startswith("A-") else 422)
    assert refused.value.field


def _take(raw: bytes, type_: str) -> None:
    if type_ != "Bundle":
        take(raw, type_ if type_ in STORED else "Patient", "new", new=True)
        return
    check_bundle(raw)
    bundle = msgspec.json.decode(raw)
    if bundle["type"] not in TAKEN:
        raise BadBody("Bundle.type", "neither transaction nor batch", "send one of them", 422)
    for entry in bundle["entry"]:
        if (resource := entry.get("resource", {})).get("resourceType") in STORED:
            take(msgspec.json.encode(resource), resource["resourceType"], "new", new=True)


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_is_still_left(name: str) -> None:
    raw = (MATERIAL / "validator-refuse/shared" / name).read_bytes()
    assert take(raw, json.loads(raw)["resourceType"], "new", new=True).body


def test_a_valid_bundle_is_accepted_around_its_resources() -> None:
    for folder in VALID:
        for file in sorted((MATERIAL / folder).glob("shared/*.json")):
            raw = file.read_bytes()
            if json.loads(raw.removeprefix(BOM))["resourceType"] == "Bundle":
                try:
                    check_bundle(raw)
                except ResourceRefused as refused:
                    pytest.fail(f"{file.name}: {refused}")
