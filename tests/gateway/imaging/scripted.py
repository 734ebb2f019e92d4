"""Archives that answer what a test says, byte by byte, and a gateway over two of them.

Every study is one of :data:`PERSON`'s, and each archive says to hold what ``held`` has of it.
"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import orjson

from gateway.app import create_app
from gateway.demo.people import BY_KEY
from gateway.demo.processes import free_port
from gateway.keyring import make_keys
from gateway.log import Log
from gateway.serving import config_of
from tests.gateway.live import CLIENTS, NODE, OWN, settings_for, source_of
from tests.serving import serve

PERSON = BY_KEY["ding"]
EDGE = "archive-edge"
JSON = "application/dicom+json"

Pieces = Iterable[bytes]
Script = Callable[[dict[str, str]], Pieces]
"""The raw bytes of an answer, to a request with these headers."""


def answer(body: bytes, media: str, *further: str, status: str = "200 OK", length: bool = True) -> Script:
    """An answer; without a length it ends with its connection."""
    lines = [f"HTTP/1.1 {status}", *([f"Content-Type: {media}"] if media else []), *further]
    lines += [f"Content-Length: {len(body)}"] if length else ["Connection: close"]
    return lambda _: ["\r\n".join((*lines, "", "")).encode() + body]


def refused(status: str) -> Script:
    """A refusal with a page that is not for callers to see."""
    return answer(b"http://archive.internal/secret", "text/plain", status=status)


def multipart(*parts: bytes, media: str = "application/dicom", headers: str = "") -> bytes:
    """The body of a multipart answer."""
    head = f"--{EDGE}\r\nContent-Type: {media}\r\n{headers}\r\n".encode()
    return b"".join(head + part + b"\r\n" for part in parts) + f"--{EDGE}--\r\n".encode()


def related(media: str = "application/dicom") -> str:
    """The Content-Type of it."""
    return f'multipart/related; type="{media}"; boundary={EDGE}'


def accepting(answers: dict[str, Script], other: str = "400 Bad Request") -> Script:
    """An archive that takes these values of Accept alone."""
    return lambda headers: answers.get(headers["accept"], refused(other))(headers)


@dataclass
class Archive:
    """One archive: ``scripts`` by address below its root, ``held`` instances by study, studies that it has
    of ``another`` patient, too, and what it was asked. ``sent`` counts bytes of bodies, ``left`` is set when
    somebody hangs up on one.
    """

    url: str = ""
    scripts: dict[str, Script] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    another: set[str] = field(default_factory=set)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sent: int = 0
    left: threading.Event = field(default_factory=threading.Event)

    def answer(self, target: str, headers: dict[str, str]) -> Pieces:
        """To one request."""
        address = urlsplit(target)
        path = address.path.removeprefix("/dicom-web/")
        if path == "studies":
            query = parse_qs(address.query)
            wanted = query.get("StudyInstanceUID", list(self.held))
            found = [_listed(uid, count) for uid, count in self.held.items() if uid in wanted]
            if "PatientID" not in query:
                found += [_listed(uid, 1, "ANOTHER") for uid in self.another.intersection(wanted)]
            return answer(orjson.dumps(found), JSON)(headers)
        self.asked.append((target.removeprefix("/dicom-web/"), headers))
        return self.scripts.get(path, refused("404 Not Found"))(headers)


def _listed(uid: str, count: int, number: str = PERSON.mrns[OWN]) -> dict[str, Any]:
    told = {"00100020": number, "0020000D": uid, "00080020": "20260901", "00201208": count}
    return {tag: {"vr": "LO", "Value": [value]} for tag, value in told.items()}


@contextmanager
def archive() -> Iterator[Archive]:
    """One that is served."""
    here = Archive()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while line := self.rfile.readline().decode("latin-1").split():
                headers = {}
                while (field_ := self.rfile.readline().decode("latin-1").strip()) != "":
                    name, _, value = field_.partition(":")
                    headers[name.lower()] = value.strip()
                try:
                    for piece in here.answer(line[1], headers):
                        self.wfile.write(piece)
                        here.sent += len(piece)
                        if b"Connection: close" in piece[:500]:
                            self.close_connection = True
                except OSError:
                    here.left.set()
                    return
                if getattr(self, "close_connection", False):
                    return

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 64
        allow_reuse_address = True

        def handle_error(self, *_: object) -> None:
            here.left.set()

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        here.url = f"http://127.0.0.1:{server.server_address[1]}/dicom-web"
        yield here
        server.shutdown()


@dataclass
class Network:
    """A gateway over the archives ``first`` and ``second``, and how it is asked by the token of a viewing."""

    url: str
    first: Archive
    second: Archive
    client: httpx.Client
    metrics: Callable[[], str]

    def get(self, path: str, accept: str = "", **headers: str) -> httpx.Response:
        """An answer to a request below ``/dicomweb``."""
        wanted = {"Accept": accept} if accept else {}
        return self.client.get(f"/dicomweb/{path}", headers={**wanted, **headers})


@contextmanager
def network(folder: Path, **more: Any) -> Iterator[Network]:
    """Everything, as in production: :mod:`gateway.serving` too."""
    with ExitStack() as stack:
        first, second = (stack.enter_context(archive()) for _ in range(2))
        url, _ = stack.enter_context(source_of(folder))
        nodes = [{"id": NODE, "kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 7000}]
        for name, one in (("first", first), ("second", second)):
            node = {"id": name, "kind": "dicomweb", "url": one.url, "identity": NODE, "institution": OWN}
            nodes.append({**node, "timeout_ms": 7000, "between_bytes_ms": 3000})
        tokens = {name: f"token-of-{name}" for name in CLIENTS}
        base = f"http://127.0.0.1:{free_port()}"
        settings = settings_for(folder, tokens, nodes, base_url=base, **more)
        make_keys(settings)
        log = Log(stack.enter_context((folder / "log").open("w")))
        stack.enter_context(serve(create_app(settings, log), urlsplit(base).port or 0, config_of))
        client = stack.enter_context(httpx.Client(base_url=base, timeout=30, trust_env=False))
        opened = client.post(
            "/api/v1/viewings",
            json={"patient": {"type": "resident-id", "value": PERSON.number}},
            headers={"Authorization": f"Bearer {tokens['his']}"},
        )
        assert opened.is_success, opened.text
        client.headers["Authorization"] = f"Bearer {opened.json()['token']}"
        yield Network(base, first, second, client, lambda: client.get("/metrics").text)
