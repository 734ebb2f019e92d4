"""Texts of DICOM JSON as they were meant, and never as they were not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    ],
)
def test_a_latin_text_with_accents_is_no_chinese(text: str) -> None:
    assert mended({"00081030": element(text)}) == ({"00081030": element(text)}, False)


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


@pytest.mark.parametrize("header", [b"", b"DICM", bytes(200), b"\0" * 128 + b"DICM" + b"\xff" * 40])
def test_a_broken_header_leaves_a_text_as_it_is(header: bytes) -> None:
    lost = {"00100010": element("??", "PN")}
    assert from_header(lost, header) == lost
