"""A running gateway that a hospital publishes to, for the clients that hospitals have already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.demo import environments
from gateway.demo.processes import free_port
from tests.gateway.imaging.network import Imaging, imaging
from tests.gateway.live import Live, gateway_of_hospital
from tests.peers import needed

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway over a hospital's FHIR source and what that hospital publishes."""
    with gateway_of_hospital(tmp_path_factory.mktemp("hospital")) as live:
        yield live


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Imaging]:
    """A gateway over archives, with a viewer at an address of its own. Tests that use it carry
    ``pytest.mark.xdist_group("images")``: then one worker starts it, for all of them."""
    viewer = f"http://127.0.0.1:{free_port()}"
    link = f"{viewer}/viewer?StudyInstanceUIDs={{study_uid}}&token={{token}}"
    folder = tmp_path_factory.mktemp("images")
    with imaging(folder, viewer_origins=[viewer], viewer_url=link) as running:
        yield running


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
