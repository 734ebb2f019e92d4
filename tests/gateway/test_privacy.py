"""Nothing that the gateway writes, sends or answers tells who a patient is: a sweep over all of it.

A whole day of one synthetic person passes through a gateway with a Redis, a node, a node that throws the
question back and one that is away. Afterwards the person's number, name and birth date are searched for,
plain and in the encodings that text turns up in.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis as redis_client
from msgspec import Struct
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.demo.peers import redis
from gateway.demo.people import BY_KEY
from gateway.source import create_source
from security.identity import RESIDENT_SYSTEM
from tests.contract.calls import calls, hook, order, parameters
from tests.gateway.live import NODE, OWN, Live, audit, body, gateway_with, source_of
from tests.peers import started as peer_started
from tests.serving import http_answer, misbehave, serve

pytestmark = pytest.mark.xdist_group("privacy")  # one worker starts its servers

PERSON = BY_KEY["ding"]
NUMBER = PERSON.number
PATIENT = {"type": "resident-id", "value": NUMBER}
BORN = PERSON.birth_date
OWN_WORDS = {"request_id", "name", "text", "userComment", "resourceType", "local_name"}
"""Where a caller names things in its own words, as a supposed case is altogether, and gets them back."""
TOLD = (NUMBER, PERSON.name, BORN.isoformat(), f"{BORN:%Y%m%d}", f"Huanzhe {PERSON.pinyin}")


class Day(Struct):
    """What there is to search: the gateway, what it answered, and the lines of requests to its nodes."""

    live: Live
    answers: list[httpx.Response]
    addresses: list[str]


class Noted:
    """An ASGI application whose requests' addresses are noted."""

    def __init__(self, app: ASGIApp, seen: list[str]) -> None:
        self._app = app
        self._seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._seen.append(f"{scope['path']}?{scope['query_string'].decode()}")
        await self._app(scope, receive, send)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    folder, addresses = tmp_path_factory.mktemp("privacy"), list[str]()

    def thrown_back(line: str, asked: bytes) -> bytes:
        addresses.append(line)
        return http_answer(asked, f"500 {NUMBER}", headers={"Location": f"/{NUMBER}"})

    with ExitStack() as stack:
        shared = stack.enter_context(peer_started(lambda: redis(tmp_path_factory.mktemp("redis"))))
        stack.enter_context(source_of(folder))  # fills the file that the noted node serves
        source = create_source(folder / f"{NODE}.sqlite3", institution=OWN)
        url = stack.enter_context(serve(Noted(source, addresses)))
        mirror = stack.enter_context(misbehave(thrown_back))
        nodes: list[dict[str, Any]] = [
            {"id": NODE, "kind": "fhir", "url": url, "institution": OWN, "timeout_ms": 7000},
            {"id": "mirror", "kind": "fhir", "url": mirror, "institution": "EX-CQ-02"},
            {"id": "away", "kind": "fhir", "url": "http://127.0.0.1:9", "institution": "EX-CQ-02"},
            {"id": "archive", "kind": "dicomweb", "url": mirror, "institution": OWN, "identity": NODE},
        ]
        live = stack.enter_context(
            gateway_with(folder, nodes, redis=shared.url, cache_s=300, cache_empty_s=300)
        )
        yield Day(live, list(passed(live)), addresses)


def passed(live: Live) -> Iterator[httpx.Response]:
    """The answers of a day: what is right, what is refused, and the number where none belongs."""
    his, auditor, nobody = live.client(), live.client("auditor"), live.client("")
    for face, call in calls(live).items():
        yield call.send(live, call.fresh())
        for place in call.texts():
            if face != "explain" and not OWN_WORDS & set(place):
                yield call.send(live, call.spoilt(place, NUMBER))
    checked = his.post("/api/v1/checks", json=body("白蛋白", "胸部CT平扫", patient=NUMBER))
    yield checked
    yield his.post("/api/v1/checks", json=body(patient=NUMBER, break_glass={"reason": "昏迷，急诊抢救"}))
    yield his.post("/api/v1/checks", json=body(patient=NUMBER, break_glass={"reason": NUMBER}))
    yield his.post("/api/v1/checks", json=body(patient=f"{NUMBER[:-1]}?"))
    yield his.post("/fhir/ServiceRequest/$check-recognition", json=parameters(order(), order()))
    yield his.post("/cds-services/result-recognition", json=hook(order()))
    yield from seen(his, nobody)
    answer = checked.json()
    marked = next(one for one in answer["verdicts"] if one.get("mark"))
    outcome = {"result": marked["result"]["id"], "outcome": "declined", "system": "platform-A", "code": "99"}
    yield his.post(f"/api/v1/checks/{answer['id']}/outcomes", json=outcome | {"text": "慢病"})
    said = his.post("/api/v1/consents", json={"patient": PATIENT, "decision": "deny"})
    yield said
    yield his.post("/api/v1/checks", json=body(patient=NUMBER))
    yield his.post("/api/v1/consents/search", json={"patient": PATIENT})
    yield his.get(f"/api/v1/consents/{said.json()['id']}")
    yield his.post(f"/api/v1/consents/{said.json()['id']}/revocation", json={"patient": PATIENT})
    yield his.post("/fhir/Consent/_search", data={"patient:identifier": f"{RESIDENT_SYSTEM}|{NUMBER}"})
    yield his.post("/fhir/Consent/_search", data={NUMBER: NUMBER})
    mark = f"/api/v1/marks/{marked['mark']['id']}"
    for path in (mark, f"{mark}.svg", f"{mark}/proof", "/api/v1/withdrawals", "/trust/status", "/metrics"):
        yield his.get(path)
    yield his.get(f"/fhir/Provenance/{marked['mark']['id']}")
    yield live.client("own-steward").post(f"{mark}/withdrawal", json={"reason": "report-amended"})
    yield auditor.get("/fhir/AuditEvent", params={"_count": 100})
    yield live.client("operator").get("/api/v1/doctor")
    yield nobody.get("/health/ready")
    token = {"grant_type": "client_credentials", "client_assertion": NUMBER, NUMBER: NUMBER}
    yield nobody.post("/oauth/token", data=token)
    yield nobody.get(
        "/api/v1/checks/1", headers={"Authorization": f"Bearer {NUMBER}", "X-Request-Id": NUMBER}
    )
    for path in ("/api/v1/checks", "/api/v1/consents", "/api/v1/marks", "/fhir/Consent", "/fhir/AuditEvent"):
        yield his.get(f"{path}/{NUMBER}")
        yield nobody.get(f"{path}/{NUMBER}", params={"access_token": NUMBER})


def seen(his: httpx.Client, viewer: httpx.Client) -> Iterator[httpx.Response]:
    """The answers of a viewing, and the number where none belongs."""
    patient = {"type": "resident-id", "value": NUMBER}
    opened = his.post("/api/v1/viewings", json={"patient": patient, "planned": [{"name": "胸部CT平扫"}]})
    yield opened
    yield his.post("/api/v1/viewings", json={"patient": patient, "study_uid": NUMBER})
    yield his.get(f"/api/v1/viewings/{NUMBER}")
    token = {"Authorization": f"Bearer {opened.json()['token']}"}
    for path in (
        f"studies?PatientID={NUMBER}",
        f"studies?PatientName={NUMBER}&fuzzymatching=true",
        f"studies?{NUMBER}={NUMBER}",
        f"studies?limit={NUMBER}x",
        f"nodes/{NUMBER}/studies",
        "nodes/archive/studies",
        f"studies/1.{NUMBER}/series",
        f"studies/1.{NUMBER}/metadata",
        f"wado?requestType=WADO&studyUID={NUMBER}&seriesUID=1&objectUID=1",
    ):
        yield viewer.get(f"/dicomweb/{path}", headers=token)
    yield his.delete(f"/api/v1/viewings/{opened.json()['id']}")


def told_in(found: bytes) -> list[str]:
    """What of the person stands in these bytes."""
    return [text for text in TOLD if any(form in found for form in forms(text))]


def forms(text: str) -> list[bytes]:
    """A text as bytes: plain, escaped, in hexadecimal, and in base64 at any place."""
    raw = text.encode()
    base64 = [
        b64encode(bytes(shift) + raw)[(8 * shift + 5) // 6 : (shift + len(raw)) * 8 // 6]
        for shift in range(3)
    ]
    return [raw, json.dumps(text)[1:-1].encode(), raw.hex().encode(), text.encode("utf-16-le"), *base64]


def test_the_sweep_finds_what_there_is() -> None:
    for text in TOLD:
        for shift in ("", "a", "ab"):
            assert text in told_in(b64encode(f"{shift}{text} and more".encode()))
        assert text in told_in(json.dumps({"x": text}).encode())


def test_no_answer_names_the_person(day: Day) -> None:
    statuses = {answer.status_code for answer in day.answers}
    assert {200, 400, 401, 404, 422} <= statuses
    assert not {500, 503} & statuses
    told = [(str(answer.request.url), told_in(answer.content)) for answer in day.answers]
    assert [one for one in told if one[1]] == []


def test_no_header_of_an_answer_names_the_person(day: Day) -> None:
    assert [found for answer in day.answers if (found := told_in(str(answer.headers).encode()))] == []


def test_no_address_that_a_node_is_asked_at_names_the_person(day: Day) -> None:
    assert any("Observation/_search" in address for address in day.addresses)
    assert told_in("\n".join(day.addresses).encode()) == []


def test_no_log_and_no_metric_names_the_person(day: Day) -> None:
    assert {event["node"] for event in day.live.events("node_failed")} >= {"mirror", "away"}
    metrics = day.live.client("").get("/metrics").content
    assert told_in(day.live.log.getvalue().encode() + metrics) == []


def test_no_byte_of_the_files_names_the_person(day: Day) -> None:
    files = [file for file in day.live.settings.data_dir.rglob("*") if file.is_file()]
    assert day.live.store in files
    assert [(file.name, told) for file in files if (told := told_in(file.read_bytes()))] == []


def test_no_key_and_no_value_in_redis_names_the_person(day: Day) -> None:
    with redis_client.Redis.from_url(day.live.settings.redis) as shared:
        held = {key: shared.get(key) for key in shared.scan_iter()}
    assert {key.split(b"|")[1] for key in held if b"|" in key} >= {b"mark", b"answer"}
    assert told_in(b"\n".join(part for pair in held.items() for part in pair if part)) == []


def test_no_export_names_the_person_with_all_its_payloads(day: Day, tmp_path: Path) -> None:
    assert audit(day.live, tmp_path / "export") == []
    files = {file.name: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert "secrets.jsonl" in files
    assert [(name, told) for name, content in files.items() if (told := told_in(content))] == []
