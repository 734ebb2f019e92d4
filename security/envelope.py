"""Envelope encryption of what is kept: a data key a record, wrapped by a key-encryption key (KEK).

    sealed = header ‖ nonce (12) ‖ wrapped data key ‖ ciphertext and tag
    header = 0xFE ‖ cipher (1) ‖ length of the KEK's id (1) ‖ the KEK's id

Data key and data are sealed by AES-256-GCM or SM4-GCM (NIST SP 800-38D, RFC 8998), both with `header ‖
place` as additional data, so that a sealed record neither moves to another row nor claims another key. The
nonce is random and counts for the KEK, which may so wrap 2³² data keys before it must turn (SP 800-38D
§8.3); a data key is used once. No JSON, CBOR or UTF-8 text begins with 0xFE: what was kept before there was
encryption is told apart by its first byte.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher as _Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.ciphers.modes import GCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from security.drawing import drawer
from security.errors import PayloadRefused

CipherName = Literal["AES-256-GCM", "SM4-GCM"]

SEALED = 0xFE
"""The first byte of everything sealed."""

KEK_SIZE = 32
_NONCE_SIZE, _TAG_SIZE = 12, 16
_NUMBERS: dict[CipherName, int] = {"AES-256-GCM": 1, "SM4-GCM": 2}
_CIPHERS = {number: name for name, number in _NUMBERS.items()}
_KEY_SIZE: dict[CipherName, int] = {"AES-256-GCM": 32, "SM4-GCM": 16}
_DRAW = {name: drawer(_NONCE_SIZE + size) for name, size in _KEY_SIZE.items()}


class Aead(Protocol):
    """Authenticated encryption; `cryptography`'s AESGCM and `Sm4Gcm` are such."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Ciphertext followed by a tag of 16 bytes."""

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """The plaintext, once the tag was checked. Raises cryptography's InvalidTag."""


class Sm4Gcm:
    """SM4-GCM (GB/T 32907-2016, RFC 8998 §3.1) in the shape of `cryptography`'s AESGCM, which has no SM4."""

    def __init__(self, key: bytes) -> None:
        """`key` has 16 bytes."""
        self._algorithm = SM4(key)

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Ciphertext followed by the tag of 16 bytes."""
        state = _Cipher(self._algorithm, GCM(nonce)).encryptor()
        state.authenticate_additional_data(associated_data or b"")
        return state.update(data) + state.finalize() + state.tag

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """The plaintext. Raises cryptography's InvalidTag."""
        if len(data) < _TAG_SIZE:
            raise InvalidTag
        state = _Cipher(self._algorithm, GCM(nonce, data[-_TAG_SIZE:])).decryptor()
        state.authenticate_additional_data(associated_data or b"")
        plaintext = state.update(data[:-_TAG_SIZE])
        return plaintext + state.finalize()  # raises before anything leaves: update() did not check the tag


_AEADS: dict[CipherName, type[AESGCM] | type[Sm4Gcm]] = {"AES-256-GCM": AESGCM, "SM4-GCM": Sm4Gcm}


class _Parts(NamedTuple):
    cipher: CipherName
    key_id: str
    header: bytes
    nonce: bytes
    wrapped: bytes
    ciphertext: bytes


class Envelope:
    """Seals under the current KEK, opens under any KEK that is still held; may be shared by threads."""

    def __init__(self, keys: Mapping[str, bytes], current: str, cipher: CipherName = "AES-256-GCM") -> None:
        """`keys` are the KEKs by id, 32 random bytes each; `current` is the id of the one that seals.

        Raises PayloadRefused when `current` is not among them or a KEK is no KEK.
        """
        if current not in keys:
            raise PayloadRefused(f"no key {current} is held to seal with; run: lianren keys rotate payload")
        for key_id, key in keys.items():
            if len(key) != KEK_SIZE or not 0 < len(key_id.encode()) < 256:
                raise PayloadRefused(
                    f"key {key_id}: a key-encryption key has {KEK_SIZE} bytes and a short id"
                )
        self._keys = dict(keys)
        self._current = current
        self._cipher = cipher
        self._kek = functools.cache(self._derive)

    def seal(self, data: bytes, place: str) -> bytes:
        """`data` sealed for `place`, which names where it is kept: table, column and row."""
        key_id = self._current.encode()
        header = bytes((SEALED, _NUMBERS[self._cipher], len(key_id))) + key_id
        bound, drawn = header + place.encode(), _DRAW[self._cipher]()
        nonce, data_key = drawn[:_NONCE_SIZE], drawn[_NONCE_SIZE:]
        wrapped = self._kek(self._current, self._cipher).encrypt(nonce, data_key, bound)
        return header + nonce + wrapped + _AEADS[self._cipher](data_key).encrypt(nonce, data, bound)

    def open(self, sealed: bytes, place: str) -> bytes:
        """What was sealed for `place`. Raises PayloadRefused: another place, changed, or its KEK is gone."""
        parts = _read(sealed)
        if parts.key_id not in self._keys:
            raise PayloadRefused(
                f"{place}: it is sealed under key {parts.key_id}, which this key store does not hold;"
                " restore the key from the backup"
            )
        bound = parts.header + place.encode()
        try:
            data_key = self._kek(parts.key_id, parts.cipher).decrypt(parts.nonce, parts.wrapped, bound)
            return _AEADS[parts.cipher](data_key).decrypt(parts.nonce, parts.ciphertext, bound)
        except InvalidTag:
            raise PayloadRefused(
                f"{place}: its seal under key {parts.key_id} does not open; it was changed or moved here"
            ) from None

    def rewrap(self, sealed: bytes, place: str) -> bytes | None:
        """The same data under the current KEK and cipher; None when it is already. Raises PayloadRefused.

        The data is opened and sealed anew: a damaged record is found while its old KEK is still at hand.
        """
        parts = _read(sealed)
        if (parts.key_id, parts.cipher) == (self._current, self._cipher):
            return None
        return self.seal(self.open(sealed, place), place)

    @staticmethod
    def key_id(sealed: bytes) -> str:
        """The id of the KEK that opens it. Raises PayloadRefused for what is not sealed."""
        return _read(sealed).key_id

    def _derive(self, key_id: str, cipher: CipherName) -> Aead:
        """One key for each cipher, so that no key ever serves two."""
        info = f"lianren envelope v1 {cipher}".encode()
        kdf = HKDF(algorithm=hashes.SM3(), length=_KEY_SIZE[cipher], salt=None, info=info)
        return _AEADS[cipher](kdf.derive(self._keys[key_id]))

    def __repr__(self) -> str:
        return f"Envelope({self._current}, {self._cipher})"


def _read(sealed: bytes) -> _Parts:
    if len(sealed) < 3 or sealed[0] != SEALED or sealed[1] not in _CIPHERS:
        raise PayloadRefused("not a sealed record of this version: its first bytes are others")
    cipher = _CIPHERS[sealed[1]]
    head = 3 + sealed[2]
    data_key = head + _NONCE_SIZE
    body = data_key + _KEY_SIZE[cipher] + _TAG_SIZE
    if len(sealed) < body + _TAG_SIZE:
        raise PayloadRefused("a sealed record that was cut short")
    try:
        key_id = sealed[3:head].decode()
    except UnicodeDecodeError:
        raise PayloadRefused("a sealed record whose key id is no text") from None
    return _Parts(cipher, key_id, sealed[:head], sealed[head:data_key], sealed[data_key:body], sealed[body:])
