"""Real servers in tests: where one is missing a stranger's machine skips, and CI fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from gateway.demo.processes import MissingPeer, Peer


@contextmanager
def needed() -> Iterator[None]:
    """Turn a missing server into a skip with the one line that says how to get it; in CI into a failure."""
    try:
        yield
    except MissingPeer as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))


def started(start: Callable[[], Peer]) -> Peer:
    """The server, started; see :func:`needed`."""
    with needed():
        return start()
