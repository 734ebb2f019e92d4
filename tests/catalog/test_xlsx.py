"""An .xlsx file that nobody vouches for: what is dangerous is refused before it is parsed, with a reason."""

from __future__ import annotations

import importlib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import defusedxml.ElementTree
import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.worksheet.formula import ArrayFormula

from catalog import CatalogueError, Finding
from catalog._grids import MOST_CHARACTERS, MOST_COLUMNS, MOST_ROWS, Cell, column_letters, column_number
from catalog._xlsx import MOST_PARTS, MOST_SHEET_BYTES, open_xlsx

SHEET = "xl/worksheets/sheet1.xml"
HEAD = b'<?xml version="1.0" encoding="UTF-8"?>\n'
NAMESPACE = b'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def book(tmp_path: Path, *rows: tuple[Any, ...], merge: str = "") -> Path:
    made = openpyxl.Workbook()
    sheet = made.active
    assert sheet is not None
    sheet.title = "附件1"
    for row in rows or (("名称", "天数"), ("白蛋白", 30)):
        sheet.append(row)
    if merge:
        sheet.merge_cells(merge)
    made.save(tmp_path / "annex.xlsx")
    return tmp_path / "annex.xlsx"


def replaced(path: Path, changes: Mapping[str, bytes | Callable[[bytes], bytes]]) -> Path:
    """The same archive with these parts in place of those of the same names, or added."""
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    for name, change in changes.items():
        held[name] = change if isinstance(change, bytes) else change(held[name])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in held.items():
            archive.writestr(name, data)
    return path


def rows(path: Path) -> list[tuple[int, list[Cell]]]:
    return list(open_xlsx(path, "").rows)


def refused(path: Path, sheet: str = "") -> Finding:
    with pytest.raises(CatalogueError) as caught:
        list(open_xlsx(path, sheet).rows)
    (finding,) = caught.value.findings
    return finding


def sheet_of(rows: bytes) -> bytes:
    return HEAD + b"<worksheet " + NAMESPACE + b"><sheetData>" + rows + b"</sheetData></worksheet>"


def test_the_texts_of_a_sheet_are_read_row_by_row(tmp_path: Path) -> None:
    read = rows(book(tmp_path, ("名称", "天数"), ("白蛋白", 30), (None, 2.5)))
    texts = [(number, [cell.text for cell in cells[:2]]) for number, cells in read]
    assert texts == [(1, ["名称", "天数"]), (2, ["白蛋白", "30"]), (3, ["", "2.5"])]


def test_the_place_of_a_sheet_names_file_and_sheet(tmp_path: Path) -> None:
    assert open_xlsx(book(tmp_path), "").place == "annex.xlsx[附件1]"


def test_merged_ranges_are_known_before_the_rows_are_read(tmp_path: Path) -> None:
    (merge,) = open_xlsx(book(tmp_path, merge="A1:B2"), "").merges or ()
    assert (merge.left, merge.top, merge.right, merge.bottom) == (1, 1, 2, 2)


def test_a_code_shown_with_leading_zeros_keeps_them(tmp_path: Path) -> None:
    path = book(tmp_path, ("code",), (100101,))
    made = openpyxl.load_workbook(path)
    made["附件1"]["A2"].number_format = "0000000"
    made.save(path)
    assert rows(path)[1][1][0].text == "0100101"


def test_shared_strings_are_read_without_their_reading_aids(tmp_path: Path) -> None:
    types = b'<Override PartName="/xl/sharedStrings.xml" ContentType="application/vnd.openxmlformats-'
    types += b'officedocument.spreadsheetml.sharedStrings+xml"/></Types>'
    strings = "<si><r><t>白</t></r><r><t>蛋白</t></r><rPh sb='0' eb='1'><t>bai</t></rPh></si>".encode()
    changes: dict[str, bytes | Callable[[bytes], bytes]] = {
        "[Content_Types].xml": lambda data: data.replace(b"</Types>", types),
        "xl/sharedStrings.xml": HEAD + b"<sst " + NAMESPACE + b">" + strings + b"</sst>",
        SHEET: sheet_of(b'<row r="1"><c r="A1" t="s"><v>0</v></c></row>'),
    }
    assert rows(replaced(book(tmp_path), changes))[0][1][0].text == "白蛋白"


def test_letters_and_numbers_of_columns_are_inverse() -> None:
    assert [column_number(column_letters(n)) for n in range(1, 800)] == list(range(1, 800))


def test_a_sheet_that_is_not_there_is_refused_with_the_names_of_those_that_are(tmp_path: Path) -> None:
    assert "附件1" in refused(book(tmp_path), "附件2").message


def test_two_sheets_need_a_name(tmp_path: Path) -> None:
    path = book(tmp_path)
    made = openpyxl.load_workbook(path)
    made.create_sheet("附件2")
    made.save(path)
    assert "附件1, 附件2" in refused(path).message


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path / "nowhere.xlsx").message


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes("名称,天数\n".encode())
    assert "is no .xlsx file" in refused(tmp_path / "a.xlsx").message


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = book(tmp_path)
    path.write_bytes(path.read_bytes()[:-200])
    assert "damaged" in refused(path).message


def test_a_damaged_part_is_refused(tmp_path: Path) -> None:
    path = book(tmp_path)
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo(SHEET).header_offset + 60
    data = bytearray(path.read_bytes())
    data[at : at + 40] = bytes(40)
    path.write_bytes(bytes(data))
    assert "damaged" in refused(path).message


def test_a_legacy_xls_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    assert "legacy .xls" in refused(tmp_path / "a.xlsx").message


def test_a_file_with_a_password_is_refused(tmp_path: Path) -> None:
    stream = "EncryptedPackage".encode("utf-16-le")
    (tmp_path / "a.xlsx").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + stream)
    assert "password" in refused(tmp_path / "a.xlsx").message


def test_an_encrypted_part_is_refused(tmp_path: Path) -> None:
    path = book(tmp_path)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1  # the flag in the central directory, APPNOTE 4.4.4
    path.write_bytes(bytes(data))
    assert "encrypted" in refused(path).message


def test_an_archive_that_is_no_workbook_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        archive.writestr("readme.txt", "text")
    assert "no workbook" in refused(tmp_path / "a.xlsx").message


def test_a_binary_workbook_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.bin", "text")
    assert ".xlsb" in refused(tmp_path / "a.xlsx").message


def test_a_part_packed_as_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    assert "zip bomb" in refused(replaced(book(tmp_path), {SHEET: b" " * 1_000_000})).message


def test_a_file_that_would_unpack_beyond_the_bound_is_refused_without_unpacking(tmp_path: Path) -> None:
    path = book(tmp_path)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = (65 << 20).to_bytes(4, "little")  # the declared size, APPNOTE 4.4.9
    path.write_bytes(bytes(data))
    assert "unpack" in refused(path).message


def test_one_sheet_beyond_the_bound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        with archive.open(SHEET, "w") as part:
            for _ in range(MOST_SHEET_BYTES >> 20):
                part.write(bytes(1 << 20))
            part.write(b" ")
    assert f"the most is {MOST_SHEET_BYTES}" in refused(path).message


def test_too_many_parts_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        for number in range(MOST_PARTS + 1):
            archive.writestr(f"{number}", "")
    assert f"has {MOST_PARTS + 1} parts" in refused(tmp_path / "a.xlsx").message


def test_two_parts_of_one_name_are_refused(tmp_path: Path) -> None:
    assert "two parts" in refused(replaced(book(tmp_path), {"XL/workbook.xml": b"<x/>"})).message


def test_an_archive_within_the_archive_is_refused(tmp_path: Path) -> None:
    inner = book(tmp_path).read_bytes()
    assert "within the file" in refused(replaced(book(tmp_path), {"xl/embeddings/a.bin": inner})).message


def test_a_macro_is_refused(tmp_path: Path) -> None:
    assert "macro" in refused(replaced(book(tmp_path), {"xl/vbaProject.bin": b"any"})).message


def test_a_macro_sheet_of_the_old_kind_is_refused(tmp_path: Path) -> None:
    assert "macro" in refused(replaced(book(tmp_path), {"xl/macrosheets/sheet1.xml": b"<x/>"})).message


def test_a_workbook_declared_to_carry_macros_is_refused(tmp_path: Path) -> None:
    kind = b"application/vnd.ms-excel.sheet.macroEnabled.main+xml"
    usual = b"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"
    path = replaced(book(tmp_path), {"[Content_Types].xml": lambda data: data.replace(usual, kind)})
    assert ".xlsm" in refused(path).message


def test_an_external_link_is_refused(tmp_path: Path) -> None:
    part = "xl/externalLinks/externalLink1.xml"
    assert "other files" in refused(replaced(book(tmp_path), {part: b"<x/>"})).message


def test_a_data_connection_is_refused(tmp_path: Path) -> None:
    assert "other files" in refused(replaced(book(tmp_path), {"xl/connections.xml": b"<x/>"})).message


def test_a_relationship_to_another_file_is_refused(tmp_path: Path) -> None:
    end = b"</Relationships>"
    link = b'<Relationship Id="rX" Type="http://x/image" Target="file:///x" TargetMode="External"/>' + end
    change = {"xl/_rels/workbook.xml.rels": lambda data: data.replace(end, link)}
    assert "another file" in refused(replaced(book(tmp_path), change)).message


def test_a_hyperlink_in_a_cell_does_no_harm(tmp_path: Path) -> None:
    path = book(tmp_path)
    made = openpyxl.load_workbook(path)
    made["附件1"]["A2"].hyperlink = "https://example.org/"
    made.save(path)
    assert rows(path)[1][1][0].text == "白蛋白"


@pytest.mark.parametrize(
    "declaration",
    [
        b"<!DOCTYPE worksheet>",
        b'<!DOCTYPE worksheet [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>',
        b'<!DOCTYPE worksheet SYSTEM "file:///etc/hostname">',
    ],
    ids=["DTD", "entities", "external subset"],
)
@pytest.mark.parametrize("part", [SHEET, "docProps/core.xml", "xl/workbook.xml", "xl/styles.xml"])
def test_a_document_type_in_any_part_is_refused(tmp_path: Path, part: str, declaration: bytes) -> None:
    def declared(data: bytes) -> bytes:
        text = data.removeprefix(HEAD)
        return HEAD + declaration + text

    assert "DTD or entities" in refused(replaced(book(tmp_path), {part: declared})).message


def test_a_document_type_in_another_encoding_is_refused(tmp_path: Path) -> None:
    text = '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE worksheet [<!ENTITY a "b">]><worksheet/>'
    assert "DTD" in refused(replaced(book(tmp_path), {SHEET: text.encode("utf-16")})).message


def test_what_reads_the_cells_reads_xml_by_the_defused_parser() -> None:
    functions = importlib.import_module("openpyxl.xml.functions")
    assert functions.iterparse is defusedxml.ElementTree.iterparse
    assert functions.fromstring is defusedxml.ElementTree.fromstring


def test_xml_that_is_not_well_formed_is_refused(tmp_path: Path) -> None:
    assert "not well-formed" in refused(replaced(book(tmp_path), {SHEET: b"<worksheet>"})).message


def test_xml_nested_beyond_need_is_refused(tmp_path: Path) -> None:
    nested = b"".join(b"<a%d>" % n for n in range(70)) + b"".join(b"</a%d>" % n for n in range(69, -1, -1))
    assert "more XML" in refused(replaced(book(tmp_path), {"xl/styles.xml": nested})).message


def test_a_part_of_too_many_elements_is_refused(tmp_path: Path) -> None:
    many = b"<x>" + b"".join(b"<y n='%d'/>" % (n * 7919) for n in range(60_001)) + b"</x>"
    assert "more XML" in refused(replaced(book(tmp_path), {"xl/styles.xml": many})).message


def test_a_merged_range_that_is_none_is_refused(tmp_path: Path) -> None:
    path = book(tmp_path, merge="A1:B2")
    assert (
        "merged range"
        in refused(replaced(path, {SHEET: lambda data: data.replace(b'ref="A1:B2"', b'ref="A1:"')})).message
    )


def test_a_sheet_that_declares_a_size_it_does_not_have_is_read_as_it_is(tmp_path: Path) -> None:
    path = book(tmp_path)
    change = {SHEET: lambda data: data.replace(b'ref="A1:B2"', b'ref="A1:XFD1048576"')}
    assert len(rows(replaced(path, change))) == 2


def test_more_rows_than_an_annex_has_are_refused_at_the_row(tmp_path: Path) -> None:
    path = replaced(book(tmp_path), {SHEET: sheet_of(b'<row r="1048576"><c r="A1048576"><v>1</v></c></row>')})
    assert refused(path).row == MOST_ROWS + 1


def test_a_cell_far_to_the_right_is_left_out(tmp_path: Path) -> None:
    path = replaced(book(tmp_path), {SHEET: sheet_of(b'<row r="1"><c r="XFD1"><v>1</v></c></row>')})
    assert len(rows(path)[0][1]) == MOST_COLUMNS


@pytest.mark.parametrize(
    "cells",
    [
        b'<c r="A1" t="s"><v>999</v></c>',
        b'<c r="A1"><v>1.2.3</v></c>',
        b'<c r="1A"><v>1</v></c>',
        b'<c r="A1" s="99999"><v>1</v></c>',
        b'<c r="A1" t="b"><v>perhaps</v></c>',
    ],
    ids=["string that is not there", "number", "place", "style", "truth value"],
)
def test_a_cell_that_the_form_does_not_allow_is_refused(tmp_path: Path, cells: bytes) -> None:
    path = replaced(book(tmp_path), {SHEET: sheet_of(b'<row r="1">' + cells + b"</row>")})
    assert "cannot be read" in refused(path).message


def test_a_formula_is_a_fault_of_its_cell(tmp_path: Path) -> None:
    assert "formula" in rows(book(tmp_path, ("=1+1",)))[0][1][0].fault


def test_an_array_formula_is_a_fault_of_its_cell(tmp_path: Path) -> None:
    assert "formula" in rows(book(tmp_path, (ArrayFormula("A1", "=1+1"),)))[0][1][0].fault


def test_an_error_value_is_a_fault_of_its_cell(tmp_path: Path) -> None:
    assert "#N/A" in rows(book(tmp_path, ("#N/A",)))[0][1][0].fault


def test_an_overlong_text_is_a_fault_of_its_cell(tmp_path: Path) -> None:
    assert "characters" in rows(book(tmp_path, ("长" * (MOST_CHARACTERS + 1),)))[0][1][0].fault


@pytest.mark.slow
@settings(deadline=None)
@given(st.data())
def test_whatever_a_part_holds_a_sheet_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = book(tmp_path_factory.mktemp("fuzz"), ("名称", "天数"), ("白蛋白", "=1+1"), merge="A1:B1")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = data.draw(st.sampled_from(sorted(parts)))
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(parts[name]))] * 2)))
    put = data.draw(
        st.binary(max_size=8) | st.sampled_from([b"<row>", b"</c>", b'r="XFD1048577"', b't="s"', b"-1"])
    )
    try:
        rows(replaced(path, {name: parts[name][:start] + put + parts[name][end:]}))
    except CatalogueError as wrong:
        assert wrong.findings[0].file.startswith("annex.xlsx")  # noqa: PT017 - either way is right
