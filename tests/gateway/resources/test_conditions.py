"""Conditions of searches, by the examples of R4 section 3.1.1 and by properties."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.body import BadBody
from gateway.resources.conditions import PARAMETERS, conditions, met, opened
from gateway.resources.parameters import INCLUDES, TABLE
from gateway.resources.tokens import asked
from gateway.resources.values import SEARCHED, STORED

BASE = "https://his.example/fhir"
OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "o1",
    "meta": {"lastUpdated": "2026-11-06T10:00:00+08:00", "profile": ["http://example.org/profiles/lab/v1"]},
    "identifier": [
        {
            "type": {"coding": [{"system": "urn:types", "code": "ACSN"}], "text": "检验单号"},
            "system": "urn:reports",
            "value": "R,1|2",
        }
    ],
    "status": "final",
    "code": {"coding": [{"system": "urn:local", "code": "K", "display": "Kalium"}], "text": "血清钾"},
    "subject": {"reference": "Patient/p1", "identifier": {"system": "urn:mrn", "value": "M1"}},
    "basedOn": [{"reference": f"{BASE}/ServiceRequest/s1/_history/2"}],
    "effectivePeriod": {"start": "2026-11-05T08:00:00+08:00", "end": "2026-11-05T09:00:00+08:00"},
    "valueQuantity": {
        "value": 5.40,
        "unit": "mmol/L",
        "system": "http://unitsofmeasure.org",
        "code": "mmol/L",
    },
    "component": [{"code": {"coding": [{"code": "A"}]}, "valueQuantity": {"value": 7, "comparator": "<"}}],
}
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p1",
    "active": True,
    "gender": "female",
    "birthDate": "1980-01-02",
    "name": [{"family": "Müller-示例", "given": ["Ana", "Béa"]}],
    "telecom": [
        {"system": "phone", "value": "023-1", "use": "work"},
        {"system": "email", "value": "a@example.org"},
    ],
    "address": [{"line": ["示例路 1"], "city": "重庆", "postalCode": "400000"}],
}


def fits(name: str, value: str, resource: dict[str, Any] = OBSERVATION) -> bool:
    asked = conditions(resource["resourceType"], [(name, value)])
    return met(asked, json.dumps(resource).encode(), [BASE])


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("_id", "o1", True),
        ("_id", "o2,o1", True),
        ("code", "K", True),
        ("code", "urn:local|K", True),
        ("code", "urn:other|K", False),
        ("code", "|K", False),
        ("code", "urn:local|", True),
        ("code", "k", False),
        ("code:text", "血清", True),
        ("code:text", "kali", True),
        ("code:text", "清钾", False),
        ("code:not", "K", False),
        ("code:not", "L,M", True),
        ("code:not", "L,K", False),
        ("code:missing", "false", True),
        ("method:missing", "true", True),
        ("method:missing", "false", False),
        ("method:not", "x", True),
        ("status", "final", True),
        ("status", "http://hl7.org/fhir/observation-status|final", True),
        ("status", "urn:other|final", False),
        ("identifier", "urn:reports|R\\,1\\|2", True),
        ("identifier", "R\\,1\\|2", True),
        ("identifier", "R", False),
        ("identifier:of-type", "urn:types|ACSN|R\\,1\\|2", True),
        ("identifier:of-type", "urn:types|MR|R\\,1\\|2", False),
        ("identifier:text", "检验", True),
        ("component-code", "A", True),
        ("combo-code", "A", True),
        ("combo-code", "K", True),
    ],
)
def test_tokens(name: str, value: str, expected: bool) -> None:
    assert fits(name, value) is expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("subject", "p1", True),
        ("subject", "Patient/p1", True),
        ("subject", f"{BASE}/Patient/p1", True),
        ("subject", "https://other.example/fhir/Patient/p1", False),
        ("subject:Patient", "p1", True),
        ("subject:Group", "p1", False),
        ("patient", "p1", True),
        ("patient", "Group/p1", False),
        ("subject:identifier", "urn:mrn|M1", True),
        ("patient.identifier", "urn:mrn|M1", True),
        ("patient.identifier", "urn:mrn|M2", False),
        ("based-on", "ServiceRequest/s1", True),
        ("based-on", "s1", True),
        ("based-on", "ServiceRequest/s2", False),
        ("performer:missing", "true", True),
    ],
)
def test_references(name: str, value: str, expected: bool) -> None:
    assert fits(name, value) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026", True),
        ("2026-11", True),
        ("2026-11-05", True),
        ("2026-11-05T08:30:00+08:00", False),  # within the period, which is not within the second
        ("ne2026-11-05", False),
        ("ne2026-11-06", True),
        ("gt2026-11-05", False),
        ("gt2026-11-05T08:30:00+08:00", True),
        ("lt2026-11-05", False),
        ("lt2026-11-05T08:30:00+08:00", True),
        ("ge2026-11-05", True),
        ("le2026-11-05", True),
        ("ge2026-11-06", False),
        ("sa2026-11-04", True),
        ("sa2026-11-05T08:30:00+08:00", False),
        ("eb2026-11-06", True),
        ("eb2026-11-05T08:30:00+08:00", False),
        ("2026-11-04,2026-11-05", True),
    ],
)
def test_dates_over_periods(value: str, expected: bool) -> None:
    assert fits("date", value) is expected


def test_a_date_is_about_right_within_a_tenth_of_its_distance() -> None:
    now = datetime.now(UTC)
    near, far = (fits("date", f"ap{(now + timedelta(days=d)).date().isoformat()}") for d in (-36500, -400))
    assert (near, far) == (False, False)
    assert fits("date", "ap2026-11-05")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("5.4", True),
        ("5.40", True),
        ("5", True),  # one digit leaves 4.5 to 5.5 open
        ("5.41", False),
        ("6", False),
        ("5.4|http://unitsofmeasure.org|mmol/L", True),
        ("5.4||mmol/L", True),
        ("5.4||mg/dL", False),
        ("5.4|urn:units|mmol/L", False),
        ("ne5.4", False),
        ("gt5.4", False),
        ("ge5.4", True),
        ("lt5.5", True),
        ("sa5.3", True),
        ("eb5.4", False),
        ("ap5", True),
        ("ap4.5", False),
    ],
)
def test_quantities(value: str, expected: bool) -> None:
    assert fits("value-quantity", value) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("lt7", True), ("7", False), ("le6", True), ("gt7", False), ("gt6", True), ("eb7", True)],
)
def test_a_value_below_a_limit_is_all_that_lies_below(value: str, expected: bool) -> None:
    assert fits("component-value-quantity", value) is expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("family", "muller", True),
        ("family:exact", "Müller-示例", True),
        ("family:exact", "Müller", False),
        ("family:contains", "示例", True),
        ("given", "bea", True),
        ("name", "ana", True),
        ("name", "na", False),
        ("address", "示例路", True),
        ("address-city", "重庆", True),
        ("gender", "female", True),
        ("active", "true", True),
        ("birthdate", "1980-01-02", True),
        ("birthdate", "lt1980", False),
        ("phone", "023-1", True),
        ("phone", "a@example.org", False),
        ("telecom", "work|023-1", True),
        ("email", "a@example.org", True),
    ],
)
def test_persons(name: str, value: str, expected: bool) -> None:
    assert fits(name, value, PATIENT) is expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("_profile", "http://example.org/profiles/lab/v1", True),
        ("_profile", "http://example.org/profiles/lab", False),
        ("_profile:below", "http://example.org/profiles/lab", True),
        ("_profile:below", "http://example.org/profiles/la", False),
        ("_profile:above", "http://example.org/profiles/lab/v1/x", True),
        ("_lastUpdated", "ge2026-11-06", True),
    ],
)
def test_what_all_types_are_searched_by(name: str, value: str, expected: bool) -> None:
    assert fits(name, value) is expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("made-up", "x"),
        ("code:in", "http://example.org/ValueSet"),
        ("code:exact", "x"),
        ("date:exact", "2026"),
        ("patient:Group", "x"),
        ("code:missing", "maybe"),
        ("code", ""),
        ("code", "a,"),
        ("code", "|"),
        ("date", "yesterday"),
        ("date", "xx2026"),
        ("value-quantity", "1e999"),
        ("value-quantity", "much"),
        ("value-quantity", "1|a|b|c"),
        ("identifier:of-type", "a|b"),
        ("code", ",".join("a" * 101)),
    ],
)
def test_what_is_not_understood_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(BadBody) as refused:
        conditions("Observation", [(name, value)])
    assert (refused.value.status, refused.value.field) == (400, name)


def test_every_parameter_is_read_and_fits_nothing_where_nothing_stands() -> None:
    samples = {
        "token": "a",
        "reference": "Patient/a",
        "date": "2026",
        "string": "a",
        "uri": "urn:a",
        "quantity": "1",
    }
    for type_, own in PARAMETERS.items():
        for name, kind in own.items():
            (one,) = conditions(type_, [(name, samples[kind])])
            assert not one.holds({"resourceType": type_}), (type_, name)


def test_every_type_that_is_kept_or_searched_has_parameters_and_includes_lead_to_such() -> None:
    assert TABLE.keys() >= {*STORED, *SEARCHED, "Endpoint"}
    for type_, names in INCLUDES.items():
        for name, targets in names.items():
            assert TABLE[type_][name].kind == "reference"
            assert {*targets} <= {*SEARCHED}


LOOKED_AT = ("id", "identifier", "code", "subject", "effectivePeriod", "valueQuantity", "effectiveTiming")
MEMBERS = (
    *("id", "identifier", "system", "value", "code", "coding", "text", "type", "subject", "reference"),
    *("start", "end", "event", "repeat", "comparator", "component", "display", "meta", "lastUpdated"),
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["2026-01-01", "Patient/p1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(MEMBERS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(LOOKED_AT), json_values))
def test_a_resource_of_any_form_is_looked_at_without_failing(resource: dict[str, Any]) -> None:
    asked = [
        ("identifier", "a|b"),
        ("identifier:of-type", "a|b|c"),
        ("code:text", "x"),
        ("code:not", "x"),
        ("patient", "p1"),
        ("patient.identifier", "a|b"),
        ("date", "ap2026"),
        ("value-quantity", "1||g"),
    ]
    opened_again = opened(json.dumps(resource).encode())
    for one in conditions("Observation", asked):
        one.holds(opened_again, [BASE])


@pytest.mark.parametrize("number", ["1" * 5000, "1e99999999999999999999", "1e-99999999999999999999"])
@pytest.mark.parametrize("asked", ["status", "value-quantity"])
def test_a_number_beyond_all_bounds_fails_nothing(number: str, asked: str) -> None:
    raw = json.dumps(OBSERVATION).replace("5.4", number).encode()
    assert number.encode() in raw
    met(conditions("Observation", [(asked, "5")]), raw)


@given(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=4))
def test_what_is_escaped_is_one_value(values: list[str]) -> None:
    def escaped(text: str) -> str:
        for sign in ("\\", ",", "$", "|"):
            text = text.replace(sign, f"\\{sign}")
        return text

    (one,) = conditions("Observation", [("identifier", ",".join(map(escaped, values)))])
    for value in values:
        assert one.holds({"identifier": [{"value": value}]})
        assert f"identifier||{value}" in asked([one])
    assert not one.holds({"identifier": [{"value": "".join(values) + "x"}]})
    assert all(one.holds({"identifier": [{"value": value}]}) for value in values)
