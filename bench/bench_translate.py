"""``$translate`` of one code in memory; bar: at most 2 × the CPU of raw ASGI (design, section 7).

Both are served as ``lianren serve`` does it, each in a process of its own, and are asked the same bytes over
one connection; the raw one answers constant bytes of the same length. All share one core: over two, most of
what is measured is how the machine wakes a sleeping one, and differs threefold from run to run. CPU is the
server process's own. The codes are those of all items, in turn, so that most answers are kept ones; "new"
asks nothing twice.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import secrets
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Struct
from starlette.types import Receive, Scope, Send

from bench.machine import heading
from catalog import load
from catalog.fhir import ITEM_SYSTEM
from gateway.app import create_app
from gateway.keyring import make_keys
from gateway.log import Log
from gateway.serving import config_of
from gateway.tasks import settle
from tests.gateway.live import CLIENTS, settings_for
from tests.serving import serve

ROUNDS, NUMBER = 9, 1000
TRANSLATE = "/fhir/ConceptMap/$translate"


class Server(Struct):
    """A server in a process of its own."""

    host: str
    port: int
    pid: int
    token: str

    def cpu_us(self) -> float:
        """CPU microseconds of the process so far, by the clock of clock_getcpuclockid(3) on Linux."""
        return time.clock_gettime_ns(~self.pid << 3 | 2) / 1000


def main() -> None:
    """Measure and print."""
    heading("$translate of one code", "python -m bench.bench_translate")
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    codes = sorted(load().items)
    system = quote(ITEM_SYSTEM, safe="")
    ways = {
        "$translate, one code": lambda n: get(f"{TRANSLATE}?system={system}&code={codes[n % len(codes)]}"),
        "$translate, one code, new": lambda n: get(
            f"{TRANSLATE}?system={system}&code={codes[n % len(codes)]}&modality={n}"
        ),
        "$translate, one code, POST": lambda n: post(TRANSLATE, codes[n % len(codes)]),
        "$translate, one name, new": lambda n: get(f"{TRANSLATE}?display={quote('胸部CT平扫')}&specimen={n}"),
        "$lookup, by the router": lambda n: get(f"/fhir/CodeSystem/$lookup?system={system}&code=DR-001"),
    }
    with running(_gateway) as gateway:
        example = ask(gateway, [ways["$translate, one code"](0)])
        with running(_raw, example.partition(b"\r\n\r\n")[2]) as raw:
            asked = [(raw, ways["$translate, one code"]), *((gateway, way) for way in ways.values())]
            took = measured(asked)
    for title, cpu in zip(("raw ASGI, constant bytes", *ways), took, strict=True):
        print(f"  {title:27} {cpu:6.1f} µs CPU a request, {cpu / took[0]:.2f} × raw")
    print(f"  bar: 2 × raw; one code: {took[1] / took[0]:.2f} ×")


def measured(asked: list[tuple[Server, Callable[[int], bytes]]]) -> list[float]:
    """CPU microseconds a request of each: medians of rounds that take turns."""
    runs: list[list[float]] = [[] for _ in asked]
    for turn in range(ROUNDS + 1):
        for (server, way), held in zip(asked, runs, strict=True):
            requests = [way(number) for number in range(turn * NUMBER, (turn + 1) * NUMBER)]
            before = server.cpu_us()
            ask(server, requests)
            if turn:  # the first warms up
                held.append((server.cpu_us() - before) / NUMBER)
    return [statistics.median(held) for held in runs]


def get(path: str, method: str = "GET") -> bytes:
    """The bytes of a request without a body; the token follows when it is sent."""
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/fhir+json\r\n".encode()


def post(path: str, code: str) -> bytes:
    """The bytes of a POST with a coding."""
    coding = {"name": "coding", "valueCoding": {"system": ITEM_SYSTEM, "code": code}}
    body = msgspec.json.encode({"resourceType": "Parameters", "parameter": [coding]})
    head = b"Content-Type: application/fhir+json\r\nContent-Length: %d\r\n\r\n" % len(body)
    return get(path, "POST") + head + body


def ask(server: Server, requests: Iterable[bytes]) -> bytes:
    """Ask one after the other over one connection, and give the last answer."""
    answer, token = b"", f"\r\nAuthorization: Bearer {server.token}\r\n".encode()
    with socket.create_connection((server.host, server.port)) as line:
        for request in requests:
            head, _, rest = request.partition(b"\r\n")
            line.sendall(head + token + rest + (b"" if b"\r\n\r\n" in rest else b"\r\n"))
            answer = line.recv(65536)
            while b"\r\n\r\n" not in answer or len(answer) < _length(answer):
                answer += line.recv(65536)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise SystemExit(answer.decode())
    return answer


def _length(answer: bytes) -> int:
    head, _, _ = answer.partition(b"\r\n\r\n")
    stated = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    return len(head) + 4 + int(stated)


@contextmanager
def running(target: Callable[..., None], *args: bytes) -> Iterator[Server]:
    """A server in its own process."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=target, args=(there, *args))
    process.start()
    try:
        url, token = here.recv()
        address = urlsplit(url)
        yield Server(str(address.hostname), int(address.port or 0), int(process.pid or 0), token)
    finally:
        here.send("stop")
        process.join(20)


def _gateway(line: Connection) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tokens = {name: secrets.token_urlsafe(16) for name in CLIENTS}
        settings = settings_for(Path(folder), tokens, [])
        make_keys(settings)
        with serve(create_app(settings, Log(io.StringIO())), config=config_of) as url:
            settle()
            line.send((url, tokens["his"]))
            line.recv()


def _raw(line: Connection, body: bytes) -> None:
    headers = [(b"content-type", b"application/fhir+json"), (b"content-length", b"%d" % len(body))]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": f"{message['type']}.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    with serve(app, config=config_of) as url:
        settle()
        line.send((url, "any"))
        line.recv()


if __name__ == "__main__":
    main()
