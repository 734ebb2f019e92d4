"""Step 9: what the doctor did about a result. Codes 98 and 99 are kept apart from refusals."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from adapters.store import Document
from gateway.access.clients import Client
from gateway.checks import SKEW, Checks
from gateway.errors import BadRequest
from gateway.evidence import Evidence, keep
from gateway.ids import new_id
from gateway.model import CheckAnswer, LedgerRef, OutcomeIn, OutcomeOut
from gateway.wiring import Gateway
from security.ledger import Sealed


class Asked(Struct, frozen=True):
    """An outcome to be kept: of which check, and where it stands in the caller's body (empty: at its top)."""

    check_id: str
    outcome: OutcomeIn
    place: str = ""


class Outcomes:
    """Keeps outcomes of answered checks."""

    def __init__(self, gateway: Gateway, checks: Checks) -> None:
        self._gateway = gateway
        self._checks = checks

    async def record(self, asked: Sequence[Asked], client: Client) -> list[OutcomeOut]:
        """Keep outcomes together or not at all, each bound to its verdict's ledger entry.

        An outcome that was kept before, word for word, is not kept again: a repeated call changes nothing.

        Raises:
            NotFound: no such check for this institution.
            BadRequest: the result is not of that check, the reason is missing, unknown or lacks its text.
            EvidenceUnavailable: they could not be kept.
        """
        client.require("his")
        gateway, now = self._gateway, datetime.now(UTC)
        recorded: list[OutcomeOut] = []
        entries: list[Sealed] = []
        documents: list[Document] = []
        for one in asked:
            answer, person = await self._checks.about(one.check_id, client)
            counts = self._counts(one, answer, now)
            outcome = one.outcome
            key = f"{answer.id}|{hashlib.sha256(msgspec.json.encode(outcome)).hexdigest()}"
            if (kept := await gateway.store.find("outcome", key)) is not None:
                recorded.append(msgspec.json.decode(kept.body, type=OutcomeOut))
                continue
            evidence = Evidence.of(gateway, client.id, now, binds=answer.ledger.entry)
            payload: dict[str, object] = {"id": new_id(now), "check": answer.id}
            payload |= {"counts": counts is True} | msgspec.to_builtins(outcome)
            entries.append(evidence.record("outcome", payload))
            new = OutcomeOut(
                id=str(payload["id"]),
                check=answer.id,
                result=outcome.result,
                outcome=outcome.outcome,
                at=outcome.at or now,
                ledger=LedgerRef(gateway.origin, entries[-1].entry_id, -1),
                counts_as_refusal=counts,
            )
            body = msgspec.json.encode(new)
            documents.append(Document(kind="outcome", id=new.id, key=key, body=body, at=now, person=person))
            recorded.append(new)
            gateway.log(
                "outcome_recorded",
                check=answer.id,
                client=client.id,
                outcome=outcome.outcome,
                reason_code=f"{outcome.system}:{outcome.code}" if outcome.outcome == "declined" else "",
            )
        if entries:
            await keep(gateway.sequencer, entries, documents)
        return [await self._with_index(one) for one in recorded]

    async def _with_index(self, one: OutcomeOut) -> OutcomeOut:
        index = await self._gateway.store.index_of(one.ledger.entry)
        return structs.replace(one, ledger=structs.replace(one.ledger, index=-1 if index is None else index))

    def _counts(self, one: Asked, answer: CheckAnswer, now: datetime) -> bool | UnsetType:
        outcome = one.outcome
        if outcome.result not in {verdict.result.id for verdict in answer.verdicts}:
            raise BadRequest(
                "is not a result of this check; send its id as the answer has it", field=f"{one.place}result"
            )
        if outcome.at is not None and outcome.at > now:
            raise BadRequest("lies in the future; send the time of the decision", field=f"{one.place}at")
        if outcome.at is not None and outcome.at < answer.answered_at - SKEW:
            raise BadRequest("lies before the check was answered", field=f"{one.place}at")
        return self._reason(one) if outcome.outcome == "declined" else UNSET

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
