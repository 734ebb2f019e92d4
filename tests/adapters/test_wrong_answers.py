"""A corpus of wrong answers, each by the name of its defect, over real sockets.

Whatever a node sends, its state says that it is the node's fault, nothing of the defect is shown, the report
says in words what was wrong and repeats nobody's number, and the next answer over the same line is read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from adapters import Answer, DicomwebNode, FhirNode, Limits, Line, Question, Timeouts
from tests.node_cases import (
    MRN,
    NUMBER,
    OTHER_NUMBER,
    normaliser,
    observation,
    patient,
    question,
    report,
    searchset,
    study,
)
from tests.serving import Reply, http_answer, misbehave

LARGEST = 200_000
ELSEWHERE: dict[str, Any] = {"subject": {"reference": "Patient/p2"}}
HEAD = "HTTP/1.1 200 OK\r\nContent-Type: {media}\r\n{more}\r\n"
FHIR, DICOM = "application/fhir+json", "application/dicom+json"


def raw(body: bytes, *more: str, media: str = FHIR) -> bytes:
    """An answer with exactly these further header lines."""
    return HEAD.format(media=media, more="".join(f"{line}\r\n" for line in more)).encode("latin-1") + body


def good(media: str) -> bytes:
    """What would have been a right answer, so that only the defect is wrong with it."""
    found: Any = searchset(observation()) if media == FHIR else [entry()]
    return json.dumps(found, ensure_ascii=False).encode()


def entry(**changes: Any) -> dict[str, Any]:
    """One study of a QIDO answer."""
    attributes: dict[str, Any] = {
        "00080020": ["20261111"],
        "00080030": ["093000.000"],
        "00080061": ["CT"],
        "00081030": ["CT 胸部平扫"],
        "00100020": [MRN],
        "0020000D": ["2.25.1"],
        "00201208": [3],
    }
    attributes |= {name.removeprefix("t"): value for name, value in changes.items()}
    return {tag: {"vr": "LO", "Value": values} for tag, values in attributes.items() if values is not None}


def endless(media: str) -> Iterator[bytes]:
    yield raw(b'{"resourceType":"Bundle","type":"searchset","entry":[', media=media)
    while True:
        yield b'{"resource":{"resourceType":"Observation"}},' * 200


def chunked(media: str, *pieces: bytes) -> bytes:
    return raw(b"".join(pieces), "Transfer-Encoding: chunked", media=media)


def nested(media: str, depth: int) -> bytes:
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    if media == DICOM:
        return http_answer(b'[{"00081030":' + deep + b"}]", media=media)
    member = b'"extension":[' + deep + b"],"
    return http_answer(good(media).replace(b'"status"', member + b'"status"', 1), media=media)


WIRE: dict[str, Callable[[str], Reply]] = {
    "a redirect": lambda media: raw(b"", "Location: http://127.0.0.1:1/", "Content-Length: 0").replace(
        b"200 OK", b"302 Found"
    ),
    "a redirect with the answer in it": lambda media: http_answer(good(media), "307 Temporary Redirect"),
    "an error page with status 200": lambda media: http_answer(b"<html>Error 500</html>", media="text/html"),
    "an error page that says it is JSON": lambda media: http_answer(b"<html>Error</html>", media=media),
    "a server error": lambda media: http_answer(good(media), "500 Internal Server Error", media),
    "no media type": lambda media: b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + good(media),
    "multipart with a wrong boundary": lambda media: http_answer(
        b"--other\r\nContent-Type: application/dicom+json\r\n\r\n" + good(media) + b"\r\n--other--",
        media='multipart/related; type="application/dicom"; boundary=said',
    ),
    "half a body": lambda media: http_answer(good(media)[:90], media=media, length=len(good(media))),
    "a Content-Length that is too long": lambda media: http_answer(
        good(media), media=media, length=len(good(media)) + 7
    ),
    "a Content-Length that is too short": lambda media: http_answer(
        good(media), media=media, length=len(good(media)) - 7
    ),
    "two Content-Lengths": lambda media: raw(
        good(media), f"Content-Length: {len(good(media))}", "Content-Length: 5", media=media
    ),
    "a Content-Length beside chunks": lambda media: raw(
        b"5\r\n" + good(media)[:5] + b"\r\n0\r\n\r\n",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        media=media,
    ),
    "a chunk size that is no number": lambda media: chunked(media, b"zz\r\n", good(media), b"\r\n0\r\n\r\n"),
    "chunks without an end": lambda media: chunked(media, b"%x\r\n" % len(good(media)), good(media), b"\r\n"),
    "a body without end": endless,
    "an encoding nobody asked for": lambda media: http_answer(
        good(media), media=media, headers={"Content-Encoding": "gzip"}
    ),
    "bytes that are no UTF-8": lambda media: http_answer(
        good(media).replace("白".encode(), b"\xb0\xd7").replace("胸".encode(), b"\xd0\xd8"), media=media
    ),
    "another character set than it says": lambda media: http_answer(
        good(media).decode().encode("gb18030"), media=f"{media}; charset=utf-8"
    ),
    "nesting of 65 levels": lambda media: nested(media, 65),
    "nesting of 100,000 levels": lambda media: nested(media, 30_000),
    "half a surrogate pair": lambda media: http_answer(
        good(media).replace("白蛋白".encode(), b"\\ud800").replace("胸部".encode(), b"\\ud800"), media=media
    ),
    "no HTTP": lambda media: b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "nothing": lambda media: b"",
    "a header that goes on for ever": lambda media: raw(b"", "X-A: " + "a" * 300_000),
    "a control character in a header": lambda media: raw(
        good(media), "X-A: a\0b", f"Content-Length: {len(good(media))}", media=media
    ),
}
BAD = ("faulty", "unreachable")


def line(url: str) -> Line:
    return Line(url, timeout=Timeouts.within(2.0), limits=Limits(body=LARGEST))


async def twice(node: FhirNode | DicomwebNode, asked: Question) -> tuple[Answer, Answer]:
    try:
        return await node.prior(asked), await node.prior(asked)
    finally:
        await node.aclose()


def once_wrong(wrong: Reply, right: bytes, at: str) -> Callable[[str, bytes], Reply]:
    """Answer the first request whose line holds ``at`` wrongly, all others rightly."""
    left = [wrong]

    def reply(first: str, _: bytes) -> Reply:
        if at in first:
            return left.pop() if left else http_answer(right, media=DICOM if "studies" in first else FHIR)
        found = searchset(patient()) if "/Patient/" in first else searchset()
        return http_answer(json.dumps(found).encode())

    return reply


class His:
    """Who knows the local number."""

    id = "cq-his"

    async def patient_numbers(self, question: Question, system: str) -> tuple[str, ...]:
        return (MRN,)


@pytest.mark.parametrize("defect", WIRE)
def test_a_fhir_server_that_answers_with(defect: str) -> None:
    with misbehave(once_wrong(WIRE[defect](FHIR), good(FHIR), "/Observation/")) as url:
        node = FhirNode("cq-his", url, "EX-CQ-01", normaliser, line=line(url))
        wrong, right = asyncio.run(twice(node, question()))
    refused_then_read(wrong, right)


@pytest.mark.parametrize("defect", WIRE)
def test_an_archive_that_answers_with(defect: str) -> None:
    with misbehave(once_wrong(WIRE[defect](DICOM), good(DICOM), "/studies")) as url:
        node = DicomwebNode("cq-pacs", url, "EX-CQ-01", His(), normaliser, line=line(url))
        wrong, right = asyncio.run(twice(node, question()))
    refused_then_read(wrong, right)


def refused_then_read(wrong: Answer, right: Answer) -> None:
    assert wrong.report.state in BAD, wrong.report
    assert (wrong.report.fault, wrong.results) == ("node", ())
    assert wrong.report.detail
    assert not any(number in wrong.report.detail for number in (NUMBER, OTHER_NUMBER, MRN))
    assert (right.report.state, right.report.results) == ("answered", 1), right.report


RECORDS: dict[str, tuple[str, list[dict[str, Any]], str]] = {
    "everybody's records": ("Observation", [observation(), observation("x", **ELSEWHERE)], "another person"),
    "a report of another person": ("DiagnosticReport", [report(**ELSEWHERE)], "another person"),
    "a study of another person": ("ImagingStudy", [study(**ELSEWHERE)], "another person"),
    "a record about nobody": ("Observation", [observation(subject={})], "another person"),
    "a record that says two persons": (
        "Observation",
        [
            observation(
                subject={
                    "reference": "Patient/p1",
                    "identifier": {"system": "urn:oid:2.16.156.10011.1.3", "value": OTHER_NUMBER},
                }
            )
        ],
        "another person",
    ),
    "another type": ("Observation", [report()], "another type"),
}


@pytest.mark.parametrize("defect", RECORDS)
def test_nothing_is_shown_of_a_fhir_server_that_sends(defect: str) -> None:
    at, records, words = RECORDS[defect]
    wrong = http_answer(json.dumps(searchset(*records)).encode())
    with misbehave(once_wrong(wrong, json.dumps(searchset()).encode(), f"/{at}/")) as url:
        node = FhirNode("cq-his", url, "EX-CQ-01", normaliser, line=line(url))
        answer, _ = asyncio.run(twice(node, question()))
    assert (answer.report.state, answer.report.fault, answer.results) == ("faulty", "node", ())
    assert words in answer.report.detail


OLD = {"effectiveDateTime": "2026-01-10T08:00:00+08:00", "issued": "2026-01-10T11:00:00+08:00"}
LEFT_OUT: dict[str, tuple[str, list[dict[str, Any]], str]] = {
    "a result before the period": ("Observation", [observation("x", **OLD)], "outside the period"),
    "a report before the period": (
        "DiagnosticReport",
        [report("x", issued="2026-01-11T10:15:00+08:00", imagingStudy=[])],
        "outside the period",
    ),
    "a study before the period": (
        "ImagingStudy",
        [study("x", started="2026-01-11T09:30:00+08:00")],
        "outside the period",
    ),
    "a period that ended before": (
        "Observation",
        [observation("x", effectiveDateTime="", effectivePeriod={"end": "2026-01-10"})],
        "outside the period",
    ),
    "one id with two contents": (
        "Observation",
        [observation("x"), observation("x", valueQuantity={"value": 99, "unit": "g/L"})],
        "could not be read",
    ),
    "a record that means something else": (
        "Observation",
        [observation("x", modifierExtension=[{"url": "urn:not", "valueBoolean": True}])],
        "could not be read",
    ),
    "a record without its fields": ("Observation", [{"resourceType": "Observation"}], "could not be read"),
}


@pytest.mark.parametrize("defect", LEFT_OUT)
def test_a_record_is_left_out_and_named_that_is(defect: str) -> None:
    at, records, words = LEFT_OUT[defect]
    wrong = http_answer(json.dumps(searchset(*records)).encode())
    with misbehave(once_wrong(wrong, json.dumps(searchset()).encode(), f"/{at}/")) as url:
        node = FhirNode("cq-his", url, "EX-CQ-01", normaliser, line=line(url))
        answer, _ = asyncio.run(twice(node, question()))
    assert (answer.report.state, answer.report.fault) == ("answered", "node")
    assert len(answer.results) == len(records) - 1
    assert words in answer.report.detail
    assert f"{at}[{len(records) - 1}]" in answer.report.detail


STUDIES: dict[str, tuple[Any, Any, Any, str]] = {
    "another patient's study": ([entry(t00100020=["CQ0"])], [], [], "another person"),
    "a study of nobody": ([entry(t00100020=None)], [], [], "another person"),
    "the series of another study": (
        [entry(t00201208=None)],
        [entry(t0020000D=["2.25.9"], t0020000E=["2.25.11"], t00201209=[4])],
        [],
        "another study",
    ),
    "instances of another study": (
        [entry(t00201208=None)],
        [entry(t0020000E=["2.25.11"])],
        [entry(t0020000D=["2.25.9"], t0020000E=["2.25.11"])],
        "another study",
    ),
    "instances of another series": (
        [entry(t00201208=None)],
        [entry(t0020000E=["2.25.11"])],
        [entry(t0020000E=["2.25.12"])],
        "another series",
    ),
    "one object in place of a list": (entry(), [], [], "no DICOM JSON list"),
}


@pytest.mark.parametrize("defect", STUDIES)
def test_nothing_is_shown_of_an_archive_that_sends(defect: str) -> None:
    studies, series, instances, words = STUDIES[defect]

    def reply(first: str, _: bytes) -> Reply:
        said = instances if "/instances" in first else series if "/series" in first else studies
        return http_answer(json.dumps(said).encode(), media=DICOM)

    with misbehave(reply) as url:
        node = DicomwebNode("cq-pacs", url, "EX-CQ-01", His(), normaliser, line=line(url))
        answer, _ = asyncio.run(twice(node, question()))
    assert (answer.report.state, answer.report.fault, answer.results) == ("faulty", "node", ())
    assert words in answer.report.detail


def test_an_archive_that_shows_one_study_in_two_ways_is_named() -> None:
    body = json.dumps([entry(), entry(t00081030=["DR 胸部正位"])]).encode()
    with misbehave(lambda *_: http_answer(body, media=DICOM)) as url:
        node = DicomwebNode("cq-pacs", url, "EX-CQ-01", His(), normaliser, line=line(url))
        answer, _ = asyncio.run(twice(node, question()))
    assert (answer.report.results, answer.report.fault) == (1, "node")
    assert "study[1]" in answer.report.detail
