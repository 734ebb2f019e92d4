"""DICOM attributes by keyword or tag, and which of them the answer to a search holds.

What searches usually name stands here; the rest of the dictionary (PS3.6) is pydicom's, which takes most of a
second to import and so is imported by the first search that names something else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from msgspec import Struct

from gateway.imaging.values import Level

TAG = re.compile(r"[0-9A-Fa-f]{8}")
KEYWORD = re.compile(r"[A-Z][A-Za-z0-9]{1,63}")
HOUSE = "0077"
"""The group of this gateway's own attributes (docs/imaging.md)."""

_STUDY = """
    00080005 CS SpecificCharacterSet
    00080020 DA StudyDate
    00080030 TM StudyTime
    00080050 SH AccessionNumber
    00080056 CS InstanceAvailability
    00080061 CS ModalitiesInStudy
    00080090 PN ReferringPhysicianName
    00080201 SH TimezoneOffsetFromUTC
    00081190 UR RetrieveURL
    00100010 PN PatientName
    00100020 LO PatientID
    00100030 DA PatientBirthDate
    00100040 CS PatientSex
    0020000D UI StudyInstanceUID
    00200010 SH StudyID
    00201206 IS NumberOfStudyRelatedSeries
    00201208 IS NumberOfStudyRelatedInstances
"""  # PS3.18 table 10.6.3-3
_SERIES = """
    00080005 CS SpecificCharacterSet
    00080060 CS Modality
    00080201 SH TimezoneOffsetFromUTC
    0008103E LO SeriesDescription
    00081190 UR RetrieveURL
    0020000E UI SeriesInstanceUID
    00200011 IS SeriesNumber
    00201209 IS NumberOfSeriesRelatedInstances
    00400244 DA PerformedProcedureStepStartDate
    00400245 TM PerformedProcedureStepStartTime
    00400275 SQ RequestAttributesSequence
"""  # PS3.18 table 10.6.3-4
_INSTANCES = """
    00080005 CS SpecificCharacterSet
    00080016 UI SOPClassUID
    00080018 UI SOPInstanceUID
    00080056 CS InstanceAvailability
    00080201 SH TimezoneOffsetFromUTC
    00081190 UR RetrieveURL
    00200013 IS InstanceNumber
    00280008 IS NumberOfFrames
    00280010 US Rows
    00280011 US Columns
    00280100 US BitsAllocated
"""  # PS3.18 table 10.6.3-5
_USUAL = """
    00020010 UI TransferSyntaxUID
    00080008 CS ImageType
    00080012 DA InstanceCreationDate
    00080013 TM InstanceCreationTime
    00080021 DA SeriesDate
    00080022 DA AcquisitionDate
    00080023 DA ContentDate
    0008002A DT AcquisitionDateTime
    00080031 TM SeriesTime
    00080032 TM AcquisitionTime
    00080033 TM ContentTime
    00080062 UI SOPClassesInStudy
    00080063 SQ AnatomicRegionsInStudyCodeSequence
    00080070 LO Manufacturer
    00080080 LO InstitutionName
    00080100 SH CodeValue
    00080102 SH CodingSchemeDesignator
    00080104 LO CodeMeaning
    00081010 SH StationName
    00081030 LO StudyDescription
    00081032 SQ ProcedureCodeSequence
    00081040 LO InstitutionalDepartmentName
    00081050 PN PerformingPhysicianName
    00081060 PN NameOfPhysiciansReadingStudy
    00081070 PN OperatorsName
    00081080 LO AdmittingDiagnosesDescription
    00081090 LO ManufacturerModelName
    00083002 UI AvailableTransferSyntaxUID
    00100021 LO IssuerOfPatientID
    00100032 TM PatientBirthTime
    00101001 PN OtherPatientNames
    00101002 SQ OtherPatientIDsSequence
    00101010 AS PatientAge
    00101020 DS PatientSize
    00101030 DS PatientWeight
    00102160 SH EthnicGroup
    00104000 LT PatientComments
    00180010 LO ContrastBolusAgent
    00180015 CS BodyPartExamined
    00180050 DS SliceThickness
    00181030 LO ProtocolName
    00185100 CS PatientPosition
    00200052 UI FrameOfReferenceUID
    00200060 CS Laterality
    00200062 CS ImageLaterality
    00204000 LT ImageComments
    0032000A CS StudyStatusID
    00321032 PN RequestingPhysician
    00321033 LO RequestingService
    00321060 LO RequestedProcedureDescription
    00400009 SH ScheduledProcedureStepID
    00400253 SH PerformedProcedureStepID
    00400254 LO PerformedProcedureStepDescription
    00401001 SH RequestedProcedureID
    00770010 LO
    00771001 CS
    00771002 LO
    00771003 UT
    00771004 UT
    00771005 LO
    00771006 LO
    00771007 LO
    00771008 DT
    00771009 IS
    0077100A UT
    0077100B UT
    0077100C LO
    0077100D UR
    0077100E UT
"""


class Attribute(Struct, frozen=True):
    """An attribute: its tag as DICOM JSON writes it, its value representation, and its keyword, if any."""

    tag: str
    vr: str
    keyword: str = ""


def _read(lines: str) -> dict[str, Attribute]:
    attributes = (Attribute(*line.split()) for line in lines.splitlines() if line.strip())
    return {one.tag: one for one in attributes}


REQUIRED: Mapping[Level, Mapping[str, Attribute]] = {
    "studies": _read(_STUDY),
    "series": _read(_SERIES),
    "instances": _read(_INSTANCES),
}
"""What each match of a search holds, by level and tag (PS3.18 section 10.6.3.3)."""
OPTIONAL: Mapping[Level, Sequence[str]] = {
    "studies": ("00080080", "00081030", "00321060"),
    "series": ("00080021", "00080031", "00080070", "00081010", "00180015", "00181030", "00200060"),
    "instances": (),
}
"""What else archives hold at hand, by level: some read ``includefield=all`` as none (Orthanc)."""
LEVELS: Sequence[Level] = tuple(REQUIRED)

KNOWN: Mapping[str, Attribute] = {
    **_read(_USUAL),
    **REQUIRED["studies"],
    **REQUIRED["series"],
    **REQUIRED["instances"],
}
"""What searches usually name, by tag."""
_NAMED = {one.keyword: one for one in KNOWN.values() if one.keyword}


def attribute_of(word: str) -> Attribute | None:
    """The attribute that a keyword or a tag of eight hexadecimal digits names; None where there is none.

    A tag outside the dictionary (a private attribute) has the value representation UN.
    """
    if TAG.fullmatch(word):
        return KNOWN.get(word.upper()) or _of_tag(word.upper())
    return _NAMED.get(word) or (_of_keyword(word) if KEYWORD.fullmatch(word) else None)


def below(level: Level, tag: str) -> bool:
    """Whether an attribute is one of lower levels alone: of a series where studies are searched."""
    at = LEVELS.index(level) + 1
    lower, own = LEVELS[at:], LEVELS[:at]
    return any(tag in REQUIRED[one] or tag in OPTIONAL[one] for one in lower) and all(
        tag not in REQUIRED[one] for one in own
    )


@lru_cache(1024)
def _of_keyword(keyword: str) -> Attribute | None:
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword)
    return None if tag is None else _of_tag(f"{tag:08X}")


@lru_cache(1024)
def _of_tag(tag: str) -> Attribute:
    from pydicom.datadict import dictionary_VR, keyword_for_tag

    try:
        vr = dictionary_VR(int(tag, 16))
    except KeyError:
        return Attribute(tag, "UN")
    return Attribute(tag, vr.partition(" ")[0], keyword_for_tag(int(tag, 16)))
