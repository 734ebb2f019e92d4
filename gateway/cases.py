"""Stored cases: everything a decision was made from, so that it can be made again.

With every answered check its *case* is kept, under the same id and in the same commit: the question and the
results as the decision saw them, the catalogue's version, and what was decided: the digest of the whole
decision, and of each verdict what a later one is compared with. A case holds no person's number; it holds
values, and is erasable like the check. The ledger's commitments stand beside it and stay.

Under the version it was decided under, a case gives the identical decision (:meth:`StoredCase.holds`). Under
another version the results are read anew from their concepts, which no list determines: an item that the
other version adds, renumbers or takes away is then met as that version has it. Planned items are codes of the
doctor's order, and stay.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import datetime
from itertools import zip_longest

import msgspec
from msgspec import Struct, structs

from adapters.store import Document, Store
from catalog import Catalogue
from gateway.ids import since
from recognition import Check, Decision, Result, Verdict, VerdictCode, decide

KIND = "case"
PAGE = 500
NOT_LISTED = "not_listed"
"""Why a name that was read has no item (:data:`mapping.REASONS`)."""

_CANONICAL = msgspec.json.Encoder(order="sorted")


class Said(Struct, frozen=True, array_like=True):
    """What one verdict of a decision said: of which result, for which item, and by which rules."""

    result: str
    serves: str | None
    item: str | None
    verdict: VerdictCode
    rules: tuple[str, ...]
    expires: datetime | None


class StoredCase(Struct, frozen=True, kw_only=True):
    """A decided check: what went in, under which version, and what came out.

    ``decision`` is SHA-256 (hex) over the canonical JSON of the Decision; ``to_order`` has the codes for each
    planned examination.
    """

    check: Check
    results: tuple[Result, ...]
    catalogue: str
    decision: str
    verdicts: tuple[Said, ...]
    to_order: tuple[tuple[str, ...], ...]

    def holds(self, decision: Decision) -> bool:
        """Whether this is the decision that was made, to the byte."""
        return decision_digest(decision) == self.decision


class Shift(Struct, frozen=True):
    """How the verdict on one result differs between two decisions; None where one of them has none."""

    result: str
    before: Said | None
    after: Said | None


def decision_digest(decision: Decision) -> str:
    """SHA-256 (hex) over the decision's canonical JSON (RFC 8785: text, whole numbers, sorted ASCII keys)."""
    return hashlib.sha256(_CANONICAL.encode(decision)).hexdigest()


def case_document(
    id_: str,
    check: Check,
    results: tuple[Result, ...],
    decision: Decision,
    now: datetime,
    *,
    person: str = "",
) -> Document:
    """The document that keeps a case under the id of its check; ``person`` is the pseudonym."""
    case = StoredCase(
        check=check,
        results=results,
        catalogue=decision.catalogue,
        decision=decision_digest(decision),
        verdicts=tuple(said(verdict) for verdict in decision.verdicts),
        to_order=tuple(advice.to_order for advice in decision.advice),
    )
    return Document(kind=KIND, id=id_, body=msgspec.json.encode(case), at=now, person=person)


_DECODER = msgspec.json.Decoder(StoredCase)


def read_case(document: Document) -> StoredCase:
    """The case that a document keeps."""
    return _DECODER.decode(document.body)


async def cases(
    store: Store, start: datetime, end: datetime | None = None
) -> AsyncIterator[tuple[str, StoredCase]]:
    """The stored cases from ``start`` to before ``end`` in the order of time, with their ids.

    A page of them is in memory at a time. Raises StoreUnavailable.
    """
    after, last = since(start), since(end) if end else ""
    while page := await store.documents(KIND, after, PAGE):
        for document in page:
            if last and document.id >= last:
                return
            yield document.id, read_case(document)
        after = page[-1].id


def results_under(case: StoredCase, catalogue: Catalogue) -> tuple[Result, ...]:
    """The results of a case as a catalogue version has their items."""
    if catalogue.version == case.catalogue:
        return case.results
    return tuple(_reread(result, catalogue) for result in case.results)


def replay(case: StoredCase, catalogue: Catalogue) -> Decision:
    """Decide a case again; under its own version the decision is the identical one.

    Raises:
        UnknownEntry: the receiver or a planned item is not in this version.
    """
    return decide(case.check, results_under(case, catalogue), catalogue)


def said(verdict: Verdict) -> Said:
    """What is compared of a verdict."""
    rules = tuple(reason.rule for reason in verdict.reasons)
    return Said(verdict.result.id, verdict.serves, verdict.item, verdict.verdict, rules, verdict.expires)


def shifts(before: tuple[Said, ...], after: tuple[Said, ...]) -> list[Shift]:
    """Where two decisions of one case differ: verdict, rules or expiry, result by result.

    Verdicts are paired by result and planned item; what is left of a result is paired in order, because a
    result that serves for an item in one version may match none in the other.
    """
    if before == after:
        return []
    found: list[Shift] = []
    old, new = _by_result(before), _by_result(after)
    for result in dict.fromkeys((*old, *new)):
        left, right = old.get(result, {}), new.get(result, {})
        shared = left.keys() & right.keys()
        pairs: list[tuple[Said | None, Said | None]] = [
            (left[aim], right[aim]) for aim in left if aim in shared
        ]
        rest = [one for aim, one in left.items() if aim not in shared]
        others = [one for aim, one in right.items() if aim not in shared]
        pairs += zip_longest(rest, others)
        found += [Shift(result, one, other) for one, other in pairs if one != other]
    return found


def _by_result(verdicts: tuple[Said, ...]) -> dict[str, dict[str | None, Said]]:
    found: dict[str, dict[str | None, Said]] = defaultdict(dict)
    for one in verdicts:
        found[one.result][one.serves] = one
    return found


def _reread(result: Result, catalogue: Catalogue) -> Result:
    """What the name means stays; which item that is, if any, is the version's to say."""
    reading = result.reading
    item = catalogue.item_for(reading.concept) if reading.concept else None
    code = item.code if item else None
    if code == reading.item or reading.reason not in ("", NOT_LISTED):
        return result
    return structs.replace(
        result, reading=structs.replace(reading, item=code, reason="" if code else NOT_LISTED)
    )
