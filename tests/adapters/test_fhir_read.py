"""From FHIR resources to results: values as written, times as they are, flags for what is odd."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.fhir_read import DiagnosticReport, ImagingStudy, Observation, Specimen, Unreadable, read
from adapters.fhir_results import Reader, single_modality, specimen_of
from adapters.fhir_time import before, moment, span
from recognition import Images, Result
from tests.node_cases import PRINTED_MARK, normaliser, observation, report, study

BASE = "http://his.example/fhir"
READER = Reader("cq-his", "EX-CQ-01", normaliser())


def raw(resource: dict[str, Any]) -> bytes:
    return json.dumps(resource, ensure_ascii=False).encode()


def laboratory(resource: dict[str, Any] | bytes, *holding: dict[str, Any], reader: Reader = READER) -> Result:
    observation = read(resource if isinstance(resource, bytes) else raw(resource), Observation)
    reports = [read(raw(report), DiagnosticReport) for report in holding]
    result = reader.laboratory(observation, reports, specimen_of(observation, {}, BASE))
    assert result is not None
    return result


def lab(*holding: dict[str, Any], **changes: Any) -> Result:
    return laboratory(observation(**changes), *holding)


def imaging(of_study: dict[str, Any] | None, of_report: dict[str, Any] | None) -> Result:
    return READER.imaging(
        read(raw(of_study), ImagingStudy) if of_study else None,
        read(raw(of_report), DiagnosticReport) if of_report else None,
    )


@pytest.mark.parametrize("written", ["72.50", "0.10", "1E-3", "-4", "0.1234567890123456789", "100"])
def test_a_decimal_stays_as_it_was_written(written: str) -> None:
    body = raw(observation()).replace(b"43.5", written.encode())
    assert laboratory(body).value == written


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
    result = laboratory(resource | value)
    assert (result.value, result.unit) == expected


def test_a_number_in_quotes_cannot_be_read() -> None:
    with pytest.raises(Unreadable):
        lab(valueQuantity={"value": "43.5"})


@pytest.mark.parametrize(
    ("stated", "written"),
    [
        ({"text": " 40-55 "}, "40-55"),
        ({"text": "阴性", "high": {"value": 1}}, "阴性"),
        ({"low": {"value": 40.0}, "high": {"value": 55.0}}, "40.0–55.0"),
        ({"low": {"value": -3}, "high": {"value": 3}}, "-3–3"),
        ({"high": {"value": 5.0}}, "<=5.0"),
        ({"low": {"value": 60}}, ">=60"),
        ({"high": {"value": 5.0, "comparator": "<"}}, "<5.0"),
        ({"low": {"value": 3.5}, "high": {"value": 5.10, "comparator": "<"}}, ">=3.5 <5.1"),
        ({"high": {"value": 5.0, "unit": "g/L"}}, "<=5.0"),
        ({"high": {"value": 0.5, "unit": "g/dL"}}, "<=0.5 g/dL"),
        ({"high": {"unit": "g/L"}}, ""),
        ({}, ""),
    ],
)
def test_a_reference_range_stays_as_inclusive_or_exclusive_as_it_was_written(
    stated: dict[str, Any], written: str
) -> None:
    assert lab(referenceRange=[stated]).reference == written


def test_all_reference_ranges_are_kept_where_there_are_several() -> None:
    ranges = [{"text": "男 57-97"}, {"text": "女 41-73"}]
    assert lab(referenceRange=ranges).reference == "男 57-97; 女 41-73"


def test_the_header_of_a_panel_is_no_result() -> None:
    header = observation(hasMember=[{"reference": "Observation/o2"}])
    del header["valueQuantity"]
    assert READER.laboratory(read(raw(header), Observation)) is None


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
        ("0001-01-01T00:00:00+08:00", "performed:not-a-time"),
        ("9999-12-31T23:59:59-08:00", "performed:not-a-time"),
        ("1899", "performed:not-a-time"),
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


def test_a_version_is_known_by_its_report_number_and_item() -> None:
    assert lab().version_key == "lab|urn:lianren:report:EX-CQ-01|r1/1|1100104A"


def test_another_identifier_keeps_its_system_in_the_version() -> None:
    assert lab(identifier=[{"system": "urn:x", "value": "7"}]).version_key == "lab|urn:x|7|1100104A"


def test_the_order_of_identifiers_does_not_matter_to_the_version() -> None:
    numbers = [{"system": "urn:x", "value": "7"}, {"system": "urn:y", "value": "8"}]
    assert lab(identifier=numbers).version_key == lab(identifier=numbers[::-1]).version_key


def test_two_analytes_of_one_accession_number_are_two_results() -> None:
    assert lab().version_key != lab(code={"text": "钾"}).version_key


def test_two_names_that_are_not_known_are_two_results() -> None:
    assert lab(code={"text": "特需甲"}).version_key != lab(code={"text": "特需乙"}).version_key


def test_a_corrected_result_is_a_version_of_the_first() -> None:
    assert lab().version_key == lab(id="o2", status="corrected", code={"text": "白蛋白"}).version_key


def test_one_id_at_two_nodes_is_two_results() -> None:
    other = Reader("sc-his", "EX-CQ-01", normaliser())
    bare = observation(identifier=[])
    assert laboratory(bare).version_key != laboratory(bare, reader=other).version_key


@pytest.mark.parametrize(
    ("own", "holding", "status"),
    [
        ("final", "entered-in-error", "entered-in-error"),
        ("final", "cancelled", "cancelled"),
        ("final", "partial", "preliminary"),
        ("corrected", "registered", "preliminary"),
        ("preliminary", "cancelled", "cancelled"),
        ("cancelled", "entered-in-error", "entered-in-error"),
        ("entered-in-error", "final", "entered-in-error"),
        ("corrected", "final", "corrected"),
        ("final", "amended", "final"),
    ],
)
def test_a_weaker_report_weakens_what_it_holds(own: str, holding: str, status: str) -> None:
    assert lab(report(status=holding), status=own).status == status


def test_any_report_that_was_retracted_retracts_what_it_holds() -> None:
    assert lab(report(status="entered-in-error"), report("d2")).status == "entered-in-error"


def held_specimen(**changes: Any) -> dict[str, Any]:
    return {"resourceType": "Specimen", "id": "sp1", "type": {"text": "尿液"}} | changes


def glucose(specimen: dict[str, Any], **changes: Any) -> Result:
    return lab(code={"text": "葡萄糖"}, specimen=specimen, **changes)


@pytest.mark.parametrize("type_", [{"text": "尿液"}, {"coding": [{"code": "122575003", "display": "尿液"}]}])
def test_a_contained_specimen_is_read(type_: dict[str, Any]) -> None:
    result = glucose({"reference": "#sp1"}, contained=[held_specimen(type=type_)])
    stated = glucose({"display": "尿液"})
    assert (result.specimen, result.reading) == ("尿液", stated.reading)


@pytest.mark.parametrize(
    ("stated", "contained"),
    [
        ({"reference": "Specimen/9"}, []),
        ({"reference": "http://elsewhere.example/fhir/Specimen/1"}, []),
        ({"identifier": {"value": "7"}}, []),
        ({"display": " "}, []),
        ({"reference": "#sp1"}, []),
        ({"reference": "#sp1"}, [held_specimen(type={"coding": [{"code": "1"}]})]),
        ({"reference": "#sp1"}, [held_specimen(modifierExtension=[{"url": "urn:not"}])]),
        ({"reference": "#sp1"}, [held_specimen(id="sp2")]),
    ],
)
def test_a_specimen_that_is_stated_and_cannot_be_had_is_unknown(
    stated: dict[str, Any], contained: list[Any]
) -> None:
    result = glucose(stated, contained=contained)
    assert (result.specimen, result.reading.item) == ("?", None)


def test_two_specimens_that_contradict_each_other_are_no_item() -> None:
    result = glucose({"reference": "#sp1", "display": "血清"}, contained=[held_specimen()])
    assert (result.specimen, result.reading.reason) == ("血清/尿液", "conflict")


@pytest.mark.parametrize("reference", ["Specimen/1", f"{BASE}/Specimen/1", "Specimen/1/_history/2"])
def test_an_included_specimen_is_read(reference: str) -> None:
    referring = read(raw(observation(specimen={"reference": reference})), Observation)
    included = {"Specimen/1": read(raw(held_specimen(id="1")), Specimen)}
    assert specimen_of(referring, included, BASE) == "尿液"


@pytest.mark.parametrize("type_", [Observation, DiagnosticReport, ImagingStudy])
def test_a_resource_with_a_modifier_cannot_be_read(type_: type[Observation]) -> None:
    with pytest.raises(Unreadable):
        read(raw(observation(modifierExtension=[{"url": "urn:not", "valueBoolean": True}])), type_)


def test_a_value_beside_the_reason_for_having_none_is_a_flag() -> None:
    assert lab(dataAbsentReason={"text": "溶血"}).flags == ("accuracy:value-and-absent-reason",)


def quantity(unit: str, code: str, system: str = "http://unitsofmeasure.org") -> dict[str, Any]:
    return {"value": 5, "unit": unit, "system": system, "code": code}


@pytest.mark.parametrize(("unit", "code"), [("g/L", "g/dL"), ("mmol/L", "umol/L"), ("10^9/L", "10*12/L")])
def test_a_unit_that_contradicts_its_code_is_a_flag(unit: str, code: str) -> None:
    assert lab(valueQuantity=quantity(unit, code)).flags == ("consistency:unit-and-code-differ",)


@pytest.mark.parametrize(
    ("unit", "code"),
    [
        ("×10⁹/L", "10*9/L"),
        ("μmol/L", "umol/L"),
        ("IU/L", "[IU]/L"),
        ("mmHg", "mm[Hg]"),
        ("g/L", ""),
        ("", "g/L"),
        ("个", "{cells}"),
    ],
)
def test_two_spellings_of_one_unit_are_not_flagged(unit: str, code: str) -> None:
    assert lab(valueQuantity=quantity(unit, code)).flags == ()


def test_a_code_of_another_system_of_units_is_not_compared() -> None:
    assert lab(valueQuantity=quantity("g/L", "258796002", "http://snomed.info/sct")).flags == ()


def test_a_national_code_of_another_item_is_a_conflict() -> None:
    result = lab(code={"text": "白蛋白", "coding": [{"system": "urn:wst886", "code": "1100204A"}]})
    assert (result.reading.item, result.reading.concept, result.reading.reason) == (None, None, "conflict")


@pytest.mark.parametrize(
    "coding",
    [
        {"system": "urn:wst886", "code": "1100104A"},
        {"system": "urn:lianren:local:EX-CQ-01", "code": "1100204A"},
        {"system": "urn:wst886", "code": "ALB"},
    ],
)
def test_a_code_that_does_not_contradict_leaves_the_item(coding: dict[str, str]) -> None:
    assert lab(code={"text": "白蛋白", "coding": [coding]}).reading.item == "1100104A"


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


def test_a_report_that_adds_a_study_is_a_version_for_the_first_study() -> None:
    both = [{"reference": "ImagingStudy/s1"}, {"reference": "ImagingStudy/s2"}]
    corrected = report("d2", status="corrected", imagingStudy=both)
    keys = {imaging(study(), report()).version_key, imaging(study(), corrected).version_key}
    assert keys == {"img|2.25.1|urn:lianren:report:EX-CQ-01|ct/1"}


def test_two_reports_on_one_study_are_two_results() -> None:
    other = [{"system": "urn:lianren:report:EX-CQ-01", "value": "ct/2"}]
    assert imaging(study(), report()).version_key != imaging(study(), report(identifier=other)).version_key


def test_a_report_without_a_study_is_known_by_its_number() -> None:
    alone = imaging(None, report(imagingStudy=[]))
    assert alone.version_key == "img||urn:lianren:report:EX-CQ-01|ct/1"


def test_a_report_with_neither_study_nor_number_is_known_at_its_node() -> None:
    alone = imaging(None, report(imagingStudy=[], identifier=[]))
    assert alone.version_key == "img||cq-his/DiagnosticReport/d1"


def test_a_study_that_does_not_count_its_images_leaves_the_number_open() -> None:
    assert imaging(study(numberOfInstances=None), None).images == Images(None, None)


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
        laboratory(observation() | changes)
    except Unreadable:
        return


SINCE = datetime.fromisoformat("2026-03-10T08:00:00.5+08:00")


@pytest.mark.parametrize(
    ("text", "earlier"),
    [
        ("2026-03-10T07:59:59+08:00", True),
        ("2026-03-10T08:00:00+08:00", False),
        ("2026-03-10T00:00:00Z", False),
        ("2026-03-09T23:59:59Z", True),
        ("2026-03-10T07:58+08:00", True),
        ("2026-03-10T07:59:59", False),
        ("2026-03-09T07:59:59", True),
        ("2026-03-09", False),
        ("2026-03-08", True),
        ("2026-02", True),
        ("2026", False),
        ("0001-01-01T00:00:00Z", False),
        ("2026-02-30T00:00:00Z", False),
        ("gestern", False),
        ("", False),
    ],
)
def test_only_what_was_surely_over_lies_before_a_moment(text: str, earlier: bool) -> None:
    assert before(text, SINCE) is earlier
