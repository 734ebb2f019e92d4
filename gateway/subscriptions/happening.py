"""What happened since the last look, as events of subscriptions: withdrawn marks, and new results.

Withdrawals are a numbered sequence. New results are read off the ledger: a verdict opens a watch over its
person for the institution that asked, and a publication about a watched person is an event. A watch names a
check and lies under a pseudonym; it ends after :data:`WATCHED`, or once everything that the check recognised
was decided about. Nobody is told of a person who has meanwhile refused.

Events are numbered in the order of their causes, and an event's cause is its document's key: looking twice at
the same cause, after a crash or from two replicas, makes no second event.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from adapters import KeyTaken
from adapters.store import Document
from gateway.checks import KeptCheck
from gateway.decisions import open_results
from gateway.evidence import Evidence, keep
from gateway.ids import new_id
from gateway.marks.withdrawing import SETTLED
from gateway.outcomes import Outcomes
from gateway.subscriptions.values import EVENT, MARK_WITHDRAWN, NEW_RESULT, Event, Kept, State, event_id
from gateway.wiring import Gateway
from security.ledger import Entry, read_entry
from security.pseudonym import Pseudonyms

WATCHED = timedelta(days=7)
"""How long a check is open, as long as nothing is decided about it."""
WATCH = "subscription-watch"
WALKED = 5000
"""How many ledger entries are looked at in one go."""
_PAGE = 250

Pair = tuple[Kept, State]


class _Said(Struct):
    """Of a payload, what leads to a check or a person."""

    check: str = ""
    person: str = ""
    resources: tuple[str, ...] = ()
    announced: tuple[str, ...] = ()


class Happening:
    """Finds events, keeps them, and says how far each subscription came."""

    def __init__(self, gateway: Gateway, outcomes: Outcomes) -> None:
        self._gateway = gateway
        self._store = gateway.store
        self._outcomes = outcomes
        self._base = gateway.settings.base_url
        self._institutions: Mapping[str, str] = {
            client.id: client.institution for client in gateway.settings.clients
        }

    async def since(self, pairs: Collection[Pair]) -> list[Pair]:
        """The pairs with the states they have once everything new is kept as events.

        Raises:
            AdapterError, EvidenceUnavailable: something could not be read or kept; it is found again.
        """
        results = [pair for pair in pairs if pair[0].topic == NEW_RESULT]
        marks = [await self._withdrawn(*pair) for pair in pairs if pair[0].topic == MARK_WITHDRAWN]
        return [*marks, *(await self._published(results) if results else ())]

    async def _withdrawn(self, kept: Kept, state: State) -> Pair:
        """An event for each check that recognised the mark. A check that could not know of a withdrawal may
        be written after it, so what is not settled is looked at again, and ``causes`` are left out."""
        withdrawals = self._gateway.withdrawals
        await withdrawals.refresh()
        settled, passed = datetime.now(UTC) - SETTLED, True
        for told in withdrawals.after(state.withdrawals):
            one = told.withdrawal
            causes = []
            for check, said in await withdrawals.recognised(one.mark):
                if said.issuer == one.issuer and said.institution == kept.institution:
                    causes.append(cause := f"w{told.number}|{check}")
                    if cause not in state.causes:
                        event = Event(
                            number=state.events + 1,
                            at=told.at,
                            focus=f"{self._base}/trust/marks/{one.mark}",
                            system="urn:lianren:mark",
                            value=one.mark,
                            context=(self._check(check),),
                        )
                        state = await self._keep(kept, state, event, cause)
            passed = passed and told.at <= settled
            if passed:
                left = tuple(cause for cause in state.causes if cause not in causes)
                state = replace(state, withdrawals=told.number, causes=left)
        return kept, state

    async def _published(self, pairs: list[Pair]) -> list[Pair]:
        store = self._store
        place = min(state.ledger for _, state in pairs)
        stop = min((await store.head()).size, place + WALKED)
        watching = {kept.institution for kept, _ in pairs}
        watches: dict[str, Document] = {}
        while place < stop:
            for body in await store.entries(place, min(_PAGE, stop - place)):
                entry = read_entry(body)
                if entry.type == "verdict" and (asked := self._institutions.get(entry.to)) in watching:
                    if watch := await self._watch(entry, str(asked)):
                        watches[watch.key] = watch
                elif entry.type == "publication":
                    await self._open(watches)
                    pairs = await self._about(place, entry, pairs)
                place += 1
            await self._open(watches)
        return [(kept, replace(state, ledger=max(state.ledger, stop))) for kept, state in pairs]

    async def _watch(self, entry: Entry, institution: str) -> Document | None:
        """What says that the check of a verdict is open; the last one of a person is the one told of."""
        check = await self._kept_check((await self._said(entry)).check)
        if check is None or not check.person:
            return None
        consent = check.answer.consent
        if not consent.permitted or consent.basis == "break_glass":  # that is for the one moment
            return None
        return Document(
            kind=WATCH,
            id=new_id(entry.time),
            key=f"{check.person}|{institution}",
            body=check.answer.id.encode(),
            at=entry.time,
            person=check.person,
        )

    async def _open(self, watches: dict[str, Document]) -> None:
        """Keep these watches, instead of former ones of the same persons and institutions."""
        if watches:
            former = [await self._store.find(WATCH, key) for key in watches]
            await self._store.remove(WATCH, *(one.id for one in former if one))
            with suppress(KeyTaken):  # another replica looks as well
                await self._store.commit([], [*watches.values()])
            watches.clear()

    async def _about(self, place: int, entry: Entry, pairs: list[Pair]) -> list[Pair]:
        said = await self._said(entry)
        if not said.person or not (said.resources or said.announced):
            return pairs
        publisher = self._institutions.get(entry.from_)
        return [
            (kept, await self._told(place, entry, said.person, kept, state))
            if place >= state.ledger and kept.institution != publisher
            else (kept, state)
            for kept, state in pairs
        ]

    async def _told(self, place: int, entry: Entry, person: str, kept: Kept, state: State) -> State:
        """The state once a publication about a person is kept as an event, if it is one."""
        watch = await self._store.find(WATCH, f"{person}|{kept.institution}")
        if watch is None or entry.time - watch.at > WATCHED or not await self._is_open(watch.body.decode()):
            return state
        if not await self._permitted(person, kept.institution):
            return state
        check = watch.body.decode()
        event = Event(
            number=state.events + 1,
            at=entry.time,
            focus=self._check(check),
            system="urn:lianren:check",
            value=check,
        )
        return await self._keep(kept, state, event, f"l{place}", person=person, check=check)

    async def may_be_told(self, kept: Kept, event: Event) -> bool:
        """Whether an event that waited is still to be told: its person was not erased and did not refuse."""
        if kept.topic != NEW_RESULT:
            return True
        check = await self._kept_check(event.value)
        return check is not None and await self._permitted(check.person, kept.institution)

    async def _permitted(self, person: str, institution: str) -> bool:
        """Under former pseudonyms nothing was refused, for the check was permitted."""
        now = datetime.now(UTC)
        rule = await self._gateway.consents.rule(Pseudonyms(person), "TREAT", institution, now)
        return rule.permitted

    async def _is_open(self, id_: str) -> bool:
        check = await self._kept_check(id_)
        if check is None:  # erased
            return False
        stands = await self._outcomes.stands(id_)
        return not stands or bool(open_results(check.answer, stands))

    async def _keep(self, kept: Kept, state: State, event: Event, cause: str, **about: str) -> State:
        """Keep an event; one that concerns a person with an entry in the ledger that says who is told."""
        document = Document(
            kind=EVENT,
            id=event_id(kept.id, event.number),
            key=f"{kept.id}|{cause}",
            body=msgspec.json.encode(event),
            at=event.at,
        )
        causes = state.causes if about else (*state.causes, cause)
        try:
            if about:
                evidence = Evidence.of(self._gateway, kept.client, datetime.now(UTC))
                evidence.record("view", {"what": "notification", "subscription": kept.id} | about)
                await keep(self._gateway.sequencer, evidence.entries, [document])
            else:
                await self._store.commit([], [document])
        except KeyTaken:
            if await self._store.find(EVENT, document.key) is None:  # the number is another cause's
                further = replace(event, number=event.number + 1)
                return await self._keep(kept, state, further, cause, **about)
        return replace(state, events=event.number, causes=causes)

    async def _said(self, entry: Entry) -> _Said:
        secret = await self._store.secret(entry.commit)
        try:
            return msgspec.json.decode(secret.payload, type=_Said) if secret else _Said()
        except msgspec.MsgspecError:
            return _Said()

    async def _kept_check(self, id_: str) -> KeptCheck | None:
        document = await self._store.document("check", id_) if id_ else None
        return msgspec.json.decode(document.body, type=KeptCheck) if document else None

    def _check(self, id_: str) -> str:
        return f"{self._base}/api/v1/checks/{id_}"
