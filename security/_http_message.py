"""RFC 9421 by `http-message-signatures`, with keys of ours; imported where it is needed, it costs 50 ms."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from http_message_signatures import (
    HTTPMessageSignaturesException,
    HTTPMessageSigner,
    HTTPMessageVerifier,
    HTTPSignatureAlgorithm,
    HTTPSignatureKeyResolver,
    InvalidSignature,
)

from security.errors import SignatureRefused, TrustError
from security.keys import PublicKey, Signer, verifier

KeyOf = Callable[[str, datetime], PublicKey]
LABEL = "lianren"


class ByRecord(HTTPSignatureAlgorithm):
    """Whatever algorithm the key's record says; a message that states one (`alg`) is refused."""

    algorithm_id = "by-the-record-of-the-key"

    def __init__(self, public_key: Any = None, private_key: Any = None) -> None:
        self._key = public_key or private_key

    def sign(self, message: bytes) -> bytes:
        """The raw signature."""
        signature: bytes = self._key.sign(message)
        return signature

    def verify(self, signature: bytes, message: bytes) -> None:
        """Return when it verifies."""
        self._key.verify(message, signature)


def signed(
    message: Any,
    components: tuple[str, ...],
    tag: str,
    body: bytes,
    signer: Signer,
    now: datetime,
    nonce: str | None,
) -> dict[str, str]:
    """The headers of the message with its signature."""

    class Own(HTTPSignatureKeyResolver):
        def resolve_private_key(self, key_id: str) -> Any:
            return signer

    HTTPMessageSigner(signature_algorithm=ByRecord, key_resolver=Own()).sign(
        message,
        key_id=signer.kid,
        created=now,
        nonce=nonce,
        label=LABEL,
        tag=tag,
        include_alg=False,
        covered_component_ids=components,
        body=body,
    )
    return dict(message.headers)


def verified(
    message: Any,
    components: tuple[str, ...],
    tag: str,
    body: bytes,
    key_of: KeyOf,
    now: datetime,
    window: timedelta,
) -> tuple[bytes, dict[str, Any]]:
    """The one signature of this tag, and its parameters, `created` and `keyid` among them."""
    checking = _Checking(key_of, now, window)
    try:
        found = checking.verify(
            message, expect_tag=tag, max_age=None, require_components=components, body=body
        )
    except HTTPMessageSignaturesException as wrong:
        if isinstance(wrong.__cause__, TrustError):
            raise wrong.__cause__ from None
        raise SignatureRefused(f"the {tag}: {str(wrong)[:200]}") from None
    if len(found) != 1:
        raise SignatureRefused(f"the {tag}: is signed {len(found)} times under this tag, once is right")
    return checking.signature, found[0].parameters


class _Checking(HTTPMessageVerifier):
    """One message: the clock is the caller's, and the key is the one that counted when it was signed."""

    def __init__(self, key_of: KeyOf, now: datetime, window: timedelta) -> None:
        super().__init__(signature_algorithm=ByRecord, key_resolver=_Trusted(self))
        self.key_of = key_of
        self.created = now
        self.signature = b""
        self._now = now
        self._window = window

    def validate_created_and_expires(self, sig_input: Any, max_age: timedelta | None = None) -> None:
        """Instead of the library's, which asks the machine's clock."""
        self.created = self._time(sig_input, "created")
        if abs(self.created - self._now) > self._window:
            raise InvalidSignature(f"was signed more than {self._window.seconds} seconds before or after now")
        if "expires" in sig_input.params and self._time(sig_input, "expires") <= self._now:
            raise InvalidSignature("has expired")

    def _time(self, sig_input: Any, name: str) -> datetime:
        try:
            return datetime.fromtimestamp(sig_input.params[name], UTC)
        except (KeyError, TypeError, ValueError, OverflowError, OSError):
            raise InvalidSignature(f"'{name}' is missing or no time") from None


class _Trusted(HTTPSignatureKeyResolver):
    def __init__(self, checking: _Checking) -> None:
        self._checking = checking

    def resolve_public_key(self, key_id: str) -> Any:
        return _Noting(self._checking, self._checking.key_of(key_id, self._checking.created))


class _Noting:
    def __init__(self, checking: _Checking, key: PublicKey) -> None:
        self._checking = checking
        self._verifier = verifier(key)

    def verify(self, message: bytes, signature: bytes) -> None:
        self._verifier.verify(message, signature)
        self._checking.signature = signature
