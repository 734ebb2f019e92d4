"""The difference of two catalogues in words: nothing is left out, what loosens is said first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from catalog import Boundary, Catalogue, Clock, Price, Qualification, Rule, StandIn, Window, load
from catalog._diff_effects import field_effect
from catalog._diff_words import COLUMNS, NOUNS
from catalog.diff import _TABLES, Change, diff

ATTRIBUTES = tuple(table.name for table in _TABLES)


@cache
def bundled() -> Catalogue:
    """The bundled catalogue with a price and a window of a hospital's own, so that no table is empty."""
    catalogue = load()
    price = Price("*", "CN", Decimal("10.5"), "made up", "illustrative")
    return replace(catalogue, prices=(*catalogue.prices, price))


def rows(catalogue: Catalogue, table: str) -> list[Any]:
    held = getattr(catalogue, table)
    return list(held.values() if isinstance(held, dict) else held)


def with_rows(catalogue: Catalogue, table: str, changed: list[Any]) -> Catalogue:
    """The catalogue with these rows in place of all of a table."""
    spec = next(each for each in _TABLES if each.name == table)
    if not isinstance(getattr(catalogue, table), dict):
        return replace(catalogue, **{table: tuple(changed)})
    keys = [tuple(getattr(row, name) for name in spec.key) for row in changed]
    flat = [key[0] if len(key) == 1 else key for key in keys]
    return replace(catalogue, **{table: dict(zip(flat, changed, strict=True))})


def edited(table: str, chosen: Callable[[Any], bool], **changes: Any) -> Catalogue:
    """The bundled catalogue with changed columns in the rows that are chosen."""
    changed = [replace(row, **changes) if chosen(row) else row for row in rows(bundled(), table)]
    return with_rows(bundled(), table, changed)


def without(table: str, chosen: Callable[[Any], bool]) -> Catalogue:
    return with_rows(bundled(), table, [row for row in rows(bundled(), table) if not chosen(row)])


def beside(table: str, row: Any) -> Catalogue:
    return with_rows(bundled(), table, [*rows(bundled(), table), row])


def the_change(new: Catalogue, old: Catalogue | None = None) -> Change:
    (change,) = diff(old or bundled(), new)
    return change


def is_item(code: str) -> Callable[[Any], bool]:
    return lambda row: row.code == code


def is_id(name: str) -> Callable[[Any], bool]:
    return lambda row: row.id == name


# complete


def another(value: Any, hint: Any) -> Any:
    """A value of the same type that differs."""
    if get_origin(hint) is Literal:
        return next(each for each in get_args(hint) if each != value)
    match value:
        case bool():
            return not value
        case str():
            return value + "x"
        case int() | Decimal():
            return value + 1
        case tuple():
            return (*value, "x")
        case datetime() | date():
            return value + timedelta(days=1)
    return datetime(2026, 1, 1, tzinfo=UTC)


def cells() -> st.SearchStrategy[tuple[str, int, str]]:
    """A table, the number of a row, and a column that is no part of its key."""

    def of(table: str) -> st.SearchStrategy[tuple[str, int, str]]:
        spec = next(each for each in _TABLES if each.name == table)
        held = rows(bundled(), table)
        columns = [name for name in held[0].__struct_fields__ if name not in spec.key]
        return st.tuples(st.just(table), st.integers(0, len(held) - 1), st.sampled_from(columns))

    return st.sampled_from(ATTRIBUTES).flatmap(of)


def test_every_table_of_a_catalogue_is_compared() -> None:
    assert set(ATTRIBUTES) == set(Catalogue.__struct_fields__)


def test_every_table_has_rows_to_be_compared_here() -> None:
    assert all(rows(bundled(), table) for table in ATTRIBUTES)


def test_every_column_that_can_change_has_words() -> None:
    columns = {
        name
        for table in _TABLES
        for name in rows(bundled(), table.name)[0].__struct_fields__
        if name not in table.key
    }
    assert columns <= COLUMNS.keys()
    assert NOUNS.keys() == set(ATTRIBUTES)


def test_equal_catalogues_do_not_differ() -> None:
    assert diff(bundled(), load()) != ()
    assert diff(load(), load()) == ()


@settings(deadline=None)
@given(st.data(), st.sampled_from(ATTRIBUTES))
def test_the_order_of_rows_means_nothing(data: st.DataObject, table: str) -> None:
    shuffled = data.draw(st.permutations(rows(bundled(), table)))
    assert diff(bundled(), with_rows(bundled(), table, shuffled)) == ()


@settings(deadline=None)
@given(st.lists(cells(), min_size=1, max_size=6, unique=True))
def test_every_changed_column_is_mentioned_and_nothing_else(chosen: list[tuple[str, int, str]]) -> None:
    new = bundled()
    expected = set()
    for table, number, column in chosen:
        spec = next(each for each in _TABLES if each.name == table)
        held = rows(new, table)
        row = held[number]
        held[number] = replace(
            row, **{column: another(getattr(row, column), get_type_hints(type(row))[column])}
        )
        new = with_rows(new, table, held)
        expected.add((table, " ".join(filter(None, (getattr(row, name) for name in spec.key))), column))
    changes = diff(bundled(), new)
    assert {(change.table, key, change.field) for change in changes for key in change.keys} == expected
    assert all(COLUMNS[change.field][0] in change.zh for change in changes)
    assert all(COLUMNS[change.field][1] in change.en for change in changes)


@settings(deadline=None)
@given(st.sampled_from(ATTRIBUTES), st.data())
def test_every_row_that_comes_or_goes_is_mentioned(table: str, data: st.DataObject) -> None:
    held = rows(bundled(), table)
    gone = data.draw(st.sets(st.integers(0, len(held) - 1), min_size=1, max_size=5))
    fewer = with_rows(bundled(), table, [row for place, row in enumerate(held) if place not in gone])
    removed, added = diff(bundled(), fewer), diff(fewer, bundled())
    assert (
        sum(len(change.keys) for change in removed) == sum(len(change.keys) for change in added) == len(gone)
    )
    assert {change.kind for change in removed} == {"removed"}
    assert {change.kind for change in added} == {"added"}


@settings(deadline=None)
@given(st.sampled_from(ATTRIBUTES), st.data())
def test_what_loosens_one_way_tightens_the_other(table: str, data: st.DataObject) -> None:
    held = rows(bundled(), table)
    gone = data.draw(st.integers(0, len(held) - 1))
    fewer = with_rows(bundled(), table, held[:gone] + held[gone + 1 :])
    (there,), (back,) = diff(bundled(), fewer), diff(fewer, bundled())
    opposite = {"loosens": "tightens", "tightens": "loosens", "other": "other"}
    assert back.effect == opposite[there.effect]


# in words


def test_a_window_that_is_shortened_for_many_items_is_one_change() -> None:
    def chosen(row: Window) -> bool:
        return row.list == "cy-lab" and row.days == 30 and not row.is_default

    change = the_change(edited("windows", chosen, days=14))
    count = sum(map(chosen, bundled().windows))
    assert change.effect == "tightens"
    assert len(change.keys) == count
    assert change.zh.startswith(f"{count} 条互认时限（cy-lab）：天数 30 → 14（收紧）：")
    assert change.en.startswith(f"{count} windows of cy-lab: days 30 → 14 (tightens): ")


def test_a_bulk_change_names_three_rows_and_keeps_the_codes_of_all() -> None:
    change = the_change(edited("items", lambda row: row.group == "ct", group="tomography"))
    assert change.en.count("(CT-") == 3
    assert change.keys[:2] == ("CT-001", "CT-002")


def test_another_concept_is_said_first_and_as_a_danger() -> None:
    new = edited("items", is_item("CT-013"), concept="CT|胸部|-|contrast|-", name="CT 胸部")
    new = with_rows(new, "lists", [replace(row, name=row.name + "x") for row in new.lists.values()])
    new = with_rows(new, "stand_ins", [])
    first = diff(bundled(), new)[0]
    assert (first.field, first.key) == ("concept", "CT-013")
    assert "含义改变，请首先核对" in first.zh
    assert "check this first" in first.en


def test_loosening_stands_before_tightening_before_the_rest() -> None:
    new = edited("items", is_item("CT-013"), source="another")
    new = with_rows(new, "stand_ins", rows(new, "stand_ins")[1:])
    new = with_rows(new, "rules", [row for row in rows(new, "rules") if row.id != "N1"])
    assert [change.effect for change in diff(bundled(), new)] == ["loosens", "tightens", "other"]


def test_names_that_come_and_go_are_told_apart() -> None:
    aliases = bundled().item("CT-013").aliases
    change = the_change(edited("items", is_item("CT-013"), aliases=(*aliases[1:], "新名")))
    assert f"别名 增加 新名；去掉 {aliases[0]}" in change.zh
    assert f"aliases added 新名; removed {aliases[0]}" in change.en


def test_another_order_of_names_is_a_change() -> None:
    aliases = bundled().item("CT-013").aliases
    change = the_change(edited("items", is_item("CT-013"), aliases=aliases[::-1]))
    assert "顺序改为" in change.zh


def test_regions_and_institutions_are_called_by_name() -> None:
    record = bundled().qualifications[0]
    change = the_change(edited("qualifications", is_id(record.id), scope="CN"))
    assert bundled().institution(record.institution).name in change.zh
    assert "国家(CN)" in change.zh


# what loosens and what tightens


def negative(**changes: Any) -> Rule:
    return replace(bundled().rule("N1"), **{"id": "N99", **changes})


@pytest.mark.parametrize(
    ("table", "row_id", "changes", "effect"),
    [
        ("rules", "N1", {"effect": "not_recognised"}, "tightens"),
        ("rules", "N1", {"effect": "note"}, "loosens"),
        ("rules", "N1", {"zh": "另一说明"}, "other"),
        ("rules", "N1", {"when": "condition_changed && abnormal"}, "loosens"),
        ("rules", "N1", {"items": "kind:lab"}, "loosens"),
        ("rules", "N2", {"items": "group:ct"}, "loosens"),
        ("rules", "N2", {"items": "kind:lab"}, "tightens"),
        ("rules", "N1", {"region": "500000"}, "loosens"),
        ("rules", "N1", {"institution": "EX-CQ-01"}, "loosens"),
        ("rules", "L1", {"region": "CN"}, "tightens"),
        ("rules", "L1", {"region": "330000"}, "loosens"),
        ("rules", "R7.1", {"effect": "view_only"}, "loosens"),
        ("qualifications", "Q-CQ-01-01", {"scope": "CN"}, "loosens"),
        ("qualifications", "Q-CQ-01-01", {"scope": "500000"}, "tightens"),
        ("qualifications", "Q-CQ-01-01", {"valid_to": date(2026, 1, 1)}, "tightens"),
        ("qualifications", "Q-CQ-01-01", {"valid_from": date(2020, 1, 1)}, "loosens"),
        ("qualifications", "Q-CQ-01-01", {"status": "suspended"}, "tightens"),
        ("qualifications", "Q-HB-01-03", {"status": "active"}, "loosens"),
        ("qualifications", "Q-HB-01-03", {"status": "withdrawn"}, "other"),
        ("qualifications", "Q-CQ-01-01", {"items": "kind:imaging kind:lab"}, "loosens"),
        ("qualifications", "Q-CQ-01-01", {"items": "group:ct"}, "tightens"),
        ("qualifications", "Q-CQ-01-01", {"items": "kind:lab"}, "loosens"),
        ("qualifications", "Q-CQ-01-01", {"scope": "LAB8"}, "loosens"),
        ("qualifications", "Q-CQ-01-01", {"institution": "EX-CQ-02"}, "loosens"),
        ("lists", "cy-lab", {"region": "LAB8"}, "loosens"),
        ("lists", "cy-lab", {"region": "CN"}, "loosens"),
        ("lists", "cy-lab", {"region": "500000"}, "tightens"),
        ("editions", "national", {"version": "2"}, "other"),
    ],
)
def test_a_changed_column_loosens_or_tightens(
    table: str, row_id: str, changes: dict[str, Any], effect: str
) -> None:
    assert the_change(edited(table, is_id(row_id), **changes)).effect == effect


@pytest.mark.parametrize(
    ("changes", "effect"),
    [
        ({"days": 31}, "loosens"),
        ({"days": 29}, "tightens"),
        ({"clock": "elapsed_24h"}, "tightens"),
        ({"base": "performed"}, "tightens"),
        ({"boundary": "excluding"}, "tightens"),
        ({"boundary": "excluding", "clock": "elapsed_24h"}, "tightens"),
        ({"view_days": 90}, "loosens"),
        ({"source": "another"}, "other"),
    ],
)
def test_a_changed_window_loosens_or_tightens(changes: dict[str, Any], effect: str) -> None:
    assert {change.effect for change in diff(bundled(), edited("windows", is_default, **changes))} == {effect}


def is_default(row: Window) -> bool:
    return (row.list, row.target, row.setting, row.institution) == ("cy-lab", "*", "*", "")


@pytest.mark.parametrize(
    ("changes", "effect"),
    [
        ({"days": 14}, "tightens"),
        ({"days": 60}, "loosens"),
        ({"days": 30}, "other"),
        ({"days": 60, "boundary": "excluding"}, "loosens"),
        ({"days": 60, "institution": "EX-CQ-01"}, "tightens"),
    ],
)
def test_a_window_that_is_added_is_judged_by_what_applied_before(
    changes: dict[str, Any], effect: str
) -> None:
    default = next(filter(is_default, bundled().windows))
    added = replace(default, setting="emergency", is_default=False, **changes)
    assert the_change(beside("windows", added)).effect == effect


def test_the_first_window_of_a_list_loosens() -> None:
    assert (
        the_change(bundled(), without("windows", lambda w: w.list == "cy-imaging-endemic")).effect
        == "loosens"
    )


@pytest.mark.parametrize(
    ("table", "row", "effect"),
    [
        ("rules", negative(), "tightens"),
        ("rules", negative(effect="note"), "other"),
        ("stand_ins", StandIn("CT-001", "CT-002", "字", "words", "owner", "made up", "derived"), "loosens"),
        ("prices", Price("kind:lab", "CN", Decimal(1), "made up", "illustrative"), "other"),
    ],
)
def test_a_row_that_comes_loosens_or_tightens(table: str, row: Any, effect: str) -> None:
    assert the_change(beside(table, row)).effect == effect


def test_a_qualification_granted_loosens_and_one_granted_as_suspended_does_not() -> None:
    record: Qualification = replace(bundled().qualifications[0], id="Q-NEW")
    assert the_change(beside("qualifications", record)).effect == "loosens"
    assert the_change(beside("qualifications", replace(record, status="suspended"))).effect == "other"
    later = replace(record, status="suspended", status_from=datetime(2026, 3, 1, tzinfo=UTC))
    assert the_change(beside("qualifications", later)).effect == "loosens"


def test_another_factor_is_said_first() -> None:
    first = bundled().conversions[0]
    new = edited("conversions", lambda row: row == first, factor=first.factor + 1)
    assert "check this first" in the_change(new).en


@pytest.mark.parametrize(
    ("table", "code", "changes", "effect"),
    [
        ("institutions", "EX-CQ-01", {"region": "420100"}, "loosens"),
        ("institutions", "EX-CQ-01", {"level": "三级乙等"}, "loosens"),
        ("institutions", "EX-CQ-01", {"gateway": "sc"}, "loosens"),
        ("regions", "420000", {"parents": ("CN", "CHUANYU")}, "loosens"),
        ("regions", "420000", {"parents": ("CN",)}, "loosens"),
        ("regions", "CHUANYU", {"marks": ()}, "tightens"),
        ("regions", "CHUANYU", {"marks": ("成渝",)}, "loosens"),
        ("items", "CT-013", {"group": "dr"}, "loosens"),
        ("items", "CT-013", {"name": "CT 胸部增强扫描"}, "loosens"),
        ("items", "1100104A", {"units": ()}, "loosens"),
        ("panels", "LFT", {"members": ("1100204A",)}, "loosens"),
    ],
)
def test_what_a_code_stands_for_is_not_changed_in_silence(
    table: str, code: str, changes: dict[str, Any], effect: str
) -> None:
    assert the_change(edited(table, is_item(code), **changes)).effect == effect


def test_a_mark_that_comes_to_mean_another_area_is_said_to_loosen() -> None:
    new = edited("regions", is_item("CHUANYU"), marks=())
    new = with_rows(
        new, "regions", [replace(r, marks=("川渝",)) if r.code == "CN" else r for r in rows(new, "regions")]
    )
    assert [change.effect for change in diff(bundled(), new)] == ["loosens", "tightens"]


def test_a_condition_that_became_another_is_said_first() -> None:
    change = the_change(edited("rules", is_id("N1"), when="condition_changed && abnormal"))
    assert "含义改变，请首先核对" in change.zh


WINDOWS = st.builds(
    Window,
    list=st.just("cy-lab"),
    target=st.just("*"),
    days=st.integers(1, 4),
    clock=st.sampled_from(get_args(Clock)),
    base=st.just("report"),
    boundary=st.sampled_from(get_args(Boundary)),
    setting=st.just("*"),
    institution=st.just(""),
    view_days=st.just(0),
    is_default=st.just(True),
    source=st.just("made up"),
    certainty=st.just("illustrative"),
)


@settings(deadline=None)
@given(WINDOWS, st.sampled_from(["days", "clock", "boundary"]), WINDOWS, st.times())
def test_a_change_of_a_window_never_loosens_without_saying_so(
    old: Window, field: str, other: Window, at: time
) -> None:
    new = replace(old, **{field: getattr(other, field)})
    base = datetime.combine(date(2026, 3, 1), at, timezone(timedelta(hours=8)))
    if last(new, base) > last(old, base):
        assert field_effect("windows", field, old, new, bundled(), bundled()) == "loosens"


def last(window: Window, base: datetime) -> datetime:
    """The last moment of a window, by the words of its two clocks."""
    whole = window.boundary == "including"
    if window.clock == "elapsed_24h":
        return base + timedelta(days=window.days) - timedelta(microseconds=0 if whole else 1)
    day = base.date() + timedelta(days=window.days - (not whole))
    return datetime.combine(day, time.max, base.tzinfo)
