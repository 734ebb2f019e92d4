"""A copy of the bundled catalogue to spoil, and what loading says of it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from catalog import CatalogueError, Finding, load

Grid = list[list[str]]


def read(path: Path) -> Grid:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def write(path: Path, grid: Grid) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(grid)


def change(path: Path, row: int, column: str, text: str) -> None:
    """Writes ``text`` into one cell; rows are counted as a spreadsheet does."""
    grid = read(path)
    grid[row - 1][grid[0].index(column)] = text
    write(path, grid)


def row_of(path: Path, key: str) -> int:
    return next(number for number, cells in enumerate(read(path), start=1) if cells[0] == key)


def append(path: Path, **cells: str) -> int:
    """Adds a copy of the last row with other cells, in further columns too; returns its row number."""
    grid = read(path)
    further = [name for name in cells if name not in grid[0]]
    grid = [[*row, *(further if number == 0 else [""] * len(further))] for number, row in enumerate(grid)]
    added = dict(zip(grid[0], grid[-1], strict=True)) | cells
    write(path, [*grid, [added[name] for name in grid[0]]])
    return len(grid) + 1


def table(folder: Path, file: str, *rows: dict[str, str]) -> None:
    """Writes a whole table."""
    write(folder / file, [[*rows[0]], *([*row.values()] for row in rows)])


def findings(folder: Path) -> tuple[Finding, ...]:
    with pytest.raises(CatalogueError) as caught:
        load(folder)
    return caught.value.findings


def the_finding(folder: Path) -> Finding:
    found = findings(folder)
    assert len(found) == 1, [str(f) for f in found]
    return found[0]


def place(finding: Finding) -> tuple[str, int, str]:
    return finding.file, finding.row, finding.column
