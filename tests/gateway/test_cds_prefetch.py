"""A CDS Hooks call without its prefetch: the Patient is fetched where the operator allows it, or 412."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from msgspec import Struct

from tests.contract.calls import hook, order, patient
from tests.gateway.live import NODE, OWN, PATIENT, Live, gateway_with, source_of
from tests.serving import Reply, misbehave

SERVICE = "/cds-services/result-recognition"
TOKEN = "a-token-of-the-hospital.0123456789"
DEADLINE_MS = 800


class Server:
    """A hospital's FHIR server: what it was asked, and what it answers."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: Callable[[], Reply] = right

    def reply(self, first: str, _: bytes) -> Reply:
        self.asked.append(first)
        return self.answer()


class Case(Struct):
    """A gateway whose client ``his`` may name the FHIR server, and that server."""

    live: Live
    server: Server
    url: str

    def call(self, client: str = "his", path: str = SERVICE, **changed: Any) -> httpx.Response:
        """The answer to a call that says how to fetch the Patient; what is None is left out."""
        sent = hook(order(id="o1")) | {
            "prefetch": None,
            "fhirServer": f"{self.url}/fhir",
            "fhirAuthorization": {
                "access_token": TOKEN,
                "token_type": "Bearer",
                "expires_in": 300,
                "scope": "patient/Patient.read",
                "subject": "lianren",
            },
        }
        sent |= changed
        left = {name: value for name, value in sent.items() if value is not None}
        return self.live.client(client).post(path, json=left)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    folder = tmp_path_factory.mktemp("prefetch")
    server = Server()
    with (
        source_of(folder) as (source, _),
        misbehave(server.reply) as url,
        misbehave(lambda *_: None) as hanging,
    ):
        nodes = [
            {"id": NODE, "kind": "fhir", "url": source, "institution": OWN, "timeout_ms": 7000},
            {"id": "hanging", "kind": "fhir", "url": hanging, "institution": OWN, "timeout_ms": 7000},
        ]
        clients = [
            {
                "id": name,
                "token_sha256": hashlib.sha256(name.encode()).hexdigest(),
                "institution": OWN,
                "roles": ["his"],
                "requests_per_minute": 100_000,
                "fhir_servers": allowed,
            }
            for name, allowed in (("his", [f"{url}/fhir/"]), ("other", []))
        ]
        with gateway_with(folder, nodes, clients=clients, deadline_ms=DEADLINE_MS) as live:
            live.tokens |= {"his": "his", "other": "other"}
            yield Case(live, server, url)


@pytest.fixture
def case(running: Case) -> Case:
    running.server.asked.clear()
    running.server.answer = right
    return running


def http(status: str, raw: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/fhir+json", f"Content-Length: {len(raw)}"]
    return "\r\n".join([*lines, *headers, "Connection: close", "", ""]).encode() + raw


def right() -> bytes:
    return http("200 OK", json.dumps(patient() | {"id": "p1"}).encode())


def test_the_patient_is_fetched_where_the_call_says_how(case: Case) -> None:
    answer = case.call()
    assert answer.status_code == 200
    assert "不必再开" in answer.json()["cards"][0]["summary"]
    assert case.server.asked == ["GET /fhir/Patient/p1 HTTP/1.1"]


def test_nothing_is_fetched_where_the_patient_came_along(case: Case) -> None:
    assert case.call(prefetch={"patient": patient()}).status_code == 200
    assert case.server.asked == []


def test_an_opened_chart_is_told_of_the_patient_who_was_fetched(case: Case) -> None:
    context = {"userId": "Practitioner/1", "patientId": "p1"}
    answer = case.call(path="/cds-services/result-history", hook="patient-view", context=context)
    assert (answer.status_code, len(answer.json()["cards"])) == (200, 1)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"fhirServer": None}, "prefetch.patient"),
        ({"fhirAuthorization": None}, "prefetch.patient"),
        ({"fhirServer": "http://169.254.169.254/fhir"}, "fhirServer"),
        ({"fhirServer": "file:///etc"}, "fhirServer"),
        ({"fhirServer": "{url}/fhir/../admin"}, "fhirServer"),
        ({"fhirServer": "{url}"}, "fhirServer"),
        ({"fhirServer": "{url}/fhir?x=1"}, "fhirServer"),
    ],
)
def test_no_server_is_asked_that_the_operator_does_not_allow(
    case: Case, changed: dict[str, Any], field: str
) -> None:
    told = {
        name: value.replace("{url}", case.url) if isinstance(value, str) else value
        for name, value in changed.items()
    }
    before = case.live.kept()
    answer = case.call(**told)
    assert (answer.status_code, answer.json()["field"]) == (412, field)
    assert case.server.asked == []
    assert case.live.kept() == before


def test_a_server_is_allowed_to_the_client_that_it_belongs_to_alone(case: Case) -> None:
    assert case.call("other").status_code == 412
    assert case.server.asked == []


@pytest.mark.parametrize("patient_id", ["..", ".", "p1/../../x", "Patient/p1", "p1?x=1", ""])
def test_an_id_that_is_none_goes_into_no_address(case: Case, patient_id: str) -> None:
    call = hook()["context"] | {"patientId": patient_id}
    assert case.call(context=call).status_code == 400
    assert case.server.asked == []


def test_a_persons_number_as_id_goes_into_no_address(case: Case) -> None:
    draft = order(subject={"reference": f"Patient/{PATIENT}"})
    answer = case.call(context=hook(draft)["context"] | {"patientId": PATIENT})
    assert answer.status_code == 412
    assert case.server.asked == []


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX-Other: 1", "令牌", "x" * 8193, 7])
def test_a_token_that_is_none_is_refused(case: Case, token: object) -> None:
    answer = case.call(fhirAuthorization={"access_token": token, "token_type": "Bearer"})
    assert answer.status_code == 400
    assert case.server.asked == []


FAILING: dict[str, Callable[[], Reply]] = {
    "refused": lambda: http("403 Forbidden", b"{}"),
    "unknown": lambda: http("404 Not Found", b"{}"),
    "faulty": lambda: http("500 Oops", b"{}"),
    "redirected": lambda: http("302 Found", b"", "Location: http://169.254.169.254/"),
    "no JSON": lambda: http("200 OK", b"<Patient/>"),
    "no object": lambda: http("200 OK", b"[]"),
    "two ids": lambda: http("200 OK", b'{"resourceType":"Patient","id":"p1","id":"p2"}'),
    "nothing": lambda: b"",
    "packed": lambda: http("200 OK", b"\x1f\x8b\x08\x00", "Content-Encoding: gzip"),
    "without end": lambda: itertools.chain(
        [b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"],
        itertools.repeat(b"10000\r\n" + b" " * 65536 + b"\r\n"),
    ),
    "a head without end": lambda: itertools.chain([b"HTTP/1.1 200 OK\r\n"], itertools.repeat(b"A: b\r\n")),
    "too much": lambda: http("200 OK", b'{"x":"' + b"x" * 2_000_000 + b'"}'),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_server_that_does_not_give_the_patient_is_412(case: Case, name: str) -> None:
    case.server.answer = FAILING[name]
    before = case.live.kept()
    answer = case.call()
    assert (answer.status_code, answer.json()["field"]) == (412, "fhirServer")
    assert case.live.kept() == before


@pytest.mark.parametrize(
    "told",
    [patient() | {"id": "p2"}, {"resourceType": "Practitioner", "id": "p1"}, {"resourceType": "Patient"}],
)
def test_what_is_fetched_is_read_as_strictly_as_what_comes_along(case: Case, told: dict[str, Any]) -> None:
    case.server.answer = lambda: http("200 OK", json.dumps(told).encode())
    assert case.call().status_code == 400


def test_a_server_that_keeps_waiting_costs_less_than_the_deadline(case: Case) -> None:
    case.server.answer = lambda: None
    began = time.monotonic()
    assert case.call().status_code == 412
    assert time.monotonic() - began < DEADLINE_MS / 1000


def test_a_server_that_tells_a_little_at_a_time_costs_less_than_the_deadline(case: Case) -> None:
    def dripping() -> Iterator[bytes]:
        for byte in right():
            time.sleep(0.02)
            yield bytes([byte])

    case.server.answer = dripping
    began = time.monotonic()
    assert case.call().status_code == 412
    assert time.monotonic() - began < DEADLINE_MS / 1000


def test_what_fetching_took_is_gone_from_the_time_for_the_nodes(case: Case) -> None:
    def slow() -> Iterator[bytes]:
        time.sleep(0.3)
        yield right()

    case.server.answer = slow
    with_delay = case.call().json()["extension"]["org.lianren.decision"]["nodes"]
    (hanging,) = [node for node in with_delay if node["node"] == "hanging"]
    assert hanging["state"] == "late"
    assert hanging["took_ms"] < DEADLINE_MS - 250


def test_the_access_token_is_kept_nowhere(case: Case) -> None:
    case.server.answer = FAILING["refused"]
    case.call()
    case.server.answer = right
    case.call()
    assert TOKEN not in case.live.log.getvalue()
    for file in case.live.settings.data_dir.iterdir():
        if file.is_file():
            assert TOKEN.encode() not in file.read_bytes()
