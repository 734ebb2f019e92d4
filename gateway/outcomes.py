"""Step 9: what the doctor did about a result. Codes 98 and 99 are kept apart from refusals.

Everything ends here, whichever face it came in by: single outcomes, feedback on cards, decisions
(:mod:`gateway.decisions`), citations (:mod:`gateway.citing`). The id of an outcome begins with that of its
check, so the outcomes of a check are one range of the store. Of one that a version before 0.5 kept, the key
does.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from adapters import KeyTaken
from adapters.store import Document, Store
from gateway.access.clients import Client
from gateway.checks import SKEW, Checks
from gateway.errors import BadRequest
from gateway.evidence import Evidence, keep
from gateway.ids import new_id, since
from gateway.marks.index import below
from gateway.model import CheckAnswer, LedgerRef, OutcomeIn, OutcomeOut, VerdictOut
from gateway.wiring import Gateway
from security.ledger import Sealed

T = TypeVar("T")
KIND = "outcome"
PAGE = 20
ATTEMPTS = 10
CANCEL = "cancel"
WORDS = ("accepted", "declined", "withdrawn")
"""What decides about a result; to view or cite it decides nothing."""


class Request(Struct, frozen=True):
    """The decision that an outcome is of: the digest of its body, and what it was."""

    digest: str
    decision: str


class Asked(Struct, frozen=True):
    """An outcome to be kept: of which check, and where it stands in the caller's body (empty: at its top).

    ``key`` and ``request`` are those of a decision, which has a request id to tell repeats by.
    """

    check_id: str
    outcome: OutcomeIn
    place: str = ""
    key: str = ""
    request: Request | None = None


class Kept(OutcomeOut, frozen=True, kw_only=True):
    """An outcome as it is stored: ``said`` is the digest of the caller's words."""

    said: str = ""
    request: Request | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the order was given up, which closes what nobody decided about."""
        return self.request is not None and self.request.decision == CANCEL


class Outcomes:
    """Keeps outcomes of answered checks."""

    def __init__(self, gateway: Gateway, checks: Checks) -> None:
        self._gateway = gateway
        self._checks = checks

    async def record(self, asked: Sequence[Asked], client: Client) -> list[OutcomeOut]:
        """Keep outcomes together or not at all, each bound to its verdict's ledger entry.

        An outcome that was kept before, word for word, is not kept again: a repeated call changes nothing. A
        decision on a result counts as repeated while it is the last word on it.

        Raises:
            NotFound: no such check for this institution.
            BadRequest: the result is not of that check, the reason is missing, unknown or lacks its text.
            EvidenceUnavailable: they could not be kept.
        """
        client.require("his")
        return await until_free(lambda: self.keep(asked, client))

    async def stands(self, check: str) -> dict[str, Kept]:
        """The last word on each result of a check, by the time of the decision as statistics have it."""
        return last_words([one async for one in outcomes_of(self._gateway.store, check)])

    async def keyed(self, begin: str) -> list[Kept]:
        """The outcomes whose keys begin so, in the order of these, with their places in the ledger."""
        found = _keyed(self._gateway.store, begin)
        return [await self._with_index(_read(document)) async for document in found]

    async def keep(self, asked: Sequence[Asked], client: Client) -> list[OutcomeOut]:
        """As :meth:`record`; raises KeyTaken where the same is said in the same moment."""
        gateway, now = self._gateway, datetime.now(UTC)
        recorded: list[Kept] = []
        fresh: dict[str, tuple[Kept, Sealed, Document]] = {}
        told: list[tuple[Kept, tuple[str, str]]] = []
        answers: dict[str, tuple[CheckAnswer, str]] = {}
        stands: dict[str, dict[str, Kept]] = {}
        for one in asked:
            if one.check_id not in answers:
                answers[one.check_id] = await self._checks.about(one.check_id, client)
                stands[one.check_id] = await self.stands(one.check_id)
            (answer, person), standing = answers[one.check_id], stands[one.check_id]
            verdict, counts = self._counts(one, answer, now)
            said = hashlib.sha256(msgspec.json.encode(one.outcome)).hexdigest()
            last = stand_of(verdict, standing) if one.outcome.outcome in WORDS else None
            key = one.key or f"{answer.id}|{said}" + (f"|{last.id}" if last and not one.outcome.at else "")
            if not one.key and (kept := await self._known(key, said, last, fresh)):
                recorded.append(kept)
                continue
            # ids in the order in which it was said; the random rest tells replicas apart
            id_ = f"{answer.id}.{since(now)}{len(fresh):04x}{new_id(now)[-8:]}"
            entry = self._entry(one, id_, answer, client, now, counts=counts is True)
            new = Kept(
                id=id_,
                check=answer.id,
                result=one.outcome.result,
                outcome=one.outcome.outcome,
                at=one.outcome.at or now,
                ledger=LedgerRef(gateway.origin, entry.entry_id, -1),
                counts_as_refusal=counts,
                said=said,
                request=one.request,
            )
            body = msgspec.json.encode(new)
            document = Document(kind=KIND, id=id_, key=key, body=body, at=now, person=person)
            fresh[key] = new, entry, document
            recorded.append(new)
            told.append((new, (one.outcome.system, one.outcome.code)))
            standing |= last_words(one for one in (standing.get(new.result), new) if one)
        if fresh:
            _, entries, documents = zip(*fresh.values(), strict=True)
            await keep(gateway.sequencer, entries, documents)
        for new, (system, code) in told:
            gateway.log(
                "outcome_recorded",
                check=new.check,
                client=client.id,
                outcome=new.outcome,
                reason_code=f"{system}:{code}" if new.outcome == "declined" else "",
            )
        return [out(await self._with_index(one)) for one in recorded]

    async def _known(
        self, key: str, said: str, last: Kept | None, fresh: Mapping[str, tuple[Kept, Sealed, Document]]
    ) -> Kept | None:
        """The outcome that is repeated: the last word on the result, in the same call, or kept before."""
        if last and last.said == said and not last.cancelled:
            return last
        if key in fresh:
            return fresh[key][0]
        document = await self._gateway.store.find(KIND, key)
        return _read(document) if document else None

    def _entry(
        self, one: Asked, id_: str, answer: CheckAnswer, client: Client, now: datetime, *, counts: bool
    ) -> Sealed:
        """What the ledger says of it, bound to the verdict."""
        evidence = Evidence.of(self._gateway, client.id, now, binds=answer.ledger.entry)
        payload: dict[str, object] = {"id": id_, "check": answer.id, "counts": counts}
        payload |= {"decision": one.request.decision} if one.request else {}
        return evidence.record("outcome", payload | msgspec.to_builtins(one.outcome))

    async def _with_index(self, one: Kept) -> Kept:
        index = await self._gateway.store.index_of(one.ledger.entry)
        return structs.replace(one, ledger=structs.replace(one.ledger, index=-1 if index is None else index))

    def _counts(self, one: Asked, answer: CheckAnswer, now: datetime) -> tuple[VerdictOut, bool | UnsetType]:
        """The first verdict on its result, and whether it counts as a refusal."""
        outcome = one.outcome
        verdict = next((each for each in answer.verdicts if each.result.id == outcome.result), None)
        if verdict is None:
            raise BadRequest(
                "is not a result of this check; send its id as the answer has it", field=f"{one.place}result"
            )
        if outcome.at is not None and outcome.at > now:
            raise BadRequest("lies in the future; send the time of the decision", field=f"{one.place}at")
        if outcome.at is not None and outcome.at < answer.answered_at - SKEW:
            raise BadRequest("lies before the check was answered", field=f"{one.place}at")
        return verdict, self._reason(one) if outcome.outcome == "declined" else UNSET

    def _reason(self, one: Asked) -> bool:
        codes, outcome = self._gateway.rules.catalogue.reason_codes, one.outcome
        reason = codes.get((outcome.system, outcome.code))
        if reason is None:
            published = [code for system, code in codes if system == outcome.system]
            if not published:
                systems = ", ".join(sorted({system for system, _ in codes}))
                raise BadRequest(
                    f"a declined result needs a reason; its system is one of {systems}",
                    field=f"{one.place}system",
                )
            raise BadRequest(
                f"is no reason of {outcome.system}; its codes are {', '.join(published)}",
                field=f"{one.place}code",
            )
        if reason.needs_text and not outcome.text.strip():
            raise BadRequest(
                f"reason {reason.system}:{reason.code} needs its text ({reason.en})", field=f"{one.place}text"
            )
        return reason.counts_as_refusal


async def until_free(keep: Callable[[], Awaitable[T]]) -> T:
    """Keep something; where the same was said in the same moment, look again, and find it.

    Raises:
        KeyTaken: others were quicker each time.
    """
    for _ in range(ATTEMPTS):
        with suppress(KeyTaken):
            return await keep()
    return await keep()


async def outcomes_of(store: Store, check: str) -> AsyncIterator[Kept]:
    """What was said of the results of a check, in no order. Raises StoreUnavailable."""
    async for _, document in below(store, KIND, f"{check}.", PAGE):
        yield _read(document)
    begin = f"{check}|"
    async for document in _keyed(store, begin):
        if not document.id.startswith(f"{check}."):  # of a version before 0.5
            yield structs.replace(_read(document), said=document.key.removeprefix(begin))


async def _keyed(store: Store, begin: str) -> AsyncIterator[Document]:
    after = ""
    while page := await store.keyed(KIND, begin, after, PAGE):
        for document in page:
            yield document
        after = page[-1].key


def _read(document: Document) -> Kept:
    return msgspec.json.decode(document.body, type=Kept)


def last_words(outcomes: Iterable[Kept]) -> dict[str, Kept]:
    """The last decision on each result; of those of one moment, the one recorded last."""
    found: dict[str, Kept] = {}
    for one in sorted(outcomes, key=_when):
        if one.outcome in WORDS:
            found[one.result] = one
    return found


def stand_of(verdict: VerdictOut, stands: Mapping[str, Kept]) -> Kept | None:
    """The last word on a result, whichever of the nodes that tell it was meant."""
    told = [stand for id_ in (verdict.result.id, *verdict.also) if (stand := stands.get(id_))]
    return max(told, key=_when, default=None)


def _when(kept: Kept) -> tuple[datetime, str]:
    return kept.at, kept.id


def out(kept: Kept) -> OutcomeOut:
    """What a caller sees of an outcome."""
    return OutcomeOut(**{name: getattr(kept, name) for name in OutcomeOut.__struct_fields__})
