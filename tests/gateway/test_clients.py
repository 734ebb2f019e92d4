"""Who may ask what: without a token nothing is told, and a missing role is named."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.gateway.live import STRANGER, Live, body, gateway_with

WRONG = ["", "Bearer", "Bearer wrong", "Basic aGlzOmhpcw==", "Bearer \xff\xfe", "bearer\twrong"]
DOORS = [
    ("POST", "/api/v1/checks"),
    ("GET", "/api/v1/checks/1"),
    ("POST", "/api/v1/checks/1/outcomes"),
    ("POST", "/api/v1/results"),
    ("POST", "/api/v1/resources"),
    ("POST", "/api/v1/resources/read"),
    ("POST", "/fhir/ServiceRequest/$check-recognition"),
    ("POST", "/cds-services/result-recognition"),
    ("POST", "/cds-services/result-recognition/feedback"),
]
PEER_QUESTION = {
    "id": "1",
    "person": {"type": "resident-id", "value": STRANGER},
    "kinds": ["lab"],
    "since": "2026-01-01T00:00:00Z",
    "at": "2026-11-20T00:00:00Z",
    "receiver": "EX-SC-01",
    "budget_ms": 1000,
    "hops": 0,
}


@pytest.mark.parametrize(("method", "path"), DOORS)
def test_every_door_is_shut_without_a_token(gateway: Live, method: str, path: str) -> None:
    answer = gateway.client("").request(method, path, json={} if method == "POST" else None)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_terse_refusal_does_not_tell_which_part_of_a_token_was_wrong(tmp_path: Path) -> None:
    told = set()
    with gateway_with(tmp_path, [], refusals="terse") as terse:
        for header in WRONG:
            headers = [(b"Authorization", header.encode("latin-1"))] if header else []
            answer = terse.client("").post("/api/v1/checks", headers=headers, json=body())
            told.add((answer.status_code, answer.json()["detail"]))
        reasons = {event["reason"] for event in terse.events("request_refused")}
    assert len(told) == 1
    assert len(reasons) == 3  # no header, no bearer token in it, nobody's token


def test_a_terse_refusal_names_no_role_and_the_log_does(tmp_path: Path) -> None:
    with gateway_with(tmp_path, [], refusals="terse") as terse:
        answer = terse.client("auditor").post("/api/v1/checks", json=body())
        (event,) = terse.events("request_refused")
    assert (answer.status_code, "role" in answer.json()["detail"]) == (403, False)
    assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_scope"'
    assert "role his" in event["reason"]
    assert event["request"] == answer.json()["request"]


def test_a_wrong_token_is_told_apart_from_none(gateway: Live) -> None:
    """RFC 6750 section 3: a client drops a token that does not count, and gets another."""
    headers = {"Authorization": "Bearer wrong"}
    answer = gateway.client("").post("/api/v1/checks", headers=headers, json=body())
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


def test_two_tokens_at_once_are_none(gateway: Live) -> None:
    known = f"Bearer {gateway.tokens['his']}".encode()
    headers = [(b"Authorization", known), (b"Authorization", b"Bearer x")]
    assert gateway.client("").post("/api/v1/checks", headers=headers, json=body()).status_code == 401


def test_a_token_is_asked_for_before_the_body_is_read(gateway: Live) -> None:
    assert gateway.client("").post("/api/v1/checks", content=b"{").status_code == 401


@pytest.mark.parametrize(
    ("client", "path", "asked", "role"),
    [
        ("auditor", "/api/v1/checks", body(), "his"),
        ("reader", "/api/v1/checks", body(), "his"),
        ("peer", "/api/v1/checks", body(), "his"),
        ("his", "/api/v1/results", PEER_QUESTION, "peer"),
        ("auditor", "/api/v1/results", PEER_QUESTION, "peer"),
    ],
)
def test_a_missing_role_is_named(
    gateway: Live, client: str, path: str, asked: dict[str, object], role: str
) -> None:
    answer = gateway.client(client).post(path, json=asked)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["fault"]) == (403, "not-permitted", "caller")
    assert f"role {role}" in problem["detail"]


def test_who_speaks_for_no_institution_asks_nothing(gateway: Live) -> None:
    before = gateway.kept()
    answer = gateway.client("nobody").post("/api/v1/checks", json=body())
    assert (answer.status_code, answer.json()["code"]) == (403, "not-permitted")
    assert gateway.kept() == before


def test_another_gateway_reads_no_answers(gateway: Live, his: httpx.Client) -> None:
    given = his.post("/api/v1/checks", json=body()).json()
    answer = gateway.client("peer").get(f"/api/v1/checks/{given['id']}")
    assert (answer.status_code, "lianren/check" in answer.json()["detail"]) == (403, True)


@pytest.mark.parametrize(
    "path", ["/health/live", "/health/ready", "/metrics", "/trust/keys", "/openapi.json"]
)
def test_what_tells_nothing_of_a_person_needs_no_token(gateway: Live, path: str) -> None:
    assert gateway.client("").get(path).status_code == 200


def test_an_operator_sees_what_the_doctor_finds_and_nothing_of_patients(gateway: Live) -> None:
    found = gateway.client("operator").get("/api/v1/doctor").json()
    assert {"store", "key token Ed25519", "node cq-his"} <= {finding["what"] for finding in found["findings"]}
    assert gateway.client("operator").post("/api/v1/checks", json=body()).status_code == 403
    assert gateway.client("his").get("/api/v1/doctor").status_code == 403
