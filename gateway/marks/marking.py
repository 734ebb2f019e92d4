"""Marks of the results in an answer: signed here for own institutions, verified for everybody else's.

A mark is issued once a year for a result, an item and a scope, and used again meanwhile: issuing it is itself
an entry of the ledger.

A mark names the edition that publishes its item's list, not everything that was in force, so that a new
edition of something else leaves it alone. Its scope is the narrower of two: the range the hospital printed on
the report, and the area of the qualification that held on the day of the examination. A result without a
qualification gets no mark (the 2022 rules: what was not evaluated must not be labelled), nor does an item
that no list publishes, nor what was retracted, superseded, not issued yet or is dated ahead. A withdrawn mark
stays: its result is answered as withdrawn, and gets no other mark for the item.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from weakref import WeakKeyDictionary

import msgspec
from msgspec import Struct

from adapters import Cache
from adapters.store import Document, Store
from catalog import Catalogue, Item
from catalog.timeline import name_of
from gateway.ids import new_id
from gateway.marks.index import index_of, issue_key
from gateway.marks.withdrawing import Withdrawals
from gateway.signing import Signing
from mapping import printed_range
from recognition import STANDING, Mark, MarkState, Result, day_of, digest, facts, versions
from security.errors import MarkRefused
from security.ledger import Sealed
from security.mark import Claims, issue, to_text
from security.mark import Mark as SignedMark
from security.mark import read as read_mark
from security.mark import verify as verify_mark
from security.trust import TrustList

LIFETIME = timedelta(days=366)
"""How long a mark counts: longer than any window, so that expiry never decides before the window does, and
longer than the year in which it is used again."""

CACHED_S = 3600.0
BORROWED = "consistency:institution-not-of-this-node"
"""Flag of a result whose node may not speak for the institution that it names."""

Record = Callable[[bytes, Claims, str], Sealed]
"""Makes the ledger entry of a new mark: its bytes, claims and list."""


class Issued(Struct, frozen=True):
    """A new mark to be kept with the answer: the ledger entry and the documents, of which the first is the
    mark itself."""

    entry: Sealed
    documents: tuple[Document, ...]


class Marked(Struct, frozen=True):
    """A result with its mark, and the new mark where one was issued for it."""

    result: Result
    issued: Issued | None = None


class _Verified(Struct, frozen=True):
    """A mark that was found and verified for a result, and under what: it holds for the same catalogue and
    trust list, within its year and lifetime, as long as nothing of the result (digest in hex) and item is
    withdrawn."""

    marked: Marked
    digest: str
    item: str
    catalogue: Catalogue
    trust: TrustList
    year: int
    expires: datetime


class Marker:
    """Issues and verifies marks of results.

    Args:
        owner: owner id of this gateway; it issues for institutions whose ``gateway`` this is.
        status: where its status list is.
        signing: signs new marks.
        store: where issued marks are found again.
        cache: in front of the store; shared by replicas where it is a Redis.
        trust: the trust list in force at the moment.
        withdrawals: of own marks.
        withdrawn: why another gateway's mark does not count by its issuer's status list, or empty.
    """

    def __init__(
        self,
        owner: str,
        status: str,
        signing: Signing,
        store: Store,
        cache: Cache,
        *,
        trust: Callable[[], TrustList],
        withdrawals: Withdrawals,
        withdrawn: Callable[[Claims], str],
    ) -> None:
        self._owner = owner
        self._status = status
        self._signing = signing
        self._store = store
        self._cache = cache
        self._trust = trust
        self._withdrawals = withdrawals
        self._withdrawn = withdrawn
        self._verified: WeakKeyDictionary[Result, _Verified] = WeakKeyDictionary()  # while a result is kept

    async def sign_all(
        self, results: Sequence[Result], catalogue: Catalogue, now: datetime, record: Record
    ) -> list[Marked]:
        """All results of the own nodes for one question, marked by :meth:`sign`, which raises."""
        older = [version.superseded_by is not None for version in versions(results)]
        known = [self._known(one, catalogue, now, old) for one, old in zip(results, older, strict=True)]
        new = await asyncio.gather(
            *(
                self.sign(one, catalogue, now, record, superseded=old)
                for one, old, marked in zip(results, older, known, strict=True)
                if marked is None
            )
        )
        following = iter(new)
        return [marked or next(following) for marked in known]

    def _known(self, result: Result, catalogue: Catalogue, now: datetime, superseded: bool) -> Marked | None:
        """What :meth:`sign` would give, where it found and verified this very mark before; else None."""
        held = self._verified.get(result)
        if (
            held is None
            or superseded
            or held.catalogue is not catalogue
            or held.trust is not self._trust()
            or held.year != now.year
            or held.expires <= now
            or self._withdrawals.of_result(held.digest, held.item)
        ):
            return None
        return held.marked

    async def sign(
        self, result: Result, catalogue: Catalogue, now: datetime, record: Record, *, superseded: bool = False
    ) -> Marked:
        """A result of an own node with our mark, where the item and a qualification give it one.

        A node may hold what another gateway's institution examined; that is not ours to sign. ``superseded``:
        the node holds a newer version of it. Withdrawals count as of their last refresh.

        Raises:
            StoreUnavailable: issued marks cannot be looked up.
            EvidenceUnavailable: the mark cannot be signed.
        """
        institution = catalogue.institutions.get(result.institution)
        item = catalogue.items.get(result.reading.item or "")
        ours = institution is not None and institution.gateway == self._owner and BORROWED not in result.flags
        if institution is None or item is None or not ours:
            return Marked(_unmarked(result))
        held_facts = facts(result)
        result_digest = hashlib.sha256(held_facts).digest()
        if withdrawal := self._withdrawals.of_result(result_digest.hex(), item.code):
            return Marked(_marked(result, "withdrawn", withdrawal.mark))
        edition = catalogue.edition_of(item)
        scope = self._scope(result, institution.region, item, catalogue)
        performed = result.performed or result.reported or now
        if edition is None or scope is None or superseded or result.status not in STANDING or performed > now:
            return Marked(_unmarked(result))
        trust = self._trust()
        key = issue_key(result_digest.hex(), item.code, scope, name_of(edition), now.year)
        held, taken = await self._issued(key, result_digest, (item.code, scope))
        if taken and held is None:
            key = f"{key}|{self._signing.key.kid}|{self._status}"
            held, _ = await self._issued(key, result_digest, (item.code, scope))
        if held is not None:
            marked = Marked(_with_mark(result, held.claims, held.text))
            self._verified[result] = _Verified(
                marked, result_digest.hex(), item.code, catalogue, trust, now.year, held.claims.expires
            )
            return marked
        claims = Claims(
            issuer=self._owner,
            mark_id=bytes.fromhex(new_id(now)),
            digest=result_digest,
            digest_hash="sha256",
            item=item.code,
            catalogue=name_of(edition),
            institution=result.institution,
            performed=performed,
            scope=scope,
            printed=catalogue.region(scope).mark,
            issued=now,
            expires=now + LIFETIME,
            status=self._status,
        )
        data = await self._signing.run(lambda signer: issue(claims, signer))
        entry = record(data, claims, item.lists[0])
        mark_id = claims.mark_id.hex()
        documents = (
            Document(kind="mark", id=mark_id, key=key, body=data, at=now),
            Document(kind="facts", id=mark_id, body=held_facts, at=now),
            *index_of(result, claims, entry.entry_id, now),
        )
        return Marked(_with_mark(result, claims, to_text(data)), Issued(entry, documents))

    async def _issued(
        self, key: str, result_digest: bytes, about: tuple[str, str]
    ) -> tuple[SignedMark | None, bool]:
        """The mark issued before, if it verifies, is about this item and scope and names our status list, and
        whether there is one under this key at all: neither cache nor store is believed without that.

        Whoever can write there could lay another mark of ours under this key; and the key that signed it may
        be lost. Marks of version 0.2.0 name no status list, and have no index.
        """
        data = await self._cache.get(f"mark|{key}")
        if data is None:
            kept = await self._store.find("mark", key)
            if kept is None:
                return None, False
            data = kept.body
            await self._cache.set(f"mark|{key}", data, CACHED_S)
        with suppress(MarkRefused):
            held = verify_mark(
                data, trust=self._trust(), now=datetime.now(UTC), expected_digest=result_digest
            )
            if (held.claims.item, held.claims.scope, held.claims.status) == (*about, self._status):
                return held, True
        return None, True

    def verify(self, result: Result, owner: str, catalogue: Catalogue, now: datetime) -> Result:
        """A result from the gateway of ``owner`` with what its mark is worth: signature, digest, and that it
        is about this item of this institution, for which that gateway speaks."""
        if result.mark is None or not (result.mark.signed or result.mark.state == "withdrawn"):
            return _unmarked(result)
        if result.mark.state == "withdrawn":  # its issuer says so itself
            return _marked(result, "withdrawn", result.mark.id)
        try:
            claims = verify_mark(
                result.mark.signed,
                trust=self._trust(),
                now=now,
                expected_digest=digest(result),
                withdrawn=self._withdrawn,
            ).claims
        except MarkRefused as refused:
            if refused.step == "withdrawn":
                mark_id = read_mark(result.mark.signed).claims.mark_id.hex()
                return _marked(result, "withdrawn", mark_id)
            known = owner in self._trust().lists
            state: MarkState = "unverifiable" if refused.step == "key" and not known else "invalid"
            return _marked(result, state, refused.step)
        institution = catalogue.institutions.get(result.institution)
        speaks = institution.gateway if institution else ""
        if (owner, *_about(claims)) != (speaks, speaks, result.institution, result.reading.item):
            other = Mark(scope=None, printed=claims.printed, state="invalid", id=claims.mark_id.hex())
            return msgspec.structs.replace(result, mark=other)
        return _with_mark(result, claims, result.mark.signed)

    def _scope(self, result: Result, region: str, item: Item, catalogue: Catalogue) -> str | None:
        day = day_of(result)
        if day is None:
            return None
        held = [q.scope for q in catalogue.qualifications_of(result.institution, item) if q.holds(day)]
        if not held:
            return None
        widest = min(held, key=lambda scope: (catalogue.depth(scope), scope))
        if not result.printed_mark:
            return widest
        printed = catalogue.scope_of_mark(printed_range(result.printed_mark), region)
        if printed is None:
            return None
        if catalogue.contains(widest, printed):
            return printed
        return widest if catalogue.contains(printed, widest) else None


def _about(claims: Claims) -> tuple[str, str, str]:
    return claims.issuer, claims.institution, claims.item


def _unmarked(result: Result) -> Result:
    return _marked(result, "unsigned", "")


def _marked(result: Result, state: MarkState, id_: str) -> Result:
    """A result whose mark counts for nothing, in this state."""
    printed = result.mark.printed if result.mark and state != "unsigned" else result.printed_mark
    return msgspec.structs.replace(result, mark=Mark(scope=None, printed=printed, state=state, id=id_))


def _with_mark(result: Result, claims: Claims, text: str) -> Result:
    mark = Mark(
        scope=claims.scope, printed=claims.printed, state="valid", id=claims.mark_id.hex(), signed=text
    )
    return msgspec.structs.replace(result, mark=mark)
