"""What a table of any kind of file is read as: a grid of checked texts, with its merged ranges."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from msgspec import Struct

from catalog.errors import CatalogueError, Finding

MOST_BYTES = 64 << 20
"""Of the file, and of all its parts unpacked."""
MOST_ROWS = 20_000
MOST_COLUMNS = 256
MOST_CHARACTERS = 4_000
"""Of one cell. An annex that needs more is no table."""


class Cell(Struct, frozen=True):
    """The text of a cell; ``fault`` is why it may not be used, and empty where it may."""

    text: str
    fault: str = ""


EMPTY = Cell("")


class Merge(Struct, frozen=True):
    """A merged range, inclusive, rows and columns counted from 1."""

    left: int
    top: int
    right: int
    bottom: int


class Grid(Struct, frozen=True):
    """A sheet: the place it is named by in findings, its merged ranges (None: the form of the file has none),
    its rows with their numbers, which can be gone through once."""

    place: str
    merges: tuple[Merge, ...] | None
    rows: Iterator[tuple[int, list[Cell]]]


def refuse(place: str, message: str, row: int = 0) -> NoReturn:
    """Raises the one finding about a file that cannot be used."""
    raise CatalogueError((Finding(place, row, "", message),))


def checked(text: str) -> Cell:
    """A cell of this text, with a fault where the text is none."""
    if len(text) > MOST_CHARACTERS:
        return Cell("", f"has {len(text)} characters, the most is {MOST_CHARACTERS}")
    if any((character < " " and character not in "\t\r\n") or character == "\ufffd" for character in text):
        return Cell("", "has a character that nobody can have typed; type the text again")
    return Cell(text)


def column_number(letters: str) -> int:
    """3 for C."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def column_letters(number: int) -> str:
    """C for 3."""
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def open_csv(path: Path) -> Grid:
    """The table of a CSV file in UTF-8 (with or without byte-order mark) or GB18030.

    Raises:
        CatalogueError: the file is refused, here or at the row that shows why.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            refuse(path.name, f"has more than {MOST_BYTES} bytes; keep the rows that count only")
        text = decoded(path.read_bytes(), path.name)
    except OSError as wrong:
        refuse(path.name, f"cannot be read ({wrong.strerror or wrong})")
    return Grid(path.name, None, _csv_rows(text, path.name))


def decoded(data: bytes, place: str) -> str:
    """The text of a file in UTF-8 or GB18030."""
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    refuse(place, "is neither UTF-8 nor GB18030; save it as CSV UTF-8")


def _csv_rows(text: str, place: str) -> Iterator[tuple[int, list[Cell]]]:
    number = 0
    try:
        for number, texts in enumerate(csv.reader(io.StringIO(text, newline=""), strict=True), start=1):
            if number > MOST_ROWS or len(texts) > MOST_COLUMNS:
                refuse(place, f"has more than {MOST_ROWS} rows or {MOST_COLUMNS} columns", number)
            yield number, [checked(cell) for cell in texts]
    except csv.Error as wrong:
        refuse(place, f"is not well-formed CSV after this row ({wrong})", number)


class Merged:
    """What the cells of a merged range hold, told as the rows go by."""

    def __init__(self, merges: tuple[Merge, ...] | None) -> None:
        self._starts: dict[int, list[Merge]] = {}
        for merge in merges or ():
            self._starts.setdefault(merge.top, []).append(merge)
        self._open: dict[int, tuple[int, Cell]] = {}

    def filled(self, number: int, cells: list[Cell], *, across: bool) -> list[Cell]:
        """The next row, with every cell of every range filled, or (not ``across``) with its first column: a
        group's name counts for all its rows, and a title across the table is the text of one cell."""
        for merge in self._starts.get(number, ()):
            if merge.left <= len(cells):
                right = min(merge.right, len(cells)) if across else merge.left
                told = (merge.bottom, cells[merge.left - 1])
                self._open |= dict.fromkeys(range(merge.left, right + 1), told)
        self._open = {column: told for column, told in self._open.items() if told[0] >= number}
        filled = list(cells)
        for column, (_, cell) in self._open.items():
            if column <= len(filled):
                filled[column - 1] = cell
        return filled
