"""``lianren map`` on one machine: every form of file in and out, and what is said of a bad one."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import openpyxl
import pytest
from typer.testing import CliRunner, Result

from catalog import load
from gateway.cli import app
from mapping import LocalName, Named, Normaliser

NAMES = ["胸部CT平扫", "不明检查", "白蛋白", "胸部CT平扫", "=1+1", "白细胞"]
FIELDS = [*Named.__struct_fields__]


def lianren_map(*words: str | Path, given: bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["map", *map(str, words)], input=given)


def lines(done: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def said(done: Result) -> str:
    return str(done.exception)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The names, one a row, in a CSV file."""
    file = tmp_path / "names.csv"
    file.write_text("\n".join(["local_name", *NAMES]), encoding="utf-8")
    return file


def test_answers_are_those_of_the_normaliser_in_the_order_of_the_file(table: Path) -> None:
    normaliser = Normaliser(load())
    expected = [normaliser.read(LocalName(name=name)) for name in NAMES]
    answers = lines(lianren_map(table))
    assert [(line["name"], line["target"], line["item"], line["reason"]) for line in answers] == [
        (named.name, named.target, named.item, named.reason) for named in expected
    ]


def test_an_answer_begins_with_the_fields_of_the_contract(table: Path) -> None:
    answer = lines(lianren_map(table))[0]
    assert list(answer)[:6] == ["name", "target", "item", "reason", "spans", "tables"]


def test_a_name_without_an_item_is_no_failure(table: Path) -> None:
    assert lianren_map(table).exit_code == 0


@pytest.mark.parametrize("column", ["local_name", "name"])
def test_the_column_of_names_has_two_names(column: str) -> None:
    done = lianren_map("-", given=f"{column}\n胸部CT平扫\n".encode())
    assert lines(done)[0]["item"] == "CT-013"


def test_fields_beside_the_name_are_read() -> None:
    done = lianren_map("-", given="local_name,kind,specimen\n葡萄糖,lab,血清\n".encode())
    assert lines(done)[0]["target"] == "GLU|S|QN|-"


def test_columns_that_no_field_takes_are_named_once() -> None:
    done = lianren_map("-", given="local_name,price,id\n白蛋白,3,1\n白蛋白,3,2\n".encode())
    assert done.stderr == "lianren: columns that say nothing about a name are left out: price, id\n"


@pytest.mark.parametrize(
    ("encoding", "words"), [("utf-8-sig", ()), ("gb18030", ("--encoding", "gb18030"))], ids=["bom", "gb18030"]
)
def test_a_spreadsheet_programs_encodings_are_read(encoding: str, words: tuple[str, ...]) -> None:
    done = lianren_map("-", *words, given="local_name\r\n胸部CT平扫\r\n".encode(encoding))
    assert lines(done)[0]["item"] == "CT-013"


def test_json_lines_are_known_by_their_first_line() -> None:
    done = lianren_map("-", given='\n{"local_name": "胸部CT平扫", "kind": null}\n'.encode())
    assert lines(done)[0]["item"] == "CT-013"


def test_answers_can_be_mapped_again(table: Path, tmp_path: Path) -> None:
    first = tmp_path / "first.jsonl"
    lianren_map(table, "--out", first)
    assert lianren_map(first).stdout.encode() == first.read_bytes()


def test_a_line_feed_in_quotation_marks_ends_no_row() -> None:
    done = lianren_map("-", given='local_name,kind\n"胸部\nCT平扫",imaging\n白蛋白,lab\n'.encode())
    assert [line["name"] for line in lines(done)] == ["胸部\nCT平扫", "白蛋白"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("local_name\n白蛋白\n".encode("gb18030"), "line 2: is not UTF-8; say --encoding gb18030"),
        ("local_name,kind\n白蛋白,lab,7\n".encode(), "line 2: has 3 cells under a heading of 2"),
        (b"price\n3\n", "line 1: the heading has no column local_name, only: price"),
        (b"name,kind,kind\n", "line 1: the heading has the column kind twice"),
        (b"", "line 0: the heading has no column local_name, only: -"),
        (b'{"local_name": "a"}\n{"local_name": ', "line 2: is no JSON object"),
        (b'{"local_name": "a"}\n{"kind": "lab"}', "line 2: has no local_name"),
        (b'{"local_name": "a", "kind": 0}', "line 1: has kind that is no text"),
        (b'{"name": "a"}\n{"name": "' + b"a" * (1 << 20), "line 2: has more than 1048576 bytes"),
        (b'local_name\n"' + b"a\n" * 70_000, "is no row of CSV (field larger than field limit"),
    ],
    ids=["encoding", "cells", "heading", "twice", "nothing", "json", "no-name", "no-text", "line", "quote"],
)
def test_a_row_that_cannot_be_read_is_named_by_its_line(given: bytes, message: str) -> None:
    done = lianren_map("-", given=given)
    assert message in said(done)


def test_excel_in_and_out_keeps_every_name_as_it_is_written(tmp_path: Path) -> None:
    names, answers = tmp_path / "names.xlsx", tmp_path / "answers.xlsx"
    book = openpyxl.Workbook()
    for row in [["local_name"], *([name] for name in NAMES if not name.startswith("="))]:
        book.active.append(row)  # type: ignore[union-attr]
    book.save(names)
    assert lianren_map(names, "--out", answers).exit_code == 0
    read = openpyxl.load_workbook(answers, read_only=True)
    rows = list(read["names"].iter_rows(values_only=True))
    read.close()
    assert [list(rows[0]), *(row[0] for row in rows[1:])] == [
        FIELDS,
        *(name for name in NAMES if not name.startswith("=")),
    ]


def test_a_name_like_a_formula_stays_text_in_excel(table: Path, tmp_path: Path) -> None:
    answers = tmp_path / "answers.xlsx"
    lianren_map(table, "--out", answers)
    cell = openpyxl.load_workbook(answers)["names"].cell(row=NAMES.index("=1+1") + 2, column=1)
    assert (cell.data_type, cell.value) == ("s", "=1+1")


def test_a_formula_in_a_workbook_is_refused_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "names.xlsx"
    book = openpyxl.Workbook()
    book.active.append(["name"])  # type: ignore[union-attr]
    book.active.append(["=A1"])  # type: ignore[union-attr]
    book.save(file)
    assert (
        said(lianren_map(file)) == f"lianren: {file}, line 2: has a cell that is a formula; paste its value"
    )


def test_a_workbook_of_several_sheets_is_read_by_the_one_named(tmp_path: Path) -> None:
    file = tmp_path / "names.xlsx"
    book = openpyxl.Workbook()
    second = book.create_sheet("检验")
    second.append(["name"])
    second.append(["白蛋白"])
    book.save(file)
    assert [line["name"] for line in lines(lianren_map(file, "--sheet", "检验"))] == ["白蛋白"]


def test_parquet_in_and_out_says_what_json_lines_say(table: Path, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra bulk is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    names, answers = tmp_path / "names.parquet", tmp_path / "answers.parquet"
    parquet.write_table(pyarrow.table({"name": NAMES, "kind": [None] * len(NAMES)}), names, row_group_size=2)
    assert lianren_map(names, "--out", answers).exit_code == 0
    expected = lines(lianren_map(table))
    for line in expected:
        spans = line["spans"]
        assert isinstance(spans, list)
        line["spans"] = [dict(zip(("start", "end", "slot"), span, strict=True)) for span in spans]
    assert parquet.read_table(answers).to_pylist() == expected


def test_a_parquet_column_that_is_no_text_is_refused(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra bulk is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "names.parquet"
    parquet.write_table(pyarrow.table({"name": ["白蛋白"], "wst886": [1100104]}), file)
    assert said(lianren_map(file)) == f"lianren: {file}: the column wst886 is int64; text is needed"


def test_a_csv_of_answers_has_their_fields_as_columns(table: Path, tmp_path: Path) -> None:
    answers = tmp_path / "answers.csv"
    lianren_map(table, "--out", answers)
    with answers.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert (list(rows[0]), [row["name"] for row in rows]) == (FIELDS, NAMES)


def test_a_file_that_exists_is_not_replaced(table: Path) -> None:
    before = table.read_bytes()
    done = lianren_map(table, "--out", table)
    assert (said(done), table.read_bytes()) == (f"lianren: {table} exists; --force replaces a file", before)


def test_a_file_is_replaced_where_that_is_asked_for(table: Path, tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    answers.write_text("old")
    lianren_map(table, "--out", answers, "--force")
    assert answers.read_text(encoding="utf-8") == lianren_map(table).stdout


def test_a_failure_leaves_no_half_file(tmp_path: Path) -> None:
    lianren_map("-", "--out", tmp_path / "answers.jsonl", given=b'{"name": "a"}\n{"name": 7}')
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_suffix_is_refused(table: Path, tmp_path: Path) -> None:
    done = lianren_map(table, "--out", tmp_path / "answers.doc")
    assert "name it .jsonl, .csv, .xlsx or .parquet" in said(done)


def test_explain_says_in_words_what_each_part_of_a_name_is(table: Path) -> None:
    done = lianren_map(table, "--explain")
    assert done.stdout.startswith("胸部CT平扫\n  = CT|胸部|-|plain|-  [CT-013]\n  胸部: part\n")


def test_workers_need_a_file_and_a_folder() -> None:
    done = lianren_map("-", "--workers", "2", given=b"name\n")
    assert said(done).startswith("lianren: workers read a file and write a folder")


def test_a_very_long_name_is_answered() -> None:
    done = lianren_map("-", given=b"local_name\n" + b"a" * 100_000)
    assert lines(done)[0]["reason"] == "unknown"
