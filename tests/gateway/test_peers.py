"""FHIR searches and reads through other gateways: consent and evidence on both sides, no node exposed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.demo.people import BY_KEY
from tests.gateway.chain import chain
from tests.gateway.live import NODE, OTHER, OWN, Live, audit, gateway_over_source, reading
from tests.gateway.test_reading import payloads_of

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("peers")]  # one worker starts its servers

SYSTEM = "urn:oid:2.16.156.10011.1.3"
ME = BY_KEY["jia"].number
SILENT = BY_KEY["jie"].number


# What another gateway asks


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway over one source."""
    with gateway_over_source(tmp_path_factory.mktemp("answering")) as live:
        yield live


def common(**changes: Any) -> dict[str, Any]:
    asked = {"id": uuid.uuid4().hex, "at": datetime.now(UTC).isoformat(), "receiver": OTHER}
    return asked | {"budget_ms": 5000, "hops": 0, "salt": "s"} | changes


def search_body(number: str = ME, **changes: Any) -> dict[str, Any]:
    since = (datetime.now(UTC) - timedelta(days=3000)).isoformat()
    asked = {"person": {"type": "resident-id", "value": number}, "since": since}
    return common() | asked | {"type": "Observation", "bound": "date"} | changes


def post(live: Live, body: dict[str, Any], path: str = "", client: str = "peer") -> httpx.Response:
    return live.client(client).post(f"/api/v1/resources{path}", json=body)


def found(live: Live, **changes: Any) -> list[dict[str, Any]]:
    answer = post(live, search_body(**changes))
    assert answer.status_code == 200, answer.text
    return list(answer.json()["resources"])


@pytest.fixture(scope="module")
def one(live: Live) -> dict[str, Any]:
    """An observation of the person as a search shows it."""
    return dict(found(live)[0]["resource"])


def read_body(one: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return common(node=NODE, type="Observation", resource=one["id"]) | changes


def test_a_search_shows_the_person_s_resources_with_their_node(live: Live) -> None:
    assert {one["node"] for one in found(live)} == {NODE}
    assert {one["resource"]["resourceType"] for one in found(live)} == {"Observation"}


def test_only_what_meets_the_conditions_leaves_the_house(live: Live) -> None:
    assert found(live, conditions=[["status", "final"]])
    assert found(live, conditions=[["status", "cancelled"]]) == []


def test_a_condition_that_is_not_understood_is_refused(live: Live) -> None:
    assert post(live, search_body(conditions=[["no-such", "x"]])).status_code == 400


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "Consent"},
        {"receiver": "EX-ZZ-99"},
        {"purpose": "SPAM"},
        {"since": "9999-12-31T23:59:59Z"},
        {"since": "0001-01-01T00:00:00+14:00"},
        {"person": {"type": "resident-id", "value": "990000198001010017"}},
        {"bound": "DATE"},
        {"bound": "issued"},
        {"bound": ""},
        {"conditions": [["status"]]},
        {"conditions": [["patient.identifier", f"{SYSTEM}|{ME}"]]},
    ],
)
def test_a_search_that_cannot_be_is_refused_and_nobody_is_asked(live: Live, changes: dict[str, Any]) -> None:
    before = live.kept()
    answer = post(live, search_body(**changes))
    assert answer.status_code in (400, 422)
    assert ME not in answer.text
    assert live.kept() == before


@pytest.mark.parametrize("path", ["", "/read"])
@pytest.mark.parametrize("client", ["", "his", "auditor", "publisher", "operator"])
def test_only_gateways_ask(live: Live, one: dict[str, Any], path: str, client: str) -> None:
    body = read_body(one) if path else search_body()
    assert post(live, body, path, client).status_code in (401, 403)


def test_a_read_shows_the_resource_and_whose_it_is(live: Live, one: dict[str, Any]) -> None:
    answer = post(live, read_body(one), "/read").json()
    (copy,) = answer["resources"]
    assert (copy["resource"], copy["node"]) == (one, NODE)
    assert copy["whose"] == [{"type": "resident-id", "value": ME}]


@pytest.mark.parametrize(
    "changes", [{"resource": "none"}, {"node": "none"}, {"version": "77"}, {"node": f"x/{NODE}"}]
)
def test_what_is_not_there_is_an_empty_answer(
    live: Live, one: dict[str, Any], changes: dict[str, Any]
) -> None:
    answer = post(live, read_body(one, **changes), "/read")
    assert (answer.status_code, answer.json()["resources"]) == (200, [])


def test_what_a_person_does_not_want_shown_is_not_told_to_a_gateway(live: Live) -> None:
    (one, *_) = found(live, number=SILENT)
    patient = {"type": "resident-id", "value": SILENT}
    live.client().post("/api/v1/consents", json={"patient": patient, "decision": "deny"}).raise_for_status()
    searched = post(live, search_body(SILENT)).json()
    read = post(live, read_body(one["resource"]), "/read").json()
    for answer in (searched, read):
        (report,) = answer["nodes"]
        assert (answer["resources"], report["state"], report["fault"]) == ([], "skipped", "caller")
        assert "consent" in report["detail"]


def test_what_is_answered_is_in_the_ledger_without_the_number(live: Live, tmp_path: Path) -> None:
    asked = search_body()
    post(live, asked).raise_for_status()
    payloads = reading(live, lambda store: payloads_of(store, asked["id"]))
    assert [kind for kind, _ in payloads] == ["question", "answer", "answer"]
    assert (payloads[0][1]["receiver"], payloads[0][1]["type"]) == (OTHER, "Observation")
    assert ME not in json.dumps(payloads) + live.log.getvalue()
    assert audit(live, tmp_path) == []


# What hospitals see of it


@pytest.fixture(scope="module")
def gateways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Live]]:
    with chain(tmp_path_factory.mktemp("chain")) as gateways:
        yield gateways


WAY = f"gw-lab8/gw-cq/{NODE}"


def searched(live: Live, number: str = ME, type_: str = "Observation", **parameters: Any) -> dict[str, Any]:
    form = {"patient.identifier": f"{SYSTEM}|{number}"} | parameters
    answer = live.client("other").post(f"/fhir/{type_}/_search", data=form)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def matches(bundle: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for entry in bundle["entry"] if entry["search"]["mode"] == "match"]


def test_a_search_passes_two_gateways_and_says_the_whole_way(gateways: dict[str, Live]) -> None:
    bundle = searched(gateways["sc"])
    places = {
        entry["fullUrl"].partition("/fhir/")[2].rpartition("/Observation/")[0] for entry in matches(bundle)
    }
    assert places == {f"nodes/{WAY}"}


@pytest.mark.parametrize(("date", "some"), [("ge1990-01-01", True), ("ge2100-01-01", False)])
def test_a_time_that_is_long_ago_or_to_come_is_asked_for_behind_gateways_too(
    gateways: dict[str, Live], date: str, some: bool
) -> None:
    bundle = searched(gateways["sc"], date=date)
    assert (matches(bundle) != [], "incomplete" in json.dumps(bundle)) == (some, False)


def test_every_address_that_a_search_gave_is_served_with_the_same_bytes(gateways: dict[str, Live]) -> None:
    client = gateways["sc"].client("other")
    for entry in matches(searched(gateways["sc"]))[:3]:
        path = entry["fullUrl"].partition("/fhir/")[2]
        answer = client.get(f"/fhir/{path}")
        assert answer.status_code == 200, answer.text
        assert answer.json() == entry["resource"]
        patient = entry["resource"]["subject"]["reference"]
        there = client.get(f"/fhir/nodes/{WAY}/{patient}").json()
        assert any(one["value"] == ME for one in there["identifier"])


def test_a_person_can_be_searched_by_the_address_of_the_patient_there(gateways: dict[str, Live]) -> None:
    one = matches(searched(gateways["sc"]))[0]
    base, patient = one["fullUrl"].partition("/nodes/")[0], one["resource"]["subject"]["reference"]
    for address in (f"{base}/nodes/{WAY}/{patient}", f"nodes/{WAY}/{patient}"):
        answer = gateways["sc"].client("other").get("/fhir/Observation", params={"patient": address})
        assert answer.status_code == 200, answer.text
        assert matches(answer.json())


def test_every_gateway_on_the_way_has_the_exchange_in_its_ledger(
    gateways: dict[str, Live], tmp_path: Path
) -> None:
    id_ = searched(gateways["sc"])["id"]
    for owner, live in gateways.items():
        payloads = reading(live, lambda store: payloads_of(store, id_))
        assert payloads[-1][1]["resources"] > 0
        assert ME not in json.dumps(payloads)
        signed = [payload for _, payload in payloads if "signed" in payload]
        assert bool(signed) == (owner != "cq")
        assert audit(live, tmp_path / owner) == []


def test_a_gateway_is_held_to_what_comes_along_too(gateways: dict[str, Live]) -> None:
    bundle = searched(gateways["sc"], type_="DiagnosticReport", _include="DiagnosticReport:subject")
    assert len(matches(bundle)) < len(bundle["entry"]) - 1
    payloads = reading(gateways["sc"], lambda store: payloads_of(store, bundle["id"]))
    assert len([payload for _, payload in payloads if "signed" in payload]) == 2


def test_no_gateway_is_asked_twice_and_none_goes_unnamed(gateways: dict[str, Live]) -> None:
    asked = gateways["cq"].node
    assert asked
    searched(gateways["sc"])
    before = asked.requests
    bundle = searched(gateways["sc"])
    assert asked.requests - before <= 2
    told = json.dumps(bundle["entry"][-1])
    assert NODE in told
    assert "gw-cq" in told


def test_who_does_not_consent_at_a_gateway_on_the_way_is_not_shown(gateways: dict[str, Live]) -> None:
    sc, cq = gateways["sc"], gateways["cq"]
    before = matches(searched(sc, SILENT))
    patient = {"type": "resident-id", "value": SILENT}
    cq.client().post("/api/v1/consents", json={"patient": patient, "decision": "deny"}).raise_for_status()
    path = before[0]["fullUrl"].partition("/fhir/")[2]
    answer = sc.client("other").get(f"/fhir/{path}")
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (403, "suppressed")
    assert matches(searched(sc, SILENT)) == []


def test_an_archive_s_and_a_gateway_s_own_address_are_no_resources(gateways: dict[str, Live]) -> None:
    client = gateways["sc"].client("other")
    for way in ("gw-lab8", "gw-lab8/gw-cq", f"gw-cq/{NODE}", f"gw-lab8/{NODE}", f"{WAY}/{OWN.lower()}"):
        assert client.get(f"/fhir/nodes/{way}/Observation/o1").status_code == 404
