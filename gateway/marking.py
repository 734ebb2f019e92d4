"""Marks of the results in an answer: signed here for own institutions, verified for everybody else's.

A mark is issued once for a result, an item and a scope, and used again as long as it counts: issuing it is
itself an entry of the ledger.

The scope of a mark is the narrower of two: the range the hospital printed on the report, and the area of the
qualification that held on the day of the examination. A result without a qualification gets no mark (the 2022
rules: what was not evaluated must not be labelled).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from adapters.store import Document, Store
from catalog import Catalogue, Item
from mapping import printed_range
from recognition import SHANGHAI, Mark, Result, digest
from security.errors import MarkRefused
from security.keys import Signer
from security.ledger import Sealed
from security.mark import Claims, issue, to_text
from security.mark import read as read_mark
from security.mark import verify as verify_mark
from security.trust import TrustList

LIFETIME = timedelta(days=366)
"""How long a mark counts: longer than any window, so that expiry never decides before the window does."""

Seal = Callable[..., Sealed]


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
        trust: the trust list in force at the moment.
    """

    def __init__(self, owner: str, signer: Signer, store: Store, trust: Callable[[], TrustList]) -> None:
        self._owner = owner
        self._signer = signer
        self._store = store
        self._trust = trust

    async def mark(self, result: Result, catalogue: Catalogue, now: datetime, seal: Seal) -> Marked:
        """The result with its mark: own institutions' results are signed, others' marks verified.

        Raises:
            StoreUnavailable: issued marks cannot be looked up.
        """
        institution = catalogue.institutions.get(result.institution)
        item = catalogue.items.get(result.reading.item or "")
        if institution is None or item is None:
            return Marked(msgspec.structs.replace(result, mark=None))
        if institution.gateway != self._owner:
            return Marked(self._verified(result, institution.gateway, item, now))
        return await self._signed(result, institution.region, item, catalogue, now, seal)

    async def _signed(
        self, result: Result, region: str, item: Item, catalogue: Catalogue, now: datetime, seal: Seal
    ) -> Marked:
        scope = self._scope(result, region, item, catalogue)
        if scope is None:
            unsigned = Mark(scope=None, printed=result.printed_mark, state="unsigned")
            return Marked(msgspec.structs.replace(result, mark=unsigned))
        result_digest = digest(result)
        key = f"{result_digest.hex()}|{item.code}|{scope}|{catalogue.version}"
        if (kept := await self._store.find("mark", key)) is not None:
            held = read_mark(kept.body)
            if held.claims.expires > now:
                return Marked(_with_mark(result, held.claims, held.text))
        claims = Claims(
            issuer=self._owner,
            mark_id=secrets.token_bytes(16),
            digest=result_digest,
            digest_hash="sha256",
            item=item.code,
            catalogue=catalogue.version,
            institution=result.institution,
            performed=result.performed or result.reported or now,
            scope=scope,
            printed=catalogue.region(scope).mark,
            issued=now,
            expires=now + LIFETIME,
        )
        data = issue(claims, self._signer)
        identifier = claims.mark_id.hex()
        entry = seal(
            "mark",
            data,
            to=self._owner,
            scheme=item.lists[0] if item.lists else "",
            item=item.code,
            mark=identifier,
        )
        document = Document(kind="mark", id=identifier, key=key, body=data, at=now)
        return Marked(_with_mark(result, claims, to_text(data)), Issued(entry, document))

    def _verified(self, result: Result, issuer: str, item: Item, now: datetime) -> Result:
        """The result with what its foreign mark is worth: signature, digest, and that it is about this."""
        if result.mark is None or not result.mark.signed:
            unsigned = Mark(scope=None, printed=result.printed_mark, state="unsigned")
            return msgspec.structs.replace(result, mark=unsigned)
        try:
            claims = verify_mark(
                result.mark.signed, trust=self._trust(), now=now, expected_digest=digest(result)
            ).claims
        except MarkRefused as refused:
            worthless = Mark(scope=None, printed=result.mark.printed, state="invalid", id=refused.step)
            return msgspec.structs.replace(result, mark=worthless)
        if (claims.issuer, claims.institution, claims.item) != (issuer, result.institution, item.code):
            other = Mark(scope=None, printed=claims.printed, state="invalid", id=claims.mark_id.hex())
            return msgspec.structs.replace(result, mark=other)
        return _with_mark(result, claims, result.mark.signed)

    def _scope(self, result: Result, region: str, item: Item, catalogue: Catalogue) -> str | None:
        when = result.performed or result.reported
        if when is None:
            return None
        day = when.astimezone(SHANGHAI).date()
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


def _with_mark(result: Result, claims: Claims, text: str) -> Result:
    mark = Mark(
        scope=claims.scope, printed=claims.printed, state="valid", id=claims.mark_id.hex(), signed=text
    )
    return msgspec.structs.replace(result, mark=mark)
