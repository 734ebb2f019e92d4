"""A hospital, laboratory and imaging simulator (sekmet-fhir) works with the gateway and runs TestScripts.

What of the scripts does not pass is listed in docs/fhir.md with its reason, and nothing else.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import ROOT
from tests.gateway.live import Live

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sekmet")]

SCRIPTS = ROOT.parent / "shared/conformance/testscripts/shared"
SCENARIOS = ("conformance_smoke", "lab_order_to_result", "rad_order_imaging_report")
LISTED = re.compile(r"^\| `([^`]+)` \| ([^|]+?) \| [^|]+ \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def simulator(hospital: Live, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the settings by which the simulator finds the gateway."""
    folder = tmp_path_factory.mktemp("simulator")
    bearer = {"type": "bearer", "token": hospital.tokens["hospital"]}
    peer = {"base_url": f"{hospital.settings.base_url}/fhir", "auth": bearer, "use_transactions": True}
    settings = {"data_dir": str(folder / "data"), "log_inbound": False, "peers": {"gateway": peer}}
    (folder / "settings.yaml").write_text(json.dumps(settings), encoding="utf-8")  # YAML holds JSON
    return folder


def run(sekmet: Path, folder: Path, *words: str) -> str:
    """What the command prints."""
    command = [str(sekmet), *words, "--peer", "gateway", "--report-dir", "reports"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_passes(scenario: str, sekmet: Path, simulator: Path) -> None:
    said = run(sekmet, simulator, "scenario", "run", scenario, "--no-serve")
    assert "1/1 scenarios passed" in said, said


def test_what_of_the_test_scripts_does_not_pass_is_listed(sekmet: Path, simulator: Path) -> None:
    if not SCRIPTS.is_dir():
        pytest.skip("the shared TestScripts are not here")
    fixtures = ["--fixtures", str(SCRIPTS / "fixtures"), "--fixture-base", ""]
    folders = sorted(str(path) for path in SCRIPTS.iterdir() if path.name != "fixtures")
    said = run(sekmet, simulator, "testscript", "run", *folders, *fixtures)
    reports = sorted(simulator.glob("reports/*testscript*/TestReport-*.json"))
    assert reports, said
    failing = {one for path in reports for one in _failing(json.loads(path.read_text(encoding="utf-8")))}
    page = (ROOT / "docs/fhir.md").read_text(encoding="utf-8")
    assert failing == set(LISTED.findall(page.partition("\n## TestScripts\n")[2]))


def _failing(report: dict[str, object]) -> set[tuple[str, str]]:
    """The tests of a script in which a step failed, with the script's name."""
    tests = report.get("test")
    assert isinstance(tests, list)
    return {
        (str(report["name"]), str(test["name"]))
        for test in tests
        for action in test.get("action", ())
        for step in action.values()
        if step.get("result") in ("fail", "error")
    }
