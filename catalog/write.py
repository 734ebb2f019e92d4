"""Writes an edition as the folder that :mod:`catalog.load` reads: ``catalogue.toml`` and one CSV a table.

The same edition gives the same bytes: rows in their order, every column of a table in the order of the
model's fields, lines ended by CR LF (RFC 4180). What was written is read again and compared before it is
handed over, so that a value that a table cannot hold (a ``;`` within one of several names, a blank at an end)
is refused and never altered.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from catalog._sheets import HEAD, TABLES, Sheets
from catalog.entries import Edition
from catalog.errors import CatalogueError, Finding
from catalog.load import Draft, read_files
from catalog.tables import YES_NO

_YES_NO = {value: word for word, value in YES_NO.items()}


def write(draft: Draft) -> dict[str, bytes]:
    """The files of an edition: name → bytes; ``read_files`` makes the same head and rows of them.

    Raises:
        CatalogueError: a value cannot be written; the finding names its table, row and column.
    """
    return write_rows(draft.edition, rows_of(draft.sheets))


def rows_of(sheets: Sheets) -> dict[str, list[Any]]:
    """The rows of an edition by the file names of their tables."""
    each = (getattr(sheets, name) for name in Sheets.__struct_fields__)
    return {sheet.table.file: [row.value for row in sheet.rows] for sheet in each if sheet.rows}


def write_rows(edition: Edition, rows: Mapping[str, Sequence[Any]]) -> dict[str, bytes]:
    """The files of an edition with these rows, given by the file names of their tables.

    Raises:
        CatalogueError: a value cannot be written, two rows have one key, or a row is of another edition.
    """
    tables = {table.file: table for table in TABLES}
    if unknown := sorted(rows.keys() - tables.keys()):
        raise CatalogueError(tuple(Finding(file, 0, "", "is no table of an edition") for file in unknown))
    try:
        files = {HEAD: head(msgspec.structs.asdict(edition))}
        for file in sorted(file for file in rows if rows[file]):
            columns = list(tables[file].columns())
            texts = ([_cell(getattr(row, name)) for name in columns] for row in rows[file])
            files[file] = csv_file(columns, texts)
    except UnicodeEncodeError as wrong:
        message = f"{wrong.object[wrong.start : wrong.end]!r} is no character; type the text again"
        raise CatalogueError((Finding(edition.id, 0, "", message),)) from None
    read = read_files(files)
    findings = list(_differences(HEAD, 0, edition, read.edition))
    back = rows_of(read.sheets)
    for file in files.keys() - {HEAD}:
        if len(again := back.get(file, [])) != len(rows[file]):
            findings.append(
                Finding(file, 0, "", "has a row without any text, which would be lost; remove it")
            )
            continue
        for number, (value, same) in enumerate(zip(rows[file], again, strict=True), start=2):
            findings.extend(_differences(file, number, value, same))
    if findings:
        raise CatalogueError(tuple(sorted(findings, key=lambda finding: (finding.file, finding.row))))
    return files


def write_folder(files: Mapping[str, bytes], folder: Path) -> None:
    """Writes the files of an edition into a new folder; an existing one is never touched.

    Raises:
        CatalogueError: the folder exists, or cannot be written.
    """
    try:
        folder.mkdir(parents=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
    except FileExistsError:
        message = "exists already; name a new folder"
        raise CatalogueError((Finding(str(folder), 0, "", message),)) from None
    except OSError as wrong:
        message = f"cannot be written ({wrong.strerror})"
        raise CatalogueError((Finding(str(folder), 0, "", message),)) from None


def head(values: Mapping[str, Any]) -> bytes:
    """The file :data:`catalog.load.HEAD` with these values."""
    return "".join(f"{key} = {_toml(value)}\n" for key, value in values.items()).encode()


def _toml(value: Any) -> str:
    if isinstance(value, str):  # a basic string of TOML is one of JSON, but for DEL
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return value.isoformat() if isinstance(value, datetime) else str(value).lower()


def csv_file(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> bytes:
    """A table as a file, from the texts of its cells."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([columns, *rows])  # RFC 4180
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    match value:
        case bool():
            return _YES_NO[value]
        case tuple():
            return ";".join(value)
        case Decimal():
            return format(value, "f")
        case date():
            return value.isoformat()
        case None:
            return ""
    return str(value)


def _differences(file: str, row: int, value: Any, again: Any) -> Iterable[Finding]:
    for name in value.__struct_fields__:
        before, after = getattr(value, name), getattr(again, name)
        if before != after:
            message = f"{before!r} cannot be written, it would be read as {after!r}; change it"
            yield Finding(file, row, name, message)
