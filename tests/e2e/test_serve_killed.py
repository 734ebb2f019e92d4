"""A whole ``lianren serve`` that is killed while it answers: what it answered is in the verified ledger."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from gateway.demo.peers import free_port, postgres, wait_until
from gateway.keyring import make_keys
from gateway.model import CheckAnswer
from security.export import CHECKPOINT, read_bundles
from security.ledger import read_entry
from security.note import checkpoint_of
from tests.e2e.conftest import CHECKOUT, LIANREN, lianren
from tests.gateway.live import CLIENTS, NODE, OWN, body, settings_for, source_of
from tests.peers import needed

pytestmark = pytest.mark.slow

ASKING = 8
TOKENS = {name: f"token-of-{name}" for name in CLIENTS}


@pytest.fixture(params=["sqlite", "postgres"])
def config(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of a gateway over one node, with its keys."""
    with ExitStack() as stack:
        if request.param == "postgres":
            with needed():
                monkeypatch.setenv("LIANREN_STORE", stack.enter_context(postgres(tmp_path / "postgres")).url)
        url, _ = stack.enter_context(source_of(tmp_path))
        node = {"id": NODE, "kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 7000}
        settings = settings_for(tmp_path, TOKENS, [node], port=free_port())
        make_keys(settings)
        written = settings.model_dump(
            mode="json", exclude_defaults=True, exclude_none=True, exclude={"store"}
        )
        written["clients"] = [client for client in written["clients"] if client["id"] == "his"]
        file = tmp_path / "lianren.toml"
        file.write_text(_toml(written), encoding="utf-8")
        yield file


def _toml(written: dict[str, Any]) -> str:
    """Plain values, then tables of plain values."""
    lines = [f"{key} = {_value(value)}" for key, value in written.items() if not _tables(value)]
    for key, rows in written.items():
        for row in rows if _tables(rows) else ():
            lines += [f"[[{key}]]", *(f"{name} = {_value(value)}" for name, value in row.items())]
    return "\n".join(lines) + "\n"


def _tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


class Ward:
    """Asks one check after the other until the gateway is gone; keeps what was asked and answered."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.answered: dict[str, bytes] = {}
        self.asked: list[dict[str, Any]] = []
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        headers = {"Authorization": f"Bearer {TOKENS['his']}"}
        with httpx.Client(base_url=self._url, headers=headers, trust_env=False, timeout=30) as client:
            while True:
                self.asked.append(body())
                try:
                    answer = client.post("/api/v1/checks", json=self.asked[-1])
                except httpx.TransportError:
                    return
                assert answer.status_code == 200, answer.text
                self.answered[answer.json()["id"]] = answer.content


def killed_under_load(config: Path, url: str, answers: int) -> list[Ward]:
    """Serve, ask from all sides, and kill the process in the middle of it."""
    wards = [Ward(url) for _ in range(ASKING)]
    with subprocess.Popen([*LIANREN, "serve", "-c", str(config)], cwd=CHECKOUT) as process:
        try:
            wait_until(f"{url}/health/ready", 30)
            for ward in wards:
                ward.thread.start()
            wait_until(lambda: sum(len(ward.answered) for ward in wards) >= answers, 60)
        finally:
            process.send_signal(signal.SIGKILL)
    for ward in wards:
        ward.thread.join()
    return wards


def test_a_gateway_killed_under_load_kept_every_check_that_it_answered(config: Path, tmp_path: Path) -> None:
    port = next(line for line in config.read_text().splitlines() if line.startswith("port"))
    url = f"http://127.0.0.1:{port.rpartition('= ')[2]}"
    wards = killed_under_load(config, url, 60) + killed_under_load(config, url, 25)
    with subprocess.Popen([*LIANREN, "serve", "-c", str(config)], cwd=CHECKOUT) as process:
        try:
            wait_until(f"{url}/health/ready", 30)
            headers = {"Authorization": f"Bearer {TOKENS['his']}"}
            with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as client:
                for ward in wards:
                    for id_, answer in ward.answered.items():
                        assert client.get(f"/api/v1/checks/{id_}").content == answer
                    repeated = client.post("/api/v1/checks", json=ward.asked[-1])
                    assert repeated.status_code == 200
        finally:
            process.terminate()
    export = tmp_path / "export"
    assert lianren("ledger", "export", "-c", str(config), "--disclose", str(export)).returncode == 0
    done = lianren("ledger", "verify", str(export))
    assert done.returncode == 0, done.stdout
    size = checkpoint_of((export / CHECKPOINT).read_text(encoding="utf-8")).size
    bodies = [body for bundle in read_bundles(export, size) for body in bundle]
    for content in (content for ward in wards for content in ward.answered.values()):
        held = msgspec.json.decode(content, type=CheckAnswer).ledger
        assert read_entry(bodies[held.index]).commit == held.entry
