"""The keys that one gateway needs, and how they are made: all at once, and only those that are missing.

``root`` signs the key list and is pinned by others; ``log`` signs checkpoints; ``mark`` signs marks;
``catalogue`` signs published editions. Each is there in Ed25519 and in SM2. The key of the pseudonyms lies
beside them, because replicas must share it too.
"""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

from gateway.errors import SettingsError
from gateway.settings import Settings
from security.keys import Algorithm, PublicKey
from security.keystore import KeyStore
from security.pseudonym import MIN_KEY_SIZE, Pseudonymiser

NEEDED: tuple[tuple[str, Algorithm], ...] = (
    ("root", "Ed25519"),
    ("root", "SM2"),
    ("log", "Ed25519"),
    ("log", "SM2"),
    ("mark", "Ed25519"),
    ("mark", "SM2"),
    ("catalogue", "Ed25519"),
    ("catalogue", "SM2"),
)
EPOCH = "2026a"
"""Epoch of the pseudonym key; it stands in every pseudonym, so that the key can be turned."""


def open_keys(settings: Settings) -> KeyStore:
    """The key store below ``data_dir``.

    Raises:
        SettingsError: the passphrase file is missing, unreadable or empty.
        KeyStoreError: the folder may be read by others.
    """
    file = settings.key_passphrase_file
    if file is None:
        raise SettingsError(
            "key_passphrase_file: is missing; write a long random passphrase into a file that only this"
            " process can read, and name it"
        )
    try:
        passphrase = file.read_bytes().strip()
    except OSError as wrong:
        raise SettingsError(f"key_passphrase_file: {file} cannot be read ({wrong.strerror})") from None
    if not passphrase:
        raise SettingsError(f"key_passphrase_file: {file} is empty")
    return KeyStore(_folder(settings), passphrase)


def make_keys(settings: Settings) -> list[PublicKey]:
    """Make every key that is needed and not there, and return the new ones.

    Raises:
        SettingsError, KeyStoreError: see :func:`open_keys`.
    """
    store = open_keys(settings)
    held = {(key.purpose, key.algorithm) for key in store.list() if key.status == "active"}
    made = [
        store.new(algorithm, settings.owner, purpose, datetime.now(UTC)).public
        for purpose, algorithm in NEEDED
        if (purpose, algorithm) not in held
    ]
    file = _pseudonym_file(settings)
    if not file.exists():
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(secrets.token_bytes(MIN_KEY_SIZE))
    return made


def open_pseudonymiser(settings: Settings) -> Pseudonymiser:
    """The pseudonyms' key; losing it makes a stranger of every pseudonym kept so far.

    Raises:
        SettingsError: there is none yet.
        KeyStoreError: it is too short.
    """
    file = _pseudonym_file(settings)
    try:
        return Pseudonymiser(file.read_bytes(), EPOCH)
    except OSError as wrong:
        raise SettingsError(f"{file} cannot be read ({wrong.strerror}); run: lianren keys new") from None


def _folder(settings: Settings) -> Path:
    return settings.data_dir / "keys"


def _pseudonym_file(settings: Settings) -> Path:
    return _folder(settings) / "pseudonym.key"
