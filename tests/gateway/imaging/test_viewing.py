"""Open viewings: what their tokens open and how long, and the record of what is seen in them."""

from __future__ import annotations

import asyncio
import hashlib
import io
import secrets
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec
import pytest
from starlette.types import Scope

from adapters import Sequencer, Store, StoreUnavailable
from adapters.store import Document
from gateway.access.clients import Client
from gateway.access.scopes import Scopes
from gateway.errors import ConsentDenied, EvidenceUnavailable, NotAuthenticated, NotFound
from gateway.ids import new_id
from gateway.imaging.studies import Studies
from gateway.imaging.values import Viewed, Viewing
from gateway.imaging.viewing import KIND, PRUNE_S, REREAD_S, TOKEN, Viewings, patient_id, viewing_of
from gateway.keyring import make_keys
from gateway.log import Log
from gateway.persons.consent import ConsentRecord, document_of
from gateway.wiring import Gateway, open_gateway
from security.identity import identifier
from security.ledger import Entry, read_entry
from tests.gateway.live import CLIENTS, OTHER, OWN, PATIENT, STRANGER, settings_for

T = TypeVar("T")
PERSON = identifier("resident-id", PATIENT)
UID = "2.25.1234567890"
QUESTION = "ab" * 32


class Away:
    """A store that reads documents by their ids, and is away for everything else."""

    def __init__(self, store: Store) -> None:
        self.document = store.document

    def __getattr__(self, name: str) -> Any:
        raise StoreUnavailable("away")


class Slow:
    """A store that tells late what it found."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, kind: str, key: str) -> Document | None:
        found = await self._store.find(kind, key)
        await asyncio.sleep(0.01)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Open:
    """A gateway on a loop of its own, its viewings, those of another replica, and the clock of both."""

    def __init__(self, runner: asyncio.Runner, gateway: Gateway, log: io.StringIO) -> None:
        self.run: Callable[[Coroutine[Any, Any, Any]], Any] = runner.run
        self.gateway, self.log, self.now = gateway, log, 0.0
        self.here = Viewings(gateway, clock=lambda: self.now)
        self.there = Viewings(gateway, clock=lambda: self.now)

    def opened(self, **changes: Any) -> tuple[Viewing, str]:
        """A viewing of a person and its token."""
        known = (f"{self.gateway.pseudonymiser.epoch}.{secrets.token_hex(8)}",)
        made = viewing(**{"pseudonyms": known} | changes)
        return made, self.run(self.here.open(Viewed(viewing=made)))

    def of(self, token: str, viewings: Viewings | None = None) -> Viewed:
        found: Viewed = self.run((viewings or self.here).of(token))
        return found

    def deny(self, pseudonym: str) -> None:
        """The person takes his consent back."""
        said = ConsentRecord(
            id=secrets.token_hex(16),
            decision="deny",
            recorded=datetime.now(UTC),
            institution=OWN,
            entry=QUESTION,
        )
        self.run(self.gateway.store.commit([], [document_of(said, pseudonym)]))

    def views(self, viewing: Viewing) -> list[tuple[Entry, dict[str, Any]]]:
        """The entries of the ledger about what was seen in a viewing, each with its payload."""

        async def read() -> list[tuple[Entry, dict[str, Any]]]:
            found, store = list[tuple[Entry, dict[str, Any]]](), self.gateway.store
            for entry in map(read_entry, await store.entries(0, 10_000)):
                if entry.type == "view" and (secret := await store.secret(entry.commit)):
                    found.append((entry, msgspec.json.decode(secret.payload)))
            return [one for one in found if one[1]["viewing"] == viewing.id]

        found: list[tuple[Entry, dict[str, Any]]] = self.run(read())
        return found


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """A gateway without nodes."""
    tokens = {name: secrets.token_urlsafe(16) for name in CLIENTS}
    settings = settings_for(tmp_path_factory.mktemp("viewings"), tokens, [])
    make_keys(settings)
    log = io.StringIO()
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        gateway = runner.run(stack.enter_async_context(open_gateway(settings, Log(log))))
        yield Open(runner, gateway, log)
        runner.run(stack.aclose())


def client(institution: str = OWN) -> Client:
    return Client(
        id="his",
        institution=institution,
        roles=("his",),
        scopes=Scopes.read([]),
        purpose="TREAT",
        purposes=("TREAT",),
        per_minute=60,
    )


def viewing(**changes: Any) -> Viewing:
    now = datetime.now(UTC)
    fields: dict[str, Any] = {
        "id": new_id(now + timedelta(minutes=30)),
        "client": "his",
        "institution": OWN,
        "purpose": "TREAT",
        "person": PERSON,
        "pseudonyms": (f"e1.{secrets.token_hex(8)}",),
        "patient_id": "ABC",
        "opened": now,
        "ends": now + timedelta(minutes=30),
        "question": QUESTION,
        "check": secrets.token_hex(16),
    }
    return Viewing(**fields | changes)


def test_a_token_opens_its_viewing_at_every_replica(live: Open) -> None:
    made, token = live.opened()
    assert live.of(token).viewing == made
    assert live.of(token, live.there).viewing == made


def test_what_is_learnt_of_a_viewing_stays_with_it(live: Open) -> None:
    _, token = live.opened()
    viewed = live.of(token)
    live.now += REREAD_S + 1
    assert live.of(token) is viewed


@pytest.mark.parametrize("token", ["", TOKEN, TOKEN + "A" * 43, "x" * 10_000, "\xff"])
def test_another_token_opens_none(live: Open, token: str) -> None:
    live.opened()
    with pytest.raises(NotAuthenticated):
        live.of(token)


def test_neither_token_nor_person_is_kept_in_the_clear(live: Open) -> None:
    made, token = live.opened()
    kept = live.run(live.gateway.store.inner.document(KIND, made.id))
    assert kept.key == hashlib.sha256(token.encode()).hexdigest()
    assert not any(text.encode() in kept.body for text in (token, PATIENT, made.institution, made.id))


def test_a_revoked_viewing_is_over_here_at_once_and_elsewhere_soon(live: Open) -> None:
    made, token = live.opened()
    live.of(token, live.there)
    live.run(live.here.revoke(made.id, client()))
    with pytest.raises(NotAuthenticated):
        live.of(token)
    live.now += REREAD_S + 0.01
    with pytest.raises(NotAuthenticated):
        live.of(token, live.there)


def test_a_viewing_is_over_at_once_for_who_looks_while_it_is_revoked(live: Open) -> None:
    made, token = live.opened()
    slow = Viewings(msgspec.structs.replace(live.gateway, store=Slow(live.gateway.store)))

    async def both() -> None:
        asked = asyncio.create_task(slow.of(token))
        await asyncio.sleep(0)
        await slow.revoke(made.id, client())
        assert (await asked).viewing == made  # it asked before
        with pytest.raises(NotAuthenticated):
            await slow.of(token)

    live.run(both())


def test_what_cannot_be_revoked_is_not_said_to_be(live: Open) -> None:
    made, token = live.opened()
    away = Away(live.gateway.store)
    cut_off = Viewings(msgspec.structs.replace(live.gateway, store=away))
    with pytest.raises(StoreUnavailable):
        live.run(cut_off.revoke(made.id, client()))
    assert live.of(token).viewing == made


def test_without_the_store_nothing_is_shown(live: Open) -> None:
    _, token = live.opened()
    away = Away(live.gateway.store)
    with pytest.raises(StoreUnavailable):
        live.run(Viewings(msgspec.structs.replace(live.gateway, store=away)).of(token))


def test_what_has_ended_is_deleted_as_others_are_opened(live: Open) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    (ended, _), (other, _) = live.opened(id=new_id(past), ends=past), live.opened()
    live.now += PRUNE_S
    live.opened()
    kept = [live.run(live.gateway.store.document(KIND, one.id)) for one in (ended, other)]
    assert kept[0] is None
    assert kept[1] is not None


def test_a_viewing_is_revoked_by_its_institution_alone(live: Open) -> None:
    made, token = live.opened()
    with pytest.raises(NotFound):
        live.run(live.here.revoke(made.id, client(OTHER)))
    assert live.of(token).viewing == made


def test_nobody_finds_a_viewing_by_what_its_token_is_kept_under(live: Open) -> None:
    _, token = live.opened()
    for id_ in ("", "\0", "\ud800", hashlib.sha256(token.encode()).hexdigest(), new_id(datetime.now(UTC))):
        with pytest.raises(NotFound):
            live.run(live.here.find(id_, client()))


def test_the_viewing_of_another_gateway_is_no_hospital_s(live: Open) -> None:
    made, _ = live.opened(client="peer", gateway="sc")
    with pytest.raises(NotFound):
        live.run(live.here.revoke(made.id, client()))


def test_a_viewing_ends_by_itself(live: Open) -> None:
    _, token = live.opened(ends=datetime.now(UTC) + timedelta(milliseconds=5))
    live.run(asyncio.sleep(0.01))
    live.now += 0.01
    with pytest.raises(NotAuthenticated):
        live.of(token)


@pytest.mark.parametrize(
    "changes",
    [
        {"client": "gone"},
        {"client": "other"},
        {"client": "publisher"},
        {"client": "his", "gateway": "sc"},
    ],
)
def test_a_viewing_is_over_once_its_client_may_not_view_any_more(live: Open, changes: dict[str, Any]) -> None:
    _, token = live.opened(**changes)
    live.now += REREAD_S + 0.01
    with pytest.raises(NotAuthenticated):
        live.of(token)


def test_who_takes_his_consent_back_is_not_looked_at_any_more(live: Open) -> None:
    made, token = live.opened()
    live.of(token)
    live.deny(made.pseudonyms[0])
    live.now += REREAD_S + 0.01
    with pytest.raises(ConsentDenied):
        live.of(token)


def test_consent_counts_that_was_taken_back_under_a_newer_pseudonym(live: Open) -> None:
    someone = identifier("resident-id", STRANGER)
    _, token = live.opened(person=someone, pseudonyms=("former.abc",))
    live.deny(live.run(live.gateway.pseudonyms(someone)).current)
    live.now += REREAD_S + 0.01
    with pytest.raises(ConsentDenied):
        live.of(token)


def test_in_an_emergency_a_viewing_goes_on_without_consent(live: Open) -> None:
    made, token = live.opened(purpose="BTG")
    live.deny(made.pseudonyms[0])
    live.now += REREAD_S + 0.01
    assert live.of(token).viewing == made


def test_a_study_is_recorded_once_however_many_ask_for_it(live: Open) -> None:
    made, token = live.opened()
    viewed = live.of(token)

    async def many() -> None:
        await asyncio.gather(*(live.here.record(viewed, UID, "cq-pacs") for _ in range(20)))
        await live.here.record(viewed, UID, "sc-pacs")

    live.run(many())
    ((entry, payload),) = live.views(made)
    assert (entry.from_, entry.to, entry.binds) == ("cq", "his", QUESTION)
    assert payload == {
        "check": made.check,
        "viewing": made.id,
        "person": made.pseudonyms[0],
        "receiver": OWN,
        "purpose": "TREAT",
        "study": UID,
        "node": "cq-pacs",
    }


def test_each_study_is_recorded_and_none_stands_in_a_public_leaf(live: Open) -> None:
    made, token = live.opened()
    viewed = live.of(token)
    for uid in (UID, f"{UID}.2"):
        live.run(live.here.record(viewed, uid, "cq-pacs"))
    found = live.views(made)
    assert {payload["study"] for _, payload in found} == {UID, f"{UID}.2"} == viewed.opened
    assert all(UID not in str(entry) for entry, _ in found)


def test_what_a_caller_does_not_wait_for_is_recorded_all_the_same(live: Open) -> None:
    made, token = live.opened()
    viewed = live.of(token)

    async def leave() -> None:
        asked = asyncio.create_task(live.here.record(viewed, UID, "cq-pacs"))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        await live.here.record(viewed, UID, "cq-pacs")

    live.run(leave())
    assert len(live.views(made)) == 1


def test_without_evidence_nothing_is_seen_and_the_next_one_asks_again(live: Open) -> None:
    made, token = live.opened()
    viewed = live.of(token)
    closed = Sequencer(live.gateway.store, [], live.gateway.origin)
    shut = Viewings(msgspec.structs.replace(live.gateway, sequencer=closed))
    with pytest.raises(EvidenceUnavailable):
        live.run(shut.record(viewed, UID, "cq-pacs"))
    assert not viewed.opened
    live.run(live.here.record(viewed, UID, "cq-pacs"))
    assert len(live.views(made)) == 1


def test_the_log_knows_viewings_by_their_ids_alone(live: Open) -> None:
    made, token = live.opened()
    live.run(live.here.record(live.of(token), UID, "cq-pacs"))
    live.run(live.here.revoke(made.id, client()))
    told = live.log.getvalue()
    assert made.id in told
    assert not any(secret in told for secret in (token, UID, PATIENT, made.pseudonyms[0]))


def test_what_another_gateway_looks_at_goes_no_further_than_it_names_and_this_one_asks(live: Open) -> None:
    settings = live.gateway.settings.model_copy(update={"hops": 1})
    studies = Studies(msgspec.structs.replace(live.gateway, settings=settings))
    viewed = Viewed(viewing=viewing(gateway="sc"))
    ways = ("", "cq-pacs", "gw-lab8/hb-pacs", "gw-lab8/gw-sc/sc-pacs")
    assert [studies.question(viewed, way).hops for way in ways] == [0, 0, 1, 1]


def test_a_request_without_a_viewing_is_told_to_open_one() -> None:
    scope: Scope = {"state": {}}
    with pytest.raises(NotAuthenticated, match="/api/v1/viewings"):
        viewing_of(scope)


def test_a_person_is_called_alike_in_every_viewing_of_one_institution() -> None:
    name = patient_id("e1.abc", OWN)
    assert name == patient_id("e1.abc", OWN)
    assert len({name, patient_id("e1.abd", OWN), patient_id("e1.abc", OTHER)}) == 3
    assert len(name) == 24
