"""httpx's interface over a pool: its words in and out, one origin, and nothing that the pool would refuse."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import httpx
import pytest

from adapters.transport import Limits, Timeouts
from adapters.transport.httpx_api import client
from tests.adapters.transport_servers import OK, answering, question, serving

pytestmark = pytest.mark.anyio


async def test_a_client_of_httpx_gets_answers_over_one_connection() -> None:
    seen: list[bytes] = []
    async with serving(answering(OK, seen=seen)) as server, client(f"{server.url}/base") as asking:
        for _ in range(2):
            answer = await asking.get("/a", params={"b": "c d"})
            assert (answer.status_code, answer.json()) == (200, {})
    assert server.connections == 1
    assert seen[0].startswith(b"GET /base/a?b=c+d HTTP/1.1\r\n")


async def test_a_body_is_sent_and_headers_come_back() -> None:
    seen: list[bytes] = []
    async with serving(answering(OK, seen=seen)) as server, client(server.url) as asking:
        answer = await asking.post("/a", json={"b": 1}, headers={"X-C": "d"})
    assert answer.headers["content-type"] == "application/json"
    assert seen[0].endswith(b'\r\n\r\n{"b":1}')
    assert b"X-C: d\r\n" in seen[0]
    assert seen[0].lower().count(b"accept-encoding: identity\r\n") == 1


async def test_a_body_streams() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000)
    async with serving(answering(answer)) as server, client(server.url) as asking:
        async with asking.stream("GET", "/a") as streamed:
            assert sum([len(piece) async for piece in streamed.aiter_raw()]) == 1_000_000
        async with asking.stream("GET", "/a"):
            pass  # left early
        assert len((await asking.get("/a")).content) == 1_000_000
    assert server.connections == 2


async def test_another_origin_is_not_asked() -> None:
    async with serving(answering(OK)) as server, client(server.url) as asking:
        with pytest.raises(httpx.UnsupportedProtocol):
            await asking.get("http://127.0.0.1:1/a")


async def test_a_redirect_is_an_answer() -> None:
    moved = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    async with serving(answering(moved)) as server, client(server.url) as asking:
        assert (await asking.get("/a")).status_code == 302


async def test_nothing_is_remembered_between_two_questions() -> None:
    seen: list[bytes] = []
    answer = OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b\r\n\r\n")
    async with serving(answering(answer, seen=seen)) as server, client(server.url) as asking:
        await asking.get("/a")
        await asking.get("/a")
    assert b"cookie" not in seen[1].lower()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\n", httpx.ReadTimeout),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na", httpx.ReadTimeout),
    ],
    ids=["doubtful", "too large", "half a head", "half a body"],
)
async def test_errors_are_those_of_httpx(answer: bytes, error: type[Exception]) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await question(reader)
        writer.write(answer)
        await reader.read()

    quick = Timeouts(first_byte=0.1)
    async with (
        serving(handle) as server,
        client(server.url, timeout=quick, limits=Limits(body=1000)) as asking,
    ):
        with pytest.raises(error):
            await asking.get("/a")


async def test_a_closed_port_is_a_connect_error() -> None:
    async with serving(answering(OK)) as server:
        pass
    async with client(server.url) as asking:
        with pytest.raises(httpx.ConnectError):
            await asking.get("/a")


def test_nothing_else_here_imports_httpx() -> None:
    words = "import sys, adapters.http; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], check=False).returncode == 0
