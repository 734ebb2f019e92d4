"""What another gateway asks: this one's results, marked here, and the exchange written down here too."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from adapters import PeerAnswer, PeerQuestion, Question, elapsed_ms
from gateway.checks import moment, read_person
from gateway.clients import Client
from gateway.errors import BadRequest
from gateway.evidence import Evidence, keep
from gateway.finding import find
from gateway.ids import new_id
from gateway.model import PersonIn
from gateway.review import Listening
from gateway.wiring import Gateway
from recognition import digest

KEPT_BACK = 0.8
"""Share of the asker's budget that the nodes get; the rest is for marking, recording and the way back."""

REACH = timedelta(days=3660)
"""How far back another gateway may ask: the longest look-back that a gateway can be set to."""


class Peers:
    """Answers other gateways' questions."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def answer(self, asked: PeerQuestion, commitment: str, client: Client) -> PeerAnswer:
        """Ask the own nodes, mark the results, record the exchange, and only then answer.

        ``commitment`` is that of the question's body, which the answer repeats.

        Raises:
            NotPermitted: the client is no gateway.
            IdentityRefused, BadRequest: the person's number or a time cannot be.
            EvidenceUnavailable: the exchange could not be recorded.
        """
        client.require("peer")
        started = time.monotonic()
        gateway, rules, now = self._gateway, self._gateway.rules, datetime.now(UTC)
        person = read_person(PersonIn(asked.person.type, asked.person.value), "person")
        at = moment(asked.at, now, "at")
        if asked.receiver not in rules.catalogue.institutions:
            raise BadRequest(f"is no institution of catalogue {rules.catalogue.version}", field="receiver")
        if not at - REACH <= asked.since < at:
            raise BadRequest(f"must lie before 'at', by at most {REACH.days} days", field="since")
        evidence = Evidence.of(gateway, client.id, now)
        pseudonym = gateway.pseudonym(person)
        evidence.question({"check": asked.id, "person": pseudonym, "receiver": asked.receiver})
        question = Question(
            id=asked.id,
            person=person,
            kinds=asked.kinds,
            since=asked.since,
            at=at,
            receiver=asked.receiver,
            budget=asked.budget_ms / 1000 * KEPT_BACK,
            hops=asked.hops,
        )
        names = Listening(rules.normaliser, gateway.sites.table, rules.catalogue)
        found = await find(gateway, replace(rules, normaliser=names), question, evidence)
        evidence.record("answer", {"check": asked.id, "results": [digest(r).hex() for r in found.results]})
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
        return PeerAnswer(
            question=commitment,
            gateway=gateway.settings.owner,
            catalogue=rules.catalogue.version,
            results=found.results,
            nodes=found.reports,
        )
