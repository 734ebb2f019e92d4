"""Bad input at every face: refused as 4xx in the face's own shape, nothing kept, nothing sent to a node.

Most of it is test material that nobody of this project wrote (JSONTestSuite, the big list of naughty strings,
CRLF payloads); the rest is what a hospital's system gets wrong.
"""

from __future__ import annotations

import base64
import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.contract.calls import ITEMS, Call, order, parameters, patient
from tests.gateway.live import PATIENT, Live, ask, body, persons_in

FACES = (
    *("rest", "explain", "outcomes", "reminder", "decision", "decisions", "citations"),
    *("fhir", "cds", "select", "history", "feedback", "peer"),
)
WRONG_NUMBER = PATIENT[:-1] + ("0" if PATIENT[-1] != "0" else "1")


def field_of(answer: httpx.Response) -> str:
    """The field that a refusal names, read from the face's own shape."""
    told = answer.json()
    if answer.request.url.path.startswith("/fhir"):
        assert answer.headers["content-type"] == "application/fhir+json"
        assert told["resourceType"] == "OperationOutcome"
        return " ".join(told["issue"][0].get("expression", []))
    assert answer.headers["content-type"] == "application/problem+json"
    assert told["status"] == answer.status_code
    return str(told.get("field", ""))


def refused(answer: httpx.Response, *statuses: int) -> str:
    """The field of an answer that must be a refusal of the caller's."""
    assert answer.status_code in (statuses or range(400, 500)), f"{answer.status_code} {answer.text[:300]}"
    return field_of(answer)


@pytest.fixture(autouse=True)
def well_afterwards(gateway: Live) -> Iterator[None]:
    """After whatever was sent, the gateway answers a right question, and nothing failed inside."""
    yield
    assert ask(gateway.client(), body()).complete
    assert gateway.events("internal_error") == []


@pytest.mark.parametrize("face", FACES)
def test_the_right_call_is_taken(gateway: Live, faces: dict[str, Call], face: str) -> None:
    call = faces[face]
    assert call.send(gateway, call.fresh()).status_code == 200


@pytest.mark.parametrize("face", FACES)
def test_json_of_the_parsing_suite_is_refused_and_leaves_nothing(
    gateway: Live, faces: dict[str, Call], conformance: Path, face: str
) -> None:
    lines = gzip.decompress((conformance / "badinput/shared/json-parsing.jsonl.gz").read_bytes()).splitlines()
    before, taken = gateway.kept(), []
    for line in lines:
        case = json.loads(line)
        answer = faces[face].send(gateway, base64.b64decode(case["b64"]))
        if not 400 <= answer.status_code < 500 or not field_of(answer):
            taken.append((case["name"], answer.status_code, answer.text[:100]))
    assert taken == []
    assert gateway.kept() == before


def naughty(conformance: Path) -> list[str]:
    """The big list of naughty strings."""
    texts: list[str] = json.loads((conformance / "badinput/shared/naughty-strings.json").read_bytes())
    return texts


@pytest.mark.slow
@pytest.mark.parametrize("face", FACES)
def test_a_naughty_string_in_any_text_is_answered_or_refused_with_its_field(
    gateway: Live, faces: dict[str, Call], conformance: Path, face: str
) -> None:
    call, wrong = faces[face], []
    places = call.texts()
    for number, text in enumerate(naughty(conformance)[FACES.index(face) % 2 :: 2]):
        place = places[number % len(places)]
        before = gateway.kept()
        answer = call.send(gateway, call.spoilt(place, text))
        named = answer.status_code in (200, 404) or bool(field_of(answer))
        if answer.status_code >= 500 or not named or (answer.status_code != 200 and gateway.kept() != before):
            wrong.append((place, text[:40], answer.status_code))
    assert wrong == []


def test_every_naughty_string_is_a_name_that_no_list_has(
    gateway: Live, faces: dict[str, Call], conformance: Path
) -> None:
    texts = [text for text in naughty(conformance) if 0 < len(text) <= 200]
    for start in range(0, len(texts), 50):
        planned = [{"name": text} for text in texts[start : start + 50]]
        answer = ask(gateway.client(), body() | {"planned": planned})
        assert [unnamed.name for unnamed in answer.unnamed] == texts[start : start + 50]


ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 10**400, "", "\x00", " ", "x" * 5000, "²", "\u202e", "a\r\nb", [], [None], [[]],
    {}, {"": None}, {"resourceType": "Patient"}, "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00",
)  # fmt: skip
"""Values of every JSON type, and texts that are nearly right somewhere."""


def _places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The places of all values, objects and lists included."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, held in inner:
        yield from _places(held, (*path, step))


@pytest.mark.slow
@pytest.mark.parametrize("face", FACES)
def test_a_value_of_another_kind_anywhere_never_fails_the_gateway(
    gateway: Live, faces: dict[str, Call], face: str
) -> None:
    call, wrong = faces[face], []
    for place in _places(call.body):
        for value in ODD:
            before = gateway.kept()
            answer = call.send(gateway, call.spoilt(place, value))
            if answer.status_code >= 500 or (answer.status_code != 200 and gateway.kept() != before):
                wrong.append((place, str(value)[:40], answer.status_code))
    assert wrong == []


def test_crlf_in_an_address_makes_no_header(gateway: Live, conformance: Path) -> None:
    address = urlsplit(gateway.url)
    for line in (conformance / "badinput/shared/crlf-payloads.txt").read_text().splitlines():
        for path in (line, f"/api/v1/checks{line}", f"/fhir{line}", f"/ledger/tile{line}"):
            with socket.create_connection((address.hostname, address.port), 5) as raw:
                raw.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
                head, _, _ = raw.makefile("rb").read().partition(b"\r\n\r\n")
            assert b"\nset-cookie" not in head.lower()
            assert head.split(b" ")[1].startswith(b"4")


@pytest.mark.parametrize("header", ["X-Request-Id", "Authorization", "Accept-Language", "Content-Type"])
def test_crlf_in_a_header_comes_back_in_none(gateway: Live, conformance: Path, header: str) -> None:
    for line in (conformance / "badinput/shared/crlf-payloads.txt").read_text().splitlines():
        answer = gateway.client().post("/api/v1/checks", headers={header: line}, json=body())
        assert answer.status_code < 500
        assert "set-cookie" not in answer.headers
        assert line not in answer.headers.values()


def test_a_line_break_ends_no_request_id(gateway: Live) -> None:
    assert refused(gateway.client().post("/api/v1/checks", json=body(request_id="a\n")), 422) == "request_id"


# What a hospital's system gets wrong (each: nothing kept, nothing asked)


def once(gateway: Live, call: Call, content: bytes | dict[str, Any], *statuses: int, **headers: str) -> str:
    """Send what must be refused; it leaves nothing."""
    before = gateway.kept()
    field = refused(call.send(gateway, content, **headers), *statuses)
    assert gateway.kept() == before
    return field


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("media", ["text/plain", "application/xml", "", "application/json; charset=gbk"])
def test_another_media_type_is_refused(gateway: Live, faces: dict[str, Call], face: str, media: str) -> None:
    call = faces[face]
    assert once(gateway, call, call.fresh(), 415, **{"Content-Type": media}) == "Content-Type"


@pytest.mark.parametrize("face", FACES)
def test_an_oversized_body_is_refused(gateway: Live, faces: dict[str, Call], face: str) -> None:
    assert once(gateway, faces[face], b" " * (gateway.settings.body_limit + 1), 413) == "body"


@pytest.mark.parametrize("face", FACES)
def test_a_deeply_nested_body_is_refused(gateway: Live, faces: dict[str, Call], face: str) -> None:
    assert once(gateway, faces[face], b'{"a":' * 5000 + b"1" + b"}" * 5000, 400) == "body"


@pytest.mark.parametrize("face", FACES)
def test_a_name_that_stands_twice_is_refused_and_named(
    gateway: Live, faces: dict[str, Call], face: str
) -> None:
    call = faces[face]
    text = json.dumps(call.fresh()).encode()
    name = next(iter(call.body))
    twice = b'{"' + name.encode() + b'": null, ' + text[1:]
    assert once(gateway, call, twice, 400) == name


@pytest.mark.parametrize(
    ("face", "place", "field"),
    [
        ("rest", ("patient", "type"), "patient"),
        ("peer", ("person", "type"), "person"),
    ],
)
def test_an_unknown_type_of_identifier_is_refused(
    gateway: Live, faces: dict[str, Call], face: str, place: tuple[str | int, ...], field: str
) -> None:
    call = faces[face]
    assert once(gateway, call, call.spoilt(place, "driver-licence"), 422).startswith(field)


@pytest.mark.parametrize(
    ("face", "who"),
    [
        ("fhir", ("parameter", 1, "resource", "identifier", 0, "system")),
        ("cds", ("prefetch", "patient", "identifier", 0, "system")),
    ],
)
def test_an_unknown_system_of_identifiers_is_refused_and_its_place_named(
    gateway: Live, faces: dict[str, Call], face: str, who: tuple[str | int, ...]
) -> None:
    call = faces[face]
    assert once(gateway, call, call.spoilt(who, "urn:oid:1.2.3"), 400, 422).endswith("identifier")


@pytest.mark.parametrize(
    ("face", "place"),
    [
        ("rest", ("patient", "value")),
        ("peer", ("person", "value")),
        ("fhir", ("parameter", 1, "resource", "identifier", 0, "value")),
        ("cds", ("prefetch", "patient", "identifier", 0, "value")),
    ],
)
def test_a_wrong_check_digit_is_refused_and_not_repeated(
    gateway: Live, faces: dict[str, Call], face: str, place: tuple[str | int, ...]
) -> None:
    call, before = faces[face], gateway.kept()
    answer = call.send(gateway, call.spoilt(place, WRONG_NUMBER))
    assert refused(answer, 400, 422)
    assert WRONG_NUMBER not in answer.text
    assert WRONG_NUMBER not in gateway.log.getvalue()
    assert gateway.kept() == before


def test_an_unknown_item_is_refused_at_rest(gateway: Live, faces: dict[str, Call]) -> None:
    spoilt = faces["rest"].spoilt(("planned", 0), {"item": "CT-999"})
    assert once(gateway, faces["rest"], spoilt, 422) == "planned[0].item"


def test_an_unknown_item_is_refused_at_the_operation(gateway: Live, faces: dict[str, Call]) -> None:
    code = {"coding": [{"system": ITEMS, "code": "CT-999"}]}
    assert "parameter[0]" in once(gateway, faces["fhir"], parameters(order(code=code)), 422)


def test_an_unknown_item_is_refused_at_the_hook(gateway: Live, faces: dict[str, Call]) -> None:
    code = {"coding": [{"system": ITEMS, "code": "CT-999"}]}
    place = ("context", "draftOrders", "entry", 0, "resource", "code")
    assert "draftOrders" in once(gateway, faces["cds"], faces["cds"].spoilt(place, code), 400, 422)


def test_a_time_of_asking_in_the_future_is_refused(gateway: Live, faces: dict[str, Call]) -> None:
    spoilt = faces["rest"].spoilt(("asked_at",), "2199-01-01T00:00:00+08:00")
    assert once(gateway, faces["rest"], spoilt, 422) == "asked_at"


def test_another_gateway_does_not_ask_from_the_future(gateway: Live, faces: dict[str, Call]) -> None:
    spoilt = faces["peer"].spoilt(("at",), "2199-01-01T00:00:00+08:00")
    assert once(gateway, faces["peer"], spoilt, 422) == "at"


@pytest.mark.parametrize("kind", ["MedicationRequest", "Patient", "Observation", "Nothing"])
def test_a_resource_of_another_type_is_refused_by_the_operation(
    gateway: Live, faces: dict[str, Call], kind: str
) -> None:
    wrong = order() | {"resourceType": kind}
    assert "Parameters.parameter[0].resource" in once(gateway, faces["fhir"], parameters(wrong), 400, 422)
    assert once(gateway, faces["fhir"], wrong, 400, 422)


def test_a_patient_of_another_type_is_refused_by_the_hook(gateway: Live, faces: dict[str, Call]) -> None:
    wrong = patient() | {"resourceType": "Person"}
    spoilt = faces["cds"].spoilt(("prefetch", "patient"), wrong)
    assert once(gateway, faces["cds"], spoilt, 400, 422) == "prefetch.patient"


def test_feedback_of_which_one_card_is_wrong_keeps_nothing_of_it(
    gateway: Live, faces: dict[str, Call]
) -> None:
    right = faces["feedback"].body["feedback"][0]
    both = {"feedback": [right, right | {"outcome": "ignored"}]}
    assert "feedback[1]" in once(gateway, faces["feedback"], both, 400, 422)


def test_feedback_of_what_is_no_card_is_refused(gateway: Live, faces: dict[str, Call]) -> None:
    check = faces["feedback"].body["feedback"][0]["card"].partition(".")[0]
    for card in (f"{check}.9", f"{check}.²", f"{check}.-1", f"{check}.{'9' * 5000}", f"{check}.", check):
        spoilt = faces["feedback"].spoilt(("feedback", 0, "card"), card)
        assert "card" in once(gateway, faces["feedback"], spoilt, 404, 400, 422)


def test_no_line_of_the_log_tells_a_person(gateway: Live) -> None:
    assert persons_in(gateway.log.getvalue()) == []


@pytest.mark.parametrize("hostile", ["%1C", "%22", "%0D%0A", "%00", "%E4%BD%A0", "%FF"])
def test_an_address_that_no_header_can_hold_is_refused_like_any_other(gateway: Live, hostile: str) -> None:
    address = f"/fhir/nodes/E{hostile}/Observation"
    assert gateway.client("his").get(address).status_code in (400, 403, 404)
