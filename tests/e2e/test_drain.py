"""A whole ``lianren serve`` that is told to stop: what it took in is answered and kept; nothing new is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.demo.processes import free_port, wait_until
from gateway.keyring import make_keys
from gateway.settings import Settings
from security.export import CHECKPOINT, read_bundles
from security.ledger import read_entry
from security.note import checkpoint_of
from tests.e2e.conftest import CHECKOUT, LIANREN, lianren
from tests.gateway.live import CLIENTS, NODE, OWN, body, settings_for, source_of
from tests.serving import misbehave

pytestmark = pytest.mark.slow

TOKENS = {name: f"token-of-{name}" for name in CLIENTS}
ASK = {"Authorization": f"Bearer {TOKENS['his']}"}


class Serving:
    """A running gateway over one node, in a process of its own."""

    def __init__(self, config: Path, url: str, process: subprocess.Popen[bytes]) -> None:
        self.config = config
        self.url = url
        self.process = process

    def check(self, deadline_ms: int) -> httpx.Response:
        asked = body(deadline_ms=deadline_ms)
        return httpx.post(f"{self.url}/api/v1/checks", json=asked, headers=ASK, trust_env=False, timeout=30)

    def in_flight(self) -> int:
        return self._metric('lianren_requests_in_flight{urgency="order"}')

    def ledger(self) -> int:
        return self._metric("lianren_ledger_size")

    def _metric(self, name: str) -> int:
        text = httpx.get(f"{self.url}/metrics", trust_env=False).text
        (line,) = [one for one in text.splitlines() if one.startswith(f"{name} ")]
        return int(float(line.rpartition(" ")[2]))

    def tell(self) -> None:
        """SIGTERM, as Kubernetes sends it."""
        os.kill(self.process.pid, signal.SIGTERM)

    def ended(self, seconds: float) -> list[dict[str, Any]]:
        """The log, once it has ended well."""
        self.process.wait(seconds)
        said = (self.config.parent / "log").read_text(encoding="utf-8")
        assert self.process.returncode == 0, said
        return [json.loads(line) for line in said.splitlines()]


def config_file(settings: Settings, folder: Path) -> Path:
    """The file of these settings, as far as they are not defaults; of the clients ``his`` alone."""
    written = settings.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    tables = {
        "nodes": written.pop("nodes", []),
        "clients": [one for one in written.pop("clients") if one["id"] == "his"],
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in written.items()]
    for name, rows in tables.items():
        for row in rows:
            lines += [f"[[{name}]]", *(f"{key} = {json.dumps(value)}" for key, value in row.items())]
    file = folder / "lianren.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


@contextmanager
def serving_over(node: str, folder: Path, **more: Any) -> Iterator[Serving]:
    fhir = {"id": NODE, "kind": "fhir", "url": node, "institution": OWN, "timeout_ms": 30_000}
    settings = settings_for(folder, TOKENS, [fhir], port=free_port(), **more)
    make_keys(settings)
    config = config_file(settings, folder)
    words = [*LIANREN, "serve", "-c", str(config)]
    url = f"http://127.0.0.1:{settings.port}"
    with (folder / "log").open("wb") as log, subprocess.Popen(words, stderr=log, cwd=CHECKOUT) as process:
        try:
            wait_until(f"{url}/health/ready", 30)
            yield Serving(config, url, process)
        finally:
            process.kill()


@contextmanager
def serving(folder: Path, **more: Any) -> Iterator[Serving]:
    """A gateway whose node never answers."""
    with misbehave(lambda first, body: None) as node, serving_over(node, folder, **more) as gateway:
        yield gateway


@contextmanager
def asked(gateway: Serving, deadline_ms: int) -> Iterator[Future[httpx.Response]]:
    """A check that is under way for so long."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(gateway.check, deadline_ms)
        wait_until(lambda: gateway.in_flight() == 1, 10)
        yield answer


def test_a_gateway_that_is_told_to_stop_answers_what_it_has_and_nothing_new(tmp_path: Path) -> None:
    with serving(tmp_path) as gateway, asked(gateway, 3000) as answer:
        gateway.tell()
        wait_until(lambda: httpx.get(f"{gateway.url}/health/ready", trust_env=False).status_code == 503, 2)
        assert httpx.get(f"{gateway.url}/health/live", trust_env=False).status_code == 200
        refused = gateway.check(3000)
        assert (refused.status_code, refused.json()["code"]) == (503, "stopping")
        assert refused.headers["connection"] == "close"
        assert "retry-after" in refused.headers
        assert not answer.done()
        kept = answer.result(20)
        assert kept.status_code == 200
        assert kept.json()["complete"] is False
        log = gateway.ended(10)
        told = [line for line in log if line["event"] in ("draining", "drained", "stopped")]
        assert [line["event"] for line in told] == ["draining", "drained", "stopped"]
        assert (told[0]["requests"], told[1]["left"]) == (1, 0)
        export = tmp_path / "export"
        done = lianren("ledger", "export", "-c", str(gateway.config), str(export))
        assert done.returncode == 0, done.stderr
        done = lianren("ledger", "verify", str(export))
        assert done.returncode == 0, done.stdout
        assert kept.json()["ledger"]["index"] >= 0


def test_nobody_is_cut_off_when_a_gateway_under_load_is_told_to_stop(tmp_path: Path) -> None:
    def ward(url: str) -> dict[str, str]:
        """Ask one check after the other until the gateway stops: what was decided, with its commitment."""
        decided = {}
        with (
            suppress(httpx.TransportError),  # a question that it never took
            httpx.Client(base_url=url, headers=ASK, trust_env=False, timeout=30) as client,
        ):
            while (answer := client.post("/api/v1/checks", json=body())).status_code == 200:
                decided[answer.json()["id"]] = answer.json()["ledger"]["entry"]
            assert (answer.status_code, answer.json()["code"]) == (503, "stopping")
        return decided

    with source_of(tmp_path) as (node, _), serving_over(node, tmp_path) as gateway:
        with ThreadPoolExecutor(6) as pool:
            wards = [pool.submit(ward, gateway.url) for _ in range(6)]
            wait_until(lambda: gateway.ledger() > 60, 30)
            gateway.tell()
            decided = {id_: entry for one in wards for id_, entry in one.result(30).items()}
        log = gateway.ended(10)
        assert {line["check"] for line in log if line["event"] == "check_answered"} == decided.keys()
        export = tmp_path / "export"
        assert lianren("ledger", "export", "-c", str(gateway.config), str(export)).returncode == 0
        done = lianren("ledger", "verify", str(export))
        assert done.returncode == 0, done.stdout
        size = checkpoint_of((export / CHECKPOINT).read_text(encoding="utf-8")).size
        kept = {read_entry(content).commit for bundle in read_bundles(export, size) for content in bundle}
        assert set(decided.values()) <= kept


def test_a_request_that_does_not_end_is_left_when_the_time_is_over(tmp_path: Path) -> None:
    with serving(tmp_path, drain_s=1) as gateway, asked(gateway, 9000) as answer:
        began = time.monotonic()
        gateway.tell()
        log = gateway.ended(15)
        assert time.monotonic() - began < 8  # drain_s, what uvicorn and the stores need, a slow machine
        (drained,) = [line for line in log if line["event"] == "drained"]
        assert drained["left"] == 1
        given_up = answer.result(10)
        assert (given_up.status_code, given_up.json()["code"]) == (503, "stopping")


def test_an_idle_gateway_stops_at_once_with_status_0(tmp_path: Path) -> None:
    with serving(tmp_path) as gateway:
        gateway.tell()
        log = gateway.ended(5)
        assert log[-1]["event"] == "stopped"


def test_a_late_answer_and_an_open_connection_do_not_keep_it(tmp_path: Path) -> None:
    with (
        serving(tmp_path) as gateway,
        httpx.Client(base_url=gateway.url, headers=ASK, trust_env=False) as client,
    ):
        assert client.post("/api/v1/checks", json=body(deadline_ms=300)).json()["complete"] is False
        gateway.tell()
        log = gateway.ended(5)
        assert [line["left"] for line in log if line["event"] == "drained"] == [0]


def test_a_second_signal_is_not_waited_for(tmp_path: Path) -> None:
    with serving(tmp_path) as gateway, asked(gateway, 9000) as answer:
        gateway.tell()
        wait_until(lambda: httpx.get(f"{gateway.url}/health/ready", trust_env=False).status_code == 503, 2)
        gateway.tell()
        log = gateway.ended(8)
        assert [line["left"] for line in log if line["event"] == "drained"] == [1]
        given_up = answer.result(10)
        assert (given_up.status_code, given_up.json()["code"]) == (503, "stopping")
