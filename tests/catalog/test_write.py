"""Writing an edition: what is read again is what was written, and what a table cannot hold is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from catalog import BUNDLED, CatalogueError, Draft, Edition, Panel, Region, StandIn, read_files, read_folder
from catalog._sheets import TABLES
from catalog.tables import CONTROL, Table
from catalog.write import rows_of, write, write_folder, write_rows

EDITION = Edition(
    id="sample",
    version="1",
    name="示例",
    owner="管理员(示例)",
    scope="CN",
    effective_from=datetime(2026, 11, 1, tzinfo=UTC),
    overlap_days=30,
    illustrative=False,
    notice_zh="",
    notice_en="",
)
REGION = Region("CN", "国家", "nation", (), ("全国",), "made up", "illustrative")

AWKWARD = [
    ",",
    '"',
    "a,b",
    '"quoted"',
    "two\nlines",
    "two\r\nlines",
    "\r",
    "ＣＴ　胸部",
    "a;b",
    ";",
    " a",
    "a　",
]
ANYTHING = st.text(max_size=6) | st.sampled_from(AWKWARD)
"""Text that a table may or may not hold."""
FAIR = ANYTHING.map(lambda text: text.strip().replace(";", ",")).filter(
    lambda text: text.strip() and not any("\ud800" <= c <= "\udfff" or CONTROL.match(c) for c in text)
)
"""Text that every table holds."""

SHANGHAI = timezone(timedelta(hours=8))
ZONES = st.sampled_from([UTC, SHANGHAI])
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2190, 1, 1), timezones=ZONES).map(  # noqa: DTZ001
    lambda time: time.replace(microsecond=0)
)


def values(hint: Any, text: st.SearchStrategy[str], *, optional: bool) -> st.SearchStrategy[Any]:
    """Values of a column of this type."""
    if hint is str:
        return text | st.just("") if optional else text
    if hint is int:
        return st.integers(0, 999_999_999)
    if hint is bool:
        return st.booleans()
    if hint is Decimal:
        return st.decimals(-(10**11), 10**11, allow_nan=False, allow_infinity=False, places=4)
    if get_origin(hint) is tuple:
        return st.lists(text, min_size=0 if optional else 1, max_size=3).map(tuple)
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if datetime in get_args(hint):
        return st.none() | TIMES
    return st.dates(date(2000, 1, 1), date(2190, 1, 1))


def rows(table: Table[Any], text: st.SearchStrategy[str]) -> st.SearchStrategy[list[Any]]:
    """Rows of a table, no two with one key."""
    fixed = {**table.fixed, **({table.edition: EDITION.id} if table.edition else {})}
    key = text.map(lambda one: " ".join(one.split()) or one)
    columns = {
        name: values(hint, key if name in table.key else text, optional=name in table.optional)
        for name, hint in table.columns().items()
    }
    made = st.fixed_dictionaries(columns).map(lambda each: table.make(**each, **fixed))
    return st.lists(made, max_size=3, unique_by=lambda row: tuple(getattr(row, name) for name in table.key))


def tables(text: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, list[Any]]]:
    """Rows by table, as an edition has them."""
    return st.lists(st.sampled_from(TABLES), max_size=3, unique_by=lambda table: table.file).flatmap(
        lambda chosen: st.fixed_dictionaries({table.file: rows(table, text) for table in chosen})
    )


def editions(text: st.SearchStrategy[str]) -> st.SearchStrategy[Edition]:
    return st.builds(
        lambda name, notice, effective_from, overlap_days, illustrative: replace(
            EDITION,
            name=name,
            notice_zh=notice,
            notice_en=notice,
            effective_from=effective_from,
            overlap_days=overlap_days,
            illustrative=illustrative,
        ),
        text,
        text,
        TIMES,
        st.integers(0, 1000),
        st.booleans(),
    )


def refused(given_rows: dict[str, list[Any]], edition: Edition = EDITION) -> tuple[str, int, str]:
    with pytest.raises(CatalogueError) as caught:
        write_rows(edition, given_rows)
    (finding,) = caught.value.findings
    return finding.file, finding.row, finding.column


@pytest.mark.slow
@settings(deadline=None)
@given(editions(FAIR), tables(FAIR))
def test_what_was_written_is_read_again(edition: Edition, given_rows: dict[str, list[Any]]) -> None:
    read = read_files(write_rows(edition, given_rows))
    assert read.edition == edition
    assert rows_of(read.sheets) == {file: listed for file, listed in given_rows.items() if listed}


@settings(deadline=None)
@given(tables(ANYTHING.map(lambda text: f"x{text}")))
def test_a_value_is_written_as_it_is_or_refused(given_rows: dict[str, list[Any]]) -> None:
    try:
        files = write_rows(EDITION, given_rows)
    except CatalogueError:
        return
    back = rows_of(read_files(files).sheets)
    assert back == {file: listed for file, listed in given_rows.items() if listed}


@pytest.mark.slow
@settings(deadline=None)
@given(tables(FAIR))
def test_writing_what_was_read_gives_the_same_bytes(given_rows: dict[str, list[Any]]) -> None:
    files = write_rows(EDITION, given_rows)
    assert write(read_files(files)) == files


@pytest.fixture(scope="module")
def bundled() -> list[Draft]:
    return read_folder(BUNDLED)


def test_the_bundled_editions_survive_being_written(bundled: list[Draft]) -> None:
    for draft in bundled:
        read = read_files(write(draft))
        assert (read.edition, rows_of(read.sheets)) == (draft.edition, rows_of(draft.sheets))


def test_a_draft_in_the_written_form_is_equal_after_a_round_trip(bundled: list[Draft]) -> None:
    drafts = [read_files(write(draft)) for draft in bundled]
    assert [read_files(write(draft)) for draft in drafts] == drafts


def test_a_table_without_rows_is_no_file() -> None:
    assert list(write_rows(EDITION, {"panels.csv": []})) == ["catalogue.toml"]


def test_a_separator_within_one_of_several_values_is_refused() -> None:
    panel = Panel("P", "组合", ("a;b",), ("X",), "s", "c")
    assert refused({"panels.csv": [panel]}) == ("panels.csv", 2, "aliases")


def test_a_blank_at_the_end_of_a_value_is_refused() -> None:
    named = [REGION, replace(REGION, code="X", name="国家 ", marks=())]
    assert refused({"regions.csv": named}) == ("regions.csv", 3, "name")


def test_a_value_that_must_not_be_empty_is_refused() -> None:
    assert refused({"regions.csv": [replace(REGION, source="")]}) == ("regions.csv", 2, "source")


def test_a_row_without_any_text_is_refused() -> None:
    blank = StandIn("", "", "", "", "", "", "")
    assert refused({"stand_ins.csv": [blank]}) == ("stand_ins.csv", 0, "")


def test_two_rows_of_one_key_are_refused() -> None:
    assert refused({"regions.csv": [REGION, REGION]}) == ("regions.csv", 3, "code")


def test_a_lone_surrogate_is_refused() -> None:
    assert refused({"regions.csv": [replace(REGION, name="\ud800")]})[0] == "sample"


def test_a_row_of_another_edition_is_refused(bundled: list[Draft]) -> None:
    (listed,) = rows_of(next(d for d in bundled if d.edition.id == "cy-lab").sheets)["lists.csv"]
    assert refused({"lists.csv": [listed]}) == ("lists.csv", 2, "edition")


def test_an_item_in_the_table_of_the_other_kind_is_refused(bundled: list[Draft]) -> None:
    items = rows_of(next(d for d in bundled if d.edition.id == "cy-lab").sheets)["items_lab.csv"]
    assert refused({"items_imaging.csv": items[:1]}) == ("items_imaging.csv", 2, "kind")


def test_a_table_that_no_edition_has_is_refused() -> None:
    assert refused({"hierarchy.csv": []}) == ("hierarchy.csv", 0, "")


def test_a_head_without_a_name_is_refused() -> None:
    assert refused({}, replace(EDITION, name="")) == ("catalogue.toml", 0, "name")


def test_a_head_without_a_time_zone_is_refused() -> None:
    without = replace(EDITION, effective_from=datetime.combine(date(2026, 11, 1), datetime.min.time()))
    assert refused({}, without) == ("catalogue.toml", 0, "effective_from")


def test_a_folder_is_written_and_read_again(tmp_path: Path, bundled: list[Draft]) -> None:
    for draft in bundled:
        write_folder(write(draft), tmp_path / "new" / draft.edition.id)
    assert [draft.edition for draft in read_folder(tmp_path / "new")] == [draft.edition for draft in bundled]


def test_an_existing_folder_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    with pytest.raises(CatalogueError, match="exists already"):
        write_folder(write_rows(EDITION, {}), tmp_path / "kept")
    assert not list((tmp_path / "kept").iterdir())


def test_a_folder_that_cannot_be_made_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CatalogueError, match="cannot be written"):
        write_folder(write_rows(EDITION, {}), tmp_path / "file" / "folder")
