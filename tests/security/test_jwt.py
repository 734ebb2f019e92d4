"""JSON Web Tokens against published vectors and against what attackers send."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

from security.errors import TokenRefused
from security.jwt import (
    Jwk,
    jwk_of,
    read_jwk,
    read_jwks,
    read_token,
    sign_token,
    verify,
    verify_access,
    verify_assertion,
)
from security.keys import KeyPair, PublicKey, to_base64url

VECTORS = Path(__file__).resolve().parents[3] / "shared/conformance/crypto/shared"
PUBLISHED = pytest.mark.skipif(not VECTORS.is_dir(), reason="the published vectors are not on this machine")
NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
ENDPOINT = "https://gateway.example/oauth/token"
KEY = ECKey.generate_key("P-384", {"kid": "k1"}, private=True)
OTHER = ECKey.generate_key("P-384", {"kid": "k1"}, private=True)
KEYS = {"k1": read_jwk(KEY.as_dict(private=False))}
OTHER_ALGORITHM = {346, 350}
"""Figure 20 of RFC 7520 is signed with PS384, and the vector's key says PS256: here the record decides."""


def vectors(name: str) -> Iterator[Any]:
    """Each vector: the key or keys that it states, its token, whether it is to be accepted."""
    if not VECTORS.is_dir():
        return
    for group in json.loads((VECTORS / f"wycheproof/json_web_{name}_test.json").read_text())["testGroups"]:
        for test in group["tests"]:
            if "jws" in test:
                stated = group.get("public", group["private"])
                id_ = f"{test['tcId']}-{test['comment']}"
                yield pytest.param(stated, test, id=id_)


def accepted(stated: dict[str, Any], text: str) -> bool:
    """Whether this house would take the token for one that these keys signed."""
    try:
        if "keys" in stated:
            keys = read_jwks(json.dumps(stated).encode())
        else:
            key = read_jwk(stated)
            keys = {key.kid: key}
        verify(read_token(text), keys)
    except TokenRefused:
        return False
    return True


@PUBLISHED
@pytest.mark.parametrize(("stated", "test"), [*vectors("signature"), *vectors("crypto"), *vectors("key")])
def test_a_vector_of_wycheproof_comes_out_as_published(stated: dict[str, Any], test: dict[str, Any]) -> None:
    shared = "oct" in json.dumps(stated)  # this house knows no shared secrets: right ones are refused, too
    expected = test["result"] == "valid" and not shared and test["tcId"] not in OTHER_ALGORITHM
    assert (
        accepted(stated, test["jws"] if isinstance(test["jws"], str) else json.dumps(test["jws"])) is expected
    )


@PUBLISHED
@pytest.mark.parametrize(
    ("name", "expected"), [("RFC8037-A.4", True), ("RFC7515-A.3", True), ("RFC7515-A.1", False)]
)
def test_a_vector_of_an_rfc_comes_out_as_published(name: str, expected: bool) -> None:
    vector = json.loads((VECTORS / "jws-rfc-vectors.json").read_text())[name]
    public = {member: value for member, value in vector["jwk"].items() if member != "d"}
    assert accepted(public, vector["jws"]) is expected


# Assertions


def claims(**changed: Any) -> dict[str, Any]:
    """Right claims, with changes; a value of None takes one away."""
    right = {
        "iss": "his",
        "sub": "his",
        "aud": ENDPOINT,
        "jti": "1",
        "exp": int((NOW + timedelta(minutes=4)).timestamp()),
    }
    return {name: value for name, value in (right | changed).items() if value is not None}


def signed(payload: dict[str, Any] | bytes, header: dict[str, Any] | None = None, key: Any = KEY) -> str:
    """A token of these claims, signed by the right key unless another is given."""
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return by_hand({"alg": "ES384", "kid": "k1", "typ": "JWT"} | (header or {}), raw, key)


def by_hand(header: dict[str, Any] | bytes, raw: bytes, key: Any = KEY, algorithm: str = "ES384") -> str:
    """A token with any header at all, under a right ES384 signature."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    signing = f"{to_base64url(head)}.{to_base64url(raw)}"
    signature = jws.JWSRegistry.algorithms[algorithm].sign(signing.encode(), key)
    return f"{signing}.{to_base64url(signature)}"


def refused(text: str, keys: dict[str, Jwk] | None = None, now: datetime = NOW, jku: str = "") -> str:
    """The claim that an assertion is refused for; empty when it holds."""
    try:
        verify_assertion(
            read_token(text),
            KEYS if keys is None else keys,
            client="his",
            audiences=(ENDPOINT,),
            now=now,
            jku=jku,
        )
    except TokenRefused as wrong:
        return wrong.claim
    return ""


def test_a_right_assertion_holds() -> None:
    assert refused(signed(claims())) == ""


@pytest.mark.parametrize(
    "algorithm", ["ES256", "ES384", "ES512", "RS256", "RS384", "PS256", "PS512", "Ed25519"]
)
def test_each_algorithm_that_is_offered_works(algorithm: str) -> None:
    if algorithm[:2] == "ES":
        pair: Any = ECKey.generate_key(f"P-{'521' if algorithm == 'ES512' else algorithm[2:]}")
    elif algorithm == "Ed25519":
        pair = OKPKey.generate_key("Ed25519")
    else:
        pair = RSAKey.generate_key(2048)
    public = pair.as_dict(private=False) | {"kid": "k1", "alg": algorithm}
    keys = read_jwks(json.dumps({"keys": [public]}).encode())
    token = by_hand({"alg": algorithm, "kid": "k1"}, json.dumps(claims()).encode(), pair, algorithm)
    assert refused(token, keys) == ""


def test_rsa_without_alg_is_rs384_as_smart_has_it() -> None:
    assert read_jwk(RSAKey.generate_key(2048).as_dict(private=False)).algorithm == "RS384"


@pytest.mark.parametrize(
    ("changed", "claim"),
    [
        ({"iss": "other"}, "iss"),
        ({"sub": "other"}, "sub"),
        ({"sub": None}, "sub"),
        ({"aud": "https://another.example/oauth/token"}, "aud"),
        ({"aud": None}, "aud"),
        ({"aud": [ENDPOINT, "https://another.example/oauth/token"]}, "aud"),
        ({"aud": []}, "aud"),
        ({"exp": int(NOW.timestamp()) - 31}, "exp"),
        ({"exp": int(NOW.timestamp()) + 331}, "exp"),
        ({"exp": None}, "exp"),
        ({"exp": "9999999999"}, "exp"),
        ({"exp": True}, "exp"),
        ({"exp": -1}, "exp"),
        ({"exp": 10**400}, "exp"),
        ({"exp": 253_402_300_800}, "exp"),
        ({"nbf": 253_402_300_799}, "nbf"),
        ({"nbf": int(NOW.timestamp()) + 600}, "nbf"),
        ({"iat": int(NOW.timestamp()) + 600}, "nbf"),
        ({"iat": "yesterday"}, "iat"),
        ({"jti": None}, "jti"),
        ({"jti": ""}, "jti"),
        ({"jti": 7}, "jti"),
        ({"jti": "j" * 257}, "jti"),
    ],
)
def test_a_wrong_claim_is_named(changed: dict[str, Any], claim: str) -> None:
    assert refused(signed(claims(**changed))) == claim


def test_an_audience_in_a_list_of_one_is_the_same_audience() -> None:
    assert refused(signed(claims(aud=[ENDPOINT]))) == ""


@pytest.mark.parametrize(("seconds", "claim"), [(-29, ""), (-30, "exp"), (330, ""), (331, "exp")])
def test_the_end_is_within_five_minutes_and_half_a_minute_of_skew(seconds: int, claim: str) -> None:
    assert refused(signed(claims(exp=int(NOW.timestamp()) + seconds))) == claim


@pytest.mark.parametrize(
    ("header", "claim"),
    [
        ({"alg": "none"}, "alg"),
        ({"alg": "nOnE"}, "alg"),
        ({"alg": "HS256"}, "alg"),
        ({"alg": "RS256"}, "alg"),
        ({"alg": "ES256"}, "alg"),
        ({"alg": "SM2"}, "alg"),
        ({"alg": "SM2SM3"}, "alg"),
        ({"alg": 7}, "header"),
        ({"typ": "at+jwt"}, "typ"),
        ({"kid": "../../../../dev/null"}, "kid"),
        ({"kid": "' OR 1=1--"}, "kid"),
        ({"kid": "k2"}, "kid"),
        ({"kid": ["k1"]}, "header"),
        ({"crit": ["x"], "x": 1}, "header"),
        ({"crit": ["b64"], "b64": False}, "header"),
        ({"b64": False}, "header"),
        ({"jwk": OTHER.as_dict(private=False)}, "header"),
        ({"x5c": ["MIIB"]}, "header"),
        ({"jku": "https://attacker.example/jwks"}, "header"),
    ],
)
def test_a_header_is_never_believed(header: dict[str, Any], claim: str) -> None:
    assert refused(signed(claims(), header)) == claim


def test_a_registered_address_of_keys_may_stand_in_the_header() -> None:
    token = signed(claims(), {"jku": "https://his.example/jwks"})
    assert refused(token, jku="https://his.example/jwks") == ""


def test_another_key_of_the_same_id_is_refused() -> None:
    assert refused(signed(claims(), key=OTHER)) == "signature"


def test_a_public_key_is_no_shared_secret() -> None:
    pem = KEY.as_pem(private=False)
    for secret in (pem, json.dumps(KEY.as_dict(private=False)).encode()):
        mac = _hmac(secret, {"alg": "HS256", "kid": "k1"}, claims())
        assert refused(mac) == "alg"


def _hmac(secret: bytes, header: dict[str, Any], payload: dict[str, Any]) -> str:
    import hmac

    signing = ".".join(to_base64url(json.dumps(part).encode()) for part in (header, payload))
    return f"{signing}.{to_base64url(hmac.digest(secret, signing.encode(), 'sha256'))}"


def test_a_signature_in_der_or_of_zeros_is_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    head, payload, signature = signed(claims()).split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    der = encode_dss_signature(int.from_bytes(raw[:48]), int.from_bytes(raw[48:]))
    for other in (der, bytes(96), raw + b"\0", b""):
        assert refused(f"{head}.{payload}.{to_base64url(other)}") == "signature"


@pytest.mark.parametrize("pair", [(b'{"exp":1,', b","), (b"{", b',"exp":1}')])
def test_a_claim_that_is_there_twice_is_refused(pair: tuple[bytes, bytes]) -> None:
    raw = json.dumps(claims()).encode()
    twice = pair[0] + raw[1:] if pair[0] != b"{" else raw[:-1] + pair[1]
    assert refused(signed(twice)) == "token"


@pytest.mark.parametrize(
    "raw", [b'{"exp":1e400}', b'{"exp":NaN}', b"[]", b"", b"\xff", b'"text"', b"[" * 9000]
)
def test_a_payload_that_parsers_read_differently_is_refused(raw: bytes) -> None:
    assert refused(signed(raw)) == "token"


def test_nesting_does_not_cost_the_stack() -> None:
    assert refused(signed(b'{"a":' * 1500 + b"1" + b"}" * 1500)) == "token"


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t + "=",
        lambda t: t.replace(".", ". ", 1),
        lambda t: " " + t,
        lambda t: t + "\n",
        lambda t: t[:-1] + chr(ord(t[-1]) + 1),
        lambda t: t + ".",
        lambda t: t.rpartition(".")[0],
        lambda t: t.replace("-", "+").replace("_", "/") + "+",
        lambda t: t + "A" * 20_000,
        lambda _: "",
        lambda _: "..",
        lambda _: "示.例.示",
    ],
)
def test_the_compact_form_has_one_spelling(change: Any) -> None:
    assert refused(change(signed(claims()))) in ("token", "signature")


@given(st.text(max_size=200))
def test_any_text_is_refused_and_nothing_else_is_raised(text: str) -> None:
    assert refused(text) != ""


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_header_and_payload_are_refused_and_nothing_else_is_raised(head: bytes, payload: bytes) -> None:
    assert refused(f"{to_base64url(head)}.{to_base64url(payload)}.AAAA") != ""


# Key sets


@pytest.mark.parametrize(
    "value",
    [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "a"},
        KEY.as_dict(private=True),
        KEY.as_dict(private=False) | {"use": "enc"},
        KEY.as_dict(private=False) | {"key_ops": ["encrypt"]},
        KEY.as_dict(private=False) | {"alg": "ES256"},
        KEY.as_dict(private=False) | {"alg": "none"},
        KEY.as_dict(private=False) | {"crv": "secp256k1"},
        KEY.as_dict(private=False) | {"y": KEY.as_dict(private=False)["x"]},
        KEY.as_dict(private=False) | {"x": "!"},
        KEY.as_dict(private=False) | {"x": 7},
        {"kty": "EC", "kid": "a"},
        {"kty": "OKP", "crv": "X25519", "x": "AAAA", "kid": "a"},
        {},
    ],
)
def test_a_key_that_is_none_for_signatures_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(TokenRefused) as refused_:
        read_jwk(value)
    assert refused_.value.claim == "jwks"


def test_a_key_for_encryption_beside_one_for_signatures_is_passed_over() -> None:
    beside = KEY.as_dict(private=False) | {"use": "enc", "kid": "e1"}
    assert list(read_jwks(json.dumps({"keys": [beside, KEY.as_dict(private=False)]}).encode())) == ["k1"]


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{}", b'{"keys":{}}', b'{"keys":[1]}', b'{"keys":[],"keys":[]}']
)
def test_what_is_no_key_set_is_refused(raw: bytes) -> None:
    with pytest.raises(TokenRefused):
        read_jwks(raw)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(["kty", "crv", "x", "y", "n", "e", "alg", "kid", "use", "key_ops"]), x
            )
        ),
    )
)
def test_any_value_among_keys_is_refused_and_nothing_else_is_raised(value: Any) -> None:
    with pytest.raises(TokenRefused):
        read_jwks(json.dumps({"keys": [value]}).encode())


# Access tokens


@pytest.fixture(params=["Ed25519", "ES256", "SM2"])
def pair(request: pytest.FixtureRequest) -> KeyPair:
    """A token key of a gateway."""
    return KeyPair.generate(request.param, "cq", "token", NOW)


def access(pair: KeyPair, typ: str = "at+jwt", **changed: Any) -> str:
    """An access token of five minutes."""
    right = {"iss": "https://g", "aud": "https://g", "sub": "his", "iat": int(NOW.timestamp())}
    return sign_token(right | {"exp": int(NOW.timestamp()) + 300} | changed, pair, typ)


def turned_away(text: str, keys: dict[str, PublicKey], now: datetime = NOW) -> str:
    """The claim that an access token is refused for; empty when it holds."""
    try:
        verify_access(read_token(text), keys, issuer="https://g", audience="https://g", now=now)
    except TokenRefused as wrong:
        return wrong.claim
    return ""


def test_an_access_token_of_any_key_of_the_house_holds(pair: KeyPair) -> None:
    assert turned_away(access(pair), {pair.kid: pair.public}) == ""


@pytest.mark.parametrize(
    ("changed", "claim"),
    [
        ({"iss": "https://h"}, "iss"),
        ({"aud": "https://h"}, "aud"),
        ({"exp": 1}, "exp"),
        ({"iat": None}, "iat"),
    ],
)
def test_an_access_token_for_elsewhere_is_refused(pair: KeyPair, changed: dict[str, Any], claim: str) -> None:
    assert turned_away(access(pair, **changed), {pair.kid: pair.public}) == claim


def test_an_access_token_ends_to_the_second(pair: KeyPair) -> None:
    keys = {pair.kid: pair.public}
    assert turned_away(access(pair), keys, NOW + timedelta(seconds=299)) == ""
    assert turned_away(access(pair), keys, NOW + timedelta(seconds=300)) == "exp"


def test_no_byte_of_an_access_token_can_be_changed(pair: KeyPair) -> None:
    token, keys = access(pair), {pair.kid: pair.public}
    for place in range(0, len(token), 7):
        other = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        assert turned_away(other, keys) != ""


def test_another_kind_of_token_by_the_same_key_is_refused(pair: KeyPair) -> None:
    assert turned_away(access(pair, "JWT"), {pair.kid: pair.public}) == "typ"


def test_an_access_token_of_an_unknown_key_is_refused(pair: KeyPair) -> None:
    assert turned_away(access(pair), {}) == "kid"


def test_an_ed25519_key_of_the_house_is_a_json_web_key() -> None:
    pair = KeyPair.generate("Ed25519", "cq", "token", NOW)
    published: Any = jwk_of(pair.public)
    key = read_jwks(json.dumps({"keys": [published]}).encode())[pair.kid]
    assert verify(read_token(access(pair)), {pair.kid: key})


def test_a_p256_key_of_the_house_is_a_json_web_key() -> None:
    pair = KeyPair.generate("ES256", "cq", "token", NOW)
    published: Any = jwk_of(pair.public)
    key = read_jwks(json.dumps({"keys": [published]}).encode())[pair.kid]
    assert verify(read_token(access(pair)), {pair.kid: key})
