"""Taking down what a person said about the exchange of their results, reading it again, revoking it.

A hospital does it on behalf of the person in front of it. Each statement and each revocation is an entry of
the ledger, of the type ``consent``; so is each look at what a person said, as a ``view``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from adapters import KeyTaken
from gateway.access.clients import Client
from gateway.checks import read_person
from gateway.errors import BadRequest, NotFound, NotPermitted
from gateway.evidence import Evidence, keep
from gateway.ids import new_id
from gateway.model import AwareTime, LedgerRef, PersonIn, ShortText
from gateway.persons.consent import ConsentRecord, Decision, Directive, document_of
from gateway.settings import PurposeOfUse
from gateway.wiring import Gateway
from security.ledger import Sealed


class ConsentIn(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a person says: ``decision`` counts for the named ``purposes`` (all where none is named) and the
    opposite for every other one, at the ``receivers`` (institutions; all where none is named), from ``start``
    to before ``end`` where they are set.
    """

    patient: PersonIn
    decision: Decision
    purposes: Annotated[tuple[PurposeOfUse, ...], Meta(max_length=7)] = ()
    receivers: Annotated[tuple[ShortText, ...], Meta(max_length=50)] = ()
    start: AwareTime | None = None
    end: AwareTime | None = None


class ConsentOut(Struct, frozen=True, kw_only=True):
    """A statement as it is kept: without the person, whom the caller knows.

    ``directive`` is its code of HL7 v3 ActConsentDirective, ``institution`` who took it down. A revoked one
    is ``inactive``.
    """

    id: str
    status: Literal["active", "inactive"]
    decision: Decision
    directive: Directive
    purposes: tuple[PurposeOfUse, ...]
    receivers: tuple[str, ...]
    start: datetime | None
    end: datetime | None
    recorded: datetime
    institution: str
    ledger: LedgerRef


class ConsentsOut(Struct, frozen=True):
    """What one person said and did not revoke, the oldest first; the newest that applies decides."""

    consents: tuple[ConsentOut, ...]


class PersonQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose statements are meant: in a body, because a person's number belongs into no address."""

    patient: PersonIn


class Consenting:
    """The statements of persons, for the faces."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def record(self, asked: ConsentIn, client: Client) -> ConsentOut:
        """Keep a statement; it counts from the moment that this returns.

        Raises:
            NotPermitted: the client speaks for no hospital.
            IdentityRefused, BadRequest: the person's number, a receiver or a time cannot be.
            EvidenceUnavailable: it could not be kept.
        """
        gateway, now = self._gateway, datetime.now(UTC)
        self._refuse_stranger(client)
        person = read_person(asked.patient)
        for number, receiver in enumerate(asked.receivers):
            if receiver not in gateway.rules.catalogue.institutions:
                raise BadRequest("is no institution of the catalogue", field=f"receivers[{number}]")
        if asked.end is not None and asked.end <= max(now, asked.start or now):
            raise BadRequest("must lie ahead, and after the start", field="end")
        pseudonym = (await gateway.pseudonyms(person)).current
        record = ConsentRecord(
            id=new_id(now),
            decision=asked.decision,
            purposes=tuple(dict.fromkeys(asked.purposes)),
            receivers=tuple(dict.fromkeys(asked.receivers)),
            start=asked.start,
            end=asked.end,
            recorded=now,
            institution=client.institution,
            entry="",
        )
        kept = await self._keep(record, pseudonym, client, now)
        gateway.log("consent_recorded", consent=kept.id, client=client.id, directive=kept.directive)
        return await self._out(kept)

    async def find(self, id_: str, client: Client) -> ConsentOut:
        """A statement that this institution took down; any for an auditor.

        Raises:
            NotFound: there is none of this id for this client.
            EvidenceUnavailable: that it was read could not be kept.
        """
        record, pseudonym = await self._own(id_, client)
        revoked = await self._gateway.consents.revoked(id_)
        await self._viewed(client, pseudonym, [record])
        return await self._out(record, revoked=revoked)

    async def of_person(self, asked: PersonIn, client: Client) -> ConsentsOut:
        """What a person said, wherever it was taken down, and did not revoke.

        Raises:
            NotPermitted, IdentityRefused, EvidenceUnavailable: as for `record`.
        """
        gateway = self._gateway
        self._refuse_stranger(client)
        pseudonyms = await gateway.pseudonyms(read_person(asked))
        held = await gateway.consents.held(pseudonyms)
        await self._viewed(client, pseudonyms.current, held)
        return ConsentsOut(tuple([await self._out(record) for record in held]))

    async def revoke(self, id_: str, asked: PersonIn, client: Client) -> ConsentOut:
        """Take a statement back for the person who made it, at any hospital; twice changes nothing.

        Raises:
            NotPermitted, IdentityRefused, EvidenceUnavailable: as for `record`.
            NotFound: this person made no statement of this id.
        """
        gateway, now = self._gateway, datetime.now(UTC)
        self._refuse_stranger(client)
        pseudonyms = await gateway.pseudonyms(read_person(asked))
        found = await gateway.consents.find(id_)
        if found is None or found[1] not in pseudonyms.all:
            raise NotFound("this person made no statement of this id", field="id")
        record, pseudonym = found
        if not await gateway.consents.revoked(id_):
            end = replace(record, id=new_id(now), recorded=now, institution=client.institution, revokes=id_)
            with suppress(KeyTaken):  # somebody else was faster
                await self._keep(end, pseudonym, client, now, binds=record.entry)
                gateway.log("consent_revoked", consent=id_, client=client.id)
        return await self._out(record, revoked=True)

    def _refuse_stranger(self, client: Client) -> None:
        client.require("his")
        if client.institution not in self._gateway.rules.catalogue.institutions:
            raise NotPermitted(f"client {client.id} speaks for no institution of the catalogue")

    async def _own(self, id_: str, client: Client) -> tuple[ConsentRecord, str]:
        found = await self._gateway.consents.find(id_)
        if found is not None:
            own = client.institution and found[0].institution == client.institution
            if "auditor" in client.roles or own:
                return found
        raise NotFound("no consent of this id was taken down by your institution", field="id")

    async def _viewed(self, client: Client, pseudonym: str, records: Sequence[ConsentRecord]) -> None:
        """Keep that somebody read them."""
        evidence = Evidence.of(self._gateway, client.id, datetime.now(UTC))
        evidence.record("view", {"person": pseudonym, "consents": [record.id for record in records]})
        await keep(self._gateway.sequencer, evidence.entries, [])

    async def _keep(
        self, record: ConsentRecord, pseudonym: str, client: Client, now: datetime, *, binds: str = ""
    ) -> ConsentRecord:
        gateway = self._gateway
        evidence = Evidence.of(gateway, client.id, now, binds=binds)
        sealed: Sealed = evidence.record(
            "consent",
            {
                "consent": record.id,
                "person": pseudonym,
                "directive": record.directive,
                "purposes": record.purposes,
                "receivers": record.receivers,
                "start": record.start,
                "end": record.end,
                "revokes": record.revokes,
            },
        )
        kept = replace(record, entry=sealed.entry_id)
        await keep(gateway.sequencer, evidence.entries, [document_of(kept, pseudonym)])
        return kept

    async def _out(self, record: ConsentRecord, *, revoked: bool = False) -> ConsentOut:
        gateway = self._gateway
        index = await gateway.store.index_of(record.entry)
        return ConsentOut(
            id=record.id,
            status="inactive" if revoked else "active",
            decision=record.decision,
            directive=record.directive,
            purposes=record.purposes,
            receivers=record.receivers,
            start=record.start,
            end=record.end,
            recorded=record.recorded,
            institution=record.institution,
            ledger=LedgerRef(gateway.origin, record.entry, -1 if index is None else index),
        )
