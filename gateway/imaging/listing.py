"""Searches for studies, series and instances over all archives of a viewing (QIDO-RS, PS3.18 §10.6).

Over the person, a search is what a FHIR search is: question, answers and answer stand in the ledger before
anything is told. Below a study it is a look into that study, and recorded as such (调阅), once for each.
Archives are asked for no less than what is wanted; every condition is applied here, to what the list shows.

What a search found is kept for some minutes where it is told in parts, so that ``offset`` goes on in the very
list that ``limit`` cut off, at whichever replica.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import groupby

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from adapters import Answer, Report, elapsed_ms
from adapters.dicomweb_studies import Pairs
from adapters.peer import way_of
from gateway.errors import NodeUnheard, NotFound
from gateway.evidence import Evidence, keep
from gateway.imaging import merging
from gateway.imaging.meant import as_meant
from gateway.imaging.merging import Frame, Members, Told
from gateway.imaging.query import DicomQuery, matches
from gateway.imaging.studies import HELD, Studies
from gateway.imaging.values import Level, Viewed
from gateway.imaging.viewing import Viewings
from gateway.wiring import Gateway
from security.errors import TrustError

KEPT_S, KEPT_BYTES = 300.0, 16 << 20
"""For how many seconds a list that was told in parts is kept, and how large it may be."""
MODALITIES, DESCRIPTION = "00080061", "00081030"
_WITH_IMAGES = ("dicomweb", "gateway")


class Place(Struct, frozen=True):
    """Where a search stands: objects of a level, below a study or a series of it, at the archive to which
    ``way`` leads or at all of them."""

    level: Level
    study: str = ""
    series: str = ""
    way: str = ""


class Page(Struct, frozen=True):
    """What a search tells: DICOM JSON objects (a list, ``application/dicom+json``) and their number, how many
    more there are, and how every node was."""

    body: bytes
    objects: int
    left: int
    reports: tuple[Report, ...]


class _Found(Struct, frozen=True):
    """What a search found, as it is kept."""

    objects: tuple[bytes, ...]
    reports: tuple[Report, ...]


class Listing:
    """Answers searches."""

    def __init__(self, gateway: Gateway, studies: Studies, viewings: Viewings) -> None:
        self._gateway = gateway
        self._studies = studies
        self._viewings = viewings
        self.base = f"{gateway.settings.base_url}/dicomweb"

    async def search(self, viewed: Viewed, place: Place, query: DicomQuery) -> Page:
        """What of the viewing's person is found, once it is recorded.

        Raises:
            NotFound: there is no such node, or no such study of this person.
            NodeUnheard: no archive that has the study was heard.
            EvidenceUnavailable: it cannot be recorded.
        """
        started = time.monotonic()
        first = place.way.partition("/")[0]
        asked = {one.node.id for one in self._gateway.nodes.placed() if one.settings.kind in _WITH_IMAGES}
        if first and first not in asked:
            raise NotFound("there is no such archive here", field="node")
        evidence = None if place.study else self._asked(viewed, place, query)
        rows: Sequence[Members | Raw]
        answers: tuple[Answer, ...] = ()
        if query.offset and (kept := await self._kept(viewed, place, query)):
            rows, reports = [Raw(one) for one in kept.objects], kept.reports
            if place.study:
                await self._looked_into(viewed, place)
        else:
            rows, answers = await (self._below if place.study else self._over)(viewed, place, query)
            reports = _reports(answers, place.way)
        last = len(rows) if query.limit is None else query.offset + query.limit
        told = rows[query.offset : last]
        page = Page(merging.encoded(told), len(told), max(len(rows) - last, 0), reports)
        if page.left and answers:
            objects = tuple(merging.encoded([row])[1:-1] for row in rows)
            await self._keep(viewed, place, query, _Found(objects, reports))
        if evidence:
            for answer in answers:
                evidence.answer(answer)
            body = hashlib.sha256(page.body).hexdigest()
            evidence.record("answer", {"resources": page.objects, "first": query.offset, "bytes": body})
            await keep(self._gateway.sequencer, evidence.entries, [])
        complete = str(all(report.complete for report in reports)).lower()
        self._gateway.metrics.searches.labels(place.level, complete).inc()
        self._gateway.metrics.search_seconds.observe(time.monotonic() - started)
        self._gateway.log(
            "images_listed",
            viewing=viewed.viewing.id,
            client=viewed.viewing.client,
            level=place.level,
            objects=page.objects,
            nodes=len(reports),
            took_ms=elapsed_ms(started),
        )
        return page

    def _asked(self, viewed: Viewed, place: Place, query: DicomQuery) -> Evidence:
        """The evidence of a search, with its question: by which attributes, and not for which values, since
        these may say who the person is."""
        viewing = viewed.viewing
        evidence = Evidence.of(self._gateway, viewing.client, datetime.now(UTC), binds=viewing.question)
        evidence.question(
            {
                "check": viewing.check,
                "viewing": viewing.id,
                "person": viewing.pseudonyms[0],
                "receiver": viewing.institution,
                "purpose": viewing.purpose,
                "type": f"dicomweb/{place.level}",
                "query": dict.fromkeys((tag for one in query.conditions for tag in one.tags), ()),
                **({"node": place.way} if place.way else {}),
            }
        )
        return evidence

    async def _over(
        self, viewed: Viewed, place: Place, query: DicomQuery
    ) -> tuple[list[Members], tuple[Answer, ...]]:
        """Objects of the person at all archives."""
        params, frame = _params(query), self._frame(viewed, place)
        if place.level == "studies":
            question = self._studies.question(viewed, place.way)
            answers = await self._studies.ask(viewed, question, params, place.way)
            rows = merging.studies(await self._told(viewed, answers, place.way), frame)
        else:
            answers = await self._studies.ask_all(viewed, place.level, params, place.way)
            rows = merging.below(await self._told(viewed, answers, place.way), frame, place.level)
        return self._sifted(rows, viewed, query), answers

    async def _below(
        self, viewed: Viewed, place: Place, query: DicomQuery
    ) -> tuple[list[Members], tuple[Answer, ...]]:
        """Series or instances of a study at all its sources; it is on record that it was looked into."""
        sources = await self._studies.locate(viewed, place.study, place.way)
        _, answers = await asyncio.gather(
            self._viewings.record(viewed, place.study, sources[0].node),
            self._studies.ask_below(
                viewed, place.level, _params(query), sources, study=place.study, series=place.series
            ),
        )
        if not any(answer.report.heard for answer in answers):
            raise NodeUnheard.of(answers[0].report)
        order = [source.node for source in sources]
        told = await self._told(viewed, answers, place.way)
        told.sort(key=lambda one: order.index(one.way))
        return self._sifted(
            merging.below(told, self._frame(viewed, place), place.level), viewed, query
        ), answers

    async def _looked_into(self, viewed: Viewed, place: Place) -> None:
        """Put on record that a study was looked into, where its list was kept."""
        sources = await self._studies.locate(viewed, place.study, place.way)
        await self._viewings.record(viewed, place.study, sources[0].node)

    async def _told(self, viewed: Viewed, answers: Iterable[Answer], way: str) -> list[Told]:
        """What each archive told, with its texts as they were meant."""
        institutions = {one.node.id: one.node.institution for one in self._gateway.nodes.placed()}
        told = []
        for answer in answers:
            node = answer.report.node
            for (below_it, number), ones in groupby(answer.listed, key=lambda one: (one.node, one.number)):
                at = f"{node}/{below_it}" if below_it else node
                if way in ("", at):
                    told.append(Told(at, "" if below_it else institutions.get(node, ""), number, list(ones)))
        return await as_meant(self._studies, viewed, told)

    def _frame(self, viewed: Viewed, place: Place) -> Frame:
        settings = self._gateway.settings
        return Frame(
            base=f"{self.base}/nodes/{place.way}" if place.way else self.base,
            fhir=f"{settings.base_url}/fhir",
            issuer=settings.owner,
            viewing=viewed.viewing,
            sources=viewed.studies,
        )

    def _sifted(self, rows: list[Members], viewed: Viewed, query: DicomQuery) -> list[Members]:
        """The rows that meet all conditions; only where there are some is a whole row read."""
        if not query.conditions:
            return rows
        fitting = []
        for row in rows:
            dataset = merging.decoded(merging.encoded([row])[1:-1])
            study = dataset.get(merging.STUDY_UID, {}).get("Value") or [""]
            numbers = [source.number for source in viewed.studies.get(study[0], ())]
            if matches(query, dataset, numbers):
                fitting.append(row)
        return fitting

    async def _keep(self, viewed: Viewed, place: Place, query: DicomQuery, found: _Found) -> None:
        name = _name(viewed, place, query)
        if sum(map(len, found.objects)) <= KEPT_BYTES:
            sealed = self._gateway.store.envelope.seal(msgspec.msgpack.encode(found), name)
            await self._gateway.shared.set(name, sealed, KEPT_S)

    async def _kept(self, viewed: Viewed, place: Place, query: DicomQuery) -> _Found | None:
        name = _name(viewed, place, query)
        if (sealed := await self._gateway.shared.get(name)) is None:
            return None
        try:
            opened = self._gateway.store.envelope.open(sealed, name)
            return msgspec.msgpack.decode(opened, type=_Found)
        except (TrustError, msgspec.MsgspecError):
            return None


def _params(query: DicomQuery) -> Pairs:
    """What archives are asked: also how many images there are of a study, of which modalities, and what
    it is called."""
    asked = query.passed_on
    if query.level != "studies":
        return asked
    return (*dict.fromkeys((*asked, *(("includefield", tag) for tag in (MODALITIES, DESCRIPTION, HELD)))),)


def _reports(answers: Iterable[Answer], way: str) -> tuple[Report, ...]:
    """How archives and other gateways were; of nodes without images there is nothing to say."""
    reports = (report for answer in answers for report in (answer.report, *answer.behind))
    return tuple(
        report
        for report in reports
        if (report.kind in _WITH_IMAGES or not report.complete)
        and (not way or way == way_of(report) or way.startswith(f"{way_of(report)}/"))
    )


def _name(viewed: Viewed, place: Place, query: DicomQuery) -> str:
    """By what a list is kept: the same search of the same viewing, whichever part of it is asked for."""
    whole = replace(query, limit=None, offset=0, nodestates=False)
    words = repr((viewed.viewing.id, place, whole)).encode()
    return f"list|{hashlib.sha256(words).hexdigest()}"
