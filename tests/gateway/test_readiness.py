"""What readiness tells the orchestrator and the operator: not ready with the reason, and warnings before."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.errors import StoreError
from adapters.sequencer import Sequencer
from adapters.sqlite import SqliteStore
from gateway.errors import EvidenceUnavailable
from gateway.metrics import Metrics
from gateway.readiness import FULL, SLOW_S, Finding, Readiness
from security.errors import KeyStoreError, SignatureRefused
from security.keys import KeyPair, PublicKey
from security.ledger import seal
from tests.gateway.live import CLIENTS, NODE, OWN, Live, body, gateway_with, settings_for, source_of

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC)
ORIGIN = "cq.lianren.example/exchange"


def free_mb(folder: Path) -> int:
    return shutil.disk_usage(folder).free >> 20


class SlowSigner:
    """A real signer that takes its time, or is out of order."""

    def __init__(self) -> None:
        self._signer = KeyPair.generate("Ed25519", "cq", "log", NOW)
        self.public, self.kid, self.algorithm = (
            self._signer.public,
            self._signer.kid,
            self._signer.algorithm,
        )
        self.seconds = 0.0
        self.broken = False

    def sign(self, message: bytes) -> bytes:
        if self.broken:
            raise SignatureRefused("the crypto machine does not answer")
        time.sleep(self.seconds)
        return self._signer.sign(message)


@pytest.fixture
def signer() -> SlowSigner:
    return SlowSigner()


@pytest.fixture
async def sequencer(tmp_path: Path, signer: SlowSigner) -> AsyncIterator[Sequencer]:
    store = SqliteStore(tmp_path / "store.db")
    await store.open()
    sequencer = Sequencer(store, [signer], ORIGIN, sign_seconds=0.05)
    await sequencer.start()
    yield sequencer
    await sequencer.close()
    await store.close()


def readiness(
    folder: Path,
    sequencer: Sequencer,
    keys: Callable[[], Sequence[PublicKey]] = lambda: (),
    metrics: Metrics | None = None,
    slow_s: float = SLOW_S,
    **more: Any,
) -> Readiness:
    made = settings_for(folder, dict.fromkeys(CLIENTS, ""), [], **more)
    made.data_dir.mkdir(exist_ok=True)
    return Readiness(made, sequencer, keys, [], metrics or Metrics(), slow_s=slow_s)


def parts(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    return [(finding.part, finding.level) for finding in findings]


async def test_a_sound_gateway_has_no_findings(tmp_path: Path, sequencer: Sequencer) -> None:
    looked = readiness(tmp_path, sequencer, disk_warn_mb=1)
    assert await looked.findings() == []
    looked.require()


async def test_however_many_ask_at_a_time_one_look_serves_them_all(
    tmp_path: Path, sequencer: Sequencer
) -> None:
    looks = 0

    async def other() -> Sequence[Finding]:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0.02)
        return [Finding("keys", "warn", "one")]

    settings = settings_for(tmp_path, dict.fromkeys(CLIENTS, ""), [], disk_warn_mb=1)
    settings.data_dir.mkdir(exist_ok=True)
    looked = Readiness(settings, sequencer, lambda: (), [other], Metrics())
    found = await asyncio.gather(*(looked.findings() for _ in range(20)))
    assert {len(one) for one in found} == {1}
    assert looks == 1
    await looked.findings()
    assert looks == 2


async def test_little_space_warns_before_it_is_full(tmp_path: Path, sequencer: Sequencer) -> None:
    looked = readiness(tmp_path, sequencer, disk_warn_mb=free_mb(tmp_path) * 2)
    assert parts(await looked.findings()) == [("disk", "warn")]
    looked.require()


async def test_a_full_disk_refuses_checks_with_the_reason(tmp_path: Path, sequencer: Sequencer) -> None:
    looked = readiness(tmp_path, sequencer, disk_warn_mb=FULL * free_mb(tmp_path) * 2)
    assert parts(await looked.findings()) == [("disk", "fail")]
    with pytest.raises(EvidenceUnavailable, match="the disk of the store is full"):
        looked.require()


async def test_a_ledger_that_is_not_continued_refuses_checks_with_the_reason(
    tmp_path: Path, sequencer: Sequencer
) -> None:
    looked = readiness(tmp_path, sequencer, disk_warn_mb=1)
    sequencer.refuse("a witness knows 5 entries more")
    assert parts(await looked.findings()) == [("ledger", "fail")]
    with pytest.raises(EvidenceUnavailable, match="a witness knows 5 entries more"):
        looked.require()


async def test_a_signer_that_hangs_is_a_failure_until_it_answers(
    tmp_path: Path, sequencer: Sequencer, signer: SlowSigner
) -> None:
    looked = readiness(tmp_path, sequencer, disk_warn_mb=1)
    signer.seconds = 0.4
    entry = seal("question", b"payload", time=NOW, from_="cq", to="sc", hash_name="sha256")
    with pytest.raises(StoreError, match="was not signed"):
        await sequencer.append([entry])
    assert parts(await looked.findings()) == [("ledger", "fail")]
    signer.seconds = 0.0
    await asyncio.sleep(0.5)
    assert await looked.findings() == []


async def test_a_write_that_failed_is_a_failure_until_one_succeeds(
    tmp_path: Path, sequencer: Sequencer, signer: SlowSigner
) -> None:
    looked = readiness(tmp_path, sequencer, disk_warn_mb=1)
    signer.broken = True
    entry = seal("question", b"payload", time=NOW, from_="cq", to="sc", hash_name="sha256")
    with pytest.raises(StoreError, match="could not be signed"):
        await sequencer.append([entry])
    assert parts(await looked.findings()) == [("store", "fail")]
    signer.broken = False
    assert await looked.findings() == []
    assert (await sequencer.append([entry])).size == 1


async def test_slow_writes_warn(tmp_path: Path, sequencer: Sequencer) -> None:
    entry = seal("question", b"payload", time=NOW, from_="cq", to="sc", hash_name="sha256")
    await sequencer.append([entry])
    looked = readiness(tmp_path, sequencer, disk_warn_mb=1, slow_s=0.0)
    assert parts(await looked.findings()) == [("latency", "warn")]


async def test_a_store_that_is_away_is_a_failure_and_names_no_address(
    tmp_path: Path, sequencer: Sequencer
) -> None:
    looked = readiness(tmp_path, sequencer, disk_warn_mb=1)
    await sequencer.store.close()
    (finding,) = await looked.findings()
    assert (finding.part, finding.level) == ("store", "fail")
    assert str(tmp_path) not in finding.detail


def key(days: int, letter: str = "a") -> PublicKey:
    made = NOW - timedelta(days=1)
    return KeyPair.generate(
        "Ed25519", "cq", "log", made, letter=letter, validity=timedelta(days=days + 1)
    ).public


@pytest.mark.parametrize(
    ("days", "warns"), [((400,), False), ((20,), True), ((20, 400), False), ((5, 20), True)]
)
async def test_the_last_key_of_a_purpose_warns_a_month_before_it_ends(
    tmp_path: Path, sequencer: Sequencer, days: tuple[int, ...], warns: bool
) -> None:
    keys = [key(one, letter) for one, letter in zip(days, "ab", strict=False)]
    findings = await readiness(tmp_path, sequencer, lambda: keys, disk_warn_mb=1).findings()
    assert parts(findings) == ([("keys", "warn")] if warns else [])


async def test_keys_that_cannot_be_read_warn(tmp_path: Path, sequencer: Sequencer) -> None:
    def unreadable() -> Sequence[PublicKey]:
        raise KeyStoreError("the folder of the keys cannot be read")

    findings = await readiness(tmp_path, sequencer, unreadable, disk_warn_mb=1).findings()
    assert parts(findings) == [("keys", "warn")]


async def test_findings_are_metrics_and_go_when_they_are_gone(tmp_path: Path, sequencer: Sequencer) -> None:
    metrics = Metrics()
    line = b'lianren_findings{level="fail",part="ledger"} '
    looked = readiness(tmp_path, sequencer, metrics=metrics, disk_warn_mb=1)
    await looked.findings()
    assert line + b"0.0" in metrics.render()
    sequencer.refuse("a witness knows another ledger")
    await looked.findings()
    assert line + b"1.0" in metrics.render()


def test_a_running_gateway_tells_its_warnings(gateway: Live) -> None:
    told = gateway.client("").get("/health/ready")
    assert told.status_code == 200
    assert told.json()["status"] == "ok"
    assert isinstance(told.json()["warnings"], list)


@pytest.mark.parametrize("path", ["/health/ready", "/metrics"])
def test_looking_needs_no_token(gateway: Live, path: str) -> None:
    assert httpx.get(f"{gateway.url}{path}", trust_env=False).status_code == 200


@pytest.mark.slow
def test_a_check_is_refused_before_any_node_is_asked(tmp_path: Path) -> None:
    with source_of(tmp_path) as (url, counted):
        node = {"id": NODE, "kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 7000}
        with gateway_with(tmp_path, [node], disk_warn_mb=FULL * free_mb(tmp_path) * 2) as full:
            before = counted.requests
            answer = full.client().post("/api/v1/checks", json=body())
            ready = full.client().get("/health/ready")
    assert (answer.status_code, answer.json()["code"]) == (503, "evidence-unavailable")
    assert "the disk of the store is full" in answer.json()["detail"]
    assert counted.requests == before
    assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
