"""What an accreditation finds: each defect of a server is told by the finding that is about it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl

import pytest
import rfc8785
from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters import DicomwebNode, FhirNode, Line, Node
from catalog import load
from gateway.accrediting import Finding, Local, Report, accredit, page, read_patients, sign, verify, written
from gateway.accrediting.archive import Archive
from gateway.accrediting.fhir import CHECKS
from gateway.accrediting.kit import Kit, Seen
from gateway.accrediting.running import look as look_at
from gateway.accrediting.values import About
from gateway.accrediting.words import GROUPS, WORDS
from gateway.demo.people import BY_KEY
from gateway.errors import BadRequest
from gateway.nodes import dialect_of, line_of
from gateway.settings import NodeSettings
from security import jws
from security.errors import SignatureRefused
from security.keys import KeyPair
from tests.gateway.live import Counted
from tests.node_cases import normaliser, observation, patient, report, study
from tests.serving import http_answer, misbehave, serve

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
NUMBER, OTHER_NUMBER, NAME = BY_KEY["jia"].number, BY_KEY["yi"].number, BY_KEY["jia"].name
GARBLED = "ç¤ºä¾‹"
PATIENT = patient("p1", NUMBER) | {"name": [{"text": NAME}]}
OTHER = patient("p2", OTHER_NUMBER, "CQ01007026")
BILIRUBIN = {"code": {"text": "总胆红素"}, "valueQuantity": {"value": 12.6, "unit": "μmol/L"}}
RECORDS = (PATIENT, observation(), observation("o2", **BILIRUBIN), study(), report())
EXPECTED = {
    "kind": "lab",
    "name": "血清白蛋白",
    "performed": "2026-11-10T08:00:00+08:00",
    "value": "43.5",
    "unit": "g/L",
}
SAID = {
    "patients": [{"type": "resident-id", "value": NUMBER, "name": NAME, "results": [EXPECTED]}],
    "unknown": [{"type": "resident-id", "value": OTHER_NUMBER}],
}
ELSEWHERE = {"system": "urn:lianren:institution", "value": "EX-SC-01"}
CATALOGUE = load()
SLOW = ("behaviour.slow_client",)
_BOUNDS = {"date": "effectiveDateTime", "issued": "issued", "started": "started"}


def fhir(resources: tuple[dict[str, Any], ...], defect: str = "") -> Starlette:
    """A FHIR server in memory, with one defect."""

    async def metadata(request: Request) -> Response:
        version = "5.0.0" if defect == "R5" else "4.0.1"
        return JSONResponse({"resourceType": "CapabilityStatement", "fhirVersion": version})

    def fits(resource: dict[str, Any], asked: dict[str, str]) -> bool:
        if number := asked.get("identifier"):
            held = [f"{one['system']}|{one['value']}" for one in resource.get("identifier", [])]
            if defect == "begins":
                return any(one.startswith(number) for one in held)
            return defect == "everybody" or number in held
        subject = resource.get("subject", {}).get("reference")
        if defect != "others" and subject != asked.get("patient"):
            return False
        return all(
            defect == "bounds" or resource.get(path, "") >= asked[name].removeprefix("ge")
            for name, path in _BOUNDS.items()
            if name in asked
        )

    async def search(request: Request) -> Response:
        if defect == "no POST" and request.method == "POST":
            return Response(status_code=405)
        if defect != "anybody" and request.headers.get("authorization") == "Bearer lianren-wrong-token":
            return Response(status_code=401)
        post = request.method == "POST"
        asked = dict(parse_qsl((await request.body()).decode() if post else request.url.query))
        if asked.get("date") == "ge2026-13-45":
            return Response(status_code=500 if defect == "breaks" else 400)
        type_ = request.path_params["type"]
        found = [one for one in resources if one["resourceType"] == type_ and fits(one, asked)]
        size, start = int(asked.get("_count", 200)), int(asked.get("start", 0))
        shown = found if defect == "page size" else found[start : start + size]
        links = []
        if start + len(shown) < len(found) and defect != "no next":
            query = "&".join(f"{k}={v}" for k, v in (asked | {"start": str(start + size)}).items())
            links = [{"relation": "next", "url": f"{type_}?{query}"}]
        bundle = {
            "resourceType": "Bundle",
            "type": "searchset",
            "link": links,
            "entry": [{"resource": one} for one in shown],
        }
        charset = "gb18030" if defect == "gb18030" else "utf-8"
        text = json.dumps(bundle, ensure_ascii=False).encode(charset)
        return Response(text, media_type="application/fhir+json")

    async def other(request: Request) -> Response:
        return Response(status_code={"200": 200, "500": 500}.get(defect, 404), media_type="application/json")

    return Starlette(
        routes=[
            Route("/metadata", metadata),
            Route("/{type:str}/_search", search, methods=["POST"]),
            Route("/{type}", search),
            Route("/{path:path}", other),
        ]
    )


@contextmanager
def kit_of(
    resources: tuple[dict[str, Any], ...] = RECORDS, defect: str = "", **settings: Any
) -> Iterator[Callable[[str], Seen]]:
    """What looks at a server of these resources: the id of a finding to what was seen."""
    with serve(fhir(resources, defect)) as url:
        yield lambda id_: seen_at(url, id_, **settings)


def kit_over(node: NodeSettings, adapter: Node, line: Line) -> Kit:
    said = read_patients(json.dumps(SAID).encode())
    return Kit(node, adapter, line, said, catalogue=CATALOGUE, reads=normaliser(), now=NOW)


def seen_at(url: str, id_: str, **settings: Any) -> Seen:
    """What one check sees of a server."""
    node = NodeSettings(id="his", kind="fhir", url=url, institution="EX-CQ-01", **settings)

    async def run() -> Seen:
        line = line_of(node)
        adapter = FhirNode(
            "his", url, "EX-CQ-01", normaliser, timeout=9.0, line=line, dialect=dialect_of(node)
        )
        try:
            return await look_at(CHECKS[id_], kit_over(node, adapter, line))
        finally:
            await adapter.aclose()

    return asyncio.run(run())


@pytest.fixture(scope="module")
def sound() -> Iterator[Callable[[str], Seen]]:
    """A server without a defect."""
    with kit_of() as look:
        yield look


@pytest.mark.parametrize("id_", [id_ for id_ in CHECKS if id_ not in SLOW])
def test_a_sound_server_has_nothing_to_fix(sound: Callable[[str], Seen], id_: str) -> None:
    assert sound(id_).state in ("passed", "not_made")


def lab(**changes: Any) -> tuple[dict[str, Any], ...]:
    return (PATIENT, observation(**changes))


@pytest.mark.parametrize(
    ("id_", "resources", "defect", "state"),
    [
        ("identity.version", RECORDS, "R5", "fix"),
        ("identity.found", (OTHER,), "", "fix"),
        ("identity.once", (*RECORDS, PATIENT | {"id": "p9"}), "", "advice"),
        ("identity.unknown", RECORDS, "everybody", "fix"),
        ("identity.exact", RECORDS, "begins", "fix"),
        ("identity.own", (*RECORDS, observation("o9", subject={"reference": "Patient/p2"})), "others", "fix"),
        ("search.method", RECORDS, "no POST", "fix"),
        ("search.bounds", RECORDS, "bounds", "fix"),
        ("search.paging", RECORDS, "no next", "fix"),
        ("search.page_size", RECORDS, "page size", "advice"),
        ("search.complete", lab(code={"text": "另一个项目"}), "", "fix"),
        ("retrieval.readable", lab(valueQuantity={"value": "43.5"}), "", "fix"),
        ("retrieval.values", lab(valueQuantity=None), "", "fix"),
        ("retrieval.studies", (PATIENT, study(identifier=[]), report()), "", "advice"),
        ("retrieval.institution", lab(performer=[{"identifier": ELSEWHERE}]), "", "fix"),
        ("retrieval.flags", lab(status="unknown"), "", "advice"),
        ("names.read", lab(code={"text": "某某某"}), "", "fix"),
        ("units.stated", lab(valueQuantity={"value": 43.5}), "", "fix"),
        ("units.known", lab(valueQuantity={"value": 43.5, "unit": "斤"}), "", "advice"),
        ("units.values", lab(valueQuantity={"value": 43.6, "unit": "g/L"}), "", "fix"),
        ("times.stated", lab(effectiveDateTime="2026-11-10T08:00:00"), "", "fix"),
        ("times.expected", lab(effectiveDateTime="2026-11-10T08:00:00Z"), "", "fix"),
        ("charset.text", lab(code={"text": "è¡€æ¸…ç™½"}), "", "fix"),
        ("charset.person_names", (PATIENT | {"name": [{"text": GARBLED}]},), "", "fix"),
        ("errors.bad_request", RECORDS, "breaks", "fix"),
        ("errors.unknown_path", RECORDS, "500", "fix"),
        ("errors.unknown_resource", RECORDS, "200", "fix"),
        ("errors.token", RECORDS, "anybody", "advice"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_defect_is_told_by_its_finding(
    id_: str, resources: tuple[dict[str, Any], ...], defect: str, state: str
) -> None:
    with kit_of(resources, defect) as look:
        assert look(id_).state == state


@pytest.mark.parametrize(("off", "state"), [(0, "passed"), (30, "advice"), (28_800, "fix"), (-28_800, "fix")])
def test_a_clock_that_is_wrong_is_told_by_how_much(off: int, state: str) -> None:
    date = datetime.now(UTC) + timedelta(seconds=off)
    with misbehave(
        lambda *_: http_answer(b"{}", headers={"Date": format_datetime(date, usegmt=True)})
    ) as url:
        assert seen_at(url, "times.clock").state == state


@pytest.mark.parametrize("cut", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"])
def test_a_server_that_cuts_a_slow_client_off_is_to_be_fixed(cut: bytes) -> None:
    with misbehave(lambda *_: cut) as url:
        assert seen_at(url, "behaviour.slow_client") == Seen("fix", "cut off")


def test_a_time_in_the_wrong_zone_is_told_by_how_much() -> None:
    with kit_of(lab(effectiveDateTime="2026-11-10T08:00:00Z")) as look:
        assert look("times.expected").seen.endswith("+8.0 h")


@pytest.mark.parametrize(("charset", "state"), [("utf-8", "fix"), ("gb18030", "passed")])
def test_a_server_that_writes_gb18030_is_read_where_that_is_set(charset: str, state: str) -> None:
    with kit_of(RECORDS, "gb18030", charset=charset) as look:
        assert look("charset.person_names").state == state


GARBAGE = (
    b"",
    b"{}",
    b"[]",
    b"null",
    b"\xff\xfe",
    b"<html><body>200</body></html>",
    b"[" * 5000,
    b'[{"0020000D":{"Value":[null]},"00100020":{"Value":[{"Alphabetic":"x"}]}}]',
    b'[{"0020000D":7}]',
    b'{"resourceType":"Bundle","type":"searchset","entry":[{},{"resource":null}]}',
    b'{"resourceType":"Bundle","type":"searchset","entry":[{"resource":{"resourceType":"Patient"}}]}',
    b'{"resourceType":"Bundle","type":"searchset","link":[{"relation":"next","url":"http://a.example/"}]}',
    b'{"resourceType":"CapabilityStatement","fhirVersion":4}',
)


@pytest.mark.parametrize("body", GARBAGE, ids=range(len(GARBAGE)))
def test_whatever_a_fhir_server_answers_every_check_comes_to_something(body: bytes) -> None:
    with misbehave(lambda *_: http_answer(body)) as url:
        assert "fix" in {seen_at(url, id_).state for id_ in CHECKS if id_ not in SLOW}


@pytest.mark.parametrize("body", GARBAGE, ids=range(len(GARBAGE)))
def test_whatever_an_archive_answers_every_check_comes_to_something(body: bytes) -> None:
    person = read_patients(json.dumps(SAID).encode()).known[0]
    archive = Archive(Local([replace(person, said=replace(person.said, local="7"))]))
    with misbehave(lambda *_: http_answer(body, media="application/dicom+json")) as url:
        assert "fix" in archived(url, archive)


def archived(url: str, archive: Archive) -> set[str]:
    """The states that the checks of an archive come to."""
    node = NodeSettings(id="pacs", kind="dicomweb", url=url, institution="EX-CQ-01")

    async def run() -> set[str]:
        line = line_of(node)
        adapter = DicomwebNode("pacs", url, "EX-CQ-01", archive.identities, normaliser, line=line)
        kit = kit_over(node, adapter, line)
        checks = [check for id_, check in archive.checks.items() if id_ not in SLOW]
        try:
            return {(await look_at(check, kit)).state for check in checks}
        finally:
            await adapter.aclose()

    return asyncio.run(run())


def test_where_nothing_is_shown_what_would_be_in_it_is_not_looked_at() -> None:
    with kit_of((*RECORDS, observation("o9", subject={"reference": "Patient/p2"})), "others") as look:
        assert look("units.stated") == Seen("not_made", "identity.own")


@pytest.mark.parametrize("text", [NUMBER, NAME, "110101199003071234", "\x1b[31m", "\u202e", "\x00", "A70001"])
def test_what_a_node_writes_comes_into_no_report_as_it_is(text: str) -> None:
    node = NodeSettings(id="his", kind="fhir", institution="EX-CQ-01", url="https://a.example")
    known = {"type": "resident-id", "value": NUMBER, "name": NAME, "local": "A70001"}
    said = read_patients(json.dumps({"patients": [known]}).encode())
    line = line_of(node)
    adapter = FhirNode("his", node.url, "EX-CQ-01", normaliser, line=line)
    kit = Kit(node, adapter, line, said, catalogue=CATALOGUE, reads=normaliser(), now=NOW)
    told = kit.told(f"1/2: {text}白蛋白")
    assert text not in told
    assert not re.search(r"\d{12}", kit.told("项" * 66 + text))
    assert (told[:5], told[-3:]) == ("1/2: ", "白蛋白")


def test_an_accreditation_asks_a_node_a_bounded_number_of_times() -> None:
    app = Counted(fhir(RECORDS))
    with serve(app) as url:
        node = NodeSettings(id="his", kind="fhir", url=url, institution="EX-CQ-01", connections=4)
        said = read_patients(json.dumps(SAID).encode())
        made = accredit(
            node, said, catalogue=CATALOGUE, reads=normaliser(), owner="cq", now=NOW, questions=10
        )
        assert asyncio.run(made).passed
    assert app.requests < 250


def test_an_archive_is_never_asked_for_everybody() -> None:
    asked: list[str] = []

    def note(first: str, _: bytes) -> bytes:
        asked.append(first)
        return http_answer(b"[]", media="application/dicom+json")

    person = read_patients(json.dumps(SAID).encode()).known[0]
    with misbehave(note) as url:
        archived(url, Archive(Local([replace(person, said=replace(person.said, local="7"))])))
    assert any("PatientID=7" in target for target in asked)
    assert not any("PatientID=&" in target.replace(" ", "&") for target in asked)


def test_every_check_has_words_in_both_languages() -> None:
    assert all(id_ in WORDS and id_.partition(".")[0] in GROUPS for id_ in CHECKS)
    assert all(all((w.zh, w.en, w.fix_zh, w.fix_en)) for w in WORDS.values())


def test_only_nodes_that_are_asked_over_http_are_accredited() -> None:
    node = NodeSettings(id="own", kind="published", institution="EX-CQ-01")
    made = accredit(
        node,
        read_patients(json.dumps(SAID).encode()),
        catalogue=CATALOGUE,
        reads=normaliser(),
        owner="cq",
        now=NOW,
    )
    with pytest.raises(BadRequest, match="fhir and dicomweb"):
        asyncio.run(made)


KEY = KeyPair.generate("Ed25519", "cq", "peer", NOW - timedelta(days=1))


def report_of(**changes: Any) -> Report:
    values: dict[str, Any] = {
        "type": "accreditation",
        "made": NOW,
        "gateway": "cq",
        "program": "0",
        "catalogue": "示例",
        "node": About(id="his", kind="fhir", institution="EX-CQ-01", url="https://a.example", software=""),
        "patients": 1,
        "results": 1,
        "passed": True,
        "findings": (Finding(id="names.read", state="passed", zh="名称", en="names"),),
    }
    return Report(**values | changes)


def key_of(kid: str, at: datetime) -> Any:
    assert kid == KEY.kid
    return KEY.public


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "</script>", "&amp;\u2028", "]]>"])
def test_what_a_node_says_of_itself_does_nothing_on_the_page(text: str) -> None:
    node = About(id="his", kind="fhir", institution="EX-CQ-01", url="https://a.example", software=text)
    shown = page(sign(report_of(node=node), KEY))
    assert verify(shown, key_of).node.software == text
    assert shown.count(b"<script") == 1


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"\xff", b'{"report": {}, "signature": ""}', b"[" * 9999]
)
def test_what_is_no_report_is_refused(data: bytes) -> None:
    with pytest.raises(SignatureRefused):
        verify(data, key_of)


def test_a_report_of_another_gateway_s_key_is_refused() -> None:
    with pytest.raises(SignatureRefused, match="not of the gateway"):
        verify(written(sign(report_of(gateway="sc"), KEY)), key_of)


def test_a_field_that_was_added_to_a_report_is_refused() -> None:
    signed = json.loads(written(sign(report_of(), KEY)))
    signed["report"]["approved"] = True
    with pytest.raises(SignatureRefused):
        verify(json.dumps(signed).encode(), key_of)


def test_something_else_that_the_key_signed_is_no_report() -> None:
    plain = json.loads(written(sign(report_of(), KEY)))["report"]
    del plain["type"]
    signature = jws.sign(rfc8785.dumps(plain), KEY)
    with pytest.raises(SignatureRefused):
        verify(json.dumps({"report": plain, "signature": signature}).encode(), key_of)
