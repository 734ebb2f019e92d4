"""Which character set an archive's answer is in, whatever it names."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from gateway.bridge.charsets import charset_of, settle, speak

NAME = "示例^患者"
UTF8, GB = NAME.encode(), NAME.encode("gb18030")


@pytest.mark.parametrize(
    ("named", "texts", "charset", "found"),
    [
        (["GB18030"], GB, "", ["GB18030"]),
        (["ISO_IR 192"], UTF8, "", ["ISO_IR 192"]),
        ([], GB, "", ["GB18030"]),
        ([], UTF8, "", ["ISO_IR 192"]),
        ([], GB, "GB18030", ["GB18030"]),
        (["ISO_IR 192"], GB, "", ["GB18030"]),
        (["ISO_IR 6"], UTF8, "", ["ISO_IR 192"]),
        (["ISO_IR 100"], "Äneas^Rüdiger".encode("latin-1"), "", ["ISO_IR 100"]),
        (["ISO_IR 100"], b"Li^Si", "GB18030", ["ISO_IR 100"]),
        ([], b"Li^Si", "GB18030", ["ISO_IR 192"]),
        (["", "ISO 2022 IR 149"], b"Hong=\x1b$)C\xfb\xf3", "", ["", "ISO 2022 IR 149"]),
    ],
)
def test_the_set_is_what_the_bytes_are(
    named: list[str], texts: bytes, charset: str, found: list[str]
) -> None:
    assert charset_of(named, texts, charset) == found


@given(st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5), min_size=1, max_size=8))
def test_hanzi_in_utf8_are_read_whatever_the_operator_says(name: str) -> None:
    assert charset_of([], name.encode(), "ISO_IR 192") == ["ISO_IR 192"]


def test_an_answer_is_read_in_the_set_that_was_found() -> None:
    raw = b"\x10\x00\x10\x00" + (len(GB) + len(GB) % 2).to_bytes(4, "little") + GB + b" " * (len(GB) % 2)
    answer = read_dataset(BytesIO(raw), is_implicit_VR=True, is_little_endian=True)
    settle(answer, "")
    assert str(answer.PatientName) == NAME


@pytest.mark.parametrize(
    ("charset", "name", "named"),
    [("GB18030", NAME, "GB18030"), ("GBK", "㛃", "ISO_IR 192"), ("", NAME, "ISO_IR 192"), ("", "Li", None)],
)
def test_a_query_names_the_set_that_it_needs(charset: str, name: str, named: str | None) -> None:
    keys = Dataset()
    keys.PatientName = name
    speak(keys, charset)
    assert keys.get("SpecificCharacterSet") == named
