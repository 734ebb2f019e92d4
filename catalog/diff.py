"""What differs between two catalogues, in words that a steward understands.

The tables are compared row by row (a row is named by its key) and column by column, so that nothing that
differs can be left out; the order of rows means nothing. Each change says whether it *loosens* (something
may be recognised, or viewed, that was not; also where the tables alone cannot tell, such as another
condition of a rule), *tightens*, or neither (``other``: words and sources). First stands what gives a code,
a value or a rule another meaning, then what loosens, then what tightens, then the rest. Equal changes of
many rows are one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from msgspec import Struct

from catalog._diff_effects import Direction, field_effect, row_effect
from catalog._diff_words import NOUNS, Words, change_words, title, told_words
from catalog.model import Catalogue

__all__ = ["Change", "diff"]

Kind = Literal["added", "removed", "changed"]


class Change(Struct, frozen=True, kw_only=True):
    """One change. ``field`` is the column that changed, empty for a row that came or went.

    ``key`` names the row (the first of several), ``keys`` all the rows that changed in this way, in order.
    """

    kind: Kind
    table: str
    field: str
    key: str
    keys: tuple[str, ...]
    zh: str
    en: str
    effect: Direction


class _Table(Struct, frozen=True):
    """A table: its rows, the columns that name a row, those that are told of a row that came or went, and
    those that changes must share (beside the change itself) to be told as one."""

    name: str
    rows: Callable[[Catalogue], Iterable[Any]]
    key: tuple[str, ...]
    told: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()


_TABLES = (
    _Table("editions", lambda c: c.editions, ("id",), ("version", "scope", "effective_from")),
    _Table("lists", lambda c: c.lists.values(), ("id",), ("region", "edition")),
    _Table("items", lambda c: c.items.values(), ("code",), ("lists",)),
    _Table(
        "windows",
        lambda c: c.windows,
        ("list", "target", "setting", "institution"),
        ("days", "clock", "base", "boundary", "view_days"),
        ("list", "setting", "institution", "is_default"),
    ),
    _Table("rules", lambda c: c.rules.values(), ("id",), ("effect", "when", "items", "region", "zh", "en")),
    _Table("stand_ins", lambda c: c.stand_ins, ("ordered", "prior")),
    _Table("panels", lambda c: c.panels.values(), ("code",), ("members",)),
    _Table(
        "qualifications",
        lambda c: c.qualifications,
        ("id",),
        ("items", "scope", "valid_from", "valid_to", "status"),
        ("institution",),
    ),
    _Table("institutions", lambda c: c.institutions.values(), ("code",), ("region", "level")),
    _Table("conversions", lambda c: c.conversions, ("item", "unit", "to_unit"), ("factor", "offset")),
    _Table("regions", lambda c: c.regions.values(), ("code",), ("parents", "marks")),
    _Table("reason_codes", lambda c: c.reason_codes.values(), ("system", "code")),
    _Table("prices", lambda c: c.prices, ("items", "region"), ("amount",)),
)
_OTHER_MEANING = {
    *(("items", "concept"), ("items", "group"), ("rules", "when"), ("institutions", "region")),
    *(("conversions", "factor"), ("conversions", "offset"), ("regions", "parents")),
}
_RANKS: dict[Direction, int] = {"loosens": 1, "tightens": 2, "other": 3}
_HINTS: dict[str, Words] = {
    "meaning": ("（含义改变，请首先核对）", " (means something else now: check this first)"),
    "loosens": ("（放宽）", " (loosens)"),
    "tightens": ("（收紧）", " (tightens)"),
    "other": ("", ""),
}
_TITLES = 3
"""How many of the rows of one change are called by their names."""


class _Single(Struct, frozen=True):
    """A change of one row, before equal ones are put together. ``order`` is its place in the whole."""

    order: tuple[int, int, tuple[str, ...], str]
    table: _Table
    kind: Kind
    field: str
    effect: Direction
    words: Words
    shared: Words
    title: Words


def diff(old: Catalogue, new: Catalogue) -> tuple[Change, ...]:
    """Every change from one catalogue to another; none if and only if their tables hold the same rows."""
    singles = sorted(
        (each for place, table in enumerate(_TABLES) for each in _compared(place, table, old, new)),
        key=lambda each: each.order,
    )
    alike: dict[tuple[object, ...], list[_Single]] = {}
    for each in singles:
        key = (each.table.name, each.kind, each.field, each.effect, each.words, each.shared)
        alike.setdefault(key, []).append(each)
    return tuple(_change(group) for group in alike.values())


def _compared(place: int, table: _Table, old: Catalogue, new: Catalogue) -> Iterator[_Single]:
    before = {tuple(getattr(row, name) for name in table.key): row for row in table.rows(old)}
    after = {tuple(getattr(row, name) for name in table.key): row for row in table.rows(new)}

    def single(kind: Kind, key: tuple[str, ...], field: str, effect: Direction, words: Words) -> _Single:
        held, row = (old, before[key]) if kind == "removed" else (new, after[key])
        rank = 0 if (table.name, field) in _OTHER_MEANING else _RANKS[effect]
        shared = told_words(held, row, table.shared, named=False)
        return _Single(
            (rank, place, key, field), table, kind, field, effect, words, shared, title(held, table.name, row)
        )

    for key, row in before.items():
        if key not in after:
            effect = row_effect(table.name, row, new, came=False)
            yield single("removed", key, "", effect, _row_words(("删除", "removed"), old, table, row))
    for key, row in after.items():
        if key not in before:
            effect = row_effect(table.name, row, old, came=True)
            yield single("added", key, "", effect, _row_words(("新增", "added"), new, table, row))
            continue
        for field in row.__struct_fields__:
            was, now = getattr(before[key], field), getattr(row, field)
            if was != now:
                effect = field_effect(table.name, field, before[key], row, old, new)
                yield single("changed", key, field, effect, change_words(old, new, field, was, now))


def _row_words(happened: Words, catalogue: Catalogue, table: _Table, row: Any) -> Words:
    zh, en = told_words(catalogue, row, table.told)
    return f"{happened[0]}{zh and f'（{zh}）'}", f"{happened[1]}{en and f' ({en})'}"


def _change(group: list[_Single]) -> Change:
    first = group[0]
    meaning = first.order[0] == 0
    hint_zh, hint_en = _HINTS["meaning" if meaning else first.effect]
    noun_zh, noun_en, nouns_en = NOUNS[first.table.name]
    of_zh, of_en = first.shared
    words_zh, words_en = first.words[0] + hint_zh, first.words[1] + hint_en
    if len(group) == 1:
        zh = " ".join(filter(None, (noun_zh, of_zh, first.title[0])))
        en = " ".join(filter(None, (noun_en, of_en, first.title[1])))
        zh, en = f"{zh}：{words_zh}", f"{en}: {words_en}"
    else:
        names_zh = "、".join(each.title[0] for each in group[:_TITLES])
        names_en = ", ".join(each.title[1] for each in group[:_TITLES])
        more_zh, more_en = ("等", ", …") if len(group) > _TITLES else ("", "")
        zh = f"{len(group)} 条{noun_zh}{of_zh and f'（{of_zh}）'}：{words_zh}：{names_zh}{more_zh}"
        en = f"{len(group)} {nouns_en}{of_en and f' of {of_en}'}: {words_en}: {names_en}{more_en}"
    keys = tuple(" ".join(filter(None, each.order[2])) for each in group)
    return Change(
        kind=first.kind,
        table=first.table.name,
        field=first.field,
        key=keys[0],
        keys=keys,
        zh=zh,
        en=en,
        effect=first.effect,
    )
