"""What an operator wants to know before the doctor at the bedside does: reachable, readable, not expiring."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec import Struct

from adapters import AdapterError
from catalog import CatalogueError
from catalog.timeline import name_of, shown
from gateway.access.client_keys import key_sources
from gateway.catalogues import Catalogues
from gateway.errors import SettingsError
from gateway.keeper import read_roots
from gateway.keyring import NEEDED, open_keys
from gateway.settings import Settings
from gateway.wiring import open_catalogues, ping_nodes
from security.errors import TokenRefused, TrustError

SOON = timedelta(days=30)


class Finding(Struct, frozen=True):
    """One thing looked at; ``detail`` says what was found and, where it is not ok, what to do."""

    what: str
    ok: bool
    detail: str


async def examine(settings: Settings) -> list[Finding]:
    """Look at catalogue, keys, store, clients, pins and nodes; never raises for what it finds."""
    keys = _keys(settings)
    catalogues, store = await _kept(settings)
    clients = await _clients(settings)
    return [*catalogues, *keys, store, *clients, *_pins(settings), *await _nodes(settings)]


async def _kept(settings: Settings) -> tuple[list[Finding], Finding]:
    """What the store says of catalogues and of itself."""
    if not settings.store and not settings.data_dir.is_dir():
        return [], Finding("store", False, f"there is no folder {settings.data_dir}; run: lianren keys new")
    try:
        async with open_catalogues(settings) as (catalogues, sequencer):
            head = await sequencer.store.head()
            found = _catalogues(catalogues)
    except AdapterError as wrong:
        return [], Finding("store", False, str(wrong))
    except (SettingsError, TrustError) as wrong:
        return [], Finding("store", False, f"it was not opened: {wrong}")
    kind = "PostgreSQL" if settings.store else "SQLite"
    return found, Finding("store", True, f"{kind}, {head.size} ledger entries")


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


async def _nodes(settings: Settings) -> list[Finding]:
    try:
        reports = await ping_nodes(settings)
    except SettingsError as wrong:
        return [Finding("nodes", False, str(wrong))]
    return [
        Finding(
            f"node {report.node}",
            report.state in ("answered", "empty"),
            f"{report.state} in {report.took_ms} ms" + (f": {report.detail}" if report.detail else ""),
        )
        for report in reports
    ]
