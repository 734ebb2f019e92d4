"""A gateway whose crypto machines sign: checkpoints in SoftHSM, marks in a library with the SDF interface."""

from __future__ import annotations

import asyncio
import ctypes
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.demo.people import BY_KEY
from gateway.keyring import LEAD, Signers, make_keys, open_keys
from gateway.wiring import origin_of
from security.errors import KeyStoreError
from security.keys import PublicKey
from security.mark import read as read_mark
from security.note import NoteVerifier, verify
from tests.gateway.live import CLIENTS, NODE, OWN, Live, ask, audit, body, settings_for, source_of, started
from tests.security.machines import SDF_PIN, SOFTHSM, TOKEN, TOKEN_PIN, pin_file, sdf_library, softhsm_token


@pytest.fixture(scope="module")
def sdf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sdf_library(tmp_path_factory.mktemp("sdf"))


@pytest.fixture(scope="module")
def live(sdf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway that signs checkpoints by a token (and by SM2 from a file), and marks by an SDF machine."""
    folder = tmp_path_factory.mktemp("gateway")
    softhsm_token(tmp_path_factory.mktemp("softhsm"))
    token_pin = pin_file(tmp_path_factory.mktemp("token"), TOKEN_PIN)
    sdf_pin = pin_file(tmp_path_factory.mktemp("machine"), SDF_PIN)
    tokens = {name: secrets.token_urlsafe(16) for name in CLIENTS}
    with source_of(folder) as (url, _):
        node = {
            "id": NODE,
            "kind": "fhir",
            "url": url,
            "institution": OWN,
            "further_institutions": ["EX-CQ-02"],
        }
        settings = settings_for(folder, tokens, [node], mark_algorithm="SM2")
        make_keys(settings)
        keys, now = open_keys(settings), datetime.now(UTC)
        for key in keys.list():
            if (key.purpose, key.algorithm) in (("log", "Ed25519"), ("mark", "SM2")):
                keys.retire(key.kid, now)
        keys.adopt(
            f"pkcs11:token={TOKEN};object=ed25519?module-path={SOFTHSM}&pin-source=file:{token_pin}",
            "Ed25519",
            "cq",
            "log",
            now,
        )
        keys.adopt(f"sdf:index=1?module-path={sdf}&pin-source=file:{sdf_pin}", "SM2", "cq", "mark", now)
        with started(settings, tokens) as running:
            yield running


@contextmanager
def sdf_away(sdf: Path) -> Iterator[None]:
    """The SDF machine does not answer."""
    away = ctypes.c_int.in_dll(ctypes.CDLL(str(sdf)), "away")
    away.value = 1
    try:
        yield
    finally:
        away.value = 0


@contextmanager
def token_pulled() -> Iterator[None]:
    """SoftHSM has no token."""
    import pkcs11

    library = pkcs11.lib(str(SOFTHSM))
    tokens = Path(os.environ["SOFTHSM2_CONF"]).with_name("tokens")
    away = tokens.rename(tokens.with_name("pulled"))
    tokens.mkdir()
    library.reinitialize()
    try:
        yield
    finally:
        tokens.rmdir()
        away.rename(tokens)
        library.reinitialize()


def signing(live: Live, purpose: str, algorithm: str) -> PublicKey:
    """The key of a purpose that is in a machine."""
    keys = open_keys(live.settings)
    (key,) = (
        key
        for key in keys.list()
        if (key.purpose, key.algorithm, key.status) == (purpose, algorithm, "active")
    )
    assert keys.device(key.kid)
    return key


def refused(live: Live, asked: dict[str, Any]) -> str:
    """The code of the refusal of a check."""
    answer = live.client().post("/api/v1/checks", json=asked)
    assert answer.status_code == 503, answer.text
    return str(answer.json()["code"])


def test_the_mark_of_an_answer_is_signed_in_the_machine(live: Live) -> None:
    mark = ask(live.client(), body()).verdicts[0].mark
    assert mark is not None
    assert mark.state == "valid"
    assert read_mark(mark.signed).kid == signing(live, "mark", "SM2").kid


def test_the_checkpoint_is_signed_in_the_token(live: Live) -> None:
    note = live.client().get("/ledger/checkpoint").text
    origin = origin_of(live.settings)
    assert verify(note, [NoteVerifier.of(origin, signing(live, "log", "Ed25519"))]).names == (origin,)


def test_without_the_machine_of_the_marks_a_check_that_needs_one_is_refused(
    live: Live, sdf: Path, tmp_path: Path
) -> None:
    asked = body(patient=BY_KEY["geng"].number)
    with sdf_away(sdf):
        assert refused(live, asked) == "evidence-unavailable"
    assert ask(live.client(), asked).verdicts[0].mark is not None
    assert audit(live, tmp_path / "export") == []


def test_without_the_token_of_the_ledger_every_check_is_refused_and_nothing_is_lost(
    live: Live, tmp_path: Path
) -> None:
    asked = body()
    with token_pulled():
        assert refused(live, asked) == "evidence-unavailable"
    ask(live.client(), asked)
    assert audit(live, tmp_path / "export") == []


def test_while_a_machine_is_away_the_theft_of_another_key_is_heard_of(
    live: Live, sdf: Path, tmp_path: Path
) -> None:
    keys = open_keys(settings_for(tmp_path, live.tokens, []))
    now = datetime.now(UTC)
    former, stolen = keys.new("SM2", "cq", "mark", now), keys.new("Ed25519", "cq", "mark", now)
    signers, heard = Signers(keys), list[bool]()
    machine, file = signers.of("mark", "SM2"), signers.of("mark", "Ed25519")
    signers.watch(lambda: heard.append(True))
    pin = pin_file(tmp_path, SDF_PIN)
    keys.adopt(f"sdf:index=1?module-path={sdf}&pin-source=file:{pin}", "SM2", "cq", "mark", now - 2 * LEAD)
    keys.retire(stolen.kid, now, "compromised")
    with sdf_away(sdf), pytest.raises(KeyStoreError, match="sdf:index=1"):
        asyncio.run(signers.follow())
    assert heard
    assert machine.kid == former.kid
    with pytest.raises(KeyStoreError, match="counts now"):
        file.sign(b"something")
