"""Intake: what is wrong with a resource is told at once, with paths; what is right keeps its bytes."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.body import BadBody
from gateway.resources.intake import beside, check_bundle, take, validated
from gateway.resources.issues import Issue, ResourceRefused, outcome
from gateway.resources.values import STORED

PATIENT: dict[str, Any] = {"resourceType": "Patient", "id": "p1", "gender": "female"}
OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "o1",
    "status": "final",
    "code": {"text": "白蛋白"},
    "subject": {"reference": "Patient/p1"},
}


def faults(resource: dict[str, Any], **changes: Any) -> list[tuple[str, str]]:
    """Path and code of each issue of a resource with other or further elements."""
    changed = resource | changes
    issues = validated(json.dumps(changed).encode(), changed["resourceType"])
    return [(issue.path, issue.code) for issue in issues]


def of_patient(**elements: Any) -> list[tuple[str, str]]:
    return faults(PATIENT, **elements)


def of_observation(**elements: Any) -> list[tuple[str, str]]:
    return faults(OBSERVATION, **elements)


def broken(resource: dict[str, Any], **elements: Any) -> set[str]:
    """The keys of the invariants that do not hold."""
    changed = resource | elements
    issues = validated(json.dumps(changed).encode(), changed["resourceType"])
    return {issue.words.partition(":")[0] for issue in issues if issue.code == "invariant"}


def test_what_is_right_keeps_its_bytes() -> None:
    raw = b"""{"resourceType":"Observation", "id":"o1","status":"final",
    "code":{"text":"\xe7\x99\xbd"}, "valueQuantity":{"value":0.010}}"""
    assert take(raw, "Observation", "o1").body == raw


def test_a_byte_order_mark_is_left_out() -> None:
    assert take(b"\xef\xbb\xbf" + json.dumps(PATIENT).encode(), "Patient", "p1").body[:1] == b"{"


def test_a_new_one_gets_its_id_and_nothing_else() -> None:
    taken = take(b'{"resourceType":"Patient","birthDate":"1968-03"}', "Patient", "n1", new=True)
    assert json.loads(taken.body) == {"resourceType": "Patient", "birthDate": "1968-03", "id": "n1"}


def test_the_fields_it_is_found_by_are_read() -> None:
    assert take(json.dumps(OBSERVATION).encode(), "Observation", "o1").key.subject.local == "Patient/p1"


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b'{"resourceType":"Patient","id":"p1","id":"p1"}',
        '{"resourceType":"Patient","id":"p1","name":[{"text":"重庆"}]}'.encode("gb18030"),
        b'{"resourceType":"Patient","id":"p1"}{}',
    ],
    ids=["cut off", "one name twice", "GB18030", "something behind it"],
)
def test_what_parsers_could_read_differently_is_400(raw: bytes) -> None:
    with pytest.raises(BadBody) as refused:
        take(raw, "Patient", "p1")
    assert refused.value.status == 400


@pytest.mark.parametrize("raw", [b"[]", b"1", b'"Patient"', b"{}", b'{"resourceType":"Observation"}'])
def test_what_is_no_such_resource_is_422(raw: bytes) -> None:
    with pytest.raises(ResourceRefused) as refused:
        take(raw, "Patient", "p1")
    assert refused.value.issues[0].path == "resourceType"


def test_the_id_is_that_of_the_address() -> None:
    with pytest.raises(ResourceRefused) as refused:
        take(json.dumps(PATIENT).encode(), "Patient", "p2")
    assert [issue.path for issue in refused.value.issues] == ["Patient.id"]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    assert set(
        of_patient(
            gender="女",
            birthDate="19680314",
            telecom=[{"system": "phone", "value": ""}],
            active="true",
            hospitalSecretLevel=3,
        )
    ) == {
        ("Patient.birthDate", "value"),
        ("Patient.hospitalSecretLevel", "structure"),
        ("Patient.gender", "code-invalid"),
        ("Patient.telecom[0].value", "structure"),
        ("Patient.active", "value"),
    }


def test_no_more_than_a_hundred_faults_are_told() -> None:
    assert len(of_patient(extension=[{}] * 1000)) == 100


@pytest.mark.parametrize(
    "raw",
    [
        b'{"resourceType":"Patient","extension":[' + b",".join([b"{}"] * 300_000) + b"]}",
        b'{"resourceType":"Patient",' + b",".join(b'"k%d":1' % n for n in range(90_000)) + b"}",
        b'{"resourceType":"Observation","status":"final","valueInteger":1,"code":{"coding":['
        + b",".join(b'{"code":"%d"}' % n for n in range(30_000))
        + b']},"component":['
        + b",".join([b'{"code":{"coding":[{"code":"x"}]}}'] * 10_000)
        + b"]}",
    ],
    ids=["empty objects", "unknown elements", "codings and components"],
)
def test_a_hostile_resource_of_a_megabyte_costs_little(raw: bytes) -> None:
    begun = time.process_time()
    validated(raw, raw[17 : raw.index(b'"', 17)].decode())
    assert time.process_time() - begun < 3


@pytest.mark.parametrize("many", [1, 400])
def test_others_are_served_while_intake_works(many: int) -> None:
    identifiers = {"identifier": [{"value": "示"}] * (40_000 // many)}
    raw = json.dumps(PATIENT | identifiers, ensure_ascii=False).encode()
    served = 0

    async def serve() -> None:
        nonlocal served
        while True:
            await asyncio.sleep(0)
            served += 1

    async def work() -> None:
        others = asyncio.create_task(serve())
        for _ in range(many):
            await beside(take, raw, "Patient", "p1")
        others.cancel()

    asyncio.run(work())
    assert served > 10


def test_no_value_stands_in_the_words() -> None:
    raw = json.dumps(PATIENT | {"birthDate": "王小红", "gender": "王小红", "王小红": 1}).encode()
    assert "王小红" not in "".join(issue.words for issue in validated(raw, "Patient"))


@pytest.mark.parametrize(
    ("elements", "path", "code"),
    [
        ({"status": "done"}, "status", "code-invalid"),
        ({"status": ["final"]}, "status", "structure"),
        ({"code": {}}, "code", "structure"),
        ({"category": []}, "category", "structure"),
        ({"category": [None]}, "category[0]", "structure"),
        ({"note": [{"text": "字", "time": None}]}, "note[0].time", "structure"),
        ({"valueQuantity": {"value": "72.5"}}, "valueQuantity.value", "value"),
        ({"valueBoolean": "true"}, "valueBoolean", "value"),
        ({"valueInteger": 1.5}, "valueInteger", "value"),
        ({"valueQuantity": {"value": 1, "comparator": "≤"}}, "valueQuantity.comparator", "code-invalid"),
        ({"subject": "Patient/p1"}, "subject", "structure"),
        ({"subject": {"reference": "Organization/o"}}, "subject", "value"),
        ({"subject": {"reference": "https://his.example/fhir/Practitioner/1"}}, "subject", "value"),
        ({"subject": {"type": "Organization"}}, "subject", "value"),
        ({"specimen": {"reference": "Patient/p1"}}, "specimen", "value"),
        ({"subject": {"reference": "#p"}}, "subject", "invariant"),
        ({"text": {"status": "empty", "div": "<p>1</p>"}}, "text.div", "invariant"),
        ({"valueString": "阴\0性"}, "valueString", "value"),
        ({"implicitRules": "urn:x y"}, "implicitRules", "value"),
        ({"contained": [{"resourceType": "Patient", "id": "a_b"}]}, "contained[0].id", "value"),
        ({"extension": [{"url": "urn:x"}]}, "extension[0]", "invariant"),
    ],
)
def test_a_fault_is_told_with_its_path(elements: dict[str, Any], path: str, code: str) -> None:
    assert (f"Observation.{path}", code) in of_observation(**elements)


def test_a_missing_element_is_told_as_such() -> None:
    without = {name: value for name, value in OBSERVATION.items() if name != "code"}
    assert faults(without) == [("Observation.code", "required")]


@pytest.mark.parametrize(
    "elements",
    [
        {"subject": {"reference": None}},
        {"subject": {"reference": "#p", "type": {}}},
        {"contained": [{"resourceType": "Patient", "id": {"a": 1}}]},
        {"contained": [None, "x", {"resourceType": [], "id": "a", "meta": None}]},
        {"referenceRange": [{"low": None, "high": {"value": {}}}]},
        {"effectivePeriod": {"start": ["2026"], "end": None}},
        {"component": {"code": "x"}},
    ],
)
def test_an_odd_structure_is_refused_before_an_invariant_is_asked(elements: dict[str, Any]) -> None:
    assert of_observation(**elements)


@pytest.mark.parametrize(
    "elements",
    [
        {
            "extension": [
                {"url": "urn:x", "_valueString": {"extension": [{"url": "urn:y", "valueCode": "z"}]}}
            ]
        },
        {"extension": [{"url": "urn:x", "valueMeta": {"versionId": "1", "tag": [{"code": "t"}]}}]},
        {"extension": [{"url": "urn:x", "valueUuid": "urn:uuid:00000000-0000-0000-0000-000000000000"}]},
    ],
)
def test_the_models_do_not_have_the_last_word_on_what_r4_has(elements: dict[str, Any]) -> None:
    assert of_observation(**elements) == []


@pytest.mark.parametrize(
    "elements",
    [
        {"extension": [{"url": "urn:x", "_valueString": {"extension": [{"url": "urn:y"}]}}]},
        {"extension": [{"url": "urn:x", "_valueText": {"id": "a"}}]},
        {"extension": [{"url": "urn:x", "valueMeta": {"version": "1"}}]},
        {"extension": [{"url": "urn:x", "valueUuid": "00000000-0000-0000-0000-000000000000"}]},
        {"extension": [{"url": "urn:x", "valueRatioRange": {"lowNumerator": {"value": 1}}}]},
        {"extension": [{"url": "urn:x", "valueCodeableReference": {"concept": {"text": "R4B"}}}]},
        {"subject": {"resourceType": "Reference", "reference": "Patient/p1"}},
        {"fhir_comments": ["x"]},
    ],
)
def test_what_only_other_versions_of_fhir_have_is_refused(elements: dict[str, Any]) -> None:
    assert of_observation(**elements)


@pytest.mark.parametrize("code", ["subject", "performer"])
def test_only_references_that_decide_are_held_to_their_types(code: str) -> None:
    reference = {"reference": "Encounter/e1"}
    wrong = of_observation(**{code: [reference] if code == "performer" else reference})
    assert bool(wrong) == (code == "subject")


def test_a_gap_in_a_repeated_primitive_stands_beside_an_extension() -> None:
    extension = [{"url": "urn:x", "valueString": "y"}]
    name = {"given": ["小", None], "_given": [None, {"extension": extension}]}
    assert of_patient(name=[name]) == []


def test_a_gap_without_an_extension_is_refused() -> None:
    assert of_patient(name=[{"given": ["小", None]}]) == [("Patient.name[0].given[1]", "structure")]


@pytest.mark.parametrize(
    ("key", "elements"),
    [
        ("obs-3", {"referenceRange": [{"appliesTo": [{"text": "女"}]}]}),
        ("obs-6", {"valueString": "阴性", "dataAbsentReason": {"text": "未知"}}),
        (
            "obs-7",
            {
                "valueInteger": 1,
                "code": {"coding": [{"system": "urn:x", "code": "a"}]},
                "component": [{"code": {"coding": [{"system": "urn:x", "code": "a"}]}}],
            },
        ),
        ("qty-3", {"valueQuantity": {"value": 1, "code": "g/L"}}),
        ("per-1", {"effectivePeriod": {"start": "2026-11-02", "end": "2026-11-01"}}),
        ("per-1", {"effectivePeriod": {"start": "2026-11", "end": "2025"}}),
        ("rng-2", {"valueRange": {"low": {"value": 2}, "high": {"value": 1}}}),
        ("rat-1", {"valueRatio": {"numerator": {"value": 1}}}),
        ("dom-2", {"contained": [{"resourceType": "Patient", "id": "a", "contained": [PATIENT]}]}),
        ("dom-3", {"contained": [{"resourceType": "Patient", "id": "a"}]}),
        ("dom-4", {"contained": [{"resourceType": "Patient", "id": "a", "meta": {"versionId": "1"}}]}),
        (
            "dom-5",
            {"contained": [{"resourceType": "Patient", "id": "a", "meta": {"security": [{"code": "R"}]}}]},
        ),
        ("ref-1", {"specimen": {"reference": "#s"}}),
        ("ext-1", {"extension": [{"url": "urn:x", "valueString": "y", "extension": [{"url": "urn:z"}]}]}),
        ("tim-1", {"effectiveTiming": {"repeat": {"duration": 1}}}),
        ("tim-5", {"effectiveTiming": {"repeat": {"period": -1, "periodUnit": "d"}}}),
    ],
)
def test_an_invariant_of_an_observation_is_held(key: str, elements: dict[str, Any]) -> None:
    assert key in broken(OBSERVATION, **elements)


@pytest.mark.parametrize(
    "elements",
    [
        {"effectivePeriod": {"start": "2026-11-01", "end": "2026-11"}},
        {"effectivePeriod": {"start": "2026-11-01T08:00:00+08:00", "end": "2026-11-01T01:00:00Z"}},
        {"contained": [{"resourceType": "Specimen", "id": "s"}], "specimen": {"reference": "#s"}},
        {"valueRatio": {"numerator": {"value": 1}, "denominator": {"value": 80}}},
        {"component": [{"code": {"text": "收缩压"}, "valueInteger": 120}]},
        {"referenceRange": [{"_text": {"extension": [{"url": "urn:x", "valueCode": "unknown"}]}}]},
        {
            "valueQuantity": {
                "code": "x",
                "_system": {"extension": [{"url": "urn:x", "valueCode": "unknown"}]},
            }
        },
        {"valueRange": {"low": {"value": 500, "unit": "mg"}, "high": {"value": 1, "unit": "g"}}},
        {"valuePeriod": {"start": "2016-12-31T23:59:60Z", "end": "2017"}},
    ],
)
def test_what_an_invariant_allows_is_taken_in(elements: dict[str, Any]) -> None:
    assert of_observation(**elements) == []


@pytest.mark.parametrize(
    ("key", "resource"),
    [
        ("pat-1", PATIENT | {"contact": [{"gender": "male"}]}),
        (
            "drt-1",
            {
                "resourceType": "Encounter",
                "status": "finished",
                "class": {"code": "AMB"},
                "length": {"value": 1, "system": "urn:x", "code": "h"},
            },
        ),
        (
            "inv-1",
            {
                "resourceType": "Task",
                "status": "draft",
                "intent": "order",
                "authoredOn": "2026-11-02",
                "lastModified": "2026-11-01",
            },
        ),
        ("age-1", PATIENT | {"extension": [{"url": "urn:x", "valueAge": {"value": 0}}]}),
        ("cnt-3", PATIENT | {"extension": [{"url": "urn:x", "valueCount": {"value": 1.5, "code": "1"}}]}),
        ("dis-1", PATIENT | {"extension": [{"url": "urn:x", "valueDistance": {"value": 1}}]}),
        ("att-1", PATIENT | {"photo": [{"data": "QQ=="}]}),
        ("cpt-2", PATIENT | {"telecom": [{"value": "1"}]}),
        ("org-1", {"resourceType": "Organization", "active": True}),
        ("org-2", {"resourceType": "Organization", "name": "示例医院", "address": [{"use": "home"}]}),
        ("org-3", {"resourceType": "Organization", "name": "示例医院", "telecom": [{"use": "home"}]}),
        (
            "prr-1",
            {
                "resourceType": "ServiceRequest",
                "status": "active",
                "intent": "order",
                "subject": {"reference": "Patient/p1"},
                "orderDetail": [{"text": "急"}],
            },
        ),
    ],
)
def test_an_invariant_of_another_type_is_held(key: str, resource: dict[str, Any]) -> None:
    assert key in broken(resource)


@pytest.mark.parametrize(
    "inner",
    [
        "<script>1</script>",
        "<p onclick='a()'>1</p>",
        "<a href='javascript:a()'>1</a>",
        "<a href=' java&#10;script:a()'>1</a>",
        "<a href='data:application/xhtml+xml,x'>1</a>",
        "<iframe src='x'/>",
        "&nbsp;1",
        "  ",
        "<!ELEMENT x>",
    ],
)
def test_a_narrative_that_a_browser_should_not_show_is_refused(inner: str) -> None:
    div = f'<div xmlns="http://www.w3.org/1999/xhtml">{inner}</div>'
    assert of_patient(text={"status": "generated", "div": div}) == [("Patient.text.div", "invariant")]


@pytest.mark.parametrize("inner", ["<p><b>白蛋白</b> 42&#160;g/L</p>", '<img src="#i" alt=""/>', "字"])
def test_a_narrative_of_text_and_images_is_taken_in(inner: str) -> None:
    div = f'<div xmlns="http://www.w3.org/1999/xhtml">{inner}</div>'
    assert of_patient(text={"status": "generated", "div": div}) == []


def organisation(value: str, system: str = "", named: str = "") -> list[tuple[str, str]]:
    stated = {"system": system, "value": value, "type": {"text": named}}
    shown = {name: said for name, said in stated.items() if said not in ("", {"text": ""})}
    return faults({"resourceType": "Organization", "identifier": [shown]})


@pytest.mark.parametrize(
    ("value", "system", "named"),
    [
        ("91510000MA00000007", "urn:lianren:unified-social-credit-code", ""),
        ("91510000MA00000007", "urn:local", "统一社会信用代码"),
        ("1234", "urn:lianren:medical-institution-licence", ""),
        ("12345678-X01010311A100", "urn:local", "医疗机构执业许可证登记号"),
    ],
)
def test_a_number_of_an_institution_that_cannot_be_is_refused(value: str, system: str, named: str) -> None:
    assert organisation(value, system, named) == [("Organization.identifier[0].value", "value")]


@pytest.mark.parametrize(
    ("value", "system"),
    [
        ("12500000MB0000000F", "urn:lianren:unified-social-credit-code"),
        ("12345678X50010312A1001", "urn:lianren:medical-institution-licence"),
        ("1234", "urn:lianren:institution"),
    ],
)
def test_a_number_of_an_institution_that_can_be_is_taken_in(value: str, system: str) -> None:
    assert organisation(value, system) == []


def test_another_register_number_is_none_of_a_medical_institution() -> None:
    assert organisation("1234", "urn:local", "税务登记号") == []


@pytest.mark.parametrize("type_", ["Patient", "Practitioner"])
def test_a_resident_number_with_a_wrong_check_character_is_refused(type_: str) -> None:
    stated = {"system": "urn:oid:2.16.156.10011.1.3", "value": "990000196803140023"}
    wrong = faults({"resourceType": type_, "identifier": [stated]})
    assert wrong == [(f"{type_}.identifier[0].value", "value")]


def test_an_old_number_may_have_a_form_of_its_day() -> None:
    stated = {"use": "old", "system": "urn:oid:2.16.156.10011.1.3", "value": "1"}
    assert of_patient(identifier=[stated]) == []


def transaction(*entries: dict[str, Any], **further: Any) -> bytes:
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)} | further
    return json.dumps(bundle).encode()


PUT = {"request": {"method": "PUT", "url": "Patient/p1"}}


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (transaction({"resource": PATIENT}), "Bundle"),
        (transaction({"fullUrl": "urn:uuid:1"} | PUT, {"fullUrl": "urn:uuid:1"} | PUT), "Bundle"),
        (transaction({"fullUrl": "Patient/p1"} | PUT), "Bundle.entry[0]"),
        (transaction(PUT, secret=1), "Bundle.secret"),
        (transaction(PUT, language=""), "Bundle.language"),
        (transaction({"request": {"method": "STEAL", "url": "x"}}), "Bundle.entry[0].request.method"),
        (b'{"resourceType":"Bundle","type":"transaction","entry":{}}', "Bundle.entry"),
        (b'{"resourceType":"Bundle","type":"transaction","entry":["x"]}', "Bundle.entry[0]"),
    ],
)
def test_a_bundle_is_checked_around_its_resources(raw: bytes, path: str) -> None:
    with pytest.raises(ResourceRefused) as refused:
        check_bundle(raw)
    assert path in [issue.path for issue in refused.value.issues]


def test_what_is_wrong_with_a_resource_is_not_the_bundle_s() -> None:
    check_bundle(transaction({"resource": {"resourceType": "Patient", "gender": "女"}} | PUT))


def test_an_issue_is_told_below_its_entry() -> None:
    issue = Issue("Patient.name[0].text", "value", "…")
    assert issue.below("Bundle.entry[2].resource").path == "Bundle.entry[2].resource.name[0].text"


def test_an_outcome_without_an_issue_says_so() -> None:
    assert outcome([])["issue"][0]["severity"] == "information"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["id", "meta", "text", "div", "contained", "extension", "resourceType", "identifier", "value",
             "code", "coding", "status", "subject", "reference", "valueQuantity", "low", "high", "_status",
             "referenceRange", "component", "contact", "telecom", "use", "effectivePeriod", "start", "end"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(st.sampled_from(STORED), st.dictionaries(st.text(max_size=3), JSON, max_size=2), JSON)
def test_anything_is_taken_in_or_refused_as_such(type_: str, further: dict[str, Any], value: Any) -> None:
    resource = further | (value if isinstance(value, dict) else {}) | {"resourceType": type_, "id": "x"}
    try:
        take(json.dumps(resource).encode(), type_, "x")
    except BadBody:
        return
    assert validated(json.dumps(resource).encode(), type_) == ()
