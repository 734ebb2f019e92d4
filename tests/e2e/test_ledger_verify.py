"""``lianren ledger verify`` on an export: it says its six checks and finds every tampering."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from security.audit import Pinned
from security.export import CHECKPOINT, KEYS, MARKS, SECRETS, Disclosure, MarkClaim
from security.mark import read as read_mark
from security.mark import to_text
from security.tiles import decode_entries, encode_entries
from tests.e2e.conftest import Run, lianren

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("network")]
NAMES = ["NOTE", "REPLAY", "CONSISTENCY", "MARKS", "PAYLOADS", "BINDINGS"]


def verified(folder: Path, *words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit status, and the checks by name."""
    done = lianren("ledger", "verify", str(folder), "--json", *words)
    return done.returncode, {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def bundle(folder: Path) -> Path:
    """The file of the newest entries."""
    return max((folder / "tile/entries").rglob("*/*"), key=lambda file: file.stat().st_mtime)


def flip_a_byte(folder: Path) -> None:
    file = bundle(folder)
    entries = decode_entries(file.read_bytes())
    entries[3] = entries[3].replace(b'"to":"', b'"to":"x', 1)[: len(entries[3])]
    file.write_bytes(encode_entries(entries))


def remove_the_last_entry(folder: Path) -> None:
    file = bundle(folder)
    file.write_bytes(encode_entries(decode_entries(file.read_bytes())[:-1]))


def rewrite_the_root(folder: Path) -> None:
    lines = (folder / CHECKPOINT).read_text().split("\n")
    lines[2] = ("A" if lines[2][0] != "A" else "B") + lines[2][1:]
    (folder / CHECKPOINT).write_text("\n".join(lines))


def alter_a_payload(folder: Path) -> None:
    lines = (folder / SECRETS).read_bytes().splitlines()
    disclosed = msgspec.json.decode(lines[2], type=Disclosure)
    altered = disclosed.payload.replace(b"a", b"b", 1).replace(b"{", b"{ ", 1)
    lines[2] = msgspec.json.encode(Disclosure(disclosed.index, disclosed.salt, altered))
    (folder / SECRETS).write_bytes(b"\n".join(lines) + b"\n")


def alter_a_mark(folder: Path) -> None:
    lines = (folder / MARKS).read_bytes().splitlines()
    claim = msgspec.json.decode(lines[0], type=MarkClaim)
    signed = bytearray(read_mark(claim.mark).data)
    signed[-1] ^= 1  # of the signature
    lines[0] = msgspec.json.encode(MarkClaim(to_text(bytes(signed)), claim.index))
    (folder / MARKS).write_bytes(b"\n".join(lines) + b"\n")


def lay_a_mark_onto_another_entry(folder: Path) -> None:
    lines = (folder / MARKS).read_bytes().splitlines()
    first, second = (msgspec.json.decode(line, type=MarkClaim) for line in lines[:2])
    lines[0] = msgspec.json.encode(MarkClaim(first.mark, second.index))
    (folder / MARKS).write_bytes(b"\n".join(lines) + b"\n")


def hide_the_marks(folder: Path) -> None:
    (folder / MARKS).write_bytes(b"")


def hide_a_payload(folder: Path) -> None:
    lines = (folder / SECRETS).read_bytes().splitlines()
    (folder / SECRETS).write_bytes(b"\n".join(lines[:-1]) + b"\n")


def leave_the_keys_out(folder: Path) -> None:
    (folder / KEYS).write_bytes(b"[]")


def test_the_export_passes_and_every_check_is_said(demo: Run) -> None:
    done = lianren("ledger", "verify", str(demo.export))
    assert done.returncode == 0
    lines = [line.split()[:3] for line in done.stdout.splitlines() if line[0] in "✓–✗"]
    assert [line[1:] for line in lines] == [[str(n), name.lower()] for n, name in enumerate(NAMES, start=1)]
    assert {line[0] for line in lines if line[2] != "consistency"} == {"✓"}  # 3 wants what was cosigned


def test_a_changed_entry_is_named(export: Path) -> None:
    flip_a_byte(export)
    _, checks = verified(export)
    assert checks["REPLAY"]["en"].startswith("#3: entry 3 of tile/entries/000")


def test_every_check_looked_at_something(demo: Run) -> None:
    status, checks = verified(demo.export)
    assert status == 0
    assert list(checks) == NAMES
    assert not [name for name, check in checks.items() if not check["examined"] and name != "CONSISTENCY"]


@pytest.mark.parametrize(
    ("tamper", "check"),
    [
        (flip_a_byte, "REPLAY"),
        (remove_the_last_entry, "REPLAY"),
        (rewrite_the_root, "NOTE"),
        (alter_a_payload, "PAYLOADS"),
        (alter_a_mark, "MARKS"),
        (lay_a_mark_onto_another_entry, "MARKS"),
        (hide_the_marks, "MARKS"),
        (hide_a_payload, "PAYLOADS"),
        (leave_the_keys_out, "MARKS"),
    ],
)
def test_a_tampering_is_found_by_its_check(export: Path, tamper: Callable[[Path], None], check: str) -> None:
    tamper(export)
    status, checks = verified(export)
    assert status == 1
    first = next(name for name, found in checks.items() if found["state"] == "failed")
    assert first == check
    assert checks[check]["zh"]
    assert checks[check]["en"]


def test_a_ledger_of_other_keys_does_not_pass_by_the_auditors_own_pins(export: Path, tmp_path: Path) -> None:
    pins = msgspec.json.decode((export / "pinned.json").read_bytes(), type=Pinned)
    key = pins.logs[0][:-4] + ("AAAA" if not pins.logs[0].endswith("AAAA") else "BBBB")
    own = tmp_path / "pins.json"
    own.write_bytes(msgspec.json.encode(Pinned(logs=(key,), roots=pins.roots)))
    done = lianren("ledger", "verify", str(export), "--pinned", str(own))
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr


def test_the_checkpoint_of_the_last_audit_is_compared(demo: Run) -> None:
    status, checks = verified(demo.export, "--previous", str(demo.export / CHECKPOINT))
    assert (status, "those of the last audit" in checks["CONSISTENCY"]["en"]) == (0, True)


def test_no_disclosed_payload_holds_a_persons_number(demo: Run) -> None:
    disclosed = [
        msgspec.json.decode(line, type=Disclosure)
        for line in (demo.export / SECRETS).read_bytes().splitlines()
    ]
    assert disclosed
    assert not [one.index for one in disclosed if b"990000" in one.payload]
