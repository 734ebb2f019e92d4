"""Names by the million: one process beside two workers, and that both write the same.

The rows are those of ``tests/e2e/test_bulk.py``. CPU is that of the command and of all its workers; wall time
depends on who else uses the machine. Memory is the most that one process held.
"""

from __future__ import annotations

import hashlib
import resource
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from bench.machine import heading

ROWS = 1_000_000


def main() -> None:
    """Measure and print."""
    heading("bulk", "make bench")
    if not find_spec("distributed"):
        print("  the extra bulk is not installed: nothing to measure")
        return
    from tests.e2e.test_bulk import parts_of, write_csv

    with tempfile.TemporaryDirectory() as folder:
        file = write_csv(Path(folder, "names.csv"), ROWS)
        print(f"  {ROWS:,} made rows, {file.stat().st_size / 2**20:.0f} MB of CSV")
        one, parts = Path(folder, "answers.csv"), Path(folder, "parts")
        measure("one process", file, one)
        measure("two workers", file, parts, "--workers", "2")
        same = digest([one]) == digest(parts_of(parts))
        print(f"  {'equal' if same else 'NOT EQUAL'}: {one.stat().st_size / 2**20:.0f} MB of answers")
        assert same


def measure(title: str, file: Path, out: Path, *words: str) -> None:
    """Run the command and print its rows a second, CPU and memory."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "gateway.cli", "map", str(file), "--out", str(out), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    took, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"  {title}: {took:.1f} s ({ROWS / took:,.0f} rows/s), {cpu:.1f} s CPU,"
        f" at most {after.ru_maxrss / 2**10:.0f} MB in one process"
    )
    if said := done.stderr.strip():
        print(f"    {said}")


def digest(files: list[Path]) -> str:
    """Of the rows below the headings of CSV files, one after the other."""
    told = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            opened.readline()
            for block in iter(lambda: opened.read(1 << 20), b""):
                told.update(block)
    return told.hexdigest()


if __name__ == "__main__":
    main()
