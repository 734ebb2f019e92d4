"""The tables are whole: every row has a source, every value is one of the notation or is known to be none."""

from __future__ import annotations

import csv
from importlib import resources

import pytest

from mapping.tables import expand, tables

DATA = resources.files("mapping") / "data"
FILES = sorted(entry.name for entry in DATA.iterdir() if entry.name.endswith(".csv"))


@pytest.mark.parametrize("file", FILES)
def test_every_row_names_its_source(file: str) -> None:
    with (DATA / file).open(encoding="utf-8") as opened:
        assert all(row["source"] and None not in row for row in csv.DictReader(opened))


def test_a_pattern_stands_for_all_its_choices() -> None:
    assert set(expand("{a|b{1|2}|}c")) == {"ac", "b1c", "b2c", "c"}


def test_every_analyte_and_part_of_the_notation_has_words() -> None:
    known = tables()
    counted = {code + sign for code, a in known.analytes.items() for sign in a.shares}
    elsewhere = {code for a in known.analytes.values() for code in a.elsewhere.values()}
    analytes = known.vocabulary["analyte"] - known.analytes.keys() - counted - elsewhere
    parts = known.vocabulary["body_part"] - known.parts.keys() - {p.in_dr for p in known.parts.values()}
    panels = known.vocabulary["panel"] - known.panels.keys()
    assert analytes | parts | panels == {"TBIL.U"}


def test_the_tables_have_a_version() -> None:
    assert tables().version.startswith("names-")
