"""SM2 signature verification (GB/T 32918.2-2016) in plain Python, for machines whose OpenSSL lacks it.

Verification only: its running time depends on its input, which is harmless for public keys and would give a
private key away. Points are Jacobian (X, Y, Z) with x = X/Z², y = Y/Z³; Z = 0 is the point at infinity.
"""

from __future__ import annotations

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
    x = _sum_of_products(s, (GX, GY, 1), t, (*_coordinates(public), 1))
    return x is not None and (int.from_bytes(digest(public, message, identity), "big") + x) % N == r


def _coordinates(public: bytes) -> tuple[int, int]:
    return int.from_bytes(public[1:33], "big"), int.from_bytes(public[33:], "big")


def _sum_of_products(u: int, p: Point, v: int, q: Point) -> int | None:
    """x of u·p + v·q by Shamir's trick, or None at infinity."""
    both = _add(p, q)
    total: Point = (0, 1, 0)
    for bit in range(max(u.bit_length(), v.bit_length()) - 1, -1, -1):
        total = _double(total)
        match (u >> bit & 1, v >> bit & 1):
            case (1, 1):
                total = _add(total, both)
            case (1, 0):
                total = _add(total, p)
            case (0, 1):
                total = _add(total, q)
    x, _, z = total
    return x * pow(z, -2, P) % P if z else None


def _double(point: Point) -> Point:
    x, y, z = point
    if not z or not y:
        return (0, 1, 0)
    yy = y * y % P
    s = 4 * x * yy % P
    m = 3 * (x - z * z) * (x + z * z) % P  # a = -3
    x3 = (m * m - 2 * s) % P
    return x3, (m * (s - x3) - 8 * yy * yy) % P, 2 * y * z % P


def _add(left: Point, right: Point) -> Point:
    x1, y1, z1 = left
    x2, y2, z2 = right
    if not z1:
        return right
    if not z2:
        return left
    z1z1, z2z2 = z1 * z1 % P, z2 * z2 % P
    u1, u2 = x1 * z2z2 % P, x2 * z1z1 % P
    s1, s2 = y1 * z2 * z2z2 % P, y2 * z1 * z1z1 % P
    if u1 == u2:
        return _double(left) if s1 == s2 else (0, 1, 0)
    h, r = u2 - u1, s2 - s1
    hh = h * h % P
    hhh, v = h * hh % P, u1 * hh % P
    x3 = (r * r - hhh - 2 * v) % P
    return x3, (r * (v - x3) - s1 * hhh) % P, h * z1 * z2 % P
