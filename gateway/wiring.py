"""Everything a running gateway consists of, built once and closed in the reverse order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from adapters import LocalShared, PeerKeys, Report, Shared
from adapters.rewrapping import Rows, postgres_rows, sqlite_rows
from adapters.sealing import SealedStore
from adapters.sequencer import Sequencer
from adapters.sqlite import SqliteStore
from adapters.store import Store
from gateway.access.allowance import Allowance
from gateway.access.clients import Clients
from gateway.access.once import Once
from gateway.access.tokens import Keys, Tokens
from gateway.audit.retention import Daily, Retention
from gateway.broker import Broker, Memory, Watching
from gateway.catalogues import Catalogues
from gateway.keeper import TrustKeeper
from gateway.keyring import Signers, open_envelope, open_keys
from gateway.log import Log
from gateway.marks.marking import Marker
from gateway.marks.statuses import Statuses
from gateway.marks.withdrawing import Withdrawals
from gateway.metrics import Metrics
from gateway.nodes import Changes, Nodes, Parts, build
from gateway.pages import Pages
from gateway.persons.consent import Consents
from gateway.persons.pseudonyms import Persons
from gateway.pointers import Pointers
from gateway.readiness import Readiness, status_findings, trust_findings, witness_findings
from gateway.rules import Rules, normaliser_of_question
from gateway.settings import Settings
from gateway.signing import Signing
from gateway.sites import Sites
from gateway.witness.comparing import EVERY, Comparer
from gateway.witness.cosigning import Cosigner, log_name
from gateway.witness.witnessing import Witnesses
from security import http_signature
from security.digests import HashName
from security.identity import Identifier
from security.keystore import KeyStore
from security.note import hash_of
from security.pseudonym import Pseudonymiser, Pseudonyms

if TYPE_CHECKING:
    from adapters.postgres import PostgresStore


class Gateway(Struct, kw_only=True):
    """The parts of a running gateway."""

    settings: Settings
    catalogues: Catalogues
    sites: Sites
    origin: str
    hash_name: HashName
    store: SealedStore
    sequencer: Sequencer
    broker: Broker
    pointers: Pointers
    nodes: Nodes
    marker: Marker
    signing: Signing
    withdrawals: Withdrawals
    statuses: Statuses
    trust: TrustKeeper
    signers: Signers
    clients: Clients
    pseudonymiser: Pseudonymiser
    consents: Consents
    cosigner: Cosigner
    witnesses: Witnesses
    readiness: Readiness
    pages: Pages
    shared: Shared
    log: Log
    metrics: Metrics

    @property
    def rules(self) -> Rules:
        """What is in force now, with what sites confirmed; whoever works with it for longer takes it once."""
        return self.sites.applied(self.catalogues.rules)

    @property
    def holdings(self) -> Mapping[str, frozenset[str]]:
        """The institutions that each own node may speak for."""
        return self.nodes.holdings()

    async def pseudonyms(self, person: Identifier) -> Pseudonyms:
        """What stands for a person in this gateway's own records. Raises TooManyRequests."""
        return await self.pseudonymiser.pseudonyms(person, self.settings.owner)


def open_store(settings: Settings, keys: KeyStore | None = None) -> SealedStore:
    """PostgreSQL where an address is set, else SQLite below ``data_dir``, sealed by the ``payload`` secrets
    of the keys (opened here when left out); not opened yet.

    Raises:
        SettingsError, KeyStoreError: there is nothing to seal with.
    """
    held = keys or open_keys(settings)
    inner = open_tables(settings, migrate=settings.migrate)
    return SealedStore(inner, open_envelope(settings, held), lambda: open_envelope(settings, held))


def open_tables(settings: Settings, *, migrate: bool = True) -> PostgresStore | SqliteStore:
    """The store without its seal, not opened yet: its tables can be looked after without keys."""
    if settings.store:
        from adapters.postgres import PostgresStore

        return PostgresStore(settings.store, migrate=migrate)
    return SqliteStore(embedded(settings), migrate=migrate)


@asynccontextmanager
async def open_rows(settings: Settings) -> AsyncIterator[Rows]:
    """The tables of the store, for sealing them anew beside a running gateway.

    Raises:
        StoreError: they cannot be opened.
    """
    store = open_store(settings).inner
    await store.open()  # brings the tables up to date
    await store.close()
    opened = postgres_rows(settings.store) if settings.store else sqlite_rows(embedded(settings))
    async with opened as rows:
        yield rows


def embedded(settings: Settings) -> Path:
    """The file of the embedded store, whose folder is made where it is missing."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return settings.data_dir / "lianren.sqlite3"


def open_shared(settings: Settings, log: Log, metrics: Metrics) -> Shared:
    """Redis where an address is set, so that replicas share it; else what this process remembers."""
    if not settings.redis:
        return LocalShared()
    from adapters.redis_cache import RedisCache

    return RedisCache(settings.redis, _cache_observer(log, metrics), prefix=f"{settings.owner}|")


def open_clients(
    settings: Settings, store: Store, signers: Signers, own_keys: Keys, log: Log, metrics: Metrics
) -> Clients:
    """Who may ask; what counts once is remembered in the store, requests are counted in Redis if set.

    Raises:
        SettingsError: the key set of a client cannot be read.
        KeyStoreError: there is no key for access tokens.
    """
    once = Once(store)
    allowance = Allowance(settings.redis, _cache_observer(log, metrics), owner=settings.owner)
    tokens = Tokens(settings, signers.of("token", "Ed25519"), own_keys, once, allowance, log)
    return Clients(settings, tokens, once, allowance)


def _cache_observer(log: Log, metrics: Metrics) -> Callable[[str, Exception], None]:
    def failed(operation: str, error: Exception) -> None:
        metrics.cache_errors.inc()
        log("cache_failed", detail=f"{operation}: {type(error).__name__}")

    return failed


def origin_of(settings: Settings) -> str:
    """The origin line of this gateway's checkpoints (C2SP tlog-checkpoint)."""
    return log_name(settings.owner)


@asynccontextmanager
async def open_gateway(settings: Settings, log: Log) -> AsyncIterator[Gateway]:
    """Build a gateway and close it again.

    Raises:
        SettingsError, CatalogueError, TrustError, AdapterError: with one line that says what to do.
    """
    keys = open_keys(settings)
    origin = origin_of(settings)
    hash_name = hash_of(origin)
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        signers = Signers(keys)
        store = open_store(settings, keys)
        await store.open()
        stack.push_async_callback(store.close)
        signers.watch(store.renew)
        witnesses = _witnesses(settings, keys, store, log, metrics)
        stack.push_async_callback(witnesses.aclose)
        sequencer = Sequencer(
            store,
            signers.each("log", "Ed25519", "SM2"),
            origin,
            guard=witnesses.guard,
        )
        await sequencer.start()
        stack.push_async_callback(sequencer.close)
        catalogues = Catalogues(settings, store, keys, log, metrics)
        await catalogues.open(sequencer)
        stack.push_async_callback(catalogues.aclose)
        sites = Sites(settings, store, keys, log)
        await sites.poll()
        stack.push_async_callback(sites.aclose)
        trust = TrustKeeper(settings, keys, signers, sequencer, log)
        await trust.open()
        stack.push_async_callback(trust.aclose)
        signing = Signing(signers.each("mark", settings.mark_algorithm))
        stack.callback(signing.close)
        withdrawals = Withdrawals(settings.owner, sequencer, signing)
        await withdrawals.refresh()
        statuses = Statuses(settings, store, lambda: trust.list, withdrawals, log)
        await statuses.open()
        stack.push_async_callback(statuses.aclose)
        pointers = Pointers(store)
        pointers.start()
        stack.push_async_callback(pointers.aclose)
        shared = open_shared(settings, log, metrics)
        stack.push_async_callback(shared.close)
        peer_keys = PeerKeys(
            signers.of("peer", settings.mark_algorithm), lambda kid, at: trust.list.key(kid, at, "peer")
        )
        clients = open_clients(settings, store, signers, lambda: trust.own_keys, log, metrics)
        stack.push_async_callback(clients.aclose)
        parts = Parts(normaliser=normaliser_of_question, keys=peer_keys, store=store)
        nodes = Nodes(settings, store, parts, log)
        stack.push_async_callback(nodes.aclose)
        await nodes.open()
        broker = Broker(
            nodes.placed,
            owner=settings.owner,
            pointers=pointers,
            memory=Memory(shared, lambda: store.envelope, settings.cache_s, settings.cache_empty_s),
            watching=Watching(log, metrics),
        )
        stack.push_async_callback(broker.aclose)
        gateway = Gateway(
            settings=settings,
            catalogues=catalogues,
            sites=sites,
            origin=origin,
            hash_name=hash_name,
            store=store,
            sequencer=sequencer,
            pointers=pointers,
            broker=broker,
            nodes=nodes,
            marker=Marker(
                settings.owner,
                f"{settings.base_url}/trust/status",
                signing,
                store,
                shared,
                trust=lambda: trust.list,
                withdrawals=withdrawals,
                withdrawn=statuses.withdrawn,
            ),
            withdrawals=withdrawals,
            signing=signing,
            statuses=statuses,
            trust=trust,
            signers=signers,
            clients=clients,
            pseudonymiser=Persons(keys, settings.pseudonyms_per_minute),
            consents=Consents(store),
            cosigner=Cosigner(
                settings.owner,
                [pin.owner for pin in settings.pins],
                [signers.of("witness", "Ed25519"), signers.of("witness", "SM2")],
                lambda: trust.list,
                sequencer,
                log,
            ),
            witnesses=witnesses,
            readiness=Readiness(
                settings,
                sequencer,
                keys.list,
                [
                    lambda: witness_findings(witnesses),
                    lambda: trust_findings(trust),
                    lambda: status_findings(statuses),
                ],
                metrics,
            ),
            pages=Pages(shared, lambda: store.envelope),
            shared=shared,
            log=log,
            metrics=metrics,
        )
        trust.start()
        clients.start()
        witnesses.start(sequencer, lambda: trust.list, settings.witness_s)
        peers = [one for one in nodes.placed() if one.settings.kind == "gateway"]
        if peers or any(client.owner for client in settings.clients):
            asyncio.get_running_loop().run_in_executor(None, http_signature.load)
        comparer = Comparer(settings.owner, settings.pins, gateway.cosigner, lambda: trust.list, log)
        stack.push_async_callback(comparer.aclose)
        comparer.start(settings.witness_s * EVERY)
        catalogues.start()
        sites.start()
        statuses.start()
        nodes.start()
        broker.start()
        daily = Daily(Retention(settings.retention, settings.owner, sequencer), sequencer, log)
        daily.start()
        stack.push_async_callback(daily.aclose)
        head = await store.head()
        metrics.log_size.set(head.size)
        log(
            "started",
            name=settings.name,
            owner=settings.owner,
            catalogue=gateway.rules.catalogue.version,
            nodes=len(nodes.placed()),
            store="postgresql" if settings.store else "sqlite",
            log_size=head.size,
        )
        yield gateway
    log("stopped", name=settings.name)


@asynccontextmanager
async def open_catalogues(settings: Settings) -> AsyncIterator[tuple[Catalogues, Sequencer]]:
    """What was published, beside a running gateway or without one; nothing is written by looking.

    The sequencer writes once it is started.

    Raises:
        SettingsError, TrustError, AdapterError: with one line that says what to do.
    """
    keys = open_keys(settings)
    async with open_ledger(settings, keys) as sequencer:
        catalogues = Catalogues(settings, sequencer.store, keys, _unheard, Metrics())
        await catalogues.poll()
        yield catalogues, sequencer


@asynccontextmanager
async def open_ledger(settings: Settings, keys: KeyStore) -> AsyncIterator[Sequencer]:
    """The ledger beside a running gateway or without one; it writes once it is started.

    Raises:
        SettingsError, TrustError, AdapterError: with one line that says what to do.
    """
    store = open_store(settings, keys)
    await store.open()
    witnesses = _witnesses(settings, keys, store, _unheard, Metrics())
    sequencer = Sequencer(
        store,
        [keys.signer("log", "Ed25519"), keys.signer("log", "SM2")],
        origin_of(settings),
        guard=witnesses.guard,
    )
    try:
        yield sequencer
    finally:
        await sequencer.close()
        await witnesses.aclose()
        await store.close()


def _witnesses(
    settings: Settings, keys: KeyStore, store: Store, log: Callable[..., None], metrics: Metrics
) -> Witnesses:
    return Witnesses(
        settings.owner, settings.pins, keys.list, store, settings.data_dir, settings.quorum, log, metrics
    )


def _unheard(event: str, **fields: object) -> None:
    """A command says what it found itself, and leaves the log to the gateway."""


async def ping_nodes(settings: Settings, *ids: str) -> list[Report]:
    """Whether each node (of these ids) is there, beside a running gateway or without one.

    Raises:
        SettingsError, TrustError, StoreError: what was set at run time cannot be read.
    """
    async with open_changes(settings) as (changes, sequencer):
        wanted = build(changes.standing(), Parts(normaliser=normaliser_of_question, store=sequencer.store))
        nodes = [one.placed.node for one in wanted]
        try:
            return await asyncio.gather(*(node.ping() for node in nodes if not ids or node.id in ids))
        finally:
            await asyncio.gather(*(node.aclose() for node in nodes))


@asynccontextmanager
async def open_changes(settings: Settings) -> AsyncIterator[tuple[Changes, Sequencer]]:
    """What was changed of the nodes, beside a running gateway or without one. The sequencer writes once it is
    started.

    Raises:
        SettingsError, TrustError, AdapterError: with one line that says what to do.
    """
    async with open_ledger(settings, open_keys(settings)) as sequencer:
        changes = Changes(settings, sequencer.store)
        await changes.poll()
        yield changes, sequencer
