"""Official annexes: made for people, read without guessing."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog import BUNDLED, CatalogueError, Finding, Item, compile_drafts, load, read_files, read_folder
from catalog.annex import Annex, Entry, read_annex, read_decisions, read_mapping, stripped
from catalog.write import write_rows

DATA = Path(__file__).parents[1] / "data/annexes"
LISTS = Path(__file__).parents[2].parent / "shared/facts/lists"
MAPPING = (DATA / "official_lab.toml").read_bytes()
TITLE = ("检验结果互认项目清单", *("",) * 8)
HEADING = (
    ("分组", "序号", "项目", "", "别名", "单位", "互认时限", "标识", "备注"),
    ("", "", "名称", "代码", "", "", "天数", "", ""),
)
ALBUMIN = ("蛋白", 1, "白蛋白", "1100104A", "ALB、血清白蛋白", "g/L", 30, "", "")
CONCEPTS = {
    "白蛋白": "ALB|S|QN|-",
    "白蛋白(Alb)": "ALB|S|QN|-",
    "总蛋白": "TP|S|QN|-",
    "丙氨酸氨基转移酶": "ALT|S|QN|-",
}

Row = tuple[Any, ...]


def concept_of(name: str, texts: Mapping[str, str]) -> str | None:
    return CONCEPTS.get(name)


def annex_csv(tmp_path: Path, *rows: Row, encoding: str = "utf-8") -> Path:
    text = io.StringIO()
    csv.writer(text).writerows([TITLE, *HEADING, *rows])
    path = tmp_path / "annex.csv"
    path.write_bytes(text.getvalue().encode(encoding))
    return path


def annex_xlsx(tmp_path: Path, *rows: Row, merges: tuple[str, ...] = ()) -> Path:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "附件1"
    for row in (TITLE, *HEADING, *rows):
        sheet.append([cell if cell != "" else None for cell in row])
    for merge in ("A1:I1", "C2:D2", "A2:A3", "B2:B3", "E2:E3", "F2:F3", "H2:H3", "I2:I3", *merges):
        sheet.merge_cells(merge)
    book.save(tmp_path / "annex.xlsx")
    return tmp_path / "annex.xlsx"


def read(path: Path, mapping: bytes = MAPPING, **given: Any) -> Annex:
    return read_annex(path, read_mapping(mapping, "mapping.toml"), concept_of=concept_of, **given)


def the_entry(path: Path, mapping: bytes = MAPPING, **given: Any) -> Entry:
    annex = read(path, mapping, **given)
    assert annex.findings == ()
    (entry,) = annex.entries
    return entry


def the_finding(path: Path, mapping: bytes = MAPPING, **given: Any) -> Finding:
    (finding,) = read(path, mapping, **given).findings
    return finding


def refused(path: Path, mapping: bytes = MAPPING) -> Finding:
    with pytest.raises(CatalogueError) as caught:
        read(path, mapping)
    (finding,) = caught.value.findings
    return finding


def row(**changes: Any) -> Row:
    names = ("group", "serial", "name", "code", "aliases", "unit", "days", "mark", "note")
    return tuple((dict(zip(names, ALBUMIN, strict=True)) | changes).values())


def edited(old: str, new: str) -> bytes:
    text = MAPPING.decode()
    assert old in text
    return text.replace(old, new).encode()


# the form of the file


def test_a_row_becomes_an_item_with_its_names_unit_and_window(tmp_path: Path) -> None:
    entry = the_entry(annex_csv(tmp_path, ALBUMIN))
    assert entry.item == Item(
        code="1100104A",
        name="白蛋白",
        kind="lab",
        concept="ALB|S|QN|-",
        group="chem-protein",
        lists=("sample-lab",),
        aliases=("ALB", "血清白蛋白"),
        units=("g/L",),
        method_dependent=False,
        source="附件1（示例）",
        certainty="illustrative",
    )
    assert entry.window is not None
    assert (entry.window.target, entry.window.days, entry.window.clock) == ("1100104A", 30, "calendar_days")


def test_a_workbook_with_merged_headings_reads_like_the_csv(tmp_path: Path) -> None:
    assert the_entry(annex_xlsx(tmp_path, ALBUMIN)) == the_entry(annex_csv(tmp_path, ALBUMIN))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_a_csv_may_be_in_each_encoding_that_offices_use(tmp_path: Path, encoding: str) -> None:
    assert the_entry(annex_csv(tmp_path, ALBUMIN, encoding=encoding)).item.name == "白蛋白"


def test_a_csv_in_another_encoding_is_refused(tmp_path: Path) -> None:
    assert "neither UTF-8 nor GB18030" in refused(annex_csv(tmp_path, ALBUMIN, encoding="utf-16")).message


def test_a_csv_with_an_unclosed_quotation_mark_is_refused(tmp_path: Path) -> None:
    path = annex_csv(tmp_path, ALBUMIN)
    path.write_bytes(path.read_bytes() + b'"open')
    assert "not well-formed" in refused(path).message


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet='",\n\r项目名称代码蛋白A1\x00', max_size=60).map(str.encode))
def test_whatever_a_csv_holds_it_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = annex_csv(tmp_path_factory.mktemp("fuzz"), ALBUMIN)
    path.write_bytes(path.read_bytes() + data)
    with suppress(CatalogueError):
        assert read(path).entries[0].row == 4


def test_an_annex_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path / "nowhere.csv").message


def test_an_annex_shorter_than_its_heading_is_refused(tmp_path: Path) -> None:
    assert "sheet.first" in refused(annex_csv(tmp_path)).message


def test_a_group_merged_over_its_rows_counts_for_all_of_them(tmp_path: Path) -> None:
    rows = (ALBUMIN, row(group="", name="总蛋白", code="1100204A", aliases=""))
    mapping = edited('fill_down = ["group"]', "")
    annex = read(annex_xlsx(tmp_path, *rows, merges=("A4:A5",)), mapping)
    assert [entry.item.group for entry in annex.entries] == ["chem-protein", "chem-protein"]


def test_an_empty_cell_of_a_role_to_fill_down_repeats_the_one_above(tmp_path: Path) -> None:
    rows = (ALBUMIN, row(group="", name="总蛋白", code="1100204A", aliases=""))
    annex = read(annex_csv(tmp_path, *rows))
    assert [entry.item.group for entry in annex.entries] == ["chem-protein", "chem-protein"]


def test_a_row_with_a_group_alone_heads_the_rows_below_it(tmp_path: Path) -> None:
    rows = (("酶类", *("",) * 8), row(group=""))
    annex = read(annex_xlsx(tmp_path, *rows, merges=("A4:I4",)))
    assert [(entry.row, entry.item.group) for entry in annex.entries] == [(5, "chem-enzyme")]


def test_blank_and_total_rows_are_skipped_and_counted(tmp_path: Path) -> None:
    rows = (ALBUMIN, ("",) * 9, ("合计", "", "1项", *("",) * 6), ("注：仅供参考", *("",) * 8))
    assert read(annex_csv(tmp_path, *rows)).skipped == 3


def test_a_total_merged_across_the_table_is_skipped(tmp_path: Path) -> None:
    rows = (ALBUMIN, ("合计：1项", *("",) * 8))
    annex = read(annex_xlsx(tmp_path, *rows, merges=("A5:I5",)))
    assert (len(annex.entries), annex.skipped) == (1, 1)


def test_a_column_may_be_named_by_its_letter(tmp_path: Path) -> None:
    assert the_entry(annex_csv(tmp_path, ALBUMIN), edited('"项目/代码"', '"D"')).item.code == "1100104A"


def test_a_heading_is_found_whatever_its_width_and_blanks(tmp_path: Path) -> None:
    assert (
        the_entry(annex_csv(tmp_path, ALBUMIN), edited('"项目/名称"', '"项 目／名称"')).item.name == "白蛋白"
    )


def test_a_column_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    finding = refused(annex_csv(tmp_path, ALBUMIN), edited('"单位"', '"计量单位"'))
    assert finding.row == 3
    assert "'计量单位' for unit" in finding.message
    assert "F 单位" in finding.message


def test_a_heading_that_two_columns_have_needs_a_letter(tmp_path: Path) -> None:
    path = annex_csv(tmp_path, ALBUMIN)
    path.write_bytes(path.read_bytes().replace("别名,单位".encode(), "单位,单位".encode()))
    assert "columns E, F" in refused(path, edited('aliases = "别名"', "")).message


def test_progress_tells_the_number_of_each_row(tmp_path: Path) -> None:
    seen: list[int] = []
    read(annex_csv(tmp_path, ALBUMIN), progress=seen.append)
    assert seen == [1, 2, 3, 4]


# names, marks, notes


@pytest.mark.parametrize(
    ("printed", "name", "mark"),
    [
        ("【全国HR】白蛋白", "白蛋白", "全国HR"),
        ("白蛋白(鄂HR)", "白蛋白", "鄂HR"),
        ("白蛋白【 川渝 HR 】", "白蛋白", "川渝HR"),
        ("★白蛋白", "白蛋白", "★"),
        ("白蛋白*", "白蛋白", "*"),
        ("【HR】★白蛋白", "白蛋白", "HR★"),
        ("川渝HR 白蛋白", "白蛋白", "川渝HR"),
        ("HLA-B*27", "HLA-B*27", ""),
        ("脂蛋白(a)", "脂蛋白(a)", ""),
        ("HR-CT", "HR-CT", ""),
    ],
)
def test_a_recognition_mark_is_no_part_of_a_name(printed: str, name: str, mark: str) -> None:
    assert stripped(printed) == (name, mark)


def test_the_mark_of_a_name_is_kept_as_data(tmp_path: Path) -> None:
    entry = the_entry(annex_csv(tmp_path, row(name="【全国HR】白蛋白")))
    assert (entry.item.name, entry.mark) == ("白蛋白", "全国HR")


def test_a_mark_in_its_own_column_is_kept_as_data(tmp_path: Path) -> None:
    assert the_entry(annex_csv(tmp_path, row(mark="全国HR"))).mark == "全国HR"


def test_full_width_characters_are_folded(tmp_path: Path) -> None:
    entry = the_entry(annex_csv(tmp_path, row(code="１１００１０４Ａ", days="３０天")))
    assert entry.item.code == "1100104A"
    assert entry.window is not None
    assert entry.window.days == 30


def test_a_power_of_ten_in_a_unit_stays_one(tmp_path: Path) -> None:
    assert the_entry(annex_csv(tmp_path, row(unit="×10⁹／L"))).item.units == ("×10⁹/L",)


def test_a_note_in_brackets_at_the_end_of_a_name_is_a_note(tmp_path: Path) -> None:
    entry = the_entry(annex_csv(tmp_path, row(name="白蛋白（备注：空腹）", note="见附件")))
    assert (entry.item.name, entry.note) == ("白蛋白", "备注:空腹 见附件")


def test_an_abbreviation_in_brackets_becomes_an_alias(tmp_path: Path) -> None:
    entry = the_entry(annex_csv(tmp_path, row(name="白蛋白（Alb）", aliases="")))
    assert (entry.item.name, entry.item.aliases) == ("白蛋白", ("Alb",))


@pytest.mark.parametrize("name", ["D-二聚体（FEU）", "白蛋白（注射后）", "白蛋白（HRCT）(注：空腹)"])
def test_what_makes_it_another_item_is_no_short_name_and_no_note(tmp_path: Path, name: str) -> None:
    assert "has no concept" in the_finding(annex_csv(tmp_path, row(name=name))).message


def test_a_comma_or_slash_within_an_alias_does_not_part_it(tmp_path: Path) -> None:
    aliases = "1,25-二羟维生素D3、A/G"
    entry = the_entry(annex_csv(tmp_path, row(name="白蛋白", aliases=aliases)))
    assert entry.item.aliases == ("1,25-二羟维生素D3", "A/G")


def test_without_separators_the_aliases_are_one(tmp_path: Path) -> None:
    mapping = edited('separators = "、;"', 'separators = ""')
    assert the_entry(annex_csv(tmp_path, ALBUMIN), mapping).item.aliases == ("ALB、血清白蛋白",)


def test_any_other_bracket_is_part_of_the_name(tmp_path: Path) -> None:
    finding = the_finding(annex_csv(tmp_path, row(name="白蛋白（尿）")))
    assert "'白蛋白(尿)' has no concept" in finding.message


# where meaning and code come from


def test_an_item_without_a_concept_is_a_finding_and_never_a_guess(tmp_path: Path) -> None:
    annex = read(annex_xlsx(tmp_path, ALBUMIN, row(name="不明项目", code="X")))
    (finding,) = annex.findings
    assert (finding.file, finding.row, finding.column) == ("annex.xlsx[附件1]", 5, "C5")
    assert "--concepts" in finding.message
    assert [entry.row for entry in annex.entries] == [4]


def test_a_decision_by_name_gives_the_concept(tmp_path: Path) -> None:
    decisions = read_decisions("name,concept\n不明项目,X|S|QN|-\n".encode(), "c.csv")
    entry = the_entry(annex_csv(tmp_path, row(name="不明项目")), decisions=decisions)
    assert entry.item.concept == "X|S|QN|-"


def test_a_decision_by_code_comes_before_the_reader_of_names(tmp_path: Path) -> None:
    decisions = read_decisions(b"code,concept\n1100104A,ALB|P|QN|-\n", "c.csv")
    assert the_entry(annex_csv(tmp_path, ALBUMIN), decisions=decisions).item.concept == "ALB|P|QN|-"


def test_a_column_of_concepts_comes_before_the_reader_of_names(tmp_path: Path) -> None:
    mapping = edited('note = "备注"', 'concept = "备注"')
    assert the_entry(annex_csv(tmp_path, row(note="ALB|P|QN|-")), mapping).item.concept == "ALB|P|QN|-"


def test_a_concept_of_the_wrong_form_is_a_finding(tmp_path: Path) -> None:
    mapping = edited('note = "备注"', 'concept = "备注"')
    finding = the_finding(annex_csv(tmp_path, row(note="ALB|S")), mapping)
    assert finding.column == "I4"


def test_the_reader_of_names_is_given_what_the_row_says(tmp_path: Path) -> None:
    asked: list[Mapping[str, str]] = []

    def listen(name: str, texts: Mapping[str, str]) -> str | None:
        asked.append(texts)
        return "ALB|S|QN|-"

    mapping = read_mapping(edited('note = "备注"', 'specimen = "备注"'), "m")
    read_annex(annex_csv(tmp_path, row(note="血清")), mapping, concept_of=listen)
    assert (asked[0]["kind"], asked[0]["specimen"], asked[0]["unit"]) == ("lab", "血清", "g/L")


bundled = cache(load)


def known(concept: str) -> Item | None:
    return bundled().item_for(concept)


def test_an_item_without_a_code_takes_that_of_the_catalogue(tmp_path: Path) -> None:
    entry = the_entry(annex_csv(tmp_path, row(code="")), item_of=known)
    assert entry.item.code == "1100104A"


@pytest.mark.parametrize(
    ("unit", "units"), [("", ("mg/L", "g/L")), ("g/L", ("mg/L", "g/L")), ("g/dL", ("g/dL",))]
)
def test_a_unit_that_the_catalogue_has_stands_for_all_of_its_units(
    tmp_path: Path, unit: str, units: tuple[str, ...]
) -> None:
    entry = the_entry(
        annex_csv(tmp_path, row(name="前白蛋白", code="", unit=unit)),
        item_of=known,
        decisions={"前白蛋白": "PALB|S|QN|-"},
    )
    assert entry.item.units == units


def test_an_item_that_is_new_takes_a_new_code_with_its_row(tmp_path: Path) -> None:
    assert the_entry(annex_csv(tmp_path, row(code=""))).item.code == "SL-0004"


def test_a_new_code_is_none_that_the_catalogue_has(tmp_path: Path) -> None:
    finding = the_finding(annex_csv(tmp_path, row(code="")), codes={"SL-0004"})
    assert "SL-0004 is another item's" in finding.message


def test_an_item_without_any_code_is_a_finding(tmp_path: Path) -> None:
    finding = the_finding(annex_csv(tmp_path, row(code="")), edited('new_codes = "SL-"', ""))
    assert finding.column == "D4"


def test_an_unlisted_group_is_a_finding(tmp_path: Path) -> None:
    assert "'糖类' is not in [groups]" in the_finding(annex_csv(tmp_path, row(group="糖类"))).message


def test_an_item_without_a_group_is_a_finding(tmp_path: Path) -> None:
    assert "is in no group" in the_finding(annex_csv(tmp_path, row(group=""))).message


def test_a_name_that_is_missing_is_a_finding(tmp_path: Path) -> None:
    assert the_finding(annex_csv(tmp_path, row(name=""))).column == "C4"


def test_the_same_concept_twice_is_a_finding_at_the_second(tmp_path: Path) -> None:
    finding = the_finding(annex_csv(tmp_path, ALBUMIN, row(code="Z")))
    assert finding.row == 5
    assert "row 4" in finding.message


def test_the_same_code_twice_is_a_finding_at_the_second(tmp_path: Path) -> None:
    finding = the_finding(annex_csv(tmp_path, ALBUMIN, row(name="总蛋白", aliases="")))
    assert (finding.row, finding.column) == (5, "D5")


# windows


@pytest.mark.parametrize(("text", "days"), [("14", 14), ("14天", 14), ("14 日", 14), ("一周", 7)])
def test_a_number_of_days_is_read_in_its_forms(tmp_path: Path, text: str, days: int) -> None:
    window = the_entry(annex_csv(tmp_path, row(days=text))).window
    assert window is not None
    assert window.days == days


@pytest.mark.parametrize("text", ["", "-", "—"])
def test_an_item_without_days_falls_under_the_default(tmp_path: Path, text: str) -> None:
    annex = read(annex_csv(tmp_path, row(days=text)))
    assert annex.default is not None
    assert (annex.entries[0].window, annex.default.target, annex.default.is_default) == (None, "*", True)


@pytest.mark.parametrize("text", ["长期", "0", "30-60", "1.5"])
def test_days_that_are_no_number_are_a_finding(tmp_path: Path, text: str) -> None:
    assert the_finding(annex_csv(tmp_path, row(days=text))).column == "G4"


def test_a_formula_in_a_column_that_is_read_is_a_finding(tmp_path: Path) -> None:
    finding = the_finding(annex_xlsx(tmp_path, row(days="=15*2")))
    assert (finding.column, finding.message) == ("G4", "is a formula; paste its value")


def test_a_formula_in_a_column_without_a_role_does_no_harm(tmp_path: Path) -> None:
    assert the_entry(annex_xlsx(tmp_path, row(serial="=ROW()-3"))).item.code == "1100104A"


# the mapping file and the decisions


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "项目/名称"', "", "`name`"),
        ("heading = [2, 3]", "heading = [3, 2]", "sheet.heading"),
        ("first = 4", "first = 3", "sheet.first"),
        ('clock = "calendar_days"', 'clock = "days"', "window.clock"),
        ('unit = "单位"', 'units = "单位"', "`units`"),
        ("overlap_days = 30", 'overlap_days = "30"', "edition.overlap_days"),
        ("[groups]", "[groups", "TOML"),
        ("[groups]", f"deep = {'[' * 10_000}", "TOML"),
        ('fill_down = ["group"]', 'fill_down = ["name"]', "fill_down"),
    ],
)
def test_a_mapping_that_cannot_be_used_says_which_key(old: str, new: str, words: str) -> None:
    with pytest.raises(CatalogueError, match=r"mapping\.toml") as caught:
        read_mapping(edited(old, new), "mapping.toml")
    assert words in caught.value.findings[0].message


def test_a_column_of_days_needs_a_clock() -> None:
    text = MAPPING.decode()
    without = text[: text.index("[window]")] + text[text.index("[groups]") :]
    with pytest.raises(CatalogueError, match=r"\[window\]"):
        read_mapping(without.encode(), "mapping.toml")


@pytest.mark.parametrize(
    "text",
    [
        "concept\nX\n",
        "name,code\nX,Y\n",
        "name,concept\nX,\n",
        "name,concept\nX,a\nx,b\n",
        'name,concept\n"X',
    ],
)
def test_decisions_that_cannot_be_used_are_refused(text: str) -> None:
    with pytest.raises(CatalogueError):
        read_decisions(text.encode(), "c.csv")


# the edition that comes of it


def test_an_annex_becomes_an_edition_that_stands_beside_the_others(tmp_path: Path) -> None:
    annex = read(annex_xlsx(tmp_path, ALBUMIN))
    draft = read_files(write_rows(annex.edition, annex.rows()))
    catalogue = compile_drafts([*read_folder(BUNDLED), draft])
    window = catalogue.window(catalogue.item("1100104A"), "sample-lab", "outpatient")
    assert window is not None
    assert window.days == 30


def real(name: str) -> Path:
    path = LISTS / name
    if not path.is_file():
        pytest.skip(f"the public lists are not beside the checkout ({path.parent} is absent)")
    return path


def bundled_concept(name: str, texts: Mapping[str, str]) -> str | None:
    """The bundled catalogue's own names only: what the reader of names of another room knows beyond them is
    tested there."""
    items = bundled().items_named(f"{texts.get('modality', '')}{name}") or bundled().items_named(name)
    return items[0].concept if len(items) == 1 else None


def test_the_windows_of_the_hubei_list_are_imported_as_printed() -> None:
    path = real("hubei_rmhospital_lab_windows.csv")
    mapping = read_mapping((DATA / "hubei_lab.toml").read_bytes(), "hubei_lab.toml")
    annex = read_annex(path, mapping, concept_of=bundled_concept, item_of=known)
    days = {entry.item.name: entry.window.days for entry in annex.entries if entry.window}
    with path.open(encoding="utf-8", newline="") as file:
        printed = {line["name"]: line["window_days"] for line in csv.DictReader(file)}
    assert days.items() <= {name: int(text) for name, text in printed.items() if text}.items()
    assert (days["白蛋白"], days["糖化血红蛋白A1c"], days["钾"]) == (30, 60, 7)
    assert {entry.mark for entry in annex.entries} == {"鄂HR"}


@pytest.mark.parametrize(
    ("name", "mapping"),
    [
        ("hubei_rmhospital_lab_windows.csv", "hubei_lab.toml"),
        ("hubei_suizhou_imaging.csv", "suizhou_imaging.toml"),
    ],
)
def test_every_row_of_a_real_list_is_an_item_or_a_finding(name: str, mapping: str) -> None:
    path = real(name)
    rules = read_mapping((DATA / mapping).read_bytes(), mapping)
    annex = read_annex(path, rules, concept_of=bundled_concept, item_of=known)
    places = sorted([entry.row for entry in annex.entries] + [finding.row for finding in annex.findings])
    with path.open(encoding="utf-8", newline="") as file:
        assert places == list(range(2, len(list(csv.reader(file))) + 1))
    assert annex.entries


def test_a_real_list_becomes_an_edition_that_stands_beside_the_others() -> None:
    mapping = read_mapping((DATA / "suizhou_imaging.toml").read_bytes(), "suizhou_imaging.toml")
    annex = read_annex(real("hubei_suizhou_imaging.csv"), mapping, concept_of=bundled_concept, item_of=known)
    draft = read_files(write_rows(annex.edition, annex.rows()))
    assert compile_drafts([*read_folder(BUNDLED), draft]).lists["suizhou-imaging"].region == "420000"
