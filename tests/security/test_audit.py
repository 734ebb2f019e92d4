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
ERASED = (2, 3)


def _note(entries: list[Sealed], origin: str = ORIGIN) -> str:
    frontier, _ = ledger.extend(Frontier(), entries, "sm3")
    return note.sign(
        Checkpoint(origin, frontier.size, frontier.root("sm3")).to_text(), origin, [LOG_KEY, new_key("SM2")]
    )


def _export(
    folder: Path, entries: list[Sealed] = ENTRIES, *, disclose: bool = True, up_to: int | None = None
) -> Path:
    write_export(
        folder,
        [entry.body for entry in entries],
        _note(entries[:up_to]),
        key_lists=[envelope()],
        marks=[MarkClaim(MARK_TEXT, MARK_INDEX)],
        secrets=[
            Disclosure(index, entry.salt, entry.payload)
            for index, entry in enumerate(entries)
            if disclose and index not in ERASED
        ],
    )
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _export(tmp_path_factory.mktemp("export"))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "export"))


def _failed(report: AuditReport) -> list[str]:
    return [check.name for check in report.checks if check.state == "failed"]


def _not_made(report: AuditReport) -> list[str]:
    return [check.name for check in report.checks if check.state == "not_made"]


def test_a_whole_export_passes_all_six_checks(whole: Path) -> None:
    report = verify_export(whole, PINNED, _note(ENTRIES[:123]))
    assert report.passed, report
    assert [(check.number, check.name, check.examined) for check in report.checks] == [
        (1, "NOTE", 1),
        (2, "REPLAY", 402),
        (3, "CONSISTENCY", 1),
        (4, "MARKS", 1),
        (5, "PAYLOADS", 400),
        (6, "BINDINGS", 402),
    ]
    assert (report.origin, report.size) == (ORIGIN, 402)


def test_every_check_says_what_it_did_in_both_languages(whole: Path) -> None:
    for check in verify_export(whole, PINNED).checks:
        assert check.en.isascii()
        assert any("一" <= character <= "鿿" for character in check.zh)


def test_an_export_that_discloses_no_payloads_passes_without_check_5(tmp_path: Path) -> None:
    _export(tmp_path, disclose=False)
    report = verify_export(tmp_path, PINNED, _note(ENTRIES))
    assert (report.passed, _not_made(report)) == (True, ["PAYLOADS"])


def test_a_ledger_without_marks_needs_no_files_of_marks_and_keys(tmp_path: Path) -> None:
    entries = ENTRIES[:MARK_INDEX]
    write_export(tmp_path, [entry.body for entry in entries], _note(entries))
    for name in (export.KEYS, export.MARKS, export.SECRETS):
        (tmp_path / name).unlink()
    assert verify_export(tmp_path, PINNED).passed


def test_an_empty_ledger_passes(tmp_path: Path) -> None:
    write_export(tmp_path, [], _note([]))
    assert verify_export(tmp_path, PINNED, _note([])).passed


def test_without_an_earlier_checkpoint_the_consistency_is_not_made(whole: Path) -> None:
    report = verify_export(whole, PINNED)
    assert (report.passed, _not_made(report)) == (True, ["CONSISTENCY"])


# What is not in the export


def test_what_is_there_and_what_is_erased_is_counted(whole: Path) -> None:
    marks, payloads = (check.en for check in verify_export(whole, PINNED).checks[3:5])
    assert marks.startswith("1 of 1 mark entries")
    assert payloads.startswith("400 of 402 (2 erased: #2, #3) payloads disclosed")


def test_a_mark_that_the_exporter_says_is_erased_is_counted_as_erased(tmp_path: Path) -> None:
    write_export(tmp_path, [entry.body for entry in ENTRIES], _note(ENTRIES))
    report = verify_export(tmp_path, PINNED)
    assert report.passed
    assert report.checks[3].en.startswith("0 of 1 (1 erased: #400) mark entries")


@pytest.mark.parametrize("hide", [Path.unlink, lambda file: file.write_bytes(b"")])
def test_marks_that_are_hidden_fail_the_marks_alone(folder: Path, hide: Callable[[Path], object]) -> None:
    hide(folder / export.MARKS)
    report = verify_export(folder, PINNED)
    assert _failed(report) == ["MARKS"]
    assert report.checks[3].en.startswith("#400: missing from marks.jsonl")


@pytest.mark.parametrize(("kept", "first"), [(range(0), 0), (range(5), 7), (range(1, 400), 0)])
def test_payloads_that_are_hidden_fail_the_payloads_alone(folder: Path, kept: range, first: int) -> None:
    lines = (folder / export.SECRETS).read_bytes().splitlines()
    (folder / export.SECRETS).write_bytes(b"\n".join(lines[number] for number in kept))
    report = verify_export(folder, PINNED)
    assert _failed(report) == ["PAYLOADS"]
    assert report.checks[4].en.startswith(f"#{first}: missing from secrets.jsonl")


def test_a_mark_called_erased_while_its_payload_is_disclosed_is_found(folder: Path) -> None:
    (folder / export.MARKS).unlink()
    (folder / export.MANIFEST).write_bytes(json.encode(export.Manifest(0, 400, (*ERASED, MARK_INDEX))))
    assert _failed(verify_export(folder, PINNED)) == ["PAYLOADS"]


def test_a_manifest_with_another_count_fails_the_payloads(folder: Path) -> None:
    (folder / export.MANIFEST).write_bytes(json.encode(export.Manifest(1, 399, ERASED)))
    assert _failed(verify_export(folder, PINNED)) == ["PAYLOADS"]


def test_an_export_without_its_manifest_fails_the_marks_and_payloads(folder: Path) -> None:
    (folder / export.MANIFEST).unlink()
    assert _failed(verify_export(folder, PINNED)) == ["MARKS", "PAYLOADS"]


def test_marks_and_payloads_beyond_the_checkpoint_are_not_exported(tmp_path: Path) -> None:
    _export(tmp_path, up_to=10)
    report = verify_export(tmp_path, PINNED)
    assert (report.passed, report.checks[3].examined, report.checks[4].examined) == (True, 0, 8)


# The five tamperings


def test_an_entry_with_a_flipped_byte_fails_the_replay(folder: Path) -> None:
    _flip(folder / "tile/entries/000", 5000)
    report = verify_export(folder, PINNED)
    assert (_failed(report), _not_made(report)) == (
        ["REPLAY"],
        ["CONSISTENCY", "MARKS", "PAYLOADS", "BINDINGS"],
    )


@pytest.mark.parametrize(
    ("index", "place"),
    [(0, "0 of tile/entries/000"), (37, "37 of tile/entries/000"), (293, "37 of tile/entries/001.p/146")],
)
def test_the_first_entry_that_does_not_fit_its_tile_is_named(folder: Path, index: int, place: str) -> None:
    bundle = folder / place.rpartition(" ")[2]
    bundle.write_bytes(bundle.read_bytes().replace(ENTRIES[index].body, b"x" + ENTRIES[index].body[1:]))
    assert verify_export(folder, PINNED).checks[1].en == f"#{index}: entry {place} does not fit its tile"


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
    _replace_lines(folder / export.SECRETS, lambda line: line | {"payload": "e30="}, 2)
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


def test_an_export_older_than_the_kept_checkpoint_fails_without_a_charge_of_rewriting(whole: Path) -> None:
    report = verify_export(whole, PINNED, _note([*ENTRIES, _seal("view")]))
    assert _failed(report) == ["CONSISTENCY"]
    assert "the export is older than your checkpoint: 402 entries, not 403" in report.checks[2].en
    assert "改写" not in report.checks[2].zh


def test_an_earlier_note_that_no_pinned_key_signed_is_no_charge_of_rewriting(whole: Path) -> None:
    other = note.sign(Checkpoint(ORIGIN, 402, bytes(32)).to_text(), ORIGIN, [fixed_ed25519("cq", "log", "x")])
    report = verify_export(whole, PINNED, other)
    assert _failed(report) == ["CONSISTENCY"]
    assert "改写" not in report.checks[2].zh


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
    "name",
    [
        "checkpoint",
        "keys.json",
        "marks.jsonl",
        "secrets.jsonl",
        "manifest.json",
        "tile/0/000",
        "tile/entries/000",
    ],
)
def test_no_content_of_a_file_makes_an_audit_raise(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    assert len(verify_export(folder, PINNED).checks) == 6


@pytest.mark.parametrize(
    "name", ["checkpoint", "keys.json", "marks.jsonl", "secrets.jsonl", "manifest.json", "tile/0/000"]
)
def test_a_folder_in_place_of_a_file_is_a_failed_check(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()
    assert not verify_export(folder, PINNED).passed


def test_an_absent_export_fails_the_first_check_and_no_other_is_made(tmp_path: Path) -> None:
    report = verify_export(tmp_path / "nothing", PINNED)
    assert (report.passed, _failed(report), len(_not_made(report))) == (False, ["NOTE"], 5)


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
