"""``lianren demo`` as a stranger starts it: its status, its one-line complaints, what it leaves running."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.demo.processes import free_port
from gateway.demo.traps import TRAPS
from tests.e2e.conftest import CHECKOUT, LIANREN, Run, children_of, lianren

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("network")]


def test_it_asks_answers_stops_and_ends_well(demo: Run) -> None:
    assert (demo.status, [one["key"] for one in demo.asked if not one["right"]]) == (0, []), demo.said


def test_it_asks_every_question(demo: Run) -> None:
    assert [one["key"] for one in demo.asked] == [trap.key for trap in TRAPS]


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = lianren("demo", "--folder", str(tmp_path / ("x" * 60)), "--port", str(port))
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert str(port) in line


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A demonstration that goes on until Ctrl-C, and its folder; its screen is a file."""
    folder = tmp_path_factory.mktemp("a-folder-with-a-name-that-is-long-enough-to-be-broken-over-two-lines")
    brought = CHECKOUT / ".demo/packages"
    if brought.is_dir():
        (folder / "packages").symlink_to(brought)
    with (folder / "screen").open("w") as screen:
        process = subprocess.Popen(
            [*LIANREN, "demo", "--folder", str(folder), "--port", str(free_port())],
            stdout=screen,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            cwd=CHECKOUT,
        )
        try:
            yield process, folder
        finally:
            process.kill()
            process.wait()


def wait_for(words: str, process: subprocess.Popen[str], screen: Path, seconds: float = 180) -> str:
    end = time.monotonic() + seconds
    while words not in (text := screen.read_text()):
        assert process.poll() is None, text
        assert time.monotonic() < end, text
        time.sleep(0.1)
    return text


def test_a_second_start_in_one_folder_is_one_line(running: tuple[subprocess.Popen[str], Path]) -> None:
    process, folder = running
    wait_for("starting archives", process, folder / "screen")
    done = lianren("demo", "--once", "--folder", str(folder))
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "already runs" in line


def test_ctrl_c_stops_everything_it_started(running: tuple[subprocess.Popen[str], Path]) -> None:
    process, folder = running
    shown = wait_for("Ctrl-C", process, folder / "screen")
    assert f"{len(TRAPS)} of {len(TRAPS)} answers" in shown
    children = children_of(process.pid)
    assert len(children) >= 15  # three gateways, two archives, ten nodes
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(30) in (0, 130)
    assert not [child for child in children if Path(f"/proc/{child}").exists()]
    assert "Traceback" not in (folder / "screen").read_text()
