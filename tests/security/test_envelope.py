"""Envelope encryption: what is sealed opens at its place under its key, and nothing else does."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.ciphers.modes import CBC
from hypothesis import given
from hypothesis import strategies as st

from security.envelope import SEALED, Aead, CipherName, Envelope, Sm4Gcm
from security.errors import PayloadRefused
from tests.security.material import conformance

OLD, NEW = "payload-202610a", "payload-202611a"
KEYS = {OLD: bytes(range(32)), NEW: bytes(range(32, 64))}
DATA, PLACE = b'{"code":"1100104A"}', "secret|payload|7"
CIPHERS: tuple[CipherName, ...] = ("AES-256-GCM", "SM4-GCM")


def new(cipher: CipherName = "AES-256-GCM", current: str = NEW) -> Envelope:
    return Envelope(KEYS, current, cipher)


@pytest.mark.parametrize("cipher", CIPHERS)
@given(data=st.binary(max_size=300), place=st.text(max_size=40))
def test_what_is_sealed_opens_at_its_place(cipher: CipherName, data: bytes, place: str) -> None:
    assert new(cipher).open(new(cipher).seal(data, place), place) == data


@pytest.mark.parametrize("cipher", CIPHERS)
def test_a_sealed_record_shows_its_key_and_nothing_of_the_data(cipher: CipherName) -> None:
    sealed = new(cipher).seal(DATA, PLACE)
    assert (sealed[0], Envelope.key_id(sealed)) == (SEALED, NEW)
    assert DATA not in sealed


KEPT: dict[CipherName, str] = {
    "AES-256-GCM": (
        "fe010f7061796c6f61642d32303236313161aa53fa646b1d4fdcac7e5cf757f85a23cf56b837723fd58c739f812baf44"
        "89850306003dcdc4604f19f31248155c1aa6d9568d036dc107df3f90c51edd82859913e468d7ca4a9aebb47e14f2ed22"
        "04c057977631938bc434f880f7a0086c3d"
    ),
    "SM4-GCM": (
        "fe020f7061796c6f61642d32303236313161efc9bfb34950b01dc8b159e4cc4d844b4d844f809702088f41b740a4a46c"
        "1ecc442e0d9214e38999159957d452cf160be37ae7cc563d27baecd001425e860342ebd2ac740ee93715bf9d600cdb0e"
        "c7"
    ),
}


@pytest.mark.parametrize("cipher", CIPHERS)
def test_a_record_sealed_by_the_first_version_still_opens(cipher: CipherName) -> None:
    assert new().open(bytes.fromhex(KEPT[cipher]), PLACE) == DATA


def test_no_two_records_share_a_nonce_or_a_data_key() -> None:
    head = 3 + len(NEW)
    first, second = (new().seal(DATA, PLACE)[head:] for _ in range(2))
    assert first[:12] != second[:12]
    assert first[12:60] != second[12:60]


@pytest.mark.parametrize("cipher", CIPHERS)
def test_no_byte_of_a_sealed_record_can_be_changed(cipher: CipherName) -> None:
    sealed = new(cipher).seal(DATA, PLACE)
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(PayloadRefused):
            new(cipher).open(bytes(changed), PLACE)


@pytest.mark.parametrize("cipher", CIPHERS)
def test_no_sealed_record_can_be_cut_short_or_lengthened(cipher: CipherName) -> None:
    sealed = new(cipher).seal(DATA, PLACE)
    for other in (*(sealed[:size] for size in range(len(sealed))), sealed + b"\0"):
        with pytest.raises(PayloadRefused):
            new(cipher).open(other, PLACE)


def test_a_sealed_record_does_not_open_at_another_place() -> None:
    with pytest.raises(PayloadRefused, match="changed or moved"):
        new().open(new().seal(DATA, PLACE), "secret|payload|8")


def test_a_key_id_and_a_place_cannot_borrow_letters_from_each_other() -> None:
    key = bytes(32)
    sealed = Envelope({"ab": key}, "ab").seal(DATA, "c")
    moved = sealed[:2] + b"\x01a" + sealed[5:]
    with pytest.raises(PayloadRefused):
        Envelope({"a": key}, "a").open(moved, "bc")


def test_a_record_of_a_key_that_is_gone_says_which_key() -> None:
    sealed = new(current=OLD).seal(DATA, PLACE)
    with pytest.raises(PayloadRefused, match=f"key {OLD}, which this key store does not hold"):
        Envelope({NEW: KEYS[NEW]}, NEW).open(sealed, PLACE)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"\xa0", b"\xfe", b"\xfe\x03\x01a" + bytes(80), b"\xfe\x01\x02\xff\xff" + bytes(99)]
)
def test_what_was_never_sealed_is_refused(body: bytes) -> None:
    with pytest.raises(PayloadRefused):
        new().open(body, PLACE)


def test_no_message_repeats_what_is_sealed() -> None:
    with pytest.raises(PayloadRefused) as refused:
        new().open(DATA, PLACE)
    assert "1100104A" not in str(refused.value)


def test_rewrapping_moves_a_record_to_the_current_key() -> None:
    rewrapped = new().rewrap(new(current=OLD).seal(DATA, PLACE), PLACE)
    assert rewrapped is not None
    assert Envelope.key_id(rewrapped) == NEW
    assert Envelope({NEW: KEYS[NEW]}, NEW).open(rewrapped, PLACE) == DATA


def test_rewrapping_takes_up_another_cipher() -> None:
    rewrapped = new("SM4-GCM").rewrap(new("AES-256-GCM").seal(DATA, PLACE), PLACE)
    assert rewrapped is not None
    assert new("SM4-GCM").open(rewrapped, PLACE) == DATA
    assert new("SM4-GCM").rewrap(rewrapped, PLACE) is None


def test_a_record_under_the_current_key_is_left_as_it_is() -> None:
    assert new().rewrap(new().seal(DATA, PLACE), PLACE) is None


def test_rewrapping_finds_a_damaged_record() -> None:
    sealed = new(current=OLD).seal(DATA, PLACE)
    with pytest.raises(PayloadRefused):
        new().rewrap(sealed[:-1] + bytes([sealed[-1] ^ 1]), PLACE)


def test_sealing_under_a_key_that_is_not_held_is_refused() -> None:
    with pytest.raises(PayloadRefused, match="lianren keys rotate payload"):
        Envelope(KEYS, "payload-202612a")


@pytest.mark.parametrize("keys", [{NEW: bytes(16)}, {NEW: bytes(33)}, {NEW: KEYS[NEW], "": bytes(32)}])
def test_a_key_encryption_key_has_32_bytes_and_an_id(keys: dict[str, bytes]) -> None:
    with pytest.raises(PayloadRefused, match="32 bytes"):
        Envelope(keys, NEW)


def test_sm4_gives_the_values_of_gb_t_32907() -> None:
    for v in conformance("crypto/shared/sm-vectors.json")["SM4"]:
        # CBC over zeros with the plaintext as its vector encrypts the last result again and again.
        state = Cipher(SM4(bytes.fromhex(v["key"])), CBC(bytes.fromhex(v["plain"]))).encryptor()
        assert state.update(bytes(16 * v.get("rounds", 1)))[-16:].hex() == v["cipher"]


def test_sm4_gcm_gives_the_values_of_rfc_8998() -> None:
    plaintext = b"".join(bytes([byte]) * 8 for byte in bytes.fromhex("AABBCCDDEEFFEEAA"))
    sealed = Sm4Gcm(bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")).encrypt(
        bytes.fromhex("00001234567800000000ABCD"),
        plaintext,
        bytes.fromhex("FEEDFACEDEADBEEFFEEDFACEDEADBEEFABADDAD2"),
    )
    assert sealed.hex().upper() == (
        "17F399F08C67D5EE19D0DC9969C4BB7D5FD46FD3756489069157B282BB200735"
        "D82710CA5C22F0CCFA7CBF93D496AC15A56834CBCF98C397B4024A2691233B8D"
        "83DE3541E4C2B58177E065A9BF7B62EC"
    )


def test_sm4_gcm_agrees_with_wycheproof() -> None:
    assert _disagreements("sm4_gcm_test.json", Sm4Gcm) == []


def test_aes_gcm_agrees_with_wycheproof() -> None:
    assert _disagreements("aes_gcm_test.json", AESGCM) == []


def _disagreements(file: str, cipher: type[AESGCM] | type[Sm4Gcm]) -> list[int]:
    """The test cases that `cipher` gives another result for.

    OpenSSL takes nonces of 8 to 128 bytes, and an envelope's has 12: valid vectors of others are left out.
    """
    wrong = []
    for group in conformance(f"crypto/shared/wycheproof/{file}")["testGroups"]:
        for v in group["tests"]:
            if v["result"] == "valid" and not 64 <= group["ivSize"] <= 1024:
                continue
            aead: Aead = cipher(bytes.fromhex(v["key"]))
            nonce, sealed = bytes.fromhex(v["iv"]), bytes.fromhex(v["ct"] + v["tag"])
            plaintext, bound = bytes.fromhex(v["msg"]), bytes.fromhex(v["aad"])
            try:
                agrees = aead.decrypt(nonce, sealed, bound) == plaintext
                agrees = agrees and aead.encrypt(nonce, plaintext, bound) == sealed
            except (InvalidTag, ValueError):
                agrees = False
            if agrees != (v["result"] == "valid"):
                wrong.append(v["tcId"])
    return wrong
