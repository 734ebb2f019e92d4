"""Batches and transactions: what is kept, in which order, what refers to what, what fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.body import BadBody
from gateway.errors import GatewayError, NotFound, NotPermitted, PreconditionFailed
from gateway.resources.bundles import ANSWER, LEAST, Bundles
from gateway.resources.file_shelf import FileShelf
from tests.gateway.resources.shelves import BASE, SYSTEM, Desk, entry, observation, whole

PATIENT = {"resourceType": "Patient", "identifier": [{"system": "urn:x", "value": "p"}]}
HIS = "https://his.example/fhir"
CRITERIA = f"identifier={SYSTEM}|R1/1"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk over an empty shelf."""
    shelf = FileShelf(tmp_path / "shelf.sqlite3")
    yield Desk(shelf)
    shelf.close()


def read(desk: Desk, path: str) -> Any:
    return json.loads(desk.look(path).body)


def place(told: dict[str, Any]) -> str:
    return str(told["response"]["location"]).partition("/_history")[0]


def statuses(told: list[dict[str, Any]]) -> list[str]:
    return [one["response"]["status"][:3] for one in told]


def test_a_batch_does_each_entry_by_itself(desk: Desk) -> None:
    told = desk.bundle(
        "batch",
        entry("PUT", "Observation/o1", observation(id="o1")),
        entry("PUT", "Observation/o2", observation(id="o2", status="zzz")),
        entry("GET", "Observation/o1"),
        entry("GET", "Observation/never"),
        entry("PATCH", "Observation/o1"),
        entry("DELETE", "Observation/o1"),
    )
    assert statuses(told) == ["201", "422", "200", "404", "405", "204"]


def test_an_entry_that_fails_says_why_and_where(desk: Desk) -> None:
    (told,) = desk.bundle("batch", entry("PUT", "Observation/o1", observation(id="o1", status="zzz")))
    (issue,) = told["response"]["outcome"]["issue"]
    assert (issue["code"], issue["expression"]) == ("code-invalid", ["Observation.status"])


def test_a_read_in_a_bundle_has_the_resource(desk: Desk) -> None:
    desk.write("PUT", "Observation/o1", observation(id="o1"))
    (told,) = desk.bundle("transaction", entry("GET", "Observation/o1"))
    assert (told["resource"]["id"], told["response"]["etag"]) == ("o1", 'W/"1"')


def test_a_conditional_create_sent_twice_creates_once(desk: Desk) -> None:
    one = entry("POST", "Observation", observation(), ifNoneExist=CRITERIA)
    first, second = desk.bundle("batch", one), desk.bundle("batch", one)
    assert statuses([*first, *second]) == ["201", "200"]
    assert place(first[0]) == place(second[0])


def test_a_transaction_is_kept_as_a_whole(desk: Desk) -> None:
    entries = [entry("PUT", f"Observation/o{n}", observation(id=f"o{n}")) for n in (1, 2)]
    assert statuses(desk.bundle("transaction", *entries)) == ["201", "201"]


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (
            entry("PUT", "Observation/o2", observation(id="o2", status="zzz")),
            "Bundle.entry[1].resource.status",
        ),
        (entry("PUT", "Observation/o2", observation(id="o3")), "Bundle.entry[1].id"),
        (
            entry("PUT", "Observation/o2", observation(id="o2"), ifMatch='W/"4"'),
            "Bundle.entry[1].request",
        ),
        (entry("PATCH", "Observation/o2"), "Bundle.entry[1].request"),
        (entry("POST", "Basic", {"resourceType": "Basic"}), "Bundle.entry[1].request"),
    ],
)
def test_one_bad_entry_undoes_a_transaction(desk: Desk, bad: dict[str, Any], field: str) -> None:
    with pytest.raises((BadBody, GatewayError)) as refused:
        desk.bundle("transaction", entry("PUT", "Observation/o1", observation(id="o1")), bad)
    assert getattr(refused.value, "field", "") == field
    with pytest.raises(NotFound):
        desk.look("Observation/o1")


def test_deletes_come_before_creates_and_reads_come_last(desk: Desk) -> None:
    desk.write("PUT", "Observation/o1", observation(id="o1"))
    told = desk.bundle(
        "transaction",
        entry("GET", "Observation/o2"),
        entry("PUT", "Observation/o2", observation(id="o2")),
        entry("DELETE", "Observation/o1"),
    )
    assert statuses(told) == ["200", "201", "204"]


@pytest.mark.parametrize(
    "entries",
    [
        (entry("PUT", "Observation/o1", observation(id="o1")), entry("DELETE", "Observation/o1")),
        (
            entry("PUT", "Observation/o1", observation(id="o1")),
            entry("DELETE", f"Observation?{CRITERIA}"),
        ),
        (entry("POST", "Observation", observation(), ifNoneExist=CRITERIA),) * 2,
    ],
)
def test_two_entries_about_one_resource_are_refused(desk: Desk, entries: tuple[dict[str, Any], ...]) -> None:
    desk.write("PUT", "Observation/o1", observation(id="o1"))
    with pytest.raises(BadBody) as refused:
        desk.bundle("transaction", *entries)
    assert refused.value.status == 400


@pytest.mark.parametrize("encoded", [CRITERIA, CRITERIA.replace("|", "%7C"), f"_format=json&{CRITERIA}"])
def test_two_entries_with_the_same_criteria_are_refused(desk: Desk, encoded: str) -> None:
    first = entry("POST", "Observation", observation(), ifNoneExist=CRITERIA)
    with pytest.raises(BadBody):
        desk.bundle("transaction", first, entry("POST", "Observation", observation(), ifNoneExist=encoded))


def test_a_bundle_has_so_many_reads(desk: Desk) -> None:
    told = desk.bundle("batch", *[entry("GET", "Observation/never")] * (ANSWER // LEAST + 1))
    assert statuses(told)[-2:] == ["404", "413"]


def test_others_get_their_turn_during_a_bundle(desk: Desk) -> None:
    desk.write("PUT", "Observation/o1", observation(id="o1"))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def both() -> None:
        beside = asyncio.create_task(other())
        bundles = Bundles(BASE, lambda: desk.interactions, desk.interactions.look, lambda *_: None)
        await bundles.answer(whole("batch", *[entry("GET", "Observation/o1")] * 50))
        beside.cancel()

    desk.run(both())
    assert turns >= 50


def test_reads_end_where_a_bundle_has_answered_enough(desk: Desk) -> None:
    desk.write("PUT", "Observation/o1", observation(id="o1", note=[{"text": "x" * (ANSWER // 4)}]))
    told = desk.bundle("batch", *[entry("GET", "Observation/o1")] * 6)
    assert statuses(told) == ["200"] * 4 + ["413"] * 2


@pytest.mark.parametrize(
    ("url", "reference"),
    [
        ("urn:uuid:7c9a4ef6-6d0c-4f5c-9a39-04f8a5a2b0b1", "urn:uuid:7c9a4ef6-6d0c-4f5c-9a39-04f8a5a2b0b1"),
        (f"{HIS}/Patient/7", f"{HIS}/Patient/7"),
        (f"{HIS}/Patient/7", "Patient/7"),
    ],
)
def test_what_refers_to_a_new_resource_leads_to_it(desk: Desk, url: str, reference: str) -> None:
    told = desk.bundle(
        "transaction",
        entry("POST", "Observation", observation(subject={"reference": reference}), f"{HIS}/Observation/1"),
        entry("POST", "Patient", PATIENT, url),
    )
    assert read(desk, place(told[0]))["subject"]["reference"] == place(told[1])


@pytest.mark.parametrize(
    "url", ["", "urn:uuid:7c9a4ef6-6d0c-4f5c-9a39-04f8a5a2b0b1", "https://a.example/Observation/1"]
)
def test_a_relative_reference_from_elsewhere_leads_to_nobody_of_the_bundle(desk: Desk, url: str) -> None:
    told = desk.bundle(
        "transaction",
        entry("POST", "Observation", observation(subject={"reference": "Patient/7"}), url),
        entry("POST", "Patient", PATIENT, f"{HIS}/Patient/7"),
    )
    assert read(desk, place(told[0]))["subject"]["reference"] == "Patient/7"


def test_what_refers_to_a_resource_that_was_found_leads_to_it(desk: Desk) -> None:
    desk.write("PUT", "Patient/p9", PATIENT | {"id": "p9"})
    url = "urn:uuid:7c9a4ef6-6d0c-4f5c-9a39-04f8a5a2b0b1"
    told = desk.bundle(
        "transaction",
        entry("POST", "Patient", PATIENT, url, ifNoneExist="identifier=urn:x|p"),
        entry("POST", "Observation", observation(subject={"reference": url})),
    )
    assert read(desk, place(told[1]))["subject"]["reference"] == "Patient/p9"


def test_a_reference_by_criteria_leads_to_the_one_that_fits(desk: Desk) -> None:
    desk.write("PUT", "Patient/p9", PATIENT | {"id": "p9"})
    named = observation(subject={"reference": "Patient?identifier=urn:x|p"})
    (told,) = desk.bundle("transaction", entry("POST", "Observation", named))
    assert read(desk, place(told))["subject"]["reference"] == "Patient/p9"


def test_a_reference_by_criteria_that_finds_nobody_undoes_the_transaction(desk: Desk) -> None:
    named = observation(subject={"reference": "Patient?identifier=urn:x|nobody"})
    with pytest.raises(PreconditionFailed):
        desk.bundle("transaction", entry("POST", "Observation", named))


def test_only_references_are_rewritten(desk: Desk) -> None:
    url = "urn:uuid:7c9a4ef6-6d0c-4f5c-9a39-04f8a5a2b0b1"
    said = f'he wrote "reference":"{url}"'
    identifier = [{"system": "urn:ietf:rfc:3986", "value": url}]
    told = desk.bundle(
        "transaction",
        entry("POST", "Patient", PATIENT, url),
        entry(
            "POST",
            "Observation",
            observation(subject={"reference": url}, identifier=identifier, note=[{"text": said}]),
        ),
    )
    kept = read(desk, place(told[1]))
    assert (kept["identifier"], kept["note"]) == (identifier, [{"text": said}])


def test_a_decimal_in_a_rewritten_resource_stays_as_it_was_written(desk: Desk) -> None:
    url = "urn:uuid:7c9a4ef6-6d0c-4f5c-9a39-04f8a5a2b0b1"
    value = {"value": 4.5, "unit": "g/L"}
    raw = whole(
        "transaction",
        entry("POST", "Patient", PATIENT, url),
        entry("POST", "Observation", observation(subject={"reference": url}, valueQuantity=value)),
    )
    told = desk.answer(raw.replace(b"4.5", b"4.500"))
    assert b"4.500" in desk.look(place(told[1])).body


@pytest.mark.parametrize(
    "raw",
    [
        whole("collection", entry("PUT", "Observation/o1", observation(id="o1"))),
        b'{"resourceType":"Bundle"}',
        json.dumps(observation(id="o1")).encode(),
    ],
)
def test_what_is_no_batch_and_no_transaction_is_refused(desk: Desk, raw: bytes) -> None:
    with pytest.raises(BadBody) as refused:
        desk.answer(raw)
    assert refused.value.status == 400


def test_a_bundle_may_be_empty(desk: Desk) -> None:
    assert desk.bundle("batch") == []


def test_what_the_caller_may_not_write_is_refused_before_anything_is_kept(desk: Desk) -> None:
    def permit(type_: str, letter: str) -> None:
        if (type_, letter) == ("Patient", "c"):
            raise NotPermitted("not for you")

    entries = [entry("PUT", "Observation/o1", observation(id="o1")), entry("POST", "Patient", PATIENT)]
    with pytest.raises(NotPermitted):
        desk.answer(whole("transaction", *entries), permit=permit)
    with pytest.raises(NotFound):
        desk.look("Observation/o1")


def test_an_entry_that_its_caller_may_not_write_fails_in_a_batch_alone(desk: Desk) -> None:
    def permit(type_: str, letter: str) -> None:
        if type_ == "Patient":
            raise NotPermitted("client his-7 has not the scope")

    told = desk.answer(whole("batch", entry("POST", "Patient", PATIENT)), permit=permit)
    assert statuses(told) == ["403"]
    assert "his-7" not in json.dumps(told)


def test_a_writer_gets_the_resources_back_where_it_prefers_that(desk: Desk) -> None:
    one = entry("PUT", "Observation/o1", observation(id="o1"))
    (told,) = desk.bundle("transaction", one, prefer="return=representation")
    assert told["resource"]["id"] == "o1"


def test_an_answer_is_a_valid_bundle(desk: Desk) -> None:
    from fhir.resources.R4B.bundle import Bundle

    told = desk.bundle(
        "batch",
        entry("PUT", "Observation/o1", observation(id="o1")),
        entry("GET", "Observation/o1"),
        entry("GET", "Observation/never"),
        prefer="return=OperationOutcome",
    )
    Bundle.model_validate({"resourceType": "Bundle", "type": "batch-response", "entry": told})
