"""Pseudonyms: the keyed, recipient-scoped stand-in for a person's number.

    recipient key = HKDF-SM3(key, info = "lianren pseudonym v1" ‖ 0 ‖ epoch ‖ 0 ‖ recipient)   (RFC 5869)
    pseudonym     = epoch "." base64url(HMAC-SM3(recipient key, system ‖ 0 ‖ value))

Two recipients see different pseudonyms of one person and cannot join their indexes. There are about 10¹¹
resident numbers, so whoever holds the key can try them all: the key stays in one service with a limited
rate (GM/T 0018 device or a process of its own), and only pseudonyms leave it. The epoch stands in the
output, so that the key can turn.
"""

from __future__ import annotations

import functools
import re

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from security.digests import hmac_sm3
from security.errors import KeyStoreError
from security.identity import identifier
from security.keys import to_base64url

MIN_KEY_SIZE = 32
_EPOCH = re.compile(r"[A-Za-z0-9]{1,16}")


class Pseudonymiser:
    """Makes pseudonyms under one key and epoch."""

    def __init__(self, key: bytes, epoch: str) -> None:
        """`key` has 32 random bytes or more; `epoch` is 1 to 16 letters and digits. Raises KeyStoreError."""
        if len(key) < MIN_KEY_SIZE:
            raise KeyStoreError(f"a pseudonym key has at least {MIN_KEY_SIZE} bytes, this one has {len(key)}")
        if not _EPOCH.fullmatch(epoch):
            raise KeyStoreError("the epoch of a pseudonym key is 1 to 16 letters and digits, such as 2026a")
        self.epoch = epoch
        self._key = key
        self._recipient_key = functools.lru_cache(maxsize=256)(self._derive)

    def for_recipient(self, identifier_type: str, number: str, recipient: str) -> str:
        """The pseudonym of a person's number for one recipient (owner id). Raises IdentityRefused.

        The number is made canonical first, so that its spellings give one pseudonym.
        """
        person = identifier(identifier_type, number)
        message = f"{person.system}\0{person.value}".encode()
        return f"{self.epoch}.{to_base64url(hmac_sm3(self._recipient_key(recipient), message))}"

    def _derive(self, recipient: str) -> bytes:
        info = b"\0".join((b"lianren pseudonym v1", self.epoch.encode(), recipient.encode()))
        return HKDF(algorithm=hashes.SM3(), length=32, salt=None, info=info).derive(self._key)

    def __repr__(self) -> str:
        return f"Pseudonymiser(epoch {self.epoch})"
