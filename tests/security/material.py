"""Fixed keys, claims and times for the tests of the security room; the private keys are worthless."""

from __future__ import annotations

import functools
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from msgspec import json

from security.keys import Algorithm, KeyPair, PublicKey, to_base64url
from security.mark import Claims
from security.trust import KeyList, TrustList, sign_key_list

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
DAY = timedelta(days=1)
CONFORMANCE = Path(__file__).resolve().parents[3] / "shared" / "conformance"

# GB/T 32918.5-2017 annex A
SM2_PUBLIC = bytes.fromhex(
    "04"
    "09F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020"
    "CCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13"
)
SM2_PKCS8 = (
    bytes.fromhex(
        "308187020100301306072a8648ce3d020106082a811ccf5501822d046d306b0201010420"
        "3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8a144034200"
    )
    + SM2_PUBLIC
)
SM2_SIGNATURE = bytes.fromhex(
    "F5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3"
    "B1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA"
)


def conformance(path: str) -> Any:
    """A JSON file of the conformance material; skips the test where that folder is absent."""
    file = CONFORMANCE / path
    if not file.is_file():
        pytest.skip(f"the conformance material shared/conformance/{path} is not beside the checkout")
    return json.decode(file.read_bytes())


def fixed_ed25519(owner: str, purpose: str, letter: str = "a", **record: Any) -> KeyPair:
    """An Ed25519 key pair whose seed is the hash of its id."""
    kid = f"{owner}-{purpose}-202601{letter}"
    key = ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(kid.encode()).digest())
    pkcs8 = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    fields = {
        "not_before": datetime(2026, 1, 1, tzinfo=UTC),
        "not_after": datetime(2028, 1, 1, tzinfo=UTC),
    } | record
    public = to_base64url(key.public_key().public_bytes_raw())
    return KeyPair(
        PublicKey(kid=kid, algorithm="Ed25519", public=public, owner=owner, purpose=purpose, **fields), pkcs8
    )


@functools.cache
def new_key(algorithm: Algorithm, owner: str = "cq", purpose: str = "mark") -> KeyPair:
    """A random key pair that counts from a month before NOW."""
    letter = {"Ed25519": "e", "ES256": "p", "SM2": "s"}[algorithm]
    return KeyPair.generate(algorithm, owner, purpose, NOW - 30 * DAY, letter=letter)


ROOT = fixed_ed25519("cq", "root")
SC_ROOT = fixed_ed25519("sc", "root")
MARK_KEY = fixed_ed25519("cq", "mark")
SC_MARK_KEY = fixed_ed25519("sc", "mark")
LOG_KEY = fixed_ed25519("cq", "log")
RETIRED_KEY = fixed_ed25519("cq", "mark", "r", status="retired", not_after=NOW - 10 * DAY)
COMPROMISED_KEY = fixed_ed25519("cq", "mark", "c", status="compromised")
LATER_KEY = fixed_ed25519("cq", "mark", "l", not_before=NOW + DAY)


def key_list(*keys: KeyPair, owner: str = "cq", version: int = 1, issued: datetime = NOW - DAY) -> KeyList:
    """A key list of an owner that expires 30 days after NOW."""
    return KeyList(
        owner=owner,
        version=version,
        issued=issued,
        expires=NOW + 30 * DAY,
        keys=tuple(key.public for key in keys),
    )


@functools.cache
def envelope() -> bytes:
    """Chongqing's signed key list."""
    ours = (MARK_KEY, LOG_KEY, RETIRED_KEY, COMPROMISED_KEY, LATER_KEY, new_key("SM2"), new_key("ES256"))
    return sign_key_list(key_list(*ours), [ROOT])


@functools.cache
def trust() -> TrustList:
    """A trust list of Chongqing and Sichuan."""
    theirs = sign_key_list(key_list(SC_MARK_KEY, owner="sc"), [SC_ROOT])
    return TrustList([ROOT.public, SC_ROOT.public]).add(envelope(), NOW).add(theirs, NOW)


RESULT_DIGEST = hashlib.sha256(b"a result").digest()
CLAIMS = Claims(
    issuer="cq",
    mark_id=bytes(range(16)),
    digest=RESULT_DIGEST,
    item="250104001",
    catalogue="chuanyu-2025.1",
    institution="SL-CQ-001",
    performed=NOW - 3 * DAY,
    scope="CHUANYU",
    printed="川渝HR",
    issued=NOW - 2 * DAY,
    expires=NOW + 28 * DAY,
)
