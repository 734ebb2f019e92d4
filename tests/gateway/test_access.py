"""Certificates, signatures, rates and doors: what a client must bring beside its token."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import re
import socket
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from adapters.postgres import PostgresStore
from adapters.sqlite import SqliteStore
from adapters.store import Store
from gateway.access.allowance import Allowance
from gateway.access.client_keys import AGAIN_S, FRESH_S, STALE_S, KeyAddress
from gateway.access.once import Once
from gateway.access.scopes import OF_ROLE, Scopes, needed, of_roles
from gateway.app import create_app, describe_app
from gateway.demo.peers import postgres, redis
from gateway.errors import SettingsError, TooManyRequests
from gateway.keeper import roots_of
from gateway.keyring import make_keys, open_keys
from gateway.log import Log
from gateway.settings import ClientSettings, Settings, load_settings
from gateway.wiring import open_gateway
from security.errors import TokenRefused
from security.http_signature import sign
from security.keys import Signer, to_base64url
from tests.gateway.live import CLIENTS, OWN, STRANGER, Live, body, gateway_with, settings_for, started
from tests.gateway.smart import Backend, key_set, new_key, written
from tests.peers import started as peer_started
from tests.serving import http_answer, misbehave, serve

KEY = new_key("k-1")
HEADER = "X-Client-Certificate"
NO_TOKENS = dict.fromkeys(CLIENTS, "")


# Doors


def doors() -> Iterator[tuple[str, str]]:
    """Every operation that needs a token, from the routes themselves."""
    for path, operations in describe_app().openapi()["paths"].items():
        for method, operation in operations.items():
            if "security" in operation:
                yield method.upper(), path


ASKING = ("/fhir", "/fhir/nodes/{node}", "/fhir/_page/{page}")
"""Doors that ask for themselves: for each entry of a Bundle, or whose page it is."""


@pytest.mark.parametrize(("method", "path"), sorted(doors()))
def test_every_door_asks_for_a_scope_that_some_role_has(method: str, path: str) -> None:
    word, letter = needed(method, path.replace("{type}", "Observation"))
    held = [of_roles([role]) for role in OF_ROLE]
    known = any(one.permits(word, letter) if letter else word in one.words for one in held)
    assert known or path in ASKING, (word, letter)


@pytest.mark.parametrize(
    ("method", "path", "asked"),
    [
        ("GET", "/fhir/Consent", ("Consent", "s")),
        ("POST", "/fhir/Consent/_search", ("Consent", "s")),
        ("GET", "/fhir/Consent/1", ("Consent", "r")),
        ("GET", "/fhir/Consent/1/_history/2", ("Consent", "r")),
        ("POST", "/fhir/Consent", ("Consent", "c")),
        ("PUT", "/fhir/Consent/1", ("Consent", "u")),
        ("DELETE", "/fhir/Consent/1", ("Consent", "d")),
        ("POST", "/fhir/ServiceRequest/$check-recognition", ("ServiceRequest", "s")),
        ("GET", "/fhir/ValueSet/1/$expand", ("ValueSet", "r")),
        ("POST", "/fhir", ("", "")),
        ("POST", "/fhir/nodes/cq-his", ("", "")),
        ("GET", "/fhir/_page/1.50", ("", "")),
        ("PUT", "/fhir/nodes/cq-his/Observation/1", ("Observation", "u")),
        ("GET", "/fhir/nodes/sc/sc-his/Observation/1/_history/2", ("Observation", "r")),
        ("POST", "/fhir/nodes/cq-his/Patient/_search", ("Patient", "s")),
        ("GET", "/fhir/nodes/sc/sc-his/DiagnosticReport/1/$recognition", ("DiagnosticReport", "r")),
        ("GET", "/fhir/$export", ("AuditEvent", "s")),
        ("GET", "/fhir/_export/1/2", ("AuditEvent", "s")),
        ("PUT", "/fhir/Subscription/1", ("Subscription", "u")),
        ("POST", "/cds-services/result-recognition", ("check", "")),
        ("POST", "/api/v1/checks/1/outcomes", ("check", "")),
        ("GET", "/api/v1/never-heard-of", ("operate", "")),
        ("GET", "/api/v1", ("operate", "")),
    ],
)
def test_a_request_needs_the_scope_of_its_interaction(method: str, path: str, asked: tuple[str, str]) -> None:
    assert needed(method, path) == asked


def test_scopes_are_narrowed_and_never_widened() -> None:
    held = Scopes.read(["system/Observation.rs", "system/*.r", "lianren/check"])
    asked = Scopes.read(["system/Observation.cruds", "system/Patient.rs", "lianren/check", "lianren/mark"])
    assert str(asked.within(held)) == "lianren/check system/Observation.rs system/Patient.r"
    assert str(held.within(held)) == str(held)


def test_roles_of_this_house_have_only_scopes_that_are_understood() -> None:
    assert all(str(of_roles([role])) == " ".join(sorted(held.split())) for role, held in OF_ROLE.items())


# Certificates (RFC 8705), behind a proxy over a Unix socket


def certificate(name: str) -> tuple[str, str]:
    """A client certificate as nginx passes it, and its x5t#S256."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1, now, now + timedelta(days=1))
    ).sign(key, hashes.SHA256())
    pem = made.public_bytes(serialization.Encoding.PEM).decode()
    thumb = hashlib.sha256(made.public_bytes(serialization.Encoding.DER)).digest()
    return urllib.parse.quote(pem), to_base64url(thumb)


@contextmanager
def over_socket(settings: Settings) -> Iterator[httpx.Client]:
    """A gateway on a Unix socket, and a client that speaks to it as the proxy does."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(settings.uds))
    server = uvicorn.Server(uvicorn.Config(create_app(settings, Log(io.StringIO())), log_level="critical"))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=str(settings.uds)), base_url="http://gateway"
        ) as http:
            until(lambda: server.started)
            yield http
    finally:
        server.should_exit = True
        thread.join(10)


def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for something to become so."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not become so in time"
        time.sleep(0.02)


def signing(folder: Path, name: str = "his", **more: Any) -> dict[str, Any]:
    """The settings of a client that signs assertions."""
    file = written(folder / f"{name}.json", KEY)
    return {"id": name, "institution": OWN, "roles": ["his"], "jwks_file": file} | more


MINE, THUMB = certificate("mine")
OTHERS, _ = certificate("others")


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A gateway behind a proxy: ``his`` may come with any certificate, ``held`` and ``fixed`` with one."""
    folder = tmp_path_factory.mktemp("proxied")
    fixed = {"id": "fixed", "institution": OWN, "roles": ["his"], "certificates": [THUMB]}
    fixed |= {"token_sha256": hashlib.sha256(b"a fixed token").hexdigest()}
    clients = [signing(folder), signing(folder, "held", certificates=[THUMB]), fixed]
    settings = settings_for(folder, NO_TOKENS, [], clients=clients)
    settings = settings.model_copy(
        update={"uds": folder / "gateway.sock", "client_certificate_header": HEADER}
    )
    make_keys(settings)
    with over_socket(settings) as http:
        yield http


def asked(http: httpx.Client, token: str, passed: str = "") -> int:
    """The status of a check with this token over a connection with this certificate."""
    headers = {"Authorization": f"Bearer {token}"} | ({HEADER: passed} if passed else {})
    return http.post("/api/v1/checks", headers=headers, json=body()).status_code


def token(http: httpx.Client, name: str, passed: str = "") -> httpx.Response:
    """The answer to a token request over a connection with this certificate."""
    backend = Backend(name, KEY, http)
    http.headers = httpx.Headers({HEADER: passed} if passed else {})
    try:
        return backend.ask()
    finally:
        http.headers = httpx.Headers()


def test_a_token_that_was_given_over_a_certificate_counts_with_it_alone(proxied: httpx.Client) -> None:
    given = token(proxied, "his", MINE).json()["access_token"]
    assert [asked(proxied, given, passed) for passed in (MINE, OTHERS, "")] == [200, 401, 401]


def test_a_token_that_was_given_without_one_needs_none(proxied: httpx.Client) -> None:
    given = token(proxied, "his").json()["access_token"]
    assert [asked(proxied, given, passed) for passed in ("", OTHERS)] == [200, 200]


def test_a_client_with_a_registered_certificate_gets_no_token_without_it(proxied: httpx.Client) -> None:
    assert [token(proxied, "held", passed).status_code for passed in (MINE, OTHERS, "")] == [200, 401, 401]


def test_a_fixed_token_counts_with_the_registered_certificate_alone(proxied: httpx.Client) -> None:
    assert [asked(proxied, "a fixed token", passed) for passed in (MINE, OTHERS, "")] == [200, 401, 401]


def test_a_token_ends_with_the_registration_of_its_certificate(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, NO_TOKENS, [], clients=[signing(tmp_path)]).model_copy(
        update={"uds": tmp_path / "gateway.sock", "client_certificate_header": HEADER}
    )
    make_keys(settings)
    with over_socket(settings) as http:
        given = token(http, "his", OTHERS).json()["access_token"]
        assert asked(http, given, OTHERS) == 200
    tmp_path.joinpath("gateway.sock").unlink()
    held = settings.clients[0].model_copy(update={"certificates": [THUMB]})
    with over_socket(settings.model_copy(update={"clients": [held]})) as http:
        assert [asked(http, given, passed) for passed in (OTHERS, MINE)] == [401, 401]


@pytest.mark.parametrize("passed", ["x", "%00", MINE[:-40], MINE.replace("A", "%FF")])
def test_what_is_no_certificate_lets_nobody_in(proxied: httpx.Client, passed: str) -> None:
    assert asked(proxied, "a fixed token", passed) == 401


def test_the_server_says_that_tokens_are_bound_to_certificates(proxied: httpx.Client) -> None:
    told = proxied.get("/.well-known/oauth-authorization-server").json()
    assert told["tls_client_certificate_bound_access_tokens"] is True


def test_over_tcp_the_header_is_any_header(tmp_path: Path) -> None:
    uds: dict[str, Any] = {"uds": tmp_path / "unused.sock", "client_certificate_header": HEADER}
    fixed = {"id": "fixed", "institution": OWN, "roles": ["his"], "certificates": [THUMB]}
    fixed |= {"token_sha256": hashlib.sha256(b"a fixed token").hexdigest()}
    with gateway_with(tmp_path, [], clients=[fixed], **uds) as live:
        assert asked(live.client(""), "a fixed token", MINE) == 401


# Key sets at an address


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_rotated_key_is_found_at_its_address_and_nobody_has_us_ask_without_end() -> None:
    first, second, clock = new_key("a"), new_key("b"), Clock()
    served, seen = [key_set(first)], list[str]()

    def reply(line: str, _: bytes) -> bytes:
        seen.append(line)
        return http_answer(served[0], media="application/json")

    async def run(url: str) -> None:
        client = ClientSettings(id="his", roles=["his"], jwks_url=f"{url}/keys/jwks.json?of=a/b")
        source = KeyAddress(client, Log(io.StringIO()), clock=clock)
        try:
            assert [*await source.get("a")] == [*await source.get("a")] == ["a"]
            served[0] = key_set(second)
            assert [*await source.get("b")] == ["a"]
            assert seen == ["GET /keys/jwks.json?of=a/b HTTP/1.1"]
            clock.now += AGAIN_S
            assert [*await source.get("b")] == ["b"]
            clock.now += FRESH_S - 1
            assert [*await source.get("b")] == ["b"]
            assert len(seen) == 2
            clock.now += 1
            served[0] = b"{}"
            assert [*await source.get("b")] == ["b"]
            clock.now += STALE_S
            with pytest.raises(TokenRefused):
                await source.get("b")
        finally:
            await source.aclose()

    with misbehave(reply) as url:
        asyncio.run(run(url))


def test_who_asks_for_a_key_that_is_not_there_keeps_nobody_waiting() -> None:
    served: list[bytes | None] = [http_answer(key_set(new_key("a")), media="application/json"), None]
    clock = Clock()

    async def run(url: str) -> None:
        client = ClientSettings(id="his", roles=["his"], jwks_url=f"{url}/jwks.json")
        source = KeyAddress(client, Log(io.StringIO()), clock=clock)
        try:
            await source.get("a")
            clock.now += AGAIN_S
            stranger = asyncio.create_task(source.get("x"))  # its address does not answer any more
            await asyncio.sleep(0.05)
            assert [*await asyncio.wait_for(source.get("a"), 0.5)] == ["a"]
            assert not stranger.done()
            stranger.cancel()
        finally:
            await source.aclose()

    with misbehave(lambda *_: served.pop(0)) as url:
        asyncio.run(run(url))


def test_a_client_with_its_keys_at_an_address_gets_in(tmp_path: Path) -> None:
    with misbehave(lambda *_: http_answer(key_set(KEY), media="application/json")) as url:
        client = {"id": "his", "roles": ["his"], "jwks_url": f"{url}/jwks.json"}
        with gateway_with(tmp_path, [], clients=[client]) as live:
            assert Backend("his", KEY, live.client("")).ask().status_code == 200


def test_a_key_address_that_does_not_answer_is_an_event_and_no_token(tmp_path: Path) -> None:
    client = {"id": "his", "roles": ["his"], "jwks_url": "http://127.0.0.1:9/jwks.json"}
    with gateway_with(tmp_path, [], clients=[client]) as live:
        assert Backend("his", KEY, live.client("")).ask().status_code == 401
        assert live.events("client_keys_missing")[0]["client"] == "his"


# Rates


def test_a_client_over_its_rate_is_told_when_to_come_again(tmp_path: Path) -> None:
    clients = [signing(tmp_path, requests_per_minute=5), signing(tmp_path, "other")]  # a token counts, too
    with gateway_with(tmp_path, [], clients=clients) as live:
        http = live.client("")
        headers = Backend("his", KEY, http).bearer()
        answers = [http.post("/api/v1/checks", headers=headers, json=body()) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 429]
        assert answers[-1].json()["code"] == "too-many-requests"
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 15
        fhir = http.get("/fhir/CodeSystem", headers=headers)
        assert (fhir.status_code, fhir.json()["issue"][0]["code"]) == (429, "throttled")
        assert "retry-after" in fhir.headers
        assert http.get("/health/ready", headers=headers).status_code == 200
        other = Backend("other", KEY, http).bearer()
        assert http.get("/fhir/CodeSystem", headers=other).status_code == 200


def spent(allowance: Allowance, per_minute: int, times: int) -> int:
    """How many of so many requests find room."""

    async def run() -> int:
        found = 0
        for _ in range(times):
            try:
                await allowance.spend("his", per_minute)
                found += 1
            except TooManyRequests:
                pass
        return found

    return asyncio.run(run())


def test_an_allowance_comes_back_bit_by_bit() -> None:
    clock = Clock()
    allowance = Allowance(clock=clock)
    assert spent(allowance, 60, 100) == 60
    clock.now += 10
    assert spent(allowance, 60, 100) == 10
    clock.now += 600
    assert spent(allowance, 60, 100) == 60


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running Redis."""
    with peer_started(lambda: redis(tmp_path_factory.mktemp("redis"))) as peer:
        yield peer.url


def test_replicas_share_one_count(shared: str) -> None:
    async def run() -> int:
        replicas = [Allowance(shared, timeout_seconds=5), Allowance(shared, timeout_seconds=5)]
        found = 0
        try:
            for number in range(150):
                try:
                    await replicas[number % 2].spend("shared", 100)
                    found += 1
                except TooManyRequests:
                    pass
            return found
        finally:
            for replica in replicas:
                await replica.aclose()

    assert 95 <= asyncio.run(run()) <= 100


def test_while_redis_is_away_a_process_counts_for_itself() -> None:
    failed: list[str] = []
    allowance = Allowance("redis://127.0.0.1:9", lambda operation, _: failed.append(operation))
    assert spent(allowance, 20, 30) == 20
    assert failed == ["limit"]


# Requests of other gateways


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Live, Signer]]:
    """The gateway ``cq``, whose client ``gw-sc`` must sign; and the key that ``sc`` signs with."""
    folder = tmp_path_factory.mktemp("peers")
    (folder / "sc").mkdir()
    (folder / "cq").mkdir()
    tokens = NO_TOKENS
    other = settings_for(folder / "sc", tokens, [], "sc", clients=[])
    make_keys(other)
    keys = open_keys(other)
    roots = folder / "sc-roots.json"
    roots.write_bytes(msgspec.json.encode(roots_of(keys, "sc")))
    client = {"id": "gw-sc", "roles": ["peer"], "owner": "sc"}
    client |= {"token_sha256": hashlib.sha256(b"a fixed token").hexdigest()}
    with serve(create_app(other, Log(io.StringIO()))) as url:
        pins = [{"owner": "sc", "url": url, "keys_file": roots}]
        settings = settings_for(folder / "cq", tokens, [], clients=[client], pins=pins)
        make_keys(settings)
        with started(settings, tokens) as live:
            until(lambda: not live.client("").get("/health/ready").json().get("key_lists_missing"))
            yield live, keys.signer("peer", "Ed25519")


def question() -> bytes:
    """What another gateway asks."""
    now = datetime.now(UTC)
    asked = {"id": uuid.uuid4().hex, "person": {"type": "resident-id", "value": STRANGER}, "kinds": ["lab"]}
    asked |= {"since": (now - timedelta(days=90)).isoformat(), "at": now.isoformat(), "receiver": "EX-SC-01"}
    return json.dumps(asked | {"budget_ms": 1000, "hops": 0, "purpose": "TREAT", "salt": "00" * 16}).encode()


def send(
    live: Live, content: bytes, headers: dict[str, str], path: str = "/api/v1/results"
) -> httpx.Response:
    """A request with the fixed token of ``gw-sc``."""
    sent = {"Authorization": "Bearer a fixed token", "Content-Type": "application/json"} | headers
    return live.client("").post(path, content=content, headers=sent)


def signed(live: Live, content: bytes, signer: Signer, **changed: Any) -> dict[str, str]:
    """The headers that sign a question to this gateway."""
    url = changed.get("url", f"{live.settings.base_url}/api/v1/results")
    return sign(changed.get("method", "POST"), url, content, signer, changed.get("now", datetime.now(UTC)))


def test_a_signed_request_of_a_gateway_is_answered(peers: tuple[Live, Signer]) -> None:
    live, signer = peers
    content = question()
    answer = send(live, content, signed(live, content, signer))
    assert answer.status_code == 200, answer.text


def test_a_token_of_a_gateway_alone_is_not_enough(peers: tuple[Live, Signer]) -> None:
    assert send(peers[0], question(), {}).status_code == 401


def test_a_signed_request_counts_once(peers: tuple[Live, Signer]) -> None:
    live, signer = peers
    content = question()
    headers = signed(live, content, signer)
    assert [send(live, content, headers).status_code for _ in range(2)] == [200, 401]
    assert "nonce" in live.events("request_refused")[-1]["reason"]


def test_a_signature_is_of_one_body_one_address_and_one_time(peers: tuple[Live, Signer]) -> None:
    live, signer = peers
    content = question()
    others = [
        send(live, content + b" ", signed(live, content, signer)),
        send(live, content, signed(live, content, signer, method="PUT")),
        send(live, content, signed(live, content, signer, url="https://another.example/api/v1/results")),
        send(live, content, signed(live, content, signer, now=datetime.now(UTC) - timedelta(minutes=3))),
        send(live, content, signed(live, content, signer), "/api/v1/results?more"),
    ]
    assert [answer.status_code for answer in others] == [401] * 5


def test_a_key_of_another_gateway_signs_nothing_here(peers: tuple[Live, Signer]) -> None:
    live, _ = peers
    content = question()
    own = open_keys(live.settings).signer("peer", "Ed25519")
    assert send(live, content, signed(live, content, own)).status_code == 401


def test_a_made_up_id_of_a_key_does_not_come_into_the_log(peers: tuple[Live, Signer]) -> None:
    live, signer = peers
    headers = signed(live, question(), signer)
    headers["Signature-Input"] = headers["Signature-Input"].replace(signer.kid, STRANGER)
    assert send(live, question(), headers).status_code == 401
    assert "sc does not list" in live.events("request_refused")[-1]["reason"]
    assert STRANGER not in live.log.getvalue()


def test_a_key_for_something_else_signs_no_request(peers: tuple[Live, Signer], tmp_path: Path) -> None:
    live, signer = peers
    content = question()
    mark = open_keys(
        live.settings.model_copy(
            update={
                "data_dir": live.settings.data_dir.parents[1] / "sc/data",
                "key_passphrase_file": live.settings.data_dir.parents[1] / "sc/passphrase",
            }
        )
    ).signer("mark", "Ed25519")
    assert mark.public.owner == signer.public.owner
    assert send(live, content, signed(live, content, mark)).status_code == 401


# Settings


@pytest.mark.parametrize(
    ("client", "named"),
    [
        ({"scopes": ["patient/*.rs"]}, "patient/*.rs"),
        ({"jwks_file": "missing.json"}, "missing.json"),
        ({"jwks_file": __file__}, "jwks"),
    ],
)
def test_a_client_that_cannot_work_stops_the_start(
    tmp_path: Path, client: dict[str, Any], named: str
) -> None:
    settings = settings_for(tmp_path, NO_TOKENS, [], clients=[signing(tmp_path) | client])
    make_keys(settings)

    async def open_and_close() -> None:
        async with open_gateway(settings, Log(io.StringIO())):
            pass

    with pytest.raises(SettingsError, match=re.escape(named)):
        asyncio.run(open_and_close())


# What counts once


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running PostgreSQL."""
    with peer_started(lambda: postgres(tmp_path_factory.mktemp("postgres"))) as peer:
        yield peer.url


@pytest.fixture(params=["sqlite", "postgres"])
def replicas(request: pytest.FixtureRequest, tmp_path: Path) -> list[Store]:
    """Two stores on one PostgreSQL, or the one that there is of SQLite."""
    if request.param == "sqlite":
        return [SqliteStore(tmp_path / "store.db")]
    address = request.getfixturevalue("database")
    return [PostgresStore(address), PostgresStore(address)]


def test_of_replicas_that_see_one_id_at_once_one_alone_takes_it(replicas: list[Store]) -> None:
    async def run() -> None:
        now = datetime.now(UTC)
        for store in replicas:
            await store.open()
        try:
            onces = [Once(store) for store in replicas]
            for number in range(5):
                tries = [onces[i % len(onces)].first("his", f"{number}", now) for i in range(8)]
                assert sum(await asyncio.gather(*tries)) == 1
            assert await onces[0].first("other", "0", now)
            assert await onces[-1].prune(now) == 0
            assert await onces[-1].prune(now + timedelta(seconds=1)) == 6
            assert await onces[0].first("his", "0", now)
        finally:
            for store in replicas:
                await store.close()

    asyncio.run(run())


SCOPE = st.builds(
    lambda type_, letters: f"system/{type_}.{''.join(letters)}",
    st.sampled_from(["*", "Consent", "Observation", "Patient"]),
    st.sets(st.sampled_from("cruds"), min_size=1).map(lambda found: [x for x in "cruds" if x in found]),
)
SCOPES = st.lists(SCOPE | st.sampled_from(["lianren/check", "lianren/mark"]), max_size=4).map(Scopes.read)


@given(
    SCOPES, SCOPES, st.sampled_from(["Consent", "Observation", "Patient", "Basic"]), st.sampled_from("cruds")
)
def test_what_is_given_is_what_was_asked_for_and_held(
    asked: Scopes, held: Scopes, type_: str, letter: str
) -> None:
    given_ = asked.within(held)
    assert given_.permits(type_, letter) == (asked.permits(type_, letter) and held.permits(type_, letter))
    assert given_.words == asked.words & held.words
    assert Scopes.read(str(given_).split()) == given_


CLIENT = 'id = "his"\nroles = ["his"]\n'
PEER = f'id = "gw"\nroles = ["peer"]\ntoken_sha256 = "{"0" * 64}"\n'


@pytest.mark.parametrize(
    ("top", "client", "named"),
    [
        ("", CLIENT, "clients.0: needs jwks_file, jwks_url or token_sha256"),
        ("", CLIENT + 'jwks_url = "http://his.example/jwks"', "clients.0.jwks_url: must be https"),
        ("", CLIENT + 'jwks_url = "https://his.example/jwks"\njwks_file = "a"', "name one of them"),
        ("", CLIENT + 'jwks_file = "a"\npurposes = []', "clients.0.purposes"),
        ("", CLIENT + 'jwks_file = "a"\npurposes = ["FUN"]', "clients.0.purposes.0"),
        ("", CLIENT + 'jwks_file = "a"\nowner = "sc"', "clients.0.owner"),
        ("", PEER, "clients.0.owner"),
        ("", PEER + 'owner = "cq"', "clients.0.owner"),
        ("", PEER.replace("]", ', "his"]') + 'owner = "sc"', "clients.0.owner"),
        ("", CLIENT + f'jwks_file = "a"\ncertificates = ["{THUMB}"]', "client_certificate_header"),
        ('client_certificate_header = "X"\n', CLIENT + 'jwks_file = "a"', "needs uds"),
        (
            'uds = "s"\nclient_certificate_header = "X"\n',
            CLIENT + 'jwks_file = "a"\ncertificates = ["AB:CD"]',
            "43 characters",
        ),
    ],
)
def test_settings_that_would_let_the_wrong_one_in_are_refused(
    tmp_path: Path, top: str, client: str, named: str
) -> None:
    file = tmp_path / "lianren.toml"
    general = (
        'name = "示例"\nowner = "cq"\nregion = "500000"\nbase_url = "http://127.0.0.1"\ndata_dir = "data"\n'
    )
    file.write_text(f"{general}{top}[[clients]]\n{client}\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=re.escape(named)):
        load_settings(file)
