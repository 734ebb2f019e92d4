"""The catalogue as FHIR R4 terminology: read, search and operations over real HTTP, as FHIR clients ask."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from catalog import load
from catalog.fhir import BASE, CONCEPT_SYSTEM, ITEM_SYSTEM, in_force
from gateway.faces._terminology import OPERATIONS, TRANSLATED, Terminologies
from gateway.faces.terminology import TYPES
from gateway.naming import UNNAMED
from gateway.rules import compile_rules
from gateway.terminology import LOCAL_SYSTEM, WST_886
from gateway.wiring import Gateway
from mapping import REASONS
from tests.contract.calls import FHIR
from tests.gateway.live import OWN, Live, ask, body

Parameters = dict[str, Any]
ALBUMIN = "1100104A"
TRANSLATE, LOOKUP = "/fhir/ConceptMap/$translate", "/fhir/CodeSystem/$lookup"
EXPAND, IN_SYSTEM, IN_SET = (
    "/fhir/ValueSet/$expand",
    "/fhir/CodeSystem/$validate-code",
    "/fhir/ValueSet/$validate-code",
)
LOCAL = f"{LOCAL_SYSTEM}{OWN}"
CY_LAB = f"{BASE}/ValueSet/cy-lab"
ITEM = {"system": ITEM_SYSTEM, "code": ALBUMIN}
PATHS = [
    f"/fhir/{operation.kind}{one}/${operation.name}"
    for operation in OPERATIONS
    for one in (("", "/items") if operation.instance else ("",))
]


@pytest.fixture(scope="module")
def his(gateway: Live) -> httpx.Client:
    return gateway.client()


@pytest.fixture(scope="module", autouse=True)
def nothing_failed(gateway: Live) -> Any:
    yield
    assert gateway.events("internal_error") == []


def get(his: httpx.Client, path: str, **query: Any) -> Parameters:
    """The valid FHIR resource that answers a GET."""
    return valid(his.get(path, params=query))


def post(his: httpx.Client, path: str, *parameters: tuple[str, str, Any]) -> Parameters:
    """The valid FHIR resource that answers Parameters of name, element and value."""
    return valid(sent(his, path, *parameters))


def sent(his: httpx.Client, path: str, *parameters: tuple[str, str, Any]) -> httpx.Response:
    listed = [{"name": name, element: value} for name, element, value in parameters]
    resource = {"resourceType": "Parameters", "parameter": listed}
    return his.post(path, content=json.dumps(resource).encode(), headers={"Content-Type": FHIR})


def valid(answer: httpx.Response) -> Parameters:
    from fhir.resources.R4B import get_fhir_model_class

    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == FHIR
    resource: Parameters = answer.json()
    get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    return resource


def refused(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of an OperationOutcome."""
    (issue,) = answer.json()["issue"]
    return answer.status_code, issue["details"]["coding"][0]["code"]


def told(resource: Parameters, name: str) -> Any:
    """The value of a parameter; None where it is not there."""
    for parameter in resource["parameter"]:
        if parameter["name"] == name:
            return next(value for key, value in parameter.items() if key.startswith("value"))
    return None


def parts(resource: Parameters, name: str) -> list[dict[str, Any]]:
    """The parts of each parameter of this name, by their names."""
    return [
        {
            part["name"]: next(value for key, value in part.items() if key.startswith("value"))
            for part in parameter["part"]
        }
        for parameter in resource["parameter"]
        if parameter["name"] == name
    ]


def matches(resource: Parameters) -> list[tuple[str, str]]:
    """Equivalence and code of each match; there are some exactly where the result is true."""
    found = [(match["equivalence"], match["concept"]["code"]) for match in parts(resource, "match")]
    assert bool(found) is told(resource, "result")
    return found


def no_map(resource: Parameters) -> str:
    """The reason code of a translation without a match."""
    assert matches(resource) == []
    assert told(resource, "message")
    return str(told(resource, "reason")["code"])


# Read and search


@pytest.mark.parametrize("resource", in_force(load()), ids=lambda r: f"{r['resourceType']}-{r['id']}")
def test_every_resource_of_the_catalogue_in_force_is_read_and_found(
    his: httpx.Client, resource: Parameters
) -> None:
    kind = resource["resourceType"]
    assert his.get(f"/fhir/{kind}/{resource['id']}").json() == resource
    found = his.get(f"/fhir/{kind}", params={"url": resource["url"]}).json()
    assert [entry["resource"] for entry in found["entry"]] == [resource]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, ["ConceptMap/concepts", "ConceptMap/stand-ins"]),
        ({"_id": "stand-ins"}, ["ConceptMap/stand-ins"]),
        ({"name": "lianrenstand"}, ["ConceptMap/stand-ins"]),
        ({"url": f"{BASE}/ConceptMap/concepts", "_id": "stand-ins"}, []),
        ({"version": load().version}, ["ConceptMap/concepts", "ConceptMap/stand-ins"]),
        ({"url": f"{BASE}/ConceptMap/concepts|{load().version}"}, ["ConceptMap/concepts"]),
        ({"version": "1999"}, []),
    ],
)
def test_a_search_finds_what_fits_all_that_is_asked(
    his: httpx.Client, query: dict[str, str], names: list[str]
) -> None:
    found = get(his, "/fhir/ConceptMap", **query)
    entries = [entry["resource"] for entry in found.get("entry", [])]
    assert [f"{resource['resourceType']}/{resource['id']}" for resource in entries] == names
    assert found["total"] == len(names)


def test_a_summary_has_no_concepts_and_says_that_it_is_one(his: httpx.Client) -> None:
    (entry,) = get(his, "/fhir/CodeSystem", _id="items", _summary="true")["entry"]
    assert "concept" not in entry["resource"]
    assert entry["resource"]["meta"]["tag"][0]["code"] == "SUBSETTED"
    assert entry["resource"]["count"] == len(load().items)


def test_a_count_has_no_entries(his: httpx.Client) -> None:
    found = get(his, "/fhir/ValueSet", _summary="count")
    assert (found["total"], "entry" in found) == (len(load().lists) + 1, False)


@pytest.mark.parametrize("kind", TYPES)
def test_an_unknown_id_is_not_found(his: httpx.Client, kind: str) -> None:
    assert refused(his.get(f"/fhir/{kind}/nothing")) == (404, "not-found")


# $lookup


def test_a_look_up_says_the_name_the_other_names_and_the_properties(his: httpx.Client) -> None:
    answer = get(his, LOOKUP, **ITEM)
    assert (told(answer, "display"), told(answer, "version")) == ("白蛋白测定", load().version)
    assert "白蛋白" in [designation["value"] for designation in parts(answer, "designation")]
    said = {entry["code"]: entry["value"] for entry in parts(answer, "property")}
    assert (said["analyte"], said["specimen"], said["kind"]) == ("ALB", "S", "lab")


def test_a_look_up_is_the_same_in_every_form(his: httpx.Client) -> None:
    answer = get(his, LOOKUP, **ITEM)
    code = post(his, LOOKUP, ("code", "valueCode", ALBUMIN), ("system", "valueUri", ITEM_SYSTEM))
    assert code == post(his, LOOKUP, ("coding", "valueCoding", ITEM)) == answer


def test_a_look_up_gives_the_properties_that_were_asked_for(his: httpx.Client) -> None:
    answer = his.get(LOOKUP, params=[*ITEM.items(), ("property", "analyte"), ("property", "specimen")]).json()
    assert [entry["code"] for entry in parts(answer, "property")] == ["analyte", "specimen"]
    assert parts(answer, "designation") == []


def test_rows_of_the_other_tables_are_looked_up_too(his: httpx.Client) -> None:
    answer = get(his, LOOKUP, system=f"{BASE}/CodeSystem/regions", code="510000")
    assert told(answer, "display") == "四川省"


@pytest.mark.parametrize(
    "query", [{"system": ITEM_SYSTEM, "code": "nope"}, {"system": "http://loinc.org", "code": "1751-7"}]
)
def test_an_unknown_code_or_system_is_not_found(his: httpx.Client, query: dict[str, str]) -> None:
    assert refused(his.get(LOOKUP, params=query)) == (404, "not-found")


# $validate-code


@pytest.mark.parametrize(
    ("display", "right"), [("白蛋白测定", True), ("白蛋白", True), ("ＡＬＢ", True), ("总蛋白测定", False)]
)
def test_a_display_is_any_name_of_the_item_and_no_other(his: httpx.Client, display: str, right: bool) -> None:
    answer = get(his, IN_SYSTEM, url=ITEM_SYSTEM, code=ALBUMIN, display=display)
    assert (told(answer, "result"), told(answer, "display")) == (right, "白蛋白测定")
    assert bool(told(answer, "message")) is not right


def test_a_code_is_judged_for_each_list(his: httpx.Client) -> None:
    said = {
        name: told(get(his, f"/fhir/ValueSet/{name}/$validate-code", **ITEM), "result")
        for name in ("cy-lab", "lab8-lab", "cy-imaging", "items")
    }
    assert said == {"cy-lab": True, "lab8-lab": True, "cy-imaging": False, "items": True}


def test_one_valid_coding_makes_a_concept_valid(his: httpx.Client) -> None:
    concept = {"coding": [{"system": LOCAL, "code": "7"}, ITEM]}
    answer = post(
        his, IN_SET, ("url", "valueUri", CY_LAB), ("codeableConcept", "valueCodeableConcept", concept)
    )
    assert told(answer, "result") is True


def test_a_code_of_another_system_is_not_valid_and_that_is_said(his: httpx.Client) -> None:
    answer = get(his, IN_SET, url=CY_LAB, system=LOCAL, code="7")
    assert told(answer, "result") is False
    assert ITEM_SYSTEM in told(answer, "message")


# $expand


def page(his: httpx.Client, **query: Any) -> tuple[int, list[str]]:
    expansion = get(his, EXPAND, url=CY_LAB, **query)["expansion"]
    return expansion["total"], [entry["code"] for entry in expansion.get("contains", [])]


def test_pages_have_every_item_of_the_list_once_and_in_one_order(his: httpx.Client) -> None:
    listed = [item.code for item in load().items.values() if "cy-lab" in item.lists]
    total, whole = page(his)
    paged = [code for offset in range(0, total, 7) for code in page(his, offset=offset, count=7)[1]]
    assert paged == whole
    assert (sorted(whole), total) == (sorted(listed), len(listed))


@pytest.mark.parametrize("text", ["白蛋白", "alb", "ＡＬＢ", ALBUMIN.lower(), "蛋 白"])
def test_a_filter_finds_by_name_other_name_and_code(his: httpx.Client, text: str) -> None:
    total, codes = page(his, filter=text)
    assert ALBUMIN in codes
    assert total == len(codes) < len(load().items)


def test_an_expansion_of_nothing_has_its_total(his: httpx.Client) -> None:
    assert page(his, count=0) == (page(his)[0], [])
    assert page(his, filter="没有这样的项目") == (0, [])
    assert page(his, offset=999_999_999)[1] == []


def test_designations_come_when_they_are_asked_for(his: httpx.Client) -> None:
    plain, full = (
        get(his, EXPAND, url=CY_LAB, filter=ALBUMIN, includeDesignations=wanted, activeOnly="true")
        for wanted in ("false", "true")
    )
    assert "designation" not in plain["expansion"]["contains"][0]
    assert full["expansion"]["contains"][0]["designation"]


def test_an_unknown_value_set_is_not_found(his: httpx.Client) -> None:
    assert refused(his.get(EXPAND, params={"url": "http://hl7.org/fhir/ValueSet/x"})) == (404, "not-found")


# $translate


@pytest.mark.parametrize(
    ("system", "code", "expected"),
    [
        (ITEM_SYSTEM, ALBUMIN, [("equivalent", ALBUMIN)]),
        (WST_886, ALBUMIN, [("equivalent", ALBUMIN)]),
        (CONCEPT_SYSTEM, "ALB|S|QN|-", [("equivalent", ALBUMIN)]),
        (LOCAL, "胸部CT平扫", [("equivalent", "CT-013")]),
        (f"{BASE}/CodeSystem/panels", "CT-015", [("equivalent", "CT-015")]),
        (f"{BASE}/CodeSystem/panels", "LFT", [("narrower", code) for code in load().panels["LFT"].members]),
    ],
)
def test_a_code_is_translated_to_its_item(
    his: httpx.Client, system: str, code: str, expected: list[tuple[str, str]]
) -> None:
    answer = get(his, TRANSLATE, system=system, code=code)
    assert matches(answer) == expected
    assert post(his, TRANSLATE, ("coding", "valueCoding", {"system": system, "code": code})) == answer
    assert get(his, "/fhir/ConceptMap/concepts/$translate", system=system, code=code) == answer


NAMES = [
    *(
        {"name": name}
        for name in ("白蛋白", "葡萄糖", "胸部CT平扫", "CT 胸部平扫+增强", "肝功能12项", "胸部平扫", "★")
    ),
    {"name": "某院特需套餐乙"},
    {"name": "葡萄糖", "specimen": "血清"},
    {"name": "胸部平扫", "modality": "CT"},
    {"name": "白蛋白", "kind": "imaging"},
]


@pytest.mark.parametrize("planned", NAMES, ids=lambda planned: "-".join(planned.values()))
def test_a_name_is_translated_as_a_check_reads_it(
    gateway: Live, his: httpx.Client, planned: dict[str, str]
) -> None:
    beside = [(word, "valueString", text) for word, text in planned.items() if word != "name"]
    concept = ("codeableConcept", "valueCodeableConcept", {"text": planned["name"]})
    answer = post(his, TRANSLATE, concept, *beside)
    checked = ask(gateway.client(), body() | {"planned": [planned]})
    if checked.unnamed:
        (silent,) = checked.unnamed
        assert no_map(answer) == silent.reason
        assert told(answer, "message").startswith(f"{silent.zh} / {silent.en}")
    else:
        (advice,) = checked.advice
        items = {code.code for code in (*advice.served, *advice.to_order)}
        assert {code for _, code in matches(answer)} == items


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"system": LOCAL, "code": "TP"}, "unnamed_code"),
        ({"system": ITEM_SYSTEM, "code": "nope"}, "unknown_code"),
        ({"system": WST_886, "code": "CT-013"}, "unknown_code"),
        ({"system": "http://example.org/other", "code": "1"}, "unknown_system"),
        ({"system": LOCAL, "code": "7", "display": "葡萄糖"}, "specimen_unsaid"),
        ({"system": ITEM_SYSTEM, "code": ALBUMIN, "url": f"{BASE}/ConceptMap/stand-ins"}, "no_stand_in"),
    ],
)
def test_without_a_match_there_is_a_reason_in_words_and_as_a_code(
    his: httpx.Client, query: dict[str, str], reason: str
) -> None:
    assert no_map(get(his, TRANSLATE, **query)) == reason


def test_a_name_that_contradicts_its_code_has_no_match(his: httpx.Client) -> None:
    concept = {"coding": [{"system": WST_886, "code": ALBUMIN}], "text": "总蛋白"}
    assert no_map(post(his, TRANSLATE, ("codeableConcept", "valueCodeableConcept", concept))) == "conflict"


def test_two_codes_of_different_items_have_no_match(his: httpx.Client) -> None:
    concept = {"coding": [ITEM, {"system": WST_886, "code": "1100204A"}]}
    assert no_map(post(his, TRANSLATE, ("codeableConcept", "valueCodeableConcept", concept))) == "conflict"


def test_a_stand_in_is_wider_than_what_was_ordered(his: httpx.Client) -> None:
    by_id = get(his, "/fhir/ConceptMap/stand-ins/$translate", system=ITEM_SYSTEM, code="DR-001")
    by_url = get(his, TRANSLATE, url=f"{BASE}/ConceptMap/stand-ins", system=ITEM_SYSTEM, code="DR-001")
    assert matches(by_id) == [("wider", "DR-002")]
    assert by_url == by_id


def test_every_reason_of_the_normaliser_has_words() -> None:
    assert set(REASONS) <= UNNAMED.keys()


# Versions


@pytest.mark.parametrize("name", ["version", "conceptMapVersion"])
@pytest.mark.parametrize("version", [load().version, f"cy-imaging@{load().version}"])
def test_a_version_that_was_published_is_asked(his: httpx.Client, name: str, version: str) -> None:
    answer = get(his, TRANSLATE, system=ITEM_SYSTEM, code="CT-013", **{name: version})
    assert matches(answer) == [("equivalent", "CT-013")]


@pytest.mark.parametrize(
    ("path", "name"), [(LOOKUP, "version"), (TRANSLATE, "version"), (IN_SET, "valueSetVersion")]
)
def test_an_unknown_version_is_not_found(his: httpx.Client, path: str, name: str) -> None:
    query = {**ITEM, name: "1999", **({"url": CY_LAB} if path == IN_SET else {})}
    assert refused(his.get(path, params=query)) == (404, "not-found")


def test_two_versions_at_once_are_refused(his: httpx.Client) -> None:
    query = {"url": f"{CY_LAB}|1998", "valueSetVersion": "1999"}
    assert refused(his.get(EXPAND, params=query)) == (400, "bad-parameter")


def test_other_rules_in_force_are_another_terminology_and_leave_no_answer_behind() -> None:
    running = SimpleNamespace(rules=compile_rules(load()))
    held = Terminologies(cast("Gateway", running))
    before = held.now()
    held.keep(b"code=1", b"{}")
    assert held.translated == {b"code=1": b"{}"}
    assert held.now() is before
    running.rules = compile_rules(load())
    assert held.translated == {}
    assert held.now() is not before


def test_what_is_kept_of_translations_has_a_bound() -> None:
    held = Terminologies(cast("Gateway", SimpleNamespace(rules=compile_rules(load()))))
    held.keep(b"x" * 1000, b"{}")
    assert held.translated == {}
    for number in range(5000):
        held.keep(b"code=%d" % number, b"{}")
    assert len(held.translated) == TRANSLATED


# What is refused


@pytest.mark.parametrize("path", PATHS)
def test_a_parameter_that_is_not_offered_is_named(his: httpx.Client, path: str) -> None:
    for answer in (
        his.get(path, params={"colour": "red"}),
        sent(his, path, ("colour", "valueString", "red")),
    ):
        assert refused(answer) == (400, "bad-parameter")
        assert answer.json()["issue"][0]["expression"] == ["colour"]


def test_a_caller_who_prefers_it_has_unknown_parameters_ignored(his: httpx.Client) -> None:
    query = {**ITEM, "colour": "red"}
    answer = his.get(TRANSLATE, params=query, headers={"Prefer": "return=minimal; handling=lenient"})
    assert matches(valid(answer)) == [("equivalent", ALBUMIN)]
    assert refused(his.get(TRANSLATE, params=query)) == (400, "bad-parameter")


@pytest.mark.parametrize("path", PATHS)
def test_an_operation_without_what_it_is_about_is_a_bad_request(his: httpx.Client, path: str) -> None:
    if "items/$expand" not in path and "ConceptMap/items" not in path:
        assert refused(his.get(path)) == (400, "bad-parameter")
        assert refused(sent(his, path)) == (400, "bad-parameter")


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (LOOKUP, {"code": ALBUMIN}),
        (LOOKUP, {**ITEM, "coding": f"{ITEM_SYSTEM}|{ALBUMIN}"}),
        (EXPAND, {"url": CY_LAB, "count": "-1"}),
        (EXPAND, {"url": CY_LAB, "count": "ten"}),
        (EXPAND, {"url": CY_LAB, "count": "9" * 5000}),
        (EXPAND, {"url": CY_LAB, "offset": "1.5"}),
        (EXPAND, {"url": CY_LAB, "activeOnly": "yes"}),
        (EXPAND, {"url": [CY_LAB, CY_LAB]}),
        (TRANSLATE, {**ITEM, "targetsystem": "http://loinc.org"}),
        ("/fhir/CodeSystem", {"_summary": "some"}),
        ("/fhir/CodeSystem", {"title": "x"}),
        (EXPAND, {f"p{number}": "" for number in range(1200)}),
    ],
)
def test_a_wrong_parameter_is_refused(his: httpx.Client, path: str, query: dict[str, Any]) -> None:
    assert refused(his.get(path, params=query)) == (400, "bad-parameter")


@pytest.mark.parametrize(
    "parameter",
    [
        ("code", "valueInteger", 7),
        ("code", "valueCode", 7),
        ("code", "valueCode", ""),
        ("code", "valueCode", None),
        ("coding", "valueCoding", []),
        ("coding", "valueCoding", {"code": "1"}),
        ("coding", "valueCoding", {"system": ["x"], "code": "1"}),
        ("codeableConcept", "valueCodeableConcept", {"coding": {"code": "1"}}),
        ("codeableConcept", "valueCodeableConcept", {"coding": [7]}),
        ("codeableConcept", "valueCodeableConcept", {"text": 7}),
    ],
)
def test_a_value_of_another_type_is_refused(his: httpx.Client, parameter: tuple[str, str, Any]) -> None:
    assert refused(sent(his, TRANSLATE, parameter)) == (400, "bad-parameter")


@pytest.mark.parametrize(
    "given", [{}, [], {"resourceType": "Patient"}, {"resourceType": "Parameters", "parameter": {}}]
)
def test_what_is_no_parameters_resource_is_refused(his: httpx.Client, given: Any) -> None:
    answer = his.post(TRANSLATE, json=given, headers={"Content-Type": FHIR})
    assert refused(answer)[0] in (400, 422)


@pytest.mark.parametrize("path", [*PATHS, "/fhir/CodeSystem", "/fhir/CodeSystem/items"])
def test_nobody_asks_without_a_token(gateway: Live, his: httpx.Client, path: str) -> None:
    his.get(path, params=ITEM)  # and what is kept of it is for those who may ask
    assert refused(gateway.client("").get(path, params=ITEM)) == (401, "not-authenticated")


def test_nothing_but_json_is_spoken(his: httpx.Client) -> None:
    assert refused(his.get(TRANSLATE, params={**ITEM, "_format": "xml"})) == (406, "not-acceptable")


@pytest.mark.parametrize("kind", TYPES)
def test_a_search_by_a_form_finds_what_one_by_an_address_does(his: httpx.Client, kind: str) -> None:
    query = {"name": "LianrenC"}
    by_form = valid(his.post(f"/fhir/{kind}/_search", data=query))
    assert by_form["entry"] == get(his, f"/fhir/{kind}", **query)["entry"]
    assert refused(his.post(f"/fhir/{kind}/_search?name=x", data=query)) == (400, "bad-parameter")


@pytest.mark.slow
def test_text_that_is_naughty_is_answered_or_refused(his: httpx.Client, conformance: Path) -> None:
    texts = json.loads((conformance / "badinput/shared/naughty-strings.json").read_bytes())
    wrong = []
    for number, text in enumerate(texts):
        query = [{"display": text}, {"system": LOCAL, "code": text}, {"system": ITEM_SYSTEM, "code": text}]
        answers = [
            his.get(TRANSLATE, params=query[number % 3]),
            his.get(EXPAND, params={"url": CY_LAB, "filter": text}),
        ]
        answers.append(sent(his, TRANSLATE, ("codeableConcept", "valueCodeableConcept", {"text": text})))
        wrong += [
            (text[:40], answer.status_code) for answer in answers if answer.status_code not in (200, 400)
        ]
    assert wrong == []


def test_json_of_the_parsing_suite_is_refused(his: httpx.Client, conformance: Path) -> None:
    lines = gzip.decompress((conformance / "badinput/shared/json-parsing.jsonl.gz").read_bytes()).splitlines()
    taken = []
    for line in lines:
        case = json.loads(line)
        answer = his.post(TRANSLATE, content=base64.b64decode(case["b64"]), headers={"Content-Type": FHIR})
        if not 400 <= answer.status_code < 500 or answer.json()["resourceType"] != "OperationOutcome":
            taken.append((case["name"], answer.status_code))
    assert taken == []


# What FHIR clients do


@pytest.mark.parametrize(
    "how",
    [
        {"headers": {"Accept": "application/fhir+json"}},
        {"headers": {"Accept": "application/fhir+json;fhirVersion=4.0, application/json;q=0.9, */*;q=0.1"}},
        {"params": {"_format": "json"}},
        {"params": {"_format": "application/fhir+json", "_pretty": "true"}},
    ],
)
@pytest.mark.parametrize("path", ["/fhir/CodeSystem/items", "/fhir/ValueSet", "/fhir/metadata"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_the_habits_of_clients_do_not_matter(
    his: httpx.Client, path: str, how: dict[str, dict[str, str]], slash: str
) -> None:
    assert his.get(f"{path}{slash}", **cast("Any", how)).status_code == 200


def test_a_slash_at_the_end_and_plain_json_are_taken(his: httpx.Client) -> None:
    plain = matches(get(his, f"{TRANSLATE}/", **ITEM, _format="json"))
    resource = {"resourceType": "Parameters", "parameter": [{"name": "coding", "valueCoding": ITEM}]}
    assert matches(valid(his.post(f"{TRANSLATE}/?_format=json", json=resource))) == plain


def test_the_capability_statement_offers_what_there_is(his: httpx.Client) -> None:
    statement = get(his, "/fhir/metadata")
    offered = {resource["type"]: resource for resource in statement["rest"][0]["resource"]}
    assert set(TYPES) < offered.keys()
    for operation in OPERATIONS:
        names = [one["name"] for one in offered[operation.kind]["operation"]]
        assert operation.name in names
    for kind in TYPES:
        for parameter in offered[kind]["searchParam"]:
            assert his.get(f"/fhir/{kind}", params={parameter["name"]: "x"}).status_code == 200


SUITE = {
    "http://ignixa.io/testscript/codesystem/lookup-demo": ITEM_SYSTEM,
    "http://ignixa.io/testscript/codesystem/validate-code-demo": ITEM_SYSTEM,
    "ignixa-vs-validate-code-demo": "cy-lab",
    **dict.fromkeys(("alpha", "beta", "included"), ALBUMIN),
    "excluded": "CT-013",
}
"""The names of the suite's own codes, and what is there of ours."""
STATUS = {"okay": 200, "notFound": 404, "bad": 400}


@pytest.mark.parametrize("name", ["lookup-operation", "validate-code-operation"])
def test_the_steps_of_the_test_scripts_are_answered_as_they_require(
    his: httpx.Client, conformance: Path, name: str
) -> None:
    script = json.loads((conformance / f"testscripts/shared/Operations/{name}.json").read_bytes())
    wrong = []
    for test in script["test"]:
        operation = test["action"][0]["operation"]
        if "url" not in operation:  # a body of the suite: the same as a GET of ours
            continue
        address = urlsplit(operation["url"])
        path = "/".join(SUITE.get(step, step) for step in address.path.split("/"))
        query = {key: SUITE.get(text, text) for key, text in parse_qsl(address.query)}
        answer = his.get(f"/fhir/{path}", params=query)
        for action in test["action"][1:]:
            wanted, resource = action["assert"], answer.json()
            if (status := wanted.get("response")) and answer.status_code != STATUS[status]:
                wrong.append((test["name"], status, answer.status_code))
            if (kind := wanted.get("resource")) and resource["resourceType"] != kind:
                wrong.append((test["name"], kind, resource["resourceType"]))
            judged = "'result'" in wanted.get("expression", "")
            if judged and str(told(resource, "result")).lower() != wanted["value"]:
                wrong.append((test["name"], wanted["value"], resource))
    assert wrong == []
