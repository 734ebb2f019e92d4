"""The FHIR source over HTTP: what it takes, what it refuses, what a search finds, bytes unchanged."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.source import create_source
from tests.serving import serve

CONFORMANCE = Path(__file__).resolve().parents[3] / "shared/conformance/fhir"
TYPES = ("Patient", "DiagnosticReport", "Observation", "ImagingStudy")
FHIR = {"Content-Type": "application/fhir+json"}
ACCEPTED = ("r4-examples", "ips", "eu-lab", "eu-imaging", "ihe-mhd", "validator-accept", "mutated-accept")
REFUSED = ("validator-refuse", "mutated-refuse")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of one source; every test uses ids of its own."""
    app = create_source(tmp_path_factory.mktemp("source") / "source.sqlite3", institution="EX-CQ-01")
    with serve(app) as url, httpx.Client(base_url=url, headers=FHIR, trust_env=False) as client:
        yield client


def observation(id_: str, **changes: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": id_,
        "status": "final",
        "code": {"coding": [{"system": "urn:x", "code": "ALB"}], "text": "白蛋白"},
        "category": [{"coding": [{"system": "urn:c", "code": "laboratory"}]}],
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2026-11-10T08:00:00+08:00",
    } | changes


def put(source: httpx.Client, resource: dict[str, Any]) -> httpx.Response:
    return source.put(f"/{resource['resourceType']}/{resource['id']}", content=json.dumps(resource))


def found(source: httpx.Client, type_: str, **form: str) -> list[str]:
    answer = source.post(
        f"/{type_}/_search", data=form, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code == 200, answer.text
    return [entry["resource"]["id"] for entry in answer.json().get("entry", [])]


def outcome(answer: httpx.Response) -> str:
    body = answer.json()
    assert body["resourceType"] == "OperationOutcome"
    return str(body["issue"][0]["diagnostics"])


def test_the_bytes_of_a_resource_come_back_unchanged(source: httpx.Client) -> None:
    raw = (
        '{ "resourceType":"Observation","status":"final", "id":"bytes",\n'
        '"code":{"text":"钾"},"valueQuantity":{"value":72.50}}'
    )
    assert source.put("/Observation/bytes", content=raw.encode()).status_code == 201
    assert source.get("/Observation/bytes").content == raw.encode()


def test_a_second_put_is_a_new_version(source: httpx.Client) -> None:
    put(source, observation("twice"))
    assert put(source, observation("twice", status="corrected")).status_code == 200
    assert source.get("/Observation/twice").headers["ETag"] == 'W/"2"'


def test_a_created_resource_gets_an_id_and_keeps_its_values(source: httpx.Client) -> None:
    raw = (
        '{"resourceType":"Observation","id":"mine","status":"final","code":{"text":"钾"},'
        '"valueQuantity":{"value":4.10}}'
    )
    answer = source.post("/Observation", content=raw.encode())
    assert answer.status_code == 201
    kept = source.get(answer.headers["Location"]).json(parse_float=Decimal)
    assert kept["id"] != "mine"
    assert str(kept["valueQuantity"]["value"]) == "4.10"


def test_a_transaction_is_kept_as_a_whole(source: httpx.Client) -> None:
    entries = [
        {"resource": observation(f"t{n}"), "request": {"method": "PUT", "url": f"Observation/t{n}"}}
        for n in (1, 2)
    ]
    answer = source.post(
        "/", json={"resourceType": "Bundle", "type": "transaction", "entry": entries}, headers=FHIR
    )
    assert [entry["response"]["status"] for entry in answer.json()["entry"]] == ["201 Created"] * 2


def test_a_transaction_with_one_bad_resource_keeps_nothing(source: httpx.Client) -> None:
    resources = [observation("w1"), observation("w2", status="zzz")]
    entries = [
        {"resource": r, "request": {"method": "PUT", "url": f"Observation/{r['id']}"}} for r in resources
    ]
    answer = source.post(
        "/", json={"resourceType": "Bundle", "type": "transaction", "entry": entries}, headers=FHIR
    )
    assert answer.status_code == 422
    assert "entry[1].Observation.status" in outcome(answer)
    assert source.get("/Observation/w1").status_code == 404


def test_a_batch_keeps_what_can_be_kept(source: httpx.Client) -> None:
    resources = [observation("b1"), observation("b2", status="zzz")]
    entries = [
        {"resource": r, "request": {"method": "PUT", "url": f"Observation/{r['id']}"}} for r in resources
    ]
    answer = source.post(
        "/", json={"resourceType": "Bundle", "type": "batch", "entry": entries}, headers=FHIR
    )
    assert [entry["response"]["status"][:3] for entry in answer.json()["entry"]] == ["201", "422"]


def test_a_transaction_that_would_have_to_be_rewritten_is_refused(source: httpx.Client) -> None:
    person = {"resourceType": "Patient"}
    resource = observation("ref", subject={"reference": "urn:uuid:1"})
    entries = [
        {"fullUrl": "urn:uuid:1", "resource": person, "request": {"method": "POST", "url": "Patient"}},
        {"resource": resource, "request": {"method": "PUT", "url": "Observation/ref"}},
    ]
    answer = source.post(
        "/", json={"resourceType": "Bundle", "type": "transaction", "entry": entries}, headers=FHIR
    )
    assert answer.status_code == 422
    assert source.get("/Observation/ref").status_code == 404


@pytest.fixture(scope="module")
def searched(source: httpx.Client) -> httpx.Client:
    """The source with a few records of two patients."""
    for number, id_ in (("990000198001010016", "s-a"), ("990000198502020022", "s-b")):
        identifier = [{"system": "urn:oid:2.16.156.10011.1.3", "value": number}]
        put(source, {"resourceType": "Patient", "id": id_, "identifier": identifier})
    days = {"s-1": "2026-11-01", "s-2": "2026-11-10T08:00:00+08:00", "s-3": "2026-12"}
    for id_, when in days.items():
        put(source, observation(id_, subject={"reference": "Patient/s-a"}, effectiveDateTime=when))
    put(source, observation("s-4", subject={"reference": "Patient/s-b"}, status="preliminary"))
    put(
        source,
        {
            "resourceType": "ImagingStudy",
            "id": "s-5",
            "status": "available",
            "subject": {"reference": "Patient/s-a"},
            "started": "2026-11-10T08:00:00+08:00",
        },
    )
    return source


def test_a_patient_is_found_by_number(searched: httpx.Client) -> None:
    assert found(searched, "Patient", identifier="urn:oid:2.16.156.10011.1.3|990000198001010016") == ["s-a"]


def test_a_number_of_another_system_finds_nobody(searched: httpx.Client) -> None:
    assert found(searched, "Patient", identifier="urn:x|990000198001010016") == []


@pytest.mark.parametrize("patient", ["Patient/s-a", "s-a"])
def test_records_are_found_by_patient(searched: httpx.Client, patient: str) -> None:
    assert found(searched, "Observation", patient=patient) == ["s-1", "s-2", "s-3"]


@pytest.mark.parametrize(
    ("date", "ids"),
    [
        ("ge2026-11-10", ["s-2", "s-3"]),
        ("ge2026-11-10T00:00:00Z", ["s-2", "s-3"]),
        ("ge2026-11-10T00:00:01Z", ["s-3"]),
        ("gt2026-11-10", ["s-3"]),
        ("le2026-11-01", ["s-1"]),
        ("le2026-11-01T12:00:00+08:00", ["s-1"]),
        ("lt2026-11-01", []),
        ("2026-11-10", ["s-2"]),
        ("eq2026-11", ["s-1", "s-2"]),
        ("2026", ["s-1", "s-2", "s-3"]),
    ],
)
def test_dates_are_compared_as_periods(searched: httpx.Client, date: str, ids: list[str]) -> None:
    assert found(searched, "Observation", patient="s-a", date=date) == ids


@pytest.mark.parametrize(
    ("name", "value", "ids"),
    [
        ("code", "urn:x|ALB", ["s-1", "s-2", "s-3"]),
        ("code", "ALB", ["s-1", "s-2", "s-3"]),
        ("code", "|ALB", []),
        ("code:text", "白蛋", ["s-1", "s-2", "s-3"]),
        ("category", "laboratory", ["s-1", "s-2", "s-3"]),
        ("category", "vital-signs", []),
        ("status", "final,amended", ["s-1", "s-2", "s-3"]),
        ("status", "preliminary", []),
        ("_id", "s-1,s-2", ["s-1", "s-2"]),
    ],
)
def test_tokens_narrow_a_search(searched: httpx.Client, name: str, value: str, ids: list[str]) -> None:
    assert found(searched, "Observation", patient="s-a", **{name: value}) == ids


def test_studies_are_found_by_start(searched: httpx.Client) -> None:
    assert found(searched, "ImagingStudy", patient="s-a", started="ge2026-11-10") == ["s-5"]


def test_a_search_by_get_finds_the_same(searched: httpx.Client) -> None:
    entries = searched.get("/Observation", params={"patient": "s-a"}).json()["entry"]
    assert [entry["resource"]["id"] for entry in entries] == ["s-1", "s-2", "s-3"]


def test_a_long_answer_goes_on_at_an_address_without_parameters(searched: httpx.Client) -> None:
    ids, answer = [], searched.get("/Observation", params={"patient": "s-a", "_count": "1"}).json()
    while True:
        ids += [entry["resource"]["id"] for entry in answer["entry"]]
        if "link" not in answer:
            break
        assert "s-a" not in answer["link"][0]["url"]
        answer = searched.get(answer["link"][0]["url"]).json()
    assert ids == ["s-1", "s-2", "s-3"]


def test_a_forgotten_page_is_gone(source: httpx.Client) -> None:
    assert source.get("/_page/none").status_code == 410


@pytest.mark.parametrize(
    "query",
    [
        "name=x",
        "patient=",
        "date=yesterday",
        "date=ge2026-13-01",
        "_count=-1",
        "patient:missing=true",
        "code=%FF",
    ],
)
def test_a_parameter_that_is_not_understood_is_refused(source: httpx.Client, query: str) -> None:
    answer = source.get(f"/Observation?{query}")
    assert answer.status_code == 400, answer.text
    assert outcome(answer)


def test_parameters_in_the_address_of_a_post_search_are_refused(source: httpx.Client) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert source.post("/Patient/_search?identifier=x", content=b"", headers=form).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/Medication/1", 404),
        ("GET", "/Observation/none", 404),
        ("GET", "/Observation/a/b/c", 404),
        ("DELETE", "/Observation/bytes", 405),
    ],
)
def test_what_is_not_offered_is_an_outcome(source: httpx.Client, method: str, path: str, status: int) -> None:
    answer = source.request(method, path)
    assert answer.status_code == status
    assert outcome(answer)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"{", 400),
        (b'{"resourceType":"Observation","id":"x","id":"x"}', 400),
        (b'{"resourceType":"Patient","id":"x"}', 422),
        (b'{"resourceType":"Observation","id":"y","status":"final","code":{"text":"a"}}', 422),
        (b'{"resourceType":"Observation","id":"x","status":"final"}', 422),
        (b'{"resourceType":"Observation","id":"x","status":"zzz","code":{"text":"a"}}', 422),
        (b"[]", 422),
    ],
)
def test_a_bad_resource_is_refused_and_not_kept(source: httpx.Client, raw: bytes, status: int) -> None:
    assert source.put("/Observation/x", content=raw).status_code == status
    assert source.get("/Observation/x").status_code == 404


def test_another_media_type_is_refused(source: httpx.Client) -> None:
    answer = source.put("/Observation/x", content=b"<a/>", headers={"Content-Type": "application/fhir+xml"})
    assert answer.status_code == 415


def test_the_capability_statement_says_fhir_4_0_1(source: httpx.Client) -> None:
    assert source.get("/metadata").json()["fhirVersion"] == "4.0.1"


def test_every_search_parameter_of_the_capability_statement_is_understood(source: httpx.Client) -> None:
    values = {"date": "2026-11-10", "reference": "p", "token": "t"}
    for resource in source.get("/metadata").json()["rest"][0]["resource"]:
        for parameter in resource["searchParam"]:
            query = {parameter["name"]: values[parameter["type"]]}
            assert source.get(f"/{resource['type']}", params=query).status_code == 200


def test_the_capability_statement_is_a_valid_resource(source: httpx.Client) -> None:
    from fhir.resources.R4B.capabilitystatement import CapabilityStatement

    CapabilityStatement.model_validate_json(source.get("/metadata").content)


def test_broken_json_is_never_an_error_of_the_server(source: httpx.Client) -> None:
    lines = gzip.decompress(_bad("json-parsing.jsonl.gz")).decode().splitlines()
    bodies = [base64.b64decode(json.loads(line)["b64"]) for line in lines]
    assert {source.post("/Observation", content=body).status_code for body in bodies} <= {400, 422}


def test_naughty_strings_are_never_an_error_of_the_server(source: httpx.Client) -> None:
    strings = [s for s in json.loads(_bad("naughty-strings.json")) if isinstance(s, str)]
    asked = [source.get("/Patient", params={"identifier": s}).status_code for s in strings]
    kept = [put(source, observation("naughty", code={"text": s})).status_code for s in strings]
    assert set(asked) <= {200, 400}
    assert set(kept) <= {200, 201, 400, 422}


def _bad(name: str) -> bytes:
    file = CONFORMANCE.parent / "badinput/shared" / name
    if not file.exists():
        pytest.skip("the shared conformance folder is not beside this checkout")
    return file.read_bytes()


def test_what_was_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    for status in (201, 200):
        with serve(create_source(tmp_path / "s.sqlite3", institution="EX-CQ-01")) as url:
            answer = httpx.put(
                f"{url}/Observation/r", content=json.dumps(observation("r")), headers=FHIR, trust_env=False
            )
            assert answer.status_code == status


def examples(folder: str) -> Iterator[tuple[str, str, bytes]]:
    """Name, tier and bytes of the examples of a folder that claim to be of an offered type."""
    if not CONFORMANCE.exists():
        pytest.skip("the shared conformance folder is not beside this checkout")
    for entry in json.loads((CONFORMANCE / folder / "index.json").read_text()):
        raw = (CONFORMANCE / folder / entry["file"]).read_bytes()
        name = Path(entry["file"]).name
        try:
            type_ = json.loads(raw.decode("utf-8-sig"))["resourceType"]
        except (ValueError, KeyError, TypeError):
            type_ = name.split("-")[0]
        if type_ in TYPES or name.split("-")[0] in TYPES:
            yield name, entry.get("tier", ""), raw


@pytest.mark.parametrize("folder", ACCEPTED)
def test_published_resources_are_accepted_and_come_back_equal(source: httpx.Client, folder: str) -> None:
    wrong = []
    for name, _, raw in examples(folder):
        sent = json.loads(raw.decode("utf-8-sig"), parse_float=str, parse_int=str)
        answer = source.post(f"/{sent['resourceType']}", content=raw)
        kept = source.get(answer.headers["Location"]).content if answer.status_code == 201 else b"{}"
        read = json.loads(kept, parse_float=str, parse_int=str)
        if {**read, "id": ""} != {**sent, "id": ""}:
            wrong.append((name, answer.status_code, answer.text[:200]))
    assert wrong == []


# Invariants and profile rules that the source does not check; it says so, and never fails on them.
UNCHECKED = ("C-invariant", "C-content")


@pytest.mark.parametrize("folder", REFUSED)
def test_published_broken_resources_are_refused_and_not_kept(source: httpx.Client, folder: str) -> None:
    wrong = []
    for name, tier, raw in examples(folder):
        type_ = next((t for t in TYPES if name.startswith(t)), "Patient")
        before = source.get(f"/{type_}", params={"_count": "0"}).json()["total"]
        answer = source.post(f"/{type_}", content=raw)
        expected = (400,) if tier in ("A-syntax", "A-encoding", "A-duplicate-key") else (400, 422)
        if tier in UNCHECKED and answer.status_code == 201:
            continue
        after = source.get(f"/{type_}", params={"_count": "0"}).json()["total"]
        if answer.status_code not in expected or not outcome(answer) or after != before:
            wrong.append((name, tier, answer.status_code))
    assert wrong == []
