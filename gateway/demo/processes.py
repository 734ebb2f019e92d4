"""A server as a child process: started, waited for, restarted, ended.

No server outlives the process that started it: each has its own process group (so Ctrl-C reaches only the
parent, which then stops them in order), and on Linux the kernel kills it when the parent dies, however that
happens. The kernel means the *thread* that started the child (prctl(2), PR_SET_PDEATHSIG), so all children
are started from one thread that lives as long as the process; callers may start peers from any thread.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Literal

import httpx

Kind = Literal["dcmqrscp", "orthanc", "tiny-pacs", "medplum", "fhirsnake", "postgres", "redis", "lianren"]
LOOPBACK = "127.0.0.1"

_starter = ThreadPoolExecutor(1, thread_name_prefix="peer-starter")


class PeerError(Exception):
    """A server that the demonstration or a test needs is not running."""


class MissingPeer(PeerError):
    """A server that is not on this machine; the message is one line with the way to get it."""

    def __init__(self, what: str, how_to_get_it: str) -> None:
        super().__init__(f"{what} is not available here: {how_to_get_it}")
        self.what = what
        self.how_to_get_it = how_to_get_it


class PeerFailed(PeerError):
    """A server that is installed but did not start; the message names its log."""

    def __init__(self, name: str, why: str, log: Path) -> None:
        super().__init__(f"{name} did not start: {why}; its log is {log}")
        self.log = log


@dataclass
class Peer:
    """A running server. ``url`` is its base URL (``…/dicom-web``, ``…/fhir``) or its DSN."""

    name: str
    kind: Kind
    url: str
    log: Path
    process: subprocess.Popen[bytes]
    again: Callable[[], subprocess.Popen[bytes]]
    stop_signal: signal.Signals = signal.SIGTERM
    scratch: Path | None = None

    def stop(self, seconds: float = 5.0) -> None:
        """End the server: ask, and after ``seconds`` kill its whole process group. Safe to call twice."""
        self._end(seconds)
        if self.scratch:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def restart(self, seconds: float = 5.0) -> None:
        """End the server as :meth:`stop` does, and start it again where it was, with the files it left."""
        self._end(seconds)
        self.process = self.again()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server: SIGKILL, or SIGSTOP and SIGCONT for one that hangs for a while."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def _end(self, seconds: float) -> None:
        if self.process.poll() is None:
            self.signal(self.stop_signal)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        self.signal(signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(ready: str | Callable[[], bool], seconds: float) -> None:
    """Wait until a URL answers (with any status below 500) or a callable says True.

    Raises:
        TimeoutError: not within ``seconds``.
    """
    end = time.monotonic() + seconds
    while not (_answers(ready) if isinstance(ready, str) else ready()):
        if time.monotonic() > end:
            raise TimeoutError(f"no answer within {seconds:g} s")
        time.sleep(0.05)


def start(
    name: str,
    kind: Kind,
    command: list[str],
    folder: Path,
    url: str,
    ready: str | Callable[[], bool],
    environment: Mapping[str, str] | None = None,
    seconds: float = 30,
    owner: pwd.struct_passwd | None = None,
) -> Peer:
    log = folder / f"{name}.log"

    def again() -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            process = _spawn(command, output, Path("/") if owner else folder, environment, owner)

        def up() -> bool:
            if process.poll() is not None:
                raise PeerFailed(name, f"it ended with {process.returncode}", log)
            return _answers(ready) if isinstance(ready, str) else ready()

        try:
            wait_until(up, seconds)
        except BaseException as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, TimeoutError):
                raise PeerFailed(name, str(error), log) from None
            raise
        return process

    return Peer(name, kind, url, log, again(), again)


def _spawn(
    command: list[str],
    output: IO[bytes],
    folder: Path,
    environment: Mapping[str, str] | None,
    owner: pwd.struct_passwd | None,
) -> subprocess.Popen[bytes]:
    # setpriv (util-linux) asks for the death signal after Popen changed the user: a change of user clears it.
    die_with_parent = [setpriv, "--pdeathsig", "KILL", "--"] if (setpriv := shutil.which("setpriv")) else []

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - the callers above build the words, nothing comes from outside
            die_with_parent + command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            user=owner.pw_uid if owner else None,
            group=owner.pw_gid if owner else None,
            extra_groups=[] if owner else None,
        )

    return _starter.submit(start).result()


def run(
    command: list[str], output: IO[bytes], folder: Path, owner: pwd.struct_passwd | None, seconds: int
) -> int:
    """The exit status of a command that ends by itself, or that of a kill after so many seconds."""
    process = _spawn(command, output, folder, None, owner)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def checked_port(wanted: int | None) -> int:
    """A free port, or the wanted one. Raises PeerError where somebody listens on that."""
    if wanted is None:
        return free_port()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, wanted))
        except OSError:
            raise PeerError(f"port {wanted} of {LOOPBACK} is in use: free it or choose another") from None
    return wanted


def home_of(folder: Path, name: str) -> Path:
    home = folder / name
    home.mkdir(parents=True, exist_ok=True)
    return home.resolve()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code < 500
    except httpx.HTTPError:
        return False
