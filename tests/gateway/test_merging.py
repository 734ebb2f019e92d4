"""The same from several nodes: shown once, or side by side; never blended, and nothing lost."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from adapters.fhir_read import Head
from adapters.fhir_time import reach
from gateway.demo.people import BY_KEY
from gateway.merging import Entry, Shown, merged
from tests.gateway.test_search import over, search
from tests.node_cases import observation, report, searchset, study
from tests.node_cases import patient as patient_of

OWN = "EX-CQ-01"
NUMBER, OTHER_NUMBER = BY_KEY["jia"].number, BY_KEY["yi"].number


def patient(id_: str, number: str = NUMBER, mrn: str = "M-1") -> dict[str, Any]:
    return patient_of(id_, number, mrn)


def shown(resource: dict[str, Any] | str, node: str, institution: str = OWN) -> Shown:
    raw = resource if isinstance(resource, str) else json.dumps(resource, ensure_ascii=False)
    head = msgspec.json.decode(raw, type=Head)
    reached = reach(head.effective_date_time or head.issued or head.started)
    return Shown(head, Raw(raw.encode()), reached[0] if reached else float("-inf"), node, institution)


def places(entries: list[Entry]) -> list[tuple[str, list[str], list[str]]]:
    """Of each entry where it, its sources and what contradicts it stand."""

    def place(one: Shown) -> str:
        return f"{one.node}/{one.head.id}"

    return [
        (place(one.shown), [place(s) for s in one.sources], [place(s) for s in one.conflicts])
        for one in entries
    ]


def test_the_same_result_at_two_nodes_is_shown_once_with_both_places() -> None:
    one, two = observation(), observation("x7", subject={"reference": "Patient/77"})
    assert places(merged([shown(one, "a"), shown(two, "b")])) == [("a/o1", ["b/x7"], [])]


def test_another_value_at_another_node_stands_side_by_side_and_says_where() -> None:
    other = observation("x7", valueQuantity={"value": 44.1, "unit": "g/L"})
    assert places(merged([shown(observation(), "a"), shown(other, "b")])) == [
        ("a/o1", [], ["b/x7"]),
        ("b/x7", [], ["a/o1"]),
    ]


def test_a_digit_more_is_another_value() -> None:
    text = json.dumps(observation())
    entries = merged([shown(text, "a"), shown(text.replace("43.5", "43.50"), "b")])
    assert [len(entry.conflicts) for entry in entries] == [1, 1]


def test_what_says_that_it_replaces_the_other_stands_first() -> None:
    late = observation(
        "x7",
        status="corrected",
        issued="2026-11-19T08:00:00+08:00",
        valueQuantity={"value": 44.1, "unit": "g/L"},
    )
    entries = merged([shown(observation(), "a"), shown(late, "b")])
    assert [place for place, _, _ in places(entries)] == ["b/x7", "a/o1"]


def test_contradictions_stand_together_where_others_are_of_the_same_time() -> None:
    other = observation("x7", valueQuantity={"value": 44.1, "unit": "g/L"})
    between = observation("m1", identifier=[], code={"text": "钾"})
    entries = merged([shown(observation(), "a"), shown(between, "aa"), shown(other, "b")])
    assert [place for place, _, _ in places(entries)] == ["a/o1", "b/x7", "aa/m1"]


def test_a_node_that_shows_both_says_that_these_are_two() -> None:
    other = observation("o2", valueQuantity={"value": 44.1, "unit": "g/L"})
    both = [shown(observation(), "a"), shown(other, "a")]
    assert places(merged([*both, shown(other | {"id": "x"}, "b")])) == [
        ("a/o1", [], []),
        ("a/o2", ["b/x"], []),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"identifier": []},
        {"identifier": [{"value": "R1/1"}]},
        {"identifier": [{"system": "urn:lianren:report:EX-CQ-01", "value": "R1/2"}]},
        {"code": {"text": "钾"}},
        {"effectiveDateTime": "2026-11-17T08:00:00+08:00"},
    ],
    ids=["no identifier", "no system", "another number", "another analyte", "another hour"],
)
def test_what_no_strong_identifier_says_to_be_the_same_is_two(changes: dict[str, Any]) -> None:
    one, two = observation(), observation("x7", **changes)
    assert [(s, c) for _, s, c in places(merged([shown(one, "a"), shown(two, "b")]))] == [([], [])] * 2


LOCAL = {"identifier": [{"system": "urn:local", "value": "77"}], "performer": []}


def test_a_number_of_a_system_that_names_no_institution_counts_within_one_institution() -> None:
    pair = [shown(observation("o1", **LOCAL), "a", OWN), shown(observation("o2", **LOCAL), "b", OWN)]
    assert len(merged(pair)) == 1


@pytest.mark.parametrize("others", ["EX-SC-01", ""])
def test_the_same_number_of_another_institution_is_another_number(others: str) -> None:
    pair = [shown(observation("o1", **LOCAL), "a", OWN), shown(observation("o2", **LOCAL), "b", others)]
    assert places(merged(pair)) == [("a/o1", [], []), ("b/o2", [], [])]


def test_a_study_is_known_by_its_uid_wherever_it_lies() -> None:
    pair = [shown(study("s1"), "a", OWN), shown(study("z"), "b", "")]
    assert places(merged(pair)) == [("a/s1", ["b/z"], [])]


def test_a_report_leads_to_other_places_at_every_node_and_is_the_same() -> None:
    one = report("d1", result=[{"reference": "Observation/o1"}])
    two = report("d2", result=[{"reference": "http://b.example/fhir/Observation/777/_history/3"}])
    assert len(merged([shown(one, "a"), shown(two, "b")])) == 1


def test_a_person_is_the_same_by_the_number_of_a_document_with_other_local_numbers() -> None:
    pair = [shown(patient("p1", mrn="M-1"), "a"), shown(patient("p9", mrn="M-2"), "b")]
    assert places(merged(pair)) == [("a/p1", ["b/p9"], [])]


def test_a_person_by_the_same_local_number_alone_is_two() -> None:
    pair = [shown(patient("p1", NUMBER), "a"), shown(patient("p1", OTHER_NUMBER), "b")]
    assert places(merged(pair)) == [("a/p1", [], []), ("b/p1", [], [])]


def test_a_person_with_another_date_of_birth_stands_side_by_side() -> None:
    pair = [
        shown(patient("p1") | {"birthDate": day}, node)
        for day, node in (("1980-01-01", "a"), ("1980-01-10", "b"))
    ]
    assert places(merged(pair)) == [("a/p1", [], ["b/p1"]), ("b/p1", [], ["a/p1"])]


@pytest.mark.parametrize(
    "odd", [{"performer": 5}, {"performer": {"a": 1}}, {"status": ["final"]}, {"status": {}}, {"code": None}]
)
def test_what_has_not_its_form_is_shown_all_the_same(odd: dict[str, Any]) -> None:
    pair = [shown(observation(**odd), "a"), shown(observation("x7", **odd), "b")]
    assert places(merged(pair)) == [("a/o1", ["b/x7"], [])]


def test_what_cannot_be_compared_stands_for_itself() -> None:
    text = json.dumps(observation()).replace("43.5", "1" * 5000)
    assert places(merged([shown(text, "a"), shown(text, "b")])) == [("a/o1", [], []), ("b/o1", [], [])]


def test_another_contained_specimen_is_another_result() -> None:
    contained = [{"resourceType": "Specimen", "id": id_} for id_ in ("s1", "s2")]
    pair = [
        shown(observation(specimen={"reference": f"#{id_}"}, contained=contained), node)
        for id_, node in (("s1", "a"), ("s2", "b"))
    ]
    assert places(merged(pair)) == [("a/o1", [], ["b/o1"]), ("b/o1", [], ["a/o1"])]


def test_no_byte_of_what_is_shown_changes() -> None:
    raw = '{ "resourceType":"Observation", "id":"o1", "valueQuantity": {"value": 0.010}}'
    assert bytes(merged([shown(raw, "a")])[0].shown.raw) == raw.encode()


CASES = [
    shown(one, node, institution)
    for node, institution in (("a", OWN), ("b", OWN), ("c", "EX-SC-01"))
    for number in ("R1/1", "R2/1")
    for value in (1.0, 2.0)
    for one in [
        observation(
            f"o{number[1]}{value:.0f}",
            identifier=[{"system": f"urn:lianren:report:{OWN}", "value": number}],
            valueQuantity={"value": value},
            status="corrected" if value == 2.0 else "final",
        )
    ]
]


@given(st.lists(st.sampled_from(CASES), unique_by=lambda one: one.place, max_size=8), st.randoms())
def test_the_order_of_nodes_changes_nothing_and_nothing_is_lost(held: list[Shown], random: Any) -> None:
    entries = merged(held)
    shuffled = list(held)
    random.shuffle(shuffled)
    assert merged(shuffled) == entries
    told = [one.place for entry in entries for one in (entry.shown, *entry.sources)]
    assert sorted(told) == sorted(one.place for one in held)


@given(st.lists(st.sampled_from(CASES), unique_by=lambda one: one.place, max_size=8))
def test_sources_say_the_very_same_and_conflicts_another_thing(held: list[Shown]) -> None:
    def value(one: Shown) -> Any:
        return json.loads(bytes(one.raw))["valueQuantity"]

    for entry in merged(held):
        assert all(value(one) == value(entry.shown) for one in entry.sources)
        assert all(value(one) != value(entry.shown) for one in entry.conflicts)


def test_every_order_of_three_nodes_is_answered_alike() -> None:
    three = [
        shown(observation(valueQuantity={"value": n}), node) for n, node in ((1, "a"), (1, "b"), (2, "c"))
    ]
    assert len({json.dumps(places(merged(each))) for each in permutations(three)}) == 1


def test_a_search_over_two_nodes_says_where_else_and_where_otherwise(tmp_path: Path) -> None:
    other = {"identifier": [{"system": f"urn:lianren:report:{OWN}", "value": "r2/1"}]}
    one = [observation(), observation("o2", **other)]
    two = [observation("x1"), observation("x2", **other, valueQuantity={"value": 1.5, "unit": "g/L"})]
    stack, live = over(
        {"one": {"Observation": searchset(*one)}, "two": {"Observation": searchset(*two)}}, tmp_path
    )
    with stack:
        bundle = search(live, number=NUMBER).json()
    told = [
        (
            entry["fullUrl"].partition("/nodes/")[2],
            [
                (e["url"].rpartition("/")[2], part["valueString"])
                for e in entry.get("extension", ())
                for part in e["extension"]
                if part["url"] == "node"
            ],
        )
        for entry in bundle["entry"]
        if entry["search"]["mode"] == "match"
    ]
    assert told == [
        ("one/Observation/o1", [("source", "two")]),
        ("one/Observation/o2", [("conflict", "two")]),
        ("two/Observation/x2", [("conflict", "one")]),
    ]
    assert bundle["total"] == 3


def listing(**changes: Any) -> dict[str, Any]:
    """A study as an archive lists it: its id is its UID."""
    return study("2.25.1", subject={"identifier": {"value": "M-1"}}, numberOfInstances=2) | changes


def test_what_an_archive_lists_adds_a_place_to_the_record_of_it() -> None:
    held = [shown(listing(), "a-pacs"), shown(study(), "his")]
    assert places(merged(held)) == [("his/s1", ["a-pacs/2.25.1"], [])]


def test_what_archives_alone_list_is_shown_once() -> None:
    held = [shown(listing(), "a-pacs"), shown(listing(numberOfInstances=5), "b-pacs")]
    assert places(merged(held)) == [("a-pacs/2.25.1", ["b-pacs/2.25.1"], [])]


def test_records_that_contradict_each_other_do_so_whatever_an_archive_lists() -> None:
    other = study("s2", description="CT 颅脑平扫")
    held = [shown(listing(), "a-pacs"), shown(study(), "b"), shown(other, "c")]
    assert places(merged(held)) == [
        ("b/s1", ["a-pacs/2.25.1"], ["c/s2"]),
        ("c/s2", [], ["b/s1", "a-pacs/2.25.1"]),
    ]
