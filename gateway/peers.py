"""What another gateway asks: this one's results, marked here, and the exchange written down here too."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime, timedelta
from typing import cast, get_args

import msgspec
from msgspec.structs import replace

from adapters import PeerAnswer, PeerQuestion, Question, commitment, elapsed_ms
from gateway.access.clients import Client
from gateway.checks import moment, read_person
from gateway.errors import BadRequest, NotPermitted
from gateway.evidence import Evidence, keep
from gateway.finding import Found, find
from gateway.flow import waited_s
from gateway.ids import new_id
from gateway.model import PersonIn
from gateway.persons.consent import BREAK_GLASS
from gateway.review import Listening
from gateway.settings import PurposeOfUse
from gateway.wiring import Gateway
from recognition import digest
from security.http_signature import sign_answer

KEPT_BACK = 0.8
"""Share of the asker's budget that the nodes get; the rest is for marking, recording and the way back."""

REACH = timedelta(days=3660)
"""How far back another gateway may ask: the longest look-back that a gateway can be set to."""


class Peers:
    """Answers other gateways' questions."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def answer(self, asked: PeerQuestion, raw: bytes, client: Client) -> tuple[bytes, dict[str, str]]:
        """Ask the own nodes as far as the patient's consent goes, mark the results, record the exchange, and
        only then answer: the body, and the headers that sign it.

        ``raw`` is the body of the question: the answer repeats its commitment, and its signature covers it.

        Raises:
            NotPermitted: the client is no gateway, or may not ask for this purpose.
            IdentityRefused, BadRequest: the person's number or a time cannot be.
            TooManyRequests: more persons are asked about than this gateway looks up.
            EvidenceUnavailable: the exchange could not be recorded.
            KeyStoreError: no key counts that could sign the answer.
        """
        client.require("peer")
        purpose = _purpose(asked, client)
        started = time.monotonic()
        gateway, rules, now = self._gateway, self._gateway.rules, datetime.now(UTC)
        person = read_person(PersonIn(asked.person.type, asked.person.value), "person")
        at = moment(asked.at, now, "at")
        if asked.receiver not in rules.catalogue.institutions:
            raise BadRequest(f"is no institution of catalogue {rules.catalogue.version}", field="receiver")
        if not at - REACH <= asked.since < at:
            raise BadRequest(f"must lie before 'at', by at most {REACH.days} days", field="since")
        evidence = Evidence.of(gateway, client.id, now)
        pseudonyms = await gateway.pseudonyms(person)
        consent = await gateway.consents.rule(pseudonyms, purpose, asked.receiver, now)
        told = {"check": asked.id, "person": pseudonyms.current, "purpose": purpose}
        # without a salt, person's numbers could be tried against what is kept
        body_digest = commitment(raw) if asked.salt else ""
        evidence.question(told | {"receiver": asked.receiver, "body": body_digest})
        if purpose == BREAK_GLASS:
            evidence.record("view", told | {"consent": consent.consent})
        question = Question(
            id=asked.id,
            person=person,
            kinds=asked.kinds,
            since=asked.since,
            at=at,
            receiver=asked.receiver,
            budget=max(asked.budget_ms / 1000 - waited_s(), 0.001) * KEPT_BACK,
            hops=min(asked.hops, gateway.settings.hops),
            purpose=purpose,
            asked=asked.asked or (),
            pseudonyms=pseudonyms.all,
        )
        names = Listening(rules.normaliser, gateway.sites.table, rules.catalogue)
        async with gateway.broker.answering(asked.id, question.budget) as first:
            if not first:
                # a loop, or the same question sent twice: no answer to one is whole without the other
                again = "not asked again: this question is being answered here already"
                found = _nothing(gateway, again)
            elif not consent.permitted:
                found = _nothing(gateway, "not asked: the patient has not consented")
            else:
                found = await find(gateway, replace(rules, normaliser=names), question, evidence)
        body = msgspec.json.encode(
            PeerAnswer(
                question=commitment(raw),
                gateway=gateway.settings.owner,
                catalogue=rules.catalogue.version,
                results=found.results,
                nodes=found.reports,
            )
        )
        signer = gateway.signers.of("peer", gateway.settings.mark_algorithm)
        signed = sign_answer(raw, body, signer, datetime.now(UTC))
        evidence.record(
            "answer",
            {
                "check": asked.id,
                "results": [digest(result).hex() for result in found.results],
                "bytes": hashlib.sha256(body).hexdigest(),
                "consent": consent.consent,
            },
        )
        resting = names.resting(asked.id, client.id, new_id(now), now)
        await keep(gateway.sequencer, evidence.entries, [*found.documents, *resting], names.tallies(now))
        gateway.log(
            "results_answered",
            question=asked.id,
            client=client.id,
            results=len(found.results),
            nodes=len(found.reports),
            took_ms=elapsed_ms(started),
        )
        return body, signed


def _nothing(gateway: Gateway, detail: str) -> Found:
    """What is found where no node is asked; ``detail`` says why."""
    skipped = gateway.broker.skip(detail)
    return Found((), tuple(report for report in skipped if report.kind != "gateway"), False, ())


def _purpose(asked: PeerQuestion, client: Client) -> PurposeOfUse:
    """What the results are for. Raises BadRequest, NotPermitted."""
    if asked.purpose not in get_args(PurposeOfUse):
        raise BadRequest(f"must be one of {', '.join(get_args(PurposeOfUse))}", field="purpose")
    allowed = {*client.purposes, *([BREAK_GLASS] if "ETREAT" in client.purposes else ())}
    if asked.purpose not in allowed:
        raise NotPermitted(f"client {client.id} may not ask for the purpose {asked.purpose}")
    return cast("PurposeOfUse", asked.purpose)
