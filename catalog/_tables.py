"""Reads one table of a catalogue folder: a CSV with a heading row, its cells turned into typed values.

The columns of a table are the fields of the struct it becomes, so the model is the only place where they are
written down. Every fault becomes a :class:`Finding` and reading goes on, because a steward who mends a table
wants the whole list at once. Rows are counted as a spreadsheet shows them: the heading is row 1, a blank row
counts, a line break inside a cell does not.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

from msgspec import Struct

from catalog.errors import Finding

T = TypeVar("T")

YES_NO = {"yes": True, "no": False}


class Table(Struct, Generic[T], frozen=True):
    """One file: what a row becomes, the columns that name it, those that may be empty, and fixed fields.

    ``fixed`` are fields that the file as a whole decides and that are therefore no columns of it.
    """

    file: str
    make: Callable[..., T]
    key: tuple[str, ...]
    optional: tuple[str, ...] = ()
    fixed: dict[str, Any] = {}

    def columns(self) -> dict[str, Any]:
        """Column name → the type its cells are turned into."""
        return {name: hint for name, hint in get_type_hints(self.make).items() if name not in self.fixed}


class Row(Struct, Generic[T], frozen=True):
    """A row that could be read, with its number in the spreadsheet."""

    number: int
    value: T


class Sheet(Struct, Generic[T], frozen=True):
    """A table as read. ``keys`` also holds the keys of rows that are wrong elsewhere, so that one slip is
    not reported again at every reference to it; it is None where the file could not be read at all."""

    table: Table[T]
    rows: tuple[Row[T], ...] = ()
    keys: frozenset[tuple[str, ...]] | None = None

    def has(self, *key: str) -> bool:
        """Whether a row of this key exists, or may exist because the file is unreadable."""
        return self.keys is None or key in self.keys

    def finding(self, row: Row[T], column: str, message: str) -> Finding:
        """A finding at one cell of this sheet."""
        return Finding(self.table.file, row.number, column, message)


class _Unfit(Exception):
    """A cell that cannot become the column's type; the message says what to write instead."""


def read_sheet(folder: Path, table: Table[T], findings: list[Finding]) -> Sheet[T]:
    """Reads one CSV of ``folder``; whatever is wrong with it is appended to ``findings``."""
    grid = _grid(folder / table.file, findings)
    if grid is None:
        return Sheet(table)
    columns = table.columns()
    heading = [cell.strip() for cell in grid[0]] if grid else []
    faults = _heading_faults(table, heading, columns)
    findings.extend(faults)
    if faults:
        return Sheet(table)
    rows: list[Row[T]] = []
    first: dict[tuple[str, ...], int] = {}
    for number, cells in enumerate(grid[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if any(cell.strip() for cell in cells[len(heading) :]):
            message = "has more cells than the heading; put quotation marks around text with a comma"
            findings.append(Finding(table.file, number, "", message))
            continue
        texts = {name: cell.strip() for name, cell in zip(heading, cells, strict=False)}
        key = tuple(texts.get(name, "") for name in table.key)
        if (before := first.setdefault(key, number)) != number:
            message = f"{' '.join(key)!r} is already in row {before}; keep one of the two"
            findings.append(Finding(table.file, number, table.key[0], message))
        values, wrong = _values(table, columns, texts, number)
        findings.extend(wrong)
        if not wrong:
            rows.append(Row(number, table.make(**values, **table.fixed)))
    return Sheet(table, tuple(rows), frozenset(first))


def _grid(path: Path, findings: list[Finding]) -> list[list[str]] | None:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.reader(file, strict=True))
    except OSError as error:
        message = f"cannot be read ({error.strerror}); a catalogue folder needs this file"
    except UnicodeDecodeError:
        message = "is not UTF-8; save it as CSV UTF-8"
    except csv.Error as error:
        message = f"is not well-formed CSV ({error}); look for an unclosed quotation mark"
    findings.append(Finding(path.name, 0, "", message))
    return None


def _heading_faults(table: Table[T], heading: list[str], columns: dict[str, Any]) -> list[Finding]:
    expected = ", ".join(columns)
    faults = [
        Finding(table.file, 1, name, f"the column is missing; the columns are {expected}")
        for name in columns
        if name not in heading
    ]
    for place, name in enumerate(heading):
        if name not in columns:
            faults.append(Finding(table.file, 1, name, f"is no column of this table; they are {expected}"))
        elif name in heading[:place]:
            faults.append(Finding(table.file, 1, name, "the column stands twice; remove one"))
    return faults


def _values(
    table: Table[T], columns: dict[str, Any], texts: dict[str, str], number: int
) -> tuple[dict[str, Any], list[Finding]]:
    values: dict[str, Any] = {}
    wrong: list[Finding] = []
    for name, hint in columns.items():
        text = texts.get(name, "")
        if not text and name not in table.optional:
            wrong.append(Finding(table.file, number, name, "is empty; a value is required"))
            continue
        try:
            values[name] = _cell(text, hint)
        except _Unfit as error:
            wrong.append(Finding(table.file, number, name, str(error)))
    return values, wrong


def _cell(text: str, hint: Any) -> Any:
    if hint is str:
        return text
    if hint is int:
        if not re.fullmatch(r"[0-9]{1,9}", text):
            raise _Unfit(f"{text!r} is not a whole number; write digits only")
        return int(text)
    if hint is bool:
        if text not in YES_NO:
            raise _Unfit(f"{text!r} is not allowed; write one of: {', '.join(YES_NO)}")
        return YES_NO[text]
    if get_origin(hint) is tuple:
        return tuple(part.strip() for part in text.split(";") if part.strip())
    if get_origin(hint) is Literal:
        if text not in get_args(hint):
            raise _Unfit(f"{text!r} is not allowed; write one of: {', '.join(get_args(hint))}")
        return text
    if not text:  # an optional date
        return None
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise _Unfit(f"{text!r} is not a date; write it as 2026-01-31")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise _Unfit(f"{text!r} is not a day of the calendar; write it as 2026-01-31") from None
