"""Signing keys inside crypto machines: the private part never leaves, the store keeps record and address.

An address is a PKCS#11 URI (RFC 7512), or `sdf:` for the SDF interface (GM/T 0018); see `_device_uri`. What a
machine signs is verified before it goes out: a fault in a machine, a wrong curve or another key behind the
same address is an error here, not a mark that nobody can verify.
"""

from __future__ import annotations

from typing import Protocol

from security import _pkcs11, _sdf
from security._device_uri import parse
from security.errors import KeyNotValid, SignatureRefused
from security.keys import Algorithm, PublicKey, verifier

__all__ = ["Device", "DeviceKey", "open_device"]


class Device(Protocol):
    """One key in a machine; may be shared by threads."""

    public: bytes

    def sign(self, message: bytes) -> bytes:
        """The raw signature, 64 bytes. Raises SignatureRefused, KeyStoreError."""


def open_device(uri: str, algorithm: Algorithm) -> Device:
    """Find the key of an address and read its public part.

    Raises KeyStoreError (address, library, PIN, no such key) and UnsupportedAlgorithm.
    """
    address = parse(uri)
    return (_pkcs11.Pkcs11Key if address.scheme == "pkcs11" else _sdf.SdfKey)(address, algorithm)


class DeviceKey:
    """A key's record with the machine that signs for it; a `Signer`."""

    def __init__(self, public: PublicKey, device: Device) -> None:
        """Raises KeyNotValid when the machine holds another key than the record says."""
        if device.public != public.raw:
            raise KeyNotValid(f"key {public.kid}: the crypto machine holds another key at its address")
        self.public = public
        self._device = device
        self._verifier = verifier(public)

    @property
    def kid(self) -> str:
        """The key id."""
        return self.public.kid

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm."""
        return self.public.algorithm

    def sign(self, message: bytes) -> bytes:
        """The raw signature of `message`, 64 bytes, verified. Raises SignatureRefused, KeyStoreError."""
        signature = self._device.sign(message)
        try:
            self._verifier.verify(message, signature)
        except SignatureRefused as wrong:
            raise SignatureRefused(
                f"key {self.kid}: what its crypto machine signed is wrong: {wrong}"
            ) from None
        return signature

    def __repr__(self) -> str:
        return f"DeviceKey({self.kid})"
