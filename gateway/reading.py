"""Reading one resource at its node, by an address that an answer gave: nothing is remembered for that.

The address names the node (``nodes/<node>/<Type>/<id>``, ``nodes/<peer>/<node>/…`` behind another gateway);
one without a node means the only node that has such a resource, and is refused where several have. The node
is asked for the resource, and the Patient beside it says whose it is (:mod:`adapters.fhir_copies`; what was
published says so itself). Only then is it known who has to have consented: it is shown to a hospital as a
search would show it, with consent, purpose and an entry in the ledger, and a resource of which nobody can say
whose it is, is shown to nobody; neither is an Observation that is none of the laboratory, which no search
finds. Organization and Practitioner are about no patient, and need no consent.

A person who is known by several numbers has consented where nothing that was said under any of them is
against it.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec import Struct

from adapters import (
    Answer,
    DicomwebNode,
    FhirNode,
    Node,
    PeerGateway,
    Question,
    Report,
    dicomweb_fhir,
    elapsed_ms,
)
from adapters.fhir_read import FHIR_ID, Head, Unreadable, is_laboratory, read
from adapters.node import Copy
from adapters.published import PublishedNode
from adapters.published import whose as whose_is
from gateway.access.clients import Client
from gateway.errors import (
    BadParameter,
    ConsentDenied,
    MultipleMatches,
    NodeUnheard,
    NotFound,
    NotOffered,
    NotPermitted,
)
from gateway.evidence import Evidence, keep
from gateway.finding import unasked
from gateway.flow import waited_s
from gateway.holding import kept_of
from gateway.ids import new_id
from gateway.imaging.texts import repaired
from gateway.model import ConsentRule
from gateway.nodes import Unusable
from gateway.persons.consent import BREAK_GLASS
from gateway.resources.values import SEARCHED, Kept, Place
from gateway.settings import PurposeOfUse
from gateway.wiring import Gateway
from security.identity import Identifier
from security.pseudonym import Pseudonyms

IMPERSONAL = ("Organization", "Practitioner")
"""The types that are about no patient."""
READ = (*SEARCHED, *IMPERSONAL)
"""The types that are read at nodes."""
NOBODY = Identifier("", "", "")
"""Whom a question is about that asks whose something is."""
VERSIONS = 100
"""How many versions of a resource are told."""
_ADDRESS = re.compile(
    r"(?:nodes/(?P<node>[a-z0-9-]+(?:/[a-z0-9-]+)*)/)?(?P<type>[A-Z][A-Za-z]+)/(?P<id>[^/]+)"
    r"(?:/_history/(?P<version>[^/]+))?"
)


class Sought(Struct, frozen=True):
    """What was found at an address: copies with the way to the node of each, and what every node said."""

    copies: tuple[tuple[str, Copy], ...]
    answers: tuple[Answer, ...]

    @property
    def reports(self) -> tuple[Report, ...]:
        """One report for every node asked, those behind another gateway included."""
        return tuple(report for answer in self.answers for report in (answer.report, *answer.behind))

    @property
    def lacking(self) -> Report | None:
        """A node that could not say whether it has the resource."""
        return next((report for report in self.reports if not report.complete), None)


def place_of(reference: str, base: str) -> Place | None:
    """The place that a reference means: below the service base ``base`` or relative to it; None for any other
    reference."""
    found = _ADDRESS.fullmatch(reference.removeprefix(f"{base}/"))
    return Place(found["type"], found["id"], found["node"] or "", found["version"] or "") if found else None


class Reading:
    """Reads resources at the nodes, for hospitals."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def read(self, place: Place, client: Client) -> Kept:
        """The resource at a place, in the bytes that its node sent, once the exchange is recorded.

        Raises:
            NotPermitted: the client may not read, or speaks for no institution.
            NotFound: there is none, or it cannot be known whose it is.
            MultipleMatches: several nodes have one, and the place does not say which is meant.
            ConsentDenied: the person does not want it shown to this institution for this purpose.
            NodeUnheard: a node that may have it could not be heard.
            TooManyRequests: more persons are asked about than this gateway looks up.
            EvidenceUnavailable, StoreUnavailable: the exchange cannot be recorded, or consent not be known.
        """
        return (await self.whose(place, client))[0]

    async def whose(self, place: Place, client: Client) -> tuple[Kept, tuple[Identifier, ...]]:
        """The same, with the numbers of the person it is about, the strongest first.

        Raises: as :meth:`read`.
        """
        started, now = time.monotonic(), datetime.now(UTC)
        question = self.question(client, now)
        sought, way, copy = await self._one(place, question)
        await self._tell(place, copy.whose, sought.answers, [copy.raw], client, question, started)
        version = copy.version if FHIR_ID.fullmatch(copy.version) else ""
        number = int(version) if re.fullmatch(r"[1-9][0-9]{0,8}", version) else 0
        kept = Kept(
            type=place.type,
            id=place.id,
            version=number,
            tag="" if number else version,
            saved=copy.saved or now,
            body=copy.raw,
            node=way,
        )
        return kept, copy.whose

    async def history(self, place: Place, client: Client) -> Sequence[Kept]:
        """The newest versions of what was published here, the newest first; one may say that it was deleted.

        Raises:
            NotOffered: the node is not one that is published to.
            NotFound, ConsentDenied …: as :meth:`read`.
        """
        started, now = time.monotonic(), datetime.now(UTC)
        question = self.question(client, now)
        nodes = [one.node for one in self._gateway.nodes.placed() if isinstance(one.node, PublishedNode)]
        asked = [node for node in nodes if place.node in ("", node.id)]
        if place.node and not asked:
            raise NotOffered("only of what was published to this gateway former versions are kept")
        store, name = self._gateway.store, f"{place.type}/{place.id}"
        found = [
            (node, versions) for node in asked if (versions := await store.versions(node.id, name, VERSIONS))
        ]
        if len(found) > 1:
            raise self._several(place, [node.id for node, _ in found])
        for node, versions in found:
            newest = next((one for one in versions if whose_is(one)), None)
            if newest or place.type in IMPERSONAL:
                whose = whose_is(newest) if newest else None
                told = [
                    one
                    for one in versions
                    if one.deleted or (whose_is(one) == whose and exchanged(place.type, one.body))
                ]
                bodies = [one.body for one in told]
                persons = await node.numbers(newest) if newest else ()
                await self._tell(place, persons, (), bodies, client, question, started)
                return [kept_of(one) for one in told]
        raise _nowhere(place)

    async def person_of(self, reference: str, client: Client) -> Identifier:
        """Who the Patient at an address is, by the strongest number that he is known by there; by another one
        where he said no under that. Nothing is shown by that: consent and evidence are those of what is asked
        about him.

        Raises:
            BadParameter: it is no address of a Patient here.
            NotPermitted, NotFound …: as :meth:`read`.
        """
        place = place_of(reference, f"{self._gateway.settings.base_url}/fhir")
        if place is None or place.type != "Patient":
            raise BadParameter(
                "is no Patient/<id> and no fullUrl of one that came from here", field="patient"
            )
        gateway, now = self._gateway, datetime.now(UTC)
        _, _, copy = await self._one(place, self.question(client, now))
        return await number_of(gateway, copy.whose, client, now)

    async def seek(self, place: Place, question: Question) -> Sought:
        """Ask the node of a place, or every own node where it names none; nobody is shown anything yet. What
        is no FHIR id stands nowhere."""
        if not all(FHIR_ID.fullmatch(text) for text in (place.id, place.version) if text):
            return Sought((), ())
        first, _, rest = place.node.partition("/")
        own = [one.node.id for one in self._gateway.nodes.placed() if one.settings.kind != "gateway"]

        async def call(node: Node, asked: Question) -> Answer:
            return await self._copy(node, asked, place, rest)

        answers = await self._gateway.broker.ask(question, call, [first] if first else own)
        copies = [
            (f"{answer.report.node}/{rest}" if rest else answer.report.node, answer.copy)
            for answer in answers
            if answer.copy
            and (answer.copy.whose or place.type in IMPERSONAL)
            and exchanged(place.type, answer.copy.raw)
        ]
        return Sought(tuple(copies), answers)

    async def _copy(self, node: Node, question: Question, place: Place, rest: str) -> Answer:
        """What one node has at a place, which lies behind it where there is a ``rest`` of the way."""
        if isinstance(node, Unusable):
            return await node.prior(question)
        if isinstance(node, PeerGateway) and rest:
            return await node.read(question, rest, place.type, place.id, place.version)
        if isinstance(node, FhirNode | PublishedNode) and not rest:
            whose = place.type not in IMPERSONAL
            return await node.read(question, place.type, place.id, place.version, whose=whose)
        listed = place.type == dicomweb_fhir.TYPE and not (rest or place.version)
        if isinstance(node, DicomwebNode) and listed and (known := identities_of(self._gateway, node.id)):
            images = f"{self._gateway.settings.base_url}/dicomweb"
            return await dicomweb_fhir.read(node, known, question, place.id, images, repaired)
        return unasked(node)

    async def _one(self, place: Place, question: Question) -> tuple[Sought, str, Copy]:
        """The one copy that a place means, and the way to its node."""
        if place.type not in READ:
            raise _nowhere(place)
        sought = await self.seek(place, question)
        lacking = sought.lacking
        if len(sought.copies) > 1:
            raise self._several(place, [way for way, _ in sought.copies])
        if lacking and lacking.state == "skipped" and lacking.fault == "caller":
            raise ConsentDenied(lacking.detail)
        if lacking:  # without a node in the address another one may be meant than the one that was heard
            raise NodeUnheard.of(lacking)
        if not sought.copies:
            raise _nowhere(place)
        ((way, copy),) = sought.copies
        return sought, way, copy

    def _several(self, place: Place, ways: Sequence[str]) -> MultipleMatches:
        base = f"{self._gateway.settings.base_url}/fhir"
        urls = ", ".join(f"{base}/{Place(place.type, place.id, way).below}" for way in sorted(ways))
        return MultipleMatches(f"several nodes have one of this id; read the one that you mean: {urls}")

    def question(self, client: Client, now: datetime) -> Question:
        """What a client asks about nobody yet. Raises NotPermitted."""
        gateway = self._gateway
        admit(gateway, client)
        return Question(
            id=new_id(now),
            person=NOBODY,
            kinds=("imaging", "lab"),
            since=now,
            at=now,
            receiver=client.institution,
            budget=max(gateway.settings.search_deadline_ms / 1000 - waited_s(), 0.001),
            hops=gateway.settings.hops,
            purpose=client.purpose,
            background=True,
        )

    async def _tell(
        self,
        place: Place,
        whose: Sequence[Identifier],
        answers: Sequence[Answer],
        bodies: Sequence[bytes],
        client: Client,
        question: Question,
        started: float,
    ) -> None:
        """Look whether these may be shown, and record that they are, or that they are not."""
        gateway = self._gateway
        evidence = Evidence.of(gateway, client.id, question.at)
        pseudonyms, consent = await consent_of(
            gateway, whose, client.purpose, client.institution, question.at
        )
        asked = {"check": question.id, "receiver": client.institution, "purpose": client.purpose}
        person = {"person": pseudonyms.current} if pseudonyms else {}
        about = {"type": place.type, "query": {"_id": [place.id]}, "node": place.node}
        evidence.question({**asked, **person, **about})
        for answer in answers:
            evidence.answer(answer)
        shown = bodies if consent.permitted else []
        evidence.record(
            "answer",
            {
                "check": question.id,
                "resources": len(shown),
                "bytes": hashlib.sha256(b"".join(shown)).hexdigest(),
                "consent": consent.consent,
            },
        )
        await keep(gateway.sequencer, evidence.entries, [])
        gateway.log(
            "resource_read",
            read=question.id,
            client=client.id,
            type=place.type,
            resources=len(shown),
            took_ms=elapsed_ms(started),
        )
        if not consent.permitted:
            gateway.metrics.consent_denials.inc()
            raise ConsentDenied(consent.en)


def identities_of(gateway: Gateway, archive: str) -> FhirNode | None:
    """The node that knows whose the Patient IDs of an archive are."""
    placed = {one.node.id: one for one in gateway.nodes.placed()}
    known = placed.get(placed[archive].settings.identity) if archive in placed else None
    return known.node if known and isinstance(known.node, FhirNode) else None


def exchanged(type_: str, raw: bytes) -> bool:
    """Whether nodes are searched for such a resource: of Observations, for those of the laboratory."""
    try:
        return type_ != "Observation" or is_laboratory(read(raw, Head))
    except Unreadable:
        return False


def admit(gateway: Gateway, client: Client) -> None:
    """Raise NotPermitted unless the client may see what nodes have: a hospital, outside of emergencies."""
    client.require("his")
    catalogue = gateway.rules.catalogue
    if client.institution not in catalogue.institutions:
        raise NotPermitted(f"client {client.id} speaks for no institution of catalogue {catalogue.version}")
    if client.purpose == BREAK_GLASS:
        raise NotPermitted(f"client {client.id} has access for emergencies alone, which a check declares")


async def consent_of(
    gateway: Gateway, whose: Sequence[Identifier], purpose: PurposeOfUse, receiver: str, at: datetime
) -> tuple[Pseudonyms | None, ConsentRule]:
    """The pseudonyms of a person known by these numbers (the strongest first; of none, nobody's), and what
    was said under all of them: the first that is against it, else the first.

    Raises:
        TooManyRequests, StoreUnavailable: it cannot be known.
    """
    rules = await rules_of(gateway, whose, purpose, receiver, at)
    denied = [rule for _, rule in rules if not rule.permitted]
    known = [pseudonyms for pseudonyms, _ in rules]
    return next(iter(known), None), next(iter([*denied, *(rule for _, rule in rules)]), ConsentRule())


async def number_of(
    gateway: Gateway, whose: Sequence[Identifier], client: Client, at: datetime
) -> Identifier:
    """By which of his numbers (the strongest first) a person is asked about: one under which he said no, else
    the strongest. Raises as :func:`consent_of`."""
    rules = await rules_of(gateway, whose, client.purpose, client.institution, at)
    against = [person for person, (_, rule) in zip(whose, rules, strict=True) if not rule.permitted]
    return (against or whose)[0]


async def rules_of(
    gateway: Gateway, whose: Sequence[Identifier], purpose: PurposeOfUse, receiver: str, at: datetime
) -> list[tuple[Pseudonyms, ConsentRule]]:
    """The pseudonyms that stand for each of these numbers, and what was said under it. Raises as
    :func:`consent_of`."""
    known = [await gateway.pseudonyms(person) for person in whose]
    return [(one, await gateway.consents.rule(one, purpose, receiver, at)) for one in known]


def _nowhere(place: Place) -> NotFound:
    return NotFound(f"no {place.type} of this id is known here to be a person's", field=place.type)
