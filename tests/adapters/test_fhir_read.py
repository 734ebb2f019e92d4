"""From FHIR resources to results: values as written, times as they are, flags for what is odd."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.fhir_read import (
    DiagnosticReport,
    ImagingStudy,
    Observation,
    Reader,
    Unreadable,
    read,
    single_modality,
)
from adapters.fhir_time import moment, span
from recognition import Images, Result
from tests.node_cases import PRINTED_MARK, normaliser, observation, report, study

READER = Reader("cq-his", "EX-CQ-01", normaliser())


def raw(resource: dict[str, Any]) -> bytes:
    return json.dumps(resource, ensure_ascii=False).encode()


def lab(holding: dict[str, Any] | None = None, **changes: Any) -> Result:
    reports = {"Observation/o1": read(raw(holding), DiagnosticReport)} if holding else {}
    result = READER.laboratory(read(raw(observation(**changes)), Observation), reports)
    assert result is not None
    return result


def imaging(of_study: dict[str, Any] | None, of_report: dict[str, Any] | None) -> Result:
    return READER.imaging(
        read(raw(of_study), ImagingStudy) if of_study else None,
        read(raw(of_report), DiagnosticReport) if of_report else None,
    )


@pytest.mark.parametrize("written", ["72.50", "0.10", "1E-3", "-4", "0.1234567890123456789", "100"])
def test_a_decimal_stays_as_it_was_written(written: str) -> None:
    body = raw(observation()).replace(b"43.5", written.encode())
    result = READER.laboratory(read(body, Observation), {})
    assert result is not None
    assert result.value == written


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"valueQuantity": {"value": 0.1, "comparator": "<", "unit": "ng/mL"}}, ("<0.1", "ng/mL")),
        ({"valueQuantity": {"value": 5, "code": "mmol/L"}}, ("5", "mmol/L")),
        ({"valueString": "阴性(-)"}, ("阴性(-)", "")),
        ({"valueCodeableConcept": {"text": "A型"}}, ("A型", "")),
        ({"valueCodeableConcept": {"coding": [{"display": "B型"}]}}, ("B型", "")),
        ({"valueInteger": 3}, ("3", "")),
        ({"valueRatio": {"numerator": {"value": 1}, "denominator": {"value": 80}}}, ("1:80", "")),
        ({"valueBoolean": True}, ("", "")),
    ],
)
def test_every_form_of_value_is_text(value: dict[str, Any], expected: tuple[str, str]) -> None:
    resource = observation()
    del resource["valueQuantity"]
    result = READER.laboratory(read(raw(resource | value), Observation), {})
    assert result is not None
    assert (result.value, result.unit) == expected


def test_a_number_in_quotes_cannot_be_read() -> None:
    with pytest.raises(Unreadable):
        lab(valueQuantity={"value": "43.5"})


def test_the_header_of_a_panel_is_no_result() -> None:
    header = observation(hasMember=[{"reference": "Observation/o2"}])
    del header["valueQuantity"]
    assert READER.laboratory(read(raw(header), Observation), {}) is None


def test_the_name_is_read_with_its_specimen() -> None:
    assert lab().reading.item == "1100104A"


def test_a_name_that_is_not_known_keeps_its_reason() -> None:
    assert lab(code={"text": "特需套餐"}).reading.reason == "unknown"


def test_the_name_is_the_display_where_there_is_no_text() -> None:
    assert lab(code={"coding": [{"code": "1", "display": "白蛋白"}]}).local_name == "白蛋白"


def test_times_are_sampling_and_report() -> None:
    result = lab()
    assert result.performed == datetime.fromisoformat("2026-11-10T08:00:00+08:00")
    assert result.reported == datetime.fromisoformat("2026-11-10T11:00:00+08:00")


def test_the_end_of_a_period_is_the_time_of_the_examination() -> None:
    period = {"start": "2026-11-10T08:00:00+08:00", "end": "2026-11-10T09:00:00+08:00"}
    result = lab(effectiveDateTime="", effectivePeriod=period)
    assert result.performed == datetime.fromisoformat(period["end"])


@pytest.mark.parametrize(
    ("written", "flag"),
    [
        ("2026-11-10", "performed:date-only"),
        ("2026-11", "performed:date-only"),
        ("2026-11-10T08:00:00", "performed:no-zone"),
        ("2026-11-10T25:00:00Z", "performed:not-a-time"),
        ("2026/11/10", "performed:not-a-time"),
    ],
)
def test_what_is_no_moment_is_a_flag_and_no_time(written: str, flag: str) -> None:
    result = lab(effectiveDateTime=written)
    assert (result.performed, result.flags) == (None, (flag,))


def test_the_report_lends_its_time_and_mark() -> None:
    holding = report(result=[{"reference": "Observation/o1"}], issued="2026-11-10T12:00:00+08:00")
    result = lab(holding, issued="")
    assert result.reported == datetime.fromisoformat("2026-11-10T12:00:00+08:00")
    assert result.printed_mark == "川渝HR"


@pytest.mark.parametrize(
    ("name", "mark"), [("【全国HR】白蛋白", "全国HR"), ("★总蛋白", "HR"), ("白蛋白", "")]
)
def test_a_mark_on_the_name_is_the_printed_mark(name: str, mark: str) -> None:
    assert lab(code={"text": name}).printed_mark == mark


def test_a_mark_of_the_extension_goes_before_that_of_the_name() -> None:
    extension = [{"url": PRINTED_MARK, "valueString": "川渝HR"}]
    assert lab(code={"text": "【全国HR】白蛋白"}, extension=extension).printed_mark == "川渝HR"


@pytest.mark.parametrize(("code", "abnormal"), [("H", True), ("LL", True), ("A", True), ("N", False)])
def test_the_interpretation_says_what_is_abnormal(code: str, abnormal: bool) -> None:
    assert lab(interpretation=[{"coding": [{"code": code}]}]).abnormal is abnormal


@pytest.mark.parametrize(
    ("written", "status"),
    [
        ("corrected", "corrected"),
        ("registered", "preliminary"),
        ("cancelled", "cancelled"),
        ("zzz", "preliminary"),
    ],
)
def test_the_status_is_one_that_the_decision_knows(written: str, status: str) -> None:
    assert lab(status=written).status == status


def test_a_status_that_is_not_known_is_a_flag() -> None:
    assert lab(status="zzz").flags == ("completeness:no-status",)


def test_a_version_is_known_by_its_report_number() -> None:
    assert lab().version_key == "r1/1"


def test_another_identifier_keeps_its_system_in_the_version() -> None:
    assert lab(identifier=[{"system": "urn:x", "value": "7"}]).version_key == "urn:x|7"


def test_without_an_identifier_the_version_is_the_resource() -> None:
    assert lab(identifier=[]).version_key == "o1"


def test_a_performer_that_is_not_said_is_the_node_s_and_a_flag() -> None:
    result = lab(performer=[{"reference": "Organization/1"}])
    assert (result.institution, result.flags) == ("EX-CQ-01", ("completeness:no-institution",))


def test_a_performer_of_another_institution_is_kept() -> None:
    other = {"identifier": {"system": "urn:lianren:institution", "value": "EX-CQ-02"}}
    assert lab(performer=[other]).institution == "EX-CQ-02"


def test_a_study_with_its_report_is_one_result() -> None:
    result = imaging(study(), report())
    assert (result.id, result.study_uid, result.status) == ("cq-his/DiagnosticReport/d1", "2.25.1", "final")
    assert (result.images, result.printed_mark) == (Images(None, 3), "川渝HR")
    assert result.reading.item is not None


def test_the_time_of_a_study_is_its_start() -> None:
    assert imaging(study(), report()).performed == datetime.fromisoformat("2026-11-11T09:30:00+08:00")


def test_a_study_without_a_report_is_preliminary() -> None:
    result = imaging(study(), None)
    assert (result.id, result.status, result.reported) == ("cq-his/ImagingStudy/s1", "preliminary", None)


def test_a_report_without_a_study_has_no_images() -> None:
    assert imaging(None, report(imagingStudy=[])).images == Images(0)


def test_a_report_on_a_study_that_was_not_shown_says_so() -> None:
    result = imaging(None, report())
    assert (result.images, result.flags) == (Images(None), ("completeness:study-not-held",))


def test_a_study_entered_in_error_is_so_whatever_its_report_says() -> None:
    assert imaging(study(status="entered-in-error"), report()).status == "entered-in-error"


def test_two_names_of_two_items_are_a_flag() -> None:
    result = imaging(study(description="CT 颅脑平扫"), report())
    assert "consistency:name-on-study-and-report-differ" in result.flags


def test_two_studies_of_one_report_are_two_results() -> None:
    both = report(imagingStudy=[{"reference": "ImagingStudy/s1"}, {"reference": "ImagingStudy/s2"}])
    results = [imaging(study(), both), imaging(study("s2", "2.25.2"), both)]
    assert len({r.id for r in results}) == len({r.version_key for r in results}) == 2


@pytest.mark.parametrize(
    ("codes", "modality"),
    [
        (["CT"], "CT"),
        (["DX"], "DR"),
        (["CR", "DX"], "DR"),
        (["CT", "SR", "KO"], "CT"),
        (["PT", "CT"], ""),
        ([], ""),
    ],
)
def test_a_study_has_one_modality_or_none(codes: list[str], modality: str) -> None:
    assert single_modality(codes) == modality


@given(st.text(max_size=30))
def test_any_text_is_a_moment_or_none(text: str) -> None:
    found, flags = moment(text, "performed")
    assert found is None or (found.tzinfo is not None and not flags)


@given(st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", fullmatch=True))
def test_a_span_holds_its_moment_or_both_are_none(text: str) -> None:
    found, period = moment(text, "performed")[0], span(text)
    assert (found is None) == (period is None)
    assert found is None or period is None or period[0] <= found < period[1]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    sorted({*observation(), "valueString", "effectivePeriod", "interpretation", "extension"})
)


@given(st.dictionaries(FIELDS, JSON, max_size=4))
def test_any_resource_is_a_result_or_unreadable(changes: dict[str, Any]) -> None:
    try:
        READER.laboratory(read(raw(observation() | changes), Observation), {})
    except Unreadable:
        return
