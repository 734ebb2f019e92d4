"""The ledger entries of one exchange, each bound to the question it belongs to (X-Road binds an answer to its
question by hash; here the binding is the commitment of the question's entry).

Payloads are canonical JSON and stay outside the tree in an erasable row; a person is a pseudonym even there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from adapters import Answer, KeyTaken, StoreUnavailable
from adapters.sequencer import Receipt, Sequencer
from adapters.store import Document
from gateway.errors import EvidenceUnavailable
from recognition import digest
from security.digests import HashName
from security.ledger import EntryType, Sealed, seal

_ENCODER = msgspec.json.Encoder(order="sorted")


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

    def question(self, payload: Mapping[str, object], *, scheme: str = "", item: str = "") -> None:
        """What was asked; everything that follows binds to it."""
        sealed = self.seal("question", _ENCODER.encode(payload), to=self._owner, scheme=scheme, item=item)
        self.entries.append(sealed)
        self._binds = sealed.entry_id

    def answer(self, answer: Answer) -> None:
        """What one node said: its state and the digests of its results."""
        payload = {
            "node": answer.report.node,
            "state": answer.report.state,
            "bytes": answer.digest.hex(),
            "results": [digest(result).hex() for result in answer.results],
        }
        self.entries.append(self.seal("answer", _ENCODER.encode(payload), to=answer.report.node))

    def record(
        self, kind: EntryType, payload: Mapping[str, object], *, scheme: str = "", item: str = ""
    ) -> Sealed:
        """A verdict, an outcome, or the answer that goes to another gateway."""
        sealed = self.seal(kind, _ENCODER.encode(payload), to=self._asker, scheme=scheme, item=item)
        self.entries.append(sealed)
        return sealed

    def seal(
        self, kind: EntryType, payload: bytes, *, to: str, scheme: str = "", item: str = "", mark: str = ""
    ) -> Sealed:
        """One entry, sealed and bound but not yet in the list (a mark is kept only when it is new)."""
        return seal(
            kind,
            payload,
            time=self._now,
            from_=self._asker if kind == "question" else self._owner,
            to=to,
            scheme=scheme,
            item=item,
            mark=mark,
            binds=self._binds,
            hash_name=self._hash,
        )


async def keep(sequencer: Sequencer, entries: Sequence[Sealed], documents: Sequence[Document]) -> Receipt:
    """Write the entries and documents of one exchange, durably and together.

    Where another exchange marked the same result in the same moment, this one's mark is kept beside it.

    Raises:
        EvidenceUnavailable: nothing of it could be kept, so nothing may be answered.
        KeyTaken: a document other than a mark exists already.
    """
    try:
        try:
            return await sequencer.append(entries, documents)
        except KeyTaken as taken:
            if taken.kind != "mark":
                raise
            beside = [msgspec.structs.replace(d, key="") if d.kind == "mark" else d for d in documents]
            return await sequencer.append(entries, beside)
    except StoreUnavailable as wrong:
        raise EvidenceUnavailable(
            f"this gateway cannot keep evidence now, so it answers nothing; go on as without it ({wrong})"
        ) from None
