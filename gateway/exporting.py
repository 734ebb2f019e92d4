"""The ledger as files for an auditor: everything that ``lianren ledger verify`` needs, and no person."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from adapters.sequencer import Sequencer
from adapters.store import Store
from gateway.errors import NotFound
from gateway.keeper import own_key_list, roots_of
from gateway.keyring import open_keys
from gateway.settings import Settings
from gateway.wiring import open_store, origin_of
from security.audit import Pinned
from security.errors import LedgerRefused
from security.export import Disclosure, MarkClaim, write_export
from security.keystore import KeyStore
from security.ledger import read_entry
from security.mark import to_text
from security.note import NoteVerifier


class Proof(Struct, frozen=True):
    """An inclusion proof with the checkpoint it leads to; hashes in hex."""

    index: int
    hashes: list[str]
    note: str


async def export_ledger(settings: Settings, folder: Path, *, disclose: bool) -> int:
    """Write the export and return its size. With ``disclose`` salts and payloads go along.

    Raises:
        NotFound: nothing has been recorded yet.
        StoreError, TrustError, SettingsError: with one line that says what to do.
    """
    store, keys = open_store(settings), open_keys(settings)
    await store.open()
    try:
        return await write(store, keys, settings, folder, disclose=disclose)
    finally:
        await store.close()


async def write(store: Store, keys: KeyStore, settings: Settings, folder: Path, *, disclose: bool) -> int:
    """Write the export of an open store; see :func:`export_ledger`."""
    note = await store.note()
    head = await store.head()
    if note is None or head.size == 0:
        raise NotFound("nothing has been recorded yet, so there is nothing to export")
    entries = await store.entries(0, head.size)
    marks, secrets = [], []
    for index, body in enumerate(entries):
        entry = read_entry(body)
        if not (disclose or entry.type == "mark"):
            continue
        secret = await store.secret(entry.commit)
        if secret is None:
            continue  # erased
        if entry.type == "mark":
            marks.append(MarkClaim(to_text(secret.payload), index))
        if disclose:
            secrets.append(Disclosure(index, secret.salt, secret.payload))
    write_export(
        folder,
        entries,
        note,
        key_lists=[own_key_list(keys, settings.owner, datetime.now(UTC))],
        marks=marks,
        secrets=secrets,
    )
    pins = msgspec.json.encode(pins_of(keys, settings))
    (folder / "pinned.json").write_bytes(msgspec.json.format(pins))
    return len(entries)


def pins_of(keys: KeyStore, settings: Settings) -> Pinned:
    """What an auditor pins of this gateway: the keys of its log, and its roots."""
    origin = origin_of(settings)
    logs = tuple(NoteVerifier.of(origin, key).to_text() for key in keys.list() if key.purpose == "log")
    return Pinned(logs=logs, roots=roots_of(keys, settings.owner))


async def prove(settings: Settings, index: int) -> Proof:
    """The inclusion proof of an entry under the newest checkpoint.

    Raises:
        NotFound: the ledger has no such entry.
    """
    store = open_store(settings)
    await store.open()
    try:
        note, head = await store.note(), await store.head()
        sequencer = Sequencer(store, (), origin_of(settings))
        try:
            hashes = await sequencer.inclusion(index, head.size)
        except LedgerRefused as refused:
            raise NotFound(str(refused)) from None
        return Proof(index, [value.hex() for value in hashes], note or "")
    finally:
        await store.close()
