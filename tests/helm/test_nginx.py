"""The nginx of the chart, run as the chart writes its configuration: who gets in, and what it passes on."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.demo.processes import MissingPeer, free_port, wait_until
from gateway.keyring import make_keys
from security.keys import to_base64url
from tests.adapters.transport_servers import Authority
from tests.e2e.conftest import CHECKOUT, LIANREN
from tests.e2e.test_drain import TOKENS, config_file
from tests.gateway.live import PATIENT, settings_for
from tests.helm.chart import render
from tests.peers import needed
from tests.serving import serve

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("nginx")]

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
Certificate = tuple[Path, Path]


@dataclass
class Proxy:
    """A running nginx before a Unix socket, and the certificates of two callers and of a stranger."""

    folder: Path
    port: int
    operations: str
    mine: Certificate
    other: Certificate
    stranger: Certificate

    def client(self, shown: Certificate | None, **headers: str) -> httpx.Client:
        """A caller that shows this certificate."""
        trust = ssl.create_default_context(cafile=self.folder / "authority.pem")
        if shown:
            trust.load_cert_chain(*shown)
        url = f"https://localhost:{self.port}"
        return httpx.Client(base_url=url, verify=trust, headers=headers, trust_env=False, timeout=10)

    @property
    def log(self) -> str:
        return (self.folder / "nginx.log").read_text(encoding="utf-8")


@contextmanager
def proxy(folder: Path, **nginx: Any) -> Iterator[Proxy]:
    """nginx with the chart's configuration; only folders and ports are this machine's."""
    if NGINX is None:
        with needed():
            raise MissingPeer("nginx", "install it: apt-get install nginx-light")
    for name in ("run", "tls", "clients", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    authority, elsewhere = Authority(folder), Authority(folder, "elsewhere")
    certificate, key = authority.certificate("server")
    shutil.copy(certificate, folder / "tls/tls.crt")
    shutil.copy(key, folder / "tls/tls.key")
    shutil.copy(authority.file, folder / "clients/ca.crt")
    port, operations = free_port(), free_port()
    archives = nginx.pop("archives", {})
    clients = {"caSecret": "clients-ca"} | nginx.pop("clients", {})
    values = {
        "config": {"nodes": [{"id": id_, "kind": "dicomweb", "url": url} for id_, url in archives.items()]},
        "nginx": {
            "enabled": True,
            "port": port,
            "operationsPort": operations,
            "tlsSecret": "tls",
            "clients": clients,
            "offload": {"archives": list(archives)},
        },
    }
    places = {
        "/run/lianren": "run",
        "/etc/nginx/tls": "tls",
        "/etc/nginx/clients": "clients",
        "/tmp": "tmp",  # noqa: S108 - as the pod has it
    }
    written = re.sub(
        "|".join(places),
        lambda place: str(folder / places[place[0]]),
        render(values)["ConfigMap-nginx"]["data"]["nginx.conf"],
    )
    (folder / "nginx.conf").write_text(written, encoding="utf-8")
    user = "user root; " if os.geteuid() == 0 else ""  # the pod's containers have one user
    words = [NGINX, "-e", "/dev/stderr", "-c", str(folder / "nginx.conf"), "-g", f"{user}daemon off;"]
    with (
        (folder / "nginx.log").open("wb") as log,
        subprocess.Popen(words, stdout=log, stderr=log, cwd=folder) as process,
    ):
        running = Proxy(
            folder,
            port,
            f"http://127.0.0.1:{operations}",
            authority.certificate("mine"),
            authority.certificate("other"),
            elsewhere.certificate("stranger"),
        )
        try:
            wait_until(lambda: process.poll() is not None or answers(running.operations), 10)
            assert process.poll() is None, running.log
            yield running
        finally:
            process.terminate()
            process.wait(10)


def answers(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(url, trust_env=False).status_code == 404
    return False


def certificate_of(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


def thumb_of(file: Path) -> str:
    return to_base64url(hashlib.sha256(certificate_of(file).public_bytes(Encoding.DER)).digest())


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A whole ``lianren serve`` behind it, whose client ``his`` must come with the certificate ``mine``."""
    folder = tmp_path_factory.mktemp("nginx")
    with proxy(folder) as running:
        settings = settings_for(
            folder,
            TOKENS,
            [],
            uds=folder / "run/gateway.sock",
            client_certificate_header="X-Client-Certificate",
        )
        bound = [
            client.model_copy(update={"certificates": [thumb_of(running.mine[0])]})
            for client in settings.clients
        ]
        config = config_file(settings.model_copy(update={"clients": bound}), folder)
        make_keys(settings)
        with subprocess.Popen([*LIANREN, "serve", "-c", str(config)], cwd=CHECKOUT) as process:
            try:
                wait_until(f"{running.operations}/health/ready", 30)
                yield running
            finally:
                process.terminate()
                process.wait(15)


TOKEN = {"Authorization": f"Bearer {TOKENS['his']}"}


def test_a_caller_with_its_certificate_is_let_in(gateway: Proxy) -> None:
    with gateway.client(gateway.mine, **TOKEN) as client:
        assert client.get("/api/v1/catalogues").status_code == 200


def test_a_caller_without_a_certificate_is_refused(gateway: Proxy) -> None:
    with gateway.client(None, **TOKEN) as client:
        assert client.get("/api/v1/catalogues").status_code == 400


def test_a_certificate_of_another_authority_is_refused(gateway: Proxy) -> None:
    with gateway.client(gateway.stranger, **TOKEN) as client:
        assert client.get("/api/v1/catalogues").status_code == 400


def test_a_token_does_not_count_with_another_ones_certificate(gateway: Proxy) -> None:
    with gateway.client(gateway.other, **TOKEN) as client:
        assert client.get("/api/v1/catalogues").status_code == 401


def test_a_certificate_written_into_the_header_is_overwritten(gateway: Proxy) -> None:
    forged = {"X-Client-Certificate": quote(gateway.mine[0].read_text())}
    with gateway.client(gateway.other, **TOKEN, **forged) as client:
        assert client.get("/api/v1/catalogues").status_code == 401


@pytest.mark.parametrize("path", ["/metrics", "/health/ready", "/health/live"])
def test_what_is_the_operators_is_on_the_other_port_alone(gateway: Proxy, path: str) -> None:
    with gateway.client(gateway.mine) as client:
        assert client.get(path).status_code == 404
    assert httpx.get(f"{gateway.operations}{path}", trust_env=False).status_code == 200


def test_nothing_else_is_on_the_operators_port(gateway: Proxy) -> None:
    assert httpx.get(f"{gateway.operations}/api/v1/catalogues", trust_env=False).status_code == 404


def test_a_body_beyond_the_limit_does_not_reach_the_gateway(gateway: Proxy) -> None:
    with gateway.client(gateway.mine, **TOKEN) as client:
        refused = client.post("/api/v1/checks", content=b" " * 1_100_000)
        assert (refused.status_code, refused.headers["content-type"]) == (413, "text/html")


def test_no_address_of_a_request_stands_in_the_log(gateway: Proxy) -> None:
    with gateway.client(gateway.mine, **TOKEN) as client:
        client.get("/fhir/Patient", params={"identifier": PATIENT})
    with gateway.client(None) as client:
        client.get(f"/{PATIENT}")
    assert " GET " in gateway.log
    assert PATIENT not in gateway.log


class Offloading:
    """A gateway that says where nginx may fetch the images itself."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = Request(scope).headers
        if given.get("x-lianren-offload") != "nginx":
            await Response("by itself", 404 if scope["path"].startswith("/archives") else 200)(
                scope, receive, send
            )
            return
        headers = {
            "X-Accel-Redirect": f"/archives{given['x-go-to']}",
            "X-Lianren-Accept": "multipart/related",
            "X-Lianren-Authorization": "Bearer of-the-archive",
        }
        await Response("instead of it", headers=headers)(scope, receive, send)


class Archive:
    """A DICOMweb archive that notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            self.asked.append((request.method, request.url.path, dict(request.headers)))
            status = 404 if "nothing" in request.url.path else 200
            await PlainTextResponse("the images", status, media_type="multipart/related")(
                scope, receive, send
            )


@contextmanager
def on_socket(app: ASGIApp, path: Path) -> Iterator[None]:
    server = uvicorn.Server(uvicorn.Config(app, uds=str(path), log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, 10)
        yield
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def offloading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, Archive]]:
    folder, archive = tmp_path_factory.mktemp("offload"), Archive()
    with (
        serve(lifespanless(archive)) as url,
        proxy(folder, archives={"pacs": f"{url}/dicom-web"}, clients={"verify": "optional"}) as running,
        on_socket(Offloading(), folder / "run/gateway.sock"),
    ):
        yield running, archive


def lifespanless(app: ASGIApp) -> ASGIApp:
    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
        else:
            await app(scope, receive, send)

    return call


def test_images_come_from_the_archive_itself_at_a_word_of_the_gateway(
    offloading: tuple[Proxy, Archive],
) -> None:
    running, archive = offloading
    mine = {
        "Authorization": "Bearer mine",
        "Cookie": "a=b",
        "Accept": "image/*",
        "X-Go-To": "/pacs/studies/1.2",
    }
    with running.client(running.mine, **mine) as client:
        answer = client.get("/dicomweb/studies/1.2")
    assert (answer.status_code, answer.text) == (200, "the images")
    assert answer.headers["content-type"].startswith("multipart/related")
    method, path, headers = archive.asked[-1]
    assert (method, path) == ("GET", "/dicom-web/studies/1.2")
    assert headers["authorization"] == "Bearer of-the-archive"
    assert headers["accept"] == "multipart/related"
    assert not headers.keys() & {"cookie", "x-client-certificate", "x-go-to"}


@pytest.mark.parametrize("archive", ["another", "pacs/nothing"])
def test_the_gateway_does_by_itself_what_nginx_cannot(
    offloading: tuple[Proxy, Archive], archive: str
) -> None:
    with offloading[0].client(offloading[0].mine, **{"X-Go-To": f"/{archive}/studies"}) as client:
        assert client.get("/dicomweb/studies/1.2").text == "by itself"


def test_nobody_gets_to_an_archive_past_the_gateway(offloading: tuple[Proxy, Archive]) -> None:
    running, archive = offloading
    before = len(archive.asked)
    with running.client(running.mine) as client:
        assert client.get("/archives/pacs/studies", headers={"X-Go-To": "/pacs/studies"}).status_code == 404
    assert len(archive.asked) == before


def test_where_certificates_are_optional_the_gateway_sees_who_has_none(
    offloading: tuple[Proxy, Archive],
) -> None:
    with offloading[0].client(None, **{"X-Go-To": "/pacs/studies"}) as client:
        assert client.get("/dicomweb/studies").status_code == 200
    with offloading[0].client(offloading[0].stranger) as client:
        assert client.get("/dicomweb/studies").status_code == 400
