"""What a gateway knows after it was stopped and started again, and why it does not start."""

from __future__ import annotations

import asyncio
import io
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters import StoreError
from catalog import CatalogueError
from gateway.errors import SettingsError
from gateway.log import Log
from gateway.settings import Settings
from gateway.wiring import open_gateway
from security.errors import TrustError
from tests.gateway.live import Live, ask, audit, body, gateway_over_source, started


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    """A gateway of this test's own."""
    with gateway_over_source(tmp_path) as live:
        yield live


def test_answers_request_ids_marks_and_ledger_are_there_after_a_restart(live: Live, tmp_path: Path) -> None:
    asked = body()
    first = live.client().post("/api/v1/checks", json=asked)
    before = live.kept()[:2]
    live.stop()
    with started(live.settings, live.tokens) as again:
        his = again.client()
        assert his.post("/api/v1/checks", json=asked).content == first.content
        assert his.get(f"/api/v1/checks/{first.json()['id']}").content == first.content
        assert again.kept()[:2] == before
        mark = ask(his, body()).verdicts[0].mark
        assert mark is not None
        assert mark.signed == first.json()["verdicts"][0]["mark"]["signed"]
        assert audit(again, tmp_path / "audit") == []


def test_many_questions_at_once_get_places_of_their_own(live: Live) -> None:
    his = live.client()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: ask(his, body()), range(60)))
    assert len({answer.ledger.index for answer in answers}) == 60
    with closing(sqlite3.connect(live.store)) as connection:
        held = dict(connection.execute("SELECT entry_id, idx FROM entry"))
    assert all(held[answer.ledger.entry] == answer.ledger.index for answer in answers)
    assert sorted(held.values()) == list(range(len(held)))


def not_started(settings: Settings) -> str:
    """Why a gateway does not start: one line."""

    async def start() -> None:
        async with open_gateway(settings, Log(io.StringIO())):
            pass

    with pytest.raises((SettingsError, TrustError, StoreError, CatalogueError)) as wrong:
        asyncio.run(start())
    line = str(wrong.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"key_passphrase_file": None}, "key_passphrase_file"),
        ({"key_passphrase_file": Path("/nowhere/passphrase")}, "/nowhere/passphrase"),
        ({"catalogue": Path("/nowhere/catalogue")}, "/nowhere/catalogue"),
        ({"owner": "sc"}, "sc"),
        (
            {
                "nodes": [
                    {
                        "id": "x",
                        "kind": "gateway",
                        "url": "https://a",
                        "owner": "sc",
                        "token_file": "/nowhere/t",
                    }
                ]
            },
            "/nowhere/t",
        ),
        ({"pins": [{"owner": "sc", "url": "http://127.0.0.1", "keys_file": "/nowhere/sc.json"}]}, "sc.json"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_keeps_a_gateway_from_starting_is_one_line(
    live: Live, changes: dict[str, Any], told: str
) -> None:
    live.stop()
    assert told in not_started(Settings(**(live.settings.model_dump() | changes)))


def test_a_client_of_an_unknown_institution_keeps_a_gateway_from_starting(live: Live) -> None:
    live.stop()
    clients = [live.settings.clients[0].model_dump() | {"institution": "EX-XX-99"}]
    assert "EX-XX-99" in not_started(Settings(**(live.settings.model_dump() | {"clients": clients})))


def test_a_wrong_passphrase_keeps_a_gateway_from_starting(live: Live) -> None:
    live.stop()
    assert live.settings.key_passphrase_file is not None
    live.settings.key_passphrase_file.write_bytes(b"another one")
    assert "passphrase" in not_started(live.settings)


def test_a_ledger_that_lost_an_entry_keeps_a_gateway_from_starting(live: Live) -> None:
    ask(live.client(), body())
    live.stop()
    with closing(sqlite3.connect(live.store)) as connection:
        connection.execute("UPDATE log_head SET size = size - 1")
        connection.commit()
    told = not_started(live.settings)
    assert "log_head is damaged" in told or "were signed" in told


def test_a_stopped_gateway_is_not_reached(live: Live) -> None:
    live.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{live.url}/health/live", trust_env=False)
