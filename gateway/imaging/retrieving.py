"""Images on their way from an archive to a viewer: found, permitted, recorded, and passed on piece by piece.

The archive with the most of a study is asked first, the next one where it does not answer; after the first
byte there is no next one, and an archive that stops in the middle has the connection cut, so that what came
never looks whole. A piece goes out before the next one is read, so a slow viewer holds the archive and not
memory; a viewer that leaves has the archive's answer given up at once.

An archive is asked in one form at a time (:mod:`gateway.imaging.accept`), and it is remembered which one it
takes. Where it has no metadata or frames at all, they are made from its instances
(:mod:`gateway.imaging.making`). An answer in a type that the caller does not take is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field
from msgspec.structs import replace

from adapters import NodeError
from adapters.dicomweb_studies import Reach
from adapters.errors import NodeFaulty
from adapters.transport import Incoming
from gateway.errors import BadParameter, Gone, NodeUnheard, NotAcceptable, NotFound
from gateway.imaging import making, merging
from gateway.imaging.accept import JSON, RELATED, Accepted, Form, Media, Resource, accepted, media_of
from gateway.imaging.addresses import FACE, Asked
from gateway.imaging.making import Outgoing, Pieces, each, plain
from gateway.imaging.rewriting import Objects, Related, Whose, headers_of
from gateway.imaging.studies import Studies
from gateway.imaging.values import Source, Viewed
from gateway.imaging.viewing import Viewings
from gateway.wiring import Gateway

REMEMBERED_S = 600.0
"""For how long an archive is believed to have no metadata of studies, series or instances."""
REFUSALS = (NodeUnheard, NotFound, Gone, NotAcceptable, BadParameter)
"""What an archive's status can mean, but for an answer."""
_LEARNT = 4096
_LOOK = 16 * 1024  # bytes of a multipart answer in which the headers of its first part are looked for
_LARGE = 256 * 1024  # bytes of metadata of an instance that are looked at in a thread of their own
_REPEATED = ("accept-ranges", "content-range", "etag", "last-modified")  # of an answer that is as it came
_FORM = frozenset((400, 405, 406, 415, 500, 501))  # where another form may fare better
_JSON = frozenset((JSON, "application/json"))


class _Lost(Exception):
    """The archive lost a text, which its images still have."""


class Call(Struct, frozen=True, kw_only=True):
    """One retrieval: by which viewing, what, in which forms, and the headers for a part of the bytes."""

    viewed: Viewed
    asked: Asked
    accepted: Accepted
    ranges: Mapping[str, str]


class _Uids(Struct):
    uids: tuple[Annotated[str, Meta(pattern=r"^[0-9.]{1,64}$")], ...] = field(name="Value")


class _Instance(Struct):
    """An instance as an archive lists it."""

    series: _Uids = field(name="0020000E")
    instance: _Uids = field(name="00080018")


class Retrieving:
    """Answers retrievals."""

    def __init__(self, gateway: Gateway, viewings: Viewings, studies: Studies) -> None:
        self._gateway = gateway
        self._viewings = viewings
        self._studies = studies
        self._forms: dict[tuple[str, str, tuple[Form, ...]], Form] = {}
        self._lacking: dict[tuple[str, int], float] = {}
        self._offers: dict[tuple[str, str, tuple[Form, ...]], str] = {}

    async def open(
        self, stack: AsyncExitStack, viewed: Viewed, asked: Asked, ranges: Mapping[str, str]
    ) -> Outgoing:
        """The beginning of an answer; its record in the ledger is written. It ends with ``stack``.

        Raises:
            NotAcceptable: nobody gives it out in a form that the caller takes.
            NotFound, Gone, BadParameter: the archive says so.
            NodeUnheard: no archive that has the study could be heard.
            EvidenceUnavailable: the view cannot be recorded.
        """
        call = Call(
            viewed=viewed,
            asked=asked,
            accepted=accepted(asked.resource, asked.accept, one=asked.one),
            ranges=ranges,
        )
        sources = await self._studies.locate(viewed, asked.study, asked.way)
        recording = asyncio.ensure_future(self._viewings.record(viewed, asked.study, sources[0].node))
        stack.callback(_left, recording)
        outgoing = await self._first(stack, call, sources)
        await recording
        return making.in_xml(outgoing) if asked.resource == "metadata" and call.accepted.xml else outgoing

    async def handed_over(self, viewed: Viewed, asked: Asked) -> tuple[Source, str] | None:
        """The archive and the ``Accept`` by which a proxy may fetch this by itself, once it is recorded; None
        where an answer has to be looked at or changed here, or is not known to need neither."""
        wanted = accepted(asked.resource, asked.accept, one=asked.one)
        source, *_ = await self._studies.locate(viewed, asked.study, asked.way)
        offer = self._offers.get((source.node, asked.resource, wanted.forms))
        if not offer:
            return None
        await self._viewings.record(viewed, asked.study, source.node)
        return source, offer

    async def _first(self, stack: AsyncExitStack, call: Call, sources: Sequence[Source]) -> Outgoing:
        """The answer of the first archive that gives one."""
        refused: list[Exception] = []
        for source in sources:
            try:
                return await self._from(stack, call, source)
            except NodeError as error:
                refused.append(NodeUnheard(f"node {source.node} ({error.state}): {error.detail}"))
            except REFUSALS as error:
                refused.append(error)
        unheard = (error for error in refused if isinstance(error, NodeUnheard))
        raise next(unheard, refused[0])  # who was not heard may have what the others have not

    async def _from(self, stack: AsyncExitStack, call: Call, source: Source) -> Outgoing:
        reach = await self._studies.reach(call.viewed, source, images=True)
        resource, now = call.asked.resource, asyncio.get_running_loop().time()
        level, lacks = (source.node, call.asked.below.count("/")), False
        if resource != "metadata" or self._lacking.get(level, 0) <= now:
            try:
                return await self._asked(stack, call, source, reach)
            except _Lost:
                pass
            except REFUSALS as refused:
                if resource == "thumbnail":
                    return await self._asked(stack, await self._drawn(call, reach), source, reach)
                if resource not in making.MADE:
                    raise
                lacks = resource == "metadata" and isinstance(refused, NotFound | NotAcceptable)
        outgoing = await self._made(stack, call, source, reach)
        if lacks:  # for it gives out the instances themselves
            self._lacking[level] = now + REMEMBERED_S
        return outgoing

    async def _drawn(self, call: Call, reach: Reach) -> Call:
        """The small picture that serves as a thumbnail where an archive has none: of one instance."""
        below, asked = call.asked.below.removesuffix("/thumbnail"), call.asked
        if not asked.instance:
            list_ = await reach.line.get_json(
                f"{reach.root}{below}/instances", {"limit": "1"}, accept=JSON, credentials=reach.headers
            )
            try:
                (first, *_) = msgspec.json.decode(list_ or b"[]", type=list[_Instance])
                series, instance = first.series.uids[0], first.instance.uids[0]
            except (ValueError, IndexError):
                raise NotFound("nobody says which instances it has") from None
            below = f"studies/{asked.study}/series/{series}/instances/{instance}"
        drawn = replace(asked, below=f"{below}/rendered", query=asked.query or "viewport=128,128")
        return replace(call, asked=replace(drawn, resource="rendered"))

    async def _asked(self, stack: AsyncExitStack, call: Call, source: Source, reach: Reach) -> Outgoing:
        """What the archive gives, in the first form that it takes."""
        forms, key = call.accepted.forms, (source.node, call.asked.resource, call.accepted.forms)
        known = self._forms.get(key)
        refused: Exception = NotFound("no archive has it")
        for form in dict.fromkeys((known, *forms) if known else forms):
            async with AsyncExitStack() as attempt:
                incoming = await self._answer(attempt, call, source, reach, form)
                if wrong := _refusal(incoming, source, call.asked.resource):
                    refused = wrong
                    if incoming.status in _FORM:
                        continue
                    break
                if outgoing := await self._outgoing(call, source, incoming):
                    if len(self._forms) > _LEARNT:
                        self._forms.clear()
                        self._offers.clear()
                    self._forms[key] = form
                    if outgoing.as_it_is and "/" not in source.node:
                        self._offers[key] = form.accept
                    stack.push_async_exit(attempt.pop_all())
                    return outgoing
                refused = NotAcceptable(
                    f"node {source.node} gives {call.asked.resource} in no form that Accept names",
                    field="Accept",
                )
        raise refused

    async def _answer(
        self, attempt: AsyncExitStack, call: Call, source: Source, reach: Reach, form: Form
    ) -> Incoming:
        """The archive's answer; of another gateway with a new pass where it takes the old one no more."""
        whole = form.accept.startswith(RELATED)
        for anew in (False, True):
            if anew:
                reach = await self._studies.reach(call.viewed, source, anew=True, images=True)
            headers = reach.headers if whole else {**reach.headers, **call.ranges}
            target = f"{reach.root}{call.asked.target}"
            stream = reach.line.stream(target, accept=form.accept, headers=headers)
            incoming = await attempt.enter_async_context(stream)
            if incoming.status != 401 or "/" not in source.node:
                break
        return incoming

    async def _outgoing(self, call: Call, source: Source, incoming: Incoming) -> Outgoing | None:
        """The answer as it goes to the caller; None where it is of a type that he does not take."""
        told = incoming.headers.get("content-type", "")
        media, asked, takes = media_of(told), call.asked, call.accepted.takes
        if asked.resource == "metadata":
            if (media is not None or told) and (media is None or media.inner not in _JSON):
                return None
            return await self._metadata(call, source, incoming)
        if media is None:
            raise NodeFaulty("answered without a Content-Type that can be read")
        if incoming.status == 416:
            return Outgoing(416, _repeated(incoming), each(()), source)
        if media.outer == RELATED:
            return await self._related(call, source, incoming, media)
        if not incoming.delimited:
            raise NodeFaulty("gave an answer that does not say where it ends")
        headers = {"content-type": told, **_repeated(incoming)}
        if asked.resource in ("rendered", "thumbnail") or (asked.one and takes(media)):
            if not takes(media):
                return None
            return Outgoing(incoming.status, headers, plain(incoming), source, as_it_is=True)
        related = Media(RELATED, media.inner, media.syntax)
        if asked.one and incoming.status == 200 and takes(related):
            return making.wrapped(source, told, incoming)
        return None

    async def _related(self, call: Call, source: Source, incoming: Incoming, media: Media) -> Outgoing | None:
        """A multipart answer, as it is or its one part alone."""
        if not media.boundary:
            raise NodeFaulty("gave a multipart answer without a boundary")
        related, takes = Related(media.boundary), call.accepted.takes
        piece = await incoming.read()
        begun = related.feed(piece[:_LOOK])
        heads = [headers_of(piece) for kind, piece in begun if kind == "head"]
        part = media_of(heads[0].get("content-type", "")) if heads else None
        inner = part.inner if part else media.inner
        syntax = (part.syntax if part else "") or media.syntax
        answered = Media(RELATED, inner, syntax)
        if takes(answered):
            length = incoming.headers.get("content-length")
            headers = {"content-type": incoming.headers["content-type"]}
            headers |= {"content-length": length} if length else {}
            if incoming.delimited and heads and not related.blanked:  # nothing is to be looked for
                return Outgoing(200, headers, making.plain(incoming, piece), source, as_it_is=True)
            begun += related.feed(piece[_LOOK:])
            return Outgoing(200, headers, making.passed(related, begun, incoming), source)
        single = Media("", inner, syntax)
        if call.asked.one and takes(single):
            told = heads[0].get("content-type", inner) if heads else inner
            begun += related.feed(piece[_LOOK:])
            return Outgoing(200, {"content-type": told}, making.unwrapped(related, begun, incoming), source)
        return None

    async def _metadata(self, call: Call, source: Source, incoming: Incoming) -> Outgoing:
        """Metadata of each instance as it arrives, with addresses of this gateway and texts as they were
        meant. Raises _Lost."""
        instances = _instances(self._whose(call, source), incoming)
        first = await anext(instances, None)
        if first and first[1]:
            await instances.aclose()
            raise _Lost

        async def pieces() -> Pieces:
            yield b"[" + (first[0] if first else b"")
            async for instance, _ in instances:
                yield b"," + instance
            yield b"]"

        return Outgoing(200, {"content-type": JSON}, pieces(), source)

    async def _made(self, stack: AsyncExitStack, call: Call, source: Source, reach: Reach) -> Outgoing:
        whose, limit = self._whose(call, source), self._gateway.settings.store_instance_bytes
        return await making.made(stack, source, reach, call.asked, call.accepted, whose, limit)

    def _whose(self, call: Call, source: Source) -> Whose:
        """The study that is asked for, and by which Patient IDs this archive knows the viewing's person."""
        settings, viewing, study = self._gateway.settings, call.viewed.viewing, call.asked.study
        placed = self._gateway.nodes.placed()
        institution = next((one.node.institution for one in placed if one.node.id == source.node), "")
        found = (one for sources in call.viewed.studies.values() for one in sources)
        return Whose(
            study=study,
            here=f"{settings.base_url}{FACE}/nodes/{source.node}/studies/{study}",
            numbers={one.number for one in found if one.node == source.node},
            patient=merging.patient(viewing, settings.owner, institution, source.number),
            behind="/" in source.node,
        )


async def _instances(whose: Whose, incoming: Incoming) -> AsyncGenerator[tuple[bytes, bool], None]:
    """Metadata of each instance as it arrives, and whether a text in it is lost."""
    list_ = Objects()
    async for piece in incoming:
        for instance in list_.feed(piece):
            large = len(instance) > _LARGE  # as of a multi-frame image
            yield await asyncio.to_thread(whose.told, instance) if large else whose.told(instance)
    if not list_.closed:
        raise NodeFaulty("stopped in the middle of its metadata")


def _refusal(incoming: Incoming, source: Source, resource: Resource) -> Exception | None:
    """What an archive's status means for the caller; None for an answer."""
    status, node = incoming.status, f"node {source.node}"
    if status in (200, 206, 416):
        return None
    if status == 400:
        return BadParameter(f"{node} refuses this request (400): look at frames, window and viewport")
    if status == 404 and resource == "rendered":
        return NotAcceptable(f"{node} draws no picture of it; retrieve the instance", field="Accept")
    if status in (405, 406, 415, 501):
        return NotAcceptable(f"{node} does not give this out (status {status})", field="Accept")
    if status == 410:
        return Gone(f"{node} had it, and has it no more")
    if status == 404:
        return NotFound(f"{node} has the study, and nothing at this address")
    return NodeUnheard(f"{node} answered with status {status}")


def _repeated(incoming: Incoming) -> dict[str, str]:
    names = ("content-length", *_REPEATED)
    return {name: incoming.headers[name] for name in names if name in incoming.headers}


def _left(task: asyncio.Future[None]) -> None:
    """A recording that nobody waits for any more goes on (:meth:`Viewings.record`), and warns of nothing."""
    if task.done() and not task.cancelled():
        task.exception()
    task.cancel()
