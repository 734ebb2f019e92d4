"""A search becomes C-FINDs, level by level, and their answers DICOM JSON."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode, encode

from gateway.bridge import values
from gateway.bridge.searching import Found, Search
from gateway.errors import BadParameter
from gateway.imaging.values import Level

PACS = values.Archive(title="PACS", host="127.0.0.1", port=104, most=5)


class Archive:
    """Two studies of two series each; ``asked`` are the keys of each C-FIND."""

    def __init__(self, **more: str) -> None:
        self.asked: list[Dataset] = []
        self.more = more

    async def find(self, keys: Dataset) -> tuple[list[Dataset], bool]:
        self.asked.append(keys)
        level = keys.QueryRetrieveLevel
        found = []
        for number in ("1", "2"):
            answer = Dataset()
            answer.SpecificCharacterSet = "ISO_IR 192"
            answer.QueryRetrieveLevel, answer.RetrieveAETitle = level, "PACS"
            answer.StudyInstanceUID = f"1.{number}" if level == "STUDY" else keys.StudyInstanceUID
            if level != "STUDY":
                answer.SeriesInstanceUID = f"{keys.StudyInstanceUID}.{number}"
            if level == "IMAGE":
                answer.SOPInstanceUID = f"{keys.SeriesInstanceUID}.{number}"
            answer.PatientID = number
            for keyword, value in self.more.items():
                setattr(answer, keyword, value)
            found.append(decode(BytesIO(encode(answer, True, True) or b""), True, True))
        return found, True


def search(archive: Archive, level: Level, *above: str, **pairs: str) -> Found:
    asked = Search(level, list(pairs.items()), above, archive.find, PACS, "http://bridge")
    return asyncio.run(asked.run())


def told(found: Found, tag: str) -> list[Any]:
    return [match[tag]["Value"][0] for match in found.matches]


def test_the_address_of_a_match_is_that_of_the_bridge() -> None:
    found = search(Archive(), "studies")
    assert told(found, "00081190") == ["http://bridge/studies/1.1", "http://bridge/studies/1.2"]


def test_nothing_of_the_exchange_is_told() -> None:
    assert not {"00080052", "00080054"} & search(Archive(), "studies").matches[0].keys()


def test_a_key_is_passed_on_and_matched_again() -> None:
    archive = Archive()
    found = search(archive, "studies", PatientID="2")
    assert (archive.asked[0].PatientID, told(found, "0020000D")) == ("2", ["1.2"])


def test_a_list_of_uids_is_one_key() -> None:
    archive = Archive()
    search(archive, "studies", StudyInstanceUID="1.1,1.2")
    assert archive.asked[0].StudyInstanceUID == ["1.1", "1.2"]


def test_hanzi_where_only_ascii_can_be_are_not_passed_on() -> None:
    archive = Archive(ModalitiesInStudy="CT")
    found = search(archive, "studies", ModalitiesInStudy="示例*")
    assert (bool(archive.asked[0].ModalitiesInStudy), found.matches) == (False, [])


@pytest.mark.parametrize("name", ["A,B", '""'])
def test_what_an_archive_would_read_otherwise_is_not_passed_on(name: str) -> None:
    archive = Archive()
    search(archive, "studies", PatientName=name, emptyvaluematching="true")
    assert not archive.asked[0].PatientName


def test_a_name_that_is_matched_loosely_is_not_passed_on() -> None:
    archive = Archive(PatientName="示例^患者")
    found = search(archive, "studies", PatientName="shili huanzhe", fuzzymatching="true")
    assert (bool(archive.asked[0].PatientName), len(found.matches)) == (False, 2)


def test_series_of_a_named_study_are_asked_for_at_once() -> None:
    archive = Archive()
    assert told(search(archive, "series", "1.1"), "0020000E") == ["1.1.1", "1.1.2"]
    assert [keys.QueryRetrieveLevel for keys in archive.asked] == ["SERIES"]


def test_series_without_a_study_are_found_from_the_studies_down() -> None:
    archive = Archive()
    assert told(search(archive, "series"), "0020000E") == ["1.1.1", "1.1.2", "1.2.1", "1.2.2"]
    assert [keys.QueryRetrieveLevel for keys in archive.asked] == ["STUDY", "SERIES", "SERIES"]


def test_a_field_that_is_asked_for_is_a_key_to_return() -> None:
    archive = Archive(InstitutionName="示例医院")
    found = search(archive, "studies", includefield="InstitutionName")
    assert told(found, "00080080") == ["示例医院"] * 2
    assert "InstitutionName" in archive.asked[0]


def test_a_search_down_the_levels_holds_no_more_than_one_query() -> None:
    found = search(Archive(), "instances")
    assert (len(found.matches), len(found.warnings)) == (5, 1)


def test_limit_and_offset_cut_what_matches() -> None:
    assert told(search(Archive(), "studies", limit="1", offset="1"), "0020000D") == ["1.2"]


def test_an_unknown_attribute_is_refused() -> None:
    with pytest.raises(BadParameter):
        search(Archive(), "studies", NoSuchKeyword="1")
