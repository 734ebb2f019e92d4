"""The names of a file, as a stream of keys in constant memory; every fault names its line.

A line, a row of Excel and a row of Parquet are bounded; a file is not, but for Excel (the bounds of
:mod:`catalog`, because a workbook has to be judged before it is opened).

Source: RFC 4180 (CSV), jsonlines.org, GB 18030-2022, the Apache Parquet format.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, repeat
from operator import itemgetter
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from catalog._xlsx import open_xlsx
from gateway.bulk.errors import BulkRefused, extra
from mapping import LocalName

Key = tuple[str, ...]
"""The texts of the fields of a local name, in the order of :data:`FIELDS`."""
Form = Literal["csv", "jsonl", "parquet", "xlsx"]

_T = TypeVar("_T")

FIELDS = LocalName.__struct_fields__
MOST_LINE = 1 << 20
"""Bytes of one line: far beyond any row, and what an unclosed file without line ends may cost."""
BATCH = 8_192
"""Rows of Parquet that are held at a time."""


class Part(Struct, frozen=True):
    """Where rows stand: a file, or a stretch of one.

    ``start`` and ``stop`` are bytes, or rows of Parquet; ``stop`` is None for the end. ``line`` is the
    number of the line (Parquet: of the row) before the first. ``heading`` has the columns of a CSV part that
    begins below them, and is empty where the part has its own.
    """

    path: str
    form: Form
    encoding: str
    start: int = 0
    stop: int | None = None
    line: int = 0
    heading: tuple[str, ...] = ()


class Rows:
    """The keys of a file, in its order; goes through them once.

    ``done`` and ``total`` say how far it is, in bytes or rows; ``total`` is None where nobody knows.
    ``unused`` are the columns that no field takes, known from the first row on.
    """

    def __init__(self, part: Part, stream: IO[bytes] | None = None, sheet: str = "") -> None:
        self.part, self.done, self.line = part, 0, part.line
        self.total: int | None = None
        self.unused: tuple[str, ...] = ()
        self._stream, self._sheet = stream, sheet
        self.place = part.path

    def __iter__(self) -> Iterator[Key]:
        with _named(self.place):
            yield from self._keys()

    def _keys(self) -> Iterator[Key]:
        if self.part.form == "parquet":
            return self._parquet()
        if self.part.form == "xlsx":
            return self._excel()
        return self._text()

    def texts(self) -> Iterator[str]:
        """The decoded lines of the part; ``done`` is where the one last given ends."""
        part = self.part
        with self._stream or open(part.path, "rb") as stream:
            if self._stream is None:
                self.total = stream.seek(0, 2) if part.stop is None else part.stop
                self.done = stream.seek(part.start)
            while part.stop is None or self.done < part.stop:
                raw = stream.readline(MOST_LINE + 1)
                if not raw:
                    return
                self.line += 1
                self.done += len(raw)
                if len(raw) > MOST_LINE:
                    raise self.refused(f"has more than {MOST_LINE} bytes; no row of names is that long")
                try:
                    text = raw.decode(part.encoding)
                except UnicodeDecodeError:
                    other = "gb18030" if part.encoding == "utf-8" else "utf-8"
                    raise self.refused(
                        f"is not {part.encoding.upper()}; say --encoding {other} if it is that"
                    ) from None
                yield text.removeprefix("\ufeff") if self.line == 1 else text

    def _text(self) -> Iterator[Key]:
        texts = self.texts()
        if self.part.heading:
            return self._csv(texts, self.part.heading)
        first = next((text for text in texts if text.strip()), "")
        lines = chain((first,), texts)
        if self.part.form == "jsonl" or first.lstrip().startswith("{"):
            return self._json(lines)
        return self._csv(lines, None)

    def records(self, lines: Iterator[str]) -> Iterator[list[str]]:
        """The records of CSV lines; ``done`` and ``line`` are where the one last given ends."""
        try:
            yield from csv.reader(lines)
        except csv.Error as wrong:
            raise self.refused(f"is no row of CSV ({wrong})") from None

    def _csv(self, lines: Iterator[str], heading: Sequence[str] | None) -> Iterator[Key]:
        records = self.records(lines)
        columns = Columns(heading or next(records, []), self)
        for cells in records:
            if cells:
                yield columns.key(cells)

    def _json(self, lines: Iterator[str]) -> Iterator[Key]:
        decoder = msgspec.json.Decoder(dict[str, Any])
        known = {*FIELDS, "local_name"}
        fields = FIELDS[1:]
        for text in lines:
            if not text.strip():
                continue
            try:
                row = decoder.decode(text)
            except msgspec.MsgspecError:
                raise self.refused("is no JSON object") from None
            if not (self.unused or row.keys() <= known):
                self.unused = tuple(name for name in row if name not in known)
            name = "local_name" if "local_name" in row else "name"
            if name not in row:
                raise self.refused("has no local_name")
            values = [row.get(field) for field in (name, *fields)]
            for field, value in zip((name, *fields), values, strict=True):
                if value is not None and type(value) is not str:
                    raise self.refused(f"has {field} that is no text; write it in quotation marks")
            yield tuple([value or "" for value in values])

    def _excel(self) -> Iterator[Key]:
        columns: Columns | None = None
        for number, cells in open_xlsx(Path(self.part.path), self._sheet).rows:
            self.line = number
            texts = [cell.text for cell in cells]
            if columns is None and any(texts):
                columns = Columns(texts, self)
            elif columns and (any(texts) or any(cell.fault for cell in cells)):
                for cell in columns.used(cells):
                    if cell.fault:
                        raise self.refused(f"has a cell that {cell.fault}")
                yield columns.key(texts)
        if columns is None:
            Columns([], self)

    def _parquet(self) -> Iterator[Key]:
        arrow, parquet = extra("pyarrow"), extra("pyarrow.parquet")
        part = self.part
        try:
            with parquet.ParquetFile(part.path) as file:
                names = file.schema_arrow.names
                columns = Columns(names, self)
                for name in columns.names:
                    kind = file.schema_arrow.field(name).type
                    if not _is_text(arrow.types, kind):
                        raise BulkRefused(f"{self.place}: the column {name} is {kind}; text is needed")
                start, self.total = part.start, file.metadata.num_rows if part.stop is None else part.stop
                self.done, stop = start, self.total
                groups, first = _groups(file.metadata, start, stop)
                batches = file.iter_batches(BATCH, row_groups=groups, columns=list(columns.names))
                for batch in batches:
                    after = first + batch.num_rows
                    kept = batch.slice(max(0, start - first), max(0, min(after, stop) - max(first, start)))
                    first = after
                    self.done += kept.num_rows
                    if kept.num_rows:
                        yield from _keys_of(kept, columns, arrow)
        except arrow.ArrowException as wrong:
            raise BulkRefused(f"{self.place} is no readable Parquet file: {wrong}") from None

    def refused(self, message: str) -> BulkRefused:
        """The fault of the row that was read last."""
        return BulkRefused(f"{self.place}, line {self.line}: {message}")


class Columns:
    """Which cell of a row is which field of a name. ``names`` are the columns that are used."""

    def __init__(self, heading: Sequence[str], rows: Rows) -> None:
        heading = [name.strip() for name in heading]
        name = "local_name" if "local_name" in heading else "name"
        wanted = (name, *FIELDS[1:])
        if name not in heading:
            raise rows.refused(f"the heading has no column local_name, only: {', '.join(heading) or '-'}")
        if twice := [text for text in wanted if heading.count(text) > 1]:
            raise rows.refused(f"the heading has the column {twice[0]} twice")
        rows.unused = tuple(text for text in heading if text and text not in wanted)
        self._rows, self._width = rows, len(heading)
        self._wanted = wanted
        self.names = tuple(text for text in wanted if text in heading)
        self._places = [heading.index(text) for text in self.names]
        # A field without a column takes the empty text that key() puts behind the last cell.
        self._take = itemgetter(*[heading.index(text) if text in heading else -1 for text in wanted])

    def key(self, cells: list[str]) -> Key:
        """The key of a row; cells that are missing at its end are empty."""
        beyond = len(cells) - self._width
        if beyond > 0 and any(cells[self._width :]):
            raise self._rows.refused(f"has {len(cells)} cells under a heading of {self._width}")
        cells.extend(repeat("", 1 - min(beyond, 0)))
        taken: Key = self._take(cells if beyond <= 0 else [*cells[: self._width], ""])
        return taken

    def used(self, cells: Sequence[_T]) -> list[_T]:
        """The cells that are taken from a row."""
        return [cells[place] for place in self._places if place < len(cells)]

    def order(self, texts: dict[str, list[str]], rows: int) -> Iterator[Key]:
        """The keys of columns of texts."""
        empty = [""] * rows
        return zip(*[texts.get(name, empty) for name in self._wanted], strict=True)


def open_rows(file: Path, *, encoding: str = "utf-8", sheet: str = "") -> Rows:
    """The names of a file, or of standard input for ``-`` (CSV and JSON lines).

    Excel and Parquet are known by their suffixes, CSV and JSON lines by their first line.

    Raises:
        BulkRefused: here or at the row that shows why.
        catalog.CatalogueError: a workbook is refused.
    """
    if str(file) == "-":
        return Rows(Part("standard input", "csv", encoding), sys.stdin.buffer)
    suffix = file.suffix.lower()
    form: Form = "parquet" if suffix == ".parquet" else "xlsx" if suffix == ".xlsx" else "csv"
    if sheet and form != "xlsx":
        raise BulkRefused(f"{file} has no sheets; only an .xlsx file has")
    return Rows(Part(str(file), form, encoding), sheet=sheet)


def first_form(rows: Rows) -> Form:
    """``jsonl`` or ``csv``, by the first line that is not blank."""
    with _named(rows.place):
        first = next((text for text in rows.texts() if text.strip()), "")
    return "jsonl" if first.lstrip().startswith("{") else "csv"


@contextmanager
def _named(place: str) -> Iterator[None]:
    try:
        yield
    except OSError as wrong:
        raise BulkRefused(f"{place} cannot be read: {wrong.strerror or wrong}") from None


def _is_text(types: Any, kind: Any) -> bool:
    if types.is_dictionary(kind):
        kind = kind.value_type
    return any(
        check(kind) for check in (types.is_string, types.is_large_string, types.is_string_view, types.is_null)
    )


def _groups(metadata: Any, start: int, stop: int) -> tuple[list[int], int]:
    """The row groups that hold the rows from ``start`` to ``stop``, and the number of their first row."""
    groups: list[int] = []
    first, at = start, 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if at < stop and at + rows > start:
            first = first if groups else at
            groups.append(group)
        at += rows
    return groups, first


def _keys_of(batch: Any, columns: Columns, arrow: Any) -> Iterator[Key]:
    texts = {
        name: [text or "" for text in batch.column(name).cast(arrow.string()).to_pylist()]
        for name in columns.names
    }
    return columns.order(texts, batch.num_rows)
