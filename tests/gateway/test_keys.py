"""The life of the gateway's keys: made, turned, ended, and taken up by a gateway that runs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.demo.people import BY_KEY
from gateway.errors import SettingsError
from gateway.keyring import GRACE, LEAD, NEEDED, Signers, make_keys, open_envelope, open_keys, rotate
from security import mark
from security.errors import KeyStoreError
from security.keys import PublicKey, verifier
from security.keystore import KeyStore
from tests.gateway.live import Live, ask, audit, body, gateway_over_source
from tests.gateway.publishing import Done, config_of, lianren, until
from tests.gateway.test_keeper import settings_of

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    """The keys of a new gateway, with a mark key that is a month old."""
    settings = settings_of(tmp_path)
    store = open_keys(settings)
    for key in store.list():
        if key.purpose == "mark":
            store.retire(key.kid, NOW - DAY, "compromised")
    store.new("Ed25519", "cq", "mark", NOW - 30 * DAY)
    return store


def marking(keys: KeyStore) -> PublicKey:
    """The only mark key of Ed25519 that counts."""
    wanted = ("mark", "Ed25519", "active")
    (key,) = (key for key in keys.list() if (key.purpose, key.algorithm, key.status) == wanted)
    return key


def test_a_passphrase_that_every_user_may_read_is_refused(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    (tmp_path / "passphrase").chmod(0o604)
    with pytest.raises(SettingsError, match="chmod o="):
        open_keys(settings)


# which key signs


def test_making_keys_makes_what_is_missing_and_no_more(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    keys = open_keys(settings)
    assert {(key.purpose, key.algorithm) for key in keys.list()} == set(NEEDED)
    assert [len(keys.secrets(purpose)) for purpose in ("payload", "pseudonym")] == [1, 1]
    assert make_keys(settings) == []


def test_a_key_that_has_expired_is_made_anew(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    keys = open_keys(settings)
    keys.retire(marking(keys).kid, NOW, "compromised")
    keys.new("Ed25519", "cq", "mark", NOW - 3 * DAY, validity=DAY)
    assert [(key.purpose, key.algorithm) for key in make_keys(settings)] == [("mark", "Ed25519")]


def test_a_signer_signs_with_the_key_that_it_names(keys: KeyStore) -> None:
    signer = Signers(keys).of("mark", "Ed25519")
    assert (signer.kid, signer.algorithm) == (marking(keys).kid, "Ed25519")
    verifier(signer.public).verify(b"something", signer.sign(b"something"))


def test_a_purpose_without_a_key_is_refused_at_the_start(keys: KeyStore) -> None:
    with pytest.raises(KeyStoreError, match="lianren keys new"):
        Signers(keys).of("mark", "SM2")


def test_a_turned_key_signs_until_everybody_can_know_the_new_one(keys: KeyStore) -> None:
    former = marking(keys)
    signers = Signers(keys)
    signer = signers.of("mark", "Ed25519")
    rotate(keys, "cq", "mark", datetime.now(UTC), 7 * DAY)
    assert asyncio.run(signers.follow())
    assert signer.kid == former.kid
    assert signer.public.status == "retired"


def test_a_new_key_signs_once_it_has_been_listed_for_long_enough(keys: KeyStore) -> None:
    (new,) = rotate(keys, "cq", "mark", datetime.now(UTC) - LEAD, 7 * DAY)
    assert Signers(keys).of("mark", "Ed25519").kid == new.kid


def test_without_an_overlap_the_new_key_signs_at_once(keys: KeyStore) -> None:
    signers = Signers(keys)
    signer = signers.of("mark", "Ed25519")
    (new,) = rotate(keys, "cq", "mark", datetime.now(UTC), timedelta(0))
    asyncio.run(signers.follow())
    assert signer.kid == new.kid


def test_a_new_key_signs_at_once_though_an_earlier_one_still_counts(keys: KeyStore) -> None:
    rotate(keys, "cq", "mark", datetime.now(UTC), 7 * DAY)
    (new,) = rotate(keys, "cq", "mark", datetime.now(UTC), GRACE)
    assert Signers(keys).of("mark", "Ed25519").kid == new.kid


def test_of_new_keys_alone_the_one_that_was_listed_first_signs(tmp_path: Path) -> None:
    keys = open_keys(settings_of(tmp_path))
    first = marking(keys)
    rotate(keys, "cq", "mark", datetime.now(UTC), 7 * DAY)
    assert Signers(keys).of("mark", "Ed25519").kid == first.kid


def test_a_key_that_ends_soon_signs_no_more_while_it_still_counts(keys: KeyStore) -> None:
    signers = Signers(keys)
    signer = signers.of("mark", "Ed25519")
    former = signer.kid
    (new,) = rotate(keys, "cq", "mark", datetime.now(UTC), GRACE)
    asyncio.run(signers.follow())
    assert signer.kid == new.kid
    next(key for key in keys.list() if key.kid == former).check(datetime.now(UTC), "mark")


def test_a_compromised_key_signs_nothing_more(keys: KeyStore) -> None:
    signers = Signers(keys)
    signer = signers.of("mark", "Ed25519")
    keys.retire(signer.kid, datetime.now(UTC), "compromised")
    asyncio.run(signers.follow())
    with pytest.raises(KeyStoreError, match="no Ed25519 key for 'mark' counts now"):
        signer.sign(b"something")


def test_what_was_taken_out_for_signing_stays_one_key(keys: KeyStore) -> None:
    signers = Signers(keys)
    each = signers.each("mark", "Ed25519")
    held = next(iter(each))
    (new,) = rotate(keys, "cq", "mark", datetime.now(UTC), timedelta(0))
    asyncio.run(signers.follow())
    assert (held.kid, [signer.kid for signer in each]) != (new.kid, [new.kid])
    assert [signer.kid for signer in each] == [new.kid]


def test_while_the_folder_is_open_to_others_the_held_key_signs_on(keys: KeyStore, tmp_path: Path) -> None:
    signers = Signers(keys)
    signer = signers.of("mark", "Ed25519")
    file = tmp_path / "data/keys" / f"{signer.kid}.json"
    file.chmod(0o644)
    with pytest.raises(KeyStoreError, match="chmod 0600"):
        asyncio.run(signers.follow())
    assert signer.sign(b"something")


def test_who_watches_hears_of_a_new_secret_once(keys: KeyStore) -> None:
    signers = Signers(keys)
    heard: list[int] = []
    signers.watch(lambda: heard.append(1))
    asyncio.run(signers.follow())
    keys.new_secret("payload", NOW)
    assert [asyncio.run(signers.follow()) for _ in range(2)] == [True, False]
    assert heard == [1]


def test_there_is_nothing_to_turn_for_an_unknown_purpose(keys: KeyStore) -> None:
    with pytest.raises(KeyStoreError, match="no active key for 'nothing'"):
        rotate(keys, "cq", "nothing", NOW, DAY)


# the commands, beside a gateway that runs


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with gateway_over_source(tmp_path_factory.mktemp("running")) as live:
        yield live


@pytest.fixture
def config(running: Live, tmp_path: Path) -> Path:
    return config_of(running, tmp_path)


def done(config: Path, *words: str) -> Done:
    """``keys …`` that succeeds."""
    finished = lianren("keys", *words, "-c", config)
    assert finished.status == 0, finished.out
    return finished


def listed(config: Path) -> dict[str, Any]:
    """Key id → its record, as ``keys list`` tells machines."""
    return {key["kid"]: key for key in json.loads(done(config, "list", "--json").out)}


def kid_of(live: Live, person: str) -> str:
    """The key that signed the mark of a person's platelet count."""
    (verdict,) = ask(live.client(), body("血小板计数", patient=BY_KEY[person].number)).verdicts
    assert verdict.mark is not None
    return mark.read(verdict.mark.signed).kid


def test_the_list_says_where_each_private_key_is(config: Path) -> None:
    lines = done(config, "list").out.splitlines()
    assert all(line.endswith("  file") for line in lines)
    assert {line.split()[0] for line in lines} == listed(config).keys()


def test_the_secrets_are_listed_by_their_ids_alone(config: Path) -> None:
    told = json.loads(done(config, "secrets", "--json").out)
    assert [len(told["payload"]), len(told["pseudonym"])] == [1, 1]
    assert done(config, "secrets").out.split() == [
        *(told["payload"] + ["current"]),
        *(told["pseudonym"] + ["current"]),
    ]


def test_a_turned_key_marks_without_a_restart_and_is_served(running: Live, config: Path) -> None:
    former = kid_of(running, "ji")
    new = done(config, "rotate", "mark", "--at-once").out.split()[0]
    until(lambda: new in running.client().get("/trust/keys").text)
    assert kid_of(running, "jie") == new
    assert kid_of(running, "ji") == former  # what it signed stays valid, so the mark is used again
    assert listed(config)[former]["status"] == "retired"


def test_every_change_of_the_keys_is_in_the_ledger_and_an_audit_holds(
    running: Live, config: Path, tmp_path: Path
) -> None:
    before = running.kept()[0]
    done(config, "rotate", "log", "--at-once")
    until(lambda: running.kept()[0] > before)
    ask(running.client(), body())
    assert audit(running, tmp_path / "audit") == []


def test_a_new_key_payloads_are_sealed_by_is_taken_up(running: Live, config: Path) -> None:
    answer = ask(running.client(), body())
    before = open_envelope(running.settings, open_keys(running.settings))
    out = done(config, "rotate", "payload").out
    assert "sealed anew" in out
    again = running.client().get(f"/api/v1/checks/{answer.id}")
    assert again.status_code == 200
    assert repr(before) not in repr(open_envelope(running.settings, open_keys(running.settings)))


@pytest.mark.slow
def test_a_former_payload_key_is_deleted_only_when_nothing_needs_it(running: Live, config: Path) -> None:
    former = json.loads(done(config, "secrets", "--json").out)["payload"][-1]
    assert lianren("keys", "retire", former, "-c", config).status == 2  # the current one
    open_keys(running.settings).new_secret("payload", datetime.now(UTC))
    refused = lianren("keys", "retire", former, "-c", config)
    assert refused.status == 1
    assert "--resume" in refused.out
    time.sleep(1.5)  # until the gateway seals under the new one
    done(config, "rotate", "payload", "--resume")
    assert "deleted" in done(config, "retire", former).out
    assert ask(running.client(), body()).verdicts


def test_a_key_that_is_retired_by_hand_is_shown_with_its_end(running: Live, config: Path) -> None:
    kid = next(kid for kid, key in listed(config).items() if (key["purpose"]) == "witness")
    assert "retired" in done(config, "retire", kid).out
    assert listed(config)[kid]["status"] == "retired"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["rotate", "nothing"], "no active key for 'nothing'"),
        (["retire", "cq-mark-190001a"], "no key cq-mark-190001a"),
        (["compromise", "../passphrase"], "no key"),
        (["adopt", "sdf:index=1", "--purpose", "mark", "--algorithm", "RSA"], "the algorithm RSA"),
        (["adopt", "sdf:index=1", "--purpose", "cooking", "--algorithm", "SM2"], "no purpose cooking"),
        (["adopt", "sdf:index=1", "--purpose", "mark", "--algorithm", "SM2"], "module-path"),
    ],
)
def test_what_cannot_be_done_is_one_line(config: Path, words: list[str], told: str) -> None:
    refused = lianren("keys", *words, "-c", config)
    assert refused.status == 2
    assert told in refused.out
    assert "\n" not in refused.out.strip()


def test_pseudonyms_that_an_objection_lies_under_keep_their_secret(running: Live, config: Path) -> None:
    patient = {"type": "resident-id", "value": BY_KEY["bing"].number}
    said = running.client().post("/api/v1/consents", json={"patient": patient, "decision": "deny"})
    assert said.status_code == 200, said.text
    former = json.loads(done(config, "secrets", "--json").out)["pseudonym"][-1]
    done(config, "rotate", "pseudonym")
    refused = lianren("keys", "retire", former, "-c", config)
    assert refused.status == 1
    assert "1 statements of patients" in refused.out
    path = f"/api/v1/consents/{said.json()['id']}/revocation"
    assert running.client().post(path, json={"patient": patient}).status_code == 200
    assert "deleted" in done(config, "retire", former).out


def test_a_changed_passphrase_opens_the_keys_from_then_on(
    running: Live, config: Path, tmp_path: Path
) -> None:
    new = tmp_path / "passphrase"
    new.write_bytes(b"another passphrase of a test")
    new.chmod(0o604)
    refused = lianren("keys", "passphrase", new, "-c", config)
    assert (refused.status, "chmod o=" in refused.out) == (2, True)
    new.chmod(0o600)
    assert str(new) in done(config, "passphrase", str(new)).out
    assert "does not open it" in lianren("keys", "list", "-c", config).out
    assert ask(running.client(), body()).verdicts
    running.settings.key_passphrase_file.write_bytes(new.read_bytes())  # type: ignore[union-attr]
    assert done(config, "list").out


def test_new_roots_are_announced_to_be_handed_over(running: Live, config: Path) -> None:
    before = running.client().get("/trust/keys").text
    out = done(config, "rotate", "root").out
    assert "lianren keys show --root" in out
    new = out.split()[0]
    until(lambda: running.client().get("/trust/keys").text != before)
    assert new in running.client().get("/trust/keys").text


def test_marks_of_a_compromised_key_are_made_again_by_the_new_one(running: Live, config: Path) -> None:
    stolen = kid_of(running, "mao")
    out = done(config, "compromise", stolen).out
    new = [word for word in out.split() if word.startswith("cq-mark-")][-1]
    until(lambda: new in running.client().get("/trust/keys").text)
    assert listed(config)[stolen]["status"] == "compromised"
    assert kid_of(running, "mao") == new
