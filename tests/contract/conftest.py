"""One gateway over one FHIR source for all faces, and what a call at each of them needs to be right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.calls import Call, calls
from tests.gateway.live import OWN, Live, gateway_over_source, gateway_with

SHARED = Path(__file__).resolve().parents[3] / "shared/conformance"


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A real gateway over a real node."""
    with gateway_over_source(tmp_path_factory.mktemp("gateway")) as live:
        yield live


@pytest.fixture(scope="session")
def publishing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A real gateway that a hospital publishes to."""
    nodes = [{"id": "cq-index", "kind": "published", "institution": OWN}]
    with gateway_with(tmp_path_factory.mktemp("publishing"), nodes) as live:
        yield live


@pytest.fixture(scope="session")
def faces(gateway: Live) -> dict[str, Call]:
    """A right call at every face that takes a body, over one check that was answered."""
    return calls(gateway)


@pytest.fixture(scope="session")
def conformance() -> Path:
    """The folder of test material that lies beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"the test material is not on this machine: {SHARED.name} beside the checkout")
    return SHARED
