"""What an operator wants to know before the doctor at the bedside does: reachable, readable, not expiring."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec import Struct

from adapters import AdapterError
from catalog import CatalogueError
from gateway.errors import SettingsError
from gateway.keeper import read_roots
from gateway.keyring import NEEDED, open_keys
from gateway.settings import Settings
from gateway.wiring import check_fit, load_rules, open_store, ping_nodes
from security.errors import TrustError

SOON = timedelta(days=30)


class Finding(Struct, frozen=True):
    """One thing looked at; ``detail`` says what was found and, where it is not ok, what to do."""

    what: str
    ok: bool
    detail: str


async def examine(settings: Settings) -> list[Finding]:
    """Look at catalogue, keys, store, pins and nodes; never raises for what it finds."""
    findings = [_catalogue(settings), *_keys(settings), await _store(settings), *_pins(settings)]
    if findings[0].ok:
        findings += await _nodes(settings)
    return findings


def _catalogue(settings: Settings) -> Finding:
    try:
        catalogue = load_rules(settings.catalogue).catalogue
    except CatalogueError as wrong:
        return Finding("catalogue", False, f"{len(wrong.findings)} faults, first: {wrong.findings[0]}")
    kind = "illustrative" if catalogue.illustrative else "published"
    try:
        check_fit(settings, catalogue)
    except SettingsError as wrong:
        return Finding("catalogue", False, str(wrong))
    return Finding("catalogue", True, f"{catalogue.version} ({kind}), {len(catalogue.items)} items")


def _keys(settings: Settings) -> list[Finding]:
    try:
        store = open_keys(settings)
        keys = store.list()
        for key in keys:
            store.load(key.kid)  # only this tells a wrong passphrase
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


async def _store(settings: Settings) -> Finding:
    if not settings.store and not settings.data_dir.is_dir():
        return Finding("store", False, f"there is no folder {settings.data_dir}; run: lianren keys new")
    store = open_store(settings)
    try:
        await store.open()
        head = await store.head()
        await store.close()
    except AdapterError as wrong:
        return Finding("store", False, str(wrong))
    return Finding(
        "store", True, f"{'PostgreSQL' if settings.store else 'SQLite'}, {head.size} ledger entries"
    )


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
