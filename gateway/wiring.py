"""Everything a running gateway consists of, built once and closed in the reverse order."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from msgspec import Struct

from adapters import DicomwebNode, FhirNode, Node, PeerGateway, Report
from adapters.postgres import PostgresStore
from adapters.sequencer import Sequencer
from adapters.sqlite import SqliteStore
from adapters.store import Store
from catalog import Catalogue, load
from gateway.broker import Broker
from gateway.clients import Clients
from gateway.errors import SettingsError
from gateway.keeper import TrustKeeper
from gateway.log import Log
from gateway.marking import Marker
from gateway.metrics import Metrics
from gateway.settings import NodeSettings, Settings
from mapping import Normaliser
from security.digests import HashName
from security.keystore import KeyStore
from security.note import hash_of
from security.pseudonym import Pseudonymiser

EPOCH = "2026a"
"""Epoch of the pseudonym key; it stands in every pseudonym, so that the key can be turned."""


class Rules(Struct, frozen=True):
    """The catalogue in force with what is compiled from it; replaced as a whole, never changed."""

    catalogue: Catalogue
    normaliser: Normaliser


class Gateway(Struct, kw_only=True):
    """The parts of a running gateway. ``rules`` is the only one that is ever replaced."""

    settings: Settings
    rules: Rules
    origin: str
    hash_name: HashName
    store: Store
    sequencer: Sequencer
    broker: Broker
    marker: Marker
    trust: TrustKeeper
    clients: Clients
    pseudonymiser: Pseudonymiser
    log: Log
    metrics: Metrics


def load_rules(folder: Path | None) -> Rules:
    """Read and compile a catalogue folder.

    Raises:
        CatalogueError: with everything that is wrong in it.
    """
    catalogue = load(folder)
    return Rules(catalogue, Normaliser(catalogue))


def passphrase(settings: Settings) -> bytes:
    """The passphrase of the private keys.

    Raises:
        SettingsError: no file is configured, or it cannot be read or is empty.
    """
    file = settings.key_passphrase_file
    if file is None:
        raise SettingsError(
            "key_passphrase_file: is missing; write a long random passphrase into a file that only this"
            " process can read, and name it"
        )
    try:
        text = file.read_bytes().strip()
    except OSError as wrong:
        raise SettingsError(f"key_passphrase_file: {file} cannot be read ({wrong.strerror})") from None
    if not text:
        raise SettingsError(f"key_passphrase_file: {file} is empty")
    return text


def open_keys(settings: Settings) -> KeyStore:
    """The key store below ``data_dir``. Raises KeyStoreError or SettingsError."""
    return KeyStore(settings.data_dir / "keys", passphrase(settings))


def open_store(settings: Settings) -> Store:
    """PostgreSQL where an address is set, else SQLite below ``data_dir``; not opened yet."""
    if settings.store:
        return PostgresStore(settings.store)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return SqliteStore(settings.data_dir / "lianren.sqlite3")


def origin_of(settings: Settings) -> str:
    """The origin line of this gateway's checkpoints (C2SP tlog-checkpoint)."""
    return f"{settings.owner}.lianren.example/exchange"


@asynccontextmanager
async def open_gateway(settings: Settings, log: Log) -> AsyncIterator[Gateway]:
    """Build a gateway and close it again.

    Raises:
        SettingsError, CatalogueError, TrustError, AdapterError: with one line that says what to do.
    """
    rules = load_rules(settings.catalogue)
    for client in settings.clients:
        if client.institution and client.institution not in rules.catalogue.institutions:
            raise SettingsError(
                f"clients: {client.id}: institution {client.institution!r} is not in catalogue"
                f" {rules.catalogue.version}"
            )
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
        trust = TrustKeeper(keys, settings.owner, settings.pins, log)
        stack.push_async_callback(trust.aclose)
        gateway = Gateway(
            settings=settings,
            rules=rules,
            origin=origin,
            hash_name=hash_name,
            store=store,
            sequencer=sequencer,
            broker=Broker((), _observer(log, metrics)),
            marker=Marker(
                settings.owner, keys.signer("mark", settings.mark_algorithm), store, lambda: trust.list
            ),
            trust=trust,
            clients=Clients(settings.clients),
            pseudonymiser=Pseudonymiser(_pseudonym_key(settings.data_dir), EPOCH),
            log=log,
            metrics=metrics,
        )
        nodes = build_nodes(settings.nodes, lambda: gateway.rules.normaliser)
        for node in nodes:
            stack.push_async_callback(node.aclose)
        gateway.broker = Broker(nodes, _observer(log, metrics))
        trust.start()
        head = await store.head()
        metrics.log_size.set(head.size)
        log(
            "started",
            name=settings.name,
            owner=settings.owner,
            catalogue=rules.catalogue.version,
            nodes=len(nodes),
            store="postgresql" if settings.store else "sqlite",
            log_size=head.size,
        )
        yield gateway
    log("stopped", name=settings.name)


def build_nodes(settings: Sequence[NodeSettings], normaliser: Callable[[], Normaliser]) -> list[Node]:
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
            nodes.append(PeerGateway(node.id, node.url, timeout=timeout, token=token))
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


def _pseudonym_key(data_dir: Path) -> bytes:
    """The key of the pseudonyms, made on the first start; losing it makes every index entry a stranger."""
    file = data_dir / "keys" / "pseudonym.key"
    try:
        return file.read_bytes()
    except FileNotFoundError:
        key = secrets.token_bytes(32)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(key)
        return key
