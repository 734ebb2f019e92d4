"""Searches over nodes: what comes along, what codes mean, and how much of each resource is shown."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from catalog.fhir import ITEM_SYSTEM
from gateway.demo.people import BY_KEY
from tests.gateway.live import OWN, Live, gateway_with
from tests.gateway.test_search import _linked, codes, matches, outcome, over
from tests.node_cases import observation, report, searchset, study

pytestmark = pytest.mark.xdist_group("search")  # one worker starts its servers

SYSTEM = "urn:oid:2.16.156.10011.1.3"
PERSON = BY_KEY["jia"].number
ALBUMIN = "1100104A"


def numbered(id_: str, **changes: Any) -> dict[str, Any]:
    return observation(
        id_, identifier=[{"system": f"urn:lianren:report:{OWN}", "value": f"{id_}/1"}], **changes
    )


def coded(system: str, code: str, text: str = "") -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]} | ({"text": text} if text else {})


HELD: dict[str, list[dict[str, Any]]] = {
    "Observation": [
        numbered("alb", specimen={"reference": "Specimen/b1", "display": "血清"}),
        numbered("loinc", code=coded("http://loinc.org", "1751-7")),
        numbered("odd", code=coded("http://loinc.org", "1751-7", "血清钾")),
        numbered("potassium", code={"text": "血清钾"}, valueQuantity={"value": 4.10, "unit": "mmol/L"}),
        numbered("unclear", code={"text": "示例不明项目"}),
    ],
    "DiagnosticReport": [
        report("ct", imagingStudy=[{"reference": "ImagingStudy/s1"}], result=[]),
        report(
            "liver",
            category=[coded("http://terminology.hl7.org/CodeSystem/v2-0074", "LAB")],
            code={"text": "血清白蛋白"},
            imagingStudy=[],
            result=[{"reference": "Observation/alb"}, {"reference": "Observation/potassium"}],
        ),
    ],
    "ImagingStudy": [study("s1")],
    "Specimen": [{"resourceType": "Specimen", "id": "b1", "subject": {"reference": "Patient/p1"}}],
    "ServiceRequest": [],
}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway over one node, which has no idea of codes."""
    held = {type_: searchset(*found) for type_, found in HELD.items()}
    stack, live = over({"one": held}, tmp_path_factory.mktemp("shapes"))
    with stack:
        yield live


def search(live: Live, type_: str = "Observation", **parameters: Any) -> httpx.Response:
    name = "identifier" if type_ == "Patient" else "patient.identifier"
    form = {name: f"{SYSTEM}|{PERSON}", "_sort": "_id"} | parameters
    return live.client().post(f"/fhir/{type_}/_search", data=form)


def ids(answer: httpx.Response, mode: str = "match") -> list[str]:
    assert answer.status_code == 200, answer.text
    return [e["resource"]["id"] for e in answer.json()["entry"] if e["search"]["mode"] == mode]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (ALBUMIN, ["alb", "loinc"]),
        (f"{ITEM_SYSTEM}|{ALBUMIN}", ["alb", "loinc"]),
        (f"urn:wst886|{ALBUMIN}", ["alb", "loinc"]),
        ("http://loinc.org|1751-7", ["alb", "loinc", "odd"]),  # the code itself stands in odd
        ("urn:lianren:local:EX-CQ-01|A", []),
        (f"urn:other|{ALBUMIN}", []),
    ],
)
def test_a_code_finds_what_local_names_mean_and_guesses_nothing(
    live: Live, code: str, expected: list[str]
) -> None:
    assert ids(search(live, code=code)) == expected


def test_what_was_found_by_its_meaning_is_said(live: Live) -> None:
    told = [issue["diagnostics"] for issue in outcome(search(live, code=ALBUMIN))["issue"]]
    assert any("nodes/one/Observation/alb" in words and "local name means" in words for words in told)
    plain = [issue["diagnostics"] for issue in outcome(search(live, status="final"))["issue"]]
    assert not any("local name means" in words for words in plain)


def test_reports_are_found_by_what_their_names_mean(live: Live) -> None:
    assert ids(search(live, "DiagnosticReport", code=ALBUMIN)) == ["liver"]


def test_what_a_report_refers_to_comes_along_from_its_own_node(live: Live) -> None:
    answer = search(
        live, "DiagnosticReport", _include=["DiagnosticReport:result", "DiagnosticReport:imaging-study"]
    )
    assert ids(answer) == ["ct", "liver"]
    assert sorted(ids(answer, "include")) == ["alb", "potassium", "s1"]
    urls = [e["fullUrl"] for e in answer.json()["entry"] if e["search"]["mode"] == "include"]
    assert all("/fhir/nodes/one/" in url for url in urls)
    assert answer.json()["total"] == 2


def test_what_refers_to_a_result_and_the_patient_come_along(live: Live) -> None:
    parameters = {"_revinclude": "DiagnosticReport:result", "_include": "Observation:patient", "_id": "alb"}
    assert sorted(ids(search(live, **parameters), "include")) == ["liver", "p1"]


def test_a_type_that_the_client_may_not_search_does_not_come_along(tmp_path: Path) -> None:
    token = secrets.token_urlsafe(16)
    client = {
        "id": "narrow",
        "token_sha256": hashlib.sha256(token.encode()).hexdigest(),
        "institution": OWN,
        "roles": ["his"],
        "scopes": ["system/Observation.s"],
    }
    with gateway_with(tmp_path, [], clients=[client]) as live:
        answer = httpx.post(
            f"{live.url}/fhir/Observation/_search",
            data={"patient.identifier": f"{SYSTEM}|{PERSON}", "_revinclude": "DiagnosticReport:result"},
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
        )
    assert answer.status_code == 403


def test_a_node_that_cannot_say_what_comes_along_makes_the_answer_incomplete(tmp_path: Path) -> None:
    held = {
        "Observation": searchset(observation()),
        "DiagnosticReport": b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
    }
    stack, live = over({"one": held}, tmp_path)
    with stack:
        answer = search(live, _revinclude="DiagnosticReport:result")
    assert (ids(answer), ids(answer, "include")) == (["o1"], [])
    assert "incomplete" in codes(answer)


@pytest.mark.parametrize("parameters", [{"_summary": "count"}, {"_count": "0"}])
def test_a_count_says_how_many_there_are_and_how_the_nodes_were(
    live: Live, parameters: dict[str, str]
) -> None:
    answer = search(live, **parameters)
    assert (matches(answer), answer.json()["total"]) == ([], 5)
    assert outcome(answer)["issue"][0]["details"]["text"] == "one"


def test_less_than_the_whole_is_marked_so_and_keeps_its_decimals(live: Live) -> None:
    answer = search(live, code="http://loinc.org|1751-7", _elements="valueQuantity", _id="alb")
    (entry,) = matches(answer)
    assert entry["resource"].keys() == {"resourceType", "id", "meta", "status", "code", "valueQuantity"}
    assert entry["resource"]["meta"]["tag"][0]["code"] == "SUBSETTED"


def test_the_number_of_matches_is_left_out_where_it_is_not_wanted(live: Live) -> None:
    assert "total" not in search(live, _total="none").json()


def test_a_value_is_found_by_its_quantity(live: Live) -> None:
    assert ids(search(live, **{"value-quantity": "lt5||mmol/L"})) == ["potassium"]


def test_a_page_is_gone_once_the_patient_says_no(live: Live) -> None:
    first = search(live, _count="2")
    page = _linked(live, first, "next")
    assert live.client().get(page).status_code == 200
    directive = {"patient": {"type": "resident-id", "value": PERSON}, "decision": "deny"}
    assert live.client().post("/api/v1/consents", json=directive).status_code in (200, 201)
    assert live.client().get(page).status_code == 410
    assert "suppressed" in codes(search(live, _count="2"))
    granted = live.client().post("/api/v1/consents", json=directive | {"decision": "permit"})
    assert granted.status_code in (200, 201)


def test_what_is_told_validates_as_a_bundle_and_as_an_outcome(live: Live) -> None:
    from fhir.resources.R4B.bundle import Bundle

    answer = search(live, code=ALBUMIN, _include="Observation:specimen", _count="1")
    bundle = Bundle.model_validate_json(answer.content)
    modes = [entry.search and entry.search.mode for entry in bundle.entry or ()]
    assert modes == ["match", "include", "outcome"]
    assert json.loads(answer.content)["link"][0]["relation"] == "self"
