"""Images fetched by nginx in front of a gateway: the same bytes, nothing without a viewing, nothing told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.app import create_app
from gateway.demo.processes import free_port
from gateway.imaging.offload import http_part, server_part
from gateway.keyring import make_keys
from gateway.log import Log
from gateway.serving import config_of
from tests.gateway.imaging.scripted import (
    JSON,
    PERSON,
    Archive,
    answer,
    archive,
    multipart,
    refused,
    related,
)
from tests.gateway.live import CLIENTS, NODE, OWN, settings_for, source_of
from tests.gateway.test_serving import serving
from tests.nginx import nginx

pytestmark = pytest.mark.slow

STUDY, FRAME = "studies/2.25.8", "studies/2.25.8/series/1.1/instances/1.2/frames/1"
SECRET = "the-token-of-an-archive"
OCTETS = "application/octet-stream"
IMAGES = 'multipart/related; type="application/dicom"'
ORIGIN = "https://viewer.example.org"
STUDY_BODY = multipart(b"pixels" * 100_000, b"more")


class Front:
    """An nginx with a gateway behind it, and one archive."""

    def __init__(self, held: Archive, away: str, direct: httpx.Client, token: str) -> None:
        self.archive, self.direct = held, direct
        self.client = httpx.Client(base_url=away, timeout=30, trust_env=False)
        self.client.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str, accept: str = "", **headers: str) -> httpx.Response:
        wanted = {"Accept": accept} if accept else {}
        return self.client.get(f"/dicomweb/{path}", headers={**wanted, **headers})

    @property
    def handed_over(self) -> int:
        """How many images the gateway left to nginx."""
        lines = self.direct.get("/metrics").text.splitlines()
        told = [line for line in lines if 'outcome="handed-over"' in line and "_created" not in line]
        return int(float(told[0].rpartition(" ")[2])) if told else 0


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("offload")
    uds, port = folder / "gateway.sock", free_port()
    (folder / "secret").write_text(SECRET)
    with archive() as held, source_of(folder) as (url, _), (folder / "log").open("w") as log:
        held.held["2.25.8"] = 2
        node: dict[str, Any] = {"institution": OWN, "timeout_ms": 7000}
        nodes = [
            {"id": NODE, "kind": "fhir", "url": url, **node},
            {"id": "cq-pacs", "kind": "dicomweb", "url": held.url, "identity": NODE, **node}
            | {"token_file": folder / "secret"},
        ]
        tokens = {name: f"token-of-{name}" for name in CLIENTS}
        base = f"http://127.0.0.1:{port}"
        settings = settings_for(
            folder, tokens, nodes, base_url=base, uds=uds, offload="/archives", viewer_origins=[ORIGIN]
        )
        make_keys(settings)
        config = config_of(create_app(settings, Log(log)), "127.0.0.1", 0)
        config.uds = str(uds)
        servers = f"{http_part(settings)} server {{ listen 127.0.0.1:{port}; {server_part(settings)} }}"
        transport = httpx.HTTPTransport(uds=str(uds))
        with (
            serving(config),
            nginx(folder, servers, f"{base}/health/live"),
            httpx.Client(transport=transport, base_url="http://gateway") as direct,
        ):
            asked = {"patient": {"type": "resident-id", "value": PERSON.number}}
            bearer = {"Authorization": f"Bearer {tokens['his']}"}
            opened = httpx.post(f"{base}/api/v1/viewings", json=asked, headers=bearer, trust_env=False)
            assert opened.is_success, opened.text
            front = Front(held, base, direct, opened.json()["token"])
            yield front
            front.client.close()


def test_the_same_bytes_come_by_way_of_nginx(front: Front) -> None:
    front.archive.scripts[STUDY] = answer(STUDY_BODY, related())
    before = front.handed_over
    first, second = front.get(STUDY), front.get(STUDY)
    assert (first.content, second.content) == (STUDY_BODY, STUDY_BODY)
    assert first.headers["content-type"] == second.headers["content-type"] == related()
    assert second.headers["lianren-source"] == "cq-pacs"
    assert front.handed_over == before + 1  # the first one showed that nothing is to be changed


def test_nothing_tells_of_the_archive(front: Front) -> None:
    further = (f"Content-Location: {front.archive.url}/x", "Server: Pacs/1", "X-Accel-Redirect: /health/live")
    front.archive.scripts[STUDY] = answer(STUDY_BODY, related(), *further)
    front.get(STUDY)
    got = front.get(STUDY)
    told = str(got.headers)
    assert got.content == STUDY_BODY
    assert front.archive.asked[-1][1]["authorization"] == f"Bearer {SECRET}"
    for secret in (SECRET, front.archive.url, "Pacs", "x-accel", "x-lianren"):
        assert secret not in told


def test_the_archive_gets_nothing_of_the_caller_but_what_it_needs(front: Front) -> None:
    front.archive.scripts[STUDY] = answer(STUDY_BODY, related())
    for _ in range(2):
        front.get(STUDY, Cookie="a=b", Referer="https://x.example.org")
    assert not {"cookie", "referer", "x-lianren-offload"} & set(front.archive.asked[-1][1])
    assert front.archive.asked[-1][1]["accept"] == IMAGES


def test_without_a_viewing_nothing_is_fetched(front: Front) -> None:
    front.archive.scripts[STUDY] = answer(STUDY_BODY, related())
    front.get(STUDY)
    asked = len(front.archive.asked)
    base = f"{front.client.base_url}".rstrip("/")
    assert httpx.get(f"{base}/dicomweb/{STUDY}", trust_env=False).status_code == 401
    for path in (f"/archives/cq-pacs/{STUDY}", f"/archives/cq-pacs/../cq-pacs/{STUDY}"):
        assert httpx.get(f"{base}{path}", trust_env=False).status_code == 404
    assert len(front.archive.asked) == asked


def test_what_tells_the_archive_of_itself_goes_by_way_of_the_gateway(front: Front) -> None:
    told = multipart(b"pixels", media=OCTETS, headers=f"Content-Location: {front.archive.url}/{FRAME}\r\n")
    front.archive.scripts[FRAME] = answer(told, related(OCTETS))
    before = front.handed_over
    for _ in range(2):
        got = front.get(FRAME)
        assert front.archive.url.encode() not in got.content
    assert front.handed_over == before


def test_the_gateway_does_by_itself_what_the_archive_refuses_nginx(front: Front) -> None:
    front.archive.scripts[STUDY] = answer(STUDY_BODY, related())
    front.get(STUDY)
    front.archive.scripts[STUDY] = refused("404 Not Found")
    got = front.get(STUDY)
    assert (got.status_code, got.headers["content-type"]) == (404, "application/problem+json")
    assert "archive.internal" not in got.text


def test_a_page_of_a_viewer_may_read_what_nginx_fetched(front: Front) -> None:
    front.archive.scripts[STUDY] = answer(STUDY_BODY, related())
    front.get(STUDY, Origin=ORIGIN)
    assert front.get(STUDY, Origin=ORIGIN).headers["access-control-allow-origin"] == ORIGIN


def test_metadata_go_by_way_of_the_gateway(front: Front) -> None:
    told = b'[{"0020000D":{"vr":"UI","Value":["2.25.8"]}}]'
    front.archive.scripts[f"{STUDY}/metadata"] = answer(told, JSON)
    before = front.handed_over
    assert [front.get(f"{STUDY}/metadata").json() for _ in range(2)][1]
    assert front.handed_over == before
