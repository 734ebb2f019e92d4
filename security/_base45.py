"""Base45 (RFC 9285): bytes in the alphanumeric alphabet of QR codes, 3 characters for 2 bytes."""

from __future__ import annotations

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
_VALUE = {character: value for value, character in enumerate(_ALPHABET)}


def encode(data: bytes) -> str:
    """The base45 text of `data`."""
    out: list[str] = []
    for start in range(0, len(data), 2):
        chunk = data[start : start + 2]
        number = int.from_bytes(chunk, "big")
        for _ in range(len(chunk) + 1):
            number, value = divmod(number, 45)
            out.append(_ALPHABET[value])
    return "".join(out)


def decode(text: str) -> bytes:
    """The bytes of a base45 text. Raises ValueError on other characters, lengths or values (RFC 9285 §6)."""
    if len(text) % 3 == 1:
        raise ValueError(
            "base45 text has 3 characters for 2 bytes and 2 for a last one; this length cannot be"
        )
    out = bytearray()
    for start in range(0, len(text), 3):
        chunk = text[start : start + 3]
        if not _VALUE.keys() >= set(chunk):
            raise ValueError("a character outside the base45 alphabet")
        number = sum(_VALUE[character] * 45**place for place, character in enumerate(chunk))
        size = len(chunk) - 1
        if number >= 256**size:
            raise ValueError("a base45 group stands for more than its bytes")
        out += number.to_bytes(size, "big")
    return bytes(out)
