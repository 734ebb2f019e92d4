"""The FHIR source over HTTP: what it takes, what it refuses, what a search finds, bytes unchanged."""

from __future__ import annotations

import base64
import gzip
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.demo.people import BY_KEY
from gateway.resources.values import STORED as TYPES
from gateway.source import create_source
from tests.serving import serve

CONFORMANCE = Path(__file__).resolve().parents[3] / "shared/conformance/fhir"
FHIR = {"Content-Type": "application/fhir+json"}
ACCEPTED = ("r4-examples", "ips", "eu-lab", "eu-imaging", "ihe-mhd", "validator-accept", "mutated-accept")
REFUSED = ("validator-refuse", "mutated-refuse")
SERVED = ("versionId", "lastUpdated")
NUMBERS = [BY_KEY[name].number for name in ("ding", "jia")]


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


def entries(*resources: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"resource": one, "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"}}
        for one in resources
    ]


def test_the_members_of_a_resource_come_back_as_they_were_written(source: httpx.Client) -> None:
    raw = (
        '{"resourceType":"Observation","id":"bytes", "code":{ "text" :"钾" },"status":"final",'
        '"valueQuantity":{"value":72.50}}'
    )
    assert source.put("/Observation/bytes", content=raw.encode()).status_code == 201
    kept = source.get("/Observation/bytes").text
    assert '"code":{ "text" :"钾" },"status":"final","valueQuantity":{"value":72.50}}' in kept


def test_a_second_put_is_a_new_version_and_the_first_one_stays(source: httpx.Client) -> None:
    put(source, observation("twice"))
    assert put(source, observation("twice", status="corrected")).status_code == 200
    assert source.get("/Observation/twice").headers["ETag"] == 'W/"2"'
    assert source.get("/Observation/twice/_history/1").json()["status"] == "final"
    assert source.get("/Observation/twice/_history").json()["total"] == 2


def test_a_stale_update_is_refused(source: httpx.Client) -> None:
    put(source, observation("stale"))
    stale = {"If-Match": 'W/"7"'}
    answer = source.put("/Observation/stale", content=json.dumps(observation("stale")), headers=stale)
    assert answer.status_code == 412
    assert outcome(answer)


def test_a_reader_who_has_it_gets_304(source: httpx.Client) -> None:
    put(source, observation("known"))
    answer = source.get("/Observation/known", headers={"If-None-Match": 'W/"1"'})
    assert (answer.status_code, answer.content) == (304, b"")


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


def test_a_deleted_resource_is_gone_and_is_not_found(source: httpx.Client) -> None:
    put(source, observation("gone", identifier=[{"system": "urn:x", "value": "gone"}]))
    assert source.delete("/Observation/gone").status_code == 204
    assert source.get("/Observation/gone").status_code == 410
    assert found(source, "Observation", identifier="urn:x|gone") == []


def test_a_conditional_create_is_done_once(source: httpx.Client) -> None:
    resource = observation("", identifier=[{"system": "urn:x", "value": "once"}])
    del resource["id"]
    asked = {"If-None-Exist": "identifier=urn:x|once"}
    answers = [source.post("/Observation", json=resource, headers=FHIR | asked) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[0].headers["Location"] == answers[1].headers["Location"]


def bundle(source: httpx.Client, type_: str, *resources: dict[str, Any]) -> httpx.Response:
    whole = {"resourceType": "Bundle", "type": type_, "entry": entries(*resources)}
    return source.post("/", json=whole, headers=FHIR)


def test_a_transaction_with_one_bad_resource_keeps_nothing(source: httpx.Client) -> None:
    answer = bundle(source, "transaction", observation("w1"), observation("w2", status="zzz"))
    assert answer.status_code == 422
    assert answer.json()["issue"][0]["expression"] == ["Bundle.entry[1].resource.status"]
    assert source.get("/Observation/w1").status_code == 404


def test_a_batch_keeps_what_can_be_kept(source: httpx.Client) -> None:
    answer = bundle(source, "batch", observation("b1"), observation("b2", status="zzz"))
    assert [entry["response"]["status"][:3] for entry in answer.json()["entry"]] == ["201", "422"]


def test_a_search_stands_in_a_batch_too(searched: httpx.Client) -> None:
    asked = [{"request": {"method": "GET", "url": "Observation?patient=s-a&_count=2"}}]
    whole = {"resourceType": "Bundle", "type": "batch", "entry": asked}
    (told,) = searched.post("/", json=whole, headers=FHIR).json()["entry"]
    assert (told["resource"]["type"], len(told["resource"]["entry"])) == ("searchset", 2)


@pytest.mark.parametrize(
    ("path", "resource", "wrong"),
    [
        ("/Observation/$validate", observation("v"), False),
        ("/Observation/$validate", observation("v", status="zzz"), True),
        ("/Observation/v/$validate", observation("v"), False),
        ("/Observation/v/$validate", observation("another"), True),
        ("/Observation/v/$validate?mode=create", observation("another"), False),
        ("/Observation/$validate", {"resourceType": "Parameters"}, True),
        ("/Observation/v/$validate?mode=delete", {"resourceType": "Parameters"}, False),
    ],
)
def test_a_resource_is_looked_at_and_not_kept(
    source: httpx.Client, path: str, resource: dict[str, Any], wrong: bool
) -> None:
    answer = source.post(path, json=resource, headers=FHIR)
    assert answer.status_code == 200
    assert (answer.json()["issue"][0]["severity"] == "error") == wrong
    assert source.get("/Observation/v").status_code == 404


def test_a_resource_in_parameters_is_looked_at(source: httpx.Client) -> None:
    parameters = [{"name": "resource", "resource": observation("v")}, {"name": "mode", "valueCode": "create"}]
    whole = {"resourceType": "Parameters", "parameter": parameters}
    answer = source.post("/Observation/$validate", json=whole, headers=FHIR)
    assert answer.json()["issue"][0]["severity"] == "information"


def test_a_profile_is_not_looked_at_and_refused(source: httpx.Client) -> None:
    parameters = [
        {"name": "profile", "valueUri": "urn:x"},
        {"name": "resource", "resource": observation("v")},
    ]
    whole = {"resourceType": "Parameters", "parameter": parameters}
    assert source.post("/Observation/$validate", json=whole, headers=FHIR).status_code == 400


@pytest.fixture(scope="module")
def searched(source: httpx.Client) -> httpx.Client:
    """The source with a few records of two patients."""
    for number, id_ in zip(NUMBERS, ("s-a", "s-b"), strict=True):
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
    assert found(searched, "Patient", identifier=f"urn:oid:2.16.156.10011.1.3|{NUMBERS[0]}") == ["s-a"]


def test_a_number_of_another_system_finds_nobody(searched: httpx.Client) -> None:
    assert found(searched, "Patient", identifier=f"urn:x|{NUMBERS[0]}") == []


@pytest.mark.parametrize("patient", ["Patient/s-a", "s-a"])
def test_records_are_found_by_patient(searched: httpx.Client, patient: str) -> None:
    assert found(searched, "Observation", patient=patient) == ["s-3", "s-2", "s-1"]


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
    assert sorted(found(searched, "Observation", patient="s-a", date=date)) == ids


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
    assert sorted(found(searched, "Observation", patient="s-a", **{name: value})) == ids


def test_studies_are_found_by_start(searched: httpx.Client) -> None:
    assert found(searched, "ImagingStudy", patient="s-a", started="ge2026-11-10") == ["s-5"]


def test_a_search_by_get_finds_the_same(searched: httpx.Client) -> None:
    entries = searched.get("/Observation", params={"patient": "s-a"}).json()["entry"]
    assert [entry["resource"]["id"] for entry in entries] == ["s-3", "s-2", "s-1"]


def test_a_long_answer_goes_on_at_an_address_without_parameters(searched: httpx.Client) -> None:
    ids, answer = [], searched.get("/Observation", params={"patient": "s-a", "_count": "1"}).json()
    while True:
        ids += [entry["resource"]["id"] for entry in answer["entry"]]
        further = [link["url"] for link in answer["link"] if link["relation"] == "next"]
        if not further:
            break
        assert "s-a" not in further[0]
        answer = searched.get(further[0]).json()
    assert ids == ["s-3", "s-2", "s-1"]


def test_what_a_match_refers_to_comes_along(searched: httpx.Client) -> None:
    asked = {"_id": "s-1", "_include": "Observation:patient"}
    told = searched.get("/Observation", params=asked).json()["entry"]
    modes = [(one["resource"]["id"], one["search"]["mode"]) for one in told]
    assert modes == [("s-1", "match"), ("s-a", "include")]


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
        "patient:missing=perhaps",
        "code=%FF",
    ],
)
def test_a_parameter_that_is_not_understood_is_refused(source: httpx.Client, query: str) -> None:
    answer = source.get(f"/Observation?{query}")
    assert answer.status_code == 400, answer.text
    assert outcome(answer)


def test_a_parameter_that_is_not_known_is_passed_over_where_the_caller_prefers(
    searched: httpx.Client,
) -> None:
    lenient = {"Prefer": "handling=lenient"}
    told = searched.get("/Patient", params={"_id": "s-a", "shoe-size": "44"}, headers=lenient).json()["entry"]
    assert [one["search"]["mode"] for one in told] == ["match", "outcome"]
    assert "shoe-size" in told[1]["resource"]["issue"][0]["diagnostics"]


def test_parameters_in_the_address_of_a_post_search_are_refused(source: httpx.Client) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert source.post("/Patient/_search?identifier=x", content=b"", headers=form).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/Medication/1", 404),
        ("GET", "/Observation/none", 404),
        ("GET", "/Observation/a/b/c", 404),
        ("PATCH", "/Observation/bytes", 405),
        ("GET", "/observation/bytes", 404),
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
        (b'{"resourceType":"Observation","id":"y","status":"final","code":{"text":"a"}}', 400),
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
    values = {
        "date": "2026-11-10",
        "reference": "p",
        "quantity": "5",
        "string": "s",
        "token": "t",
        "uri": "u",
    }
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


@pytest.mark.slow
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


def test_a_file_of_0_4_is_adopted(tmp_path: Path) -> None:
    file = tmp_path / "s.sqlite3"
    saved = datetime(2026, 11, 1, tzinfo=UTC).isoformat()
    body = json.dumps(observation("old", identifier=[{"system": "urn:x", "value": "1"}]))
    with closing(sqlite3.connect(file)) as old:
        old.executescript(
            "CREATE TABLE resource (type TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL,"
            " saved TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (type, id));"
            "CREATE TABLE token (type TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,"
            " id TEXT NOT NULL, PRIMARY KEY (type, name, value, id)) WITHOUT ROWID;"
            "CREATE INDEX token_of_resource ON token (type, id);"
        )
        old.execute("INSERT INTO resource VALUES ('Observation', 'old', 3, ?, ?)", (saved, body.encode()))
        old.execute("INSERT INTO token VALUES ('Observation', 'identifier', 'urn:x|1', 'old')")
        old.commit()
    with (
        serve(create_source(file, institution="EX-CQ-01")) as url,
        httpx.Client(base_url=url, headers=FHIR, trust_env=False) as client,
    ):
        assert client.get("/Observation/old").headers["ETag"] == 'W/"3"'
        assert found(client, "Observation", identifier="urn:x|1", patient="p1") == ["old"]
        assert put(client, observation("old", status="amended")).headers["ETag"] == 'W/"4"'
        assert client.get("/Observation/old/_history").json()["total"] == 2


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


def plain(resource: dict[str, Any]) -> dict[str, Any]:
    """A resource without what a server gives: id, version and time."""
    given = {name: value for name, value in resource.get("meta", {}).items() if name not in SERVED}
    return {**resource, "id": "", "meta": given}


@pytest.mark.parametrize("folder", ACCEPTED)
def test_published_resources_are_accepted_and_come_back_equal(source: httpx.Client, folder: str) -> None:
    wrong = []
    for name, _, raw in examples(folder):
        sent = json.loads(raw.decode("utf-8-sig"), parse_float=str, parse_int=str)
        answer = source.post(f"/{sent['resourceType']}", content=raw)
        kept = source.get(answer.headers["Location"]).content if answer.status_code == 201 else b"{}"
        read = json.loads(kept, parse_float=str, parse_int=str)
        if plain(read) != plain(sent):
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
