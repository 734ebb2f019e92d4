"""Keys in crypto machines: SoftHSM by PKCS#11, and a library with the SDF interface."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from security import _sm2_pure
from security._device_uri import parse
from security._sdf import SdfKey
from security._sm2_libcrypto import Sm2Key
from security.devices import DeviceKey, open_device
from security.errors import KeyNotValid, KeyStoreError, SignatureRefused, UnsupportedAlgorithm
from security.keys import Algorithm, new_record, verifier
from security.keystore import KeyStore
from tests.security.machines import (
    SDF_PIN,
    SOFTHSM,
    TOKEN,
    TOKEN_PIN,
    libcrypto_without_sm2,
    pin_file,
    sdf_library,
    softhsm_token,
)
from tests.security.material import DAY, NOW, SM2_PUBLIC

PASSPHRASE = b"a made-up passphrase"
MESSAGE = b"message digest"
KEYS: dict[Algorithm, str] = {"ES256": "p256", "Ed25519": "ed25519"}


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of SoftHSM's token, up to the name of the key."""
    softhsm_token(tmp_path_factory.mktemp("softhsm"))
    return f"pkcs11:token={TOKEN};object="


@pytest.fixture(scope="module")
def sdf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sdf_library(tmp_path_factory.mktemp("sdf"))


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "keys", PASSPHRASE)


def pkcs11_uri(token: str, label: str, folder: Path) -> str:
    return f"{token}{label}?module-path={SOFTHSM}&pin-source=file:{pin_file(folder, TOKEN_PIN)}"


def sdf_uri(library: Path, index: int, folder: Path) -> str:
    return f"sdf:index={index}?module-path={library}&pin-source=file://{pin_file(folder, SDF_PIN)}"


def device_key(uri: str, algorithm: Algorithm) -> DeviceKey:
    device = open_device(uri, algorithm)
    return DeviceKey(new_record(device.public, algorithm, "cq", "mark", NOW), device)


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_token_signs_what_its_public_key_verifies(token: str, tmp_path: Path, algorithm: Algorithm) -> None:
    key = device_key(pkcs11_uri(token, KEYS[algorithm], tmp_path), algorithm)
    signature = key.sign(MESSAGE)
    assert len(signature) == 64
    verifier(key.public).verify(MESSAGE, signature)


def test_a_key_is_found_by_its_id_and_serial_too(token: str, tmp_path: Path) -> None:
    import pkcs11

    serial = pkcs11.lib(str(SOFTHSM)).get_token(token_label=TOKEN).serial.decode()
    pin = pin_file(tmp_path, TOKEN_PIN)
    by_id = f"pkcs11:serial={serial};id=%70256;type=private?module-path={SOFTHSM}&pin-source=file:{pin}"
    by_label = pkcs11_uri(token, "p256", tmp_path)
    assert open_device(by_id, "ES256").public == open_device(by_label, "ES256").public


def test_a_key_on_the_sm2_curve_is_no_p_256_key(token: str, tmp_path: Path) -> None:
    with pytest.raises(KeyStoreError, match="curve is not that of ES256"):
        open_device(pkcs11_uri(token, "sm2curve", tmp_path), "ES256")


def test_pkcs_11_offers_no_sm2(token: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedAlgorithm, match="ECDSA on the SM2 curve is not SM2"):
        open_device(pkcs11_uri(token, "sm2curve", tmp_path), "SM2")


def test_ecdsa_on_the_sm2_curve_is_refused_as_an_sm2_signature(token: str) -> None:
    import pkcs11

    class EcdsaOnTheSm2Curve:
        """What a careless machine would do: ECDSA over e with a key of the SM2 curve."""

        def __init__(self, session: pkcs11.Session) -> None:
            key = session.get_key(object_class=pkcs11.ObjectClass.PUBLIC_KEY, label="sm2curve")
            self.public = key[pkcs11.Attribute.EC_POINT][2:]
            self.session = session

        def sign(self, message: bytes) -> bytes:
            key = self.session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, label="sm2curve")
            e = _sm2_pure.digest(self.public, message)
            signed: bytes = key.sign(e, mechanism=pkcs11.Mechanism.ECDSA)  # type: ignore[attr-defined]
            return signed

    opened = pkcs11.lib(str(SOFTHSM)).get_token(token_label=TOKEN).open()
    with opened as session:
        device = EcdsaOnTheSm2Curve(session)
        record = new_record(device.public, "SM2", "cq", "mark", NOW)
        with pytest.raises(SignatureRefused, match="what its crypto machine signed is wrong"):
            DeviceKey(record, device).sign(MESSAGE)


def test_a_key_of_another_kind_is_refused(token: str, tmp_path: Path) -> None:
    with pytest.raises(KeyStoreError, match="curve is not that of Ed25519"):
        open_device(pkcs11_uri(token, "p256", tmp_path), "Ed25519")


def test_a_session_that_was_lost_is_opened_again(token: str, tmp_path: Path) -> None:
    import pkcs11

    key = device_key(pkcs11_uri(token, "ed25519", tmp_path), "Ed25519")
    before = key.sign(MESSAGE)
    pkcs11.lib(str(SOFTHSM)).reinitialize()  # as when the token's service restarts
    assert key.sign(MESSAGE) == before


def test_a_token_that_went_away_is_a_refusal_and_comes_back(token: str, tmp_path: Path) -> None:
    import pkcs11

    key = device_key(pkcs11_uri(token, "p256", tmp_path), "ES256")
    library = pkcs11.lib(str(SOFTHSM))
    tokens = Path(os.environ["SOFTHSM2_CONF"]).with_name("tokens")
    away = tokens.rename(tokens.with_name("pulled"))
    tokens.mkdir()
    library.reinitialize()
    with pytest.raises(SignatureRefused, match=f"token {TOKEN}: NoSuchToken"):
        key.sign(MESSAGE)
    tokens.rmdir()
    away.rename(tokens)
    library.reinitialize()
    key.sign(MESSAGE)


def test_two_keys_of_one_token_sign_from_several_threads(token: str, tmp_path: Path) -> None:
    keys = [device_key(pkcs11_uri(token, label, tmp_path), algorithm) for algorithm, label in KEYS.items()]
    with ThreadPoolExecutor(4) as threads:
        signed = list(threads.map(lambda number: keys[number % 2].sign(b"%d" % number), range(40)))
    for number, signature in enumerate(signed):
        verifier(keys[number % 2].public).verify(b"%d" % number, signature)


def test_a_wrong_pin_is_refused_and_not_tried_until_it_changes(token: str, tmp_path: Path) -> None:
    import pkcs11

    key = device_key(pkcs11_uri(token, "p256", tmp_path), "ES256")
    other_key = pkcs11_uri(token, "ed25519", tmp_path)
    pkcs11.lib(str(SOFTHSM)).reinitialize()
    pin_file(tmp_path, "9999")
    with pytest.raises(KeyStoreError, match="PinIncorrect"):
        key.sign(MESSAGE)
    with pytest.raises(KeyStoreError, match="tried again when the file changes"):
        key.sign(MESSAGE)
    with pytest.raises(KeyStoreError, match="tried again when the file changes"):
        open_device(other_key, "Ed25519")
    pin_file(tmp_path, TOKEN_PIN)
    key.sign(MESSAGE)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("pkcs11:token=lianren;object=absent", "NoSuchKey"),
        ("pkcs11:token=absent;object=p256", "NoSuchToken"),
        ("pkcs11:object=p256", "lacks token="),
        ("pkcs11:token=lianren", "lacks object="),
        ("pkcs11:token=lianren;object=p256;type=cert", "type= is private"),
    ],
)
def test_a_key_that_no_token_has_is_refused(token: str, tmp_path: Path, uri: str, reason: str) -> None:
    pin = pin_file(tmp_path, TOKEN_PIN)
    with pytest.raises(KeyStoreError, match=reason):
        open_device(f"{uri}?module-path={SOFTHSM}&pin-source=file:{pin}", "ES256")


def test_a_library_that_is_not_there_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pkcs11")
    with pytest.raises(KeyStoreError, match=r"absent\.so"):
        open_device(f"pkcs11:token=a;object=b?module-path={tmp_path}/absent.so", "ES256")


BAD_URIS = {
    "begins with pkcs11": "file:///etc/key",
    "lacks ?module-path": "pkcs11:token=lianren;object=p256",
    "name it by pin-source": "pkcs11:token=a;object=b?module-path=c&pin-value=1234",
    "the address may hold id, object": "pkcs11:token=a;slot-id=1?module-path=c",
    "each with a value": "pkcs11:token=;object=b?module-path=c",
    "holds token twice": "pkcs11:token=a;token=b?module-path=c",
    "the address may hold index": "sdf:token=a?module-path=c",
    "plain ASCII": "pkcs11:token=联认;object=b?module-path=c",
    "holds %00": "pkcs11:token=a;object=b?module-path=c%00",
}


@pytest.mark.parametrize("reason", BAD_URIS)
def test_an_address_that_cannot_be_followed_is_refused(reason: str) -> None:
    with pytest.raises(KeyStoreError, match=reason.replace("?", r"\?")) as refused:
        open_device(BAD_URIS[reason], "ES256")
    assert "1234" not in str(refused.value)


@given(
    uri=st.one_of(
        st.text(max_size=60),
        st.from_regex(r"(pkcs11|sdf):[a-z=;%0-9]{0,20}\?module-path=[%0-9a-z&=]{0,20}", fullmatch=True),
    )
)
def test_every_address_is_read_or_refused(uri: str) -> None:
    try:
        address = parse(uri)
    except KeyStoreError:
        return
    assert address.scheme in ("pkcs11", "sdf")
    assert address.module


WITHOUT_THE_EXTRA = """
import sys
sys.modules["pkcs11"] = None
from security.devices import open_device
from security.errors import KeyStoreError
try:
    open_device("pkcs11:token=a;object=b?module-path=c", "ES256")
except KeyStoreError as wrong:
    print(wrong)
"""


def test_without_the_extra_a_pkcs_11_address_says_what_to_install() -> None:
    root = Path(__file__).parents[2]
    started = (sys.executable, "-c", WITHOUT_THE_EXTRA)
    said = subprocess.run(started, cwd=root, check=True, capture_output=True, text=True).stdout
    assert said == "PKCS#11 needs python-pkcs11; install the extra: lianren[pkcs11]\n"


def test_an_address_may_percent_encode_what_it_says() -> None:
    address = parse("pkcs11:token=%E8%81%94%E8%AE%A4;id=%01%ff?module-path=/a%20b.so&pin-source=file:///pin")
    assert (address.text("token"), address.octets("id")) == ("联认", b"\x01\xff")
    assert (address.module, str(address.pin.file)) == ("/a b.so", "/pin")


def test_a_pin_that_every_user_can_read_is_refused(tmp_path: Path) -> None:
    file = pin_file(tmp_path, TOKEN_PIN)
    file.chmod(0o644)
    with pytest.raises(KeyStoreError, match="chmod 0600"):
        parse(f"sdf:index=1?module-path=c&pin-source=file:{file}").pin.read()


@pytest.mark.parametrize("content", [None, b"", b"\xff\n"])
def test_a_pin_file_without_a_pin_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "pin"
    if content is not None:
        file.write_bytes(content)
        file.chmod(0o600)
    with pytest.raises(KeyStoreError, match="PIN of a crypto machine"):
        parse(f"sdf:index=1?module-path=c&pin-source=file:{file}").pin.read()


@pytest.mark.parametrize("way", ["libcrypto", "pure"])
def test_an_sdf_machine_signs_e_of_z_and_message(sdf: Path, tmp_path: Path, way: str) -> None:
    key = device_key(sdf_uri(sdf, 1, tmp_path), "SM2")
    assert key.public.raw == SM2_PUBLIC
    for number in range(20):
        message = b"%d" % number
        signature = key.sign(message)
        if way == "libcrypto":
            assert Sm2Key.from_public(SM2_PUBLIC).verify(message, signature)
        else:
            assert _sm2_pure.verify(SM2_PUBLIC, message, signature)


def test_an_sdf_machine_is_given_32_bytes_and_never_the_message(sdf: Path, tmp_path: Path) -> None:
    key = SdfKey(parse(sdf_uri(sdf, 1, tmp_path)), "SM2")
    signature = key.sign_e(_sm2_pure.digest(SM2_PUBLIC, MESSAGE))
    assert _sm2_pure.verify(SM2_PUBLIC, MESSAGE, signature)
    with pytest.raises(SignatureRefused, match="0x0100000d"):
        key.sign_e(MESSAGE)


def test_what_a_machine_signs_wrongly_does_not_go_out(sdf: Path, tmp_path: Path) -> None:
    key = device_key(sdf_uri(sdf, 2, tmp_path), "SM2")
    with pytest.raises(SignatureRefused, match="cq-mark-202611a: what its crypto machine signed is wrong"):
        key.sign(MESSAGE)


def test_a_machine_that_fails_to_sign_is_a_refusal_with_its_answer(sdf: Path, tmp_path: Path) -> None:
    key = device_key(sdf_uri(sdf, 3, tmp_path), "SM2")
    with pytest.raises(SignatureRefused, match=r"Sign_ECC answered 0x0100000d \(signing failed\)"):
        key.sign(MESSAGE)


def test_an_sdf_session_that_was_lost_is_opened_again(sdf: Path, tmp_path: Path) -> None:
    key = device_key(sdf_uri(sdf, 5, tmp_path), "SM2")
    for number in range(5):
        key.sign(b"%d" % number)


def test_handles_of_a_failing_machine_are_given_back(sdf: Path, tmp_path: Path) -> None:
    handles = ctypes.c_int.in_dll(ctypes.CDLL(str(sdf)), "open_handles")
    before = handles.value
    key = device_key(sdf_uri(sdf, 3, tmp_path), "SM2")
    for _ in range(3):
        with pytest.raises(SignatureRefused):
            key.sign(MESSAGE)
    assert handles.value == before


def test_an_sdf_machine_signs_from_several_threads(sdf: Path, tmp_path: Path) -> None:
    key = device_key(sdf_uri(sdf, 1, tmp_path), "SM2")
    with ThreadPoolExecutor(4) as threads:
        signed = list(threads.map(lambda number: key.sign(b"%d" % number), range(40)))
    for number, signature in enumerate(signed):
        verifier(key.public).verify(b"%d" % number, signature)


def test_a_wrong_sdf_pin_is_tried_once(sdf: Path, tmp_path: Path) -> None:
    refused = ctypes.c_int.in_dll(ctypes.CDLL(str(sdf)), "refused_pins")
    uri = sdf_uri(sdf, 1, tmp_path)
    pin_file(tmp_path, "87654321")
    before = refused.value
    for _ in range(3):
        with pytest.raises(KeyStoreError, match="PIN"):
            open_device(uri, "SM2")
    assert refused.value == before + 1
    pin_file(tmp_path, SDF_PIN)
    device_key(uri, "SM2").sign(MESSAGE)


def test_a_pin_is_tried_again_after_the_machine_was_away(sdf: Path, tmp_path: Path) -> None:
    away = ctypes.c_int.in_dll(ctypes.CDLL(str(sdf)), "away")
    uri = sdf_uri(sdf, 1, tmp_path)
    away.value = 1
    try:
        with pytest.raises(KeyStoreError, match="communication with the machine failed"):
            open_device(uri, "SM2")
    finally:
        away.value = 0
    device_key(uri, "SM2").sign(MESSAGE)


def test_a_key_that_nobody_holds_any_more_gives_its_session_back(sdf: Path, tmp_path: Path) -> None:
    handles = ctypes.c_int.in_dll(ctypes.CDLL(str(sdf)), "open_handles")
    before = handles.value
    key = device_key(sdf_uri(sdf, 1, tmp_path), "SM2")
    assert handles.value == before + 2
    del key
    assert handles.value == before


@pytest.mark.parametrize(
    ("index", "algorithm", "refusal"),
    [
        ("9", "SM2", "no key of this index"),
        ("4", "SM2", "not on the SM2 curve"),
        ("x", "SM2", "lacks index="),
        ("4294967297", "SM2", "lacks index="),
        ("1", "ES256", "not by ES256"),
    ],
)
def test_an_sdf_key_that_cannot_serve_is_refused(
    sdf: Path, tmp_path: Path, index: str, algorithm: Algorithm, refusal: str
) -> None:
    pin = pin_file(tmp_path, SDF_PIN)
    with pytest.raises((KeyStoreError, UnsupportedAlgorithm), match=refusal):
        open_device(f"sdf:index={index}?module-path={sdf}&pin-source=file:{pin}", algorithm)


SIGN_WITHOUT_SM2_IN_OPENSSL = """
import sys
from security._sm2_libcrypto import library
from security.errors import UnsupportedAlgorithm
from tests.security.test_devices import device_key
key = device_key(sys.argv[1], "SM2")
print(len(key.sign(b"message digest")))
try:
    library()
except UnsupportedAlgorithm as wrong:
    print(wrong)
"""


def test_an_sdf_machine_signs_where_openssl_has_no_sm2(sdf: Path, tmp_path: Path) -> None:
    libcrypto_without_sm2(tmp_path)
    started = (sys.executable, "-c", SIGN_WITHOUT_SM2_IN_OPENSSL, sdf_uri(sdf, 1, tmp_path))
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    root = Path(__file__).parents[2]
    said = subprocess.run(
        started, env=environment, cwd=root, check=True, capture_output=True, text=True
    ).stdout
    assert said.startswith("64\nthis machine's OpenSSL was built without SM2")


def test_a_library_without_the_sdf_calls_is_refused() -> None:
    with pytest.raises(KeyStoreError, match="it lacks SDF_OpenDevice"):
        open_device("sdf:index=1?module-path=libc.so.6", "SM2")


def test_an_sdf_library_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyStoreError, match="does not load"):
        open_device(f"sdf:index=1?module-path={tmp_path}/absent.so", "SM2")


def test_a_store_keeps_the_record_and_address_of_a_key_in_a_machine(
    sdf: Path, store: KeyStore, tmp_path: Path
) -> None:
    uri = sdf_uri(sdf, 1, tmp_path)
    record = store.adopt(uri, "SM2", "cq", "mark", NOW)
    reopened = KeyStore(tmp_path / "keys", PASSPHRASE)
    assert (record.kid, reopened.list(), reopened.device(record.kid)) == ("cq-mark-202611a", (record,), uri)
    verifier(record).verify(MESSAGE, reopened.signer("mark", "SM2", NOW).sign(MESSAGE))


def test_a_key_of_a_token_is_adopted_and_signs(token: str, store: KeyStore, tmp_path: Path) -> None:
    record = store.adopt(pkcs11_uri(token, "ed25519", tmp_path), "Ed25519", "cq", "log", NOW)
    verifier(record).verify(MESSAGE, store.load(record.kid).sign(MESSAGE))


def test_a_key_with_its_private_part_in_the_store_has_no_machine(store: KeyStore) -> None:
    assert store.device(store.new("Ed25519", "cq", "mark", NOW).kid) is None


def test_a_key_in_a_machine_is_adopted_once(sdf: Path, store: KeyStore, tmp_path: Path) -> None:
    store.adopt(sdf_uri(sdf, 1, tmp_path), "SM2", "cq", "mark", NOW)
    with pytest.raises(KeyStoreError, match="kept already, as cq-mark-202611a"):
        store.adopt(sdf_uri(sdf, 1, tmp_path), "SM2", "cq", "log", NOW)


@pytest.mark.parametrize("index", [2, 3])
def test_a_machine_that_cannot_sign_is_not_adopted(
    sdf: Path, store: KeyStore, tmp_path: Path, index: int
) -> None:
    with pytest.raises(SignatureRefused):
        store.adopt(sdf_uri(sdf, index, tmp_path), "SM2", "cq", "mark", NOW)
    assert store.list() == ()


def test_a_key_in_a_machine_is_retired_without_the_machine(
    sdf: Path, store: KeyStore, tmp_path: Path
) -> None:
    library = tmp_path / "libsdf-elsewhere.so"
    library.write_bytes(sdf.read_bytes())
    record = store.adopt(sdf_uri(library, 1, tmp_path), "SM2", "cq", "mark", NOW)
    library.unlink()
    (tmp_path / "pin").unlink()
    assert store.retire(record.kid, NOW + DAY, "compromised").status == "compromised"


def test_a_machine_that_is_away_is_an_error_of_the_key_store(
    sdf: Path, store: KeyStore, tmp_path: Path
) -> None:
    record = store.adopt(sdf_uri(sdf, 1, tmp_path), "SM2", "cq", "mark", NOW)
    (tmp_path / "pin").unlink()
    with pytest.raises(KeyStoreError, match="cannot be read"):
        store.load(record.kid)


def test_an_address_that_was_changed_in_the_file_is_noticed(
    sdf: Path, store: KeyStore, tmp_path: Path
) -> None:
    record = store.adopt(sdf_uri(sdf, 1, tmp_path), "SM2", "cq", "mark", NOW)
    file = tmp_path / "keys" / f"{record.kid}.json"
    file.write_bytes(file.read_bytes().replace(b"sdf:index=1", b"sdf:index=2"))
    with pytest.raises(KeyStoreError, match="changed"):
        store.load(record.kid)


def test_a_machine_that_holds_another_key_than_the_record_is_refused(sdf: Path, tmp_path: Path) -> None:
    device = open_device(sdf_uri(sdf, 1, tmp_path), "SM2")
    other = Sm2Key.generate().public()
    with pytest.raises(KeyNotValid, match="holds another key"):
        DeviceKey(new_record(other, "SM2", "cq", "mark", NOW), device)


def test_printing_a_key_in_a_machine_shows_its_id_alone(sdf: Path, tmp_path: Path) -> None:
    assert repr(device_key(sdf_uri(sdf, 1, tmp_path), "SM2")) == "DeviceKey(cq-mark-202611a)"
