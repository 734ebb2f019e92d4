"""Deciding stored cases again for a draft: bar at least 5,000 cases a second on a core, in bounded memory."""

from __future__ import annotations

import asyncio
import resource
import tempfile
import time
from datetime import timedelta
from itertools import cycle, islice
from pathlib import Path

from msgspec.structs import replace

from adapters import SqliteStore
from adapters.store import Document
from bench.machine import heading
from catalog import Catalogue
from gateway.cases import KIND, case_document
from gateway.ids import new_id
from gateway.impact import Impact, impact
from recognition import decide
from tests.recognition.cases import NOW, catalogue, check, ct, lab

CASES = 100_000
BATCH = 5_000
BAR = 5_000
PERIOD = timedelta(days=90)


def bodies() -> list[bytes]:
    """Cases of one to three results, of many items, ages and encounters, as they are stored."""
    items = [item.code for item in catalogue().items.values() if item.kind == "lab" and item.lists]
    found = []
    for number, code in enumerate(items):
        results = [
            lab(code, days_ago=days, id=f"{days}/{code}", version_key=f"{days}/{code}")
            for days in (2 + number % 30, 20 + number % 60, 100)[: 1 + number % 3]
        ]
        asked = check(code, emergency=number % 20 == 0)
        if number % 4 == 0:
            asked, results = check("CT-001"), [ct(days_ago=2 + number % 60)]
        decision = decide(asked, results, catalogue())
        found.append(case_document(new_id(NOW), asked, tuple(results), decision, NOW).body)
    return found


def draft() -> Catalogue:
    """The bundled catalogue with windows of half the days, as another version."""
    editions = tuple(replace(edition, version="draft") for edition in catalogue().editions)
    windows = tuple(replace(window, days=max(window.days // 2, 1)) for window in catalogue().windows)
    return replace(catalogue(), editions=editions, windows=windows)


async def fill(store: SqliteStore) -> None:
    """Store the cases, spread over the period."""
    step = PERIOD / CASES
    stored = enumerate(islice(cycle(bodies()), CASES))
    times = ((NOW - PERIOD + (number + 1) * step, body) for number, body in stored)
    documents = (Document(kind=KIND, id=new_id(at), body=body, at=at) for at, body in times)
    while batch := list(islice(documents, BATCH)):
        await store.commit((), batch)


async def measure(folder: Path) -> tuple[Impact, float, int, int]:
    """The impact, its CPU seconds, and the peak memory in MiB before and after it."""
    store = SqliteStore(folder / "store")
    await store.open()
    await fill(store)
    before = peak()
    started = time.process_time()
    found = await impact(store, draft(), NOW - PERIOD, NOW + timedelta(seconds=1))
    took = time.process_time() - started
    await store.close()
    return found, took, before, peak()


def peak() -> int:
    """The most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    """Measure and print."""
    heading("impact of a draft on stored cases", "python -m bench.bench_impact")
    with tempfile.TemporaryDirectory() as folder:
        found, took, before, after = asyncio.run(measure(Path(folder)))
    rate = found.checks / took
    print(f"  {found.checks} cases: {rate:,.0f} cases/s CPU, bar {BAR:,}; {rate / BAR:.1f} × the bar")
    print(f"  {found.changed} would change, orders in {found.orders_changed}")
    print(f"  peak memory {before} MiB before, {after} MiB after {CASES:,} cases")


if __name__ == "__main__":
    main()
