"""Pseudonyms: the keyed, recipient-scoped stand-in for a person's number.

    recipient key = HKDF-SM3(key, info = "lianren pseudonym v1" ‖ 0 ‖ epoch ‖ 0 ‖ recipient)   (RFC 5869)
    pseudonym     = epoch "." base64url(HMAC-SM3(recipient key, system ‖ 0 ‖ value))

Two recipients see different pseudonyms of one person and cannot join their indexes. There are about 10¹¹
resident numbers, so whoever holds the key can try them all: the key stays in one service with a limited
rate, and only pseudonyms leave it. The epoch stands in the output, so that the key can turn: the keys of
former epochs are held as long as something is kept under their pseudonyms, and :class:`Pseudonyms` has those
too.

The service is behind the :class:`Pseudonymiser` protocol; :mod:`security.oprf` has another one, that does not
even see the numbers.
"""

from __future__ import annotations

import functools
import re
from typing import Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Struct

from security.digests import hmac_sm3
from security.errors import KeyStoreError
from security.identity import Identifier
from security.keys import to_base64url

MIN_KEY_SIZE = 32
_EPOCH = re.compile(r"[A-Za-z0-9]{1,16}")


class Pseudonyms(Struct, frozen=True):
    """What stands for one person: under the epoch that new things are kept under, and under earlier ones."""

    current: str
    former: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Everything that something of this person may be kept under, the current one first."""
        return (self.current, *self.former)


class Pseudonymiser(Protocol):
    """Makes pseudonyms of persons for recipients (owner ids)."""

    @property
    def epoch(self) -> str:
        """The epoch of new pseudonyms."""
        ...

    async def pseudonyms(self, person: Identifier, recipient: str) -> Pseudonyms:
        """The pseudonyms of a person for one recipient. Raises what says that none can be made now."""
        ...


class PseudonymKey:
    """The pseudonyms of one key and epoch."""

    def __init__(self, key: bytes, epoch: str) -> None:
        """`key` has 32 random bytes or more; `epoch` is 1 to 16 letters and digits. Raises KeyStoreError."""
        if len(key) < MIN_KEY_SIZE:
            raise KeyStoreError(f"a pseudonym key has at least {MIN_KEY_SIZE} bytes, this one has {len(key)}")
        self.epoch = checked_epoch(epoch)
        self._key = key
        self._recipient_key = functools.lru_cache(maxsize=256)(self._derive)

    def pseudonym(self, person: Identifier, recipient: str) -> str:
        """The pseudonym of a person for one recipient (owner id).

        The identifier is canonical, so the spellings of a number give one pseudonym.
        """
        made = hmac_sm3(self._recipient_key(recipient), message_of(person))
        return f"{self.epoch}.{to_base64url(made)}"

    def _derive(self, recipient: str) -> bytes:
        info = b"\0".join((b"lianren pseudonym v1", self.epoch.encode(), recipient.encode()))
        return HKDF(algorithm=hashes.SM3(), length=32, salt=None, info=info).derive(self._key)

    def __repr__(self) -> str:
        return f"PseudonymKey(epoch {self.epoch})"


def checked_epoch(epoch: str) -> str:
    """The epoch, which ends at the first full stop of a pseudonym. Raises KeyStoreError."""
    if not _EPOCH.fullmatch(epoch):
        raise KeyStoreError("the epoch of a pseudonym key is 1 to 16 letters and digits, such as 2026a")
    return epoch


def message_of(person: Identifier) -> bytes:
    """The bytes of a person that a pseudonym is made from: system ‖ 0 ‖ value."""
    return f"{person.system}\0{person.value}".encode()
