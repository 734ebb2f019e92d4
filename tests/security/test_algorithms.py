"""Digests and signatures against published vectors, and against each other."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from base64 import urlsafe_b64decode
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from security import _sm2_pure
from security._der import der_to_raw, raw_to_der
from security._sm2_libcrypto import Sm2Key
from security.digests import HASHES, hmac_sm3, sha256, sm3
from security.errors import KeyNotValid, SignatureRefused, TrustError
from security.keys import Algorithm, raw_verifier, to_base64url, verifier
from security.keystore import KeyStore
from tests.security.machines import libcrypto_without_sm2
from tests.security.material import NOW, SM2_PKCS8, SM2_PUBLIC, SM2_SIGNATURE, conformance, new_key

MESSAGE = b"message digest"
N = _sm2_pure.N
ALGORITHMS: tuple[Algorithm, ...] = ("Ed25519", "ES256", "SM2")


def test_sm3_gives_the_values_of_gb_t_32905() -> None:
    assert sm3(b"abc").hex() == "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
    assert sm3(b"abcd" * 16).hex() == "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"


def test_the_conformance_vectors_of_sm3_and_sm2_hold() -> None:
    vectors = conformance("crypto/shared/sm-vectors.json")
    assert all(sm3(v["msg"].encode()).hex() == v["hex"] for v in vectors["SM3"])
    for v in vectors["SM2_sign"]:
        public, signature = bytes.fromhex("04" + v["px"] + v["py"]), bytes.fromhex(v["r"] + v["s"])
        assert Sm2Key.from_public(public).verify(v["msg"].encode(), signature, v["id"].encode())


def test_hmac_sm3_gives_the_known_value() -> None:
    expected = "28e63256e7c5a087b1f073265dc53092163f7b82729735d06f28f10af9d52393"
    assert hmac_sm3(b"key", b"abc").hex() == expected


def test_hmac_sm3_agrees_with_wycheproof() -> None:
    for group in conformance("crypto/shared/wycheproof/hmac_sm3_test.json")["testGroups"]:
        for v in group["tests"]:
            tag = hmac_sm3(bytes.fromhex(v["key"]), bytes.fromhex(v["msg"]))[: group["tagSize"] // 8]
            assert (tag.hex() == v["tag"]) == (v["result"] == "valid"), v["tcId"]


def test_every_named_hash_gives_32_bytes() -> None:
    assert {name: len(digest(b"")) for name, digest in HASHES.items()} == {"sha256": 32, "sm3": 32}
    assert sha256(b"abc") == hashlib.sha256(b"abc").digest()


@pytest.mark.parametrize("way", ["libcrypto", "pure"])
def test_sm2_verifies_the_signature_of_gb_t_32918_5(way: str) -> None:
    assert _sm2_verify(way, SM2_PUBLIC, MESSAGE, SM2_SIGNATURE)


def test_sm2_hashes_z_and_message_as_gb_t_32918_5() -> None:
    expected = "f0b43e94ba45accaace692ed534382eb17e6ab5a19ce7b31f4486fdfc0d28640"
    assert _sm2_pure.digest(SM2_PUBLIC, MESSAGE).hex() == expected


R, S = SM2_SIGNATURE[:32], SM2_SIGNATURE[32:]
ZERO, ORDER = bytes(32), N.to_bytes(32, "big")
SM2_BAD = {
    "another message": (SM2_PUBLIC, b"message digesT", SM2_SIGNATURE),
    "r is zero": (SM2_PUBLIC, MESSAGE, ZERO + S),
    "s is zero": (SM2_PUBLIC, MESSAGE, R + ZERO),
    "r is n": (SM2_PUBLIC, MESSAGE, ORDER + S),
    "s is n": (SM2_PUBLIC, MESSAGE, R + ORDER),
    "s beyond n": (SM2_PUBLIC, MESSAGE, R + b"\xff" * 32),
    "r plus s is n": (SM2_PUBLIC, MESSAGE, R + (N - int.from_bytes(R, "big")).to_bytes(32, "big")),
    "a byte more": (SM2_PUBLIC, MESSAGE, SM2_SIGNATURE + b"\0"),
    "a byte less": (SM2_PUBLIC, MESSAGE, SM2_SIGNATURE[:-1]),
    "empty": (SM2_PUBLIC, MESSAGE, b""),
    "r and s swapped": (SM2_PUBLIC, MESSAGE, S + R),
}


@pytest.mark.parametrize("way", ["libcrypto", "pure"])
@pytest.mark.parametrize("case", SM2_BAD)
def test_sm2_refuses(way: str, case: str) -> None:
    assert not _sm2_verify(way, *SM2_BAD[case])


@pytest.mark.parametrize("way", ["libcrypto", "pure"])
def test_sm2_refuses_the_signature_under_another_identity(way: str) -> None:
    assert not _sm2_verify(way, SM2_PUBLIC, MESSAGE, SM2_SIGNATURE, b"1234567812345679")


def test_sm2_refuses_a_point_off_the_curve() -> None:
    off = SM2_PUBLIC[:-1] + bytes([SM2_PUBLIC[-1] ^ 1])
    assert not _sm2_pure.on_curve(off)
    with pytest.raises(SignatureRefused, match="not on the curve"):
        Sm2Key.from_public(off)


def test_sm2_refuses_a_private_key_of_another_algorithm() -> None:
    with pytest.raises(SignatureRefused, match="another algorithm"):
        Sm2Key.from_pkcs8(new_key("ES256").pkcs8)


@settings(max_examples=25, deadline=None)
@given(message=st.binary(max_size=300), flip=st.integers(0, 511))
def test_both_sm2_verifiers_agree_on_good_and_altered_signatures(message: bytes, flip: int) -> None:
    key = Sm2Key.from_pkcs8(SM2_PKCS8)
    good = key.sign(message)
    altered = bytearray(good)
    altered[flip // 8] ^= 1 << flip % 8
    assert _sm2_pure.verify(SM2_PUBLIC, message, good)
    assert key.verify(message, good)
    assert not _sm2_pure.verify(SM2_PUBLIC, message, bytes(altered))
    assert not key.verify(message, bytes(altered))


def test_both_sm2_verifiers_agree_for_many_keys() -> None:
    for number in range(12):
        key, other = Sm2Key.generate(), Sm2Key.generate()
        message = b"%d" % number
        signature = key.sign(message)
        assert _sm2_pure.verify(key.public(), message, signature)
        assert not _sm2_pure.verify(other.public(), message, signature)


@pytest.mark.parametrize(
    ("scalar", "x"),
    [
        (1, _sm2_pure.GX),
        (N - 1, _sm2_pure.GX),
        (N + 1, _sm2_pure.GX),
        (0, None),
        (N, None),
    ],
)
def test_multiples_of_the_base_point_come_round_at_its_order(scalar: int, x: int | None) -> None:
    table = _sm2_pure._table(_sm2_pure.GX, _sm2_pure.GY)
    numerator, _, z = _sm2_pure._add_multiple((0, 1, 0), scalar, table)
    assert (numerator * pow(z, -2, _sm2_pure.P) % _sm2_pure.P if z else None) == x


def test_adding_a_point_to_itself_doubles_it() -> None:
    x, y = _sm2_pure.GX, _sm2_pure.GY
    twice, _, z = _sm2_pure._add((x, y, 1), x, y)
    assert twice * pow(z, -2, _sm2_pure.P) % _sm2_pure.P == _sm2_pure._table(x, y)[0][1][0]


def test_a_detached_jws_made_elsewhere_verifies_with_the_sm2_key() -> None:
    payload = (
        b'{"code":{"coding":[{"code":"2345-7","system":"http://loinc.org"}]},"effectiveDateTime":'
        b'"2026-11-20T08:30:00+08:00","id":"glu-1","resourceType":"Observation","status":"final",'
        b'"valueQuantity":{"code":"mmol/L","system":"http://unitsofmeasure.org","unit":"mmol/L","value":6.3}}'
    )
    header = "eyJhbGciOiJTTTJTTTMiLCJraWQiOiJjcW1oMDEtMjAyNmEifQ"
    signature = "DMrWJkiRK37kd7tfCrT85Ty2j2VC6_GQOU9_4JztiFciOw4RWpgkDSjg-ffFgbzM1Iq_H9Dc3IzoK3SQLDoWeA"
    raw_verifier("SM2", SM2_PUBLIC).verify(
        f"{header}.{to_base64url(payload)}".encode(), urlsafe_b64decode(signature + "==")
    )


def test_ed25519_agrees_with_wycheproof() -> None:
    for group in conformance("crypto/shared/wycheproof/ed25519_test.json")["testGroups"]:
        public = bytes.fromhex(group["publicKey"]["pk"])
        for v in group["tests"]:
            accepted = _accepts("Ed25519", public, bytes.fromhex(v["msg"]), bytes.fromhex(v["sig"]))
            assert accepted == (v["result"] == "valid"), (v["tcId"], v["comment"])


def test_es256_agrees_with_wycheproof_on_raw_signatures() -> None:
    for group in conformance("crypto/shared/wycheproof/ecdsa_secp256r1_sha256_p1363_test.json")["testGroups"]:
        public = bytes.fromhex(group["publicKey"]["uncompressed"])
        for v in group["tests"]:
            accepted = _accepts("ES256", public, bytes.fromhex(v["msg"]), bytes.fromhex(v["sig"]))
            assert accepted == (v["result"] == "valid"), (v["tcId"], v["comment"])


def test_es256_agrees_with_wycheproof_on_der_signatures() -> None:
    for group in conformance("crypto/shared/wycheproof/ecdsa_secp256r1_sha256_test.json")["testGroups"]:
        public = bytes.fromhex(group["publicKey"]["uncompressed"])
        for v in group["tests"]:
            try:
                raw = der_to_raw(bytes.fromhex(v["sig"]))
                accepted = _accepts("ES256", public, bytes.fromhex(v["msg"]), raw)
            except SignatureRefused:
                accepted = False
            assert accepted == (v["result"] == "valid"), (v["tcId"], v["comment"])


@given(raw=st.binary(min_size=64, max_size=64))
def test_der_and_raw_are_one_to_one(raw: bytes) -> None:
    assert der_to_raw(raw_to_der(raw)) == raw


@given(data=st.binary(max_size=80))
def test_der_that_is_read_is_the_one_encoding(data: bytes) -> None:
    try:
        raw = der_to_raw(data)
    except SignatureRefused:
        return
    assert raw_to_der(raw) == data


SM2_DER = raw_to_der(SM2_SIGNATURE)
DER_BAD = {
    "a byte after the end": SM2_DER + b"\0",
    "a longer INTEGER than needed": b"\x30\x47\x02\x22\x00\x00" + SM2_DER[5:],
    "a negative INTEGER": b"\x30\x06\x02\x01\x80\x02\x01\x01",
    "an empty INTEGER": b"\x30\x05\x02\x00\x02\x01\x01",
    "only r": b"\x30\x03\x02\x01\x01",
    "three INTEGERs": b"\x30\x09" + b"\x02\x01\x01" * 3,
    "a length in long form": b"\x30\x81" + SM2_DER[1:],
    "33 bytes that are not a sign byte": b"\x30\x26\x02\x21\x01" + bytes(32) + b"\x02\x01\x01",
    "nothing": b"",
}


@pytest.mark.parametrize("case", DER_BAD)
def test_der_refuses(case: str) -> None:
    with pytest.raises(SignatureRefused):
        der_to_raw(DER_BAD[case])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_signature_has_64_bytes_and_verifies(algorithm: Algorithm) -> None:
    key = new_key(algorithm)
    signature = key.sign(MESSAGE)
    assert len(signature) == 64
    verifier(key.public).verify(MESSAGE, signature)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("length", [0, 63, 65, 72])
def test_a_signature_of_another_length_is_refused(algorithm: Algorithm, length: int) -> None:
    with pytest.raises(SignatureRefused):
        verifier(new_key(algorithm).public).verify(MESSAGE, bytes(length))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("public", [b"", bytes(32)[:31], b"\4" + bytes(64), b"\2" + bytes(32), bytes(66)])
def test_bytes_that_are_no_public_key_are_refused(algorithm: Algorithm, public: bytes) -> None:
    with pytest.raises(KeyNotValid):
        raw_verifier(algorithm, public)


def _sm2_verify(
    way: str, public: bytes, message: bytes, signature: bytes, identity: bytes | None = None
) -> bool:
    identity = identity or _sm2_pure.DEFAULT_ID
    if way == "pure":
        return _sm2_pure.verify(public, message, signature, identity)
    return Sm2Key.from_public(public).verify(message, signature, identity)


def _accepts(algorithm: Algorithm, public: bytes, message: bytes, signature: bytes) -> bool:
    try:
        raw_verifier(algorithm, public).verify(message, signature)
    except TrustError:
        return False
    return True


LACKS = {
    "SM2": "this machine's OpenSSL was built without SM2; install a build that has it",
    "OpenSSL": "SM2 needs OpenSSL 3 or later (libcrypto) on this machine; none was found",
}


@pytest.fixture(scope="module", params=LACKS)
def lack(request: pytest.FixtureRequest) -> str:
    """What the machine lacks."""
    return str(request.param)


@pytest.fixture(scope="module")
def without_sm2(lack: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("openssl")
    library = libcrypto_without_sm2(folder)
    if lack == "OpenSSL":
        library.write_bytes(b"")  # nothing that loads
    return {**os.environ, "LD_LIBRARY_PATH": str(folder)}


def _run(code: str, environment: dict[str, str]) -> str:
    started = (sys.executable, "-W", "error", "-c", code)
    root = Path(__file__).parents[2]
    return subprocess.run(
        started, env=environment, cwd=root, check=True, capture_output=True, text=True
    ).stdout


def test_signing_without_sm2_fails_with_one_line_that_says_what_is_missing(
    lack: str, without_sm2: dict[str, str]
) -> None:
    said = _run(
        "from datetime import datetime, UTC\n"
        "from security.errors import UnsupportedAlgorithm\n"
        "from security.keys import KeyPair\n"
        "try:\n"
        "    KeyPair.generate('SM2', 'cq', 'mark', datetime.now(UTC))\n"
        "except UnsupportedAlgorithm as wrong:\n"
        "    print(wrong)\n",
        without_sm2,
    )
    assert said == LACKS[lack] + "\n"


def test_a_kept_sm2_key_does_not_sign_without_sm2(
    lack: str, without_sm2: dict[str, str], tmp_path: Path
) -> None:
    KeyStore(tmp_path / "keys", b"made up").new("SM2", "cq", "mark", NOW)
    said = _run(
        "from pathlib import Path\n"
        "from security.errors import UnsupportedAlgorithm\n"
        "from security.keystore import KeyStore\n"
        f"store = KeyStore(Path({str(tmp_path / 'keys')!r}), b'made up')\n"
        "try:\n"
        "    store.load('cq-mark-202611a')\n"
        "except UnsupportedAlgorithm as wrong:\n"
        "    print(wrong)\n",
        without_sm2,
    )
    assert said == LACKS[lack] + "\n"


def test_verifying_without_sm2_falls_back_to_plain_python(without_sm2: dict[str, str]) -> None:
    said = _run(
        "from security.errors import SignatureRefused\n"
        "from security.keys import raw_verifier\n"
        "from tests.security.material import SM2_PUBLIC, SM2_SIGNATURE\n"
        "verifier = raw_verifier('SM2', SM2_PUBLIC)\n"
        "verifier.verify(b'message digest', SM2_SIGNATURE)\n"
        "try:\n"
        "    verifier.verify(b'message digesT', SM2_SIGNATURE)\n"
        "except SignatureRefused as wrong:\n"
        "    print(wrong)\n",
        without_sm2,
    )
    assert said == "the SM2 signature does not verify\n"


def test_a_point_off_the_curve_is_no_key_without_sm2(without_sm2: dict[str, str]) -> None:
    said = _run(
        "from security.errors import KeyNotValid\n"
        "from security.keys import raw_verifier\n"
        "try:\n"
        "    raw_verifier('SM2', b'\\4' + bytes(64))\n"
        "except KeyNotValid as wrong:\n"
        "    print(wrong)\n",
        without_sm2,
    )
    assert said == "its bytes are not an SM2 public key\n"
