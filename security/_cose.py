"""COSE_Sign1 (RFC 9052 §4.2), as marks and status lists are signed:

    18([ << {1: algorithm, 4: key id} >>, {}, << payload >>, signature (64 bytes, raw) ])

Deterministic CBOR (RFC 8949 §4.2.1) throughout: a reader encodes what it has read and wants the same bytes.
A type (RFC 9596, header 16) keeps what is no mark apart from marks under the same key. Everything that is
wrong is a ValueError with its sentence; the callers have their own errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import cbor2
from msgspec import Struct, ValidationError, convert

from security._der import RAW_SIZE
from security.errors import KeyNotValid
from security.keys import Algorithm, KeyId, Signer, verifier
from security.trust import TrustList

_ALGORITHMS: dict[Algorithm, int] = {"Ed25519": -8, "ES256": -7, "SM2": -65601}
_TAG = 18
_ALG, _KID, _TYPE = 1, 4, 16


class Signed(Struct, frozen=True):
    """A message as read, not verified: what it says of its key, its payload, and what is signed."""

    algorithm: Algorithm
    kid: str
    payload: bytes
    signed: bytes
    signature: bytes


def sign(payload: bytes, signer: Signer, typ: str = "") -> bytes:
    """The signed message."""
    protected = _header(signer.algorithm, signer.kid, typ)
    signature = signer.sign(_to_be_signed(protected, payload))
    return encode(cbor2.CBORTag(_TAG, [protected, {}, payload, signature]))


def read(data: bytes, what: str, typ: str = "") -> Signed:
    """Read a message, strictly. Raises ValueError."""
    match decode(data, f"the {what}"):
        case cbor2.CBORTag(
            tag=18,
            value=[bytes(protected), Mapping() as unprotected, bytes(payload), bytes(signature)],
        ):
            if unprotected or len(signature) != RAW_SIZE:
                raise ValueError("unprotected headers, or a signature not of 64 bytes")
        case _:
            raise ValueError("not a COSE_Sign1 of the expected parts")
    algorithm, kid = _read_header(protected, typ)
    return Signed(algorithm, kid, payload, _to_be_signed(protected, payload), signature)


def verify(message: Signed, *, trust: TrustList, issuer: str, at: datetime, purpose: str) -> None:
    """Return when the message is signed by a key of `issuer` that counted for `purpose` when it was signed.

    Raises UnknownKey, KeyNotValid or SignatureRefused.
    """
    key = trust.key(message.kid, at, purpose)
    if key.owner != issuer:
        raise KeyNotValid(f"key {key.kid} is of '{key.owner}', not of '{issuer}'")
    if key.algorithm != message.algorithm:
        raise KeyNotValid(f"key {key.kid} is for {key.algorithm}, the header says {message.algorithm}")
    verifier(key).verify(message.signed, message.signature)


def encode(value: object) -> bytes:
    """Deterministic CBOR."""
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes, what: str) -> object:
    """The value of deterministic CBOR. Raises ValueError."""
    try:
        value = cbor2.loads(data)
        deterministic = encode(value) == data  # also refuses bytes after the end and a key given twice
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as wrong:
        raise ValueError(f"{what} is not CBOR ({type(wrong).__name__})") from None
    if not deterministic:
        raise ValueError(f"{what} is not in the one deterministic encoding")
    return value


def seconds(value: object) -> datetime:
    """The time of a claim. Raises ValueError, OverflowError or OSError."""
    if type(value) is not int:
        raise ValueError("a time is not whole seconds since 1970")
    return datetime.fromtimestamp(value, UTC)


def _read_header(protected: bytes, typ: str) -> tuple[Algorithm, str]:
    header = decode(protected, "the header")
    if not isinstance(header, dict) or header.keys() != ({_ALG, _KID, _TYPE} if typ else {_ALG, _KID}):
        raise ValueError("its header must hold algorithm, key id and the type where there is one, no more")
    algorithm = next((name for name, number in _ALGORITHMS.items() if number == header[_ALG]), None)
    try:
        kid = convert(header[_KID].decode() if isinstance(header[_KID], bytes) else None, KeyId)
    except (ValidationError, UnicodeError):
        raise ValueError("its header names no key id of the known form") from None
    if algorithm is None:
        raise ValueError("its header names an unknown algorithm")
    if _header(algorithm, kid, typ) != protected:
        raise ValueError(
            "its header is of another type, or written in another way than the one that there is"
        )
    return algorithm, kid


def _header(algorithm: Algorithm, kid: str, typ: str) -> bytes:
    header: dict[int, object] = {_ALG: _ALGORITHMS[algorithm], _KID: kid.encode()}
    return encode(header | ({_TYPE: typ} if typ else {}))


def _to_be_signed(protected: bytes, payload: bytes) -> bytes:
    """Sig_structure of RFC 9052 §4.4 with no external data."""
    return encode(["Signature1", protected, b"", payload])
