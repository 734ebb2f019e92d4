"""What a witness of a log checks before it cosigns."""

from __future__ import annotations

from base64 import b64encode
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from security import note, witness
from security.errors import LedgerRefused, WitnessRefused
from security.note import Checkpoint, NoteVerifier
from security.tree import Tree, consistency_proof, leaf_hash
from security.witness import Held, Submission, examine
from tests.security.material import LOG_KEY, MARK_KEY, NOW, new_key

ORIGIN, SM3_ORIGIN = "log.cq.example/exchange", "log.cq.example/exchange/sm3"
WITNESS = "witness.sc.example"
LOG = NoteVerifier.of(ORIGIN, LOG_KEY.public)
LEAVES = [leaf_hash(str(number).encode(), "sha256") for number in range(300)]
TREE = Tree(LEAVES, "sha256")
OTHER = Tree([leaf_hash(b"another", "sha256"), *LEAVES[1:]], "sha256")


def root(size: int, tree: Tree = TREE) -> bytes:
    return tree.root(size)


def signed(size: int, tree: Tree = TREE) -> str:
    return note.sign(Checkpoint(ORIGIN, size, root(size, tree)).to_text(), ORIGIN, [LOG_KEY])


def shown(old: int, size: int, tree: Tree = TREE) -> Submission:
    proof = consistency_proof(old, size, tree.hash_at, "sha256")
    return Submission(old, tuple(proof), signed(size, tree))


def held(size: int, tree: Tree = TREE) -> Held:
    return Held(size, root(size, tree), signed(size, tree))


def refused(submission: Submission, known: Held | None) -> WitnessRefused:
    with pytest.raises(WitnessRefused) as caught:
        examine(submission, [LOG], known)
    return caught.value


@pytest.mark.parametrize(("old", "size"), [(0, 1), (0, 300), (1, 2), (128, 256), (130, 299), (7, 7), (0, 0)])
def test_a_ledger_that_continues_the_held_one_is_cosigned(old: int, size: int) -> None:
    known = held(old) if old else None
    assert examine(shown(old, size), [LOG], known) == held(size)


def test_a_ledger_of_sm3_is_checked_with_sm3() -> None:
    leaves = [leaf_hash(str(number).encode(), "sm3") for number in range(5)]
    tree = Tree(leaves, "sm3")
    text = Checkpoint(SM3_ORIGIN, 5, tree.root()).to_text()
    submission = Submission(
        3,
        tuple(consistency_proof(3, 5, tree.hash_at, "sm3")),
        note.sign(text, SM3_ORIGIN, [LOG_KEY]),
    )
    verifier = NoteVerifier.of(SM3_ORIGIN, LOG_KEY.public)
    assert examine(submission, [verifier], Held(3, tree.root(3), "")).size == 5


def test_a_log_that_is_not_known_is_refused_with_404() -> None:
    with pytest.raises(WitnessRefused) as caught:
        examine(shown(0, 1), [], None)
    assert caught.value.status == 404


@pytest.mark.parametrize(
    "verifier",
    [NoteVerifier.of(ORIGIN, MARK_KEY.public), NoteVerifier.of("log.sc.example", LOG_KEY.public)],
    ids=["another key", "another name"],
)
def test_a_checkpoint_that_its_log_did_not_sign_is_refused_with_403(verifier: NoteVerifier) -> None:
    with pytest.raises(WitnessRefused) as caught:
        examine(shown(0, 1), [verifier], None)
    assert caught.value.status == 403


def test_a_log_cannot_speak_for_another_that_is_known_too() -> None:
    text = Checkpoint("log.sc.example", 1, root(1)).to_text()
    forged = Submission(0, (), note.sign(text, ORIGIN, [LOG_KEY]))
    assert refused(forged, None).status == 403


def test_an_old_size_beyond_the_checkpoint_is_refused_with_400() -> None:
    assert refused(replace(shown(0, 5), old=6), held(6)).status == 400


@pytest.mark.parametrize("old", [0, 3, 5])
def test_another_old_size_than_the_held_one_is_told_the_held_one(old: int) -> None:
    found = refused(shown(old, 8), held(4))
    assert isinstance(found, witness.Stale)
    assert (found.status, found.size) == (409, 4)


def test_a_smaller_ledger_is_told_the_held_size() -> None:
    found = refused(shown(2, 3), held(4))
    assert isinstance(found, witness.Stale)
    assert found.size == 4


@pytest.mark.parametrize("old", [0, 4])
def test_two_roots_of_one_size_are_a_conflict_with_both_notes(old: int) -> None:
    found = refused(shown(old, 4, OTHER), held(4))
    assert isinstance(found, witness.Conflict)
    assert (found.status, found.held, found.shown) == (409, signed(4), signed(4, OTHER))


@pytest.mark.parametrize(
    "submission",
    [
        shown(4, 9, OTHER),
        replace(shown(4, 9), proof=()),
        replace(shown(4, 9), proof=shown(4, 9).proof[::-1]),
        replace(shown(4, 9), proof=(*shown(4, 9).proof, b"\0" * 32)),
        replace(shown(4, 9), proof=(b"short", *shown(4, 9).proof[1:])),
    ],
    ids=["another ledger", "no proof", "a proof in another order", "a longer proof", "a short hash"],
)
def test_a_proof_that_does_not_hold_is_refused_with_422(submission: Submission) -> None:
    assert refused(submission, held(4)).status == 422


def test_a_proof_from_nothing_is_refused_with_422() -> None:
    assert refused(replace(shown(0, 9), proof=(b"\0" * 32,)), None).status == 422


def test_the_empty_ledger_has_one_root() -> None:
    text = Checkpoint(ORIGIN, 0, b"\1" * 32).to_text()
    assert refused(Submission(0, (), note.sign(text, ORIGIN, [LOG_KEY])), None).status == 422


def test_only_the_signatures_of_the_log_are_held() -> None:
    witnessed = note.cosign(signed(3), WITNESS, [new_key("SM2", "sc", "witness")], NOW)
    submission = replace(shown(0, 3), note=witnessed)
    assert examine(submission, [LOG], None).note == signed(3)


def test_the_request_of_the_specification_is_read() -> None:
    body = (
        "old 20852014\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n"
        "jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n\n"
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"  # noqa: E501
    )
    submission = Submission.from_bytes(body.encode())
    assert (submission.old, len(submission.proof)) == (20852014, 2)
    assert submission.checkpoint.size == 20852163
    assert submission.to_bytes() == body.encode()


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_request_comes_back_from_its_bytes(one: int, other: int) -> None:
    submission = shown(min(one, other), max(one, other))
    assert Submission.from_bytes(submission.to_bytes()) == submission


GOOD = shown(4, 9).to_bytes()
MALFORMED = {
    "nothing": b"",
    "no old size": GOOD.partition(b"\n")[2],
    "an old size with a leading zero": GOOD.replace(b"old 4", b"old 04"),
    "a negative old size": GOOD.replace(b"old 4", b"old -4"),
    "two spaces": GOOD.replace(b"old 4", b"old  4"),
    "an old size beyond 64 bits": GOOD.replace(b"old 4", b"old " + b"9" * 20),
    "a proof that is no base64": GOOD.replace(b"old 4\n", b"old 4\n!!!\n"),
    "64 lines of proof": GOOD.replace(b"old 4\n", b"old 4\n" + (b64encode(b"\0" * 32) + b"\n") * 64),
    "no note": b"old 0\n\n",
    "no empty line": b"old 0\n",
    "no text": b"old 0\n\n\xff\xff",
    "a note that is no checkpoint": b"old 0\n\n" + note.sign("hello\n", ORIGIN, [LOG_KEY]).encode(),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_request_is_refused_with_400(case: str) -> None:
    with pytest.raises(WitnessRefused) as caught:
        examine(Submission.from_bytes(MALFORMED[case]), [LOG], None)
    assert caught.value.status == 400


@given(st.binary(max_size=300))
def test_no_bytes_make_reading_a_request_fail_otherwise(data: bytes) -> None:
    with pytest.raises(WitnessRefused):
        examine(Submission.from_bytes(data), [LOG], None)


def test_of_an_answer_the_lines_by_known_keys_are_taken() -> None:
    known, unknown = new_key("Ed25519", "sc", "witness"), new_key("SM2", "sc", "witness")
    verifiers = [NoteVerifier.of(WITNESS, known.public, cosigns=True)]
    lines = note.cosignatures(signed(3), WITNESS, [unknown, known], NOW)
    assert witness.cosigned(signed(3), "".join(lines), verifiers, NOW) == lines[1:]


@pytest.mark.parametrize(
    "lines",
    [
        "".join(note.cosignatures(signed(4), WITNESS, [new_key("Ed25519", "sc", "witness")], NOW)),
        "".join(note.cosignatures(signed(3), WITNESS, [new_key("SM2", "sc", "witness")], NOW)),
        "",
        "hello\n",
    ],
    ids=["of another checkpoint", "by an unknown key", "nothing", "no signature lines"],
)
def test_an_answer_that_does_not_cosign_the_checkpoint_is_refused(lines: str) -> None:
    verifiers = [NoteVerifier.of(WITNESS, new_key("Ed25519", "sc", "witness").public, cosigns=True)]
    with pytest.raises(LedgerRefused):
        witness.cosigned(signed(3), lines, verifiers, NOW)


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_cosignature_of_another_time_is_refused(minutes: int) -> None:
    key = new_key("Ed25519", "sc", "witness")
    verifiers = [NoteVerifier.of(WITNESS, key.public, cosigns=True)]
    lines = "".join(note.cosignatures(signed(3), WITNESS, [key], NOW + timedelta(minutes=minutes)))
    with pytest.raises(LedgerRefused, match="compare the clocks"):
        witness.cosigned(signed(3), lines, verifiers, NOW)
