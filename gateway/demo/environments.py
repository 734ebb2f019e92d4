"""Folders with what pip and npm bring for a foreign server or client, each by a lock with hashes.

A folder is filled once for one lock; other processes wait for the first.
"""

from __future__ import annotations

import fcntl
import filecmp
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from gateway.demo.processes import MissingPeer, run

SECONDS = 240
"""How long an installation may take."""


def python(lock: Path, folder: Path, what: str) -> Path:
    """The Python of an environment in the folder that has what ``lock`` (a requirements file) names.

    Raises:
        MissingPeer: pip could not install ``what``.
    """
    home = folder.resolve() / "environment"
    installed, program = home / "installed.lock", home / "bin/python"
    pip = [str(program), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    with _turn(folder, "environment.log") as log:
        if not _same(lock, installed):
            _run([sys.executable, "-m", "venv", "--clear", str(home)], log, folder, f"{what}: pip")
            _run([*pip, "--require-hashes", "-r", str(lock)], log, folder, f"{what}: pip")
            shutil.copy(lock, installed)
    return program


def packages(source: Path, folder: Path, what: str) -> None:
    """``npm ci`` of the package.json and package-lock.json of ``source`` into the folder.

    Raises:
        MissingPeer: there is no npm, or it could not install ``what``.
    """
    lock, installed = source / "package-lock.json", folder / "node_modules/installed-lock.json"
    with _turn(folder, "npm.log") as log:
        if _same(lock, installed):
            return
        if not (npm := shutil.which("npm")):
            raise MissingPeer("npm", "apt-get install npm")
        for file in ("package.json", "package-lock.json"):
            shutil.copy(source / file, folder)
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
        _run([npm, "ci", *options], log, folder, f"{what}: npm")
        shutil.copy(lock, installed)


@contextmanager
def _turn(folder: Path, name: str) -> Iterator[IO[bytes]]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("ab") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        yield log


def _same(lock: Path, installed: Path) -> bool:
    return installed.exists() and filecmp.cmp(lock, installed, shallow=False)


def _run(command: list[str], log: IO[bytes], folder: Path, what: str) -> None:
    if run(command, log, folder, None, SECONDS) != 0:
        raise MissingPeer(what, f"could not install it (is the index reachable?), see {log.name}")
