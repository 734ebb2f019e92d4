"""Signed requests and answers between gateways, and the vectors of RFC 9421."""

from __future__ import annotations

from base64 import b64decode
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from http_message_signatures import HTTPMessageVerifier, HTTPSignatureKeyResolver
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from security import _http_message
from security import http_signature as signing
from security.errors import KeyNotValid, SignatureRefused, UnknownKey
from security.keys import Algorithm, PublicKey, raw_verifier
from tests.security.material import NOW, conformance, new_key

URL = "https://cq.example/api/v1/results"
QUESTION = b'{"id":"q1"}'
ANSWER = b'{"gateway":"sc"}'
ASKER, ANSWERER = new_key("Ed25519", "sc", "peer"), new_key("SM2", "cq", "peer")
KEYS = {key.kid: key.public for key in (ASKER, ANSWERER, new_key("SM2", "sc", "peer"))}


def key_of(kid: str, at: datetime) -> PublicKey:
    if kid not in KEYS:
        raise UnknownKey(f"no key {kid}")
    KEYS[kid].check(at, "peer")
    return KEYS[kid]


def verified(headers: dict[str, str], **changed: Any) -> signing.Signed:
    call: dict[str, Any] = {
        "method": "POST",
        "url": URL,
        "headers": headers,
        "body": QUESTION,
        "now": NOW,
    } | changed
    return signing.verify(**call, key_of=key_of)


@pytest.fixture(scope="module")
def headers() -> dict[str, str]:
    return signing.sign("POST", URL, QUESTION, ASKER, NOW)


@pytest.mark.parametrize("algorithm", ["Ed25519", "SM2"])
def test_a_signed_request_names_its_key_nonce_and_time(algorithm: Algorithm) -> None:
    key = new_key(algorithm, "sc", "peer")
    found = verified(signing.sign("POST", URL, QUESTION, key, NOW))
    assert (found.kid, found.created, len(found.nonce)) == (key.kid, NOW, 22)


def test_two_signatures_of_one_request_have_different_nonces(headers: dict[str, str]) -> None:
    again = signing.sign("POST", URL, QUESTION, ASKER, NOW)
    assert verified(again).nonce != verified(headers).nonce


def test_header_names_are_read_in_any_case(headers: dict[str, str]) -> None:
    verified({name.lower(): value for name, value in headers.items()})


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "PUT"},
        {"url": "https://cq.example/api/v1/results?since=2020"},
        {"url": "https://sc.example/api/v1/results"},
        {"body": b'{"id":"q2"}'},
        {"body": b""},
        {"now": NOW + timedelta(seconds=61)},
        {"now": NOW - timedelta(seconds=61)},
    ],
)
def test_another_request_than_the_signed_one_is_refused(
    headers: dict[str, str], changed: dict[str, Any]
) -> None:
    with pytest.raises(SignatureRefused):
        verified(headers, **changed)


def test_a_request_is_taken_within_a_minute_of_its_time(headers: dict[str, str]) -> None:
    for seconds in (-60, 60):
        verified(headers, now=NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize("name", ["Content-Digest", "Signature-Input", "Signature"])
def test_a_request_that_lacks_a_header_of_the_signature_is_refused(
    headers: dict[str, str], name: str
) -> None:
    with pytest.raises(SignatureRefused):
        verified({other: value for other, value in headers.items() if other != name})


@pytest.mark.parametrize(
    ("header", "was", "becomes"),
    [
        ("Signature-Input", '"@method" ', ""),
        ("Signature-Input", '"content-digest"', ""),
        ("Signature-Input", "lianren-request", "lianren-answer"),
        ("Signature-Input", ";tag=", ';alg="ed25519";tag='),
        ("Signature-Input", ";created=", ";created=-"),
        ("Signature-Input", "lianren=", "other="),
        ("Signature", "lianren=:", "lianren=:AAAA"),
        ("Content-Digest", "sha-256", "sha-512"),
    ],
)
def test_a_changed_signature_is_refused(headers: dict[str, str], header: str, was: str, becomes: str) -> None:
    assert was in headers[header]
    with pytest.raises(SignatureRefused):
        verified({**headers, header: headers[header].replace(was, becomes)})


def test_a_signature_without_a_nonce_is_refused() -> None:
    request = SimpleNamespace(method="POST", url=URL, headers={})
    unrepeatable = ("@method", "@target-uri", "content-digest")
    signed = _http_message.signed(request, unrepeatable, "lianren-request", QUESTION, ASKER, NOW, None)
    with pytest.raises(SignatureRefused, match="nonce"):
        verified(signed)


def test_a_signature_over_fewer_parts_of_the_request_is_refused() -> None:
    request = SimpleNamespace(method="POST", url=URL, headers={})
    signed = _http_message.signed(request, ("@method",), "lianren-request", QUESTION, ASKER, NOW, "n" * 22)
    with pytest.raises(SignatureRefused, match="target-uri"):
        verified(signed)


def test_a_key_that_is_not_known_is_named_as_such() -> None:
    with pytest.raises(UnknownKey):
        verified(signing.sign("POST", URL, QUESTION, new_key("Ed25519", "jjj", "peer"), NOW))


def test_a_key_is_asked_for_the_time_of_the_signature() -> None:
    early = ASKER.public.not_before - timedelta(days=1)
    with pytest.raises(KeyNotValid, match="counts from"):
        verified(signing.sign("POST", URL, QUESTION, ASKER, early), now=early)


def test_a_signed_answer_is_held_to_question_and_bytes() -> None:
    headers = signing.sign_answer(QUESTION, ANSWER, ANSWERER, NOW)
    signed = signing.verify_answer(QUESTION, headers, ANSWER, key_of, NOW)
    assert signing.check_answer(signed, key_of).owner == "cq"


@pytest.mark.parametrize(("question", "answer"), [(b'{"id":"q2"}', ANSWER), (QUESTION, b'{"gateway":"cq"}')])
def test_an_answer_laid_onto_another_question_or_changed_is_refused(question: bytes, answer: bytes) -> None:
    headers = signing.sign_answer(QUESTION, ANSWER, ANSWERER, NOW)
    with pytest.raises(SignatureRefused):
        signing.verify_answer(question, headers, answer, key_of, NOW)


def test_the_signature_of_a_request_is_not_one_of_an_answer(headers: dict[str, str]) -> None:
    with pytest.raises(SignatureRefused):
        signing.verify_answer(QUESTION, headers, QUESTION, key_of, NOW)


@pytest.mark.parametrize(
    "changed",
    [
        {"question": "00" * 32},
        {"answer": "00" * 32},
        {"created": int(NOW.timestamp()) + 1},
        {"created": 10**30},
        {"kid": new_key("SM2", "sc", "peer").kid},
        {"signature": "AA"},
        {"signature": "=="},
        {"question": "zz"},
    ],
)
def test_a_kept_answer_that_was_changed_is_refused(changed: dict[str, Any]) -> None:
    headers = signing.sign_answer(QUESTION, ANSWER, ANSWERER, NOW)
    signed = signing.verify_answer(QUESTION, headers, ANSWER, key_of, NOW)
    with pytest.raises(SignatureRefused):
        signing.check_answer(replace(signed, **changed), key_of)


def test_an_answer_signed_in_a_form_that_cannot_be_kept_is_refused() -> None:
    response = signing._response(QUESTION, {"Date": "Sun, 22 Nov 2026 10:00:00 GMT"})
    components = ("date", *signing._ANSWER)
    headers = _http_message.signed(response, components, signing._ANSWER_TAG, ANSWER, ANSWERER, NOW, None)
    with pytest.raises(SignatureRefused):
        signing.verify_answer(QUESTION, headers, ANSWER, key_of, NOW)


@given(st.sampled_from(["Content-Digest", "Signature-Input", "Signature"]), st.text(max_size=200))
def test_whatever_stands_in_the_headers_is_refused_and_nothing_else_happens(name: str, value: str) -> None:
    headers = signing.sign("POST", URL, QUESTION, ASKER, NOW)
    with pytest.raises((SignatureRefused, UnknownKey)):
        verified({**headers, name: value})


@pytest.mark.parametrize("name", ["B24", "B26"])
def test_the_signatures_of_rfc_9421_verify_over_its_signature_bases(name: str) -> None:
    vectors = conformance("crypto/shared/rfc9421-vectors.json")
    vector = vectors["vectors"][name]
    algorithm, raw = _key(vectors, vector)
    signature = b64decode(vector["Signature"].split(":")[1])
    raw_verifier(algorithm, raw).verify(vector["signature_base"].encode(), signature)


@pytest.mark.parametrize("name", ["B24", "B26"])
def test_the_messages_of_rfc_9421_verify_by_the_records_of_keys(name: str) -> None:
    vectors = conformance("crypto/shared/rfc9421-vectors.json")
    vector = vectors["vectors"][name]
    algorithm, raw = _key(vectors, vector)

    class Resolver(HTTPSignatureKeyResolver):
        def resolve_public_key(self, key_id: str) -> Any:
            return SimpleNamespace(verify=raw_verifier(algorithm, raw).verify)

    of = vectors[vector["over"]]
    headers = of["headers"] | {field: vector[field] for field in ("Signature-Input", "Signature")}
    message = SimpleNamespace(headers=headers, **{k: v for k, v in of.items() if k in ("method", "url")})
    if vector["over"] == "response":
        message.status_code = of["status"]
    checking = HTTPMessageVerifier(signature_algorithm=_http_message.ByRecord, key_resolver=Resolver())
    (result,) = checking.verify(message, max_age=None)
    base = "\n".join(f"{part}: {value}" for part, value in result.covered_components.items())
    assert base == vector["signature_base"]


@pytest.mark.parametrize("name", ["B21", "B22", "B23", "B25", "B26"])
def test_the_requests_of_rfc_9421_are_not_signed_as_a_gateway_must(name: str) -> None:
    vectors = conformance("crypto/shared/rfc9421-vectors.json")
    vector, request = vectors["vectors"][name], vectors["request"]
    headers = request["headers"] | {field: vector[field] for field in ("Signature-Input", "Signature")}
    with pytest.raises(SignatureRefused):
        signing.verify("POST", request["url"], headers, request["body"].encode(), key_of, NOW)


def _key(vectors: Any, vector: Any) -> tuple[Algorithm, bytes]:
    kid = vector["Signature-Input"].split('keyid="')[1].split('"')[0]
    key: Any = load_pem_public_key(vectors["public_keys"][kid].encode())
    if kid == "test-key-ed25519":
        return "Ed25519", key.public_bytes_raw()
    return "ES256", key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
