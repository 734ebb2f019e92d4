"""SM2 keys in a crypto machine with the SDF interface (GM/T 0018-2012), by ctypes.

The machine signs e = SM3(Z ‖ M), which is computed here, and gives r and s right-aligned in fields of 64
bytes. A handle serves one thread at a time. A session that was lost is opened again once a signature.
"""

from __future__ import annotations

import ctypes
import functools
import threading
import weakref

from security import _sm2_pure
from security._device_uri import DeviceUri
from security.errors import KeyStoreError, SignatureRefused, UnsupportedAlgorithm
from security.keys import Algorithm


class _PublicKey(ctypes.Structure):  # GM/T 0018 §5.4: ECCrefPublicKey
    _fields_ = (("bits", ctypes.c_uint), ("x", ctypes.c_ubyte * 64), ("y", ctypes.c_ubyte * 64))


class _Signature(ctypes.Structure):  # ECCSignature
    _fields_ = (("r", ctypes.c_ubyte * 64), ("s", ctypes.c_ubyte * 64))


_HANDLE = ctypes.c_void_p
_FUNCTIONS: dict[str, tuple[type, ...]] = {
    "SDF_OpenDevice": (ctypes.POINTER(_HANDLE),),
    "SDF_CloseDevice": (_HANDLE,),
    "SDF_OpenSession": (_HANDLE, ctypes.POINTER(_HANDLE)),
    "SDF_CloseSession": (_HANDLE,),
    "SDF_GetPrivateKeyAccessRight": (_HANDLE, ctypes.c_uint, ctypes.c_char_p, ctypes.c_uint),
    "SDF_ExportSignPublicKey_ECC": (_HANDLE, ctypes.c_uint, ctypes.POINTER(_PublicKey)),
    "SDF_InternalSign_ECC": (
        _HANDLE,
        ctypes.c_uint,
        ctypes.c_char_p,
        ctypes.c_uint,
        ctypes.POINTER(_Signature),
    ),
}
_WORDS = {  # GM/T 0018 annex A
    0x01000002: "it does not offer this call",
    0x01000003: "communication with the machine failed",
    0x01000004: "the machine does not answer",
    0x01000005: "the machine cannot be opened",
    0x01000006: "no session can be opened",
    0x01000007: "no right to use the private key; is the PIN right?",
    0x01000008: "there is no key of this index",
    0x0100000D: "signing failed",
    0x01000018: "no right to use the private key; is the PIN right?",
}
_AWAY = (0x01000003, 0x01000004)  # says nothing of the PIN


class _Failed(Exception):
    """A call answered another value than SDR_OK."""

    def __init__(self, function: str, answer: int) -> None:
        words = f" ({_WORDS[answer]})" if answer in _WORDS else ""
        super().__init__(f"{function} answered {answer:#010x}{words}")
        self.away = answer in _AWAY


class SdfKey:
    """The signing key of one index; see `devices.Device`."""

    def __init__(self, uri: DeviceUri, algorithm: Algorithm) -> None:
        """Open a session and read the public key. Raises KeyStoreError, UnsupportedAlgorithm."""
        if algorithm != "SM2":
            raise UnsupportedAlgorithm(f"SDF machines sign by SM2 here, not by {algorithm}; use pkcs11:")
        index = uri.text("index") or ""
        if not (index.isdigit() and len(index) < 10):  # fits into C's unsigned int
            raise KeyStoreError("sdf: the address lacks index=, the number of the key in the machine")
        self._index = int(index)
        self._name = f"sdf:index={index}"
        self._pin = uri.pin
        self._lock = threading.Lock()
        self._session = _Session(_library(uri.module))
        weakref.finalize(self, self._session.close)  # machines have few sessions to give
        with self._lock:
            try:
                self._open()
                self.public = self._read_public()
            except _Failed as wrong:
                raise KeyStoreError(f"{self._name}: {wrong}") from None

    def sign(self, message: bytes) -> bytes:
        """r‖s, 64 bytes. Raises SignatureRefused, KeyStoreError."""
        return self.sign_e(_sm2_pure.digest(self.public, message))

    def sign_e(self, e: bytes) -> bytes:
        """r‖s of the 32 bytes e = SM3(Z ‖ M). Raises SignatureRefused, KeyStoreError."""
        with self._lock:
            try:
                return self._sign(e)
            except _Failed:
                self._session.close()  # it may have been lost: once more in another
            try:
                return self._sign(e)
            except _Failed as wrong:
                self._session.close()
                raise SignatureRefused(f"{self._name}: {wrong}") from None

    def _sign(self, e: bytes) -> bytes:
        self._open()
        signature = _Signature()
        self._session.call("SDF_InternalSign_ECC", self._index, e, len(e), signature)
        return bytes(signature.r[32:]) + bytes(signature.s[32:])

    def _open(self) -> None:
        if self._session.is_open:
            return
        pin = self._pin.read()
        self._session.open()
        if pin is None:
            return
        secret = pin.encode()
        try:
            self._session.call("SDF_GetPrivateKeyAccessRight", self._index, secret, len(secret))
        except _Failed as wrong:
            self._session.close()
            if wrong.away:
                raise
            self._pin.refuse()
            raise KeyStoreError(f"{self._name}: the PIN in {self._pin.file}: {wrong}") from None

    def _read_public(self) -> bytes:
        key = _PublicKey()
        self._session.call("SDF_ExportSignPublicKey_ECC", self._index, key)
        public = b"\4" + bytes(key.x[32:]) + bytes(key.y[32:])
        if key.bits != 256 or not _sm2_pure.on_curve(public):
            raise KeyStoreError(f"{self._name}: the machine's key is not on the SM2 curve")
        return public


class _Session:
    """One session with a machine. Callers hold a lock."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._device, self._session = _HANDLE(), _HANDLE()

    @property
    def is_open(self) -> bool:
        return bool(self._session)

    def open(self) -> None:
        try:
            self._check("SDF_OpenDevice", self._device)
            self._check("SDF_OpenSession", self._device, self._session)
        except _Failed:
            self.close()
            raise

    def close(self) -> None:
        """Give the handles back, whatever the machine says to it."""
        if self._session:
            self._library.SDF_CloseSession(self._session)
        if self._device:
            self._library.SDF_CloseDevice(self._device)
        self._device, self._session = _HANDLE(), _HANDLE()

    def call(self, function: str, *arguments: object) -> None:
        self._check(function, self._session, *arguments)

    def _check(self, function: str, *arguments: object) -> None:
        answer = getattr(self._library, function)(*arguments) & 0xFFFFFFFF
        if answer:
            raise _Failed(function, answer)


@functools.cache
def _library(module: str) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(module)
        for function, arguments in _FUNCTIONS.items():
            getattr(library, function).argtypes = arguments
    except OSError as wrong:
        raise KeyStoreError(f"{module}, the library of a crypto machine, does not load: {wrong}") from None
    except AttributeError:
        raise KeyStoreError(f"{module} is no SDF library (GM/T 0018): it lacks {function}") from None
    return library
