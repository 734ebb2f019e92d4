"""One connection and every kind of answer: the right bytes or a named fault, in whatever pieces it comes."""

from __future__ import annotations

import asyncio
import socket
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import NodeError, NodeFaulty, NodeLate
from adapters.transport import Reply, Timeouts
from adapters.transport.connection import MOST_HEADERS, Connection

MOST = 10_000
H = b"HTTP/1.1 200 OK\r\n"
CHUNKED = H + b"Transfer-Encoding: chunked\r\n\r\n"
PATIENCE = Timeouts()


class Told:
    """What came of an answer, and whether its connection would be used again."""

    def __init__(self, reply: Reply | NodeError, usable: bool) -> None:
        self.reply = reply
        self.usable = usable


def told(*pieces: bytes, close: bool = False, most: int = MOST) -> Told:
    """Ask over a pair of sockets; the other side sends these pieces, each read on its own."""

    async def run() -> Told:
        loop, lost = asyncio.get_running_loop(), asyncio.Event()
        ours, theirs = socket.socketpair()
        _, connection = await loop.create_connection(lambda: Connection(lambda _: lost.set()), sock=ours)
        with theirs:
            answer = connection.ask(b"GET / HTTP/1.1\r\n\r\n", PATIENCE, loop.time() + 10, most)
            for piece in pieces:
                if lost.is_set():
                    break
                theirs.sendall(piece)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            if close:
                theirs.shutdown(socket.SHUT_WR)
            try:
                reply: Reply | NodeError = await answer
            except NodeError as error:
                reply = error
            usable = connection.usable
            connection.abort()
            await lost.wait()
        return Told(reply, usable)

    return asyncio.run(run())


# -- answers that are taken --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (H + b"Content-Length: 3\r\n\r\nabc", b"abc"),
        (CHUNKED + b"2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n", b"abc"),
        (CHUNKED + b"3\r\nabc\r\n0\r\nTrailer: x\r\n\r\n", b"abc"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", b""),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" + H + b"Content-Length: 3\r\n\r\nabc", b"abc"),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
        (H + b"Content-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
    ],
    ids=["length", "chunked", "trailer", "204", "204 of 0", "304", "no words", "interim", "1.0", "identity"],
)
def test_an_answer_is_taken_and_its_connection_kept(answer: bytes, body: bytes) -> None:
    said = told(answer)
    assert isinstance(said.reply, Reply)
    assert said.reply.body == body
    assert said.usable


@pytest.mark.parametrize(
    "answer",
    [
        H + b"\r\nabc",
        b"HTTP/1.0 200 OK\r\n\r\nabc",
        H + b"Connection: close\r\nContent-Length: 3\r\n\r\nabc",
    ],
    ids=["until the end", "1.0 until the end", "close"],
)
def test_an_answer_that_ends_its_connection_is_taken(answer: bytes) -> None:
    said = told(answer, close=True)
    assert isinstance(said.reply, Reply)
    assert said.reply.body == b"abc"
    assert not said.usable


def test_the_headers_of_an_interim_answer_are_not_those_of_the_answer() -> None:
    said = told(b"HTTP/1.1 103 Hints\r\nA: b\r\n\r\n" + H + b"C: d\r\nC: e\r\nContent-Length: 0\r\n\r\n")
    assert isinstance(said.reply, Reply)
    assert said.reply.headers == {"c": "d, e", "content-length": "0"}


def test_trailers_are_not_headers() -> None:
    said = told(CHUNKED + b"0\r\nContent-Type: text/html\r\n\r\n")
    assert isinstance(said.reply, Reply)
    assert said.reply.headers == {"transfer-encoding": "chunked"}


# -- answers that are refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (H + b"Content-Length: 4\r\n\r\nabc", "broke off"),
        (H + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "Duplicate Content-Length"),
        (H + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", "Duplicate Content-Length"),
        (H + b"Content-Length: 3, 3\r\n\r\nabc", "Content-Length"),
        (H + b"Content-Length: +3\r\n\r\nabc", "Content-Length"),
        (H + b"Content-Length: 99999999999999999999999\r\n\r\nabc", "Content-Length overflow"),
        (H + b"Content-Length: 10001\r\n\r\nabc", "more than 10000 bytes"),
        (H + b"\r\n" + b"x" * 10_001, "more than 10000 bytes"),
        (H + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "present with"),
        (H + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "present with"),
        (H + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "two different"),
        (H + b"Transfer-Encoding: identity\r\n\r\nabc", "two different"),
        (H + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "two different"),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "two different"),
        (CHUNKED + b"3\r\nabcX\r\n", "chunk data"),
        (CHUNKED + b"3\r\nabc\r\n", "broke off"),
        (CHUNKED + b"FFFFFFFFFFFFFFFFF\r\n", "Chunk size overflow"),
        (CHUNKED + b"FFFFFFFFFFFFFFF\r\nabc", "broke off"),
        (CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n", "valid HTTP"),
        (CHUNKED + b"3\nabc\n0\n\n", "valid HTTP"),
        (CHUNKED + b"1;" + b"x" * 70_000, "more framing than answer"),
        (CHUNKED + b"0" * 70_000, "more framing than answer"),
        (H + b"A: b\r\n c\r\nContent-Length: 0\r\n\r\n", "whitespace after header value"),
        (H + b"A : b\r\nContent-Length: 0\r\n\r\n", "Invalid header token"),
        (H + b"A: b\0c\r\nContent-Length: 0\r\n\r\n", "Invalid header value char"),
        (H + b"A: b\rc\r\nContent-Length: 0\r\n\r\n", "LF"),
        (H + b"A: b\nContent-Length: 0\n\n", "CR"),
        (H + b"A: b\r\n" * (MOST_HEADERS + 1) + b"\r\n", "too many or too long headers"),
        (H + b"A: " + b"b" * 33_000 + b"\r\n\r\n", "too many or too long headers"),
        (H + b"A: " + b"b" * 70_000, "more framing than answer"),
        (CHUNKED + b"0\r\n" + b"A: b\r\n" * (MOST_HEADERS + 1) + b"\r\n", "too many or too long headers"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 9 + H + b"Content-Length: 0\r\n\r\n", "interim"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", "not asked for"),
        (b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", "not asked for"),
        (b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n", "not asked for"),
        (b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", "another version"),
        (b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n", "another version"),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nab", "body with an answer that has none"),
        (b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "answer that has none"),
        (H + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b", "encoding"),
        (b"220 mail.example ESMTP\r\n", "valid HTTP"),
        (b"<html>", "valid HTTP"),
        (b"\x15\x03\x01\x00\x02\x02", "valid HTTP"),
        (H, "broke off"),
        (b"", "without an answer"),
    ],
)
def test_an_answer_that_could_be_read_as_another_one_is_refused_by_name(answer: bytes, fault: str) -> None:
    for said in (
        told(answer, close=True),
        told(*(bytes([byte]) for byte in answer[:200]), answer[200:], close=True),
    ):
        assert isinstance(said.reply, NodeFaulty)
        assert fault in said.reply.detail
        assert not said.usable


@pytest.mark.parametrize(
    ("answer", "more"),
    [
        (H + b"Content-Length: 2\r\n\r\nab", b"c"),
        (H + b"Content-Length: 2\r\n\r\nab", H + b"Content-Length: 0\r\n\r\n"),
        (CHUNKED + b"0\r\n\r\n", b"c"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"ab"),
        (H + b"Connection: close\r\nContent-Length: 2\r\n\r\nab", b"c"),
    ],
    ids=["too short a length", "two answers", "after the last chunk", "after 204", "after close"],
)
def test_bytes_behind_an_answer_are_a_fault_with_it_and_the_end_of_the_connection_later(
    answer: bytes, more: bytes
) -> None:
    assert isinstance(told(answer + more).reply, NodeFaulty)
    later = told(answer, more)
    assert isinstance(later.reply, Reply)
    assert not later.usable


@pytest.mark.parametrize(
    "endless", [b"HTTP/1.1 100 Continue\r\n\r\n", H, b"\r\n", b"A", CHUNKED, CHUNKED + b"0\r\n"]
)
def test_an_answer_without_an_end_is_cut(endless: bytes) -> None:
    said = told(*[endless, *[b"A: b\r\n" * 1000] * 20], close=True)
    assert isinstance(said.reply, NodeFaulty)


def test_a_chunked_body_without_an_end_is_cut_at_the_limit() -> None:
    said = told(CHUNKED, *[b"1\r\nx\r\n" * 1000] * 20)
    assert isinstance(said.reply, NodeFaulty)
    assert "more than 10000 bytes" in said.reply.detail


def test_a_body_in_tiny_chunks_takes_no_more_memory_than_its_bytes() -> None:
    tracemalloc.start()
    try:
        said = told(CHUNKED, *[b"2\r\nxx\r\n" * 1000] * 10, b"0\r\n\r\n", most=100_000)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(said.reply, Reply)
    assert len(said.reply.body) == 20_000
    assert most < 500_000


# -- whatever arrives --------------------------------------------------------------------------------------


@st.composite
def _answers(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A whole answer, framed by its length or in chunks, and its body."""
    chunks = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=5))
    body = b"".join(chunks)
    fields = draw(st.lists(st.from_regex(rb"X-[a-z]{1,8}: ?[!-~ ]{0,20}", fullmatch=True), max_size=4))
    lines = b"".join(field.rstrip() + b"\r\n" for field in fields)
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" * draw(st.integers(0, 2))
    if draw(st.booleans()):
        return interim + H + lines + b"Content-Length: %d\r\n\r\n" % len(body) + body, body
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return interim + H + lines + b"Transfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n", body


def _cut(answer: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(answer), *(place % (len(answer) + 1) for place in places)})
    return [answer[start:end] for start, end in pairwise(edges)]


places = st.lists(st.integers(0, 10_000), max_size=8)


@given(_answers(), places)
def test_an_answer_split_anywhere_is_the_same_answer(answer: tuple[bytes, bytes], at: list[int]) -> None:
    said = told(*_cut(answer[0], at))
    assert isinstance(said.reply, Reply)
    assert said.reply.body == answer[1]
    assert said.usable


@given(_answers(), places, st.integers(0, 10_000))
def test_an_answer_cut_short_anywhere_is_a_fault(
    answer: tuple[bytes, bytes], at: list[int], end: int
) -> None:
    said = told(*_cut(answer[0][: end % len(answer[0])], at), close=True)
    assert isinstance(said.reply, NodeFaulty)
    assert not said.usable


@given(_answers(), places, st.binary(min_size=1, max_size=30).filter(lambda more: more.strip(b"\r\n")))
def test_an_answer_with_more_behind_it_is_a_fault_or_ends_the_connection(
    answer: tuple[bytes, bytes], at: list[int], more: bytes
) -> None:
    said = told(*_cut(answer[0] + more, at), close=True)
    assert isinstance(said.reply, NodeFaulty) or said.reply.body == answer[1]  # type: ignore[union-attr]
    assert not said.usable


@given(
    _answers(),
    places,
    st.lists(
        st.tuples(st.integers(0, 10_000), st.integers(0, 2), st.binary(max_size=3)), min_size=1, max_size=4
    ),
)
def test_a_changed_answer_is_an_answer_or_a_node_error_and_never_hangs(
    answer: tuple[bytes, bytes], at: list[int], changes: list[tuple[int, int, bytes]]
) -> None:
    changed = answer[0]
    for place, gone, put in changes:
        start = place % (len(changed) + 1)
        changed = changed[:start] + put + changed[start + gone :]
    said = told(*_cut(changed, at), close=True)
    assert isinstance(said.reply, Reply | NodeError)
    assert not isinstance(said.reply, NodeLate)
    assert isinstance(said.reply, Reply) or not said.usable


@given(st.lists(st.binary(max_size=200), max_size=6))
def test_anything_at_all_is_an_answer_or_a_node_error(pieces: list[bytes]) -> None:
    said = told(*pieces, close=True)
    assert isinstance(said.reply, Reply | NodeError)
    assert isinstance(said.reply, Reply) or not said.usable
