"""The order check with 10 priors from the results index, over HTTP; bar: at most 20 × the CPU of raw ASGI.

Every answer is decided and its evidence written durably to SQLite, under a checkpoint signed with Ed25519 and
SM2, before it leaves: nothing is switched off, and no request is repeated. The priors are the liver panels of
200 persons, published over HTTP beforehand. Every person comes round again, so their marks are issued, and
what this process read and verified once it remembers. The first question about each person, which does that
work, is a line of its own.

Raw ASGI returns constant bytes of the same length. Both are served by uvicorn with the same settings in a
process of their own, and asked by the same client; CPU is the server process's own, threads included. p99 at
100 in flight has a bar of 30 ms, on a machine that does nothing else.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import msgspec
import uvloop

from bench.bench_translate import Server, _raw, running
from bench.machine import heading
from gateway.demo.people import check_digit
from gateway.demo.records import LIVER
from gateway.model import CheckAnswer
from gateway.tasks import settle
from tests.gateway.live import OWN, gateway_with

PERSONS, PRIORS, ROUNDS, NUMBER, COLD = 200, 10, 5, 1000, 90
INDEX = "cq-index"
NOW = datetime.now(UTC).replace(microsecond=0)


def main() -> None:
    """Measure and print."""
    heading(f"order check, {PRIORS} priors from the results index", "python -m bench.bench_check")
    with running(_gateway) as gateway:
        (answer,) = uvloop.run(asked(gateway, requests(gateway, 1), 1))[1]
        told = msgspec.json.decode(answer, type=CheckAnswer)
        verdicts = [verdict.verdict for verdict in told.verdicts]
        print(
            f"  the answer: {len(answer)} bytes, {verdicts.count('recognised')} of {len(verdicts)} recognised"
        )
        with running(_raw, answer) as raw:
            first(raw, gateway)
            for flight in (1, 100):
                compare(raw, gateway, flight)


def first(raw: Server, gateway: Server) -> None:
    """One line for the first question about each of the persons that were not asked about yet: their results
    are read, and their marks signed and recorded."""
    cost = {}
    for server, many in ((raw, NUMBER), (gateway, COLD)):
        sent = requests(server, many)
        before = server.cpu_us()
        uvloop.run(asked(server, sent, COLD))
        cost[server.pid] = (server.cpu_us() - before) / many
    floor, us = cost[raw.pid], cost[gateway.pid]
    title = "first of each person"
    print(f"  {COLD:3} in flight: {title:24} {us:7.1f} µs CPU a request, {us / floor:5.1f} × raw")


def compare(raw: Server, gateway: Server, flight: int) -> None:
    """One line for both servers, in rounds that take turns."""
    cpu: dict[int, list[float]] = {raw.pid: [], gateway.pid: []}
    waits: dict[int, list[float]] = {raw.pid: [], gateway.pid: []}
    for turn in range(ROUNDS + 1):
        for server in (raw, gateway):
            sent = requests(server, NUMBER)
            before = server.cpu_us()
            took, _ = uvloop.run(asked(server, sent, flight))
            if turn:  # the first warms up
                cpu[server.pid].append((server.cpu_us() - before) / NUMBER)
                waits[server.pid] += took
    floor = statistics.median(cpu[raw.pid])
    for title, server in (("raw ASGI, constant bytes", raw), ("order check", gateway)):
        us, times = statistics.median(cpu[server.pid]), sorted(waits[server.pid])
        print(
            f"  {flight:3} in flight: {title:24} {us:7.1f} µs CPU a request, {us / floor:5.1f} × raw;"
            f" p50 {times[len(times) // 2] * 1e3:.1f} ms, p99 {times[len(times) * 99 // 100] * 1e3:.1f} ms"
        )


async def asked(server: Server, sent: list[bytes], flight: int) -> tuple[list[float], list[bytes]]:
    """Send all of them over ``flight`` connections: how long each took, and the bodies of the answers."""
    waits: list[float] = []
    answers: list[bytes] = []

    async def line() -> None:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        while sent:
            request, began = sent.pop(), time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            waits.append(time.perf_counter() - began)
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(body.decode())
            answers[:] = [body]
        writer.close()

    await asyncio.gather(*(line() for _ in range(flight)))
    return waits, answers


_persons = count()


def requests(server: Server, many: int) -> list[bytes]:
    """Checks of the liver panel, each with an id of its own, the persons in turn."""
    return [_request(server, number(next(_persons) % PERSONS)) for _ in range(many)]


def _request(server: Server, person: str) -> bytes:
    body = msgspec.json.encode(
        {
            "request_id": uuid.uuid4().hex,
            "patient": {"type": "resident-id", "value": person},
            "planned": [{"item": "LFT"}],
        }
    )
    return (
        b"POST /api/v1/checks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s" % (server.token.encode(), len(body), body)
    )


def number(serial: int) -> str:
    """The resident number of a made-up person."""
    first = f"990000{19500101 + serial // 500:08d}{serial % 500:03d}"
    return first + check_digit(first)


def priors(serial: int) -> Iterator[bytes]:
    """A person and the liver panel, as a hospital publishes them."""
    identifier = [{"system": "urn:oid:2.16.156.10011.1.3", "value": number(serial)}]
    yield msgspec.json.encode({"resourceType": "Patient", "id": f"p{serial}", "identifier": identifier})
    issued = NOW - timedelta(days=3, minutes=serial)
    for place, row in enumerate(LIVER[:PRIORS]):
        observation = {
            "resourceType": "Observation",
            "id": f"liver-{serial}-{place}",
            "identifier": [{"system": f"urn:lianren:report:{OWN}", "value": f"liver-{serial}/{place}"}],
            "extension": [
                {
                    "url": "https://lianren.example/fhir/StructureDefinition/printed-mark",
                    "valueString": "川渝HR",
                }
            ],
            "status": "final",
            "category": [{"coding": [{"code": "laboratory"}]}],
            "code": {"text": row.name},
            "subject": {"reference": f"Patient/p{serial}"},
            "effectiveDateTime": (issued - timedelta(hours=3)).isoformat(),
            "issued": issued.isoformat(),
            "performer": [{"identifier": {"system": "urn:lianren:institution", "value": OWN}}],
            "specimen": {"display": "血清"},
            "valueQuantity": {"value": float(row.value), "unit": row.unit},
        }
        yield msgspec.json.encode(observation)


def publish(url: str, token: str) -> None:
    """Publish the priors of all persons."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as client:
        for serial in range(PERSONS):
            entry = [{"resource": msgspec.Raw(one)} for one in priors(serial)]
            body = {
                "request_id": f"liver-{serial}",
                "node": INDEX,
                "patient": {"type": "resident-id", "value": number(serial)},
                "bundle": {"resourceType": "Bundle", "type": "collection", "entry": entry},
            }
            client.post("/api/v1/publications", content=msgspec.json.encode(body)).raise_for_status()


def _gateway(line: Connection) -> None:
    node = {"id": INDEX, "kind": "published", "institution": OWN}
    more: dict[str, Any] = {"pseudonyms_per_minute": 1_000_000, "cache_s": 2, "cache_empty_s": 1}
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder,
        gateway_with(Path(folder), [node], **more) as live,
    ):
        publish(live.url, live.tokens["publisher"])
        settle()  # as `lianren serve` does
        line.send((live.url, live.tokens["his"]))
        line.recv()


if __name__ == "__main__":
    main()
