"""The HTTP server on a real socket: heads have a bound, the slow are given up, all else goes on as ever."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import cast

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from gateway.demo.processes import free_port, wait_until
from gateway.serving import HEAD_BYTES, Bounded, Joining, config_of


async def counting(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers how many headers and bytes of a body it got."""
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
        return
    request = Request(scope, receive)
    told = f"{len(request.headers)} {len(await request.body())}"
    await PlainTextResponse(told)(scope, receive, send)


LARGE = b"a" * 20_000_000
"""More than the kernel takes in for a reader who does not read."""
ended: list[str] = []


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers at length to ``/large``, in many pieces to ``/pieces``, and :func:`counting` to all else."""
    if scope.get("path") not in ("/large", "/pieces"):
        await counting(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(1 if scope["path"] == "/large" else 20):
        await send({"type": "http.response.body", "body": LARGE, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
    ended.append(scope["path"])


class Hasty(Bounded):
    """One whose bounds are narrow."""

    arrive_s = 0.6
    take_s = 0.3
    most = 20


@contextmanager
def serving(config: uvicorn.Config) -> Iterator[int]:
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, 10)
        yield config.port
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(config_of(counting, "127.0.0.1", free_port())) as port:
        yield port


@pytest.fixture(scope="module")
def hasty() -> Iterator[int]:
    config = config_of(answering, "127.0.0.1", free_port())
    config.http = Hasty
    with serving(config) as port:
        yield port


def given_up(connection: socket.socket) -> float:
    """Seconds until the other side closes the connection."""
    began = time.monotonic()
    connection.settimeout(5)
    with suppress(ConnectionError):
        while connection.recv(65536):
            pass
    return time.monotonic() - began


def sent(port: int, *pieces: bytes, answers: int = 1) -> bytes:
    """What comes back on one connection: so many answers, or everything until it is closed."""
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.settimeout(10)
        with suppress(ConnectionError):
            for piece in pieces:
                connection.sendall(piece)
        got = b""
        with suppress(ConnectionError):
            while len(re.findall(rb"\r\n\r\n\d+ \d+", got)) < answers and (more := connection.recv(65536)):
                got += more
        return got


def post(body: bytes, headers: bytes = b"") -> bytes:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%s\r\n" % (len(body), headers)
    return head + body


@pytest.mark.parametrize(
    "endless",
    [
        [b"GET / HTTP/1.1\r\n", *[b"X-A: %s\r\n" % (b"a" * 1000)] * 200],
        [b"GET / HTTP/1.1\r\nX-A: ", *[b"a" * 10_000] * 20],
        [b"GET /", *[b"a" * 10_000] * 20],
    ],
    ids=["many headers", "one header", "an address"],
)
def test_a_head_without_an_end_is_given_up(port: int, endless: list[bytes]) -> None:
    got = sent(port, *endless)
    assert got == b"" or (got.startswith(b"HTTP/1.1 400") and b"connection: close" in got)


def test_a_head_that_is_large_and_within_the_bound_is_read(port: int) -> None:
    headers = b"".join(b"X-%d: %s\r\n" % (n, b"a" * 1000) for n in range(HEAD_BYTES // 1100))
    assert b" 200 OK" in sent(port, post(b"", headers))


def test_a_body_may_be_larger_than_a_head(port: int) -> None:
    assert sent(port, post(b"a" * 900_000)).endswith(b"2 900000")


def test_a_body_that_comes_with_its_head_in_one_piece_does_not_count(port: int) -> None:
    assert sent(port, post(b"a" * (HEAD_BYTES + 1000))).endswith(b"2 %d" % (HEAD_BYTES + 1000))


def test_many_requests_on_one_connection_are_counted_each_for_itself(port: int) -> None:
    one = post(b"ab", b"X-A: %s\r\n" % (b"a" * 1000))
    got = sent(port, *[one] * (2 * HEAD_BYTES // 1000), answers=2 * HEAD_BYTES // 1000)
    assert got.count(b"HTTP/1.1 200 OK") == 2 * HEAD_BYTES // 1000


def test_a_large_body_before_the_next_head_does_not_count(port: int) -> None:
    got = sent(port, post(b"a" * 300_000), post(b"a"), answers=2)
    assert got.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize(
    "piece",
    [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n", post(b"ab")[:-1], post(b"ab") + b"GET"],
    ids=["nothing", "an address", "a head", "a body", "the second of two"],
)
def test_a_request_that_does_not_arrive_in_time_is_given_up(hasty: int, piece: bytes) -> None:
    with closing(socket.create_connection(("127.0.0.1", hasty), 10)) as connection:
        connection.sendall(piece)
        assert 0.3 < given_up(connection) < 3


def test_one_that_trickles_in_is_given_up_as_well(hasty: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", hasty), 10)) as connection, suppress(OSError):
        for byte in post(b"ab", b"X-A: %s\r\n" % (b"a" * 100)):
            connection.sendall(bytes([byte]))
            time.sleep(0.05)
        pytest.fail("it was read to its end")


def test_a_connection_in_use_lives_longer_than_a_request_may_take_to_arrive(hasty: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", hasty), 10)) as connection:
        for _ in range(8):
            connection.sendall(post(b"ab"))
            assert connection.recv(65536).endswith(b"2 2")
            time.sleep(0.15)


@pytest.mark.parametrize("path", ["/large", "/pieces"])
def test_an_answer_that_nobody_takes_in_holds_nothing(hasty: int, path: str) -> None:
    ended.clear()
    with closing(socket.create_connection(("127.0.0.1", hasty), 10)) as connection:
        connection.sendall(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode())
        wait_until(lambda: ended == [path], 5)


def storing(port: int, pieces: Iterable[bytes], every: float) -> bytes:
    """What comes back for images that are sent piece by piece."""
    head = b"POST /dicomweb/studies HTTP/1.1\r\nHost: a\r\nContent-Length: 160000\r\n\r\n"
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.settimeout(10)
        connection.sendall(head)
        with suppress(ConnectionError):
            for piece in pieces:
                time.sleep(every)
                connection.sendall(piece)
            return connection.recv(65536)
    return b""


def test_images_may_take_longer_to_arrive_as_long_as_they_do(hasty: int) -> None:
    assert b"200 OK" in storing(hasty, [b"a" * 20_000] * 8, 0.1)  # in all more than Hasty.arrive_s


def test_images_that_stop_arriving_are_given_up(hasty: int) -> None:
    assert storing(hasty, [b"a" * 20_000, *[b"a"] * 8], 0.1) == b""


def test_an_answer_that_is_taken_in_slowly_comes_whole(hasty: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", hasty), 10)) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        got = 0
        while more := len(connection.recv(400_000)):
            got += more
            time.sleep(0.02)
        assert got > len(LARGE)


def test_requests_that_are_sent_ahead_of_their_answers_have_a_bound(port: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(post(b"", b"X-A: 1\r\n") * 3000)
        got = b""
        connection.settimeout(10)
        with suppress(ConnectionError):
            while got.count(b"200 OK") < 3000 and (more := connection.recv(65536)):
                got += more
    assert got.count(b"200 OK") < 3000


def test_of_too_many_connections_the_last_is_given_up_at_once_and_the_first_goes_on(hasty: int) -> None:
    with ExitStack() as stack:
        connections = [
            stack.enter_context(closing(socket.create_connection(("127.0.0.1", hasty), 10)))
            for _ in range(Hasty.most + 1)
        ]
        assert given_up(connections[-1]) < 0.3
        connections[0].sendall(post(b"ab"))
        assert connections[0].recv(65536).endswith(b"2 2")


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
"""What java.net.http sends with its first request over plain HTTP."""
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n%s\r\n2\r\nab\r\n0\r\n\r\n" % H2C
WEBSOCKET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (post(b"ab", H2C), b"4 2"),
        (post(b"a" * 300_000, H2C), b"4 300000"),
        (CHUNKED, b"4 2"),
        (WEBSOCKET, b"2 0"),
    ],
    ids=["a body", "a large body", "chunks", "no body"],
)
@pytest.mark.parametrize("size", [1_000_000, 100, 7], ids=["whole", "in pieces", "in small pieces"])
def test_an_offer_to_speak_another_protocol_is_ignored(
    port: int, request_: bytes, told: bytes, size: int
) -> None:
    ends = [*range(0, min(len(request_), 1000), size)]
    pieces = [request_[start:end] for start, end in zip(ends, [*ends[1:], len(request_)], strict=True)]
    got = sent(port, *pieces, post(b"abc"), answers=2)
    assert got.startswith(b"HTTP/1.1 200 OK")
    assert got.endswith(b"2 3")
    assert b"\r\n\r\n" + told in got


def test_many_offers_on_one_connection_are_ignored_each(port: int) -> None:
    got = sent(port, post(b"ab", H2C) * 200, answers=200)
    assert got.count(b"HTTP/1.1 200 OK") == 200


def test_an_offer_does_not_hide_a_head_that_is_too_large(port: int) -> None:
    got = sent(port, b"POST / HTTP/1.1\r\n" + H2C, *[b"X-A: %s\r\n" % (b"a" * 1000)] * 200)
    assert got == b"" or got.startswith(b"HTTP/1.1 400")


def test_a_tunnel_is_refused(port: int) -> None:
    assert sent(port, b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\nab").startswith(b"HTTP/1.1 400")


class Writes:
    """A transport that notes what goes out at once."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def writelines(self, pieces: Iterable[bytes]) -> None:
        if self.closed:
            raise RuntimeError("the handler is closed")  # as uvloop says
        self.sent.append(b"".join(pieces))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


def joined(*pieces: bytes, turns: bool, close: bool = False) -> list[bytes]:
    """What goes out in which pieces; ``turns``: the loop goes round between them."""

    async def run() -> list[bytes]:
        writes = Writes()
        joining = Joining(cast("asyncio.Transport", writes), asyncio.get_running_loop())
        for piece in pieces:
            joining.write(piece)
            if turns:
                await asyncio.sleep(0)
        if close:
            joining.close()
        return writes.sent

    return asyncio.run(run())


def test_the_head_of_an_answer_goes_out_with_its_body() -> None:
    assert joined(HEAD, b"body", b"more", turns=False) == [HEAD + b"body", b"more"]


def test_a_head_that_nothing_follows_goes_out_alone() -> None:
    assert joined(HEAD, b"body", turns=True) == [HEAD, b"body"]


def test_a_head_goes_out_before_the_connection_is_closed() -> None:
    assert joined(HEAD, turns=False, close=True) == [HEAD]


def test_a_head_whose_caller_has_gone_is_dropped() -> None:
    complaints: list[object] = []

    async def run() -> list[bytes]:
        loop, writes = asyncio.get_running_loop(), Writes()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        Joining(cast("asyncio.Transport", writes), loop).write(HEAD)
        writes.closed = True
        await asyncio.sleep(0)
        return writes.sent

    assert (asyncio.run(run()), complaints) == ([], [])
