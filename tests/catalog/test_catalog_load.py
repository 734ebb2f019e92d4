"""Reading: what is wrong is found at its file, row and column, and all of it at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog import BUNDLED, CatalogueError, Finding, compile_drafts, load, read_files, read_folder
from tests.catalog.folders import append, change, findings, place, read, the_finding, write

HELD = {path.name: path.read_bytes() for path in (BUNDLED / "cy-lab").iterdir()}
OTHERS = [draft for draft in read_folder(BUNDLED) if draft.edition.id != "cy-lab"]


def test_a_copied_folder_loads_as_the_bundled_one(folder: Path) -> None:
    assert load(folder) == load()


def test_the_order_in_which_editions_are_given_changes_nothing(folder: Path) -> None:
    assert compile_drafts(read_folder(folder)[::-1]) == load()


def test_a_byte_order_mark_is_tolerated(folder: Path) -> None:
    path = folder / "cy-lab/lists.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load(folder) == load()


def test_the_order_of_columns_is_free(folder: Path) -> None:
    path = folder / "cy-lab/lists.csv"
    write(path, [cells[::-1] for cells in read(path)])
    assert load(folder) == load()


def test_a_column_that_may_be_empty_may_be_left_out(folder: Path) -> None:
    path = folder / "lab8-lab/items_lab.csv"
    place_of = read(path)[0].index("aliases")
    write(path, [[cell for place, cell in enumerate(cells) if place != place_of] for cells in read(path)])
    assert load(folder).items.keys() == load().items.keys()


def test_a_table_without_rows_may_be_left_out(folder: Path) -> None:
    (folder / "cy-imaging/stand_ins.csv").unlink()
    assert {entry.ordered for entry in load(folder).stand_ins} == {"CT-E01", "CT-E02", "MR-E01"}


def test_blank_rows_are_passed_over_but_counted(folder: Path) -> None:
    path = folder / "cy-lab/lists.csv"
    grid = read(path)
    write(path, [grid[0], ["", ""], *grid[1:]])
    change(path, 3, "kind", "ct")
    assert place(the_finding(folder)) == ("cy-lab/lists.csv", 3, "kind")


def test_a_line_break_in_a_cell_does_not_shift_the_row_number(folder: Path) -> None:
    path = folder / "national/level_rules.csv"
    change(path, 2, "source", "one\ntwo")
    change(path, 3, "effect", "lower")
    assert place(the_finding(folder)) == ("national/level_rules.csv", 3, "effect")


def test_a_row_appended_to_the_qualifications_is_found_again(folder: Path) -> None:
    path = folder / "national/qualifications.csv"
    append(path, id="Q-NEW", institution="EX-CQ-02", items="CT-001", scope="CHUANYU")
    assert load(folder).qualifications[-1].id == "Q-NEW"


def test_every_defect_is_collected_and_not_only_the_first(folder: Path) -> None:
    change(folder / "cy-lab/lists.csv", 2, "kind", "ct")
    change(folder / "cy-imaging/windows.csv", 3, "days", "soon")
    (folder / "national/catalogue.toml").write_text("", encoding="utf-8")
    assert {f.file for f in findings(folder)} >= {"cy-lab/lists.csv", "cy-imaging/windows.csv"}


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    (finding,) = findings(tmp_path / "nowhere")
    assert finding.file == str(tmp_path / "nowhere")


def test_a_folder_without_an_edition_is_named(tmp_path: Path) -> None:
    (finding,) = findings(tmp_path)
    assert (finding.file, "holds no catalogue.toml" in finding.message) == (str(tmp_path), True)


def test_a_folder_may_be_one_edition(folder: Path) -> None:
    (draft,) = read_folder(folder / "cy-lab")
    assert (draft.edition.id, draft.place) == ("cy-lab", "")


def test_a_table_that_is_a_folder_is_named(folder: Path) -> None:
    (folder / "cy-lab/prices.csv").mkdir()
    finding = the_finding(folder)
    assert (finding.file, finding.message) == (
        str(folder / "cy-lab/prices.csv"),
        "cannot be read (Is a directory)",
    )


def test_a_file_that_is_none_of_an_edition_is_named(folder: Path) -> None:
    (folder / "national/hierarchy.csv").write_text("", encoding="utf-8")
    assert place(the_finding(folder)) == ("national/hierarchy.csv", 0, "")


def test_a_missing_file_of_an_edition_is_seen_at_what_refers_to_it(folder: Path) -> None:
    (folder / "cy-lab/lists.csv").unlink()
    assert {place(f)[2] for f in findings(folder) if f.file == "cy-lab/items_lab.csv"} == {"lists"}


def test_a_file_in_another_encoding_is_one_finding(folder: Path) -> None:
    path = folder / "national/institutions.csv"
    path.write_bytes(path.read_text(encoding="utf-8").encode("gb18030"))
    assert "UTF-8" in the_finding(folder).message


def test_an_unclosed_quotation_mark_is_one_finding(folder: Path) -> None:
    path = folder / "national/panels.csv"
    path.write_text(path.read_text(encoding="utf-8") + 'X,"not closed', encoding="utf-8")
    assert place(the_finding(folder)) == ("national/panels.csv", 0, "")


def test_an_unknown_column_is_named_in_row_one(folder: Path) -> None:
    path = folder / "cy-lab/lists.csv"
    write(path, [[*cells, "colour" if number == 0 else ""] for number, cells in enumerate(read(path))])
    assert place(the_finding(folder)) == ("cy-lab/lists.csv", 1, "colour")


def test_a_missing_column_is_named_in_row_one(folder: Path) -> None:
    path = folder / "national/panels.csv"
    write(path, [cells[:-1] for cells in read(path)])
    assert place(the_finding(folder)) == ("national/panels.csv", 1, "certainty")


def test_a_column_that_stands_twice_is_named_in_row_one(folder: Path) -> None:
    path = folder / "national/panels.csv"
    write(path, [[*cells, cells[0]] for cells in read(path)])
    assert place(the_finding(folder)) == ("national/panels.csv", 1, "code")


def test_an_empty_file_lacks_every_column_that_must_be_there(folder: Path) -> None:
    (folder / "national/panels.csv").write_text("", encoding="utf-8")
    assert [f.column for f in findings(folder)] == ["code", "name", "members", "source", "certainty"]


def test_a_row_with_more_cells_than_the_heading_is_refused(folder: Path) -> None:
    path = folder / "national/panels.csv"
    grid = read(path)
    write(path, [*grid[:-1], [*grid[-1], "a, b"]])
    assert place(the_finding(folder)) == ("national/panels.csv", len(grid), "")


CELLS = [
    ("cy-imaging/lists.csv", 2, "name", "", "is empty"),
    ("cy-imaging/lists.csv", 2, "kind", "ct", "imaging, lab"),
    ("cy-imaging/lists.csv", 2, "additions", "maybe", "yes, no"),
    ("cy-imaging/lists.csv", 2, "region", "JIANGNAN", "'JIANGNAN'"),
    ("cy-imaging/lists.csv", 2, "region", "420000", "outside CHUANYU"),
    ("cy-lab/windows.csv", 2, "days", "7.5", "whole number"),
    ("cy-lab/windows.csv", 2, "days", "0", "1 or more"),
    ("cy-lab/windows.csv", 2, "days", "36501", "at most 36500"),
    ("cy-lab/windows.csv", 2, "clock", "days", "calendar_days, elapsed_24h"),
    ("cy-lab/windows.csv", 2, "base", "upload", "report, performed"),
    ("cy-lab/windows.csv", 2, "boundary", "maybe", "including, excluding"),
    ("cy-lab/windows.csv", 2, "setting", "ward", "outpatient, inpatient, emergency"),
    ("cy-lab/windows.csv", 2, "is_default", "TRUE", "yes, no"),
    ("cy-lab/windows.csv", 2, "list", "cy-us", "'cy-us'"),
    ("cy-lab/windows.csv", 2, "list", "lab8-lab", "its owner sets its windows"),
    ("cy-lab/windows.csv", 2, "target", "9999999A", "'9999999A'"),
    ("cy-lab/windows.csv", 2, "target", "group:ultrasound", "'ultrasound'"),
    ("cy-lab/windows.csv", 2, "target", "kind:lab", "must be"),
    ("cy-lab/windows.csv", 2, "target", "CT-001", "is not in the list"),
    ("cy-imaging/windows.csv", 2, "view_days", "29", "less than the 30 days"),
    ("cy-imaging/windows.csv", 2, "view_days", "long", "whole number"),
    ("cy-imaging/windows.csv", 2, "view_days", "36501", "at most 36500"),
    ("national/regions.csv", 8, "parents", "CN;ASIA", "'ASIA'"),
    ("national/regions.csv", 3, "marks", "全国", "already means region CN"),
    ("cy-imaging/items_imaging.csv", 2, "lists", "cy-imaging;cy-us", "'cy-us'"),
    ("cy-imaging/items_imaging.csv", 2, "lists", "cy-imaging;cy-imaging-endemic", "another edition"),
    ("cy-imaging/items_imaging.csv", 2, "lists", "cy-lab", "kind lab"),
    ("cy-imaging/items_imaging.csv", 2, "concept", "", "is empty"),
    ("cy-imaging/items_imaging.csv", 2, "concept", "DR|胸部", "modality|part"),
    ("cy-imaging/items_imaging.csv", 2, "concept", "DR||-|-|正位", "modality|part"),
    ("cy-imaging/items_imaging.csv", 2, "concept", "DR| |-|-|正位", "modality|part"),
    ("cy-imaging/items_imaging.csv", 2, "concept", "-|-|-|-|-", "modality|part"),
    ("cy-lab/items_lab.csv", 2, "concept", "WBC|B|?|-", "analyte|specimen"),
    ("cy-imaging/items_imaging.csv", 3, "concept", "DR|胸部|-|-|正位", "DR-001"),
    ("cy-imaging/items_imaging.csv", 2, "lists", ";", "names nothing"),
    ("cy-imaging/items_imaging.csv", 2, "code", "DR-001 DR-002", "is no code"),
    ("cy-imaging/items_imaging.csv", 2, "code", "*", "is no code"),
    ("cy-imaging/items_imaging.csv", 2, "source", "a\x01b", "control character"),
    ("cy-imaging/lists.csv", 2, "id", "cy_imaging", "is no code"),
    ("cy-imaging/items_imaging.csv", 3, "aliases", "DR　胸部正位", "row 2"),
    ("cy-endemic/items_imaging.csv", 2, "concept", "DR|手|L|-|正位", "one code means one thing"),
    ("cy-endemic/items_imaging.csv", 2, "group", "ct", "one code means one thing"),
    ("lab8-lab/items_lab.csv", 2, "units", "10^9/L;/μL", "one code means one thing"),
    ("cy-lab/items_lab.csv", 3, "code", "CT-001", "items_imaging.csv"),
    ("cy-lab/items_lab.csv", 3, "method_dependent", "perhaps", "yes, no"),
    ("national/panels.csv", 3, "members", "1700204A;CT-999", "'CT-999'"),
    ("national/panels.csv", 3, "members", "1700204A;1700204A", "a member twice"),
    ("national/panels.csv", 3, "members", ";", "names nothing"),
    ("national/panels.csv", 3, "code", "R  FT", "several blanks"),
    ("national/panels.csv", 3, "aliases", "肝功12项", "row 2"),
    ("national/panels.csv", 3, "aliases", "ALB;白蛋白测定", "that of item 1100104A"),
    ("cy-imaging/panels.csv", 2, "members", "CT-013;CT-015", "holds itself"),
    ("cy-imaging/panels.csv", 2, "members", "CT-013;1100104A", "of another kind"),
    ("cy-imaging/panels.csv", 2, "name", "胸部CT大套餐", "which the panel makes up"),
    ("cy-imaging/stand_ins.csv", 2, "ordered", "XA-001", "'XA-001'"),
    ("cy-imaging/stand_ins.csv", 2, "prior", "XA-001", "'XA-001'"),
    ("cy-imaging/stand_ins.csv", 2, "prior", "DR-001", "in for itself"),
    ("national/rules.csv", 2, "zh", "", "is empty"),
    ("national/rules.csv", 2, "en", "", "is empty"),
    ("national/rules.csv", 2, "source", "", "is empty"),
    ("national/rules.csv", 2, "owner", "", "is empty"),
    ("national/rules.csv", 3, "step", "2", "digit after R, 1"),
    ("national/rules.csv", 2, "effect", "view_only", "R0.1"),
    ("national/rules.csv", 3, "effect", "recognised", "R0.1"),
    ("national/rules.csv", 3, "effect", "note", "R7.6, R9.3, R9.4"),
    ("national/rules.csv", 28, "effect", "view_only", "R7.6, R9.3, R9.4"),
    ("national/rules.csv", 3, "reason_code", "platform-A:97", "'platform-A:97'"),
    ("national/negative_list.csv", 2, "when", "full_moon", "emergency, condition_changed"),
    ("national/negative_list.csv", 2, "when", "age_hours == 'x'", "unlike types"),
    ("national/negative_list.csv", 2, "when", "", "is empty"),
    ("national/negative_list.csv", 2, "when", "setting == 'outpateint'", "never 'outpateint'"),
    ("national/negative_list.csv", 2, "when", "kind in ['lab', 'labs']", "never 'labs'"),
    ("national/negative_list.csv", 2, "when", "item == 'CT-999'", "no item 'CT-999'"),
    ("national/negative_list.csv", 2, "when", "group != 'cts'", "no group 'cts'"),
    ("national/negative_list.csv", 2, "when", "'EX-XX-01' == issuer", "no issuer 'EX-XX-01'"),
    ("national/negative_list.csv", 2, "items", "part:knee", "'part:knee'"),
    ("national/negative_list.csv", 2, "region", "XX", "'XX'"),
    ("national/negative_list.csv", 2, "effect", "recognised", "R0.1"),
    ("national/negative_list.csv", 2, "effect", "note", "R7.6, R9.3, R9.4"),
    ("national/negative_list.csv", 2, "id", "R1.1", "rules.csv"),
    ("national/level_rules.csv", 2, "when", "issuer_level < '3'", "unlike types"),
    ("national/level_rules.csv", 2, "id", "N1", "negative_list.csv"),
    ("national/level_rules.csv", 2, "region", "999999", "'999999'"),
    ("cy-endemic/negative_list.csv", 2, "region", "CN", "outside CHUANYU"),
    ("national/reason_codes.csv", 2, "counts_as_refusal", "ja", "yes, no"),
    ("national/institutions.csv", 2, "region", "999999", "'999999'"),
    ("national/institutions.csv", 2, "gateway", "", "is empty"),
    ("national/institutions.csv", 2, "level", "四级甲等", "三级甲等"),
    ("national/institutions.csv", 4, "alliances", "成都示例医共体", "no other institution"),
    ("national/qualifications.csv", 2, "institution", "EX-XX-01", "'EX-XX-01'"),
    ("national/qualifications.csv", 2, "items", "kind:ultrasound", "imaging, lab"),
    ("national/qualifications.csv", 2, "items", "list:cy-us", "'cy-us'"),
    ("national/qualifications.csv", 2, "items", "CT-001 CT-999", "'CT-999'"),
    ("national/qualifications.csv", 2, "scope", "999999", "'999999'"),
    ("national/qualifications.csv", 2, "level", "regional", "prefecture, district"),
    ("national/qualifications.csv", 2, "valid_from", "2025/1/1", "2026-01-31"),
    ("national/qualifications.csv", 2, "valid_from", "2025-02-30", "calendar"),
    ("national/qualifications.csv", 2, "valid_to", "9999-12-31", "lies in the year 9999"),
    ("national/qualifications.csv", 2, "valid_to", "2024-12-31", "valid_from"),
    ("national/qualifications.csv", 2, "status", "paused", "active, suspended, withdrawn"),
    ("national/qualifications.csv", 2, "status_from", "yesterday", "is not a time"),
    ("national/qualifications.csv", 2, "status_from", "2026-01-01T09:30:00", "is not a time"),
    ("national/qualifications.csv", 2, "status_from", "0001-01-01T00:00:00+14:00", "lies in the year 1"),
    ("national/qualifications.csv", 2, "status_from", "2026-01-01T25:00+08:00", "calendar"),
    ("national/qualifications.csv", 2, "status_from", "2026-02-30", "calendar"),
    ("national/qualifications.csv", 2, "status_from", "2026-01-01", "must be empty"),
    ("national/qualifications.csv", 2, "reason", "x", "must be empty"),
    ("national/conversions.csv", 2, "item", "CT-001", "'CT-001'"),
    ("national/conversions.csv", 2, "factor", "0", "above 0"),
    ("national/conversions.csv", 2, "factor", "-10", "above 0"),
    ("national/conversions.csv", 2, "factor", "1e3", "not a decimal number"),
    ("national/conversions.csv", 2, "to_unit", "g/dL", "needs two units"),
    ("national/conversions.csv", 2, "to_unit", "mg/L", "is no unit of item"),
]


@pytest.mark.parametrize(
    ("file", "row", "column", "text", "says"), CELLS, ids=[f"{c[0]}-{c[2]}-{c[3] or 'empty'}" for c in CELLS]
)
def test_a_wrong_cell_is_found_at_its_row_and_column(
    folder: Path, file: str, row: int, column: str, text: str, says: str
) -> None:
    change(folder / file, row, column, text)
    assert [f for f in findings(folder) if place(f) == (file, row, column) and says in f.message]


def test_the_digest_of_an_edition_hangs_on_every_file_and_on_nothing_else(folder: Path) -> None:
    (draft,), (copied,) = read_folder(BUNDLED / "cy-lab"), read_folder(folder / "cy-lab")
    assert draft.digest == copied.digest
    change(folder / "cy-lab/windows.csv", 2, "days", "31")
    assert read_folder(folder / "cy-lab")[0].digest != draft.digest


def drop(key: str) -> Callable[[str], str]:
    return lambda text: "\n".join(line for line in text.splitlines() if not line.startswith(key))


HEADS: list[tuple[str, Callable[[str], str]]] = [
    ("version", drop("version")),
    ("notice_zh", drop("notice_zh")),
    ("colour", lambda text: text + '\ncolour = "red"\n'),
    ("illustrative", lambda text: text.replace("= true", '= "yes"')),
    ("owner", lambda text: drop("owner")(text) + '\nowner = ""\n'),
    ("effective_from", lambda text: text.replace("+08:00", "")),
    ("overlap_days", lambda text: text.replace("= 30", "= -1")),
    ("overlap_days", lambda text: text.replace("= 30", "= true")),
    ("overlap_days", lambda text: text.replace("= 30", "= 999999999")),
    ("effective_from", lambda text: text.replace("2025-", "0001-")),
    ("id", lambda text: text.replace('"cy-lab"', '"cy/lab"')),
    ("version", lambda text: text.replace("2026.11-", "2026.11+")),
    ("", lambda text: text.replace("= 30", f"= {'9' * 5000}")),
    ("", lambda text: text.replace("= 30", f"= {'[' * 5000}")),
    ("", lambda text: text + "\n= ="),
]


@pytest.mark.parametrize(("key", "spoil"), HEADS, ids=[f"{key}-{n}" for n, (key, _) in enumerate(HEADS)])
def test_a_wrong_head_names_its_key(folder: Path, key: str, spoil: Callable[[str], str]) -> None:
    path = folder / "cy-lab/catalogue.toml"
    path.write_text(spoil(path.read_text(encoding="utf-8")), encoding="utf-8")
    assert place(the_finding(folder)) == ("cy-lab/catalogue.toml", 0, key)


@given(
    st.sampled_from(sorted(HELD)),
    st.integers(0, 20_000),
    st.integers(0, 40),
    st.binary(max_size=20) | st.text(max_size=20).map(str.encode),
)
@settings(max_examples=60, deadline=None)
def test_a_spoilt_edition_loads_or_is_refused_with_findings_and_nothing_else(
    name: str, at: int, dropped: int, put: bytes
) -> None:
    spoilt = HELD[name][:at] + put + HELD[name][at + dropped :]
    with suppress(CatalogueError):
        compile_drafts([*OTHERS, read_files({**HELD, name: spoilt}, "cy-lab/")])


def test_a_finding_reads_as_place_and_message() -> None:
    assert str(Finding("lists.csv", 2, "kind", "is empty")) == "lists.csv:2 kind: is empty"
