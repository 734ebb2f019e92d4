"""The folder of one owner's private keys, encrypted at rest.

One JSON file a key: its public record, and its PKCS#8 DER sealed by AES-256-GCM under a key that scrypt
(RFC 7914) derives from the passphrase and the folder's `salt`. The record is the additional data of the
seal, so that changing a date or a status in the file without the passphrase is noticed when the key is
used. The folder must be 0700 and its files 0600.
"""

from __future__ import annotations

import os
import secrets
import string
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from msgspec import MsgspecError, Struct, json
from msgspec.structs import replace

from security.errors import KeyStoreError
from security.keys import VALIDITY, Algorithm, KeyPair, PublicKey, Signer

_SALT_SIZE, _NONCE_SIZE = 16, 12
_SCRYPT = {
    "length": 32,
    "n": 2**15,
    "r": 8,
    "p": 1,
}  # 32 MiB and about 0.1 s for each guess at the passphrase


class _KeyFile(Struct, frozen=True, forbid_unknown_fields=True):
    public: PublicKey
    nonce: bytes
    sealed: bytes


class KeyStore:
    """Private keys in `folder`, opened with `passphrase`."""

    def __init__(self, folder: Path, passphrase: bytes) -> None:
        """Open the folder, or create it when there is none yet.

        Raises KeyStoreError when it or a file in it may be read by others, or the passphrase is empty.
        """
        if not passphrase:
            raise KeyStoreError(f"{folder}: the passphrase of the key store is empty")
        self._folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _refuse_wider(folder, 0o700)
            salt_file = folder / "salt"
            with suppress(FileExistsError):  # the salt of the first opening is kept
                _write(salt_file, secrets.token_bytes(_SALT_SIZE), new=True)
            for file in (salt_file, *folder.glob("*.json")):
                _refuse_wider(file, 0o600)
            salt = salt_file.read_bytes()
        except OSError as wrong:
            raise KeyStoreError(f"{folder}: the key store cannot be opened: {wrong.strerror}") from None
        if len(salt) != _SALT_SIZE:
            raise KeyStoreError(f"{salt_file} is damaged; restore it from the backup, the keys need it")
        self._aead = AESGCM(Scrypt(salt=salt, **_SCRYPT).derive(passphrase))

    def new(
        self, algorithm: Algorithm, owner: str, purpose: str, now: datetime, *, validity: timedelta = VALIDITY
    ) -> KeyPair:
        """Generate a key and keep it. Raises KeyStoreError when the month's 26 ids are used up."""
        for letter in string.ascii_lowercase:
            pair = KeyPair.generate(algorithm, owner, purpose, now, letter=letter, validity=validity)
            try:
                self._keep(pair, new=True)
            except FileExistsError:
                continue
            return pair
        raise KeyStoreError(f"{owner} already made 26 keys for '{purpose}' this month")

    def list(self) -> tuple[PublicKey, ...]:
        """The public records, by key id; retired and compromised ones too."""
        return tuple(self._read(file).public for file in sorted(self._folder.glob("*.json")))

    def load(self, kid: str) -> KeyPair:
        """The key pair of an id. Raises KeyStoreError when there is none or the passphrase is wrong."""
        if kid not in {key.kid for key in self.list()}:
            raise KeyStoreError(f"{self._folder}: there is no key {kid}")
        file = self._path(kid)
        kept = self._read(file)
        try:
            return KeyPair(kept.public, self._aead.decrypt(kept.nonce, kept.sealed, json.encode(kept.public)))
        except (InvalidTag, ValueError):
            raise KeyStoreError(f"{file}: the passphrase does not open it, or the file was changed") from None

    def signer(self, purpose: str, algorithm: Algorithm, at: datetime | None = None) -> Signer:
        """The newest active key for a purpose at `at` (aware; now when left out).

        Raises KeyStoreError when no key fits.
        """
        at = at or datetime.now(UTC)
        fitting = [
            key
            for key in self.list()
            if (key.purpose, key.algorithm, key.status) == (purpose, algorithm, "active")
            and key.not_before <= at < key.not_after
        ]
        if not fitting:
            raise KeyStoreError(
                f"{self._folder}: no {algorithm} key for '{purpose}' counts on {at:%Y-%m-%d};"
                " run: lianren keys new"
            )
        return self.load(max(fitting, key=lambda key: (key.not_before, key.kid)).kid)

    def retire(
        self, kid: str, at: datetime, status: Literal["retired", "compromised"] = "retired"
    ) -> PublicKey:
        """Stop a key at `at`: it signs no more; what it signed before stays valid unless `compromised`."""
        pair = self.load(kid)
        record = replace(pair.public, status=status, not_after=min(at, pair.public.not_after))
        self._keep(KeyPair(record, pair.pkcs8), new=False)
        return record

    def _keep(self, pair: KeyPair, *, new: bool) -> None:
        nonce = secrets.token_bytes(_NONCE_SIZE)
        sealed = self._aead.encrypt(nonce, pair.pkcs8, json.encode(pair.public))
        _write(self._path(pair.kid), json.encode(_KeyFile(pair.public, nonce, sealed)), new=new)

    def _path(self, kid: str) -> Path:
        return self._folder / f"{kid}.json"

    def _read(self, file: Path) -> _KeyFile:
        try:
            _refuse_wider(file, 0o600)
            kept = json.decode(file.read_bytes(), type=_KeyFile)
        except OSError as wrong:
            raise KeyStoreError(f"{file}: {wrong.strerror}") from None
        except (MsgspecError, UnicodeDecodeError) as wrong:
            raise KeyStoreError(f"{file} is not a key file: {wrong}") from None
        if file.stem != kept.public.kid:
            raise KeyStoreError(f"{file} holds the key {kept.public.kid}; give the file its key's name")
        return kept


def _refuse_wider(path: Path, allowed: int) -> None:
    mode = path.stat().st_mode & 0o777
    if mode & ~allowed:
        raise KeyStoreError(f"{path} is open to other users ({mode:04o}); run: chmod {allowed:04o} {path}")


def _write(file: Path, data: bytes, *, new: bool) -> None:
    """Write whole or not at all, durably; with `new`, raise FileExistsError when the file exists."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        if new:
            os.link(draft, file)  # unlike a rename, a link never replaces
        else:
            os.replace(draft, file)
    finally:
        draft.unlink(missing_ok=True)
