"""Two exports against each other: what one gateway logged as received, the other logged as sent."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import json
from msgspec.structs import replace

from security import export, note
from security.audit import AuditReport, Pinned, verify_export
from security.export import Disclosure, write_export
from security.http_signature import SignedAnswer, sign_answer, verify_answer
from security.keys import KeyPair, PublicKey
from security.ledger import EntryType, Sealed, read_entry, seal
from security.note import Checkpoint, NoteVerifier
from security.tree import Frontier
from security.trust import sign_key_list
from tests.security.material import LOG_KEY, NOW, ROOT, SC_ROOT, fixed_ed25519, key_list

CQ, SC = "cq.example/exchange", "sc.example/exchange"
SC_LOG, SC_PEER = fixed_ed25519("sc", "log"), fixed_ed25519("sc", "peer")
SC_PINNED = Pinned(logs=(NoteVerifier.of(SC, SC_LOG.public).to_text(),), roots=(SC_ROOT.public,))
PINNED = Pinned(
    logs=(NoteVerifier.of(CQ, LOG_KEY.public).to_text(),), roots=(ROOT.public,), others=(SC_PINNED,)
)
LISTS = {
    CQ: sign_key_list(key_list(LOG_KEY), [ROOT]),
    SC: sign_key_list(key_list(SC_LOG, SC_PEER, owner="sc"), [SC_ROOT]),
}
HOUR = timedelta(hours=1)


def _seal(
    type_: EntryType, payload: dict[str, Any], binds: str = "", time: datetime = NOW, owner: str = "cq"
) -> Sealed:
    return seal(
        type_, json.encode(payload), time=time, from_=owner, to="other", binds=binds, hash_name="sha256"
    )


def _signed(answer: bytes) -> SignedAnswer:
    """Sichuan's signature of an answer, as Chongqing keeps it."""

    def key_of(_kid: str, _at: datetime) -> PublicKey:
        return SC_PEER.public

    return verify_answer(b"question", sign_answer(b"question", answer, SC_PEER, NOW), answer, key_of, NOW)


def received(*answers: bytes, signed: SignedAnswer | None = None, time: datetime = NOW) -> list[Sealed]:
    """What Chongqing logged: a question, and answers of Sichuan to it."""
    question = _seal("question", {}, time=time)
    entries = [question]
    for answer in answers:
        kept = signed or _signed(answer)
        payload = {"node": "sc", "bytes": hashlib.sha256(answer).hexdigest(), "signed": kept}
        entries.append(_seal("answer", payload, question.entry_id, time))
    return entries


def sent(*answers: bytes) -> list[Sealed]:
    """What Sichuan logged: questions and its answers, and something an hour later."""
    question = _seal("question", {}, owner="sc")
    entries = [question]
    for answer in answers:
        payload = {"bytes": hashlib.sha256(answer).hexdigest()}
        entries.append(_seal("answer", payload, question.entry_id, owner="sc"))
    return [*entries, _seal("view", {}, time=NOW + HOUR, owner="sc")]


def exported(folder: Path, entries: list[Sealed], origin: str, key: KeyPair, held: bool = True) -> Path:
    listed = seal(
        "keys", LISTS[origin], time=read_entry(entries[-1].body).time, from_="x", to="x", hash_name="sha256"
    )
    entries = [*entries, listed]
    frontier = Frontier().extend((entry.leaf for entry in entries), "sha256")
    text = Checkpoint(origin, frontier.size, frontier.root("sha256")).to_text()
    secrets = [Disclosure(index, entry.salt, entry.payload) for index, entry in enumerate(entries) if held]
    write_export(
        folder,
        [entry.body for entry in entries],
        note.sign(text, origin, [key]),
        key_lists=LISTS.values(),
        secrets=secrets,
        disclose=True,
    )
    return folder


def _crossed(
    tmp_path: Path, ours: list[Sealed], theirs: list[Sealed], *, held: bool = True, pins: Pinned = PINNED
) -> AuditReport:
    own = exported(tmp_path / "cq", ours, CQ, LOG_KEY)
    other = exported(tmp_path / "sc", theirs, SC, SC_LOG, held)
    return verify_export(own, pins, other=other)


def _failed(report: AuditReport) -> list[str]:
    return [check.name for check in report.checks if check.state == "failed"]


def test_two_exports_that_agree_pass(tmp_path: Path) -> None:
    report = _crossed(tmp_path, received(b"one", b"two"), sent(b"one", b"two"))
    assert report.passed, report
    assert report.checks[5].en.endswith("cq, sc: 2 answers, both logged")


def test_the_answers_that_the_other_gateway_signed_are_counted(tmp_path: Path) -> None:
    report = _crossed(tmp_path, received(b"one"), sent(b"one"))
    assert report.checks[4].en.endswith("1 answers signed by the answerer")


def test_an_answer_that_was_received_and_not_logged_as_sent_fails_the_bindings_alone(tmp_path: Path) -> None:
    report = _crossed(tmp_path, received(b"one", b"two"), sent(b"one"))
    assert _failed(report) == ["BINDINGS"]
    assert report.checks[5].en.startswith("cq #2: cq logged it as received from sc")


def test_an_answer_that_was_sent_and_never_arrived_is_no_fault(tmp_path: Path) -> None:
    assert _crossed(tmp_path, received(b"one"), sent(b"one", b"lost")).passed


def test_an_export_that_ends_earlier_is_not_blamed_for_what_came_later(tmp_path: Path) -> None:
    later = [*received(b"one"), *received(b"new", time=NOW + HOUR)]
    assert _crossed(tmp_path, later, sent(b"one")).passed


def test_an_export_that_discloses_nothing_is_not_blamed(tmp_path: Path) -> None:
    assert _crossed(tmp_path, received(b"one"), sent(b"one"), held=False).passed


def test_a_signature_of_another_answer_fails_the_payloads_alone(tmp_path: Path) -> None:
    report = _crossed(tmp_path, received(b"changed", signed=_signed(b"one")), sent(b"one"))
    assert "PAYLOADS" in _failed(report)
    assert "another answer" in report.checks[4].en


def test_a_forged_signature_of_an_answer_fails_the_payloads(tmp_path: Path) -> None:
    forged = _signed(b"one")
    other = SignedAnswer(
        question=forged.question,
        answer=hashlib.sha256(b"two").hexdigest(),
        kid=forged.kid,
        created=forged.created,
        signature=forged.signature,
    )
    report = _crossed(tmp_path, received(b"two", signed=other), sent(b"two"))
    assert _failed(report)[0] == "PAYLOADS"


def test_another_export_that_does_not_pass_itself_fails_the_bindings(tmp_path: Path) -> None:
    ours = exported(tmp_path / "cq", received(b"one"), CQ, LOG_KEY)
    theirs = exported(tmp_path / "sc", sent(b"one"), SC, SC_LOG)
    (theirs / export.CHECKPOINT).unlink()
    report = verify_export(ours, PINNED, other=theirs)
    assert _failed(report) == ["BINDINGS"]
    assert "the other export does not pass" in report.checks[5].en


@pytest.mark.parametrize("roots", [(ROOT.public,), ()])
def test_without_the_roots_of_both_nothing_is_crossed(tmp_path: Path, roots: tuple[PublicKey, ...]) -> None:
    pins = replace(PINNED, roots=roots, others=(replace(SC_PINNED, roots=()),))
    report = _crossed(tmp_path, received(b"one"), sent(b"one"), pins=pins)
    assert report.checks[5].en.endswith("pins with the roots of both")


def test_an_export_beside_itself_is_not_crossed(tmp_path: Path) -> None:
    own = exported(tmp_path / "cq", received(b"one"), CQ, LOG_KEY)
    assert _failed(verify_export(own, PINNED, other=own)) == ["BINDINGS"]
