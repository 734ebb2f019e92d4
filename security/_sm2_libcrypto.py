"""SM2 signatures (GB/T 32918.2-2016) by the system's libcrypto (OpenSSL 3 or later), EVP calls only.

`cryptography` has SM3 and SM4 but not SM2. OpenSSL's own default identity is empty; GM/T 0009 §10 wants
1234567812345678, so the identity is set on every call. In EVP 1 is the only success.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from security._der import der_to_raw, raw_to_der
from security._sm2_pure import DEFAULT_ID
from security.errors import SignatureRefused, UnsupportedAlgorithm

_SPKI_PREFIX = bytes.fromhex(
    "3059301306072a8648ce3d020106082a811ccf5501822d034200"
)  # RFC 5480 with the SM2 curve

_HANDLE = ctypes.c_void_p
_BYTES = ctypes.c_char_p
_SIGNATURES: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "d2i_PUBKEY": (_HANDLE, (_HANDLE, ctypes.POINTER(_BYTES), ctypes.c_long)),
    "d2i_AutoPrivateKey": (_HANDLE, (_HANDLE, ctypes.POINTER(_BYTES), ctypes.c_long)),
    "i2d_PUBKEY": (ctypes.c_int, (_HANDLE, ctypes.POINTER(_HANDLE))),
    "EVP_PKEY2PKCS8": (_HANDLE, (_HANDLE,)),
    "i2d_PKCS8_PRIV_KEY_INFO": (ctypes.c_int, (_HANDLE, ctypes.POINTER(_HANDLE))),
    "PKCS8_PRIV_KEY_INFO_free": (None, (_HANDLE,)),
    "EVP_PKEY_Q_keygen": (_HANDLE, (_HANDLE, _BYTES, _BYTES)),
    "EVP_PKEY_is_a": (ctypes.c_int, (_HANDLE, _BYTES)),
    "EVP_PKEY_free": (None, (_HANDLE,)),
    "EVP_MD_CTX_new": (_HANDLE, ()),
    "EVP_MD_CTX_free": (None, (_HANDLE,)),
    "EVP_PKEY_CTX_new_from_pkey": (_HANDLE, (_HANDLE, _HANDLE, _BYTES)),
    "EVP_PKEY_CTX_free": (None, (_HANDLE,)),
    "EVP_PKEY_CTX_set1_id": (ctypes.c_int, (_HANDLE, _BYTES, ctypes.c_int)),
    "EVP_MD_CTX_set_pkey_ctx": (None, (_HANDLE, _HANDLE)),
    **{
        f"EVP_Digest{way}Init_ex": (
            ctypes.c_int,
            (_HANDLE, _HANDLE, _BYTES, _HANDLE, _BYTES, _HANDLE, _HANDLE),
        )
        for way in ("Sign", "Verify")
    },
    "EVP_DigestSign": (
        ctypes.c_int,
        (_HANDLE, _BYTES, ctypes.POINTER(ctypes.c_size_t), _BYTES, ctypes.c_size_t),
    ),
    "EVP_DigestVerify": (ctypes.c_int, (_HANDLE, _BYTES, ctypes.c_size_t, _BYTES, ctypes.c_size_t)),
    "ERR_clear_error": (None, ()),
}


@functools.cache
def library() -> ctypes.CDLL:
    """The system's libcrypto with its signatures declared. Raises UnsupportedAlgorithm when it has no SM2."""
    for name in ("libcrypto.so.3", "libcrypto.so.4", ctypes.util.find_library("crypto")):
        try:
            found = ctypes.CDLL(name) if name else None
            if found is not None:
                for function, (result, arguments) in _SIGNATURES.items():
                    getattr(found, function).restype = result
                    getattr(found, function).argtypes = arguments
                break
        except (OSError, AttributeError):  # not installed, or older than OpenSSL 3
            continue
    else:
        raise UnsupportedAlgorithm("SM2 needs OpenSSL 3 or later (libcrypto) on this machine; none was found")
    probe = found.EVP_PKEY_Q_keygen(None, None, b"SM2")
    if not probe:
        found.ERR_clear_error()
        raise UnsupportedAlgorithm(
            "this machine's OpenSSL was built without SM2; install a build that has it"
        )
    found.EVP_PKEY_free(probe)
    return found


class Sm2Key:
    """One SM2 key, public or private, held by libcrypto. Safe to share between threads."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        weakref.finalize(self, library().EVP_PKEY_free, handle)

    @classmethod
    def generate(cls) -> Sm2Key:
        """A new private key from libcrypto's random generator."""
        return cls(library().EVP_PKEY_Q_keygen(None, None, b"SM2"))

    @classmethod
    def from_public(cls, public: bytes) -> Sm2Key:
        """The public key 04‖X‖Y. Raises SignatureRefused when it is not a point of the curve."""
        if len(public) != 65 or public[0] != 4:
            raise SignatureRefused("an SM2 public key has 65 bytes and begins with 04")
        return cls(_read("d2i_PUBKEY", _SPKI_PREFIX + public))

    @classmethod
    def from_pkcs8(cls, der: bytes) -> Sm2Key:
        """The private key in PKCS#8 DER. Raises SignatureRefused when it is not one."""
        return cls(_read("d2i_AutoPrivateKey", der))

    def public(self) -> bytes:
        """04‖X‖Y, 65 bytes."""
        return _write(library().i2d_PUBKEY, self._handle)[len(_SPKI_PREFIX) :]

    def pkcs8(self) -> bytes:
        """The private key as unencrypted PKCS#8 DER."""
        info = library().EVP_PKEY2PKCS8(self._handle)
        try:
            return _write(library().i2d_PKCS8_PRIV_KEY_INFO, info)
        finally:
            library().PKCS8_PRIV_KEY_INFO_free(info)

    def sign(self, message: bytes, identity: bytes = DEFAULT_ID) -> bytes:
        """r‖s, 64 bytes, with a fresh random nonce each time."""
        lib = library()
        with self._context("Sign", identity) as context:
            size = ctypes.c_size_t(80)  # two INTEGERs of at most 35 bytes and a SEQUENCE head
            der = ctypes.create_string_buffer(size.value)
            if lib.EVP_DigestSign(context, der, ctypes.byref(size), message, len(message)) != 1:
                raise SignatureRefused("libcrypto could not sign with this SM2 key; is it a private key?")
            return der_to_raw(der.raw[: size.value])

    def verify(self, message: bytes, signature: bytes, identity: bytes = DEFAULT_ID) -> bool:
        """Whether the 64 bytes r‖s are of `message` by this key."""
        if len(signature) != 64:
            return False
        der = raw_to_der(signature)
        with self._context("Verify", identity) as context:
            return bool(library().EVP_DigestVerify(context, der, len(der), message, len(message)) == 1)

    @contextmanager
    def _context(self, way: str, identity: bytes) -> Iterator[int]:
        lib = library()
        context = lib.EVP_MD_CTX_new()
        key_context = lib.EVP_PKEY_CTX_new_from_pkey(None, self._handle, None)
        try:
            lib.EVP_MD_CTX_set_pkey_ctx(context, key_context)
            initialise = getattr(lib, f"EVP_Digest{way}Init_ex")
            if (
                lib.EVP_PKEY_CTX_set1_id(key_context, identity, len(identity)) != 1
                or initialise(context, None, b"SM3", None, None, self._handle, None) != 1
            ):
                raise UnsupportedAlgorithm("this machine's OpenSSL cannot do SM2 with SM3")
            yield context
        finally:
            lib.EVP_MD_CTX_free(context)
            lib.EVP_PKEY_CTX_free(key_context)
            lib.ERR_clear_error()  # else a later call would report this one's refusal


def _read(function: str, der: bytes) -> int:
    lib = library()
    cursor = ctypes.c_char_p(der)
    handle = getattr(lib, function)(None, ctypes.byref(cursor), len(der))
    lib.ERR_clear_error()
    if not handle:
        raise SignatureRefused("not an SM2 key: libcrypto could not read it, or it is not on the curve")
    if lib.EVP_PKEY_is_a(handle, b"SM2") != 1:
        lib.EVP_PKEY_free(handle)
        raise SignatureRefused("not an SM2 key: it is of another algorithm")
    return int(handle)


def _write(function: ctypes._NamedFuncPointer, handle: int) -> bytes:
    size = function(handle, None)
    if size <= 0:
        raise SignatureRefused("libcrypto could not write this key; is it a private key?")
    buffer = ctypes.create_string_buffer(size)
    cursor = ctypes.c_void_p(ctypes.addressof(buffer))
    function(handle, ctypes.byref(cursor))
    return buffer.raw
