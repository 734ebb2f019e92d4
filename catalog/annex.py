"""Reads the annex of an official list (.xlsx or CSV) into the tables of one edition.

Annexes are made for people: headings merged over two rows, a group's name once for its twenty rows, serial
numbers, totals, recognition marks printed inside names, full-width letters, notes in brackets. A *mapping
file* (TOML, :class:`AnnexMapping`) says what is where, once for each form of annex. Nothing is guessed: a row
that lacks a code, a concept or a group, or whose number of days cannot be read, is a finding with sheet, row
and column, and the meaning of a name comes from a column, from the steward's own decisions, or from a reader
of names that abstains where it is not sure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from catalog._annex_mapping import AnnexMapping, Role, read_decisions, read_mapping
from catalog._annex_text import folded, found_columns, split, stripped, without_brackets
from catalog._grids import Cell, Grid, Merged, column_letters, open_csv, refuse
from catalog._names import canonical_name
from catalog._xlsx import open_xlsx
from catalog.entries import ANY, Edition, Item, ItemList, Window
from catalog.errors import Finding

_SLOTS = {"imaging": 4, "lab": 3}


class Entry(Struct, frozen=True):
    """A row of the annex that could be read. ``mark`` and ``note`` are reported; no table has them."""

    row: int
    item: Item
    window: Window | None
    mark: str
    note: str


class Annex(Struct, frozen=True):
    """What an annex holds, and every finding about it; ``skipped`` counts the rows that are no items."""

    edition: Edition
    published: ItemList
    entries: tuple[Entry, ...]
    default: Window | None
    skipped: int
    findings: tuple[Finding, ...]

    def rows(self) -> dict[str, list[Any]]:
        """The edition's rows by table, as :func:`catalog.write.write_rows` takes them."""
        windows = [entry.window for entry in self.entries if entry.window]
        return {
            "lists.csv": [self.published],
            f"items_{self.published.kind}.csv": [entry.item for entry in self.entries],
            "windows.csv": [*windows, *([self.default] if self.default else [])],
        }


__all__ = [
    "Annex",
    "AnnexMapping",
    "ConceptOf",
    "Entry",
    "ItemOf",
    "read_annex",
    "read_decisions",
    "read_mapping",
    "stripped",
]

ConceptOf = Callable[[str, Mapping[str, str]], str | None]
"""A reader of names: the name and the row's texts by role → its concept, or None where it is not sure."""
ItemOf = Callable[[str], Item | None]
"""Concept → the item that the catalogue has for it."""


def read_annex(
    path: Path,
    mapping: AnnexMapping,
    *,
    concept_of: ConceptOf,
    item_of: ItemOf = lambda _: None,
    codes: Container[str] = (),
    decisions: Mapping[str, str] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Annex:
    """Reads an annex, row by row.

    Args:
        path: .xlsx, or CSV in UTF-8 (with or without byte-order mark) or GB18030.
        mapping: what is where.
        concept_of: asked for the meaning of a name where no column and no decision gives it.
        item_of: gives an item of this concept its code and group, where no column does.
        codes: those of the catalogue, none of which may become that of a new item.
        decisions: of :func:`read_decisions`; they come before everything else.
        progress: called with the number of each row.

    Returns:
        The rows that could be read, and a finding for every one that could not.

    Raises:
        CatalogueError: the file as a whole is refused, or its heading lacks a column of the mapping.
    """
    grid = open_xlsx(path, mapping.sheet.name) if path.suffix.lower() != ".csv" else open_csv(path)
    reader = _Reader(grid, mapping, concept_of, item_of, codes, decisions or {})
    for number, cells in grid.rows:
        progress(number)
        reader.take(number, cells)
    return reader.finished()


class _Unreadable(Exception):
    """A row that is no item of the tables: the role at fault and what to do."""

    def __init__(self, role: Role, message: str) -> None:
        super().__init__(message)
        self.role = role


class _Reader:
    """Takes the rows one after another: first the heading, then the items."""

    def __init__(
        self,
        grid: Grid,
        mapping: AnnexMapping,
        concept_of: ConceptOf,
        item_of: ItemOf,
        codes: Container[str],
        decisions: Mapping[str, str],
    ) -> None:
        self._grid, self._mapping, self._decisions = grid, mapping, decisions
        self._concept_of, self._item_of, self._codes = concept_of, item_of, codes
        self._merged = Merged(grid.merges)
        self._heading: list[list[str]] = []
        self._columns: dict[Role, int] = {}
        self._above: dict[Role, Cell] = {}
        self._seen: dict[tuple[str, str], int] = {}
        self._entries: list[Entry] = []
        self._findings: list[Finding] = []
        self._skipped = 0

    def take(self, number: int, cells: list[Cell]) -> None:
        """The next row of the sheet."""
        rule = self._mapping.sheet
        if number < rule.first:
            filled = self._merged.filled(number, cells, across=True)
            if number in rule.heading:
                self._heading.append([cell.text for cell in filled])
            return
        if not self._columns:
            self._columns = found_columns(self._grid, self._heading, self._mapping)
        filled = self._merged.filled(number, cells, across=False)
        if self._is_no_item(cells):
            self._skipped += 1
            return
        try:
            self._keep(self._entry(number, self._texts(filled)))
        except _Unreadable as wrong:
            column = self._columns.get(wrong.role, self._columns["name"])
            self._findings.append(
                Finding(self._grid.place, number, f"{column_letters(column)}{number}", str(wrong))
            )

    def _is_no_item(self, cells: list[Cell]) -> bool:
        """Whether a row is blank, is to be skipped, or only heads the rows below it with their group."""
        told = {column: cell for column, cell in enumerate(cells, start=1) if cell.text.strip() or cell.fault}
        heading = {self._columns[role]: role for role in self._mapping.fill_down if role in self._columns}
        first = folded(next(iter(told.values())).text) if told else ""
        if any(first.startswith(folded(words)) for words in self._mapping.skip):
            return True
        if told.keys() <= heading.keys():
            self._above |= {heading[column]: cell for column, cell in told.items()}
            return True
        return False

    def finished(self) -> Annex:
        """All that was read."""
        mapping = self._mapping
        if not self._columns:
            refuse(self._grid.place, f"has no row {mapping.sheet.first}; correct sheet.first of the mapping")
        return Annex(
            edition=Edition(**msgspec.structs.asdict(mapping.edition)),
            published=ItemList(**msgspec.structs.asdict(mapping.list), edition=mapping.edition.id),
            entries=tuple(self._entries),
            default=self._window(ANY, mapping.window.default_days if mapping.window else 0),
            skipped=self._skipped,
            findings=tuple(self._findings),
        )

    def _texts(self, cells: list[Cell]) -> dict[Role, str]:
        texts: dict[Role, str] = {}
        for role, column in self._columns.items():
            cell = cells[column - 1] if column <= len(cells) else Cell("")
            if role in self._mapping.fill_down:
                cell = self._above[role] = (
                    cell if cell.text.strip() or cell.fault else self._above.get(role, cell)
                )
            if cell.fault:
                raise _Unreadable(role, cell.fault)
            # A note is kept as it is printed; everything else is compared, so that its forms are folded.
            texts[role] = cell.text.strip() if role == "note" else folded(cell.text)
        return texts

    def _entry(self, number: int, texts: dict[Role, str]) -> Entry:
        rule = self._mapping.items
        name, mark = stripped(texts["name"])
        name, note, shorts = without_brackets(name, rule)
        if not name:
            raise _Unreadable("name", "has no name; add it, or let the mapping skip such rows")
        # With its short names: (FEU) or (HRCT) may be no abbreviation, but what makes it another item.
        concept = self._concept("".join((name, *(f"({short})" for short in shorts))), texts)
        known = self._item_of(concept)
        code = texts.get("code") or (known.code if known else "")
        if not code and rule.new_codes:
            code = f"{rule.new_codes}{number:04}"
            if code in self._codes:
                message = f"the new code {code} is another item's in the catalogue; change items.new_codes"
                raise _Unreadable("code", message)
        if not code:
            raise _Unreadable(
                "code", "has no code, nor has the catalogue; set items.new_codes in the mapping"
            )
        group = self._group(texts.get("group", "")) or rule.group or (known.group if known else "")
        if not group:
            raise _Unreadable("group", "is in no group; name a column, or set items.group in the mapping")
        listed = (part.strip() for part in split(texts.get("aliases", ""), rule.separators))
        units = (texts["unit"],) if texts.get("unit") else rule.units
        if known and set(units) <= set(known.units):  # an annex prints one of them
            units = known.units
        item = Item(
            code=code,
            name=name,
            kind=self._mapping.list.kind,
            concept=concept,
            group=group,
            lists=(self._mapping.list.id,),
            aliases=tuple(dict.fromkeys(alias for alias in (*listed, *shorts) if alias and alias != name)),
            units=units,
            method_dependent=known.method_dependent if known else False,
            source=rule.source,
            certainty=rule.certainty,
        )
        window = self._window(code, self._days(texts.get("days", "")))
        marks = "".join(dict.fromkeys(filter(None, (mark, texts.get("mark", "")))))
        notes = " ".join(filter(None, (note, texts.get("note", ""))))
        return Entry(number, item, window, marks, notes)

    def _concept(self, name: str, texts: dict[Role, str]) -> str:
        decided = (self._decisions.get(canonical_name(key)) for key in (texts.get("code", ""), name) if key)
        concept = next(filter(None, decided), None) or texts.get("concept")
        if not concept:
            asked = {str(role): text for role, text in texts.items()}
            asked |= {"name": name, "kind": self._mapping.list.kind}
            concept = self._concept_of(name, asked)
        if not concept:
            raise _Unreadable("name", f"{name!r} has no concept; add a row for it to the file of --concepts")
        slots = _SLOTS[self._mapping.list.kind]
        if concept.count("|") != slots:
            raise _Unreadable("concept", f"{concept!r} is no concept of {slots + 1} slots; correct it")
        return concept

    def _group(self, word: str) -> str:
        if not word:
            return ""
        groups = {folded(key): group for key, group in self._mapping.groups.items()}
        if not groups:
            return "".join(word.split())
        if word not in groups:
            raise _Unreadable("group", f"{word!r} is not in [groups] of the mapping; add it there")
        return groups[word]

    def _days(self, text: str) -> int:
        if self._mapping.window is None or text in ("", "-", "—", "/"):
            return 0
        words = {folded(word): days for word, days in self._mapping.window.words.items()}
        found = re.fullmatch(r"([0-9]{1,5})\s*[天日]?", text)
        days = words[text] if text in words else int(found[1]) if found else 0
        if days < 1:
            raise _Unreadable("days", f"{text!r} is no number of days; correct it, or add it to window.words")
        return days

    def _window(self, target: str, days: int) -> Window | None:
        rule, items = self._mapping.window, self._mapping.items
        if rule is None or not days:
            return None
        return Window(
            list=self._mapping.list.id,
            target=target,
            days=days,
            clock=rule.clock,
            base=rule.base,
            boundary=rule.boundary,
            setting=rule.setting,
            institution="",
            view_days=rule.view_days,
            is_default=target == ANY,
            source=items.source,
            certainty=items.certainty,
        )

    def _keep(self, entry: Entry) -> None:
        roles: tuple[tuple[Role, str], ...] = (("code", entry.item.code), ("concept", entry.item.concept))
        for role, value in roles:
            if (before := self._seen.setdefault((role, value), entry.row)) != entry.row:
                raise _Unreadable(role, f"the {role} {value!r} is already that of row {before}; keep one")
        self._entries.append(entry)
