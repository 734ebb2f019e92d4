"""``lianren serve``: from a file to a gateway that is ready, and one line where there is none."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from gateway.demo.processes import free_port, wait_until
from tests.e2e.conftest import CHECKOUT, LIANREN, lianren
from tests.gateway.publishing import edition, soon

pytestmark = pytest.mark.slow


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The file of a gateway without nodes."""
    (tmp_path / "passphrase").write_text("a passphrase of a test")
    (tmp_path / "passphrase").chmod(0o600)
    file = tmp_path / "lianren.toml"
    settings = {
        "name": "示例",
        "owner": "cq",
        "region": "500000",
        "base_url": "http://127.0.0.1",
        "data_dir": tmp_path / "data",
        "key_passphrase_file": tmp_path / "passphrase",
    }
    lines = [f'{name} = "{value}"' for name, value in settings.items()]
    file.write_text("\n".join([*lines, f"port = {free_port()}"]) + "\n", encoding="utf-8")
    return file


@pytest.fixture
def ready(config: Path) -> Path:
    """The same, with its keys."""
    assert lianren("keys", "new", "-c", str(config)).returncode == 0
    return config


def port_of(config: Path) -> int:
    return int(config.read_text(encoding="utf-8").rpartition("= ")[2])


def complaint(*words: str) -> str:
    """The one line on standard error of a command that ends with status 2."""
    done = lianren(*words)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    return done.stderr


@pytest.fixture
def serving(ready: Path) -> Iterator[subprocess.Popen[str]]:
    words = [*LIANREN, "serve", "-c", str(ready)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=CHECKOUT) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_gateway_with_keys_is_ready_and_ends_well_when_told_to(
    ready: Path, serving: subprocess.Popen[str]
) -> None:
    url = f"http://127.0.0.1:{port_of(ready)}"
    wait_until(f"{url}/health/ready", 30)
    assert httpx.get(f"{url}/health/ready", trust_env=False).json()["status"] == "ok"
    os.kill(serving.pid, signal.SIGTERM)
    _, said = serving.communicate(timeout=20)
    assert serving.returncode in (0, -signal.SIGTERM)
    assert [line for line in said.splitlines() if not line.startswith("{")] == []


def test_what_was_published_while_a_gateway_was_killed_is_in_force_when_it_is_back(
    ready: Path, serving: subprocess.Popen[str]
) -> None:
    url = f"http://127.0.0.1:{port_of(ready)}"
    wait_until(f"{url}/health/ready", 30)
    cut = soon(3)
    folder = edition(ready.parent, "1", cut)
    done = lianren("catalog", "publish", str(folder), "-c", str(ready), "--yes")
    assert done.returncode == 0, done.stderr
    os.kill(serving.pid, signal.SIGKILL)  # it looks every five seconds: it has not seen it
    serving.wait(10)
    with subprocess.Popen(
        [*LIANREN, "serve", "-c", str(ready)], stderr=subprocess.PIPE, cwd=CHECKOUT
    ) as again:
        try:
            wait_until(f"{url}/health/ready", 30)
            time.sleep(max(0, (cut - datetime.now(UTC)).total_seconds()))
            told = httpx.get(f"{url}/health/ready", trust_env=False).json()
            assert "ex-lab@1" in told["catalogue"]
        finally:
            again.kill()
    done = lianren("ledger", "export", "-c", str(ready), str(ready.parent / "export"))
    assert done.returncode == 0, done.stderr
    done = lianren("ledger", "verify", str(ready.parent / "export"))
    assert done.returncode == 0, done.stdout


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    assert "cannot be read" in complaint("serve", "-c", str(tmp_path / "lianren.toml"))


def test_missing_keys_are_one_line_that_says_how_to_make_them(config: Path) -> None:
    assert "keys new" in complaint("serve", "-c", str(config))


def test_a_missing_passphrase_is_one_line(ready: Path) -> None:
    (ready.parent / "passphrase").unlink()
    assert "key_passphrase_file" in complaint("serve", "-c", str(ready))


def test_a_wrong_passphrase_is_one_line(ready: Path) -> None:
    (ready.parent / "passphrase").write_text("another one")
    assert "passphrase" in complaint("serve", "-c", str(ready))


def test_a_port_in_use_is_one_line(ready: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port_of(ready)))
        taken.listen()
        assert str(port_of(ready)) in complaint("serve", "-c", str(ready))
        store = str(ready.parent / "source.sqlite3")
        words = ("source", "--store", store, "--institution", "EX-CQ-01", "--port", str(port_of(ready)))
        assert str(port_of(ready)) in complaint(*words)


def test_nothing_recorded_is_nothing_to_export(ready: Path, tmp_path: Path) -> None:
    assert "nothing" in complaint("ledger", "export", "-c", str(ready), str(tmp_path / "export"))
