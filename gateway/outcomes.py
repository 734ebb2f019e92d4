"""Step 9: what the doctor did about a result. Codes 98 and 99 are kept apart from refusals."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import msgspec
from msgspec import UNSET

from adapters.store import Document
from gateway.checks import Checks
from gateway.clients import Client
from gateway.errors import BadRequest
from gateway.evidence import Evidence, keep
from gateway.model import LedgerRef, OutcomeIn, OutcomeOut
from gateway.wiring import Gateway


class Outcomes:
    """Keeps outcomes of answered checks."""

    def __init__(self, gateway: Gateway, checks: Checks) -> None:
        self._gateway = gateway
        self._checks = checks

    async def record(self, check_id: str, outcome: OutcomeIn, client: Client) -> OutcomeOut:
        """Keep one outcome, bound to the verdict's ledger entry.

        Raises:
            NotFound: no such check for this institution.
            BadRequest: the result is not of that check, the reason is missing, unknown or lacks its text.
            EvidenceUnavailable: it could not be kept.
        """
        client.require("his")
        gateway = self._gateway
        answer = await self._checks.answer(check_id, client)
        if outcome.result not in {verdict.result.id for verdict in answer.verdicts}:
            raise BadRequest(
                "is not a result of this check; send its id as the answer has it", field="result"
            )
        now = datetime.now(UTC)
        if outcome.at is not None and outcome.at > now:
            raise BadRequest("lies in the future", field="at")
        counts = UNSET if outcome.outcome != "declined" else self._reason(outcome)
        evidence = Evidence(
            owner=gateway.settings.owner,
            asker=client.id,
            now=now,
            hash_name=gateway.hash_name,
            binds=answer.ledger.entry,
        )
        outcome_id = uuid.uuid4().hex
        payload: dict[str, object] = {"id": outcome_id, "check": check_id, "counts": counts is True}
        payload |= msgspec.to_builtins(outcome)
        sealed = evidence.record("outcome", payload)
        recorded = OutcomeOut(
            id=outcome_id,
            check=check_id,
            result=outcome.result,
            outcome=outcome.outcome,
            at=outcome.at or now,
            ledger=LedgerRef(gateway.origin, sealed.entry_id, -1),
            counts_as_refusal=counts,
        )
        document = Document(kind="outcome", id=outcome_id, key="", body=msgspec.json.encode(recorded), at=now)
        receipt = await keep(gateway.sequencer, evidence, [document])
        gateway.log(
            "outcome_recorded",
            check=check_id,
            client=client.id,
            outcome=outcome.outcome,
            reason_code=f"{outcome.system}:{outcome.code}" if outcome.code else "",
        )
        ledger = msgspec.structs.replace(recorded.ledger, index=receipt.indexes[0])
        return msgspec.structs.replace(recorded, ledger=ledger)

    def _reason(self, outcome: OutcomeIn) -> bool:
        codes = self._gateway.rules.catalogue.reason_codes
        reason = codes.get((outcome.system, outcome.code))
        if reason is None:
            systems = ", ".join(sorted({system for system, _ in codes}))
            raise BadRequest(
                f"a declined result needs a published reason code; code systems here: {systems}", field="code"
            )
        if reason.needs_text and not outcome.text.strip():
            raise BadRequest(
                f"reason {reason.system}:{reason.code} needs its text ({reason.en})", field="text"
            )
        return reason.counts_as_refusal
