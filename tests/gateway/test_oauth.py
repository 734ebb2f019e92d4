"""The token endpoint: a SMART backend client gets in, and nothing that only looks like one."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from joserfc import jws
from joserfc.jwk import ECKey

from gateway.keyring import open_keys, rotate
from security.jwt import sign_token
from security.keys import to_base64url
from tests.gateway.live import OWN, Live, body, gateway_with, settings_for, started
from tests.gateway.smart import ASSERTION, Backend, new_key, written
from tests.gateway.test_access import until
from tests.serving import misbehave

CASES = Path(__file__).resolve().parents[3] / "shared/conformance/badinput/shared/jwt-cases.json"
EC, RSA, FOREIGN = new_key("ec-1"), new_key("rsa-1", rsa=True), new_key("ec-1")
EVERY = "lianren/check lianren/mark system/CodeSystem.rs system/Consent.cr system/Observation.rs"


def client(folder: Path, name: str, key: Any, **more: Any) -> dict[str, Any]:
    """The settings of a client with this key."""
    file = written(folder / f"{name}.json", key)
    right = {"id": name, "institution": OWN, "roles": ["his"], "jwks_file": file}
    return right | {"scopes": EVERY.split(), "requests_per_minute": 100_000} | more


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway without nodes that knows two backend clients."""
    folder = tmp_path_factory.mktemp("oauth")
    clients = [client(folder, "ec", EC), client(folder, "rsa", RSA), client(folder, "other", new_key("o-1"))]
    with gateway_with(folder, [], clients=clients) as found:
        yield found


@pytest.fixture
def backend(live: Live) -> Backend:
    """The client with the elliptic curve key."""
    return Backend("ec", EC, live.client(""))


def test_a_backend_service_finds_its_way_by_discovery_alone(live: Live) -> None:
    for name, key in (("ec", EC), ("rsa", RSA)):
        backend = Backend(name, key, live.client(""))
        answer = backend.ask(scope="lianren/check")
        assert answer.status_code == 200, answer.text
        assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
        given = answer.json()
        assert (given["token_type"], given["expires_in"], given["scope"]) == ("Bearer", 300, "lianren/check")
        headers = {"Authorization": f"Bearer {given['access_token']}"}
        assert backend.http.post("/api/v1/checks", headers=headers, json=body()).status_code == 200


def test_discovery_says_what_smart_asks_for(live: Live) -> None:
    told = live.client("").get("/fhir/.well-known/smart-configuration").json()
    assert {"RS384", "ES384"} <= set(told["token_endpoint_auth_signing_alg_values_supported"])
    assert told["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]
    assert {"client-confidential-asymmetric", "permission-v2"} <= set(told["capabilities"])
    server = live.client("").get("/.well-known/oauth-authorization-server").json()
    assert server["issuer"] == live.settings.base_url
    assert server.items() <= told.items()


def test_anybody_can_verify_an_access_token_by_the_published_keys(live: Live, backend: Backend) -> None:
    from joserfc import jwt
    from joserfc.jwk import KeySet

    keys = KeySet.import_key_set(live.client("").get("/oauth/jwks").json())
    token = jwt.decode(backend.token(), keys, algorithms=["Ed25519"])
    assert token.header["typ"] == "at+jwt"
    assert (token.claims["client_id"], token.claims["aud"]) == ("ec", live.settings.base_url)
    iua = token.claims["extensions"]["ihe_iua"]
    assert [purpose["code"] for purpose in iua["purpose_of_use"]] == ["TREAT", "ETREAT"]
    assert iua["subject_organization_id"] == f"urn:lianren:institution:{OWN}"


# The cases of the shared material: name → what is sent, and what must come of it.

Case = Callable[[Backend], httpx.Response]


def resigned(
    backend: Backend,
    header: dict[str, Any] | None = None,
    raw: bytes | None = None,
    key: Any = None,
    **claims: Any,
) -> str:
    """An assertion with any header and payload, under a right ES384 signature."""
    head = {"alg": "ES384", "kid": backend.key.kid, "typ": "JWT"} | (header or {})
    payload = raw if raw is not None else json.dumps(backend.claims(**claims)).encode()
    signing = f"{to_base64url(json.dumps(head).encode())}.{to_base64url(payload)}"
    signature = jws.JWSRegistry.algorithms["ES384"].sign(signing.encode(), key or backend.key)
    return f"{signing}.{to_base64url(signature)}"


def unsigned(backend: Backend, alg: str) -> str:
    parts = ({"alg": alg, "kid": backend.key.kid}, backend.claims())
    return ".".join(to_base64url(json.dumps(part).encode()) for part in parts) + "."


def by_public_key(backend: Backend) -> httpx.Response:
    secrets = (backend.key.as_pem(private=False), json.dumps(backend.key.as_dict(private=False)).encode())
    for secret in secrets:
        signing = unsigned(backend, "HS256")[:-1]
        mac = to_base64url(hmac.digest(secret, signing.encode(), "sha256"))
        answer = backend.ask(f"{signing}.{mac}")
        if answer.status_code == 200:
            break
    return answer


def other_signature(backend: Backend, change: Callable[[bytes], bytes]) -> httpx.Response:
    signing, _, signature = backend.assertion().rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    return backend.ask(f"{signing}.{to_base64url(change(raw))}")


def twice(backend: Backend) -> httpx.Response:
    past, future = int(time.time()) - 999, int(time.time()) + 240
    rest = json.dumps(backend.claims(exp=None))[1:]
    for first, last in ((future, past), (past, future)):
        raw = f'{{"exp":{first},{rest[:-1]},"exp":{last}}}'.encode()
        answer = backend.ask(resigned(backend, raw=raw))
        if answer.status_code == 200:
            break
    return answer


def replayed(backend: Backend) -> httpx.Response:
    assertion = backend.assertion()
    assert backend.ask(assertion).status_code == 200
    return backend.ask(assertion)


def respelled(backend: Backend) -> httpx.Response:
    """The last character of the payload changed in bits that belong to no byte."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    raw = json.dumps(backend.claims()).encode()
    head, payload, signature = resigned(backend, raw=raw + b" " * ((1 - len(raw)) % 3)).split(".")
    other = payload[:-1] + letters[letters.index(payload[-1]) ^ 1]
    return backend.ask(f"{head}.{other}.{signature}")


def infinite(backend: Backend) -> httpx.Response:
    rest = json.dumps(backend.claims(exp=None))[1:]
    return backend.ask(resigned(backend, raw=f'{{"exp":1e400,{rest}'.encode()))


def rotated(backend: Backend) -> httpx.Response:
    return Backend("ec", new_key("ec-0"), backend.http, backend.endpoint).ask()


def in_future(**claims: int) -> Case:
    def ask(backend: Backend) -> httpx.Response:
        moved: dict[str, Any] = {name: int(time.time()) + seconds for name, seconds in claims.items()}
        return backend.ask(backend.assertion(**moved))

    return ask


REFUSED: dict[str, Case] = {
    "alg-none": lambda b: b.ask(unsigned(b, "none")),
    "alg-None-case": lambda b: b.ask(unsigned(b, "nOnE")),
    "alg-hs256-with-public-key": by_public_key,
    "alg-mismatch": lambda b: b.ask(resigned(b, {"alg": "RS256"})),
    "es256-zero-signature": lambda b: other_signature(b, lambda raw: bytes(len(raw))),
    "es256-der-signature": lambda b: other_signature(
        b, lambda raw: encode_dss_signature(int.from_bytes(raw[:48]), int.from_bytes(raw[48:]))
    ),
    "embedded-jwk": lambda b: b.ask(resigned(b, {"jwk": FOREIGN.as_dict(private=False)}, key=FOREIGN)),
    "embedded-x5c": lambda b: b.ask(resigned(b, {"x5c": ["MIIB"]}, key=FOREIGN)),
    "kid-traversal": lambda b: b.ask(resigned(b, {"kid": "../../../../dev/null"})),
    "kid-sql": lambda b: b.ask(resigned(b, {"kid": "' OR 1=1--"})),
    "unknown-kid": lambda b: b.ask(resigned(b, {"kid": "ec-9"})),
    "crit-unknown": lambda b: b.ask(resigned(b, {"crit": ["x"], "x": 1})),
    "b64-false": lambda b: b.ask(resigned(b, {"b64": False, "crit": ["b64"]})),
    "expired": in_future(exp=-31),
    "exp-too-far": in_future(exp=340),
    "no-exp": lambda b: b.ask(b.assertion(exp=None)),
    "nbf-future": in_future(nbf=600),
    "iat-future": in_future(iat=600),
    "wrong-aud": lambda b: b.ask(b.assertion(aud="https://another.example/oauth/token")),
    "aud-array-with-extra": lambda b: b.ask(b.assertion(aud=[b.endpoint, "https://another.example/token"])),
    "iss-ne-sub": lambda b: b.ask(b.assertion(iss="other")),
    "unknown-client": lambda b: b.ask(b.assertion(iss="nobody", sub="nobody")),
    "jti-missing": lambda b: b.ask(b.assertion(jti=None)),
    "jti-replay": replayed,
    "duplicate-claims": twice,
    "non-canonical-base64": respelled,
    "padding": lambda b: b.ask(b.assertion() + "=="),
    "whitespace": lambda b: b.ask(b.assertion().replace(".", ". ", 1)),
    "huge": lambda b: b.ask(resigned(b, note="x" * 1_000_000)),
    "deep": lambda b: b.ask(resigned(b, raw=b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}")),
    "float-exp": infinite,
    "scope-escalation": lambda b: b.ask(scope="system/Patient.cruds lianren/operate"),
    "wrong-assertion-type": lambda b: b.ask(client_assertion_type=f"{ASSERTION}x"),
    "assertion-signed-with-rotated-key": rotated,
    "sm2-alg": lambda b: b.ask(resigned(b, {"alg": "SM2SM3"})),
}
ELSEWHERE = {
    "valid": "test_a_backend_service_finds_its_way_by_discovery_alone",
    "foreign-jku": "test_an_address_of_keys_in_the_header_is_never_fetched",
    "scope-injection": "test_a_scope_that_is_not_registered_is_not_given",
    "two-client-auths": "test_two_ways_to_authenticate_at_once_are_refused",
    "token-of-other-audience": "test_an_access_token_for_another_server_is_no_access_token",
    "access-token-tampered": "test_no_part_of_an_access_token_can_be_changed",
    "access-token-expired": "test_an_access_token_ends",
    "token-in-query": "test_a_token_in_the_address_is_refused",
}


@pytest.mark.parametrize("name", REFUSED)
def test_no_token_is_given_for(backend: Backend, name: str) -> None:
    answer = REFUSED[name](backend)
    assert answer.status_code in (400, 401, 413), answer.text
    assert answer.json()["error"] in ("invalid_client", "invalid_request", "invalid_scope")
    assert "access_token" not in answer.json()


@pytest.mark.skipif(not CASES.is_file(), reason="the shared test material is not on this machine")
def test_every_case_of_the_shared_material_is_tested_here() -> None:
    names = {case["name"] for case in json.loads(CASES.read_bytes())["cases"]}
    assert names == REFUSED.keys() | ELSEWHERE.keys()
    assert all(test in globals() for test in ELSEWHERE.values())


def test_an_address_of_keys_in_the_header_is_never_fetched(backend: Backend) -> None:
    seen: list[str] = []
    with misbehave(lambda first, _: seen.append(first) or b"") as url:  # type: ignore[func-returns-value]
        answer = backend.ask(resigned(backend, {"jku": f"{url}/jwks"}, key=FOREIGN))
    assert (answer.status_code, seen) == (401, [])


def test_a_scope_that_is_not_registered_is_not_given(backend: Backend) -> None:
    answer = backend.ask(scope="system/Patient.read system/*.* lianren/operate openid")
    assert answer.json()["scope"] == "system/CodeSystem.rs system/Consent.cr system/Observation.rs"


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("system/Observation.rs", "system/Observation.rs"),
        ("system/Observation.read", "system/Observation.rs"),
        ("system/Observation.cruds", "system/Observation.rs"),
        ("system/Consent.write", "system/Consent.c"),
        ("lianren/mark lianren/check", "lianren/check lianren/mark"),
        ("system/*.s", "system/CodeSystem.s system/Observation.s"),
    ],
)
def test_the_answer_says_which_scopes_were_given(backend: Backend, asked: str, given: str) -> None:
    assert backend.ask(scope=asked).json()["scope"] == given


@pytest.mark.parametrize(
    "asked", ["system/Patient.rs", "patient/*.rs", "system/Observation.sr", "system/Observation.", "x"]
)
def test_where_no_scope_is_left_no_token_is_given(backend: Backend, asked: str) -> None:
    answer = backend.ask(scope=asked)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"grant_type": "authorization_code"}, "unsupported_grant_type"),
        ({"grant_type": None}, "unsupported_grant_type"),
        ({"client_assertion_type": None}, "invalid_client"),
        ({"client_secret": "x"}, "invalid_request"),
        ({"client_id": "rsa"}, "invalid_client"),
        ({"purpose_of_use": "BTG"}, "invalid_scope"),
        ({"purpose_of_use": "FUN"}, "invalid_scope"),
    ],
)
def test_a_wrong_parameter_is_refused_in_the_shape_of_oauth(
    backend: Backend, change: dict[str, Any], error: str
) -> None:
    answer = backend.ask(**change)
    assert (answer.status_code, answer.json()["error"]) == (401 if error == "invalid_client" else 400, error)
    assert answer.json()["error_description"]
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("content", "media", "status"),
    [
        (b"grant_type=a&grant_type=b", "application/x-www-form-urlencoded", 400),
        (b"%", "application/x-www-form-urlencoded", 400),
        (b"", "application/x-www-form-urlencoded", 400),
        (b"a=\xff", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a%d=1" % number for number in range(99)), "application/x-www-form-urlencoded", 400),
        (b"{}", "application/json", 415),
        (b"a=" + b"x" * 2_000_000, "application/x-www-form-urlencoded", 413),
    ],
)
def test_what_is_no_form_is_refused(live: Live, content: bytes, media: str, status: int) -> None:
    answer = live.client("").post("/oauth/token", content=content, headers={"Content-Type": media})
    assert (answer.status_code, answer.json()["error"]) == (status, answer.json()["error"])
    assert answer.json()["error"] in ("invalid_request", "unsupported_grant_type")


def test_two_ways_to_authenticate_at_once_are_refused(backend: Backend) -> None:
    form = {"grant_type": "client_credentials", "client_assertion": backend.assertion()}
    answer = backend.http.post("/oauth/token", data=form, auth=("ec", "secret"))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_the_client_may_name_itself_beside_its_assertion(backend: Backend) -> None:
    assert backend.ask(client_id="ec").status_code == 200


def test_one_assertion_counts_once_whoever_comes_with_it(live: Live, backend: Backend) -> None:
    """The ids of two clients do not meet."""
    jti = "an id that both chose"
    assert backend.ask(backend.assertion(jti=jti)).status_code == 200
    other = Backend("rsa", RSA, live.client(""))
    assert other.ask(other.assertion(jti=jti)).status_code == 200
    assert backend.ask(backend.assertion(jti=jti)).status_code == 401


def test_a_purpose_stands_in_the_token(backend: Backend) -> None:
    payload = backend.token(purpose_of_use="ETREAT").split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert [one["code"] for one in claims["extensions"]["ihe_iua"]["purpose_of_use"]] == ["ETREAT"]


# Access tokens


def test_a_scope_opens_its_door_and_no_other(backend: Backend) -> None:
    headers = backend.bearer(scope="lianren/check")
    assert backend.http.post("/api/v1/checks", headers=headers, json=body()).status_code == 200
    for path, scope in (
        ("/api/v1/catalogues", "lianren/catalogue"),
        ("/fhir/CodeSystem", "system/CodeSystem.s"),
    ):
        answer = backend.http.get(path, headers=headers)
        assert answer.status_code == 403
        assert answer.headers["www-authenticate"] == f'Bearer error="insufficient_scope", scope="{scope}"'


def test_a_scope_of_one_fhir_type_is_none_of_another(backend: Backend) -> None:
    headers = backend.bearer(scope="system/CodeSystem.s")
    assert backend.http.get("/fhir/CodeSystem", headers=headers).status_code == 200
    assert backend.http.get("/fhir/ValueSet", headers=headers).status_code == 403
    answer = backend.http.get("/fhir/CodeSystem/x", headers=headers)
    assert (answer.status_code, answer.json()["resourceType"]) == (403, "OperationOutcome")
    assert "system/CodeSystem.r" in answer.json()["issue"][0]["diagnostics"]


def test_a_scope_does_not_replace_a_role(live: Live, tmp_path: Path) -> None:
    more = client(tmp_path, "auditor", EC, roles=["auditor"], institution="")
    with gateway_with(tmp_path, [], clients=[more]) as other:
        backend = Backend("auditor", EC, other.client(""))
        answer = backend.http.post("/api/v1/checks", headers=backend.bearer(), json=body())
    assert (answer.status_code, "role his" in answer.json()["detail"]) == (403, True)


def turned_away(live: Live, token: str) -> bool:
    answer = live.client("").post("/api/v1/checks", headers={"Authorization": f"Bearer {token}"}, json=body())
    refused = answer.status_code == 401
    assert not refused or answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    return refused


def minted(live: Live, **changed: Any) -> str:
    """An access token by the gateway's own key, with other claims."""
    moment = int(time.time())
    issuer = live.settings.base_url
    right = {"iss": issuer, "aud": issuer, "sub": "ec", "client_id": "ec", "iat": moment, "exp": moment + 300}
    right |= {"scope": "lianren/check", "extensions": {"ihe_iua": {"purpose_of_use": [{"code": "TREAT"}]}}}
    return sign_token(right | changed, open_keys(live.settings).signer("token", "Ed25519"))


def test_an_access_token_as_it_should_be_is_let_in(live: Live) -> None:
    assert not turned_away(live, minted(live))


def test_an_access_token_for_another_server_is_no_access_token(live: Live) -> None:
    assert turned_away(live, minted(live, aud="https://another.example"))
    assert turned_away(live, minted(live, iss="https://another.example"))


def test_an_access_token_ends(live: Live) -> None:
    assert turned_away(live, minted(live, exp=int(time.time()) - 1))


@pytest.mark.slow
def test_an_access_token_that_was_good_ends_all_the_same(live: Live) -> None:
    token = minted(live, exp=int(time.time()) + 2)
    assert not turned_away(live, token)
    time.sleep(2.1)
    assert turned_away(live, token)


def test_no_part_of_an_access_token_can_be_changed(live: Live, backend: Backend) -> None:
    token = backend.token()
    assert not turned_away(live, token)
    for place in range(0, len(token), 41):
        letter = "A" if token[place] != "A" else "B"
        assert turned_away(live, token[:place] + letter + token[place + 1 :])


def test_an_assertion_is_no_access_token(live: Live, backend: Backend) -> None:
    assert turned_away(live, backend.assertion(aud=live.settings.base_url))


def test_an_access_token_of_a_client_that_is_gone_is_refused(live: Live) -> None:
    assert turned_away(live, minted(live, sub="gone"))


def test_a_token_in_the_address_is_refused(live: Live, backend: Backend) -> None:
    token = backend.token()
    for headers in ({}, {"Authorization": f"Bearer {token}"}):
        answer = live.client("").get(f"/fhir/CodeSystem?access_token={token}", headers=headers)
        assert answer.status_code == 401
        assert token not in answer.text + live.log.getvalue()


# Keys of clients, and what is remembered


def test_a_key_that_was_taken_out_of_the_file_counts_no_more(tmp_path: Path) -> None:
    first, second = new_key("k-1"), new_key("k-2")
    with gateway_with(tmp_path, [], clients=[client(tmp_path, "his", first)]) as live:
        old, new = (Backend("his", key, live.client("")) for key in (first, second))
        assert (old.ask().status_code, new.ask().status_code) == (200, 401)
        written(tmp_path / "his.json", first, second)
        assert (old.ask().status_code, new.ask().status_code) == (200, 200)
        written(tmp_path / "his.json", second)
        assert (old.ask().status_code, new.ask().status_code) == (401, 200)
        kept = (tmp_path / "his.json").rename(tmp_path / "kept.json")
        (tmp_path / "his.json").write_bytes(b"{")
        assert new.ask().status_code == 401
        kept.replace(tmp_path / "his.json")  # the same file as before
        assert new.ask().status_code == 200


@pytest.mark.slow
def test_an_assertion_is_remembered_over_a_restart(tmp_path: Path) -> None:
    clients = [client(tmp_path, "his", EC)]
    with gateway_with(tmp_path, [], clients=clients) as live:
        backend = Backend("his", EC, live.client(""))
        assertion = backend.assertion()
        assert backend.ask(assertion).status_code == 200
        tokens = live.tokens
    with started(settings_for(tmp_path, tokens, [], clients=clients), tokens) as again:
        assert Backend("his", EC, again.client("")).ask(assertion).status_code == 401


@pytest.mark.slow
def test_a_token_outlives_the_rotation_of_its_key_and_not_its_theft(tmp_path: Path) -> None:
    with gateway_with(tmp_path, [], clients=[client(tmp_path, "his", EC)]) as live:
        backend, keys = Backend("his", EC, live.client("")), open_keys(live.settings)
        token, moment = backend.token(), datetime.now(UTC)
        first = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))["kid"]
        rotate(keys, live.settings.owner, "token", moment, timedelta(hours=1))
        until(lambda: len(published(live)) == 2)
        assert not turned_away(live, token)
        keys.retire(first, moment, "compromised")
        until(lambda: first not in published(live))
        assert turned_away(live, token)
        until(lambda: backend.ask().status_code == 200)
        assert not turned_away(live, backend.token())


def published(live: Live) -> list[str]:
    """The ids of the keys of access tokens."""
    return [key["kid"] for key in live.client("").get("/oauth/jwks").json()["keys"]]


def test_giving_a_token_is_an_event_without_the_token(live: Live, backend: Backend) -> None:
    token = backend.token(scope="lianren/check")
    event = live.events("token_given")[-1]
    assert (event["client"], event["scope"], event["key"]) == ("ec", "lianren/check", "ec-1")
    assert token not in live.log.getvalue()


def test_a_refusal_is_terse_in_the_answer_and_plain_in_the_log(tmp_path: Path) -> None:
    with gateway_with(tmp_path, [], clients=[client(tmp_path, "his", EC)], refusals="terse") as live:
        backend = Backend("his", EC, live.client(""))
        told = {REFUSED[name](backend).json()["error_description"] for name in ("expired", "jti-replay")}
        assert len(told) == 1
        assert "exp" not in told.pop()
        reasons = [event["reason"] for event in live.events("request_refused")]
    assert [reason.split(":")[1].split()[0] for reason in reasons] == ["exp", "jti"]


def test_a_refusal_says_which_claim_was_wrong_where_it_is_explained(backend: Backend) -> None:
    assert "aud" in REFUSED["wrong-aud"](backend).json()["error_description"]


def test_the_key_of_access_tokens_counts_from_its_beginning(live: Live) -> None:
    before = datetime.now(UTC) - timedelta(days=3)
    assert turned_away(live, minted(live, iat=int(before.timestamp())))


def test_another_curve_of_the_same_id_is_refused(backend: Backend) -> None:
    other = ECKey.generate_key("P-256", {"kid": "ec-1"})
    signing = resigned(backend, {"alg": "ES256"}).rpartition(".")[0]
    signature = jws.JWSRegistry.algorithms["ES256"].sign(signing.encode(), other)
    assert backend.ask(f"{signing}.{to_base64url(signature)}").status_code == 401
