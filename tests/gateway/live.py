"""One real gateway over real nodes, in this process: what the tests of the faces ask.

The gateway ``cq`` asks a FHIR source with the records that the demonstration gives to the hospital in
Chongqing. Everything is as in production but the servers' threads: keys from the key store, the bundled
catalogue, an embedded store in a folder.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
import secrets
import sqlite3
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters import Store, StoreUnavailable
from gateway.app import create_app
from gateway.audit.exporting import write
from gateway.cases import cases, replay
from gateway.catalogues import Catalogues
from gateway.demo.people import BY_KEY, check_digit
from gateway.demo.processes import free_port
from gateway.demo.records import everything
from gateway.keyring import make_keys, open_keys
from gateway.log import Log
from gateway.metrics import Metrics
from gateway.model import CheckAnswer
from gateway.settings import Settings
from gateway.source import create_source
from gateway.wiring import open_store
from security.audit import Pinned, verify_export
from tests.serving import serve

T = TypeVar("T")
NODE, INDEX = "cq-his", "cq-index"
"""A hospital's source, and what it publishes."""
OWN, OTHER = "EX-CQ-01", "EX-SC-01"
"""The institution that asks, and another one that may ask too."""
PASSPHRASE = b"a passphrase of a test"
PATIENT = BY_KEY["ding"].number
"""Somebody with an albumin of the edge of its window and ordinary results."""
STRANGER = "99000019900101001" + check_digit("99000019900101001")
"""A well-formed number that no node knows."""
CLIENTS: dict[str, dict[str, Any]] = {
    "his": {"institution": OWN, "roles": ["his"]},
    "other": {"institution": OTHER, "roles": ["his"]},
    "third": {"institution": "EX-HB-01", "roles": ["his"]},
    "ward": {"institution": OWN, "roles": ["his"], "purposes": ["TREAT"]},
    "ambulance": {"institution": OWN, "roles": ["his"], "purposes": ["BTG"]},
    "nobody": {"roles": ["his"]},
    "auditor": {"roles": ["auditor"]},
    "reader": {"institution": OWN, "roles": ["auditor"]},
    "steward": {"roles": ["steward"]},
    "second": {"roles": ["steward"]},
    "own-steward": {"institution": OWN, "roles": ["steward"]},
    "peer": {"roles": ["peer"]},
    "operator": {"roles": ["operator"]},
    "publisher": {"institution": OWN, "roles": ["publisher"]},
    "hospital": {"institution": OWN, "roles": ["his", "publisher"]},
    "other-publisher": {"institution": OTHER, "roles": ["publisher"]},
}


BY_ITSELF = ("blinding", "cosigned", "retention", "retention-run")
"""Kinds of documents that a gateway keeps whoever asks what."""


class Counted:
    """An ASGI application that counts its requests."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += scope["type"] == "http"
        await self._app(scope, receive, send)


@dataclass
class Live:
    """A running gateway, what it wrote, and what its node was asked."""

    url: str
    settings: Settings
    tokens: dict[str, str]
    log: io.StringIO
    node: Counted | None = None
    stack: ExitStack = field(default_factory=ExitStack)
    clients: dict[str, httpx.Client] = field(default_factory=dict)

    def client(self, name: str = "his") -> httpx.Client:
        """The HTTP client with the token of one of :data:`CLIENTS`; that without one for an empty name."""
        if name not in self.clients:
            headers = {"Authorization": f"Bearer {self.tokens[name]}"} if name else {}
            client = httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)
            self.clients[name] = self.stack.enter_context(client)
        return self.clients[name]

    def stop(self) -> None:
        """Stop the gateway, as far as it still runs; its nodes go on."""
        self.stack.close()

    @property
    def store(self) -> Path:
        """The file of the embedded store."""
        return self.settings.data_dir / "lianren.sqlite3"

    def kept(self) -> tuple[int, int, int]:
        """How many entries, documents and node requests there have been: what a refusal must not change.

        What the gateway keeps by itself, whoever asks what, is left out.
        """
        with closing(sqlite3.connect(self.store)) as connection:
            entries, documents = (
                connection.execute(query).fetchone()[0]
                for query in (
                    "SELECT count(*) FROM entry",
                    f"SELECT count(*) FROM document WHERE kind NOT IN {BY_ITSELF}",  # noqa: S608 - constant
                )
            )
        return entries, documents, self.node.requests if self.node else 0

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events of this name in the log."""
        lines = [msgspec.json.decode(line) for line in self.log.getvalue().splitlines()]
        return [line for line in lines if line["event"] == name]


def settings_for(
    folder: Path, tokens: dict[str, str], nodes: Sequence[dict[str, Any]], owner: str = "cq", **more: Any
) -> Settings:
    """The settings of a gateway in ``folder`` with the clients of :data:`CLIENTS`."""
    file = folder / "passphrase"
    file.write_bytes(PASSPHRASE)
    file.chmod(0o600)
    clients = [
        {
            "id": name,
            "token_sha256": hashlib.sha256(tokens[name].encode()).hexdigest(),
            "requests_per_minute": 1_000_000,
            **fields,
        }
        for name, fields in CLIENTS.items()
    ]
    values: dict[str, Any] = {
        "name": f"{owner} 示例",
        "owner": owner,
        "region": "500000",
        "base_url": "http://127.0.0.1",
        "data_dir": folder / "data",
        "key_passphrase_file": file,
        "deadline_ms": 8000,
        "cache_s": 0,
        "cache_empty_s": 0,
        "refusals": "explained",
        "nodes": list(nodes),
        "clients": clients,
    }
    return Settings(**(values | more))


@contextmanager
def source_of(folder: Path, name: str = NODE, institution: str = OWN) -> Iterator[tuple[str, Counted]]:
    """A FHIR source with the records that the demonstration gives to a node: its URL and its counter."""
    node = Counted(create_source(folder / f"{name}.sqlite3", institution=institution))
    with serve(node) as url:
        bundle = everything(datetime.now(UTC)).bundles[name]
        answer = httpx.post(
            url,
            content=bundle,
            headers={"Content-Type": "application/fhir+json"},
            trust_env=False,
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
        yield url, node


@contextmanager
def started(settings: Settings, tokens: dict[str, str]) -> Iterator[Live]:
    """A gateway of these settings, whose keys are there; before it stops, every decision is made again.

    Where its address names a port, it listens there."""
    log = io.StringIO()
    with ExitStack() as stack:
        port = urlsplit(settings.base_url).port or 0
        url = stack.enter_context(serve(create_app(settings, Log(log)), port))
        stack.callback(assert_decisions_replay, settings)
        yield Live(url, settings, tokens, log, stack=stack)


@contextmanager
def gateway_with(
    folder: Path, nodes: Sequence[dict[str, Any]], *, owner: str = "cq", **more: Any
) -> Iterator[Live]:
    """A new gateway over these nodes."""
    tokens = {name: secrets.token_urlsafe(16) for name in CLIENTS}
    settings = settings_for(folder, tokens, nodes, owner, **more)
    make_keys(settings)
    with started(settings, tokens) as live:
        yield live


@contextmanager
def gateway_over_source(folder: Path) -> Iterator[Live]:
    """A gateway over one FHIR source."""
    with source_of(folder) as (url, node):
        fhir = {"id": NODE, "kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 7000}
        with gateway_with(folder, [fhir]) as live:
            live.node = node
            yield live


@contextmanager
def gateway_of_hospital(folder: Path) -> Iterator[Live]:
    """A gateway over a hospital's source and over what that hospital publishes to :data:`INDEX`. It listens
    at the address that it knows itself by, because clients follow its links."""
    with source_of(folder) as (url, node):
        nodes: list[dict[str, Any]] = [
            {"id": NODE, "kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 7000},
            {"id": INDEX, "kind": "published", "institution": OWN},
        ]
        with gateway_with(folder, nodes, base_url=f"http://127.0.0.1:{free_port()}") as live:
            live.node = node
            yield live


def body(*planned: str, patient: str = PATIENT, **more: Any) -> dict[str, Any]:
    """The body of a check with a request id of its own."""
    names = [{"name": name, "kind": "lab"} for name in planned or ("白蛋白",)]
    return {
        "request_id": uuid.uuid4().hex,
        "patient": {"type": "resident-id", "value": patient},
        "planned": names,
    } | more


def ask(client: httpx.Client, asked: dict[str, Any]) -> CheckAnswer:
    """The answer to a check that is answered."""
    response = client.post("/api/v1/checks", json=asked)
    assert response.status_code == 200, response.text
    return msgspec.json.decode(response.content, type=CheckAnswer)


def reading(live: Live, work: Callable[[Store], Awaitable[T]]) -> T:
    """What this finds in a gateway's store, opened and unsealed as a command opens it."""

    async def run() -> T:
        store = open_store(live.settings)
        await store.open()
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def audit(live: Live, folder: Path) -> list[str]:
    """Export the ledger of a running gateway and verify it: the names of the checks that fail."""
    keys = open_keys(live.settings)

    async def export() -> int:
        store = open_store(live.settings, keys)
        await store.open()
        try:
            return await write(store, keys, live.settings, folder, disclose=True)
        finally:
            await store.close()

    asyncio.run(export())
    pinned = msgspec.json.decode((folder / "pinned.json").read_bytes(), type=Pinned)
    return [
        f"{check.name} {check.en}"
        for check in verify_export(folder, pinned).checks
        if check.state == "failed"
    ]


def assert_decisions_replay(settings: Settings) -> None:
    """Every decision in a gateway's store comes out identical under the version it was made under."""
    assert asyncio.run(_replayed(settings)) == []


async def _replayed(settings: Settings) -> list[str]:
    """The ids of the decisions that come out otherwise; a database that a test stopped has none to tell."""
    keys = open_keys(settings)
    store = open_store(settings, keys)
    try:
        await store.open()
    except StoreUnavailable:
        assert settings.store, "the embedded store cannot be opened"
        return []
    try:
        catalogues = Catalogues(settings, store, keys, Log(io.StringIO()), Metrics())
        await catalogues.poll()
        return [
            id_
            async for id_, case in cases(store, datetime(2000, 1, 1, tzinfo=UTC))
            if not case.holds(replay(case, catalogues.under(case.catalogue).catalogue))
        ]
    finally:
        await store.close()


def persons_in(text: str) -> list[str]:
    """The synthetic persons whose number, name or birth date stands in a text."""
    told = []
    for person in BY_KEY.values():
        born = person.birth_date.isoformat()
        marks = (person.number, person.name, born, born.replace("-", ""), f"Huanzhe {person.pinyin}")
        if any(re.search(re.escape(mark), text) for mark in marks):
            told.append(person.key)
    return told
