"""200 checks at one time for a while, over four nodes of which one hangs, one refuses and one is slow.

What the gateway says of each node is held against what that node did: it is one process, whose memory is read
as the kernel counts it, while the nodes and those who ask live in this one. It keeps its decisions in a
PostgreSQL: the embedded store would fill its page cache (64 MiB) meanwhile.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import httpx
import msgspec
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters import Report
from gateway.demo.peers import postgres
from gateway.demo.people import check_digit
from gateway.demo.records import everything
from gateway.model import CheckAnswer
from gateway.source import create_source
from tests.e2e.processes import fleet
from tests.gateway.live import NODE, OWN, PATIENT, body
from tests.serving import Reply, http_answer, misbehave, serve

SLOW_S = 0.25
KNOWING = ("prompt", "slow")
"""The nodes that know :data:`PATIENT` and nobody else who is asked about."""
NODES = (*KNOWING, "hanging", "refusing")


class Slow:
    """An ASGI application that takes its time."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await asyncio.sleep(SLOW_S)
        await self._app(scope, receive, send)


@dataclass
class Endured:
    """What came of it.

    Attributes:
        nodes: the nodes of the gateway.
        seconds: how long each took.
        statuses: how many answers had which HTTP status.
        states: how often each node was reported how, and whose fault that was.
        lies: what an answer said that was not so.
        memory_mb: what the gateway held, twice a second.
        cpu_s: what the gateway's process used.
    """

    nodes: tuple[str, ...]
    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    states: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    lies: list[str] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    cpu_s: float = 0.0

    @property
    def answers(self) -> int:
        """How many checks were answered."""
        return self.statuses[200]

    @property
    def growth_mb(self) -> float:
        """By how much the last quarter's memory is above the second's; in the first it gets warm."""
        quarter = len(self.memory_mb) // 4
        second, last = self.memory_mb[quarter : 2 * quarter], self.memory_mb[-quarter:]
        return sum(last) / quarter - sum(second) / quarter

    def note(self, answer: CheckAnswer, *, known: bool) -> None:
        """Hold an answer against what the nodes did."""
        at = {report.node: report for report in answer.nodes}
        self.states.update((report.node, report.state, report.fault) for report in answer.nodes)
        for name, report in at.items():
            if not _honest(name, report, known):
                self.lies.append(f"{name} is said to be {report.state} ({report.fault}: {report.detail})")
        whole = all(r.state in ("answered", "empty") or not r.fault for r in answer.nodes)
        if set(at) != set(self.nodes) or answer.complete != whole:
            self.lies.append(f"complete is {answer.complete} with {sorted(at)}")
        told = {verdict.result.node for verdict in answer.verdicts}
        if told != {name for name, report in at.items() if report.state == "answered"}:
            self.lies.append(f"results of {sorted(told)}")


def _honest(name: str, report: Report, known: bool) -> bool:
    state, fault = report.state, report.fault
    if state in ("answered", "empty"):
        return name in KNOWING and known == (state == "answered") and fault == ""
    bad = "refused" if name == "refusing" else "late"
    return state in (bad, "unreachable", "skipped") and fault in ("node", "gateway")


@contextmanager
def gateway(folder: Path, names: tuple[str, ...] = NODES) -> Iterator[tuple[str, int]]:
    """The URL and the process of a gateway over these nodes. Raises MissingPeer."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as environment:
        environment.setenv("LIANREN_STORE", stack.enter_context(postgres(folder)).url)
        bundle = everything(datetime.now(UTC)).bundles[NODE]
        urls = {}
        for name, around in {"prompt": _as_it_is, "slow": Slow}.items():
            source = around(create_source(folder / f"{name}.sqlite3", institution=OWN))
            urls[name] = stack.enter_context(serve(source))
            fhir = {"Content-Type": "application/fhir+json"}
            sent = httpx.post(urls[name], content=bundle, headers=fhir, trust_env=False, timeout=30)
            assert sent.status_code == 200, sent.text
        for name, answer in {"hanging": None, "refusing": http_answer(b"{}", "403 Forbidden")}.items():
            urls[name] = stack.enter_context(misbehave(_always(answer)))
        nodes = [
            {"id": name, "kind": "fhir", "url": urls[name], "institution": OWN, "timeout_ms": 1500}
            | {"connections": 64, "waiting": 256}
            for name in names
        ]
        running = fleet(
            folder, 1, nodes, deadline_ms=2000, cache_s=2.0, cache_empty_s=1.0, pseudonyms_per_minute=10**6
        )
        (replica,) = stack.enter_context(running).replicas
        yield replica.url, replica.process.pid


def _always(answer: Reply) -> Callable[[str, bytes], Reply]:
    return lambda _first, _body: answer


def _as_it_is(app: ASGIApp) -> ASGIApp:
    return app


def endure(
    url: str, process: int, seconds: float, together: int = 200, nodes: tuple[str, ...] = NODES
) -> Endured:
    """Ask for so long, every other time about somebody whom no node knows."""
    return asyncio.run(_endure(url, process, seconds, together, Endured(nodes)))


async def _endure(url: str, process: int, seconds: float, together: int, endured: Endured) -> Endured:
    numbers = _strangers()
    ends = time.monotonic() + seconds
    cpu = _cpu_s(process)
    headers = {"Authorization": "Bearer token-of-his"}
    connections = aiohttp.TCPConnector(limit=together)

    async def ask(session: aiohttp.ClientSession, turn: int) -> None:
        while time.monotonic() < ends:
            known = turn % 2 == 0
            turn += 1
            asked = body(patient=PATIENT if known else next(numbers))
            begun = time.monotonic()
            async with session.post(f"{url}/api/v1/checks", json=asked) as answer:
                content = await answer.read()
            endured.seconds.append(time.monotonic() - begun)
            endured.statuses[answer.status] += 1
            if answer.status == 200:
                endured.note(msgspec.json.decode(content, type=CheckAnswer), known=known)

    async def watch() -> None:
        while time.monotonic() < ends:
            endured.memory_mb.append(_memory_mb(process))
            await asyncio.sleep(0.5)

    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(connector=connections, headers=headers, timeout=timeout) as session:
        await asyncio.gather(watch(), *(ask(session, turn) for turn in range(together)))
    endured.cpu_s = _cpu_s(process) - cpu
    return endured


def _strangers() -> Iterator[str]:
    """Well-formed numbers of nobody."""
    for number in range(10**6):
        first = f"990000{1900 + number // 1000 % 100}0101{number % 1000:03}"
        yield first + check_digit(first)


def _memory_mb(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024


def _cpu_s(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
