"""Beginning an export, reading its files, dropping it. Each is an auditor's, and an entry of the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct

from adapters.store import Document
from gateway.access.clients import Client
from gateway.audit.auditing import Auditing, Event
from gateway.checks import KeptCheck
from gateway.errors import NotFound
from gateway.evidence import Evidence, keep
from gateway.ids import new_id, since, time_of
from gateway.model import CheckAnswer
from gateway.wiring import Gateway
from security.ledger import read_entry

KIND = "bulk-export"
TYPES = ("AuditEvent", "Parameters")
"""What can be exported: ledger entries, and decisions as ``$check-recognition`` answers them."""
LIFE = timedelta(hours=24)
PART = 50_000
"""How many AuditEvents a file has at most, so that a broken connection costs no more than that."""
_PAGE = 200


class Cut(Struct, frozen=True, kw_only=True):
    """What an export holds: for ``client``, of the types, what is dated from ``start`` to before ``at``
    (aware; None: from the beginning), in the ledger the places [first, last). ``request`` is the address
    that it was asked for by."""

    client: str
    request: str
    types: tuple[str, ...]
    start: datetime | None
    at: datetime
    first: int
    last: int


class File(Struct, frozen=True):
    """One file: its type, its number from 1, and how many resources it has, where that is known."""

    type: str
    number: int
    count: int | None

    @property
    def name(self) -> str:
        """What it is fetched by."""
        return f"{self.type}-{self.number}.ndjson"


class Exporting:
    """The exports of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._auditing = Auditing(gateway)

    async def begin(self, types: Sequence[str], start: datetime | None, request: str, client: Client) -> str:
        """Make the cut; its id. Exports that are over are forgotten by the way.

        Raises:
            NotPermitted: the client is no auditor, or lacks the scope of a type.
            EvidenceUnavailable: it cannot be recorded, so there is none.
        """
        _permit(client, types)
        store, now = self._gateway.store, datetime.now(UTC)
        last = (await store.head()).size
        first = await self._auditing.first_from(start, last) if start else 0
        cut = Cut(
            client=client.id,
            request=request,
            types=tuple(types),
            start=start,
            at=now,
            first=first,
            last=last,
        )
        id_ = new_id(now)
        await store.prune(KIND, since(now - LIFE))
        await self._record(
            {"what": "bulk-export", "export": id_, "types": cut.types, "since": start and start.isoformat()},
            client,
            [Document(kind=KIND, id=id_, body=msgspec.json.encode(cut), at=now)],
        )
        return id_

    async def cut(self, id_: str, client: Client) -> Cut:
        """What was cut.

        Raises:
            NotPermitted: the client is no auditor any more, or lacks the scope of a type.
            NotFound: there is no such export of this client, or not any more.
        """
        document = await self._gateway.store.document(KIND, id_)
        if document and datetime.now(UTC) - document.at < LIFE:
            cut = msgspec.json.decode(document.body, type=Cut)
            if cut.client == client.id:
                _permit(client, cut.types)
                return cut
        raise NotFound("there is no such export, or it is over: begin a new one", field="id")

    def files(self, cut: Cut) -> list[File]:
        """Its files."""
        files = []
        if "AuditEvent" in cut.types:
            starts = range(cut.first, cut.last, PART)
            files = [
                File("AuditEvent", number, min(PART, cut.last - start))
                for number, start in enumerate(starts, 1)
            ]
        return files + ([File("Parameters", 1, None)] if "Parameters" in cut.types else [])

    async def opened(self, id_: str, name: str, client: Client) -> tuple[Cut, File]:
        """One of its files, to be read next; that it is read is recorded.

        Raises:
            NotFound, NotPermitted: as :meth:`cut`, or it has no such file.
            EvidenceUnavailable: it cannot be recorded.
        """
        cut = await self.cut(id_, client)
        file = next((file for file in self.files(cut) if file.name == name), None)
        if file is None:
            raise NotFound("the export has no such file", field="file")
        await self._record({"what": "bulk-export-file", "export": id_, "file": name}, client, [])
        return cut, file

    async def events(self, cut: Cut, file: File) -> AsyncIterator[Event]:
        """The entries of a file of AuditEvents, in the order of the ledger."""
        store = self._gateway.store
        place = cut.first + (file.number - 1) * PART
        stop = min(cut.last, place + PART)
        while place < stop:
            bodies = await store.entries(place, min(_PAGE, stop - place))
            for index, body in enumerate(bodies, place):
                yield await self._auditing.event(index, read_entry(body))
            place += len(bodies)

    async def decisions(self, cut: Cut) -> AsyncIterator[CheckAnswer]:
        """The decisions, in the order of time; those that were erased are not among them."""
        after, end = since(cut.start) if cut.start else "", since(cut.at)
        while page := await self._gateway.store.documents("check", after, _PAGE):
            for document in page:
                if document.id >= end:
                    return
                yield msgspec.json.decode(document.body, type=KeptCheck).answer
                await asyncio.sleep(0)  # so that others are served between two of a page
            after = page[-1].id

    async def drop(self, id_: str, client: Client) -> None:
        """Forget an export.

        Raises:
            NotFound, NotPermitted: as :meth:`cut`.
        """
        await self.cut(id_, client)
        await self._gateway.store.remove(KIND, id_)

    async def _record(self, what: dict[str, object], client: Client, documents: list[Document]) -> None:
        evidence = Evidence.of(self._gateway, client.id, datetime.now(UTC))
        evidence.record("export", what)
        await keep(self._gateway.sequencer, evidence.entries, documents)


def _permit(client: Client, types: Sequence[str]) -> None:
    client.require("auditor")
    if "AuditEvent" in types:
        client.permit("AuditEvent", "s")
    if "Parameters" in types:
        client.pass_through("GET", "/api/v1/checks")


def ends(id_: str) -> datetime:
    """When an export is over (aware)."""
    return time_of(id_) + LIFE
