"""JSON Web Tokens: what a client signs to say who it is, and what this gateway signs to let it in.

Two kinds, never mixed. An *assertion* (RFC 7523, SMART Backend Services; CDS Hooks sends one with each call)
is signed by a client and verified by a key of its JSON Web Key Set; RSA, ECDSA and Ed25519 by joserfc. An
*access token* (RFC 9068) is signed by a key of this gateway, which may lie in a device, and verified by the
same gateway.

Whichever it is, a token is read strictly before anything is computed: compact form, canonical base64url, one
JSON object without repeated names, no header parameters but ``alg``, ``kid``, ``typ`` and a ``jku`` that is
already registered. **The key's record says the algorithm; the header must repeat it.** Shared secrets (HS256)
and ``none`` exist nowhere here, so a public key can never be taken for a secret.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from msgspec import Struct
from msgspec import json as fast

from security.errors import KeyNotValid, SignatureRefused, TokenRefused
from security.keys import PublicKey, Signer, from_base64url, to_base64url, verifier

LONGEST_TOKEN = 16_384
"""Characters of a token; more is refused unread."""
LONGEST_LIFE = timedelta(minutes=5)
"""An assertion ends at most this long after now (SMART Backend Services STU2)."""
SKEW = timedelta(seconds=30)
"""What clocks may differ by."""
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519")
"""What a client may sign with; SMART asks every server for RS384 and ES384."""
ASSERTION_TYPES = ("", "jwt", "client-authentication+jwt")
ACCESS_TYPE = "at+jwt"
_BY_CURVE = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "Ed25519"}
_YEAR_10000 = 253_402_300_800
_SMALLEST_RSA, _LARGEST_RSA, _MOST_KEYS = 2048, 8192, 64
_PUBLIC = ("kty", "crv", "x", "y", "n", "e")
_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")


class Jwk(Struct, frozen=True):
    """A public key of a client: its id, the one algorithm it counts for, and the key of joserfc."""

    kid: str
    algorithm: str
    key: Any


class Parts(Struct, frozen=True):
    """A token that was read and not verified yet."""

    text: str
    header: dict[str, Any]
    payload: bytes
    signed: bytes
    signature: bytes

    @property
    def kid(self) -> str:
        """The id of the key that it says it was signed by; empty where it says none."""
        return str(self.header.get("kid", ""))

    @property
    def claims(self) -> dict[str, Any]:
        """What it says. Raises TokenRefused where that is no JSON object."""
        return _object(self.payload, "token", "its payload")


class Assertion(Struct, frozen=True):
    """A client's assertion that holds: whose, its id that counts once, and until when it is to be
    remembered."""

    client: str
    jti: str
    until: datetime


def load() -> None:
    """Import what reading keys and verifying assertions need, so that no request waits for it (180 ms)."""
    import joserfc.jwk
    import joserfc.jws  # noqa: F401


def read_token(text: str) -> Parts:
    """A token in compact form (RFC 7515 §7.1), read strictly and verified by nothing.

    Raises:
        TokenRefused: it is no such token.
    """
    if len(text) > LONGEST_TOKEN:
        raise TokenRefused("token", f"has more than {LONGEST_TOKEN} characters")
    pieces = text.split(".")
    if len(pieces) != 3:
        raise TokenRefused("token", "is not three parts with dots between them")
    try:
        header, payload, signature = (from_base64url(piece) for piece in pieces)
    except ValueError:
        raise TokenRefused("token", "is not base64url in its one encoding, without padding") from None
    return Parts(
        text, _object(header, "token", "its header"), payload, text.rpartition(".")[0].encode(), signature
    )


def read_jwk(value: Mapping[str, Any]) -> Jwk:
    """A public key (RFC 7517).

    ``alg`` of the key decides its algorithm; without it an elliptic curve has only one, and RSA means RS384.

    Raises:
        TokenRefused: private or shared, too small, known to be weak, or not for signatures.
    """
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    kinds: dict[str, Any] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
    kty, use, operations = str(value.get("kty")), value.get("use", "sig"), value.get("key_ops", ["verify"])
    if kty not in kinds:
        raise TokenRefused("jwks", "holds a key that is neither RSA, EC nor OKP; shared secrets do not count")
    if any(name in value for name in _PRIVATE):
        raise TokenRefused("jwks", "holds a private key; publish public ones only, and make a new one")
    if use != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise TokenRefused("jwks", "holds a key that is not for signatures (use, key_ops)")
    fitting = _BY_CURVE.get(str(value.get("crv")), "") if kty != "RSA" else "RS384"
    algorithm = value.get("alg", fitting)
    algorithm = "Ed25519" if algorithm == "EdDSA" else algorithm  # RFC 9864
    if algorithm not in ALGORITHMS or not (
        algorithm == fitting if kty != "RSA" else algorithm[:2] in ("RS", "PS")
    ):
        raise TokenRefused("jwks", "holds a key whose alg is not of its kty and crv, or not taken here")
    kid = value.get("kid", "")
    if not isinstance(kid, str) or len(kid) > 256:
        raise TokenRefused("jwks", "holds a key whose kid is no text of at most 256 characters")
    try:
        if kty == "RSA":
            _refuse_weak(int.from_bytes(from_base64url(value["n"])))
        key = kinds[kty].import_key({name: value[name] for name in _PUBLIC if name in value})
        key.raw_value  # noqa: B018 - reads the numbers; a point must be on its curve
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        raise TokenRefused("jwks", "holds a key whose numbers are no key") from None
    return Jwk(kid, str(algorithm), key)


def read_jwks(raw: bytes) -> dict[str, Jwk]:
    """The public keys of a JSON Web Key Set by their ids.

    Keys for encryption are passed over, so that a client can publish one set for both.

    Raises:
        TokenRefused: no such set, or a key in it is refused, has no id, or another's.
    """
    listed = _object(raw, "jwks", "the set").get("keys")
    if not isinstance(listed, list) or len(listed) > _MOST_KEYS:
        raise TokenRefused("jwks", f"is no JSON Web Key Set of at most {_MOST_KEYS} keys")
    keys: dict[str, Jwk] = {}
    for value in listed:
        if not isinstance(value, dict):
            raise TokenRefused("jwks", "holds something that is no key")
        if value.get("use") == "enc" and not any(name in value for name in _PRIVATE):
            continue
        key = read_jwk(value)
        if not key.kid or key.kid in keys:
            raise TokenRefused("jwks", "holds a key without a kid, or two of the same")
        keys[key.kid] = key
    return keys


def verify(token: Parts, keys: Mapping[str, Jwk], *, jku: str = "") -> bytes:
    """The payload of a token that one of a client's keys signed.

    ``jku``: the registered address of its keys; only this may stand in the header, and nothing is fetched.

    Raises:
        TokenRefused: unknown key, another algorithm than the key's, foreign header parameters, or the
            signature is not of it.
    """
    from joserfc.errors import JoseError
    from joserfc.jws import JWSRegistry

    _check_header(token, jku)
    key = keys.get(token.kid)
    if key is None:
        raise TokenRefused("kid", "names no key of this client's key set")
    named = token.header.get("alg")
    if named != key.algorithm and (named, key.algorithm) != ("EdDSA", "Ed25519"):
        raise TokenRefused("alg", f"is not {key.algorithm}, which the key counts for")
    try:
        holds = JWSRegistry.algorithms[key.algorithm].verify(token.signed, token.signature, key.key)
    except (JoseError, ValueError):
        holds = False
    if not holds:
        raise TokenRefused("signature", "is not of this token by this key")
    return token.payload


def verify_assertion(
    token: Parts,
    keys: Mapping[str, Jwk],
    *,
    client: str,
    audiences: tuple[str, ...],
    now: datetime,
    jku: str = "",
) -> Assertion:
    """The client assertion of a token request (RFC 7523 §3, SMART Backend Services STU2).

    ``audiences``: what ``aud`` may be. It must be one of these alone: an assertion that is meant for another
    server too could be carried there, or from there.

    Raises:
        TokenRefused: with the claim that is wrong.
    """
    if str(token.header.get("typ", "")).lower() not in ASSERTION_TYPES:
        raise TokenRefused("typ", "is not JWT")
    verify(token, keys, jku=jku)
    claims = token.claims
    for name in ("iss", "sub"):
        if claims.get(name) != client:
            raise TokenRefused(name, "is not the client; iss and sub are both its id")
    return _counting_once(client, claims, audiences, now)


def verify_hook_token(
    token: Parts,
    keys: Mapping[str, Jwk],
    *,
    issuer: str,
    audiences: tuple[str, ...],
    now: datetime,
    jku: str = "",
) -> Assertion:
    """The JWT by which a CDS client is known (CDS Hooks 2.0, Trusting CDS Clients); ``client`` is its issuer.

    ``audiences``: the addresses of the service that is called; ``aud`` is one of them alone.

    Raises:
        TokenRefused: with the claim that is wrong.
    """
    if token.header.get("typ") != "JWT":
        raise TokenRefused("typ", "is not JWT")
    verify(token, keys, jku=jku)
    claims = token.claims
    if claims.get("iss") != issuer:
        raise TokenRefused("iss", "is not the issuer that this client has here")
    if "iat" not in claims:
        raise TokenRefused("iat", "is missing")
    return _counting_once(issuer, claims, audiences, now)


def sign_token(claims: Mapping[str, object], signer: Signer, typ: str = ACCESS_TYPE) -> str:
    """A token in compact form, signed by a key of this gateway."""
    header = {"alg": _jose_name(signer.public), "kid": signer.kid, "typ": typ}
    signed = ".".join(to_base64url(fast.encode(part)) for part in (header, claims))
    return f"{signed}.{to_base64url(signer.sign(signed.encode()))}"


def verify_access(
    token: Parts, keys: Mapping[str, PublicKey], *, issuer: str, audience: str, now: datetime
) -> dict[str, Any]:
    """The claims of an access token that this gateway signed (RFC 9068 §4).

    Raises:
        TokenRefused: with the claim that is wrong.
    """
    _check_header(token, "")
    if token.header.get("typ") != ACCESS_TYPE:
        raise TokenRefused("typ", f"is not {ACCESS_TYPE}: this is no access token")
    key = keys.get(token.kid)
    if key is None:
        raise TokenRefused("kid", "names no key of this gateway")
    if token.header.get("alg") != _jose_name(key):
        raise TokenRefused("alg", f"is not {_jose_name(key)}, which the key counts for")
    try:
        verifier(key).verify(token.signed, token.signature)
    except (SignatureRefused, KeyNotValid):
        raise TokenRefused("signature", "is not of this token by this key") from None
    claims = token.claims
    if claims.get("iss") != issuer:
        raise TokenRefused("iss", "is another gateway")
    _check_audience(claims, (audience,))
    _check_times(claims, now, timedelta(0))
    try:
        key.check(datetime.fromtimestamp(claims["iat"], UTC), "token")
    except (KeyNotValid, KeyError, TypeError, ValueError, OverflowError, OSError):
        raise TokenRefused("iat", "is not within the time that the key counts for") from None
    return claims


def jwk_of(key: PublicKey) -> dict[str, str]:
    """An Ed25519 or P-256 key of this gateway as a JSON Web Key."""
    told = {"kid": key.kid, "use": "sig", "alg": _jose_name(key)}
    if key.algorithm == "Ed25519":
        return {"kty": "OKP", "crv": "Ed25519", "x": key.public} | told
    x, y = (to_base64url(part) for part in (key.raw[1:33], key.raw[33:]))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y} | told


def _jose_name(key: PublicKey) -> str:
    return "SM2SM3" if key.algorithm == "SM2" else key.algorithm


def _check_header(token: Parts, jku: str) -> None:
    """No parameter that asks for something: ``crit``, ``b64``, keys and addresses of keys that come along."""
    for name, value in token.header.items():
        if name not in ("alg", "kid", "typ") and not (name == "jku" and jku and value == jku):
            raise TokenRefused("header", "has a parameter that is not taken here; send alg, kid and typ")
        if not isinstance(value, str):
            raise TokenRefused("header", "has a parameter that is no text")


def _counting_once(
    client: str, claims: Mapping[str, Any], audiences: tuple[str, ...], now: datetime
) -> Assertion:
    """What makes a signed token count for this server, for minutes, and once."""
    _check_audience(claims, audiences)
    ends = _check_times(claims, now, SKEW)
    if ends > now + LONGEST_LIFE + SKEW:
        raise TokenRefused("exp", f"is more than {LONGEST_LIFE.seconds // 60} minutes ahead")
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 1 <= len(jti) <= 256:
        raise TokenRefused("jti", "is missing; it is a text of at most 256 characters that counts once")
    return Assertion(client, jti, ends + 2 * SKEW)  # a replica whose clock is ahead forgets it early


def _check_audience(claims: Mapping[str, Any], audiences: tuple[str, ...]) -> None:
    named = claims.get("aud")
    if isinstance(named, list) and len(named) == 1:
        named = named[0]
    if not isinstance(named, str) or named not in audiences:
        raise TokenRefused("aud", f"is not {audiences[0]}, and nothing else")


def _check_times(claims: Mapping[str, Any], now: datetime, skew: timedelta) -> datetime:
    """When it ends. Times are numbers of seconds since 1970 (RFC 7519 §2, NumericDate)."""
    moments: dict[str, float] = {}
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name)
        if value is None and name != "exp":
            continue
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < _YEAR_10000:
            raise TokenRefused(name, "is missing, or no number of seconds since 1970")
        moments[name] = value
    ends = datetime.fromtimestamp(moments["exp"], UTC)
    if ends + skew <= now:
        raise TokenRefused("exp", "has passed")
    if any(moments.get(name, 0) > (now + SKEW).timestamp() for name in ("nbf", "iat")):
        raise TokenRefused("nbf", "or iat lies ahead; compare the clocks")
    return ends


def _refuse_weak(modulus: int) -> None:
    if not _SMALLEST_RSA <= modulus.bit_length() <= _LARGEST_RSA:
        raise TokenRefused("jwks", f"holds an RSA key of less than {_SMALLEST_RSA} bits, or far too many")
    if all(modulus % prime in powers for prime, powers in _roca().items()):
        raise TokenRefused("jwks", "holds an RSA key of a faulty library (CVE-2017-15361); make a new one")


@cache
def _roca() -> dict[int, frozenset[int]]:
    """The powers of 65537 modulo small primes: the keys of CVE-2017-15361 (ROCA) are such powers in each."""
    primes = [number for number in range(3, 168) if all(number % below for below in range(2, number))]
    return {prime: frozenset(pow(65537, power, prime) for power in range(prime)) for prime in primes}


def _object(raw: bytes, claim: str, what: str) -> dict[str, Any]:
    """One JSON object that every parser reads alike: no repeated names, no numbers beyond a double."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError
        return dict(pairs)

    def number(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise ValueError
        return value

    def constant(_: str) -> float:
        raise ValueError

    try:
        value = json.loads(
            raw.decode("utf-8"), object_pairs_hook=members, parse_float=number, parse_constant=constant
        )
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise TokenRefused(claim, f"cannot be read: {what} is no plain JSON object") from None
    if not isinstance(value, dict):
        raise TokenRefused(claim, f"cannot be read: {what} is no JSON object")
    return value
