"""That a ledger holds a mark, as one text file: C2SP tlog-proof, version 1.

    c2sp.org/tlog-proof@v1
    extra <base64 of salt (32 bytes) ‖ entry>
    index <number of the entry, from 0>
    <base64 of a hash>            the inclusion proof, from the leaf upwards

    <the signed checkpoint>

`extra` is what leads from the mark to the leaf: the entry as it stands in the ledger, and the salt that opens
its commitment to the mark's bytes. Nothing of it is believed: the entry must hash to the leaf, and name and
open to this very mark. The checkpoint must be signed by a log key of the mark's issuer; further signatures
(of witnesses) are carried along for those who know their keys.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode

from msgspec import Struct

from security import note
from security.errors import Check, KeyNotValid, LedgerRefused
from security.ledger import SALT_SIZE, opens, read_entry
from security.note import Checkpoint, NoteVerifier
from security.tree import HASH_SIZE, leaf_hash, verify_inclusion
from security.trust import TrustList

HEADER = "c2sp.org/tlog-proof@v1"
SUFFIX = ".tlog-proof"
MEDIA_TYPE = "text/plain"
MAX_HASHES = 64  # a tree of 2⁶³ entries
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")
_LOG_ALGORITHMS = ("Ed25519", "SM2")


class Proof(Struct, frozen=True, kw_only=True):
    """A proof as read: where the entry stands, the hashes upwards, the note, the entry and its salt."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str
    entry: bytes
    salt: bytes

    def to_text(self) -> str:
        """The file."""
        lines = [HEADER, f"extra {_encoded(self.salt + self.entry)}", f"index {self.index}"]
        lines += map(_encoded, self.hashes)
        return "\n".join(lines) + f"\n\n{self.checkpoint}"


def read(text: str | bytes) -> Proof:
    """Read a proof, strictly and without verifying. Raises LedgerRefused."""
    try:
        text = text.decode() if isinstance(text, bytes) else text
    except UnicodeError:
        raise _refused("it is not text in UTF-8") from None
    head, gap, checkpoint = text.partition("\n\n")
    lines = head.split("\n")
    if not gap or len(lines) < 3 or lines[0] != HEADER:
        raise _refused(f"it does not begin with {HEADER}, or holds no checkpoint after an empty line")
    if not lines[1].startswith("extra "):
        raise _refused("its second line must be 'extra' with the entry of the mark")
    extra = _decoded(lines[1].removeprefix("extra "))
    index = _INDEX.fullmatch(lines[2])
    if index is None or len(extra) <= SALT_SIZE or len(lines) > 3 + MAX_HASHES:
        raise _refused("its index, its entry or the number of its hashes cannot be")
    hashes = tuple(map(_decoded, lines[3:]))
    if any(len(value) != HASH_SIZE for value in hashes):
        raise _refused(f"a hash is not of {HASH_SIZE} bytes")
    return Proof(
        index=int(index[1]),
        hashes=hashes,
        checkpoint=checkpoint,
        entry=extra[SALT_SIZE:],
        salt=extra[:SALT_SIZE],
    )


def verify(text: str | bytes, *, payload: bytes, mark_id: bytes, issuer: str, trust: TrustList) -> Checkpoint:
    """The checkpoint under which the issuer's ledger holds the mark of these bytes (`payload`).

    1. The file reads as a proof.
    2. Its entry records this mark, and salt and mark open the entry's commitment.
    3. A log key of the issuer, in its trusted key list and not compromised, signed the checkpoint. A note has
       no time of its own, so a key that was retired since still counts.
    4. Entry and hashes lead to the checkpoint's root.

    Raises LedgerRefused.
    """
    # 1
    proof = read(text)
    # 2
    entry = read_entry(proof.entry)
    if (entry.type, entry.mark, entry.from_) != ("mark", mark_id.hex(), issuer):
        raise _refused("its entry records another mark")
    if not opens(proof.entry, proof.salt, payload):
        raise _refused("its entry commits to other bytes than this mark's")
    # 3
    origin = Checkpoint.from_text(note.split(proof.checkpoint)[0]).origin
    checkpoint = note.verify_checkpoint(proof.checkpoint, _logs_of(issuer, origin, trust)).checkpoint
    # 4
    leaf = leaf_hash(proof.entry, checkpoint.hash_name)
    verify_inclusion(leaf, proof.index, checkpoint.size, proof.hashes, checkpoint.root, checkpoint.hash_name)
    return checkpoint


def _logs_of(issuer: str, origin: str, trust: TrustList) -> list[NoteVerifier]:
    held = trust.lists.get(issuer)
    found = []
    for key in held.keys if held else ():
        if key.purpose == "log" and key.status != "compromised" and key.algorithm in _LOG_ALGORITHMS:
            try:
                found.append(NoteVerifier.of(origin, key))
            except KeyNotValid as wrong:
                raise _refused(str(wrong)) from None
    if not found:
        raise _refused(f"no log key of '{issuer}' is trusted; obtain its key list")
    return found


def _encoded(data: bytes) -> str:
    return b64encode(data).decode()


def _decoded(text: str) -> bytes:
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data or _encoded(data) != text:
        raise _refused("a line is not base64 in its one encoding")
    return data


def _refused(why: str) -> LedgerRefused:
    return LedgerRefused(Check.MARKS, f"not a proof that the mark is in a ledger: {why}")
