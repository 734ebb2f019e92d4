"""The signed recognition mark 互认标识: a COSE_Sign1 (RFC 9052 §4.2) of about 240 bytes.

Deterministic CBOR (RFC 8949 §4.2.1; `_cose`). Algorithms: Ed25519 −8, ES256 −7, SM2 −65601 (private use; COSE
has registered none for SM2). As text: `XR1:` and base45 (RFC 9285), which fits a QR code of version 12 to 14
at error level M, depending on the length of the status address.

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
| 18 | address of the status list (`status`); left out where the issuer has none | text |

A later version may add keys and never gives a used one another meaning; a reader refuses a version that it
does not know, and unknown keys in one that it knows. The mark holds no name, number or value of a person.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated

from msgspec import Meta, Struct, ValidationError, convert

from security import _base45, _cose, tlog_proof
from security.digests import HashName
from security.errors import KeyNotValid, LedgerRefused, MarkRefused, SignatureRefused, UnknownKey
from security.keys import Algorithm, AwareDatetime, OwnerId, Signer
from security.trust import TrustList

TEXT_PREFIX = "XR1:"
VERSION = 1
MAX_SIZE = 1024  # what a mark may have; refuses oversized input before it is parsed
CLOCK_SKEW = timedelta(minutes=5)  # between the issuer's clock and ours
PURPOSE = "mark"

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

# no control characters, and none that turn the direction: what a mark says is shown before it is verified
ShortText = Annotated[
    str, Meta(max_length=64, pattern=r"^[^\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+\Z")
]
Address = Annotated[str, Meta(max_length=200, pattern=r"^[!-~]*\Z")]


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
    status: Address = ""
    version: int = VERSION


class Mark(Struct, frozen=True, kw_only=True):
    """A mark as read: its claims, and the message that it came in. Not yet verified."""

    claims: Claims
    data: bytes
    message: _cose.Signed

    @property
    def kid(self) -> str:
        """The key that it names."""
        return self.message.kid

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm that it names."""
        return self.message.algorithm

    @property
    def text(self) -> str:
        """The text form, for print and QR codes."""
        return to_text(self.data)


def issue(claims: Claims, signer: Signer) -> bytes:
    """The signed mark. Raises MarkRefused("format") for claims that no reader would take."""
    data = _cose.sign(_cose.encode(_to_wire(claims)), signer)
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
    try:
        message = _cose.read(data, "mark")
    except ValueError as wrong:
        raise MarkRefused("format", f"not a mark: {wrong}") from None
    return Mark(claims=_read_claims(message.payload), data=data, message=message)


def verify(
    data: bytes | str,
    *,
    trust: TrustList,
    now: datetime,
    scope_contains: Callable[[str], bool] | None = None,
    expected_digest: bytes | None = None,
    proof: str | bytes | None = None,
    withdrawn: Callable[[Claims], str] | None = None,
) -> Mark:
    """The mark, when it counts at `now` (aware). Raises MarkRefused whose `step` is the first that fails:

    1. `format`: it reads as a mark.
    2. `key`: its key is the issuer's own, for marks, of the stated algorithm, and valid when it was issued.
    3. `signature`: the signature is of these claims by that key.
    4. `scope`: `scope_contains(scope code)` is true, so that the scope contains the receiving institution.
    5. `expiry`: it is issued before `now` (5 minutes of clock skew allowed) and has not expired.
    6. `digest`: it is bound to the result whose digest is `expected_digest`.
    7. `inclusion`: `proof` (`tlog_proof`) shows its entry in a ledger of the issuer.
    8. `withdrawn`: `withdrawn(claims)` is empty; else it says in a sentence what the status list has.

    Steps 4 and 6 to 8 are made where their argument is given.
    """
    # 1 to 3
    mark = verify_signature(data, trust=trust)
    claims = mark.claims
    # 4
    if scope_contains is not None and not scope_contains(claims.scope):
        raise MarkRefused(
            "scope", f"the mark counts in {claims.scope} ({claims.printed}), not where it is shown"
        )
    # 5
    if claims.issued > now + CLOCK_SKEW:
        raise MarkRefused("expiry", f"the mark is issued in the future, on {claims.issued.isoformat()}")
    if claims.expires <= now:
        raise MarkRefused("expiry", f"the mark expired on {claims.expires.isoformat()}")
    # 6
    if expected_digest is not None and claims.digest != expected_digest:
        raise MarkRefused("digest", "the mark belongs to another result, or the result was changed since")
    # 7
    if proof is not None:
        try:
            tlog_proof.verify(
                proof, payload=mark.data, mark_id=claims.mark_id, issuer=claims.issuer, trust=trust
            )
        except LedgerRefused as wrong:
            raise MarkRefused("inclusion", str(wrong)) from None
    # 8
    if withdrawn is not None and (why := withdrawn(claims)):
        raise MarkRefused("withdrawn", why)
    return mark


def verify_signature(data: bytes | str, *, trust: TrustList) -> Mark:
    """Steps 1 to 3 of `verify`: who signed what. An auditor asks no more of marks that have expired since."""
    # 1
    mark = read(data)
    # 2 and 3
    claims = mark.claims
    try:
        _cose.verify(mark.message, trust=trust, issuer=claims.issuer, at=claims.issued, purpose=PURPOSE)
    except (UnknownKey, KeyNotValid) as wrong:
        raise MarkRefused("key", str(wrong)) from None
    except SignatureRefused as wrong:
        raise MarkRefused("signature", f"{wrong} (key {mark.kid})") from None
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
    try:
        wire = _cose.decode(payload, "the claims")
    except ValueError as wrong:
        raise MarkRefused("format", f"not a mark: {wrong}") from None
    if not isinstance(wire, dict):
        raise MarkRefused("format", "the mark's claims are not a map")
    if type(wire.get(0)) is not int or wire[0] != VERSION:
        raise MarkRefused("format", "the mark is of another version than 1; update this software to read it")
    names = {number: name for name, number in _KEYS.items()}
    if not wire.keys() <= names.keys():
        raise MarkRefused("format", "the mark holds a claim that version 1 does not have")
    fields = {names[number]: value for number, value in wire.items()}
    try:
        fields |= {name: _cose.seconds(fields[name]) for name in _TIMES & fields.keys()}
        fields["digest_hash"] = "sha256" if fields.get("digest_hash") == _SHA256 else "sm3"
        claims = convert(fields, Claims)
    except (ValidationError, ValueError, OverflowError, OSError) as wrong:
        raise MarkRefused("format", f"the mark's claims: {wrong}") from None
    if _cose.encode(_to_wire(claims)) != payload:
        raise MarkRefused("format", "the mark writes a claim in another way than the one that there is")
    if not claims.performed <= claims.issued < claims.expires:
        raise MarkRefused("format", "the mark's times are out of order: performed, issued, expires")
    return claims
