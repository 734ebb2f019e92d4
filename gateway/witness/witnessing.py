"""What others do for this gateway's ledger: they cosign its checkpoints, and remember them.

Every few seconds the newest checkpoint goes to each witness. The newest one that enough gateways signed is
kept as the cosigned one. A witness that is away, lags or lies is named and stops no traffic.

Witnesses and a file (:mod:`gateway.witness.published`) remember what was published. What a witness claims
counts only with this ledger's own signature under it. Where one of them knows a longer ledger than the
database holds, or another one, nothing more is signed: at the start the gateway does not start, while it runs
it refuses every check, until the newest copy of the database is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from adapters import Line, NodeError, StoreError, Timeouts
from adapters.sequencer import Sequencer
from adapters.store import Document, Head, Store
from gateway.metrics import Metrics
from gateway.settings import PinSettings
from gateway.tasks import stop
from gateway.witness.cosigning import CONFLICT, ConflictNotes, log_id, log_name, verifiers_of
from gateway.witness.published import Published
from security import witness
from security.errors import LedgerRefused, TrustError
from security.keys import PublicKey
from security.note import NoteVerifier, checkpoint_of
from security.trust import TrustList

COSIGNED, NEWEST = "cosigned", "newest"
CALL_S = 2.0
"""Seconds for one call to a witness."""
_TURNS = 3

WitnessState = Literal["unasked", "cosigns", "away", "refuses", "faulty"]


class WitnessReport(Struct, frozen=True, kw_only=True):
    """What came of the last round to one witness; ``size`` of the newest checkpoint it cosigned."""

    owner: str
    state: WitnessState = "unasked"
    size: int = 0
    detail: str = ""


class WitnessingReport(Struct, frozen=True, kw_only=True):
    """The ledger as others see it: for readiness."""

    quorum: int
    cosigned_size: int
    cosigned_at: datetime | None
    witnesses: tuple[WitnessReport, ...]
    conflicts: int
    refusal: str


async def newest_cosigned(store: Store) -> str | None:
    """The newest checkpoint that a quorum signed, with its cosignatures; None when there is none yet."""
    document = await store.document(COSIGNED, NEWEST)
    return document.body.decode() if document else None


class Witnesses:
    """Shows this ledger's checkpoints to the pinned gateways that witness it.

    Args:
        owner: this gateway.
        pins: the pinned gateways; those with ``witness`` are asked.
        keys: this gateway's own public keys, read anew each time.
        data_dir: where the published checkpoint is remembered, outside the database.
        quorum: gateways that must have signed, this one counted.
    """

    def __init__(
        self,
        owner: str,
        pins: Sequence[PinSettings],
        keys: Callable[[], Sequence[PublicKey]],
        store: Store,
        data_dir: Path,
        quorum: int,
        log: Callable[..., None],
        metrics: Metrics,
    ) -> None:
        self._origin = log_name(owner)
        self._store = store
        self._published = Published(self._origin, keys, store, data_dir)
        self._quorum = quorum
        self._log = log
        self._metrics = metrics
        self._lines = {
            pin.owner: Line(pin.url, timeout=Timeouts.within(CALL_S)) for pin in pins if pin.witness
        }
        self._reports = {owner: WitnessReport(owner=owner) for owner in self._lines}
        self._reader = Sequencer(store, (), self._origin)
        self._cosigned_size = 0
        self._cosigned_at: datetime | None = None
        self._refusal = ""
        self._task: asyncio.Task[None] | None = None

    async def guard(self, head: Head) -> None:
        """For the start of the sequencer.

        Raises:
            StoreError: the published checkpoint, or one that a witness shows, is not continued by the ledger.
        """
        published = await self._published.read()
        shown = await asyncio.gather(*(self._shown(owner) for owner in self._lines))
        for text in (published, *shown):
            if text and (why := await self._published.contradiction(text, head)):
                raise StoreError(why)

    def start(self, sequencer: Sequencer, trust: Callable[[], TrustList], every: float) -> None:
        """Begin the rounds."""
        self._task = asyncio.create_task(self._run(sequencer, trust, every), name="witnesses")

    async def aclose(self) -> None:
        """End the rounds, and remember what was published last."""
        if self._task:
            await stop(self._task)
            if not self._refusal:
                with suppress(StoreError):  # the next start compares with what was remembered before
                    if signed := await self._store.note():
                        await self._published.remember(signed)
        for line in self._lines.values():
            await line.aclose()

    async def report(self) -> WitnessingReport:
        """How things stand; what is on record from before a start is in the metrics again, too."""
        conflicts = len(await self._store.documents(CONFLICT))
        self._metrics.conflicts.set(conflicts)
        return WitnessingReport(
            quorum=self._quorum,
            cosigned_size=self._cosigned_size,
            cosigned_at=self._cosigned_at,
            witnesses=tuple(self._reports.values()),
            conflicts=conflicts,
            refusal=self._refusal,
        )

    async def _run(self, sequencer: Sequencer, trust: Callable[[], TrustList], every: float) -> None:
        while not self._refusal:
            try:
                await self.round(sequencer, trust())
            except (StoreError, TrustError) as wrong:  # the next round finds it, or does not either
                self._log("witnesses_not_asked", detail=str(wrong))
            await asyncio.sleep(every)

    async def round(self, sequencer: Sequencer, trust: TrustList) -> None:
        """Compare the database with what was published, show its newest checkpoint to every witness, and keep
        it with their cosignatures.

        Raises:
            StoreError: the database cannot be read or written.
        """
        signed = await self._store.note()
        for known in (await self._published.read(), signed):
            if known and (why := await self._published.contradiction(known, await self._store.head())):
                self._refuse(sequencer, why)
                return
        if signed is None:
            return
        await self._published.remember(signed)
        now = datetime.now(UTC)
        answers = await asyncio.gather(
            *(self._ask(owner, signed, verifiers_of(trust, owner, "witness", now)) for owner in self._lines)
        )
        lines: list[str] = []
        for report, cosignatures, shown in answers:
            self._note(report)
            lines += cosignatures
            if shown and (why := await self._published.contradiction(shown, await self._store.head())):
                await self._keep_other(shown, now)
                self._refuse(sequencer, why)
                return
        names = 1 + sum(report.state == "cosigns" for report, _, _ in answers)
        size = checkpoint_of(signed).size
        if names >= self._quorum and size >= self._cosigned_size:
            body = (signed + "".join(lines)).encode()
            await self._store.replace(Document(kind=COSIGNED, id=NEWEST, body=body, at=now))
            self._cosigned_size, self._cosigned_at = size, now
            self._metrics.cosigned_size.set(size)

    async def _ask(
        self, owner: str, signed: str, verifiers: Sequence[NoteVerifier]
    ) -> tuple[WitnessReport, list[str], str]:
        """What a witness said to a checkpoint: the report, its cosignatures, and a note that it holds against
        this one."""
        line, size = self._lines[owner], checkpoint_of(signed).size
        report = WitnessReport(owner=owner, size=self._reports[owner].size)
        try:
            old = min(report.size, size)
            for _ in range(_TURNS):
                proof = await self._reader.consistency(old, size)
                body = witness.Submission(old, tuple(proof), signed).to_bytes()
                reply = await line.exchange("POST", "witness/add-checkpoint", body)
                if reply.status == 200:
                    lines = witness.cosigned(signed, reply.body.decode(), verifiers, datetime.now(UTC))
                    return msgspec.structs.replace(report, state="cosigns", size=size), lines, ""
                held = _held(reply.body) if reply.status == 409 else None
                if held is None or held == old or held > size:
                    break
                old = held
            detail = f"answered with status {reply.status}"
            shown = await self._shown(owner) if reply.status in (409, 422) else ""
            return msgspec.structs.replace(report, state="refuses", detail=detail), [], shown
        except NodeError as wrong:
            state: WitnessState = "away" if wrong.state in ("unreachable", "late") else "faulty"
            return msgspec.structs.replace(report, state=state, detail=wrong.detail), [], ""
        except UnicodeDecodeError:
            detail = "answered with something that is no text"
        except LedgerRefused as wrong:
            detail = f"its cosignature does not count: {wrong}"
        return msgspec.structs.replace(report, state="faulty", detail=detail), [], ""

    async def _shown(self, owner: str) -> str:
        """The note of this ledger that a witness holds; empty when it shows none that this ledger signed."""
        try:
            reply = await self._lines[owner].exchange("GET", f"witness/{log_id(self._origin)}/checkpoint")
            text = reply.body.decode() if reply.status == 200 else ""
            if text:
                self._published.verify(text)
        except (NodeError, LedgerRefused, UnicodeDecodeError):
            return ""
        return text

    async def _keep_other(self, shown: str, now: datetime) -> None:
        """Keep the note that contradicts this ledger: it is the evidence of what was lost."""
        other = checkpoint_of(shown)
        id_ = f"{other.origin}/{other.size}/{other.root.hex()}"
        held = await self._store.note(other.size) or await self._store.note() or ""
        notes = ConflictNotes(origin=other.origin, size=other.size, held=held, shown=shown, at=now)
        await self._store.replace(Document(kind=CONFLICT, id=id_, body=msgspec.json.encode(notes), at=now))

    def _refuse(self, sequencer: Sequencer, why: str) -> None:
        self._refusal = why
        sequencer.refuse(why)
        self._log("ledger_refused", detail=why)
        self._metrics.ledger_refused.set(1)

    def _note(self, report: WitnessReport) -> None:
        """Log what changed."""
        former, self._reports[report.owner] = self._reports[report.owner], report
        self._metrics.witnesses.labels(report.owner).set(report.state == "cosigns")
        if report.state == former.state:
            return
        if report.state == "cosigns":
            self._log("witness_cosigns", owner=report.owner, size=report.size)
        else:
            self._log("witness_missing", owner=report.owner, state=report.state, detail=report.detail)


def _held(body: bytes) -> int | None:
    """The body of a 409: a decimal size and a newline."""
    text = body.removesuffix(b"\n")
    return int(text) if text.isdigit() and len(text) < 20 else None
