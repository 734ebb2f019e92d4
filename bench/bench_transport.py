"""The transport beside stock httpx and aiohttp: CPU of a small GET in a fan-out of ten, and of a megabyte.

Ten nodes are ports of one process of raw asyncio on uvloop that answers with constant bytes; the clients run
in this process, one after the other, round by round, under uvloop, and their CPU time is that of this process
alone. ``Line`` checks what it brings (JSON by its media type, UTF-8, depth); the others hand over bytes.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from typing import cast

import aiohttp
import httpx
import uvloop

from adapters.http import Line
from adapters.transport import Limits, Pool, Timeouts
from adapters.transport.httpx_api import client
from adapters.transport.request import request
from bench.machine import heading

NODES = 10
FANS = 60
ROUNDS = 7
LARGE = 32 * 1024 * 1024
SMALL = b'{"name": "' + "重庆示例第一医院 0123456789".encode() * 68 + b'"}'  # 2.5 KB

Fetch = Callable[[], Awaitable[object]]


class _Node(asyncio.Protocol):
    """Answers a request, which comes in one piece here: ``/large`` with 32 MB, all else with 2.5 KB."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        body, media = (bytes(LARGE), "x/y") if data.startswith(b"GET /large") else (SMALL, "application/json")
        lines = ("Server: bench", "Date: Sun, 22 Nov 2026 08:30:00 GMT", f"Content-Type: {media}")
        head = "\r\n".join(("HTTP/1.1 200 OK", *lines, f"Content-Length: {len(body)}", "", ""))
        self._transport.write(head.encode() + body)


def _serve(ports: Connection) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        servers = [await loop.create_server(_Node, "127.0.0.1", 0) for _ in range(NODES)]
        ports.send([server.sockets[0].getsockname()[1] for server in servers])
        await asyncio.Event().wait()

    uvloop.run(run())


@contextmanager
def nodes() -> Iterator[list[str]]:
    """The addresses of ten nodes."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    process.start()
    try:
        yield [f"http://127.0.0.1:{port}" for port in here.recv()]
    finally:
        process.terminate()
        process.join()


async def small(urls: list[str]) -> dict[str, float]:
    """CPU µs of one GET of 2.5 KB, ten at a time."""
    lines = [Line(url) for url in urls]
    pools = [Pool(url) for url in urls]
    over = [client(url) for url in urls]
    stock = [httpx.AsyncClient(base_url=url, trust_env=False) for url in urls]
    others = [aiohttp.ClientSession(url) for url in urls]
    times, loop = Timeouts(), asyncio.get_running_loop()
    question = request("GET", "/a", "Host: 127.0.0.1\r\n")

    async def bare(pool: Pool) -> bytes:
        return (await pool.ask(question, times, loop.time() + 10, repeatable=True)).body

    async def by_aiohttp(session: aiohttp.ClientSession) -> bytes:
        async with session.get("/a") as answer:
            return await answer.read()

    async def by_httpx(asking: httpx.AsyncClient) -> bytes:
        return (await asking.get("/a")).content

    ways: dict[str, list[Fetch]] = {
        "pool": [partial(bare, pool) for pool in pools],
        "Line, checked JSON": [partial(line.get_json, "a") for line in lines],
        "httpx over the pool": [partial(by_httpx, asking) for asking in over],
        "aiohttp": [partial(by_aiohttp, session) for session in others],
        "httpx": [partial(by_httpx, asking) for asking in stock],
    }
    measured = await rounds({name: _fan(fetches) for name, fetches in ways.items()})
    async with AsyncExitStack() as closing:
        for one in zip(lines, pools, over, stock, others, strict=True):
            for close in (one[0].aclose, one[1].aclose, one[2].aclose, one[3].aclose, one[4].close):
                closing.push_async_callback(close)
    return {name: seconds / FANS / NODES * 1e6 for name, seconds in measured.items()}


def _fan(fetches: list[Fetch]) -> Fetch:
    async def run() -> None:
        for _ in range(FANS):
            bodies = await asyncio.gather(*(fetch() for fetch in fetches))
            assert all(body == SMALL for body in bodies)

    return run


async def large(url: str) -> dict[str, float]:
    """CPU ms of one megabyte of a stream."""
    line, over = Line(url), client(url, limits=Limits(body=LARGE))
    stock, other = httpx.AsyncClient(base_url=url, trust_env=False), aiohttp.ClientSession(url)

    async def by_line() -> int:
        async with line.stream("large", accept="*/*") as incoming:
            return sum([len(piece) async for piece in incoming])

    async def by_aiohttp() -> int:
        async with other.get("/large") as answer:
            return sum([len(piece) async for piece in answer.content.iter_any()])

    def by_httpx(asking: httpx.AsyncClient) -> Fetch:
        async def run() -> int:
            async with asking.stream("GET", "/large") as answer:
                return sum([len(piece) async for piece in answer.aiter_raw()])

        return run

    ways: dict[str, Fetch] = {
        "Line.stream": by_line,
        "httpx over the pool": by_httpx(over),
        "aiohttp": by_aiohttp,
        "httpx": by_httpx(stock),
    }
    measured = await rounds(ways)
    await line.aclose()
    await over.aclose()
    await stock.aclose()
    await other.close()
    return {name: seconds / (LARGE / 2**20) * 1e3 for name, seconds in measured.items()}


async def rounds(ways: dict[str, Fetch]) -> dict[str, float]:
    """The median CPU seconds of each way, of rounds in which they take turns; the first warms up."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS + 1):
        for name, way in ways.items():
            started = time.process_time()
            await way()
            taken[name].append(time.process_time() - started)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


def table(title: str, unit: str, measured: dict[str, float]) -> None:
    """Print each way, and how many times the first one's cost it has."""
    print(f"\n{title}")
    first = next(iter(measured.values()))
    for name, value in measured.items():
        print(f"  {name:<22}{value:>9.2f} {unit}{value / first:>8.1f} ×")


def main() -> None:
    """Measure and print."""
    heading("transport", "python -m bench.bench_transport")
    print(
        f"  load average {os.getloadavg()[0]:.1f}; httpx {httpx.__version__}, aiohttp {aiohttp.__version__}"
    )
    with nodes() as urls:
        table("GET of 2.5 KB on a kept connection, ten nodes at a time", "CPU µs", uvloop.run(small(urls)))
        table("a body of 32 MB, piece by piece", "CPU ms/MB", uvloop.run(large(urls[0])))


if __name__ == "__main__":
    main()
