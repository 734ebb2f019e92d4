"""What another gateway asks: this one's results, marked here, or FHIR resources as the nodes sent them; the
patient's consent counts here, too, and the exchange is written down here, too. What it asks of images, see
:mod:`gateway.imaging.giving`."""

from __future__ import annotations

from collections.abc import Sequence

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
    PeerRead,
    PeerResource,
    PeerResources,
    PeerSearch,
)
from gateway._peer_exchange import Exchange, left_out, refused_by, skipped, within
from gateway.access.clients import Client
from gateway.checks import read_person
from gateway.errors import BadRequest
from gateway.evidence import keep
from gateway.finding import Found, find, search
from gateway.ids import new_id
from gateway.model import PersonIn
from gateway.reading import NOBODY, READ, Reading
from gateway.resources.conditions import conditions, met
from gateway.resources.query import personal
from gateway.resources.values import SEARCHED, Place
from gateway.review import Listening
from gateway.search import BOUNDS, KINDS
from gateway.wiring import Gateway
from recognition import digest


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
        exchange = Exchange(gateway, asked, raw, client)
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
            if refused := refused_by(consent, first=first):
                found = Found((), skipped(gateway, refused), False, ())
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
        exchange = Exchange(gateway, asked, raw, client)
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
            images = f"{gateway.settings.base_url}/dicomweb"
            return await search(node, put, asked.type, asked.bound, images, asked.conditions)

        found: list[tuple[str, Match]] = []
        async with gateway.broker.answering(asked.id, question.budget) as first:
            if refused := refused_by(consent, first=first):
                reports = skipped(gateway, refused)
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
        found.sort(key=lambda one: (-one[1].at, one[0], one[1].key.id))  # the newest first
        told = [
            PeerResource(node=way, resource=one.raw) for way, one in within(found, lambda one: one[1].raw)
        ]
        return await self._tell(
            exchange, raw, told, (*reports, *left_out(gateway, len(found) - len(told))), asked.type
        )

    async def read(self, asked: PeerRead, raw: bytes, client: Client) -> tuple[bytes, dict[str, str]]:
        """A resource at one of the own nodes, or behind them, where its person's consent lets it be shown.
        As :meth:`answer`."""
        gateway = self._gateway
        exchange = Exchange(gateway, asked, raw, client)
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
        if refused := refused_by(consent):
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
        return await self._tell(exchange, raw, told, reports, asked.type)

    async def _tell(
        self,
        exchange: Exchange,
        raw: bytes,
        told: Sequence[PeerResource],
        reports: tuple[Report, ...],
        type_: str,
    ) -> tuple[bytes, dict[str, str]]:
        """Answer with resources of a type."""
        reply = PeerResources(
            question=commitment(raw),
            gateway=self._gateway.settings.owner,
            resources=tuple(told),
            nodes=reports,
        )
        return await exchange.answer(reply, len(told), "resources_answered", type=type_, resources=len(told))


def _silent(report: Report, detail: str) -> Report:
    """A node whose answer is not told."""
    return replace(report, state="skipped", results=0, fault="caller", detail=detail)
