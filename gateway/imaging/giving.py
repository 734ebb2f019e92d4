"""What another gateway asks of images: a person's studies at the own archives, with the token of a viewing.

The viewing is opened here for the institution that will look at them, and ends when the asking gateway's own
is to, or sooner: images are then given out, and their viewing recorded, as to a viewer of one's own. Who asks
again for the same viewing of his gets the token of before, so that what he sees is on record once.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

from msgspec.structs import replace

from adapters import Answer, Question, commitment
from adapters.node import Listed
from adapters.peer import PeerStudies, PeerStudiesAsked, PeerStudy
from gateway._peer_exchange import REACH, Exchange, left_out, refused_by, skipped, within
from gateway.access.clients import Client
from gateway.checks import read_person
from gateway.errors import BadRequest, NotAuthenticated
from gateway.ids import new_id
from gateway.imaging.query import query_of
from gateway.imaging.studies import Studies
from gateway.imaging.values import Viewed, Viewing
from gateway.imaging.viewing import KEPT, Viewings, patient_id
from gateway.model import PersonIn
from gateway.wiring import Gateway

PASSED_ON = ("StudyInstanceUID", "StudyDate", "includefield")
"""By what gateways narrow a search for studies."""

Of = tuple[str, str, str, str, datetime]
"""What viewings of other gateways are told apart by: client, receiver, purpose, pseudonym, end."""


class Giving:
    """Answers other gateways' questions for studies."""

    def __init__(self, gateway: Gateway, studies: Studies, viewings: Viewings) -> None:
        self._gateway = gateway
        self._studies = studies
        self._viewings = viewings
        self._given: dict[Of, str] = {}

    async def studies(
        self, asked: PeerStudiesAsked, raw: bytes, client: Client
    ) -> tuple[bytes, dict[str, str]]:
        """Ask the own archives, and gateways behind this one, as far as the patient's consent goes, record
        the exchange, and only then answer: the body, and the headers that sign it.

        Raises:
            BadParameter: a condition is not understood here.
            NotPermitted, BadRequest, EvidenceUnavailable …: as :meth:`gateway.peers.Peers.answer`.
        """
        gateway = self._gateway
        exchange = Exchange(gateway, asked, raw, client)
        person = read_person(PersonIn(asked.person.type, asked.person.value), "person")
        if asked.ends <= exchange.now:
            raise BadRequest("lies in the past", field="ends")
        if any(name not in PASSED_ON for name, _ in asked.params):
            raise BadRequest(f"name something else than {', '.join(PASSED_ON)}", field="params")
        params = query_of("studies", asked.params).passed_on
        query: dict[str, list[str]] = {}
        for name, value in asked.params:
            query.setdefault(name, []).append(value)
        pseudonyms, consent = await exchange.begin([person], {"type": "ImagingStudy", "query": query})
        question = replace(
            exchange.question(person, exchange.now - REACH),
            kinds=("imaging",),
            pseudonyms=pseudonyms.all if pseudonyms else (),
            background=True,
        )
        one: Of = (client.id, asked.receiver, exchange.purpose, question.pseudonyms[0], asked.ends)
        token, answers = "", tuple[Answer, ...]()
        async with gateway.broker.answering(asked.id, question.budget) as first:
            if refused := refused_by(consent, first=first):
                reports = skipped(gateway, refused)
            else:
                viewed, token = await self._viewing(one, asked, question, exchange)
                answers = await self._studies.ask(viewed, question, params)
                reports = tuple(report for each in answers for report in (each.report, *each.behind))
        for answer in answers:
            exchange.evidence.answer(answer)
        told = [
            PeerStudy(node=_way(answer, each), number=each.number, study=each.raw)
            for answer in answers
            for each in answer.listed
        ]
        kept = list(within(told, lambda each: each.study))
        reply = PeerStudies(
            question=commitment(raw),
            gateway=gateway.settings.owner,
            nodes=(*reports, *left_out(gateway, len(told) - len(kept))),
            studies=tuple(kept),
            token=token,
        )
        body = await exchange.answer(reply, len(kept), "studies_answered", studies=len(kept))
        if token:  # only now it is on record what the viewing goes back to
            self._given.pop(one, None)
            self._given[one] = token
            if len(self._given) > KEPT:
                del self._given[next(iter(self._given))]
        return body

    async def _viewing(
        self, one: Of, asked: PeerStudiesAsked, question: Question, exchange: Exchange
    ) -> tuple[Viewed, str]:
        """The viewing of before, if it is open, else a new one; and its token."""
        if token := self._given.get(one):
            with suppress(NotAuthenticated):
                return await self._viewings.of(token), token
        client, _, _, pseudonym, ends = one
        ends = min(ends, exchange.now + timedelta(minutes=self._gateway.settings.viewing_minutes))
        viewing = Viewing(
            id=new_id(ends),
            client=client,
            institution=asked.receiver,
            purpose=exchange.purpose,
            person=question.person,
            pseudonyms=question.pseudonyms,
            patient_id=patient_id(pseudonym, asked.receiver),
            opened=exchange.now,
            ends=ends,
            question=exchange.evidence.entries[0].entry_id,
            check=asked.id,
            gateway=exchange.owner,
        )
        viewed = Viewed(viewing=viewing)
        return viewed, await self._viewings.open(viewed)


def _way(answer: Answer, study: Listed) -> str:
    """The way to a study's archive from here."""
    return f"{answer.report.node}/{study.node}" if study.node else answer.report.node
