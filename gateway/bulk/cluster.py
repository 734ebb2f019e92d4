"""The answers to a file of any size, on the workers of a Dask cluster; equal to those of one machine.

Three waves of tasks that need nothing of each other, so that no data moves between workers:

1. each *part* of the file (a stretch of rows) writes its distinct keys, cut into buckets by a hash;
2. each bucket takes its keys of all parts and reads each distinct one once, in the whole file; it writes
   the answers part by part, in the order of the keys;
3. each part takes its answers out of the buckets and writes them row by row.

What a worker holds is bounded by the rows of a part or by the distinct keys of a bucket, never by the file.
Tasks hand over files in a folder that all workers see; a file is written under another name and then
renamed, and its content follows from the input alone, so that a task may run again (its worker died) or
twice, whatever the others do. The folder of the parts gets its name when all of them are written.

Dask was chosen over Ray Data and Spark: BSD, pure Python, 10 MB beside pyarrow against 200 MB and a JVM, and
its scheduler is all that is needed of an engine here. Source: distributed.dask.org (worker resilience, TLS).
"""

from __future__ import annotations

import logging
import shutil
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path
from time import sleep
from typing import Any
from uuid import uuid4
from zlib import crc32

import msgspec
from msgspec import Struct

from catalog import CatalogueError
from gateway.bulk.answers import FORMS, Reader
from gateway.bulk.errors import BulkRefused, extra
from gateway.bulk.rows import Key, Part, Rows, first_form, open_rows
from mapping import Named

GRAIN = 10_000
"""Rows of the smallest part."""
MOST_GRAINS = 25
"""Grains of the largest part: what a worker holds of a file at most, in distinct keys."""
MOST_BUCKETS = 512
_GLANCE = 0.05
"""Seconds between two looks at tasks that run."""
_PATIENCE = 60
"""Seconds within which workers are there and have loaded their tables."""

Progress = Callable[[str, int, int], None]


class Cluster(Struct, frozen=True, kw_only=True):
    """Where to run: this many processes on this machine, or the scheduler of a cluster that runs already."""

    workers: int = 0
    scheduler: str = ""


class Report(Struct, frozen=True, kw_only=True):
    """What was done: rows answered, parts written, distinct keys read."""

    rows: int
    parts: int
    distinct: int


class _Run(Struct, frozen=True, kw_only=True):
    """What every task knows: the folder, how many parts and buckets, the catalogue."""

    folder: str
    parts: int
    buckets: int
    catalogue: Path | None

    def keys(self, part: int) -> Path:
        return Path(self.folder, f"keys-{part:06}")

    def named(self, bucket: int) -> Path:
        return Path(self.folder, f"named-{bucket:06}")


def map_parts(
    file: Path,
    out: Path,
    cluster: Cluster,
    *,
    catalogue: Path | None = None,
    encoding: str = "utf-8",
    force: bool = False,
    unused: Callable[[tuple[str, ...]], None] = lambda columns: None,
    progress: Progress = lambda wave, done, of: None,
) -> Report:
    """Write the answers to a CSV, JSON-lines or Parquet file into a folder of parts of the same form.

    Parts are named in the order of the file, and their rows are in its order. File, folder and catalogue
    have to be seen by all workers under the same paths. ``unused`` hears of columns that no field takes.

    Raises:
        BulkRefused: the library is missing, the cluster does not answer or loses its workers at one task
            four times, its tables are others, the folder exists, or a row cannot be read.
    """
    extra("distributed")
    file, out, catalogue = file.resolve(), out.resolve(), catalogue.resolve() if catalogue else None
    _judge_folder(out, force)
    rows = open_rows(file, encoding=encoding)
    if rows.part.form == "xlsx":
        raise BulkRefused(f"{file} is a workbook, which is never that large; leave the workers out")
    next(iter(rows), None)
    if rows.unused:
        unused(rows.unused)
    tables = Reader(catalogue).tables
    work = out.with_name(f".{out.name}.{uuid4().hex[:8]}")
    try:
        (work / "parts").mkdir(parents=True)
        with _client(cluster) as client:
            workers = _judge_workers(client, tables, catalogue)
            parts = _parts(rows.part, workers)
            run = _Run(
                folder=str(work),
                parts=len(parts),
                buckets=min(len(parts), MOST_BUCKETS),
                catalogue=catalogue,
            )
            wave = _Waves(client, progress)
            counts = wave("distinct", _distinct, [(run, *numbered) for numbered in enumerate(parts)])
            read = wave("names", _answer, [(run, bucket) for bucket in range(run.buckets)])
            wave("answers", _write, [(run, *numbered) for numbered in enumerate(parts)])
        if out.exists():
            shutil.rmtree(out)
        (work / "parts").rename(out)
    except OSError as wrong:
        raise BulkRefused(f"{out} cannot be written: {wrong.strerror or wrong}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Report(rows=sum(counts), parts=len(parts), distinct=sum(read))


def _judge_folder(out: Path, force: bool) -> None:
    if not out.exists():
        return
    held = out.is_dir() and all(entry.match("part-*.*") for entry in out.iterdir())
    if not (force and held):
        raise BulkRefused(f"{out} exists; --force replaces a folder that holds parts and nothing else")


def _parts(whole: Part, workers: int) -> list[Part]:
    """The stretches of a file: at least four for each worker, unless they would be smaller than a grain."""
    if whole.form == "parquet":
        rows = extra("pyarrow.parquet").read_metadata(whole.path).num_rows
        cuts = [(row, row) for row in range(0, rows, GRAIN)] + [(rows, rows)]
        heading: tuple[str, ...] = ()
    else:
        whole = msgspec.structs.replace(whole, form=first_form(Rows(whole)))
        cuts, heading = _cuts(whole)
    together = min(MOST_GRAINS, max(1, len(cuts) // (4 * workers)))
    edges = [*cuts[:-1:together], cuts[-1]]
    return [
        msgspec.structs.replace(whole, start=start, stop=stop, line=line, heading=heading)
        for (start, line), (stop, _) in pairwise(edges)
    ]


def _cuts(whole: Part) -> tuple[list[tuple[int, int]], tuple[str, ...]]:
    """``(byte, line)`` before every grain of a text file and at its end; the heading of CSV.

    The file is gone through once as it is read, because a line feed inside quotation marks ends no row.
    """
    rows = Rows(whole)
    texts = rows.texts()
    heading: list[str] = []
    records: Iterator[object] = texts
    if whole.form == "csv":
        records = rows.records(texts)
        heading = next((record for record in rows.records(texts) if "".join(record).strip()), [])
    cuts = [(rows.done, rows.line)]
    for number, _ in enumerate(records, start=1):
        if number % GRAIN == 0:
            cuts.append((rows.done, rows.line))
    if cuts[-1][0] != rows.done or len(cuts) == 1:
        cuts.append((rows.done, rows.line))
    return cuts, tuple(heading)


# The tasks. They run on the workers.


def _tables(catalogue: Path | None) -> str:
    return _reader(catalogue).tables


def _distinct(run: _Run, number: int, part: Part) -> int:
    """Write the distinct keys of a part, in buckets; gives the rows of the part."""
    rows = 0
    distinct: dict[Key, None] = {}
    for key in Rows(part):
        rows += 1
        distinct[key] = None
    buckets: list[list[Key]] = [[] for _ in range(run.buckets)]
    for key in distinct:
        buckets[crc32("\0".join(key).encode()) % run.buckets].append(key)
    _write_blocks(run.keys(number), map(msgspec.msgpack.encode, buckets), run.buckets)
    return rows


def _answer(run: _Run, bucket: int) -> int:
    """Read each distinct key of a bucket once, and write the answers part by part; gives their number."""
    reader = _reader(run.catalogue)
    known: dict[Key, msgspec.Raw] = {}

    def blocks() -> Iterator[bytes]:
        for part in range(run.parts):
            keys = _read_block(run.keys(part), bucket, list[Key])
            for key in keys:
                if key not in known:
                    known[key] = msgspec.Raw(msgspec.msgpack.encode(reader.read(key)))
            yield msgspec.msgpack.encode([known[key] for key in keys])

    _write_blocks(run.named(bucket), blocks(), run.parts)
    return len(known)


def _write(run: _Run, number: int, part: Part) -> None:
    """Write the answers of a part, row by row."""
    form = FORMS[part.form]
    answers: dict[Key, Any] = {}
    for bucket in range(run.buckets):
        keys = _read_block(run.keys(number), bucket, list[Key])
        named = _read_block(run.named(bucket), number, list[Named])
        answers.update(zip(keys, map(form.render, named), strict=True))
    with _renamed(Path(run.folder, "parts", f"part-{number:06}.{part.form}")) as path:
        form.write(path, map(answers.__getitem__, Rows(part)))


@cache
def _reader(catalogue: Path | None) -> Reader:
    return Reader(catalogue)


# Files of blocks: where each one begins and the last one ends (64 bit, little-endian), then the blocks.


def _write_blocks(path: Path, blocks: Iterator[bytes], count: int) -> None:
    head = struct.Struct(f"<{count + 1}Q")
    with _renamed(path) as other, other.open("wb") as file:
        places = [file.seek(head.size)]
        for block in blocks:
            places.append(places[-1] + file.write(block))
        file.seek(0)
        file.write(head.pack(*places))


def _read_block(path: Path, number: int, kind: Any) -> Any:
    with path.open("rb") as file:
        file.seek(8 * number)
        start, stop = struct.unpack("<2Q", file.read(16))
        file.seek(start)
        return msgspec.msgpack.decode(file.read(stop - start), type=kind)


@contextmanager
def _renamed(path: Path) -> Iterator[Path]:
    """A new file that takes this path when it is complete; another one for every try of a task."""
    other = path.with_name(f".{path.name}.{uuid4().hex}")
    yield other
    other.replace(path)


# The cluster.


class _Waves:
    """Runs one task for each set of arguments, to the end or to the first failure."""

    def __init__(self, client: Any, progress: Progress) -> None:
        self._client, self._progress = client, progress

    def __call__(self, wave: str, task: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        distributed = extra("distributed")
        self._progress(wave, 0, len(calls))
        futures = [self._client.submit(task, *call, pure=False) for call in calls]
        waiting, done = set(futures), 0
        try:
            # Looked at, not waited for: what waits on a client that lost its scheduler waits for ever.
            while waiting and self._client.status == "running":
                ready = {future for future in waiting if future.done()}
                for future in ready:
                    future.result()
                waiting -= ready
                if ready:
                    done += len(ready)
                    self._progress(wave, done, len(calls))
                else:
                    sleep(_GLANCE)
            if waiting:
                raise BulkRefused(f"the scheduler was lost ({wave})")
            return [future.result() for future in futures]
        except distributed.KilledWorker as killed:
            raise BulkRefused(
                f"workers died again and again at one part of the work ({wave}: {killed.task}); "
                "give them more memory"
            ) from None
        except CancelledError:
            raise BulkRefused(f"the scheduler was lost ({wave})") from None
        finally:
            if self._client.status == "running":
                self._client.cancel(futures)


def _judge_workers(client: Any, tables: str, catalogue: Path | None) -> int:
    """The number of workers; every one of them has to have the tables that this process has."""
    distributed = extra("distributed")
    asked = {
        worker: client.submit(_tables, catalogue, workers=[worker], pure=False)
        for worker in client.nthreads()
    }
    for worker, future in asked.items():
        try:
            held = future.result(timeout=_PATIENCE)
        except (ImportError, CancelledError, TimeoutError, CatalogueError, distributed.KilledWorker) as wrong:
            raise BulkRefused(
                f"the worker {worker} cannot map names ({type(wrong).__name__}); it needs this version of "
                "lianren, and the catalogue under the same path"
            ) from None
        if held != tables:
            raise BulkRefused(f"the worker {worker} has the tables {held}; here they are {tables}")
    return len(asked)


@contextmanager
def _client(cluster: Cluster) -> Iterator[Any]:
    distributed = extra("distributed")
    if cluster.scheduler:
        try:
            client = distributed.Client(cluster.scheduler, timeout=5)
            client.wait_for_workers(1, timeout=_PATIENCE)
        except (OSError, TypeError, ValueError) as wrong:
            raise BulkRefused(f"the cluster {cluster.scheduler} does not answer: {wrong}") from None
        with client:
            yield client
        return
    # Whoever reaches a scheduler runs code: over TLS with keys of this run only its own workers do.
    with (
        distributed.LocalCluster(
            n_workers=cluster.workers,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            security=True,
            silence_logs=logging.CRITICAL,
        ) as local,
        distributed.Client(local) as client,
    ):
        yield client
