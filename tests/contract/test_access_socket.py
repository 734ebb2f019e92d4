"""A gateway behind a proxy: ``lianren serve`` on a Unix socket, and a SMART client that comes through it."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from gateway.demo.processes import wait_until
from gateway.keyring import make_keys
from gateway.settings import load_settings
from tests.gateway.live import OWN, body
from tests.gateway.smart import Backend, new_key, written
from tests.gateway.test_access import HEADER, MINE, OTHERS

pytestmark = pytest.mark.slow
LIANREN = Path(sys.executable).with_name("lianren")
KEY = new_key("k-1", rsa=True)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The file of a gateway on a Unix socket, with one client that signs."""
    (tmp_path / "passphrase").write_text("a passphrase of a test")
    (tmp_path / "passphrase").chmod(0o600)
    written(tmp_path / "his.json", KEY)
    top = {
        "name": "示例",
        "owner": "cq",
        "region": "500000",
        "base_url": "https://gateway.example",
        "data_dir": "data",
        "key_passphrase_file": "passphrase",
        "uds": "gateway.sock",
        "client_certificate_header": HEADER,
    }
    client = {"id": "his", "institution": OWN, "roles": ["his"], "jwks_file": "his.json"}
    lines = [f"{name} = {json.dumps(value)}" for name, value in top.items()]
    lines += ["[[clients]]", *(f"{name} = {json.dumps(value)}" for name, value in client.items())]
    file = tmp_path / "lianren.toml"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    make_keys(load_settings(file))
    return file


@contextmanager
def serving(config: Path) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """The command, and a client that speaks to its socket as the proxy does."""
    path = config.parent / "gateway.sock"
    transport = httpx.HTTPTransport(uds=str(path))
    command = [str(LIANREN), "serve", "-c", str(config)]
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process,
        httpx.Client(transport=transport, base_url="http://gateway.example") as http,
    ):
        try:
            wait_until(lambda: _listens(path), 20)
            yield process, http
        finally:
            process.terminate()
            process.wait(10)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as tried:
        return tried.connect_ex(str(path)) == 0


def test_a_smart_client_gets_through_the_socket_with_its_certificate_alone(config: Path) -> None:
    with serving(config) as (_, http):
        http.headers[HEADER] = MINE
        backend = Backend("his", KEY, http)
        assert backend.endpoint == "https://gateway.example/oauth/token"
        token = backend.bearer(scope="lianren/check")
        statuses = []
        for passed in (MINE, OTHERS):
            http.headers[HEADER] = passed
            statuses.append(http.post("/api/v1/checks", headers=token, json=body()).status_code)
        assert statuses == [200, 401]


def test_the_socket_is_for_the_gateway_and_the_group_of_the_proxy_alone(config: Path) -> None:
    with serving(config):
        assert stat.S_IMODE((config.parent / "gateway.sock").stat().st_mode) == 0o660


def test_a_socket_that_a_crash_left_behind_is_taken_over_and_a_living_one_is_not(config: Path) -> None:
    with serving(config) as (process, _):
        second = subprocess.run(
            [LIANREN, "serve", "-c", config], capture_output=True, timeout=30, check=False
        )
        assert second.returncode == 2
        assert b"another process listens" in second.stderr
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    assert (config.parent / "gateway.sock").exists()
    with serving(config) as (_, http):
        assert http.get("/health/ready").status_code == 200
