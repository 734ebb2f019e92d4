"""The CapabilityStatement and what is served agree, both ways; and it is told once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.app import describe_app
from gateway.faces.capability import merged
from gateway.resources.values import STORED
from tests.gateway.live import OWN, Live, gateway_with

METADATA = "/fhir/metadata"
NOT_SERVED = {"no-such-route", "method-not-allowed", "not-offered"}
CLIENTS = {"AuditEvent": "auditor", "Subscription": "his", "Consent": "his", "Provenance": "his"}
VALUES = {
    "date": "ge2026-01-01",
    "number": "1",
    "quantity": "5.4",
    "reference": "Patient/p1",
    "string": "示例",
    "token": "x",
    "uri": "urn:x",
}
WHOLE = {"/fhir/metadata", "/fhir", "/fhir/.well-known/smart-configuration"}
"""Addresses that are no interaction of a type."""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway that something is published to."""
    node = {"id": "cq-index", "kind": "published", "institution": OWN}
    with gateway_with(tmp_path_factory.mktemp("capability"), [node]) as running:
        yield running


@pytest.fixture(scope="module")
def stated(live: Live) -> dict[str, Any]:
    """CapabilityStatement.rest."""
    rest: dict[str, Any] = live.client("").get(METADATA).json()["rest"][0]
    return rest


def by_type(stated: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {resource["type"]: resource for resource in stated["resource"]}


def client_for(live: Live, type_: str) -> httpx.Client:
    """Who may ask about a type; what is stored, a publisher of his own node."""
    return live.client(CLIENTS.get(type_, "publisher" if type_ in STORED else "his"))


def served(answer: httpx.Response) -> bool:
    """Whether there is something behind an address, whatever it says to this question."""
    if answer.status_code not in (404, 405):
        return answer.status_code < 500
    codes = {one["details"]["coding"][0]["code"] for one in answer.json()["issue"]}
    return codes.isdisjoint(NOT_SERVED)


# What is stated works


REQUESTS = {
    "create": [("POST", "")],
    "read": [("GET", "/x")],
    "vread": [("GET", "/x/_history/1")],
    "update": [("PUT", "/x")],
    "delete": [("DELETE", "/x")],
    "history-instance": [("GET", "/x/_history")],
    "search-type": [("POST", "/_search"), ("GET", "")],  # a person's number has no place in an address
}


def test_every_interaction_that_is_stated_is_served(live: Live, stated: dict[str, Any]) -> None:
    wrong = []
    for type_, resource in by_type(stated).items():
        for interaction in resource.get("interaction", []):
            client, ways = client_for(live, type_), REQUESTS[interaction["code"]]
            answers = [client.request(method, f"/fhir/{type_}{path}") for method, path in ways]
            if not any(map(served, answers)):
                wrong.append((type_, interaction["code"], answers[0].status_code, answers[0].text))
    assert wrong == []


def test_every_search_parameter_that_is_stated_is_understood(live: Live, stated: dict[str, Any]) -> None:
    wrong = []
    for type_, resource in by_type(stated).items():
        for parameter in resource.get("searchParam", []):
            query = {parameter["name"]: VALUES[parameter["type"]]}
            if type_ == "Consent":  # the patient comes in the body
                continue
            answer = client_for(live, type_).get(f"/fhir/{type_}", params=query)
            refused = answer.status_code == 400 and "not offered" in answer.text
            if refused or not served(answer):
                wrong.append((type_, query, answer.status_code, answer.text))
    assert wrong == []


def test_whatever_is_said_to_come_along_does(live: Live, stated: dict[str, Any]) -> None:
    wrong = []
    for type_, resource in by_type(stated).items():
        for parameter, listed in (("_include", "searchInclude"), ("_revinclude", "searchRevInclude")):
            for value in resource.get(listed, []):
                answer = client_for(live, type_).get(f"/fhir/{type_}", params={parameter: value})
                if answer.status_code != 200:
                    wrong.append((type_, parameter, value, answer.text))
    assert wrong == []


def test_every_operation_that_is_stated_is_served(live: Live, stated: dict[str, Any]) -> None:
    wrong = []
    for type_, resource in by_type(stated).items():
        for operation in resource.get("operation", []):
            client = client_for(live, type_)
            paths = (f"/fhir/{type_}/${operation['name']}", f"/fhir/{type_}/x/${operation['name']}")
            ways = [client.request(method, path) for path in paths for method in ("GET", "POST")]
            if not any(map(served, ways)):
                wrong.append((type_, operation["name"]))
    assert wrong == []


def test_every_operation_of_the_whole_system_is_served(live: Live, stated: dict[str, Any]) -> None:
    names = [operation["name"] for operation in stated["operation"]]
    assert names
    assert all(served(live.client("auditor").get(f"/fhir/${name}")) for name in names)


@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_the_interactions_with_the_whole_system_are_served(
    live: Live, stated: dict[str, Any], kind: str
) -> None:
    assert kind in {one["code"] for one in stated["interaction"]}
    entry = {"request": {"method": "PUT", "url": "Patient/p9"}, "resource": {"resourceType": "Patient"}}
    entry["resource"]["id"] = "p9"
    bundle = {"resourceType": "Bundle", "type": kind, "entry": [entry]}
    assert live.client("publisher").post("/fhir", json=bundle).status_code == 200


# What is served is stated


def interactions() -> Iterator[tuple[str, str]]:
    """Type, and interaction, flag or ``$operation``, of every route below /fhir."""
    for path, methods in describe_app().openapi()["paths"].items():
        below = re.sub(r"^/fhir(/nodes/\{node\})?", "", path)
        if not path.startswith("/fhir") or path in WHOLE or below.startswith("/_") or not below:
            continue
        first, *rest = below.strip("/").split("/")
        if first.startswith("$"):
            yield "", first
            continue
        for type_ in STORED if first == "{type}" else (first,):
            for method in methods:
                yield type_, _interaction(method.upper(), rest)


def _interaction(method: str, rest: list[str]) -> str:
    if rest and rest[-1].startswith("$"):
        return rest[-1]
    match rest:
        case []:
            types = {"GET": "search-type", "POST": "create", "PUT": "conditionalUpdate"}
            return types.get(method, "conditionalDelete")
        case ["_search"]:
            return "search-type"
        case [_, "_history"]:
            return "history-instance"
        case [_, "_history", _]:
            return "vread"
    return {"GET": "read", "PUT": "update", "DELETE": "delete", "PATCH": "patch", "POST": rest[-1]}[method]


def test_everything_that_is_served_is_stated(stated: dict[str, Any]) -> None:
    types = by_type(stated)
    untold = set()
    for type_, interaction in interactions():
        resource = types.get(type_, {}) if type_ else stated
        told = {one["code"] for one in resource.get("interaction", [])} | resource.keys()
        told |= {f"${one['name']}" for one in resource.get("operation", [])}
        if interaction not in told:
            untold.add((type_, interaction))
    assert untold == set()


def test_no_type_is_told_twice(stated: dict[str, Any]) -> None:
    types = [resource["type"] for resource in stated["resource"]]
    assert len(types) == len(set(types))


def test_two_faces_of_one_type_are_one_entry() -> None:
    first = {"type": "Patient", "interaction": [{"code": "read"}], "versioning": "versioned"}
    second = {"type": "Patient", "interaction": [{"code": "read"}, {"code": "create"}]}
    (entry,) = merged([first, second])
    assert entry["interaction"] == [{"code": "read"}, {"code": "create"}]
    assert entry["versioning"] == "versioned"


# How it is told


def test_who_has_it_is_not_told_again(live: Live) -> None:
    client = live.client("")
    first = client.get(METADATA)
    again = client.get(METADATA, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_it_names_what_it_instantiates_and_the_guide(live: Live) -> None:
    statement = live.client("").get(METADATA).json()
    named = {*statement["instantiates"], *statement["implementationGuide"]}
    folder = Path(__file__).resolve().parents[2] / "openapi/fhir"
    assert all((folder / f"{'-'.join(url.split('/')[-2:])}.json").is_file() for url in named)


def test_in_short_it_says_neither_interactions_nor_parameters(live: Live) -> None:
    statement = live.client("").get(METADATA, params={"_summary": "true"}).json()
    assert statement["meta"]["tag"][0]["code"] == "SUBSETTED"
    assert {name for one in statement["rest"][0]["resource"] for name in one} == {"type", "operation"}


def test_the_terminology_it_has_is_told_apart(live: Live) -> None:
    told = live.client("").get(METADATA, params={"mode": "terminology"}).json()
    assert told["resourceType"] == "TerminologyCapabilities"
    assert "https://lianren.example/fhir/CodeSystem/items" in {one["uri"] for one in told["codeSystem"]}


@pytest.mark.parametrize(
    ("query", "accept"),
    [
        ("_format=xml", "*/*"),
        ("_format=application%2Ffhir%2Bxml", "application/fhir+json"),
        ("_format=text/turtle&_format=json", "*/*"),
        ("", "application/fhir+xml"),
        ("", "text/turtle, application/xml;q=0.9"),
        ("", "application/xml, application/fhir+json;q=0, */*; q=0.0"),
    ],
)
def test_nothing_but_json_is_spoken_anywhere(live: Live, query: str, accept: str) -> None:
    wrong = []
    for path, methods in describe_app().openapi()["paths"].items():
        for method in methods if path.startswith("/fhir") else ():
            url = f"{path}?{query}"
            answer = live.client("").request(method, url, headers={"Accept": accept})
            if answer.status_code != 406 or answer.json()["resourceType"] != "OperationOutcome":
                wrong.append((method, path, answer.status_code))
    assert wrong == []


@pytest.mark.parametrize(
    ("query", "accept"),
    [
        ("", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("", "application/fhir+xml;q=0.2, application/fhir+json; fhirVersion=4.0; q=0.9"),
        ("", "Application/JSON"),
        ("", ""),
        ("_format=json", "application/fhir+xml"),
        ("_format=application/fhir+json;charset=utf-8", "*/*"),
        ("_format=", "*/*"),
        ("_elements=_format=xml", "*/*"),
    ],
)
def test_whoever_takes_json_gets_it(live: Live, query: str, accept: str) -> None:
    for path in (METADATA, "/fhir/Organization", f"/fhir/Endpoint/{OWN}"):
        answer = live.client().get(f"{path}?{query}", headers={"Accept": accept})
        assert answer.headers["content-type"] == "application/fhir+json"
        assert answer.status_code == 200, (path, answer.text)


def test_a_form_that_asks_for_another_format_is_refused(live: Live) -> None:
    client = live.client("hospital")
    for type_ in ("Observation", "Organization", "CodeSystem"):
        answer = client.post(f"/fhir/{type_}/_search", data={"_format": "xml"})
        assert answer.status_code == 406, answer.text


@pytest.mark.parametrize("query", [{"mode": "some"}, {"_summary": "count"}])
def test_a_mode_that_does_not_exist_is_refused(live: Live, query: dict[str, str]) -> None:
    assert live.client("").get(METADATA, params=query).status_code == 400


def test_it_says_where_tokens_are_given(live: Live, stated: dict[str, Any]) -> None:
    (uris,) = stated["security"]["extension"]
    assert uris["extension"][0]["valueUri"].endswith("/oauth/token")
