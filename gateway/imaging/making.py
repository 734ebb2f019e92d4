"""Bodies that are made here: of an archive that has no metadata or no frames, and around or out of one part.

One instance is in memory at a time, at most so many bytes of it as the settings allow, and for metadata not
more than what stands before its pixels. How it becomes metadata and frames: :mod:`gateway.imaging.parts`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec import Struct

from adapters.errors import NodeFaulty
from adapters.transport import Incoming
from gateway.errors import NotAcceptable, NotFound
from gateway.imaging.accept import DICOM, JSON, RELATED, XML, Accepted, Media, media_of
from gateway.imaging.native import native
from gateway.imaging.parts import Frame, bulk_of, complete, frames_of, metadata_of
from gateway.imaging.rewriting import Objects, Piece, Related, Whose
from gateway.imaging.values import Source

if TYPE_CHECKING:
    from adapters.dicomweb_studies import Reach
    from gateway.imaging.addresses import Asked

MADE = {"metadata": "/metadata", "frames": "/frames/", "bulk": "/bulkdata/"}
"""What can be made of instances, and what begins it in an address."""
_ACCEPTS = (f'{RELATED}; type="{DICOM}"; transfer-syntax=*', f'{RELATED}; type="{DICOM}"', DICOM)
_LOOK = 16 * 1024  # bytes of an instance after which it is first looked whether its header is there
_LARGE = 4 * 1024 * 1024  # bytes of an instance that is read in a thread of its own

Cut = Callable[[bytes], bool]
Pieces = AsyncGenerator[bytes, None]
T = TypeVar("T")


class Outgoing(Struct):
    """An answer: its status, its headers, and what will be its body. ``as_it_is``: nothing of it had to be
    changed for the caller, nor will be of others like it."""

    status: int
    headers: dict[str, str]
    pieces: Pieces
    source: Source
    as_it_is: bool = False


async def made(
    stack: AsyncExitStack,
    source: Source,
    reach: Reach,
    asked: Asked,
    wanted: Accepted,
    whose: Whose,
    limit: int,
) -> Outgoing:
    """Metadata, frames or a bulk value, made of the instances that an archive gives out.

    Args:
        stack: what the answer ends with.
        whose: metadata are told as.
        limit: bytes of an instance.

    Raises:
        NotFound: the archive has no such instance, or the instance no such frame or value.
        NotAcceptable: it has frames in a form only that the caller does not take.
        NodeError: the archive does not give the instances out.
    """
    at, _, place = asked.below.partition(MADE[asked.resource])
    if asked.resource == "bulk" and not (place and asked.instance):
        raise NotFound("there is nothing at this address")
    files = instances(reach, f"{reach.root}{at}", limit, complete if asked.resource == "metadata" else None)
    await stack.enter_async_context(aclosing(files))
    first = await anext(files, None)
    if first is None:
        raise NotFound(f"node {source.node} gives out no instance of it")
    if asked.resource == "metadata":
        return Outgoing(200, {"content-type": JSON}, _metadata(first, files, whose), source)
    if asked.resource == "frames":
        frames = await _aside(first, lambda: frames_of(first, asked.frames))
    else:
        frames = (await _aside(first, lambda: bulk_of(first, place)),)
    return _framed(source, frames, wanted, one=asked.one)


async def instances(reach: Reach, target: str, limit: int, cut: Cut | None = None) -> Pieces:
    """The files of a study, series or instance, one after the other; of each only its beginning where ``cut``
    says that this is enough.

    Raises:
        NotFound: nothing is there.
        NodeError: they cannot be had, or one of them has more than ``limit`` bytes.
    """
    for accept in _ACCEPTS:
        async with reach.line.stream(target, accept=accept, headers=reach.headers) as incoming:
            if incoming.status in (400, 406, 415):
                continue
            if incoming.status in (404, 410):
                raise NotFound("the archive has nothing at this address")
            media = media_of(incoming.headers.get("content-type", ""))
            if incoming.status != 200 or media is None or media.inner != DICOM:
                raise NodeFaulty(f"answered with status {incoming.status} and not with instances")
            async for file in _files(incoming, media, limit, cut):
                yield file
            return
    raise NodeFaulty("gives out instances in no form that is known here")


async def _files(incoming: Incoming, media: Media, limit: int, cut: Cut | None) -> Pieces:
    related = Related(media.boundary) if media.outer == RELATED else None
    file, enough, look = bytearray(), False, _LOOK
    async for piece in incoming:
        for kind, some in related.feed(piece) if related else (("data", piece),):
            if kind in ("head", "end") and (file or enough):
                if not enough:
                    yield bytes(file)
                file, enough, look = bytearray(), False, _LOOK
            elif kind == "data" and not enough:
                file += some
                if len(file) > limit:
                    raise NodeFaulty(f"gave out an instance of more than {limit} bytes")
                if cut and len(file) >= look:
                    look = 2 * len(file)
                    if enough := cut(bytes(file)):
                        yield bytes(file)
                        file = bytearray()
    if related and not related.ended(whole=incoming.delimited):
        raise NodeFaulty("stopped in the middle of its instances")
    if incoming.delimited and not enough and (file or not related):
        yield bytes(file)


async def _metadata(first: bytes, files: Pieces, whose: Whose) -> Pieces:
    yield b"[" + whose.told(metadata_of(first, study=whose.here))[0]
    async for file in files:
        yield b"," + whose.told(metadata_of(file, study=whose.here))[0]
    yield b"]"


def in_xml(metadata: Outgoing) -> Outgoing:
    """Metadata in JSON as a multipart answer with the XML of each instance (PS3.19 section A.1)."""
    boundary = secrets.token_hex(16)

    async def pieces() -> Pieces:
        list_, begin = Objects(), ""
        async with aclosing(metadata.pieces):
            async for piece in metadata.pieces:
                for instance in list_.feed(piece):
                    head = f"{begin}--{boundary}\r\nContent-Type: {XML}; charset=utf-8\r\n\r\n"
                    yield f"{head}{native(msgspec.json.decode(instance))}".encode()
                    begin = "\r\n"
        yield f"{begin}--{boundary}--\r\n".encode()

    told = f'{RELATED}; type="{XML}"; boundary={boundary}'
    return Outgoing(metadata.status, {"content-type": told}, pieces(), metadata.source)


async def _aside(file: bytes, work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work) if len(file) > _LARGE else work()


def _framed(source: Source, frames: Sequence[Frame], wanted: Accepted, *, one: bool) -> Outgoing:
    """Frames as the caller takes them: a multipart answer, or the only one alone."""
    kind = frames[0]
    told = f"{kind.media}; transfer-syntax={kind.syntax}" if kind.syntax else kind.media
    if wanted.takes(Media(RELATED, kind.media, kind.syntax)):
        boundary = secrets.token_hex(16)
        head = f"\r\n--{boundary}\r\nContent-Type: {told}\r\n\r\n".encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        pieces = [part for frame in frames for part in (head, frame.data)] + [tail]
        told = f'{RELATED}; type="{kind.media}"; boundary={boundary}'
    elif one and wanted.takes(Media("", kind.media, kind.syntax)):
        pieces = [kind.data]
    else:
        raise NotAcceptable(
            f"node {source.node} keeps these frames as {told}, and nothing is transcoded here", field="Accept"
        )
    length = str(sum(map(len, pieces)))
    return Outgoing(200, {"content-type": told, "content-length": length}, each(pieces), source)


async def each(pieces: Sequence[bytes]) -> Pieces:
    """These."""
    for piece in pieces:
        yield piece


def wrapped(source: Source, told: str, incoming: Incoming) -> Outgoing:
    """A single part as the only one of a multipart answer."""
    boundary = secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Type: {told}\r\n\r\n".encode()
    tail = f"\r\n--{boundary}--\r\n".encode()

    async def pieces() -> Pieces:
        yield head
        async for piece in incoming:
            yield piece
        yield tail

    headers = {"content-type": f'{RELATED}; type="{told.partition(";")[0].strip()}"; boundary={boundary}'}
    if length := incoming.headers.get("content-length"):
        headers["content-length"] = str(len(head) + int(length) + len(tail))
    return Outgoing(200, headers, pieces(), source)


async def plain(incoming: Incoming, begun: bytes = b"") -> Pieces:
    """A body as it is, of which something was read already."""
    if begun:
        yield begun
    async for piece in incoming:
        yield piece


async def passed(related: Related, begun: Sequence[Piece], incoming: Incoming) -> Pieces:
    """A multipart answer without the addresses in it. Where only its connection ends it, it is whole with
    its last boundary.

    Raises:
        NodeFaulty: it is not.
    """
    yield b"".join(some for _, some in begun)
    async for piece in incoming:
        yield related.through(piece)
    if not related.closed and not incoming.delimited:
        raise NodeFaulty("stopped before the last boundary of its answer")
    yield related.rest()


async def unwrapped(related: Related, begun: list[Piece], incoming: Incoming) -> Pieces:
    """The one part of a multipart answer.

    Raises:
        NodeFaulty: it has several, or it ends in the middle.
    """
    heads = 0
    while True:
        for kind, some in begun:
            heads += kind == "head"
            if kind == "data":
                yield some
        if heads > 1:
            raise NodeFaulty("answered with more than the one part that was asked for")
        if not (piece := await incoming.read()):
            break
        begun = related.feed(piece)
    if not related.ended(whole=incoming.delimited):
        raise NodeFaulty("stopped before the last boundary of its answer")
