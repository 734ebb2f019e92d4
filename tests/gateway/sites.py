"""Gateways reduced to their ledgers and witnesses: real stores, real HTTP between them, one event loop.

Rounds are made one at a time, so that a test says when what happens. Before a site stands a way that can
break, before a call had its effect or after it; before its store stands another one.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from adapters import StoreUnavailable
from adapters.sequencer import Sequencer
from adapters.sqlite import SqliteStore
from adapters.store import Store
from gateway.errors import BadRequest, NotFound
from gateway.faces import ledger, witness
from gateway.metrics import Metrics
from gateway.settings import PinSettings
from gateway.witness.cosigning import Cosigner, log_name, witness_name
from gateway.witness.witnessing import Witnesses, WitnessReport, newest_cosigned
from security import note
from security.errors import KeyStoreError
from security.keys import Algorithm, KeyPair, PublicKey, Signer
from security.ledger import Sealed, seal
from security.note import NoteVerifier, VerifiedNote
from security.trust import KeyList, TrustList, sign_key_list

BORN = datetime.now(UTC) - timedelta(days=1)
Call = Callable[[], Awaitable[Any]]


def keys_of(owner: str) -> dict[tuple[str, str], KeyPair]:
    """The keys of an owner by purpose and algorithm."""
    algorithms: tuple[tuple[Algorithm, str], ...] = (("Ed25519", "a"), ("SM2", "b"))
    return {
        (purpose, algorithm): KeyPair.generate(algorithm, owner, purpose, BORN, letter=letter)
        for purpose in ("root", "log", "witness")
        for algorithm, letter in algorithms
    }


KEYS = {owner: keys_of(owner) for owner in ("cq", "sc", "lab8")}


def of(owner: str, purpose: str) -> list[KeyPair]:
    """Both keys of an owner for a purpose."""
    return [key for (for_, _), key in KEYS[owner].items() if for_ == purpose]


def trust_of(owners: tuple[str, ...]) -> TrustList:
    """The trust list of somebody who pinned these owners."""
    trust = TrustList([key.public for owner in owners for key in of(owner, "root")])
    for owner in owners:
        keys = tuple(key.public for purpose in ("log", "witness") for key in of(owner, purpose))
        listed = KeyList(owner=owner, version=1, issued=BORN, expires=BORN + timedelta(days=30), keys=keys)
        trust = trust.add(sign_key_list(listed, of(owner, "root")), datetime.now(UTC))
    return trust


TRUST = trust_of(tuple(KEYS))


def verifiers(*witnesses: str, log: str = "cq") -> list[NoteVerifier]:
    """What a reader of the checkpoints of a log trusts."""
    found = [NoteVerifier.of(log_name(log), key.public) for key in of(log, "log")]
    for owner in witnesses:
        name = witness_name(owner)
        found += [NoteVerifier.of(name, key.public, cosigns=True) for key in of(owner, "witness")]
    return found


def entries(count: int, what: str = "one") -> list[Sealed]:
    """Entries for a ledger."""
    now = datetime.now(UTC)
    return [
        seal("outcome", f"{what} {n}".encode(), time=now, from_="cq", to="sc", hash_name="sha256")
        for n in range(count)
    ]


class Faults:
    """A store of which the next call of a method fails once: before it had its effect, or after."""

    def __init__(self, store: Store) -> None:
        self.inner = store
        self.armed: dict[str, str] = {}

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)
        if name not in self.armed:
            return method

        async def broken(*args: Any, **kwargs: Any) -> Any:
            if self.armed.pop(name) == "after":
                await method(*args, **kwargs)
            raise StoreUnavailable("the database went away")

        return broken


class Flaky:
    """A signer that fails once: before it signed, or after it."""

    def __init__(self, key: KeyPair) -> None:
        self.public, self.kid, self.algorithm = key.public, key.kid, key.algorithm
        self.key = key
        self.fails = ""

    def sign(self, message: bytes) -> bytes:
        """A signature, or none."""
        fails, self.fails = self.fails, ""
        if fails != "before":
            signature = self.key.sign(message)
        if fails:
            raise KeyStoreError("the device does not answer")
        return signature


@dataclass
class Site:
    """One gateway's ledger, its cosigner, the witnesses it asks, and the way to them."""

    owner: str
    folder: Path
    store: Faults
    sequencer: Sequencer
    cosigner: Cosigner
    witnesses: Witnesses
    signer: Flaky
    log: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    away: bool = False
    breaks: str = ""
    answers: Callable[[bytes], Response | None] = field(default=lambda body: None)
    url: str = ""

    async def round(self) -> None:
        """One round to the witnesses."""
        await self.witnesses.round(self.sequencer, TRUST)

    async def append(self, count: int = 1) -> None:
        """Append entries."""
        await self.sequencer.append(entries(count))

    async def reports(self) -> dict[str, WitnessReport]:
        """What came of the last round, by witness."""
        return {report.owner: report for report in (await self.witnesses.report()).witnesses}

    async def cosigned(self, *witnesses: str) -> VerifiedNote:
        """The cosigned checkpoint, verified by one who trusts these witnesses."""
        signed = await newest_cosigned(self.store)
        assert signed is not None
        return note.verify_checkpoint(signed, verifiers(*witnesses, log=self.owner))

    def events(self, name: str) -> list[dict[str, Any]]:
        """The fields of the logged events of this name."""
        return [fields for event, fields in self.log if event == name]

    @property
    def file(self) -> Path:
        """The database."""
        return self.folder / "ledger.db"

    def copy(self, name: str) -> None:
        """Take a backup of the database while the gateway is down."""
        shutil.copy(self.file, self.folder / name)

    def put_back(self, name: str) -> None:
        """Restore a backup while the gateway is down."""
        for further in ("ledger.db-wal", "ledger.db-shm"):
            (self.folder / further).unlink(missing_ok=True)
        shutil.copy(self.folder / name, self.file)

    @property
    def published(self) -> Path:
        """The file that remembers what was published."""
        return self.folder / "published-checkpoint"

    def app(self) -> FastAPI:
        """The face of the witness, behind the way."""
        app = FastAPI()
        app.include_router(witness.router)
        app.include_router(ledger.router)
        for kind in (NotFound, BadRequest):
            app.add_exception_handler(kind, lambda request, error: Response(str(error), 422))
        settings = SimpleNamespace(body_limit=1_000_000)
        app.state.gateway = SimpleNamespace(
            cosigner=self.cosigner,
            store=self.store,
            sequencer=self.sequencer,
            hash_name="sha256",
            settings=settings,
        )

        @app.middleware("http")
        async def way(request: Request, call_next: Any) -> Response:
            if self.away:
                return Response(status_code=503)
            if request.method == "POST" and (answer := self.answers(await request.body())):
                return answer
            breaks, self.breaks = self.breaks, ""
            if breaks == "before":
                return Response(status_code=502)
            answered: Response = await call_next(request)
            return Response(status_code=502) if breaks == "after" else answered

        return app


class Host:
    """One server for the sites of a test, each below its owner's name; it answers 503 for those that are
    not there."""

    def __init__(self) -> None:
        self.url = ""
        self.sites: dict[str, FastAPI] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        _, owner, path = scope["path"].split("/", 2)
        app = self.sites.get(owner, Response(status_code=503))
        await app({**scope, "path": f"/{path}"}, receive, send)


def pins_of(host: Host, owners: Sequence[str]) -> list[PinSettings]:
    """Pins of sites; their key lists are trusted anyway."""
    return [
        PinSettings(owner=owner, url=f"{host.url}/{owner}", keys_file=Path("unread"), witness=True)
        for owner in owners
    ]


@asynccontextmanager
async def serving() -> AsyncIterator[Host]:
    """A host on this event loop."""
    host = Host()
    server = uvicorn.Server(uvicorn.Config(host, port=0, log_level="critical", lifespan="off"))
    task = asyncio.create_task(server._serve())  # serve() would take the signals of the tests' process
    while not server.started:
        await asyncio.wait((task,), timeout=0.002)
    host.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    yield host
    server.should_exit = True
    await task


@asynccontextmanager
async def site(
    host: Host, folder: Path, owner: str, asks: tuple[str, ...] = (), quorum: int = 2
) -> AsyncIterator[Site]:
    """A site with an open ledger in ``folder/owner``, that asks these witnesses."""
    home = folder / owner
    home.mkdir(exist_ok=True)
    log: list[tuple[str, dict[str, Any]]] = []

    def write(event: str, **fields: Any) -> None:
        log.append((event, fields))

    async with AsyncExitStack() as stack:
        store = Faults(SqliteStore(home / "ledger.db"))
        await store.open()
        stack.push_async_callback(store.close)
        pins = pins_of(host, asks)
        metrics = Metrics()
        public: list[PublicKey] = [key.public for key in of(owner, "log")]
        witnesses = Witnesses(owner, pins, lambda: public, store, home, quorum, write, metrics)
        stack.push_async_callback(witnesses.aclose)
        sequencer = Sequencer(store, of(owner, "log"), log_name(owner), guard=witnesses.guard)
        await sequencer.start()
        stack.push_async_callback(sequencer.close)
        owners = [other for other in KEYS if other != owner]
        signer = Flaky(of(owner, "witness")[0])
        signers: list[Signer] = [signer, *of(owner, "witness")[1:]]
        cosigner = Cosigner(owner, owners, signers, lambda: TRUST, sequencer, write)
        found = Site(owner, home, store, sequencer, cosigner, witnesses, signer, log)
        found.url = f"{host.url}/{owner}"
        host.sites[owner] = found.app()
        stack.callback(host.sites.pop, owner)
        yield found


async def post(url: str, body: bytes) -> httpx.Response:
    """Send a checkpoint to a witness."""
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(f"{url}/witness/add-checkpoint", content=body)
