"""Local servers for the tests: an ASGI application under uvicorn, and a node that misbehaves on the wire."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn

Reply = bytes | Iterable[bytes] | None
"""The bytes to send before closing the connection; None keeps the caller waiting."""


def plain(app: Any, host: str, port: int) -> uvicorn.Config:
    """uvicorn as it is; a gateway's own way is :func:`gateway.serving.config_of`."""
    return uvicorn.Config(app, host=host, port=port, log_level="critical", lifespan="on")


@contextmanager
def serve(
    app: Any, port: int = 0, config: Callable[[Any, str, int], uvicorn.Config] = plain
) -> Iterator[str]:
    """Serve an ASGI application on a port of loopback (a free one), and give its base URL."""
    server = uvicorn.Server(config(app, "127.0.0.1", port))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        end = time.monotonic() + 10
        while not server.started:
            assert thread.is_alive(), "the application did not start"
            assert time.monotonic() < end, "the application did not start in time"
            time.sleep(0.005)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


@contextmanager
def misbehave(reply: Callable[[str, bytes], Reply]) -> Iterator[str]:
    """Answer each request (its first line, its body) with raw bytes, and give the base URL."""
    over = threading.Event()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                first = self.rfile.readline().decode("latin-1").strip()
                length = 0
                while (line := self.rfile.readline().strip()) != b"":
                    name, _, value = line.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                answer = reply(first, self.rfile.read(length))
                if answer is None:
                    over.wait(10)
                    return
                for piece in [answer] if isinstance(answer, bytes) else answer:
                    if over.is_set():
                        return
                    self.wfile.write(piece)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            over.set()
            server.shutdown()


def noting(seen: list[str], answer: bytes) -> Callable[[str, bytes], Reply]:
    """Answer every request alike, and note its first line."""

    def reply(first: str, _: bytes) -> Reply:
        seen.append(first)
        return answer

    return reply


def http_answer(
    body: bytes,
    status: str = "200 OK",
    media: str = "application/fhir+json",
    length: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """The bytes of one HTTP answer that ends with its connection."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {media}\r\nConnection: close\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body
