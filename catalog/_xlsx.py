"""Opens one sheet of an .xlsx file that nobody vouches for, and streams its rows.

The archive is judged before any of it is parsed: sizes, nesting, encryption, contents. Then each XML part is
read once by a SAX parser that refuses DTDs and entities and counts elements, because `openpyxl` (which reads
the cells, through `defusedxml`) keeps a small object for each; the same pass yields the merged ranges, which
openpyxl's streaming mode leaves out. What is left is bounded: rows, columns, the text of a cell.

Source: ECMA-376 Part 1 (SpreadsheetML), 18.3.1.55 mergeCell; ECMA-376 Part 2 (packages); APPNOTE.TXT 4.3.
"""

from __future__ import annotations

import posixpath
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any
from xml.sax import SAXParseException
from xml.sax.handler import ContentHandler
from xml.sax.xmlreader import AttributesImpl

import defusedxml.sax
from defusedxml import DefusedXmlException

from catalog._grids import (
    EMPTY,
    MOST_BYTES,
    MOST_COLUMNS,
    MOST_ROWS,
    Cell,
    Grid,
    Merge,
    checked,
    column_number,
    refuse,
)
from catalog.errors import CatalogueError

MOST_SHEET_BYTES = 32 << 20
MOST_RATIO = 200
MOST_PARTS = 2_000
_MOST_ELEMENTS = 600_000
_MOST_OTHER_ELEMENTS = 60_000
_MOST_DEPTH = 64
_MOST_MERGES = 20_000

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP = b"PK\x03\x04"
_RANGE = re.compile(r"\$?([A-Z]{1,3})\$?([0-9]{1,7})(?::\$?([A-Z]{1,3})\$?([0-9]{1,7}))?")


def open_xlsx(path: Path, sheet: str) -> Grid:
    """The sheet of this name; an empty name means the only one. Its rows can be gone through once.

    Raises:
        CatalogueError: the file is refused, here or at the row that shows why.
    """
    place = path.name
    try:
        with path.open("rb") as file:
            _judge_file(file, place)
            with zipfile.ZipFile(file) as archive:
                _judge_parts(archive, place)
                merges = _judge_xml(archive, place)
                parts = _sheet_parts(archive, place)
    except OSError as wrong:
        refuse(place, f"cannot be read ({wrong.strerror or wrong})")
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        UnicodeError,
    ) as wrong:
        refuse(place, f"is a damaged archive ({wrong}); open it in a spreadsheet program and save it again")
    names = ", ".join(parts)
    if sheet and sheet not in parts:
        refuse(place, f"has no sheet {sheet!r}; name one of: {names}")
    if not sheet and len(parts) != 1:
        refuse(place, f"has {len(parts)} sheets; let the mapping name one of: {names}")
    title = sheet or next(iter(parts))
    return Grid(f"{place}[{title}]", merges.get(parts[title], ()), _rows(path, title, f"{place}[{title}]"))


def _judge_file(file: IO[bytes], place: str) -> None:
    start = file.read(8)
    size = file.seek(0, 2)
    file.seek(0)
    if size > MOST_BYTES:
        refuse(place, f"has {size} bytes, the most is {MOST_BYTES}; keep the sheet that is needed only")
    if start == _OLE:
        if "EncryptedPackage".encode("utf-16-le") in file.read():
            refuse(place, "is encrypted with a password; save it without one")
        refuse(place, "is a legacy .xls or another OLE file; save it as .xlsx or CSV UTF-8")
    if not start.startswith(_ZIP):
        refuse(place, "is no .xlsx file; save it as .xlsx or CSV UTF-8")


def _judge_parts(archive: zipfile.ZipFile, place: str) -> None:
    parts = archive.infolist()
    if len(parts) > MOST_PARTS:
        refuse(place, f"has {len(parts)} parts, the most is {MOST_PARTS}; this is no ordinary workbook")
    # zipfile never unpacks more of a part than it declares, so that what is declared is a bound.
    if (total := sum(part.file_size for part in parts)) > MOST_BYTES:
        refuse(place, f"would unpack to {total} bytes, the most is {MOST_BYTES}")
    if len({part.filename.casefold() for part in parts}) != len(parts):
        refuse(place, "holds two parts of one name; save it again in a spreadsheet program")
    for part in parts:
        name = part.filename.casefold()
        if part.flag_bits & 1:
            refuse(place, f"{part.filename} is encrypted; save it without a password")
        if part.file_size > MOST_RATIO * max(part.compress_size, 1):
            refuse(place, f"{part.filename} is packed more than {MOST_RATIO} to 1, as a zip bomb is")
        if name.startswith("xl/worksheets/") and part.file_size > MOST_SHEET_BYTES:
            refuse(place, f"{part.filename} has {part.file_size} bytes, the most is {MOST_SHEET_BYTES}")
        if name.endswith("vbaproject.bin") or "/macrosheets/" in name:
            refuse(place, f"{part.filename} is a macro; save it as .xlsx without macros")
        if "/externallinks/" in name or "/querytables/" in name or name == "xl/connections.xml":
            refuse(
                place, f"{part.filename} refers to other files or data; paste the values and save it again"
            )
        with archive.open(part) as opened:
            start = opened.read(8)
        if start.startswith(_ZIP) or start == _OLE:
            refuse(place, f"{part.filename} is a file within the file; remove what is embedded")
    names = {part.filename for part in parts}
    if "[Content_Types].xml" not in names:
        refuse(place, "is a zip archive and no workbook; save it as .xlsx or CSV UTF-8")
    types = archive.read("[Content_Types].xml").lower()
    if b"macroenabled" in types or b"vbaproject" in types:
        refuse(place, "is a workbook with macros (.xlsm); save it as .xlsx without macros")
    if "xl/workbook.xml" not in names:
        refuse(place, "holds no xl/workbook.xml (.xlsb, or not from a spreadsheet); save it as .xlsx")


class _Counter(ContentHandler):
    """Counts what a part would cost, and collects its merged ranges, sheet names and relationships."""

    def __init__(self, name: str, place: str, most: int) -> None:
        super().__init__()
        self._name, self._place, self._most = name, place, most
        self._elements = self._depth = 0
        self.merges: list[Merge] = []
        self.sheets: dict[str, str] = {}
        self.targets: dict[str, str] = {}

    def startElement(self, name: str, attrs: AttributesImpl) -> None:  # noqa: N802 (the name SAX calls)
        self._elements += 1
        self._depth += 1
        if self._elements > self._most or self._depth > _MOST_DEPTH:
            refuse(
                self._place, f"{self._name} has more XML than a table needs; keep the rows that count only"
            )
        local = name.rpartition(":")[2]
        if local == "mergeCell":
            if len(self.merges) == _MOST_MERGES:
                refuse(self._place, f"{self._name} has more than {_MOST_MERGES} merged cells")
            self.merges.append(self._merge(attrs.get("ref", "")))
        elif local == "sheet":
            relation = next((attrs[key] for key in attrs.getNames() if key.endswith(":id")), "")
            self.sheets[attrs.get("name", "")] = relation
        elif local == "Relationship":
            if attrs.get("TargetMode") == "External" and not attrs.get("Type", "").endswith("/hyperlink"):
                refuse(
                    self._place, f"{self._name} refers to another file; paste the values and save it again"
                )
            self.targets[attrs.get("Id", "")] = attrs.get("Target", "")

    def endElement(self, name: str) -> None:  # noqa: N802 (the name SAX calls)
        self._depth -= 1

    def _merge(self, ref: str) -> Merge:
        if (found := _RANGE.fullmatch(ref)) is None:
            refuse(self._place, f"{self._name} has a merged range {ref[:40]!r}, which is none")
        left, top, right, bottom = found.groups()
        return Merge(
            column_number(left), int(top), column_number(right or left), int(bottom if right else top)
        )


def _judge_xml(archive: zipfile.ZipFile, place: str) -> dict[str, tuple[Merge, ...]]:
    return {
        part: tuple(_read_part(archive, part, place).merges)
        for part in archive.namelist()
        if part.endswith((".xml", ".rels", ".vml"))
    }


def _read_part(archive: zipfile.ZipFile, part: str, place: str) -> _Counter:
    large = part.startswith("xl/worksheets/") or part == "xl/sharedStrings.xml"
    counter = _Counter(part, place, _MOST_ELEMENTS if large else _MOST_OTHER_ELEMENTS)
    try:
        with archive.open(part) as opened:
            defusedxml.sax.parse(opened, counter, forbid_dtd=True)
    except DefusedXmlException:
        refuse(place, f"{part} has a DTD or entities, which no spreadsheet program writes")
    except SAXParseException as wrong:
        refuse(place, f"{part} is not well-formed XML ({wrong.getMessage()}, line {wrong.getLineNumber()})")
    return counter


def _sheet_parts(archive: zipfile.ZipFile, place: str) -> dict[str, str]:
    """Sheet name → the part that holds it."""
    relations = "xl/_rels/workbook.xml.rels"
    if relations not in archive.namelist():
        refuse(place, f"holds no {relations}; save it again in a spreadsheet program")
    targets = _read_part(archive, relations, place).targets
    sheets = _read_part(archive, "xl/workbook.xml", place).sheets
    return {
        title: posixpath.normpath(posixpath.join("/xl", targets.get(relation, ""))).lstrip("/")
        for title, relation in sheets.items()
    }


def _rows(path: Path, title: str, place: str) -> Iterator[tuple[int, list[Cell]]]:
    import openpyxl  # takes 0.2 s, which only this needs

    number = 0
    try:
        # openpyxl warns of what it leaves out (validation lists, print settings); none of it is a cell.
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")
            with closing(openpyxl.load_workbook(file, read_only=True, keep_links=False)) as book:
                sheet: Any = book[title]
                sheet.reset_dimensions()  # what a sheet declares of its size need not be so
                for number, cells in enumerate(sheet.iter_rows(max_col=MOST_COLUMNS), start=1):
                    if number > MOST_ROWS:
                        refuse(
                            place, f"has more than {MOST_ROWS} rows; keep the rows that count only", number
                        )
                    yield number, [_cell(cell) for cell in cells]
    except CatalogueError:
        raise
    except Exception as wrong:  # openpyxl raises whatever its parts do; a file is only readable or not
        refuse(place, f"cannot be read after this row ({type(wrong).__name__}: {str(wrong)[:200]})", number)


def _cell(cell: Any) -> Cell:
    value = cell.value
    if value is None:
        return EMPTY
    if cell.data_type == "f":
        return Cell("", "is a formula; paste its value")
    if cell.data_type == "e":
        return Cell("", f"is the error {value}; correct it")
    if isinstance(value, bool):
        return Cell("TRUE" if value else "FALSE")
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    text = str(value)
    if isinstance(value, int) and re.fullmatch("0{2,15}", cell.number_format):
        text = text.zfill(len(cell.number_format))  # a code shown as 0100101
    return checked(text)
