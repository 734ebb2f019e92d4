"""What another gateway asks: this one's results, marked here, or FHIR resources as the nodes sent them; the
patient's consent counts here, too, and the exchange is written down here, too."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import cast, get_args

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from adapters import (
    Answer,
    Match,
    Node,
    PeerAnswer,
    PeerPerson,
    PeerQuestion,
    Question,
    Report,
    commitment,
    elapsed_ms,
)
from adapters.fhir_time import in_range
from adapters.peer import (
    MOST_RESOURCES,
    PeerAsked,
    PeerRead,
    PeerReply,
    PeerResource,
    PeerResources,
    PeerSearch,
)
from gateway.access.clients import Client
from gateway.checks import moment, read_person
from gateway.errors import BadRequest, NotPermitted
from gateway.evidence import Evidence, keep
from gateway.finding import Found, find, search
from gateway.flow import waited_s
from gateway.ids import new_id
from gateway.model import ConsentRule, PersonIn
from gateway.persons.consent import BREAK_GLASS
from gateway.reading import NOBODY, READ, Reading, consent_of
from gateway.resources.conditions import conditions, met
from gateway.resources.query import personal
from gateway.resources.values import SEARCHED, Place
from gateway.review import Listening
from gateway.search import BOUNDS, KINDS
from gateway.settings import PurposeOfUse
from gateway.wiring import Gateway
from recognition import digest
from security.http_signature import sign_answer
from security.identity import Identifier
from security.pseudonym import Pseudonyms

KEPT_BACK = 0.8
"""Share of the asker's budget that the nodes get; the rest is for marking, recording and the way back."""

REACH = timedelta(days=3660)
"""How far back another gateway may ask: the longest look-back that a gateway can be set to."""
MOST_BYTES = 6 * 1024 * 1024
"""How many bytes of resources one answer holds: gateways take no more than 8 MiB."""


class Peers:
    """Answers other gateways' questions."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._reading = Reading(gateway)

    async def answer(self, asked: PeerQuestion, raw: bytes, client: Client) -> tuple[bytes, dict[str, str]]:
        """Ask the own nodes as far as the patient's consent goes, mark the results, record the exchange, and
        only then answer: the body, and the headers that sign it.

        ``raw`` is the body of the question: the answer repeats its commitment, and its signature covers it.

        Raises:
            NotPermitted: the client is no gateway, or may not ask for this purpose.
            IdentityRefused, BadRequest: the person's number or a time cannot be.
            TooManyRequests: more persons are asked about than this gateway looks up.
            EvidenceUnavailable: the exchange could not be recorded.
            KeyStoreError: no key counts that could sign the answer.
        """
        gateway, rules = self._gateway, self._gateway.rules
        exchange = _Exchange(gateway, asked, raw, client)
        person = read_person(PersonIn(asked.person.type, asked.person.value), "person")
        since = exchange.since(asked.since)
        pseudonyms, consent = await exchange.begin([person], {})
        question = replace(
            exchange.question(person, since),
            kinds=asked.kinds,
            pseudonyms=pseudonyms.all if pseudonyms else (),
        )
        names = Listening(rules.normaliser, gateway.sites.table, rules.catalogue)
        async with gateway.broker.answering(asked.id, question.budget) as first:
            if refused := _refused(consent, first=first):
                found = Found((), _skipped(gateway, refused), False, ())
            else:
                found = await find(gateway, replace(rules, normaliser=names), question, exchange.evidence)
        answer = PeerAnswer(
            question=commitment(raw),
            gateway=gateway.settings.owner,
            catalogue=rules.catalogue.version,
            results=found.results,
            nodes=found.reports,
        )
        body, signed = exchange.sign(answer, {"results": [digest(result).hex() for result in found.results]})
        now = exchange.now
        resting = names.resting(asked.id, client.id, new_id(now), now)
        await keep(
            gateway.sequencer, exchange.evidence.entries, [*found.documents, *resting], names.tallies(now)
        )
        gateway.log(
            "results_answered",
            question=asked.id,
            client=client.id,
            results=len(found.results),
            nodes=len(found.reports),
            took_ms=elapsed_ms(exchange.started),
        )
        return body, signed

    async def search(self, asked: PeerSearch, raw: bytes, client: Client) -> tuple[bytes, dict[str, str]]:
        """Resources of a person at the own nodes, and behind them, that meet all conditions; the newest of
        them, as many as one answer holds. As :meth:`answer`.

        Raises:
            BadBody, BadParameter: a condition is not understood here.
        """
        gateway = self._gateway
        exchange = _Exchange(gateway, asked, raw, client)
        person = read_person(PersonIn(asked.person.type, asked.person.value), "person")
        if asked.type not in SEARCHED:
            raise BadRequest(f"is none of {', '.join(SEARCHED)}", field="type")
        if asked.bound not in BOUNDS[asked.type]:
            raise BadRequest(f"is no time by which {asked.type} is searched", field="bound")
        if not in_range(asked.since):
            raise BadRequest("is of a year that cannot be", field="since")
        if any(personal(asked.type, name, value) for name, value in asked.conditions):
            raise BadRequest("name a person, who stands in person alone", field="conditions")
        wanted = conditions(asked.type, asked.conditions)
        query: dict[str, list[str]] = {}
        for name, value in asked.conditions:
            query.setdefault(name, []).append(value)
        pseudonyms, consent = await exchange.begin([person], {"type": asked.type, "query": query})
        question = replace(
            exchange.question(person, asked.since),
            kinds=KINDS[asked.type],
            pseudonyms=pseudonyms.all if pseudonyms else (),
            background=True,
        )

        async def call(node: Node, put: Question) -> Answer:
            return await search(node, put, asked.type, asked.bound, asked.conditions)

        found: list[tuple[str, Match]] = []
        async with gateway.broker.answering(asked.id, question.budget) as first:
            if refused := _refused(consent, first=first):
                reports = _skipped(gateway, refused)
            else:
                answers = await gateway.broker.ask(question, call)
                reports = tuple(report for one in answers for report in (one.report, *one.behind))
                for answer in answers:
                    exchange.evidence.answer(answer)
                    top = answer.report.node
                    found += [
                        (f"{top}/{one.node}" if one.node else top, one)
                        for one in answer.matches
                        if met(wanted, bytes(one.raw))
                    ]
        told = [PeerResource(node=way, resource=one.raw) for way, one in _newest(found)]
        if left := len(found) - len(told):
            cut = f"{left} older resources fit, too, and are more than one answer of this gateway holds"
            owner = gateway.settings.owner
            reports += (
                Report(node=owner, kind="gateway", state="skipped", took_ms=0, fault="gateway", detail=cut),
            )
        return await exchange.answer(told, reports, asked.type)

    async def read(self, asked: PeerRead, raw: bytes, client: Client) -> tuple[bytes, dict[str, str]]:
        """A resource at one of the own nodes, or behind them, where its person's consent lets it be shown.
        As :meth:`answer`."""
        gateway = self._gateway
        exchange = _Exchange(gateway, asked, raw, client)
        if asked.type not in READ:
            raise BadRequest(f"is none of {', '.join(READ)}", field="type")
        place = Place(asked.type, asked.resource, asked.node, asked.version)
        question = replace(exchange.question(NOBODY, exchange.now), background=True)
        sought = await self._reading.seek(place, question)
        copies = [copy for _, copy in sought.copies]
        about = {"type": asked.type, "query": {"_id": [asked.resource]}, "node": asked.node}
        _, consent = await exchange.begin(copies[0].whose if copies else (), about)
        for answer in sought.answers:
            exchange.evidence.answer(answer)
        reports = sought.reports
        if refused := _refused(consent):
            copies, reports = [], tuple(_silent(report, refused) for report in reports)
        told = [
            PeerResource(
                node=asked.node,
                resource=Raw(copy.raw),
                version=copy.version,
                saved=copy.saved,
                whose=tuple(PeerPerson(person.type, person.text) for person in copy.whose),
            )
            for copy in copies
        ]
        return await exchange.answer(told, reports, asked.type)


class _Exchange:
    """One question of another gateway, whatever it asks for: who asks what for, and what is recorded of it.

    Raises:
        NotPermitted: the client is no gateway, or may not ask for this purpose.
        BadRequest: the purpose, the receiver or a time cannot be.
        EvidenceUnavailable: it could not be recorded.
    """

    def __init__(self, gateway: Gateway, asked: PeerAsked, raw: bytes, client: Client) -> None:
        client.require("peer")
        self.purpose = _purpose(asked, client)
        self.started = time.monotonic()
        self.now = datetime.now(UTC)
        self.at = moment(asked.at, self.now, "at")
        catalogue = gateway.rules.catalogue
        if asked.receiver not in catalogue.institutions:
            raise BadRequest(f"is no institution of catalogue {catalogue.version}", field="receiver")
        self.evidence = Evidence.of(gateway, client.id, self.now)
        self._gateway = gateway
        self._asked = asked
        self._raw = raw
        self._client = client
        self._consent = ConsentRule()

    def since(self, since: datetime) -> datetime:
        """From when on something is asked for. Raises BadRequest."""
        if not self.at - REACH <= since < self.at:
            raise BadRequest(f"must lie before 'at', by at most {REACH.days} days", field="since")
        return since

    async def begin(
        self, whose: Sequence[Identifier], about: Mapping[str, object]
    ) -> tuple[Pseudonyms | None, ConsentRule]:
        """Record what is asked ``about`` whom; the pseudonyms of the person, and what consent says.

        Raises:
            TooManyRequests, StoreUnavailable: it cannot be known.
        """
        asked, evidence = self._asked, self.evidence
        pseudonyms, consent = await consent_of(self._gateway, whose, self.purpose, asked.receiver, self.now)
        self._consent = consent
        told = {"check": asked.id, "purpose": self.purpose}
        told |= {"person": pseudonyms.current} if pseudonyms else {}
        # without a salt, person's numbers could be tried against what is kept
        body_digest = commitment(self._raw) if asked.salt else ""
        evidence.question({**told, **about, "receiver": asked.receiver, "body": body_digest})
        if self.purpose == BREAK_GLASS:
            evidence.record("view", told | {"consent": consent.consent})
        return pseudonyms, consent

    def question(self, person: Identifier, since: datetime) -> Question:
        """What the nodes are asked, for results and resources of every kind."""
        asked = self._asked
        return Question(
            id=asked.id,
            person=person,
            kinds=("imaging", "lab"),
            since=since,
            at=self.at,
            receiver=asked.receiver,
            budget=max(asked.budget_ms / 1000 - waited_s(), 0.001) * KEPT_BACK,
            hops=min(asked.hops, self._gateway.settings.hops),
            purpose=self.purpose,
            asked=asked.asked or (),
        )

    def sign(self, reply: PeerReply, told: Mapping[str, object]) -> tuple[bytes, dict[str, str]]:
        """The body and what signs it; that it is answered stands in the evidence. Raises KeyStoreError."""
        gateway, body = self._gateway, msgspec.json.encode(reply)
        signer = gateway.signers.of("peer", gateway.settings.mark_algorithm)
        signed = sign_answer(self._raw, body, signer, datetime.now(UTC))
        self.evidence.record(
            "answer",
            {
                "check": self._asked.id,
                **told,
                "bytes": hashlib.sha256(body).hexdigest(),
                "consent": self._consent.consent,
            },
        )
        return body, signed

    async def answer(
        self, resources: Sequence[PeerResource], reports: tuple[Report, ...], type_: str
    ) -> tuple[bytes, dict[str, str]]:
        """Answer with resources, once that is recorded. Raises KeyStoreError, EvidenceUnavailable."""
        gateway = self._gateway
        reply = PeerResources(
            question=commitment(self._raw),
            gateway=gateway.settings.owner,
            resources=tuple(resources),
            nodes=reports,
        )
        body, signed = self.sign(reply, {"resources": len(resources)})
        await keep(gateway.sequencer, self.evidence.entries, [])
        if not self._consent.permitted:
            gateway.metrics.consent_denials.inc()
        gateway.log(
            "resources_answered",
            question=self._asked.id,
            client=self._client.id,
            type=type_,
            resources=len(resources),
            nodes=len(reports),
            took_ms=elapsed_ms(self.started),
        )
        return body, signed


def _refused(consent: ConsentRule, *, first: bool = True) -> str:
    """Why no node is asked, or nothing told; empty where there is no reason."""
    if not first:  # a loop, or the same question sent twice: no answer to one is whole without the other
        return "not asked again: this question is being answered here already"
    return "" if consent.permitted else "not asked: the patient has not consented"


def _skipped(gateway: Gateway, detail: str) -> tuple[Report, ...]:
    """The own nodes' reports where none is asked; ``detail`` says why."""
    return tuple(report for report in gateway.broker.skip(detail) if report.kind != "gateway")


def _silent(report: Report, detail: str) -> Report:
    """A node whose answer is not told."""
    return replace(report, state="skipped", results=0, fault="caller", detail=detail)


def _newest(found: Sequence[tuple[str, Match]]) -> Iterator[tuple[str, Match]]:
    """The newest of them with the way to the node of each, as many as one answer holds."""
    size = 0
    for count, one in enumerate(sorted(found, key=lambda one: (-one[1].at, one[0], one[1].key.id)), 1):
        size += len(bytes(one[1].raw))
        if count > MOST_RESOURCES or size > MOST_BYTES:
            return
        yield one


def _purpose(asked: PeerAsked, client: Client) -> PurposeOfUse:
    """What the results are for. Raises BadRequest, NotPermitted."""
    if asked.purpose not in get_args(PurposeOfUse):
        raise BadRequest(f"must be one of {', '.join(get_args(PurposeOfUse))}", field="purpose")
    allowed = {*client.purposes, *([BREAK_GLASS] if "ETREAT" in client.purposes else ())}
    if asked.purpose not in allowed:
        raise NotPermitted(f"client {client.id} may not ask for the purpose {asked.purpose}")
    return cast("PurposeOfUse", asked.purpose)
