"""Detached JWS over FHIR resources: vectors, RFC 8785, and what must be refused."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json
from msgspec.structs import replace

from security import jws
from security.digests import sm3
from security.errors import SignatureRefused
from security.keys import Algorithm, PublicKey, to_base64url
from tests.security.material import CONFORMANCE, MARK_KEY, NOW, SC_MARK_KEY, SM2_PUBLIC, new_key

GLUCOSE = (
    b'{"code":{"coding":[{"code":"2345-7","system":"http://loinc.org"}]},'
    b'"effectiveDateTime":"2026-11-20T08:30:00+08:00","id":"glu-1","resourceType":"Observation",'
    b'"status":"final","valueQuantity":{"code":"mmol/L","system":"http://unitsofmeasure.org",'
    b'"unit":"mmol/L","value":6.3}}'
)
SM2_TOKEN = (  # made and verified by other tools, with the SM2 key of GB/T 32918.5
    "eyJhbGciOiJTTTJTTTMiLCJraWQiOiJjcW1oMDEtMjAyNmEifQ.."
    "DMrWJkiRK37kd7tfCrT85Ty2j2VC6_GQOU9_4JztiFciOw4RWpgkDSjg-ffFgbzM1Iq_H9Dc3IzoK3SQLDoWeA"
)
SM2_KEY = PublicKey(
    kid="cqmh01-2026a",
    algorithm="SM2",
    public=to_base64url(SM2_PUBLIC),
    owner="cq",
    purpose="mark",
    not_before=NOW,
    not_after=NOW,
)
JCS = sorted((CONFORMANCE / "crypto/shared/jcs/input").glob("*.json"))


def test_the_token_that_other_tools_made_verifies() -> None:
    jws.verify(SM2_TOKEN, GLUCOSE, SM2_KEY)


def test_the_canonical_bytes_are_those_of_the_vector() -> None:
    written = json.format(GLUCOSE).replace(b'"value": 6.3', b'"value": 6.30')
    narrative = written.replace(b"{", b'{"meta": {"versionId": "2"}, "text": {"status": "empty"},', 1)
    assert jws.canonical(narrative) == GLUCOSE
    assert sm3(GLUCOSE).hex() == "3c559221fcc4dc464d2a16c409c515761475ba5c0e02b655317239890ab2942b"


def test_the_conformance_files_of_rfc_8785_come_out_as_they_should() -> None:
    if not JCS:
        pytest.skip("the conformance material shared/conformance/crypto is not beside the checkout")
    for file in JCS:
        expected = (file.parents[1] / "output" / file.name).read_bytes()
        assert rfc8785.dumps(json.decode(file.read_bytes())) == expected.rstrip(b"\n"), file.name


@pytest.mark.parametrize("algorithm", ["Ed25519", "ES256", "SM2"])
def test_what_is_signed_verifies(algorithm: Algorithm) -> None:
    key = new_key(algorithm)
    token = jws.sign(GLUCOSE, key)
    assert jws.key_id(token) == key.kid
    jws.verify(token, GLUCOSE, key.public)


def _token(header: bytes, **more: Any) -> str:
    head = to_base64url(header)
    key = more.get("key", MARK_KEY)
    return f"{head}..{to_base64url(key.sign(f'{head}.{to_base64url(GLUCOSE)}'.encode()))}"


GOOD = jws.sign(GLUCOSE, MARK_KEY)
KID = MARK_KEY.kid.encode()
REFUSED: dict[str, str] = {
    "attached payload": GOOD.replace("..", f".{to_base64url(GLUCOSE)}."),
    "no signature": GOOD.partition("..")[0] + "..",
    "four parts": GOOD + ".x",
    "signature changed": GOOD[:-3] + ("A" if GOOD[-3] != "A" else "B") + GOOD[-2:],
    "padded": GOOD + "==",
    "algorithm none": _token(b'{"alg":"none","kid":"%b"}' % KID),
    "algorithm of another key": _token(b'{"alg":"ES256","kid":"%b"}' % KID),
    "the former name of the algorithm": _token(b'{"alg":"EdDSA","kid":"%b"}' % KID),
    "key in the header": _token(b'{"alg":"Ed25519","jwk":{},"kid":"%b"}' % KID),
    "critical extension": _token(b'{"alg":"Ed25519","crit":["b64"],"b64":false,"kid":"%b"}' % KID),
    "another key's id": _token(b'{"alg":"Ed25519","kid":"sc-mark-202601a"}'),
    "by another key": _token(b'{"alg":"Ed25519","kid":"%b"}' % KID, key=SC_MARK_KEY),
    "empty": "",
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_broken_token_is_refused(case: str) -> None:
    with pytest.raises(SignatureRefused):
        jws.verify(REFUSED[case], GLUCOSE, MARK_KEY.public)


def test_a_token_is_not_of_another_resource() -> None:
    with pytest.raises(SignatureRefused):
        jws.verify(GOOD, GLUCOSE.replace(b"6.3", b"6.4"), MARK_KEY.public)


def test_a_token_is_not_by_a_key_of_the_same_id() -> None:
    with pytest.raises(SignatureRefused):
        jws.verify(GOOD, GLUCOSE, replace(MARK_KEY.public, public=SC_MARK_KEY.public.public))


UNSIGNABLE = {
    "no JSON": b"{",
    "no resource": b"[]",
    "no type": b"{}",
    "name twice": b'{"resourceType":"Basic","id":"a","id":"b"}',
    "name twice below": b'{"resourceType":"Basic","code":{"text":"a","text":"b"}}',
    "fraction of 16 digits": b'{"resourceType":"Basic","value":1.234567890123456}',
    "fraction that would be cut": b'{"resourceType":"Basic","value":100000000000000000000.5}',
    "whole number of 16 digits": b'{"resourceType":"Basic","value":1234567890123456}',
    "beyond a double": b'{"resourceType":"Basic","value":1e999}',
    "NaN": b'{"resourceType":"Basic","value":NaN}',
    "lone surrogate": b'{"resourceType":"Basic","id":"\\ud800"}',
    "other encoding": '{"resourceType":"Basic","id":"肝功能"}'.encode("gb18030"),
    "two bytes a character": '{"resourceType":"Basic"}'.encode("utf-16"),
}


@pytest.mark.parametrize("case", UNSIGNABLE)
def test_what_would_be_signed_as_something_else_is_refused(case: str) -> None:
    with pytest.raises(SignatureRefused):
        jws.canonical(UNSIGNABLE[case])


@given(
    value=st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**8), max_value=10**8)
)
def test_a_number_is_signed_as_the_number_that_it_is(value: Any) -> None:
    signed = jws.canonical(b'{"resourceType":"Basic","value":%b}' % f"{value:f}".encode())
    assert float(json.decode(signed)["value"]) == float(value)


@given(text=st.text(max_size=80))
def test_text_that_is_no_token_is_refused_as_such(text: str) -> None:
    with pytest.raises(SignatureRefused):
        jws.verify(text, GLUCOSE, MARK_KEY.public)
    with pytest.raises(SignatureRefused):
        jws.key_id(text)


def test_the_signature_fits_into_a_fhir_signature() -> None:
    assert len(base64.b64encode(GOOD.encode())) <= 256
