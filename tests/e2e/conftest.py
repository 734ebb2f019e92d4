"""The whole demonstration network, and one run of ``lianren demo`` as a stranger starts it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.demo.processes import MissingPeer
from gateway.settings import load_settings
from tests.gateway.live import assert_decisions_replay
from tests.network import network
from tests.peers import needed

__all__ = ["network"]
LIANREN = [sys.executable, "-m", "gateway.cli"]
CHECKOUT = Path(__file__).resolve().parents[2]


def lianren(*words: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a command of ``lianren`` to its end, without a terminal."""
    return subprocess.run(
        [*LIANREN, *words], capture_output=True, text=True, timeout=seconds, check=False, cwd=CHECKOUT
    )


@dataclass(frozen=True)
class Run:
    """A finished ``lianren demo --once --json --export-ledger``."""

    status: int
    asked: list[dict[str, Any]]
    said: str
    export: Path


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run of the demonstration, asked and stopped by itself; its decisions are made again afterwards."""
    folder = tmp_path_factory.mktemp("demo")
    brought = CHECKOUT / ".demo/packages"
    if brought.is_dir():
        (folder / "packages").symlink_to(brought)
    export = folder / "export"
    words = ["demo", "--once", "--json", "--folder", str(folder), "--export-ledger", str(export)]
    done = lianren(*words, seconds=300)
    if "is not available here" in done.stderr:
        with needed():
            raise MissingPeer("a server of the demonstration", done.stderr.splitlines()[-1])
    for config in folder.rglob("lianren.toml"):
        assert_decisions_replay(load_settings(config))
    return Run(done.returncode, json.loads(done.stdout or "[]"), done.stderr, export)


@pytest.fixture
def export(demo: Run, tmp_path: Path) -> Path:
    """A copy of the demonstration's export, to be tampered with."""
    return Path(shutil.copytree(demo.export, tmp_path / "export"))


def children_of(process: int) -> set[int]:
    """The processes below one, as the kernel lists them."""
    found: set[int] = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == process:
                found |= {int(entry), *children_of(int(entry))}
    return found
