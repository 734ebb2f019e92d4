"""Signed notes and checkpoints of a log (C2SP signed-note, tlog-checkpoint and tlog-cosignature, v1.0.0).

A note is text that ends in a newline, an empty line, and signature lines `— <name> <base64(key id ‖
signature)>`. A checkpoint is a note whose text says origin, size and root. Signature types: Ed25519 is 0x01
(stock tools read it); SM2 is 0xff and the long identifier `SM2-SM3`, its key 04‖X‖Y, its signature raw,
both with the default identity.

A witness signs otherwise than a log: a cosignature states since when the witness knows of no larger tree, and
is the time (8 bytes, seconds, big-endian) ‖ a signature over `cosignature/v1`, `time <seconds>` and the text,
a line each. Its types are 0x04 for Ed25519, and 0xff `cosignature/v1-SM2-SM3` for SM2.

    key id       = SHA-256(name ‖ 0x0A ‖ type ‖ key)[:4]
    verifier key = <name>+<key id in hexadecimal>+<base64 of type ‖ key>

A domestic log hashes with SM3 and says so by the last part of its origin, as `log.cq.example/exchange/sm3`.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from security.digests import HashName, sha256
from security.errors import Check, KeyNotValid, LedgerRefused, SignatureRefused
from security.keys import Algorithm, PublicKey, Signer, raw_verifier

MAX_NOTE, MAX_SIGNATURES = 1_000_000, 100  # the limits of the Go reference implementation
_SIGNATURE_MARK = "— "
_TIME_SIZE = 8
_TYPES: dict[tuple[Algorithm, bool], bytes] = {  # by algorithm, and whether it is a witness's
    ("Ed25519", False): b"\x01",
    ("Ed25519", True): b"\x04",
    ("SM2", False): b"\xffSM2-SM3",
    ("SM2", True): b"\xffcosignature/v1-SM2-SM3",
}
_NAME = re.compile(r"[^\s+]+")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


class Checkpoint(Struct, frozen=True):
    """The state of a log: where it is (`origin`), how many entries, and the root over them (32 bytes)."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def to_text(self) -> str:
        """The note's text."""
        lines = (self.origin, str(self.size), b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def from_text(cls, text: str) -> Checkpoint:
        """Read a note's text, strictly. Raises LedgerRefused."""
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() != "" or not all(lines):
            raise _refused("a checkpoint has at least three lines, none of them empty")
        origin, size, root, *extensions = lines
        if not _SIZE.fullmatch(size):
            raise _refused("the second line of a checkpoint is its size, a decimal number")
        digest = _from_base64(root)
        if digest is None or len(digest) != 32:
            raise _refused("the third line of a checkpoint is its root, 32 bytes in base64")
        return cls(origin, int(size), digest, tuple(extensions))

    @property
    def hash_name(self) -> HashName:
        """The hash of the log's tree, as its origin says."""
        return hash_of(self.origin)


class NoteVerifier(Struct, frozen=True):
    """A name and a key that may sign notes under it, or cosign them; its text form is the verifier key."""

    name: str
    algorithm: Algorithm
    public: bytes
    cosigns: bool = False

    @property
    def key_id(self) -> bytes:
        """4 bytes that tell the name's keys apart."""
        return sha256(self.name.encode() + b"\n" + self._typed_key())[:4]

    def to_text(self) -> str:
        """The verifier key."""
        return f"{self.name}+{self.key_id.hex()}+{b64encode(self._typed_key()).decode()}"

    @classmethod
    def from_text(cls, text: str) -> NoteVerifier:
        """Read a verifier key, strictly. Raises LedgerRefused."""
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        typed_key = _from_base64(encoded)
        if not _NAME.fullmatch(name) or not typed_key:
            raise _refused("a verifier key is <name>+<key id in hexadecimal>+<base64>")
        for (algorithm, cosigns), prefix in _TYPES.items():
            if typed_key.startswith(prefix):
                found = cls(name, algorithm, typed_key.removeprefix(prefix), cosigns)
                if found.key_id.hex() != key_id:
                    raise _refused(f"the key id of the verifier key of {name} is not that of its key")
                _check_public(found)
                return found
        raise _refused(f"the verifier key of {name} is of an unknown type; known: Ed25519 and SM2")

    @classmethod
    def of(cls, name: str, key: PublicKey, *, cosigns: bool = False) -> NoteVerifier:
        """The verifier of a key under a name. Raises LedgerRefused when either is unfit for notes."""
        found = cls(name, key.algorithm, key.raw, cosigns)
        if (key.algorithm, cosigns) not in _TYPES or not _NAME.fullmatch(name):
            raise _refused(f"{key.algorithm} under the name '{name}' cannot sign notes")
        return found

    def read(self, text: str, signature: bytes) -> datetime | None:
        """The time of a cosignature of `text`, or None for a plain signature of it.

        Raises SignatureRefused, KeyNotValid.
        """
        verifier = raw_verifier(self.algorithm, self.public)
        if not self.cosigns:
            verifier.verify(text.encode(), signature)
            return None
        seconds = int.from_bytes(signature[:_TIME_SIZE], "big")
        verifier.verify(_cosigned(text, seconds), signature[_TIME_SIZE:])
        try:
            return datetime.fromtimestamp(seconds, UTC)
        except (ValueError, OverflowError, OSError):
            raise SignatureRefused("a cosignature of a time beyond the calendar") from None

    def _typed_key(self) -> bytes:
        return _TYPES[self.algorithm, self.cosigns] + self.public


class VerifiedNote(Struct, frozen=True):
    """A note's text, who of the given verifiers signed it, and when (a plain signature states no time)."""

    text: str
    signed_by: tuple[NoteVerifier, ...]
    times: tuple[datetime | None, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Who signed, each once however many keys it has."""
        return tuple(dict.fromkeys(verifier.name for verifier in self.signed_by))

    @property
    def checkpoint(self) -> Checkpoint:
        """The text as a checkpoint. Raises LedgerRefused when it is another note's."""
        return Checkpoint.from_text(self.text)


def hash_of(origin: str) -> HashName:
    """The hash of a log's tree: SM3 where the last part of the origin says `sm3`, else C2SP's SHA-256."""
    return "sm3" if origin.rpartition("/")[2] == "sm3" else "sha256"


def sign(text: str, name: str, signers: Iterable[Signer]) -> str:
    """The note of `text`, signed under `name` by each signer. Raises LedgerRefused for unfit text or name."""
    note = text + "\n"
    for signer in signers:
        key_id = NoteVerifier.of(name, signer.public).key_id
        note += _signature_line(name, key_id + signer.sign(text.encode()))
    split(note)
    return note


def cosign(note: str, name: str, signers: Iterable[Signer], now: datetime) -> str:
    """The note with a witness's cosignatures. Raises LedgerRefused for malformed notes."""
    return note + "".join(cosignatures(note, name, signers, now))


def cosignatures(note: str, name: str, signers: Iterable[Signer], now: datetime) -> list[str]:
    """The lines by which a witness cosigns the note at `now` (aware). Raises LedgerRefused."""
    text, seconds = split(note)[0], int(now.timestamp())
    return [
        _signature_line(
            name,
            NoteVerifier.of(name, signer.public, cosigns=True).key_id
            + seconds.to_bytes(_TIME_SIZE, "big")
            + signer.sign(_cosigned(text, seconds)),
        )
        for signer in signers
    ]


def verify(note: str | bytes, verifiers: Iterable[NoteVerifier], required: int = 1) -> VerifiedNote:
    """The note's text, when at least `required` names of the `verifiers` signed it.

    A name counts once, however many of its keys signed. Lines of other names and keys are ignored, a line
    repeated counts once; a line by one of the verifiers that does not verify refuses the whole note. Raises
    LedgerRefused.
    """
    text, signatures = split(note)
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    times: dict[NoteVerifier, datetime | None] = {}
    for name, key_id, signature in signatures:
        verifier = known.get((name, key_id))
        if verifier is None or verifier in times:
            continue
        try:
            times[verifier] = verifier.read(text, signature)
        except (SignatureRefused, KeyNotValid):
            raise _refused(f"the signature of {name} (key {key_id.hex()}) does not verify") from None
    verified = VerifiedNote(text, tuple(times), tuple(times.values()))
    if len(verified.names) < max(required, 1):
        raise _refused(
            f"{len(verified.names)} of the trusted names signed the note, {max(required, 1)} are required"
        )
    return verified


def verify_checkpoint(
    note: str | bytes, verifiers: Iterable[NoteVerifier], required: int = 1
) -> VerifiedNote:
    """As `verify`; the log itself, whose name is the checkpoint's origin, must be among those who signed.

    Otherwise one log could speak for another that is pinned beside it. Raises LedgerRefused.
    """
    verified = verify(note, verifiers, required)
    origin = verified.checkpoint.origin
    if origin not in {verifier.name for verifier in verified.signed_by}:
        raise _refused(f"the checkpoint of {origin} is not signed by that log")
    return verified


def lines_of(note: str, verifiers: Sequence[NoteVerifier]) -> list[str]:
    """The signature lines of the note by these verifiers, unverified. Raises LedgerRefused."""
    known = {(verifier.name, verifier.key_id) for verifier in verifiers}
    return [
        _signature_line(name, key_id + signature)
        for name, key_id, signature in split(note)[1]
        if (name, key_id) in known
    ]


def checkpoint_of(note: str) -> Checkpoint:
    """What a note says as a checkpoint, unverified. Raises LedgerRefused."""
    return Checkpoint.from_text(split(note)[0])


def split(note: str | bytes) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """A note's text and its signatures as (name, key id, signature), unverified. Raises LedgerRefused."""
    try:
        note = note.decode() if isinstance(note, bytes) else note
        size = len(note.encode())
    except UnicodeError:
        raise _refused("a note is text in UTF-8") from None
    if size > MAX_NOTE or any(character < " " and character != "\n" for character in note):
        raise _refused("a note has no control characters and at most a million bytes")
    head, gap, tail = note.rpartition("\n\n")
    if not gap or not tail.endswith("\n"):
        raise _refused("a note is text, an empty line and signature lines, each ended by a newline")
    lines = tail.removesuffix("\n").split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise _refused(f"a note has at most {MAX_SIGNATURES} signatures")
    return head + "\n", [_read_signature(line) for line in lines]


def _read_signature(line: str) -> tuple[str, bytes, bytes]:
    name, _, encoded = line.removeprefix(_SIGNATURE_MARK).partition(" ")
    data = _from_base64(encoded)
    if not line.startswith(_SIGNATURE_MARK) or not _NAME.fullmatch(name) or data is None or len(data) < 5:
        raise _refused("a signature line is '— <name> <base64 of key id and signature>'")
    return name, data[:4], data[4:]


def _cosigned(text: str, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def _signature_line(name: str, data: bytes) -> str:
    return f"{_SIGNATURE_MARK}{name} {b64encode(data).decode()}\n"


def _check_public(verifier: NoteVerifier) -> None:
    try:
        raw_verifier(verifier.algorithm, verifier.public)
    except KeyNotValid as wrong:
        raise _refused(f"the verifier key of {verifier.name}: {wrong}") from None


def _from_base64(text: str) -> bytes | None:
    """The bytes of padded base64 in its one encoding, or None."""
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if b64encode(data).decode() == text else None


def _refused(message: str) -> LedgerRefused:
    return LedgerRefused(Check.NOTE, message)
