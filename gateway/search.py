"""Searches over all nodes: the person's resources as the nodes sent them, and the state of every node.

Nodes are asked the plainest question there is (the patient, a type, one bound on the time); every other
condition is applied here, because servers differ in what they make of it. The bytes of a resource are not
touched, unless less than the whole was asked for. What stands at several nodes is shown once where strong
identifiers say that it is the same (:mod:`gateway.merging`).

What comes along (``_include``) is looked for at the node that refers to it, as a search for the same person:
so it is his, and not whatever a reference names.

Consent, purpose and evidence are those of a check: where the person has not consented nobody is asked, and
what cannot be recorded is not answered. That goes for every further page, too.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from adapters import Answer, Node, Question, Report, elapsed_ms
from catalog import Kind
from gateway.access.clients import Client
from gateway.along import Along, Heard, shown_of, types_along
from gateway.errors import Gone, NotFound
from gateway.evidence import Evidence, keep
from gateway.finding import search
from gateway.flow import waited_s
from gateway.ids import new_id
from gateway.meaning import Meaning
from gateway.merging import Shown, merged
from gateway.model import ConsentRule
from gateway.outcome import issues_of
from gateway.pages import Paged
from gateway.reading import admit
from gateway.resources.conditions import opened
from gateway.resources.query import Query
from gateway.resources.searchset import Row, Searchset, ordered, shaped
from gateway.wiring import Gateway
from security.identity import Identifier

BOUNDS: Mapping[str, tuple[str, ...]] = {
    "Patient": ("",),
    "DiagnosticReport": ("issued", "date"),
    "Observation": ("date",),
    "ImagingStudy": ("started",),
    "ServiceRequest": ("authored",),
    "Specimen": ("collected",),
}
"""What can be searched, and the parameters by which nodes can bound it: the first that the caller gives."""
KINDS: Mapping[str, tuple[Kind, ...]] = {
    "Patient": ("imaging", "lab"),
    "DiagnosticReport": ("imaging", "lab"),
    "Observation": ("lab",),
    "ImagingStudy": ("imaging",),
    "ServiceRequest": ("imaging", "lab"),
    "Specimen": ("lab",),
}
REACH = timedelta(days=3660)
"""How far back a search goes that does not say."""
RESERVE = 0.06
"""Seconds of the time for a search that are kept back for putting together and recording."""


class Wanted(Struct, frozen=True, kw_only=True):
    """A search: what of a person meets ``query``, within ``seconds``; at all nodes, or at the one to which
    ``way`` leads (``<node>``, ``<peer>/<node>``)."""

    query: Query
    person: Identifier
    seconds: float
    way: str = ""

    def bound(self, now: datetime) -> tuple[str, datetime]:
        """The parameter by which nodes are to bound the search, and from when on."""
        names = BOUNDS[self.query.type]
        for name in names:
            starts = [one.earliest() for one in self.query.conditions if one.name == name]
            if latest := [start for start in starts if start is not None]:
                return name, datetime.fromtimestamp(max(latest), UTC)
        return names[0], now - REACH

    @property
    def passed_on(self) -> list[tuple[str, str]]:
        """The conditions that another gateway reads as this one does: codes and references it may not."""
        return [
            (name, text)
            for one in self.query.conditions
            if one.parameter.kind != "reference" and one.name != "code"
            for name, text in self.query.told
            if name == one.name
        ]

    @property
    def told(self) -> dict[str, list[str]]:
        """What the caller sent, without the person."""
        told = defaultdict(list)
        for name, text in self.query.told:
            told[name].append(text)
        return dict(told)


class Searching:
    """Answers searches."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._base = f"{gateway.settings.base_url}/fhir"
        self._images = f"{gateway.settings.base_url}/dicomweb"
        self._homes = partial(homes_of, gateway)

    async def answer(self, wanted: Wanted, client: Client) -> bytes:
        """Ask the nodes, record the exchange, and only then give the searchset.

        Raises:
            NotPermitted: the client may not search, or speaks for no institution.
            NotFound: there is no such node.
            TooManyRequests: more persons are asked about than this gateway looks up.
            EvidenceUnavailable, StoreUnavailable: the exchange cannot be recorded, or consent not be known.
        """
        self._admit(client, wanted.query)
        top = wanted.way.partition("/")[0]
        if top and all(top != one.node.id for one in self._gateway.nodes.placed()):
            raise NotFound("there is no such node here")
        started = time.monotonic()
        gateway, query, now = self._gateway, wanted.query, datetime.now(UTC)
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
                "type": query.type,
                "query": wanted.told,
                **({"node": wanted.way} if wanted.way else {}),
            }
        )
        bound, since = wanted.bound(now)
        question = Question(
            id=id_,
            person=wanted.person,
            kinds=KINDS[query.type],
            since=since,
            at=now,
            receiver=client.institution,
            budget=max(wanted.seconds - RESERVE - waited_s(), RESERVE),
            hops=gateway.settings.hops,
            purpose=client.purpose,
            pseudonyms=pseudonyms.all,
            background=True,
        )
        heard = Heard((), {})
        if consent.permitted:
            heard = await self._heard(wanted, question, bound)
            reports = tuple(report for one in heard.answers for report in (one.report, *one.behind))
        else:
            reports = gateway.broker.skip("not asked: the patient has not consented")
        for answer in (*heard.answers, *heard.along.values()):
            evidence.answer(answer)
        complete = consent.permitted and all(report.complete for report in reports)
        found = self._found(id_, wanted, heard, reports, consent)
        paged = Paged(
            client=client.id,
            type=query.type,
            found=found,
            person=pseudonyms,
            question=evidence.entries[0].entry_id,
        )
        body = found.page(self._base, 0, await gateway.pages.keep(paged))
        evidence.record(
            "answer",
            {
                "check": id_,
                "resources": len(found.shown()),
                "bytes": hashlib.sha256(body).hexdigest(),
                "consent": consent.consent,
            },
        )
        await keep(gateway.sequencer, evidence.entries, [])
        if not consent.permitted:
            gateway.metrics.consent_denials.inc()
        gateway.metrics.searches.labels(query.type, str(complete).lower()).inc()
        gateway.metrics.search_seconds.observe(time.monotonic() - started)
        gateway.log(
            "search_answered",
            search=id_,
            client=client.id,
            type=query.type,
            resources=len(found.shown()),
            nodes=len(reports),
            took_ms=elapsed_ms(started),
        )
        return body

    async def page(self, page: str, client: Client) -> bytes:
        """A further page of what was found, once it is recorded that it is shown.

        Raises:
            Gone: it is forgotten, not this client's, or the patient does not consent any more.
            EvidenceUnavailable, StoreUnavailable: as :meth:`answer`.
        """
        gateway, now = self._gateway, datetime.now(UTC)
        paged, start = await gateway.pages.open(page, client.id)
        client.permit(paged.type, "s")
        body = paged.found.page(self._base, start, page.partition(".")[0])
        if paged.person is None:
            return body
        self._admit(client)
        consent = await gateway.consents.rule(paged.person, client.purpose, client.institution, now)
        if not consent.permitted:
            raise Gone("the patient does not consent to this any more; search again")
        evidence = Evidence.of(gateway, client.id, now, binds=paged.question)
        evidence.record(
            "answer",
            {
                "check": paged.found.id,
                "first": start,
                "resources": len(paged.found.shown(start)),
                "bytes": hashlib.sha256(body).hexdigest(),
                "consent": consent.consent,
            },
        )
        await keep(gateway.sequencer, evidence.entries, [])
        return body

    def _admit(self, client: Client, query: Query | None = None) -> None:
        """Raises NotPermitted."""
        admit(self._gateway, client)
        for type_ in types_along(query) if query else ():
            client.permit(type_, "s")

    async def _heard(self, wanted: Wanted, question: Question, bound: str) -> Heard:
        """What the nodes have of the type; of those that have some, also what may come along."""
        query, along = wanted.query, dict[tuple[str, str], Answer]()
        further = replace(question, since=question.at - REACH)

        async def asked(node: Node, asking: Question) -> Answer:
            began = time.monotonic()
            answer = await search(node, asking, query.type, bound, self._images, wanted.passed_on)
            for type_ in types_along(query) if answer.matches else ():
                left = max(asking.budget - (time.monotonic() - began), 0.001)
                more = replace(further, budget=left, hops=asking.hops, asked=asking.asked)
                told = await search(node, more, type_, BOUNDS[type_][0], self._images)
                along[node.id, type_] = told
                for lacking in (one for one in (told.report, *told.behind) if not one.complete):
                    detail = f"what comes along of type {type_} is not known: {lacking.node} {lacking.state}"
                    report = replace(answer.report, fault=lacking.fault or "node", detail=detail)
                    answer = replace(answer, report=report)
            return answer

        nodes = [wanted.way.partition("/")[0]] if wanted.way else None
        return Heard(await self._gateway.broker.ask(question, asked, nodes), along)

    def _found(
        self, id_: str, wanted: Wanted, heard: Heard, reports: Sequence[Report], consent: ConsentRule
    ) -> Searchset:
        query = wanted.query
        shown, meant = self._fitting(wanted, heard.answers)
        entries = ordered(merged(shown), query, lambda entry: entry.shown.raw)
        beside = Along(query, heard, self._homes) if heard.along else None
        rows: list[Row] = []
        included: dict[str, bytes] = {}
        whole = query.whole
        for entry in entries if not query.counted else ():
            one = entry.shown
            row = Row(one.place, bytes(one.raw) if whole else shaped(one.raw, query))
            if entry.sources or entry.conflicts:
                row = replace(row, sources=_places(entry.sources), conflicts=_places(entry.conflicts))
            if beside and (along := beside.of(one)):
                included |= {each.place: bytes(each.raw) for each in along}
                row = replace(row, along=tuple(each.place for each in along))
            rows.append(row)
        return Searchset(
            id=id_,
            address=f"nodes/{wanted.way}/{query.address}" if wanted.way else query.address,
            count=query.count,
            total=len(entries) if query.totalled else None,
            rows=tuple(rows),
            included=included,
            outcome=issues_of(reports, consent, query, meant),
        )

    def _fitting(self, wanted: Wanted, answers: Iterable[Answer]) -> tuple[list[Shown], list[str]]:
        """Each resource of a node that meets all conditions, once; and which of them by what they mean."""
        query, placed = wanted.query, {one.node.id: one.node for one in self._gateway.nodes.placed()}
        conditions = query.conditions
        meanings = Meaning.of(query.type, conditions, self._gateway.rules) if conditions else {}
        found: dict[tuple[str, str], Shown] = {}
        meant: list[str] = []
        for answer in answers:
            node = answer.report.node
            institution = placed[node].institution if node in placed else ""
            homes = self._homes(node) if conditions else ()
            for match in answer.matches:
                one = shown_of(match, node, institution)
                if wanted.way not in ("", one.node):
                    continue
                if conditions:
                    resource = opened(bytes(match.raw))
                    around = self._homes(one.node) if match.node else homes
                    failing = [each for each in conditions if not each.holds(resource, around)]
                    if any(
                        each not in meanings or not meanings[each].fits(query.type, match.raw, institution)
                        for each in failing
                    ):
                        continue
                    meant += [one.place] if failing else []
                found[one.node, one.head.id] = one
        return [*found.values()], meant


def homes_of(gateway: Gateway, way: str) -> tuple[str, ...]:
    """The base URLs under which the resources of a node are known: here, and at itself."""
    urls = (one.settings.url.rstrip("/") for one in gateway.nodes.placed() if one.node.id == way)
    return (f"{gateway.settings.base_url}/fhir/nodes/{way}", *filter(None, urls))


def _places(shown: Iterable[Shown]) -> tuple[tuple[str, str], ...]:
    return tuple((one.node, one.place) for one in shown)
