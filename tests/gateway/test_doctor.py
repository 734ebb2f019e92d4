"""What the doctor says of nodes, tables, disk and Redis, before a doctor at the bedside notices."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.broker import LaneState
from gateway.demo.peers import postgres, redis
from gateway.doctor import Finding, examine
from gateway.keyring import make_keys
from gateway.settings import Settings
from gateway.wiring import open_tables
from tests.adapters.transport_servers import OK, Authority, answering, serving
from tests.gateway.live import CLIENTS, settings_for
from tests.peers import started
from tests.serving import http_answer, misbehave

HIS: dict[str, Any] = {"id": "his", "kind": "fhir", "institution": "EX-CQ-01", "timeout_ms": 5000}
LEFT_ALONE = LaneState(
    node="his",
    breaker="open",
    failures=5,
    reason="late",
    rests_s=3.0,
    in_flight=0,
    waiting=0,
    last=None,
    last_at=0.0,
)


@pytest.fixture
def configured(tmp_path: Path) -> Callable[..., Settings]:
    """The settings of a gateway whose keys are there."""

    def made(*nodes: dict[str, Any], **more: Any) -> Settings:
        settings = settings_for(tmp_path, dict.fromkeys(CLIENTS, "x"), nodes, clients=[], **more)
        make_keys(settings)
        return settings

    return made


def found(settings: Settings, what: str, *states: LaneState) -> Finding:
    """The finding of this name; there is one."""
    (finding,) = (one for one in asyncio.run(examine(settings, states)) if one.what == what)
    return finding


def over_tls(
    configured: Callable[..., Settings], folder: Path, what: str, *, days: int = 90, client: int = 90
) -> Finding:
    """What is found of a node whose certificate, and that it asks for, last so many days."""
    authority = Authority(folder)
    context = authority.server(days=days)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.file)
    certificate, key = authority.certificate("gateway", days=client)

    async def run() -> list[Finding]:
        async with serving(answering(OK), context) as server:
            node = HIS | {
                "url": f"https://localhost:{server.port}/fhir",
                "ca_file": authority.file,
                "certificate_file": certificate,
                "certificate_key_file": key,
            }
            return await examine(await asyncio.to_thread(configured, node))

    (finding,) = (one for one in asyncio.run(run()) if one.what == what)
    return finding


def test_a_node_behind_mutual_tls_is_there(configured: Callable[..., Settings], tmp_path: Path) -> None:
    assert over_tls(configured, tmp_path, "node his").ok


@pytest.mark.parametrize(
    ("what", "ends"),
    [("node his certificate", {"days": 20}), ("node his client certificate", {"client": 20})],
)
def test_a_certificate_that_ends_soon_is_told(
    configured: Callable[..., Settings], tmp_path: Path, what: str, ends: dict[str, int]
) -> None:
    finding = over_tls(configured, tmp_path, what, **ends)
    assert (finding.ok, finding.detail.endswith("renew it")) == (False, True)


def test_a_certificate_that_lasts_is_in_order(configured: Callable[..., Settings], tmp_path: Path) -> None:
    assert over_tls(configured, tmp_path, "node his certificate").ok


@pytest.mark.parametrize(("seconds", "ok"), [(0, True), (120, False), (-28_800, False)])
def test_a_node_whose_clock_is_wrong_is_told(
    configured: Callable[..., Settings], seconds: int, ok: bool
) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    with misbehave(lambda *_: http_answer(b"{}", headers={"Date": date})) as url:
        assert found(configured(HIS | {"url": url}), "node his").ok is ok


def test_a_node_that_is_left_alone_is_told(configured: Callable[..., Settings]) -> None:
    with misbehave(lambda *_: http_answer(b"{}")) as url:
        finding = found(configured(HIS | {"url": url}), "node his", LEFT_ALONE)
        assert (finding.ok, "left alone after 5 failures (late)" in finding.detail) == (False, True)


def test_a_node_whose_token_is_missing_is_told(configured: Callable[..., Settings], tmp_path: Path) -> None:
    node = HIS | {"url": "http://127.0.0.1:9", "token_file": tmp_path / "missing"}
    finding = found(configured(node), "node his")
    assert (finding.ok, "token_file" in finding.detail) == (False, True)


def test_redis_that_is_away_is_told(configured: Callable[..., Settings]) -> None:
    assert not found(configured(redis="redis://127.0.0.1:9/0"), "redis").ok


def test_a_full_disk_is_told(configured: Callable[..., Settings]) -> None:
    assert not found(configured(disk_warn_mb=1 << 40), "disk").ok


def test_tables_of_this_version_are_in_order(configured: Callable[..., Settings]) -> None:
    settings = configured()
    asyncio.run(examine(settings))  # the first look makes the store
    assert found(settings, "tables").ok


def test_tables_of_an_older_version_are_told_and_left_as_they_are(
    configured: Callable[..., Settings],
) -> None:
    settings = configured()
    asyncio.run(examine(settings))
    asyncio.run(open_tables(settings).downgrade("0003"))
    finding = found(settings, "tables")
    assert (finding.ok, "lianren store upgrade" in finding.detail) == (False, True)
    assert asyncio.run(open_tables(settings, migrate=False).revision()) == "0003"


@pytest.mark.slow
def test_a_postgresql_and_a_redis_that_are_there_are_in_order(
    configured: Callable[..., Settings], tmp_path: Path
) -> None:
    with started(lambda: postgres(tmp_path)) as database, started(lambda: redis(tmp_path)) as cache:
        settings = configured(store=database.url, redis=cache.url)
        asyncio.run(examine(settings))
        looked = {one.what: one for one in asyncio.run(examine(settings))}
    assert "partitions until" in looked["tables"].detail
    assert looked["tables"].ok
    assert looked["redis"].ok
