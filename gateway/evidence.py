"""The ledger entries of one exchange, each bound to the question it belongs to (X-Road binds an answer to its
question by hash; here the binding is the commitment of the question's entry).

Payloads are canonical JSON and stay outside the tree in an erasable row; a person is a pseudonym even there.
Leaves are public: a question's says who asked whom and when, not about what. Who saw the queue at a clinic
could otherwise tell from time and item what a patient was examined for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from weakref import WeakKeyDictionary

import msgspec

from adapters import Answer, KeyTaken, StoreUnavailable
from adapters.sequencer import Receipt, Sequencer
from adapters.store import Document, Tally
from gateway.errors import EvidenceUnavailable
from gateway.tracing import span
from gateway.wiring import Gateway
from recognition import Result, digest
from security.digests import HashName
from security.ledger import EntryType, Sealed, seal
from security.mark import Claims

_ENCODER = msgspec.json.Encoder(order="sorted")
_DIGESTS: WeakKeyDictionary[Result, bytes] = WeakKeyDictionary()


def digest_of(result: Result) -> bytes:
    """:func:`recognition.digest`, remembered as long as the result is kept: it is told again and again."""
    if (found := _DIGESTS.get(result)) is None:
        found = _DIGESTS[result] = digest(result)
    return found


class Evidence:
    """Collects the entries of one exchange in the order in which they belong into the ledger.

    Args:
        owner: this gateway, as it stands in every entry.
        asker: who asked: a client, or another gateway.
        now: the time of the entries (aware).
        hash_name: the hash of the ledger's tree.
        binds: commitment of the entry that this exchange goes back to; empty for a new question.
    """

    def __init__(
        self, *, owner: str, asker: str, now: datetime, hash_name: HashName, binds: str = ""
    ) -> None:
        self._owner = owner
        self._asker = asker
        self._now = now
        self._hash = hash_name
        self._binds = binds
        self.entries: list[Sealed] = []

    @classmethod
    def of(cls, gateway: Gateway, asker: str, now: datetime, *, binds: str = "") -> Evidence:
        """The evidence of an exchange of this gateway; EvidenceUnavailable where it could not be kept."""
        gateway.readiness.require()
        return cls(
            owner=gateway.settings.owner, asker=asker, now=now, hash_name=gateway.hash_name, binds=binds
        )

    def question(self, payload: Mapping[str, object]) -> None:
        """What was asked; everything that follows binds to it."""
        sealed = self._seal("question", payload, from_=self._asker, to=self._owner)
        self.entries.append(sealed)
        self._binds = sealed.entry_id

    def answer(self, answer: Answer) -> None:
        """What one node said: its state, the digests of its results or how many resources a search found
        there (the answer's digest is theirs), how long ago it said so where that is told again (``age_ms``),
        and what holds a gateway to it."""
        report = answer.report
        payload: dict[str, object] = {
            "node": report.node,
            "state": report.state,
            "bytes": answer.digest.hex(),
            "results": [digest_of(result).hex() for result in answer.results],
        }
        if answer.matches or answer.listed:
            payload["resources"] = len(answer.matches) + len(answer.listed)
        if report.age_ms:
            payload["age_ms"] = report.age_ms
        if answer.signed:
            payload["signed"] = answer.signed
        self.entries.append(self._seal("answer", payload, from_=self._owner, to=report.node))

    def record(self, kind: EntryType, payload: Mapping[str, object]) -> Sealed:
        """A verdict, an outcome, or the answer that goes to another gateway."""
        sealed = self._seal(kind, payload, from_=self._owner, to=self._asker)
        self.entries.append(sealed)
        return sealed

    def publication(self, payload: Mapping[str, object]) -> Sealed:
        """What the asker published here."""
        sealed = self._seal("publication", payload, from_=self._asker, to=self._owner)
        self.entries.append(sealed)
        return sealed

    def mark(self, data: bytes, claims: Claims, scheme: str) -> Sealed:
        """The entry of a new mark, not in the list yet. It stands for itself: a mark outlives the question it
        was first issued for, and bound to it would tell what was asked."""
        return seal(
            "mark",
            data,
            time=self._now,
            from_=self._owner,
            to=self._owner,
            scheme=scheme,
            item=claims.item,
            mark=claims.mark_id.hex(),
            hash_name=self._hash,
        )

    def _seal(self, kind: EntryType, payload: Mapping[str, object], *, from_: str, to: str) -> Sealed:
        return seal(
            kind,
            _ENCODER.encode(payload),
            time=self._now,
            from_=from_,
            to=to,
            binds=self._binds,
            hash_name=self._hash,
        )


async def keep(
    sequencer: Sequencer,
    entries: Sequence[Sealed],
    documents: Sequence[Document],
    tallies: Sequence[Tally] = (),
) -> Receipt:
    """Write the entries, documents and tallies of one exchange, durably and together.

    Where another exchange marked the same result in the same moment, this one's mark is kept beside it.

    Raises:
        EvidenceUnavailable: nothing of it could be kept, so nothing may be answered.
        KeyTaken: a document other than a mark exists already.
    """
    try:
        try:
            with span("write ledger", {"lianren.entries": len(entries)}):
                return await sequencer.append(entries, documents, tallies)
        except KeyTaken as taken:
            if taken.kind != "mark":
                raise
            beside = [msgspec.structs.replace(d, key="") if d.kind == "mark" else d for d in documents]
            return await sequencer.append(entries, beside, tallies)
    except StoreUnavailable as wrong:
        raise EvidenceUnavailable(
            "this gateway cannot keep evidence now, so it answers nothing; go on as without it"
        ) from wrong
