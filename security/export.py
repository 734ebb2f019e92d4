"""An export of a ledger as a folder of plain files, and how it is written and read.

    checkpoint                    the signed note
    cosigned                      the newest note that witnesses cosigned, of this size or an earlier one
    tile/<L>/…, tile/entries/…    the whole tree (C2SP tlog-tiles)
    keys.json                     signed key lists, a JSON array of envelopes (`trust`), oldest first
    marks.jsonl                   claimed marks: {"mark": "XR1:…", "index": 17}
    secrets.jsonl                 disclosed payloads: {"index": 3, "salt": "<base64>", "payload": "<base64>"}
    absent.jsonl                  what is not there: {"first": 4, "last": 9, "why": "erased"}
    manifest.json                 what was selected, and how many marks and payloads there are

The tree is always whole; marks and payloads are those of the selection. The files of JSON lines are in the
order of the ledger, so that writer and auditor go through them beside the entries, with a few lines in
memory. They, `cosigned` and `keys.json` may be absent when there is nothing to put into them. The checkpoint
is written last: a folder without it is no export. What verifies an export is `audit`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, TypeVar

from msgspec import MsgspecError, Raw, Struct, json

from security import note, tiles
from security.errors import Check, LedgerRefused
from security.keys import AwareDatetime
from security.ledger import read_entry
from security.mark import to_text
from security.note import Checkpoint
from security.tree import leaf_hash

CHECKPOINT, KEYS, MARKS, SECRETS, ABSENT = (
    "checkpoint", "keys.json", "marks.jsonl", "secrets.jsonl", "absent.jsonl",
)  # fmt: skip
MANIFEST, COSIGNED = "manifest.json", "cosigned"
MAX_FILE = MAX_LINE = 64 << 20  # bytes; what a file that is read whole, or a line, may have

Why = Literal["erased", "not_selected"]


class MarkClaim(Struct, frozen=True, forbid_unknown_fields=True):
    """A mark in text form and the index of its entry."""

    mark: str
    index: int


class Disclosure(Struct, frozen=True, forbid_unknown_fields=True):
    """What opens the commitment of the entry at `index`."""

    index: int
    salt: bytes
    payload: bytes


class Absence(Struct, frozen=True, forbid_unknown_fields=True):
    """Entries `first` to `last`, both included, whose mark or payload should be here and is not, and why."""

    first: int
    last: int
    why: Why

    @property
    def index(self) -> int:
        """Where it stands among the other lines."""
        return self.first


class Selection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """Of which entries marks and payloads were written; what is None or empty leaves nothing out.

    `from_` is included, `to` is not; `decision` is the id of a check, `institution` a code.
    """

    from_: AwareDatetime | None = None
    to: AwareDatetime | None = None
    institution: str = ""
    decision: str = ""


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the exporter says that it wrote; nobody signs it.

    `marks` and `payloads` count the lines of the two files. `disclosed` says whether payloads are given.
    """

    marks: int
    payloads: int
    disclosed: bool
    selection: Selection = Selection()


Record = TypeVar("Record", MarkClaim, Disclosure, Absence)


class Writer:
    """Writes an export entry by entry, in memory that does not grow with the ledger.

    It is a context manager; `finish` has to be called before its end, or the folder stays without its
    checkpoint. Raises LedgerRefused when the note is malformed, OSError when the folder cannot be written.
    """

    def __init__(
        self, folder: Path, checkpoint_note: str, *, disclose: bool, selection: Selection | None = None
    ) -> None:
        self.checkpoint = Checkpoint.from_text(note.split(checkpoint_note)[0])
        self._note = checkpoint_note
        self._folder = folder
        self._disclose = disclose
        self._selection = selection or Selection()
        self._builder = tiles.Builder(self.checkpoint.hash_name, self._tile)
        self._bundle: list[bytes] = []
        self._absence: Absence | None = None
        self._marks = self._payloads = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # payloads are for one auditor's eyes
        self._lines: dict[str, BinaryIO] = {}
        for name in (MARKS, SECRETS, ABSENT):
            self._lines[name] = (folder / name).open("wb")

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._lines.values():
            file.close()

    @property
    def size(self) -> int:
        """How many entries were written."""
        return self._builder.size + len(self._bundle)

    def add(self, body: bytes, secret: tuple[bytes, bytes] | None, why: Why = "erased") -> None:
        """Write the next entry, and of `secret` (salt, payload) what is to be given; `why` says why it is
        None. Raises LedgerRefused for a malformed entry."""
        index = self.size
        is_mark = read_entry(body).type == "mark"
        if secret is None:
            if is_mark or self._disclose:
                self._leave_out(index, why)
        else:
            if is_mark:
                self._line(MARKS, MarkClaim(to_text(secret[1]), index))
                self._marks += 1
            if self._disclose:
                self._line(SECRETS, Disclosure(index, *secret))
                self._payloads += 1
        self._bundle.append(body)
        if len(self._bundle) == tiles.TILE_WIDTH:
            self._close_bundle()

    def finish(self, key_lists: Iterable[bytes] = (), cosigned: str | None = None) -> None:
        """Write what is left, and the checkpoint last.

        `key_lists` are signed envelopes, oldest first; `cosigned` is left out where it is of a later size.
        Raises LedgerRefused unless the entries are those of the checkpoint.
        """
        if self._bundle:
            self._close_bundle()
        self._builder.finish()
        if self._absence is not None:
            self._line(ABSENT, self._absence)
        check_root(self._builder, self.checkpoint)
        manifest = Manifest(
            marks=self._marks, payloads=self._payloads, disclosed=self._disclose, selection=self._selection
        )
        self._write(KEYS, json.encode([Raw(envelope) for envelope in key_lists]))
        self._write(MANIFEST, json.encode(manifest))
        if cosigned and Checkpoint.from_text(note.split(cosigned)[0]).size <= self.size:
            self._write(COSIGNED, cosigned.encode())
        for file in self._lines.values():
            file.flush()
        self._write(CHECKPOINT, self._note.encode())

    def _leave_out(self, index: int, why: Why) -> None:
        """Extend the running range, or begin another: with payloads it covers every entry, else marks."""
        held = self._absence
        if held is not None and held.why == why and held.last == index - 1:
            self._absence = Absence(held.first, index, why)
            return
        if held is not None:
            self._line(ABSENT, held)
        self._absence = Absence(index, index, why)

    def _close_bundle(self) -> None:
        name = tiles.entries_path(self._builder.size // tiles.TILE_WIDTH, len(self._bundle))
        self._write(name, tiles.encode_entries(self._bundle))
        self._builder.extend([leaf_hash(body, self.checkpoint.hash_name) for body in self._bundle])
        self._bundle = []

    def _tile(self, level: int, index: int, tile: bytes) -> None:
        self._write(tiles.tile_path(level, index, len(tile) // 32), tile)

    def _write(self, name: str, data: bytes) -> None:
        file = self._folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def _line(self, name: str, record: MarkClaim | Disclosure | Absence) -> None:
        self._lines[name].write(json.encode(record) + b"\n")


def check_root(builder: tiles.Builder, checkpoint: Checkpoint) -> None:
    """Raise LedgerRefused unless the tree that was built has the checkpoint's size and root."""
    if builder.size != checkpoint.size:
        raise LedgerRefused(
            Check.REPLAY, f"{builder.size} entries, but the checkpoint says {checkpoint.size}"
        )
    if builder.root() != checkpoint.root:
        raise LedgerRefused(Check.REPLAY, "the entries do not give the checkpoint's root")


def read_file(folder: Path, name: str, check: Check, *, may_be_absent: bool = False) -> bytes:
    """The content of a file of an export. Raises LedgerRefused at `check` when it cannot be read."""
    path = folder / name
    try:
        if may_be_absent and not path.exists():
            return b""
        if path.is_file() and path.stat().st_size <= MAX_FILE:  # a pipe or device would never end
            return path.read_bytes()
    except OSError:
        pass
    raise LedgerRefused(check, f"the file {name} is missing, cannot be read or is larger than it can be")


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


def time_of(folder: Path, index: int, size: int) -> datetime | None:
    """When an entry of a ledger of `size` says that it was made; None where that cannot be read, and a replay
    says why."""
    bundle, place = divmod(index, tiles.TILE_WIDTH)
    name = tiles.entries_path(bundle, min(tiles.TILE_WIDTH, size - bundle * tiles.TILE_WIDTH))
    try:
        return read_entry(tiles.decode_entries(read_file(folder, name, Check.REPLAY))[place]).time
    except (LedgerRefused, IndexError):
        return None


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
    """The records of a file of JSON lines, in rising order. Raises LedgerRefused at `check`, naming the line.

    One line is in memory at a time.
    """
    path = folder / name
    try:
        if not path.exists():
            return
        if not path.is_file():
            raise LedgerRefused(check, f"the file {name} cannot be read")
        last = -1
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), b""), start=1):
                if line != b"\n":
                    record = json.decode(line, type=kind)
                    end = record.last if isinstance(record, Absence) else record.index
                    if not last < record.index <= end:
                        raise LedgerRefused(check, f"{name} line {number}: not in the order of the ledger")
                    last = end
                    yield record
    except OSError:
        raise LedgerRefused(check, f"the file {name} cannot be read") from None
    except (MsgspecError, UnicodeError, RecursionError) as wrong:
        raise LedgerRefused(check, f"{name} line {number}: {wrong}") from None


def write_export(
    folder: Path,
    entries: Iterable[bytes],
    checkpoint_note: str,
    *,
    key_lists: Iterable[bytes] = (),
    secrets: Iterable[Disclosure] = (),
    disclose: bool = False,
) -> None:
    """Write an export of the entries that the checkpoint covers, with the `secrets` that there are of them.

    Later entries are left out; an entry without a secret is called erased. Raises as `Writer` does.
    """
    held = {secret.index: (secret.salt, secret.payload) for secret in secrets}
    with Writer(folder, checkpoint_note, disclose=disclose) as writer:
        for index, body in enumerate(entries):
            if index == writer.checkpoint.size:
                break
            writer.add(body, held.get(index))
        writer.finish(key_lists)
