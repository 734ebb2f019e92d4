"""One gateway over one FHIR source for all tests here; after every test its ledger holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.gateway.live import NODE, OWN, Live, audit, gateway_over_source, gateway_with, source_of


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A real gateway over a real node."""
    with gateway_over_source(tmp_path_factory.mktemp("gateway")) as live:
        yield live


@pytest.fixture(scope="session")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One over two nodes that tell the very same results."""
    folder = tmp_path_factory.mktemp("twins")
    with source_of(folder) as (url, _):
        node = {"kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 7000}
        with gateway_with(folder, [node | {"id": id_} for id_ in (NODE, "cq-copy")]) as live:
            yield live


@pytest.fixture
def his(gateway: Live, tmp_path: Path) -> Iterator[httpx.Client]:
    """A hospital's client; when the test is over, every check of an offline audit must pass."""
    yield gateway.client()
    if gateway.kept()[0]:
        assert audit(gateway, tmp_path / "audit") == []
