"""Keys to answers, and answers to files.

An answer is rendered once for each key that is remembered and written as often as the key comes. Tables
(CSV, Excel, Parquet) have the fields of :class:`mapping.Named` as columns; lists are lists in Parquet, JSON
text in a cell of CSV or Excel.

Source: ECMA-376 Part 1, 22.9.2.19 (ST_Xstring: characters that XML cannot hold) and 18.3.1.53 (strings in
place); Excel's bounds of a sheet from its maker's specification.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from catalog import load
from gateway.bulk.errors import BulkRefused, extra
from gateway.bulk.rows import FIELDS, Key
from mapping import LocalName, Named, Normaliser

__all__ = ["FIELDS", "FORMS", "Reader", "remembering", "write_answers"]

_T = TypeVar("_T")
REMEMBERED = 1 << 15
_LONG = 500
"""Characters of a key that is not worth remembering: with this bound the memory is bounded too."""
_GROUP = 65_536
_MOST_SHEET_ROWS = (1 << 20) - 1
_MOST_CELL = 32_767

_encoder = msgspec.json.Encoder()


class Reader:
    """The normaliser of a catalogue (None: the bundled one), over keys."""

    def __init__(self, catalogue: Path | None) -> None:
        self._normaliser = Normaliser(load(catalogue))

    def read(self, key: Key) -> Named:
        """The reading of a key. Never raises."""
        return self._normaliser.read(LocalName(**dict(zip(FIELDS, key, strict=True))))

    @property
    def tables(self) -> str:
        """The versions of catalogue and tables that every answer of this reader names."""
        return self.read(("",) * len(FIELDS)).tables


def remembering(answer: Callable[[Key], _T]) -> Callable[[Key], _T]:
    """The same function with a bounded memory of the keys it met last."""
    remembered = lru_cache(REMEMBERED)(answer)
    return lambda key: remembered(key) if sum(map(len, key)) <= _LONG else answer(key)


class Form(Struct, frozen=True):
    """How answers become a file: one answer rendered, and a stream of them written to a path."""

    render: Callable[[Named], Any]
    write: Callable[[Path, Iterator[Any]], None]


def line(named: Named) -> bytes:
    """One JSON object and a line feed."""
    return _encoder.encode(named) + b"\n"


def _write_lines(path: Path, answers: Iterator[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(answers)


def _cells(named: Named) -> list[str]:
    values = [getattr(named, column) for column in _COLUMNS]
    return [
        (_encoder.encode(value).decode() if value else "") if isinstance(value, tuple) else value or ""
        for value in values
    ]


def _write_csv(path: Path, answers: Iterator[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        writer.writerows(answers)


def _write_excel(path: Path, answers: Iterator[list[str]]) -> None:
    import openpyxl
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.utils.escape import escape

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("names")
    sheet.append(_COLUMNS)

    def cell(text: str) -> Any:
        written = WriteOnlyCell(sheet, escape(text))
        written.data_type = "s"  # a name that begins with = or # is no formula and no error
        return written

    for number, texts in enumerate(answers, start=1):
        if number > _MOST_SHEET_ROWS:
            raise BulkRefused(f"Excel holds at most {_MOST_SHEET_ROWS} rows; write .csv or .parquet")
        if max(map(len, texts)) > _MOST_CELL:
            raise BulkRefused(f"row {number} has a cell that is too long for Excel; write .csv or .parquet")
        sheet.append([cell(text) if text else None for text in texts])
    book.save(path)


def _record(named: Named) -> dict[str, Any]:
    record = {column: getattr(named, column) for column in _COLUMNS}
    record["spans"] = [{"start": start, "end": end, "slot": slot} for start, end, slot in named.spans]
    return record


def _write_parquet(path: Path, answers: Iterator[dict[str, Any]]) -> None:
    arrow, parquet = extra("pyarrow"), extra("pyarrow.parquet")
    text, number = arrow.string(), arrow.int32()
    lists = {
        "items": arrow.list_(text),
        "candidates": arrow.list_(text),
        "spans": arrow.list_(arrow.struct({"start": number, "end": number, "slot": text})),
    }
    schema = arrow.schema([(column, lists.get(column, text)) for column in _COLUMNS])
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := list(islice(answers, _GROUP)):
            writer.write_batch(arrow.RecordBatch.from_pylist(group, schema))


_COLUMNS = Named.__struct_fields__
FORMS = {
    "jsonl": Form(line, _write_lines),
    "csv": Form(_cells, _write_csv),
    "xlsx": Form(_cells, _write_excel),
    "parquet": Form(_record, _write_parquet),
}


def write_answers(reader: Reader, keys: Iterator[Key], out: Path, *, force: bool = False) -> None:
    """Write the answers to these keys into a file, in the form that its suffix names.

    The file stands under its name when all of it is written; where anything goes wrong there is none, and a
    file that was there before is as it was.

    Raises:
        BulkRefused: the file exists, its suffix is unknown, it cannot be written, or a row cannot be read.
    """
    form = FORMS.get(out.suffix.removeprefix(".").lower())
    if form is None:
        raise BulkRefused(f"{out} has no known suffix; name it .jsonl, .csv, .xlsx or .parquet")
    if out.suffix.lower() == ".parquet":
        extra("pyarrow")
    if out.exists() and not (force and out.is_file()):
        raise BulkRefused(f"{out} exists; --force replaces a file")
    with _complete(out) as path:
        form.write(path, map(remembering(lambda key: form.render(reader.read(key))), keys))


@contextmanager
def _complete(out: Path) -> Iterator[Path]:
    """A path beside ``out`` that takes its place at the end, or is gone."""
    path = out.with_name(f".{out.name}.part")
    try:
        yield path
        path.replace(out)
    except OSError as wrong:
        raise BulkRefused(f"{out} cannot be written: {wrong.strerror or wrong}") from None
    finally:
        path.unlink(missing_ok=True)
