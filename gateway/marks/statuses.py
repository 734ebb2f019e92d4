"""Other gateways' status lists: fetched, verified, kept, and compared with what was recognised here.

A list that does not verify, has ended or is older than the held one is not taken, and a line in the log says
so; the held one goes on, also beyond its next update: what it says is withdrawn stays withdrawn. That a list
is missing does not make a mark doubtful: the mark has just come from its issuer, which looks at its own
withdrawals in every answer.

Of every withdrawal that is new in a list, the checks that recognised the mark are looked up, and once more
with the next list, for those that were being written meanwhile. What could not be passed on comes again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from adapters import Line, NodeError, StoreError
from adapters.store import Document, Store
from gateway.errors import EvidenceUnavailable
from gateway.log import Log
from gateway.marks.withdrawing import Withdrawals
from gateway.settings import Settings
from gateway.tasks import stop
from security.errors import KeyNotValid, StatusRefused, UnknownKey
from security.mark import PURPOSE, Claims
from security.status import StatusList, Withdrawn, read, verify
from security.trust import TrustList

KIND = "status"
BUDGET_S = 30.0
RETRY_S = 2.0


class Statuses:
    """The status lists of the pinned gateways.

    Args:
        settings: the pins, and how often to look.
        store: keeps the lists, so that a restart while the others are away forgets nothing.
        trust: the trust list in force at the moment.
        withdrawals: is told of withdrawn marks that were recognised here.
        log: told of every list that came, or did not.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        trust: Callable[[], TrustList],
        withdrawals: Withdrawals,
        log: Log,
    ) -> None:
        self._lines = {pin.owner: Line(pin.url) for pin in settings.pins}
        self._seconds = settings.status_s
        self._store = store
        self._trust = trust
        self._withdrawals = withdrawals
        self._log = log
        self._held: dict[str, StatusList] = {}
        self._recent: dict[str, list[Withdrawn]] = {}
        self._task: asyncio.Task[None] | None = None

    def missing(self, now: datetime) -> tuple[str, ...]:
        """Owners of whom no list is held that counts at ``now``."""
        return tuple(
            owner for owner in self._lines if owner not in self._held or self._held[owner].next_update <= now
        )

    def withdrawn(self, claims: Claims) -> str:
        """Why another gateway's mark does not count, in a sentence; empty where its list has nothing."""
        held = self._held.get(claims.issuer)
        return held.withdrawn(claims) if held else ""

    async def open(self) -> None:
        """Take the kept lists, which were verified when they came. Raises StoreUnavailable."""
        for owner in self._lines:
            if kept := await self._store.document(KIND, owner):
                try:
                    self._held[owner] = read(kept.body)
                except StatusRefused as wrong:
                    self._log("status_missing", owner=owner, detail=str(wrong))

    def start(self) -> None:
        """Begin to fetch the lists, after two seconds again and then ever later while one is missing."""
        self._task = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """Stop that."""
        await stop(self._task)
        for line in self._lines.values():
            await line.aclose()

    async def fetch(self, owner: str) -> None:
        """Look at one gateway's list now; what is wrong with it is a line in the log."""
        held, now = self._held.get(owner), datetime.now(UTC)
        try:
            reply = await self._lines[owner].exchange("GET", "trust/status", budget=BUDGET_S)
            if reply.status != 200:
                raise StatusRefused("format", f"no status list: answered with status {reply.status}")
            found, new = await asyncio.to_thread(self._read, reply.body, owner, now, held)
            self._held[owner] = found  # checks look at it from here on
            self._recent[owner] = [*self._recent.get(owner, ()), *new]
            await self._tell(owner, self._recent[owner])
            self._recent[owner] = new
            if held is None or held.data != found.data:
                await self._store.replace(Document(kind=KIND, id=owner, body=found.data, at=now))
        except (NodeError, StatusRefused, StoreError, EvidenceUnavailable) as wrong:
            self._log("status_missing", owner=owner, detail=str(wrong))
        else:
            if held is None or held.number != found.number:
                self._log("status_fetched", owner=owner, version=found.number, withdrawn=len(found))

    def _read(
        self, data: bytes, owner: str, now: datetime, held: StatusList | None
    ) -> tuple[StatusList, list[Withdrawn]]:
        """The list with what is new in it, off the event loop: a hundred thousand take a second.

        A held list whose key counts no more holds nothing up: its number may be a thief's.
        """
        trust = self._trust()
        if held is not None:
            try:
                trust.key(held.message.kid, held.issued, PURPOSE)
            except KeyNotValid:
                held = None
            except UnknownKey:
                pass
        found = verify(data, trust=trust, now=now, held=held)
        if found.issuer != owner:
            raise StatusRefused("key", f"the status list is of '{found.issuer}'")
        if held is not None and held.records == found.records:
            return found, []
        return found, [one for one in found if held is None or held.find(one.mark_id) is None]

    async def _tell(self, owner: str, withdrawn: list[Withdrawn]) -> None:
        """Pass on the withdrawals of this gateway's own marks that were recognised here."""
        ours = []
        for one in withdrawn:
            found = await self._withdrawals.recognised(one.mark_id.hex())
            if any(recognition.issuer == owner for _, recognition in found):
                ours.append(one)
        await self._withdrawals.note(ours, owner)

    async def _run(self) -> None:
        pause = RETRY_S
        while True:
            await asyncio.gather(*(self.fetch(owner) for owner in self._lines))
            if len(self._held) == len(self._lines):
                pause = self._seconds
            await asyncio.sleep(pause)
            pause = min(2 * pause, self._seconds)
