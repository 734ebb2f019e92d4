"""What this gateway does for the ledgers of others: it cosigns their checkpoints (C2SP tlog-witness).

It knows the logs whose key lists it trusts, and holds of each the newest checkpoint that it cosigned. To
check and to replace what is held is one step, also for replicas on one database: each step from a held size
is a document that can be written once. A checkpoint is cosigned only after its step is durable.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct

from adapters import KeyTaken
from adapters.sequencer import Sequencer
from adapters.store import Document
from gateway.ids import new_id
from security import note, witness
from security.errors import TrustError, WitnessRefused
from security.keys import Signer
from security.ledger import seal
from security.note import NoteVerifier
from security.trust import TrustList

HELD, STEP, CONFLICT = "witnessed", "witnessed-step", "conflict"
KEPT = timedelta(hours=1)
"""How long steps are kept: no request lives that long, so none finds its step gone and takes it again."""


class ConflictNotes(Struct, frozen=True, kw_only=True):
    """Two checkpoints of one size with two roots, both signed by one log."""

    origin: str
    size: int
    held: str
    shown: str
    at: datetime


class Conflicts(Struct, frozen=True):
    """The conflicts on record, the first hundred of them."""

    conflicts: tuple[ConflictNotes, ...]


def log_name(owner: str) -> str:
    """The origin of an owner's checkpoints (C2SP tlog-checkpoint)."""
    return f"{owner}.lianren.example/exchange"


def witness_name(owner: str) -> str:
    """The name under which an owner cosigns the checkpoints of others."""
    return f"{owner}.lianren.example/witness"


def log_id(origin: str) -> str:
    """What stands for an origin in an address: its SHA-256 in hexadecimal."""
    return hashlib.sha256(origin.encode()).hexdigest()


def verifiers_of(trust: TrustList, owner: str, purpose: str, now: datetime) -> list[NoteVerifier]:
    """The keys by which an owner signs checkpoints (``log``) or cosigns them (``witness``) now."""
    held = trust.lists.get(owner)
    cosigns = purpose == "witness"
    name = witness_name(owner) if cosigns else log_name(owner)
    found = []
    for key in held.keys if held else ():
        try:
            trust.key(key.kid, now, purpose)
            found.append(NoteVerifier.of(name, key, cosigns=cosigns))
        except TrustError:  # retired, compromised, or not for notes
            continue
    return found


class Cosigner:
    """Cosigns the checkpoints of the pinned owners' logs.

    Args:
        owner: this gateway.
        owners: those whose logs it witnesses.
        signers: its keys for the purpose ``witness``.
        trust: the trust list of now.
    """

    def __init__(
        self,
        owner: str,
        owners: Sequence[str],
        signers: Sequence[Signer],
        trust: Callable[[], TrustList],
        sequencer: Sequencer,
        log: Callable[..., None],
    ) -> None:
        self._owner = owner
        self._owners = {log_name(other): other for other in owners if other != owner}
        self._signers = signers
        self._trust = trust
        self._sequencer = sequencer
        self._store = sequencer.store
        self._log = log

    async def add(self, body: bytes) -> str:
        """Cosign the checkpoint of a request: the signature lines.

        Raises:
            WitnessRefused: with the status that the specification says; 503 while the own ledger has trouble.
            KeyStoreError: no key of this witness counts now.
            StoreError: what is held cannot be read or written; nothing is cosigned then.
        """
        if trouble := self._sequencer.trouble:  # a database that lost entries lost what it witnessed, too
            raise WitnessRefused(503, f"this gateway's own ledger is not kept now: {trouble}")
        submission = witness.Submission.from_bytes(body)
        now = datetime.now(UTC)
        origin = submission.checkpoint.origin
        owner = self._owners.get(origin, "")
        held = await self.held(origin)
        try:
            new = witness.examine(submission, verifiers_of(self._trust(), owner, "log", now), held)
        except witness.Conflict as conflict:
            await self.keep_conflict(owner, conflict, now)
            raise
        if new.size > (old := _size(held)):
            await self._advance(origin, old, new, now)
        name = witness_name(self._owner)  # in a thread: a crypto machine may take its time
        return "".join(await asyncio.to_thread(note.cosignatures, new.note, name, self._signers, now))

    async def held(self, origin: str) -> witness.Held | None:
        """The newest checkpoint of a log that was cosigned here: what was noted, and the steps from there."""
        noted = await self._store.document(HELD, origin)
        held = msgspec.json.decode(noted.body, type=witness.Held) if noted else None
        while step := await self._store.find(STEP, f"{origin}@{_size(held)}"):
            held = msgspec.json.decode(step.body, type=witness.Held)
        return held

    async def newest(self, id_: str) -> str | None:
        """The note of the newest checkpoint cosigned here, by the :func:`log_id` of its origin."""
        for origin in self._owners:
            if log_id(origin) == id_ and (held := await self.held(origin)):
                return held.note
        return None

    async def conflicts(self) -> Conflicts:
        """What is on record."""
        kept = await self._store.documents(CONFLICT)
        return Conflicts(tuple(msgspec.json.decode(document.body, type=ConflictNotes) for document in kept))

    async def keep_conflict(self, owner: str, conflict: witness.Conflict, now: datetime) -> None:
        """Write down two heads that contradict each other, once, and raise the alarm."""
        shown = note.checkpoint_of(conflict.shown)
        notes = ConflictNotes(
            origin=shown.origin, size=shown.size, held=conflict.held, shown=conflict.shown, at=now
        )
        body = msgspec.json.encode(notes)
        entry = seal(
            "conflict", body, time=now, from_=owner, to=self._owner, hash_name=self._sequencer.hash_name
        )
        id_ = f"{shown.origin}/{shown.size}/{shown.root.hex()}"
        try:
            await self._sequencer.append([entry], [Document(kind=CONFLICT, id=id_, body=body, at=now)])
        except KeyTaken:  # shown before
            return
        self._log("heads_conflict", origin=shown.origin, size=shown.size)

    async def _advance(self, origin: str, old: int, new: witness.Held, now: datetime) -> None:
        """Go on from the held size to a new one, unless somebody else did."""
        body = msgspec.json.encode(new)
        step = Document(kind=STEP, id=new_id(now), key=f"{origin}@{old}", body=body, at=now)
        try:
            await self._store.commit([], [step])
        except KeyTaken:
            raise witness.Stale(_size(await self.held(origin))) from None
        await self._store.replace(Document(kind=HELD, id=origin, body=body, at=now))
        await self._store.prune(STEP, new_id(now - KEPT))


def _size(held: witness.Held | None) -> int:
    return held.size if held else 0


def status_of(refused: WitnessRefused) -> tuple[int, str, str]:
    """Status, media type and body of a refusal: 409 says the size that is held."""
    if isinstance(refused, witness.Stale | witness.Conflict):
        return refused.status, "text/x.tlog.size", f"{refused.size}\n"
    return refused.status, "text/plain", f"{refused}\n"
