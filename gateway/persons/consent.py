"""What persons said about the exchange of their results: opt-out, and the purposes that they authorised.

Each record is a whole statement: ``decision`` counts for the named ``purposes`` and the opposite for every
other one; without purposes it counts for all. So the four directives of HL7 v3 (ActConsentDirective) are

| decision | purposes | directive |
|---|---|---|
| permit | – | OPTIN |
| permit | some | OPTOUTE: those purposes are authorised, no others |
| deny | – | OPTOUT |
| deny | some | OPTINR: everything but those purposes |

The newest record that is in force and concerns the receiver decides: it is the person's last word. A record
that was revoked is as if it had never been. Where nothing was said the exchange rests on the treatment
itself (Personal Information Protection Law Art. 13), and is permitted.

Records lie under pseudonyms, those of earlier epochs too: the key of an epoch must be held as long as a
record under it is in force. Nothing here is a person's number.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Struct

from adapters.store import Document, Store
from gateway.model import ConsentRule
from gateway.settings import PurposeOfUse
from security.pseudonym import Pseudonyms

KIND = "consent"
BREAK_GLASS: PurposeOfUse = "BTG"
Decision = Literal["permit", "deny"]
Directive = Literal["OPTIN", "OPTOUTE", "OPTOUT", "OPTINR"]
_PAGE = 100

DENIED = (
    "患者未授权为此目的调阅其检查检验结果，未作查询；紧急救治时可说明理由后调阅",
    "the patient has not consented to this: nothing was searched; in an emergency ask with break_glass",
)
GRANTED = ("患者已授权调阅", "the patient has consented")
BROKEN = (
    "紧急调阅：患者未授权，因紧急救治调阅，已记录在案",
    "emergency access against the patient's consent; it is on record",
)
DECLARED = ("紧急调阅，已记录在案", "emergency access; it is on record")


class ConsentRecord(Struct, frozen=True, kw_only=True):
    """One statement of a person, or the revocation of one (``revokes``, its id), as it is kept.

    ``receivers`` are institutions, all where there is none. It is in force from ``start`` to before ``end``,
    where they are set. ``institution`` took it down at ``recorded``; ``entry`` is its ledger entry.
    """

    id: str
    decision: Decision
    purposes: tuple[PurposeOfUse, ...] = ()
    receivers: tuple[str, ...] = ()
    start: datetime | None = None
    end: datetime | None = None
    recorded: datetime
    institution: str
    entry: str
    revokes: str = ""

    @property
    def directive(self) -> Directive:
        """The code of HL7 v3 ActConsentDirective."""
        if self.decision == "permit":
            return "OPTOUTE" if self.purposes else "OPTIN"
        return "OPTINR" if self.purposes else "OPTOUT"

    def permits(self, purpose: PurposeOfUse) -> bool:
        """Whether it lets results be used for a purpose."""
        named = not self.purposes or purpose in self.purposes
        return named == (self.decision == "permit")

    def concerns(self, receiver: str, at: datetime) -> bool:
        """Whether it says something of an institution at a moment (aware)."""
        begun = self.start is None or self.start <= at
        ended = self.end is not None and at >= self.end
        return begun and not ended and (not self.receivers or receiver in self.receivers)


class Consents:
    """The statements that a gateway keeps."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def rule(
        self, pseudonyms: Pseudonyms, purpose: PurposeOfUse, receiver: str, at: datetime
    ) -> ConsentRule:
        """Whether a question about a person may be answered.

        Args:
            pseudonyms: of the person, as this gateway keeps its records.
            purpose: what for; ``BTG`` goes on whatever was said, and the rule says so.
            receiver: the institution that will see the answer.
            at: the moment (aware).

        Raises:
            StoreUnavailable: it cannot be known, so nothing may be answered.
        """
        said = [one for one in await self.held(pseudonyms) if one.concerns(receiver, at)]
        last = said[-1] if said else None
        if purpose == BREAK_GLASS:
            broken = last is not None and not last.permits("TREAT")
            zh, en = BROKEN if broken else DECLARED
            return ConsentRule(basis="break_glass", consent=last.id if last and broken else "", zh=zh, en=en)
        if last is None:
            return ConsentRule()
        permitted = last.permits(purpose)
        zh, en = GRANTED if permitted else DENIED
        return ConsentRule(permitted=permitted, basis="consent", consent=last.id, zh=zh, en=en)

    async def held(self, pseudonyms: Pseudonyms) -> list[ConsentRecord]:
        """What a person said and did not revoke, the oldest first. Raises StoreUnavailable."""
        found = [record for one in pseudonyms.all for record in await self._under(f"{one}|")]
        return sorted(_stated(found), key=lambda record: record.id)

    async def of_epoch(self, epoch: str, at: datetime) -> int:
        """How many statements lie under the pseudonyms of an epoch that still say something at a moment.

        Without the key of that epoch they would bind nobody any more. Raises StoreUnavailable.
        """
        stated = _stated(await self._under(f"{epoch}."))
        return sum(1 for record in stated if record.end is None or record.end > at)

    async def find(self, id_: str) -> tuple[ConsentRecord, str] | None:
        """A statement by its id, with the pseudonym it is kept under. Raises StoreUnavailable."""
        document = await self._store.find(KIND, id_)
        if document is None:
            return None
        record = _DECODER.decode(document.body)
        return (record, document.id.partition("|")[0]) if record.id == id_ else None

    async def revoked(self, id_: str) -> bool:
        """Whether a statement was taken back. Raises StoreUnavailable."""
        return await self._store.find(KIND, _revocation(id_)) is not None

    async def _under(self, prefix: str) -> list[ConsentRecord]:
        after = prefix
        found: list[ConsentRecord] = []
        while page := await self._store.documents(KIND, after, _PAGE):
            own = [document for document in page if document.id.startswith(prefix)]
            found += [_DECODER.decode(document.body) for document in own]
            if len(own) < _PAGE:
                break
            after = page[-1].id
        return found


def _stated(records: list[ConsentRecord]) -> list[ConsentRecord]:
    """The statements among them that were not revoked."""
    revoked = {record.revokes for record in records}
    return [record for record in records if not record.revokes and record.id not in revoked]


def document_of(record: ConsentRecord, pseudonym: str) -> Document:
    """The document that keeps a record: those of one person stand together, in the order of time, and a
    statement is revoked once."""
    return Document(
        kind=KIND,
        id=f"{pseudonym}|{record.id}",
        key=_revocation(record.revokes) if record.revokes else record.id,
        body=msgspec.json.encode(record),
        at=record.recorded,
        person=pseudonym,
    )


def _revocation(id_: str) -> str:
    return f"revokes {id_}"


_DECODER = msgspec.json.Decoder(ConsentRecord)
