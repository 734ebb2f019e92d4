"""``catalog import``: an annex becomes the folder of an edition, or every row at fault is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from typer.testing import CliRunner, Result

from catalog import read_folder
from gateway.cli import app

MAPPING = Path(__file__).parents[1] / "data/annexes/official_lab.toml"
HEADING: tuple[tuple[Any, ...], ...] = (
    ("检验结果互认项目清单",),
    ("分组", "序号", "项目", None, "别名", "单位", "互认时限", "标识", "备注"),
    (None, None, "名称", "代码", None, None, "天数", None, None),
)
ALBUMIN = ("蛋白", 1, "【川渝HR】白蛋白（ALB）", None, None, "g/L", 30, None, None)
UNKNOWN = ("蛋白", 2, "不明项目", "X", None, "g/L", "长期", None, None)
CONCEPTS = "name,concept\n不明项目,UNKNOWN|S|QN|-\n"


def annex(tmp_path: Path, *rows: tuple[Any, ...]) -> Path:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "附件1"
    for row in (*HEADING, *rows):
        sheet.append(row)
    for merge in ("A1:I1", "C2:D2", "A2:A3", "B2:B3", "E2:E3", "F2:F3", "H2:H3", "I2:I3"):
        sheet.merge_cells(merge)
    book.save(tmp_path / "附件.xlsx")
    return tmp_path / "附件.xlsx"


def imported(file: Path, *words: str | Path, mapping: Path = MAPPING) -> Result:
    words = ("catalog", "import", file, "--mapping", mapping, *words)
    return CliRunner().invoke(app, [str(word) for word in words])


def test_an_annex_becomes_a_folder_that_can_be_read(tmp_path: Path) -> None:
    done = imported(annex(tmp_path, ALBUMIN), "--out", tmp_path / "new")
    assert done.exit_code == 0, done.stdout
    (draft,) = read_folder(tmp_path / "new")
    (item,) = draft.sheets.items.values()
    assert (item.code, item.name, item.concept, item.aliases) == (
        "1100104A",
        "白蛋白",
        "ALB|S|QN|-",
        ("ALB",),
    )


def test_a_dry_run_shows_the_table_and_writes_nothing(tmp_path: Path) -> None:
    done = imported(annex(tmp_path, ALBUMIN), "--dry-run")
    assert done.exit_code == 0
    assert all(word in done.stdout for word in ("1100104A", "ALB|S|QN|-", "川渝HR", "items: 1"))
    assert [path.name for path in tmp_path.iterdir()] == ["附件.xlsx"]


def test_a_dry_run_for_machines_has_what_no_table_keeps(tmp_path: Path) -> None:
    told = json.loads(imported(annex(tmp_path, ALBUMIN), "--dry-run", "--json").stdout)
    (entry,) = told["entries"]
    assert (entry["row"], entry["mark"], entry["window"]["days"], told["default"]["days"]) == (
        4,
        "川渝HR",
        30,
        30,
    )


def test_a_row_at_fault_is_named_by_sheet_row_and_cell(tmp_path: Path) -> None:
    done = imported(annex(tmp_path, ALBUMIN, UNKNOWN), "--dry-run")
    assert done.exit_code == 1
    assert "附件.xlsx[附件1]:5 C5: '不明项目' has no concept" in done.stdout


def test_nothing_is_written_while_a_row_is_at_fault(tmp_path: Path) -> None:
    assert imported(annex(tmp_path, ALBUMIN, UNKNOWN), "--out", tmp_path / "new").exit_code == 1
    assert not (tmp_path / "new").exists()


def test_a_steward_s_own_decision_gives_the_concept(tmp_path: Path) -> None:
    (tmp_path / "concepts.csv").write_text(CONCEPTS, encoding="utf-8")
    done = imported(annex(tmp_path, UNKNOWN), "--dry-run", "--json", "--concepts", tmp_path / "concepts.csv")
    (finding,) = json.loads(done.stdout)["findings"]
    assert (finding["column"], finding["message"].split(";")[0]) == ("G4", "'长期' is no number of days")


def test_a_name_that_leaves_its_scale_unsaid_has_no_concept(tmp_path: Path) -> None:
    unsaid = ("蛋白", 1, "肌酸激酶同工酶", None, None, None, 30, None, None)
    done = imported(annex(tmp_path, unsaid), "--dry-run")
    assert done.exit_code == 1
    assert "'肌酸激酶同工酶' has no concept" in done.stdout


def test_a_bracket_that_makes_another_analyte_is_not_dropped_from_its_name(tmp_path: Path) -> None:
    dimer = ("凝血", 1, "D-二聚体（FEU）", None, None, None, 30, None, None)
    done = imported(annex(tmp_path, dimer), "--dry-run")
    assert "DD|P|QN|-" not in done.stdout


def test_an_edition_that_contradicts_the_others_is_refused(tmp_path: Path) -> None:
    other = (*ALBUMIN[:3], "ANOTHER-CODE", *ALBUMIN[4:])
    done = imported(annex(tmp_path, other), "--dry-run")
    assert done.exit_code == 1
    assert "1100104A" in done.stdout


def test_an_existing_folder_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    done = imported(annex(tmp_path, ALBUMIN), "--out", tmp_path / "kept")
    assert done.exit_code != 0
    assert not list((tmp_path / "kept").iterdir())


@pytest.mark.parametrize("words", [(), ("--dry-run", "--out", "new")])
def test_either_a_folder_or_a_dry_run_is_asked_for(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert "--dry-run" in str(imported(annex(tmp_path, ALBUMIN), *words).exception)


def test_a_mapping_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text("skip = 1", encoding="utf-8")
    done = imported(annex(tmp_path, ALBUMIN), "--dry-run", mapping=tmp_path / "m.toml")
    assert "m.toml" in str(done.exception)
