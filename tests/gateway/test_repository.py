"""A publisher's own resources: whose they are, what is refused, what serves others, and what is on record."""

from __future__ import annotations

import asyncio
import io
import secrets
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec
import pytest
from msgspec.structs import replace

from adapters.store import Held, Pointer
from gateway.access.clients import Client
from gateway.access.scopes import Scopes
from gateway.audit.retention import Retention
from gateway.demo.people import check_digit
from gateway.errors import BadRequest, NotPermitted
from gateway.holding import found_by, held_of
from gateway.keyring import make_keys
from gateway.log import Log
from gateway.repository import FRESH, Repository, own
from gateway.resources.interactions import Call, Interactions, Reply
from gateway.resources.local import search
from gateway.resources.query import query_of
from gateway.resources.values import Change, Kept, VersionConflict
from gateway.wiring import Gateway, open_gateway
from security.identity import RESIDENT_SYSTEM, Identifier, identifier
from tests.gateway.live import CLIENTS, OTHER, OWN, settings_for

pytestmark = pytest.mark.slow
T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]
NODE, SECOND = "cq-index", "cq-more"
EVER = datetime(1, 1, 1, tzinfo=UTC)
_serial = iter(range(100, 1000))


class Open:
    """An open gateway on a loop of its own, what it logs, and the repository of its hospital."""

    def __init__(self, runner: asyncio.Runner, gateway: Gateway, log: io.StringIO) -> None:
        self.run, self.gateway, self.log = runner.run, gateway, log
        self.mine = own(gateway, client())

    def put(self, *resources: dict[str, Any] | Change) -> list[Kept]:
        return self.run(self.mine.put([changed(one) for one in resources]))

    def held(self, person: Identifier) -> dict[str, Held]:
        pseudonyms = self.run(self.gateway.pseudonyms(person))
        found = self.run(self.gateway.store.held(pseudonyms.all, EVER, (NODE,)))
        return {one.id: one for one in found}

    def pointers(self, person: Identifier) -> list[Pointer]:
        return self.run(self.gateway.store.pointers(self.run(self.gateway.pseudonyms(person)).all))

    def publications(self, start: int) -> list[dict[str, Any]]:
        """What the ledger's payloads say of publications from an entry on."""
        found = self.run(self.gateway.store.secrets(start))
        payloads = [msgspec.json.decode(secret.payload) for _, _, secret in found]
        return [one for one in payloads if "publication" in one]

    @property
    def size(self) -> int:
        return self.run(self.gateway.store.head()).size


def client(id_: str = "publisher", institution: str = OWN, *roles: Any) -> Client:
    return Client(
        id=id_,
        institution=institution,
        roles=roles or ("publisher",),
        scopes=Scopes(frozenset(), {}),
        purpose="TREAT",
        purposes=("TREAT",),
        per_minute=1000,
    )


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    tokens = {name: secrets.token_urlsafe(16) for name in CLIENTS}
    nodes = [{"id": NODE, "kind": "published", "institution": OWN},
             {"id": "sc-more", "kind": "published", "institution": OTHER},
             {"id": SECOND, "kind": "published", "institution": OTHER},
             {"id": "cq-his", "kind": "fhir", "url": "http://127.0.0.1:9", "institution": OWN}]  # fmt: skip
    settings = settings_for(
        tmp_path_factory.mktemp("repository"), tokens, nodes, pseudonyms_per_minute=100_000
    )
    make_keys(settings)
    log = io.StringIO()
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        gateway = runner.run(stack.enter_async_context(open_gateway(settings, Log(log))))
        yield Open(runner, gateway, log)
        runner.run(stack.aclose())


def someone() -> Identifier:
    """A person whom nobody knows yet."""
    number = f"99000019900101{next(_serial)}"
    return identifier("resident-id", number + check_digit(number))


def number_of(person: Identifier) -> dict[str, str]:
    return {"system": person.system, "value": person.value}


def patient(id_: str, *persons: Identifier, **more: Any) -> dict[str, Any]:
    stated = {"identifier": [number_of(one) for one in persons]} if persons else {}
    return {"resourceType": "Patient", "id": id_, **stated, **more}


def observation(id_: str, subject: str | dict[str, Any], value: float = 40.8, **more: Any) -> dict[str, Any]:
    laboratory = {
        "system": "http://terminology.hl7.org/CodeSystem/observation-category",
        "code": "laboratory",
    }
    return {
        "resourceType": "Observation",
        "id": id_,
        "status": "final",
        "category": [{"coding": [laboratory]}],
        "code": {"text": "白蛋白"},
        "subject": {"reference": f"Patient/{subject}"} if isinstance(subject, str) else subject,
        "effectiveDateTime": "2026-11-19T08:00:00+08:00",
        "issued": "2026-11-19T10:00:00+08:00",
        "valueQuantity": {"value": value, "unit": "g/L"},
        **more,
    }


def changed(one: dict[str, Any] | Change, expected: int | None = None) -> Change:
    if isinstance(one, Change):
        return one
    body = msgspec.json.encode(one)
    return Change(type=one["resourceType"], id=one["id"], body=body, expected=expected)


def deletion(place: str) -> Change:
    type_, _, id_ = place.partition("/")
    return Change(type=type_, id=id_, body=b"")


def read(opened: Open, place: str, version: int | None = None) -> Kept | None:
    type_, _, id_ = place.partition("/")
    return opened.run(opened.mine.get(type_, id_, version))


def test_what_is_put_is_read_back_as_it_came(opened: Open) -> None:
    body = msgspec.json.encode(observation("as-it-came", "nobody")).replace(b"40.8", b"40.80 ")
    (kept,) = opened.put(Change(type="Observation", id="as-it-came", body=body))
    assert (kept.body, kept.version, kept.node) == (body, 1, NODE)
    assert read(opened, "Observation/as-it-came") == replace(kept, saved=kept.saved)


def test_the_resources_of_a_known_patient_are_his(opened: Open) -> None:
    whom = someone()
    opened.put(patient("known", whom), observation("of-known", "known"))
    opened.put(observation("later-of-known", "known"))
    assert sorted(opened.held(whom)) == [
        "Observation/later-of-known",
        "Observation/of-known",
        "Patient/known",
    ]
    assert {one.whose for one in opened.held(whom).values()} == {f"{RESIDENT_SYSTEM}|{whom.value}"}


def test_they_are_pointed_at(opened: Open) -> None:
    whom = someone()
    opened.put(patient("pointed", whom), observation("pointed-at", "pointed"))
    assert [(one.node, one.group, one.published) for one in opened.pointers(whom)] == [(NODE, "lab", True)]


def test_a_resource_may_say_its_persons_number_itself(opened: Open) -> None:
    whom = someone()
    opened.put(observation("by-number", {"identifier": number_of(whom)}))
    assert [*opened.held(whom)] == ["Observation/by-number"]


def test_what_names_an_unknown_patient_is_kept_for_its_publisher_alone(opened: Open) -> None:
    opened.put(patient("nameless"), observation("unclaimed", "nameless"))
    (held,) = opened.run(opened.gateway.store.place(NODE, ["Observation/unclaimed"]))
    assert (held.whose, read(opened, "Observation/unclaimed") is not None) == ("", True)


def test_what_a_killed_process_left_waiting_becomes_his_with_the_next_write(opened: Open) -> None:
    whom, body = someone(), observation("left", "killed")
    opened.put(patient("killed", whom))
    waiting = held_of(NODE, "Observation/left", msgspec.json.encode(body), datetime.now(UTC))
    opened.run(opened.gateway.store.hold([waiting]))
    opened.put(patient("killed", whom))
    assert "Observation/left" in opened.held(whom)


def test_two_replicas_that_create_by_one_identifier_at_once_create_one(opened: Open) -> None:
    whom = someone()
    criteria = f"identifier={RESIDENT_SYSTEM}|{whom.value}"
    body = msgspec.json.encode(patient("x", whom))
    call = Call(method="POST", path="Patient", body=body, if_none_exist=criteria)
    replicas = [Interactions(own(opened.gateway, client()), "http://x", asyncio.Lock()) for _ in range(4)]

    async def at_once() -> list[Reply]:
        return await asyncio.gather(*(one.write(call) for one in replicas))

    replies = opened.run(at_once())
    assert sorted(one.status for one in replies) == [200, 200, 200, 201]
    assert len({one.location for one in replies}) == 1
    assert whom.value not in replies[0].location


def test_what_was_deleted_is_created_by_its_identifier_again(opened: Open) -> None:
    writes = Interactions(opened.mine, "http://x", asyncio.Lock())
    body = msgspec.json.encode(observation("x", "nobody", identifier=[{"system": "urn:x", "value": "again"}]))
    call = Call(method="POST", path="Observation", body=body, if_none_exist="identifier=urn:x|again")
    places = []
    for _ in range(10):
        reply = opened.run(writes.write(call))
        places.append(reply.location)
        assert reply.status == 201
        path = reply.location.removeprefix("http://x/").partition("/_history")[0]
        opened.run(writes.write(Call(method="DELETE", path=path)))
    assert len({*places}) == 10


def test_it_becomes_his_once_he_is_known(opened: Open) -> None:
    whom = someone()
    opened.put(observation("early", "late"), observation("early-too", "late"))
    start = opened.size
    opened.put(patient("late", whom))
    assert sorted(opened.held(whom)) == ["Observation/early", "Observation/early-too", "Patient/late"]
    assert [one.group for one in opened.pointers(whom)] == ["lab"]
    (entry,) = opened.publications(start)
    assert len(entry["resources"]) == 3
    early = read(opened, "Observation/early")
    assert early
    assert early.version == 1


def test_many_that_come_at_once_with_their_patient_all_become_his(opened: Open) -> None:
    whom = someone()

    async def together() -> None:
        records = [opened.mine.put([changed(observation(f"race-{n}", "racing"))]) for n in range(8)]
        await asyncio.gather(*records[:4], opened.mine.put([changed(patient("racing", whom))]), *records[4:])

    opened.run(together())
    assert len(opened.held(whom)) == 9


def test_a_resource_that_names_another_number_than_its_patient_has_is_refused(opened: Open) -> None:
    whom, other = someone(), someone()
    start = opened.size
    subject = {"reference": "Patient/torn", "identifier": number_of(other)}
    with pytest.raises(BadRequest) as refused:
        opened.put(patient("torn", whom), observation("torn", subject))
    assert refused.value.field == "Observation.subject"
    assert whom.value not in str(refused.value)
    assert (read(opened, "Patient/torn"), opened.size) == (None, start)


def test_a_number_that_is_not_written_as_it_counts_is_refused(opened: Open) -> None:
    whom = someone()
    wide = "".join(chr(ord(sign) + 0xFEE0) for sign in whom.value)
    with pytest.raises(BadRequest, match="canonical"):
        opened.put(observation("wide", {"identifier": number_of(whom) | {"value": wide}}))


def test_a_patient_does_not_become_somebody_else(opened: Open) -> None:
    whom, other = someone(), someone()
    opened.put(patient("steady", whom))
    with pytest.raises(BadRequest) as refused:
        opened.put(patient("steady", other))
    assert refused.value.field == "Patient.identifier"
    assert other.value not in str(refused.value)
    assert [*opened.held(whom)] == ["Patient/steady"]


def refused_as_anothers(opened: Open, *resources: dict[str, Any] | Change) -> None:
    with pytest.raises(BadRequest, match="named by resources of another person"):
        opened.put(*resources)


def test_a_patient_whom_anothers_results_name_is_refused(opened: Open) -> None:
    one, other = someone(), someone()
    named = {"reference": "Patient/claimed", "identifier": number_of(one)}
    opened.put(observation("claim", named))
    refused_as_anothers(opened, patient("claimed", other))
    opened.put(patient("claimed", one))


def test_a_patient_made_anew_takes_no_results_of_who_he_was(opened: Open) -> None:
    one, other = someone(), someone()
    opened.put(patient("anew", one), observation("of-former", "anew"))
    opened.put(deletion("Patient/anew"))
    refused_as_anothers(opened, patient("anew", other))
    opened.put(patient("anew", other), observation("of-former", "anew", value=41))
    assert ("Observation/of-former" in opened.held(one), "Observation/of-former" in opened.held(other)) == (
        False,
        True,
    )


def test_a_patient_is_who_results_of_his_second_number_say(opened: Open) -> None:
    whom = someone()
    card = identifier("health-card", f"{whom.value[6:]}AB")
    opened.put(observation("by-card", {"reference": "Patient/carded", "identifier": number_of(card)}))
    opened.put(patient("carded", whom, card))


def test_a_patient_whose_number_is_left_out_once_stays_who_he_is(opened: Open) -> None:
    whom = someone()
    opened.put(patient("shy", whom))
    opened.put(patient("shy", gender="female"))
    opened.put(observation("of-shy", "shy"))
    assert sorted(opened.held(whom)) == ["Observation/of-shy", "Patient/shy"]


def test_of_two_first_numbers_at_once_one_comes_in(opened: Open) -> None:
    """Neither sees the other's Patient; still he is one of them, and the other is refused."""
    opened.put(patient("contested"))
    both = [someone(), someone()]

    async def together() -> list[Any]:
        puts = [opened.mine.put([changed(patient("contested", one))]) for one in both]
        return await asyncio.gather(*puts, return_exceptions=True)

    told = opened.run(together())
    assert [type(one) for one in told if isinstance(one, Exception)] == [BadRequest]
    assert sum("Patient/contested" in opened.held(one) for one in both) == 1


@pytest.mark.parametrize("subject", [{"reference": "https://elsewhere.example/fhir/Patient/1"},
                                     {"reference": "urn:uuid:4b6c0d1e-0000-4000-8000-000000000000"},
                                     {"reference": "Group/1"}, {"display": "某人"}])  # fmt: skip
def test_what_is_about_somebody_elsewhere_is_nobodys(opened: Open, subject: dict[str, str]) -> None:
    opened.put(observation("elsewhere", subject))
    (held,) = opened.run(opened.gateway.store.place(NODE, ["Observation/elsewhere"]))
    assert held.whose == ""


def test_what_is_about_no_patient_is_kept_and_listed(opened: Open) -> None:
    opened.put({"resourceType": "Organization", "id": "dept", "name": "检验科"})
    assert [one.id for one in opened.run(opened.mine.listed("Organization", [], 5))] == ["dept"]


def test_a_resource_moves_with_its_correction_to_another_patient(opened: Open) -> None:
    first, second = someone(), someone()
    opened.put(patient("mixed-a", first), patient("mixed-b", second), observation("mixed", "mixed-a"))
    opened.put(observation("mixed", "mixed-b", status="corrected"))
    assert "Observation/mixed" not in opened.held(first)
    assert opened.held(second)["Observation/mixed"].version == 2


def test_what_is_deleted_serves_nobody_and_its_history_stays(opened: Open) -> None:
    whom = someone()
    opened.put(patient("fading", whom), observation("fading", "fading"))
    (gone,) = opened.put(deletion("Observation/fading"))
    assert (gone.deleted, gone.version) == (True, 2)
    assert "Observation/fading" not in opened.held(whom)
    assert [one.deleted for one in opened.run(opened.mine.history("Observation", "fading", 9))] == [
        True,
        False,
    ]


def test_an_unexpected_version_is_a_conflict_and_nothing_of_the_call_is_kept(opened: Open) -> None:
    opened.put(observation("guarded", "nobody"))
    start = opened.size
    with pytest.raises(VersionConflict) as conflict:
        opened.put(observation("beside", "nobody"), changed(observation("guarded", "nobody", 1.5), 7))
    assert conflict.value.place == "Observation/guarded"
    assert (read(opened, "Observation/beside"), opened.size) == (None, start)


def test_every_write_is_on_record_for_each_person_and_no_read_is(opened: Open) -> None:
    first, second = someone(), someone()
    start = opened.size
    opened.put(patient("rec-a", first), patient("rec-b", second), observation("rec", "rec-a"),
               {"resourceType": "Organization", "id": "rec", "name": "检验科"})  # fmt: skip
    entries = opened.publications(start)
    names = [opened.run(opened.gateway.pseudonyms(one)).current for one in (first, second)]
    assert sorted((one["person"] in names, len(one["resources"])) for one in entries) == [
        (False, 1), (True, 1), (True, 2),
    ]  # fmt: skip
    assert len({one["publication"] for one in entries}) == 1
    size = opened.size
    read(opened, "Observation/rec")
    opened.run(opened.mine.listed("Observation", [], 5))
    assert opened.size == size


def test_the_same_again_makes_no_new_version_and_is_on_record_all_the_same(opened: Open) -> None:
    opened.put(observation("again", "nobody"))
    start = opened.size
    assert [one.version for one in opened.put(observation("again", "nobody"))] == [1]
    assert opened.size == start + 1


def test_a_write_is_counted_and_logged_without_any_number(opened: Open) -> None:
    whom = someone()
    opened.put(patient("logged", whom), observation("logged", "logged"), deletion("Observation/never-was"))
    last = [msgspec.json.decode(line) for line in opened.log.getvalue().splitlines()][-1]
    assert (last["event"], last["node"], last["kept"], last["removed"]) == ("published", NODE, 2, 1)
    assert whom.value not in opened.log.getvalue()


def test_a_resource_is_found_by_its_identifier(opened: Open) -> None:
    report = {"system": "urn:lianren:report:EX-CQ-01", "value": "R-7/1"}
    opened.put(observation("numbered", "nobody", identifier=[report]))
    for token in ("identifier|urn:lianren:report:EX-CQ-01|R-7/1", "identifier||R-7/1"):
        assert [one.id for one in opened.run(opened.mine.listed("Observation", [token], 5))] == ["numbered"]
    query = query_of("Observation", [("identifier", "urn:elsewhere|R-7/1")])
    assert opened.run(search(opened.mine, query)).rows == ()


@pytest.mark.parametrize("reference", ["Patient/searched", "https://elsewhere.example/fhir/Patient/searched"])
def test_a_resource_is_found_by_whom_it_is_about(opened: Open, reference: str) -> None:
    opened.put(observation("by-subject", {"reference": reference}))
    found = opened.run(opened.mine.listed("Observation", ["subject|Patient/searched"], 5))
    assert [one.id for one in found] == ["by-subject"]


@pytest.mark.parametrize("system", [RESIDENT_SYSTEM, ""])
def test_a_patient_is_found_by_his_number(opened: Open, system: str) -> None:
    whom = someone()
    opened.put(patient(f"found-{system[:3]}", whom), observation("of-found", f"found-{system[:3]}"))
    found = opened.run(opened.mine.listed("Patient", [f"identifier|{system}|{whom.value}"], 5))
    assert [one.id for one in found] == [f"found-{system[:3]}"]


def test_a_patient_is_found_by_his_second_number(opened: Open) -> None:
    whom = someone()
    card = identifier("health-card", f"{whom.value[6:]}CD")
    opened.put(patient("two-numbers", whom, card))
    token = f"identifier|{card.system}|{card.value}"
    assert [one.id for one in opened.run(opened.mine.listed("Patient", [token], 5))] == ["two-numbers"]
    opened.run(opened.gateway.store.unhold(persons=opened.run(opened.gateway.pseudonyms(whom)).all))
    assert opened.run(opened.mine.listed("Patient", [token], 5)) == []


def test_no_number_of_a_person_is_a_token(opened: Open) -> None:
    whom = someone()
    local = {"system": "urn:lianren:mrn:EX-CQ-01", "value": "M7"}
    theirs = {"system": "urn:lianren:mrn:EX-CQ-01", "value": whom.value}
    body = msgspec.json.encode(patient("p", whom) | {"identifier": [number_of(whom), local, theirs]})
    assert found_by(body) == ["M7"]


def test_a_patient_who_is_still_referred_to_does_not_expire(opened: Open) -> None:
    whom = someone()
    opened.put(patient("lasting", whom))
    store = opened.gateway.store
    (held,) = opened.run(store.place(NODE, ["Patient/lasting"]))
    pseudonym = opened.run(opened.gateway.pseudonyms(whom)).current
    old = replace(held, at=datetime.now(UTC) - 2 * FRESH, person=pseudonym)
    opened.run(store.hold([old]))
    opened.put(observation("of-lasting", "lasting"))
    (held,) = opened.run(store.place(NODE, ["Patient/lasting"]))
    assert (held.version, datetime.now(UTC) - held.at < timedelta(hours=1)) == (1, True)


def test_what_is_erased_of_a_person_includes_versions_and_payloads(opened: Open) -> None:
    whom = someone()
    start = opened.size
    opened.put(patient("leaving", whom), observation("leaving", "leaving"))
    opened.put(observation("leaving", "leaving", 1.5))
    gateway = opened.gateway
    retention = Retention(gateway.settings.retention, gateway.settings.owner, gateway.sequencer)
    opened.run(retention.person(opened.run(gateway.pseudonyms(whom)), datetime.now(UTC)))
    assert opened.run(opened.mine.history("Observation", "leaving", 5)) == []
    assert (read(opened, "Patient/leaving"), opened.publications(start)) == (None, [])


def test_what_he_was_before_anybody_knew_him_is_erased_with_him(opened: Open) -> None:
    whom = someone()
    opened.put(patient("later-known", name=[{"text": "某人"}]), observation("before", "later-known"))
    opened.put(deletion("Observation/before"))
    opened.put(patient("later-known", whom))
    store = opened.gateway.store
    opened.run(store.unhold(persons=opened.run(opened.gateway.pseudonyms(whom)).all))
    for place in ("Patient/later-known", "Observation/before"):
        assert opened.run(store.versions(NODE, place, 5)) == []


def test_each_institution_has_its_own_repository(opened: Open) -> None:
    gateway = opened.gateway
    assert own(gateway, client(), NODE).node.id == own(gateway, client()).node.id == NODE
    assert own(gateway, client("other", OTHER), SECOND).node.id == SECOND
    opened.put(observation("ours", "nobody"))
    theirs: Repository = own(gateway, client("other", OTHER), SECOND)
    assert opened.run(theirs.get("Observation", "ours")) is None


@pytest.mark.parametrize(
    ("asking", "node", "words"),
    [
        (client("his", OWN, "his"), "", "has not the role publisher"),
        (client(), SECOND, "speaks for no institution"),
        (client(), "cq-his", "is asked itself"),
        (client("third", "EX-HB-01"), "", "speaks for no institution of a published node"),
        (client("nobody", ""), "", "speaks for no institution of a published node"),
        (client("other", OTHER), "", "one of sc-more, cq-more"),
    ],
)
def test_who_has_no_repository_is_told_why(opened: Open, asking: Client, node: str, words: str) -> None:
    with pytest.raises(NotPermitted, match=words):
        own(opened.gateway, asking, node)
