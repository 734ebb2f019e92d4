"""Everything a running gateway consists of, built once and closed in the reverse order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from msgspec import Struct

from adapters import Cache, DicomwebNode, FhirNode, LocalCache, Node, PeerGateway, Report
from adapters.sequencer import Sequencer
from adapters.sqlite import SqliteStore
from adapters.store import Store
from gateway.broker import Broker
from gateway.catalogues import Catalogues
from gateway.clients import Clients
from gateway.errors import SettingsError
from gateway.keeper import TrustKeeper
from gateway.keyring import open_keys, open_pseudonymiser
from gateway.log import Log
from gateway.marking import Marker
from gateway.metrics import Metrics
from gateway.rules import Rules, normaliser_of_question
from gateway.settings import NodeSettings, Settings
from gateway.sites import Sites
from mapping.sites import Reads
from security.digests import HashName
from security.identity import Identifier
from security.note import hash_of
from security.pseudonym import Pseudonymiser


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
    trust: TrustKeeper
    clients: Clients
    pseudonymiser: Pseudonymiser
    log: Log
    metrics: Metrics

    @property
    def rules(self) -> Rules:
        """What is in force now, with what sites confirmed; whoever works with it for longer takes it once."""
        return self.sites.applied(self.catalogues.rules)

    def pseudonym(self, person: Identifier) -> str:
        """What stands for a person in this gateway's own records."""
        return self.pseudonymiser.for_recipient(person.type, person.text, self.settings.owner)


def open_store(settings: Settings) -> Store:
    """PostgreSQL where an address is set, else SQLite below ``data_dir``; not opened yet."""
    if settings.store:
        from adapters.postgres import PostgresStore

        return PostgresStore(settings.store)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return SqliteStore(settings.data_dir / "lianren.sqlite3")


def open_cache(settings: Settings, log: Log, metrics: Metrics) -> Cache:
    """Redis where an address is set, so that replicas share it; else a cache in this process."""

    def failed(operation: str, error: Exception) -> None:
        metrics.cache_errors.inc()
        log("cache_failed", detail=f"{operation}: {type(error).__name__}")

    if not settings.redis:
        return LocalCache()
    from adapters.redis_cache import RedisCache

    return RedisCache(settings.redis, failed)


def origin_of(settings: Settings) -> str:
    """The origin line of this gateway's checkpoints (C2SP tlog-checkpoint)."""
    return f"{settings.owner}.lianren.example/exchange"


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
        store = open_store(settings)
        await store.open()
        stack.push_async_callback(store.close)
        sequencer = Sequencer(store, [keys.signer("log", "Ed25519"), keys.signer("log", "SM2")], origin)
        await sequencer.start()
        stack.push_async_callback(sequencer.close)
        catalogues = Catalogues(settings, store, keys, log, metrics)
        await catalogues.open(sequencer)
        stack.push_async_callback(catalogues.aclose)
        sites = Sites(settings, store, keys, log)
        await sites.poll()
        stack.push_async_callback(sites.aclose)
        trust = TrustKeeper(keys, settings.owner, settings.pins, log)
        stack.push_async_callback(trust.aclose)
        cache = open_cache(settings, log, metrics)
        stack.push_async_callback(cache.close)
        nodes = build_nodes(settings.nodes, normaliser_of_question)
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
                keys.signer("mark", settings.mark_algorithm),
                store,
                cache,
                lambda: trust.list,
            ),
            trust=trust,
            clients=Clients(settings.clients),
            pseudonymiser=open_pseudonymiser(settings),
            log=log,
            metrics=metrics,
        )
        trust.start()
        catalogues.start()
        sites.start()
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
    keys, store = open_keys(settings), open_store(settings)
    await store.open()
    try:
        catalogues = Catalogues(settings, store, keys, _unheard, Metrics())
        await catalogues.poll()
        signers = [keys.signer("log", "Ed25519"), keys.signer("log", "SM2")]
        yield catalogues, Sequencer(store, signers, origin_of(settings))
    finally:
        await store.close()


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


def build_nodes(settings: Sequence[NodeSettings], normaliser: Callable[[], Reads]) -> list[Node]:
    """The adapters of the configured nodes; archives find their patients through their FHIR node."""
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
            nodes.append(PeerGateway(node.id, node.url, owner=node.owner, timeout=timeout, token=token))
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
