"""Marks of the results in an answer: signed here for own institutions, verified for everybody else's.

A mark is issued once a year for a result, an item and a scope, and used again meanwhile: issuing it is itself
an entry of the ledger.

A mark names the edition that publishes its item's list, not everything that was in force, so that a new
edition of something else leaves it alone. Its scope is the narrower of two: the range the hospital printed on
the report, and the area of the qualification that held on the day of the examination. A result without a
qualification gets no mark (the 2022 rules: what was not evaluated must not be labelled), nor does an item
that no list publishes.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct

from adapters import Cache
from adapters.store import Document, Store
from catalog import Catalogue, Item
from catalog.timeline import name_of
from mapping import printed_range
from recognition import Mark, MarkState, Result, day_of, digest
from security.errors import MarkRefused
from security.keys import Signer
from security.ledger import Sealed
from security.mark import Claims, issue, to_text
from security.mark import Mark as SignedMark
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
    """A new mark to be kept with the answer: the ledger entry and the document."""

    entry: Sealed
    document: Document


class Marked(Struct, frozen=True):
    """A result with its mark, and the new mark where one was issued for it."""

    result: Result
    issued: Issued | None = None


class Marker:
    """Issues and verifies marks of results.

    Args:
        owner: owner id of this gateway; it issues for institutions whose ``gateway`` this is.
        signer: the key that signs new marks.
        store: where issued marks are found again.
        cache: in front of the store; shared by replicas where it is a Redis.
        trust: the trust list in force at the moment.
    """

    def __init__(
        self, owner: str, signer: Signer, store: Store, cache: Cache, trust: Callable[[], TrustList]
    ) -> None:
        self._owner = owner
        self._signer = signer
        self._store = store
        self._cache = cache
        self._trust = trust

    async def sign(self, result: Result, catalogue: Catalogue, now: datetime, record: Record) -> Marked:
        """A result of an own node with our mark, where the item and a qualification give it one.

        A node may hold what another gateway's institution examined; that is not ours to sign.

        Raises:
            StoreUnavailable: issued marks cannot be looked up.
        """
        institution = catalogue.institutions.get(result.institution)
        item = catalogue.items.get(result.reading.item or "")
        edition = catalogue.edition_of(item) if item else None
        scope = None
        ours = institution is not None and institution.gateway == self._owner and BORROWED not in result.flags
        if institution is not None and item is not None and ours:
            scope = self._scope(result, institution.region, item, catalogue)
        if item is None or edition is None or scope is None:
            return Marked(_unmarked(result))
        result_digest = digest(result)
        key = f"{result_digest.hex()}|{item.code}|{scope}|{name_of(edition)}|{now.year}"
        held = await self._issued(key, result_digest)
        if held is not None and (held.claims.item, held.claims.scope) == (item.code, scope):
            return Marked(_with_mark(result, held.claims, held.text))
        claims = Claims(
            issuer=self._owner,
            mark_id=secrets.token_bytes(16),
            digest=result_digest,
            digest_hash="sha256",
            item=item.code,
            catalogue=name_of(edition),
            institution=result.institution,
            performed=result.performed or result.reported or now,
            scope=scope,
            printed=catalogue.region(scope).mark,
            issued=now,
            expires=now + LIFETIME,
        )
        data = issue(claims, self._signer)
        entry = record(data, claims, item.lists[0])
        document = Document(kind="mark", id=claims.mark_id.hex(), key=key, body=data, at=now)
        return Marked(_with_mark(result, claims, to_text(data)), Issued(entry, document))

    async def _issued(self, key: str, result_digest: bytes) -> SignedMark | None:
        """The mark issued before, if it verifies: neither cache nor store is believed without that.

        Whoever can write there could lay another mark of ours under this key, so the caller compares what it
        is about.
        """
        data = await self._cache.get(f"mark|{key}")
        if data is None:
            kept = await self._store.find("mark", key)
            if kept is None:
                return None
            data = kept.body
            await self._cache.set(f"mark|{key}", data, CACHED_S)
        with suppress(MarkRefused):
            return verify_mark(
                data, trust=self._trust(), now=datetime.now(UTC), expected_digest=result_digest
            )
        return None

    def verify(self, result: Result, owner: str, catalogue: Catalogue, now: datetime) -> Result:
        """A result from the gateway of ``owner`` with what its mark is worth: signature, digest, and that it
        is about this item of this institution, for which that gateway speaks."""
        if result.mark is None or not result.mark.signed:
            return _unmarked(result)
        try:
            claims = verify_mark(
                result.mark.signed, trust=self._trust(), now=now, expected_digest=digest(result)
            ).claims
        except MarkRefused as refused:
            known = owner in self._trust().lists
            state: MarkState = "unverifiable" if refused.step == "key" and not known else "invalid"
            worthless = Mark(scope=None, printed=result.mark.printed, state=state, id=refused.step)
            return msgspec.structs.replace(result, mark=worthless)
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
    mark = Mark(scope=None, printed=result.printed_mark, state="unsigned")
    return msgspec.structs.replace(result, mark=mark)


def _with_mark(result: Result, claims: Claims, text: str) -> Result:
    mark = Mark(
        scope=claims.scope, printed=claims.printed, state="valid", id=claims.mark_id.hex(), signed=text
    )
    return msgspec.structs.replace(result, mark=mark)
