"""Where the studies of a viewing are: asked at all archives, and at other gateways, and remembered.

A study is found only under an id of the viewing's person: what no archive holds so is not there, whatever its
UID; and an archive that has images of somebody else under the same UID, too, shows none of them. Archives are
asked by the broker, so that their breakers, turns and times are those of every question.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial

from msgspec.structs import replace

from adapters import Answer, DicomwebNode, Node, NodeError, PeerGateway, Question, Report
from adapters.dicomweb_studies import Archive, Level, Pairs, Reach, behind, below, listed, undivided
from gateway.errors import NodeUnheard, NotFound
from gateway.flow import waited_s
from gateway.ids import new_id
from gateway.imaging.values import Source, Viewed
from gateway.nodes import Unusable
from gateway.search import REACH
from gateway.tasks import together
from gateway.wiring import Gateway
from quality.record import DICOM_UID

HELD = "00201208"
"""Number of Study Related Instances."""


class Studies:
    """Finds the studies of viewings."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._locating: dict[tuple[str, str, str], asyncio.Task[None]] = {}

    async def locate(self, viewed: Viewed, study_uid: str, way: str = "") -> tuple[Source, ...]:
        """Where a study of the person is, the best source first; with a ``way``, at that archive alone.

        Archives are asked where it is not known yet in this process; who asks for the same study in the same
        moment waits for the same answer.

        Raises:
            NotFound: no archive has it under an id of this person.
            NodeUnheard: an archive that may have it was not heard, or has it of somebody else, too.
        """
        found = _at(viewed, study_uid, way)
        unproven = any((one.node, study_uid) not in viewed.undivided for one in _own(viewed, study_uid))
        if (not found or unproven) and DICOM_UID.fullmatch(study_uid):
            key = viewed.viewing.id, study_uid, way
            await together(self._locating, key, partial(self._locate, viewed, study_uid, way))
            found = _at(viewed, study_uid, way)
        if not found:
            raise NotFound("no archive has a study of this UID under an id of this viewing's patient")
        return found

    async def reach(
        self, viewed: Viewed, source: Source, *, anew: bool = False, images: bool = False
    ) -> Reach:
        """The way to the archive of a source: an own node's line, for ``images`` that of these, or another
        gateway's with the pass of the viewing that is open there; ``anew`` opens a new one there (after a
        401).

        Raises:
            NodeUnheard: the node is gone, or the other gateway admits this viewing to nothing now.
        """
        first, _, rest = source.node.partition("/")
        node = next((one.node for one in self._gateway.nodes.placed() if one.node.id == first), None)
        if isinstance(node, DicomwebNode) and not rest:
            return Reach(node.images if images else node.line)
        if not isinstance(node, PeerGateway) or not rest:
            raise NodeUnheard(f"node {first} is not asked for images any more")
        now = asyncio.get_running_loop().time()
        token, ends = viewed.passes.get(first, ("", now))
        if anew or ends <= now:
            await self.ask(viewed, self.question(viewed, source.node), way=first)
            token, ends = viewed.passes.get(first, ("", now))
            if ends <= now:
                raise NodeUnheard(f"node {first} admits this viewing to no images now")
        return Reach(node.line, f"dicomweb/nodes/{rest}/", {"Authorization": f"Bearer {token}"})

    async def ask(
        self, viewed: Viewed, question: Question, params: Pairs = (), way: str = ""
    ) -> tuple[Answer, ...]:
        """The person's studies (``Answer.listed``) of all archives and other gateways, or of the one node
        that a ``way`` begins with; what is heard is known to :meth:`locate` from then on.

        ``params`` are names and values of QIDO-RS that narrow the search, without the person.
        """

        async def call(node: Node, asked: Question) -> Answer:
            if isinstance(node, DicomwebNode):
                return await listed(node, asked, "studies", params)
            if isinstance(node, PeerGateway):
                return await self._admitted(viewed, node, asked, params)
            return await node.prior(asked) if isinstance(node, Unusable) else without_images(node)

        answers = await self._gateway.broker.ask(question, call, _first(way))
        self._learn(viewed, answers)
        return answers

    async def ask_all(
        self, viewed: Viewed, level: Level, params: Pairs = (), way: str = ""
    ) -> tuple[Answer, ...]:
        """The person's series or instances of all studies, as :meth:`ask`."""

        async def call(node: Node, asked: Question) -> Answer:
            if isinstance(node, DicomwebNode):
                return await listed(node, asked, level, params)
            if not isinstance(node, PeerGateway):
                return await node.prior(asked) if isinstance(node, Unusable) else without_images(node)
            answer = await self._admitted(viewed, node, asked)
            held: dict[Source, set[str]] = {}
            for one in answer.listed:
                held.setdefault(Source(f"{node.id}/{one.node}", one.number), set()).add(one.uid)
            try:
                archives = [(await self.archive(viewed, one), studies) for one, studies in held.items()]
            except NodeUnheard as wrong:
                return _unheard(node, str(wrong))
            told = await behind(node, asked, level, params, archives)
            report = answer.report if not answer.report.heard else told.report
            return replace(told, report=report, behind=answer.behind, signed=answer.signed)

        return await self._gateway.broker.ask(self.question(viewed, way), call, _first(way))

    async def ask_below(
        self,
        viewed: Viewed,
        level: Level,
        params: Pairs,
        sources: Sequence[Source],
        *,
        study: str,
        series: str = "",
    ) -> tuple[Answer, ...]:
        """Series or instances of a study, or of a series of it, at all its sources."""

        async def call(node: Node, asked: Question) -> Answer:
            here = [one for one in sources if one.node.partition("/")[0] == node.id]
            for anew in (False, True):  # another gateway's viewing may have ended before this one
                try:
                    archives = [await self.archive(viewed, one, anew=anew) for one in here]
                except NodeUnheard as wrong:
                    return _unheard(node, str(wrong))
                answer = await below(node, asked, level, params, archives, study=study, series=series)
                if answer.report.state != "refused" or not isinstance(node, PeerGateway):
                    break
            return answer

        question = self.question(viewed, max((source.node for source in sources), key=len))
        return await self._gateway.broker.ask(question, call, {one.node.partition("/")[0] for one in sources})

    def question(self, viewed: Viewed, way: str = "") -> Question:
        """What archives are asked on behalf of a viewing; one that another gateway opened leads to no further
        gateways but those that it names by the ``way``."""
        viewing, settings, now = viewed.viewing, self._gateway.settings, datetime.now(UTC)
        return Question(
            id=new_id(now),
            person=viewing.person,
            kinds=("imaging",),
            since=now - REACH,
            at=now,
            receiver=viewing.institution,
            budget=max(settings.search_deadline_ms / 1000 - waited_s(), 0.001),
            hops=min(way.count("/"), settings.hops) if viewing.gateway else settings.hops,
            purpose=viewing.purpose,
            pseudonyms=viewing.pseudonyms,
            background=True,
        )

    async def _admitted(
        self, viewed: Viewed, node: PeerGateway, asked: Question, params: Pairs = ()
    ) -> Answer:
        """The person's studies at another gateway, with the pass that it gives to this viewing."""
        ends = viewed.viewing.ends
        answer = await node.studies(asked, params, ends=ends)
        if answer.admits:
            left = (ends - datetime.now(UTC)).total_seconds()
            viewed.passes[node.id] = answer.admits, asyncio.get_running_loop().time() + left
        return answer

    async def archive(self, viewed: Viewed, source: Source, *, anew: bool = False) -> Archive:
        """The archive of a source. As :meth:`reach`."""
        reach = await self.reach(viewed, source, anew=anew)
        return Archive(reach, source.number, source.node.partition("/")[2])

    async def _locate(self, viewed: Viewed, study_uid: str, way: str) -> None:
        params, question = (
            (("StudyInstanceUID", study_uid), ("includefield", HELD)),
            self.question(viewed, way),
        )
        answers: tuple[Answer, ...] = ()
        if not any(way in ("", one.node) for one in viewed.studies.get(study_uid, ())):
            answers = await self.ask(viewed, question, params, way)
        own = _own(viewed, study_uid)
        proven = await asyncio.gather(*(self._undivided(question, study_uid, one) for one in own))
        wrong = [detail for one, detail in zip(own, proven, strict=True) if detail and way in ("", one.node)]
        viewed.undivided |= {(one.node, study_uid): not no for one, no in zip(own, proven, strict=True)}
        if not _at(viewed, study_uid, way):
            reports = (report for answer in answers for report in (answer.report, *answer.behind))
            wrong += [str(NodeUnheard.of(report)) for report in reports if not report.complete]
            if wrong:
                raise NodeUnheard(wrong[0])

    async def _undivided(self, question: Question, study_uid: str, source: Source) -> str:
        """Why an own archive does not show a study; empty where it does."""
        node = next((one.node for one in self._gateway.nodes.placed() if one.node.id == source.node), None)
        if not isinstance(node, DicomwebNode):
            return f"node {source.node} is not asked for images any more"
        try:
            if await undivided(node, question, study_uid, source.number):
                return ""
        except NodeError as error:
            return f"node {source.node} was not heard ({error.state}): {error.detail}"
        return f"node {source.node} has images of somebody else, too, under the UID of this study"

    def _learn(self, viewed: Viewed, answers: Iterable[Answer]) -> None:
        """Each study that was told: those sources stand anew, in the order of :func:`best_first`."""
        own = {one.node.id for one in self._gateway.nodes.placed() if one.settings.kind == "dicomweb"}
        heard = {answer.report.node for answer in answers if answer.report.heard}
        told: dict[str, list[Source]] = {}
        for answer in answers:
            for one in answer.listed:
                way = f"{answer.report.node}/{one.node}" if one.node else answer.report.node
                told.setdefault(one.uid, []).append(Source(way, one.number, one.instances))
        for uid, sources in told.items():
            kept = [one for one in viewed.studies.get(uid, ()) if one.node.partition("/")[0] not in heard]
            viewed.studies[uid] = best_first((*sources, *kept), own)


def _at(viewed: Viewed, study_uid: str, way: str) -> tuple[Source, ...]:
    """The known sources of a study that show it, or the one to which a way leads."""
    return tuple(
        source
        for source in viewed.studies.get(study_uid, ())
        if way in ("", source.node) and ("/" in source.node or viewed.undivided.get((source.node, study_uid)))
    )


def _own(viewed: Viewed, study_uid: str) -> list[Source]:
    """The known sources of a study that are own archives; another gateway looks at its own."""
    return [source for source in viewed.studies.get(study_uid, ()) if "/" not in source.node]


def _first(way: str) -> list[str] | None:
    """The node here that a way begins with; without a way, all."""
    return [way.partition("/")[0]] if way else None


def best_first(sources: Iterable[Source], own: Collection[str]) -> tuple[Source, ...]:
    """Sources of a study, each archive once: most instances, own nodes before other gateways', else as they
    stand."""
    once = {source.node: source for source in sources}
    return tuple(sorted(once.values(), key=lambda one: (-one.instances, one.node not in own)))


def without_images(node: Node) -> Answer:
    """The answer of a node that holds no images: nothing is left out where it is not asked."""
    detail = "not asked: it holds no images"
    return Answer(report=Report(node=node.id, kind=node.kind, state="skipped", took_ms=0, detail=detail))


def _unheard(node: Node, detail: str) -> Answer:
    return Answer(
        report=Report(node=node.id, kind=node.kind, state="faulty", took_ms=0, fault="node", detail=detail)
    )
