"""Machines for tests: a PKCS#11 token by SoftHSM, an SDF library made by gcc, an OpenSSL without SM2."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from security._sm2_libcrypto import library as loaded_libcrypto

SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")
TOKEN, TOKEN_PIN, SDF_PIN = "lianren", "1234", "12345678"
CURVES = {
    "p256": "06082a8648ce3d030107",
    "sm2curve": "06082a811ccf5501822d",
    "ed25519": "130c656477617264733235353139",
}
"""Label of each key of the token, and its CKA_EC_PARAMS."""


def pin_file(folder: Path, pin: str) -> Path:
    """A file that holds a PIN."""
    file = folder / "pin"
    file.write_text(pin + "\n")
    file.chmod(0o600)
    return file


def softhsm_token(folder: Path) -> None:
    """Make SoftHSM hold one token with a key for each curve, for the rest of this process."""
    if not SOFTHSM.exists() or not shutil.which("softhsm2-util"):
        pytest.skip("SoftHSM is not installed (Debian: softhsm2)")
    pkcs11 = pytest.importorskip("pkcs11")
    (folder / "tokens").mkdir()
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    initialise = ("softhsm2-util", "--init-token", "--free", "--so-pin", "00000000")
    subprocess.run((*initialise, "--label", TOKEN, "--pin", TOKEN_PIN), check=True, capture_output=True)
    library = pkcs11.lib(str(SOFTHSM))
    library.reinitialize()  # another test of this process may have used another folder
    attribute, kinds = pkcs11.Attribute, pkcs11.KeyType
    with library.get_token(token_label=TOKEN).open(rw=True, user_pin=TOKEN_PIN) as session:
        for label, curve in CURVES.items():
            kind = kinds.EC_EDWARDS if label == "ed25519" else kinds.EC
            session.create_domain_parameters(
                kind, {attribute.EC_PARAMS: bytes.fromhex(curve)}, local=True
            ).generate_keypair(store=True, label=label, id=label.encode())


def sdf_library(folder: Path) -> Path:
    """The shared library of sdf_machine.c."""
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed, so no SDF library can be made")
    library = folder / "libsdf.so"
    source = Path(__file__).with_name("sdf_machine.c")
    built = subprocess.run(
        ("gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-l:libcrypto.so.3"),
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        pytest.skip(f"this machine has no OpenSSL 3 to link the SDF library with: {built.stderr[-200:]}")
    return library


def libcrypto_without_sm2(folder: Path) -> Path:
    """A copy of the system's libcrypto with SM2 unnamed; LD_LIBRARY_PATH makes a process take it."""
    loaded_libcrypto()
    maps = Path("/proc/self/maps").read_text()
    loaded = Path(next(line.split()[-1] for line in maps.splitlines() if "/libcrypto.so" in line))
    names, others = b"SM2:1.2.156.10197.1.301", b"SMX:1.2.156.10197.1.999"
    built = loaded.read_bytes()
    assert names in built, "OpenSSL's default provider names SM2 in another way"
    library = folder / loaded.name
    library.write_bytes(built.replace(names, others))
    return library
