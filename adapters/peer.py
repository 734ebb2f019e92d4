"""Another gateway as a node: one question in, marked results and the states of all nodes behind it out.

The person's number travels in the body, over mutual TLS. The asking gateway sends what is left of its time
less a tenth for the way, and one hop less than it was given, so that gateways cannot ask in circles. Question
and answer are signed by their gateways (:mod:`security.http_signature`); the answer's signature covers the
question too, and is kept, so that the other gateway can be held to what it said. The answer names its
gateway's owner, and repeats the commitment to the question. Ids of its results get this node's id in front,
so that they cannot be those of a node here.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from adapters._asking import MOST, Heard, answer_of, bearer, in_reach, ping_of
from adapters.errors import NodeFaulty
from adapters.fhir_time import in_range
from adapters.http import Line
from adapters.node import Answer, Fault, Question, Report
from adapters.transport import Reply, Timeouts
from catalog import Kind
from recognition import Result
from security.errors import SignatureRefused, TrustError
from security.http_signature import KeyOf, SignedAnswer, sign, verify_answer
from security.keys import PublicKey, Signer

PATH = "api/v1/results"
_SLACK = timedelta(days=1)  # for clocks that differ
_MOST = 10 * MOST  # each one's mark is verified

Moment = Annotated[datetime, Meta(tz=True)]
Owner = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9]{0,15}\Z")]


class PeerPerson(Struct, frozen=True, forbid_unknown_fields=True):
    """A person's number; the system's URI follows from its type. Its ``repr`` hides it."""

    type: Annotated[str, Meta(min_length=1, max_length=64)]
    value: Annotated[str, Meta(min_length=1, max_length=64)]

    def __repr__(self) -> str:
        return f"PeerPerson(type={self.type!r}, value='…')"


class PeerQuestion(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of ``POST /api/v1/results``. ``budget_ms`` counts from its arrival; ``hops`` may be 0.

    ``asked`` are the gateways (owner ids) that the question is on its way to already, the asking one among
    them; it is left out where no hop is left.
    ``purpose`` is a code of HL7 v3 PurposeOfUse. ``salt`` is random: nobody can try person's numbers against
    the :func:`commitment` of the body, which is kept on both sides.
    """

    id: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
    person: PeerPerson
    kinds: Annotated[tuple[Kind, ...], Meta(min_length=1, max_length=2)]
    since: Moment
    at: Moment
    receiver: Annotated[str, Meta(min_length=1, max_length=64)]
    budget_ms: Annotated[int, Meta(ge=1, le=60_000)]
    hops: Annotated[int, Meta(ge=0, le=4)]
    asked: Annotated[tuple[Owner, ...], Meta(max_length=64)] | UnsetType = UNSET
    purpose: Annotated[str, Meta(pattern=r"^[A-Z]{3,16}\Z")] = "TREAT"
    salt: Annotated[str, Meta(max_length=64)] = ""


class PeerAnswer(Struct, frozen=True, kw_only=True):
    """The answer: results as their gateway marked them, a report for each node that it asked.

    ``gateway`` is the owner id of the answering gateway, ``question`` the :func:`commitment` of the body it
    answers. Fields that a newer gateway adds are passed over.
    """

    gateway: str
    catalogue: str
    question: str
    results: tuple[Result, ...]
    nodes: tuple[Report, ...]


def commitment(body: bytes) -> str:
    """SHA-256 (hex) of a question's body as it was sent. Not for a log: it commits to a person's number."""
    return hashlib.sha256(body).hexdigest()


class PeerKeys(Struct, frozen=True):
    """The key that signs what is asked here, and how the keys of others are found."""

    signer: Signer
    key_of: KeyOf


class PeerGateway:
    """The gateway of one ``owner``; ``institution`` is empty, because it speaks for many.

    ``url`` must be the address that the other one knows itself by: the signature covers it. Without ``keys``
    it can be pinged, and is ``skipped`` by questions. ``line`` is the way to it, where more is to be said of
    that than address, time and token.
    """

    kind = "gateway"
    institution = ""

    def __init__(
        self,
        id: str,  # noqa: A002 - the protocol's word
        url: str,
        *,
        owner: str,
        keys: PeerKeys | None = None,
        timeout: float = 5.0,
        token: str = "",
        line: Line | None = None,
    ) -> None:
        self.id = id
        self._owner = owner
        self._keys = keys
        self._timeout = timeout
        self._line = line or Line(url, timeout=Timeouts.within(timeout), headers=bearer(token))

    async def prior(self, question: Question) -> Answer:
        """Ask the gateway; without a hop left it is ``skipped``. See :class:`adapters.node.Node`.

        Raises:
            TrustError: the question could not be signed here; it was not asked.
        """
        if question.hops > 0 and self._keys:
            return await answer_of(self, question, self._timeout, self._ask(question, self._keys))
        fault: Fault = "gateway" if question.hops > 0 else ""
        detail = "not asked: " + ("no key to sign with" if fault else "the question has no hop left")
        return Answer(
            report=Report(
                node=self.id, kind=self.kind, state="skipped", took_ms=0, fault=fault, detail=detail
            )
        )

    async def ping(self) -> Report:
        """Ask for its health."""
        return await ping_of(self, self._line.get_json("health/live"))

    async def aclose(self) -> None:
        """Give back the connections."""
        await self._line.aclose()

    async def _ask(self, question: Question, keys: PeerKeys) -> Heard:
        left = min(question.budget, self._timeout)
        body = msgspec.json.encode(
            PeerQuestion(
                id=question.id,
                person=PeerPerson(question.person.type, question.person.text),
                kinds=question.kinds,
                since=question.since,
                at=question.at,
                receiver=question.receiver,
                budget_ms=max(1, int(left * 900)),
                hops=question.hops - 1,
                asked=question.asked if question.hops > 1 else UNSET,
                purpose=question.purpose,
                salt=secrets.token_hex(16),
            )
        )
        url = f"{self._line.base_url}/{PATH}"
        headers = sign("POST", url, body, keys.signer, datetime.now(UTC))
        reply = await self._line.post_json(PATH, body, headers=headers)
        signed = self._signed(body, reply, keys)
        try:
            answer = msgspec.json.decode(reply.body, type=PeerAnswer)
        except (msgspec.MsgspecError, RecursionError):
            raise NodeFaulty("answered with something that is no gateway's answer") from None
        if answer.question != commitment(body):
            raise NodeFaulty("answered another question than it was asked")
        if answer.gateway != self._owner:
            raise NodeFaulty("answered in the name of another gateway")
        if len(answer.results) > _MOST or len(answer.nodes) > _MOST:
            raise NodeFaulty(f"answered with more than {_MOST} results or nodes")
        times = [time for result in answer.results for time in (result.performed, result.reported) if time]
        if any(time.tzinfo is None for time in times):
            raise NodeFaulty("answered with a time that has no zone")
        if not all(in_range(time) and time <= question.at + _SLACK for time in times):
            raise NodeFaulty("answered with a result of a time that cannot be")
        wanted = msgspec.structs.replace(question, since=question.since - _SLACK)
        if not all(result.kind in wanted.kinds and in_reach(result, wanted) for result in answer.results):
            raise NodeFaulty("answered with a result that was not asked for")
        reached = {report.node for report in answer.nodes}
        if any(result.node not in reached for result in answer.results):
            raise NodeFaulty("answered with a result of a node that it does not report")
        return Heard(
            results=tuple(
                msgspec.structs.replace(result, id=f"{self.id}/{result.id}") for result in answer.results
            ),
            behind=tuple(
                msgspec.structs.replace(report, via=f"{self.id}/{report.via}" if report.via else self.id)
                for report in answer.nodes
            ),
            digest=hashlib.sha256(reply.body).digest(),
            gateway=self._owner,
            signed=signed,
        )

    def _signed(self, body: bytes, reply: Reply, keys: PeerKeys) -> SignedAnswer:
        def key_of(kid: str, at: datetime) -> PublicKey:
            key = keys.key_of(kid, at)
            if key.owner != self._owner:
                raise SignatureRefused(f"key {kid} is another gateway's")
            return key

        try:
            return verify_answer(body, reply.headers, reply.body, key_of, datetime.now(UTC))
        except TrustError as wrong:
            raise NodeFaulty(f"answered without a signature that counts: {wrong}") from None
