"""Texts of DICOM JSON as they were meant, and never as they were not."""

from __future__ import annotations

import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.data import get_charset_files

from gateway.imaging.texts import decoded, from_header, mended, repaired, suspicious

MATERIAL = Path(__file__).resolve().parents[4] / "shared/conformance/dicom/shared"
HANZI = st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5), min_size=1, max_size=12)
COMMON = st.text(st.sampled_from("张王李赵胸部平扫头颅左膝关节正侧位增强腹肝胆胰脾"), min_size=1, max_size=12)
LATIN = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyzéèêëàâäöüßñçøåœ ^-"), min_size=1, max_size=20)


def material(name: str) -> Path:
    if not (path := MATERIAL / name).exists():
        pytest.skip(f"{name} of the shared conformance material is not here")
    return path


def element(text: str, vr: str = "LO") -> dict[str, Any]:
    return {"vr": vr, "Value": [{"Alphabetic": text} if vr == "PN" else text]}


def read_as(text: str, codec: str, reader: str = "latin-1") -> str:
    """What an archive makes of bytes that it takes for one character each."""
    return text.encode(codec).decode(reader)


@pytest.mark.parametrize(
    "codec_and_reader", [("gb18030", "latin-1"), ("gbk", "cp1252"), ("utf-8", "latin-1")]
)
@pytest.mark.parametrize(
    "text", ["胸部CT平扫", "张三", "左膝关节正侧位DR", "MR颅脑平扫+增强", "腹部B超（空腹）"]
)
def test_bytes_that_were_taken_for_characters_are_read(text: str, codec_and_reader: tuple[str, str]) -> None:
    codec, reader = codec_and_reader
    try:
        seen = read_as(text, codec, reader)
    except UnicodeDecodeError:
        pytest.skip("Windows-1252 has no such characters")
    assert repaired(seen) == text


@given(HANZI)
def test_utf8_that_was_taken_for_latin_is_read(text: str) -> None:
    assert repaired(read_as(text, "utf-8")) == text


@given(HANZI)
def test_every_hanzi_is_read_where_the_character_set_is_known(text: str) -> None:
    assert repaired(read_as(text, "gb18030"), hinted=True) == text


@given(LATIN)
def test_european_names_stay_what_they_are(text: str) -> None:
    assert repaired(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "Äneas^Rüdiger",
        "Größe",
        "Müßig",
        "Strauß",
        "Crème brûlée",
        "NUÑEZ",
        "ÖSTERREICH",
        "Ærø",
        "±5°C",
        "50µm",
        "CORAÇÃO",
        "PÄÄ",
        "HÅÅL",
        "TÓRAX",
    ],
)
def test_a_latin_text_with_accents_is_no_chinese(text: str) -> None:
    assert mended({"00081030": element(text)}) == ({"00081030": element(text)}, False)


@pytest.mark.parametrize("text", ["Äneas^Rüdiger", "TÓRAX", "São Paulo", "Ýmir", "ÎLE", "FÜSSE"])
def test_a_latin_word_is_no_chinese_whatever_its_label(text: str) -> None:
    assert repaired(text, hinted=True) == text


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [
        ("ISO_IR 144", "iso8859-5", "Иванов^Иван"),
        ("ISO_IR 144", "iso8859-5", "ПЕТРОВ"),
        ("ISO_IR 126", "iso8859-7", "Διονυσιος"),
        ("ISO_IR 127", "iso8859-6", "قباني^لنزار"),
        ("ISO_IR 138", "iso8859-8", "שרון^דבורה"),
        ("ISO_IR 13", "shift_jis", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        ("ISO 2022 IR 149", "euc_kr", "김희중"),
    ],
)
def test_bytes_of_another_character_set_are_read_by_their_label(label: str, codec: str, text: str) -> None:
    dataset = {"00080005": element(label, "CS"), "00100010": element(read_as(text, codec), "PN")}
    assert mended(dataset)[0]["00100010"] == element(text, "PN")
    assert decoded(text.encode(codec), [label]) == text


@given(
    st.characters(min_codepoint=0x3400, max_codepoint=0x4DBF)
    | st.characters(min_codepoint=0x20000, max_codepoint=0x323AF)
)
def test_a_hanzi_of_four_bytes_is_read_without_a_label(char: str) -> None:
    if len(char.encode("gb18030")) == 4:
        assert repaired(read_as(f"张{char}", "gb18030")) == f"张{char}"


@pytest.mark.parametrize("text", ["李喆", "王堃", "CT平扫", "T1加权"])
def test_names_and_abbreviations_are_read_without_a_label(text: str) -> None:
    assert repaired(read_as(text, "gb18030")) == text


@given(st.text(max_size=30))
def test_a_text_is_changed_into_the_same_bytes_alone(text: str) -> None:
    meant = repaired(text)
    assert meant == text or "\x1b" in text or meant.encode("utf-8") == _octets(text) or (
        meant.encode("gb18030") == _octets(text)
    )  # fmt: skip


def _octets(text: str) -> bytes:
    return b"".join(
        char.encode("latin-1") if ord(char) < 256 else char.encode("cp1252", "ignore") for char in text
    )


@given(HANZI, COMMON)
def test_a_right_text_is_never_touched(name: str, description: str) -> None:
    dataset = {
        "00080005": element("GB18030", "CS"),
        "00100010": element(name, "PN"),
        "00081030": element(description),
    }
    assert mended(dataset) == (dataset, False)


def test_what_is_proven_of_one_text_goes_for_those_beside_it() -> None:
    dataset = {
        "00081030": element(read_as("胸部CT平扫", "gb18030")),
        "00100010": element(read_as("晏婧", "gb18030"), "PN"),
    }
    told, _ = mended(dataset)
    assert told["00100010"] == element("晏婧", "PN")


def test_a_label_says_nothing_where_other_texts_came_right() -> None:
    dataset = {
        "00080005": element("GB18030", "CS"),
        "00100010": element("Rüdiger", "PN"),
        "00081030": element("胸部平扫"),
    }
    assert mended(dataset) == (dataset, False)


def test_texts_in_sequences_are_read() -> None:
    inner = {"00400007": element(read_as("头颅平扫", "gb18030"))}
    told, _ = mended({"00400275": {"vr": "SQ", "Value": [inner]}})
    assert told["00400275"]["Value"][0]["00400007"] == element("头颅平扫")


def test_a_hanzi_whose_second_byte_is_a_backslash_is_one_value() -> None:
    parts = read_as("胸部誠", "gbk").split("\\")
    assert len(parts) == 2
    dataset = {"00080005": element("GBK", "CS"), "00081030": {"vr": "LO", "Value": parts}}
    assert mended(dataset)[0]["00081030"] == element("胸部誠")


@pytest.mark.parametrize("text", ["??^??", "张�", "检查????", "?"])
def test_what_is_lost_is_known_to_be(text: str) -> None:
    dataset = {"00100010": element(text, "PN")}
    assert mended(dataset) == (dataset, True)
    assert suspicious(json.dumps(dataset, ensure_ascii=False).encode())


def test_a_question_is_no_lost_text() -> None:
    assert not mended({"00081030": element("骨折?")})[1]


@pytest.mark.parametrize("ascii_alone", [True, False])
@pytest.mark.parametrize(
    "text", [read_as("张三", "gb18030"), read_as("张三", "utf-8"), "\x1b$)AÕÅ", "张�", "??"]
)
def test_every_text_that_is_changed_is_looked_at(text: str, ascii_alone: bool) -> None:
    body = json.dumps([{"00100010": element(text, "PN")}], ensure_ascii=ascii_alone)
    assert suspicious(body.encode())


def test_right_chinese_texts_cost_no_look() -> None:
    body = json.dumps([{"00100010": element("示例^三", "PN"), "00081030": element("胸部CT平扫（增强）")}])
    assert not suspicious(body.encode())
    assert not suspicious(json.dumps(json.loads(body), ensure_ascii=False).encode())


KEYS = ["vr", "Value", "00100010"]
ODD = st.recursive(
    st.none() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=6,
)


@given(ODD)
def test_no_object_is_too_odd_to_be_looked_at(odd: Any) -> None:
    mended({"00100010": odd, "00400275": {"vr": "SQ", "Value": odd}, "00081030": {"vr": "LO", "Value": odd}})


def vectors() -> list[dict[str, Any]]:
    path = MATERIAL / "charset-vectors.json"
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return found


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector["charset"])
def test_the_published_vectors_are_read(vector: dict[str, Any]) -> None:
    value = bytes.fromhex(vector["pn_hex"]) if vector["pn_hex"] else vector["text"].encode("gb18030")
    declared = vector["charset"].split(" declared")[0].split(" (")[0]
    assert decoded(value, [declared]) == vector["text"]
    assert repaired(value.decode("latin-1"), hinted=declared == "GB18030") == vector["text"]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("chrX2.dcm", {"Alphabetic": "Wang^XiaoDong", "Ideographic": "王^小东"}),
        ("chrI2.dcm", {"Alphabetic": "Hong^Gildong", "Ideographic": "洪^吉洞", "Phonetic": "홍^길동"}),
        ("chrKoreanMulti.dcm", {"Alphabetic": "김희중"}),
        ("chrGerm.dcm", {"Alphabetic": "Äneas^Rüdiger"}),
    ],
)
def test_a_lost_name_is_read_from_a_header(file: str, name: dict[str, str]) -> None:
    header = material(f"charset/{file}").read_bytes()[:1850]
    lost = {"00100010": element("??^??", "PN")}
    assert from_header(lost, header)["00100010"]["Value"] == [name]


ESCAPES, THEIR_FIRST_BYTES = rb"\x1b\$?[(BJ]{1,2}", rb"\x1b"


@pytest.mark.parametrize(
    ("file", "dropped"),
    [
        ("chrH31.dcm", ESCAPES),
        ("chrH32.dcm", ESCAPES),
        ("chrH31.dcm", THEIR_FIRST_BYTES),
        ("chrJapMultiExplicitIR6.dcm", THEIR_FIRST_BYTES),
    ],
)
def test_a_name_without_its_escape_sequences_is_read_from_a_header(file: str, dropped: bytes) -> None:
    path = get_charset_files(file)[0]  # of David Clunie, in pydicom
    header = dcmread(path)
    told = re.sub(dropped, b"", header.get_item(0x00100010).value).decode("shift_jis").split("=")
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), told, strict=False)
    body = {"00100010": {"vr": "PN", "Value": [dict(groups)]}}
    assert suspicious(json.dumps(body, ensure_ascii=False).encode())
    left, lost = mended(body)
    (found,) = from_header(left, Path(path).read_bytes())["00100010"]["Value"]
    assert (lost, "=".join(found.values())) == (True, str(header.PatientName))


def header_of(**texts: str) -> bytes:
    """The header of an image whose texts are GB18030."""
    data = Dataset()
    data.SpecificCharacterSet, data.SeriesInstanceUID = "GB18030", "1.2.3"
    for keyword, text in texts.items():
        setattr(data, keyword, text)
    file = BytesIO()
    dcmwrite(file, data, implicit_vr=False, little_endian=True)
    return bytes(128) + b"DICM" + file.getvalue()


def test_what_an_archive_dropped_of_other_texts_is_read_with_a_lost_name() -> None:
    header = header_of(PatientName="王^小东", StudyDescription="胸部CT平扫", ReferringPhysicianName="Li^Ming")
    left = {"00100010": element("^", "PN"), "00081030": element("CT"), "00080090": element("Wang^Wu", "PN")}
    told = from_header(left, header)
    assert told["00100010"] == element("王^小东", "PN")
    assert told["00081030"] == element("胸部CT平扫")
    assert told["00080090"] == element("Wang^Wu", "PN")


def test_a_name_that_is_gone_is_read_from_a_header() -> None:
    told = from_header({"00100010": {"vr": "PN"}}, header_of(PatientName="王小东"))
    assert told["00100010"] == element("王小东", "PN")


def test_a_right_text_is_not_taken_from_a_header() -> None:
    left = {"00100010": element("^", "PN"), "00081030": element("右膝")}
    assert from_header(left, header_of(StudyDescription="左膝"))["00081030"] == element("右膝")


def test_a_series_is_not_described_by_another_one() -> None:
    lost = {"0020000E": element("1.2.9", "UI"), "0008103E": element("??"), "00100010": element("^", "PN")}
    told = from_header(lost, header_of(PatientName="王^小东", SeriesDescription="轴位"))
    assert (told["0008103E"], told["00100010"]) == (element("??"), element("王^小东", "PN"))
    own = from_header(lost | {"0020000E": element("1.2.3", "UI")}, header_of(SeriesDescription="轴位"))
    assert own["0008103E"] == element("轴位")


@pytest.mark.parametrize("header", [b"", b"DICM", bytes(200), b"\0" * 128 + b"DICM" + b"\xff" * 40])
def test_a_broken_header_leaves_a_text_as_it_is(header: bytes) -> None:
    lost = {"00100010": element("??", "PN")}
    assert from_header(lost, header) == lost
