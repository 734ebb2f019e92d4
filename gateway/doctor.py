"""What an operator wants to know before the doctor at the bedside does: reachable, readable, not expiring."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from adapters import AdapterError, SqliteStore
from adapters.migrations import HEAD
from catalog import CatalogueError
from catalog.timeline import name_of, shown
from gateway._doctor_nodes import examined
from gateway.access.client_keys import key_sources
from gateway.broker import LaneState
from gateway.catalogues import Catalogues
from gateway.errors import SettingsError
from gateway.keeper import read_roots
from gateway.keyring import NEEDED, open_keys
from gateway.nodes import Changes, Parts, Standing
from gateway.rules import normaliser_of_question
from gateway.settings import Settings
from gateway.wiring import open_catalogues, open_tables
from security.errors import TokenRefused, TrustError

SOON = timedelta(days=30)


class Finding(Struct, frozen=True):
    """One thing looked at; ``detail`` says what was found and, where it is not ok, what to do."""

    what: str
    ok: bool
    detail: str


async def examine(settings: Settings, states: Sequence[LaneState] = ()) -> list[Finding]:
    """Look at catalogue, keys, store, disk, Redis, clients, pins and nodes; never raises for what it finds.

    ``states``: how it stands with the nodes in a running gateway.
    """
    keys = _keys(settings)
    catalogues, store, standing = await _kept(settings)
    clients = await _clients(settings)
    nodes = await _nodes(standing, states)
    rest = [*store, _disk(settings), *await _redis(settings)]
    return [*catalogues, *keys, *rest, *clients, *_pins(settings), *nodes]


async def _kept(settings: Settings) -> tuple[list[Finding], list[Finding], Sequence[Standing]]:
    """What the store says of catalogues, of itself, and of nodes; those of the file where it says nothing."""
    of_file = [Standing(node) for node in settings.nodes]
    if not settings.store and not settings.data_dir.is_dir():
        missing = Finding("store", False, f"there is no folder {settings.data_dir}; run: lianren keys new")
        return [], [missing], of_file
    try:
        tables = await _tables(settings)
        if not all(finding.ok for finding in tables):
            return [], tables, of_file
        async with open_catalogues(settings) as (catalogues, sequencer):
            head = await sequencer.store.head()
            found = _catalogues(catalogues)
            changes = Changes(settings, sequencer.store)
            await changes.poll()
    except AdapterError as wrong:
        return [], [Finding("store", False, str(wrong))], of_file
    except (SettingsError, TrustError) as wrong:
        return [], [Finding("store", False, f"it was not opened: {wrong}")], of_file
    kind = "PostgreSQL" if settings.store else "SQLite"
    store = [Finding("store", True, f"{kind}, {head.size} ledger entries"), *tables]
    if changes.broken:
        detail = (
            f"change {changes.broken} is missing or does not open, so no later one counts: restore the store"
        )
        store.append(Finding("nodes", False, detail))
    return found, store, changes.standing()


async def _tables(settings: Settings) -> list[Finding]:
    """The revision of the tables, and how far ahead there are partitions. Raises AdapterError."""
    tables = open_tables(settings, migrate=False)
    revision = await tables.revision()
    if not revision:
        return []  # a new store: opening it makes them
    if revision != HEAD:
        detail = f"revision {revision}, this version's is {HEAD}; run: lianren store upgrade"
        return [Finding("tables", False, detail)]
    if isinstance(tables, SqliteStore):
        return [Finding("tables", True, f"revision {revision}")]
    until = await tables.partitioned_until()
    ok = until > datetime.now(UTC)
    todo = "" if ok else "; run: lianren store upgrade"
    return [Finding("tables", ok, f"revision {revision}, partitions until {until:%Y-%m-%d}{todo}")]


def _disk(settings: Settings) -> Finding:
    folder = settings.data_dir if settings.data_dir.is_dir() else settings.data_dir.parent
    try:
        free = shutil.disk_usage(folder).free >> 20
    except OSError as wrong:
        return Finding("disk", False, f"{folder}: {wrong.strerror}")
    return Finding("disk", free >= settings.disk_warn_mb, f"{free} MB are left for data_dir")


async def _redis(settings: Settings) -> list[Finding]:
    """Whether it keeps a value; without it the gateway goes on, slower."""
    if not settings.redis:
        return []
    from adapters.redis_cache import RedisCache

    failed: list[str] = []
    try:
        cache = RedisCache(
            settings.redis, lambda _, error: failed.append(type(error).__name__), timeout_seconds=1.0
        )
    except AdapterError as wrong:
        return [Finding("redis", False, str(wrong))]
    try:
        await cache.set("doctor", b"1", 1.0)
        if not failed and await cache.get("doctor") != b"1":
            failed.append("it did not keep a value")
    finally:
        await cache.close()
    detail = f"{failed[0]}; the gateway goes on without it, slower" if failed else "keeps values"
    return [Finding("redis", not failed, detail)]


def _catalogues(catalogues: Catalogues) -> list[Finding]:
    """What a gateway that starts now would have in force; announced, overlapping and refused editions."""
    now = datetime.now(UTC)
    try:
        prepared = catalogues.folder(now)
    except CatalogueError as wrong:
        return [Finding("catalogue", False, f"{len(wrong.findings)} faults, first: {wrong.findings[0]}")]
    except SettingsError as wrong:
        return [Finding("catalogue", False, str(wrong))]
    started = [cut_over.after for cut_over in prepared.cut_overs if cut_over.at <= now]
    findings = []
    if started or catalogues.timeline.at(now):
        catalogue = (started[-1] if started else catalogues.rules).catalogue
        kind = "illustrative" if catalogue.illustrative else "published"
        found = f"{catalogue.version} ({kind}), {len(catalogue.items)} items"
        findings.append(Finding("catalogue", True, found))
    else:
        findings.append(Finding("catalogue", False, "no edition has taken force yet"))
    for standing in prepared.timeline.standings(now):
        what = f"edition {name_of(standing.published.edition)}"
        if standing.state == "announced":
            since = shown(standing.published.edition.effective_from)
            findings.append(Finding(what, True, f"takes force on {since}"))
        elif standing.state == "overlapping" and standing.until:
            end = shown(standing.until)
            findings.append(Finding(what, True, f"superseded; its codes may be asked for until {end}"))
    for name, why in catalogues.refused.items():
        findings.append(Finding(f"edition {name}", False, f"refused: {why}; publish a new version"))
    return findings


def _keys(settings: Settings) -> list[Finding]:
    try:
        store = open_keys(settings)
        keys = store.list()
        for key in keys:
            store.load(key.kid)  # only this tells of a crypto machine that is away
    except (TrustError, SettingsError) as wrong:
        return [Finding("keys", False, str(wrong))]
    now = datetime.now(UTC)
    findings = []
    for purpose, algorithm in NEEDED:
        if purpose == "mark" and algorithm != settings.mark_algorithm:
            continue
        ends = [
            key.not_after
            for key in keys
            if (key.purpose, key.algorithm, key.status) == (purpose, algorithm, "active")
            and key.not_after > now
        ]
        what = f"key {purpose} {algorithm}"
        if not ends:
            findings.append(Finding(what, False, "there is none that counts; run: lianren keys new"))
        else:
            ok = max(ends) - now > SOON
            findings.append(
                Finding(what, ok, f"counts until {max(ends):%Y-%m-%d}" + ("" if ok else "; rotate it"))
            )
    return findings


async def _clients(settings: Settings) -> list[Finding]:
    """Whether the key sets of clients can be had."""
    findings = []
    for client in settings.clients:
        try:
            for source in key_sources([client], lambda *_, **__: None).values():
                try:
                    keys = await source.get("")
                finally:
                    await source.aclose()
                findings.append(Finding(f"client {client.id}", bool(keys), f"{len(keys)} keys in its set"))
        except (SettingsError, TokenRefused) as wrong:
            findings.append(Finding(f"client {client.id}", False, str(wrong)))
    return findings


def _pins(settings: Settings) -> list[Finding]:
    findings = []
    for pin in settings.pins:
        try:
            keys = read_roots(pin.keys_file, pin.owner)
        except SettingsError as wrong:
            findings.append(Finding(f"pin {pin.owner}", False, str(wrong)))
        else:
            findings.append(Finding(f"pin {pin.owner}", True, f"{len(keys)} root keys"))
    return findings


async def _nodes(standing: Sequence[Standing], states: Sequence[LaneState]) -> list[Finding]:
    """Those that are somewhere else: what is published is in the store."""
    asked = [one for one in standing if one.settings.kind != "published"]
    known = {state.node: state for state in states}
    rows = await examined(asked, Parts(normaliser=normaliser_of_question), known, SOON)
    return [Finding(*row) for row in rows]
