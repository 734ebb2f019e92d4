"""The signed recognition mark 互认标识: a COSE_Sign1 (RFC 9052 §4.2) of about 240 bytes.

    18([ << {1: algorithm, 4: kid} >>, {}, << claims >>, signature (64 bytes, raw) ])

Deterministic CBOR (RFC 8949 §4.2.1) throughout: a reader encodes what it has read and wants the same bytes.
Algorithms: Ed25519 −8, ES256 −7, SM2 −65601 (private use; COSE has registered none for SM2). As text:
`XR1:` and base45 (RFC 9285), which fits a QR code of version 11 or 12 at error level M.

| key | claim | type |
|---:|---|---|
| 0 | version of this table, now 1 | integer |
| 1 | issuer: owner id of the signing gateway (CWT `iss`) | text |
| 4 | expires (CWT `exp`) | seconds since 1970 |
| 6 | issued (CWT `iat`) | seconds since 1970 |
| 7 | mark id (CWT `cti`) | 16 bytes |
| 10 | digest of the result's canonical bytes | 32 bytes |
| 11 | item code in the catalogue | text |
| 12 | scope: region code, such as CHUANYU | text |
| 13 | catalogue version | text |
| 14 | institution that performed the examination: its code | text |
| 15 | performed | seconds since 1970 |
| 16 | printed form, such as 川渝HR | text |
| 17 | hash of claim 10: 2 for SHA-256; left out for SM3 | integer |
| 18 | status reference; left out where the issuer's ledger is to be asked by mark id | text |

A later version may add keys and never gives a used one another meaning; a reader refuses a version that it
does not know, and unknown keys in one that it knows. The mark holds no name, number or value of a person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated

import cbor2
from msgspec import Meta, Struct, ValidationError, convert

from security import _base45
from security._der import RAW_SIZE
from security.digests import HashName
from security.errors import KeyNotValid, MarkRefused, SignatureRefused, UnknownKey
from security.keys import Algorithm, AwareDatetime, KeyId, OwnerId, Signer, verifier
from security.trust import TrustList

TEXT_PREFIX = "XR1:"
VERSION = 1
MAX_SIZE = 1024  # what a mark may have; refuses oversized input before it is parsed
CLOCK_SKEW = timedelta(minutes=5)  # between the issuer's clock and ours
PURPOSE = "mark"

_ALGORITHMS: dict[Algorithm, int] = {"Ed25519": -8, "ES256": -7, "SM2": -65601}
_SHA256 = 2
_TIMES = frozenset({"expires", "issued", "performed"})
_KEYS = {
    "version": 0,
    "issuer": 1,
    "expires": 4,
    "issued": 6,
    "mark_id": 7,
    "digest": 10,
    "item": 11,
    "scope": 12,
    "catalogue": 13,
    "institution": 14,
    "performed": 15,
    "printed": 16,
    "digest_hash": 17,
    "status": 18,
}

ShortText = Annotated[str, Meta(min_length=1, max_length=64)]


class Claims(Struct, frozen=True, kw_only=True):
    """What a mark says; times are aware and of whole seconds."""

    issuer: OwnerId
    mark_id: Annotated[bytes, Meta(min_length=16, max_length=16)]
    digest: Annotated[bytes, Meta(min_length=32, max_length=32)]
    digest_hash: HashName = "sm3"
    item: ShortText
    catalogue: ShortText
    institution: ShortText
    performed: AwareDatetime
    scope: ShortText
    printed: ShortText
    issued: AwareDatetime
    expires: AwareDatetime
    status: Annotated[str, Meta(max_length=200)] = ""
    version: int = VERSION


class Mark(Struct, frozen=True, kw_only=True):
    """A mark as read: its claims, the key that it names, and the bytes that it came in. Not yet verified."""

    claims: Claims
    kid: str
    algorithm: Algorithm
    data: bytes
    signed: bytes
    signature: bytes

    @property
    def text(self) -> str:
        """The text form, for print and QR codes."""
        return to_text(self.data)


def issue(claims: Claims, signer: Signer) -> bytes:
    """The signed mark. Raises MarkRefused("format") for claims that no reader would take."""
    protected = _header(signer.algorithm, signer.kid)
    payload = _encode(_to_wire(claims))
    signature = signer.sign(_to_be_signed(protected, payload))
    data = _encode(cbor2.CBORTag(18, [protected, {}, payload, signature]))
    read(data)
    return data


def to_text(data: bytes) -> str:
    """`XR1:` and the base45 of a mark's bytes."""
    return TEXT_PREFIX + _base45.encode(data)


def read(data: bytes | str) -> Mark:
    """Read a mark from its bytes or text, strictly and without verifying. Raises MarkRefused("format")."""
    if isinstance(data, str):
        data = _from_text(data)
    if len(data) > MAX_SIZE:
        raise MarkRefused("format", f"not a mark: {len(data)} bytes are more than {MAX_SIZE}")
    match _decode(data, "the mark"):
        case cbor2.CBORTag(
            tag=18,
            value=[bytes(protected), Mapping() as unprotected, bytes(payload), bytes(signature)],
        ):
            if unprotected or len(signature) != RAW_SIZE:
                raise MarkRefused("format", "not a mark: unprotected headers, or a signature not of 64 bytes")
        case _:
            raise MarkRefused("format", "not a mark: not a COSE_Sign1 of the expected parts")
    algorithm, kid = _read_header(protected)
    return Mark(
        claims=_read_claims(payload),
        kid=kid,
        algorithm=algorithm,
        data=data,
        signed=_to_be_signed(protected, payload),
        signature=signature,
    )


def verify(
    data: bytes | str,
    *,
    trust: TrustList,
    now: datetime,
    expected_digest: bytes | None = None,
    withdrawn: Callable[[bytes], bool] | None = None,
    scope_contains: Callable[[str], bool] | None = None,
) -> Mark:
    """The mark, when it counts at `now` (aware). Raises MarkRefused whose `step` is the first that fails:

    1. `format`: it reads as a mark.
    2. `key`: its key is the issuer's own, for marks, of the stated algorithm, and valid when it was issued.
    3. `signature`: the signature is of these claims by that key.
    4. `expiry`: it is issued before `now` (5 minutes of clock skew allowed) and has not expired.
    5. `digest`: it is bound to the result whose digest is `expected_digest`.
    6. `withdrawn`: `withdrawn(mark id)` is false.
    7. `scope`: `scope_contains(scope code)` is true, so that the scope contains the receiving institution.

    Steps 5 to 7 are made where their argument is given. That the issuer's ledger includes the mark is another
    question (`tree.verify_inclusion`).
    """
    # 1 to 3
    mark = verify_signature(data, trust=trust)
    claims = mark.claims
    # 4
    if claims.issued > now + CLOCK_SKEW:
        raise MarkRefused("expiry", f"the mark is issued in the future, on {claims.issued.isoformat()}")
    if claims.expires <= now:
        raise MarkRefused("expiry", f"the mark expired on {claims.expires.isoformat()}")
    # 5
    if expected_digest is not None and claims.digest != expected_digest:
        raise MarkRefused("digest", "the mark belongs to another result, or the result was changed since")
    # 6
    if withdrawn is not None and withdrawn(claims.mark_id):
        raise MarkRefused("withdrawn", f"the issuer withdrew the mark {claims.mark_id.hex()}")
    # 7
    if scope_contains is not None and not scope_contains(claims.scope):
        raise MarkRefused(
            "scope", f"the mark counts in {claims.scope} ({claims.printed}), not where it is shown"
        )
    return mark


def verify_signature(data: bytes | str, *, trust: TrustList) -> Mark:
    """Steps 1 to 3 of `verify`: who signed what. An auditor asks no more of marks that have expired since."""
    # 1
    mark = read(data)
    # 2
    try:
        key = trust.key(mark.kid, mark.claims.issued, PURPOSE)
    except (UnknownKey, KeyNotValid) as wrong:
        raise MarkRefused("key", str(wrong)) from None
    if key.owner != mark.claims.issuer:
        raise MarkRefused("key", f"key {key.kid} is of '{key.owner}', the mark says '{mark.claims.issuer}'")
    if key.algorithm != mark.algorithm:
        raise MarkRefused("key", f"key {key.kid} is for {key.algorithm}, the mark says {mark.algorithm}")
    # 3
    try:
        verifier(key).verify(mark.signed, mark.signature)
    except SignatureRefused as wrong:
        raise MarkRefused("signature", f"{wrong} (key {key.kid})") from None
    return mark


def _from_text(text: str) -> bytes:
    if not text.startswith(TEXT_PREFIX):
        raise MarkRefused("format", f"not a mark: the text does not begin with {TEXT_PREFIX}")
    if len(text) > len(TEXT_PREFIX) + MAX_SIZE * 3 // 2:
        raise MarkRefused("format", f"not a mark: {len(text)} characters are too many")
    try:
        return _base45.decode(text.removeprefix(TEXT_PREFIX))
    except ValueError as wrong:
        raise MarkRefused("format", f"not a mark: {wrong}") from None


def _read_header(protected: bytes) -> tuple[Algorithm, str]:
    header = _decode(protected, "the header")
    if not isinstance(header, dict) or header.keys() != {1, 4}:
        raise MarkRefused("format", "the mark's header must hold algorithm and key id, and nothing else")
    algorithm = next((name for name, number in _ALGORITHMS.items() if number == header[1]), None)
    try:
        kid = convert(header[4].decode() if isinstance(header[4], bytes) else None, KeyId)
    except (ValidationError, UnicodeError):
        raise MarkRefused("format", "the mark's header names no key id of the known form") from None
    if algorithm is None:
        raise MarkRefused("format", "the mark's header names an unknown algorithm")
    if _header(algorithm, kid) != protected:
        raise MarkRefused("format", "the mark's header is written in another way than the one that there is")
    return algorithm, kid


def _header(algorithm: Algorithm, kid: str) -> bytes:
    return _encode({1: _ALGORITHMS[algorithm], 4: kid.encode()})


def _to_wire(claims: Claims) -> dict[int, object]:
    """The claims by their numbers; what says no more than its absence (SM3, no status) is left out."""
    wire: dict[int, object] = {}
    for name, number in _KEYS.items():
        value = getattr(claims, name)
        if name in _TIMES:
            wire[number] = int(value.timestamp())
        elif name == "digest_hash":
            wire |= {number: _SHA256} if value == "sha256" else {}
        elif value != "":
            wire[number] = value
    return wire


def _read_claims(payload: bytes) -> Claims:
    wire = _decode(payload, "the claims")
    if not isinstance(wire, dict):
        raise MarkRefused("format", "the mark's claims are not a map")
    if type(wire.get(0)) is not int or wire[0] != VERSION:
        raise MarkRefused("format", "the mark is of another version than 1; update this software to read it")
    names = {number: name for name, number in _KEYS.items()}
    if not wire.keys() <= names.keys():
        raise MarkRefused("format", "the mark holds a claim that version 1 does not have")
    fields = {names[number]: value for number, value in wire.items()}
    try:
        fields |= {name: _time(fields[name]) for name in _TIMES & fields.keys()}
        fields["digest_hash"] = "sha256" if fields.get("digest_hash") == _SHA256 else "sm3"
        claims = convert(fields, Claims)
    except (ValidationError, ValueError, OverflowError, OSError) as wrong:
        raise MarkRefused("format", f"the mark's claims: {wrong}") from None
    if _encode(_to_wire(claims)) != payload:
        raise MarkRefused("format", "the mark writes a claim in another way than the one that there is")
    if not claims.performed <= claims.issued < claims.expires:
        raise MarkRefused("format", "the mark's times are out of order: performed, issued, expires")
    return claims


def _time(seconds: object) -> datetime:
    if type(seconds) is not int:
        raise ValueError("a time is not whole seconds since 1970")
    return datetime.fromtimestamp(seconds, UTC)


def _to_be_signed(protected: bytes, payload: bytes) -> bytes:
    """Sig_structure of RFC 9052 §4.4 with no external data."""
    return _encode(["Signature1", protected, b"", payload])


def _encode(value: object) -> bytes:
    return cbor2.dumps(value, canonical=True)


def _decode(data: bytes, what: str) -> object:
    try:
        value = cbor2.loads(data)
        deterministic = _encode(value) == data  # also refuses bytes after the end and a key given twice
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as wrong:
        raise MarkRefused("format", f"not a mark: {what} is not CBOR ({type(wrong).__name__})") from None
    if not deterministic:
        raise MarkRefused("format", f"not a mark: {what} is not in the one deterministic encoding")
    return value
