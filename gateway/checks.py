"""The way of one question, steps 1 to 9 of the design, independent of the face it came in by.

1. ask      who is it, may they, is the request whole
2. name     planned names onto items; what cannot be named is said
3. find     one question to all nodes, one deadline                          (:mod:`gateway.finding`),
            where the patient's consent lets it be asked                     (:mod:`gateway.persons.consent`)
4. read     the adapters turn answers into results; what is wrong with a record is flagged
5. mark     own results are signed, others' marks verified; the decision looks at them
6. decide   pure, under one catalogue version
7. record   question, answers, marks, verdict in one durable write; without it there is no answer
8. answer   the same for every face; the same request id gives the same answer again
9. outcome  what the doctor did                                              (:mod:`gateway.outcomes`)

A *history* is the same way with nothing planned: at reception, whatever is found is judged as if its own item
were planned, so consent, evidence, marks and outcomes are those of a check.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec
from msgspec import UNSET, Raw, Struct

from adapters import KeyTaken, Question, elapsed_ms
from adapters.fhir_time import in_range
from adapters.store import Document
from catalog import Kind
from gateway.access.clients import Client
from gateway.answers import answer_of
from gateway.body import holds_number
from gateway.broker.memory import KINDS
from gateway.cases import case_document
from gateway.errors import BadRequest, EvidenceUnavailable, NotFound, NotPermitted, RequestIdReused
from gateway.evidence import Evidence, digest_of, keep
from gateway.finding import Found, find
from gateway.flow import waited_s
from gateway.ids import new_id
from gateway.marks.index import recognised_by
from gateway.model import CheckAnswer, CheckRequest, HistoryRequest, LedgerRef, PersonIn, Unnamed
from gateway.naming import name_planned, planned_of
from gateway.persons.consent import BREAK_GLASS
from gateway.review import Listening
from gateway.tasks import together
from gateway.wiring import Gateway
from recognition import Check, Context, Decision, Planned, Result, decide
from recognition.window import SHANGHAI, in_shanghai
from security.errors import IdentityRefused
from security.identity import Identifier, identifier, known_type
from security.pseudonym import Pseudonyms

SKEW = timedelta(minutes=5)
OLDEST = timedelta(days=7)
RESERVE_MS = 60
"""Of the deadline, kept back for deciding, signing and recording."""
KEEPING_S = 5.0
"""How much longer than its deadline a check waits for a store that does not answer."""


Asking = CheckRequest | HistoryRequest


class KeptCheck(Struct, frozen=True):
    """A check as it is stored: the answer, for whom it is, the digest of the body that asked for it, and the
    pseudonym of the person (since 0.4)."""

    institution: str
    body_digest: str
    answer: CheckAnswer
    person: str = ""

    def at(self, index: int) -> KeptCheck:
        """The same with the place of its verdict in the ledger, which is known only once it is written."""
        ledger = msgspec.structs.replace(self.answer.ledger, index=index)
        return msgspec.structs.replace(self, answer=msgspec.structs.replace(self.answer, ledger=ledger))


class Answered(Struct, frozen=True):
    """A kept check, and the JSON of its answer."""

    kept: KeptCheck
    json: bytes

    @classmethod
    def of(cls, kept: KeptCheck) -> Answered:
        """One that was read again; its JSON is the same to the byte."""
        return cls(kept, msgspec.json.encode(kept.answer))

    @property
    def answer(self) -> CheckAnswer:
        """What is answered."""
        return self.kept.answer

    def at(self, index: int) -> Answered:
        """The same with the place of its verdict in the ledger."""
        kept = self.kept.at(index)
        before, after = (msgspec.json.encode(one.answer.ledger) for one in (self.kept, kept))
        return Answered(kept, self.json.replace(before, after, 1))

    @property
    def document(self) -> bytes:
        """The body of its document, which is that of the kept check."""
        parts = {
            "institution": self.kept.institution,
            "body_digest": self.kept.body_digest,
            "answer": Raw(self.json),
            "person": self.kept.person,
        }
        return msgspec.json.encode(parts)


class Checks:
    """Answers checks, and finds earlier answers again."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._running: dict[str, asyncio.Task[Answered | None]] = {}

    async def ask(self, request: CheckRequest, client: Client, face: str) -> Answered:
        """Answer a check, or answer it again.

        Raises:
            NotPermitted: the client may not ask, or not break the glass.
            TooManyRequests: more persons are asked about than this gateway looks up.
            BadRequest, IdentityRefused, UnknownEntry: a field is wrong; nothing was asked or kept.
            RequestIdReused: this request id came before with another body.
            EvidenceUnavailable: the answer could not be recorded, so there is none.
        """
        return await self._answered(request, client, face)

    async def history(
        self,
        request: HistoryRequest,
        client: Client,
        face: str,
        of: Callable[[Result], bool] | None = None,
        *,
        kinds: tuple[Kind, ...] = KINDS,
    ) -> Answered:
        """Answer what the person has, or answer it again: every result of these ``kinds`` of the last
        ``look_back_days``, judged as if its own item were planned; with ``of``, only the items of these
        results are. ``advice`` has one entry for each item, the newest first.

        Raises: as :meth:`ask`.
        """
        longest = self._gateway.settings.lookback_days
        if request.look_back_days > longest:
            raise BadRequest(
                f"is more than the {longest} days that are looked back here", field="look_back_days"
            )
        return await self._answered(request, client, face, of, kinds)

    async def _answered(
        self,
        request: Asking,
        client: Client,
        face: str,
        of: Callable[[Result], bool] | None = None,
        kinds: tuple[Kind, ...] = (),
    ) -> Answered:
        client.require("his")
        started = time.monotonic()
        person = read_person(request.patient)
        refuse_odd_break_glass(request, client)
        pseudonyms = await self._gateway.pseudonyms(person)
        digests = [_body_digest(request, person, pseudonym) for pseudonym in pseudonyms.all]
        key = f"{client.id}|{request.request_id}"
        try:
            async with asyncio.timeout(self._deadline_ms(request) / 1000 + KEEPING_S):
                replayed = (kept := await self._kept(key)) is not None
                if kept is None:
                    ask = partial(
                        self._ask, request, client, person, pseudonyms, key, digests[0], of, kinds
                    )  # one asking of each request id at a time
                    kept = await together(self._running, key, ask) or await self._kept(key)
        except TimeoutError:  # it may be kept yet: the same request id finds it then
            raise EvidenceUnavailable(
                "the store does not answer now, so this gateway answers nothing; go on as without it"
            ) from None
        if kept is None or kept.kept.body_digest not in digests:
            raise RequestIdReused(
                "this request id was used before with another body; a new question needs a new id",
                field="request_id",
            )
        self._observe(kept.answer, client, face, elapsed_ms(started), replayed=replayed)
        return kept

    def _deadline_ms(self, request: Asking) -> int:
        return request.deadline_ms or self._gateway.settings.deadline_ms

    async def answer(self, check_id: str, client: Client) -> CheckAnswer:
        """An answer given before, to the same institution or to an auditor.

        Raises:
            NotFound: no such id was ever returned to this institution.
        """
        return (await self.about(check_id, client))[0]

    async def about(self, check_id: str, client: Client) -> tuple[CheckAnswer, str]:
        """The same, with the pseudonym of the person; empty for a check of a version before 0.4."""
        document = await self._gateway.store.document("check", check_id)
        if document is not None:
            kept = await self._read(document)
            if "auditor" in client.roles or kept.institution == client.institution:
                withdrawn = await self._gateway.withdrawals.among(kept.answer)
                return msgspec.structs.replace(kept.answer, withdrawn=withdrawn), kept.person
        raise NotFound("no check of this id was answered for your institution", field="id")

    async def _kept(self, key: str) -> Answered | None:
        document = await self._gateway.store.find("check", key)
        return Answered.of(await self._read(document)) if document else None

    async def _read(self, document: Document) -> KeptCheck:
        kept = msgspec.json.decode(document.body, type=KeptCheck)
        index = await self._gateway.store.index_of(kept.answer.ledger.entry)
        return kept.at(-1 if index is None else index)

    async def _ask(
        self,
        request: Asking,
        client: Client,
        person: Identifier,
        pseudonyms: Pseudonyms,
        key: str,
        body_digest: str,
        of: Callable[[Result], bool] | None,
        kinds: tuple[Kind, ...],
    ) -> Answered | None:
        """The new answer, written down; None where another replica answered this request id meanwhile."""
        gateway, now, started = self._gateway, datetime.now(UTC), time.monotonic()
        # taken once: what is published meanwhile counts for the next question
        wanted = request.planned if isinstance(request, CheckRequest) else []
        rules = gateway.sites.applied(
            gateway.catalogues.for_codes(now, [one.item for one in wanted if one.item])
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
        planned: tuple[Planned, ...] = ()
        places: tuple[int, ...] = ()
        unnamed: tuple[Unnamed, ...] = ()
        if isinstance(request, CheckRequest):
            planned, places, unnamed = name_planned(request, client.institution, rules, names)
            codes = [code for entry in planned for code in entry.items]
            kinds = tuple(sorted({rules.catalogue.item(code).kind for code in codes}))
            since = now - timedelta(days=gateway.settings.lookback_days)
            asked_for: dict[str, object] = {"items": codes}
        else:
            since = begin(now, request.look_back_days)
            asked_for = {"items": [], "look_back_days": request.look_back_days}
        check_id = new_id(now)
        purpose = client.purpose if request.break_glass is UNSET else BREAK_GLASS
        consent = await gateway.consents.rule(pseudonyms, purpose, client.institution, now)
        evidence = Evidence.of(gateway, client.id, now)
        evidence.question(
            {
                "check": check_id,
                "person": pseudonyms.current,
                "receiver": client.institution,
                **asked_for,
                "at": now.isoformat(),
                "asked_at": asked_at.isoformat(),
                "purpose": purpose,
            }
        )
        if request.break_glass is not UNSET:
            evidence.record(
                "view",
                {
                    "check": check_id,
                    "person": pseudonyms.current,
                    "purpose": purpose,
                    "reason": request.break_glass.reason,
                    "consent": consent.consent,
                },
            )
        # 3 to 5
        budget = self._deadline_ms(request) - RESERVE_MS - waited_s() * 1000
        found = Found((), (), True, ())
        if not consent.permitted:
            found = Found((), gateway.broker.skip("not asked: the patient has not consented"), False, ())
        elif kinds:
            question = Question(
                id=check_id,
                person=person,
                kinds=kinds,
                since=since,
                at=now,
                receiver=client.institution,
                budget=max(budget, RESERVE_MS) / 1000,
                hops=gateway.settings.hops,
                purpose=purpose,
                pseudonyms=pseudonyms.all,
            )
            found = await find(gateway, rules, question, evidence, started)
        # 6
        if isinstance(request, HistoryRequest):
            theirs = [one for one in found.results if of is None or of(one)]
            planned, unnamed = planned_of(theirs, rules.catalogue)
            places = tuple(range(len(planned)))
        check = Check(at=now, receiver=client.institution, planned=planned, context=request.context)
        decision = decide(check, found.results, rules.catalogue)
        # 7
        # the question is erased years before: the person must be found by this one, too
        about = {"person": pseudonyms.current, "consent": consent.consent}
        sealed = evidence.record("verdict", _summary(check_id, decision) | about)
        answer = answer_of(
            check,
            decision,
            rules,
            id=check_id,
            request_id=request.request_id,
            moment="order" if isinstance(request, CheckRequest) else "report" if of else "reception",
            asked_at=asked_at,
            places=places,
            unnamed=unnamed,
            nodes=found.reports,
            complete=found.complete,
            ledger=LedgerRef(gateway.origin, sealed.entry_id, -1),
            consent=consent,
        )
        answered = Answered.of(KeptCheck(client.institution, body_digest, answer, pseudonyms.current))
        documents = [
            *found.documents,
            Document(
                kind="check",
                id=check_id,
                key=key,
                body=answered.document,
                at=now,
                person=pseudonyms.current,
            ),
            case_document(check_id, check, found.results, decision, now, person=pseudonyms.current),
            *recognised_by(answer, pseudonyms.current, rules.catalogue, now),
            *names.resting(check_id, client.id, check_id, now),
        ]
        try:
            receipt = await keep(gateway.sequencer, evidence.entries, documents, names.tallies(now))
        except KeyTaken:
            return None
        if not consent.permitted:
            gateway.metrics.consent_denials.inc()
        if consent.basis == "break_glass":
            gateway.metrics.break_glass.inc()
            gateway.log(
                "break_glass",
                check=check_id,
                client=client.id,
                institution=client.institution,
                consent=consent.consent,
            )
        return answered.at(receipt.indexes[-1])  # the verdict is the last entry

    def _observe(
        self, answer: CheckAnswer, client: Client, face: str, took_ms: int, *, replayed: bool
    ) -> None:
        gateway = self._gateway
        verdicts = [(one.verdict, one.reasons[0].rule) for one in answer.verdicts]
        gateway.metrics.check(face, answer.complete, took_ms / 1000, verdicts)
        gateway.log(
            "check_answered",
            check=answer.id,
            client=client.id,
            face=face,
            verdicts=len(verdicts),
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
        refused.field = f"{field}.{'value' if known_type(person.type) else 'type'}"
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


def begin(now: datetime, days: int) -> datetime:
    """When the day so many days ago began, where the hospital is: what ends its window today is in reach."""
    day = in_shanghai(now).date() - timedelta(days=days)
    return datetime.combine(day, datetime.min.time(), SHANGHAI)


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


def refuse_odd_break_glass(request: Asking, client: Client) -> None:
    """An emergency is declared by who may, and its reason stays free of persons.

    Raises:
        NotPermitted: the client was given neither purpose of an emergency.
        BadRequest: the reason is missing where the client asks for nothing else, blank, or holds something
            like a number of a person or a telephone.
    """
    if request.break_glass is UNSET:
        if client.purpose == BREAK_GLASS:
            raise BadRequest(
                "is missing: your access is for emergencies; say why it cannot wait", field="break_glass"
            )
        return
    if not {"ETREAT", BREAK_GLASS} & set(client.purposes):
        raise NotPermitted(
            f"client {client.id} may not break the glass: its purposes include neither ETREAT nor BTG"
        )
    reason = request.break_glass.reason
    if not reason.strip() or holds_number(reason):
        raise BadRequest(
            "must say in words why it cannot wait, without numbers of persons", field="break_glass.reason"
        )


def _body_digest(request: Asking, person: Identifier, pseudonym: str) -> str:
    """What tells bodies apart; kept, it must not let anybody try person's numbers against it."""
    told_apart = msgspec.structs.replace(request, patient=PersonIn(person.type, pseudonym))
    return hashlib.sha256(msgspec.json.encode(told_apart)).hexdigest()


def _summary(check_id: str, decision: Decision) -> dict[str, object]:
    """What the verdict's ledger payload says: digests, verdicts and rules; no value, no name."""
    return {
        "check": check_id,
        "catalogue": decision.catalogue,
        "verdicts": [
            {
                "result": digest_of(verdict.result).hex(),
                "item": verdict.item or "",
                "verdict": verdict.verdict,
                "rules": [reason.rule for reason in verdict.reasons],
                "mark": verdict.result.mark.id if verdict.result.mark else "",
            }
            for verdict in decision.verdicts
        ],
        "to_order": [list(advice.to_order) for advice in decision.advice],
    }
