"""schemathesis asks every operation of the published description what it should, and what it should not.

What it makes up is what a careless or hostile caller would send: nothing may fail here, and no answer may
have a status, a media type or a shape that the description does not name.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway.live import Live

CHECKS = (
    "not_a_server_error",
    "content_type_conformance",
    "status_code_conformance",
    "response_schema_conformance",
)


@pytest.mark.slow
@pytest.mark.parametrize("role", ["hospital", "auditor", "operator"])
def test_every_operation_answers_as_it_is_described(hospital: Live, role: str, tmp_path: Path) -> None:
    options = {
        "--checks": ",".join(CHECKS),
        "--header": f"Authorization: Bearer {hospital.tokens[role]}",
        "--phases": "coverage",
        "--max-time": "30",
        "--request-retries": "1",  # a connection that was kept open too long
        "--max-redirects": "0",
        "--seed": "1",
    }
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{hospital.url}/openapi.json"]
    command += [word for option in options.items() for word in option]
    command += ["--no-shrink", "--no-color"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=180, check=False)
    assert done.returncode == 0, done.stdout
