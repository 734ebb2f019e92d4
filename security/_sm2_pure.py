"""SM2 signature verification (GB/T 32918.2-2016) in plain Python, for machines whose OpenSSL lacks it.

Verification only: its running time depends on its input, which is harmless for public keys and would give a
private key away. Points are Jacobian (X, Y, Z) with x = X/Z², y = Y/Z³; Z = 0 is the point at infinity.

A scalar is taken by its 64 hexadecimal digits, each digit's multiple of 16^i·point from a table in affine
form: 128 additions a signature and no doublings. The tables of the last keys are kept (an auditor meets few
keys and many marks).
"""

from __future__ import annotations

import functools
from itertools import accumulate

from security.digests import sm3

# GB/T 32918.5-2017, recommended curve
P = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
A = P - 3
B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
GX = 0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7
GY = 0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0

DEFAULT_ID = b"1234567812345678"  # GM/T 0009-2012 §10

Point = tuple[int, int, int]
Table = tuple[tuple[tuple[int, int], ...], ...]
_INFINITY: Point = (0, 1, 0)


def on_curve(public: bytes) -> bool:
    """Whether `public` is an uncompressed point 04‖X‖Y (65 bytes) on the SM2 curve."""
    if len(public) != 65 or public[0] != 4:
        return False
    x, y = _coordinates(public)
    return x < P and y < P and (y * y - (x * x + A) * x - B) % P == 0


def digest(public: bytes, message: bytes, identity: bytes = DEFAULT_ID) -> bytes:
    """e = SM3(Z ‖ message), with Z of the signer (GB/T 32918.2 §5.5): what a crypto machine signs."""
    curve = b"".join(number.to_bytes(32, "big") for number in (A, B, GX, GY))
    z = sm3((len(identity) * 8).to_bytes(2, "big") + identity + curve + public[1:])
    return sm3(z + message)


def verify(public: bytes, message: bytes, signature: bytes, identity: bytes = DEFAULT_ID) -> bool:
    """Whether the raw 64-byte `signature` r‖s is of `message` by `public` (GB/T 32918.2 §7.1)."""
    if len(signature) != 64 or not on_curve(public):
        return False
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    t = (r + s) % N
    if not (0 < r < N and 0 < s < N and t):
        return False
    total = _add_multiple(_add_multiple(_INFINITY, s, _table(GX, GY)), t, _table(*_coordinates(public)))
    if not total[2]:
        return False
    x = total[0] * pow(total[2], -2, P)
    return (int.from_bytes(digest(public, message, identity), "big") + x % P) % N == r


def _coordinates(public: bytes) -> tuple[int, int]:
    return int.from_bytes(public[1:33], "big"), int.from_bytes(public[33:], "big")


def _add_multiple(total: Point, scalar: int, table: Table) -> Point:
    """total + scalar·point, for the point of the table."""
    for row in table:
        if digit := scalar & 15:
            total = _add(total, *row[digit - 1])
        scalar >>= 4
    return total


@functools.lru_cache(maxsize=32)
def _table(x: int, y: int) -> Table:
    """Row i has 1 to 15 times 16^i·(x, y); none is at infinity, for the group's order is prime."""
    rows = []
    for _ in range(64):
        multiples: list[Point] = [(x, y, 1)]
        while len(multiples) < 16:
            multiples.append(_add(multiples[-1], x, y))
        *row, (x, y) = _affine(multiples)
        rows.append(tuple(row))
    return tuple(rows)


def _affine(points: list[Point]) -> list[tuple[int, int]]:
    """Affine coordinates of finite points, with one inversion for all (Montgomery's trick)."""
    products = list(accumulate((z for _, _, z in points), lambda left, right: left * right % P, initial=1))
    inverse, found = pow(products[-1], -1, P), []
    for (x, y, z), before in zip(reversed(points), reversed(products[:-1]), strict=True):
        one = inverse * before % P
        inverse = inverse * z % P
        found.append((x * one * one % P, y * one * one * one % P))
    return found[::-1]


def _double(point: Point) -> Point:
    x, y, z = point
    yy = y * y % P
    s = 4 * x * yy % P
    m = 3 * (x - z * z) * (x + z * z) % P  # a = -3
    x3 = (m * m - 2 * s) % P
    return x3, (m * (s - x3) - 8 * yy * yy) % P, 2 * y * z % P


def _add(left: Point, x2: int, y2: int) -> Point:
    """The sum of a Jacobian and an affine point."""
    x1, y1, z1 = left
    if not z1:
        return x2, y2, 1
    zz = z1 * z1 % P
    h, r = (x2 * zz - x1) % P, (y2 * zz * z1 - y1) % P
    if not h:
        return _INFINITY if r else _double(left)
    hh = h * h % P
    hhh, v = h * hh % P, x1 * hh % P
    x3 = (r * r - hhh - 2 * v) % P
    return x3, (r * (v - x3) - y1 * hhh) % P, h * z1 % P
