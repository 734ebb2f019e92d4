"""The ledger's entries, exports, and what an audit finds in a tampered one."""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json
from msgspec.structs import replace

from security import export, mark, note
from security._parts import Parts
from security.audit import AuditReport, Pinned, verify_export
from security.errors import Check, LedgerRefused
from security.export import Absence, Disclosure, Selection, Writer, write_export
from security.keys import KeyPair
from security.ledger import EntryType, Sealed, opens, read_entry, seal
from security.note import Checkpoint, NoteVerifier
from security.tree import Frontier
from security.trust import sign_key_list
from tests.security.material import (
    CLAIMS,
    DAY,
    LOG_KEY,
    MARK_KEY,
    NOW,
    ROOT,
    SC_ROOT,
    envelope,
    fixed_ed25519,
    key_list,
    new_key,
)

ORIGIN = "log.cq.example/exchange/sm3"
MARK_ID = CLAIMS.mark_id.hex()
PINNED = Pinned(logs=(NoteVerifier.of(ORIGIN, LOG_KEY.public).to_text(),), roots=(ROOT.public,))
MARK = mark.issue(CLAIMS, MARK_KEY)
MARK_TEXT = mark.to_text(MARK)


def _seal(type_: EntryType, payload: bytes = b"{}", binds: str = "", mark_id: str = "") -> Sealed:
    time = CLAIMS.issued if type_ == "mark" else NOW
    return seal(type_, payload, time=time, from_="cq", to="sc", scheme="CHUANYU", binds=binds, mark=mark_id)


def _exchange(count: int = 100) -> list[Sealed]:
    """Questions with answer, verdict and outcome; a mark at index 4 · count."""
    entries = []
    for number in range(count):
        question = _seal("question", b'{"question":%d}' % number)
        answer = _seal("answer", binds=question.entry_id)
        verdict = _seal("verdict", binds=answer.entry_id)
        entries += [question, answer, verdict, _seal("outcome", binds=verdict.entry_id)]
    return [*entries, _seal("mark", MARK, mark_id=MARK_ID), _seal("keys", envelope())]


ENTRIES = _exchange()
MARK_INDEX = 400
ERASED = (2, 3)


def _note(entries: list[Sealed], origin: str = ORIGIN) -> str:
    frontier = Frontier().extend((entry.leaf for entry in entries), "sm3")
    return note.sign(
        Checkpoint(origin, frontier.size, frontier.root("sm3")).to_text(), origin, [LOG_KEY, new_key("SM2")]
    )


def _export(
    folder: Path,
    entries: list[Sealed] = ENTRIES,
    *,
    disclose: bool = True,
    up_to: int | None = None,
    lists: bool = True,
    listed: bytes = b"",
) -> Path:
    """An export, with another key list than the usual one where one is `listed`."""
    if listed:
        entries = [*entries, _seal("keys", listed)]
    write_export(
        folder,
        [entry.body for entry in entries],
        _note(entries[:up_to]),
        key_lists=[listed or envelope()] if lists else [],
        secrets=[
            Disclosure(index, entry.salt, entry.payload)
            for index, entry in enumerate(entries)
            if index not in ERASED
        ],
        disclose=disclose,
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
    for name in (export.KEYS, export.MARKS, export.SECRETS, export.ABSENT):
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
    assert payloads.startswith("400 of 402 (2 erased: #2, #3), 2 of them without an erasure entry")


def test_absences_that_cannot_be_read_after_the_last_entry_fail_marks_and_payloads(folder: Path) -> None:
    with (folder / export.ABSENT).open("ab") as file:
        file.write(b"nonsense\n")
    assert _failed(verify_export(folder, PINNED)) == ["MARKS", "PAYLOADS"]


@pytest.mark.parametrize(
    ("spans", "lost"),
    [([(0, 9)], 0), ([(2, 3)], 1), ([(3, 4), (2, 3)], 0), ([(0, 2), (4, 9)], 2), ([(3, 9), (0, 1)], 1)],
)
def test_what_an_erasure_announced_is_told_from_what_is_lost(
    tmp_path: Path, spans: list[tuple[int, int]], lost: int
) -> None:
    told = [_seal("erasure", json.encode({"from": start, "to": end})) for start, end in spans]
    report = verify_export(_export(tmp_path, [*ENTRIES, *told]), PINNED)
    said = f", {lost} of them without an erasure entry," if lost else ""
    assert f"(2 erased: #2, #3){said} payloads disclosed" in report.checks[4].en


def test_a_mark_that_the_exporter_says_is_erased_is_counted_as_erased(tmp_path: Path) -> None:
    write_export(tmp_path, [entry.body for entry in ENTRIES], _note(ENTRIES))
    report = verify_export(tmp_path, PINNED)
    assert report.passed
    assert report.checks[3].en.startswith("0 of 1 (1 erased: #400) mark entries")


def test_what_was_not_selected_is_counted_apart(tmp_path: Path) -> None:
    with Writer(tmp_path, _note(ENTRIES), disclose=True, selection=Selection(decision="one")) as writer:
        for index, entry in enumerate(ENTRIES):
            chosen = (entry.salt, entry.payload) if index < 4 else None
            writer.add(entry.body, chosen, "not_selected")
        writer.finish([envelope()])
    report = verify_export(tmp_path, PINNED)
    assert report.passed, report
    assert report.checks[3].en.startswith("0 of 1 (1 not selected)")
    assert report.checks[4].en.startswith("4 of 402 (398 not selected) payloads")


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
    _say(folder, marks=0)
    with (folder / export.ABSENT).open("ab") as file:
        file.write(json.encode(Absence(MARK_INDEX, MARK_INDEX, "erased")))
    assert _failed(verify_export(folder, PINNED)) == ["PAYLOADS"]


def test_a_manifest_with_another_count_fails_the_payloads(folder: Path) -> None:
    _say(folder, payloads=399)
    assert _failed(verify_export(folder, PINNED)) == ["PAYLOADS"]


def test_lines_out_of_the_order_of_the_ledger_fail_the_payloads(folder: Path) -> None:
    lines = (folder / export.SECRETS).read_bytes().splitlines()
    lines[0], lines[1] = lines[1], lines[0]
    (folder / export.SECRETS).write_bytes(b"\n".join(lines))
    assert _failed(verify_export(folder, PINNED)) == ["PAYLOADS"]


def test_an_export_without_its_manifest_fails_the_marks_and_payloads(folder: Path) -> None:
    (folder / export.MANIFEST).unlink()
    assert _failed(verify_export(folder, PINNED)) == ["MARKS", "PAYLOADS"]


def test_marks_and_payloads_beyond_the_checkpoint_are_not_exported(tmp_path: Path) -> None:
    _export(tmp_path, up_to=10, lists=False)
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


def test_a_mark_withdrawn_later_was_rightly_given_and_is_counted(tmp_path: Path) -> None:
    report = verify_export(_export(tmp_path, [*ENTRIES, _seal("withdrawal", mark_id=MARK_ID)]), PINNED)
    assert report.passed, report
    assert "1 withdrawals since" in report.checks[3].en


# Further tamperings


def test_a_rewritten_history_signed_by_the_log_itself_fails_the_consistency_alone(tmp_path: Path) -> None:
    earlier = _note([*ENTRIES[:-1], _seal("view")])
    assert _failed(verify_export(_export(tmp_path), PINNED, earlier)) == ["CONSISTENCY"]


def test_an_export_older_than_the_kept_checkpoint_fails_without_a_charge_of_rewriting(whole: Path) -> None:
    report = verify_export(whole, PINNED, _note([*ENTRIES, _seal("view")]))
    assert _failed(report) == ["CONSISTENCY"]
    assert "older than the checkpoint of the last audit: 402 entries, not 403" in report.checks[2].en
    assert "改写" not in report.checks[2].zh


def test_an_earlier_note_that_no_pinned_key_signed_is_no_charge_of_rewriting(whole: Path) -> None:
    other = note.sign(Checkpoint(ORIGIN, 402, bytes(32)).to_text(), ORIGIN, [fixed_ed25519("cq", "log", "x")])
    report = verify_export(whole, PINNED, other)
    assert _failed(report) == ["CONSISTENCY"]
    assert "改写" not in report.checks[2].zh


def test_an_earlier_note_of_another_log_fails_the_consistency(whole: Path) -> None:
    pinned = replace(PINNED, logs=(*PINNED.logs, NoteVerifier.of("log.sc.example", LOG_KEY.public).to_text()))
    assert _failed(verify_export(whole, pinned, _note(ENTRIES, "log.sc.example"))) == ["CONSISTENCY"]


def test_many_entries_that_bind_one_are_joined_in_little_memory(tmp_path: Path) -> None:
    parts = Parts(tmp_path, 1)
    for number in range(100_000):
        parts.put(bytes(32), number, b"view")
    tracemalloc.start()
    assert sum(1 for records in parts.read() for _ in records) == 100_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("tile", ["tile/0/000", "tile/0/001.p/146", "tile/1/000.p/1"])
def test_a_tile_that_differs_fails_the_replay_and_is_named(folder: Path, tile: str) -> None:
    _flip(folder / tile, 3)
    report = verify_export(folder, PINNED)
    assert _failed(report)[0] == "REPLAY"
    assert report.checks[1].en.startswith(tile)


def test_too_few_of_the_required_signatures_fail_the_note(whole: Path) -> None:
    assert _failed(verify_export(whole, replace(PINNED, required=2))) == ["NOTE"]


def test_two_keys_of_the_log_are_one_signer(whole: Path) -> None:
    logs = (*PINNED.logs, NoteVerifier.of(ORIGIN, new_key("SM2").public).to_text())
    assert _failed(verify_export(whole, replace(PINNED, logs=logs, required=2))) == ["NOTE"]


def test_a_quorum_of_witnesses_passes_and_is_named(folder: Path) -> None:
    note_file = folder / export.CHECKPOINT
    witness = fixed_ed25519("sc", "witness")
    signed = note.cosign(note_file.read_text(encoding="utf-8"), "sc.example", [witness], NOW)
    note_file.write_text(signed, encoding="utf-8")
    pin = NoteVerifier.of("sc.example", witness.public, cosigns=True).to_text()
    report = verify_export(folder, replace(PINNED, logs=(*PINNED.logs, pin), required=2))
    assert report.passed, report
    assert report.checks[0].en.endswith("sc.example cosigned 402 of 402 entries")


def _cosigned(folder: Path, entries: list[Sealed]) -> Pinned:
    """Lay a cosigned checkpoint of these entries beside, and give the pins that want it."""
    witness = fixed_ed25519("sc", "witness")
    signed = note.cosign(_note(entries), "sc.example", [witness], NOW)
    (folder / export.COSIGNED).write_text(signed, encoding="utf-8")
    pin = NoteVerifier.of("sc.example", witness.public, cosigns=True).to_text()
    return replace(PINNED, others=(Pinned(logs=(pin,)),), required=2)


def test_witnesses_that_lag_are_said_to_have_seen_the_beginning(folder: Path) -> None:
    report = verify_export(folder, _cosigned(folder, ENTRIES[:123]))
    assert report.passed, report
    assert report.checks[0].en.endswith("sc.example cosigned 123 of 402 entries")
    assert report.checks[2].state == "passed"


def test_witnesses_that_saw_another_ledger_fail_the_consistency_alone(folder: Path) -> None:
    pinned = _cosigned(folder, [*ENTRIES[:122], _seal("view")])
    assert _failed(verify_export(folder, pinned)) == ["CONSISTENCY"]


def test_a_cosigned_checkpoint_of_another_log_fails_the_note(folder: Path) -> None:
    pinned = _cosigned(folder, ENTRIES[:123])
    other = _note(ENTRIES[:123], "log.sc.example/exchange/sm3")
    pin = NoteVerifier.of("log.sc.example/exchange/sm3", LOG_KEY.public).to_text()
    (folder / export.COSIGNED).write_text(other, encoding="utf-8")
    others = (*pinned.others, Pinned(logs=(pin,)))
    assert _failed(verify_export(folder, replace(pinned, others=others, required=1))) == ["NOTE"]


def test_a_later_log_key_counts_by_the_key_list_that_holds_the_pinned_one(tmp_path: Path) -> None:
    later = fixed_ed25519("cq", "log", "b")
    listed = sign_key_list(key_list(LOG_KEY, MARK_KEY, later, version=2), [ROOT])
    folder = _export(tmp_path, listed=listed)
    _sign_again(folder, later)
    assert verify_export(folder, PINNED).passed
    assert _failed(verify_export(folder, replace(PINNED, roots=()))) == ["NOTE", "MARKS"]


@pytest.mark.parametrize(
    "record",
    [{"status": "compromised"}, {"status": "retired", "not_after": NOW - DAY}, {"not_before": NOW + DAY}],
)
def test_a_log_key_that_did_not_count_then_fails_the_note_alone(
    tmp_path: Path, record: dict[str, Any]
) -> None:
    ended = replace(LOG_KEY.public, **record)
    listed = replace(key_list(MARK_KEY, version=2), keys=(MARK_KEY.public, ended))
    folder = _export(tmp_path, listed=sign_key_list(listed, [ROOT]))
    assert _failed(verify_export(folder, PINNED)) == ["NOTE"]


def test_a_log_key_that_ended_after_it_signed_what_was_cosigned_counts(tmp_path: Path) -> None:
    ended = replace(LOG_KEY.public, status="retired", not_after=NOW + DAY)
    later = fixed_ed25519("cq", "log", "b")
    listed = replace(key_list(MARK_KEY, later, version=2), keys=(MARK_KEY.public, later.public, ended))
    view = seal("view", b"{}", time=NOW + 2 * DAY, from_="cq", to="sc")
    folder = _export(tmp_path, [*ENTRIES, view], listed=sign_key_list(listed, [ROOT]))
    _sign_again(folder, later)
    assert verify_export(folder, _cosigned(folder, ENTRIES[:123])).passed


def test_nobodys_key_list_speaks_for_the_log_of_another(tmp_path: Path) -> None:
    thief = fixed_ed25519("sc", "log", "t")
    taken = replace(LOG_KEY.public, kid="sc-log-202601z", owner="sc")
    listed = replace(key_list(thief, owner="sc"), keys=(thief.public, taken))
    folder = _export(tmp_path)
    (folder / export.KEYS).write_bytes(b"[" + envelope() + b"," + sign_key_list(listed, [SC_ROOT]) + b"]")
    _sign_again(folder, thief)
    both = replace(PINNED, others=(Pinned(logs=(), roots=(SC_ROOT.public,)),))
    assert _failed(verify_export(folder, both)) == ["NOTE"]


def test_pins_of_two_gateways_that_are_not_apart_fail_the_note(whole: Path) -> None:
    mixed = replace(PINNED, roots=(ROOT.public, SC_ROOT.public))
    assert _failed(verify_export(whole, mixed))[0] == "NOTE"


def test_nobodys_pins_name_the_log_of_another(whole: Path) -> None:
    thief = NoteVerifier.of(ORIGIN, fixed_ed25519("sc", "log", "t").public).to_text()
    both = replace(PINNED, others=(Pinned(logs=(thief,), roots=(SC_ROOT.public,)),))
    report = verify_export(whole, both)
    assert _failed(report)[0] == "NOTE"
    assert "in the pins of two gateways" in report.checks[0].en


def test_nobodys_key_list_calls_the_key_of_another_compromised(folder: Path) -> None:
    taken = replace(LOG_KEY.public, kid="sc-log-202601z", owner="sc", status="compromised")
    listed = sign_key_list(replace(key_list(owner="sc"), keys=(taken,)), [SC_ROOT])
    (folder / export.KEYS).write_bytes(b"[" + envelope() + b"," + listed + b"]")
    both = replace(PINNED, others=(Pinned(logs=(), roots=(SC_ROOT.public,)),))
    assert verify_export(folder, both).passed


def test_a_mark_claimed_at_another_entry_fails_the_marks(folder: Path) -> None:
    for index in (399, 402, -1, 2**70):
        line = json.encode({"mark": MARK_TEXT, "index": index})
        (folder / export.MARKS).write_bytes(line)
        assert _failed(verify_export(folder, PINNED)) == ["MARKS"]


def test_a_mark_whose_key_list_no_pinned_root_signed_fails_the_marks(folder: Path) -> None:
    stranger = fixed_ed25519("cq", "root", "x")
    (folder / export.KEYS).write_bytes(b"[" + sign_key_list(key_list(MARK_KEY), [stranger]) + b"]")
    report = verify_export(folder, PINNED)
    assert _failed(report) == ["MARKS", "PAYLOADS"]  # the ledger has another
    assert "not signed by its pinned root" in report.checks[3].en


def _compromised() -> bytes:
    keys = replace(MARK_KEY.public, status="compromised"), LOG_KEY.public
    return sign_key_list(replace(key_list(version=2), keys=keys), [ROOT])


def test_the_newest_key_list_of_an_owner_counts(tmp_path: Path) -> None:
    folder = _export(tmp_path, listed=_compromised())
    (folder / export.KEYS).write_bytes(b"[" + _compromised() + b"," + envelope() + b"]")
    report = verify_export(folder, PINNED)
    assert _failed(report) == ["MARKS"]
    assert "compromised" in report.checks[3].en


@pytest.mark.parametrize("given", [b"", envelope()])
def test_a_key_list_of_the_ledger_that_is_withheld_fails_the_payloads(tmp_path: Path, given: bytes) -> None:
    folder = _export(tmp_path, listed=_compromised())
    (folder / export.KEYS).write_bytes(b"[" + given + b"]")
    report = verify_export(folder, PINNED)
    assert "PAYLOADS" in _failed(report)
    assert report.checks[4].en.startswith("#402: it is version 2" if given else "#401: it is version 1")


def test_a_key_list_of_today_tells_what_was_compromised_since(whole: Path) -> None:
    report = verify_export(whole, PINNED, newer=[_compromised()])
    assert _failed(report) == ["MARKS"]
    assert "compromised" in report.checks[3].en


def test_a_key_list_dated_after_the_ledger_ends_must_be_in_it_too(folder: Path) -> None:
    forged = sign_key_list(key_list(LOG_KEY, MARK_KEY, version=2, issued=NOW + DAY), [ROOT])
    (folder / export.KEYS).write_bytes(b"[" + forged + b"]")
    assert _failed(verify_export(folder, PINNED)) == ["PAYLOADS"]


def test_a_mark_dated_back_to_when_its_key_counted_fails_the_marks_alone(tmp_path: Path) -> None:
    late = seal("mark", MARK, time=NOW, from_="cq", to="cq", mark=MARK_ID)
    report = verify_export(_export(tmp_path, [*ENTRIES[:400], late, ENTRIES[401]]), PINNED)
    assert _failed(report) == ["MARKS"]
    assert "but entered on" in report.checks[3].en


def test_a_key_list_that_the_ledger_does_not_have_fails_the_payloads_alone(folder: Path) -> None:
    forged = sign_key_list(key_list(LOG_KEY, MARK_KEY, version=2), [ROOT])
    (folder / export.KEYS).write_bytes(b"[" + envelope() + b"," + forged + b"]")
    report = verify_export(folder, PINNED)
    assert _failed(report) == ["PAYLOADS"]
    assert "does not have version 2 of the key list" in report.checks[4].en


def test_a_key_list_whose_entry_is_erased_is_not_held_against_anybody(tmp_path: Path) -> None:
    secrets = [Disclosure(index, entry.salt, entry.payload) for index, entry in enumerate(ENTRIES[:-1])]
    bodies = [entry.body for entry in ENTRIES]
    write_export(tmp_path, bodies, _note(ENTRIES), key_lists=[envelope()], secrets=secrets, disclose=True)
    assert verify_export(tmp_path, PINNED).passed


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
    "a withdrawal of no mark": (1, [VIEW, _seal("withdrawal", mark_id=MARK_ID)]),
    "a mark recorded twice": (
        1,
        [_seal("mark", MARK, mark_id=MARK_ID), _seal("mark", MARK, mark_id=MARK_ID)],
    ),
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
        "absent.jsonl",
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


@pytest.mark.parametrize("tile", ["tile/0/000", "tile/0/001.p/146", "tile/1/000.p/1"])
def test_a_tile_with_a_byte_too_many_fails_the_replay_and_is_named(folder: Path, tile: str) -> None:
    (folder / tile).write_bytes((folder / tile).read_bytes() + b"x")
    report = verify_export(folder, PINNED)
    assert _failed(report) == ["REPLAY"]
    assert report.checks[1].en.startswith(tile)


def test_a_file_that_is_larger_than_it_can_be_is_not_read(folder: Path) -> None:
    for name in (export.KEYS, "tile/entries/000", export.CHECKPOINT):
        with (folder / name).open("r+b") as file:
            file.truncate(1 << 40)  # of no blocks; reading it would take all memory
        assert not verify_export(folder, PINNED).passed


def test_a_payload_nested_beyond_any_depth_is_an_erasure_that_announces_nothing(tmp_path: Path) -> None:
    deep = b'{"from":0,"to":9,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    report = verify_export(_export(tmp_path, [*ENTRIES, _seal("erasure", deep)]), PINNED)
    assert "2 of them without an erasure entry" in report.checks[4].en


def test_a_malformed_pinned_key_fails_the_note(whole: Path) -> None:
    assert _failed(verify_export(whole, replace(PINNED, logs=("nonsense",)))) == ["NOTE"]


def test_an_absurd_size_in_an_unsigned_checkpoint_is_a_failed_check(folder: Path) -> None:
    (folder / "checkpoint").write_text(
        note.sign(Checkpoint(ORIGIN, 10**18, bytes(32)).to_text(), ORIGIN, [MARK_KEY]), encoding="utf-8"
    )
    assert _failed(verify_export(folder, PINNED))[:2] == ["NOTE", "REPLAY"]


def test_entries_that_do_not_give_the_root_are_no_export(tmp_path: Path) -> None:
    with pytest.raises(LedgerRefused, match="root"):
        write_export(tmp_path, [entry.body for entry in ENTRIES[1:]], _note(ENTRIES[:401]))
    assert not (tmp_path / export.CHECKPOINT).exists()


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


def _sign_again(folder: Path, key: KeyPair) -> None:
    text, _ = note.split((folder / export.CHECKPOINT).read_bytes())
    (folder / export.CHECKPOINT).write_text(note.sign(text, ORIGIN, [key]), encoding="utf-8")


def _say(folder: Path, **fields: int) -> None:
    """Write another manifest."""
    said = export.read_manifest(folder, Check.PAYLOADS)
    (folder / export.MANIFEST).write_bytes(json.encode(replace(said, **fields)))


def _replace_lines(file: Path, change: Callable[[dict[str, object]], dict[str, object]], number: int) -> None:
    lines = [json.decode(line) for line in file.read_bytes().splitlines()]
    lines[number] = change(lines[number])
    file.write_bytes(json.Encoder().encode_lines(lines))
