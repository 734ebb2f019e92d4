"""Organizations, practitioners and endpoints: of the catalogue, and of what was published."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.resources.identities import CREDIT_CODE
from security.identity import RESIDENT_SYSTEM
from tests.gateway.live import OTHER, OWN, PATIENT, Live, gateway_with

CODE = "91110000100000999M"
INDEX = "cq-index"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway of whose institutions one publishes who works for it."""
    node = {"id": INDEX, "kind": "published", "institution": OWN}
    with gateway_with(tmp_path_factory.mktemp("directory"), [node]) as running:
        publisher = running.client("publisher")
        clinic = {
            "resourceType": "Organization",
            "id": "clinic",
            "name": "示例门诊部",
            "identifier": [{"system": "urn:lianren:local:EX-CQ-01", "value": "clinic-7"}],
            "partOf": {"reference": f"Organization/{OWN}"},
        }
        doctor = {
            "resourceType": "Practitioner",
            "id": "doctor",
            "identifier": [{"system": RESIDENT_SYSTEM, "value": PATIENT}],
            "name": [{"family": "示例"}],
        }
        for resource in (clinic, doctor):
            place = f"/fhir/{resource['resourceType']}/{resource['id']}"
            assert publisher.put(place, json=resource).status_code == 201
        yield running


@pytest.fixture
def his(live: Live) -> httpx.Client:
    return live.client()


def found(answer: httpx.Response) -> dict[str, dict[str, Any]]:
    """The resources of a searchset by their addresses below the service base."""
    assert answer.status_code == 200, answer.text
    entries = answer.json().get("entry", [])
    matches = [one for one in entries if one["search"]["mode"] == "match"]
    return {entry["fullUrl"].partition("/fhir/")[2]: entry["resource"] for entry in matches}


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ({"identifier": f"urn:lianren:institution|{OWN}"}, {f"Organization/{OWN}"}),
        ({"identifier": OTHER}, {f"Organization/{OTHER}"}),
        ({"identifier": "urn:lianren:local:EX-CQ-01|clinic-7"}, {f"nodes/{INDEX}/Organization/clinic"}),
        ({"_id": OWN}, {f"Organization/{OWN}"}),
        ({"name": "万州"}, {"Organization/EX-CQ-02"}),
        ({"address-state": "四川"}, {"Organization/EX-SC-01", "Organization/EX-SC-02"}),
        ({"partof": f"Organization/{OWN}"}, {f"nodes/{INDEX}/Organization/clinic"}),
        ({"name": "示例门诊"}, {f"nodes/{INDEX}/Organization/clinic"}),
        ({"endpoint": f"Endpoint/{OWN}"}, {f"Organization/{OWN}"}),
        ({"name": "nobody"}, set()),
    ],
)
def test_institutions_are_found(his: httpx.Client, query: dict[str, str], places: set[str]) -> None:
    by_address = found(his.get("/fhir/Organization", params=query))
    assert by_address.keys() == places
    assert found(his.post("/fhir/Organization/_search", data=query)) == by_address


def test_all_institutions_of_the_catalogue_are_there(his: httpx.Client) -> None:
    assert len(found(his.get("/fhir/Organization"))) == 13


def test_pages_fit_together(his: httpx.Client) -> None:
    first = his.get("/fhir/Organization", params={"_count": "10", "_sort": "name"})
    (next_,) = [one["url"] for one in first.json()["link"] if one["relation"] == "next"]
    second = his.get(next_.removeprefix("http://127.0.0.1"))
    assert (len(found(first)), len(found(second)), first.json()["total"]) == (10, 3, 13)


def test_an_institution_is_read_by_its_id(his: httpx.Client) -> None:
    answer = his.get(f"/fhir/Organization/{OWN}")
    assert answer.json()["name"] == "重庆示例第一医院"
    again = his.get(f"/fhir/Organization/{OWN}", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


def test_what_was_published_is_read_by_the_address_that_was_told(his: httpx.Client) -> None:
    (address,) = found(his.get("/fhir/Organization", params={"name": "示例门诊"}))
    assert his.get(f"/fhir/{address}").json()["name"] == "示例门诊部"


def test_an_institution_leads_to_the_gateway_and_to_no_node(live: Live, his: httpx.Client) -> None:
    organization = his.get(f"/fhir/Organization/{OWN}").json()
    endpoint = his.get(f"/fhir/{organization['endpoint'][0]['reference']}").json()
    assert endpoint["address"] == f"{live.settings.base_url}/fhir"
    assert endpoint["managingOrganization"]["reference"] == f"Organization/{OWN}"
    assert INDEX not in his.get("/fhir/Endpoint").text


def test_only_this_gateways_institutions_have_an_endpoint(his: httpx.Client) -> None:
    assert found(his.get("/fhir/Endpoint")).keys() == {"Endpoint/EX-CQ-01", "Endpoint/EX-CQ-02"}
    assert "endpoint" not in his.get(f"/fhir/Organization/{OTHER}").json()


def test_an_endpoint_of_nobody_is_not_found(his: httpx.Client) -> None:
    assert his.get("/fhir/Endpoint/none").status_code == 404


def test_a_practitioner_is_found_by_a_number_in_a_form(his: httpx.Client) -> None:
    answer = his.post("/fhir/Practitioner/_search", data={"identifier": f"{RESIDENT_SYSTEM}|{PATIENT}"})
    assert found(answer).keys() == {f"nodes/{INDEX}/Practitioner/doctor"}
    assert PATIENT not in "".join(link["url"] for link in answer.json()["link"])


def test_a_number_of_a_practitioner_has_no_place_in_an_address(live: Live, his: httpx.Client) -> None:
    answer = his.get("/fhir/Practitioner", params={"identifier": f"{RESIDENT_SYSTEM}|{PATIENT}"})
    assert answer.status_code == 400
    assert PATIENT not in answer.text + live.log.getvalue()


def test_a_publisher_alone_finds_what_is_his_own(live: Live) -> None:
    assert found(live.client("publisher").get("/fhir/Organization")).keys() == {"Organization/clinic"}


def test_one_node_is_searched_below_its_own_base(his: httpx.Client) -> None:
    places = found(his.get(f"/fhir/nodes/{INDEX}/Organization")).keys()
    assert places == {f"nodes/{INDEX}/Organization/clinic"}


def test_a_node_that_nothing_is_published_to_is_not_searched(his: httpx.Client) -> None:
    assert his.get("/fhir/nodes/other/Organization").status_code == 405


@pytest.mark.parametrize("type_", ["Organization", "Practitioner", "Endpoint"])
def test_the_directory_is_not_for_everybody(live: Live, type_: str) -> None:
    assert live.client("").get(f"/fhir/{type_}").status_code == 401
    assert live.client("operator").get(f"/fhir/{type_}").status_code == 403


def test_a_credit_code_with_a_wrong_check_character_is_refused(live: Live) -> None:
    wrong = {"resourceType": "Organization", "name": "示例", "identifier": [{"system": CREDIT_CODE}]}
    wrong["identifier"] = [{"system": CREDIT_CODE, "value": CODE[:-1] + "N"}]
    answer = live.client("publisher").post("/fhir/Organization", json=wrong)
    assert answer.status_code == 422
    assert CODE[:-1] not in answer.text
