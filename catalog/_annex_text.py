"""How the texts of an annex are taken apart: headings, forms of characters, marks, notes and short names."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import msgspec

from catalog._annex_mapping import AnnexMapping, ItemRule, Role
from catalog._grids import Grid, column_letters, column_number, refuse

_FOLD = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: " "}
_BRACKETED_MARK = re.compile(r"[\[(【〔「]\s*([一-鿿]{0,12}\s*HR)\s*[\])】〕」]", re.IGNORECASE)
_BARE_MARK = re.compile(r"^([一-鿿]{1,12}HR)[\s:\-]+")
_STARS = re.compile(r"^[★☆*]+|[★☆*]+$")
_LAST_BRACKET = re.compile(r"[(〔\[]([^()〔〕\[\]]*)[)〕\]]$")
_ABBREVIATION = re.compile(r"[A-Za-z0-9αβγ\-+/. ]{1,20}")


def stripped(name: str) -> tuple[str, str]:
    """A printed name without its recognition marks, and the marks: 【全国HR】★白蛋白 → 白蛋白, 全国HR★."""
    marks: list[str] = []

    def take(found: re.Match[str]) -> str:
        marks.append("".join(found[found.lastindex or 0].split()))
        return ""

    for pattern in (_BRACKETED_MARK, _BARE_MARK, _STARS):
        name = pattern.sub(take, name).strip()
    return name, "".join(marks)


def found_columns(grid: Grid, heading: list[list[str]], mapping: AnnexMapping) -> dict[Role, int]:
    """The column of each role that the mapping names, by its heading or its letter.

    Raises:
        CatalogueError: a heading is missing, or two columns have it.
    """
    told = _heads(heading, merges_known=grid.merges is not None)
    last = mapping.sheet.heading[-1]
    found: dict[Role, int] = {}
    roles: dict[Any, str] = msgspec.structs.asdict(mapping.columns)
    for role, wanted in roles.items():
        if not wanted:
            continue
        at = [column for column, head in enumerate(told, start=1) if head == _unspaced(wanted)]
        if len(at) > 1:
            letters = ", ".join(map(column_letters, at))
            message = f"has the heading {wanted!r} in the columns {letters}; name {role} by its letter"
            refuse(grid.place, message, last)
        if not at and re.fullmatch("[A-Z]{1,2}", wanted) and column_number(wanted) <= len(told):
            at = [column_number(wanted)]
        if not at:
            listed = (f"{column_letters(n)} {head}" for n, head in enumerate(told, start=1) if head)
            message = f"has no column {wanted!r} for {role}; the headings are: {', '.join(listed)}"
            refuse(grid.place, message, last)
        found[role] = at[0]
    return found


def _heads(rows: list[list[str]], *, merges_known: bool) -> list[str]:
    """The heading of every column: the texts of its rows, a repeated one once, joined by ``/``.

    A CSV does not say what was merged: there, an empty cell above a filled one repeats the cell on its left.
    """
    width = max((len(row) for row in rows), default=0)
    padded = [[_unspaced(text) for text in row] + [""] * (width - len(row)) for row in rows]
    if not merges_known:
        for upper, lower in pairwise(padded):
            for at in range(1, width):
                if not upper[at] and lower[at]:
                    upper[at] = upper[at - 1]
    return ["/".join(dict.fromkeys(filter(None, column))) for column in zip(*padded, strict=True)]


def folded(text: str) -> str:
    """Full-width letters, digits and signs as half-width ones, blanks as one; ¹⁰ and ℃ stay what they are."""
    return " ".join(text.translate(_FOLD).split())


def _unspaced(text: str) -> str:
    return "".join(folded(text).split())


def split(text: str, separators: str) -> list[str]:
    """The parts of a text, at any of these characters."""
    return text.translate({ord(separator): "\n" for separator in separators}).split("\n")


def without_brackets(name: str, rule: ItemRule) -> tuple[str, str, list[str]]:
    """A name without the notes and short names that end it in brackets; any other bracket is its own."""
    notes: list[str] = []
    shorts: list[str] = []
    while found := _LAST_BRACKET.search(name):
        inner = found[1].strip()
        if inner.startswith(rule.notes):
            notes.insert(0, inner)
        elif rule.short_names and _ABBREVIATION.fullmatch(inner):
            shorts.insert(0, inner)
        else:
            break
        name = name[: found.start()].strip()
    return name, " ".join(notes), shorts
