from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import pytest
from fhir.resources.R4B.bundle import Bundle

from gateway.demo.people import BY_KEY
from gateway.demo.records import ARCHIVES, NODES, Records, everything


def resources(records: Records, node: str, kind: str) -> list[dict[str, Any]]:
    entries = msgspec.json.decode(records.bundles[node])["entry"]
    return [e["resource"] for e in entries if e["resource"]["resourceType"] == kind]


@pytest.mark.parametrize("node", NODES.values())
def test_the_bundle_of_every_node_is_valid_fhir(records: Records, node: str) -> None:
    assert Bundle.model_validate_json(records.bundles[node]).type == "transaction"


@pytest.mark.parametrize("node", NODES.values())
def test_every_entry_is_put_under_its_own_stable_id(records: Records, node: str) -> None:
    for entry in msgspec.json.decode(records.bundles[node])["entry"]:
        resource = entry["resource"]
        assert entry["request"] == {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"}


@pytest.mark.parametrize("node", NODES.values())
def test_every_node_holds_several_patients(records: Records, node: str) -> None:
    assert len(resources(records, node, "Patient")) >= 4


def test_the_records_of_one_moment_are_always_the_same(records: Records, now: datetime) -> None:
    assert everything(now).bundles == records.bundles


def test_nothing_is_dated_after_the_moment_of_asking(records: Records, now: datetime) -> None:
    dates = [
        datetime.fromisoformat(resource["issued"])
        for node in NODES.values()
        for kind in ("Observation", "DiagnosticReport")
        for resource in resources(records, node, kind)
    ]
    assert max(dates) < now


def test_decimals_keep_their_last_zero(records: Records) -> None:
    assert b'"value":43.10,' in records.bundles["hb-lis"]


def test_a_value_below_the_limit_keeps_its_comparator(records: Records) -> None:
    values = [r["valueQuantity"] for r in resources(records, "nx-lis", "Observation")]
    assert {"value": 0.1, "unit": "ng/mL", "comparator": "<"} in values


def test_a_corrected_report_keeps_its_identifier_and_is_issued_later(records: Records) -> None:
    old, new = (r for r in resources(records, "hb-lis", "Observation") if r["id"].startswith("twice-1"))
    assert old["identifier"] == new["identifier"]
    assert (old["issued"] < new["issued"], new["status"]) == (True, "corrected")


def test_every_study_in_a_hospitals_system_is_in_its_archive_but_for_the_one_that_is_gone(
    records: Records,
) -> None:
    for institution, archive in ARCHIVES.items():
        stored = {f"urn:oid:{s[0].StudyInstanceUID}": len(s) for s in records.studies[archive]}
        said = {
            r["identifier"][0]["value"]: r["numberOfInstances"]
            for r in resources(records, NODES[institution], "ImagingStudy")
            if r["id"] != "ct-gone"
        }
        assert stored == said


def test_the_archives_hold_ct_mr_and_dr_in_both_character_sets(records: Records) -> None:
    images = [s[0] for studies in records.studies.values() for s in studies]
    assert {image.Modality for image in images} == {"CT", "MR", "DX"}
    assert {image.SpecificCharacterSet for image in images} == {"ISO_IR 192", "GB18030"}


def test_a_patient_carries_the_resident_number_and_the_local_number(records: Records) -> None:
    patient = next(r for r in resources(records, "cq-his", "Patient") if r["id"] == "jia")
    assert [i["value"] for i in patient["identifier"]] == [
        BY_KEY["jia"].number,
        BY_KEY["jia"].mrns["EX-CQ-01"],
    ]
