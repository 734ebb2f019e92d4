"""Everything a running gateway consists of, built once and closed in the reverse order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from msgspec import Struct

from adapters import Cache, DicomwebNode, FhirNode, LocalCache, Node, PeerGateway, PeerKeys, Report
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
from gateway.broker import Broker
from gateway.catalogues import Catalogues
from gateway.errors import SettingsError
from gateway.keeper import TrustKeeper
from gateway.keyring import Signers, open_envelope, open_keys
from gateway.log import Log
from gateway.marks.marking import Marker
from gateway.marks.statuses import Statuses
from gateway.marks.withdrawing import Withdrawals
from gateway.metrics import Metrics
from gateway.persons.consent import Consents
from gateway.persons.pseudonyms import Persons
from gateway.readiness import Readiness, status_findings, trust_findings, witness_findings
from gateway.rules import Rules, normaliser_of_question
from gateway.settings import NodeSettings, Settings
from gateway.signing import Signing
from gateway.sites import Sites
from gateway.witness.comparing import EVERY, Comparer
from gateway.witness.cosigning import Cosigner, log_name
from gateway.witness.witnessing import Witnesses
from mapping.sites import Reads
from security import http_signature
from security.digests import HashName
from security.identity import Identifier
from security.keystore import KeyStore
from security.note import hash_of
from security.pseudonym import Pseudonymiser, Pseudonyms


class Gateway(Struct, kw_only=True):
    """The parts of a running gateway; ``holdings`` are the institutions each own node may speak for."""

    settings: Settings
    catalogues: Catalogues
    sites: Sites
    origin: str
    hash_name: HashName
    store: Store
    sequencer: Sequencer
    broker: Broker
    holdings: dict[str, frozenset[str]]
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
    log: Log
    metrics: Metrics

    @property
    def rules(self) -> Rules:
        """What is in force now, with what sites confirmed; whoever works with it for longer takes it once."""
        return self.sites.applied(self.catalogues.rules)

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
    inner: Store
    if settings.store:
        from adapters.postgres import PostgresStore

        inner = PostgresStore(settings.store)
    else:
        inner = SqliteStore(embedded(settings))
    return SealedStore(inner, open_envelope(settings, held), lambda: open_envelope(settings, held))


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


def open_cache(settings: Settings, log: Log, metrics: Metrics) -> Cache:
    """Redis where an address is set, so that replicas share it; else a cache in this process."""
    if not settings.redis:
        return LocalCache()
    from adapters.redis_cache import RedisCache

    return RedisCache(settings.redis, _cache_observer(log, metrics))


def open_clients(
    settings: Settings, store: Store, signers: Signers, own_keys: Keys, log: Log, metrics: Metrics
) -> Clients:
    """Who may ask; what counts once is remembered in the store, requests are counted in Redis if set.

    Raises:
        SettingsError: the key set of a client cannot be read.
        KeyStoreError: there is no key for access tokens.
    """
    once, allowance = Once(store), Allowance(settings.redis, _cache_observer(log, metrics))
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
        cache = open_cache(settings, log, metrics)
        stack.push_async_callback(cache.close)
        peer_keys = PeerKeys(
            signers.of("peer", settings.mark_algorithm), lambda kid, at: trust.list.key(kid, at, "peer")
        )
        clients = open_clients(settings, store, signers, lambda: trust.own_keys, log, metrics)
        stack.push_async_callback(clients.aclose)
        nodes = build_nodes(settings.nodes, normaliser_of_question, peer_keys)
        for node in nodes:
            stack.push_async_callback(node.aclose)
        gateway = Gateway(
            settings=settings,
            catalogues=catalogues,
            sites=sites,
            origin=origin,
            hash_name=hash_name,
            store=store,
            sequencer=sequencer,
            broker=Broker(nodes, _observer(log, metrics)),
            holdings={
                node.id: frozenset({node.institution, *node.further_institutions}) for node in settings.nodes
            },
            marker=Marker(
                settings.owner,
                f"{settings.base_url.rstrip('/')}/trust/status",
                signing,
                store,
                cache,
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
            log=log,
            metrics=metrics,
        )
        trust.start()
        clients.start()
        witnesses.start(sequencer, lambda: trust.list, settings.witness_s)
        if any(node.kind == "gateway" for node in settings.nodes) or any(c.owner for c in settings.clients):
            asyncio.get_running_loop().run_in_executor(None, http_signature.load)
        comparer = Comparer(settings.owner, settings.pins, gateway.cosigner, lambda: trust.list, log)
        stack.push_async_callback(comparer.aclose)
        comparer.start(settings.witness_s * EVERY)
        catalogues.start()
        sites.start()
        statuses.start()
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
            nodes=len(nodes),
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


async def ping_nodes(settings: Settings) -> list[Report]:
    """Whether each configured node is there, without a running gateway.

    Raises:
        SettingsError: the nodes cannot be built.
    """
    nodes = build_nodes(settings.nodes, normaliser_of_question)
    reports = await asyncio.gather(*(node.ping() for node in nodes))
    await asyncio.gather(*(node.aclose() for node in nodes))
    return reports


def build_nodes(
    settings: Sequence[NodeSettings], normaliser: Callable[[], Reads], keys: PeerKeys | None = None
) -> list[Node]:
    """The adapters of the configured nodes; archives find their patients through their FHIR node. Without
    ``keys`` other gateways can only be pinged."""
    fhir = {
        node.id: FhirNode(
            node.id,
            node.url,
            node.institution,
            normaliser,
            timeout=node.timeout_ms / 1000,
            token=_token(node),
        )
        for node in settings
        if node.kind == "fhir"
    }
    nodes: list[Node] = []
    for node in settings:
        timeout, token = node.timeout_ms / 1000, _token(node)
        if node.kind == "fhir":
            nodes.append(fhir[node.id])
        elif node.kind == "dicomweb":
            nodes.append(
                DicomwebNode(
                    node.id,
                    node.url,
                    node.institution,
                    fhir[node.identity],
                    normaliser,
                    timeout=timeout,
                    token=token,
                )
            )
        else:
            nodes.append(
                PeerGateway(node.id, node.url, owner=node.owner, keys=keys, timeout=timeout, token=token)
            )
    return nodes


def _token(node: NodeSettings) -> str:
    if node.token_file is None:
        return ""
    try:
        return node.token_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"nodes: {node.id}: token_file {node.token_file} cannot be read") from None


def _observer(log: Log, metrics: Metrics) -> Callable[[Report], None]:
    def observe(report: Report) -> None:
        metrics.nodes.labels(report.node, report.state).inc()
        if report.state not in ("answered", "empty", "skipped"):
            log(
                "node_failed",
                node=report.node,
                state=report.state,
                took_ms=report.took_ms,
                detail=report.detail,
            )

    return observe
