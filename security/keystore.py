"""The folder of one owner's private keys and secrets, encrypted at rest.

One JSON file a key: its public record, and its PKCS#8 DER sealed by AES-256-GCM under a key that scrypt
(RFC 7914) derives from the passphrase and the folder's `salt`. The record is the additional data of the
seal, which is checked whenever the record is read: what the roots sign is what this store wrote, not what
somebody without the passphrase changed in a file, or laid beside. A key that lives in a crypto machine has
the machine's address in its file, and an empty seal over record and address. A symmetric secret of 32 bytes
lies in a `.secret` file of its own, sealed the same way with its id as additional data. The folder must be
0700 and its files 0600.

Once the passphrase was changed, what scrypt derives seals the folder's key, which stays as it was and stands
behind the salt: the change is of one file, so it happens whole or not at all, and no other file is touched.
"""

from __future__ import annotations

import os
import re
import string
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_bytes, token_hex
from typing import Literal, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from msgspec import MsgspecError, Struct, json
from msgspec.structs import replace

from security import devices
from security.errors import KeyStoreError
from security.keys import SHANGHAI, VALIDITY, Algorithm, KeyPair, PublicKey, Signer, new_record

SECRET_SIZE = 32
_SECRET_ID = re.compile(r"(?P<purpose>[a-z][a-z0-9]{0,15})-(?P<month>[0-9]{4,6})(?P<letter>[a-z])")
_RAW_PSEUDONYM_KEY, _RAW_PSEUDONYM_ID = "pseudonym.key", "pseudonym-2026a"  # version 0.2 and its one epoch
_SALT_SIZE, _NONCE_SIZE, _TAG_SIZE, _KEY_SIZE = 16, 12, 16, 32
_SALT_FILE_SIZES = _SALT_SIZE, _SALT_SIZE + _NONCE_SIZE + _KEY_SIZE + _TAG_SIZE
# 32 MiB and about 0.1 s for each guess at the passphrase
_SCRYPT = {"length": _KEY_SIZE, "n": 2**15, "r": 8, "p": 1}


class _KeyFile(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    public: PublicKey
    nonce: bytes
    sealed: bytes
    device: str = ""


class _SecretFile(Struct, frozen=True, forbid_unknown_fields=True):
    nonce: bytes
    sealed: bytes


_File = TypeVar("_File", _KeyFile, _SecretFile)


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
                _write(salt_file, token_bytes(_SALT_SIZE), new=True)
            for file in (salt_file, *folder.glob("*.json"), *folder.glob("*.secret")):
                _refuse_wider(file, 0o600)
            salt = salt_file.read_bytes()
        except OSError as wrong:
            raise KeyStoreError(f"{folder}: the key store cannot be opened: {wrong.strerror}") from None
        if len(salt) not in _SALT_FILE_SIZES:
            raise KeyStoreError(f"{salt_file} is damaged; restore it from the backup, the keys need it")
        self._salt_file = salt_file
        self._key = _folder_key(salt_file, salt, passphrase)
        self._aead = AESGCM(self._key)

    def new(
        self, algorithm: Algorithm, owner: str, purpose: str, now: datetime, *, validity: timedelta = VALIDITY
    ) -> KeyPair:
        """Generate a key and keep it. Raises KeyStoreError when the month's 26 ids are used up."""
        pair = KeyPair.generate(algorithm, owner, purpose, now, validity=validity)
        return KeyPair(self._keep_new(pair.public, pair.pkcs8), pair.pkcs8)

    def adopt(
        self,
        uri: str,
        algorithm: Algorithm,
        owner: str,
        purpose: str,
        now: datetime,
        *,
        validity: timedelta = VALIDITY,
    ) -> PublicKey:
        """Keep the record of a key that lives in a crypto machine, once the machine has signed with it.

        `uri` is its address (`devices`). Raises KeyStoreError when the key is not found there, is kept
        already, or the month's 26 ids are used up; UnsupportedAlgorithm; SignatureRefused.
        """
        device = devices.open_device(uri, algorithm)
        for key in self.list():
            if key.raw == device.public:
                raise KeyStoreError(f"this key is kept already, as {key.kid}; a key has one purpose")
        record = new_record(device.public, algorithm, owner, purpose, now, validity=validity)
        devices.DeviceKey(record, device).sign(b"lianren adopts this key")
        return self._keep_new(record, b"", uri)

    def list(self) -> tuple[PublicKey, ...]:
        """The public records, by key id; retired and compromised ones too.

        Raises KeyStoreError when the passphrase is wrong or a file was changed.
        """
        return tuple(self._opened(file)[0].public for file in sorted(self._folder.glob("*.json")))

    def load(self, kid: str) -> Signer:
        """The signer of an id: a `KeyPair`, or a `DeviceKey` whose machine was found.

        Raises KeyStoreError when there is no such key, the passphrase is wrong or the machine is not there.
        """
        kept, pkcs8 = self._open(kid)
        if kept.device:
            return devices.DeviceKey(kept.public, devices.open_device(kept.device, kept.public.algorithm))
        return KeyPair(kept.public, pkcs8)

    def device(self, kid: str) -> str | None:
        """The address of the crypto machine that holds a key's private part; None when the store has it."""
        return self._open(kid)[0].device or None

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
        """Stop a key at `at`: it signs no more; what it signed before stays valid unless `compromised`.

        Raises KeyStoreError when there is no such key, or a compromised one would count again.
        """
        kept, pkcs8 = self._open(kid)
        if kept.public.status == "compromised" and status == "retired":
            raise KeyStoreError(f"{kid} is compromised, and stays so: nothing that it signed counts")
        record = replace(kept.public, status=status, not_after=min(at, kept.public.not_after))
        self._keep(record, pkcs8, kept.device, new=False)
        return record

    def change_passphrase(self, passphrase: bytes) -> None:
        """From now on the folder opens with another passphrase; who has it open notices nothing.

        A copy of the former file `salt` goes on opening everything with the former passphrase. Raises
        KeyStoreError when the new passphrase is empty, or the present one does not open everything.
        """
        if not passphrase:
            raise KeyStoreError(f"{self._folder}: the new passphrase of the key store is empty")
        self.list()
        for file in self._folder.glob("*.secret"):
            self._open_secret(file.stem)
        salt, nonce = token_bytes(_SALT_SIZE), token_bytes(_NONCE_SIZE)
        sealed = AESGCM(_derived(salt, passphrase)).encrypt(nonce, self._key, salt)
        _write(self._salt_file, salt + nonce + sealed, new=False)

    def new_secret(self, purpose: str, now: datetime) -> str:
        """Make and keep a symmetric secret of 32 random bytes; returns its id, `<purpose>-<yyyymm><letter>`.

        Purposes are `payload` (keys that wrap data keys) and `pseudonym` (the id's end is the epoch).
        Raises KeyStoreError for a purpose that is no short ASCII name, or when the month's ids are used up.
        """
        for letter in string.ascii_lowercase:
            secret_id = f"{purpose}-{now.astimezone(SHANGHAI):%Y%m}{letter}"
            with suppress(FileExistsError):
                self._keep_secret(secret_id, token_bytes(SECRET_SIZE))
                return secret_id
        raise KeyStoreError(f"26 secrets were already made for '{purpose}' this month")

    def secrets(self, purpose: str) -> dict[str, bytes]:
        """The secrets of a purpose by id, the newest last; empty when there are none.

        Raises KeyStoreError when the passphrase is wrong or a file was changed.
        """
        if purpose == "pseudonym":
            self._take_over_raw_pseudonym_key()
        ids = [found for file in self._folder.glob("*.secret") if (found := _SECRET_ID.fullmatch(file.stem))]
        return {
            each[0]: self._open_secret(each[0])
            for each in sorted(ids, key=lambda each: (each["month"], each["letter"]))
            if each["purpose"] == purpose
        }

    def forget_secret(self, secret_id: str) -> None:
        """Delete a secret: what only it opens is lost. Copies in backups of the folder stay.

        Raises KeyStoreError when there is none of this id.
        """
        try:
            self._secret_path(secret_id).unlink()
        except OSError as wrong:
            raise KeyStoreError(f"{self._folder}: secret {secret_id}: {wrong.strerror}") from None

    def _keep_secret(self, secret_id: str, secret: bytes) -> None:
        """Raises FileExistsError: a secret is never replaced."""
        nonce = token_bytes(_NONCE_SIZE)
        sealed = self._aead.encrypt(nonce, secret, secret_id.encode())
        _write(self._secret_path(secret_id), json.encode(_SecretFile(nonce, sealed)), new=True)

    def _open_secret(self, secret_id: str) -> bytes:
        file = self._secret_path(secret_id)
        kept = _decode(file, _SecretFile)
        try:
            return self._aead.decrypt(kept.nonce, kept.sealed, secret_id.encode())
        except (InvalidTag, ValueError):
            raise KeyStoreError(f"{file}: the passphrase does not open it, or the file was changed") from None

    def _secret_path(self, secret_id: str) -> Path:
        if not _SECRET_ID.fullmatch(secret_id):
            raise KeyStoreError(
                f"{self._folder}: '{secret_id}' is not an id of a secret, as payload-202611a is"
            )
        return self._folder / f"{secret_id}.secret"

    def _take_over_raw_pseudonym_key(self) -> None:
        """Seal the bare key file of version 0.2, under the epoch that stands in its pseudonyms."""
        file = self._folder / _RAW_PSEUDONYM_KEY
        try:
            _refuse_wider(file, 0o600)
            raw = file.read_bytes()
        except FileNotFoundError:
            return
        except OSError as wrong:
            raise KeyStoreError(f"{file}: {wrong.strerror}") from None
        if len(raw) != SECRET_SIZE:
            raise KeyStoreError(f"{file} is damaged; restore it from the backup, the pseudonyms need it")
        with suppress(FileExistsError):  # taken over before, and stopped before the bare file was gone
            self._keep_secret(_RAW_PSEUDONYM_ID, raw)
        if self._open_secret(_RAW_PSEUDONYM_ID) != raw:
            raise KeyStoreError(f"{file} is another key than {_RAW_PSEUDONYM_ID}; move the wrong one away")
        file.unlink(missing_ok=True)

    def _open(self, kid: str) -> tuple[_KeyFile, bytes]:
        """A key's file, its seal checked, and its PKCS#8 DER (empty for a key in a machine)."""
        file = self._path(kid)
        if file not in self._folder.glob("*.json"):
            raise KeyStoreError(f"{self._folder}: there is no key {kid}")
        return self._opened(file)

    def _opened(self, file: Path) -> tuple[_KeyFile, bytes]:
        kept = _decode(file, _KeyFile)
        if kept.public.kid != file.stem:
            raise KeyStoreError(f"{file} holds the key {kept.public.kid}; give the file its key's name")
        try:
            return kept, self._aead.decrypt(kept.nonce, kept.sealed, _bound(kept.public, kept.device))
        except (InvalidTag, ValueError):
            raise KeyStoreError(f"{file}: the passphrase does not open it, or the file was changed") from None

    def _keep_new(self, record: PublicKey, pkcs8: bytes, device: str = "") -> PublicKey:
        """Keep a key under the first id of its month that is free, and return its record with that id."""
        for letter in string.ascii_lowercase:
            named = replace(record, kid=record.kid[:-1] + letter)
            with suppress(FileExistsError):
                self._keep(named, pkcs8, device, new=True)
                return named
        raise KeyStoreError(f"{record.owner} already made 26 keys for '{record.purpose}' this month")

    def _keep(self, record: PublicKey, pkcs8: bytes, device: str, *, new: bool) -> None:
        nonce = token_bytes(_NONCE_SIZE)
        sealed = self._aead.encrypt(nonce, pkcs8, _bound(record, device))
        _write(self._path(record.kid), json.encode(_KeyFile(record, nonce, sealed, device)), new=new)

    def _path(self, kid: str) -> Path:
        return self._folder / f"{kid}.json"


def _derived(salt: bytes, passphrase: bytes) -> bytes:
    return Scrypt(salt=salt, **_SCRYPT).derive(passphrase)


def _folder_key(file: Path, content: bytes, passphrase: bytes) -> bytes:
    """The key that seals the other files: derived from the passphrase, or sealed under what is."""
    salt, nonce, sealed = content[:16], content[16:28], content[28:]
    derived = _derived(salt, passphrase)
    if not sealed:
        return derived
    try:
        return AESGCM(derived).decrypt(nonce, sealed, salt)
    except InvalidTag:
        raise KeyStoreError(f"{file}: the passphrase does not open it, or the file was changed") from None


def _bound(record: PublicKey, device: str) -> bytes:
    """The additional data of a key's seal: the record, whose JSON ends with its brace, and the address."""
    return json.encode(record) + device.encode()


def _decode(file: Path, kind: type[_File]) -> _File:
    try:
        _refuse_wider(file, 0o600)
        return json.decode(file.read_bytes(), type=kind)
    except OSError as wrong:
        raise KeyStoreError(f"{file}: {wrong.strerror}") from None
    except (MsgspecError, UnicodeDecodeError) as wrong:
        raise KeyStoreError(f"{file} is not a key file: {wrong}") from None


def _refuse_wider(path: Path, allowed: int) -> None:
    mode = path.stat().st_mode & 0o777
    if mode & ~allowed:
        raise KeyStoreError(f"{path} is open to other users ({mode:04o}); run: chmod {allowed:04o} {path}")


def _write(file: Path, data: bytes, *, new: bool) -> None:
    """Write whole or not at all, durably; with `new`, raise FileExistsError when the file exists.

    Raises KeyStoreError when the disk does not take it.
    """
    draft = file.with_name(f".{file.name}.{token_hex(4)}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        if new:
            os.link(draft, file)  # unlike a rename, a link never replaces
        else:
            os.replace(draft, file)
        folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # the name too: a key must not be gone that already seals what was kept
        finally:
            os.close(folder)
    except FileExistsError:
        raise
    except OSError as wrong:
        raise KeyStoreError(f"{file} cannot be written: {wrong.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)
