"""Why, and what if: a stored decision or a hypothetical one, under any catalogue version and at any time.

A stored decision is explained from its case (:mod:`gateway.cases`), by default under its own version and at
its own time; then it is a replay, and comes out identical. Under another version or at another time the
answer says what differs from what was decided. Reading a stored decision is reading a patient's record, so it
is written into the ledger before the answer leaves. A hypothetical check touches no record, and none is made.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, structs

from adapters.fhir_time import in_range
from catalog import Catalogue, CatalogueError, UnknownEntry
from gateway.access.clients import Client
from gateway.cases import KIND, Said, StoredCase, read_case, results_under, said, shifts
from gateway.checks import KeptCheck, refuse_odd_events
from gateway.errors import BadRequest, NotFound, NotPermitted
from gateway.evidence import Evidence, keep
from gateway.hypothetical import CheckIn, ResultIn
from gateway.model import AwareTime, CatalogueRef, Coded, LedgerRef, ShortText
from gateway.naming import planned_by
from gateway.rules import Rules
from gateway.settings import Role
from gateway.wiring import Gateway
from recognition import Check, Decision, Explanation, VerdictCode, explain

READERS: tuple[Role, ...] = ("auditor", "steward")
"""Roles that may have any decision explained; a hospital's system its own institution's."""

MOST_RESULTS = 200


class ExplainRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Either the ``id`` of a decision, or a hypothetical ``check`` with ``results``.

    ``catalogue`` is the version to decide under: the decision's own, or what is in force at ``at``, if left
    out. ``at`` is the moment of asking: the decision's own, or now.
    """

    id: ShortText = ""
    check: CheckIn | None = None
    results: Annotated[tuple[ResultIn, ...], Meta(max_length=MOST_RESULTS)] = ()
    catalogue: Annotated[str, Meta(max_length=1000)] = ""
    at: AwareTime | None = None


class Judged(Struct, frozen=True):
    """One verdict as far as two decisions are compared."""

    verdict: VerdictCode
    serves: str | None
    rules: tuple[str, ...]
    expires: datetime | None


class Difference(Struct, frozen=True):
    """A result on which two decisions differ; None where one of them has no verdict on it."""

    result: str
    stored: Judged | None
    now: Judged | None


class OrderDifference(Struct, frozen=True):
    """A planned examination of which other items are left to order (codes)."""

    planned: str
    stored: tuple[str, ...]
    now: tuple[str, ...]


class Compared(Struct, frozen=True, kw_only=True):
    """The stored decision beside this one. ``identical``: to the last byte, which only a replay can be."""

    catalogue: str
    at: datetime
    identical: bool
    verdicts: tuple[Difference, ...]
    orders: tuple[OrderDifference, ...]


class ExplainAnswer(Struct, frozen=True, kw_only=True):
    """A decision step by step. ``names`` has those of the items and institutions in it, by code.

    ``stored`` and ``ledger`` (the entry of this reading) are null for a hypothetical check, its ``id`` empty.
    """

    id: str
    receiver: Coded
    at: datetime
    catalogue: CatalogueRef
    explanation: Explanation
    names: dict[str, str]
    stored: Compared | None
    ledger: LedgerRef | None


class Explaining:
    """Explains decisions of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def explain(self, request: ExplainRequest, client: Client) -> ExplainAnswer:
        """Explain a stored or a hypothetical decision.

        Raises:
            NotPermitted: the client is neither a hospital's system nor an auditor or steward.
            NotFound: no such decision for this client.
            BadRequest: a field is wrong; there is no such catalogue version.
            UnknownEntry: an item or institution is not in that version.
            EvidenceUnavailable: the reading could not be written down, so nothing is answered.
        """
        client.require("his", *READERS)
        _refuse_odd_time(request.at, "at")
        if bool(request.id) == (request.check is not None):
            raise BadRequest("needs either the id of a decision or a hypothetical check", field="id")
        if request.check is None:
            return await self._stored(request, client)
        return await self._hypothetical(request, request.check, client)

    async def _stored(self, request: ExplainRequest, client: Client) -> ExplainAnswer:
        if request.results:
            raise BadRequest("belong to a hypothetical check; a stored one has its own", field="results")
        gateway, now = self._gateway, datetime.now(UTC)
        kept, case = await self._case(request.id, client)
        rules = await self._under(request.catalogue or case.catalogue)
        asked = structs.replace(case.check, at=request.at or case.check.at)
        explanation = await asyncio.to_thread(
            explain, asked, results_under(case, rules.catalogue), rules.catalogue
        )
        evidence = Evidence.of(gateway, client.id, now, binds=kept.answer.ledger.entry)
        read = {"check": request.id, "catalogue": rules.catalogue.version, "at": asked.at.isoformat()}
        entry = evidence.record("view", read).entry_id
        receipt = await keep(gateway.sequencer, evidence.entries, ())
        return ExplainAnswer(
            id=request.id,
            receiver=_institution(asked.receiver, rules.catalogue),
            at=asked.at,
            catalogue=_reference(rules),
            explanation=explanation,
            names=_names(explanation, rules.catalogue),
            stored=_compared(case, explanation.decision),
            ledger=LedgerRef(gateway.origin, entry, receipt.indexes[0]),
        )

    async def _hypothetical(self, request: ExplainRequest, check: CheckIn, client: Client) -> ExplainAnswer:
        receiver = check.receiver or client.institution
        if not receiver:
            raise BadRequest("is missing; which institution asks?", field="check.receiver")
        if receiver != client.institution and not set(READERS) & set(client.roles):
            raise NotPermitted(
                f"client {client.id} may have decisions of its own institution explained, and no others",
                field="check.receiver",
            )
        at = request.at or datetime.now(UTC)
        refuse_odd_events(check.context, at, "check.context")
        rules = await self._under(request.catalogue) if request.catalogue else await self._at(at)
        ids: set[str] = set()
        for number, given in enumerate(request.results):
            if given.id in ids:
                raise BadRequest("stands there twice; give every result an id of its own",
                                 field=f"results[{number}].id")  # fmt: skip
            ids.add(given.id)
            _refuse_odd_time(given.performed, f"results[{number}].performed")
            _refuse_odd_time(given.reported, f"results[{number}].reported")
        planned = tuple(
            planned_by(code, rules.catalogue, f"check.planned[{place}]")
            for place, code in enumerate(check.planned)
        )
        asked = Check(at=at, receiver=receiver, planned=planned, context=check.context)

        def decided() -> Explanation:  # in a thread, because names are read, too
            return explain(asked, [given.result(rules) for given in request.results], rules.catalogue)

        explanation = await asyncio.to_thread(decided)
        return ExplainAnswer(
            id="",
            receiver=_institution(receiver, rules.catalogue),
            at=at,
            catalogue=_reference(rules),
            explanation=explanation,
            names=_names(explanation, rules.catalogue),
            stored=None,
            ledger=None,
        )

    async def _case(self, id_: str, client: Client) -> tuple[KeptCheck, StoredCase]:
        """A stored decision of the client's institution, or for an auditor or steward any."""
        store = self._gateway.store
        check, case = await store.document("check", id_), await store.document(KIND, id_)
        if check is not None and case is not None:
            kept = msgspec.json.decode(check.body, type=KeptCheck)
            if kept.institution == client.institution or set(READERS) & set(client.roles):
                return kept, read_case(case)
        raise NotFound(f"no decision {id_!r} is kept for your institution", field="id")

    async def _under(self, label: str) -> Rules:
        catalogues = self._gateway.catalogues
        try:
            return await asyncio.to_thread(catalogues.under, label)
        except UnknownEntry:
            states = catalogues.states(datetime.now(UTC))
            known = sorted({state.version for state in states} | {f"{s.id}@{s.version}" for s in states})
            message = f"{label!r} was never published here; there is {', '.join(known)}"
            raise BadRequest(message, field="catalogue") from None
        except CatalogueError as wrong:
            message = f"{label!r} names editions that are no catalogue together: {wrong.findings[0]}"
            raise BadRequest(message, field="catalogue") from None

    async def _at(self, at: datetime) -> Rules:
        try:
            return await asyncio.to_thread(self._gateway.catalogues.at, at)
        except UnknownEntry:
            raise BadRequest("lies before any catalogue was in force here; name one", field="at") from None


def _refuse_odd_time(time: datetime | None, field: str) -> None:
    if time is not None and not in_range(time):
        raise BadRequest("lies in a year in which no examination can be", field=field)


def _institution(code: str, catalogue: Catalogue) -> Coded:
    return Coded(code, catalogue.institution(code).name)


def _reference(rules: Rules) -> CatalogueRef:
    return CatalogueRef(rules.catalogue.version, rules.catalogue.illustrative, *rules.notices)


def _names(explanation: Explanation, catalogue: Catalogue) -> dict[str, str]:
    decision = explanation.decision
    codes = {code for planned in explanation.check.planned for code in planned.items}
    codes |= {code for advice in decision.advice for code in (*advice.served, *advice.to_order)}
    codes |= {code for trace in explanation.traces for code in (trace.aim, trace.item) if code}
    names = {code: catalogue.items[code].name for code in sorted(codes) if code in catalogue.items}
    institutions = sorted({verdict.result.institution for verdict in decision.verdicts})
    known = catalogue.institutions
    return names | {code: known[code].name for code in institutions if code in known}


def _compared(case: StoredCase, decision: Decision) -> Compared:
    found = shifts(case.verdicts, tuple(said(verdict) for verdict in decision.verdicts))
    orders = zip(case.check.planned, case.to_order, decision.advice, strict=True)
    return Compared(
        catalogue=case.catalogue,
        at=case.check.at,
        identical=case.holds(decision),
        verdicts=tuple(Difference(s.result, _judged(s.before), _judged(s.after)) for s in found),
        orders=tuple(
            OrderDifference(planned.name, before, advice.to_order)
            for planned, before, advice in orders
            if set(before) != set(advice.to_order)
        ),
    )


def _judged(one: Said | None) -> Judged | None:
    return Judged(one.verdict, one.serves, one.rules, one.expires) if one else None
