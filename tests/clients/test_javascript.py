"""The SMART client and fhir-kit-client, by node."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.conftest import HERE
from tests.gateway.live import Live

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def patient(hospital: Live) -> str:
    """A Patient that the hospital published."""
    made = hospital.client("hospital").post(
        "/fhir/Patient", json={"resourceType": "Patient", "gender": "male"}
    )
    assert made.status_code == httpx.codes.CREATED, made.text
    return str(made.json()["id"])


def ask(which: str, hospital: Live, javascript: Path, patient: str) -> Any:
    """What the client got."""
    shutil.copy(HERE / "javascript/ask.mjs", javascript)
    words = [which, f"{hospital.settings.base_url}/fhir", hospital.tokens["hospital"], patient]
    command = [shutil.which("node") or "node", str(javascript / "ask.mjs"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("which", ["smart", "kit"])
def test_what_was_created_is_read_and_found(
    which: str, hospital: Live, javascript: Path, patient: str
) -> None:
    got = ask(which, hospital, javascript, patient)
    (entry,) = (entry for entry in got["found"]["entry"] if entry["search"]["mode"] == "match")
    assert got["read"]["id"] == entry["resource"]["id"] == got["made"]["id"]


def test_fhir_kit_client_updates_and_sees_both_versions(
    hospital: Live, javascript: Path, patient: str
) -> None:
    got = ask("kit", hospital, javascript, patient)
    versions = [entry["resource"]["meta"]["versionId"] for entry in got["history"]["entry"]]
    assert versions == ["2", "1"]
