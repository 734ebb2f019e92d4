"""The commands about editions that publish nothing: validate, show, diff, export."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from catalog import BUNDLED, load, read_folder
from tests.gateway.publishing import edition, lianren


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A copy of the bundled editions."""
    return shutil.copytree(BUNDLED, tmp_path / "mine")


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_the_bundled_editions_have_no_faults() -> None:
    assert lianren("catalog", "validate").status == 0


def test_a_single_edition_is_validated_beside_the_others(mine: Path) -> None:
    assert lianren("catalog", "validate", mine / "cy-lab", "--catalogue", mine).status == 0


def test_every_fault_is_named_with_its_place(mine: Path) -> None:
    change(mine / "cy-lab/lists.csv", ",CHUANYU,", ",NOWHERE,")
    done = lianren("catalog", "validate", mine / "cy-lab")
    assert (done.status, "lists.csv:2 region: 'NOWHERE'" in done.out) == (1, True)


def test_faults_are_told_to_machines(mine: Path) -> None:
    change(mine / "cy-lab/lists.csv", ",CHUANYU,", ",NOWHERE,")
    done = lianren("catalog", "validate", mine, "--json")
    assert done.status == 1
    assert {"file", "row", "column", "message"} == set(json.loads(done.out)[0])


def test_a_folder_that_is_none_is_one_line(tmp_path: Path) -> None:
    done = lianren("catalog", "show", tmp_path / "nowhere")
    assert (done.status, "is no folder" in done.out) == (2, True)


def test_every_edition_is_shown_with_owner_and_lists() -> None:
    done = lianren("catalog", "show")
    catalogue = load()
    for held in catalogue.editions:
        assert f"{held.id}@{held.version}  {held.name}  ({held.owner})" in done.out
    for entry in catalogue.lists.values():
        assert entry.name in done.out


def test_the_editions_are_told_to_machines() -> None:
    told = json.loads(lianren("catalog", "show", "--json").out)
    assert [one["id"] for one in told["editions"]] == [one.id for one in load().editions]


def test_an_item_is_shown_by_its_name(mine: Path) -> None:
    done = lianren("catalog", "show", mine, "--item", "白蛋白")
    assert "1100104A" in done.out.splitlines()[0]


def test_an_item_that_is_not_there_is_status_1() -> None:
    assert lianren("catalog", "show", "--item", "不明项目").status == 1


def test_equal_catalogues_do_not_differ(mine: Path) -> None:
    done = lianren("catalog", "diff", mine, BUNDLED)
    assert (done.status, done.out[:4]) == (0, "0 处不")


def test_what_differs_is_said_in_both_languages_with_its_effect(mine: Path) -> None:
    change(mine / "cy-lab/windows.csv", "cy-lab,1100104A,30,", "cy-lab,1100104A,14,")
    done = lianren("catalog", "diff", BUNDLED, mine / "cy-lab")
    assert done.status == 1
    assert "收紧 tightens" in done.out
    assert "天数 30 → 14" in done.out
    assert "days 30 → 14" in done.out


def test_what_differs_is_told_to_machines(mine: Path) -> None:
    change(mine / "cy-lab/windows.csv", "cy-lab,1100104A,30,", "cy-lab,1100104A,14,")
    (told,) = json.loads(lianren("catalog", "diff", BUNDLED, mine, "--json").out)
    assert (told["table"], told["effect"]) == ("windows", "tightens")


@pytest.mark.parametrize("form", ["csv", "fhir"])
def test_what_is_exported_says_the_same(form: str, tmp_path: Path) -> None:
    done = lianren("catalog", "export", BUNDLED, "--format", form, "--out", tmp_path / "out")
    assert done.status == 0, done.out
    for draft in read_folder(BUNDLED):
        held = draft.edition
        name = held.id if form == "csv" else f"{held.id}@{held.version}.json"
        again = lianren("catalog", "diff", BUNDLED, tmp_path / "out" / name)
        assert (again.status, name) == (0, name)


def test_a_folder_that_exists_is_not_written_into(tmp_path: Path) -> None:
    folder = edition(tmp_path, "1", datetime.now(UTC))
    (tmp_path / "out/ex-lab").mkdir(parents=True)
    done = lianren("catalog", "export", folder, "--out", tmp_path / "out")
    assert (done.status, "exists already" in done.out) == (2, True)


def test_either_a_folder_or_what_was_published_is_exported(tmp_path: Path) -> None:
    done = lianren("catalog", "export", BUNDLED, "--version", "1", "--out", tmp_path / "out")
    assert (done.status, "either a folder or" in done.out) == (2, True)


def test_a_file_that_is_no_bundle_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text("{", encoding="utf-8")
    done = lianren("catalog", "show", tmp_path / "bundle.json")
    assert (done.status, "is no JSON" in done.out) == (2, True)
