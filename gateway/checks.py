"""The way of one question, steps 1 to 9 of the design, independent of the face it came in by.

1. ask      who is it, may they, is the request whole
2. name     planned names onto items; what cannot be named is said
3. find     one question to all nodes, one deadline                          (:mod:`gateway.finding`)
4. read     the adapters turn answers into results; what is wrong with a record is flagged
5. mark     own results are signed, others' marks verified; the decision looks at them
6. decide   pure, under one catalogue version
7. record   question, answers, marks, verdict in one durable write; without it there is no answer
8. answer   the same for every face; the same request id gives the same answer again
9. outcome  what the doctor did                                              (:mod:`gateway.outcomes`)
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct

from adapters import KeyTaken, Question, elapsed_ms
from adapters.fhir_time import in_range
from adapters.store import Document
from catalog import Kind
from gateway.answers import answer_of
from gateway.cases import case_document
from gateway.clients import Client
from gateway.errors import BadRequest, NotFound, NotPermitted, RequestIdReused
from gateway.evidence import Evidence, keep
from gateway.finding import Found, find
from gateway.ids import new_id
from gateway.model import CheckAnswer, CheckRequest, LedgerRef, PersonIn
from gateway.naming import name_planned
from gateway.review import Listening
from gateway.wiring import Gateway
from recognition import Check, Context, Decision, decide, digest
from security.errors import IdentityRefused
from security.identity import IDENTIFIER_TYPES, Identifier, identifier

SKEW = timedelta(minutes=5)
OLDEST = timedelta(days=7)
RESERVE_MS = 60
"""Of the deadline, kept back for deciding, signing and recording."""


class KeptCheck(Struct, frozen=True):
    """A check as it is stored: the answer, whose it is, and the digest of the body that asked for it."""

    institution: str
    body_digest: str
    answer: CheckAnswer

    def at(self, index: int) -> KeptCheck:
        """The same with the place of its verdict in the ledger, which is known only once it is written."""
        ledger = msgspec.structs.replace(self.answer.ledger, index=index)
        return msgspec.structs.replace(self, answer=msgspec.structs.replace(self.answer, ledger=ledger))


class Checks:
    """Answers checks, and finds earlier answers again."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._running: dict[str, asyncio.Task[KeptCheck | None]] = {}

    async def ask(self, request: CheckRequest, client: Client, face: str) -> CheckAnswer:
        """Answer a check, or answer it again.

        Raises:
            NotPermitted: the client may not ask.
            BadRequest, IdentityRefused, UnknownEntry: a field is wrong; nothing was asked or kept.
            RequestIdReused: this request id came before with another body.
            EvidenceUnavailable: the answer could not be recorded, so there is none.
        """
        client.require("his")
        started = time.monotonic()
        person = read_person(request.patient)
        pseudonym = self._gateway.pseudonym(person)
        # What is kept of the body must not let anybody try person's numbers against it.
        told_apart = msgspec.structs.replace(request, patient=PersonIn(person.type, pseudonym))
        body_digest = hashlib.sha256(msgspec.json.encode(told_apart)).hexdigest()
        key = f"{client.id}|{request.request_id}"
        replayed = (kept := await self._kept(key)) is not None
        if kept is None:
            if key not in self._running:  # one asking of each request id at a time
                task = asyncio.create_task(self._ask(request, client, person, pseudonym, key, body_digest))
                task.add_done_callback(lambda _: self._running.pop(key, None))
                self._running[key] = task
            kept = await asyncio.shield(self._running[key]) or await self._kept(key)
        if kept is None or kept.body_digest != body_digest:
            raise RequestIdReused(
                "this request id was used before with another body; a new question needs a new id",
                field="request_id",
            )
        self._observe(kept.answer, client, face, elapsed_ms(started), replayed=replayed)
        return kept.answer

    async def answer(self, check_id: str, client: Client) -> CheckAnswer:
        """An answer given before, to the same institution or to an auditor.

        Raises:
            NotFound: no such id was ever returned to this institution.
        """
        document = await self._gateway.store.document("check", check_id)
        if document is not None:
            kept = await self._read(document)
            if "auditor" in client.roles or kept.institution == client.institution:
                return kept.answer
        raise NotFound(f"no check {check_id!r} was answered for your institution", field="id")

    async def _kept(self, key: str) -> KeptCheck | None:
        document = await self._gateway.store.find("check", key)
        return await self._read(document) if document else None

    async def _read(self, document: Document) -> KeptCheck:
        kept = msgspec.json.decode(document.body, type=KeptCheck)
        index = await self._gateway.store.index_of(kept.answer.ledger.entry)
        return kept.at(-1 if index is None else index)

    async def _ask(
        self,
        request: CheckRequest,
        client: Client,
        person: Identifier,
        pseudonym: str,
        key: str,
        body_digest: str,
    ) -> KeptCheck | None:
        """The new answer, written down; None where another replica answered this request id meanwhile."""
        gateway, now = self._gateway, datetime.now(UTC)
        # taken once: what is published meanwhile counts for the next question
        rules = gateway.sites.applied(
            gateway.catalogues.for_codes(now, [wanted.item for wanted in request.planned if wanted.item])
        )
        names = Listening(rules.normaliser, gateway.sites.table, rules.catalogue)
        rules = msgspec.structs.replace(rules, normaliser=names)
        # 1
        if client.institution not in rules.catalogue.institutions:
            raise NotPermitted(
                f"client {client.id} speaks for no institution of catalogue {rules.catalogue.version}"
            )
        asked_at = moment(request.asked_at or now, now, "asked_at")
        refuse_odd_events(request.context, now, "context")
        # 2
        planned, places, unnamed = name_planned(request, client.institution, rules, names)
        check = Check(at=now, receiver=client.institution, planned=planned, context=request.context)
        check_id = new_id(now)
        evidence = Evidence.of(gateway, client.id, now)
        codes = [code for entry in planned for code in entry.items]
        evidence.question(
            {
                "check": check_id,
                "person": pseudonym,
                "receiver": client.institution,
                "items": codes,
                "at": now.isoformat(),
                "asked_at": asked_at.isoformat(),
            }
        )
        # 3 to 5
        kinds: tuple[Kind, ...] = tuple(sorted({rules.catalogue.item(code).kind for code in codes}))
        budget = (request.deadline_ms or gateway.settings.deadline_ms) - RESERVE_MS
        found = Found((), (), True, ())
        if kinds:
            question = Question(
                id=check_id,
                person=person,
                kinds=kinds,
                since=now - timedelta(days=gateway.settings.lookback_days),
                at=now,
                receiver=client.institution,
                budget=max(budget, RESERVE_MS) / 1000,
            )
            found = await find(gateway, rules, question, evidence)
        # 6
        decision = decide(check, found.results, rules.catalogue)
        # 7
        sealed = evidence.record("verdict", _summary(check_id, decision))
        answer = answer_of(
            check,
            decision,
            rules,
            id=check_id,
            request_id=request.request_id,
            asked_at=asked_at,
            places=places,
            unnamed=unnamed,
            nodes=found.reports,
            complete=found.complete,
            ledger=LedgerRef(gateway.origin, sealed.entry_id, -1),
        )
        kept = KeptCheck(client.institution, body_digest, answer)
        documents = [
            *found.documents,
            Document(kind="check", id=check_id, key=key, body=msgspec.json.encode(kept), at=now),
            case_document(check_id, check, found.results, decision, now),
            *names.resting(check_id, client.id, check_id, now),
        ]
        try:
            receipt = await keep(gateway.sequencer, evidence.entries, documents, names.tallies(now))
        except KeyTaken:
            return None
        return kept.at(receipt.indexes[-1])  # the verdict is the last entry

    def _observe(
        self, answer: CheckAnswer, client: Client, face: str, took_ms: int, *, replayed: bool
    ) -> None:
        gateway = self._gateway
        gateway.metrics.checks.labels(face, str(answer.complete).lower()).inc()
        gateway.metrics.seconds.labels(face).observe(took_ms / 1000)
        for verdict in answer.verdicts:
            gateway.metrics.verdicts.labels(verdict.verdict, verdict.reasons[0].rule).inc()
        gateway.log(
            "check_answered",
            check=answer.id,
            client=client.id,
            face=face,
            verdicts=len(answer.verdicts),
            nodes=len(answer.nodes),
            took_ms=took_ms,
            ledger_index=answer.ledger.index,
            replayed=replayed,
        )


def read_person(person: PersonIn, field: str = "patient") -> Identifier:
    """The person's number in canonical form.

    Raises:
        IdentityRefused: unknown type or malformed number; its ``field`` is set, the number is not repeated.
    """
    try:
        return identifier(person.type, person.value)
    except IdentityRefused as refused:
        refused.field = f"{field}.{'value' if person.type in IDENTIFIER_TYPES else 'type'}"
        raise


def moment(at: datetime, now: datetime, field: str) -> datetime:
    """The moment of asking, as a caller sent it.

    Raises:
        BadRequest: it lies in the future, or longer ago than a queued question may wait.
    """
    if at > now + SKEW:
        raise BadRequest("lies in the future; send the time of asking", field=field)
    if at < now - OLDEST:
        raise BadRequest(f"is more than {OLDEST.days} days ago; ask again for today", field=field)
    return at


def refuse_odd_events(context: Context, now: datetime, place: str) -> None:
    """What was done to the patient was done by now.

    Raises:
        BadRequest: an event lies in the future, or in a year that cannot be.
    """
    for number, event in enumerate(context.events):
        if event.at > now + SKEW or not in_range(event.at):
            raise BadRequest(
                "is no time before the question; an operation ahead is pre_operation",
                field=f"{place}.events[{number}].at",
            )


def _summary(check_id: str, decision: Decision) -> dict[str, object]:
    """What the verdict's ledger payload says: digests, verdicts and rules; no value, no name."""
    return {
        "check": check_id,
        "catalogue": decision.catalogue,
        "verdicts": [
            {
                "result": digest(verdict.result).hex(),
                "item": verdict.item or "",
                "verdict": verdict.verdict,
                "rules": [reason.rule for reason in verdict.reasons],
                "mark": verdict.result.mark.id if verdict.result.mark else "",
            }
            for verdict in decision.verdicts
        ],
        "to_order": [list(advice.to_order) for advice in decision.advice],
    }
