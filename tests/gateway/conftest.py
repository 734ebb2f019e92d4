"""One gateway over one FHIR source for all tests here; after every test its ledger holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.gateway.live import Live, audit, gateway_over_source


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A real gateway over a real node."""
    with gateway_over_source(tmp_path_factory.mktemp("gateway")) as live:
        yield live


@pytest.fixture
def his(gateway: Live, tmp_path: Path) -> Iterator[httpx.Client]:
    """A hospital's client; when the test is over, every check of an offline audit must pass."""
    yield gateway.client()
    if gateway.kept()[0]:
        assert audit(gateway, tmp_path / "audit") == []
