"""fhirpy and fhirclient, as a hospital's own programs would use them."""

from __future__ import annotations

import json

import pytest
from fhirclient import client as smart
from fhirclient.models.observation import Observation
from fhirpy import AsyncFHIRClient, SyncFHIRClient
from fhirpy.base.exceptions import OperationOutcome

from tests.gateway.live import PATIENT, Live

RESIDENT = "urn:oid:2.16.156.10011.1.3"
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"


@pytest.fixture(scope="module")
def base(hospital: Live) -> str:
    return f"{hospital.settings.base_url}/fhir"


@pytest.fixture(scope="module")
def fhirpy(hospital: Live, base: str) -> SyncFHIRClient:
    return SyncFHIRClient(base, authorization=f"Bearer {hospital.tokens['hospital']}")


@pytest.fixture(scope="module")
def patient(fhirpy: SyncFHIRClient) -> str:
    """A Patient that the hospital published, with his number."""
    made = fhirpy.resource("Patient", identifier=[{"system": RESIDENT, "value": PATIENT}], gender="male")
    made.save()
    return str(made.id)


def observation(patient: str) -> dict[str, object]:
    return {
        "status": "final",
        "category": [{"coding": [{"system": CATEGORY, "code": "laboratory"}]}],
        "code": {"text": "白蛋白"},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": "2026-11-20T08:00:00+08:00",
        "valueQuantity": {"value": 41.5, "unit": "g/L"},
    }


def test_fhirpy_saves_reads_and_updates(fhirpy: SyncFHIRClient, patient: str) -> None:
    made = fhirpy.resource("Observation", **observation(patient))
    made.save()
    made["status"] = "amended"
    made.save()
    read = fhirpy.get("Observation", made.id)
    assert (read["status"], read["meta"]["versionId"]) == ("amended", "2")


def test_fhirpy_finds_the_persons_results_of_all_nodes(fhirpy: SyncFHIRClient, patient: str) -> None:
    fhirpy.resource("Observation", **observation(patient)).save()
    found = fhirpy.resources("Observation").search(patient=f"Patient/{patient}").fetch_raw()
    nodes = {entry["fullUrl"].split("/fhir/nodes/")[1].split("/")[0] for entry in found["entry"][:-1]}
    assert nodes == {"cq-his", "cq-index"}


def test_fhirpy_is_told_in_words_what_is_wrong(fhirpy: SyncFHIRClient) -> None:
    with pytest.raises(OperationOutcome, match="status"):
        fhirpy.resource("Observation", code={"text": "白蛋白"}).save()


@pytest.mark.anyio
async def test_fhirpy_asks_asynchronously(hospital: Live, base: str, patient: str) -> None:
    client = AsyncFHIRClient(base, authorization=f"Bearer {hospital.tokens['hospital']}")
    assert (await client.reference("Patient", patient).to_resource())["gender"] == "male"


def test_fhirpy_executes_the_check(fhirpy: SyncFHIRClient) -> None:
    order = {
        "resourceType": "ServiceRequest",
        "status": "draft",
        "intent": "order",
        "code": {"text": "白蛋白"},
        "subject": {"identifier": {"system": RESIDENT, "value": PATIENT}},
    }
    answer = fhirpy.execute("ServiceRequest/$check-recognition", method="post", data=order)
    assert "decision" in {parameter["name"] for parameter in answer["parameter"]}


def test_fhirclient_creates_and_reads(hospital: Live, base: str, patient: str) -> None:
    server = smart.FHIRClient(settings={"app_id": "his", "api_base": base}).server
    server.session.headers["Authorization"] = f"Bearer {hospital.tokens['hospital']}"
    made = Observation(observation(patient) | {"resourceType": "Observation"}).create(server)
    read = Observation.read(made["id"], server)
    assert json.dumps(read.valueQuantity.as_json()) == '{"unit": "g/L", "value": 41.5}'
