"""What the bridge refuses before it asks the archive, and who is let in."""

from __future__ import annotations

import json
from io import StringIO

import httpx
import pytest

from gateway.bridge import Archive, create_bridge
from gateway.log import Log

ARCHIVE = Archive(title="PACS", host="127.0.0.1", port=1)
INSTANCE = "/studies/1.2/series/1.3/instances/1.4"
BOUNDED = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}

pytestmark = pytest.mark.anyio


def client(log: StringIO, token: str = "") -> httpx.AsyncClient:
    app = httpx.ASGITransport(create_bridge(ARCHIVE, Log(log), token))
    return httpx.AsyncClient(transport=app, base_url="http://bridge")


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/studies/1..2", {}, 400),
        ("GET", "/studies/1.2/series/x/metadata", {}, 400),
        ("GET", "/studies?limit=-1", {}, 400),
        ("GET", "/studies?NoSuchKeyword=1", {}, 400),
        ("GET", f"{INSTANCE}/frames/one", {}, 400),
        ("GET", f"{INSTANCE}/frames/1", {"Accept": "text/plain"}, 406),
        ("GET", INSTANCE, {"Accept": "image/png"}, 406),
        ("GET", "/studies/1.2/metadata", {"Accept": 'multipart/related; type="application/dicom+xml"'}, 406),
        ("GET", f"{INSTANCE}/rendered", {}, 404),
        ("DELETE", "/studies/1.2", {}, 405),
        ("POST", "/studies", {"Content-Type": "application/json"}, 415),
        ("POST", "/studies", BOUNDED, 400),
    ],
)
async def test_what_cannot_be_is_refused(
    method: str, path: str, headers: dict[str, str], status: int
) -> None:
    async with client(StringIO()) as caller:
        assert (await caller.request(method, path, headers=headers)).status_code == status


@pytest.mark.parametrize("sent", ["", "Bearer wrong", "Basic c2VjcmV0"])
async def test_nobody_is_let_in_without_the_token(sent: str) -> None:
    async with client(StringIO(), "secret") as caller:
        answer = await caller.get("/studies", headers={"Authorization": sent})
    assert answer.status_code == 401


async def test_the_token_lets_in() -> None:
    async with client(StringIO(), "secret") as caller:
        answer = await caller.get("/studies?limit=-1", headers={"Authorization": "Bearer secret"})
    assert answer.status_code == 400


async def test_health_needs_no_token() -> None:
    async with client(StringIO(), "secret") as caller:
        assert (await caller.get("/health/live")).status_code == 200


async def test_the_log_says_what_was_refused_and_nothing_of_a_person() -> None:
    log = StringIO()
    async with client(log) as caller:
        await caller.get("/studies?PatientID=SECRET&limit=-1")
    line = json.loads(log.getvalue())
    assert (line["event"], line["status"], "SECRET" in log.getvalue()) == ("request_refused", 400, False)
