"""Key records, the key store, signed key lists."""

from __future__ import annotations

import resource
import stat
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from msgspec import json
from msgspec.structs import replace

from security.errors import KeyListRefused, KeyNotValid, KeyStoreError, UnknownKey
from security.keys import Algorithm, KeyPair, from_base64url, verifier
from security.keystore import KeyStore
from security.trust import KeyList, TrustList, read_key_list, sign_key_list
from tests.security.material import (
    COMPROMISED_KEY,
    DAY,
    LATER_KEY,
    LOG_KEY,
    MARK_KEY,
    NOW,
    RETIRED_KEY,
    ROOT,
    SC_MARK_KEY,
    SC_ROOT,
    SM2_PKCS8,
    envelope,
    fixed_ed25519,
    key_list,
    new_key,
    trust,
)

PASSPHRASE = b"a made-up passphrase"


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "keys", PASSPHRASE)


def test_a_key_id_says_owner_purpose_month_in_china_and_letter() -> None:
    new_year_in_china = NOW.replace(month=12, day=31, hour=17)
    assert KeyPair.generate("Ed25519", "cq", "mark", new_year_in_china).kid == "cq-mark-202701a"


@pytest.mark.parametrize("owner", ["", "CQ", "重庆", "c q", "cq\n", "a" * 17])
def test_an_owner_that_is_no_short_ascii_name_is_refused(owner: str) -> None:
    with pytest.raises(KeyNotValid):
        KeyPair.generate("Ed25519", owner, "mark", NOW)


def test_a_private_part_of_another_public_key_is_refused() -> None:
    with pytest.raises(KeyNotValid, match="another public key"):
        KeyPair(MARK_KEY.public, SC_MARK_KEY.pkcs8)


@pytest.mark.parametrize("algorithm", ["Ed25519", "ES256", "SM2"])
@pytest.mark.parametrize(
    "pkcs8",
    [b"", b"0", SC_MARK_KEY.pkcs8[:-1], new_key("ES256").pkcs8, SM2_PKCS8],
    ids=["empty", "a-digit", "cut", "es256", "sm2"],
)
def test_a_private_part_that_is_not_the_key_s_is_refused(algorithm: Algorithm, pkcs8: bytes) -> None:
    with pytest.raises(KeyNotValid):
        KeyPair(replace(MARK_KEY.public, algorithm=algorithm), pkcs8)


def test_printing_a_key_pair_shows_its_id_alone() -> None:
    assert repr(MARK_KEY) == "KeyPair(cq-mark-202601a)"


@pytest.mark.parametrize("text", ["AA==", "A", "AB", "A A", "+/", "ä"])
def test_base64url_has_one_form(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        from_base64url(text)


@pytest.mark.parametrize("algorithm", ["Ed25519", "ES256", "SM2"])
def test_a_kept_key_signs_after_the_store_is_opened_again(tmp_path: Path, algorithm: Algorithm) -> None:
    made = KeyStore(tmp_path / "keys", PASSPHRASE).new(algorithm, "cq", "mark", NOW)
    signer = KeyStore(tmp_path / "keys", PASSPHRASE).signer("mark", algorithm, NOW)
    verifier(made.public).verify(b"message", signer.sign(b"message"))


def test_the_store_gives_each_key_of_a_month_its_own_letter(store: KeyStore) -> None:
    store.new("Ed25519", "cq", "mark", NOW)
    store.new("ES256", "cq", "mark", NOW)
    assert [key.kid for key in store.list()] == ["cq-mark-202611a", "cq-mark-202611b"]


def test_the_newest_key_signs(store: KeyStore) -> None:
    store.new("Ed25519", "cq", "mark", NOW - 40 * DAY)
    newer = store.new("Ed25519", "cq", "mark", NOW - DAY)
    assert store.signer("mark", "Ed25519", NOW).kid == newer.kid


@pytest.mark.parametrize(
    "wanted", [("log", "Ed25519", NOW), ("mark", "SM2", NOW), ("mark", "Ed25519", NOW - DAY)]
)
def test_no_key_is_offered_for_another_purpose_algorithm_or_time(
    store: KeyStore, wanted: tuple[str, Algorithm, datetime]
) -> None:
    store.new("Ed25519", "cq", "mark", NOW)
    with pytest.raises(KeyStoreError, match=r"no \w+ key for"):
        store.signer(*wanted)


def test_a_retired_key_signs_no_more_and_says_since_when(store: KeyStore) -> None:
    kid = store.new("Ed25519", "cq", "mark", NOW).kid
    record = store.retire(kid, NOW + DAY)
    assert (record.status, record.not_after) == ("retired", NOW + DAY)
    assert store.list() == (record,)
    with pytest.raises(KeyStoreError):
        store.signer("mark", "Ed25519", NOW)


def test_private_keys_are_readable_by_their_owner_alone(store: KeyStore, tmp_path: Path) -> None:
    store.new("Ed25519", "cq", "mark", NOW)
    folder = tmp_path / "keys"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


def test_a_folder_open_to_others_is_refused(store: KeyStore, tmp_path: Path) -> None:
    (tmp_path / "keys").chmod(0o750)
    with pytest.raises(KeyStoreError, match="chmod 0700"):
        KeyStore(tmp_path / "keys", PASSPHRASE)


def test_a_key_file_open_to_others_is_refused(store: KeyStore, tmp_path: Path) -> None:
    kid = store.new("Ed25519", "cq", "mark", NOW).kid
    (tmp_path / "keys" / f"{kid}.json").chmod(0o604)
    with pytest.raises(KeyStoreError, match="chmod 0600"):
        KeyStore(tmp_path / "keys", PASSPHRASE)


def test_another_passphrase_opens_no_key(store: KeyStore, tmp_path: Path) -> None:
    kid = store.new("Ed25519", "cq", "mark", NOW).kid
    with pytest.raises(KeyStoreError, match="passphrase does not open"):
        KeyStore(tmp_path / "keys", b"another").load(kid)


def test_an_empty_passphrase_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyStoreError, match="empty"):
        KeyStore(tmp_path / "keys", b"")


Damage = Callable[[bytes], bytes]
DAMAGES: dict[str, Damage] = {
    "a lengthened validity": lambda data: data.replace(b'"not_after":"2028', b'"not_after":"2099'),
    "another status": lambda data: data.replace(b'"active"', b'"retired"'),
    "half of the file": lambda data: data[: len(data) // 2],
    "an empty file": lambda data: b"",
    "bytes that are no text": lambda data: b"\xff\xfe" + data,
    "another key's id": lambda data: data.replace(b"cq-mark-202611a", b"cq-mark-202611b"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_key_file_is_refused(store: KeyStore, tmp_path: Path, damage: str) -> None:
    kid = store.new("Ed25519", "cq", "mark", NOW).kid
    file = tmp_path / "keys" / f"{kid}.json"
    changed = DAMAGES[damage](file.read_bytes())
    assert changed != file.read_bytes()
    file.write_bytes(changed)
    with pytest.raises(KeyStoreError):
        KeyStore(tmp_path / "keys", PASSPHRASE).load(kid)


@pytest.mark.parametrize("damage", ["another status", "a lengthened validity"])
def test_a_record_that_was_changed_without_the_passphrase_is_not_listed(
    store: KeyStore, tmp_path: Path, damage: str
) -> None:
    file = tmp_path / "keys" / f"{store.new('Ed25519', 'cq', 'mark', NOW).kid}.json"
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    with pytest.raises(KeyStoreError, match="was changed"):
        store.list()


def test_a_key_that_was_laid_there_without_the_passphrase_is_not_listed(tmp_path: Path) -> None:
    """Else the roots would sign a key list with the key of whoever may write into the folder."""
    foreign = KeyStore(tmp_path / "foreign", b"another passphrase").new("Ed25519", "cq", "mark", NOW).kid
    KeyStore(tmp_path / "keys", PASSPHRASE)
    (tmp_path / "foreign" / f"{foreign}.json").rename(tmp_path / "keys" / f"{foreign}.json")
    with pytest.raises(KeyStoreError, match="does not open it"):
        KeyStore(tmp_path / "keys", PASSPHRASE).list()


def test_a_compromised_key_stays_compromised(store: KeyStore) -> None:
    kid = store.new("Ed25519", "cq", "mark", NOW).kid
    store.retire(kid, NOW + DAY, "compromised")
    with pytest.raises(KeyStoreError, match="stays so"):
        store.retire(kid, NOW + DAY)


def test_after_the_passphrase_was_changed_everything_opens_with_the_new_one(
    store: KeyStore, tmp_path: Path
) -> None:
    made = store.new("Ed25519", "cq", "mark", NOW)
    store.new_secret("payload", NOW)
    for passphrase in (b"the second", b"the third"):
        store.change_passphrase(passphrase)
        store = KeyStore(tmp_path / "keys", passphrase)
    verifier(made.public).verify(b"message", store.load(made.kid).sign(b"message"))
    assert [*store.secrets("payload")] == ["payload-202611a"]


def test_after_the_passphrase_was_changed_the_former_one_opens_nothing(
    store: KeyStore, tmp_path: Path
) -> None:
    store.change_passphrase(b"the second")
    with pytest.raises(KeyStoreError, match="does not open it"):
        KeyStore(tmp_path / "keys", PASSPHRASE)


def test_who_has_the_store_open_goes_on_when_the_passphrase_is_changed(
    store: KeyStore, tmp_path: Path
) -> None:
    KeyStore(tmp_path / "keys", PASSPHRASE).change_passphrase(b"the second")
    kid = store.new("Ed25519", "cq", "mark", NOW).kid
    assert KeyStore(tmp_path / "keys", b"the second").load(kid).kid == kid


@pytest.mark.parametrize(("present", "new"), [(b"wrong", b"the second"), (PASSPHRASE, b"")])
def test_a_passphrase_is_changed_by_who_knows_it_and_to_one_that_is(
    store: KeyStore, tmp_path: Path, present: bytes, new: bytes
) -> None:
    kid = store.new("Ed25519", "cq", "mark", NOW).kid
    with pytest.raises(KeyStoreError):
        KeyStore(tmp_path / "keys", present).change_passphrase(new)
    assert KeyStore(tmp_path / "keys", PASSPHRASE).load(kid).kid == kid


def test_a_full_disk_leaves_the_former_passphrase(store: KeyStore, tmp_path: Path) -> None:
    kid = store.new("Ed25519", "cq", "mark", NOW).kid
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, hard))
    try:
        with pytest.raises(KeyStoreError, match="cannot be written"):
            store.change_passphrase(b"the second")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert KeyStore(tmp_path / "keys", PASSPHRASE).load(kid).kid == kid


def test_a_key_id_from_outside_cannot_leave_the_folder(store: KeyStore) -> None:
    with pytest.raises(KeyStoreError, match="no key"):
        store.load("../../etc/passwd")


def test_a_secret_has_32_random_bytes_and_an_id_that_says_purpose_and_month(store: KeyStore) -> None:
    ids = [store.new_secret("payload", NOW), store.new_secret("payload", NOW)]
    assert ids == ["payload-202611a", "payload-202611b"]
    assert [len(secret) for secret in set(store.secrets("payload").values())] == [32, 32]


def test_secrets_are_the_same_after_opening_the_store_again(store: KeyStore, tmp_path: Path) -> None:
    store.new_secret("payload", NOW)
    assert KeyStore(tmp_path / "keys", PASSPHRASE).secrets("payload") == store.secrets("payload")


def test_secrets_of_a_purpose_come_with_the_newest_last(store: KeyStore) -> None:
    for month in (11, 2, 12):
        store.new_secret("payload", NOW.replace(month=month))
    store.new_secret("pseudonym", NOW)
    assert list(store.secrets("payload")) == ["payload-202602a", "payload-202611a", "payload-202612a"]


def test_a_secret_is_nowhere_in_its_file(store: KeyStore, tmp_path: Path) -> None:
    secret_id = store.new_secret("payload", NOW)
    file = tmp_path / "keys" / f"{secret_id}.secret"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secret = store.secrets("payload")[secret_id]
    assert all(form not in file.read_bytes() for form in (secret, secret.hex().encode(), b64encode(secret)))


def test_a_forgotten_secret_is_gone(store: KeyStore) -> None:
    secret_id = store.new_secret("payload", NOW)
    store.forget_secret(secret_id)
    assert store.secrets("payload") == {}
    with pytest.raises(KeyStoreError, match=secret_id):
        store.forget_secret(secret_id)


@pytest.mark.parametrize("secret_id", ["../../etc/passwd", "payload", "salt", "payload-202611a.secret"])
def test_an_id_that_is_no_secret_s_is_refused(store: KeyStore, secret_id: str) -> None:
    with pytest.raises(KeyStoreError, match="not an id of a secret"):
        store.forget_secret(secret_id)


@pytest.mark.parametrize("purpose", ["", "Payload", "../payload", "pay-load"])
def test_a_secret_s_purpose_is_a_short_ascii_name(store: KeyStore, purpose: str) -> None:
    with pytest.raises(KeyStoreError):
        store.new_secret(purpose, NOW)


def test_another_passphrase_opens_no_secret(store: KeyStore, tmp_path: Path) -> None:
    store.new_secret("payload", NOW)
    with pytest.raises(KeyStoreError, match="passphrase does not open"):
        KeyStore(tmp_path / "keys", b"another").secrets("payload")


def test_a_secret_that_takes_another_s_place_is_refused(store: KeyStore, tmp_path: Path) -> None:
    first, second = (tmp_path / "keys" / f"{store.new_secret('payload', NOW)}.secret" for _ in range(2))
    second.write_bytes(first.read_bytes())
    with pytest.raises(KeyStoreError, match="changed"):
        store.secrets("payload")


def test_a_secret_s_file_open_to_others_is_refused(store: KeyStore, tmp_path: Path) -> None:
    file = tmp_path / "keys" / f"{store.new_secret('payload', NOW)}.secret"
    file.chmod(0o640)
    with pytest.raises(KeyStoreError, match="chmod 0600"):
        KeyStore(tmp_path / "keys", PASSPHRASE)


def test_replicas_that_make_secrets_at_once_share_no_id(store: KeyStore, tmp_path: Path) -> None:
    stores = [KeyStore(tmp_path / "keys", PASSPHRASE) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        ids = list(threads.map(lambda number: stores[number % 4].new_secret("payload", NOW), range(20)))
    assert sorted(ids) == list(store.secrets("payload"))
    assert len(set(ids)) == 20


def test_the_27th_secret_of_a_month_is_refused(store: KeyStore) -> None:
    for _ in range(26):
        store.new_secret("payload", NOW)
    with pytest.raises(KeyStoreError, match="26 secrets"):
        store.new_secret("payload", NOW)


def test_a_draft_that_a_killed_process_left_does_no_harm(store: KeyStore, tmp_path: Path) -> None:
    kid = store.new("Ed25519", "cq", "mark", NOW).kid
    (tmp_path / "keys" / ".cq-mark-202611b.json.0a1b2c3d").write_bytes(b'{"public"')
    reopened = KeyStore(tmp_path / "keys", PASSPHRASE)
    assert [key.kid for key in reopened.list()] == [kid]
    assert reopened.new("Ed25519", "cq", "mark", NOW).kid == "cq-mark-202611b"


def test_a_full_disk_leaves_the_store_as_it_was(store: KeyStore, tmp_path: Path) -> None:
    kid = store.new("Ed25519", "cq", "mark", NOW).kid
    before = sorted((tmp_path / "keys").iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, hard))
    try:
        for write in (lambda: store.new_secret("payload", NOW), lambda: store.retire(kid, NOW)):
            with pytest.raises(KeyStoreError, match="cannot be written"):
                write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted((tmp_path / "keys").iterdir()) == before
    assert store.load(kid).public.status == "active"


def _raw_pseudonym_key(tmp_path: Path, key: bytes) -> Path:
    file = tmp_path / "keys" / "pseudonym.key"
    file.write_bytes(key)
    file.chmod(0o600)
    return file


def test_the_bare_pseudonym_key_of_version_0_2_is_sealed_under_its_epoch(
    store: KeyStore, tmp_path: Path
) -> None:
    file = _raw_pseudonym_key(tmp_path, bytes(range(32)))
    assert store.secrets("pseudonym") == {"pseudonym-2026a": bytes(range(32))}
    assert not file.exists()


def test_the_epoch_of_version_0_2_is_older_than_every_other(store: KeyStore, tmp_path: Path) -> None:
    _raw_pseudonym_key(tmp_path, bytes(32))
    store.new_secret("pseudonym", NOW)
    assert list(store.secrets("pseudonym")) == ["pseudonym-2026a", "pseudonym-202611a"]


def test_a_bare_pseudonym_key_that_was_taken_over_before_may_lie_there_again(
    store: KeyStore, tmp_path: Path
) -> None:
    for _ in range(2):
        _raw_pseudonym_key(tmp_path, bytes(range(32)))
        assert store.secrets("pseudonym") == {"pseudonym-2026a": bytes(range(32))}


def test_a_bare_pseudonym_key_never_replaces_another(store: KeyStore, tmp_path: Path) -> None:
    _raw_pseudonym_key(tmp_path, bytes(32))
    store.secrets("pseudonym")
    file = _raw_pseudonym_key(tmp_path, bytes(range(32)))
    with pytest.raises(KeyStoreError, match="another key"):
        store.secrets("pseudonym")
    assert file.exists()


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_bare_pseudonym_key_of_another_length_is_refused(
    store: KeyStore, tmp_path: Path, size: int
) -> None:
    _raw_pseudonym_key(tmp_path, bytes(size))
    with pytest.raises(KeyStoreError, match="damaged"):
        store.secrets("pseudonym")


def test_a_trusted_key_is_found_for_its_purpose_and_time() -> None:
    assert trust().key(MARK_KEY.kid, NOW, "mark") == MARK_KEY.public


def test_a_retired_key_still_verifies_what_it_signed_before() -> None:
    assert trust().key(RETIRED_KEY.kid, NOW - 11 * DAY, "mark").status == "retired"


REFUSALS = {
    "was retired": (RETIRED_KEY, NOW, "mark"),
    "compromised": (COMPROMISED_KEY, NOW - 100 * DAY, "mark"),
    "counts from": (LATER_KEY, NOW, "mark"),
    "expired": (MARK_KEY, MARK_KEY.public.not_after, "mark"),
    "is for 'log'": (LOG_KEY, NOW, "mark"),
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_key_that_does_not_count_is_refused_with_the_reason(reason: str) -> None:
    key, at, purpose = REFUSALS[reason]
    with pytest.raises(KeyNotValid, match=reason):
        trust().key(key.kid, at, purpose)


def test_an_unknown_key_is_refused_naming_the_lists_held() -> None:
    with pytest.raises(UnknownKey, match="cq, sc"):
        trust().key("hb-mark-202601a", NOW, "mark")


def test_a_key_list_is_the_same_bytes_each_time() -> None:
    assert sign_key_list(key_list(MARK_KEY), [ROOT]) == sign_key_list(key_list(MARK_KEY), [ROOT])


def test_a_key_list_signed_by_both_roots_is_read_when_both_are_pinned() -> None:
    sm2_root = new_key("SM2", purpose="root")
    signed = sign_key_list(key_list(MARK_KEY, issued=NOW), [ROOT, sm2_root])
    assert read_key_list(signed, [ROOT.public, sm2_root.public]) == key_list(MARK_KEY, issued=NOW)


def test_a_key_list_that_one_pinned_root_did_not_sign_is_refused() -> None:
    sm2_root = new_key("SM2", purpose="root")
    with pytest.raises(KeyListRefused, match="not signed by its pinned root"):
        read_key_list(envelope(), [ROOT.public, sm2_root.public])


BAD_LISTS: dict[str, Callable[[], bytes]] = {
    "not a signed key list": lambda: b"{",
    "is pinned": lambda: sign_key_list(key_list(owner="hb"), [ROOT]),
    "not signed by": lambda: sign_key_list(key_list(MARK_KEY), [SC_ROOT]),
    "does not verify": lambda: envelope().replace(b'\\"version\\":1', b'\\"version\\":2'),
    "not canonical": lambda: json.encode(
        {"payload": json.encode(key_list()).decode(), "signatures": [{"kid": ROOT.kid, "signature": "AB"}]}
    ),
    "not its own": lambda: sign_key_list(key_list(SC_MARK_KEY), [ROOT]),
    "roots are pinned only": lambda: sign_key_list(key_list(fixed_ed25519("cq", "root", "b")), [ROOT]),
    "twice": lambda: sign_key_list(key_list(MARK_KEY, MARK_KEY), [ROOT]),
    "not an Ed25519 public key": lambda: sign_key_list(
        replace(key_list(), keys=(replace(MARK_KEY.public, public="AAAA"),)), [ROOT]
    ),
    "counts from": lambda: sign_key_list(key_list(issued=NOW - 1000 * DAY), [ROOT]),
}


@pytest.mark.parametrize("reason", BAD_LISTS)
def test_a_bad_key_list_is_refused_with_the_reason(reason: str) -> None:
    with pytest.raises(KeyListRefused, match=reason):
        read_key_list(BAD_LISTS[reason](), [ROOT.public])


def _held(lists: KeyList) -> TrustList:
    return TrustList([ROOT.public], [lists])


def test_a_newer_key_list_replaces_the_held_one_in_a_new_value() -> None:
    held = _held(key_list(MARK_KEY, version=1))
    newer = held.add(sign_key_list(key_list(LOG_KEY, version=2), [ROOT]), NOW)
    assert newer.lists["cq"].version == 2
    assert held.lists["cq"].version == 1


def test_the_same_key_list_may_come_again() -> None:
    held = _held(key_list(MARK_KEY))
    assert held.add(sign_key_list(key_list(MARK_KEY), [ROOT]), NOW).lists == held.lists


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_or_forked_key_list_is_refused(version: int) -> None:
    held = _held(key_list(MARK_KEY, version=2))
    with pytest.raises(KeyListRefused, match="versions only grow"):
        held.add(sign_key_list(key_list(LOG_KEY, version=version), [ROOT]), NOW)


def test_an_expired_key_list_is_refused() -> None:
    with pytest.raises(KeyListRefused, match="expired"):
        TrustList([ROOT.public]).add(envelope(), NOW + timedelta(days=30))
