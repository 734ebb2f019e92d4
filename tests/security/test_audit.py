"""The ledger's entries, exports, and what an audit finds in a tampered one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json
from msgspec.structs import replace

from security import export, ledger, mark, note
from security.audit import AuditReport, Pinned, verify_export
from security.digests import HashName
from security.errors import Check, LedgerRefused
from security.export import Disclosure, MarkClaim, write_export
from security.ledger import EntryType, Sealed, opens, read_entry, seal
from security.note import Checkpoint, NoteVerifier
from security.tree import Frontier, root_of
from security.trust import sign_key_list
from tests.security.material import (
    CLAIMS,
    LOG_KEY,
    MARK_KEY,
    NOW,
    ROOT,
    envelope,
    fixed_ed25519,
    key_list,
    new_key,
)

ORIGIN = "log.cq.example/exchange/sm3"
MARK_ID = CLAIMS.mark_id.hex()
PINNED = Pinned(logs=(NoteVerifier.of(ORIGIN, LOG_KEY.public).to_text(),), roots=(ROOT.public,))
MARK_TEXT = mark.to_text(mark.issue(CLAIMS, MARK_KEY))


def _seal(type_: EntryType, payload: bytes = b"{}", binds: str = "", mark_id: str = "") -> Sealed:
    return seal(type_, payload, time=NOW, from_="cq", to="sc", scheme="CHUANYU", binds=binds, mark=mark_id)


def _exchange(count: int = 100) -> list[Sealed]:
    """Questions with answer, verdict and outcome; a mark at index 4 · count."""
    entries = []
    for number in range(count):
        question = _seal("question", b'{"question":%d}' % number)
        answer = _seal("answer", binds=question.entry_id)
        verdict = _seal("verdict", binds=answer.entry_id)
        entries += [question, answer, verdict, _seal("outcome", binds=verdict.entry_id)]
    return [*entries, _seal("mark", mark_id=MARK_ID), _seal("view")]


ENTRIES = _exchange()
MARK_INDEX = 400


def _note(entries: list[Sealed], origin: str = ORIGIN) -> str:
    frontier, _ = ledger.extend(Frontier(), entries, "sm3")
    return note.sign(
        Checkpoint(origin, frontier.size, frontier.root("sm3")).to_text(), origin, [LOG_KEY, new_key("SM2")]
    )


def _export(folder: Path, entries: list[Sealed] = ENTRIES) -> Path:
    write_export(
        folder,
        [entry.body for entry in entries],
        _note(entries),
        key_lists=[envelope()],
        marks=[MarkClaim(MARK_TEXT, MARK_INDEX)],
        secrets=[Disclosure(index, entries[index].salt, entries[index].payload) for index in (0, 4, 8)],
    )
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _export(tmp_path_factory.mktemp("export"))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "export"))


def _failed(report: AuditReport) -> list[str]:
    return [check.name for check in report.checks if not check.passed]


def test_a_whole_export_passes_all_six_checks(whole: Path) -> None:
    report = verify_export(whole, PINNED, _note(ENTRIES[:123]))
    assert report.passed, report
    assert [(check.number, check.name, check.examined) for check in report.checks] == [
        (1, "NOTE", 1),
        (2, "REPLAY", 402),
        (3, "CONSISTENCY", 1),
        (4, "MARKS", 1),
        (5, "PAYLOADS", 3),
        (6, "BINDINGS", 402),
    ]
    assert (report.origin, report.size) == (ORIGIN, 402)


def test_every_check_says_what_it_did_in_both_languages(whole: Path) -> None:
    for check in verify_export(whole, PINNED).checks:
        assert check.en.isascii()
        assert any("一" <= character <= "鿿" for character in check.zh)


def test_an_export_needs_no_marks_or_secrets(folder: Path) -> None:
    for name in (export.KEYS, export.MARKS, export.SECRETS):
        (folder / name).unlink()
    assert verify_export(folder, PINNED).passed


def test_an_empty_ledger_passes(tmp_path: Path) -> None:
    write_export(tmp_path, [], _note([]))
    assert verify_export(tmp_path, PINNED, _note([])).passed


# The five tamperings


def test_an_entry_with_a_flipped_byte_fails_the_replay(folder: Path) -> None:
    _flip(folder / "tile/entries/000", 5000)
    assert _failed(verify_export(folder, PINNED))[0] == "REPLAY"


def test_an_entry_removed_from_the_end_fails_the_replay(folder: Path) -> None:
    bundle = folder / "tile/entries/001.p/146"
    bundle.write_bytes(bundle.read_bytes()[: -2 - len(ENTRIES[-1].body)])
    assert _failed(verify_export(folder, PINNED))[0] == "REPLAY"


def test_a_root_rewritten_and_signed_by_an_unknown_key_fails_the_note(folder: Path) -> None:
    stranger = fixed_ed25519("cq", "log", "x")
    forged = note.sign(Checkpoint(ORIGIN, 402, bytes(32)).to_text(), ORIGIN, [stranger])
    (folder / "checkpoint").write_text(forged, encoding="utf-8")
    assert _failed(verify_export(folder, PINNED))[:2] == ["NOTE", "REPLAY"]


def test_an_altered_payload_fails_the_payloads_alone(folder: Path) -> None:
    _replace_lines(folder / export.SECRETS, lambda line: line | {"payload": "e30="}, 1)
    report = verify_export(folder, PINNED)
    assert _failed(report) == ["PAYLOADS"]
    assert report.checks[4].en.startswith("#4: ")


def test_an_altered_mark_fails_the_marks_alone(folder: Path) -> None:
    other = mark.to_text(mark.issue(CLAIMS, MARK_KEY).replace(b"CHUANYU", b"QUANGUO"))
    _replace_lines(folder / export.MARKS, lambda line: line | {"mark": other}, 0)
    report = verify_export(folder, PINNED)
    assert _failed(report) == ["MARKS"]
    assert "signature" in report.checks[3].en


def test_a_mark_withdrawn_later_fails_the_marks_alone(tmp_path: Path) -> None:
    report = verify_export(_export(tmp_path, [*ENTRIES, _seal("withdrawal", mark_id=MARK_ID)]), PINNED)
    assert _failed(report) == ["MARKS"]
    assert "withdrawn by entry #402" in report.checks[3].en


# Further tamperings


def test_a_rewritten_history_signed_by_the_log_itself_fails_the_consistency_alone(tmp_path: Path) -> None:
    earlier = _note([*ENTRIES[:-1], _seal("view")])
    assert _failed(verify_export(_export(tmp_path), PINNED, earlier)) == ["CONSISTENCY"]


def test_a_ledger_set_back_fails_the_consistency(tmp_path: Path) -> None:
    report = verify_export(_export(tmp_path), PINNED, _note([*ENTRIES, _seal("view")]))
    assert _failed(report) == ["CONSISTENCY"]


def test_an_earlier_note_of_another_log_fails_the_consistency(whole: Path) -> None:
    pinned = replace(PINNED, logs=(*PINNED.logs, NoteVerifier.of("log.sc.example", LOG_KEY.public).to_text()))
    assert _failed(verify_export(whole, pinned, _note(ENTRIES, "log.sc.example"))) == ["CONSISTENCY"]


@pytest.mark.parametrize("tile", ["tile/0/000", "tile/0/001.p/146", "tile/1/000.p/1"])
def test_a_tile_that_differs_fails_the_replay_and_is_named(folder: Path, tile: str) -> None:
    _flip(folder / tile, 3)
    report = verify_export(folder, PINNED)
    assert _failed(report)[0] == "REPLAY"
    assert report.checks[1].en.startswith(tile)


def test_too_few_of_the_required_signatures_fail_the_note(whole: Path) -> None:
    assert _failed(verify_export(whole, replace(PINNED, required=2))) == ["NOTE"]


def test_both_signatures_of_the_log_can_be_required(whole: Path) -> None:
    both = replace(
        PINNED, logs=(*PINNED.logs, NoteVerifier.of(ORIGIN, new_key("SM2").public).to_text()), required=2
    )
    assert verify_export(whole, both).passed


def test_a_mark_claimed_at_another_entry_fails_the_marks(folder: Path) -> None:
    for index in (399, 402, -1, 2**70):
        line = json.encode({"mark": MARK_TEXT, "index": index})
        (folder / export.MARKS).write_bytes(line)
        assert _failed(verify_export(folder, PINNED)) == ["MARKS"]


def test_a_mark_whose_key_list_no_pinned_root_signed_fails_the_marks(folder: Path) -> None:
    stranger = fixed_ed25519("cq", "root", "x")
    (folder / export.KEYS).write_bytes(b"[" + sign_key_list(key_list(MARK_KEY), [stranger]) + b"]")
    report = verify_export(folder, PINNED)
    assert _failed(report) == ["MARKS"]
    assert "not signed by its pinned root" in report.checks[3].en


def test_the_newest_key_list_of_an_owner_counts(folder: Path) -> None:
    compromised = replace(
        key_list(MARK_KEY, version=2), keys=(replace(MARK_KEY.public, status="compromised"),)
    )
    newer = sign_key_list(compromised, [ROOT])
    (folder / export.KEYS).write_bytes(b"[" + newer + b"," + envelope() + b"]")
    report = verify_export(folder, PINNED)
    assert _failed(report) == ["MARKS"]
    assert "compromised" in report.checks[3].en


QUESTION, VIEW = _seal("question"), _seal("view")
# What is wrong, and the index at which the audit must find it
UNBOUND: dict[str, tuple[int, list[Sealed]]] = {
    "an answer without its question": (0, [_seal("answer")]),
    "a verdict without its question": (1, [QUESTION, _seal("verdict")]),
    "an outcome without its verdict": (0, [_seal("outcome")]),
    "an answer to a view": (1, [VIEW, _seal("answer", binds=VIEW.entry_id)]),
    "an answer before its question": (0, [_seal("answer", binds=QUESTION.entry_id), QUESTION]),
    "a binding to nothing": (1, [QUESTION, _seal("view", binds="0" * 64)]),
    "the same entry twice": (1, [QUESTION, QUESTION]),
}


@pytest.mark.parametrize("case", UNBOUND)
def test_the_bindings_fail_for(case: str, tmp_path: Path) -> None:
    at, entries = UNBOUND[case]
    write_export(tmp_path, [entry.body for entry in entries], _note(entries))
    report = verify_export(tmp_path, PINNED)
    assert _failed(report) == ["BINDINGS"]
    assert report.checks[5].en.startswith(f"#{at}: ")


BAD_BYTES = [b"", b"\n", b"\xff\xfe", b"null", b"[1]", b'{"index":0}', b"[" * 5000, b"\0" * 100]


@pytest.mark.parametrize("content", BAD_BYTES)
@pytest.mark.parametrize(
    "name", ["checkpoint", "keys.json", "marks.jsonl", "secrets.jsonl", "tile/0/000", "tile/entries/000"]
)
def test_no_content_of_a_file_makes_an_audit_raise(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    assert len(verify_export(folder, PINNED).checks) == 6


@pytest.mark.parametrize("name", ["checkpoint", "keys.json", "marks.jsonl", "secrets.jsonl", "tile/0/000"])
def test_a_folder_in_place_of_a_file_is_a_failed_check(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()
    assert not verify_export(folder, PINNED).passed


def test_an_absent_export_fails_from_the_first_check_on(tmp_path: Path) -> None:
    assert (
        len(_failed(verify_export(tmp_path / "nothing", PINNED))) == 6 - 1
    )  # no earlier note to compare with


def test_a_malformed_pinned_key_fails_the_note(whole: Path) -> None:
    assert _failed(verify_export(whole, replace(PINNED, logs=("nonsense",)))) == ["NOTE"]


def test_an_absurd_size_in_an_unsigned_checkpoint_is_a_failed_check(folder: Path) -> None:
    (folder / "checkpoint").write_text(
        note.sign(Checkpoint(ORIGIN, 10**18, bytes(32)).to_text(), ORIGIN, [MARK_KEY]), encoding="utf-8"
    )
    assert _failed(verify_export(folder, PINNED))[:2] == ["NOTE", "REPLAY"]


def test_entries_that_do_not_give_the_root_are_not_exported(tmp_path: Path) -> None:
    with pytest.raises(LedgerRefused, match="root"):
        write_export(tmp_path / "new", [entry.body for entry in ENTRIES[1:]], _note(ENTRIES[:401]))
    assert not (tmp_path / "new").exists()


def test_pinned_keys_are_read_from_json() -> None:
    assert json.decode(json.encode(PINNED), type=Pinned) == PINNED


# Entries


def test_an_entry_has_a_fixed_form() -> None:
    made = seal(
        "verdict",
        b"payload",
        time=NOW,
        from_="cq",
        to="SL-SC-001",
        scheme="CHUANYU",
        item="250104001",
        mark=MARK_ID,
        binds="1" * 64,
        salt=bytes(32),
    )
    assert made.body == (
        b'{"v":1,"type":"verdict","time":"2026-11-22T10:00:00Z","from":"cq","to":"SL-SC-001","scheme":"CHUANYU",'
        b'"item":"250104001","mark":"000102030405060708090a0b0c0d0e0f","binds":"' + b"1" * 64 + b'",'
        b'"commit":"' + made.entry_id.encode() + b'"}'
    )


@given(payload=st.binary(max_size=200), salt=st.binary(min_size=32, max_size=32))
def test_a_sealed_payload_opens_with_its_salt_alone(payload: bytes, salt: bytes) -> None:
    made = seal("view", payload, time=NOW, from_="cq", to="sc", salt=salt)
    assert opens(made.body, salt, payload)
    assert not opens(made.body, salt[:31] + bytes([salt[31] ^ 1]), payload)
    assert not opens(made.body, salt, payload + b"\0")
    assert not opens(made.body, b"", payload)


def test_each_sealing_takes_its_own_salt() -> None:
    assert _seal("view").entry_id != _seal("view").entry_id


@pytest.mark.parametrize("hash_name", ["sha256", "sm3"])
def test_a_batch_gives_dense_indexes_and_the_root(hash_name: HashName) -> None:
    entries = [seal("view", b"", time=NOW, from_="cq", to="sc", hash_name=hash_name) for _ in range(7)]
    first, indexes = ledger.extend(Frontier(), entries[:3], hash_name)
    second, later = ledger.extend(first, entries[3:], hash_name)
    assert [*indexes, *later] == list(range(7))
    assert second.root(hash_name) == root_of([entry.leaf for entry in entries], hash_name)


def test_an_entry_sealed_for_another_hash_is_not_appended() -> None:
    with pytest.raises(LedgerRefused, match="not sealed for a ledger of sha256"):
        ledger.extend(Frontier(), [_seal("view")], "sha256")


BAD_FIELDS: dict[str, dict[str, str]] = {
    "an organisation with Chinese characters": {"from_": "示例医院"},
    "no organisation": {"to": ""},
    "an item with spaces": {"item": "chest CT"},
    "a mark id that is none": {"mark": "abc"},
    "a binding in capitals": {"binds": "A" * 64},
    "a line break": {"scheme": "CHUANYU\n"},
    "a person's number": {"item": "999999199001010016"},
    "a person's number within a text": {"to": "patient:999999199001010016"},
}


@pytest.mark.parametrize("case", BAD_FIELDS)
def test_an_entry_is_not_sealed_with(case: str) -> None:
    fields = {"from_": "cq", "to": "sc"} | BAD_FIELDS[case]
    with pytest.raises(LedgerRefused) as refusal:
        seal("view", b"", time=NOW, **fields)  # type: ignore[arg-type]
    assert "999999199001010016" not in str(refusal.value)


def test_an_entry_without_a_time_zone_is_not_sealed() -> None:
    with pytest.raises(LedgerRefused):
        seal("view", b"", time=NOW.replace(tzinfo=None), from_="cq", to="sc")


def test_a_salt_of_another_length_is_refused() -> None:
    with pytest.raises(LedgerRefused) as refusal:
        seal("view", b"", time=NOW, from_="cq", to="sc", salt=b"salt")
    assert refusal.value.check is Check.PAYLOADS


BODY = _seal("view").body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"\xff",
        BODY + b" ",
        BODY.replace(b'"v":1', b'"v":2'),
        BODY.replace(b'{"v":1,', b'{"v":1,"v":1,'),
        BODY.replace(b'"view"', b'"gossip"'),
        BODY[:-1] + b',"name":"x"}',
        b"[" * 3000,
    ],
)
def test_bytes_that_are_no_entry_are_refused(body: bytes) -> None:
    with pytest.raises(LedgerRefused):
        read_entry(body)


def _flip(file: Path, position: int) -> None:
    data = bytearray(file.read_bytes())
    data[position] ^= 1
    file.write_bytes(bytes(data))


def _replace_lines(file: Path, change: Callable[[dict[str, object]], dict[str, object]], number: int) -> None:
    lines = [json.decode(line) for line in file.read_bytes().splitlines()]
    lines[number] = change(lines[number])
    file.write_bytes(json.Encoder().encode_lines(lines))
