"""Reads editions (``catalogue.toml`` and one CSV a table) and compiles them into a :class:`Catalogue`.

The tables are for people: UTF-8 (with or without a byte-order mark), a heading row, several values in a cell
joined by ``;``, patterns of items joined by blanks. Column order is free; a column that may be empty may be
left out, and so may a table that has no rows. A folder is one edition, or holds a folder for each of several.
Editions either compile together or are refused with every finding at once; nothing is repaired in silence.

The bundled catalogue is illustrative. The official texts of the 川渝 2025 lists, their windows and their
negative list were not public in what could be read, and every row names where it comes from.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from catalog._checks import check
from catalog._reach import check_reach
from catalog._sheets import HEAD, TABLES, Sheets, merge
from catalog.entries import Edition
from catalog.errors import CatalogueError, Finding
from catalog.model import Catalogue
from catalog.tables import CONTROL, YEARS, read_sheet

BUNDLED = Path(__file__).parent / "data" / "illustrative"
"""The folder of the illustrative catalogue that comes with the package."""

_LABELS = {"id": re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"), "version": re.compile(r"[^\s@+/\\]{1,64}")}
_HEAD_KEYS: dict[str, tuple[type, str]] = {
    "id": (str, "letters, digits, dots, hyphens and underscores, at most 64"),
    "version": (str, "at most 64 characters without blanks, @, + and slashes"),
    "name": (str, "text"),
    "owner": (str, "text"),
    "scope": (str, "the code of a region"),
    "effective_from": (datetime, "a time such as 2026-11-01T00:00:00+08:00"),
    "overlap_days": (int, "a whole number of days, 0 for none, at most 3660"),
    "illustrative": (bool, "true or false"),
    "notice_zh": (str, "text"),
    "notice_en": (str, "text"),
}


class Draft(Struct, frozen=True):
    """An edition as it was read: its head, its files' bytes, its tables, and the place named in findings."""

    edition: Edition
    files: dict[str, bytes]
    sheets: Sheets
    place: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal over the files' names and bytes, in the order of the names."""
        state = hashlib.sha256()
        for name in sorted(self.files):
            for part in (name.encode(), self.files[name]):
                state.update(len(part).to_bytes(8, "big") + part)
        return state.hexdigest()


def load(folder: Path | None = None) -> Catalogue:
    """Reads and compiles the editions of a folder.

    Args:
        folder: one edition, or a folder of several; None for the bundled illustrative catalogue.

    Raises:
        CatalogueError: the folder may not be used; ``findings`` names every file, row and column to mend.
    """
    return compile_drafts(read_folder(BUNDLED if folder is None else folder))


def read_folder(folder: Path) -> list[Draft]:
    """The editions in a folder, in the order of their folders' names.

    Raises:
        CatalogueError: it is no folder of editions, or a table cannot be read.
    """
    try:
        if not folder.is_dir():
            raise CatalogueError(
                (Finding(str(folder), 0, "", "is no folder; name the folder of a catalogue"),)
            )
        if (folder / HEAD).is_file():
            return [read_files(_files(folder))]
        within = {
            f"{inner.name}/": _files(inner) for inner in sorted(folder.iterdir()) if (inner / HEAD).is_file()
        }
    except OSError as wrong:
        message = f"cannot be read ({wrong.strerror})"
        raise CatalogueError((Finding(str(wrong.filename), 0, "", message),)) from None
    if not within:
        message = f"holds no {HEAD}; name the folder of an edition, or one of several"
        raise CatalogueError((Finding(str(folder), 0, "", message),))
    drafts: list[Draft] = []
    findings: list[Finding] = []
    for place, files in within.items():
        try:
            drafts.append(read_files(files, place))
        except CatalogueError as wrong:
            findings.extend(wrong.findings)
    if findings:
        raise CatalogueError(tuple(findings))
    return drafts


def read_files(files: Mapping[str, bytes], place: str = "") -> Draft:
    """One edition from its files' bytes; ``place`` stands before the file names in findings.

    Raises:
        CatalogueError: a head or table cannot be read; references between tables are not checked yet.
    """
    findings: list[Finding] = []
    head = _head(files.get(HEAD), place, findings)
    known = {HEAD, *(table.file for table in TABLES)}
    for name in sorted(files.keys() - known):
        message = f"is no file of an edition; they are {', '.join(sorted(known))}"
        findings.append(Finding(f"{place}{name}", 0, "", message))
    read = {
        table.file: read_sheet(files.get(table.file), table, place, head.get("id", ""), findings)
        for table in TABLES
    }
    if findings:
        raise CatalogueError(tuple(findings))
    return Draft(Edition(**head), dict(files), Sheets.of(read), place)


def compile_drafts(drafts: Sequence[Draft]) -> Catalogue:
    """The catalogue that these editions make together, whatever order they are given in.

    Raises:
        CatalogueError: they contradict one another or themselves; ``findings`` has everything to mend.
    """
    drafts = sorted(drafts, key=lambda draft: (draft.edition.id, draft.edition.version))
    sheets, findings = merge([draft.sheets for draft in drafts])
    findings.extend(check(sheets))
    findings.extend(check_reach(drafts, sheets))
    if findings:
        raise CatalogueError(tuple(findings))
    return Catalogue(
        editions=tuple(draft.edition for draft in drafts),
        regions={row.value.code: row.value for row in sheets.regions.rows},
        lists={row.value.id: row.value for row in sheets.lists.rows},
        items=sheets.items,
        panels={row.value.code: row.value for row in sheets.panels.rows},
        windows=tuple(row.value for row in sheets.windows.rows),
        rules={
            row.value.id: row.value for row in sheets.rules.rows + sheets.negative.rows + sheets.levels.rows
        },
        stand_ins=tuple(row.value for row in sheets.stand_ins.rows),
        reason_codes={(row.value.system, row.value.code): row.value for row in sheets.reason_codes.rows},
        institutions={row.value.code: row.value for row in sheets.institutions.rows},
        qualifications=tuple(row.value for row in sheets.qualifications.rows),
        conversions=tuple(row.value for row in sheets.conversions.rows),
        prices=tuple(row.value for row in sheets.prices.rows),
    )


def _files(folder: Path) -> dict[str, bytes]:
    return {
        file.name: file.read_bytes()
        for file in sorted(folder.iterdir())
        if file.name == HEAD or file.suffix == ".csv"
    }


def _head(text: bytes | None, place: str, findings: list[Finding]) -> dict[str, Any]:
    def wrong(key: str, message: str) -> None:
        findings.append(Finding(place + HEAD, 0, key, message))

    if text is None:
        wrong("", "is missing; an edition needs this file")
        return {}
    try:
        head = tomllib.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # tomllib lets more through than TOMLDecodeError
        wrong("", f"is not TOML in UTF-8 ({str(error)[:200]})")
        return {}
    for key in head.keys() - _HEAD_KEYS.keys():
        wrong(key, f"is no key of this file; they are {', '.join(_HEAD_KEYS)}")
    for key, (kind, words) in _HEAD_KEYS.items():
        value = head.get(key)
        if key not in head:
            wrong(key, "is missing; a value is required")
        elif not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
            wrong(key, f"must be {words}")
        elif value == "" and not (key.startswith("notice") and not head.get("illustrative")):
            wrong(key, f"must be {words}, and not empty")
        elif isinstance(value, str) and CONTROL.search(value):
            wrong(key, "holds a control character; type the text again")
        elif isinstance(value, datetime) and value.tzinfo is None:
            wrong(key, "has no time zone; write 2026-11-01T00:00:00+08:00")
        elif isinstance(value, datetime) and value.year not in YEARS:
            wrong(key, f"lies in the year {value.year}; correct it")
        elif _unfit(key, value):
            wrong(key, f"must be {words}")
    return head


def _unfit(key: str, value: object) -> bool:
    """Whether a value cannot be part of a label or path, or is too many days."""
    if key in _LABELS:
        return not _LABELS[key].fullmatch(str(value))
    return isinstance(value, int) and not 0 <= value <= 3660
