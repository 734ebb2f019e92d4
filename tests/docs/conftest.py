"""The pages and what their blocks need: a running network, named by environment variables."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from gateway.demo.network import Network
from gateway.demo.people import BY_KEY
from tests.network import network

__all__ = ["network", "variables"]


@pytest.fixture(scope="session")
def variables(network: Network, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables that README.md tells a reader to set, for this network; ``lianren`` is on the path."""
    folder = tmp_path_factory.mktemp("reader")
    asking, issuing = network.gateways["sc"], network.gateways["cq"]
    files = {"TOKEN": asking.tokens["EX-SC-01"], "PATIENT": BY_KEY["jia"].number}
    for name, text in files.items():
        (folder / name).write_text(text)
    return {
        **{name: str(folder / name) for name in files},
        "GATEWAY": asking.url,
        "CONFIG": str(asking.config),
        "ISSUER": issuing.url,
        "ISSUER_CONFIG": str(issuing.config),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
