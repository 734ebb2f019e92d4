"""Keys and the two small protocols, `Signer` and `Verifier`, that everything signed goes through.

Every algorithm gives a raw signature of 64 bytes (Ed25519: RFC 8032; ES256 and SM2: r‖s); DER stays inside.
A public key is a record: besides its bytes it says whose it is, for what, from when to when, and whether it
still counts. The record decides, never the header of the thing that is being verified.

A key id is `<owner>-<purpose>-<yyyymm><letter>`, such as `cq-mark-202611a`; owners are short ASCII ids of
gateways or health commissions (`cq`, `sc`, `lab8`). Private keys live in `keystore`.
"""

from __future__ import annotations

import functools
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Annotated, Literal, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.exceptions import UnsupportedAlgorithm as _Unsupported
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from msgspec import Meta, Struct, ValidationError, convert

from security import _sm2_pure
from security._der import der_to_raw, raw_to_der
from security._sm2_libcrypto import Sm2Key
from security.errors import KeyNotValid, SignatureRefused, UnsupportedAlgorithm

Algorithm = Literal["Ed25519", "ES256", "SM2"]
Status = Literal["active", "retired", "compromised"]
AwareDatetime = Annotated[datetime, Meta(tz=True)]
OwnerId = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9]{0,15}\Z")]
Purpose = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9]{0,15}\Z")]
KeyId = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9]{0,15}-[a-z][a-z0-9]{0,15}-[0-9]{6}[a-z]\Z")]

SHANGHAI = timezone(timedelta(hours=8))  # China has had one time and no summer time since 1991
VALIDITY = timedelta(days=730)
_PUBLIC_SIZE: dict[Algorithm, int] = {"Ed25519": 32, "ES256": 65, "SM2": 65}


class PublicKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A public key and what it counts for; the JSON of key lists is this structure.

    `public` is base64url without padding of Ed25519's 32 bytes or of 04‖X‖Y (65 bytes). A `retired` key
    still verifies what it signed before `not_after`; a `compromised` one verifies nothing, since a thief
    can backdate.
    """

    kid: KeyId
    algorithm: Algorithm
    public: str
    owner: OwnerId
    purpose: Purpose
    not_before: AwareDatetime
    not_after: AwareDatetime
    status: Status = "active"

    @property
    def raw(self) -> bytes:
        """The bytes of the key. Raises KeyNotValid when they are not base64url."""
        try:
            return from_base64url(self.public)
        except ValueError:
            raise KeyNotValid(f"key {self.kid}: its public part is not base64url") from None

    def check(self, at: datetime, purpose: str) -> None:
        """Raise KeyNotValid unless the key counts for `purpose` on what was signed at `at` (aware)."""
        if self.purpose != purpose:
            raise KeyNotValid(f"key {self.kid} is for '{self.purpose}', not for '{purpose}'")
        if self.status == "compromised":
            raise KeyNotValid(f"key {self.kid} is compromised; nothing that it signed counts any more")
        if at < self.not_before:
            raise KeyNotValid(
                f"key {self.kid} counts from {self.not_before.isoformat()}, not on {at.isoformat()}"
            )
        if at >= self.not_after:
            ended = "was retired" if self.status == "retired" else "expired"
            raise KeyNotValid(
                f"key {self.kid} {ended} on {self.not_after.isoformat()}, before {at.isoformat()}"
            )


class Signer(Protocol):
    """Signs; the private key may be in a file, in memory or inside a crypto machine."""

    @property
    def public(self) -> PublicKey:
        """The record of the key."""

    @property
    def kid(self) -> str:
        """Its id."""

    @property
    def algorithm(self) -> Algorithm:
        """Its algorithm."""

    def sign(self, message: bytes) -> bytes:
        """The raw signature of `message`, 64 bytes.

        Raises SignatureRefused or KeyStoreError when the crypto machine that holds the key does not sign.
        """


class Verifier(Protocol):
    """Verifies by one public key."""

    def verify(self, message: bytes, signature: bytes) -> None:
        """Return when the raw 64-byte `signature` is of `message`; raise SignatureRefused otherwise."""


class KeyPair:
    """A key's record with its private part; a `Signer`. Printing it shows the id alone."""

    def __init__(self, public: PublicKey, pkcs8: bytes) -> None:
        """`pkcs8` is unencrypted PKCS#8 DER. Raises KeyNotValid when the two parts are not one pair."""
        self.public = public
        self.pkcs8 = pkcs8
        raw, self._sign = _load(public.algorithm, pkcs8)
        if raw != public.raw:
            raise KeyNotValid(f"key {public.kid}: the private part belongs to another public key")

    @classmethod
    def generate(
        cls,
        algorithm: Algorithm,
        owner: str,
        purpose: str,
        now: datetime,
        *,
        letter: str = "a",
        validity: timedelta = VALIDITY,
    ) -> KeyPair:
        """A new key pair that counts from `now` (aware) for `validity`.

        `letter` tells apart keys of one purpose and month. Raises UnsupportedAlgorithm where the system
        lacks SM2, KeyNotValid when owner, purpose or letter are not short ASCII names.
        """
        pkcs8 = _generate(algorithm)
        raw, _ = _load(algorithm, pkcs8)
        return cls(new_record(raw, algorithm, owner, purpose, now, letter=letter, validity=validity), pkcs8)

    @property
    def kid(self) -> str:
        """The key id."""
        return self.public.kid

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm."""
        return self.public.algorithm

    def sign(self, message: bytes) -> bytes:
        """The raw signature of `message`, 64 bytes."""
        return self._sign(message)

    def __repr__(self) -> str:
        return f"KeyPair({self.kid})"


def new_record(
    raw: bytes,
    algorithm: Algorithm,
    owner: str,
    purpose: str,
    now: datetime,
    *,
    letter: str = "a",
    validity: timedelta = VALIDITY,
) -> PublicKey:
    """The record of a new key with the public bytes `raw`, which counts from `now` (aware) for `validity`.

    Raises KeyNotValid when owner, purpose or letter are not short ASCII names.
    """
    from_second = now.replace(microsecond=0)  # marks and notes state whole seconds
    record = {
        "kid": f"{owner}-{purpose}-{now.astimezone(SHANGHAI):%Y%m}{letter}",
        "algorithm": algorithm,
        "public": to_base64url(raw),
        "owner": owner,
        "purpose": purpose,
        "not_before": from_second,
        "not_after": from_second + validity,
    }
    try:
        return convert(record, PublicKey)
    except ValidationError as wrong:
        raise KeyNotValid(f"a new {algorithm} key of '{owner}' for '{purpose}': {wrong}") from None


def verifier(key: PublicKey) -> Verifier:
    """The verifier of a key's bytes; it does not look at validity, which is `PublicKey.check`.

    Raises KeyNotValid for bytes that are no key of the algorithm.
    """
    try:
        return raw_verifier(key.algorithm, key.raw)
    except KeyNotValid as wrong:
        raise KeyNotValid(f"key {key.kid}: {wrong}") from None


def raw_verifier(algorithm: Algorithm, raw: bytes) -> Verifier:
    """The verifier of raw public bytes; for SM2 in plain Python where the system's OpenSSL has none.

    Raises KeyNotValid.
    """
    try:
        if len(raw) != _PUBLIC_SIZE[algorithm]:
            raise ValueError("wrong length")
        return _verifier(algorithm, raw)
    except (ValueError, _Unsupported, SignatureRefused):
        raise KeyNotValid(f"its bytes are not an {algorithm} public key") from None


def to_base64url(data: bytes) -> str:
    """base64url without padding (RFC 4648 §5)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """The bytes of unpadded base64url, in its one encoding. Raises ValueError on any other text."""
    data = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    if to_base64url(data) != text:
        raise ValueError("not canonical base64url")
    return data


class _Ed25519Verifier:
    def __init__(self, raw: bytes) -> None:
        self._key = ed25519.Ed25519PublicKey.from_public_bytes(raw)

    def verify(self, message: bytes, signature: bytes) -> None:
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            raise SignatureRefused("the Ed25519 signature does not verify") from None


class _Es256Verifier:
    def __init__(self, raw: bytes) -> None:
        self._key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)

    def verify(self, message: bytes, signature: bytes) -> None:
        try:
            self._key.verify(raw_to_der(signature), message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise SignatureRefused("the ES256 signature does not verify") from None


class _Sm2Verifier:
    def __init__(self, raw: bytes) -> None:
        try:
            self._accepts = Sm2Key.from_public(raw).verify
        except UnsupportedAlgorithm:
            if not _sm2_pure.on_curve(raw):
                raise SignatureRefused("not a point of the SM2 curve") from None
            self._accepts = functools.partial(_sm2_pure.verify, raw)

    def verify(self, message: bytes, signature: bytes) -> None:
        if not self._accepts(message, signature):
            raise SignatureRefused("the SM2 signature does not verify")


_VERIFIERS: dict[Algorithm, Callable[[bytes], Verifier]] = {
    "Ed25519": _Ed25519Verifier,
    "ES256": _Es256Verifier,
    "SM2": _Sm2Verifier,
}


@functools.lru_cache(maxsize=1024)
def _verifier(algorithm: Algorithm, raw: bytes) -> Verifier:
    return _VERIFIERS[algorithm](raw)


def _generate(algorithm: Algorithm) -> bytes:
    if algorithm == "SM2":
        return Sm2Key.generate().pkcs8()
    key = (
        ed25519.Ed25519PrivateKey.generate()
        if algorithm == "Ed25519"
        else ec.generate_private_key(ec.SECP256R1())
    )
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load(algorithm: Algorithm, pkcs8: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    """The raw public bytes and the signing function of a private key."""
    if algorithm == "SM2":
        try:
            sm2 = Sm2Key.from_pkcs8(pkcs8)
        except SignatureRefused as wrong:
            raise KeyNotValid(str(wrong)) from None
        return sm2.public(), sm2.sign
    try:
        key = serialization.load_der_private_key(pkcs8, None)
    except (ValueError, TypeError, _Unsupported):
        raise KeyNotValid(f"not an {algorithm} private key in PKCS#8") from None
    if algorithm == "Ed25519" and isinstance(key, ed25519.Ed25519PrivateKey):
        return key.public_key().public_bytes_raw(), key.sign
    if algorithm == "ES256" and isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp256r1":
        point = key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        return point, lambda message: der_to_raw(key.sign(message, ec.ECDSA(hashes.SHA256())))
    raise KeyNotValid(f"the private key is not of {algorithm}")
