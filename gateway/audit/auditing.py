"""Finding ledger entries for an auditor, the newest first, with what their payloads say of person and check.

A search walks the ledger backwards from a place, so that its pages stay where they are while entries are
added; one request walks at most :data:`WALKED` entries, and says where to go on. A date is found by halving,
since entries follow one another in time but for :data:`DISORDER`. Reading the audit log is itself an entry of
the ledger, of type ``view``, written before anything is looked up.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from adapters.store import Store
from gateway.access.clients import Client
from gateway.evidence import Evidence, keep
from gateway.wiring import Gateway
from security.ledger import Entry, read_entry

WALKED = 5000
DISORDER = timedelta(minutes=10)
"""By how much an entry may be dated before one that stands before it: clocks, and slow questions."""
_PAGE = 256
_DEPTH = 4
"""How many bindings lead from an entry to its question: view, outcome, verdict, question."""


class Said(Struct, frozen=True):
    """Of the payload of an entry what tells whom and what it concerns; empty where it does not say."""

    person: str = ""
    check: str = ""
    node: str = ""
    purpose: str = ""
    study: str = ""


class Event(Struct, frozen=True, kw_only=True):
    """A ledger entry with its place, its payload (None where it was erased), and what that says; of an entry
    that belongs to a question, what the question says."""

    index: int
    entry: Entry
    payload: bytes | None
    said: Said


class Wanted(Struct, frozen=True, kw_only=True):
    """What an auditor looks for: entries from ``start`` to before ``end`` that fit, in the order of events.

    ``concerns`` are parties, ``about`` ids of entries, marks or checks; empty ones leave nothing out.
    ``fits`` looks at what is left.
    """

    start: datetime | None = None
    end: datetime | None = None
    concerns: frozenset[str] = frozenset()
    about: frozenset[str] = frozenset()
    fits: Callable[[Event], bool] = lambda event: True


class Found(Struct, frozen=True):
    """Events, and the place before which the next page begins; None where there is nothing more."""

    events: list[Event]
    before: int | None


class Auditing:
    """Searches of the ledger of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._store: Store = gateway.store

    async def search(
        self, wanted: Wanted, asked: Mapping[str, object], client: Client, *, before: int | None, count: int
    ) -> Found:
        """A page of at most ``count`` events before a place (None: the end), the newest first.

        ``asked`` is what the caller sent, for the record.

        Raises:
            NotPermitted: the client is no auditor.
            EvidenceUnavailable: the search could not be recorded, so nothing is answered.
        """
        client.require("auditor")
        size = (await self._store.head()).size
        await self._record({"what": "audit-events", "query": asked}, client)
        place = size if before is None else min(before, size)
        if wanted.end is not None:
            place = min(place, await self._first_after(wanted.end + DISORDER, size))
        events: list[Event] = []
        stop = max(0, place - WALKED)
        async for index, entry in self._backwards(place, stop):
            if wanted.start is not None and entry.time < wanted.start - DISORDER:
                return Found(events, None)
            if _leaf_fits(wanted, entry):
                event = await self.event(index, entry)
                if _about(wanted, event) and wanted.fits(event):
                    events.append(event)
                    if len(events) == count:
                        return Found(events, index or None)
        return Found(events, stop or None)

    async def read(self, commit: str, client: Client) -> Event | None:
        """The event of one entry, or None where there is none.

        Raises:
            NotPermitted, EvidenceUnavailable: as for :meth:`search`.
        """
        client.require("auditor")
        index = await self._store.index_of(commit)
        if index is None:
            return None
        await self._record({"what": "audit-event", "entry": commit}, client)
        (body,) = await self._store.entries(index, 1)
        return await self.event(index, read_entry(body))

    async def event(self, index: int, entry: Entry) -> Event:
        """An entry with what its payload, or that of its question, says."""
        secret = await self._store.secret(entry.commit)
        said, above = _said(secret.payload if secret else b""), entry
        for _ in range(_DEPTH):
            if (said.person and said.purpose) or not above.binds:
                break
            at = await self._store.index_of(above.binds)
            if at is None:
                break
            above = read_entry((await self._store.entries(at, 1))[0])
            opened = await self._store.secret(above.commit)
            root = _said(opened.payload if opened else b"")
            said = replace(
                said,
                person=said.person or root.person,
                check=said.check or root.check,
                purpose=said.purpose or root.purpose,
            )
        return Event(index=index, entry=entry, payload=secret.payload if secret else None, said=said)

    async def first_from(self, moment: datetime, size: int) -> int:
        """The place of the first entry dated at the moment or later; some after it may be dated before."""
        place = await self._first_after(moment - DISORDER, size)
        while place < size:
            for body in await self._store.entries(place, min(_PAGE, size - place)):
                if read_entry(body).time >= moment:
                    return place
                place += 1
        return size

    async def _backwards(self, before: int, stop: int) -> AsyncIterator[tuple[int, Entry]]:
        while before > stop:
            start = max(stop, before - _PAGE)
            bodies = await self._store.entries(start, before - start)
            for place in range(len(bodies) - 1, -1, -1):
                yield start + place, read_entry(bodies[place])
            before = start

    async def _first_after(self, moment: datetime, size: int) -> int:
        """The place of the first entry dated at the moment or later, by halving."""
        low, high = 0, size
        while low < high:
            middle = (low + high) // 2
            (body,) = await self._store.entries(middle, 1)
            if read_entry(body).time < moment:
                low = middle + 1
            else:
                high = middle
        return low

    async def _record(self, what: Mapping[str, object], client: Client) -> None:
        evidence = Evidence.of(self._gateway, client.id, datetime.now(UTC))
        evidence.record("view", what)
        await keep(self._gateway.sequencer, evidence.entries, [])


def _leaf_fits(wanted: Wanted, entry: Entry) -> bool:
    if (wanted.start and entry.time < wanted.start) or (wanted.end and entry.time >= wanted.end):
        return False
    return not wanted.concerns or not wanted.concerns.isdisjoint((entry.from_, entry.to))


def _about(wanted: Wanted, event: Event) -> bool:
    entry = event.entry
    ids = (entry.commit, entry.binds, entry.mark, event.said.check, event.said.person)
    studies = (f"urn:oid:{event.said.study}",)
    return not wanted.about or not wanted.about.isdisjoint(ids + studies)


def _said(payload: bytes) -> Said:
    try:
        return msgspec.json.decode(payload, type=Said)
    except msgspec.MsgspecError:  # erased, a mark, or about nobody
        return Said()
