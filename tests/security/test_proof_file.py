"""The evidence of one decision, and what verifying a tampered one finds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import json
from msgspec.structs import replace

from security import mark, note, proof_file
from security.audit import Pinned
from security.errors import LedgerRefused
from security.ledger import EntryType, Sealed, seal
from security.note import Checkpoint, NoteVerifier
from security.proof_file import Evidence, Piece, verify
from security.tree import Tree, inclusion_proof
from security.trust import sign_key_list
from tests.security.material import (
    CLAIMS,
    DAY,
    LOG_KEY,
    MARK_KEY,
    NOW,
    RESULT_DIGEST,
    ROOT,
    SC_MARK_KEY,
    SC_ROOT,
    envelope,
    fixed_ed25519,
    key_list,
)

ORIGIN = "log.cq.example/exchange/sm3"
CHECK = "c" * 32
PINNED = Pinned(logs=(NoteVerifier.of(ORIGIN, LOG_KEY.public).to_text(),), roots=(ROOT.public,))
MARK = mark.issue(CLAIMS, MARK_KEY)
MARK_ID = CLAIMS.mark_id.hex()
FOREIGN_DIGEST = hashlib.sha256(b"a foreign result").digest()
FOREIGN = mark.issue(
    replace(CLAIMS, issuer="sc", mark_id=bytes(16), digest=FOREIGN_DIGEST, institution="SL-SC-001"),
    SC_MARK_KEY,
)
FOREIGN_ID = bytes(16).hex()


def _seal(type_: EntryType, payload: Any = b"{}", binds: str = "", mark_id: str = "") -> Sealed:
    data = payload if isinstance(payload, bytes) else json.encode(payload)
    time = CLAIMS.issued if type_ == "mark" else NOW
    return seal(type_, data, time=time, from_="cq", to="sc", binds=binds, mark=mark_id)


QUESTION = _seal("question", {"check": CHECK})
ANSWER = _seal("answer", {"node": "cq-his", "bytes": "00"}, QUESTION.entry_id)
MARKED = _seal("mark", MARK, mark_id=MARK_ID)
CITED = [
    {"result": RESULT_DIGEST.hex(), "mark": MARK_ID},
    {"result": FOREIGN_DIGEST.hex(), "mark": FOREIGN_ID},
    {"result": "00" * 32, "mark": ""},
]
VERDICT = _seal("verdict", {"check": CHECK, "verdicts": CITED}, QUESTION.entry_id)
OUTCOME = _seal("outcome", {"check": CHECK}, VERDICT.entry_id)
LEDGER = [_seal("view"), QUESTION, ANSWER, MARKED, VERDICT, _seal("view"), OUTCOME, _seal("view")]
SHOWN = (1, 2, 3, 4, 6)


def _evidence(ledger: list[Sealed] = LEDGER, shown: tuple[int, ...] = SHOWN, **fields: Any) -> Evidence:
    tree = Tree([entry.leaf for entry in ledger], "sm3")
    text = Checkpoint(ORIGIN, tree.size, tree.root()).to_text()
    pieces = tuple(
        Piece(
            index=index,
            body=ledger[index].body.decode(),
            proof=tuple(inclusion_proof(index, tree.size, tree.hash_at, "sm3")),
            salt=ledger[index].salt,
            payload=ledger[index].payload,
        )
        for index in shown
    )
    values: dict[str, Any] = {
        "decision": CHECK,
        "note": note.sign(text, ORIGIN, [LOG_KEY]),
        "keys": (envelope().decode(), sign_key_list(key_list(SC_MARK_KEY, owner="sc"), [SC_ROOT]).decode()),
        "entries": pieces,
        "marks": (mark.to_text(MARK), mark.to_text(FOREIGN)),
    }
    return Evidence(**(values | fields))


EVIDENCE = _evidence()
BOTH = replace(PINNED, others=(Pinned(logs=(), roots=(SC_ROOT.public,)),))


def _failed(evidence: Evidence | bytes, pinned: Pinned = BOTH) -> list[str]:
    data = evidence if isinstance(evidence, bytes) else evidence.to_bytes()
    return [check.name for check in verify(data, pinned).checks if check.state == "failed"]


def _with(place: int, **fields: Any) -> Evidence:
    """The evidence with another piece at a place of its list."""
    pieces = list(EVIDENCE.entries)
    pieces[place] = replace(pieces[place], **fields)
    return replace(EVIDENCE, entries=tuple(pieces))


def test_whole_evidence_passes() -> None:
    report = verify(EVIDENCE.to_bytes(), BOTH)
    assert report.passed, report
    assert [check.state for check in report.checks] == ["passed", "passed", "not_made", *["passed"] * 3]
    assert [check.examined for check in report.checks] == [1, 5, 0, 2, 5, 5]


def test_a_mark_of_a_gateway_whose_root_is_not_pinned_is_named_as_not_verified() -> None:
    marks = verify(EVIDENCE.to_bytes(), PINNED).checks[3]
    assert marks.state == "passed"
    assert marks.en.endswith("signatures not verified, since no root of theirs is pinned: sc")


def test_an_erased_payload_is_counted_and_the_rest_stays_valid() -> None:
    report = verify(_with(1, salt=None, payload=None).to_bytes(), BOTH)
    assert report.passed, report
    assert report.checks[4].en == "4 payloads open their commitments (1 erased)"


def test_a_withdrawal_that_came_later_is_named() -> None:
    ledger = [*LEDGER, _seal("withdrawal", mark_id=MARK_ID)]
    report = verify(_evidence(ledger, (*SHOWN, 8)).to_bytes(), BOTH)
    assert report.passed, report
    assert report.checks[3].en.endswith(f"withdrawn since: {MARK_ID}")


# Each check is broken alone


def test_a_checkpoint_of_a_stranger_fails_the_note() -> None:
    text, _ = note.split(EVIDENCE.note)
    forged = note.sign(text, ORIGIN, [fixed_ed25519("cq", "log", "x")])
    assert _failed(replace(EVIDENCE, note=forged)) == ["NOTE"]


def test_a_log_key_that_was_compromised_fails_the_note() -> None:
    listed = replace(
        key_list(MARK_KEY), keys=(MARK_KEY.public, replace(LOG_KEY.public, status="compromised"))
    )
    keys = (sign_key_list(listed, [ROOT]).decode(), EVIDENCE.keys[1])
    assert _failed(replace(EVIDENCE, keys=keys)) == ["NOTE"]


def test_a_key_list_of_today_tells_what_was_compromised_since() -> None:
    keys = LOG_KEY.public, replace(MARK_KEY.public, status="compromised")
    newer = sign_key_list(replace(key_list(version=2, issued=NOW + 300 * DAY), keys=keys), [ROOT])
    report = verify(EVIDENCE.to_bytes(), BOTH, [newer])
    assert [check.name for check in report.checks if check.state == "failed"] == ["MARKS"]


@pytest.mark.parametrize("given", [b"nonsense", sign_key_list(key_list(version=2), [SC_ROOT])])
def test_a_key_list_of_today_that_no_pinned_root_signed_fails_the_note(given: bytes) -> None:
    assert verify(EVIDENCE.to_bytes(), BOTH, [given]).checks[0].state == "failed"


def test_a_quorum_that_is_not_there_fails_the_note() -> None:
    assert _failed(EVIDENCE, replace(BOTH, required=2)) == ["NOTE"]


@pytest.mark.parametrize(
    "fields",
    [
        {"body": LEDGER[0].body.decode()},
        {"body": "nonsense"},
        {"proof": ()},
        {"proof": (bytes(32),) * 3},
        {"index": 0},
    ],
)
def test_an_entry_that_is_not_under_the_checkpoint_fails_the_inclusion(fields: dict[str, Any]) -> None:
    assert _failed(_with(0, **fields)) == ["REPLAY"]


def test_a_mark_with_another_signature_fails_the_marks() -> None:
    other = mark.to_text(FOREIGN[:-1] + bytes([FOREIGN[-1] ^ 1]))
    assert _failed(replace(EVIDENCE, marks=(EVIDENCE.marks[0], other))) == ["MARKS"]


def test_a_cited_mark_that_is_hidden_fails_the_marks() -> None:
    assert _failed(replace(EVIDENCE, marks=EVIDENCE.marks[:1])) == ["MARKS"]


def test_a_mark_about_another_result_fails_the_marks() -> None:
    cited = [{"result": "11" * 32, "mark": MARK_ID}]
    verdict = _seal("verdict", {"check": CHECK, "verdicts": cited}, QUESTION.entry_id)
    ledger = [*LEDGER[:4], verdict]
    assert _failed(_evidence(ledger, (1, 2, 3, 4))) == ["MARKS"]


def test_a_mark_whose_key_had_ended_fails_the_marks() -> None:
    ended = replace(MARK_KEY.public, status="retired", not_after=CLAIMS.issued - DAY)
    listed = replace(key_list(LOG_KEY, version=2), keys=(LOG_KEY.public, ended))
    keys = (*EVIDENCE.keys, sign_key_list(listed, [ROOT]).decode())
    assert _failed(replace(EVIDENCE, keys=keys)) == ["MARKS"]


def test_another_payload_fails_the_payloads() -> None:
    changed = _with(1, payload=b'{"node": "other"}')
    assert _failed(changed) == ["PAYLOADS"]


@pytest.mark.parametrize("missing", [{"salt": None}, {"payload": None}])
def test_a_payload_without_its_salt_is_not_taken_for_erased(missing: dict[str, Any]) -> None:
    forged = json.encode({"check": CHECK, "verdicts": []})
    assert _failed(_with(3, **({"payload": forged} | missing))) == ["NOTE"]


def test_evidence_without_what_was_decided_fails_the_bindings() -> None:
    assert _failed(_with(3, salt=None, payload=None)) == ["BINDINGS"]


def test_a_mark_dated_back_to_when_its_key_counted_fails_the_marks() -> None:
    late = seal("mark", MARK, time=NOW, from_="cq", to="cq", mark=MARK_ID)
    assert _failed(_evidence([*LEDGER[:3], late, *LEDGER[4:]])) == ["MARKS"]


def test_an_answer_that_is_left_out_fails_the_bindings() -> None:
    report = verify(_evidence(shown=(1, 3, 4)).to_bytes(), BOTH)
    assert [check.name for check in report.checks if check.state == "failed"] == ["BINDINGS"]
    assert report.checks[5].en.startswith("#2: missing")


def test_evidence_of_another_decision_fails_the_bindings() -> None:
    assert _failed(replace(EVIDENCE, decision="d" * 32)) == ["BINDINGS"]


@pytest.mark.parametrize("shown", [(0, 1, 2, 3), (2, 3, 4), (0,)])
def test_evidence_without_question_or_verdict_fails_the_bindings(shown: tuple[int, ...]) -> None:
    assert "BINDINGS" in _failed(_evidence(shown=shown, marks=()))


BAD: dict[str, Callable[[dict[str, Any]], object]] = {
    "another form": lambda value: value.update(format="lianren evidence v9"),
    "no entries": lambda value: value.update(entries=[]),
    "entries out of order": lambda value: value["entries"].reverse(),
    "an entry twice": lambda value: value["entries"].append(value["entries"][-1]),
    "an unknown field": lambda value: value.update(more=1),
    "no note": lambda value: value.pop("note"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_is_not_read_with(case: str) -> None:
    value = json.decode(EVIDENCE.to_bytes())
    BAD[case](value)
    with pytest.raises(LedgerRefused):
        proof_file.read(json.encode(value))


@pytest.mark.parametrize("data", [b"", b"null", b"\xff", b"[" * 5000, b"{}"])
def test_no_bytes_make_the_verification_raise(data: bytes) -> None:
    assert _failed(data) == ["NOTE"]
