"""The broker over ten nodes: what it adds to the slowest, what it costs, and what one that hangs costs.

The nodes are HTTP servers in another process, each with 20 KB of JSON and a delay of its own; they are asked
over the product's own connections, on uvloop. The first baseline is the slowest node asked alone, in the same
run; the second one is ``asyncio.gather`` over the same coroutines, without deadline, breakers and turns.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any

import uvloop

from adapters import Answer, Line, Node, Question, Report, Timeouts
from bench.machine import heading
from gateway.nodes import Placed
from gateway.rules import reading
from tests.gateway.brokers import Brokered, Fake, broker_over, placed, question, rules

NODES, SLOWEST_MS, BYTES = 10, 20, 20_480
DEADLINE_MS = 500
ROUNDS, WAITS = 150, 12


def main() -> None:
    """Measure and print."""
    heading("The broker over ten nodes", "python -m bench.bench_broker")
    with _Nodes() as ports:
        uvloop.run(_over_http(ports))
    uvloop.run(_cost())


class Raw(Fake):
    """A node that answers with the bytes of one GET."""

    def __init__(self, number: int, port: int, path: str) -> None:
        super().__init__(f"n{number}")
        self._path = path
        self._line = Line(f"http://127.0.0.1:{port}", timeout=Timeouts.within(60.0))

    async def prior(self, question: Question) -> Answer:
        started = time.monotonic()
        body = await self._line.get_json(self._path)
        took = round((time.monotonic() - started) * 1000)
        return Answer(
            report=Report(node=self.id, kind=self.kind, state="answered", took_ms=took), digest=body[:32]
        )

    async def aclose(self) -> None:
        await self._line.aclose()


async def _over_http(ports: list[int]) -> None:
    delays = [SLOWEST_MS * (n + 1) // NODES for n in range(NODES)]
    well = [Raw(n, port, str(delay)) for n, (port, delay) in enumerate(zip(ports, delays, strict=True))]
    hanging = Raw(NODES - 1, ports[-1], "600000")
    settings: dict[str, Any] = {"timeout_ms": 60_000, "breaker_failures": 1000}
    over = [placed(node, **settings) for node in well]
    asked = question(budget=DEADLINE_MS / 1000)

    async def prior(node: Node, question: Question) -> Answer:
        return await node.prior(question)

    async with _broker(over) as b:
        alone, bare, raw, results = [], [], [], []
        for _ in range(ROUNDS):  # in turns, so that whatever else the machine does counts for all
            alone.append(await _ms(lambda: prior(well[-1], asked)))
            bare.append(await _ms(lambda: asyncio.gather(*(node.prior(asked) for node in well))))
            raw.append(await _ms(lambda: b.broker.ask(asked, prior)))
            results.append(await _ms(lambda: b.broker.gather(asked, rules())))
    slowest = statistics.median(alone)
    print(f"  the slowest of {NODES} alone, {SLOWEST_MS} ms and {BYTES:,} bytes: p50 {slowest:.2f} ms")
    for name, times in (
        ("asyncio.gather over all", bare),
        ("the broker, something else than results", raw),
        ("the broker, prior results", results),
    ):
        p50 = statistics.median(times)
        print(f"  {name}: p50 {p50:.2f} ms, p99 {_p99(times):.2f}; over the slowest {p50 - slowest:+.2f} ms"
              f"{'' if times is bare else ' (bar 2)'}")  # fmt: skip
    async with _broker([*over[:-1], placed(hanging, **settings)]) as b:
        times = [await _ms(lambda: b.broker.gather(asked, rules())) for _ in range(WAITS)]
        print(f"  one of them hanging, deadline {DEADLINE_MS} ms: p50 {statistics.median(times):.1f} ms, at"
              f" most {max(times):.1f} (x {max(times) / DEADLINE_MS:.3f} of it, bar 1.1)")  # fmt: skip
    async with _broker(
        [*over[:-1], placed(hanging, **settings | {"breaker_failures": 3, "breaker_s": 60})]
    ) as b:
        times = [await _ms(lambda: b.broker.gather(asked, rules())) for _ in range(WAITS)]
        print(f"  the same once it is left alone: p50 {statistics.median(times[4:]):.1f} ms")
    for node in (*well, hanging):
        await node.aclose()


async def _cost() -> None:
    """CPU of one question over ten nodes that answer at once."""
    nodes = [Fake(f"n{n}") for n in range(NODES)]
    over, asked = [placed(node) for node in nodes], question(pseudonyms=())
    known = question()
    async with _broker(over) as b:
        bare = await _cpu_us(lambda: asyncio.gather(*(node.prior(asked) for node in nodes)))
        plain = await _cpu_us(lambda: b.broker.gather(asked, rules()))
        pointers = await _cpu_us(lambda: b.broker.gather(known, rules()))
    async with _broker(over, cache_s=300) as b:
        again = await _cpu_us(lambda: b.broker.gather(known, rules()))
    print(f"  CPU of a question over {NODES} nodes that answer at once, {NODES} results:")
    for name, us in (
        ("asyncio.gather alone", bare),
        ("the broker", plain),
        ("the broker with pointers", pointers),
        ("told again", again),
    ):
        print(f"    {name:28} {us:7.0f} µs   x {us / bare:.2f}")


def _broker(over: list[Placed], **more: Any) -> AbstractAsyncContextManager[Brokered]:
    return broker_over(Path(tempfile.mkdtemp()), over, **more)


async def _ms(call: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await call()
    return (time.perf_counter() - started) * 1000


async def _cpu_us(call: Callable[[], Awaitable[object]]) -> float:
    runs = []
    with reading(rules()):
        for _ in range(5):
            started = time.process_time()
            for _ in range(100):
                await call()
            runs.append((time.process_time() - started) / 100 * 1e6)
    return statistics.median(runs)


def _p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[98]


class _Nodes:
    """Ten servers in a process of their own: ``GET /<ms>`` answers after so long."""

    def __enter__(self) -> list[int]:
        here, there = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(there,), daemon=True
        )
        self._process.start()
        ports: list[int] = here.recv()
        return ports

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()


def _serve(pipe: Any) -> None:
    body = b'{"a":"' + b"x" * (BYTES - 8) + b'"}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):  # the other side closed
            while request := await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(int(request.split(b" ", 2)[1][1:]) / 1000)
                writer.write(head + body)

    async def run() -> None:
        servers = [await asyncio.start_server(answer, "127.0.0.1", 0) for _ in range(NODES)]
        pipe.send([server.sockets[0].getsockname()[1] for server in servers])
        await asyncio.Event().wait()

    asyncio.run(run())


if __name__ == "__main__":
    main()
