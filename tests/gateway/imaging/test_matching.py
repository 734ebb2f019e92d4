"""Attribute matching of PS3.4 C.2.2.2 on objects of DICOM JSON."""

from __future__ import annotations

import fnmatch
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadParameter
from gateway.imaging.keywords import attribute_of
from gateway.imaging.matching import Modes, condition, globbed
from gateway.imaging.query import matches, query_of

STUDY = "1.2.826.0.1.3680043.10.1"


def held(**attributes: Any) -> dict[str, Any]:
    """An object with these attributes, by keyword."""
    found = {}
    for keyword, values in attributes.items():
        attribute = attribute_of(keyword)
        assert attribute is not None
        listed = values if isinstance(values, list) else [values]
        found[attribute.tag] = {"vr": attribute.vr, "Value": listed}
    return found


def name(alphabetic: str = "", ideographic: str = "", phonetic: str = "") -> dict[str, str]:
    groups = {"Alphabetic": alphabetic, "Ideographic": ideographic, "Phonetic": phonetic}
    return {group: text for group, text in groups.items() if text}


def fits(parameter: str, text: str, dataset: dict[str, Any], **further: str) -> bool:
    level = "studies" if "Study" in parameter or "Patient" in parameter else "instances"
    return matches(query_of(level, [(parameter, text), *further.items()]), dataset)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parameter", "text", "value", "fitting"),
    [
        ("AccessionNumber", "A1", "A1", True),
        ("AccessionNumber", "A1", " A1 ", True),
        ("AccessionNumber", "a1", "A1", False),
        ("AccessionNumber", "A", "A1", False),
        ("AccessionNumber", "A*", "A1", True),
        ("AccessionNumber", "*", "", True),
        ("AccessionNumber", "?1", "A1", True),
        ("AccessionNumber", "?1", "1", False),
        ("AccessionNumber", "A.1", "AB1", False),
        ("StudyDescription", "*胸部*", "CT胸部平扫", True),
        ("StudyID", "1\\2", "2", True),
        ("PatientSex", "F", "F", True),
        ("StudyInstanceUID", STUDY, STUDY, True),
        ("StudyInstanceUID", f"1.2,{STUDY}", STUDY, True),
        ("StudyInstanceUID", f"1.2\\{STUDY}", STUDY, True),
        ("StudyInstanceUID", "1.2,1.3", STUDY, False),
        ("PatientAge", "045Y", "045Y", True),
        ("NumberOfStudyRelatedInstances", "12", 12, True),
        ("NumberOfStudyRelatedInstances", "012", "12", True),
        ("NumberOfStudyRelatedInstances", "12", "12 x", False),
        ("SliceThickness", "1.5", "1.50", True),
        ("SliceThickness", "1.5", 1.5, True),
        ("Rows", "512", 512, True),
        ("Rows", "512", 256, False),
        ("RecommendedDisplayFrameRateInFloat", "0.1", 0.10000000149011612, True),
        ("PatientComments", "* ok", " is ok", True),
    ],
)
def test_a_value_meets_a_condition_as_the_standard_says(
    parameter: str, text: str, value: object, fitting: bool
) -> None:
    assert fits(parameter, text, held(**{parameter: value})) is fitting


@pytest.mark.parametrize(
    ("text", "value", "fitting"),
    [
        ("20260131", "20260131", True),
        ("20260131", "2026.01.31", True),
        ("20260101-20260131", "20260131", True),
        ("20260101-20260131", "20260101", True),
        ("20260101-20260131", "20260201", False),
        ("20260101-", "20991231", True),
        ("20260101-", "20251231", False),
        ("-20260101", "20260101", True),
        ("-20260101", "20260102", False),
        ("20260101-", "no date", False),
        ("", "20260101", True),
    ],
)
def test_a_date_lies_in_the_range_that_is_asked_for(text: str, value: str, fitting: bool) -> None:
    assert fits("StudyDate", text, held(StudyDate=value)) is fitting


@pytest.mark.parametrize(
    ("text", "value", "fitting"),
    [
        ("2230", "223059.999", True),
        ("2230", "2231", False),
        ("10-11", "1159", True),
        ("10-11", "12", False),
        ("-1030", "103059", True),
        ("1030-", "10:30:00", True),
        ("103000.5", "103000.500", True),
    ],
)
def test_a_time_lies_in_what_is_asked_for(text: str, value: str, fitting: bool) -> None:
    assert fits("StudyTime", text, held(StudyTime=value)) is fitting


@pytest.mark.parametrize(
    ("text", "value", "fitting"),
    [
        ("20260131", "20260131120000+0800", True),
        ("20260131", "20260131170000+0000", False),  # the first of February in China
        ("20260131120000+0000", "20260131200000+0800", True),
        ("2026-2027", "20271231", True),
        ("202601-", "20251231235959", False),
        ("-20260131120000-0300", "20260131150000+0000", True),
        ("20260131", "20261331", False),
        ("20260131120000 0800", "20260131120000", True),  # an address with a + that nobody encoded
    ],
)
def test_a_moment_is_compared_with_its_offset(text: str, value: str, fitting: bool) -> None:
    assert fits("AcquisitionDateTime", text, held(AcquisitionDateTime=value)) is fitting


@pytest.mark.parametrize(
    ("day", "time", "fitting"),
    [("20260706", "0200", True), ("20260705", "0900", False), ("20260707", "1900", False)],
)
def test_ranges_of_dates_and_times_are_one_range_of_moments(day: str, time: str, fitting: bool) -> None:
    asked = query_of("studies", [("StudyDate", "20260705-20260707"), ("StudyTime", "1000-1800")])
    assert matches(asked, held(StudyDate=day, StudyTime=time)) is fitting


@pytest.mark.parametrize(
    ("day", "time", "fitting"), [("20260705", "2300", True), ("20260705", "0700", False)]
)
def test_a_range_of_moments_may_go_over_midnight(day: str, time: str, fitting: bool) -> None:
    asked = query_of("studies", [("StudyDate", "20260705-20260706"), ("StudyTime", "2200-0600")])
    assert matches(asked, held(StudyDate=day, StudyTime=time)) is fitting


@pytest.mark.parametrize("days", ["20260705-20260705", "20260706-20260705"])
def test_a_range_of_moments_that_ends_before_it_begins_is_refused(days: str) -> None:
    with pytest.raises(BadParameter):
        query_of("studies", [("StudyDate", days), ("StudyTime", "2200-0600")])


def test_a_range_of_dates_and_a_range_of_times_of_another_form_are_two_conditions() -> None:
    asked = query_of("studies", [("StudyDate", "20260705-20260707"), ("StudyTime", "1000-")])
    assert not matches(asked, held(StudyDate="20260706", StudyTime="0900"))


WANG = name("Wang^XiaoDong", "王^小东")


@pytest.mark.parametrize(
    ("text", "fitting"),
    [
        ("wang^xiaodong", True),
        ("WANG^XIAODONG^^", True),
        ("Wang*", True),
        ("王*", True),
        ("王^小东", True),
        ("Wang^XiaoDong=王^小东", True),
        ("=王*", True),
        ("Li^=王^小东", False),
        ("=王^小西", False),
        ("Wang", False),
        ("王小东", False),
        ("Wang^XiaoDong?", False),
        ("*^Xiao?ong^*^*", True),
        ("??小?", True),
    ],
)
def test_a_name_is_met_by_any_of_its_groups_or_by_the_ones_named(text: str, fitting: bool) -> None:
    assert fits("PatientName", text, held(PatientName=WANG)) is fitting


def test_a_name_that_an_archive_writes_as_text_is_read_by_its_groups() -> None:
    assert fits("PatientName", "王^*", held(PatientName="Wang^XiaoDong=王^小东"))


def test_a_family_name_alone_is_met_with_an_open_given_name() -> None:
    assert fits("PatientName", "wang^*", held(PatientName=name("Wang")))


@pytest.mark.parametrize(
    ("text", "fitting"), [("CT", True), ("CT\\US", True), ("US,CT", True), ("US", False), ("C*", True)]
)
def test_one_of_several_values_is_enough(text: str, fitting: bool) -> None:
    assert fits("ModalitiesInStudy", text, held(ModalitiesInStudy=["PT", "CT"])) is fitting


@pytest.mark.parametrize(("text", "fitting"), [("CT\\PT", True), ("CT\\US", False), ("CT", True)])
def test_multiple_value_matching_asks_for_all_values(text: str, fitting: bool) -> None:
    dataset = held(ModalitiesInStudy=["PT", "MR", "CT"])
    assert fits("ModalitiesInStudy", text, dataset, multiplevaluematching="true") is fitting


@pytest.mark.parametrize(
    "dataset", [{}, {"00080050": {"vr": "SH"}}, held(AccessionNumber=""), held(AccessionNumber=None)]
)
def test_an_attribute_without_a_value_meets_nothing_but_an_empty_condition(dataset: dict[str, Any]) -> None:
    assert [fits("AccessionNumber", text, dataset) for text in ("A1", "?", "**", "")] == [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("dataset", "fitting"),
    [({}, True), (held(AccessionNumber=" "), True), (held(AccessionNumber="A1"), False)],
)
def test_empty_value_matching_finds_what_has_no_value(dataset: dict[str, Any], fitting: bool) -> None:
    assert fits("AccessionNumber", '""', dataset, emptyvaluematching="true") is fitting


@pytest.mark.parametrize("value", [{}, {"Alphabetic": ""}, None])
def test_a_name_without_a_group_has_no_value(value: object) -> None:
    assert fits("PatientName", '""', held(PatientName=[value]), emptyvaluematching="true")


def ordered(*steps: tuple[str, str]) -> dict[str, Any]:
    return held(
        RequestAttributesSequence=[
            held(ScheduledProcedureStepID=step, RequestedProcedureID=procedure) for step, procedure in steps
        ]
    )


@pytest.mark.parametrize(
    ("dataset", "fitting"),
    [(ordered(("S1", "P2"), ("S1", "P1")), True), (ordered(("S1", "P2"), ("S2", "P1")), False)],
)
def test_one_item_of_a_sequence_meets_all_conditions_on_it(dataset: dict[str, Any], fitting: bool) -> None:
    asked = [("RequestAttributesSequence.ScheduledProcedureStepID", "S1"), ("00400275.00401001", "P1")]
    assert matches(query_of("series", asked), dataset) is fitting


def test_further_numbers_of_the_patient_are_as_good_as_the_one_that_stands_there() -> None:
    asked = query_of("studies", [("PatientID", "P-7")])
    assert matches(asked, held(PatientID="alias"), ["P-7"])


def test_a_number_of_another_patient_meets_nothing() -> None:
    assert not matches(query_of("studies", [("PatientID", "P-7")]), held(PatientID="alias"), ["P-70"])


def test_the_verdict_of_this_gateway_is_an_attribute_like_others() -> None:
    dataset = {"00771001": {"vr": "CS", "Value": ["RECOGNISED"]}}
    assert matches(query_of("studies", [("00771001", "RECOGNISED")]), dataset)


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        ("StudyDate", "20260230"),
        ("StudyDate", "2026-01-31"),
        ("StudyDate", "20260201-20260131"),
        ("StudyDate", "-"),
        ("StudyDate", "*"),
        ("StudyDate", "2026013120260201"),
        ("StudyDate", "２０２６０１３１"),
        ("StudyTime", "2400"),
        ("StudyTime", "2300-0200"),
        ("AcquisitionDateTime", "2026013"),
        ("StudyInstanceUID", "1.2.*"),
        ("StudyInstanceUID", "1.02"),
        ("StudyInstanceUID", "1.2,"),
        ("StudyInstanceUID", "../etc"),
        ("StudyInstanceUID", "1." + "2" * 70),
        ("NumberOfStudyRelatedSeries", "many"),
        ("Rows", "1\\"),
        ("PixelData", "1"),
        ("RequestAttributesSequence", "x"),
    ],
)
def test_a_condition_that_no_value_can_meet_is_refused(parameter: str, text: str) -> None:
    attribute = attribute_of(parameter)
    assert attribute is not None
    with pytest.raises(BadParameter) as refused:
        condition(parameter, attribute.tag, attribute.vr, text, Modes())
    assert refused.value.field == parameter


@given(st.text("ab?*.", max_size=12), st.text("ab.", max_size=12))
def test_wildcards_are_read_as_everywhere(pattern: str, text: str) -> None:
    shell = re.compile(fnmatch.translate(pattern))
    assert bool(globbed(pattern).fullmatch(text)) is bool(shell.fullmatch(text))


def test_a_pattern_of_many_stars_is_read_at_once() -> None:
    assert not globbed("a*" * 500 + "b").fullmatch("a" * 20_000)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["vr", "Value", "Alphabetic"]), inner)
    ),
    max_leaves=6,
)
ANY = [
    ("PatientName", "a*"),
    ("StudyDate", "20260101-"),
    ("StudyTime", "-10"),
    ("StudyInstanceUID", "1.2"),
    ("NumberOfStudyRelatedSeries", "1"),
    ("ModalitiesInStudy", "CT"),
    ("AcquisitionDateTime", "2026-"),
    ("ExposureTimeInms", "1"),
    ("RequestAttributesSequence.ScheduledProcedureStepID", "1"),
]


@given(JSON, st.sampled_from(ANY))
def test_whatever_an_archive_writes_is_met_or_not(element: object, asked: tuple[str, str]) -> None:
    attribute = attribute_of(asked[0].partition(".")[0])
    assert attribute is not None
    assert matches(query_of("instances", [asked]), {attribute.tag: element}) in (True, False)
