"""DICOM JSON as the Native DICOM Model."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from gateway.imaging.native import NAMESPACE, native, related

STUDY: dict[str, Any] = {
    "0020000D": {"vr": "UI", "Value": ["1.2.3"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Shili^San^^Dr", "Ideographic": "示例^三"}]},
    "00080061": {"vr": "CS", "Value": ["CT", None, "SR"]},
    "00101002": {"vr": "SQ", "Value": [{"00100020": {"vr": "LO", "Value": ["M<1>&"]}}]},
    "00770010": {"vr": "LO", "Value": ["LIANREN 1"]},
    "00771001": {"vr": "CS", "Value": ["RECOGNISED"]},
    "00201208": {"vr": "IS", "Value": [3]},
    "00080090": {"vr": "PN"},
}


def attributes(dataset: dict[str, Any]) -> dict[str, ElementTree.Element]:
    root = ElementTree.fromstring(native(dataset))  # noqa: S314 - made here
    assert root.tag == f"{{{NAMESPACE}}}NativeDicomModel"
    return {one.attrib["tag"]: one for one in root}


def test_attributes_ascend_with_their_keywords() -> None:
    found = attributes(STUDY)
    assert list(found) == sorted(STUDY)
    assert found["0020000D"].attrib == {"tag": "0020000D", "vr": "UI", "keyword": "StudyInstanceUID"}


def test_values_keep_their_numbers() -> None:
    values = [(one.attrib["number"], one.text) for one in attributes(STUDY)["00080061"]]
    assert values == [("1", "CT"), ("3", "SR")]


def test_a_name_is_told_by_its_groups_and_parts() -> None:
    (name,) = attributes(STUDY)["00100010"]
    told = {group.tag.rpartition("}")[2]: [part.text for part in group] for group in name}
    assert told == {"Alphabetic": ["Shili", "San", "Dr"], "Ideographic": ["示例", "三"]}


def test_markup_in_a_value_is_text() -> None:
    (item,) = attributes(STUDY)["00101002"]
    assert item[0][0].text == "M<1>&"


def test_a_private_attribute_names_its_creator() -> None:
    assert attributes(STUDY)["00771001"].attrib["privateCreator"] == "LIANREN 1"


def test_bulk_data_are_told_by_their_address() -> None:
    (bulk,) = attributes({"7FE00010": {"vr": "OW", "BulkDataURI": "http://x/?a=1&b"}})["7FE00010"]
    assert bulk.attrib["uri"] == "http://x/?a=1&b"


def test_a_list_has_a_part_for_each_object() -> None:
    body, media = related(json.dumps([STUDY, STUDY]).encode())
    boundary = media.rpartition("boundary=")[2]
    assert media.startswith('multipart/related; type="application/dicom+xml"')
    assert len(re.findall(f"--{boundary}\r\nContent-Type: application/dicom\\+xml".encode(), body)) == 2
    assert body.endswith(f"\r\n--{boundary}--\r\n".encode())


@given(st.text())
def test_no_text_breaks_the_document(text: str) -> None:
    attributes(
        {"00081030": {"vr": "LO", "Value": [text]}, "00100010": {"vr": "PN", "Value": [{"Alphabetic": text}]}}
    )
