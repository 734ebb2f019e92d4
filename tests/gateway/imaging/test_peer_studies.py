"""Questions of other gateways for imaging studies: who asks, what is told, what is on record."""

from __future__ import annotations

import hashlib
import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters import Store
from gateway.demo.people import BY_KEY
from gateway.keyring import make_keys
from security.ledger import Entry, read_entry
from tests.gateway.live import CLIENTS, NODE, OTHER, OWN, Live, reading, settings_for
from tests.gateway.test_access import HEADER, MINE, OTHERS, THUMB, over_socket

ME, SILENT = BY_KEY["jia"], BY_KEY["jie"]


def asked(number: str = ME.number, **changes: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    question = {"id": uuid.uuid4().hex, "at": now.isoformat(), "receiver": OTHER, "budget_ms": 5000}
    question |= {"hops": 0, "salt": "s", "ends": (now + timedelta(minutes=5)).isoformat()}
    return question | {"person": {"type": "resident-id", "value": number}} | changes


def post(live: Live, sent: dict[str, Any], client: str = "peer") -> httpx.Response:
    return live.client(client).post("/api/v1/studies", json=sent)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def viewer(live: Live, token: str) -> httpx.Client:
    return httpx.Client(base_url=live.url, headers=bearer(token), timeout=30, trust_env=False)


def entries(live: Live) -> list[tuple[Entry, dict[str, Any]]]:
    """The ledger with what its payloads say."""

    async def read(store: Store) -> list[tuple[Entry, dict[str, Any]]]:
        found = list[tuple[Entry, dict[str, Any]]]()
        for entry in map(read_entry, await store.entries(0, 10_000)):
            secret = await store.secret(entry.commit)
            told = secret is not None and secret.payload[:1] == b"{"
            found.append((entry, json.loads(secret.payload) if secret and told else {}))
        return found

    return reading(live, read)


def test_a_gateway_is_told_the_states_of_the_archives_and_how_images_are_had(gateway: Live) -> None:
    answer = post(gateway, asked())
    assert answer.status_code == 200, answer.text
    told = answer.json()
    (report,) = told["nodes"]
    assert (told["studies"], report["node"], report["state"], report["fault"]) == ([], NODE, "skipped", "")
    with viewer(gateway, told["token"]) as client:
        assert client.get("/dicomweb/studies").status_code == 204


def test_who_asks_again_for_the_same_viewing_gets_its_token_again(gateway: Live) -> None:
    first, second = asked(), asked()
    told = post(gateway, first).json()["token"]
    assert post(gateway, second | {"ends": first["ends"]}).json()["token"] == told
    others = [second, asked(ends=first["ends"], receiver=OWN), asked(SILENT.number, ends=first["ends"])]
    assert told not in [post(gateway, other).json()["token"] for other in others]


@pytest.mark.parametrize(
    "changes",
    [
        {"ends": "2020-01-01T00:00:00Z"},
        {"ends": "2020-01-01"},
        {"receiver": "EX-ZZ-99"},
        {"purpose": "SPAM"},
        {"person": {"type": "resident-id", "value": "990000198001010017"}},
        {"params": [["PatientID", "M0001"]]},
        {"params": [["00100020", "M0001"]]},
        {"params": [["StudyInstanceUID", "../.."]]},
        {"params": [["StudyDate", "yesterday"]]},
        {"params": [["StudyDate"]]},
        {"since": "2020-01-01T00:00:00Z"},
    ],
)
def test_a_question_that_cannot_be_is_refused_and_nobody_is_asked(
    gateway: Live, changes: dict[str, Any]
) -> None:
    before = gateway.kept()
    answer = post(gateway, asked(**changes))
    assert answer.status_code in (400, 422)
    assert ME.number not in answer.text
    assert gateway.kept() == before


@pytest.mark.parametrize("client", ["", "his", "auditor", "publisher", "operator"])
def test_only_gateways_ask(gateway: Live, client: str) -> None:
    assert post(gateway, asked(), client).status_code in (401, 403)


def test_who_has_not_consented_is_not_told_of_and_no_token_is_given(gateway: Live) -> None:
    patient = {"type": "resident-id", "value": SILENT.number}
    made = gateway.client().post("/api/v1/consents", json={"patient": patient, "decision": "deny"})
    answer = post(gateway, asked(SILENT.number)).json()
    path = f"/api/v1/consents/{made.json()['id']}/revocation"
    gateway.client().post(path, json={"patient": patient}).raise_for_status()
    (report,) = answer["nodes"]
    assert (answer["studies"], answer["token"]) == ([], "")
    assert (report["state"], report["fault"]) == ("skipped", "caller")


def test_question_and_answer_are_on_record_and_the_token_is_not(gateway: Live, his: httpx.Client) -> None:
    token = post(gateway, asked()).json()["token"]
    found = entries(gateway)[-3:]
    assert [entry.type for entry, _ in found] == ["question", "answer", "answer"]
    assert {entry.binds for entry, _ in found[1:]} == {found[0][0].commit}
    assert found[0][1]["type"] == "ImagingStudy"
    assert token not in json.dumps([payload for _, payload in found]) + gateway.log.getvalue()


def test_the_token_of_a_gateway_that_is_bound_to_a_certificate_opens_nothing_without_it(
    tmp_path: Path,
) -> None:
    peer = {"id": "peer", "roles": ["peer"], "certificates": [THUMB]}
    peer |= {"token_sha256": hashlib.sha256(b"a fixed token").hexdigest()}
    behind_proxy = {"uds": tmp_path / "gateway.sock", "client_certificate_header": HEADER}
    settings = settings_for(tmp_path, dict.fromkeys(CLIENTS, ""), [], clients=[peer])
    settings = settings.model_copy(update=behind_proxy)
    make_keys(settings)
    with over_socket(settings) as http:
        given = http.post("/api/v1/studies", json=asked(), headers=bearer("a fixed token") | {HEADER: MINE})
        token = bearer(given.json()["token"])
        answers = [http.get("/dicomweb/studies", headers=token | {HEADER: one}) for one in (MINE, OTHERS)]
        answers.append(http.get("/dicomweb/studies", headers=token))
    assert [answer.status_code for answer in answers] == [204, 401, 401]
