"""Publishing over REST: what serves a check afterwards, who may, what is refused, and what is kept of it."""

from __future__ import annotations

import asyncio
import copy
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from adapters.store import Held, Pointer, Store
from gateway.audit.retention import Retention
from gateway.demo.people import BY_KEY
from gateway.keyring import open_keys
from gateway.persons.pseudonyms import Persons
from gateway.wiring import open_ledger
from security.identity import identifier
from security.ledger import read_entry
from security.pseudonym import Pseudonyms
from tests.gateway.live import NODE as ANNOUNCING
from tests.gateway.live import (
    OWN,
    STRANGER,
    Counted,
    Live,
    ask,
    audit,
    body,
    gateway_with,
    persons_in,
    reading,
    source_of,
)
from tests.gateway.parcels import NODE, collection, publication, records_of

pytestmark = pytest.mark.slow

PERSON, IMAGED = "ding", "jia"
NOW = datetime.now(UTC)
DAY = timedelta(days=1)
PUBLISH = "/api/v1/publications"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway with a results index for one hospital, and its FHIR server, which announces what it holds."""
    with source_of(tmp_path_factory.mktemp("source")) as (url, node):
        nodes: list[dict[str, Any]] = [
            {"id": NODE, "kind": "published", "institution": OWN},
            {
                "id": ANNOUNCING,
                "kind": "fhir",
                "url": url,
                "institution": OWN,
                "publishes": True,
                "timeout_ms": 7000,
            },
        ]
        with gateway_with(
            tmp_path_factory.mktemp("published"), nodes, cache_s=60, cache_empty_s=60
        ) as running:
            running.node = node
            yield running


@pytest.fixture
def publisher(live: Live, tmp_path: Path) -> Iterator[httpx.Client]:
    """The hospital's client; afterwards nothing of the person is left, and the ledger holds."""
    client = live.client("publisher")
    client.headers["Content-Type"] = "application/json"
    yield client
    for person in (PERSON, IMAGED):
        for node in (NODE, ANNOUNCING):
            sent = client.post(PUBLISH, content=publication(person, node=node, afresh=True))
            assert sent.status_code == 200, sent.text
    assert audit(live, tmp_path / "audit") == []


def send(client: httpx.Client, body_: bytes) -> dict[str, Any]:
    sent = client.post(PUBLISH, content=body_)
    assert sent.status_code == 200, sent.text
    answer: dict[str, Any] = sent.json()
    return answer


def number(person: str) -> str:
    return BY_KEY[person].number


def of(live: Live, person: str = PERSON) -> Pseudonyms:
    keys = open_keys(live.settings)
    whom = identifier("resident-id", number(person))
    return asyncio.run(Persons(keys, 100).pseudonyms(whom, live.settings.owner))


def held(live: Live, person: str = PERSON) -> list[Held]:
    names = of(live, person).all

    async def read(store: Store) -> list[Held]:
        return await store.held(names, datetime(2000, 1, 1, tzinfo=UTC), (NODE, ANNOUNCING))

    return reading(live, read)


def pointers(live: Live, person: str = PERSON) -> list[Pointer]:
    names = of(live, person).all

    async def read(store: Store) -> list[Pointer]:
        return await store.pointers(names)

    return reading(live, read)


def observation(**changes: Any) -> bytes:
    """The albumin of the person of these tests, changed."""
    return msgspec.json.encode(msgspec.json.decode(records()["Observation/edge-in-1-v1"]) | changes)


def records() -> dict[str, bytes]:
    return records_of("cq-his", PERSON)


def patient(**changes: Any) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(records()[f"Patient/{PERSON}"]) | changes)


def test_what_was_published_serves_a_check(live: Live, publisher: httpx.Client) -> None:
    told = send(publisher, publication(PERSON, *records().values()))
    assert (told["kept"], told["removed"], told["ledger"]["index"] >= 0) == (1, 0, True)
    assert [one["group"] for one in told["pointers"]] == ["lab"]
    answer = ask(live.client(), body(patient=number(PERSON)))
    (verdict,) = answer.verdicts
    assert (verdict.verdict, verdict.result.node, verdict.result.value) == ("recognised", NODE, "40.8")


def test_images_that_were_published_wait_for_an_archive_to_show_them(
    live: Live, publisher: httpx.Client
) -> None:
    told = send(publisher, publication(IMAGED, *records_of("cq-his", IMAGED).values()))
    assert [one["group"] for one in told["pointers"]] == ["imaging:CT", "lab"]
    planned = [{"name": "CT 胸部平扫", "kind": "imaging"}]
    answer = ask(live.client(), body(patient=number(IMAGED)) | {"planned": planned})
    (verdict,) = answer.verdicts
    assert (verdict.result.node, verdict.result.images.held) == (NODE, None)  # type: ignore[union-attr]


def test_a_correction_takes_the_place_of_what_it_corrects(live: Live, publisher: httpx.Client) -> None:
    send(publisher, publication(PERSON, *records().values()))
    corrected = observation(status="corrected", valueQuantity={"value": 35.2, "unit": "g/L"})
    send(publisher, publication(PERSON, patient(), corrected))
    (verdict,) = ask(live.client(), body(patient=number(PERSON))).verdicts
    assert (verdict.result.value, verdict.result.status) == ("35.2", "corrected")


def test_what_was_removed_is_gone(live: Live, publisher: httpx.Client) -> None:
    send(publisher, publication(PERSON, *records().values()))
    told = send(publisher, publication(PERSON, removed=["Observation/edge-in-1-v1"]))
    assert told["removed"] == 1
    assert held(live) == []
    assert ask(live.client(), body(patient=number(PERSON))).verdicts == ()


def test_what_is_another_persons_is_not_removed(live: Live, publisher: httpx.Client) -> None:
    send(publisher, publication(PERSON, *records().values()))
    send(publisher, publication(IMAGED, removed=["Observation/edge-in-1-v1"]))
    assert [one.id for one in held(live)] == ["Observation/edge-in-1-v1"]


def test_a_publication_afresh_leaves_nothing_of_what_came_before(live: Live, publisher: httpx.Client) -> None:
    send(publisher, publication(PERSON, *records().values()))
    send(publisher, publication(PERSON, patient(), observation(id="other"), afresh=True))
    assert [one.id for one in held(live)] == ["Observation/other"]


def test_the_bytes_are_kept_as_they_came_and_sealed(live: Live, publisher: httpx.Client) -> None:
    written = observation(note=[{"text": "特征词"}]).replace(b"40.8", b"40.80 ")
    send(publisher, publication(PERSON, patient(), written))
    assert [one.body for one in held(live)] == [written]
    for file in live.store.parent.glob("lianren.sqlite3*"):
        assert "特征词".encode() not in file.read_bytes()


def test_the_patient_is_not_kept(live: Live, publisher: httpx.Client) -> None:
    send(publisher, publication(PERSON, *records().values()))
    assert [one.id.partition("/")[0] for one in held(live)] == ["Observation"]
    assert persons_in(b"".join(one.body for one in held(live)).decode()) == []
    assert persons_in(live.log.getvalue()) == []


def test_the_same_request_id_is_carried_out_once(live: Live, publisher: httpx.Client) -> None:
    asked = publication(PERSON, *records().values())
    first = send(publisher, asked)
    send(publisher, publication(PERSON, afresh=True))
    kept = live.kept()
    assert send(publisher, asked) == first
    assert live.kept() == kept
    assert held(live) == []


def test_a_request_id_that_comes_ten_times_at_once_is_carried_out_once(
    live: Live, publisher: httpx.Client
) -> None:
    asked, entries = publication(PERSON, *records().values()), live.kept()[0]
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: publisher.post(PUBLISH, content=asked).content, range(10)))
    assert len(set(answers)) == 1
    assert live.kept()[0] == entries + 1


def test_the_same_request_id_with_another_body_is_a_conflict(live: Live, publisher: httpx.Client) -> None:
    send(publisher, publication(PERSON, *records().values(), request_id="p-1"))
    refused = publisher.post(PUBLISH, content=publication(PERSON, request_id="p-1", afresh=True))
    assert (refused.status_code, refused.json()["code"]) == (409, "request-id-reused")


def test_what_a_refused_one_of_two_at_once_left_in_the_index_is_on_record(
    live: Live, publisher: httpx.Client
) -> None:
    """One request id with ten bodies at the same moment: whatever is held then, an entry says who sent it."""
    start = live.kept()[0]
    asked = [
        publication(PERSON, patient(), observation(id=f"racing-{turn}"), request_id=f"race-{start}")
        for turn in range(10)
    ]
    with ThreadPoolExecutor(10) as pool:
        status = [*pool.map(lambda one: publisher.post(PUBLISH, content=one).status_code, asked)]

    async def recorded(store: Store) -> set[str]:
        payloads = [secret.payload for _, _, secret in await store.secrets(start)]
        return {one for payload in payloads for one in msgspec.json.decode(payload)["resources"]}

    assert sorted(status) == [200, *[409] * 9]
    left = {hashlib.sha256(one.body).hexdigest() for one in held(live)}
    assert left <= reading(live, recorded)


@pytest.mark.parametrize("node", [NODE, "no-such-node"])
def test_who_does_not_speak_for_the_institution_learns_of_no_node(live: Live, node: str) -> None:
    kept = live.kept()
    client = live.client("other-publisher")
    headers = {"Content-Type": "application/json"}
    refused = client.post(PUBLISH, content=publication(PERSON, node=node, afresh=True), headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "not-permitted")
    assert refused.json()["detail"].replace(node, "x") == (
        "client other-publisher speaks for no institution of a node 'x'; its operator knows the nodes"
    )
    assert live.kept() == kept


def test_a_client_without_the_role_publishes_nothing(live: Live) -> None:
    refused = live.client().post(PUBLISH, json=msgspec.json.decode(publication(PERSON, afresh=True)))
    assert refused.status_code == 403


def other(resource: bytes, **changes: Any) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(resource) | changes)


THEIRS = {"system": "urn:oid:2.16.156.10011.1.3", "value": number(IMAGED)}
WRONG = {
    "no Patient": [observation()],
    "two Patients": [patient(), patient(id="twin"), observation()],
    "a Patient with another number": [patient(identifier=[THEIRS]), observation()],
    "a Patient that cannot be read": [patient(identifier="x"), observation()],
    "a record of another subject": [patient(), observation(subject={"reference": "Patient/somebody"})],
    "a record of another number": [patient(), observation(subject={"identifier": THEIRS})],
    "a record of nobody": [patient(), observation(subject={})],
    "a record at an address of elsewhere": [patient(), observation(subject={"reference": "urn:uuid:1"})],
    "a Specimen of another subject": [
        patient(),
        b'{"resourceType": "Specimen", "id": "s", "subject": {"reference": "Patient/somebody"}}',
    ],
    "a record twice": [patient(), observation(), observation()],
    "a record without an id": [patient(), observation(id="")],
    "a record with an id that is none": [patient(), observation(id="a/b")],
    "a record whose value is none": [patient(), observation(valueQuantity={"value": "40.8"})],
    "a record that means something else": [patient(), observation(modifierExtension=[{"url": "x"}])],
    "another type": [patient(), other(patient(), resourceType="Encounter", id="e")],
}


@pytest.mark.parametrize("resources", WRONG.values(), ids=WRONG)
def test_a_bundle_with_something_wrong_is_refused_and_nothing_of_it_is_kept(
    live: Live, publisher: httpx.Client, resources: list[bytes]
) -> None:
    kept = live.kept()
    refused = publisher.post(PUBLISH, content=publication(PERSON, *resources))
    assert (refused.status_code, refused.json()["code"]) == (422, "bad-request"), refused.text
    assert refused.json()["field"].startswith("bundle")
    assert persons_in(refused.text) == []
    assert live.kept() == kept
    assert held(live) == []


def announced(group: str = "lab", first: datetime = NOW - 9 * DAY, last: datetime = NOW) -> dict[str, str]:
    return {"group": group, "first": first.isoformat(), "last": last.isoformat()}


ODD: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "bundle"),
    "a bundle for a node that is asked": ({"node": ANNOUNCING, "bundle": ...}, "bundle"),
    "a removal for a node that is asked": ({"node": ANNOUNCING, "removed": ["Observation/a"]}, "removed"),
    "a removal of what is no resource": ({"removed": ["Patient/a"]}, "removed[0]"),
    "an announcement for the index": ({"announced": [announced()]}, "announced"),
    "an announcement of the future": (
        {"node": ANNOUNCING, "announced": [announced(last=NOW + DAY)]},
        "announced[0]",
    ),
    "an announcement that ends before it begins": (
        {"node": ANNOUNCING, "announced": [announced(last=NOW - 10 * DAY)]},
        "announced[0]",
    ),
    "a group that is none": ({"node": ANNOUNCING, "announced": [announced("CT")]}, "announced[0].group"),
    "a bundle of another type": ({"bundle": {"resourceType": "Bundle", "type": "batch"}}, "bundle.type"),
    "a person's number that is none": (
        {"afresh": True, "patient": {"type": "resident-id", "value": "1"}},
        "patient.value",
    ),
}


@pytest.mark.parametrize(("changes", "field"), ODD.values(), ids=ODD)
def test_a_publication_that_says_what_cannot_be_is_refused_by_its_field(
    live: Live, publisher: httpx.Client, changes: dict[str, Any], field: str
) -> None:
    changes = copy.copy(changes)
    if changes.get("bundle") is ...:
        changes["bundle"] = collection(*records().values())
    kept = live.kept()
    refused = publisher.post(PUBLISH, content=publication(PERSON, **changes))
    assert (refused.status_code, refused.json().get("field")) == (422, field), refused.text
    assert live.kept() == kept


def test_a_node_that_announces_everything_is_asked_about_whom_it_announced_alone(
    live: Live, publisher: httpx.Client
) -> None:
    asked_before = node_of(live).requests
    answer = ask(live.client(), body(patient=number(PERSON)))
    skipped = next(one for one in answer.nodes if one.node == ANNOUNCING)
    assert (skipped.state, skipped.fault, answer.complete) == ("skipped", "", True)
    assert node_of(live).requests == asked_before

    send(publisher, publication(PERSON, node=ANNOUNCING, announced=[announced(first=NOW - 60 * DAY)]))
    answer = ask(live.client(), body(patient=number(PERSON)))
    heard = next(one for one in answer.nodes if one.node == ANNOUNCING)
    assert (heard.state, len(answer.verdicts)) == ("answered", 1)


def test_an_announcement_ends_what_was_told_a_moment_ago(live: Live, publisher: httpx.Client) -> None:
    news = publication(PERSON, node=ANNOUNCING, announced=[announced(first=NOW - 60 * DAY)])
    send(publisher, news)
    ask(live.client(), body(patient=number(PERSON)))
    asked_before = node_of(live).requests
    ask(live.client(), body(patient=number(PERSON)))
    assert node_of(live).requests == asked_before  # told from memory
    send(publisher, news.replace(b'"request_id":"', b'"request_id":"2', 1))
    ask(live.client(), body(patient=number(PERSON)))
    assert node_of(live).requests > asked_before


def node_of(live: Live) -> Counted:
    assert live.node is not None
    return live.node


def test_a_publication_is_an_entry_of_the_ledger_without_what_it_published(
    live: Live, publisher: httpx.Client
) -> None:
    told = send(publisher, publication(PERSON, *records().values()))

    async def read(store: Store) -> tuple[bytes, bytes]:
        secret = await store.secret(told["ledger"]["entry"])
        assert secret is not None
        return (await store.entries(told["ledger"]["index"], 1))[0], secret.payload

    body_, payload = reading(live, read)
    entry = read_entry(body_)
    assert (entry.type, entry.from_, entry.to, entry.item) == ("publication", "publisher", "cq", "")
    said = msgspec.json.decode(payload)
    assert (said["person"], said["node"], len(said["resources"])) == (of(live).current, NODE, 1)
    assert b"40.8" not in payload


def retaining(live: Live, person: str = "", at: datetime = NOW) -> None:
    async def run() -> None:
        async with open_ledger(live.settings, open_keys(live.settings)) as sequencer:
            await sequencer.start()
            retention = Retention(live.settings.retention, live.settings.owner, sequencer)
            if person:
                await retention.person(whom, at)
            else:
                await retention.expire(at)

    whom = of(live, person or PERSON)
    asyncio.run(run())


def test_erasing_a_person_takes_published_results_and_pointers_along(
    live: Live, publisher: httpx.Client
) -> None:
    told = send(publisher, publication(PERSON, *records().values()))
    send(publisher, publication(IMAGED, *records_of("cq-his", IMAGED).values()))
    retaining(live, PERSON)
    assert (held(live), pointers(live)) == ([], [])
    assert held(live, IMAGED)
    assert pointers(live, IMAGED)

    async def read(store: Store) -> tuple[object, object]:
        return await store.secret(told["ledger"]["entry"]), await store.document("publication", told["id"])

    assert reading(live, read) == (None, None)


def test_what_is_older_than_the_index_keeps_goes_with_the_day(live: Live, publisher: httpx.Client) -> None:
    send(publisher, publication(PERSON, *records().values()))
    retaining(live, at=NOW + (live.settings.retention.index_days - 100) * DAY)
    assert held(live)
    retaining(live, at=NOW + live.settings.retention.index_days * DAY)
    assert (held(live), pointers(live)) == ([], [])


def test_nobody_is_asked_about_whom_the_index_does_not_know(live: Live, publisher: httpx.Client) -> None:
    send(publisher, publication(PERSON, *records().values()))
    answer = ask(live.client(), body(patient=STRANGER))
    assert (answer.verdicts, answer.complete) == ((), True)
