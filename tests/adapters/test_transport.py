"""The pool against real servers, under asyncio and uvloop: connections, times, turns, streams."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from adapters.errors import NodeError, NodeFaulty, NodeLate, NodeUnreachable
from adapters.http import PASSED_ON, Line
from adapters.transport import Limits, Timeouts
from tests.adapters.transport_servers import OK, Server, answering, question, serving

pytestmark = pytest.mark.anyio

CLOSING = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


async def until(what: Callable[[], bool], seconds: float = 2.0) -> None:
    """Wait for it to be true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


# -- keeping connections -----------------------------------------------------------------------------------


async def test_a_connection_is_used_again() -> None:
    async with serving(answering(OK)) as server:
        line = Line(server.url)
        for _ in range(3):
            assert await line.get_json("a") == b"{}"
        await line.aclose()
    assert server.connections == 1


async def test_a_connection_whose_end_was_announced_is_not_used_again() -> None:
    async with serving(answering(CLOSING)) as server:
        line = Line(server.url)
        await line.get_json("a")
        await line.get_json("a")
        await line.aclose()
    assert server.connections == 2


async def test_a_kept_connection_that_the_node_closed_is_noticed_before_a_question_is_put_on_it() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await question(reader)
        writer.write(OK)

    async with serving(once) as server:
        line = Line(server.url)
        for _ in range(3):
            await line.post_json("a", b"{}")  # may not be sent twice
            await until(lambda: server.open == 0)
        await line.aclose()
    assert server.connections == 3


async def dying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the first question, and close upon the second without a word."""
    await question(reader)
    writer.write(OK)
    await question(reader)


async def test_a_read_is_asked_again_where_a_kept_connection_ends_instead_of_answering() -> None:
    async with serving(dying) as server:
        line = Line(server.url)
        for _ in range(2):
            assert await line.get_json("a") == b"{}"
        await line.aclose()
    assert server.connections == 2


async def test_a_write_is_not_sent_twice() -> None:
    async with serving(dying) as server:
        line = Line(server.url)
        await line.post_json("a", b"{}")
        with pytest.raises(NodeFaulty, match="closed the connection without an answer"):
            await line.post_json("a", b"{}")
        await line.aclose()
    assert server.connections == 1


async def test_a_read_is_asked_again_only_once() -> None:
    asked = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while True:
            await question(reader)
            asked += 1
            if asked > 1:
                return
            writer.write(OK)

    async with serving(handle) as server:
        line = Line(server.url)
        await line.get_json("a")
        with pytest.raises(NodeFaulty):
            await line.get_json("a")
        await line.aclose()
    assert asked == 3


async def test_a_read_is_not_asked_again_where_its_answer_had_begun() -> None:
    async with serving(answering(OK, b"HTTP/1.1 200 OK\r\n")) as server:
        line = Line(server.url, timeout=Timeouts(between_bytes=0.05))
        await line.get_json("a")
        with pytest.raises(NodeLate, match="stopped in the middle"):
            await line.get_json("a")
        await line.aclose()
    assert server.connections == 1


async def test_bytes_that_arrive_between_two_questions_end_the_connection() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await question(reader)
        writer.write(OK)
        await asyncio.sleep(0.02)
        writer.write(OK.replace(b"{}", b"[]"))
        await reader.read()

    async with serving(handle) as server:
        line = Line(server.url)
        await line.get_json("a")
        await asyncio.sleep(0.05)
        assert await line.get_json("a") == b"{}"
        await line.aclose()
    assert server.connections == 2


# -- times -------------------------------------------------------------------------------------------------


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_a_node_that_does_not_begin_is_late_by_its_first_byte() -> None:
    async def handle(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await question(reader)
        await reader.read()

    async with serving(handle) as server:
        line = Line(server.url, timeout=Timeouts(first_byte=0.05))
        with pytest.raises(NodeLate, match="did not begin to answer"):
            await line.get_json("a")
        await line.aclose()


async def test_a_node_that_stops_reading_is_late_by_its_writing() -> None:
    async def handle(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readexactly(10)
        await asyncio.sleep(10)

    async with serving(handle) as server:
        line = Line(server.url, timeout=Timeouts(write=0.05))
        with pytest.raises(NodeLate, match="did not take the question"):
            await line.post_json("a", bytes(16_000_000))
        await line.aclose()


async def test_a_large_question_is_taken_whole() -> None:
    seen: list[bytes] = []
    async with serving(answering(OK, seen=seen)) as server:
        line = Line(server.url)
        for _ in range(2):
            await line.post_json("a", bytes(8_000_000))
        await line.aclose()
    assert [asked.count(0) for asked in seen] == [8_000_000, 8_000_000]
    assert server.connections == 1


async def test_the_time_between_two_pieces_starts_anew_with_each() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await question(reader)
        for byte in OK:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.002)

    async with serving(drip) as server:
        line = Line(server.url, timeout=Timeouts(first_byte=0.1, between_bytes=0.1))
        assert await line.get_json("a") == b"{}"
        await line.aclose()


async def test_a_dripping_node_is_late_by_the_total() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await question(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            await asyncio.sleep(0.01)
            writer.write(b"X-a: b\r\n")

    async with serving(drip) as server:
        line = Line(server.url, timeout=Timeouts(total=0.2))
        started = time.monotonic()
        with pytest.raises(NodeLate):
            await line.get_json("a")
        assert 0.15 < time.monotonic() - started < 1
        await line.aclose()


async def test_a_late_answer_ends_its_connection() -> None:
    async with serving(silent) as server:
        line = Line(server.url)
        with pytest.raises(NodeLate):
            await line.get_json("a", budget=0.05)
        await until(lambda: server.open == 0)
        await line.aclose()


async def test_a_shorter_time_follows_a_longer_one_on_the_same_connection() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await question(reader)
        writer.write(OK)
        await reader.read()

    async with serving(handle) as server:
        line = Line(server.url)
        await line.get_json("a", budget=30)
        started = time.monotonic()
        with pytest.raises(NodeLate):
            await line.get_json("a", budget=0.05)
        assert time.monotonic() - started < 1
        await line.aclose()


async def test_a_node_that_accepts_and_never_shakes_hands_is_unreachable() -> None:
    async with serving(silent) as server:
        line = Line(f"https://127.0.0.1:{server.port}", timeout=Timeouts(connect=0.1))
        with pytest.raises(NodeUnreachable, match="no connection in time"):
            await line.get_json("a")
        await line.aclose()


async def test_a_host_that_cannot_be_found_is_unreachable() -> None:
    for host in ("nowhere.invalid", "a..b"):
        line = Line(f"http://{host}")
        with pytest.raises(NodeUnreachable, match="no connection"):
            await line.get_json("a")
        await line.aclose()


class NamingLoop(asyncio.SelectorEventLoop):
    """A loop whose name server knows these addresses for every name, or does not answer where there are none;
    ``asked`` counts what it is asked."""

    known: tuple[str, ...] = ()
    asked = 0

    async def getaddrinfo(self, host: object, port: object, **_: object) -> list[Any]:
        self.asked += 1
        if not self.known:
            await asyncio.Event().wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.known]


def test_a_name_that_nobody_knows_is_looked_up_once_at_a_time() -> None:
    """Look-ups cannot be ended, and each holds one of the few threads that look up all nodes' names."""

    async def run() -> None:
        line = Line("http://node.example", timeout=Timeouts(connect=0.05))
        for _ in range(2):
            calls = [line.get_json("a") for _ in range(10)]
            ends = await asyncio.gather(*calls, return_exceptions=True)
            assert {str(end) for end in ends} == {"no connection in time"}
        await line.aclose()

    with asyncio.Runner(loop_factory=NamingLoop) as runner:
        runner.run(run())
        assert cast("NamingLoop", runner.get_loop()).asked == 1


def test_a_name_of_several_addresses_is_reached_at_the_one_that_answers() -> None:
    async def run() -> None:
        async with serving(answering(OK)) as server:
            cast("NamingLoop", asyncio.get_running_loop()).known = ("127.0.0.2", "127.0.0.1", "127.0.0.3")
            line = Line(f"http://node.example:{server.port}")
            assert await line.get_json("a") == b"{}"
            await line.aclose()

    with asyncio.Runner(loop_factory=NamingLoop) as runner:
        runner.run(run())


# -- turns -------------------------------------------------------------------------------------------------


class Gate:
    """A server that answers when it is opened, and counts the questions before it."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.asked = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await question(reader)
            self.asked += 1
            await self.opened.wait()
            writer.write(OK)


async def test_no_more_connections_are_made_than_allowed() -> None:
    gate = Gate()
    async with serving(gate) as server:
        line = Line(server.url, limits=Limits(connections=2))
        calls = [asyncio.ensure_future(line.get_json("a")) for _ in range(10)]
        await until(lambda: gate.asked == 2)
        await asyncio.sleep(0.02)
        assert (gate.asked, server.connections) == (2, 2)
        gate.opened.set()
        assert await asyncio.gather(*calls) == [b"{}"] * 10
        assert server.connections == 2
        await line.aclose()


async def test_one_more_than_may_wait_is_turned_away_at_once() -> None:
    gate = Gate()
    async with serving(gate) as server:
        line = Line(server.url, limits=Limits(connections=1, waiting=1))
        calls = [asyncio.ensure_future(line.get_json("a")) for _ in range(2)]
        await until(lambda: gate.asked == 1)
        with pytest.raises(NodeLate, match="too many"):
            await line.get_json("a")
        gate.opened.set()
        assert await asyncio.gather(*calls) == [b"{}", b"{}"]
        await line.aclose()


async def test_who_waits_for_a_turn_keeps_to_its_time_and_leaves_the_turn_to_others() -> None:
    gate = Gate()
    async with serving(gate) as server:
        line = Line(server.url, limits=Limits(connections=1))
        first = asyncio.ensure_future(line.get_json("a"))
        await until(lambda: gate.asked == 1)
        hasty = asyncio.ensure_future(line.get_json("a", budget=0.05))
        patient = asyncio.ensure_future(line.get_json("a"))
        with pytest.raises(NodeLate, match="all connections"):
            await hasty
        gate.opened.set()
        assert await first == await patient == b"{}"
        await line.aclose()


async def test_a_turn_that_is_given_to_somebody_who_leaves_is_passed_on() -> None:
    gate = Gate()
    async with serving(gate) as server:
        line = Line(server.url, limits=Limits(connections=1))
        first = asyncio.ensure_future(line.get_json("a"))
        await until(lambda: gate.asked == 1)
        leaving = [asyncio.ensure_future(line.get_json("a")) for _ in range(3)]
        await asyncio.sleep(0)
        staying = asyncio.ensure_future(line.get_json("a"))
        await asyncio.sleep(0)
        first.cancel()
        for call in leaving:
            call.cancel()
        gate.opened.set()
        assert await staying == b"{}"
        for _ in range(3):
            assert await line.get_json("a") == b"{}"
        await line.aclose()


async def test_many_cancelled_calls_leave_every_turn_free() -> None:
    gate = Gate()
    async with serving(gate) as server:
        line = Line(server.url, limits=Limits(connections=3, waiting=100))
        for delay in (0.0, 0.001, 0.002, 0.005):
            calls = [asyncio.ensure_future(line.get_json("a")) for _ in range(20)]
            await asyncio.sleep(delay)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        gate.opened.set()
        assert await asyncio.gather(*(line.get_json("a") for _ in range(20))) == [b"{}"] * 20
        await line.aclose()


async def test_a_cancelled_call_closes_its_connection() -> None:
    async with serving(silent) as server:
        line = Line(server.url)
        call = asyncio.ensure_future(line.get_json("a"))
        await until(lambda: server.open == 1)
        call.cancel()
        await until(lambda: server.open == 0)
        await line.aclose()


async def test_closing_the_line_ends_what_is_under_way_and_what_waits() -> None:
    gate = Gate()
    async with serving(gate) as server:
        line = Line(server.url, limits=Limits(connections=1))
        calls = [asyncio.ensure_future(line.get_json("a")) for _ in range(3)]
        await until(lambda: gate.asked == 1)
        await line.aclose()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(end, NodeUnreachable) for end in ends)
        with pytest.raises(NodeUnreachable, match="closed"):
            await line.get_json("a")


# -- streams -----------------------------------------------------------------------------------------------

PIECE = bytes(range(256)) * 256
PIECES = 400


async def pouring(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """26 MB at once."""
    while True:
        await question(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (PIECES * len(PIECE)))
        for _ in range(PIECES):
            writer.write(PIECE)
            await writer.drain()


async def test_a_stream_brings_every_byte_and_keeps_the_connection() -> None:
    async with serving(pouring) as server:
        line = Line(server.url)
        for _ in range(2):
            size = 0
            async with line.stream("a", accept="*/*") as incoming:
                assert incoming.status == 200
                async for piece in incoming:
                    assert piece[0] == size % 256
                    size += len(piece)
            assert size == PIECES * len(PIECE)
        await line.aclose()
    assert server.connections == 1


async def test_a_slow_reader_holds_the_node_and_is_not_late() -> None:
    sent = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await question(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (PIECES * len(PIECE)))
        for _ in range(PIECES):
            writer.write(PIECE)
            await writer.drain()
            sent += len(PIECE)

    async with serving(handle) as server:
        line = Line(server.url, timeout=Timeouts(between_bytes=0.1, first_byte=0.1, total=0.15))
        async with line.stream("a", accept="*/*") as incoming:
            await asyncio.sleep(0.3)
            held = sent
            assert held < PIECES * len(PIECE) / 2
            size = 0
            async for piece in incoming:
                assert len(piece) <= 1024 * 1024
                size += len(piece)
        assert size == PIECES * len(PIECE)
        await line.aclose()


async def test_a_stream_that_is_left_early_closes_its_connection_and_frees_its_turn() -> None:
    async with serving(pouring) as server:
        line = Line(server.url, limits=Limits(connections=1))
        for _ in range(3):
            async with line.stream("a", accept="*/*") as incoming:
                assert await incoming.read()
        await until(lambda: server.open == 0)
        await line.aclose()
    assert server.connections == 3


async def test_a_stream_that_breaks_off_gives_what_came_and_then_the_fault() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await question(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")

    async with serving(handle) as server:
        line = Line(server.url)
        async with line.stream("a", accept="*/*") as incoming:
            assert await incoming.read() == b"abc"
            with pytest.raises(NodeFaulty, match="broke off"):
                await incoming.read()
        await line.aclose()


async def test_a_stream_that_stands_still_is_late() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await question(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        await reader.read()

    async with serving(handle) as server:
        line = Line(server.url, timeout=Timeouts(between_bytes=0.05))
        async with line.stream("a", accept="*/*") as incoming:
            assert await incoming.read() == b"abc"
            with pytest.raises(NodeLate, match="stopped"):
                await incoming.read()
        await line.aclose()


async def test_a_stream_without_a_head_is_late_by_its_budget() -> None:
    async with serving(silent) as server:
        line = Line(server.url)
        with pytest.raises(NodeLate):
            async with line.stream("a", accept="*/*", budget=0.05):
                pass
        await line.aclose()


# -- what is sent ------------------------------------------------------------------------------------------


async def sent_by(server: Server, line: Line, seen: list[bytes], path: str) -> bytes:
    await line.get_json(path)
    await line.aclose()
    return seen[-1]


async def test_a_request_says_who_is_asked_and_takes_no_other_encoding() -> None:
    seen: list[bytes] = []
    async with serving(answering(OK, seen=seen)) as server:
        asked = await sent_by(server, Line(server.url, headers={"Authorization": "Bearer x"}), seen, "a")
    assert asked.decode().split("\r\n") == [
        "GET /a HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        "User-Agent: lianren",
        "Accept-Encoding: identity",
        "Authorization: Bearer x",
        "Accept: application/json",
        "",
        "",
    ]


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/"),
        ("?a=b", "/?a=b"),
        ("a/b?c=d%20e&f=|", "/a/b?c=d%20e&f=|"),
        ("patient/张三 #1", "/patient/%E5%BC%A0%E4%B8%89%20%231"),
    ],
)
async def test_an_address_goes_out_in_visible_ascii(path: str, target: str) -> None:
    seen: list[bytes] = []
    async with serving(answering(OK, seen=seen)) as server:
        asked = await sent_by(server, Line(server.url), seen, path)
    assert asked.startswith(f"GET {target} HTTP/1.1\r\n".encode())


@pytest.mark.parametrize("path", ["a\r\nX: y", "a\0", "a\n", "\ud800"])
async def test_a_control_character_in_an_address_is_not_sent(path: str) -> None:
    async with serving(answering(OK)) as server:
        line = Line(server.url)
        with pytest.raises(NodeFaulty, match="not asked"):
            await line.get_json(path)
        await line.aclose()
    assert server.connections == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "b\r\nX-C: d"),
        ("X-A", "b\nc"),
        ("X-A", "b\0"),
        ("X-A", "张"),
        ("X A", "b"),
        ("", "b"),
        ("X-A:", "b"),
        ("Host", "elsewhere"),
        ("content-length", "0"),
        ("Transfer-Encoding", "chunked"),
    ],
)
async def test_a_header_that_would_become_another_is_not_sent(name: str, value: str) -> None:
    async with serving(answering(OK)) as server:
        line = Line(server.url)
        with pytest.raises(NodeFaulty, match="not asked"):
            await line.post_json("a", b"{}", headers={name: value})
        with pytest.raises(NodeFaulty):
            Line(server.url, headers={name: value})
        await line.aclose()
    assert server.connections == 0


async def test_the_headers_of_the_context_are_passed_on() -> None:
    seen: list[bytes] = []
    async with serving(answering(OK, seen=seen)) as server:
        PASSED_ON.set((("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),))
        asked = await sent_by(server, Line(server.url), seen, "a")
    assert b"\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n" in asked


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/",
        "http://",
        "http://h:99999/",
        "http://user:secret@h/",
        "http://h\\@other/",
        "http://[::1/",
        "http://例/",
        "http://h\n.other/",
        " http://h/",
        "http://[::1]h/",
        "http://h:0/",
        "http://h/a?b=c",
        "http://h/a#b",
        "h:80",
    ],
)
def test_an_address_that_leads_nowhere_is_said_at_once_and_not_repeated(url: str) -> None:
    with pytest.raises(NodeError, match="see the settings") as caught:
        Line(url)
    assert url not in str(caught.value)
    with pytest.raises(NodeError, match="see the settings"):
        Line("http://h", proxy=url)


def test_a_proxy_that_would_be_spoken_to_over_tls_is_said_at_once() -> None:
    with pytest.raises(NodeError, match="proxy"):
        Line("http://h", proxy="https://proxy.example")
