"""An edition in FHIR R4: the round trip is exact, the resources are valid, and foreign input is refused."""

from __future__ import annotations

import copy
import csv
import io
import json
from collections.abc import Callable
from contextlib import nullcontext
from datetime import date, datetime
from decimal import Decimal
from fnmatch import fnmatch
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import BUNDLED, CatalogueError, Draft, load, read_files, read_folder
from catalog._sheets import TABLES
from catalog.fhir import ITEM_SYSTEM, Resource, from_bundle, in_force, to_bundle
from catalog.tables import Table
from catalog.write import write

DRAFTS = {draft.edition.id: draft for draft in read_folder(BUNDLED)}
IMAGING = DRAFTS["cy-imaging"]


def values(draft: Draft) -> list[Any]:
    """Head and rows of all tables."""
    sheets = draft.sheets
    names = sheets.__struct_fields__
    return [draft.edition, *([row.value for row in getattr(sheets, name).rows] for name in names)]


def over_the_wire(bundle: Resource) -> Any:
    return json.loads(json.dumps(bundle, ensure_ascii=False))


def there_and_back(draft: Draft) -> Draft:
    return read_files(from_bundle(over_the_wire(to_bundle(draft))))


# The round trip

blanks = " \t\n\r,;|%\"'"
letters = st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp", "Zs"), exclude_characters=blanks)
words = st.text(letters, min_size=1, max_size=6)
texts = st.lists(st.one_of(words, st.sampled_from(list(",;|%\"'"))), min_size=1, max_size=4).map(" ".join)
parts = st.lists(words, max_size=3).map(";".join)


def cells(hint: Any) -> st.SearchStrategy[str]:
    """Cells that a column of this type may have."""
    if hint is str:
        return texts
    if hint is int:
        return st.integers(0, 999_999_999).map(str)
    if hint is bool:
        return st.sampled_from(["yes", "no"])
    if hint is Decimal:
        return st.from_regex(r"-?[0-9]{1,12}(\.[0-9]{1,12})?", fullmatch=True).filter(str.isascii)
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    return parts if get_origin(hint) is tuple else st.dates(date(1, 1, 1)).map(date.isoformat)


@st.composite
def files(draw: st.DrawFn) -> dict[str, bytes]:
    """The files of an edition whose cells are anything that a table takes."""
    head = {name: draw(texts) for name in ("version", "name", "owner", "scope", "notice_zh", "notice_en")}
    lines = [f"{name} = {json.dumps(text, ensure_ascii=False)}\n" for name, text in head.items()]
    offset = draw(st.sampled_from(["+08:00", "-03:30", "Z"]))
    at = draw(st.datetimes(datetime(1000, 1, 1))).isoformat()  # noqa: DTZ001 - the offset follows
    lines += [f"effective_from = {at}{offset}\n", 'id = "some-edition.1"\n']
    lines += [f"overlap_days = {draw(st.integers(0, 90))}\n", "illustrative = true\n"]
    made = {"catalogue.toml": "".join(lines).encode()}
    taken: set[str] = set()
    for table in draw(st.lists(st.sampled_from(TABLES), max_size=4, unique_by=lambda table: table.file)):
        made[table.file] = _file(table, draw, taken)
    return made


def _file(table: Table[Any], draw: st.DrawFn, taken: set[str]) -> bytes:
    columns = table.columns()
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(columns))
    writer.writeheader()
    for _ in range(draw(st.integers(1, 3))):
        row = {
            name: draw(cells(hint) if name not in table.optional else st.just("") | cells(hint))
            for name, hint in columns.items()
        }
        row |= {"id": draw(st.from_regex(r"[A-Z][a-z]{3,9}", fullmatch=True))} if "id" in row else {}
        key = repr([row[name] for name in table.key])
        if key not in taken:  # items of both kinds share one code system
            taken.add(key)
            writer.writerow(row)
    return out.getvalue().encode()


def read_or_none(made: dict[str, bytes]) -> Draft | None:
    try:
        return read_files(made)
    except CatalogueError:  # such as a list without an entry where one is needed
        return None


drafts = files().map(read_or_none).filter(lambda draft: draft is not None)


@pytest.mark.parametrize("edition", DRAFTS)
def test_a_bundled_edition_comes_back_equal(edition: str) -> None:
    assert values(there_and_back(DRAFTS[edition])) == values(DRAFTS[edition])


@pytest.mark.slow
@given(drafts)
def test_any_edition_comes_back_equal(draft: Draft) -> None:
    assert values(there_and_back(draft)) == values(draft)


@pytest.mark.parametrize("edition", DRAFTS)
def test_the_files_are_those_that_are_written_as_tables(edition: str) -> None:
    assert from_bundle(to_bundle(DRAFTS[edition])) == write(DRAFTS[edition])


def test_the_editions_that_came_back_compile_to_the_same_catalogue() -> None:
    from catalog import compile_drafts

    assert compile_drafts([there_and_back(draft) for draft in DRAFTS.values()]) == load()


@pytest.mark.parametrize("status", ["draft", "active", "retired"])
def test_a_bundle_of_any_publication_status_is_read(status: Any) -> None:
    assert from_bundle(to_bundle(IMAGING, status=status))


def test_what_a_server_adds_does_not_matter() -> None:
    bundle = over_the_wire(to_bundle(IMAGING))
    bundle |= {"id": "7", "meta": {"lastUpdated": "2026-11-22T00:00:00Z"}}
    bundle["entry"].reverse()
    for number, entry in enumerate(bundle["entry"]):
        entry["fullUrl"] = f"urn:uuid:{number}"
        entry["resource"] |= {"id": str(number), "meta": {"versionId": "1"}, "text": {"status": "empty"}}
    assert values(read_files(from_bundle(bundle))) == values(IMAGING)


# The resources


def resources() -> list[Resource]:
    bundles = [to_bundle(draft) for draft in DRAFTS.values()]
    return [
        *bundles,
        *(entry["resource"] for bundle in bundles for entry in bundle["entry"]),
        *in_force(load()),
    ]


def find(kind: str, name: str, draft: Draft = IMAGING) -> Resource:
    held = [entry["resource"] for entry in to_bundle(draft)["entry"]]
    return next(r for r in held if (r["resourceType"], r["id"]) == (kind, name))


def test_every_resource_is_valid_fhir() -> None:
    from fhir.resources.R4B import get_fhir_model_class

    for resource in resources():
        get_fhir_model_class(resource["resourceType"]).model_validate(resource)


def test_every_resource_says_whose_it_is_and_that_it_is_illustrative() -> None:
    edition = IMAGING.edition
    for entry in to_bundle(IMAGING)["entry"]:
        resource = entry["resource"]
        assert resource["version"] == f"{edition.id}@{edition.version}"
        assert (resource["experimental"], resource["status"]) == (True, "active")
        assert edition.notice_en in resource["copyright"]
        assert edition.notice_zh in resource["copyright"]


def test_the_codes_of_a_code_system_are_declared_and_unique() -> None:
    for system in in_force(load()):
        if system["resourceType"] == "CodeSystem":
            codes = [concept["code"] for concept in system["concept"]]
            assert len(set(codes)) == len(codes) == system["count"]
            used = {entry["code"] for concept in system["concept"] for entry in concept["property"]}
            assert used <= {declared["code"] for declared in system["property"]}


def test_an_item_has_its_slots_its_list_and_its_other_names() -> None:
    (item,) = [c for c in find("CodeSystem", "cy-imaging-items")["concept"] if c["code"] == "DR-001"]
    told = [(entry["code"], entry.get("valueString")) for entry in item["property"]]
    assert {("modality", "DR"), ("part", "胸部"), ("view", "正位"), ("lists", "cy-imaging")} <= set(told)
    assert item["display"] == "DR 胸部正位"
    assert "胸部正位" in [designation["value"] for designation in item["designation"]]


def test_a_list_is_the_value_set_of_the_items_in_it() -> None:
    (include,) = find("ValueSet", "cy-imaging")["compose"]["include"]
    wanted = {"property": "lists", "op": "=", "value": "cy-imaging"}
    assert include == {"system": ITEM_SYSTEM, "filter": [wanted]}


def test_a_prior_item_that_may_stand_in_is_wider_than_the_ordered_one() -> None:
    (group,) = find("ConceptMap", "cy-imaging-stand-ins")["group"]
    (ordered,) = [element for element in group["element"] if element["code"] == "DR-001"]
    assert [(t["code"], t["equivalence"]) for t in ordered["target"]] == [("DR-002", "wider")]


def test_the_items_in_force_are_a_whole_and_those_of_an_edition_a_fragment() -> None:
    (whole,) = [resource for resource in in_force(load()) if resource.get("url") == ITEM_SYSTEM]
    part = find("CodeSystem", "cy-imaging-items")
    assert (part["url"], part["content"], whole["content"]) == (ITEM_SYSTEM, "fragment", "complete")
    assert whole["count"] == len(load().items)


# What cannot be written


@pytest.mark.parametrize(
    ("name", "was", "now", "column"),
    [
        ("catalogue.toml", b'id = "cy-imaging"', 'id = "川渝"'.encode(), "id"),
        ("lists.csv", b"\ncy-imaging,", "\n川渝,".encode(), "id"),
        ("items_imaging.csv", b"\nDR-001,", b"\nDR  001,", "code"),
        ("items_imaging.csv", "DR 胸部正位".encode(), b"DR\x07", "name"),
    ],
)
def test_what_fhir_cannot_write_is_named(name: str, was: bytes, now: bytes, column: str) -> None:
    files = dict(IMAGING.files)
    assert was in files[name]
    files[name] = files[name].replace(was, now, 1)
    with pytest.raises(CatalogueError) as caught:
        to_bundle(read_files(files))
    (finding,) = caught.value.findings
    assert fnmatch(name, finding.file)
    assert finding.column == column


# Foreign input


def place(name: str, draft: Draft = IMAGING) -> int:
    ids = [entry["resource"]["id"] for entry in to_bundle(draft)["entry"]]
    return ids.index(name)


ITEMS, SET = place("cy-imaging-items"), place("cy-imaging")
WINDOWS, MAP = place("cy-imaging-windows"), place("cy-imaging-stand-ins")
HEAD = place("cy-imaging-edition")


def within(bundle: Any, number: int) -> Any:
    return bundle["entry"][number]["resource"]


def change(resource: Any, name: str, **values: Any) -> None:
    entry = next(entry for entry in resource["concept"][0]["property"] if entry["code"] == name)
    entry.update(values)


SPOILT: dict[str, tuple[Callable[[Any], object], str]] = {
    "another type": (lambda b: b.update(type="transaction"), "Bundle.type"),
    "no list of entries": (lambda b: b.update(entry={}), "Bundle.entry"),
    "an entry that is text": (lambda b: b["entry"].insert(0, "x"), "Bundle.entry"),
    "a patient": (
        lambda b: b["entry"].insert(0, {"resource": {"resourceType": "Patient"}}),
        "Bundle.entry[0].resource",
    ),
    "a code system of somebody else": (
        lambda b: within(b, ITEMS).update(url="http://loinc.org"),
        f"Bundle.entry[{ITEMS}].resource.url",
    ),
    "one resource twice": (
        lambda b: b["entry"].insert(0, copy.deepcopy(b["entry"][ITEMS])),
        f"Bundle.entry[{ITEMS + 1}].resource.url",
    ),
    "no edition": (lambda b: b["entry"].pop(HEAD), "Bundle.entry"),
    "a resource that is missing": (lambda b: b["entry"].pop(SET), "Bundle.entry"),
    "an unknown property": (
        lambda b: change(within(b, ITEMS), "group", code="colour"),
        f"Bundle.entry[{ITEMS}].resource.concept[0].property[2].code",
    ),
    "text where a number belongs": (
        lambda b: change(within(b, WINDOWS), "days", valueInteger="30"),
        f"Bundle.entry[{WINDOWS}].resource.concept[0].property[2].valueInteger",
    ),
    "a truth value where a number belongs": (
        lambda b: change(within(b, WINDOWS), "days", valueInteger=True),
        f"Bundle.entry[{WINDOWS}].resource.concept[0].property[2].valueInteger",
    ),
    "a number beyond all days": (
        lambda b: change(within(b, WINDOWS), "days", valueInteger=10**5000),
        f"Bundle.entry[{WINDOWS}].resource.concept[0].property[2].valueInteger",
    ),
    "half a character": (
        lambda b: within(b, ITEMS)["concept"][0].update(display="\ud800"),
        f"Bundle.entry[{ITEMS}].resource.concept[0].display",
    ),
    "a choice that there is not": (
        lambda b: change(within(b, WINDOWS), "clock", valueCode="lunar"),
        f"Bundle.entry[{WINDOWS}].resource.concept[0]",
    ),
    "an item of no kind": (
        lambda b: change(within(b, ITEMS), "kind", valueCode="surgery"),
        f"Bundle.entry[{ITEMS}].resource.concept[0]",
    ),
    "a slot that is not the concept's": (
        lambda b: change(within(b, ITEMS), "modality", valueString="CT"),
        f"Bundle.entry[{ITEMS}].resource.concept[0].property[7].valueString",
    ),
    "a value set that chooses otherwise": (
        lambda b: within(b, SET).update(compose={"include": []}),
        f"Bundle.entry[{SET}].resource.compose.include",
    ),
    "a stand-in that is only in the map": (
        lambda b: within(b, MAP)["concept"].pop(),
        f"Bundle.entry[{MAP}].resource.count",
    ),
    "an extension": (
        lambda b: within(b, ITEMS).update(extension=[{"url": "x"}]),
        f"Bundle.entry[{ITEMS}].resource.extension",
    ),
    "a time without a zone": (
        lambda b: change(within(b, HEAD), "effective_from", valueDateTime="2026-11-01"),
        f"Bundle.entry[{HEAD}].resource.concept[0]",
    ),
    "lines of TOML in a time": (
        lambda b: change(within(b, HEAD), "effective_from", valueDateTime='2026-11-01T00:00:00Z\nid = "x"'),
        f"Bundle.entry[{HEAD}].resource.concept[0]",
    ),
    "a status that is none": (
        lambda b: within(b, HEAD).update(status="unknown"),
        f"Bundle.entry[{HEAD}].resource.status",
    ),
}


@pytest.mark.parametrize("what", SPOILT)
def test_foreign_input_is_refused_at_its_place(what: str) -> None:
    bundle = copy.deepcopy(to_bundle(IMAGING))
    spoil, expected = SPOILT[what]
    spoil(bundle)
    with pytest.raises(CatalogueError) as caught:
        from_bundle(bundle)
    places = [finding.file for finding in caught.value.findings]
    assert expected in places
    assert all(finding.message for finding in caught.value.findings)


@pytest.mark.parametrize(
    "what", [None, [], "", 1, {}, {"resourceType": "Patient"}, {"resourceType": "Bundle"}]
)
def test_what_is_no_bundle_of_an_edition_is_refused(what: object) -> None:
    with pytest.raises(CatalogueError):
        from_bundle(what)


ODD: tuple[Any, ...] = (None, True, 0, -1, 1.5, "", "x", "\x00", "\ud800", [], [None], {}, {"": None}, [[{}]])


@pytest.mark.slow
@given(st.data())
def test_a_value_of_another_kind_anywhere_is_refused_and_nothing_else_is_raised(data: st.DataObject) -> None:
    bundle = over_the_wire(to_bundle(DRAFTS["national"]))
    inner, step = bundle["entry"], data.draw(st.integers(0, len(bundle["entry"]) - 1))
    while isinstance(inner[step], (dict, list)) and inner[step] and data.draw(st.integers(0, 3)):
        inner = inner[step]
        steps = sorted(inner) if isinstance(inner, dict) else range(len(inner))
        step = data.draw(st.sampled_from(steps))
    was, inner[step] = inner[step], data.draw(st.sampled_from(ODD))
    free = isinstance(step, str) and step in ("id", "meta", "text", "fullUrl")
    same = inner[step] == was and type(inner[step]) is type(was)
    with nullcontext() if free or same else pytest.raises(CatalogueError):
        from_bundle(bundle)
