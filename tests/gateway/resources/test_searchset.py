"""Searches on a shelf, and the searchsets that tell of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.body import BadBody
from gateway.resources import local
from gateway.resources.conditions import opened
from gateway.resources.file_shelf import FileShelf
from gateway.resources.query import MOST, PAGE, pairs_of, personal, query_of
from gateway.resources.searchset import Row, Searchset, ordered, shaped
from gateway.resources.tokens import asked
from gateway.resources.values import Change, Kept, Shelf
from security.identity import RESIDENT_SYSTEM

BASE = "https://his.example/fhir"
NUMBER = "990000198001010016"


def resource(type_: str, id_: str, **members: Any) -> dict[str, Any]:
    return {"resourceType": type_, "id": id_} | members


def result(id_: str, day: int, status: str = "final", patient: str = "p1", **members: Any) -> dict[str, Any]:
    return resource(
        "Observation",
        id_,
        status=status,
        code={"text": "白蛋白"},
        subject={"reference": f"Patient/{patient}"},
        effectiveDateTime=f"2026-11-{day:02}",
        **members,
    )


KEPT = [
    resource("Patient", "p1", identifier=[{"system": RESIDENT_SYSTEM, "value": NUMBER}]),
    resource("Patient", "p2", identifier=[{"system": "urn:mrn", "value": "2"}], name=[{"family": "示例"}]),
    resource("Organization", "h1", name="示例医院", partOf={"reference": "Organization/h1"}),
    resource("ServiceRequest", "s1", status="active", intent="order", subject={"reference": "Patient/p1"}),
    resource("Specimen", "b1", subject={"reference": f"{BASE}/Patient/p1"}),
    result(
        "o1", 1, specimen={"reference": f"{BASE}/Specimen/b1"}, basedOn=[{"reference": "ServiceRequest/s1"}]
    ),
    result("o2", 3, "amended"),
    result("o3", 2, text={"status": "generated", "div": "<div xmlns='http://www.w3.org/1999/xhtml'>x</div>"}),
    result("o4", 4, patient="p2"),
    {
        **resource("Task", "t1", status="requested", intent="order"),
        "for": {"reference": "Patient/p2"},
        "focus": {"reference": "Observation/o4"},
    },
    resource(
        "DiagnosticReport",
        "d1",
        status="final",
        code={"text": "肝功能"},
        subject={"reference": "Patient/p1"},
        result=[{"reference": "Observation/o1"}, {"reference": "Observation/o2/_history/1"}],
    ),
]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileShelf]:
    kept = FileShelf(tmp_path_factory.mktemp("shelf") / "kept.sqlite3")
    for one in KEPT:
        change = Change(type=one["resourceType"], id=one["id"], body=json.dumps(one).encode())
        asyncio.run(kept.put([change]))
        time.sleep(0.002)  # what is told of the time has milliseconds
    yield kept
    kept.close()


def found(shelf: FileShelf, query: str, type_: str = "Observation") -> Searchset:
    pairs = pairs_of(quote(query, safe="=&|").encode())
    return asyncio.run(local.search(shelf, query_of(type_, pairs, own=True), [BASE]))


def bundle(shelf: FileShelf, query: str, type_: str = "Observation") -> dict[str, Any]:
    told: dict[str, Any] = json.loads(found(shelf, query, type_).page(BASE))
    return told


def ids(told: dict[str, Any], mode: str = "match") -> list[str]:
    return [e["resource"]["id"] for e in told.get("entry", ()) if e["search"]["mode"] == mode]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["o4", "o3", "o2", "o1"]),
        ("patient=p1", ["o3", "o2", "o1"]),
        ("patient=Patient/p1&status=final", ["o3", "o1"]),
        ("patient.identifier=urn:mrn|2", ["o4"]),
        ("subject.identifier=urn:mrn|2&status=amended", []),
        ("patient.identifier=urn:mrn|3", []),
        ("patient.identifier=urn:mrn|", ["o4"]),
        ("subject:Patient.family=示", ["o4"]),
        ("patient.name:exact=示例&date=2026-11-04", ["o4"]),
        ("patient.family=示例&patient=p1", []),
        ("patient.family=无人", []),
        ("patient._id=p2", ["o4"]),
        ("based-on:ServiceRequest.status=active", ["o1"]),
        ("subject=Patient/p2", ["o4"]),
        ("subject=p2", ["o4"]),
        ("subject:Patient=p2", ["o4"]),
        ("subject:Group=p2", []),
        ("_id=o2,o1", ["o2", "o1"]),
        ("_id=o9", []),
        ("specimen=b1", ["o1"]),
        ("_lastUpdated=ge2026-01-01&status=amended", ["o2"]),
        ("_sort=date", ["o1", "o3", "o2", "o4"]),
        ("_sort=-date", ["o4", "o2", "o3", "o1"]),
        ("_sort=status,-date", ["o2", "o4", "o3", "o1"]),
        ("_sort=-_id", ["o4", "o3", "o2", "o1"]),
        ("_sort=_lastUpdated", ["o1", "o2", "o3", "o4"]),
    ],
)
def test_what_fits_is_found_in_its_order(shelf: FileShelf, query: str, expected: list[str]) -> None:
    assert ids(bundle(shelf, query)) == expected


def test_what_is_referred_to_comes_along_once(shelf: FileShelf) -> None:
    told = bundle(shelf, "patient=p1&_include=Observation:patient&_include=Observation:specimen")
    assert (ids(told), ids(told, "include")) == (["o3", "o2", "o1"], ["p1", "b1"])
    assert told["total"] == 3


def test_what_refers_to_a_match_comes_along(shelf: FileShelf) -> None:
    told = bundle(shelf, "_id=o2&_revinclude=DiagnosticReport:result")
    assert (ids(told), ids(told, "include")) == (["o2"], ["d1"])
    assert ids(bundle(shelf, "_id=o3&_revinclude=DiagnosticReport:result"), "include") == []


def test_a_patient_brings_along_what_is_about_him(shelf: FileShelf) -> None:
    told = bundle(shelf, "_id=p2&_revinclude=Observation:patient", "Patient")
    assert ids(told, "include") == ["o4"]


def test_every_reference_is_followed_on_one_shelf(shelf: FileShelf) -> None:
    told = bundle(shelf, "_id=o1&_include=*")
    assert (ids(told), sorted(ids(told, "include"))) == (["o1"], ["b1", "p1", "s1"])
    told = bundle(shelf, "_id=p1&_revinclude=*", "Patient")
    assert sorted(ids(told, "include")) == ["b1", "d1", "o1", "o2", "o3", "s1"]
    told = bundle(shelf, "_id=s1&_revinclude=Observation:*", "ServiceRequest")
    assert ids(told, "include") == ["o1"]


def test_a_task_is_found_by_whom_it_is_for(shelf: FileShelf) -> None:
    assert asked(query_of("Task", [("patient", "p2")]).conditions) == ["subject|Patient/p2"]
    assert ids(bundle(shelf, "patient=p2", "Task")) == ["t1"]
    assert ids(bundle(shelf, "_id=o4&_revinclude=Task:focus"), "include") == ["t1"]


def test_what_refers_to_itself_does_not_come_along_with_itself(shelf: FileShelf) -> None:
    told = bundle(shelf, "_include=Organization:partof&_revinclude=Organization:partof", "Organization")
    assert (ids(told), ids(told, "include")) == (["h1"], [])


@pytest.mark.parametrize(
    "name",
    ["patient.made-up", "patient.organization.name", "performer.name", "status.code", "patient:Group.name"],
)
def test_a_chain_that_leads_nowhere_is_refused(name: str) -> None:
    with pytest.raises(BadBody) as refused:
        query_of("Observation", [(name, "x")], own=True)
    assert refused.value.status == 400


@pytest.mark.parametrize("name", ["patient.name", "subject:Patient.family", "patient.identifier:of-type"])
def test_over_nodes_nothing_is_chained_but_a_number(name: str) -> None:
    with pytest.raises(BadBody):
        query_of("Observation", [(name, "x")])


@pytest.mark.parametrize(
    "asked", [[("patient.name", "x")] * 5, [("code:not", ",".join("x" * 100))] * 6], ids=["chains", "values"]
)
def test_no_search_looks_for_more_than_so_much(asked: list[tuple[str, str]]) -> None:
    with pytest.raises(BadBody):
        query_of("Observation", asked, own=True)


class Endless:
    """A shelf with one resource more than is looked at, whatever it is asked for."""

    async def listed(self, type_: str, tokens: Sequence[str], limit: int) -> list[Kept]:
        body = json.dumps(result("o1", 1)).encode()
        one = Kept(type=type_, id="o1", version=1, saved=datetime.now(UTC), body=body)
        return [one] * min(limit, local.LIMIT + 1)


def test_it_is_said_where_not_all_was_looked_at() -> None:
    told = asyncio.run(local.search(cast("Shelf", Endless()), query_of("Observation", [("status", "final")])))
    assert told.total == local.LIMIT
    (issue,) = json.loads(told.outcome)
    assert (issue["severity"], issue["code"], "5,000" in issue["diagnostics"]) == (
        "warning",
        "incomplete",
        True,
    )


def test_many_matches_of_a_chain_are_no_refusal(tmp_path: Path) -> None:
    kept = FileShelf(tmp_path / "many.sqlite3")
    changes = [
        Change(type=one["resourceType"], id=one["id"], body=json.dumps(one).encode())
        for n in range(300)
        for one in (
            resource("Patient", f"p{n}", identifier=[{"system": "urn:mrn", "value": str(n)}]),
            result(f"o{n}", 1, patient=f"p{n}"),
        )
    ]
    asyncio.run(kept.put(changes))
    assert found(kept, "patient.identifier=urn:mrn|").total == 300
    kept.close()


def test_an_include_may_be_narrowed_to_a_type(shelf: FileShelf) -> None:
    assert ids(bundle(shelf, "_id=o1&_include=Observation:based-on:ServiceRequest"), "include") == ["s1"]


def test_an_answer_without_anything_has_no_entries(shelf: FileShelf) -> None:
    told = bundle(shelf, "status=cancelled")
    assert (told["total"], "entry" in told) == (0, False)


@pytest.mark.parametrize("query", ["_summary=count", "_count=0"])
def test_a_count_is_a_number_alone(shelf: FileShelf, query: str) -> None:
    told = bundle(shelf, f"patient=p1&{query}")
    assert (told["total"], "entry" in told) == (3, False)


@pytest.mark.parametrize(("total", "told"), [("none", False), ("estimate", True), ("accurate", True)])
def test_the_total_is_told_as_it_is_wanted(shelf: FileShelf, total: str, told: bool) -> None:
    assert ("total" in bundle(shelf, f"_total={total}")) is told


def test_pages_hold_every_match_once_and_lead_on_and_back(shelf: FileShelf) -> None:
    whole = found(shelf, "_count=3&_sort=date")
    pages = [json.loads(whole.page(BASE, start, "name")) for start in (0, 3)]
    assert [ids(page) for page in pages] == [["o1", "o3", "o2"], ["o4"]]
    links = [{link["relation"]: link["url"].removeprefix(f"{BASE}/") for link in p["link"]} for p in pages]
    assert links == [
        {"self": "Observation?_count=3&_sort=date", "first": "_page/name.0", "next": "_page/name.3"},
        {"self": "_page/name.3", "first": "_page/name.0", "previous": "_page/name.0"},
    ]


def test_a_page_has_what_comes_along_with_its_own_matches(shelf: FileShelf) -> None:
    whole = found(shelf, "_count=1&_sort=date&_include=Observation:specimen")
    assert [ids(json.loads(whole.page(BASE, n, "n")), "include") for n in (0, 1)] == [["b1"], []]


def test_the_model_of_a_bundle_reads_every_page(shelf: FileShelf) -> None:
    from fhir.resources.R4B.bundle import Bundle

    whole = found(shelf, "_count=2&_revinclude=DiagnosticReport:result")
    for start in (0, 2):
        assert Bundle.model_validate_json(whole.page(BASE, start, "n")).total == 4


RAW = b"""{"resourceType":"Observation","id":"o1","meta":{"tag":[{"code":"own"}],"versionId":"7"},
"text":{"status":"generated","div":"<div/>"},"implicitRules":"urn:x","contained":[{"a":1}],"status":"final",
"_status":{"id":"e"},"code":{"text":"K"},"note":[{"text":"n"}],"valueQuantity":{"value":72.50,"x":1e2},
"effectiveDateTime":"2026-11-01","modifierExtension":[{"url":"urn:m"}]}"""


def members(query: str) -> dict[str, Any]:
    return opened(shaped(RAW, query_of("Observation", pairs_of(query.encode()))))


@pytest.mark.parametrize("query", ["", "_summary=false", "_total=none"])
def test_the_whole_of_a_resource_is_its_own_bytes(query: str) -> None:
    assert shaped(RAW, query_of("Observation", pairs_of(query.encode()))) == RAW


@pytest.mark.parametrize(
    ("query", "left_out"),
    [
        ("_summary=data", {"text"}),
        ("_summary=true", {"text", "contained", "note"}),
        ("_summary=text", {"contained", "note", "valueQuantity", "effectiveDateTime"}),
        ("_elements=note,text", {"contained", "valueQuantity", "effectiveDateTime"}),
        ("_elements=value", {"text", "contained", "note", "effectiveDateTime"}),
        ("_elements=effective", {"text", "contained", "note", "valueQuantity"}),
    ],
)
def test_less_than_the_whole_says_so_and_keeps_what_it_must(query: str, left_out: set[str]) -> None:
    told = members(query)
    assert opened(RAW).keys() - told.keys() == left_out
    assert [tag["code"] for tag in told["meta"]["tag"]] == ["own", "SUBSETTED"]
    assert told["meta"]["versionId"] == "7"


def test_a_decimal_keeps_its_digits_in_a_summary() -> None:
    told = shaped(RAW, query_of("Observation", [("_summary", "true")]))
    assert b'"valueQuantity":{"value":72.50,"x":1e2}' in told


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("_count", "-1"),
        ("_count", "many"),
        ("_summary", "all"),
        ("_total", "guess"),
        ("_sort", "code,made-up"),
        ("_include", "Observation:performer"),
        ("_include", "*"),
        ("_include", "DiagnosticReport:result"),
        ("_include", "Observation:specimen:Patient"),
        ("_include:iterate", "Observation:specimen"),
        ("_revinclude", "Observation:specimen"),
        ("_has:DiagnosticReport:result:status", "final"),
        ("_content", "x"),
    ],
)
def test_what_is_not_offered_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(BadBody) as refused:
        query_of("Observation", [(name, text)])
    assert (refused.value.status, refused.value.field) == (400, name)


@pytest.mark.parametrize(
    "query",
    ["_summary=true&_elements=id", "_summary=text&_include=Observation:patient", "_count=1&_count=2"],
)
def test_what_contradicts_itself_is_refused(query: str) -> None:
    with pytest.raises(BadBody):
        query_of("Observation", pairs_of(query.encode()))


def test_what_is_not_known_is_passed_over_and_named_where_that_is_preferred() -> None:
    query = query_of("Observation", [("made-up", "1"), ("status", "final")], lenient=True)
    assert (query.ignored, query.address) == (("made-up",), "Observation?status=final")


def test_a_known_parameter_with_a_modifier_that_is_not_is_refused_even_then() -> None:
    with pytest.raises(BadBody):
        query_of("Observation", [("status:above", "final")], lenient=True)


def test_a_page_has_a_usual_and_a_largest_size() -> None:
    assert query_of("Observation", []).count == PAGE
    assert query_of("Observation", [("_count", "999999")]).count == MOST


@pytest.mark.parametrize(
    ("type_", "name", "text", "expected"),
    [
        ("Observation", "patient.identifier", f"{RESIDENT_SYSTEM}|{NUMBER}", True),
        ("Observation", "subject:identifier", f"http://hl7.org/fhir/sid/passport-DEU|{NUMBER}", True),
        ("Observation", "patient.identifier", NUMBER, True),
        ("Observation", "patient.identifier", f"urn:mrn|1,{NUMBER}", True),
        ("Observation", "patient.identifier", "urn:mrn|1", False),
        ("Observation", "identifier", NUMBER, False),
        ("Patient", "identifier", f"{RESIDENT_SYSTEM}|{NUMBER}", True),
        ("Patient", "identifier", "urn:mrn|1,urn:mrn|2", False),
        ("Patient", "family:exact", "示例", True),
        ("Patient", "birthdate", "1980-01-01", True),
        ("Patient", "gender", "female", False),
        ("Patient", "birthdate:missing", "true", False),
        ("Patient", "identifier:not", NUMBER, True),
        ("Patient", "identifier", f"|{NUMBER}", True),
        ("Patient", "identifier", f"{RESIDENT_SYSTEM.upper()}|{NUMBER}", True),
        ("Patient", "identifier:of-type", "http://terminology.hl7.org/CodeSystem/v2-0203|PPN|E1234567", True),
        ("Patient", "identifier:of-type", "http://terminology.hl7.org/CodeSystem/v2-0203|MR|7", False),
        ("Observation", "performer:identifier", f"{RESIDENT_SYSTEM}|{NUMBER}", True),
        ("Observation", "performer:identifier", "urn:license|1", False),
        ("Observation", "subject:Patient.identifier", NUMBER, True),
        ("Observation", "subject:Patient.family", "示例", True),
        ("Observation", "patient.birthdate", "1980", True),
        ("Observation", "patient.gender", "female", False),
    ],
)
def test_a_parameter_that_tells_who_somebody_is_is_never_told_again(
    type_: str, name: str, text: str, expected: bool
) -> None:
    assert personal(type_, name, text) is expected
    assert ("?" in query_of(type_, [(name, text)], own=True).address) is not expected


def test_parameters_come_as_utf_8_and_in_limited_number() -> None:
    assert pairs_of(b"code:text=%E9%92%BE&status=") == [("code:text", "钾"), ("status", "")]
    for wrong in (b"code=%ff", "code=钾".encode(), b"&".join([b"a=1"] * 200)):
        with pytest.raises(BadBody):
            pairs_of(wrong)


@given(st.lists(st.tuples(st.sampled_from(["final", "amended", None]), st.sampled_from([None, 1, 2, 3]))))
def test_sorting_loses_nothing_and_puts_last_what_has_no_value(
    rows: list[tuple[str | None, int | None]],
) -> None:
    held = [
        json.dumps(
            {"resourceType": "Observation", "id": str(n)}
            | ({"status": status} if status else {})
            | ({"effectiveDateTime": f"2026-11-0{day}"} if day else {})
        ).encode()
        for n, (status, day) in enumerate(rows)
    ]
    query = query_of("Observation", [("_sort", "status,-date")])
    told = [opened(one) for one in ordered(held, query, lambda one: one)]

    def key(one: dict[str, Any]) -> tuple[bool, str, bool, int]:
        day = one.get("effectiveDateTime", "")
        return "status" not in one, one.get("status", ""), not day, -int(day[-1:] or 0)

    assert told == sorted([opened(one) for one in held], key=key)


@given(st.integers(1, 7), st.integers(0, 20))
def test_pages_put_together_are_the_whole(count: int, number: int) -> None:
    rows = tuple(Row(place=f"Observation/o{n}", raw=b'{"id":"o%d"}' % n) for n in range(number))
    whole = Searchset(id="s", address="Observation", count=count, total=number, rows=rows)
    told: list[str] = []
    start: int | None = 0
    while start is not None:
        page = json.loads(whole.page(BASE, start, "n"))
        told += ids(page)
        following = next((link["url"] for link in page["link"] if link["relation"] == "next"), "")
        start = int(following.rpartition(".")[2]) if following else None
    assert told == [f"o{n}" for n in range(number)]
