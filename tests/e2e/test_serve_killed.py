"""A whole ``lianren serve`` that is killed while it answers: what it answered is in the verified ledger."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.demo.peers import postgres
from tests.e2e.processes import Fleet, asking, assert_kept, client_of, fleet
from tests.gateway.live import NODE, OWN, ask, source_of
from tests.peers import needed

pytestmark = pytest.mark.slow

ASKING = 8


@pytest.fixture(params=["sqlite", "postgres"])
def gateway(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Fleet]:
    """A gateway over one node."""
    with needed(), ExitStack() as stack:
        if request.param == "postgres":
            monkeypatch.setenv("LIANREN_STORE", stack.enter_context(postgres(tmp_path / "postgres")).url)
        url, _ = stack.enter_context(source_of(tmp_path))
        node = {"id": NODE, "kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 7000}
        yield stack.enter_context(fleet(tmp_path, 1, [node]))


def test_a_gateway_killed_under_load_kept_every_check_that_it_answered(
    gateway: Fleet, tmp_path: Path
) -> None:
    (process,) = gateway.replicas
    answers, in_the_middle = dict[str, bytes](), []
    for more in (60, 25):
        with asking(gateway.urls, ASKING) as wards:
            wards.go_on(more)
            process.signal(signal.SIGKILL)
            process.process.wait()
        answers |= wards.answers
        in_the_middle += wards.unanswered[:ASKING]
        process.restart()
    with client_of(process.url) as client:
        for asked in in_the_middle:
            assert ask(client, asked) == ask(client, asked)
    assert_kept(gateway.config, process.url, answers, tmp_path)
