"""Encryption at rest of a whole gateway: its database tells nothing, of this version or of one before."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.sealing import SealedStore
from adapters.store import Store
from gateway.keyring import open_keys
from tests.gateway.live import Live, ask, audit, body, gateway_over_source, reading, started
from tests.gateway.publishing import config_of, lianren
from tests.gateway.test_restart import not_started

CONTENT = ("白蛋白", "40.8", "g/L", "planned")
"""What a check of the patient leaves in payloads and documents."""


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with gateway_over_source(tmp_path) as gateway:
        yield gateway


def in_clear(live: Live) -> list[str]:
    """What of the content, and which pseudonyms, stand in the files of the database."""
    files = b"".join(file.read_bytes() for file in live.store.parent.glob(f"{live.store.name}*"))
    pseudonyms = re.findall(rb"[0-9]{4,6}[a-z]\.[A-Za-z0-9_-]{43}", files)
    return [*(text for text in CONTENT if text.encode() in files), *map(bytes.decode, pseudonyms)]


def unseal(live: Live) -> None:
    """Put everything back as a version without sealing kept it."""

    async def opened(store: Store) -> list[tuple[str, tuple[bytes | str | int, ...]]]:
        assert isinstance(store, SealedStore)
        found: list[tuple[str, tuple[bytes | str | int, ...]]] = []
        for index, _, secret in await store.secrets(0, 1000):
            statement = "UPDATE secret SET salt = ?, payload = ? WHERE idx = ?"
            found.append((statement, (secret.salt, secret.payload, index)))
        with closing(sqlite3.connect(live.store)) as connection:
            names = connection.execute("SELECT kind, id FROM document").fetchall()
        for kind, id_ in names:
            document = await store.document(kind, id_)
            assert document is not None
            statement = "UPDATE document SET body = ? WHERE kind = ? AND id = ?"
            found.append((statement, (document.body, kind, id_)))
        return found

    statements = reading(live, opened)
    with closing(sqlite3.connect(live.store)) as connection, connection:
        for statement, values in statements:
            connection.execute(statement, values)


def test_nothing_of_a_check_stands_in_the_database_in_clear(live: Live) -> None:
    assert ask(live.client(), body()).verdicts
    assert in_clear(live) == []


@pytest.mark.slow
def test_a_store_of_the_former_version_is_sealed_before_it_is_read(live: Live, tmp_path: Path) -> None:
    client = live.client()
    path = f"/api/v1/checks/{ask(client, body()).id}"
    before = client.get(path).json()
    live.stop()
    unseal(live)
    assert {*CONTENT} < {*in_clear(live)}
    assert "lianren keys seal" in not_started(live.settings)
    done = lianren("keys", "seal", "-c", config_of(live, tmp_path / "config"))
    assert done.status == 0, done.out
    assert in_clear(live) == []
    with started(live.settings, live.tokens) as again:
        assert again.client().get(path).json() == before
        assert audit(again, tmp_path / "audit") == []


def test_an_answer_that_was_laid_into_the_database_is_not_given(live: Live) -> None:
    """Whoever writes there has no key to seal with; the caller hears nothing of rows and tables."""
    answer = ask(live.client(), body())
    with closing(sqlite3.connect(live.store)) as connection, connection:
        connection.execute("UPDATE document SET body = ? WHERE kind = 'check'", (b'{"id":"laid"}',))
    refused = live.client().get(f"/api/v1/checks/{answer.id}")
    assert refused.status_code == 503
    assert "document" not in refused.text
    assert "is not sealed" in live.events("evidence_unavailable")[-1]["detail"]


def test_without_the_key_that_sealed_them_editions_are_refused_and_nothing_starts(live: Live) -> None:
    keys = open_keys(live.settings)
    (sealing,) = keys.secrets("payload")
    live.stop()
    keys.new_secret("payload", datetime.now(UTC))
    keys.forget_secret(sealing)
    assert not_started(live.settings).startswith("catalogue: nothing is in force: ")
