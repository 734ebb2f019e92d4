"""Whether a log showed every witness the same ledger: what they hold of it is compared.

One witness alone cannot tell that a log keeps a second ledger for the next one. So each asks the others, now
and then, which checkpoints of the logs that it witnesses they hold. Two roots of one size are a conflict;
checkpoints of two sizes the log itself must join by a consistency proof.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from adapters import Line, NodeError, NodeRefused, StoreError, Timeouts
from gateway.settings import PinSettings
from gateway.tasks import stop
from gateway.witness.cosigning import Cosigner, log_id, log_name, verifiers_of
from security import note, witness
from security.errors import LedgerRefused
from security.tree import verify_consistency
from security.trust import TrustList

EVERY = 12
"""Rounds to the witnesses between two comparisons."""
_CALL_S = 2.0


class _Proof(Struct, frozen=True):
    """What the ledger's face answers to ``?old=&size=``."""

    hashes: tuple[str, ...]


class Comparer:
    """Compares what the pinned gateways hold of each other's logs."""

    def __init__(
        self,
        owner: str,
        pins: Sequence[PinSettings],
        cosigner: Cosigner,
        trust: Callable[[], TrustList],
        log: Callable[..., None],
    ) -> None:
        pinned = [pin for pin in pins if pin.owner != owner]
        self._lines = {pin.owner: Line(pin.url, timeout=Timeouts.within(_CALL_S)) for pin in pinned}
        self._cosigner = cosigner
        self._trust = trust
        self._log = log
        self._task: asyncio.Task[None] | None = None

    def start(self, every: float) -> None:
        """Begin to compare, every so many seconds."""
        if len(self._lines) > 1:  # a log and another witness of it
            self._task = asyncio.create_task(self._run(every), name="comparer")

    async def aclose(self) -> None:
        """Stop."""
        await stop(self._task)
        for line in self._lines.values():
            await line.aclose()

    async def _run(self, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            try:
                await self.round()
            except StoreError as wrong:  # the database is away: the next round finds it, or does not either
                self._log("witnesses_not_asked", detail=str(wrong))

    async def round(self) -> None:
        """Compare what is held of every log here with what every other gateway holds of it.

        Raises:
            StoreError: the database cannot be read or written.
        """
        for owner in self._lines:
            held = await self._cosigner.held(log_name(owner))
            for other in self._lines:
                if held and other != owner and (shown := await self._shown(owner, other)):
                    await self._compare(owner, other, held, shown)

    async def _shown(self, owner: str, other: str) -> str:
        """What another gateway holds of a log, signed by that log; empty where it shows no such thing."""
        try:
            path = f"witness/{log_id(log_name(owner))}/checkpoint"
            reply = await self._lines[other].exchange("GET", path)
            text = reply.body.decode() if reply.status == 200 else ""
            if text:
                verifiers = verifiers_of(self._trust(), owner, "log", datetime.now(UTC))
                note.verify_checkpoint(text, verifiers)
        except (NodeError, LedgerRefused, UnicodeDecodeError):
            return ""
        return text

    async def _compare(self, owner: str, other: str, held: witness.Held, shown: str) -> None:
        checkpoint = note.checkpoint_of(shown)
        if checkpoint.size == held.size:
            if checkpoint.root != held.root:
                conflict = witness.Conflict(held.size, held.note, shown)
                await self._cosigner.keep_conflict(owner, conflict, datetime.now(UTC))
            return
        (old, old_root), (new, new_root) = sorted(
            ((held.size, held.root), (checkpoint.size, checkpoint.root)), key=lambda head: head[0]
        )
        try:
            params = {"old": str(old), "size": str(new)}
            answered = await self._lines[owner].get_json("ledger/proof", params)
            proof = [bytes.fromhex(part) for part in msgspec.json.decode(answered, type=_Proof).hashes]
            verify_consistency(old, new, proof, old_root, new_root, checkpoint.hash_name)
        except (NodeRefused, LedgerRefused, msgspec.MsgspecError, ValueError):
            # no proof: it knows no ledger of a size that it signed, or says something else
            self._log("heads_not_joined", origin=checkpoint.origin, size=new, former=old, witness=other)
        except NodeError:
            return  # a log that is away has not contradicted itself
