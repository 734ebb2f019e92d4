"""Telling: a task that looks for events and delivers them, in one replica at a time.

A new subscription is met with a handshake first, which makes it ``active``. What is not answered with 2xx
is sent again after a wait that doubles each time. After :data:`ERROR_AFTER` failures in a row the
subscription is in ``error``, which ends with the next success; after :data:`OFF_AFTER` it is ``off`` and
stays so until its client changes it. An event is delivered at least once, and in order; its number tells a
repetition.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec.structs import replace

from adapters import AdapterError, KeyTaken, NodeError
from adapters.store import Document
from gateway.errors import GatewayError
from gateway.ids import new_id, since
from gateway.outcomes import Outcomes
from gateway.subscriptions.endpoints import Endpoints
from gateway.subscriptions.happening import WATCH, WATCHED, Happening
from gateway.subscriptions.resource import MEDIA, notification
from gateway.subscriptions.service import every, forget, state_of
from gateway.subscriptions.values import EVENT, KIND, STATE, Event, Kept, State, event_id
from gateway.tasks import stop
from gateway.wiring import Gateway
from security import http_signature
from security.errors import TrustError

ERROR_AFTER, OFF_AFTER = 3, 30
"""Failures in a row; with waits from half a minute to an hour the last is a day after the first."""
_DOUBLED = 7
TURN = "subscription-turn"
_TURN_S = 30.0
_EVERY = timedelta(hours=1)
"""How often watches that are over are deleted, and how long turns are remembered."""
_PATIENCE_S = 10.0
_SLICE_S = 2.0
"""For how long a look sends one notification after the other to one subscription."""


class Notifying:
    """The task of one process."""

    def __init__(self, gateway: Gateway, outcomes: Outcomes, endpoints: Endpoints) -> None:
        self._gateway = gateway
        self._store = gateway.store
        self._settings = gateway.settings
        self._base = gateway.settings.base_url
        self._speakers = {(one.id, one.institution) for one in gateway.settings.clients if "his" in one.roles}
        self._endpoints = endpoints
        self._happening = Happening(gateway, outcomes)
        self._signer = gateway.signers.of("peer", gateway.settings.mark_algorithm)
        self._until = 0.0  # Unix time: the end of the turn of this replica
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look every ``notify_s`` seconds from now on."""
        if any(client.notify for client in self._settings.clients):
            asyncio.get_running_loop().run_in_executor(None, http_signature.load)
        self._task = asyncio.create_task(self._run(), name="notifications")

    async def aclose(self) -> None:
        """Stop; what was not delivered is after the next start."""
        await stop(self._task)

    async def _run(self) -> None:
        failed, pruned = "", datetime.min.replace(tzinfo=UTC)
        while True:
            try:
                await self.once()
                if (now := datetime.now(UTC)) - pruned > _EVERY:
                    await self._store.prune(WATCH, since(now - WATCHED))
                    pruned = now
                failed = ""
            except Exception as wrong:  # whatever it was: one subscription must not end all
                if (detail := _told(wrong)) != failed:  # told once
                    failed = detail
                    self._gateway.log("notifications_failed", detail=detail)
            await asyncio.sleep(self._settings.notify_s)

    async def once(self) -> None:
        """Look once, and deliver what is due.

        Raises:
            AdapterError, TrustError, GatewayError: something cannot be read, kept or signed now.
        """
        subscriptions = await every(self._gateway)
        if not subscriptions or not await self._has_turn(datetime.now(UTC)):
            return
        subscriptions = [kept for kept in subscriptions if (kept.client, kept.institution) in self._speakers]
        before = {kept.id: await state_of(self._gateway, kept) for kept in subscriptions}
        on = [(kept, before[kept.id]) for kept in subscriptions if before[kept.id].status != "off"]
        found = await self._happening.since(on)
        for kept, state in found:
            await self._save(kept, before[kept.id], state)
        ended = await asyncio.gather(*(self._deliver(*pair) for pair in found), return_exceptions=True)
        for wrong in ended:  # each of the others was delivered first
            if wrong is not None:
                raise wrong

    async def _has_turn(self, now: datetime) -> bool:
        """Whether this replica looks now; an embedded store has but one. Who has a turn takes the next one in
        the second half of it, so that others come in only when it is gone."""
        moment = now.timestamp()
        if not self._settings.store or moment < self._until - _TURN_S / 2:
            return True
        turn = int(moment // _TURN_S) + (moment < self._until)
        document = Document(kind=TURN, id=new_id(now), key=str(turn), body=b"{}", at=now)
        with suppress(KeyTaken):
            await self._store.commit([], [document])
            self._until = (turn + 1) * _TURN_S
            await self._store.prune(TURN, since(now - _EVERY))
        return moment < self._until

    async def _deliver(self, kept: Kept, state: State) -> None:
        """Tell what is due, one notification after the other, for a while: then the others have a turn."""
        end = time.monotonic() + _SLICE_S
        more: State | None = state
        while more is not None and time.monotonic() < end:
            more = await self._notify(kept, more)

    async def _notify(self, kept: Kept, state: State) -> State | None:
        """Send what is due next; the state after it, where that may not be all."""
        now = datetime.now(UTC)
        if kept.end is not None and now >= kept.end:
            await self._save(kept, state, replace(state, status="off", error="it has ended"))
            return None
        if state.retry is not None and now < state.retry:
            return None
        events = await self._events(kept, state) if state.met else []
        due = kept.heartbeat and state.said and (now - state.said).total_seconds() >= kept.heartbeat
        if state.met and not events and not due:
            return None
        delivered = events[-1].number if events else state.delivered
        fit = [event for event in events if await self._happening.may_be_told(kept, event)]
        wrong = ""
        if events and not fit:
            after = replace(state, delivered=delivered)
        else:
            kind = "event-notification" if fit else "heartbeat" if state.met else "handshake"
            told = replace(
                state, status="active" if state.met else "requested", error="", delivered=delivered
            )
            good = replace(told, status="active", met=True, said=now, failures=0, retry=None)
            wrong = await self._send(kept, notification(kept, told, kind, self._base, fit))
            after = self._failed(kept, state, wrong, now) if wrong else good
        await self._save(kept, state, after)
        if wrong:
            return None
        await self._store.remove(EVENT, *(event_id(kept.id, event.number) for event in events))
        return after

    async def _events(self, kept: Kept, state: State) -> list[Event]:
        page = await self._store.documents(EVENT, event_id(kept.id, state.delivered), kept.most)
        return [
            msgspec.json.decode(document.body, type=Event)
            for document in page
            if document.id.startswith(f"{kept.id}.")
        ]

    async def _send(self, kept: Kept, body: bytes) -> str:
        """Post a notification; what went wrong, or nothing."""
        found = self._endpoints.line(kept.client, kept.endpoint)
        if found is None:
            return "the operator does not allow its endpoint any more"
        line, path = found
        headers = http_signature.sign("POST", kept.endpoint, body, self._signer, datetime.now(UTC))
        try:
            reply = await line.exchange(
                "POST", path, body, headers=headers | {"Content-Type": MEDIA}, budget=_PATIENCE_S
            )
        except NodeError as wrong:
            return str(wrong)
        return "" if 200 <= reply.status < 300 else f"its endpoint answered with status {reply.status}"

    def _failed(self, kept: Kept, state: State, wrong: str, now: datetime) -> State:
        failures = state.failures + 1
        wait = self._settings.notify_retry_s * 2 ** min(failures - 1, _DOUBLED)
        status = state.status
        if failures >= ERROR_AFTER:
            status = "off" if failures >= OFF_AFTER else "error"
        self._gateway.log(
            "notification_failed",
            subscription=kept.id,
            client=kept.client,
            detail=wrong,
            failures=failures,
            status=status,
        )
        return replace(
            state, status=status, error=wrong, failures=failures, retry=now + timedelta(seconds=wait)
        )

    async def _save(self, kept: Kept, before: State, state: State) -> None:
        """Keep how far it came, unless its client ended it meanwhile."""
        if state == before:
            return
        body = msgspec.json.encode(state)
        await self._store.replace(Document(kind=STATE, id=kept.id, body=body, at=datetime.now(UTC)))
        if await self._store.document(KIND, kept.id) is None:
            await forget(self._gateway, kept.id)


def _told(wrong: Exception) -> str:
    """An error as the log may have it: the words of an unforeseen one could repeat a value."""
    return str(wrong) if isinstance(wrong, AdapterError | TrustError | GatewayError) else type(wrong).__name__
