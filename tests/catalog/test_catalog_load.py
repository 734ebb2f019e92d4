"""Loading: every kind of defect is found at its file, row and column, and all of them at once."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from catalog import BUNDLED, CatalogueError, Finding, load

Grid = list[list[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BUNDLED, tmp_path / "catalogue"))


def read(path: Path) -> Grid:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def write(path: Path, grid: Grid) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(grid)


def change(path: Path, row: int, column: str, text: str) -> None:
    """Writes ``text`` into one cell; rows are counted as a spreadsheet does."""
    grid = read(path)
    grid[row - 1][grid[0].index(column)] = text
    write(path, grid)


def row_of(path: Path, key: str) -> int:
    return next(number for number, cells in enumerate(read(path), start=1) if cells[0] == key)


def append(path: Path, **cells: str) -> int:
    """Adds a copy of the last row with other cells; returns its row number."""
    grid = read(path)
    added = dict(zip(grid[0], grid[-1], strict=True)) | cells
    write(path, [*grid, [added[name] for name in grid[0]]])
    return len(grid) + 1


def findings(folder: Path) -> tuple[Finding, ...]:
    with pytest.raises(CatalogueError) as caught:
        load(folder)
    return caught.value.findings


def the_finding(folder: Path) -> Finding:
    found = findings(folder)
    assert len(found) == 1, [str(f) for f in found]
    return found[0]


def place(finding: Finding) -> tuple[str, int, str]:
    return finding.file, finding.row, finding.column


def test_a_copied_folder_loads_as_the_bundled_one(folder: Path) -> None:
    assert load(folder) == load()


def test_a_byte_order_mark_is_tolerated(folder: Path) -> None:
    path = folder / "lists.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load(folder) == load()


def test_the_order_of_columns_is_free(folder: Path) -> None:
    path = folder / "lists.csv"
    write(path, [cells[::-1] for cells in read(path)])
    assert load(folder) == load()


def test_blank_rows_are_passed_over_but_counted(folder: Path) -> None:
    path = folder / "lists.csv"
    grid = read(path)
    write(path, [grid[0], ["", ""], *grid[1:]])
    change(path, 3, "kind", "ct")
    assert place(the_finding(folder)) == ("lists.csv", 3, "kind")


def test_a_line_break_in_a_cell_does_not_shift_the_row_number(folder: Path) -> None:
    path = folder / "hierarchy.csv"
    change(path, 2, "source", "one\ntwo")
    change(path, 3, "rule", "lower")
    assert place(the_finding(folder)) == ("hierarchy.csv", 3, "rule")


def test_a_row_appended_to_the_qualifications_is_found_again(folder: Path) -> None:
    append(folder / "qualifications.csv", id="Q-NEW", institution="EX-CQ-02", items="CT-001", scope="CHUANYU")
    assert load(folder).qualifications[-1].id == "Q-NEW"


def test_every_defect_is_collected_and_not_only_the_first(folder: Path) -> None:
    change(folder / "lists.csv", 2, "kind", "ct")
    change(folder / "windows.csv", 3, "days", "soon")
    (folder / "hierarchy.csv").unlink()
    assert {f.file for f in findings(folder)} == {"lists.csv", "windows.csv", "hierarchy.csv"}


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    (finding,) = findings(tmp_path / "nowhere")
    assert finding.file == str(tmp_path / "nowhere")


def test_a_missing_file_is_one_finding(folder: Path) -> None:
    (folder / "regions.csv").unlink()
    assert place(the_finding(folder)) == ("regions.csv", 0, "")


def test_a_file_in_another_encoding_is_one_finding(folder: Path) -> None:
    path = folder / "institutions.csv"
    path.write_bytes(path.read_text(encoding="utf-8").encode("gb18030"))
    assert "UTF-8" in the_finding(folder).message


def test_an_unclosed_quotation_mark_is_one_finding(folder: Path) -> None:
    path = folder / "hierarchy.csv"
    path.write_text(path.read_text(encoding="utf-8") + '110000,"not_lower', encoding="utf-8")
    assert place(the_finding(folder)) == ("hierarchy.csv", 0, "")


def test_an_unknown_column_is_named_in_row_one(folder: Path) -> None:
    path = folder / "lists.csv"
    write(path, [[*cells, "colour" if number == 0 else ""] for number, cells in enumerate(read(path))])
    assert place(the_finding(folder)) == ("lists.csv", 1, "colour")


def test_a_missing_column_is_named_in_row_one(folder: Path) -> None:
    path = folder / "hierarchy.csv"
    write(path, [cells[:-1] for cells in read(path)])
    assert place(the_finding(folder)) == ("hierarchy.csv", 1, "certainty")


def test_a_column_that_stands_twice_is_named_in_row_one(folder: Path) -> None:
    path = folder / "hierarchy.csv"
    write(path, [[*cells, cells[0]] for cells in read(path)])
    assert place(the_finding(folder)) == ("hierarchy.csv", 1, "region")


def test_an_empty_file_lacks_every_column(folder: Path) -> None:
    (folder / "hierarchy.csv").write_text("", encoding="utf-8")
    assert [f.column for f in findings(folder)] == ["region", "rule", "source", "certainty"]


def test_a_row_with_more_cells_than_the_heading_is_refused(folder: Path) -> None:
    path = folder / "hierarchy.csv"
    grid = read(path)
    write(path, [*grid[:-1], [*grid[-1], "a, b"]])
    assert place(the_finding(folder)) == ("hierarchy.csv", len(grid), "")


CELLS = [
    ("lists.csv", 2, "name", "", "is empty"),
    ("lists.csv", 2, "kind", "ct", "imaging, lab"),
    ("windows.csv", 2, "days", "7.5", "whole number"),
    ("windows.csv", 2, "days", "0", "1 or more"),
    ("windows.csv", 2, "clock", "days", "calendar_days, elapsed_24h"),
    ("windows.csv", 2, "base", "upload", "report, performed"),
    ("windows.csv", 2, "setting", "ward", "outpatient, inpatient, emergency"),
    ("windows.csv", 2, "is_default", "TRUE", "yes, no"),
    ("windows.csv", 2, "list", "cy-us", "'cy-us'"),
    ("windows.csv", 2, "target", "9999999A", "'9999999A'"),
    ("windows.csv", 2, "target", "group:ultrasound", "'ultrasound'"),
    ("windows.csv", 2, "target", "kind:lab", "must be"),
    ("windows.csv", 2, "target", "CT-001", "is not in the list"),
    ("lists.csv", 2, "region", "JIANGNAN", "'JIANGNAN'"),
    ("regions.csv", 8, "parents", "CN;ASIA", "'ASIA'"),
    ("regions.csv", 3, "marks", "全国", "already means region CN"),
    ("items_imaging.csv", 2, "lists", "cy-imaging;cy-us", "'cy-us'"),
    ("items_imaging.csv", 2, "lists", "cy-imaging;cy-lab", "kind lab"),
    ("items_imaging.csv", 2, "concept", "DR|胸部", "modality|part"),
    ("items_imaging.csv", 3, "concept", "DR|胸部|-|-|正位", "DR-001"),
    ("items_imaging.csv", 3, "aliases", "DR　胸部正位", "row 2"),
    ("items_lab.csv", 3, "code", "CT-001", "items_imaging.csv"),
    ("panels.csv", 3, "members", "1700204A;CT-001", "'CT-001'"),
    ("panels.csv", 3, "aliases", "肝功12项", "row 2"),
    ("stand_ins.csv", 2, "ordered", "XA-001", "'XA-001'"),
    ("stand_ins.csv", 2, "prior", "XA-001", "'XA-001'"),
    ("rules.csv", 2, "zh", "", "is empty"),
    ("rules.csv", 2, "en", "", "is empty"),
    ("rules.csv", 2, "source", "", "is empty"),
    ("rules.csv", 2, "owner", "", "is empty"),
    ("rules.csv", 2, "effect", "view_only", "R0.1"),
    ("rules.csv", 3, "effect", "recognised", "R0.1"),
    ("rules.csv", 3, "reason_code", "platform-A:97", "'platform-A:97'"),
    ("negative_list.csv", 2, "fact", "full_moon", "emergency, condition_changed"),
    ("negative_list.csv", 2, "items", "part:knee", "'part:knee'"),
    ("negative_list.csv", 2, "region", "XX", "'XX'"),
    ("negative_list.csv", 2, "effect", "recognised", "R0.1"),
    ("negative_list.csv", 2, "id", "R1.1", "rules.csv"),
    ("reason_codes.csv", 2, "counts_as_refusal", "ja", "yes, no"),
    ("institutions.csv", 2, "region", "999999", "'999999'"),
    ("institutions.csv", 2, "gateway", "", "is empty"),
    ("institutions.csv", 2, "level", "四级甲等", "三级甲等"),
    ("qualifications.csv", 2, "institution", "EX-XX-01", "'EX-XX-01'"),
    ("qualifications.csv", 2, "items", "kind:ultrasound", "imaging, lab"),
    ("qualifications.csv", 2, "items", "list:cy-us", "'cy-us'"),
    ("qualifications.csv", 2, "items", "CT-001 CT-999", "'CT-999'"),
    ("qualifications.csv", 2, "scope", "999999", "'999999'"),
    ("qualifications.csv", 2, "valid_from", "2025/1/1", "2026-01-31"),
    ("qualifications.csv", 2, "valid_from", "2025-02-30", "calendar"),
    ("qualifications.csv", 2, "valid_to", "2024-12-31", "valid_from"),
    ("qualifications.csv", 2, "status", "paused", "active, suspended, withdrawn"),
    ("hierarchy.csv", 2, "region", "999999", "'999999'"),
]


@pytest.mark.parametrize(
    ("file", "row", "column", "text", "says"), CELLS, ids=[f"{c[0]}-{c[2]}-{c[3] or 'empty'}" for c in CELLS]
)
def test_a_wrong_cell_is_found_at_its_row_and_column(
    folder: Path, file: str, row: int, column: str, text: str, says: str
) -> None:
    change(folder / file, row, column, text)
    found = {place(f): f.message for f in findings(folder)}
    assert says in found[(file, row, column)]


@pytest.mark.parametrize(
    ("file", "column"),
    [
        ("regions.csv", "code"),
        ("items_lab.csv", "code"),
        ("windows.csv", "list"),
        ("rules.csv", "id"),
        ("reason_codes.csv", "system"),
        ("qualifications.csv", "id"),
    ],
)
def test_a_code_that_stands_twice_is_found_at_its_second_row(folder: Path, file: str, column: str) -> None:
    row = append(folder / file)
    assert (file, row, column) in {place(f) for f in findings(folder)}


def test_a_rule_without_words_is_missing_from_every_decision(folder: Path) -> None:
    path = folder / "rules.csv"
    write(path, [cells for cells in read(path) if cells[0] != "R5.2"])
    assert "R5.2" in the_finding(folder).message


def test_a_rule_that_no_decision_knows_is_refused(folder: Path) -> None:
    row = append(folder / "rules.csv", id="R9.9")
    assert place(the_finding(folder)) == ("rules.csv", row, "id")


def test_regions_that_lie_in_each_other_are_a_cycle(folder: Path) -> None:
    path = folder / "regions.csv"
    row = row_of(path, "500000")
    change(path, row, "parents", "CHUANYU;500103")
    found = {place(f) for f in findings(folder)}
    assert found == {("regions.csv", row, "parents"), ("regions.csv", row_of(path, "500103"), "parents")}


def test_a_suspension_without_day_and_reason_is_refused(folder: Path) -> None:
    change(folder / "qualifications.csv", 2, "status", "suspended")
    assert [f.column for f in findings(folder)] == ["status_from", "reason"]


def test_one_slip_is_not_reported_again_at_every_reference_to_it(folder: Path) -> None:
    path = folder / "regions.csv"
    row = row_of(path, "500000")
    change(path, row, "kind", "municipality")
    assert place(the_finding(folder)) == ("regions.csv", row, "kind")


def drop(key: str) -> Callable[[str], str]:
    return lambda text: "\n".join(line for line in text.splitlines() if not line.startswith(key))


HEADS: list[tuple[str, Callable[[str], str]]] = [
    ("version", drop("version")),
    ("notice_zh", drop("notice_zh")),
    ("colour", lambda text: text + '\ncolour = "red"\n'),
    ("illustrative", lambda text: text.replace("= true", '= "yes"')),
    ("owner", lambda text: drop("owner")(text) + '\nowner = ""\n'),
    ("effective_from", lambda text: text.replace("+08:00", "")),
    ("", lambda text: text + "\n= ="),
]


@pytest.mark.parametrize(("key", "spoil"), HEADS, ids=[key or "syntax" for key, _ in HEADS])
def test_a_wrong_head_names_its_key(folder: Path, key: str, spoil: Callable[[str], str]) -> None:
    path = folder / "catalogue.toml"
    path.write_text(spoil(path.read_text(encoding="utf-8")), encoding="utf-8")
    assert place(the_finding(folder)) == ("catalogue.toml", 0, key)


def test_a_finding_reads_as_place_and_message() -> None:
    assert str(Finding("lists.csv", 2, "kind", "is empty")) == "lists.csv:2 kind: is empty"
