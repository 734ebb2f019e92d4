"""What a witness of a log checks before it cosigns (C2SP tlog-witness, `add-checkpoint`).

A witness holds of each log the newest checkpoint it cosigned. A log sends its next one with the size of that
held one and the proof that the next ledger begins with it. Whoever is shown another ledger needs witnesses
that were shown it too; and two checkpoints of one size with two roots, both signed by the log, prove its
misbehaviour to anybody.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from security import note
from security.digests import HASHES
from security.errors import Check, LedgerRefused, WitnessRefused
from security.note import Checkpoint, NoteVerifier
from security.tree import verify_consistency

MAX_PROOF = 63
SKEW = timedelta(minutes=5)
"""How far the clock of a witness may differ: one ahead would vouch for a checkpoint when it is an old one."""
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")


class Held(Struct, frozen=True):
    """The newest checkpoint of a log that was cosigned here: its note has the log's signatures alone."""

    size: int
    root: bytes
    note: str


class Submission(Struct, frozen=True):
    """What a log sends: the size it believes is held, the consistency proof from there, and its note."""

    old: int
    proof: tuple[bytes, ...]
    note: str

    def to_bytes(self) -> bytes:
        """The body of the request."""
        lines = (f"old {self.old}", *(b64encode(part).decode() for part in self.proof), "")
        return ("".join(f"{line}\n" for line in lines) + self.note).encode()

    @classmethod
    def from_bytes(cls, body: bytes) -> Submission:
        """Read the body of a request, strictly. Raises WitnessRefused (400)."""
        try:
            head, gap, text = body.decode().partition("\n\n")
            first, *proof = head.split("\n")
            found = _OLD.fullmatch(first)
            parts = tuple(b64decode(line, validate=True) for line in proof)
        except (UnicodeDecodeError, binascii.Error, ValueError):
            raise _malformed("the consistency proof is lines of base64") from None
        if not gap or found is None:
            raise _malformed("the body is 'old <size>', the lines of the proof, an empty line and the note")
        if len(parts) > MAX_PROOF:
            raise _malformed(f"a consistency proof has at most {MAX_PROOF} lines")
        return cls(int(found[1]), parts, text)

    @property
    def checkpoint(self) -> Checkpoint:
        """What the note says, unverified. Raises WitnessRefused (400)."""
        try:
            return note.checkpoint_of(self.note)
        except LedgerRefused as wrong:
            raise _malformed(str(wrong)) from None


class Conflict(WitnessRefused):
    """Two roots for one size, both signed by the log: its misbehaviour, portable as `held` and `shown`."""

    def __init__(self, size: int, held: str, shown: str) -> None:
        super().__init__(409, f"another ledger of {size} entries was cosigned here")
        self.size = size
        self.held = held
        self.shown = shown


class Stale(WitnessRefused):
    """The log believes that another size is held than `size`."""

    def __init__(self, size: int) -> None:
        super().__init__(409, f"the newest checkpoint cosigned here has {size} entries")
        self.size = size


def examine(submission: Submission, verifiers: Sequence[NoteVerifier], held: Held | None) -> Held:
    """What is held once this submission is cosigned: the same again where it grew by nothing.

    `verifiers` are those of the log, by its origin. To be checked and replaced in one step: `held` must still
    be what is held when the new one is written.

    Raises WitnessRefused: 404 without verifiers, 403 where none of them signed, 400 for a size below the old
    one, 422 for a proof that does not hold; Conflict and Stale (409).
    """
    checkpoint = submission.checkpoint
    hash_name = checkpoint.hash_name
    if not verifiers:
        raise WitnessRefused(404, f"the log {checkpoint.origin[:100]!r} is not witnessed here")
    try:
        note.verify_checkpoint(submission.note, verifiers)
    except LedgerRefused as wrong:
        raise WitnessRefused(403, str(wrong)) from None
    if submission.old > checkpoint.size:
        raise _malformed(f"the old size {submission.old} is beyond the checkpoint's {checkpoint.size}")
    signed = own(submission.note, verifiers)
    if held and checkpoint.size == held.size and checkpoint.root != held.root:
        raise Conflict(held.size, held.note, signed)
    held = held or Held(0, HASHES[hash_name](b""), "")
    if submission.old != held.size:
        raise Stale(held.size)
    try:
        verify_consistency(
            held.size, checkpoint.size, submission.proof, held.root, checkpoint.root, hash_name
        )
    except LedgerRefused as wrong:
        raise WitnessRefused(422, str(wrong)) from None
    return Held(checkpoint.size, checkpoint.root, signed)


def own(signed: str, verifiers: Sequence[NoteVerifier]) -> str:
    """The note with the signature lines of these verifiers alone."""
    return f"{note.split(signed)[0]}\n" + "".join(note.lines_of(signed, verifiers))


def cosigned(signed: str, lines: str, verifiers: Sequence[NoteVerifier], now: datetime) -> list[str]:
    """Those of a witness's answer to a note that its verifiers made, at least one.

    Raises LedgerRefused when the answer is no signature lines, one of them does not verify or states another
    time than `now` (aware, give or take `SKEW`), or none is known.
    """
    answered = f"{note.split(signed)[0]}\n{lines}"
    for time in note.verify(answered, verifiers).times:
        if time is None or abs(time - now) > SKEW:
            raise LedgerRefused(Check.NOTE, f"a cosignature states the time {time}; compare the clocks")
    return note.lines_of(answered, verifiers)


def _malformed(message: str) -> WitnessRefused:
    return WitnessRefused(400, message)
