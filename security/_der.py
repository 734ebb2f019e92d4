"""ECDSA and SM2 signatures: DER `SEQUENCE { INTEGER r, INTEGER s }` to and from the raw r‖s of 64 bytes.

Strict by X.690 §8.3 and §10.1: one encoding for each pair. Other encodings of the same numbers are refused,
so that a signature has one form and cannot be altered without being noticed.
"""

from __future__ import annotations

from security.errors import SignatureRefused

RAW_SIZE = 64


def raw_to_der(raw: bytes) -> bytes:
    """DER of the 64 bytes r‖s. Raises SignatureRefused on another length."""
    if len(raw) != RAW_SIZE:
        raise SignatureRefused(f"a raw signature has {RAW_SIZE} bytes, this one has {len(raw)}")
    body = _integer(raw[:32]) + _integer(raw[32:])
    return bytes((0x30, len(body))) + body


def der_to_raw(der: bytes) -> bytes:
    """The 64 bytes r‖s of a DER signature. Raises SignatureRefused on anything but the one DER encoding."""
    if len(der) < 2 or der[0] != 0x30 or der[1] != len(der) - 2:
        raise SignatureRefused("not a DER signature: the outer SEQUENCE is missing or of the wrong length")
    r, rest = _take_integer(der[2:])
    s, rest = _take_integer(rest)
    if rest:
        raise SignatureRefused("not a DER signature: bytes after s")
    return r + s


def _integer(number: bytes) -> bytes:
    content = number.lstrip(b"\0") or b"\0"
    if content[0] & 0x80:
        content = b"\0" + content
    return bytes((0x02, len(content))) + content


def _take_integer(data: bytes) -> tuple[bytes, bytes]:
    if len(data) < 3 or data[0] != 0x02 or not 1 <= data[1] <= 33 or len(data) < 2 + data[1]:
        raise SignatureRefused("not a DER signature: an INTEGER is missing, too long or cut short")
    content, rest = data[2 : 2 + data[1]], data[2 + data[1] :]
    if content[0] & 0x80 or (len(content) > 1 and content[0] == 0 and not content[1] & 0x80):
        raise SignatureRefused("not a DER signature: an INTEGER is negative or not minimal")
    number = content.lstrip(b"\0")
    if len(number) > 32:
        raise SignatureRefused("not a DER signature: an INTEGER has more than 256 bits")
    return number.rjust(32, b"\0"), rest
