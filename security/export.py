"""An export of a ledger as a folder of plain files, and how it is written and read.

    checkpoint                    the signed note
    tile/<L>/…, tile/entries/…    the whole tree (C2SP tlog-tiles)
    keys.json                     signed key lists, a JSON array of envelopes (`trust`)
    marks.jsonl                   claimed marks: {"mark": "XR1:…", "index": 17}
    secrets.jsonl                 disclosed payloads: {"index": 3, "salt": "<base64>", "payload": "<base64>"}
    manifest.json                 how many marks and payloads there are, and which entries are erased

The files of JSON lines and `keys.json` may be absent when there is nothing to put into them. What verifies an
export is `audit`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from msgspec import MsgspecError, Raw, Struct, json

from security import note, tiles
from security.errors import Check, LedgerRefused
from security.ledger import Entry, read_entry
from security.note import Checkpoint
from security.tree import Tree, leaf_hash

CHECKPOINT, KEYS, MARKS, SECRETS = "checkpoint", "keys.json", "marks.jsonl", "secrets.jsonl"
MANIFEST = "manifest.json"


class MarkClaim(Struct, frozen=True, forbid_unknown_fields=True):
    """A mark in text form and the index of its entry."""

    mark: str
    index: int


class Disclosure(Struct, frozen=True, forbid_unknown_fields=True):
    """What opens the commitment of the entry at `index`."""

    index: int
    salt: bytes
    payload: bytes


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """What the exporter says that it wrote; nobody signs it.

    `marks` and `payloads` count the lines of the two files; no payload means that payloads are not disclosed.
    `erased` are the indexes of the entries whose payload should be there and is no longer held.
    """

    marks: int
    payloads: int
    erased: tuple[int, ...]


Record = TypeVar("Record", MarkClaim, Disclosure)


def write_export(
    folder: Path,
    entries: Sequence[bytes],
    checkpoint_note: str,
    *,
    key_lists: Iterable[bytes] = (),
    marks: Iterable[MarkClaim] = (),
    secrets: Iterable[Disclosure] = (),
) -> None:
    """Write an export of the entries that the checkpoint covers; later ones are left out.

    `key_lists` are signed envelopes. The manifest calls erased what is not given: a mark entry without a
    claim, and, when any payload is disclosed, an entry without a payload. Raises LedgerRefused when the note
    or an entry is malformed or the entries do not give the note's root, and then writes nothing; OSError when
    the folder cannot be written.
    """
    checkpoint = Checkpoint.from_text(note.split(checkpoint_note)[0])
    entries = entries[: checkpoint.size]
    tree = replay(entries, checkpoint)
    marks = [claim for claim in marks if claim.index < tree.size]
    secrets = [disclosed for disclosed in secrets if disclosed.index < tree.size]
    erased = mark_entries(map(read_entry, entries)) - {claim.index for claim in marks}
    if secrets:
        erased |= set(range(tree.size)) - {disclosed.index for disclosed in secrets}
    files = {
        KEYS: json.encode([Raw(envelope) for envelope in key_lists]),
        MARKS: json.Encoder().encode_lines(marks),
        SECRETS: json.Encoder().encode_lines(secrets),
        MANIFEST: json.encode(Manifest(len(marks), len(secrets), tuple(sorted(erased)))),
        CHECKPOINT: checkpoint_note.encode(),
    }
    for index, width in tiles.bundles_of(tree.size):
        first = index * tiles.TILE_WIDTH
        files[tiles.entries_path(index, width)] = tiles.encode_entries(entries[first : first + width])
    for level, index, width in tiles.tiles_of(tree.size):
        files[tiles.tile_path(level, index, width)] = tiles.tile_bytes(tree.hash_at, level, index, width)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def replay(entries: Iterable[bytes], checkpoint: Checkpoint) -> Tree:
    """The tree of the entries. Raises LedgerRefused unless it has the checkpoint's size and root."""
    hash_name = checkpoint.hash_name
    tree = Tree((leaf_hash(entry, hash_name) for entry in entries), hash_name)
    if tree.size != checkpoint.size:
        raise LedgerRefused(Check.REPLAY, f"{tree.size} entries, but the checkpoint says {checkpoint.size}")
    if tree.root() != checkpoint.root:
        raise LedgerRefused(Check.REPLAY, "the entries do not give the checkpoint's root")
    return tree


def mark_entries(entries: Iterable[Entry]) -> set[int]:
    """The indexes of the entries that record a mark."""
    return {index for index, entry in enumerate(entries) if entry.type == "mark"}


def read_file(folder: Path, name: str, check: Check, *, may_be_absent: bool = False) -> bytes:
    """The content of a file of an export. Raises LedgerRefused at `check` when it cannot be read."""
    path = folder / name
    try:
        if may_be_absent and not path.exists():
            return b""
        if path.is_file():  # a pipe or device would never end
            return path.read_bytes()
    except OSError:
        pass
    raise LedgerRefused(check, f"the file {name} is missing or cannot be read")


def read_bundles(folder: Path, size: int) -> Iterator[list[bytes]]:
    """The entries of a ledger of `size`, bundle by bundle. Raises LedgerRefused naming the first bad file."""
    for index, width in tiles.bundles_of(size):
        name = tiles.entries_path(index, width)
        try:
            bundle = tiles.decode_entries(read_file(folder, name, Check.REPLAY))
        except LedgerRefused as wrong:
            raise LedgerRefused(Check.REPLAY, f"{name}: {wrong}") from None
        if len(bundle) != width:
            raise LedgerRefused(Check.REPLAY, f"{name}: {len(bundle)} entries instead of {width}")
        yield bundle


def read_key_lists(folder: Path) -> list[bytes]:
    """The envelopes of `keys.json`, unverified. Raises LedgerRefused."""
    data = read_file(folder, KEYS, Check.MARKS, may_be_absent=True)
    try:
        return [bytes(envelope) for envelope in json.decode(data or b"[]", type=list[Raw])]
    except (MsgspecError, UnicodeError, RecursionError) as wrong:
        raise LedgerRefused(Check.MARKS, f"{KEYS}: {wrong}") from None


def read_manifest(folder: Path, check: Check) -> Manifest:
    """The manifest. Raises LedgerRefused at `check`, also when there is none."""
    try:
        return json.decode(read_file(folder, MANIFEST, check), type=Manifest)
    except (MsgspecError, UnicodeError, RecursionError) as wrong:
        raise LedgerRefused(check, f"{MANIFEST}: {wrong}") from None


def read_lines(folder: Path, name: str, kind: type[Record], check: Check) -> Iterator[Record]:
    """The records of a file of JSON lines. Raises LedgerRefused at `check`, naming the line."""
    lines = read_file(folder, name, check, may_be_absent=True).split(b"\n")
    for number, line in enumerate(lines, start=1):
        if line:
            try:
                yield json.decode(line, type=kind)
            except (MsgspecError, UnicodeError) as wrong:
                raise LedgerRefused(check, f"{name} line {number}: {wrong}") from None
