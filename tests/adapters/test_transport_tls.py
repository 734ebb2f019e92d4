"""TLS with the host name verified, client certificates, and HTTP proxies, under asyncio and uvloop."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from adapters.errors import NodeError, NodeFaulty, NodeUnreachable
from adapters.http import Line
from adapters.transport import Timeouts, Tls
from tests.adapters.transport_servers import OK, Authority, Handle, answering, question, serving

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def refusal(port: int, tls: Tls, host: str = "localhost", proxy: str = "") -> NodeError:
    line = Line(f"https://{host}:{port}", tls=tls, proxy=proxy, timeout=Timeouts.within(0.5))
    with pytest.raises(NodeError) as caught:
        await line.get_json("a")
    await line.aclose()
    return caught.value


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_certificate_of_the_named_authority_is_believed(authority: Authority, host: str) -> None:
    async with serving(answering(OK), authority.server()) as server:
        line = Line(f"https://{host}:{server.port}", tls=Tls(ca_file=authority.file))
        for _ in range(3):
            assert await line.get_json("a") == b"{}"
        await line.aclose()
    assert server.connections == 1


@pytest.mark.parametrize(
    ("host", "days", "why"),
    [
        ("elsewhere.example", 1, "its certificate is for another host name"),
        ("localhost", -1, "its certificate has expired"),
    ],
)
async def test_a_certificate_that_does_not_fit_is_refused_by_name(
    authority: Authority, host: str, days: int, why: str
) -> None:
    async with serving(answering(OK), authority.server(host=host, days=days)) as server:
        error = await refusal(server.port, Tls(ca_file=authority.file))
    assert isinstance(error, NodeUnreachable)
    assert error.detail == why


async def test_a_certificate_of_nobody_known_is_refused(authority: Authority) -> None:
    async with serving(answering(OK), authority.server()) as server:
        error = await refusal(server.port, Tls())
    assert error.detail == "its certificate comes from nobody who is trusted here"


async def test_a_node_without_tls_is_unreachable_over_it() -> None:
    async with serving(answering(OK)) as server:
        assert isinstance(await refusal(server.port, Tls()), NodeUnreachable)


def asking(authority: Authority) -> ssl.SSLContext:
    """The context of a server that wants a client certificate of this authority."""
    context = authority.server()
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def shown(authority: Authority, name: str = "client") -> Tls:
    certificate, key = authority.certificate(name)
    return Tls(ca_file=authority.file, certificate_file=certificate, certificate_key_file=key)


async def test_a_client_certificate_is_shown(authority: Authority) -> None:
    async with serving(answering(OK), asking(authority)) as server:
        line = Line(f"https://localhost:{server.port}", tls=shown(authority))
        assert await line.get_json("a") == b"{}"
        await line.aclose()


async def test_a_node_that_misses_a_client_certificate_gives_no_answer(authority: Authority) -> None:
    # In TLS 1.3 a server refuses after the client's handshake is over, so it looks like any other end.
    async with serving(answering(OK), asking(authority)) as server:
        error = await refusal(server.port, Tls(ca_file=authority.file))
    assert error.detail == "closed the connection without an answer"


async def test_certificate_files_that_cannot_be_read_are_said_and_not_named(
    authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "broken.pem").write_text("broken")
    for file in (tmp_path / "none.pem", tmp_path / "broken.pem"):
        for tls in (Tls(ca_file=file), Tls(certificate_file=file)):
            error = await refusal(1, tls)
            assert "certificate files" in error.detail
            assert str(tmp_path) not in error.detail


async def test_a_key_under_a_passphrase_is_refused_and_nobody_is_asked_for_it(authority: Authority) -> None:
    certificate, key = authority.certificate("client")
    opened = serialization.load_pem_private_key(key.read_bytes(), None)
    locked = opened.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    key.write_bytes(locked)
    error = await refusal(1, Tls(certificate_file=certificate, certificate_key_file=key))
    assert "certificate files" in error.detail


async def test_a_renewed_certificate_is_taken_up_by_the_next_connection(
    authority: Authority, tmp_path: Path
) -> None:
    tls = shown(Authority(tmp_path, "another"))
    tls = Tls(
        ca_file=authority.file,
        certificate_file=tls.certificate_file,
        certificate_key_file=tls.certificate_key_file,
    )
    async with serving(answering(OK), asking(authority)) as server:
        line = Line(f"https://localhost:{server.port}", tls=tls)
        with pytest.raises(NodeFaulty):
            await line.get_json("a")
        for file in authority.certificate("client"):
            os.utime(file, ns=(1, 1))  # whatever the clock's grain, the time differs
        assert await line.get_json("a") == b"{}"
        await line.aclose()


async def test_a_large_body_over_tls_arrives_whole(authority: Authority) -> None:
    size = 5_000_000
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    async with serving(answering(answer), authority.server()) as server:
        line = Line(f"https://localhost:{server.port}", tls=Tls(ca_file=authority.file))
        for _ in range(2):
            async with line.stream("a", accept="*/*") as incoming:
                await asyncio.sleep(0.05)  # slowly
                assert sum([len(piece) async for piece in incoming]) == size
        await line.aclose()
    assert server.connections == 1


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"


async def test_an_answer_until_the_end_is_whole_where_tls_says_that_this_is_the_end(
    authority: Authority,
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await question(reader)
        writer.write(HEAD + b"[1, 2]")

    async with serving(handle, authority.server()) as server:
        line = Line(f"https://localhost:{server.port}", tls=Tls(ca_file=authority.file))
        assert await line.get_json("a") == b"[1, 2]"
        await line.aclose()


async def test_an_answer_until_the_end_is_a_fault_where_somebody_may_have_cut_tls(
    authority: Authority,
) -> None:
    context, listening = authority.server(), socket.create_server(("127.0.0.1", 0))

    def cut() -> None:
        connected, _ = listening.accept()
        with context.wrap_socket(connected, server_side=True) as secured:
            secured.recv(1000)
            secured.sendall(HEAD + b"[1, 2]")
            socket.socket(fileno=secured.detach()).close()  # without a close_notify

    with listening:
        node = asyncio.get_running_loop().run_in_executor(None, cut)
        error = await refusal(listening.getsockname()[1], Tls(ca_file=authority.file))
        await node
    assert error.detail == "broke off in the middle of its answer"


# -- proxies -----------------------------------------------------------------------------------------------


def proxying(port: int, seen: list[bytes], delay: float = 0) -> Handle:
    """A proxy that opens a tunnel to a port of loopback, whatever it is asked for. With a ``delay`` what was
    sent in several pieces arrives in one."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await question(reader))
        there, back = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while piece := await source.read(65536):
                sink.write(piece)
                await asyncio.sleep(delay)

        pumps = [asyncio.ensure_future(pump(reader, back)), asyncio.ensure_future(pump(there, writer))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in pumps:
                task.cancel()
            back.close()

    return handle


async def test_tls_goes_through_the_tunnel_of_a_proxy(authority: Authority) -> None:
    seen: list[bytes] = []
    async with (
        serving(answering(OK), authority.server()) as server,
        serving(proxying(server.port, seen)) as proxy,
    ):
        line = Line(f"https://localhost:{server.port}", tls=Tls(ca_file=authority.file), proxy=proxy.url)
        for _ in range(2):
            assert await line.get_json("a") == b"{}"
        await line.aclose()
    where = b"localhost:%d" % server.port
    assert seen == [b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (where, where)]


async def test_the_certificate_behind_a_proxy_is_verified_all_the_same(authority: Authority) -> None:
    async with (
        serving(answering(OK), authority.server(host="elsewhere.example")) as server,
        serving(proxying(server.port, [])) as proxy,
    ):
        error = await refusal(server.port, Tls(ca_file=authority.file), proxy=proxy.url)
    assert error.detail == "its certificate is for another host name"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "status 407"),
        (b"HTTP/1.1 200 OK\r\n\r\nand more", "did not open"),
        (b"SSH-2.0-x\r\n\r\n", "did not open"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 20_000, "did not open"),
        (b"", "closed"),
    ],
)
async def test_a_proxy_that_opens_no_tunnel_is_named(answer: bytes, why: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await question(reader)
        writer.write(answer)

    async with serving(handle) as proxy:
        error = await refusal(443, Tls(), proxy=proxy.url)
    assert isinstance(error, NodeUnreachable)
    assert "the proxy" in error.detail
    assert why in error.detail


async def test_a_node_that_speaks_first_behind_a_proxy_is_refused_or_taken(authority: Authority) -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await reader.read()

    context = authority.server()
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # in which the node has the last word of the handshake
    wrong: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: wrong.append(told))
    async with serving(early, context) as server, serving(proxying(server.port, [], 0.02)) as proxy:
        line = Line(f"https://localhost:{server.port}", tls=Tls(ca_file=authority.file), proxy=proxy.url)
        for _ in range(5):
            with suppress(NodeError):
                assert await line.exchange("GET", "a", budget=0.2)
        await line.aclose()
    assert not wrong


async def test_a_proxy_that_says_nothing_is_given_up() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(silent) as proxy:
        line = Line("https://localhost", proxy=proxy.url, timeout=Timeouts(connect=0.05))
        with pytest.raises(NodeUnreachable, match="no connection in time"):
            await line.get_json("a")
        await line.aclose()


async def test_without_tls_the_proxy_reads_the_whole_address() -> None:
    seen: list[bytes] = []
    async with serving(answering(OK, seen=seen)) as proxy:
        line = Line("http://node.example/fhir", proxy=proxy.url)
        await line.get_json("Patient", {"a": "b"})
        await line.get_json("")
        await line.aclose()
    assert seen[0].startswith(b"GET http://node.example/fhir/Patient?a=b HTTP/1.1\r\nHost: node.example\r\n")
    assert seen[1].startswith(b"GET http://node.example/fhir HTTP/1.1\r\n")
    assert proxy.connections == 1
