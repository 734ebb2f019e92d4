"""A broker over nodes that do as they are told, for the tests of the broker."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from adapters import Answer, LocalShared, Node, Question, Report, Shared, SqliteStore
from adapters.store import Pointer
from catalog import Kind, load
from gateway.broker import Broker, Memory, Watching
from gateway.log import Log
from gateway.metrics import Metrics
from gateway.nodes import Placed
from gateway.pointers import Pointers
from gateway.rules import Rules, normaliser_of_question
from gateway.settings import NodeSettings
from mapping import LocalName, Named
from mapping.sites import Reads
from recognition import Reading, Result
from security.envelope import Envelope
from tests.node_cases import NOW, normaliser
from tests.node_cases import question as asking

Say = Callable[[Question], Awaitable[Answer]]
ENVELOPE = Envelope({"payload-202611a": bytes(32)}, "payload-202611a")
NAME = LocalName(name="血清白蛋白", kind="lab", site="EX-CQ-01")


def result(node: str = "one", id_: str = "o1", kind: Kind = "lab", days: float = 3) -> Result:
    """A result of so many days ago."""
    when = NOW - timedelta(days=days)
    return Result(
        id=f"{node}/{id_}",
        node=node,
        kind=kind,
        institution="EX-CQ-01",
        local_name="血清白蛋白",
        reading=Reading("1100104A", "ALB|S|QN|-", ""),
        identity="strong",
        status="final",
        performed=when,
        reported=when,
        version_key=f"{id_}/1",
        value="43.10",
        unit="g/L",
    )


def answer(node: str, *results: Result, kind: str = "fhir", **report: Any) -> Answer:
    """An answer with these results."""
    said: dict[str, Any] = {
        "node": node,
        "kind": kind,
        "state": "answered" if results else "empty",
        "took_ms": 1,
        "results": len(results),
    }
    return Answer(report=Report(**said | report), results=results, digest=b"d" * 32)


@dataclass
class Fake:
    """A node that says what ``say`` makes of a question, and counts what it was asked."""

    id: str = "one"
    kind: str = "fhir"
    institution: str = "EX-CQ-01"
    say: Say | None = None
    asked: list[Question] = field(default_factory=list)
    ended: int = 0

    async def prior(self, question: Question) -> Answer:
        self.asked.append(question)
        try:
            if self.say:
                return await self.say(question)
            normaliser_of_question().read(NAME)
            return answer(self.id, result(self.id), kind=self.kind)
        finally:
            self.ended += 1

    async def ping(self) -> Report:
        return answer(self.id).report

    async def aclose(self) -> None:
        return


def slow(seconds: float, then: Answer | None = None) -> Say:
    """Says it after so long."""

    async def say(question: Question) -> Answer:
        await asyncio.sleep(seconds)
        return then or answer("one", result())

    return say


def says(*answers: Answer) -> Say:
    """Says one after the other, and the last one from then on."""
    left = list(answers)

    async def say(question: Question) -> Answer:
        return left.pop(0) if len(left) > 1 else left[0]

    return say


def failed(node: str = "one", state: str = "unreachable") -> Answer:
    """The answer of a node that failed."""
    return answer(node, state=state, fault="node", detail="said nothing of use")


def placed(node: Node, **settings: Any) -> Placed:
    """A node in its place."""
    values: dict[str, Any] = {
        "id": node.id,
        "kind": node.kind,
        "url": "http://127.0.0.1:1",
        "institution": node.institution,
        "timeout_ms": 300,
    }
    return Placed(node, NodeSettings(**values | settings))


@cache
def rules(names: str = "") -> Rules:
    """The bundled catalogue."""
    return Rules(load(), normaliser(), names=names)


class Heard:
    """Reads names, and remembers which."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._reads: Reads = normaliser()

    def read(self, local: LocalName) -> Named:
        self.names.append(local.name)
        return self._reads.read(local)

    def panel(self, name: str) -> str | None:
        return self._reads.panel(name)


def hearing() -> tuple[Rules, Heard]:
    """Rules whose reader remembers what it read."""
    heard = Heard()
    return replace(rules(), normaliser=heard), heard


def question(**changes: Any) -> Question:
    """A question about a person with a pseudonym."""
    return asking(**{"pseudonyms": ("p1",), "budget": 1.0} | changes)


@dataclass
class Brokered:
    """A broker with its parts."""

    broker: Broker
    nodes: list[Placed]
    store: SqliteStore
    pointers: Pointers
    memory: Memory
    metrics: Metrics
    log: io.StringIO

    async def ask(self, by: Rules | None = None, **changes: Any) -> tuple[Answer, ...]:
        gathered = await self.broker.gather(question(**changes), by or rules())
        return gathered.answers

    async def report(self, **changes: Any) -> Report:
        """The report of the first node."""
        return (await self.ask(**changes))[0].report

    async def announce(self, node: str, group: str = "lab", noted: datetime | None = None) -> None:
        """Something was published through a node."""
        pointer = Pointer(
            person="p1",
            node=node,
            group=group,
            first=NOW - timedelta(days=5),
            last=NOW - timedelta(days=3),
            noted=noted or NOW,
            published=True,
        )
        await self.store.hold((), (pointer,))

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [msgspec.json.decode(line) for line in self.log.getvalue().splitlines()]
        return [line for line in lines if line["event"] == name]

    def metric(self, name: str, **labels: str) -> float:
        """The value of a metric, 0 where it never counted."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        for line in self.metrics.render().decode().splitlines():
            if line.startswith(name) and all(one in line for one in wanted):
                return float(line.rsplit(" ", 1)[1])
        return 0.0


@asynccontextmanager
async def broker_over(
    folder: Path,
    nodes: Sequence[Placed],
    *,
    shared: Shared | None = None,
    cache_s: float = 0.0,
    cache_empty_s: float = 0.0,
    clock: Callable[[], float] | None = None,
    owner: str = "cq",
) -> AsyncIterator[Brokered]:
    """A broker over these nodes; what stands in ``.nodes`` may be changed meanwhile, as a new list."""
    store = SqliteStore(folder / f"{owner}.sqlite3")
    await store.open()
    pointers, metrics, log = Pointers(store), Metrics(), io.StringIO()
    clocked = {"clock": clock} if clock else {}
    memory = Memory(shared or LocalShared(), lambda: ENVELOPE, cache_s, cache_empty_s, **clocked)
    held: list[Brokered] = []
    broker = Broker(
        lambda: held[0].nodes,
        owner=owner,
        pointers=pointers,
        memory=memory,
        watching=Watching(Log(log), metrics),
    )
    held.append(Brokered(broker, list(nodes), store, pointers, memory, metrics, log))
    broker.start()
    try:
        yield held[0]
    finally:
        await broker.aclose()
        await pointers.aclose()
        await store.close()
