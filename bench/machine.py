"""What every benchmark prints first, and how it takes time."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable

import cryptography


def heading(title: str, command: str) -> None:
    """Print title, machine and the command that repeats the run."""
    print(f"{title}\n  {platform.machine()}, {os.cpu_count()} cores, CPython {platform.python_version()},"
          f" cryptography {cryptography.__version__}\n  repeat with: {command}")  # fmt: skip


def cpu_us(call: Callable[[], object], *, repeat: int = 7, number: int = 50) -> float:
    """CPU microseconds of one call: the median of ``repeat`` runs of ``number`` calls each."""
    runs = []
    for _ in range(repeat):
        started = time.process_time()
        for _ in range(number):
            call()
        runs.append((time.process_time() - started) / number * 1e6)
    return statistics.median(runs)
