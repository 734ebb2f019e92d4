"""A body that goes out piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, suppress

import pytest

from adapters.dicomweb_store import Outgoing, Stored, store
from adapters.errors import NodeError, NodeFaulty, NodeLate, NodeRefused
from adapters.http import Line
from adapters.transport import Reply, Timeouts
from tests.serving import http_answer, misbehave

TIMES = Timeouts(connect=1.0, write=0.3, first_byte=0.3, between_bytes=0.3, total=5.0)
PIECE = b"0123456789abcdef" * 16_384
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def pieces(many: int, taken: list[int] | None = None) -> Iterator[bytes]:
    for number in range(many):
        if taken is not None:
            taken.append(number)
        yield PIECE


def sent(serve: Serve, many: int, *, taken: list[int] | None = None, again: bool = False) -> Reply:
    """What becomes of so many pieces at a server; ``again``: over the same line once more."""

    async def serving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(OSError, asyncio.IncompleteReadError):
            await serve(reader, writer)

    async def run() -> Reply:
        server = await asyncio.start_server(serving, "127.0.0.1", 0)
        line = Line(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout=TIMES)
        try:
            for _ in range(1 + again):
                body = pieces(many, taken)
                reply = await line.send("studies", body, many * len(PIECE), headers={}, times=TIMES)
            return reply
        finally:
            await line.aclose()
            server.close()
            await asyncio.sleep(0)

    return asyncio.run(run())


async def kept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pause: float = 0.0) -> None:
    """Take in whole requests and say how many bytes each body had, and whether they were the right ones."""
    while head := await reader.readuntil(b"\r\n\r\n"):
        left = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        right, told = True, left
        while left:
            await asyncio.sleep(pause)
            piece = await reader.readexactly(min(left, len(PIECE)))
            right &= piece == PIECE[: len(piece)]
            left -= len(piece)
        body = f"{told} {right}".encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def test_every_byte_arrives_in_its_order() -> None:
    assert sent(kept, 40).body == b"%d True" % (40 * len(PIECE))


def test_the_line_goes_on_afterwards() -> None:
    assert sent(kept, 3, again=True).status == 200


def test_a_node_that_is_slow_and_takes_something_is_waited_for() -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await kept(reader, writer, 0.01)

    assert sent(slow, 25).status == 200


def test_no_more_is_read_than_the_node_takes() -> None:
    async def stuck(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2)

    taken: list[int] = []
    with pytest.raises(NodeLate, match="did not take the question"):
        sent(stuck, 1000, taken=taken)
    assert len(taken) < 200


def test_a_refusal_before_the_end_is_heard() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(1)

    assert sent(refuse, 1000).status == 413


# What an archive says of what it was sent


def said(body: bytes, status: str = "200 OK") -> dict[str, Stored]:
    async def run(url: str) -> dict[str, Stored]:
        line = Line(url, timeout=TIMES)
        try:
            return dict(await store(line, b"xxfile", [Outgoing("1.2", 2, 4), Outgoing("1.3", 2, 4)]))
        finally:
            await line.aclose()

    with misbehave(lambda *_: http_answer(body, status=status, media="application/dicom+json")) as url:
        return asyncio.run(run(url))


def test_each_instance_has_what_the_archive_says_of_it() -> None:
    told = said(
        b'{"00081199":{"vr":"SQ","Value":[{"00081155":{"vr":"UI","Value":["1.2"]},'
        b'"00081196":{"vr":"US","Value":[45056]}}]},'
        b'"00081198":{"vr":"SQ","Value":[{"00081155":{"vr":"UI","Value":["1.3"]},'
        b'"00081197":{"vr":"US","Value":[42752]}}]}}'
    )
    assert told == {"1.2": Stored(warning=0xB000), "1.3": Stored(failure=0xA700)}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{}", "200 OK"),
        (b"", "200 OK"),
        (b"[]", "200 OK"),
        (b'{"00081199":7}', "200 OK"),
        (b"<html>", "415 No"),
    ],
)
def test_an_archive_that_names_no_instance_says_nothing_of_any(body: bytes, status: str) -> None:
    assert said(body, status) == {}


def test_an_instance_that_is_not_named_was_not_stored() -> None:
    told = said(b'{"00081199":{"vr":"SQ","Value":[{"00081155":{"vr":"UI","Value":["1.2"]}}]}}')
    assert told == {"1.2": Stored(), "1.3": Stored(failure=0x0110)}


@pytest.mark.parametrize(("status", "kind"), [("500 No", NodeFaulty), ("401 No", NodeRefused)])
def test_a_status_that_is_not_about_the_files_is_between_archive_and_gateway(
    status: str, kind: type[NodeError]
) -> None:
    with pytest.raises(kind):
        said(b"<html>", status)
