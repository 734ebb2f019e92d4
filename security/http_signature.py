"""Signed requests and answers between gateways: HTTP Message Signatures (RFC 9421).

A request is signed over its method, target URI and the digest of its body (RFC 9530), with the time and a
nonce; whoever keeps the nonces for twice the `WINDOW` refuses every replay. An answer is signed over its
status, the digest of its body, and the digest of the body of the request it answers
(`"content-digest";req`, §2.4), so that it cannot be laid onto another question. Neither states its algorithm:
the record of the key does. The tags keep the two apart from each other and from other uses of a key.

What an answer was signed over follows from four values, so that these, kept with the signature, hold the
answerer to it for years (`check_answer`), without either body.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from msgspec import Struct

from security.digests import sha256
from security.errors import SignatureRefused
from security.keys import PublicKey, Signer, from_base64url, to_base64url, verifier

KeyOf = Callable[[str, datetime], PublicKey]
"""The trusted key of an id at a time; raises UnknownKey or KeyNotValid."""

WINDOW = timedelta(seconds=60)
"""How far the time of a signature may lie before or after now: clocks differ, and the way takes time."""

_REQUEST, _REQUEST_TAG = ("@method", "@target-uri", "content-digest"), "lianren-request"
_ANSWER, _ANSWER_TAG = ("@status", "content-digest", '"content-digest";req'), "lianren-answer"


class Signed(Struct, frozen=True):
    """Who signed a request, and the nonce and time (aware) by which it is told from a replay."""

    kid: str
    nonce: str
    created: datetime


class SignedAnswer(Struct, frozen=True, kw_only=True):
    """An answer's signature apart from the answer.

    `question` and `answer` are SHA-256 (hex) of the bodies, `created` seconds of Unix time, `signature`
    base64url without padding of 64 bytes.
    """

    question: str
    answer: str
    kid: str
    created: int
    signature: str


def load() -> None:
    """Import what signing and verifying need, so that the first request does not wait for it (50 ms)."""
    from security import _http_message  # noqa: F401


def sign(method: str, url: str, body: bytes, signer: Signer, now: datetime) -> dict[str, str]:
    """The headers that sign a request: Content-Digest, Signature-Input and Signature."""
    from security import _http_message

    request = SimpleNamespace(method=method, url=url, headers={})
    nonce = to_base64url(secrets.token_bytes(16))
    return _http_message.signed(request, _REQUEST, _REQUEST_TAG, body, signer, now, nonce)


def verify(
    method: str, url: str, headers: Mapping[str, str], body: bytes, key_of: KeyOf, now: datetime
) -> Signed:
    """Who signed the request. `url` is the address that the asker used: scheme, host, path and query.

    A replay is the caller's to refuse. Raises SignatureRefused where a signature is missing, malformed, of
    another time than `now` ± `WINDOW`, of another request or by another key; UnknownKey or KeyNotValid as
    `key_of` does.
    """
    from security import _http_message

    request = SimpleNamespace(method=method, url=url, headers=headers)
    _, parameters = _http_message.verified(request, _REQUEST, _REQUEST_TAG, body, key_of, now, WINDOW)
    nonce = parameters.get("nonce", "")
    if not 16 <= len(nonce) <= 64:
        raise SignatureRefused(f"the {_REQUEST_TAG}: needs a nonce of 16 to 64 characters")
    return Signed(parameters["keyid"], nonce, datetime.fromtimestamp(parameters["created"], UTC))


def sign_answer(question: bytes, answer: bytes, signer: Signer, now: datetime) -> dict[str, str]:
    """The headers that sign the body of an answer with status 200 to a request with the body `question`."""
    from security import _http_message

    return _http_message.signed(_response(question, {}), _ANSWER, _ANSWER_TAG, answer, signer, now, None)


def verify_answer(
    question: bytes, headers: Mapping[str, str], answer: bytes, key_of: KeyOf, now: datetime
) -> SignedAnswer:
    """What holds the answerer to its answer. Raises as `verify`, also when it answers another question."""
    from security import _http_message

    response = _response(question, headers)
    signature, parameters = _http_message.verified(
        response, _ANSWER, _ANSWER_TAG, answer, key_of, now, WINDOW
    )
    signed = SignedAnswer(
        question=sha256(question).hex(),
        answer=sha256(answer).hex(),
        kid=parameters["keyid"],
        created=parameters["created"],
        signature=to_base64url(signature),
    )
    check_answer(signed, key_of)  # RFC 9421 leaves a signer more freedom than can be kept without the message
    return signed


def check_answer(signed: SignedAnswer, key_of: KeyOf) -> PublicKey:
    """The key that signed a kept answer. Raises SignatureRefused, UnknownKey or KeyNotValid."""
    try:
        created = datetime.fromtimestamp(signed.created, UTC)
        question, answer = (_digest(bytes.fromhex(value)) for value in (signed.question, signed.answer))
        signature = from_base64url(signed.signature)
    except (ValueError, OverflowError, OSError):
        raise SignatureRefused(f"the {_ANSWER_TAG}: its kept form is malformed") from None
    key = key_of(signed.kid, created)
    base = (
        f'"@status": 200\n"content-digest": {answer}\n"content-digest";req: {question}\n'
        '"@signature-params": ("@status" "content-digest" "content-digest";req)'
        f';created={signed.created};keyid="{key.kid}";tag="{_ANSWER_TAG}"'
    )
    verifier(key).verify(base.encode(), signature)
    return key


def _response(question: bytes, headers: Mapping[str, str]) -> SimpleNamespace:
    """A response whose request has the digest that was computed here, whatever its own headers said."""
    asked = SimpleNamespace(
        method="POST", url="https://gateway.invalid/", headers={"Content-Digest": _digest(sha256(question))}
    )
    return SimpleNamespace(status_code=200, headers=dict(headers), request=asked)


def _digest(value: bytes) -> str:
    """The field value of RFC 9530."""
    return f"sha-256=:{b64encode(value).decode()}:"
