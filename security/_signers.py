"""Whose signatures on a checkpoint an auditor accepts: the pinned keys, and what pinned roots say of keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from security.errors import Check, KeyListRefused, LedgerRefused
from security.keys import PublicKey
from security.note import NoteVerifier, VerifiedNote
from security.trust import KeyList, TrustList, read_key_list

_NOTE_PURPOSES = {"log": False, "witness": True}  # whether keys of the purpose cosign


class Pinned(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the auditor trusts; readable from JSON.

    `logs` are verifier keys of notes, of one gateway's log and of it as a witness; `roots` are its root keys,
    which vouch for the key lists in the export. `others` are the pins of other gateways, each apart, so that
    nobody's roots speak for the keys of somebody else. `required` names must have signed.
    """

    logs: tuple[str, ...]
    required: int = 1
    roots: tuple[PublicKey, ...] = ()
    others: tuple[Pinned, ...] = ()

    def each(self) -> Iterator[Pinned]:
        """The pins of each gateway."""
        yield self
        for other in self.others:
            yield from other.each()

    def every_root(self) -> tuple[PublicKey, ...]:
        """The roots of all of them."""
        return tuple(root for pins in self.each() for root in pins.roots)


def vouched(
    envelopes: Sequence[bytes], roots: Sequence[PublicKey], newer: Sequence[bytes] = ()
) -> tuple[TrustList, str]:
    """The key lists that the pinned roots vouch for, each owner's newest; and why one was left out.

    What the auditor brings (`newer`) is not left out: raises KeyListRefused.
    """
    newest: dict[str, KeyList] = {}
    refused = ""
    for envelope in newer:
        found = read_key_list(envelope, roots)
        newest[found.owner] = found
    for envelope in envelopes:
        try:
            found = read_key_list(envelope, roots)
        except KeyListRefused as wrong:
            refused = f"({wrong})"
            continue
        if found.owner not in newest or newest[found.owner].version < found.version:
            newest[found.owner] = found
    return TrustList(roots, newest.values()), refused


def verifiers_of(pinned: Pinned, trust: TrustList) -> dict[NoteVerifier, str]:
    """The pinned verifier keys, and those that came after them: keys that the key list of the same owner has
    for the same purpose. Each with its owner, whose roots were pinned beside it; empty where none were.
    Raises LedgerRefused for a malformed pin, and where the pins of several owners are not apart."""
    found: dict[NoteVerifier, str] = {}
    whose: dict[str, str] = {}
    for pins in pinned.each():
        logs = [NoteVerifier.from_text(key) for key in pins.logs]
        owners = {root.owner for root in pins.roots}
        if len(owners) > 1:
            raise LedgerRefused(
                Check.NOTE, "the pins of several gateways are one; give each a file of its own"
            )
        owner = "".join(owners)
        for verifier in logs:
            if whose.setdefault(verifier.name, owner) != owner:
                raise LedgerRefused(Check.NOTE, f"{verifier.name} is in the pins of two gateways")
            found[verifier] = owner
        held = trust.lists.get(owner)
        for purpose, cosigns in _NOTE_PURPOSES.items():
            listed = held.keys if held else ()
            keys = [key for key in listed if key.purpose == purpose and key.algorithm != "ES256"]
            raw = {(key.algorithm, key.raw) for key in keys}
            names = {
                pin.name for pin in logs if pin.cosigns == cosigns and (pin.algorithm, pin.public) in raw
            }
            found |= {NoteVerifier.of(name, key, cosigns=cosigns): owner for name in names for key in keys}
    return found


def owner_of(signed: VerifiedNote, verifiers: Mapping[NoteVerifier, str]) -> str:
    """Whose log signed; empty where no root was pinned beside its key."""
    origin = signed.checkpoint.origin
    return next((verifiers[one] for one in signed.signed_by if one.name == origin and verifiers[one]), "")


def check_signers(
    signed: VerifiedNote, verifiers: Mapping[NoteVerifier, str], trust: TrustList, moment: datetime
) -> None:
    """Raise KeyNotValid where the owner's key list says that a key which signed did not count then.

    A cosignature says when it was made; a log's own signature was made at `moment` or later.
    """
    for verifier, time in zip(signed.signed_by, signed.times, strict=True):
        purpose = next(name for name, cosigns in _NOTE_PURPOSES.items() if cosigns == verifier.cosigns)
        held = trust.lists.get(verifiers[verifier])
        for key in held.keys if held else ():
            if (key.purpose, key.algorithm, key.raw) == (purpose, verifier.algorithm, verifier.public):
                key.check(time or moment, purpose)


def signed_sentence(verified: VerifiedNote, size: int) -> tuple[str, str]:
    """Who signed a checkpoint: its log, and the witnesses with it; how many of `size` entries those saw."""
    origin, seen = verified.checkpoint.origin, verified.checkpoint.size
    witnesses = [name for name in verified.names if name != origin]
    zh, en = "，无已固定的见证", ", and cosigned by nobody pinned"
    if witnesses:
        names = ", ".join(witnesses)
        zh, en = f"；前 {seen} 条由 {names} 见证", f"; {names} cosigned {seen} of {size} entries"
    return f"检查点由账本自己的密钥签名{zh}", f"the checkpoint is signed by {origin}{en}"
