"""WADO-RS through a gateway beside nginx: MB/s, CPU of a megabyte, the first byte, and memory.

The archive is nginx with static files: frames of half a megabyte, and a study of many instances. In front of
it stand, one after the other, nginx with ``proxy_pass`` as it comes (buffered), the gateway in Python, and
nginx with what ``lianren nginx`` prints, where the gateway hands the images over. What is measured runs on
one core, the archive and the client on the other; CPU is that of all processes in front of the archive.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
import uvicorn
import uvloop
from msgspec import Struct

from adapters.http import Line
from adapters.transport import Limits, Timeouts
from bench.machine import heading
from gateway.app import create_app
from gateway.demo.people import BY_KEY
from gateway.demo.processes import free_port
from gateway.imaging.offload import http_part, server_part
from gateway.keyring import make_keys
from gateway.log import Log
from gateway.serving import config_of
from gateway.settings import Settings
from tests.gateway.live import NODE, OWN, settings_for, source_of
from tests.nginx import nginx

PERSON = BY_KEY["ding"]
STUDY, SERIES = "2.25.1000", "2.25.1001"
FRAME = 524_288
BOUNDARY = "lianren-bench"
OCTETS = 'multipart/related; type="application/octet-stream"'
DICOM = 'multipart/related; type="application/dicom"'
INSTANCE = f"studies/{STUDY}/series/{SERIES}/instances/2.25.1002"
CONNECTIONS = 8

Ask = Callable[[], Awaitable[int]]


class Size(Struct, frozen=True):
    """How much is measured."""

    seconds: float = 3.0
    rounds: int = 3
    instances: int = 2000
    instance: int = 131_072
    viewers: int = 20


QUICK = Size(seconds=0.3, rounds=1, instances=50, viewers=4)


class Way(Struct, frozen=True):
    """One way to the archive: its base address, the token, and the processes in front of the archive."""

    name: str
    url: str
    headers: dict[str, str]
    processes: tuple[int, ...]


def main(size: Size) -> None:
    """Print everything."""
    heading("WADO-RS: frames of 512 KB, and a study", "python -m bench.bench_wado")
    with tempfile.TemporaryDirectory() as name, ways(Path(name), size) as (archive, *fronts):
        uvloop.run(compare(archive, fronts, size))
        uvloop.run(first_bytes(archive, fronts, size))
        uvloop.run(viewers(fronts[1], size))


async def compare(archive: Way, fronts: list[Way], size: Size) -> None:
    """MB/s and CPU of frames."""
    runs: dict[str, list[tuple[float, float]]] = {}
    for _ in range(size.rounds):
        for way in (archive, *fronts):
            runs.setdefault(way.name, []).append(await throughput(way, size.seconds))
    base = statistics.median(speed for speed, _ in runs[fronts[0].name])
    for way in (archive, *fronts):
        speed, cpu = (statistics.median(column) for column in zip(*runs[way.name], strict=True))
        print(f"  {way.name:42} {speed:7.0f} MB/s  {cpu:5.2f} CPU ms/MB  {speed / base:5.2f} x buffered")


async def throughput(way: Way, seconds: float) -> tuple[float, float]:
    """MB/s, and CPU milliseconds of a megabyte."""
    line = line_to(way)
    await fetch(line, f"{INSTANCE}/frames/1", OCTETS)
    end, size = time.perf_counter() + seconds, 0
    began, cpu = time.perf_counter(), cpu_s(way.processes)

    async def worker() -> None:
        nonlocal size
        while time.perf_counter() < end:
            read = await fetch(line, f"{INSTANCE}/frames/1", OCTETS)
            size += read

    await asyncio.gather(*(worker() for _ in range(CONNECTIONS)))
    took, spent = time.perf_counter() - began, cpu_s(way.processes) - cpu
    await line.aclose()
    return size / took / 1e6, spent * 1000 / (size / 1e6)


async def first_bytes(archive: Way, fronts: list[Way], size: Size) -> None:
    """Until the first byte of a study, one after the other."""
    own = 0.0
    for way in (archive, *fronts):
        line, times = line_to(way), []
        for _ in range(10 + 10 * size.rounds):
            began = time.perf_counter()
            async with line.stream(f"studies/{STUDY}", accept=DICOM) as incoming:
                assert incoming.status == 200, incoming.status
                await incoming.read()
                times.append((time.perf_counter() - began) * 1000)
        await line.aclose()
        own = own or statistics.median(times)
        print(f"  {way.name:42} first byte of a study after {statistics.median(times):6.2f} ms"
              f"  (+{statistics.median(times) - own:.2f})")  # fmt: skip


async def viewers(way: Way, size: Size) -> None:
    """Memory of the gateway while many viewers read a large study, the last of them slowly."""
    line, before = line_to(way), memory_mb(way.processes[0])
    began = time.perf_counter()

    async def read(slow: bool) -> int:
        seen = 0
        async with line.stream(f"studies/{STUDY}", accept=DICOM) as incoming:
            async for piece in incoming:
                seen += len(piece)
                if slow and seen < 50_000_000:
                    await asyncio.sleep(0.002)
        return seen

    seen = sum(await asyncio.gather(*(read(number == 0) for number in range(size.viewers))))
    took = time.perf_counter() - began
    await line.aclose()
    assert seen > size.viewers * size.instances * size.instance, "a study came incomplete"
    print(
        f"  {way.name}: {size.viewers} viewers x a study of {size.instances} instances,"
        f" {seen / 1e6:.0f} MB in {took:.1f} s: memory {before:.0f} MB before,"
        f" {memory_mb(way.processes[0]):.0f} MB at the most"
    )


async def fetch(line: Line, path: str, accept: str) -> int:
    """Read an answer to its end: how many bytes it had."""
    size = 0
    async with line.stream(path, accept=accept) as incoming:
        assert incoming.status == 200, incoming.status
        async for piece in incoming:
            size += len(piece)
    return size


def line_to(way: Way) -> Line:
    """A line of its own."""
    return Line(way.url, timeout=Timeouts.within(60), headers=way.headers, limits=Limits(connections=64))


@contextmanager
def ways(folder: Path, size: Size) -> Iterator[tuple[Way, ...]]:
    """The archive itself, and the three ways through something in front of it."""
    others = sorted(os.sched_getaffinity(0))
    front, back = {others[0]}, {others[-1]}
    held, proxy, away = (free_port() for _ in range(3))
    uds = folder / "gateway.sock"
    with ExitStack() as stack:
        os.sched_setaffinity(0, back)
        files(folder / "files", size)
        (folder / "archive").mkdir()
        listed = json.dumps([study(size)]).replace("'", "")
        stack.enter_context(
            nginx(folder / "archive", _ARCHIVE.format(port=held, files=folder / "files", listed=listed,
                                                      boundary=BOUNDARY), f"http://127.0.0.1:{held}/ready")
        )  # fmt: skip
        os.sched_setaffinity(0, front)
        ours, theirs = multiprocessing.Pipe()
        arguments = (theirs, folder / "gateway", f"http://127.0.0.1:{held}/dicom-web", uds)
        process = multiprocessing.get_context("spawn").Process(target=_gateway, args=arguments, daemon=True)
        process.start()
        stack.callback(process.kill)
        url, token, upstreams, part = ours.recv()
        (folder / "front").mkdir()
        before = children()
        stack.enter_context(
            nginx(folder / "front", _FRONT.format(buffered=proxy, held=held, away=away, upstreams=upstreams,
                                part=part),
                  f"http://127.0.0.1:{proxy}/ready")
        )  # fmt: skip
        workers = tuple(children() - before)
        os.sched_setaffinity(0, back)
        bearer = {"Authorization": f"Bearer {token}"}
        gateway = process.pid or 0
        yield (
            Way("the archive itself (nginx, static)", f"http://127.0.0.1:{held}/dicom-web", {}, ()),
            Way("nginx proxy_pass, buffered", f"http://127.0.0.1:{proxy}/dicom-web", {}, workers),
            Way("gateway", f"{url}/dicomweb", bearer, (gateway,)),
            Way(
                "gateway with nginx offload", f"http://127.0.0.1:{away}/dicomweb", bearer, (gateway, *workers)
            ),
        )


def study(size: Size) -> dict[str, object]:
    """What the archive says of its study."""
    return {
        "00080020": {"vr": "DA", "Value": ["20260101"]},
        "00080061": {"vr": "CS", "Value": ["CT"]},
        "00100020": {"vr": "LO", "Value": [PERSON.mrns[OWN]]},
        "0020000D": {"vr": "UI", "Value": [STUDY]},
        "00201208": {"vr": "IS", "Value": [size.instances]},
    }


def files(root: Path, size: Size) -> None:
    """The archive's files: a frame and a study, as multipart answers."""

    def part(media: str, length: int) -> bytes:
        return f"--{BOUNDARY}\r\nContent-Type: {media}\r\n\r\n".encode() + os.urandom(length) + b"\r\n"

    end = f"--{BOUNDARY}--\r\n".encode()
    frame = root / "dicom-web" / INSTANCE / "frames"
    frame.mkdir(parents=True)
    (frame / "1").write_bytes(part("application/octet-stream", FRAME) + end)
    instance = part("application/dicom", size.instance)
    with (root / "study").open("wb") as file:
        for _ in range(size.instances):
            file.write(instance)
        file.write(end)


def children() -> set[int]:
    """The processes below this one, workers of nginx among them."""
    found = {os.getpid()}
    for _ in range(3):
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                number, _, rest = stat.read_text().partition(" (")
            except OSError:
                continue
            if int(rest.rpartition(") ")[2].split()[1]) in found:
                found.add(int(number))
    return found


def cpu_s(processes: tuple[int, ...]) -> float:
    """Seconds of CPU that processes have used."""
    ticks = 0
    for process in processes:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mb(process: int) -> float:
    """The most memory that a process ever had."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000


def _gateway(line: Connection, folder: Path, archive: str, uds: Path) -> None:
    folder.mkdir()
    token = "bench-" + os.urandom(8).hex()
    with source_of(folder) as (url, _), socket.socket(socket.AF_UNIX) as inner, socket.socket() as outer:
        nodes = [
            {"id": NODE, "kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 7000},
            {"id": "cq-pacs", "kind": "dicomweb", "url": archive, "institution": OWN, "identity": NODE,
             "timeout_ms": 7000, "connections": 64},
        ]  # fmt: skip
        inner.bind(str(uds))
        outer.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{outer.getsockname()[1]}"
        settings = _settings(folder, token, nodes, base, uds)
        make_keys(settings)
        server = uvicorn.Server(config_of(create_app(settings, Log((folder / "log").open("w"))), "", 0))

        async def serve() -> None:
            running = asyncio.create_task(server.serve([inner, outer]))
            while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
                await asyncio.sleep(0.01)
            async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=30) as client:
                said = await client.post(
                    "/api/v1/viewings",
                    json={"patient": {"type": "resident-id", "value": PERSON.number}},
                    headers={"Authorization": f"Bearer {token}"},
                )
            said.raise_for_status()
            line.send((base, said.json()["token"], http_part(settings), server_part(settings)))
            await running

        uvloop.run(serve())


def _settings(folder: Path, token: str, nodes: list[dict[str, object]], base: str, uds: Path) -> Settings:
    from tests.gateway.live import CLIENTS

    tokens = {name: os.urandom(8).hex() for name in CLIENTS} | {"his": token}
    return settings_for(folder, tokens, nodes, base_url=base, uds=uds, offload="/archives")


_ARCHIVE = """
server {{
    listen 127.0.0.1:{port};
    root {files};
    sendfile on;
    location = /ready {{ return 204; }}
    location = /dicom-web/studies {{ default_type application/dicom+json; return 200 '{listed}'; }}
    location ~ ^/dicom-web/studies/[^/]+$ {{
        types {{}} default_type 'multipart/related; type="application/dicom"; boundary={boundary}';
        try_files /study =404;
    }}
    location ~ /frames/ {{
        types {{}} default_type 'multipart/related; type="application/octet-stream"; boundary={boundary}';
    }}
}}
"""
_FRONT = """
{upstreams}
server {{
    listen 127.0.0.1:{buffered};
    location = /ready {{ return 204; }}
    location / {{
        proxy_pass http://127.0.0.1:{held};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
    }}
}}
server {{
    listen 127.0.0.1:{away};
    {part}
}}
"""

if __name__ == "__main__":
    main(QUICK if "--quick" in sys.argv else Size())
