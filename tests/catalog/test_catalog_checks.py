"""Between the tables: circles, overlaps, owners and areas, each found at the row to mend."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from catalog import CatalogueError, Rule, compile_drafts, load, read_files, read_folder
from catalog.entries import LATER
from tests.catalog.folders import append, change, findings, place, read, row_of, table, the_finding, write


def test_a_name_that_two_editions_give_to_two_items_is_found(folder: Path) -> None:
    change(folder / "cy-endemic/items_imaging.csv", 13, "aliases", "DR　胸部正位")
    finding = the_finding(folder)
    assert place(finding) == ("cy-imaging/items_imaging.csv", 2, "aliases")
    assert "already given in cy-endemic/items_imaging.csv:13" in finding.message


@pytest.mark.parametrize(
    ("file", "column"),
    [
        ("national/regions.csv", "code"),
        ("cy-lab/items_lab.csv", "code"),
        ("cy-lab/windows.csv", "list"),
        ("national/rules.csv", "id"),
        ("national/reason_codes.csv", "system"),
        ("national/qualifications.csv", "id"),
        ("national/conversions.csv", "item"),
    ],
)
def test_a_code_that_stands_twice_is_found_at_its_second_row(folder: Path, file: str, column: str) -> None:
    row = append(folder / file)
    assert (file, row, column) in {place(f) for f in findings(folder)}


def test_what_two_editions_both_publish_is_found_in_the_later_one(folder: Path) -> None:
    shutil.copy(folder / "national/panels.csv", folder / "lab8-lab/panels.csv")
    found = findings(folder)
    assert {(f.file, f.column) for f in found} == {("national/panels.csv", "code")}
    assert "lab8-lab/panels.csv; it can have one owner" in found[0].message


def test_a_rule_without_words_is_missing_from_every_decision(folder: Path) -> None:
    path = folder / "national/rules.csv"
    write(path, [cells for cells in read(path) if cells[0] != "R5.2"])
    assert "R5.2" in the_finding(folder).message


@pytest.mark.parametrize("rule", LATER)
def test_an_edition_that_was_published_before_there_was_a_rule_still_loads(folder: Path, rule: str) -> None:
    path = folder / "national/rules.csv"
    write(path, [cells for cells in read(path) if cells[0] != rule])
    assert rule not in load(folder).rules


def test_a_rule_that_no_decision_knows_is_refused(folder: Path) -> None:
    row = append(folder / "national/rules.csv", id="R9.9", effect="view_only")
    assert place(the_finding(folder)) == ("national/rules.csv", row, "id")


@pytest.mark.parametrize("field", ["id", "zh", "en", "source", "owner"])
def test_a_rule_cannot_be_made_without(field: str) -> None:
    words = {"id": "N1", "zh": "词", "en": "words", "source": "a policy", "owner": "a steward"}
    with pytest.raises(CatalogueError) as caught:
        Rule(step=8, effect="view_only", certainty="derived", **{**words, field: " "})
    assert [finding.column for finding in caught.value.findings] == [field]


def test_regions_that_lie_in_each_other_are_a_cycle(folder: Path) -> None:
    path = folder / "national/regions.csv"
    row = row_of(path, "500000")
    change(path, row, "parents", "CHUANYU;500103")
    found = {place(f) for f in findings(folder)}
    named = (
        ("national/regions.csv", row, "parents"),
        ("national/regions.csv", row_of(path, "500103"), "parents"),
    )
    assert found == {*named}


def test_stand_ins_that_come_back_to_themselves_are_a_cycle(folder: Path) -> None:
    path = folder / "cy-imaging/stand_ins.csv"
    closing = append(path, ordered="CT-003", prior="CT-001")
    circle = next(n for n, cells in enumerate(read(path), 1) if cells[:2] == ["CT-001", "CT-003"])
    assert {place(f) for f in findings(folder)} == {
        ("cy-imaging/stand_ins.csv", row, "prior") for row in (circle, closing)
    }


def test_a_circle_of_stand_ins_is_found_across_editions(folder: Path) -> None:
    row = append(folder / "cy-endemic/stand_ins.csv", ordered="CT-015", prior="CT-013")
    assert ("cy-endemic/stand_ins.csv", row, "prior") in {place(f) for f in findings(folder)}


def test_a_panel_that_holds_itself_by_way_of_another_is_a_cycle(folder: Path) -> None:
    path = folder / "cy-imaging/panels.csv"
    row = append(path, code="CT-013", name="CT 胸部平扫", aliases="", members="CT-015")
    found = {place(f) for f in findings(folder)}
    assert found == {("cy-imaging/panels.csv", place_of, "members") for place_of in (2, row)}


def test_two_windows_of_one_list_for_one_item_are_found_at_the_second(folder: Path) -> None:
    row = append(folder / "cy-imaging/windows.csv", target="CT-030", days="60")
    assert ("cy-imaging/windows.csv", row, "list") in {place(f) for f in findings(folder)}


def test_two_lists_of_one_area_may_not_give_one_item_different_windows(folder: Path) -> None:
    change(folder / "cy-endemic/windows.csv", 2, "days", "60")
    found = findings(folder)
    assert {place(f) for f in found} == {("cy-endemic/windows.csv", 2, "days")}
    assert "is given in cy-imaging/windows.csv:3 for DR-049, DR-050" in found[0].message


def test_a_window_for_one_setting_overlaps_there_only(folder: Path) -> None:
    append(folder / "cy-endemic/windows.csv", target="DR-049", days="7", setting="emergency")
    assert "is given in cy-imaging/windows.csv:3 for DR-049; " in the_finding(folder).message


def test_a_suspension_without_time_and_reason_is_refused(folder: Path) -> None:
    change(folder / "national/qualifications.csv", 2, "status", "suspended")
    assert [f.column for f in findings(folder)] == ["status_from", "reason"]


LEVELS = [
    *(("national", "CHUANYU"), ("agreement", "CN"), ("provincial", "CHUANYU")),
    *(("prefecture", "510000"), ("district", "510100")),
]


@pytest.mark.parametrize(("level", "scope"), LEVELS)
def test_an_evaluation_reaches_the_area_of_its_level_and_no_other(
    folder: Path, level: str, scope: str
) -> None:
    path = folder / "national/qualifications.csv"
    row = append(path, id="Q-NEW", level=level, scope=scope)
    assert place(the_finding(folder)) == ("national/qualifications.csv", row, "level")


@pytest.mark.parametrize(
    ("level", "scope"),
    [
        *(("national", "CN"), ("agreement", "JJJ"), ("provincial", "500000")),
        *(("prefecture", "510100"), ("district", "500103")),
    ],
)
def test_every_level_has_its_kind_of_area(folder: Path, level: str, scope: str) -> None:
    append(folder / "national/qualifications.csv", id="Q-NEW", level=level, scope=scope)
    assert load(folder).qualifications[-1].level == level


PRICES = [
    ({"items": "CT-999"}, "items"),
    ({"region": "XX"}, "region"),
    ({"amount": "0"}, "amount"),
    ({"amount": "-5"}, "amount"),
]


@pytest.mark.parametrize(("wrong", "column"), PRICES)
def test_a_wrong_price_is_found_at_its_column(folder: Path, wrong: dict[str, str], column: str) -> None:
    price = {"items": "group:ct", "region": "CN", "amount": "200", "source": "x", "certainty": "illustrative"}
    table(folder, "national/prices.csv", {**price, **wrong})
    assert place(the_finding(folder)) == ("national/prices.csv", 2, column)


REACHES: list[tuple[str, dict[str, str], str]] = [
    ("lists.csv", {"id": "more", "region": "CN"}, "region"),
    ("prices.csv", {"region": "420000"}, "region"),
    ("institutions.csv", {"region": "420100"}, "region"),
    ("qualifications.csv", {"scope": "CN"}, "scope"),
    ("negative_list.csv", {"region": "LAB8"}, "region"),
    ("level_rules.csv", {"region": "CN"}, "region"),
]
SAID = {"source": "x", "certainty": "illustrative", "owner": "x", "zh": "词", "en": "words"}
WHOLE: dict[str, dict[str, str]] = {
    "lists.csv": {"id": "", "name": "x", "kind": "lab", "region": "", "additions": "no"},
    "prices.csv": {"items": "1100104A", "region": "", "amount": "5"},
    "institutions.csv": {"code": "EX-NEW", "name": "示例", "region": "", "level": "一级", "gateway": "cq"},
    "qualifications.csv": {
        "id": "Q-NEW",
        "institution": "EX-CQ-01",
        "items": "*",
        "valid_from": "2025-01-01",
        "valid_to": "2026-01-01",
        "scope": "",
        "level": "national",
        "basis": "x",
        "status": "active",
    },
    "negative_list.csv": {"id": "N99", "effect": "view_only", "when": "true", "items": "*", "region": ""},
    "level_rules.csv": {"id": "L99", "effect": "view_only", "when": "true", "items": "*", "region": ""},
}
OWNERLESS = {"prices.csv": ("owner", "zh", "en"), "lists.csv": ("zh", "en")}
BARE = ("owner", "zh", "en", "certainty")


@pytest.mark.parametrize(("file", "wrong", "column"), REACHES, ids=[file for file, *_ in REACHES])
def test_an_edition_that_reaches_beyond_its_scope_is_found_at_the_row(
    folder: Path, file: str, wrong: dict[str, str], column: str
) -> None:
    unsaid = OWNERLESS.get(file, () if file.endswith(("list.csv", "rules.csv")) else BARE)
    said = {name: text for name, text in SAID.items() if name not in unsaid}
    added = {**WHOLE[file], **said, **wrong}
    path = folder / "cy-lab" / file
    if path.exists():
        row = append(path, **added)
    else:
        row = 2
        table(folder, f"cy-lab/{file}", added)
    finding = next(f for f in findings(folder) if place(f) == (f"cy-lab/{file}", row, column))
    assert "outside CHUANYU, the scope of edition cy-lab" in finding.message


def test_the_scope_of_an_edition_outside_the_tree_is_found_in_its_head(folder: Path) -> None:
    path = folder / "cy-lab/catalogue.toml"
    path.write_text(path.read_text("utf-8").replace('"CHUANYU"', '"JIANGNAN"'), encoding="utf-8")
    assert place(the_finding(folder)) == ("cy-lab/catalogue.toml", 0, "scope")


@pytest.mark.parametrize("where", ["later/", "cy-lab/"])
def test_two_versions_of_one_edition_cannot_be_in_force_together(folder: Path, where: str) -> None:
    later = read_files(files(folder / "cy-lab", version='version = "2027.1"'), where)
    with pytest.raises(CatalogueError) as caught:
        compile_drafts([*read_folder(folder), later])
    assert (f"{where}catalogue.toml", 0, "id") in {place(f) for f in caught.value.findings}


def files(folder: Path, version: str) -> dict[str, bytes]:
    """The files of an edition, under another version."""
    held = {path.name: path.read_bytes() for path in folder.iterdir()}
    lines = held["catalogue.toml"].decode().splitlines()
    head = "\n".join(version if line.startswith("version") else line for line in lines)
    return {**held, "catalogue.toml": head.encode()}


def test_a_hospital_adds_a_shorter_window_where_the_list_allows_it(folder: Path) -> None:
    append(folder / "cy-lab/windows.csv", target="1100104A", institution="EX-SC-01", days="3")
    own = load(folder).window(load().item("1100104A"), "cy-lab", "outpatient", "EX-SC-01")
    assert own is not None
    assert own.days == 3


ADDITIONS = [
    ({"institution": "EX-XX-01"}, "institution", "is in no row"),
    ({"institution": "EX-HB-01"}, "institution", "outside the region of the list 'cy-lab'"),
    ({"view_days": "60"}, "view_days", "can only tighten"),
]


@pytest.mark.parametrize(("wrong", "column", "says"), ADDITIONS)
def test_a_hospitals_window_that_it_may_not_add_is_refused(
    folder: Path, wrong: dict[str, str], column: str, says: str
) -> None:
    path = folder / "cy-lab/windows.csv"
    row = append(path, **{"target": "1100104A", "institution": "EX-SC-01", **wrong})
    finding = the_finding(folder)
    assert (place(finding), says in finding.message) == (("cy-lab/windows.csv", row, column), True)


def test_a_list_that_allows_no_additions_gets_none(folder: Path) -> None:
    row = append(folder / "lab8-lab/windows.csv", target="1100104A", institution="EX-HB-01", days="3")
    finding = the_finding(folder)
    assert place(finding) == ("lab8-lab/windows.csv", row, "institution")
    assert "allows no additions" in finding.message


OWN_RULES = [
    ({"institution": "EX-XX-01"}, ["is in no row"]),
    ({"institution": "EX-CQ-01"}, ["outside the rule's region 510000"]),
    ({"institution": "EX-HB-01", "region": "CHUANYU"}, ["outside the rule's region CHUANYU", "no additions"]),
    ({"institution": "EX-SC-01", "items": "CT-E01"}, ["'cy-imaging-endemic' allows no additions"]),
]


@pytest.mark.parametrize(("wrong", "says"), OWN_RULES)
def test_a_hospitals_line_of_the_negative_list_that_it_may_not_add_is_refused(
    folder: Path, wrong: dict[str, str], says: list[str]
) -> None:
    path = folder / "cy-lab/negative_list.csv"
    row = append(path, **{"id": "N21", **wrong})
    found = findings(folder)
    assert {place(f) for f in found} == {("cy-lab/negative_list.csv", row, "institution")}
    assert all(words in f.message for words, f in zip(says, found, strict=True))


def test_a_hospital_may_publish_its_additions_in_an_edition_of_its_own(folder: Path) -> None:
    shutil.copytree(folder / "cy-lab", folder / "hospital")
    for name in ("lists.csv", "items_lab.csv", "negative_list.csv"):
        (folder / "hospital" / name).unlink()
    head = folder / "hospital/catalogue.toml"
    text = head.read_text("utf-8").replace('"cy-lab"', '"ex-sc-01"').replace('"CHUANYU"', '"510100"')
    head.write_text(text, encoding="utf-8")
    path = folder / "hospital/windows.csv"
    grid = read(path)
    write(path, [grid[0], grid[-1]])
    change(path, 2, "institution", "EX-SC-01")
    assert load(folder).window(load().item("1100104A"), "cy-lab", "outpatient", "EX-SC-01") is not None


def test_one_slip_is_not_reported_again_at_every_reference_to_it(folder: Path) -> None:
    path = folder / "national/regions.csv"
    row = row_of(path, "500000")
    change(path, row, "kind", "municipality")
    assert place(the_finding(folder)) == ("national/regions.csv", row, "kind")


def test_an_edition_gives_no_stand_in_for_items_of_another_area(folder: Path) -> None:
    (folder / "cy-imaging/stand_ins.csv").rename(folder / "lab8-lab/stand_ins.csv")
    first = next(f for f in findings(folder) if f.row == 2)
    assert place(first) == ("lab8-lab/stand_ins.csv", 2, "ordered")
    assert "no list with item DR-001 lies in LAB8" in first.message


def test_the_words_of_decisions_are_no_matter_of_one_area(folder: Path) -> None:
    (folder / "national/rules.csv").rename(folder / "cy-lab/rules.csv")
    finding = the_finding(folder)
    assert place(finding) == ("cy-lab/rules.csv", 0, "")
    assert "'lab8-lab' lies outside CHUANYU" in finding.message


def test_a_suspension_is_not_in_vain_because_another_record_goes_on(folder: Path) -> None:
    path = folder / "national/qualifications.csv"
    record = dict(zip(*read(path)[:2], strict=True))
    stopped = {"status": "suspended", "status_from": "2026-03-01", "reason": "示例"}
    row = append(path, **record | stopped | {"id": "Q-NEW", "items": "CT-001"})
    finding = the_finding(folder)
    assert place(finding) == ("national/qualifications.csv", row, "status")
    assert f"record {record['id']} goes on for item CT-001" in finding.message


def test_a_record_that_begins_after_a_suspension_restores_what_it_took(folder: Path) -> None:
    path = folder / "national/qualifications.csv"
    record = dict(zip(*read(path)[:2], strict=True))
    for column, text in {"status": "suspended", "status_from": "2026-03-01", "reason": "示例"}.items():
        change(path, 2, column, text)
    append(path, **record | {"id": "Q-NEW", "valid_from": "2026-06-01"})
    assert load(folder).qualifications[-1].id == "Q-NEW"
