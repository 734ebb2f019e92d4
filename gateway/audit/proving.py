"""The evidence of one decision as one file (:mod:`security.proof_file`), for a court, an insurer, a patient.

To hand it out is itself an entry of the ledger, of type ``export``, bound to the verdict.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from adapters.sequencer import Sequencer
from adapters.store import Store
from gateway.audit.exporting import ANYBODY, Decision, decision_of, key_lists, record_export
from gateway.keyring import open_keys
from gateway.marks.index import INDEX
from gateway.marks.withdrawing import KIND as WITHDRAWAL
from gateway.outcomes import outcomes_of
from gateway.settings import Settings
from gateway.wiring import open_ledger
from gateway.witness.witnessing import newest_cosigned
from security.ledger import read_entry
from security.mark import read as read_mark
from security.note import Checkpoint, split
from security.proof_file import Evidence, Piece


async def prove_decision(settings: Settings, check: str, recipient: str = ANYBODY) -> bytes:
    """The evidence file of the decision on a check, under the newest checkpoint that witnesses cosigned, or
    the newest one where none of theirs covers it.

    Raises:
        NotFound: there is no such decision, or its answer was erased.
        StoreError, TrustError, SettingsError: with one line that says what to do.
    """
    async with open_ledger(settings, open_keys(settings)) as sequencer:
        decision = await decision_of(sequencer.store, check)
        what: dict[str, object] = {"what": "decision", "check": check}
        await record_export(sequencer, settings.owner, what, recipient, binds=decision.verdict)
        return (await _collect(sequencer, check, decision)).to_bytes()


async def _collect(sequencer: Sequencer, check: str, decision: Decision) -> Evidence:
    store = sequencer.store
    indexes = await _indexes(store, check, decision)
    note = await newest_cosigned(store)
    if note is None or _size(note) <= indexes[-1]:
        note = await store.note() or ""
    size = _size(note)
    pieces: list[Piece] = []
    for index in indexes:
        (body,) = await store.entries(index, 1)
        secret = await store.secret(read_entry(body).commit)
        pieces.append(
            Piece(
                index=index,
                body=body.decode(),
                proof=tuple(await sequencer.inclusion(index, size)),
                salt=secret.salt if secret else None,
                payload=secret.payload if secret else None,
            )
        )
    return Evidence(
        decision=check,
        note=note,
        keys=tuple(envelope.decode() for envelope in await key_lists(store)),
        entries=tuple(pieces),
        marks=tuple(decision.marks.values()),
    )


async def _indexes(store: Store, check: str, decision: Decision) -> list[int]:
    """Where the entries of the decision stand: all from question to verdict, those of the own marks that it
    cites and of their withdrawals, and the outcomes."""
    question, verdict = await store.index_of(decision.question), await store.index_of(decision.verdict)
    found = set(range(question or 0, (verdict or 0) + 1))
    for mark_id, text in decision.marks.items():
        claims = read_mark(text).claims
        place = f"d|{claims.digest.hex()}|{claims.item}|{mark_id}"
        withdrawn = await store.find(WITHDRAWAL, mark_id)
        for document in (await store.document(INDEX, place), withdrawn):
            entry = msgspec.json.decode(document.body, type=_Entry).entry if document else ""
            if (at := await store.index_of(entry)) is not None:
                found.add(at)
    async for outcome in outcomes_of(store, check):
        if (at := await store.index_of(outcome.ledger.entry)) is not None:
            found.add(at)
    return sorted(found)


class _Entry(Struct, frozen=True):
    """Of a kept document, the ledger entry that it names."""

    entry: str


def _size(note: str) -> int:
    return Checkpoint.from_text(split(note)[0]).size
