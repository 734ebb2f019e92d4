"""The JWT of a CDS client (CDS Hooks 2.0, Trusting CDS Clients): for one call of one service, once."""

from __future__ import annotations

import asyncio
import io
import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from gateway.access.client_keys import FRESH_S, KeyAddress
from gateway.errors import SettingsError
from gateway.log import Log
from gateway.settings import ClientSettings, load_settings
from tests.contract.calls import hook
from tests.gateway.live import OWN, Live, body, gateway_with, started
from tests.gateway.smart import Backend, algorithm_of, new_key, written
from tests.gateway.test_settings import written as settings_written
from tests.serving import http_answer, misbehave

SERVICE = "/cds-services/result-recognition"
BASE = "http://127.0.0.1"
EC, RSA, FOREIGN = new_key("ec-1"), new_key("rsa-1", rsa=True), new_key("ec-1")
ISSUER = "https://his.example/cds"


def settings(folder: Path, name: str, key: Any, **more: Any) -> dict[str, Any]:
    file = written(folder / f"{name}.json", key)
    right = {"id": name, "institution": OWN, "roles": ["his"], "jwks_file": file, "cds_issuer": ISSUER}
    return right | {"requests_per_minute": 100_000} | more


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway without nodes that knows two CDS clients, and one that is none."""
    folder = tmp_path_factory.mktemp("hooks")
    clients = [
        settings(folder, "ec", EC),
        settings(folder, "rsa", RSA, cds_issuer="https://other.example", scopes=["lianren/mark"]),
        settings(folder, "backend", new_key("b-1"), cds_issuer=""),
    ]
    with gateway_with(folder, [], clients=clients) as found:
        yield found


def signed(
    path: str = SERVICE,
    *,
    key: ECKey | RSAKey = EC,
    header: dict[str, Any] | None = None,
    **changed: Any,
) -> str:
    """A JWT for a call of ``path``; a claim of None is left out."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": f"{BASE}{path}",
        "iat": now,
        "exp": now + 240,
        "jti": uuid.uuid4().hex,
        "tenant": "示例",
    } | changed
    algorithm = algorithm_of(key)
    told = {"alg": algorithm, "kid": key.kid, "typ": "JWT"} | (header or {})
    right = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(told, right, key, [algorithm])


def call(live: Live, token: str, path: str = SERVICE) -> httpx.Response:
    sent = {"feedback": []} if path.endswith("/feedback") else hook()
    return live.client("").post(path, headers={"Authorization": f"Bearer {token}"}, json=sent)


def test_a_cds_client_is_known_by_the_jwt_of_its_call(live: Live) -> None:
    assert call(live, signed()).status_code == 200


def test_an_audience_may_be_a_list_of_one(live: Live) -> None:
    assert call(live, signed(aud=[f"{BASE}{SERVICE}"])).status_code == 200


@pytest.mark.parametrize("audience", [SERVICE, f"{SERVICE}/feedback"])
def test_feedback_is_sent_with_a_jwt_for_the_service_or_for_its_feedback(live: Live, audience: str) -> None:
    assert call(live, signed(audience), f"{SERVICE}/feedback").status_code == 200


def test_a_client_signs_by_rsa_as_well_and_its_scopes_count(live: Live) -> None:
    answer = call(live, signed(key=RSA, iss="https://other.example"))
    assert (answer.status_code, answer.json()["code"]) == (403, "not-permitted")


REFUSED: dict[str, Callable[[], str]] = {
    "another service": lambda: signed("/cds-services/result-history"),
    "another gateway": lambda: signed(aud=f"https://another.example{SERVICE}"),
    "two audiences": lambda: signed(aud=[f"{BASE}{SERVICE}", f"https://another.example{SERVICE}"]),
    "no audience": lambda: signed(aud=None),
    "unknown issuer": lambda: signed(iss="https://nobody.example"),
    "the id of the client for its issuer": lambda: signed(iss="ec"),
    "the issuer of another client": lambda: signed(key=RSA),
    "no issuer": lambda: signed(iss=None),
    "an issuer that is no text": lambda: signed(iss=[ISSUER]),
    "a client that is no CDS client": lambda: signed(iss=""),
    "a foreign key": lambda: signed(key=FOREIGN),
    "an unknown key id": lambda: signed(header={"kid": "ec-2"}),
    "a key that comes along": lambda: signed(key=FOREIGN, header={"jwk": FOREIGN.as_dict(private=False)}),
    "a jku that is not registered": lambda: signed(header={"jku": "https://his.example/jwks"}),
    "no type": lambda: signed(header={"typ": "at"}),
    "expired": lambda: signed(exp=int(time.time()) - 31),
    "too long a life": lambda: signed(exp=int(time.time()) + 3600),
    "no end": lambda: signed(exp=None),
    "no time of issue": lambda: signed(iat=None),
    "issued ahead": lambda: signed(iat=int(time.time()) + 600),
    "no jti": lambda: signed(jti=None),
    "an assertion for the token endpoint": lambda: signed(iss="ec", sub="ec", aud=f"{BASE}/oauth/token"),
    "tampered": lambda: f"{signed()[:-4]}AAAA",
    "no JWT": lambda: "a.b.c",
}


@pytest.mark.parametrize("name", REFUSED)
def test_nothing_is_told_to_a_jwt_that_is_for(live: Live, name: str) -> None:
    before = live.kept()
    answer = call(live, REFUSED[name]())
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert live.kept() == before


def test_a_jwt_counts_once(live: Live) -> None:
    token = signed()
    assert [call(live, token).status_code for _ in range(2)] == [200, 401]


@pytest.mark.slow
def test_a_jwt_that_counted_once_does_not_count_after_a_restart(tmp_path: Path) -> None:
    token = signed()
    with gateway_with(tmp_path, [], clients=[settings(tmp_path, "ec", EC)]) as first:
        assert call(first, token).status_code == 200
        again = first.settings
    with started(again, {}) as second:
        assert call(second, token).status_code == 401


def test_the_jwt_of_a_call_opens_no_other_door(live: Live) -> None:
    headers = {"Authorization": f"Bearer {signed('/api/v1/checks')}"}
    assert live.client("").post("/api/v1/checks", headers=headers, json=body()).status_code == 401


def test_a_token_of_the_gateway_opens_the_services_as_before(live: Live) -> None:
    backend = Backend("ec", EC, live.client(""))
    assert call(live, backend.token()).status_code == 200


def test_why_a_jwt_is_refused_stands_in_the_log_alone(tmp_path: Path) -> None:
    told = set()
    with gateway_with(tmp_path, [], refusals="terse", clients=[settings(tmp_path, "ec", EC)]) as terse:
        for name in ("another service", "unknown issuer", "expired", "a foreign key"):
            told.add(call(terse, REFUSED[name]()).json()["detail"])
        reasons = {event["reason"] for event in terse.events("request_refused")}
    assert (len(told), len(reasons)) == (1, 4)
    assert not any(ISSUER in reason or "another.example" in reason for reason in reasons)


def test_an_address_of_keys_counts_where_it_is_registered_and_is_fetched_from_there_alone(
    tmp_path: Path,
) -> None:
    seen: list[str] = []

    def noted(first: str, _: bytes) -> bytes:
        seen.append(first)
        return b""

    with misbehave(noted) as elsewhere, keys_at(EC) as url:
        known = settings(tmp_path, "ec", EC) | {"jwks_file": None, "jwks_url": f"{url}/jwks"}
        with gateway_with(tmp_path, [], clients=[known]) as live:
            statuses = [
                call(live, signed(header={"jku": jku})).status_code
                for jku in (f"{url}/jwks", f"{elsewhere}/jwks")
            ]
    assert (statuses, seen) == ([200, 401], [])


def keys_at(key: Any) -> Any:
    """A server with the key set of a client."""
    raw = json.dumps({"keys": [{**key.as_dict(private=False), "use": "sig"}]}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    return misbehave(lambda first, _: head.encode() + raw)


def test_a_jwt_over_the_rate_of_its_client_is_not_remembered(tmp_path: Path) -> None:
    client = settings(tmp_path, "ec", EC, requests_per_minute=1)
    with gateway_with(tmp_path, [], clients=[client]) as live:
        assert call(live, signed()).status_code == 200
        before = live.kept()
        assert call(live, signed()).status_code == 429
        assert live.kept() == before


def test_a_jwt_that_comes_without_its_certificate_is_not_used_up(tmp_path: Path) -> None:
    """Who stole one must not be able to spend it."""
    client = settings(tmp_path, "ec", EC, certificates=["x" * 43])
    with gateway_with(tmp_path, [], clients=[client]) as live:
        before = live.kept()
        assert call(live, signed()).status_code == 401
        assert live.kept() == before


def test_where_nobody_can_tell_whether_a_jwt_came_before_a_page_can_read_that(tmp_path: Path) -> None:
    page = "https://his.example"
    clients = [settings(tmp_path, "ec", EC)]
    with gateway_with(tmp_path, [], clients=clients, cds_origins=[page]) as live:
        headers = {"Authorization": f"Bearer {signed()}", "Origin": page}
        with closing(sqlite3.connect(live.store, isolation_level=None)) as connection:
            connection.execute("ALTER TABLE document RENAME TO mislaid")
            answer = live.client("").post(SERVICE, headers=headers, json=hook())
            connection.execute("ALTER TABLE mislaid RENAME TO document")
    assert (answer.status_code, answer.json()["code"]) == (503, "store-unavailable")
    assert answer.headers["access-control-allow-origin"] == page


def test_keys_that_are_known_keep_no_call_waiting_for_their_address() -> None:
    raw = json.dumps({"keys": [{**EC.as_dict(private=False), "use": "sig"}]}).encode()
    served: list[bytes | None] = [http_answer(raw, media="application/json"), None]
    now = [1000.0]

    async def run(url: str) -> float:
        client = ClientSettings(id="his", roles=["his"], jwks_url=f"{url}/jwks")
        source = KeyAddress(client, Log(io.StringIO()), clock=lambda: now[0])
        try:
            await source.get("ec-1")
            now[0] += FRESH_S
            began = time.monotonic()
            assert [*await source.get("ec-1")] == ["ec-1"]  # its address does not answer any more
            return time.monotonic() - began
        finally:
            await source.aclose()

    with misbehave(lambda *_: served.pop(0)) as url:
        assert asyncio.run(run(url)) < 0.3


def test_an_issuer_needs_keys_to_verify_by(tmp_path: Path) -> None:
    client = {"id": '"his"', "roles": '["his"]', "token_sha256": f'"{"0" * 64}"', "cds_issuer": '"x"'}
    with pytest.raises(SettingsError, match=r"clients\.0\.cds_issuer: needs jwks_file or jwks_url"):
        load_settings(settings_written(tmp_path, clients=client))
