"""Searches over all own nodes: the person's resources as the nodes sent them, and the state of every node.

Nodes are asked the plainest question there is (the patient, a type, one bound on the time); every other
condition is applied here, over the key fields, because servers differ in what they make of it. The bytes of a
resource are not touched. A resource that stands at two nodes stands in the answer twice: whether two records
are of one examination is what a check decides, not a search.

Consent, purpose and evidence are those of a check: where the person has not consented nobody is asked, and
what cannot be recorded is not answered. Other gateways are not asked, and are named as skipped.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from msgspec import Raw, Struct

from adapters import Answer, FhirNode, Node, Question, Report, elapsed_ms
from adapters.fhir_read import Key
from adapters.published import PublishedNode
from catalog import Kind
from gateway._source_search import Condition
from gateway.access.clients import Client
from gateway.errors import NotPermitted
from gateway.evidence import Evidence, keep
from gateway.flow import waited_s
from gateway.ids import new_id
from gateway.model import ConsentRule
from gateway.nodes import Unusable
from gateway.persons.consent import BREAK_GLASS
from gateway.wiring import Gateway
from security.identity import Identifier

BOUNDS = {"DiagnosticReport": ("issued", "date"), "Observation": ("date",), "ImagingStudy": ("started",)}
"""What can be searched, and the parameters by which nodes can bound it: the first that the caller gives."""
KINDS: dict[str, tuple[Kind, ...]] = {
    "DiagnosticReport": ("imaging", "lab"),
    "Observation": ("lab",),
    "ImagingStudy": ("imaging",),
}
REACH = timedelta(days=3660)
"""How far back a search goes that does not say."""
RESERVE = 0.06
"""Seconds of the time for a search that are kept back for putting together and recording."""


class Wanted(Struct, frozen=True, kw_only=True):
    """A search: resources of a type about a person that meet all conditions, the newest ``count`` of them,
    within ``seconds``. ``told`` is what the caller sent, without the person."""

    type: str
    person: Identifier
    conditions: Sequence[Condition]
    count: int
    seconds: float
    told: Mapping[str, Sequence[Any]]

    def bound(self, now: datetime) -> tuple[str, datetime]:
        """The parameter by which nodes are to bound the search, and from when on."""
        names = BOUNDS[self.type]
        for name in names:
            starts = [one.earliest() for one in self.conditions if one.name == name]
            if latest := [start for start in starts if start is not None]:
                return name, datetime.fromtimestamp(max(latest), UTC)
        return names[0], now - REACH


Fitting = tuple[float, str, str, Raw]
"""How long before 1970 (seconds), node, id and bytes of a resource: the order in which they are told."""


class Found(Struct, frozen=True, kw_only=True):
    """What a search found: ``matches``, the newest first, of ``total`` that fit; the state of every node,
    whether all were heard, and what the person's consent says."""

    id: str
    matches: Sequence[Fitting]
    total: int
    reports: tuple[Report, ...]
    complete: bool
    consent: ConsentRule


class Searching:
    """Answers searches."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def answer(self, wanted: Wanted, client: Client, written: Callable[[Found], bytes]) -> bytes:
        """Ask the nodes, write the answer with ``written``, record the exchange, and only then give it.

        Raises:
            NotPermitted: the client may not search, or speaks for no institution.
            TooManyRequests: more persons are asked about than this gateway looks up.
            EvidenceUnavailable, StoreUnavailable: the exchange cannot be recorded, or consent not be known.
        """
        client.require("his")
        started = time.monotonic()
        gateway, now = self._gateway, datetime.now(UTC)
        catalogue = gateway.rules.catalogue
        if client.institution not in catalogue.institutions:
            raise NotPermitted(
                f"client {client.id} speaks for no institution of catalogue {catalogue.version}"
            )
        if client.purpose == BREAK_GLASS:
            raise NotPermitted(f"client {client.id} has access for emergencies alone, which a check declares")
        evidence = Evidence.of(gateway, client.id, now)
        pseudonyms = await gateway.pseudonyms(wanted.person)
        consent = await gateway.consents.rule(pseudonyms, client.purpose, client.institution, now)
        id_ = new_id(now)
        evidence.question(
            {
                "check": id_,
                "person": pseudonyms.current,
                "receiver": client.institution,
                "purpose": client.purpose,
                "type": wanted.type,
                "query": wanted.told,
            }
        )
        bound, since = wanted.bound(now)
        question = Question(
            id=id_,
            person=wanted.person,
            kinds=KINDS[wanted.type],
            since=since,
            at=now,
            receiver=client.institution,
            budget=max(wanted.seconds - RESERVE - waited_s(), RESERVE),
            hops=0,
            purpose=client.purpose,
            pseudonyms=pseudonyms.all,
            background=True,
        )
        answers: Sequence[Answer] = ()
        if consent.permitted:
            answers = await gateway.broker.ask(question, lambda node: _asked(node, question, wanted, bound))
            reports = tuple(answer.report for answer in answers)
        else:
            reports = gateway.broker.skip("not asked: the patient has not consented")
        for answer in answers:
            evidence.answer(answer)
        fitting = _fitting(answers, wanted.conditions)
        found = Found(
            id=id_,
            matches=fitting[: wanted.count],
            total=len(fitting),
            reports=reports,
            complete=consent.permitted and all(report.complete for report in reports),
            consent=consent,
        )
        body = written(found)
        evidence.record(
            "answer",
            {
                "check": id_,
                "resources": len(found.matches),
                "bytes": hashlib.sha256(body).hexdigest(),
                "consent": consent.consent,
            },
        )
        await keep(gateway.sequencer, evidence.entries, [])
        if not consent.permitted:
            gateway.metrics.consent_denials.inc()
        gateway.metrics.searches.labels(wanted.type, str(found.complete).lower()).inc()
        gateway.metrics.search_seconds.observe(time.monotonic() - started)
        gateway.log(
            "search_answered",
            search=id_,
            client=client.id,
            type=wanted.type,
            resources=len(found.matches),
            nodes=len(reports),
            took_ms=elapsed_ms(started),
        )
        return body


async def _asked(node: Node, question: Question, wanted: Wanted, bound: str) -> Answer:
    """One node's matches. An archive has no FHIR resources, so nothing is left out where it is not asked."""
    if isinstance(node, FhirNode | PublishedNode):
        return await node.search(question, wanted.type, bound, keyed=bool(wanted.conditions))
    if isinstance(node, Unusable):
        return await node.prior(question)
    archive = node.kind == "dicomweb"
    detail = "it holds no FHIR resources" if archive else "searches are not passed on to it"
    return Answer(
        report=Report(
            node=node.id,
            kind=node.kind,
            state="skipped",
            took_ms=0,
            fault="" if archive else "gateway",
            detail=f"not asked: {detail}",
        )
    )


def _fitting(answers: Iterable[Answer], conditions: Sequence[Condition]) -> list[Fitting]:
    """Each resource of a node that meets all conditions, once: the newest first, without a time last."""
    found: list[Fitting] = []
    for answer in answers:
        node = answer.report.node
        matches = {
            match.key.id: match
            for match in answer.matches
            if not conditions or all(condition.holds(cast("Key", match.key)) for condition in conditions)
        }
        found += [(-match.at, node, id_, match.raw) for id_, match in matches.items()]
    found.sort()
    return found
