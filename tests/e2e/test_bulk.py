"""Names by the million: what two workers write is what one process writes, row by row.

The rows are made from the names of the catalogue, as two dozen sites would write them; the same number of
rows is always the same rows. A million of them are compared once, and 100,000 where more would prove no more.
"""

from __future__ import annotations

import csv
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog import load
from tests.e2e.conftest import LIANREN, lianren

pytest.importorskip("distributed", reason="the extra bulk is not installed: pip install 'lianren[bulk]'")
pytestmark = pytest.mark.slow

ROWS = 100_000
HEADING = ("local_name", "kind", "context")
_SITES = 24
_BEFORE = ("", "", "", "【全国HR】", "(陕HR)", "★", " ", "检查：")
_BEHIND = ("", "", "", "", "(不出片)", "￥120元", "测定", "，床旁", "\n", '"复查"')


def made_rows(count: int) -> Iterator[tuple[str, str, str]]:
    """Names with kind and context, each as a site writes it; some are far commoner than others."""
    draw = random.Random(4)  # noqa: S311 - it makes test data, no secrets
    held = [(name, item.kind) for item in load().items.values() for name in (item.name, *item.aliases)]
    draw.shuffle(held)
    written: list[tuple[str, str, str]] = []
    for name, kind in held:
        for _ in range(_SITES):
            at = draw.randrange(len(name) + 1)
            within = name[:at] + draw.choice(("", "", "", " ", "　", "-")) + name[at:]
            context = draw.choice(("", "", "dept=检验科", "dept=放射科"))
            written.append((draw.choice(_BEFORE) + within + draw.choice(_BEHIND), kind, context))
    for _ in range(count):
        yield written[min(int(draw.paretovariate(0.4)) - 1, 10**9) % len(written)]


def write_csv(path: Path, count: int) -> Path:
    """The made rows as CSV, quoted where a name has a line feed or a quotation mark."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADING)
        writer.writerows(made_rows(count))
    return path


def write_parquet(path: Path, count: int) -> Path:
    """The made rows as Parquet, in row groups that no part of the work fits."""
    import pyarrow
    from pyarrow import parquet

    columns = dict(zip(HEADING, map(list, zip(*made_rows(count), strict=True)), strict=True))
    parquet.write_table(pyarrow.table(columns), path, row_group_size=70_001)
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV file, and beside it what one process answers to it."""
    file = write_csv(tmp_path_factory.mktemp("bulk") / "names.csv", ROWS)
    done = lianren("map", str(file), "--out", str(file.with_name("answers.csv")))
    assert done.returncode == 0, done.stderr
    return file


def parts_of(folder: Path) -> list[Path]:
    """The parts of a folder, in their order."""
    return sorted(folder.iterdir())


def together(folder: Path) -> bytes:
    """The parts of a folder of CSV in one, with one heading."""
    heading = b""
    rows = []
    for part in parts_of(folder):
        heading, _, below = part.read_bytes().partition(b"\r\n")
        rows.append(below)
    return heading + b"\r\n" + b"".join(rows)


def test_two_workers_write_what_one_process_writes_to_a_million_rows(tmp_path: Path) -> None:
    file, one, folder = write_csv(tmp_path / "names.csv", 1_000_000), tmp_path / "one.csv", tmp_path / "parts"
    for words in (("--out", str(one)), ("--out", str(folder), "--workers", "2")):
        done = lianren("map", str(file), *words)
        assert done.returncode == 0, done.stderr
    assert len(parts_of(folder)) > 2
    assert together(folder) == one.read_bytes()


def test_two_workers_write_the_same_for_parquet(tmp_path: Path) -> None:
    from pyarrow import concat_tables, parquet

    file, folder = write_parquet(tmp_path / "names.parquet", ROWS), tmp_path / "parts"
    one = lianren("map", str(file), "--out", str(tmp_path / "answers.parquet"))
    two = lianren("map", str(file), "--out", str(folder), "--workers", "2")
    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    parts = concat_tables(parquet.read_table(part) for part in parts_of(folder))
    assert parts.equals(parquet.read_table(tmp_path / "answers.parquet"))


def test_a_worker_that_dies_changes_nothing(table: Path) -> None:
    folder = table.with_name("parts-of-one")
    scheduler, address = started("dask_scheduler", "--port", "0", "--host", "127.0.0.1", "--no-dashboard")
    workers = [
        started("dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard")[0]
        for _ in range(2)
    ]
    words = ["map", str(table), "--out", str(folder), "--scheduler", address]
    run = subprocess.Popen([*LIANREN, *words], stderr=subprocess.PIPE)
    try:
        until = time.monotonic() + 60
        while not list(table.parent.glob(".parts-of-one.*/named-*")) and time.monotonic() < until:
            time.sleep(0.02)
        workers[0].kill()
        said = run.communicate(timeout=120)[1]
        assert run.returncode == 0, said.decode()
    finally:
        run.kill()
        run.communicate()
        for process in (*workers, scheduler):
            process.kill()
            process.communicate()
    assert together(folder) == table.with_name("answers.csv").read_bytes()


def test_a_row_that_cannot_be_read_is_named_by_its_line_in_the_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "names.jsonl"
    rows = ['{"local_name": "胸部CT平扫"}'] * 30_000
    rows[25_000] = '{"local_name": 7}'
    file.write_text("\n".join(rows), encoding="utf-8")
    done = lianren("map", str(file), "--out", str(tmp_path / "parts"), "--workers", "2")
    assert (done.returncode, done.stderr) == (
        2,
        f"lianren: {file}, line 25001: has local_name that is no text; write it in quotation marks\n",
    )
    assert list(tmp_path.iterdir()) == [file]


def test_a_cluster_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "names.csv"
    file.write_text("local_name\n白蛋白\n", encoding="utf-8")
    done = lianren("map", str(file), "--out", str(tmp_path / "parts"), "--scheduler", "tcp://127.0.0.1:9")
    assert done.returncode == 2
    assert done.stderr.startswith("lianren: the cluster tcp://127.0.0.1:9 does not answer")


def started(command: str, *words: str) -> tuple[subprocess.Popen[str], str]:
    """A scheduler or worker of Dask, when it says that it listens, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.{command}", *words], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr
    for line in process.stderr:
        if "Scheduler at:" in line or "Registered to:" in line:
            return process, line.split()[-1]
    raise AssertionError(f"{command} did not start")
