"""Which character set an archive's answer is in, whatever it names."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pynetdicom.dsutils import encode

from gateway.bridge.charsets import settle, speak

NAME = "示例^患者"
UTF8, GB = NAME.encode(), NAME.encode("gb18030")


def read(named: list[str], name: bytes, charset: str = "") -> str:
    """A name of these bytes in an answer that names these character sets."""
    keys = Dataset()
    if named:
        keys.SpecificCharacterSet = named
    told = encode(keys, True, True) or b""
    padded = name + b" " * (len(name) % 2)
    raw = told + b"\x10\x00\x10\x00" + len(padded).to_bytes(4, "little") + padded
    answer = read_dataset(BytesIO(raw), is_implicit_VR=True, is_little_endian=True)
    settle(answer, [charset] if charset else [])
    return str(answer.PatientName)


@pytest.mark.parametrize(
    ("named", "name", "charset", "meant"),
    [
        (["GB18030"], GB, "", NAME),
        (["ISO_IR 192"], UTF8, "", NAME),
        ([], GB, "", NAME),
        ([], UTF8, "", NAME),
        ([], "㛃".encode("gb18030"), "GB18030", "㛃"),
        (["ISO_IR 192"], GB, "", NAME),
        (["ISO_IR 6"], UTF8, "", NAME),
        (["ISO_IR 100"], GB, "", NAME),
        (["ISO_IR 100"], "Äneas^Rüdiger".encode("latin-1"), "", "Äneas^Rüdiger"),
        (["ISO_IR 192"], "Äneas^Rüdiger".encode(), "", "Äneas^Rüdiger"),
        (["ISO_IR 100"], b"Li^Si", "GB18030", "Li^Si"),
        (["", "ISO 2022 IR 149"], b"Hong=\x1b$)C\xfb\xf3", "", "Hong=洪"),
    ],
)
def test_a_name_is_read_as_what_its_bytes_are(
    named: list[str], name: bytes, charset: str, meant: str
) -> None:
    assert read(named, name, charset) == meant


@given(st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5), min_size=1, max_size=8))
def test_hanzi_in_utf8_are_read_whatever_the_operator_says(name: str) -> None:
    assert read([], name.encode(), "ISO_IR 192") == name


def test_texts_of_items_are_read_like_the_others() -> None:
    item, answer = Dataset(), Dataset()
    item.add_new(0x00400007, "UN", GB)
    answer.RequestAttributesSequence = [item]
    raw = encode(answer, True, True) or b""
    told = read_dataset(BytesIO(raw), is_implicit_VR=True, is_little_endian=True)
    settle(told, [])
    assert told.RequestAttributesSequence[0].ScheduledProcedureStepDescription == NAME


@pytest.mark.parametrize(
    ("charset", "name", "named"),
    [("GB18030", NAME, "GB18030"), ("GBK", "㛃", "ISO_IR 192"), ("", NAME, "ISO_IR 192"), ("", "Li", None)],
)
def test_a_query_names_the_set_that_it_needs(charset: str, name: str, named: str | None) -> None:
    keys = Dataset()
    keys.PatientName = name
    speak(keys, charset)
    assert keys.get("SpecificCharacterSet") == named
