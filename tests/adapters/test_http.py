"""The line to a node: every way in which an answer can go wrong is one of four errors, and tells nothing."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import Callable

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from adapters.errors import NodeError, NodeFaulty, NodeLate, NodeRefused, NodeUnreachable
from adapters.http import Line
from adapters.transport import Limits, Timeouts
from tests.serving import Reply, http_answer, misbehave, serve

SECRET = "990000198001010016"


def call(url: str, *, seconds: float = 5.0, body: int = 1000, budget: float | None = None) -> bytes:
    async def run() -> bytes:
        line = Line(url, timeout=Timeouts.within(seconds), limits=Limits(body=body))
        try:
            return await line.post_form("Patient/_search", {"identifier": SECRET}, budget=budget)
        finally:
            await line.aclose()

    return asyncio.run(run())


def failure(answer: Callable[[str, bytes], Reply] | Reply, **how: float) -> NodeError:
    reply = answer if callable(answer) else lambda *_: answer
    with misbehave(reply) as url, pytest.raises(NodeError) as caught:
        call(url, **how)  # type: ignore[arg-type]
    return caught.value


def test_a_json_answer_comes_back_as_its_bytes() -> None:
    with misbehave(lambda *_: http_answer(b'{"a": 72.50}')) as url:
        assert call(url) == b'{"a": 72.50}'


def test_an_answer_in_the_character_set_of_the_node_comes_back_in_utf8() -> None:
    async def run(url: str) -> bytes:
        line = Line(url, charset="gb18030")
        try:
            return await line.get_json("a")
        finally:
            await line.aclose()

    with misbehave(lambda *_: http_answer('{"name":"重庆"}'.encode("gb18030"))) as url:
        assert asyncio.run(run(url)) == '{"name":"重庆"}'.encode()


def test_no_content_is_an_empty_body() -> None:
    with misbehave(lambda *_: b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n") as url:
        assert call(url) == b""


def test_the_parameters_of_a_form_are_not_in_the_address() -> None:
    seen: list[tuple[str, bytes]] = []

    def reply(first: str, body: bytes) -> bytes:
        seen.append((first, body))
        return http_answer(b"{}")

    with misbehave(reply) as url:
        call(url)
    assert seen == [("POST /Patient/_search HTTP/1.1", b"identifier=" + SECRET.encode())]


def test_what_a_node_wants_remembered_is_not_said_again() -> None:
    told: list[str] = []

    async def answer(request: Request) -> JSONResponse:
        told.append(request.headers.get("cookie", ""))
        return JSONResponse({}, headers={"Set-Cookie": f"patient={SECRET}; Path=/"})

    async def run(url: str) -> None:
        line = Line(url)
        await line.get_json("a")
        await line.get_json("a")
        await line.aclose()

    with serve(Starlette(routes=[Route("/a", answer)])) as url:
        asyncio.run(run(url))
    assert told == ["", ""]


def test_an_absolute_path_stays_below_the_base() -> None:
    async def run(url: str) -> None:
        line = Line(f"{url}/fhir/")
        await line.get_json("/trust/keys", {"a": "b c"})
        await line.aclose()

    seen: list[str] = []

    def reply(first: str, _: bytes) -> bytes:
        seen.append(first)
        return http_answer(b"{}")

    with misbehave(reply) as url:
        asyncio.run(run(url))
    assert seen == ["GET /fhir/trust/keys?a=b+c HTTP/1.1"]


def test_a_redirect_is_not_followed() -> None:
    reply = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    error = failure(reply)
    assert isinstance(error, NodeFaulty)
    assert "302" in error.detail


@pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "404 Not Found"])
def test_a_client_error_is_a_refusal(status: str) -> None:
    error = failure(http_answer(b"{}", status))
    assert isinstance(error, NodeRefused)
    assert status[:3] in error.detail


@pytest.mark.parametrize(
    "reply",
    [
        http_answer(b"{}", "500 Internal Server Error"),
        http_answer(b"<html>sign in</html>", media="text/html"),
        http_answer(b"{}", media="application/json; charset=gb18030"),
        http_answer(b'{"a":"\xff"}'),
        http_answer(b'{"half', length=1000),
        http_answer(b"x" * 1001),
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b",
        http_answer(b"[" * 400 + b"]" * 400),
        b"220 mail.example ESMTP\r\n",
        b"",
    ],
    ids=[
        "500",
        "html",
        "charset",
        "not UTF-8",
        "half a body",
        "too large",
        "gzip",
        "depth",
        "not HTTP",
        "nothing",
    ],
)
def test_an_answer_that_cannot_be_used_is_a_fault(reply: bytes) -> None:
    assert isinstance(failure(reply), NodeFaulty)


def test_an_endless_body_is_cut_at_the_limit() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    error = failure(lambda *_: itertools.chain([head], itertools.repeat(b" " * 500)))
    assert "1000 bytes" in error.detail


def test_a_hanging_node_is_late() -> None:
    started = time.monotonic()
    assert isinstance(failure(None, seconds=0.1), NodeLate)
    assert time.monotonic() - started < 2


def test_a_dripping_body_is_late_in_total() -> None:
    def drip(*_: object) -> Reply:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
        while True:
            time.sleep(0.02)
            yield b" "

    assert isinstance(failure(drip, seconds=0.2), NodeLate)


def test_a_budget_is_kept_where_it_is_shorter() -> None:
    assert isinstance(failure(None, seconds=30.0, budget=0.1), NodeLate)


def test_a_closed_port_is_unreachable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(NodeUnreachable):
            call(f"http://127.0.0.1:{unused.getsockname()[1]}")


@pytest.mark.parametrize(
    "reply", [http_answer(SECRET.encode(), "500 Oops"), http_answer(b"{}", "404 " + SECRET), None]
)
def test_no_message_repeats_what_was_asked_or_answered(reply: Reply) -> None:
    error = failure(reply, seconds=0.2)
    assert SECRET not in str(error)
    assert "127.0.0.1" not in str(error)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://h:8080/fhir/Observation?page=2", "Observation?page=2"),
        ("http://h:8080/fhir?_getpages=x", "?_getpages=x"),
        ("http://H:8080/fhir/Observation", "Observation"),
        ("Observation?page=2", "Observation?page=2"),
        ("/fhir/Observation?page=2", "Observation?page=2"),
        ("?_getpages=x", "?_getpages=x"),
    ],
)
def test_a_link_below_the_base_is_kept(url: str, path: str) -> None:
    assert Line("http://h:8080/fhir").below(url) == path


@pytest.mark.parametrize(
    "url",
    [
        "http://h:8081/fhir/x",
        "https://h:8080/fhir/x",
        "http://other/fhir/x",
        "http://h:8080@other/fhir/x",
        "http://h:8080/fhirs/x",
        "http://h:8080/fhir/../admin",
        "http://h:8080/fhir/%2e%2e/admin",
        "http://h:8080/fhir/..;/admin",
        "http://h:8080/fhir/%2e%2e%3bx/admin",
        "http://h:8080/fhir\\..\\admin",
        "http://[::1",
        "http://h:port/fhir/x",
        "//h\u2100/fhir/x",
        "//other/fhir/x",
        "/admin",
        "../admin",
    ],
)
def test_a_link_that_leads_elsewhere_is_a_fault(url: str) -> None:
    with pytest.raises(NodeFaulty):
        Line("http://h:8080/fhir").below(url)
