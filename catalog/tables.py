"""Reads one table of a catalogue folder: a CSV with a heading row, its cells turned into typed values.

The columns of a table are the fields of the struct it becomes, so the model is the only place where they are
written down. Every fault becomes a :class:`Finding` and reading goes on, because a steward who mends a table
wants the whole list at once. Rows are counted as a spreadsheet shows them: the heading is row 1, a blank row
counts, a line break inside a cell does not.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints
from zoneinfo import ZoneInfo

from msgspec import Struct

from catalog.errors import Finding

T = TypeVar("T")

YES_NO = {"yes": True, "no": False}
_SHANGHAI = ZoneInfo("Asia/Shanghai")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(rf"{_DAY.pattern}(T[0-9:]{{5,8}}(Z|[+-][0-9]{{2}}:[0-9]{{2}}))?")
_BLANKS = re.compile(r"\s+")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""What no text of a table or head may hold: nobody typed it, and FHIR cannot carry it."""
YEARS = range(1000, 9000)
"""What a time may lie in, so that no change of zone leads out of the calendar."""


class Table(Struct, Generic[T], frozen=True):
    """One file: what a row becomes, the columns that name it, those that may be empty, and fixed fields.

    ``fixed`` are fields that the file as a whole decides and that are therefore no columns of it; ``edition``
    is the field, if any, that takes the id of the edition. A column that may be empty may be left out.
    """

    file: str
    make: Callable[..., T]
    key: tuple[str, ...]
    optional: tuple[str, ...] = ()
    fixed: dict[str, Any] = {}
    edition: str = ""

    def columns(self) -> dict[str, Any]:
        """Column name → the type its cells are turned into."""
        hints = get_type_hints(self.make)
        return {n: hint for n, hint in hints.items() if n not in self.fixed and n != self.edition}


class Row(Struct, Generic[T], frozen=True):
    """A row that could be read, with its file and its number in the spreadsheet."""

    file: str
    number: int
    value: T


class Sheet(Struct, Generic[T], frozen=True):
    """A table as read.

    ``keys`` also holds the keys of rows that are wrong elsewhere, so that one slip is not reported again at
    every reference to it.
    """

    table: Table[T]
    rows: tuple[Row[T], ...] = ()
    keys: frozenset[tuple[str, ...]] = frozenset()

    def has(self, *key: str) -> bool:
        """Whether a row of this key exists."""
        return key in self.keys

    def finding(self, row: Row[T], column: str, message: str) -> Finding:
        """A finding at one cell of this sheet."""
        return Finding(row.file, row.number, column, message)


class _Unfit(Exception):
    """A cell that cannot become the column's type; the message says what to write instead."""


def read_sheet(
    data: bytes | None, table: Table[T], place: str, edition: str, findings: list[Finding]
) -> Sheet[T]:
    """Reads one CSV; no data is a table without rows. Whatever is wrong is appended to ``findings``."""
    file = place + table.file
    grid = _grid(data, file, findings) if data is not None else None
    if grid is None:
        return Sheet(table)
    columns = table.columns()
    heading = [cell.strip() for cell in grid[0]] if grid else []
    faults = _heading_faults(table, file, heading, columns)
    findings.extend(faults)
    if faults:
        return Sheet(table)
    fixed = {**table.fixed, **({table.edition: edition} if table.edition else {})}
    rows: list[Row[T]] = []
    first: dict[tuple[str, ...], int] = {}
    for number, cells in enumerate(grid[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if any(cell.strip() for cell in cells[len(heading) :]):
            message = "has more cells than the heading; put quotation marks around text with a comma"
            findings.append(Finding(file, number, "", message))
            continue
        texts = {name: cell.strip() for name, cell in zip(heading, cells, strict=False)}
        key = tuple(texts.get(name, "") for name in table.key)
        if (before := first.setdefault(key, number)) != number:
            message = f"{' '.join(key)!r} is already in row {before}; keep one of the two"
            findings.append(Finding(file, number, table.key[0], message))
        values, wrong = _values(table, columns, texts, file, number)
        findings.extend(wrong)
        if not wrong:
            rows.append(Row(file, number, table.make(**values, **fixed)))
    return Sheet(table, tuple(rows), frozenset(first))


def _grid(data: bytes, file: str, findings: list[Finding]) -> list[list[str]] | None:
    try:
        return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except UnicodeDecodeError:
        message = "is not UTF-8; save it as CSV UTF-8"
    except csv.Error as error:
        message = f"is not well-formed CSV ({error}); look for an unclosed quotation mark"
    findings.append(Finding(file, 0, "", message))
    return None


def _heading_faults(table: Table[T], file: str, heading: list[str], columns: dict[str, Any]) -> list[Finding]:
    expected = ", ".join(columns)
    faults = [
        Finding(file, 1, name, f"the column is missing; the columns are {expected}")
        for name in columns
        if name not in heading and name not in table.optional
    ]
    for place, name in enumerate(heading):
        if name not in columns:
            faults.append(Finding(file, 1, name, f"is no column of this table; they are {expected}"))
        elif name in heading[:place]:
            faults.append(Finding(file, 1, name, "the column stands twice; remove one"))
    return faults


def _values(
    table: Table[T], columns: dict[str, Any], texts: dict[str, str], file: str, number: int
) -> tuple[dict[str, Any], list[Finding]]:
    values: dict[str, Any] = {}
    wrong: list[Finding] = []
    for name, hint in columns.items():
        text = texts.get(name, "")
        if not text and name not in table.optional:
            wrong.append(Finding(file, number, name, "is empty; a value is required"))
            continue
        try:
            values[name] = _cell(text, hint)
            if name in table.key and any(len(blank) > 1 for blank in _BLANKS.findall(text)):
                raise _Unfit(f"{text!r} has several blanks side by side; leave one")
            if values[name] == () and name not in table.optional:
                raise _Unfit("names nothing; a value is required")
        except _Unfit as error:
            wrong.append(Finding(file, number, name, str(error)))
    return values, wrong


def _cell(text: str, hint: Any) -> Any:
    if CONTROL.search(text):
        raise _Unfit("holds a control character; type the text again")
    if hint is str:
        return text
    if hint is int and not text:  # an optional number
        return 0
    if hint is bool and not text:
        return False
    if hint is Decimal:
        if not re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{1,12})?", text or "0"):
            raise _Unfit(f"{text!r} is not a decimal number; write digits and a point")
        return Decimal(text or "0")
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
    if not text:  # an optional date or time
        return None
    return _time(text) if datetime in get_args(hint) else _date(text)


def _date(text: str) -> date:
    if not _DAY.fullmatch(text):
        raise _Unfit(f"{text!r} is not a date; write it as 2026-01-31")
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise _Unfit(f"{text!r} is not a day of the calendar; write it as 2026-01-31") from None
    if day.year not in YEARS:
        raise _Unfit(f"{text!r} lies in the year {day.year}; correct it")
    return day


def _time(text: str) -> datetime:
    """A time with its zone; a day is its beginning in Asia/Shanghai."""
    if not _TIME.fullmatch(text):
        raise _Unfit(f"{text!r} is not a time; write 2026-01-31, or 2026-01-31T09:30:00+08:00")
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise _Unfit(f"{text!r} is not a time of the calendar; write 2026-01-31T09:30:00+08:00") from None
    if time.year not in YEARS:
        raise _Unfit(f"{text!r} lies in the year {time.year}; correct it")
    return time if time.tzinfo else time.replace(tzinfo=_SHANGHAI)
