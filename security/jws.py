"""Detached JWS over a FHIR resource, as it stands in `Provenance.signature` (RFC 7515 appendix F).

What is signed are the canonical bytes of the resource: `#static`, which is FHIR's canonical JSON without
`text` and `meta`, written by RFC 8785 (HL7 CDex, CONF-029 to 031, fixes what FHIR R4 leaves open). The token
is `<header>..<signature>`; its header holds algorithm and key id, and the key's own record decides about
both. `SM2SM3` is a private name: JOSE has registered none for SM2.

RFC 8785 writes numbers as ECMAScript does, so 6.30 is signed as 6.3; what such a number cannot hold exactly
(more than 15 significant digits) is refused instead of being signed as another number.
"""

from __future__ import annotations

import json
from typing import Any

import rfc8785

from security.errors import SignatureRefused
from security.keys import Algorithm, PublicKey, Signer, from_base64url, to_base64url, verifier

CANONICALIZATION = "http://hl7.org/fhir/canonicalization/json#static"
SIG_FORMAT = "application/jose"
TARGET_FORMAT = f"application/fhir+json;canonicalization={CANONICALIZATION}"
ALGORITHMS: dict[Algorithm, str] = {"Ed25519": "Ed25519", "ES256": "ES256", "SM2": "SM2SM3"}
_DIGITS = 15


def canonical(resource: bytes | str) -> bytes:
    """The bytes of a FHIR resource that are signed: `#static` of FHIR, RFC 8785.

    Raises SignatureRefused for what is not the JSON of a resource, has a name twice, or holds a number that
    would not be signed as it stands.
    """
    try:
        value = json.loads(
            resource.decode() if isinstance(resource, bytes) else resource,
            object_pairs_hook=_once,
            parse_float=_float,
            parse_int=_int,
            parse_constant=_constant,
        )
        if not isinstance(value, dict) or not isinstance(value.get("resourceType"), str):
            raise ValueError("it has no resourceType")
        return rfc8785.dumps({name: held for name, held in value.items() if name not in ("text", "meta")})
    except (ValueError, RecursionError, rfc8785.CanonicalizationError) as wrong:
        raise SignatureRefused(f"not a resource that can be signed: {wrong}") from None


def sign(payload: bytes, signer: Signer) -> str:
    """The detached token over canonical bytes: `<header>..<signature>`."""
    header = _header(signer.algorithm, signer.kid)
    return f"{header}..{to_base64url(signer.sign(_to_be_signed(header, payload)))}"


def key_id(token: str) -> str:
    """The key that a token names, to look it up by. Raises SignatureRefused."""
    header = _parts(token)[0]
    try:
        held = json.loads(from_base64url(header), object_pairs_hook=_once)
        if isinstance(held, dict) and isinstance(kid := held.get("kid"), str):
            return kid
    except (ValueError, RecursionError):
        pass
    raise SignatureRefused("not a detached JWS: its header names no key")


def verify(token: str, payload: bytes, key: PublicKey) -> None:
    """Return when the token is over these canonical bytes by this key. Raises SignatureRefused, KeyNotValid.

    The header must say what the key's record says and nothing else: no other algorithm, no extension.
    """
    header, signature = _parts(token)
    if header != _header(key.algorithm, key.kid):
        raise SignatureRefused(f"the JWS does not name key {key.kid} and its algorithm, and these alone")
    try:
        raw = from_base64url(signature)
    except ValueError:
        raise SignatureRefused("not a detached JWS: its signature is not base64url") from None
    verifier(key).verify(_to_be_signed(header, payload), raw)


def _parts(token: str) -> tuple[str, str]:
    header, gap, signature = token.partition("..")
    if not gap or not header or not signature or "." in signature:
        raise SignatureRefused("not a detached JWS: it is not <header>..<signature>")
    return header, signature


def _header(algorithm: Algorithm, kid: str) -> str:
    return to_base64url(rfc8785.dumps({"alg": ALGORITHMS[algorithm], "kid": kid}))


def _to_be_signed(header: str, payload: bytes) -> bytes:
    return f"{header}.{to_base64url(payload)}".encode()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    held = dict(pairs)
    if len(held) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return held


def _float(text: str) -> float:
    _refuse_long(text.lower().partition("e")[0].replace(".", ""))
    return float(text)


def _int(text: str) -> int:
    _refuse_long(text)
    return int(text)


def _refuse_long(digits: str) -> None:
    if len(digits.lstrip("-0")) > _DIGITS:
        raise ValueError(f"a number has more than {_DIGITS} significant digits")


def _constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON")
