"""The ledger beside the disk it writes to: durable entries a second, each signed for, and their replay.

One run measures the floor (one fdatasync at a time, one plain insert at a time, ``openssl speed``) and the
ledger on the same disk in the same minutes, and gives the ledger as multiples of the floor. Entries are
sealed before the clock starts; an append is answered when its entry is committed, its checkpoint signed with
Ed25519 and SM2, and the note stored. PostgreSQL runs beside on the same machine, with fsync on.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import uvloop
from msgspec import Struct

from adapters.postgres import PostgresStore
from adapters.sealing import SealedStore
from adapters.sequencer import Sequencer
from adapters.sqlite import SqliteStore
from adapters.store import Store
from bench.machine import cpu_us, heading
from gateway.demo.peers import postgres
from gateway.demo.processes import MissingPeer
from security.digests import HashName
from security.envelope import Envelope
from security.export import Writer
from security.keys import KeyPair
from security.ledger import Sealed, seal
from security.note import Checkpoint, sign
from security.replay import Replay
from security.tree import Frontier, Tree, inclusion_proof, leaf_hash, verify_inclusion

NOW = datetime.now(UTC)
ORIGIN = "bench.lianren.example/exchange"
PAYLOAD = b"x" * 300
SECONDS = 3.0
FLIGHTS = (1, 50, 500)
REPLAYED = 300_000


class Run(Struct):
    """What one load of appends came to."""

    entries: int
    seconds: float
    cpu: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        return self.entries / self.seconds


def main() -> None:
    """Measure and print."""
    heading("ledger", "python -m bench.bench_ledger")
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as name:
        folder = Path(name)
        print(f"  load average {os.getloadavg()[0]:.1f}; an entry of {len(sealed(1)[0].body)} bytes,"
              f" a payload of {len(PAYLOAD)}")  # fmt: skip
        crypto()
        loads("SQLite", lambda file: SqliteStore(folder / file), lambda: sqlite_insert(folder), folder)
        try:
            with postgres(folder / "pg") as server:
                loads(
                    "PostgreSQL",
                    lambda name: PostgresStore(database(server.url, name)),
                    lambda: postgres_insert(server.url),
                    folder,
                )
                replicas(database(server.url, "replicas"))
        except MissingPeer as missing:
            print(f"  {missing}")
        proofs(folder)
        replay(folder)


def crypto() -> None:
    """Signing and sealing beside ``openssl speed``."""
    theirs = {name: openssl_signs(name) for name in ("ed25519", "sm2")}
    for algorithm in ("Ed25519", "SM2"):
        signer = KeyPair.generate(algorithm, "bench", "log", NOW)
        us = cpu_us(lambda signer=signer: signer.sign(PAYLOAD), number=200)  # type: ignore[misc]
        floor = ratio(1e6 / us, theirs[algorithm.lower()], "openssl speed")
        print(f"  {algorithm}: {us:.0f} us CPU a signature{floor}")
    keys = signers()
    text = Checkpoint(ORIGIN, 1, bytes(32)).to_text()
    print(f"  checkpoint: {cpu_us(lambda: sign(text, ORIGIN, keys)):.0f} us CPU, signed with both")
    print(f"  sealing an entry: {cpu_us(lambda: sealed(1)):.0f} us CPU, not in what follows")


def openssl_signs(algorithm: str) -> float:
    """Signatures a second of ``openssl speed``; 0 where it has none."""
    if not shutil.which("openssl"):
        return 0.0
    done = subprocess.run(["openssl", "speed", "-seconds", "1", algorithm], capture_output=True, text=True)  # noqa: S607
    figures = re.findall(r"([0-9.]+) +[0-9.]+$", done.stdout.strip())
    return float(figures[0]) if figures else 0.0


def loads(title: str, new: Callable[[str], Store], plain: Callable[[], float], folder: Path) -> None:
    """Appends at several numbers in flight, each beside the floor before and after it."""
    for flight in FLIGHTS:
        before, insert = fdatasyncs(folder), plain()
        run = uvloop.run(appends(new(f"{title}-{flight}"), flight))
        floor = (before + fdatasyncs(folder)) / 2
        show(f"{title}, {flight} in flight", run, floor, insert)
    keys = {"payload-202611a": bytes(32)}
    run = uvloop.run(
        appends(SealedStore(new(f"{title}-sealed"), Envelope(keys, "payload-202611a")), FLIGHTS[-1])
    )
    show(f"{title}, {FLIGHTS[-1]} in flight, payloads sealed", run, fdatasyncs(folder), plain())


def show(title: str, run: Run, floor: float, insert: float) -> None:
    """One line: rate, its multiples of the floor, latency and CPU."""
    print(
        f"  {title}: {run.rate:,.0f} entries/s"
        f"{ratio(run.rate, floor, 'fdatasync')}{ratio(run.rate, insert, 'a plain insert')};"
        f" p50 {run.p50 * 1e3:.1f} ms, p99 {run.p99 * 1e3:.1f} ms; {run.cpu / run.entries * 1e6:.0f} us CPU"
    )


def ratio(rate: float, floor: float, of: str) -> str:
    return f", {rate / floor:.2f} x {of} ({floor:,.0f}/s)" if floor else ""


def fdatasyncs(folder: Path, seconds: float = 1.0) -> float:
    """How often a second 4 KiB reach this disk, one after the other."""
    count, file = 0, os.open(folder / "floor", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    started = time.perf_counter()
    while (took := time.perf_counter() - started) < seconds:
        os.write(file, bytes(4096))
        os.fdatasync(file)
        count += 1
    os.close(file)
    return count / took


def sqlite_insert(folder: Path, seconds: float = 1.0) -> float:
    """Durable single-row transactions a second."""
    connection = sqlite3.connect(folder / "plain.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS plain (id INTEGER PRIMARY KEY, body BLOB)")
    count, started = 0, time.perf_counter()
    while (took := time.perf_counter() - started) < seconds:
        connection.execute("INSERT INTO plain (body) VALUES (?)", (PAYLOAD,))
        count += 1
    connection.close()
    return count / took


def postgres_insert(url: str, seconds: float = 1.0) -> float:
    """Durable single-row transactions a second over one connection."""

    async def run() -> float:
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE IF NOT EXISTS plain (id BIGSERIAL PRIMARY KEY, body BYTEA)")
        count, started = 0, time.perf_counter()
        while (took := time.perf_counter() - started) < seconds:
            await connection.execute("INSERT INTO plain (body) VALUES ($1)", PAYLOAD)
            count += 1
        await connection.close()
        return count / took

    return uvloop.run(run())


def database(url: str, name: str) -> str:
    """The address of a new database on the server that ``url`` names."""

    async def make() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(f'CREATE DATABASE "{name}"')
        await connection.close()

    uvloop.run(make())
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def signers() -> list[KeyPair]:
    return [KeyPair.generate(algorithm, "bench", "log", NOW) for algorithm in ("Ed25519", "SM2")]


def sealed(count: int, hash_name: HashName = "sha256") -> list[Sealed]:
    return [
        seal("question", PAYLOAD, time=NOW, from_="bench-his", to="bench", hash_name=hash_name)
        for _ in range(count)
    ]


async def appends(store: Store, flight: int, seconds: float = SECONDS) -> Run:
    """Keep ``flight`` appends of one entry under way for a while."""
    await store.open()
    sequencer = Sequencer(store, signers(), ORIGIN)
    await sequencer.start()
    waiting = sealed(2_500 if flight == 1 else 60_000 * int(seconds))
    gc.collect()
    gc.freeze()  # what is still to be sent would be walked through again and again
    waits: list[float] = []
    began, cpu = time.perf_counter(), time.process_time()

    async def one() -> None:
        while waiting and (sent := time.perf_counter()) - began < seconds:
            await sequencer.append([waiting.pop()])
            waits.append(time.perf_counter() - sent)

    await asyncio.gather(*(one() for _ in range(flight)))
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    await sequencer.close()
    await store.close()
    gc.unfreeze()
    waits.sort()
    return Run(len(waits), took, cpu, waits[len(waits) // 2], waits[len(waits) * 99 // 100])


def replicas(url: str) -> None:
    """Two processes over one ledger, beside one of them alone."""
    word = [sys.executable, "-m", "bench.bench_ledger", url]
    rates = []
    for count in (1, 2):
        running = [subprocess.Popen(word, stdout=subprocess.PIPE, text=True) for _ in range(count)]
        told = [json.loads(one.communicate()[0]) for one in running]
        rates.append(sum(one["rate"] for one in told))
        slowest = max(one["p99"] for one in told)
        print(
            f"  PostgreSQL, {count} x 500 in flight, in {count} processes: {rates[-1]:,.0f} entries/s,"
            f" p99 {slowest * 1e3:.1f} ms"
        )
    print(f"  two replicas are {rates[1] / rates[0]:.2f} x as fast as one")


def replica(url: str) -> None:
    """One of these processes."""
    run = uvloop.run(appends(PostgresStore(url), 500))
    print(json.dumps({"rate": run.rate, "p99": run.p99}))


def proofs(folder: Path) -> None:
    """An inclusion proof from a store of 200,000 entries, and from memory."""
    entries, size = sealed(1000), 200_000
    tree = Tree([entries[n % 1000].leaf[:24] + n.to_bytes(8, "big") for n in range(size)], "sha256")
    root, made = tree.root(), inclusion_proof(12_345, size, tree.hash_at, "sha256")

    async def read() -> float:
        store = SqliteStore(folder / "proofs.db")
        await store.open()
        for _ in range(size // 10_000):
            await store.commit(sealed(10_000), [])
        sequencer = Sequencer(store, (), ORIGIN)
        started = time.process_time()
        for index in range(0, size, 1000):
            await sequencer.inclusion(index, size)
        took = (time.process_time() - started) / (size // 1000)
        await store.close()
        return took * 1e6

    leaf = tree.hash_at(0, 12_345)
    print(
        f"  inclusion proof of {len(made)} hashes over {size:,} entries:"
        f" {cpu_us(lambda: inclusion_proof(12_345, size, tree.hash_at, 'sha256')):.0f} us CPU from a tree,"
        f" {asyncio.run(read()):.0f} us from SQLite; verified in"
        f" {cpu_us(lambda: verify_inclusion(leaf, 12_345, size, made, root, 'sha256')):.0f} us"
    )


def replay(folder: Path) -> None:
    """An auditor's replay of an export: bundles read, entries hashed, tiles compared, root found."""
    for hash_name in ("sha256", "sm3"):
        origin = ORIGIN + ("/sm3" if hash_name == "sm3" else "")
        body = sealed(1)[0].body
        export = folder / f"export-{hash_name}"
        bodies = [body[:-12] + b"%010d" % n + body[-2:] for n in range(REPLAYED)]
        leaves = Frontier().extend((leaf_hash(one, hash_name) for one in bodies), hash_name)
        checkpoint = Checkpoint(origin, REPLAYED, leaves.root(hash_name))
        note = sign(checkpoint.to_text(), origin, signers()[:1])
        with Writer(export, note, disclose=False) as writer:
            for one in bodies:
                writer.add(one, None)
            writer.finish()
        started = time.process_time()
        Replay(export, checkpoint).run()
        took = time.process_time() - started
        print(f"  replay of {REPLAYED:,} entries ({hash_name}): {REPLAYED / took:,.0f} entries/s of one CPU")


if __name__ == "__main__":
    replica(sys.argv[1]) if len(sys.argv) > 1 else main()
