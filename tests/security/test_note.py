"""Signed notes, checkpoints and tiles against published vectors."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from security import note, tiles
from security.digests import sha256
from security.errors import Check, LedgerRefused
from security.keys import Algorithm, raw_verifier
from security.note import Checkpoint, NoteVerifier
from security.tree import Tree, leaf_hash
from tests.security.material import LOG_KEY, MARK_KEY, NOW, SM2_PUBLIC, conformance, new_key

ORIGIN = "log.cq.example/exchange"
VKEY = "log.cq.example/exchange+0bb9a770+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea"
ED25519 = NoteVerifier.from_text(VKEY)
SM2 = NoteVerifier(ORIGIN, "SM2", SM2_PUBLIC)
# Made and verified by independent tools
NOTE = (
    "log.cq.example/exchange\n1\nQHZrIDNCkCb1PVRQJnmoOXBrR0H43K86i7pfQbX/4HU=\n\n"
    "— log.cq.example/exchange "
    "C7mncLGmMBGHhLftDMFeoebUsPWY1WVCEG9XsrI6yLX1Qgbp0GogDnIpyrtn+OVy0JPQf+kMNaBzktLQjzh75VEBrw0=\n"
    "— log.cq.example/exchange "
    "0d28X52OK6ihvmAkG5O4IKL4HtI1UggG3eC9Ge9Q/x4FMVjOCbidM85d7iIyKbu1gWB30zehZSuGwktBNowu0sSu8Zk=\n"
)
CHECKPOINT = Checkpoint(ORIGIN, 1, leaf_hash(b"entry-0", "sha256"))


def test_a_note_made_elsewhere_verifies_by_both_keys() -> None:
    verified = note.verify_checkpoint(NOTE, [ED25519, SM2])
    assert verified.checkpoint == CHECKPOINT
    assert verified.signed_by == (ED25519, SM2)


def test_key_ids_and_verifier_keys_are_the_known_ones() -> None:
    assert SM2.key_id.hex() == "d1ddbc5f"
    assert ED25519.to_text() == VKEY
    assert NoteVerifier.from_text(SM2.to_text()) == SM2


def test_a_signature_of_an_unknown_key_is_ignored() -> None:
    assert note.verify(NOTE, [SM2]).signed_by == (SM2,)


def test_too_few_signatures_are_refused() -> None:
    other = NoteVerifier.of("witness.sc.example", MARK_KEY.public)
    with pytest.raises(
        LedgerRefused, match="1 of the trusted names signed the note, 3 are required"
    ) as refusal:
        note.verify(NOTE, [ED25519, SM2, other], required=3)
    assert refusal.value.check is Check.NOTE


def test_requiring_no_signature_still_requires_one() -> None:
    with pytest.raises(LedgerRefused):
        note.verify(NOTE, [], required=0)


def test_of_two_lines_by_one_key_the_first_counts() -> None:
    first = NOTE.splitlines()[4]
    second = first[:-8] + "AAAAAAA="
    assert note.verify(f"{NOTE}{second}\n", [ED25519]).signed_by == (ED25519,)


def test_one_log_cannot_speak_for_another() -> None:
    other = "log.sc.example/exchange"
    forged = note.sign(CHECKPOINT.to_text(), other, [MARK_KEY])
    trusted = [ED25519, NoteVerifier.of(other, MARK_KEY.public)]
    with pytest.raises(LedgerRefused, match="not signed by that log"):
        note.verify_checkpoint(forged, trusted)


WITNESS = "witness.sc.example"
SIGNED = note.sign(CHECKPOINT.to_text(), ORIGIN, [LOG_KEY])
LOG = NoteVerifier.of(ORIGIN, LOG_KEY.public)


@pytest.mark.parametrize("algorithm", ["Ed25519", "SM2"])
def test_a_witness_adds_its_signature_and_the_time(algorithm: Algorithm) -> None:
    key = new_key(algorithm, "sc", "witness")
    keys = [LOG, NoteVerifier.of(WITNESS, key.public, cosigns=True)]
    verified = note.verify_checkpoint(note.cosign(SIGNED, WITNESS, [key], NOW), keys, required=2)
    assert (verified.signed_by, verified.times) == (tuple(keys), (None, NOW))


def test_the_cosignature_of_the_specification_verifies() -> None:
    """The example of C2SP tlog-cosignature; its key is not told, so the key id stands for it."""
    line = (
        "— witness.example.com/w1 "
        "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA=="
    )
    _, ((_, _, signature),) = note.split(f"example.com/behind-the-sofa\n1\nx\n\n{line}\n")
    assert len(signature) == 8 + 64
    assert int.from_bytes(signature[:8], "big") == 1679315147


def test_a_cosignature_is_made_of_the_lines_that_the_specification_says() -> None:
    key = new_key("Ed25519", "sc", "witness")
    (line,) = note.cosignatures(SIGNED, WITNESS, [key], NOW)
    signed = b64decode(line.split(" ")[2])
    text = f"cosignature/v1\ntime {int(NOW.timestamp())}\n{CHECKPOINT.to_text()}"
    raw_verifier("Ed25519", key.public.raw).verify(text.encode(), signed[12:])
    assert signed[:4] == sha256(f"{WITNESS}\n\x04".encode() + key.public.raw)[:4]


@pytest.mark.parametrize("algorithm", ["Ed25519", "SM2"])
def test_the_verifier_key_of_a_witness_comes_back_from_its_text(algorithm: Algorithm) -> None:
    verifier = NoteVerifier.of(WITNESS, new_key(algorithm, "sc", "witness").public, cosigns=True)
    assert NoteVerifier.from_text(verifier.to_text()) == verifier


def test_the_key_of_a_witness_has_another_id_than_as_the_key_of_a_log() -> None:
    key = new_key("SM2", "sc", "witness").public
    assert NoteVerifier.of(WITNESS, key).key_id != NoteVerifier.of(WITNESS, key, cosigns=True).key_id


def test_a_cosignature_of_another_time_does_not_verify() -> None:
    key = new_key("Ed25519", "sc", "witness")
    (line,) = note.cosignatures(SIGNED, WITNESS, [key], NOW)
    raw = bytearray(b64decode(line.split(" ")[2]))
    raw[11] ^= 1
    forged = f"{SIGNED}— {WITNESS} {b64encode(raw).decode()}\n"
    with pytest.raises(LedgerRefused, match="does not verify"):
        note.verify(forged, [LOG, NoteVerifier.of(WITNESS, key.public, cosigns=True)])


@pytest.mark.parametrize("size", [1, 8, 71, 73])
def test_a_cosignature_of_another_length_does_not_verify(size: int) -> None:
    verifier = NoteVerifier.of(WITNESS, new_key("Ed25519", "sc", "witness").public, cosigns=True)
    line = f"— {WITNESS} {b64encode(verifier.key_id + bytes(size)).decode()}\n"
    with pytest.raises(LedgerRefused, match="does not verify"):
        note.verify(SIGNED + line, [LOG, verifier])


def test_a_cosignature_counts_for_no_log() -> None:
    signed = note.cosign(SIGNED, ORIGIN, [LOG_KEY], NOW).replace(SIGNED.splitlines()[-1] + "\n", "")
    with pytest.raises(LedgerRefused):
        note.verify_checkpoint(signed, [LOG])


def test_a_log_that_signs_with_two_keys_is_one_of_those_required() -> None:
    keys = [LOG_KEY, new_key("SM2", "cq", "log")]
    verifiers = [NoteVerifier.of(ORIGIN, key.public) for key in keys]
    signed = note.sign(CHECKPOINT.to_text(), ORIGIN, keys)
    with pytest.raises(LedgerRefused, match="1 of the trusted names"):
        note.verify(signed, verifiers, required=2)


def test_a_witness_that_signs_with_two_keys_is_one_of_those_required() -> None:
    keys = [new_key("Ed25519", "sc", "witness"), new_key("SM2", "sc", "witness")]
    verifiers = [LOG, *(NoteVerifier.of(WITNESS, key.public, cosigns=True) for key in keys)]
    verified = note.verify(note.cosign(SIGNED, WITNESS, keys, NOW), verifiers, required=2)
    assert (len(verified.signed_by), verified.names) == (3, (ORIGIN, WITNESS))


def test_es256_signs_no_notes() -> None:
    with pytest.raises(LedgerRefused, match="ES256"):
        note.sign(CHECKPOINT.to_text(), ORIGIN, [new_key("ES256")])


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\nb"])
def test_a_name_unfit_for_notes_is_refused(name: str) -> None:
    with pytest.raises(LedgerRefused):
        note.sign("text\n", name, [LOG_KEY])


@pytest.mark.parametrize("text", ["no newline", "a control\x01 character\n", "a half surrogate \ud800\n"])
def test_text_unfit_for_notes_is_not_signed(text: str) -> None:
    with pytest.raises((LedgerRefused, UnicodeEncodeError)):
        note.sign(text, ORIGIN, [LOG_KEY])


def test_the_conformance_notes_are_judged_right() -> None:
    vectors = conformance("tlog/shared/signed-note.json")
    for v in vectors["open"]:
        trusted = [NoteVerifier.from_text(vectors["verifiers"][name]) for name in v["trust"]]
        try:
            note.verify(b64decode(v["msg_b64"]), trusted)
            accepted = True
        except LedgerRefused:
            accepted = False
        assert accepted == (v["expect"] == "ok"), v["name"]


def test_the_conformance_bad_verifier_keys_are_refused() -> None:
    for text in conformance("tlog/shared/signed-note.json")["bad_verifier_keys"]:
        with pytest.raises(LedgerRefused):
            NoteVerifier.from_text(text)


BAD_CHECKPOINTS = {
    "no root": "origin\n1\n",
    "no newline at the end": "origin\n1\nQHZrIDNCkCb1PVRQJnmoOXBrR0H43K86i7pfQbX/4HU=",
    "an empty origin": "\n1\nQHZrIDNCkCb1PVRQJnmoOXBrR0H43K86i7pfQbX/4HU=\n",
    "a size with a leading zero": "origin\n01\nQHZrIDNCkCb1PVRQJnmoOXBrR0H43K86i7pfQbX/4HU=\n",
    "a negative size": "origin\n-1\nQHZrIDNCkCb1PVRQJnmoOXBrR0H43K86i7pfQbX/4HU=\n",
    "a size in other digits": "origin\n１\nQHZrIDNCkCb1PVRQJnmoOXBrR0H43K86i7pfQbX/4HU=\n",
    "a size beyond 64 bits": f"origin\n{10**20}\nQHZrIDNCkCb1PVRQJnmoOXBrR0H43K86i7pfQbX/4HU=\n",
    "a root of 31 bytes": "origin\n1\nQHZrIDNCkCb1PVRQJnmoOXBrR0H43K86i7pfQbX/4A==\n",
    "a root not in base64": "origin\n1\n!!!!IDNCkCb1PVRQJnmoOXBrR0H43K86i7pfQbX/4HU=\n",
    "a root with stray bits": "origin\n1\nQHZrIDNCkCb1PVRQJnmoOXBrR0H43K86i7pfQbX/4HV=\n",
    "an empty line": "origin\n1\nQHZrIDNCkCb1PVRQJnmoOXBrR0H43K86i7pfQbX/4HU=\n\n",
    "nothing": "",
}


@pytest.mark.parametrize("case", BAD_CHECKPOINTS)
def test_a_checkpoint_is_refused_with(case: str) -> None:
    with pytest.raises(LedgerRefused):
        Checkpoint.from_text(BAD_CHECKPOINTS[case])


@given(
    origin=st.from_regex(r"[a-z./]{1,20}", fullmatch=True),
    size=st.integers(0, 10**18),
    root=st.binary(min_size=32, max_size=32),
)
def test_a_checkpoint_comes_back_from_its_text(origin: str, size: int, root: bytes) -> None:
    checkpoint = Checkpoint(origin, size, root)
    assert Checkpoint.from_text(checkpoint.to_text()) == checkpoint


def test_extension_lines_are_kept() -> None:
    text = CHECKPOINT.to_text() + "an extension\n"
    assert Checkpoint.from_text(text).to_text() == text


@given(data=st.binary(max_size=200))
def test_no_bytes_make_reading_a_note_fail_otherwise(data: bytes) -> None:
    with pytest.raises(LedgerRefused):
        note.verify(data, [ED25519])


@given(text=st.text(max_size=60))
def test_no_text_makes_reading_a_verifier_key_or_path_fail_otherwise(text: str) -> None:
    with pytest.raises(LedgerRefused):
        NoteVerifier.from_text(text)
    with pytest.raises(LedgerRefused):
        tiles.parse_path(text)


def test_the_origin_says_the_hash() -> None:
    assert Checkpoint("log.cq.example/exchange/sm3", 0, bytes(32)).hash_name == "sm3"
    assert CHECKPOINT.hash_name == "sha256"


def test_paths_are_those_of_the_specification() -> None:
    assert tiles.tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert tiles.tile_path(1, 0, 5) == "tile/1/000.p/5"
    assert tiles.entries_path(1000, 255) == "tile/entries/x001/000.p/255"


@given(level=st.integers(0, 7), index=st.integers(0, 10**9), width=st.integers(1, 256))
def test_a_path_is_read_back(level: int, index: int, width: int) -> None:
    assert tiles.parse_path(tiles.tile_path(level, index, width)) == (level, index, width)
    assert tiles.parse_path(tiles.entries_path(index, width)) == (None, index, width)


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/0",
        "tile/0/x000/001",
        "tile/00/000",
        "tile/0/001/002",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/999",
        "tile/0/../../etc/passwd",
        "tile/0/000\n",
        "/tile/0/000",
        "tile/-1/000",
        "tile/0/٠٠٠",
    ],
)
def test_another_path_is_refused(path: str) -> None:
    with pytest.raises(LedgerRefused):
        tiles.parse_path(path)


@given(size=st.integers(0, 70_000))
def test_the_tiles_of_a_tree_hold_each_complete_subtree_of_their_level_once(size: int) -> None:
    by_level: dict[int, int] = {}
    for level, _, width in tiles.tiles_of(size):
        by_level[level] = by_level.get(level, 0) + width
    assert by_level == {level: size >> 8 * level for level in range(3) if size >> 8 * level}


def test_a_tile_of_a_higher_level_holds_the_roots_of_those_below() -> None:
    tree = Tree((sha256(b"%d" % index) for index in range(600)), "sha256")
    assert tiles.tile_bytes(tree.hash_at, 1, 0, 2) == tree.root(256) + tree.hash_at(8, 1)


@given(entries=st.lists(st.binary(max_size=300), max_size=20))
def test_a_bundle_gives_its_entries_back(entries: list[bytes]) -> None:
    assert tiles.decode_entries(tiles.encode_entries(entries)) == entries


def test_an_entry_has_at_most_65535_bytes() -> None:
    assert tiles.decode_entries(tiles.encode_entries([bytes(65_535)])) == [bytes(65_535)]
    with pytest.raises(LedgerRefused, match="65536 bytes"):
        tiles.encode_entries([bytes(65_536)])


@pytest.mark.parametrize("bundle", [b"\0", b"\0\1", b"\0\2a", b"\0\1a\0", b"\0\0" * 257])
def test_a_bundle_that_is_cut_or_too_long_is_refused(bundle: bytes) -> None:
    with pytest.raises(LedgerRefused):
        tiles.decode_entries(bundle)


@given(bundle=st.binary(max_size=300))
def test_a_bundle_that_is_read_is_the_one_encoding(bundle: bytes) -> None:
    try:
        entries = tiles.decode_entries(bundle)
    except LedgerRefused:
        return
    assert tiles.encode_entries(entries) == bundle
