"""Keys in a PKCS#11 token, by python-pkcs11: P-256 by CKM_ECDSA over SHA-256, Ed25519 by CKM_EDDSA.

PKCS#11 names no SM2 mechanism, and ECDSA on the SM2 curve is not SM2: such a key is refused, and SM2 is for
the SDF interface. A token's login counts for the whole process, so all keys of a token share one session
and one lock. A session that was lost (token pulled, service restarted) is opened again once a signature.
"""

from __future__ import annotations

import functools
import threading
from contextlib import suppress
from types import ModuleType
from typing import Any

from security._device_uri import DeviceUri
from security.digests import sha256
from security.errors import KeyStoreError, SignatureRefused, UnsupportedAlgorithm
from security.keys import Algorithm

# CKA_EC_PARAMS: the curve's OID (RFC 5480, RFC 8410), or PKCS#11 v3's older name of it
_CURVES: dict[Algorithm, tuple[bytes, ...]] = {
    "ES256": (bytes.fromhex("06082a8648ce3d030107"),),
    "Ed25519": (bytes.fromhex("06032b6570"), b"\x13\x0cedwards25519"),
}
_POINT_SIZE: dict[Algorithm, int] = {"ES256": 65, "Ed25519": 32}


class Pkcs11Key:
    """One private key of a token; see `devices.Device`."""

    def __init__(self, uri: DeviceUri, algorithm: Algorithm) -> None:
        """Find the key and read its public part. Raises KeyStoreError, UnsupportedAlgorithm."""
        if algorithm not in _CURVES:
            raise UnsupportedAlgorithm(
                "PKCS#11 has no SM2 signatures, and ECDSA on the SM2 curve is not SM2; use a machine with the"
                " SDF interface (sdf:)"
            )
        self._algorithm = algorithm
        self._label, self._id = uri.text("object"), uri.octets("id")
        if self._label is None and self._id is None:
            raise KeyStoreError("pkcs11: the address lacks object= or id=, the name of the key")
        if uri.text("type") not in (None, "private"):
            raise KeyStoreError("pkcs11: type= is private, or left out")
        self._pkcs11 = _module()
        self._token = _token(uri)
        self._session: Any = None
        self._private: Any = None
        with self._token.lock:
            try:
                self.public = self._read_public()
            except self._pkcs11.PKCS11Error as wrong:
                self._token.close()
                raise KeyStoreError(f"{self._token.name}: {_words(wrong)}") from None

    def sign(self, message: bytes) -> bytes:
        """The raw signature, 64 bytes. Raises SignatureRefused, KeyStoreError."""
        mechanism = self._pkcs11.Mechanism
        data, how = (
            (sha256(message), mechanism.ECDSA) if self._algorithm == "ES256" else (message, mechanism.EDDSA)
        )
        with self._token.lock:
            try:
                return self._sign(data, how)
            except self._pkcs11.PKCS11Error:
                self._token.close()  # the session may have been lost: once more in another
            try:
                return self._sign(data, how)
            except self._pkcs11.PKCS11Error as wrong:
                self._token.close()
                raise SignatureRefused(f"{self._token.name}: {_words(wrong)}") from None

    def _sign(self, data: bytes, how: Any) -> bytes:
        signature: bytes = self._private_key().sign(data, mechanism=how)
        return signature

    def _private_key(self) -> Any:
        session = self._token.session()
        if session is not self._session:  # object handles count for one session
            self._private, self._session = self._find("PRIVATE_KEY"), session
        return self._private

    def _find(self, kind: str) -> Any:
        return self._token.session().get_key(
            object_class=self._pkcs11.ObjectClass[kind], label=self._label, id=self._id
        )

    def _read_public(self) -> bytes:
        self._private_key()  # a public key alone could not sign
        key = self._find("PUBLIC_KEY")
        curve, point = (bytes(key[self._pkcs11.Attribute[name]]) for name in ("EC_PARAMS", "EC_POINT"))
        if curve not in _CURVES[self._algorithm]:
            raise KeyStoreError(
                f"{self._token.name}: the key's curve is not that of {self._algorithm}; it would sign by"
                " another one"
            )
        size = _POINT_SIZE[self._algorithm]
        return point[2:] if len(point) == size + 2 and point[:2] == bytes((4, size)) else point


class _Token:
    """One logged-in session of a token. Callers hold `lock`: a session does one thing at a time."""

    def __init__(self, uri: DeviceUri) -> None:
        self.lock = threading.Lock()
        self.name = f"token {uri.text('token') or uri.text('serial')}"
        self._uri = uri
        self._session: Any = None

    def session(self) -> Any:
        if self._session is None:
            self._session = self._open()
        return self._session

    def close(self) -> None:
        """Forget the session; the next use opens another."""
        if self._session is not None:
            with suppress(_module().PKCS11Error):
                self._session.close()
            self._session = None

    def _open(self) -> Any:
        pkcs11, pin = _module(), self._uri.pin.read()
        token = pkcs11.lib(self._uri.module).get_token(
            token_label=self._uri.text("token"), token_serial=self._uri.octets("serial")
        )
        try:
            return token.open(user_pin=pin)
        except pkcs11.UserAlreadyLoggedIn:
            return token.open()
        except (pkcs11.PinIncorrect, pkcs11.PinLocked, pkcs11.PinLenRange, pkcs11.PinInvalid) as wrong:
            self._uri.pin.refuse()
            raise KeyStoreError(f"{self.name}: the PIN in {self._uri.pin.file}: {_words(wrong)}") from None


_tokens: dict[tuple[str, ...], _Token] = {}
_tokens_lock = threading.Lock()


def _token(uri: DeviceUri) -> _Token:
    if not {"token", "serial"} & uri.path.keys():
        raise KeyStoreError("pkcs11: the address lacks token= or serial=")
    key = (uri.module, uri.path.get("token", ""), uri.path.get("serial", ""), str(uri.pin.file))
    with _tokens_lock:
        return _tokens.setdefault(key, _Token(uri))


@functools.cache
def _module() -> ModuleType:
    """python-pkcs11, an extra: only those who have a token need it."""
    try:
        import pkcs11
    except ImportError:
        raise KeyStoreError("PKCS#11 needs python-pkcs11; install the extra: lianren[pkcs11]") from None
    return pkcs11


def _words(wrong: Exception) -> str:
    """The token's own error: its class, such as PinIncorrect, is the name of the PKCS#11 return value."""
    return f"{type(wrong).__name__} {wrong}".strip()
