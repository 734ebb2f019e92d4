"""AuditEvent: the ledger's entries after IHE BALP, for auditors alone, and no reading unrecorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from fhir.resources.R4B.auditevent import AuditEvent

from adapters.store import Store
from gateway.audit.auditing import Event, Said
from gateway.faces._audit_resource import resource_of
from gateway.model import CheckAnswer
from security.ledger import Entry, EntryType, read_entry
from tests.contract.balp import faults
from tests.gateway.live import PATIENT, Live, ask, body, gateway_over_source, reading


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway that answered a question, whose outcome was told, and which was explained."""
    with gateway_over_source(tmp_path_factory.mktemp("live")) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def answer(live: Live) -> CheckAnswer:
    """Its answer."""
    answer = ask(live.client("his"), body())
    outcome = {"result": answer.verdicts[0].result.id, "outcome": "accepted"}
    told = live.client("his").post(f"/api/v1/checks/{answer.id}/outcomes", json=outcome)
    assert told.status_code == 200, told.text
    shown = live.client("auditor").post("/api/v1/explain", json={"id": answer.id})
    assert shown.status_code == 200, shown.text
    return answer


@pytest.fixture(scope="module")
def profiles() -> Path:
    """The profiles of BALP, beside the checkout."""
    folder = Path(__file__).resolve().parents[3] / "shared/conformance/fhir/balp"
    if not folder.is_dir():
        pytest.skip("the BALP profiles are not on this machine: shared/conformance/fhir/balp")
    return folder


def search(live: Live, query: str = "", client: str = "auditor") -> dict[str, Any]:
    """The Bundle of a search that is answered."""
    response = live.client(client).get(f"/fhir/AuditEvent{query}")
    assert response.status_code == 200, response.text
    return dict(response.json())


def resources(bundle: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in bundle.get("entry", [])]


def actions(live: Live, query: str) -> set[str]:
    return {resource["action"] for resource in resources(search(live, query))}


def newest(live: Live) -> tuple[Entry, bytes]:
    """The newest entry and its payload."""

    async def work(store: Store) -> tuple[Entry, bytes]:
        (found,) = await store.entries((await store.head()).size - 1, 1)
        secret = await store.secret(read_entry(found).commit)
        assert secret
        return read_entry(found), secret.payload

    return reading(live, work)


# What is answered


def test_every_event_satisfies_the_profile_that_it_claims(
    live: Live, answer: CheckAnswer, profiles: Path
) -> None:
    found = resources(search(live))
    assert found
    assert {
        r["id"]: faults(profiles / "profiles", r) for r in found if faults(profiles / "profiles", r)
    } == {}


def test_every_event_is_a_valid_resource(live: Live, answer: CheckAnswer) -> None:
    for resource in resources(search(live)):
        AuditEvent.model_validate(resource)


def test_the_events_of_a_check_name_its_patient_by_pseudonym_and_never_by_number(
    live: Live, answer: CheckAnswer
) -> None:
    bundle = search(live, f"?entity={answer.id}")
    people = {
        entity["what"]["identifier"]["value"]
        for resource in resources(bundle)
        for entity in resource["entity"]
        if entity.get("what", {}).get("type") == "Patient"
    }
    assert len(people) == 1
    assert PATIENT not in msgspec.json.encode(bundle).decode()


def test_a_check_leaves_a_query_and_a_disclosure(live: Live, answer: CheckAnswer) -> None:
    claimed = {
        profile.rpartition(".BasicAudit.")[2]
        for resource in resources(search(live, f"?entity={answer.id}"))
        for profile in resource["meta"]["profile"]
    }
    assert {"PatientQuery", "PrivacyDisclosure.Source", "PatientCreate", "PatientRead"} <= claimed


TYPES: tuple[EntryType, ...] = get_args(EntryType)


@pytest.mark.parametrize("person", ["p1", ""])
@pytest.mark.parametrize("kind", TYPES)
def test_an_entry_of_any_type_satisfies_the_profile_that_it_claims(
    kind: EntryType, person: str, profiles: Path
) -> None:
    entry = Entry(
        type=kind,
        time=datetime.now(UTC),
        from_="cq",
        to="auditor",
        scheme="",
        item="",
        mark="ab" * 16 if kind in ("mark", "withdrawal") else "",
        binds="",
        commit="0" * 64,
    )
    said = Said(person, "check", study="1.2.3" if person and kind == "view" else "")
    event = Event(index=7, entry=entry, payload=b"{}" if person else None, said=said)
    resource = resource_of(event, "cq", "https://cq.example/fhir")
    AuditEvent.model_validate(resource)
    if "meta" in resource:
        assert faults(profiles / "profiles", resource) == []
    else:
        assert (kind, person) == ("verdict", "")


def test_the_shared_examples_satisfy_the_validator_of_these_tests(profiles: Path) -> None:
    patterns = ("Create", "Read", "Update", "Delete", "Query", "PrivacyDisclosure.Source")
    wrong = {}
    for file in sorted((profiles / "shared").glob("AuditEvent-*.json")):
        resource = msgspec.json.decode(file.read_bytes())
        if resource["meta"]["profile"][0].endswith(patterns) and (
            found := faults(profiles / "profiles", resource)
        ):
            wrong[file.name] = found
    assert wrong == {}


DAMAGE: dict[str, Callable[[dict[str, Any]], object]] = {
    "no outcome": lambda event: event.pop("outcome"),
    "another action": lambda event: event.update(action="D"),
    "another type": lambda event: event["type"].update(code="other"),
    "one agent": lambda event: event["agent"].pop(),
    "a client twice": lambda event: event["agent"].append(event["agent"][0]),
    "a client that is not named": lambda event: event["agent"][0].pop("who"),
    "a client without an address": lambda event: event["agent"][0].pop("network"),
    "a query without its text": lambda event: event["entity"][0].pop("query"),
    "no patient": lambda event: event["entity"].pop(1),
    "no subtype of a search": lambda event: event["subtype"][0].update(code="read"),
    "no profile": lambda event: event.pop("meta"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_validator_of_these_tests_finds(
    live: Live, answer: CheckAnswer, profiles: Path, damage: str
) -> None:
    (event,) = resources(search(live, f"?entity={answer.id}&subtype=search-type&agent=his"))
    DAMAGE[damage](event)
    assert faults(profiles / "profiles", event)


def test_an_event_is_read_by_the_commitment_of_its_entry(live: Live, answer: CheckAnswer) -> None:
    response = live.client("auditor").get(f"/fhir/AuditEvent/{answer.ledger.entry}")
    assert (response.status_code, response.json()["id"]) == (200, answer.ledger.entry)


def test_an_unknown_event_is_not_found(live: Live) -> None:
    response = live.client("auditor").get(f"/fhir/AuditEvent/{'0' * 64}")
    assert (response.status_code, response.json()["resourceType"]) == (404, "OperationOutcome")


# What is searched


def test_the_newest_event_comes_first(live: Live, answer: CheckAnswer) -> None:
    indexes = [int(r["extension"][0]["valueString"]) for r in resources(search(live))]
    assert indexes == sorted(indexes, reverse=True)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?action=E", {"E"}),
        ("?action=C,R", {"C", "R"}),
        ("?type=http://dicom.nema.org/resources/ontology/DCM|110106", {"R"}),
        ("?subtype=search-type", {"E"}),
        ("?agent=urn:lianren:node|cq-his", {"E"}),
        ("?agent=nobody-9", set()),
        ("?outcome=8", set()),
        ("?entity=none", set()),
    ],
)
def test_a_parameter_narrows_the_search(live: Live, answer: CheckAnswer, query: str, found: set[str]) -> None:
    assert actions(live, query) == found


@pytest.mark.parametrize(
    ("date", "some"),
    [
        ("ge{earlier}", True),
        ("le{earlier}", False),
        ("gt{later}", False),
        ("lt{later}", True),
        ("{year}", True),
    ],
)
def test_a_date_narrows_the_search(live: Live, answer: CheckAnswer, date: str, some: bool) -> None:
    now = datetime.now(UTC)
    text = date.format(
        earlier=(now - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        later=(now + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        year=now.astimezone().year,
    )
    assert bool(resources(search(live, f"?date={text}"))) is some


def test_two_dates_are_a_period(live: Live, answer: CheckAnswer) -> None:
    now = datetime.now(UTC)
    early, late = ((now + timedelta(days=d)).strftime("%Y-%m-%d") for d in (-2, -1))
    assert resources(search(live, f"?date=ge{early}&date=lt{late}")) == []


def test_the_pages_together_are_the_whole(live: Live, answer: CheckAnswer) -> None:
    whole = resources(search(live, "?_count=200"))
    seen: list[str] = []
    query = "?_count=3"
    newest_index = int(whole[0]["extension"][0]["valueString"])
    query += f"&_before={newest_index + 1}"
    while query:
        page = search(live, query)
        seen += [resource["id"] for resource in resources(page)]
        following = [link["url"] for link in page["link"] if link["relation"] == "next"]
        query = "?" + following[0].partition("?")[2] if following else ""
    assert seen == [resource["id"] for resource in whole]


@pytest.mark.parametrize(
    "query", ["?date=yesterday", "?action=X", "?_count=-1", "?patient=1", "?agent=a&agent=b"]
)
def test_a_wrong_parameter_is_refused_and_named(live: Live, query: str) -> None:
    response = live.client("auditor").get(f"/fhir/AuditEvent{query}")
    assert response.status_code == 400
    assert response.json()["issue"][0]["expression"] == [query[1:].partition("=")[0]]


# Who may, and that it is recorded


@pytest.mark.parametrize("client", ["his", "steward", "peer"])
def test_nobody_but_an_auditor_reads_the_audit_log(live: Live, answer: CheckAnswer, client: str) -> None:
    told = [
        live.client(client).get(path).status_code
        for path in ("/fhir/AuditEvent", f"/fhir/AuditEvent/{answer.ledger.entry}")
    ]
    assert told == [403, 403]


def test_a_search_is_itself_an_entry_that_says_what_was_asked(live: Live, answer: CheckAnswer) -> None:
    search(live, "?action=D&_count=7")
    entry, payload = newest(live)
    assert (entry.type, entry.to) == ("view", "auditor")
    assert msgspec.json.decode(payload)["query"] == {"action": ["D"], "_count": [7]}


def test_a_reading_is_itself_an_entry(live: Live, answer: CheckAnswer) -> None:
    live.client("auditor").get(f"/fhir/AuditEvent/{answer.ledger.entry}")
    entry, payload = newest(live)
    assert (entry.type, msgspec.json.decode(payload)["entry"]) == ("view", answer.ledger.entry)


def test_an_erased_payload_leaves_an_event_without_its_patient(live: Live) -> None:
    asked = ask(live.client("his"), body())

    async def erase(store: Store) -> str:
        index = await store.index_of(asked.ledger.entry)
        assert index is not None
        question = read_entry((await store.entries(index, 1))[0]).binds
        await store.erase(question)
        return question

    question = reading(live, erase)
    told = live.client("auditor").get(f"/fhir/AuditEvent/{question}").json()
    assert [entity["role"]["code"] for entity in told["entity"]] == ["24"]


def test_the_capability_statement_offers_it(live: Live) -> None:
    told = live.client().get("/fhir/metadata").json()
    offered = next(r for r in told["rest"][0]["resource"] if r["type"] == "AuditEvent")
    assert [one["code"] for one in offered["interaction"]] == ["read", "search-type"]
