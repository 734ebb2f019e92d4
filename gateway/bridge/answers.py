"""What the bridge answers: matches, instances and metadata, these piece by piece as they come."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from adapters.errors import NodeError, NodeFaulty
from gateway.bridge.searching import Found
from gateway.bridge.transfer import Transfer
from gateway.bridge.values import Arrived, Wanted
from gateway.errors import NotAcceptable
from gateway.imaging.accept import DICOM, JSON, RELATED, Accepted, Media
from gateway.imaging.parts import Frame, complete, encoded, metadata_of

T = TypeVar("T")
Pieces = AsyncIterator[bytes]
End = Callable[[], Awaitable[None]]

_PIECE = 256 * 1024
_HEAD = 1024 * 1024  # of an instance, where its metadata mostly ends
_TAKEN_APART = 512 * 1024 * 1024  # bytes of an instance that is read into memory


class Streamed(Response):
    """A body that is made while it is sent. ``end`` follows in any case, and at once when the caller goes.

    Where the archive fails midway, ``note`` is told, and the body stays without its end: the server then
    closes the connection.
    """

    def __init__(self, pieces: Pieces, media_type: str, end: End, note: Callable[[NodeError], None]) -> None:
        super().__init__(media_type=media_type)
        del self.headers["content-length"]
        self._pieces = pieces
        self._end = end
        self._note = note

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await unless_gone(receive, self._send(send, empty=scope["method"] == "HEAD"))
        except NodeError as wrong:
            self._note(wrong)
        finally:
            await asyncio.shield(self._end())

    async def _send(self, send: Send, *, empty: bool) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if not empty:
            async for piece in self._pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def unless_gone(receive: Receive, work: Awaitable[T]) -> T:
    """What comes of ``work``, which is cancelled when the caller hangs up. Raises what it raises."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise asyncio.CancelledError
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def listed(found: Found) -> Response:
    """The matches of a search."""
    headers = (
        {"Warning": ", ".join(f'299 bridge: "{one}"' for one in found.warnings)} if found.warnings else {}
    )
    return Response(encoded(found.matches), 200, headers, JSON)


def held_to(taken: Accepted, resource: str, media: str, syntax: str) -> bool:
    """Whether an answer of this media type and transfer syntax is one part alone, not a multipart.

    Raises:
        NotAcceptable: the caller takes neither; the bridge transcodes nothing.
    """
    for outer in (RELATED, ""):
        if taken.takes(Media(outer, media, syntax)):
            return not outer
    held = f"{media}; transfer-syntax={syntax}" if syntax else media
    raise NotAcceptable(
        f"{resource} is there as {held} alone: ask for that, or any transfer-syntax=*", field="Accept"
    )


async def alone(transfer: Transfer, first: Arrived, patience: float) -> Pieces:
    """One instance as it is."""
    for piece in _read(first):
        yield piece
    if await transfer.next(patience) is not None:
        raise NodeFaulty("sent more than one instance where one was asked for")


async def parts(
    transfer: Transfer, first: Arrived, taken: Accepted, boundary: str, patience: float
) -> Pieces:
    """All instances, each a part (PS3.18 section 8.6.1.2.1)."""
    arrived: Arrived | None = first
    while arrived:
        if not taken.takes(Media(RELATED, DICOM, arrived.syntax)):
            raise NodeFaulty("sent instances in several transfer syntaxes, of which some were not asked for")
        yield _opening(boundary, f"{DICOM};transfer-syntax={arrived.syntax}")
        for piece in _read(arrived):
            yield piece
        yield b"\r\n"
        arrived = await transfer.next(patience)
    yield f"--{boundary}--\r\n".encode()


async def metadata(transfer: Transfer, first: Arrived, base: str, patience: float) -> Pieces:
    """The metadata of all instances, in one array."""
    arrived: Arrived | None = first
    lead = b"["
    while arrived:
        yield lead + _metadata(arrived, base)
        lead = b","
        arrived = await transfer.next(patience)
    yield b"]"


async def frames(arrived: Arrived, read: Callable[[bytes], Sequence[Frame]], taken: Accepted) -> Response:
    """Frames, or a bulk value, of an instance: one part alone where that is what the caller takes.

    Raises:
        NotAcceptable: the caller does not take them as they are, or it is too large to be taken apart.
    """
    if arrived.size > _TAKEN_APART:
        raise NotAcceptable("this instance is too large to be taken apart here; retrieve the instance")
    found = await asyncio.to_thread(lambda: read(arrived.path.read_bytes()))
    single = [held_to(taken, "this", one.media, one.syntax) for one in found]
    if single == [True]:
        return Response(found[0].data, media_type=_typed(found[0]))
    boundary = new_boundary()
    body = b"".join(_opening(boundary, _typed(one)) + one.data + b"\r\n" for one in found)
    return Response(body + f"--{boundary}--\r\n".encode(), media_type=related(found[0].media, boundary))


def new_boundary() -> str:
    """One that no instance holds."""
    return secrets.token_hex(16)


def related(media: str, boundary: str) -> str:
    """The Content-Type of a multipart answer."""
    return f'{RELATED}; type="{media}"; boundary={boundary}'


def place(base: str, which: Wanted) -> str:
    """The address of a study, a series or an instance."""
    steps = zip(("studies", "series", "instances"), (which.study, which.series, which.instance), strict=True)
    return "/".join([base, *(f"{name}/{uid}" for name, uid in steps if uid)])


def _opening(boundary: str, media_type: str) -> bytes:
    return f"--{boundary}\r\nContent-Type: {media_type}\r\n\r\n".encode()


def _typed(frame: Frame) -> str:
    return f"{frame.media};transfer-syntax={frame.syntax}" if frame.syntax else frame.media


def _read(arrived: Arrived) -> Any:
    """The bytes of an instance, whose file goes with them."""
    with arrived.path.open("rb") as file:
        arrived.path.unlink()
        while piece := file.read(_PIECE):
            yield piece


def _metadata(arrived: Arrived, base: str) -> bytes:
    with arrived.path.open("rb") as file:
        arrived.path.unlink()
        head = file.read(_HEAD)
        if arrived.size > len(head) and not complete(head):
            head += file.read(_TAKEN_APART)
    return metadata_of(head, place(base, arrived.which))
