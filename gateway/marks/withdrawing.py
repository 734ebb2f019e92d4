"""Withdrawals of marks: kept in one numbered sequence, written into the ledger, told to whoever asks.

A withdrawal is a document whose id is its number, without gaps: two replicas cannot take the same one, and
whoever has read up to a number reads on from there and misses nothing, whatever the clocks say. Every check
reads on before it looks at a mark, so that a withdrawal holds in the next check at every replica.

What is withdrawn is a mark and with it every other mark of the same result and item, whatever its range or
edition; none is issued for them again. The ledger's entry names mark and item, reason and words stay in its
erasable payload. A withdrawal by another gateway comes in here (:mod:`gateway.marks.statuses`) where one of
our checks recognised the mark.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta

import msgspec
from msgspec import Struct

from adapters import KeyTaken, StoreUnavailable
from adapters.sequencer import Sequencer
from adapters.store import Document
from gateway.errors import EvidenceUnavailable
from gateway.marks.index import (
    INDEX,
    MarkedResult,
    Recognition,
    below,
    issue_key,
    recognitions,
    version_of,
)
from gateway.model import CheckAnswer, WithdrawnOut
from gateway.signing import Signing
from recognition import SHANGHAI, Result, digest, version_order
from security.errors import MarkRefused
from security.ledger import Sealed, seal
from security.mark import Claims
from security.mark import read as read_mark
from security.status import REASONS, Reason, Withdrawn
from security.status import issue as issue_status

KIND = "withdrawal"
AMENDING = frozenset({"amended", "corrected", "cancelled", "entered-in-error"})
"""The states by which a hospital says that an earlier version of a result no longer stands."""
FRESH = timedelta(hours=24)
"""How long a status list counts."""
RENEWED = timedelta(hours=1)
"""How old the list that is handed out may be."""
SETTLED = timedelta(seconds=60)
"""By then every check that could not know of a withdrawal yet is written down."""
PAGE = 200
_ENCODER = msgspec.json.Encoder(order="sorted")


class Withdrawal(Struct, frozen=True, kw_only=True):
    """A withdrawn mark (its id in hex). ``at`` is when, aware; ``digest`` (hex) and ``item`` are what it is
    about and ``expires`` when it ends, where it is an own one; ``by`` is the client or command. Its words are
    in the entry's payload alone, which can be erased."""

    mark: str
    issuer: str
    reason: Reason
    at: datetime
    item: str = ""
    institution: str = ""
    digest: str = ""
    expires: datetime | None = None
    by: str = ""
    entry: str = ""


class Told(Struct, frozen=True):
    """A withdrawal with its number in the sequence, and when this gateway learned of it."""

    number: int
    at: datetime
    withdrawal: Withdrawal


class Withdrawals:
    """The withdrawals that this gateway made or has to tell somebody of.

    Args:
        owner: this gateway; it withdraws its own marks.
        sequencer: of the open store and ledger.
        signing: signs the status list.
    """

    def __init__(self, owner: str, sequencer: Sequencer, signing: Signing) -> None:
        self._owner = owner
        self._sequencer = sequencer
        self._store = sequencer.store
        self._signing = signing
        self._told: list[Told] = []  # entry n has number n + 1
        self._read = -math.inf
        self._by_mark: dict[str, Withdrawal] = {}
        self._by_result: dict[tuple[str, str], Withdrawal] = {}
        self._number = 0  # of the last own one
        self._list = b""
        self._list_issued = datetime.min.replace(tzinfo=UTC)
        self._list_number = -1
        self._listing = asyncio.Lock()

    async def refresh(self, asked: float = math.inf) -> None:
        """Read what was withdrawn since the last time, unless that was after ``asked`` (``time.monotonic``):
        then everything is known that was withdrawn before a question came. Raises StoreUnavailable."""
        if self._read > asked:
            return
        began = time.monotonic()
        while page := await self._store.documents(KIND, f"{len(self._told):012d}", PAGE):
            for document in page:
                if int(document.id) > len(self._told):  # else another task took it meanwhile
                    self._take(document)
        self._read = max(self._read, began)

    @property
    def newest(self) -> int:
        """The number of the last one, as of the last refresh; 0 without any."""
        return len(self._told)

    def of_mark(self, mark_id: str) -> Withdrawal | None:
        """The withdrawal of a mark, as of the last refresh."""
        return self._by_mark.get(mark_id)

    def of_result(self, digest: str, item: str) -> Withdrawal | None:
        """The withdrawal of a mark of ours for this result and item, as of the last refresh."""
        return self._by_result.get((digest, item))

    def after(self, number: int) -> Sequence[Told]:
        """At most a page of those after a number, as of the last refresh."""
        return self._told[number : number + PAGE]

    async def withdraw(
        self, marks: Iterable[Claims], reason: Reason, *, by: str, now: datetime, text: str = ""
    ) -> list[Withdrawal]:
        """Withdraw own marks, and those of the same results and items; the ones that were not before.

        Raises:
            EvidenceUnavailable: it could not be written down.
            StoreUnavailable: the marks cannot be looked up.
        """
        wanted: dict[str, tuple[Withdrawal, Sealed]] = {}
        for given in marks:
            for claims in (given, *await self._beside(given)):
                if claims.mark_id.hex() not in wanted and claims.issuer == self._owner:
                    wanted[claims.mark_id.hex()] = self._sealed(claims, reason, by, now, text)
        return await self._keep(wanted)

    async def of_ids(self, mark_ids: Iterable[str]) -> list[Claims]:
        """What the marks of these ids say, as far as they were issued here. Raises StoreUnavailable."""
        return await self._claims(mark_ids)

    async def of_institution(self, institution: str, item: str, first: date, last: date) -> list[Claims]:
        """What the marks say of examinations of an institution on these days, of one item or of all.

        Every mark is looked at: ids of version 0.2.0 do not tell their time. Raises StoreUnavailable.
        """
        found: list[Claims] = []
        after = ""
        while page := await self._store.documents("mark", after, PAGE):
            for claims in _claims_of(page):
                day = claims.performed.astimezone(SHANGHAI).date()
                if claims.institution == institution and item in ("", claims.item) and first <= day <= last:
                    found.append(claims)
            after = page[-1].id
        return found

    async def note(self, found: Iterable[Withdrawn], issuer: str) -> None:
        """Take in another gateway's withdrawals of marks that were recognised here.

        Raises:
            EvidenceUnavailable: they could not be kept.
        """
        wanted = {
            one.mark_id.hex(): (
                Withdrawal(mark=one.mark_id.hex(), issuer=issuer, reason=one.reason, at=one.at),
                None,
            )
            for one in found
        }
        await self._keep(wanted)

    async def supersede(self, result: Result, now: datetime) -> list[Withdrawal]:
        """Withdraw the marks of earlier versions of a result that a hospital amended or took back.

        Raises:
            EvidenceUnavailable, StoreUnavailable: as :meth:`withdraw`.
        """
        if result.status not in AMENDING:
            return []
        standing, digest_ = version_order(result.status, result.reported), digest(result).hex()
        earlier = []
        async for mark_id, document in below(self._store, INDEX, f"v|{version_of(result)}|"):
            marked = msgspec.json.decode(document.body, type=MarkedResult)
            if (
                marked.digest != digest_
                and mark_id not in self._by_mark
                and version_order(marked.status, marked.reported) < standing
            ):
                earlier.append(mark_id)
        reason: Reason = (
            "entered-in-error" if result.status in ("cancelled", "entered-in-error") else "amended"
        )
        return await self.withdraw(await self._claims(earlier), reason, by=self._owner, now=now)

    async def status_list(self, now: datetime) -> tuple[str, bytes]:
        """The signed list of own withdrawn marks that have not expired, after an entity tag for it.

        Raises:
            StoreUnavailable: the withdrawals cannot be read.
            EvidenceUnavailable: it cannot be signed.
        """
        await self.refresh()
        async with self._listing:  # made once for all who ask meanwhile
            number = self._number
            if self._list_number != number or now - self._list_issued >= RENEWED:
                own = [
                    Withdrawn(bytes.fromhex(one.mark), one.reason, one.at)
                    for one in self._by_mark.values()
                    if one.issuer == self._owner and one.expires is not None and one.expires > now
                ]
                self._list = await self._signing.run(
                    lambda signer: issue_status(own, signer, number=number, issued=now, fresh=FRESH),
                    long=True,
                )
                self._list_issued, self._list_number = now, number
            return f'"{self._list_number}-{self._list_issued.timestamp():.0f}"', self._list

    async def among(self, answer: CheckAnswer) -> tuple[WithdrawnOut, ...]:
        """Which results of an answer carry a mark that was withdrawn since. Raises StoreUnavailable."""
        await self.refresh()
        return tuple(
            withdrawn_out(found, verdict.result.id)
            for verdict in answer.verdicts
            if verdict.verdict == "recognised"
            and verdict.mark is not None
            and (found := self.of_mark(verdict.mark.id)) is not None
        )

    async def recognised(self, mark_id: str) -> list[tuple[str, Recognition]]:
        """The checks (their ids) that recognised a mark. Raises StoreUnavailable."""
        return await recognitions(self._store, mark_id)

    def _take(self, document: Document) -> None:
        one = msgspec.json.decode(document.body, type=Withdrawal)
        self._told.append(Told(int(document.id), document.at, one))
        self._by_mark[one.mark] = one
        if one.issuer == self._owner:
            self._by_result.setdefault((one.digest, one.item), one)
            self._number = int(document.id)

    def _sealed(
        self, claims: Claims, reason: Reason, by: str, now: datetime, text: str
    ) -> tuple[Withdrawal, Sealed]:
        payload = {
            "mark": claims.mark_id.hex(),
            "result": claims.digest.hex(),
            "reason": reason,
            "text": text,
            "by": by,
            "at": now.isoformat(),
        }
        sealed = seal(
            "withdrawal",
            _ENCODER.encode(payload),
            time=now,
            from_=self._owner,
            to=self._owner,
            item=claims.item,
            mark=claims.mark_id.hex(),
            hash_name=self._sequencer.hash_name,
        )
        withdrawal = Withdrawal(
            mark=claims.mark_id.hex(),
            issuer=self._owner,
            reason=reason,
            at=now.replace(microsecond=0),
            item=claims.item,
            institution=claims.institution,
            digest=claims.digest.hex(),
            expires=claims.expires,
            by=by,
            entry=sealed.entry_id,
        )
        return withdrawal, sealed

    async def _keep(self, wanted: Mapping[str, tuple[Withdrawal, Sealed | None]]) -> list[Withdrawal]:
        """Number and write down what is not withdrawn yet, a page at a time; other replicas do the same."""
        kept: list[Withdrawal] = []
        try:
            while True:
                await self.refresh()
                left = [pair for mark, pair in wanted.items() if mark not in self._by_mark][:PAGE]
                if not left:
                    return kept
                documents = [
                    Document(
                        kind=KIND,
                        id=f"{len(self._told) + place:012d}",
                        key=one.mark,
                        body=_ENCODER.encode(one),
                        at=datetime.now(UTC),  # many take a while, and readers go by it (SETTLED)
                    )
                    for place, (one, _) in enumerate(left, 1)
                ]
                try:
                    await self._sequencer.append([entry for _, entry in left if entry], documents)
                except KeyTaken as taken:
                    if taken.kind != KIND:
                        raise
                else:
                    kept += [one for one, _ in left]
        except StoreUnavailable as wrong:
            raise EvidenceUnavailable(
                "this gateway cannot keep evidence now, so nothing more was withdrawn; try again"
            ) from wrong

    async def _beside(self, claims: Claims) -> list[Claims]:
        """The other marks of the same result and item; one of version 0.2.0 has no index."""
        digest_, item = claims.digest.hex(), claims.item
        ids = {mark_id async for mark_id, _ in below(self._store, INDEX, f"d|{digest_}|{item}|")}
        former = issue_key(digest_, item, claims.scope, claims.catalogue, claims.issued.year)
        if kept := await self._store.find("mark", former):
            ids.add(kept.id)
        return await self._claims(ids - {claims.mark_id.hex()})

    async def _claims(self, mark_ids: Iterable[str]) -> list[Claims]:
        documents = [await self._store.document("mark", mark_id) for mark_id in mark_ids]
        return _claims_of(document for document in documents if document is not None)


def _claims_of(documents: Iterable[Document]) -> list[Claims]:
    found = []
    for document in documents:
        with suppress(MarkRefused):  # not written by this gateway; there is nothing to withdraw
            found.append(read_mark(document.body).claims)
    return found


def withdrawn_out(found: Withdrawal, result: str) -> WithdrawnOut:
    """A withdrawal in an answer's words; ``result`` is the id of the result whose mark it was."""
    _, zh, en = REASONS[found.reason]
    return WithdrawnOut(result=result, mark=found.mark, reason=found.reason, at=found.at, zh=zh, en=en)
