"""What all questions of other gateways have in common: who asks what for, whether consent lets it be
answered, and what is written down of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar, cast, get_args

import msgspec
from msgspec import Raw

from adapters import Question, Report, commitment, elapsed_ms
from adapters.peer import MOST_RESOURCES, PeerAsked, PeerReply
from gateway.access.clients import Client
from gateway.checks import moment
from gateway.errors import BadRequest, NotPermitted
from gateway.evidence import Evidence, keep
from gateway.flow import waited_s
from gateway.model import ConsentRule
from gateway.persons.consent import BREAK_GLASS
from gateway.reading import consent_of
from gateway.settings import PurposeOfUse
from gateway.wiring import Gateway
from security.http_signature import sign_answer
from security.identity import Identifier
from security.pseudonym import Pseudonyms

T = TypeVar("T")

KEPT_BACK = 0.8
"""Share of the asker's budget that the nodes get; the rest is for marking, recording and the way back."""
REACH = timedelta(days=3660)
"""How far back another gateway may ask: the longest look-back that a gateway can be set to."""
MOST_BYTES = 6 * 1024 * 1024
"""How many bytes of resources one answer holds: gateways take no more than 8 MiB."""


class Exchange:
    """One question of another gateway, whatever it asks for: who asks what for, and what is recorded of it.

    Raises:
        NotPermitted: the client is no gateway, or may not ask for this purpose.
        BadRequest: the purpose, the receiver or a time cannot be.
        EvidenceUnavailable: it could not be recorded.
    """

    def __init__(self, gateway: Gateway, asked: PeerAsked, raw: bytes, client: Client) -> None:
        client.require("peer")
        self.purpose = _purpose(asked, client)
        self.owner = client.owner
        self.started = time.monotonic()
        self.now = datetime.now(UTC)
        self.at = moment(asked.at, self.now, "at")
        catalogue = gateway.rules.catalogue
        if asked.receiver not in catalogue.institutions:
            raise BadRequest(f"is no institution of catalogue {catalogue.version}", field="receiver")
        self.evidence = Evidence.of(gateway, client.id, self.now)
        self._gateway = gateway
        self._asked = asked
        self._raw = raw
        self._client = client
        self._consent = ConsentRule()

    def since(self, since: datetime) -> datetime:
        """From when on something is asked for. Raises BadRequest."""
        if not self.at - REACH <= since < self.at:
            raise BadRequest(f"must lie before 'at', by at most {REACH.days} days", field="since")
        return since

    async def begin(
        self, whose: Sequence[Identifier], about: Mapping[str, object]
    ) -> tuple[Pseudonyms | None, ConsentRule]:
        """Record what is asked ``about`` whom; the pseudonyms of the person, and what consent says.

        Raises:
            TooManyRequests, StoreUnavailable: it cannot be known.
        """
        asked, evidence = self._asked, self.evidence
        pseudonyms, consent = await consent_of(self._gateway, whose, self.purpose, asked.receiver, self.now)
        self._consent = consent
        told = {"check": asked.id, "purpose": self.purpose}
        told |= {"person": pseudonyms.current} if pseudonyms else {}
        # without a salt, person's numbers could be tried against what is kept
        body_digest = commitment(self._raw) if asked.salt else ""
        evidence.question({**told, **about, "receiver": asked.receiver, "body": body_digest})
        if self.purpose == BREAK_GLASS:
            evidence.record("view", told | {"consent": consent.consent})
        return pseudonyms, consent

    def question(self, person: Identifier, since: datetime) -> Question:
        """What the nodes are asked, for results and resources of every kind."""
        asked = self._asked
        return Question(
            id=asked.id,
            person=person,
            kinds=("imaging", "lab"),
            since=since,
            at=self.at,
            receiver=asked.receiver,
            budget=max(asked.budget_ms / 1000 - waited_s(), 0.001) * KEPT_BACK,
            hops=min(asked.hops, self._gateway.settings.hops),
            purpose=self.purpose,
            asked=asked.asked or (),
        )

    def sign(self, reply: PeerReply, told: Mapping[str, object]) -> tuple[bytes, dict[str, str]]:
        """The body and what signs it; that it is answered stands in the evidence. Raises KeyStoreError."""
        gateway, body = self._gateway, msgspec.json.encode(reply)
        signer = gateway.signers.of("peer", gateway.settings.mark_algorithm)
        signed = sign_answer(self._raw, body, signer, datetime.now(UTC))
        self.evidence.record(
            "answer",
            {
                "check": self._asked.id,
                **told,
                "bytes": hashlib.sha256(body).hexdigest(),
                "consent": self._consent.consent,
            },
        )
        return body, signed

    async def answer(
        self, reply: PeerReply, many: int, event: str, **told: int | str
    ) -> tuple[bytes, dict[str, str]]:
        """Answer with so many resources or studies once that is recorded, and say so in the log.

        Raises:
            KeyStoreError, EvidenceUnavailable: it cannot be signed or recorded.
        """
        gateway = self._gateway
        body, signed = self.sign(reply, {"resources": many})
        await keep(gateway.sequencer, self.evidence.entries, [])
        if not self._consent.permitted:
            gateway.metrics.consent_denials.inc()
        gateway.log(
            event,
            question=self._asked.id,
            client=self._client.id,
            nodes=len(reply.nodes),
            took_ms=elapsed_ms(self.started),
            **told,
        )
        return body, signed


def refused_by(consent: ConsentRule, *, first: bool = True) -> str:
    """Why no node is asked, or nothing told; empty where there is no reason."""
    if not first:  # a loop, or the same question sent twice: no answer to one is whole without the other
        return "not asked again: this question is being answered here already"
    return "" if consent.permitted else "not asked: the patient has not consented"


def skipped(gateway: Gateway, detail: str) -> tuple[Report, ...]:
    """The own nodes' reports where none is asked; ``detail`` says why."""
    return tuple(report for report in gateway.broker.skip(detail) if report.kind != "gateway")


def within(found: Iterable[T], raw: Callable[[T], Raw]) -> Iterator[T]:
    """The first of them, as many as one answer holds."""
    size = 0
    for count, one in enumerate(found, 1):
        size += len(bytes(raw(one)))
        if count > MOST_RESOURCES or size > MOST_BYTES:
            return
        yield one


def left_out(gateway: Gateway, left: int) -> tuple[Report, ...]:
    """What says that so many more were found; nothing where there are none."""
    detail = f"{left} more fit, too, and are more than one answer of this gateway holds"
    owner = gateway.settings.owner
    report = Report(node=owner, kind="gateway", state="skipped", took_ms=0, fault="gateway", detail=detail)
    return (report,) if left else ()


def _purpose(asked: PeerAsked, client: Client) -> PurposeOfUse:
    """What the results are for. Raises BadRequest, NotPermitted."""
    if asked.purpose not in get_args(PurposeOfUse):
        raise BadRequest(f"must be one of {', '.join(get_args(PurposeOfUse))}", field="purpose")
    allowed = {*client.purposes, *([BREAK_GLASS] if "ETREAT" in client.purposes else ())}
    if asked.purpose not in allowed:
        raise NotPermitted(f"client {client.id} may not ask for the purpose {asked.purpose}")
    return cast("PurposeOfUse", asked.purpose)
