"""Step 9: what the doctor did about a result. Codes 98 and 99 are kept apart from refusals."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from adapters.store import Document
from gateway.checks import Checks
from gateway.clients import Client
from gateway.errors import BadRequest
from gateway.evidence import Evidence, keep
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

        Raises:
            NotFound: no such check for this institution.
            BadRequest: the result is not of that check, the reason is missing, unknown or lacks its text.
            EvidenceUnavailable: they could not be kept.
        """
        client.require("his")
        gateway, now = self._gateway, datetime.now(UTC)
        entries: list[Sealed] = []
        recorded: list[OutcomeOut] = []
        for one in asked:
            answer = await self._checks.answer(one.check_id, client)
            counts = self._counts(one, answer, now)
            evidence = Evidence(
                owner=gateway.settings.owner,
                asker=client.id,
                now=now,
                hash_name=gateway.hash_name,
                binds=answer.ledger.entry,
            )
            outcome = one.outcome
            payload: dict[str, object] = {"id": uuid.uuid4().hex, "check": answer.id}
            payload |= {"counts": counts is True} | msgspec.to_builtins(outcome)
            entries.append(evidence.record("outcome", payload))
            recorded.append(
                OutcomeOut(
                    id=str(payload["id"]),
                    check=answer.id,
                    result=outcome.result,
                    outcome=outcome.outcome,
                    at=outcome.at or now,
                    ledger=LedgerRef(gateway.origin, entries[-1].entry_id, -1),
                    counts_as_refusal=counts,
                )
            )
        documents = [
            Document(kind="outcome", id=one.id, body=msgspec.json.encode(one), at=now) for one in recorded
        ]
        receipt = await keep(gateway.sequencer, entries, documents)
        for one in asked:
            code = f"{one.outcome.system}:{one.outcome.code}" if one.outcome.outcome == "declined" else ""
            gateway.log(
                "outcome_recorded",
                check=one.check_id,
                client=client.id,
                outcome=one.outcome.outcome,
                reason_code=code,
            )
        return [
            structs.replace(one, ledger=structs.replace(one.ledger, index=index))
            for one, index in zip(recorded, receipt.indexes, strict=True)
        ]

    def _counts(self, one: Asked, answer: CheckAnswer, now: datetime) -> bool | UnsetType:
        outcome = one.outcome
        if outcome.result not in {verdict.result.id for verdict in answer.verdicts}:
            raise BadRequest(
                "is not a result of this check; send its id as the answer has it", field=f"{one.place}result"
            )
        if outcome.at is not None and outcome.at > now:
            raise BadRequest("lies in the future", field=f"{one.place}at")
        return self._reason(one) if outcome.outcome == "declined" else UNSET

    def _reason(self, one: Asked) -> bool:
        codes, outcome = self._gateway.rules.catalogue.reason_codes, one.outcome
        reason = codes.get((outcome.system, outcome.code))
        if reason is None:
            systems = ", ".join(sorted({system for system, _ in codes}))
            raise BadRequest(
                f"a declined result needs a published reason code; code systems here: {systems}",
                field=f"{one.place}code",
            )
        if reason.needs_text and not outcome.text.strip():
            raise BadRequest(
                f"reason {reason.system}:{reason.code} needs its text ({reason.en})", field=f"{one.place}text"
            )
        return reason.counts_as_refusal
