"""A FHIR search over ten nodes of 20 KB each; bars: at least 200 × less CPU than the same from FastAPI, stock
httpx and fhir.resources, and at most 2 ms (p50) over the slowest node (design, section 7).

The nodes answer constant bytes from a process of their own. The gateway does all that it does for a hospital:
it recognises the client, looks at the person's consent, asks, checks whose every resource is, merges, and
records question and answers durably in its ledger; who the person is at a node it looked up before, and
remembers for a while. The other one searches at the same nodes with one httpx client for a patient whose id
it is given, reads every Bundle with fhir.resources, merges, sorts, and lets FastAPI write the Bundle; it
looks nobody up, and checks, remembers and records nothing. Both are served by uvicorn with the same settings
and asked by eight callers at once; CPU is the server process's own, in the median of rounds that take turns.
For the latency the nodes take 2 to 20 ms, and one caller asks.
"""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
from fastapi import FastAPI

from bench.bench_translate import Server, running
from bench.machine import heading
from tests.gateway.live import STRANGER, gateway_with
from tests.node_cases import patient, searchset
from tests.serving import serve

NODES, CALLERS, ROUNDS, NUMBER = 10, 8, 5, 400
SYSTEM = "urn:oid:2.16.156.10011.1.3"
FORM = urlencode({"patient.identifier": f"{SYSTEM}|{STRANGER}"}).encode()


def main() -> None:
    """Measure and print."""
    heading("search over ten nodes of 20 KB", "python -m bench.bench_search")
    size = len(answer(0))
    with running(_nodes, b"0") as quick:
        urls = quick.token.encode()
        with running(_gateway, urls) as gateway, running(_models, urls) as models:
            ways = [(gateway, search(gateway), NUMBER), (models, b"GET /prior HTTP/1.1\r\n", NUMBER // 20)]
            ours, theirs = asyncio.run(measured(ways))
    print(f"  {NODES} nodes, {size / 1000:.1f} KB each; {CALLERS} callers")
    print(
        f"  gateway:                          {ours / 1000:8.2f} ms CPU a search: client, consent, checks,"
        " the ledger; looked up before"
    )
    print(
        f"  FastAPI + httpx + fhir.resources: {theirs / 1000:8.2f} ms CPU a search: reads, merges and writes;"
        " no look-up, no check, no record"
    )
    print(f"  ratio: {theirs / ours:.0f} × less (bar: 200); load {os.getloadavg()[0]:.1f}")
    with running(_nodes, b"20") as slow, running(_gateway, slow.token.encode()) as gateway:
        slowest = Server(*_address(slow.token.split()[-1]), slow.pid, "")
        over, alone = asyncio.run(latencies(gateway, slowest))
    print(f"  slowest node alone: {alone:.2f} ms p50; search over all: {over:.2f} ms p50;"
          f" {over - alone:.2f} ms more (bar: 2)")  # fmt: skip


async def measured(ways: list[tuple[Server, bytes, int]]) -> list[float]:
    """CPU microseconds a request of each: medians of rounds that take turns; the first warms up."""
    runs: list[list[float]] = [[] for _ in ways]
    for turn in range(ROUNDS + 1):
        for (server, request, number), held in zip(ways, runs, strict=True):
            before = server.cpu_us()
            await asyncio.gather(*(asked(server, [request] * (number // CALLERS)) for _ in range(CALLERS)))
            if turn:
                held.append((server.cpu_us() - before) / (number // CALLERS * CALLERS))
    return [statistics.median(held) for held in runs]


async def latencies(gateway: Server, node: Server) -> tuple[float, float]:
    """Median milliseconds of a search, and of a request to one node, asked in turns."""
    one = b"POST /Observation/_search HTTP/1.1\r\nContent-Length: 0\r\n"
    ways, took = ((gateway, search(gateway)), (node, one)), ([], [])  # type: tuple[Any, ...], tuple[Any, ...]
    for _ in range(5):
        for (server, request), held in zip(ways, took, strict=True):
            held += (await asked(server, [request] * 60))[10:]
    return statistics.median(took[0]) * 1000, statistics.median(took[1]) * 1000


def search(server: Server) -> bytes:
    """The bytes of a search, but for the end of its head."""
    head = f"POST /fhir/Observation/_search HTTP/1.1\r\nAuthorization: Bearer {server.token}\r\n"
    return head.encode() + b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n" % len(
        FORM
    )


async def asked(server: Server, requests: Iterable[bytes]) -> list[float]:
    """Seconds of each request, one after the other over one connection."""
    reader, writer = await asyncio.open_connection(server.host, server.port, limit=2**20)
    took = []
    for request in requests:
        began = time.perf_counter()
        writer.write(request + b"Host: localhost\r\n\r\n" + (FORM if b"Bearer" in request else b""))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        took.append(time.perf_counter() - began)
        if not head.startswith(b"http/1.1 200") or (
            length > 50_000 and body.count(b"effectiveDateTime") < 100
        ):
            raise SystemExit((head + body[-2000:]).decode())
    writer.close()
    return took


def answer(node: int) -> bytes:
    """What a node has: some twelve laboratory results with all that a hospital writes."""
    held: list[dict[str, Any]] = []
    while len(body := json.dumps(searchset(*held), ensure_ascii=False).encode()) < 20_000:
        held.append(_observation(node, len(held)))
    return body


def _observation(node: int, number: int) -> dict[str, Any]:
    day = f"2026-{number % 9 + 1:02}-{node + 10}"
    coded = [
        {"system": "urn:lianren:local:EX-CQ-01", "code": f"L{number:04}", "display": "血清白蛋白测定"},
        {
            "system": "http://loinc.org",
            "code": "1751-7",
            "display": "Albumin [Mass/volume] in Serum or Plasma",
        },
    ]
    category = {
        "system": "http://terminology.hl7.org/CodeSystem/observation-category",
        "code": "laboratory",
        "display": "Laboratory",
    }
    unit = {"unit": "g/L", "system": "http://unitsofmeasure.org", "code": "g/L"}
    return {
        "resourceType": "Observation",
        "id": f"obs-{node}-{number}",
        "meta": {"versionId": "1", "lastUpdated": f"{day}T11:05:00.120+08:00"},
        "identifier": [{"system": "urn:lianren:report:EX-CQ-01", "value": f"2026{node:02}{number:04}/1"}],
        "status": "final",
        "category": [{"coding": [category]}],
        "code": {"coding": coded, "text": "血清白蛋白"},
        "subject": {"reference": "Patient/p1", "display": "患者示例"},
        "effectiveDateTime": f"{day}T08:00:00+08:00",
        "issued": f"{day}T11:00:00.000+08:00",
        "performer": [
            {
                "identifier": {"system": "urn:lianren:institution", "value": "EX-CQ-01"},
                "display": "重庆示例第一医院检验科",
            }
        ],
        "valueQuantity": {"value": 43.5, **unit},
        "interpretation": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation",
                        "code": "N",
                        "display": "Normal",
                    }
                ]
            }
        ],
        "note": [{"text": "标本状态良好，无溶血、脂血、黄疸；本结果仅对所送标本负责。"}],
        "specimen": {"display": "血清"},
        "device": {"display": "全自动生化分析仪 示例-8000"},
        "referenceRange": [
            {"low": {"value": 40, **unit}, "high": {"value": 55, **unit}, "text": "40-55 g/L"}
        ],
    }


class _Node(asyncio.Protocol):
    """Answers every request with constant bytes, after a while."""

    def __init__(self, found: bytes, seconds: float) -> None:
        self.found = found
        self.seconds = seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        body = _PATIENT if data.startswith(b"POST /Patient/") else self.found
        told = b"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\nContent-Length: %d\r\n\r\n" % len(
            body
        )
        if self.seconds:
            asyncio.get_running_loop().call_later(self.seconds, self.transport.write, told + body)
        else:
            self.transport.write(told + body)


_PATIENT = json.dumps(searchset(patient(number=STRANGER))).encode()


def _nodes(line: Connection, slowest_ms: bytes) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        urls = []
        for node in range(NODES):
            found, seconds = answer(node), int(slowest_ms) / 1000 * (node + 1) / NODES
            server = await loop.create_server(lambda f=found, s=seconds: _Node(f, s), "127.0.0.1", 0)  # type: ignore[misc]
            urls.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        line.send((urls[0], " ".join(urls)))
        await loop.run_in_executor(None, line.recv)

    asyncio.run(run())


def _gateway(line: Connection, urls: bytes) -> None:
    nodes = [
        {"id": f"node-{n}", "kind": "fhir", "url": url, "institution": "EX-CQ-01", "timeout_ms": 5000}
        for n, url in enumerate(urls.decode().split())
    ]
    with (
        tempfile.TemporaryDirectory() as folder,
        gateway_with(Path(folder), nodes, pseudonyms_per_minute=10_000_000) as live,
    ):
        gc.collect()
        gc.freeze()  # as `lianren serve` does
        line.send((live.url, live.tokens["his"]))
        line.recv()


def _models(line: Connection, urls: bytes) -> None:
    """The same from parts, as their own pages show them: FastAPI, one httpx client, fhir.resources."""
    from fhir.resources.R4B.bundle import Bundle

    app, client, addresses = FastAPI(), httpx.AsyncClient(timeout=60), urls.decode().split()

    async def of_node(url: str) -> Any:
        form = {"patient": "Patient/p1", "category": "laboratory", "date": "ge2016-01-01"}
        answer = await client.post(f"{url}/Observation/_search", data=form)
        return Bundle.model_validate(answer.json())

    @app.get("/prior", response_model=None)
    async def prior() -> Bundle:
        found: dict[tuple[str, str], Any] = {}
        for url, bundle in zip(addresses, await asyncio.gather(*map(of_node, addresses)), strict=True):
            for entry in bundle.entry:
                found[url, entry.resource.id] = entry
        entries = sorted(found.values(), key=lambda entry: entry.resource.issued, reverse=True)
        return Bundle(type="searchset", total=len(entries), entry=entries)

    with serve(app) as url:
        line.send((url, ""))
        line.recv()


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return str(parts.hostname), int(parts.port or 0)


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn", force=True)
    main()
