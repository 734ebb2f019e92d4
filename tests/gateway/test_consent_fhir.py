"""Consent as a FHIR R4 resource."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.consent import Consent

from gateway.demo.people import check_digit
from tests.gateway.live import OTHER, PATIENT, STRANGER, Live, ask, body, gateway_over_source

CONFORMANCE = Path(__file__).resolve().parents[3] / "shared/conformance/fhir"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
SYSTEM = "urn:oid:2.16.156.10011.1.3"
BORN_2001, BORN_2002 = (first + check_digit(first) for first in ("99000020010101001", "99000020020101001"))
"""Two persons whom no node knows."""
EXTENSION = [{"url": "urn:x", "valueString": "y"}]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway of its own: what a person says here binds no other test."""
    with gateway_over_source(tmp_path_factory.mktemp("consent-fhir")) as live:
        yield live


@pytest.fixture
def his(live: Live) -> httpx.Client:
    return live.client()


def concept(system: str, *codes: str) -> dict[str, Any]:
    return {"coding": [{"system": f"{TERMINOLOGY}/{system}", "code": code} for code in codes]}


def consent(number: str = STRANGER, **more: Any) -> dict[str, Any]:
    """A Consent that opts out, with other elements in place of its own."""
    return {
        "resourceType": "Consent",
        "status": "active",
        "scope": concept("consentscope", "patient-privacy"),
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "patient": {"identifier": {"system": SYSTEM, "value": number}},
        "dateTime": "2026-11-22",
        "provision": {"type": "deny"},
    } | more


def purpose(*codes: str) -> list[dict[str, str]]:
    return [{"system": f"{TERMINOLOGY}/v3-ActReason", "code": code} for code in codes]


def receiver(code: str, system: str = "urn:lianren:institution", role: str = "PRCP") -> dict[str, Any]:
    named = {"identifier": {"system": system, "value": code}}
    return {"role": concept("v3-ParticipationType", role), "reference": named}


def create(his: httpx.Client, resource: dict[str, Any]) -> dict[str, Any]:
    answer = his.post("/fhir/Consent", json=resource)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def search(client: httpx.Client, number: str) -> httpx.Response:
    return client.post("/fhir/Consent/_search", data={"patient:identifier": f"{SYSTEM}|{number}"})


def directive(resource: dict[str, Any]) -> str:
    return str(resource["policyRule"]["coding"][0]["code"])


def test_a_consent_is_created_read_and_valid_and_names_no_patient(his: httpx.Client) -> None:
    answer = his.post("/fhir/Consent", json=consent())
    made = answer.json()
    assert answer.headers["location"].endswith(f"/fhir/Consent/{made['id']}")
    read = his.get(f"/fhir/Consent/{made['id']}")
    assert read.json() == made
    assert STRANGER not in answer.text + read.text
    assert "patient" not in made
    assert Consent.model_validate(made).status == "active"


def test_a_denying_consent_binds_a_check_until_it_is_inactive(live: Live, his: httpx.Client) -> None:
    made = create(his, consent(PATIENT))
    assert ask(his, body()).consent.consent == made["id"]
    ended = his.put(f"/fhir/Consent/{made['id']}", json=consent(PATIENT, id=made["id"], status="inactive"))
    assert (ended.status_code, ended.json()["status"]) == (200, "inactive")
    assert ask(his, body()).consent.basis == "none"


@pytest.mark.parametrize(
    ("more", "code", "type_"),
    [
        ({"provision": {"type": "deny"}}, "OPTOUT", "deny"),
        ({"provision": {"type": "permit"}}, "OPTIN", "permit"),
        ({"provision": {"type": "permit", "purpose": purpose("TREAT")}}, "OPTOUTE", "permit"),
        ({"provision": {"type": "deny", "purpose": purpose("PUBHLTH")}}, "OPTINR", "deny"),
        ({"provision": {}, "policyRule": concept("v3-ActCode", "OPTOUT")}, "OPTOUT", "deny"),
        ({"provision": {}, "policyRule": concept("v3-ActCode", "OPTIN")}, "OPTIN", "permit"),
        (
            {
                "provision": {"purpose": purpose("TREAT", "ETREAT")},
                "policyRule": concept("v3-ActCode", "OPTOUTE"),
            },
            "OPTOUTE",
            "permit",
        ),
        ({"provision": {"type": "deny"}, "policyRule": {"text": "院内隐私政策"}}, "OPTOUT", "deny"),
    ],
)
def test_directive_and_provision_are_two_ways_to_say_it(
    his: httpx.Client, more: dict[str, Any], code: str, type_: str
) -> None:
    made = create(his, consent(**{"policy": [{"uri": "urn:example:policy"}], **more}))
    assert (directive(made), made["provision"]["type"]) == (code, type_)


def test_purposes_receivers_and_period_come_back(his: httpx.Client) -> None:
    told = {
        "type": "permit",
        "purpose": purpose("TREAT", "ETREAT"),
        "actor": [receiver(OTHER)],
        "period": {"start": "2026-11-22", "end": "2099-12-31"},
    }
    made = create(his, consent(provision=told))["provision"]
    assert (made["purpose"], made["actor"]) == (told["purpose"], told["actor"])
    assert made["period"] == {  # the days as Shanghai counts them; a Period's end is in it
        "start": "2026-11-22T00:00:00.000+08:00",
        "end": "2099-12-31T23:59:59.999+08:00",
    }


def test_what_came_back_says_the_same_when_it_is_sent_again(live: Live, his: httpx.Client) -> None:
    told = {
        "type": "deny",
        "purpose": purpose("PUBHLTH"),
        "actor": [receiver(OTHER)],
        "period": {"start": "2026-11", "end": "2099-12-31T12:00:00+08:00"},
    }
    first = create(his, consent(provision=told))
    again = create(his, first | {"patient": consent()["patient"]})
    assert (again["provision"], again["policyRule"]) == (first["provision"], first["policyRule"])


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"status": "draft"}, "Consent.status"),
        ({"scope": concept("consentscope", "research")}, "Consent.scope"),
        ({"patient": {"reference": "Patient/1"}}, "Consent.patient.identifier"),
        (
            {"patient": {"identifier": {"system": SYSTEM, "value": STRANGER[:17]}}},
            "Consent.patient.identifier[0].value",
        ),
        ({"provision": {}}, "Consent.provision.type"),
        ({"provision": {"type": "deny", "provision": [{"type": "permit"}]}}, "Consent.provision.provision"),
        (
            {"provision": {"type": "deny", "class": [{"system": "urn:x", "code": "y"}]}},
            "Consent.provision.class",
        ),
        ({"provision": {"type": "deny", "dataPeriod": {"start": "2026"}}}, "Consent.provision.dataPeriod"),
        (
            {"provision": {"type": "deny", "modifierExtension": EXTENSION}},
            "Consent.provision.modifierExtension",
        ),
        ({"modifierExtension": EXTENSION}, "Consent.modifierExtension"),
        ({"implicitRules": "urn:x"}, "Consent.implicitRules"),
        ({"provision": {"type": "deny", "purpose": purpose("HRESCH")}}, "Consent.provision.purpose[0]"),
        (
            {"provision": {"type": "deny", "actor": [receiver(OTHER), receiver("EX-NO-99")]}},
            "Consent.provision.actor[1]",
        ),
        (
            {"provision": {"type": "deny", "actor": [receiver(OTHER, "urn:x")]}},
            "Consent.provision.actor[0].reference",
        ),
        (
            {"provision": {"type": "deny", "actor": [receiver(OTHER, role="CST")]}},
            "Consent.provision.actor[0].role",
        ),
        (
            {"provision": {"type": "deny", "actor": [receiver(OTHER) | {"modifierExtension": EXTENSION}]}},
            "Consent.provision.actor[0].modifierExtension",
        ),
        ({"provision": {"type": "deny", "period": {"end": "2020-01-01"}}}, "Consent.provision.period.end"),
        (
            {"provision": {"type": "permit"}, "policyRule": concept("v3-ActCode", "OPTOUT")},
            "Consent.policyRule",
        ),
        (
            {"provision": {"type": "permit"}, "policyRule": concept("v3-ActCode", "OPTOUTE")},
            "Consent.policyRule",
        ),
        (
            {"provision": {"type": "deny"}, "policyRule": concept("v3-ActCode", "OPTOUT", "OPTIN")},
            "Consent.policyRule",
        ),
        (
            {"provision": {"type": "deny"}, "policyRule": concept("v3-ActCode", "EMRGONLY")},
            "Consent.policyRule",
        ),
        ({"resourceType": "Patient"}, "Consent"),
    ],
)
def test_what_would_be_read_otherwise_than_it_was_meant_is_refused_at_its_place(
    live: Live, his: httpx.Client, more: dict[str, Any], field: str
) -> None:
    before = live.kept()
    policy = {} if "policyRule" in more else {"policyRule": {"text": "院内隐私政策"}}
    refused = his.post("/fhir/Consent", json=consent(**{**policy, **more}))
    assert refused.status_code == 422, refused.text
    assert refused.json()["issue"][0]["expression"] == [field]
    assert STRANGER[:17] not in refused.text
    assert live.kept() == before


def test_what_a_person_said_is_found_by_a_search_in_a_body(live: Live, his: httpx.Client) -> None:
    number = BORN_2001
    made = [create(his, consent(number))["id"] for _ in range(2)]
    found = search(live.client("other"), number)
    bundle = found.json()
    assert Bundle.model_validate(bundle).type == "searchset"
    assert [entry["resource"]["id"] for entry in bundle["entry"]] == made
    assert number not in found.text


def test_who_said_nothing_has_an_empty_bundle(his: httpx.Client) -> None:
    found = search(his, BORN_2002)
    assert (found.status_code, found.json()) == (
        200,
        {"resourceType": "Bundle", "type": "searchset", "total": 0},
    )


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ("", "patient:identifier"),
        ("patient", "body"),
        ("patient=Patient/1", "parameters"),
        ("patient:identifier=a|b&patient:identifier=a|b", "parameters"),
        (f"patient:identifier={STRANGER}", "patient:identifier"),
        ("_format=json", "patient:identifier"),
    ],
)
def test_a_search_that_is_none_is_refused_by_its_parameter(his: httpx.Client, form: str, field: str) -> None:
    refused = his.post("/fhir/Consent/_search", content=form, headers=FORM)
    assert (refused.status_code, refused.json()["issue"][0]["expression"]) == (400, [field])
    assert STRANGER not in refused.text


def test_a_number_in_an_address_is_not_searched_for(live: Live, his: httpx.Client) -> None:
    before = live.kept()
    asked = {"patient:identifier": f"{SYSTEM}|{STRANGER}"}
    assert his.get("/fhir/Consent", params=asked).status_code == 405
    assert his.post("/fhir/Consent/_search", params=asked, content="a=b", headers=FORM).status_code == 400
    assert live.kept() == before


def test_of_a_kept_consent_only_its_status_changes(his: httpx.Client) -> None:
    made = create(his, consent())
    path = f"/fhir/Consent/{made['id']}"
    assert his.put(path, json=consent(id=made["id"])).json()["issue"][0]["expression"] == ["Consent.status"]
    other = his.put(path, json=consent(id="another", status="inactive"))
    assert other.json()["issue"][0]["expression"] == ["Consent.id"]
    assert his.get(path).json() == made


def test_who_inactivates_a_consent_names_its_patient(his: httpx.Client) -> None:
    made = create(his, consent())
    path, ended = f"/fhir/Consent/{made['id']}", made | {"status": "inactive"}
    assert his.put(path, json=ended).json()["issue"][0]["expression"] == ["Consent.patient.identifier"]
    other = {"identifier": {"system": SYSTEM, "value": BORN_2001}}
    assert his.put(path, json=ended | {"patient": other}).status_code == 404
    assert his.get(path).json() == made


def test_a_consent_of_another_institution_is_not_found(live: Live, his: httpx.Client) -> None:
    made = create(his, consent())
    refused = live.client("other").get(f"/fhir/Consent/{made['id']}")
    assert (refused.status_code, refused.json()["resourceType"]) == (404, "OperationOutcome")


def test_the_capability_statement_offers_it(his: httpx.Client) -> None:
    (rest,) = his.get("/fhir/metadata").json()["rest"]
    (offered,) = [one for one in rest["resource"] if one["type"] == "Consent"]
    codes = [one["code"] for one in offered["interaction"]]
    assert codes == ["create", "read", "update", "search-type"]


EXAMPLES = sorted(CONFORMANCE.glob("*/shared/Consent-*.json"))


@pytest.mark.skipif(not EXAMPLES, reason="the conformance material is not beside the checkout")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: f"{path.parts[-3]}:{path.stem}")
def test_examples_that_name_nobody_known_here_are_refused_without_harm(
    live: Live, his: httpx.Client, example: Path
) -> None:
    before = live.kept()
    content = {"Content-Type": "application/fhir+json"}
    refused = his.post("/fhir/Consent", content=example.read_bytes(), headers=content)
    assert (refused.status_code // 100, refused.json()["resourceType"]) == (4, "OperationOutcome")
    assert live.kept() == before
