"""What is erased when: retention classes, single decisions, and all that is kept of a person.

Erasing deletes an entry's salt and payload and the documents that go with it; entry, leaf and every proof
stay. Before anything is deleted an entry of type ``erasure`` says why and in which part of the ledger, so
that an auditor can tell erased from lost.

The classes (``[retention]``, with the law behind them in ``docs/operator.md``) go by the time in the entry:

    copies      the case a decision is replayed from, and the facts kept beside a mark
    access      payloads of questions, answers, views, exports and publications
    decisions   verdicts and outcomes, with the check and the outcome as they were answered
    cited       payloads, check and outcomes of an exchange of which an outcome says ``cited``: as long as the
                record it stands in

What was published here, in all its versions, and pointers to results (``index_days``) are copies of what
hospitals keep: they go by the time of the result, and no entry tells of it. Erasing a person takes them
along, and the facts beside the marks of his results. Marks, consents, key lists, catalogues and what was
erased are kept: they name nobody, or hold for longer than any decision. Every class
remembers how far it came, so that a run costs what became due since the last one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from adapters.errors import AdapterError, KeyTaken
from adapters.sequencer import Sequencer
from adapters.store import Document
from gateway.cases import KIND as CASE
from gateway.errors import NotFound
from gateway.ids import new_id, since
from gateway.log import Log
from gateway.marks.index import INDEX, RECOGNISED, below, recognition_id
from gateway.settings import RetentionSettings
from gateway.tasks import stop
from security.errors import TrustError
from security.ledger import Entry, read_entry, seal
from security.pseudonym import Pseudonyms

Class = Literal["copies", "access", "decisions", "cited"]
PROGRESS, RUN, CITED = "retention", "retention-run", "cited"
"""Kinds of documents: how far a class came, which days had their run, and what was cited in a record."""
CITED_SEEN = "cited-seen"
"""The progress of looking for what was cited."""
TYPES: dict[Class, frozenset[str]] = {
    "copies": frozenset({"mark", "verdict"}),
    "access": frozenset({"question", "answer", "view", "export", "publication"}),
    "decisions": frozenset({"verdict", "outcome"}),
    "cited": frozenset({"question", "answer", "view", "export", "verdict", "outcome"}),
}
PERSONAL = TYPES["cited"] | TYPES["access"]
PAGE = 200
_DAY = ZoneInfo("Asia/Shanghai")
_ENCODER = msgspec.json.Encoder(order="sorted")
Progress = Callable[[int, int], None]


class Erased(Struct, frozen=True):
    """What a run erased: entries, documents, and how many entries it left because a record cites them."""

    entries: int = 0
    documents: int = 0
    cited: int = 0

    def __add__(self, other: Erased) -> Erased:
        return Erased(
            self.entries + other.entries, self.documents + other.documents, self.cited + other.cited
        )


class _Mark(Struct, frozen=True):
    mark: str = ""


class _Payload(Struct, frozen=True):
    """Of a payload, what leads to the person or to documents."""

    id: str = ""
    check: str = ""
    publication: str = ""
    person: str = ""
    outcome: str = ""
    verdicts: tuple[_Mark, ...] = ()
    results: tuple[str, ...] = ()


class _Held(Struct, frozen=True):
    """An entry with what is left of its payload; None once erased."""

    index: int
    entry: Entry
    payload: _Payload | None


class Retention:
    """Erases from one ledger; ``settings`` are the days of each class."""

    def __init__(self, settings: RetentionSettings, owner: str, sequencer: Sequencer) -> None:
        self._days: dict[Class, int] = {
            "copies": settings.copies_days,
            "access": settings.access_days,
            "decisions": settings.decisions_days,
            "cited": settings.cited_days,
        }
        self._index = timedelta(days=settings.index_days)
        self._owner = owner
        self._sequencer = sequencer
        self._store = sequencer.store

    async def expire(self, now: datetime) -> Erased:
        """Erase what became due by ``now``.

        Raises:
            StoreError: the store does not answer; what was erased before stays so, the rest is due again.
        """
        erased = Erased()
        for name in TYPES:
            erased += await self._expire(name, now)
        return erased + Erased(documents=await self._store.unhold(before=now - self._index))

    async def decision(self, check: str, now: datetime, *, even_cited: bool = False) -> Erased:
        """Erase one decision: its question, answers, verdict and outcomes.

        Raises:
            NotFound: there is none, or it was erased before.
        """
        document = await self._store.document("check", check)
        answer = msgspec.json.decode(document.body, type=_Check).answer if document else None
        index = await self._store.index_of(answer.ledger.entry) if answer else None
        if answer is None or index is None:
            raise NotFound(f"there is no decision {check!r}, or it was erased before", field="id")
        verdict = read_entry((await self._store.entries(index, 1))[0])
        begin = await self._store.index_of(verdict.binds)
        return await self._exchanges(
            index if begin is None else begin,
            lambda held: held.entry.commit == verdict.binds,
            {"why": "decision", "check": check},
            now,
            even_cited=even_cited,
        )

    async def person(
        self,
        pseudonyms: Pseudonyms,
        now: datetime,
        *,
        even_cited: bool = False,
        progress: Progress = lambda done, of: None,
    ) -> Erased:
        """Erase every exchange about a person, what was published of him here and is known to be elsewhere,
        and what is kept beside the marks of his results. What a record cites stays, unless ``even_cited``; so
        do marks and consents, which hold by themselves."""
        names = {pseudonyms.current, *pseudonyms.former}
        erased = await self._exchanges(
            0,
            lambda held: held.payload is not None and held.payload.person in names,
            {"why": "person"},
            now,
            even_cited=even_cited,
            copies=True,
            progress=progress,
        )
        return erased + Erased(documents=await self._store.unhold(persons=pseudonyms.all))

    def _line(self, name: Class) -> timedelta:
        return timedelta(days=self._days[name])

    async def _expire(self, name: Class, now: datetime) -> Erased:
        before, start = now - self._line(name), await self._reached(name)
        end, due = await self._due(name, start, before, now)
        if due:
            span = {"class": name, "before": before.isoformat(), "from": start, "to": end}
            await self._announce({"why": "expired"} | span, now)
        erased = Erased()
        if name == "copies" and due:
            erased += Erased(documents=await self._store.prune(CASE, since(before)))
        async for page in self._pages(start, end):
            chosen = [held for held in page if held.entry.type in TYPES[name]]
            if name == "copies":
                erased += await self._copies(held.entry.mark for held in chosen if held.entry.mark)
            else:
                erased += await self._erase(chosen, even_cited=name == "cited")
            if name == "cited":
                await self._store.remove(CITED, *(held.entry.commit for held in chosen))
            await self._reach(name, page[-1].index + 1, now)
        return erased

    async def _exchanges(
        self,
        start: int,
        begins: Callable[[_Held], bool],
        why: dict[str, object],
        now: datetime,
        *,
        even_cited: bool,
        copies: bool = False,
        progress: Progress = lambda done, of: None,
    ) -> Erased:
        """Erase the exchanges that begin with a wanted entry, and all that binds to them; with ``copies``
        also what is kept beside the marks of the results that were answered with."""
        end = (await self._store.head()).size
        await self._announce(why | {"from": start, "to": end, "even_cited": even_cited}, now)
        chain: set[str] = set()
        erased = Erased()
        async for page in self._pages(start, end):
            chosen = []
            for held in page:
                if held.entry.type in PERSONAL and (held.entry.binds in chain or begins(held)):
                    chain.add(held.entry.commit)
                    chosen.append(held)
            erased += await self._erase(chosen, even_cited=even_cited, copies=copies)
            progress(page[-1].index + 1, end)
        return erased

    async def _erase(self, chosen: Sequence[_Held], *, even_cited: bool, copies: bool = False) -> Erased:
        if not even_cited:
            await self._note_cited()  # page by page: a run over a long ledger takes a while
        free = [held for held in chosen if even_cited or not await self._is_cited(held.entry)]
        documents = (await self._copies(await self._marks(free))).documents if copies else 0
        for kind, ids in _documents_of(free).items():
            documents += await self._store.remove(kind, *ids)
        # last, because the payloads lead to the documents
        entries = await self._store.erase(*(held.entry.commit for held in free))
        return Erased(entries, documents, len(chosen) - len(free))

    async def _copies(self, marks: Iterable[str]) -> Erased:
        ids = tuple(marks)
        return Erased(
            documents=sum([await self._store.remove(kind, *ids) for kind in ("facts", "provenance")])
        )

    async def _marks(self, chosen: Sequence[_Held]) -> list[str]:
        """The ids of the marks of the results that these answers brought."""
        results = {
            result
            for held in chosen
            if held.entry.type == "answer" and held.payload
            for result in held.payload.results
        }
        return [
            rest.rpartition("|")[2]
            for result in results
            async for rest, _ in below(self._store, INDEX, f"d|{result}|")
        ]

    async def _announce(self, payload: dict[str, object], now: datetime) -> None:
        sealed = seal(
            "erasure",
            _ENCODER.encode(payload),
            time=now,
            from_=self._owner,
            to=self._owner,
            hash_name=self._sequencer.hash_name,
        )
        await self._sequencer.append([sealed])

    async def _note_cited(self) -> None:
        """Remember the exchanges that an outcome since the last time says are cited in a record."""
        start, end, now = await self._reached(CITED_SEEN), (await self._store.head()).size, datetime.now(UTC)
        async for page in self._pages(start, end):
            for held in page:
                if held.payload is not None and held.payload.outcome == "cited":
                    verdict = await self._store.index_of(held.entry.binds)
                    bodies = [] if verdict is None else await self._store.entries(verdict, 1)
                    for commit in (held.entry.binds, *(read_entry(body).binds for body in bodies)):
                        if commit:
                            await self._store.replace(Document(kind=CITED, id=commit, body=b"{}", at=now))
            await self._reach(CITED_SEEN, page[-1].index + 1, now)

    async def _is_cited(self, entry: Entry) -> bool:
        return any(
            [commit and await self._store.document(CITED, commit) for commit in (entry.commit, entry.binds)]
        )

    async def _due(self, name: Class, start: int, before: datetime, now: datetime) -> tuple[int, bool]:
        """What of the class comes due from ``start`` on: the entry after its last, and whether there is any.

        Where a clock jumped back, what lies behind the jump waits with it; but an entry of a time that has
        not come at ``now`` holds up nothing, and is as old as the next one whose time can be.
        """
        end, due, met = start, False, False
        while bodies := await self._store.entries(start, PAGE):
            for index, body in enumerate(bodies, start):
                entry = read_entry(body)
                if before <= entry.time <= now:
                    return end, due
                met = met or entry.type in TYPES[name]
                if entry.time < before:
                    end, due = index + 1, met
            start += len(bodies)
            await asyncio.sleep(0)  # an embedded store answers without ever letting others run
        return end, due

    async def _pages(self, start: int, end: int) -> AsyncIterator[list[_Held]]:
        while start < end and (bodies := await self._store.entries(start, min(PAGE, end - start))):
            secrets = {index: secret for index, _, secret in await self._store.secrets(start, len(bodies))}
            page = []
            for index, body in enumerate(bodies, start):
                entry, secret = read_entry(body), secrets.get(index)
                payload = _payload(secret.payload) if secret and entry.type in PERSONAL else None
                page.append(_Held(index, entry, payload))
            yield page
            start += len(bodies)
            await asyncio.sleep(0)

    async def _reached(self, name: str) -> int:
        document = await self._store.document(PROGRESS, name)
        return msgspec.json.decode(document.body, type=int) if document else 0

    async def _reach(self, name: str, index: int, now: datetime) -> None:
        await self._store.replace(Document(kind=PROGRESS, id=name, body=msgspec.json.encode(index), at=now))


class _Ledger(Struct, frozen=True):
    entry: str


class _Answer(Struct, frozen=True):
    ledger: _Ledger


class _Check(Struct, frozen=True):
    answer: _Answer


def _payload(data: bytes) -> _Payload:
    try:
        return msgspec.json.decode(data, type=_Payload)
    except msgspec.MsgspecError:  # of a type that leads nowhere
        return _Payload()


def _documents_of(chosen: Collection[_Held]) -> dict[str, list[str]]:
    """The ids of the documents that go with entries, by kind."""
    found: dict[str, list[str]] = {"check": [], CASE: [], RECOGNISED: [], "outcome": [], "publication": []}
    for held in chosen:
        if held.payload is None:
            continue
        if held.entry.type == "verdict" and (check := held.payload.check):
            found["check"].append(check)
            found[CASE].append(check)
            marks = [one.mark for one in held.payload.verdicts if one.mark]
            found[RECOGNISED] += {recognition_id(mark, check) for mark in marks}
            found[RECOGNISED] += [f"{mark}|{check}" for mark in marks]  # as they were kept before 0.4
        elif held.entry.type == "outcome" and held.payload.id:
            found["outcome"].append(held.payload.id)
        elif held.entry.type == "publication":
            found["publication"].append(held.payload.publication)
    return found


class Daily:
    """Runs the retention once a day in the background, in one of the replicas."""

    def __init__(self, retention: Retention, sequencer: Sequencer, log: Log) -> None:
        self._retention = retention
        self._store = sequencer.store
        self._log = log
        self._task: asyncio.Task[None] | None = None

    def start(self, every: float = 3600.0) -> None:
        """Look every hour whether the day had its run."""
        self._task = asyncio.create_task(self._run(every), name="retention")

    async def aclose(self) -> None:
        """Stop; a run that is cut off goes on the next day."""
        await stop(self._task)

    async def once(self, now: datetime) -> Erased | None:
        """The run of the day; None when another replica had it.

        Raises:
            StoreError: the store does not answer.
        """
        day = Document(
            kind=RUN, id=new_id(now), key=now.astimezone(_DAY).date().isoformat(), body=b"{}", at=now
        )
        try:
            await self._store.commit([], [day])
        except KeyTaken:
            return None
        await self._store.prune(RUN, since(now - timedelta(days=31)))
        return await self._retention.expire(now)

    async def _run(self, every: float) -> None:
        while True:
            try:
                if erased := await self.once(datetime.now(UTC)):
                    self._log("retention_run", entries=erased.entries, documents=erased.documents)
            except (AdapterError, TrustError) as wrong:
                self._log("retention_failed", detail=str(wrong))
            await asyncio.sleep(every)
