"""A running gateway that a hospital publishes to, for the clients that hospitals have already.

It listens at the address that it knows itself by, because clients follow its links.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.demo import environments, processes
from tests.gateway.live import NODE, OWN, Live, gateway_with, source_of
from tests.peers import needed

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PUBLISHED = "cq-index"


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway over a hospital's FHIR source and what that hospital publishes."""
    folder = tmp_path_factory.mktemp("hospital")
    with source_of(folder) as (url, _):
        nodes: list[dict[str, Any]] = [
            {"id": NODE, "kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 7000},
            {"id": PUBLISHED, "kind": "published", "institution": OWN},
        ]
        base_url = f"http://127.0.0.1:{processes.free_port()}"
        with gateway_with(folder, nodes, base_url=base_url) as live:
            yield live


@pytest.fixture(scope="session")
def javascript(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder with the clients in JavaScript and their packages, one for all workers."""
    shared = tmp_path_factory.getbasetemp()
    folder = (shared if worker_id == "master" else shared.parent) / "javascript"
    with needed():
        environments.packages(HERE / "javascript", folder, "clients in JavaScript")
    return folder


def environment(tmp_path_factory: pytest.TempPathFactory, worker_id: str, name: str) -> Path:
    """The programs of a Python client that needs an environment of its own, one for all workers."""
    shared = tmp_path_factory.getbasetemp()
    folder = (shared if worker_id == "master" else shared.parent) / name
    with needed():
        return environments.python(HERE / name / "requirements.lock", folder, name).parent


@pytest.fixture(scope="session")
def sekmet(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The command of sekmet-fhir."""
    return environment(tmp_path_factory, worker_id, "sekmet") / "sekmet"
