"""Searches as they are asked: PS3.18 sections 8.3.4 and 10.6."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadParameter
from gateway.imaging.keywords import HOUSE, KNOWN, attribute_of
from gateway.imaging.query import matches, query_of, shaped
from gateway.imaging.values import Level

STUDY = "1.2.826.0.1.3680043.10.1"


@pytest.mark.parametrize("name", ["PatientID", "00100020"])
def test_an_attribute_is_named_by_keyword_or_tag(name: str) -> None:
    asked = query_of("studies", [(name, "P-1")])
    assert matches(asked, {"00100020": {"vr": "LO", "Value": ["P-1"]}})


@pytest.mark.parametrize("word", ["0020000d", "0020000D", "StudyInstanceUID"])
def test_a_tag_is_read_in_either_case(word: str) -> None:
    attribute = attribute_of(word)
    assert attribute is not None
    assert attribute.tag == "0020000D"


def test_the_attributes_that_are_written_down_are_those_of_the_dictionary() -> None:
    from pydicom.datadict import dictionary_VR, keyword_for_tag

    standard = {tag: one for tag, one in KNOWN.items() if tag[:4] != HOUSE}
    assert {tag: (one.vr, one.keyword) for tag, one in standard.items()} == {
        tag: (dictionary_VR(int(tag, 16)), keyword_for_tag(int(tag, 16))) for tag in standard
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PatientNames", "x"),
        ("PatientID.PatientName", "x"),
        ("RequestAttributesSequence.Nothing", "x"),
        ("includefield", "StudyDate,Nothing"),
        ("includefield", "patientname"),
        ("includefield", ",".join(["StudyDate"] * 600)),
        ("limit", "-1"),
        ("limit", "ten"),
        ("limit", "٣"),
        ("limit", "1e3"),
        ("limit", "9" * 30),
        ("limit", ""),
        ("offset", "-1"),
        ("fuzzymatching", "yes"),
        ("emptyvaluematching", "1"),
        ("multiplevaluematching", "TRUE"),
        ("nodestates", ""),
        ("StudyInstanceUID", "1..2"),
        ("StudyDate", "yesterday"),
        ("SeriesInstanceUID", "1.2"),
        ("SOPInstanceUID", "1.2"),
        ("Modality", "CT"),
        ("BodyPartExamined", "CHEST"),
        ("PatientName", "x" * 1025),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(name: str, text: str) -> None:
    with pytest.raises(BadParameter) as refused:
        query_of("studies", [(name, text)])
    assert refused.value.field == name


@pytest.mark.parametrize("text", ["Zhang^San", "990000199001010001"])
def test_a_refusal_repeats_nothing_of_a_person(text: str) -> None:
    with pytest.raises(BadParameter) as refused:
        query_of("studies", [("PatientBirthDate", text)])
    assert text not in str(refused.value)


@pytest.mark.parametrize(
    "pairs",
    [
        [("PatientID", "1"), ("00100020", "1")],
        [("limit", "1"), ("limit", "2")],
        [("StudyID", ""), ("StudyID", "")],
    ],
)
def test_what_is_sent_twice_is_refused(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(BadParameter, match="twice"):
        query_of("studies", pairs)


def test_modality_among_studies_leads_to_modalities_in_study() -> None:
    with pytest.raises(BadParameter, match="ModalitiesInStudy"):
        query_of("studies", [("Modality", "CT")])


@pytest.mark.parametrize("level", ["series", "instances"])
def test_a_verdict_is_one_of_studies_and_nothing_is_searched_by_it_below(level: Level) -> None:
    with pytest.raises(BadParameter, match="not told"):
        query_of(level, [("00771001", "RECOGNISED")])


def test_an_attribute_of_a_lower_level_may_stand_without_a_value() -> None:
    assert query_of("studies", [("Modality", ""), ("SOPInstanceUID", "")]).conditions == ()


def test_what_is_neither_attribute_nor_parameter_is_passed_over_with_a_warning() -> None:
    asked = query_of("studies", [("orderby", "StudyDate"), ("a\r\nb", "1"), ("limit", "5")])
    assert asked.warnings == ("Parameters that were passed over: orderby, one whose name is not repeated",)


def test_a_search_of_many_unknown_parameters_is_warned_of_in_one_short_sentence() -> None:
    (sentence,) = query_of("studies", [(f"word{number}", "") for number in range(128)]).warnings
    assert sentence.endswith("word6, word7, 120 more")


def test_an_offset_of_times_is_no_condition_and_the_caller_is_told() -> None:
    asked = query_of("studies", [("TimezoneOffsetFromUTC", "+0800")])
    assert (asked.conditions, asked.warnings) == (
        (),
        ("Parameters that were passed over: TimezoneOffsetFromUTC",),
    )


def test_all_conditions_together_have_a_length() -> None:
    names = ("StudyDescription", "PatientName", "PatientID", "AccessionNumber", "StudyID")
    with pytest.raises(BadParameter, match="longer than 1024") as refused:
        query_of("studies", [(name, "*a" * 128) for name in names])
    assert refused.value.field == "StudyID"


def test_a_list_of_uids_may_be_long() -> None:
    assert query_of("studies", [("StudyInstanceUID", ",".join([STUDY] * 100))]).conditions


@pytest.mark.parametrize("name", ["accept", "charset", "token", "SpecificCharacterSet"])
def test_what_is_read_elsewhere_is_no_condition(name: str) -> None:
    asked = query_of("studies", [(name, "x")])
    assert (asked.conditions, asked.warnings) == ((), ())


def test_limit_and_offset_are_read() -> None:
    asked = query_of("studies", [("limit", "101"), ("offset", "0")])
    assert (asked.limit, asked.offset) == (101, 0)


def test_a_search_without_a_limit_has_none() -> None:
    assert query_of("studies", []).limit is None


def test_a_search_is_the_same_as_another_by_its_words_whatever_part_is_wanted() -> None:
    pairs = [("PatientName", "王*"), ("multiplevaluematching", "true")]
    parts: list[list[tuple[str, str]]] = [
        [],
        [("offset", "5"), ("limit", "5")],
        [("nodestates", "true"), ("token", "x")],
    ]
    assert {repr(query_of("studies", [*pairs, *part])) for part in parts} == {
        f"DicomQuery('studies', {tuple(pairs)!r})"
    }


def test_archives_are_asked_for_days_and_uids_and_for_no_names() -> None:
    pairs = [
        ("StudyDate", "20260101-20260131"),
        ("StudyTime", "10-11"),
        ("PatientName", "王*"),
        ("PatientID", "P-1"),
        ("ModalitiesInStudy", "CT"),
        ("0020000D", STUDY),
        ("limit", "5"),
    ]
    assert [pair for pair in query_of("studies", pairs).passed_on if pair[0] != "includefield"] == [
        ("StudyDate", "20260101-20260131"),
        ("StudyInstanceUID", STUDY),
    ]


@pytest.mark.parametrize("text", [f"{STUDY},1.2", f"{STUDY}\\1.2", "", '""'])
def test_lists_of_uids_and_empty_values_are_read_here_alone(text: str) -> None:
    pairs = [("StudyInstanceUID", text), ("emptyvaluematching", "true")]
    assert query_of("studies", pairs).passed_on == (("includefield", "0020000D"),)


def test_the_days_of_a_study_are_no_condition_on_the_series_of_an_archive() -> None:
    assert query_of("series", [("StudyDate", "20260101")]).passed_on == (("includefield", "00080020"),)


def test_archives_are_asked_for_what_conditions_look_at_and_for_what_is_wanted() -> None:
    pairs = [
        ("StudyDescription", "*"),
        ("includefield", "00081060,OtherPatientIDsSequence.PatientID"),
        ("00771001", ""),
    ]
    assert query_of("studies", pairs).passed_on == (
        ("includefield", "00081030"),
        ("includefield", "00081060"),
        ("includefield", "00101002"),
    )


def test_all_fields_are_asked_for_as_all_and_by_their_tags() -> None:
    passed = query_of("studies", [("includefield", "all"), ("StudyID", "1")]).passed_on
    assert [word for _, word in passed] == ["all", "00200010", "00080080", "00081030", "00321060"]


def tags_of(level: Level, under: Level | None, *pairs: tuple[str, str]) -> list[str]:
    dataset = {"00080061": 1, "00080060": 2, "00080018": 3, "00081030": 4, "00771001": 5, "00180015": 6}
    return list(shaped(dataset, query_of(level, pairs, under=under)))


@pytest.mark.parametrize(
    ("level", "under", "shown"),
    [
        ("studies", None, ["00080061", "00771001"]),
        ("series", None, ["00080060", "00080061", "00771001"]),
        ("series", "studies", ["00080060", "00771001"]),
        ("instances", None, ["00080018", "00080060", "00080061", "00771001"]),
        ("instances", "studies", ["00080018", "00080060", "00771001"]),
        ("instances", "series", ["00080018", "00771001"]),
    ],
)
def test_a_match_shows_the_levels_that_its_address_does_not_settle(
    level: Level, under: Level | None, shown: list[str]
) -> None:
    assert tags_of(level, under) == shown


def test_a_match_shows_what_is_asked_for_or_searched_by() -> None:
    pairs = (("includefield", "StudyDescription"), ("BodyPartExamined", "CHEST"))
    assert tags_of("instances", "series", *pairs) == ["00080018", "00081030", "00180015", "00771001"]


@pytest.mark.parametrize(("name", "text"), [("includefield", "Modality,BodyPartExamined"), ("Modality", "")])
def test_a_match_shows_nothing_of_a_lower_level(name: str, text: str) -> None:
    assert tags_of("studies", None, (name, text)) == ["00080061", "00771001"]


def test_a_private_attribute_is_shown_with_its_creator() -> None:
    asked = query_of("studies", [("includefield", "00091001")])
    assert list(shaped({"00090010": 1, "00091001": 2, "00091002": 3}, asked)) == ["00090010", "00091001"]


def test_a_match_shows_everything_where_all_is_asked_for() -> None:
    assert len(tags_of("studies", None, ("includefield", "all"))) == 6


def test_names_are_matched_literally_unless_fuzzy_matching_is_asked_for() -> None:
    dataset = {"00100010": {"vr": "PN", "Value": [{"Ideographic": "王^小东"}]}}
    asked = [[("PatientName", "wang xiaodong"), *more] for more in ([], [("fuzzymatching", "true")])]
    assert [matches(query_of("studies", pairs), dataset) for pairs in asked] == [False, True]


WORDS = st.sampled_from(
    [
        "PatientName",
        "00100020",
        "StudyDate",
        "limit",
        "includefield",
        "fuzzymatching",
        "0040A730.x",
        "....",
        "all",
        "\x00",
    ]
)


@given(st.lists(st.tuples(WORDS | st.text(max_size=8), WORDS | st.text(max_size=8)), max_size=4))
def test_any_search_is_read_or_refused(pairs: list[tuple[str, str]]) -> None:
    try:
        read = query_of("studies", pairs)
    except BadParameter:
        return
    assert all(text for _, text in read.passed_on)
