"""The results index: one patient's reports in a window among a million stored, on either database.

The index is filled past the store, by the database's own way (executemany, COPY), in the order of time as it
grows in life, and then read and written through the store. Beside each stands the bare round trip of the same
driver (``SELECT 1``). Bodies are as long as a sealed laboratory Observation; they hold nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

from adapters.postgres import PostgresStore
from adapters.schema import held_row, micros
from adapters.sqlite import SqliteStore
from adapters.store import Held, Pointer, Store
from bench.machine import heading
from gateway.demo.peers import postgres
from gateway.demo.processes import MissingPeer

COUNT, REPORTS, DAYS = 1_000_000, 5, 365
NODES = [f"node-{number}" for number in range(10)]
BODY, _DIGEST = 700, bytes(16)
WINDOW = timedelta(days=180)
ASKED, FLIGHT = 2_000, 16
NOW = datetime.now(UTC)


def main(count: int) -> None:
    """Measure and print."""
    heading("store", "python -m bench.bench_store")
    print(f"  load average {os.getloadavg()[0]:.1f}; {count:,} resources of {count // REPORTS:,} persons over"
          f" {DAYS} days, {BODY} bytes each")  # fmt: skip
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as name:
        folder = Path(name)
        uvloop.run(sqlite(folder / "store.db", count))
        try:
            with postgres(folder / "pg") as server:
                uvloop.run(postgresql(server.url, count))
        except MissingPeer as missing:
            print(f"  {missing}")


def person(number: int) -> str:
    """A pseudonym, as random as a real one."""
    return random.Random(number).randbytes(16).hex()  # noqa: S311 - made-up data


def resource(one: str, at: datetime, node: str, id_: str, body: bytes) -> Held:
    """A resource as sealing leaves it, with an identifier and a subject."""
    token, whom = (hashlib.sha256(name.encode()).hexdigest()[:24] for name in (f"{one}{id_}", one))
    return Held(
        person=one,
        at=at,
        node=node,
        id=id_,
        body=body,
        saved=at,
        subject=whom,
        tokens=(token,),
        digest=_DIGEST,
    )


def resources(count: int) -> Iterator[Held]:
    """Held resources in the order of time; each person has as many."""
    persons = [person(number) for number in range(count // REPORTS)] * REPORTS
    random.Random(1).shuffle(persons)  # noqa: S311
    step = timedelta(days=DAYS) / count
    for number, one in enumerate(persons):
        at = NOW - timedelta(days=DAYS) + number * step
        body = number.to_bytes(8, "big") * (BODY // 8)
        yield resource(one, at, NODES[number % len(NODES)], f"Observation/{number}", body)


def rows(count: int) -> Iterator[tuple[object, ...]]:
    """Their rows of ``held``."""
    return map(held_row, resources(count))


def tokens(count: int) -> Iterator[tuple[object, ...]]:
    """Their rows of ``token``."""
    for one in resources(count):
        for token in one.tokens:
            yield one.node, token, one.id, micros(one.at)


async def sqlite(file: Path, count: int) -> None:
    store = SqliteStore(file)
    await store.open()
    began = time.perf_counter()
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.executemany("INSERT INTO held VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows(count))
        connection.executemany("INSERT INTO token VALUES (?, ?, ?, ?)", tokens(count))
    filled = time.perf_counter() - began
    size = os.path.getsize(file)  # noqa: ASYNC240 - nothing else runs

    async def bare() -> None:
        connection.execute("SELECT 1").fetchone()

    await measure("SQLite", store, bare, count, filled, size)
    connection.close()


async def postgresql(url: str, count: int) -> None:
    store = PostgresStore(url)
    await store.open()
    months = [NOW - timedelta(days=days) for days in range(0, DAYS + 31, 28)]
    await store.hold([resource(person(0), at, NODES[0], at.isoformat(), b"") for at in months])
    connection: Any = await asyncpg.connect(url)
    began = time.perf_counter()
    await connection.copy_records_to_table("held", records=rows(count), timeout=600)
    await connection.copy_records_to_table("token", records=tokens(count), timeout=600)
    filled = time.perf_counter() - began
    await connection.execute("ANALYZE held; ANALYZE token", timeout=600)
    sizes = "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree($1) WHERE isleaf"
    held, told = [int(await connection.fetchval(sizes, table)) for table in ("held", "token")]
    print(f"  PostgreSQL: held {held / count:,.0f}, token {told / count:,.0f} bytes for each resource")
    size = held + told

    async def bare() -> None:
        await connection.fetchval("SELECT 1")

    await measure("PostgreSQL", store, bare, count, filled, size)
    names = "SELECT relid::regclass::text FROM pg_partition_tree('held') WHERE isleaf ORDER BY 1"
    leaves = len(await connection.fetch(names))
    began = time.perf_counter()
    gone = await store.unhold(before=NOW - timedelta(days=DAYS / 2))
    print(
        f"  PostgreSQL: {gone:,} expired resources dropped with their months (of {leaves} partitions),"
        f" the rest deleted, in {time.perf_counter() - began:.2f} s"
    )
    await connection.close()
    await store.close()


async def measure(
    title: str, store: Store, bare: Callable[[], Awaitable[None]], count: int, filled: float, size: int
) -> None:
    """What the store does with a full index, one line each."""
    print(f"  {title}: filled in {filled:.0f} s; {size / count:,.0f} bytes on disk for each resource")
    chosen = [person(number) for number in random.Random(2).sample(range(count // REPORTS), ASKED)]  # noqa: S311

    async def search(number: int) -> None:
        found = await store.held([chosen[number]], NOW - WINDOW, NODES)
        assert all(one.at >= NOW - WINDOW for one in found)

    async def hold(number: int) -> None:
        one = person(number)
        report = [resource(one, NOW, NODES[0], f"Report/{number}.{n}", bytes(BODY)) for n in range(3)]
        lab = Pointer(person=one, node=NODES[0], group="lab", first=NOW, last=NOW, noted=NOW, published=True)
        await store.hold(report, [lab])

    async def place(number: int) -> None:
        assert await store.place(NODES[number % len(NODES)], (f"Observation/{number}",))

    async def found(number: int) -> None:
        node, id_ = NODES[number % len(NODES)], f"Observation/{number}"
        (one,) = await store.place(node, (id_,))
        assert await store.listed(
            node, "Observation", resource(one.person, NOW, node, id_, b"").tokens[:1], 10
        )

    async def point(number: int) -> None:
        await store.pointers([person(number)])

    async def nothing(number: int) -> None:
        await bare()

    for what, call, flight in (
        ("one patient's reports of 180 days", search, 1),
        (f"the same, {FLIGHT} in flight", search, FLIGHT),
        ("a report of three resources held, with its pointer", hold, 1),
        (f"the same, {FLIGHT} in flight", hold, FLIGHT),
        ("one patient's pointers", point, 1),
        ("one resource by its place", place, 1),
        ("the same, and by a token of it", found, 1),
        ("a bare SELECT 1", nothing, 1),
    ):
        print(f"  {title}: {what}: {await timed(call, flight)}")
    if title == "SQLite":
        await store.close()


async def timed(call: Callable[[int], Awaitable[None]], flight: int) -> str:
    """Median, 99th and worst of many calls, CPU of this process for each, and their rate."""
    waits: list[float] = []
    numbers = iter(range(ASKED))

    async def one() -> None:
        for number in numbers:
            sent = time.perf_counter()
            await call(number)
            waits.append(time.perf_counter() - sent)

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one() for _ in range(flight)))
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    waits.sort()
    p50, p99, worst = (waits[int(part * (len(waits) - 1))] * 1e3 for part in (0.5, 0.99, 1))
    return (
        f"{cpu / len(waits) * 1e6:.0f} us CPU, p50 {p50:.2f} ms, p99 {p99:.2f} ms, worst {worst:.1f} ms,"
        f" {len(waits) / took:,.0f}/s"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else COUNT)
