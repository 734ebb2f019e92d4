"""A header with somebody else's secret goes with the one call that it is for."""

from __future__ import annotations

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from adapters import Line, NodeFaulty
from tests.serving import serve

TOKEN = "a-token-of-the-hospital.0123456789"


async def told(request: Request) -> JSONResponse:
    return JSONResponse({"authorization": request.headers.get("authorization", "")})


SERVER = Starlette(routes=[Route("/Patient/1", told)])


async def ask(line: Line, *tokens: str) -> list[bytes]:
    """What the server was told in calls with these tokens; an empty one is none."""
    try:
        return [
            await line.get_json(
                "Patient/1", credentials={"Authorization": f"Bearer {token}"} if token else None
            )
            for token in tokens
        ]
    finally:
        await line.aclose()


def test_credentials_go_with_one_call_alone() -> None:
    with serve(SERVER) as url:
        first, second = asyncio.run(ask(Line(url), TOKEN, ""))
    assert TOKEN.encode() in first
    assert second == b'{"authorization":""}'


def test_credentials_become_no_line_of_their_own() -> None:
    with serve(SERVER) as url, pytest.raises(NodeFaulty, match="a header that cannot be sent"):
        asyncio.run(ask(Line(url), "t\r\nX-Other: 1"))
