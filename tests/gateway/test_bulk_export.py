"""``$export``: decisions and AuditEvents for auditors, as a cut that is written while it is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest
from fhir.resources.R4B.auditevent import AuditEvent
from fhir.resources.R4B.parameters import Parameters

from gateway.ids import new_id
from gateway.model import CheckAnswer
from tests.gateway.live import Live, ask, body, gateway_over_source

ASYNC = {"Prefer": "respond-async"}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with gateway_over_source(tmp_path_factory.mktemp("live")) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def answer(live: Live) -> CheckAnswer:
    return ask(live.client("his"), body())


def begun(live: Live, query: str = "", client: str = "auditor") -> str:
    """The address of the status of an export."""
    response = live.client(client).get(f"/fhir/$export{query}", headers=ASYNC)
    assert response.status_code == 202, response.text
    return urlsplit(response.headers["Content-Location"]).path


def manifest(live: Live, address: str) -> dict[str, Any]:
    response = live.client("auditor").get(address)
    assert response.status_code == 200, response.text
    return dict(response.json())


def lines(live: Live, address: str) -> list[dict[str, Any]]:
    response = live.client("auditor").get(address)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/fhir+ndjson")
    return [msgspec.json.decode(line) for line in response.content.splitlines()]


def output(live: Live, query: str) -> list[dict[str, Any]]:
    return [
        line
        for file in manifest(live, begun(live, query))["output"]
        for line in lines(live, urlsplit(file["url"]).path)
    ]


def refused(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["issue"][0]["details"]["coding"][0]["code"]


def test_the_manifest_names_a_file_of_each_type(live: Live, answer: CheckAnswer) -> None:
    told = manifest(live, begun(live))
    assert [file["type"] for file in told["output"]] == ["AuditEvent", "Parameters"]
    assert told["requiresAccessToken"] is True
    assert told["error"] == []


def test_it_says_what_was_asked_for_and_of_when_it_is(live: Live, answer: CheckAnswer) -> None:
    told = manifest(live, begun(live, "?_type=AuditEvent"))
    assert told["request"] == f"{live.settings.base_url}/fhir/$export?_type=AuditEvent"
    assert datetime.fromisoformat(told["transactionTime"]) <= datetime.now(UTC)


def test_every_entry_before_the_export_is_an_audit_event_in_it(live: Live, answer: CheckAnswer) -> None:
    (file,) = manifest(live, begun(live, "?_type=AuditEvent"))["output"]
    found = lines(live, urlsplit(file["url"]).path)
    assert len(found) == file["count"]
    assert answer.ledger.entry in {event["id"] for event in found}
    for event in found:
        AuditEvent.model_validate(event)


def test_a_decision_is_the_parameters_that_were_answered(live: Live, answer: CheckAnswer) -> None:
    (found,) = (one for one in output(live, "?_type=Parameters") if one["id"] == answer.id)
    Parameters.model_validate(found)
    assert {"name": "decision", "valueId": answer.id} in found["parameter"]


def test_what_comes_later_is_not_in_it(live: Live, answer: CheckAnswer) -> None:
    address = begun(live)
    later = ask(live.client("his"), body())
    files = manifest(live, address)["output"]
    text = msgspec.json.encode([lines(live, urlsplit(file["url"]).path) for file in files]).decode()
    assert answer.id in text
    assert later.id not in text
    assert later.ledger.entry not in text


def test_what_is_older_than_since_is_not_in_it(live: Live, answer: CheckAnswer) -> None:
    moment = (datetime.now(UTC) + timedelta(minutes=1)).isoformat().replace("+", "%2B")
    assert output(live, f"?_since={moment}") == []


@pytest.mark.parametrize("zone", ["%2B14:00", "-14:00", "Z"])
@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00", "1960-01-01T00:00:00", "9999-12-31T23:59:59"])
def test_any_instant_may_be_the_beginning(live: Live, answer: CheckAnswer, moment: str, zone: str) -> None:
    found = output(live, f"?_since={moment}{zone}")
    assert (answer.id in {one["id"] for one in found}) == (moment < "9999")


def test_what_was_ignored_is_not_kept(live: Live) -> None:
    lenient = {"Prefer": "respond-async, handling=lenient"}
    response = live.client("auditor").get("/fhir/$export?_type=AuditEvent&patient=1", headers=lenient)
    told = manifest(live, urlsplit(response.headers["Content-Location"]).path)
    assert told["request"].partition("?")[2] == "_type=AuditEvent"


def test_no_number_of_a_person_is_in_it(live: Live, answer: CheckAnswer) -> None:
    assert "990000" not in msgspec.json.encode(output(live, "")).decode()


def test_parameters_ask_for_it_as_well(live: Live) -> None:
    sent = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "_type", "valueString": "AuditEvent"},
            {"name": "_since", "valueInstant": "2026-01-01T00:00:00+08:00"},
        ],
    }
    media = {"Content-Type": "application/fhir+json"}
    response = live.client("auditor").post("/fhir/$export", json=sent, headers=ASYNC | media)
    assert response.status_code == 202, response.text
    told = manifest(live, urlsplit(response.headers["Content-Location"]).path)
    assert [file["type"] for file in told["output"]] == ["AuditEvent"]


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {}),
        ("?_type=Patient", ASYNC),
        ("?_since=yesterday", ASYNC),
        ("?_since=2026-11-22T08:00:00", ASYNC),
        ("?_outputFormat=csv", ASYNC),
        ("?_typeFilter=AuditEvent", ASYNC),
    ],
)
def test_what_is_not_offered_is_refused(live: Live, query: str, headers: dict[str, str]) -> None:
    response = live.client("auditor").get(f"/fhir/$export{query}", headers=headers)
    assert refused(response) == (400, "bad-parameter")


@pytest.mark.parametrize("client", ["his", "operator", "steward"])
def test_nobody_but_an_auditor_exports(live: Live, client: str) -> None:
    before = live.kept()
    assert refused(live.client(client).get("/fhir/$export", headers=ASYNC)) == (403, "not-permitted")
    assert live.kept() == before


def test_an_export_is_its_client_s_alone(live: Live) -> None:
    address = begun(live)
    assert refused(live.client("reader").get(address)) == (404, "not-found")
    assert refused(live.client("reader").get(f"{address}/AuditEvent-1.ndjson")) == (404, "not-found")


@pytest.mark.parametrize("name", ["AuditEvent-2.ndjson", "Patient-1.ndjson", "x"])
def test_a_file_that_it_does_not_have_is_not_found(live: Live, name: str) -> None:
    assert refused(live.client("auditor").get(f"{begun(live)}/{name}")) == (404, "not-found")


def test_a_dropped_export_is_over(live: Live) -> None:
    address = begun(live)
    assert live.client("auditor").delete(address).status_code == 202
    assert refused(live.client("auditor").get(address)) == (404, "not-found")


def test_one_that_never_was_is_not_found(live: Live) -> None:
    response = live.client("auditor").get(f"/fhir/_export/{new_id(datetime.now(UTC))}")
    assert refused(response) == (404, "not-found")


def test_beginning_and_reading_are_recorded(live: Live) -> None:
    before = live.kept()[0]
    address = begun(live)
    assert live.kept()[0] == before + 1
    lines(live, urlsplit(manifest(live, address)["output"][0]["url"]).path)
    assert live.kept()[0] == before + 2
