"""Where evidence cannot be kept no face answers: each says so in its own shape, and keeps nothing."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gateway.checks import KEEPING_S
from tests.contract.calls import Call
from tests.gateway.live import Live


@contextmanager
def broken(store: Path) -> Iterator[None]:
    """While a table is away, every write of evidence fails; reading goes on."""
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute("ALTER TABLE secret RENAME TO mislaid")
        try:
            yield
        finally:
            connection.execute("ALTER TABLE mislaid RENAME TO secret")


@pytest.mark.parametrize("face", ["rest", "outcomes", "fhir", "cds", "feedback", "peer"])
def test_a_face_answers_nothing_that_it_cannot_prove(
    gateway: Live, faces: dict[str, Call], face: str
) -> None:
    call = faces[face]
    body = call.fresh()
    before = gateway.kept()[:2]
    with broken(gateway.store):
        refused = call.send(gateway, body)
    assert refused.status_code == 503
    assert "evidence-unavailable" in refused.text
    assert int(refused.headers["retry-after"]) > 0
    assert gateway.kept()[:2] == before
    assert call.send(gateway, body).status_code == 200


@pytest.mark.slow
def test_a_store_that_hangs_costs_a_check_seconds_and_not_more(gateway: Live, faces: dict[str, Call]) -> None:
    body = faces["rest"].fresh() | {"deadline_ms": 500}
    with closing(sqlite3.connect(gateway.store, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")  # writers wait for it
        started = time.monotonic()
        refused = faces["rest"].send(gateway, body)
        took = time.monotonic() - started
        connection.execute("ROLLBACK")
    assert refused.status_code == 503
    assert "evidence-unavailable" in refused.text
    assert KEEPING_S < took < 0.5 + KEEPING_S + 2
    assert faces["rest"].send(gateway, body).status_code == 200
