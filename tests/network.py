"""The demonstration network for tests that need all of it; started at most once in a test process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.demo.network import Network, running
from gateway.settings import load_settings
from tests.gateway.live import assert_decisions_replay
from tests.peers import needed

_STARTED = pytest.StashKey[Network]()


@pytest.fixture(scope="session")
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Three gateways over their nodes, records loaded, nothing asked yet by this fixture; at the end, every
    decision that they made is made again.

    Every conftest that imports this makes a fixture of its own of it, so the network hangs on the session and
    is stopped with it. Tests that use it carry ``pytest.mark.xdist_group("network")``: then one worker starts
    it, for all of them. A server that is missing skips them; where ``CI`` is ``true`` it fails them.
    """
    config = request.config
    if _STARTED not in config.stash:
        stack = ExitStack()
        config.add_cleanup(stack.close)
        with needed():
            started = running(_folder(tmp_path_factory), None, lambda _: None)
            config.stash[_STARTED] = stack.enter_context(started)
    yield config.stash[_STARTED]
    for gateway in config.stash[_STARTED].gateways.values():
        assert_decisions_replay(load_settings(gateway.config))


def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this session, with the foreign FHIR server that an earlier demonstration brought."""
    folder = tmp_path_factory.mktemp("network")
    brought = Path(__file__).resolve().parents[1] / ".demo/packages"
    if brought.is_dir():
        (folder / "packages").symlink_to(brought)
    return folder
