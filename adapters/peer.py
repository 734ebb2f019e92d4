"""Another gateway as a node: one question in, marked results and the states of all nodes behind it out.

The person's number travels in the body, over mutual TLS. The asking gateway sends what is left of its time
less a tenth for the way, and one hop less than it was given, so that gateways cannot ask in circles. The
answer names the gateway's owner, and repeats a commitment to the question, so that it cannot be laid onto
another one. Ids of its results get this node's id in front, so that they cannot be those of a node here.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from adapters._asking import Heard, answer_of, bearer, ping_of
from adapters.errors import NodeFaulty
from adapters.fhir_time import in_range
from adapters.http import Line, Timeouts
from adapters.node import Answer, Question, Report
from catalog import Kind
from recognition import Result

PATH = "api/v1/results"
_SLACK = timedelta(days=1)  # for clocks that differ

Moment = Annotated[datetime, Meta(tz=True)]


class PeerPerson(Struct, frozen=True, forbid_unknown_fields=True):
    """A person's number; the system's URI follows from its type. Its ``repr`` hides it."""

    type: Annotated[str, Meta(min_length=1, max_length=64)]
    value: Annotated[str, Meta(min_length=1, max_length=64)]

    def __repr__(self) -> str:
        return f"PeerPerson(type={self.type!r}, value='…')"


class PeerQuestion(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of ``POST /api/v1/results``. ``budget_ms`` counts from its arrival; ``hops`` may be 0."""

    id: Annotated[str, Meta(min_length=1, max_length=128)]
    person: PeerPerson
    kinds: Annotated[tuple[Kind, ...], Meta(min_length=1, max_length=2)]
    since: Moment
    at: Moment
    receiver: Annotated[str, Meta(min_length=1, max_length=64)]
    budget_ms: Annotated[int, Meta(ge=1, le=60_000)]
    hops: Annotated[int, Meta(ge=0, le=1)]


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


class PeerGateway:
    """The gateway of one ``owner``; ``institution`` is empty, because it speaks for many."""

    kind = "gateway"
    institution = ""

    def __init__(
        self,
        id: str,  # noqa: A002 - the protocol's word
        url: str,
        *,
        owner: str,
        timeout: float = 5.0,
        token: str = "",
    ) -> None:
        self.id = id
        self._owner = owner
        self._timeout = timeout
        self._line = Line(url, timeout=Timeouts.within(timeout), headers=bearer(token))

    async def prior(self, question: Question) -> Answer:
        """Ask the gateway; without a hop left it is ``skipped``. See :class:`adapters.node.Node`."""
        if question.hops <= 0:
            detail = "not asked: the question has no hop left"
            return Answer(
                report=Report(node=self.id, kind=self.kind, state="skipped", took_ms=0, detail=detail)
            )
        return await answer_of(self, question, self._timeout, self._ask(question))

    async def ping(self) -> Report:
        """Ask for its health."""
        return await ping_of(self, self._line.get_json("health/live"))

    async def aclose(self) -> None:
        """Give back the connections."""
        await self._line.aclose()

    async def _ask(self, question: Question) -> Heard:
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
            )
        )
        answered = await self._line.post_json(PATH, body)
        try:
            answer = msgspec.json.decode(answered, type=PeerAnswer)
        except (msgspec.MsgspecError, RecursionError):
            raise NodeFaulty("answered with something that is no gateway's answer") from None
        if answer.question != commitment(body):
            raise NodeFaulty("answered another question than it was asked")
        if answer.gateway != self._owner:
            raise NodeFaulty("answered in the name of another gateway")
        times = [time for result in answer.results for time in (result.performed, result.reported) if time]
        if any(time.tzinfo is None for time in times):
            raise NodeFaulty("answered with a time that has no zone")
        if not all(in_range(time) and time <= question.at + _SLACK for time in times):
            raise NodeFaulty("answered with a result of a time that cannot be")
        reached = {report.node for report in answer.nodes}
        if any(result.node not in reached for result in answer.results):
            raise NodeFaulty("answered with a result of a node that it does not report")
        return Heard(
            results=tuple(
                msgspec.structs.replace(result, id=f"{self.id}/{result.id}") for result in answer.results
            ),
            behind=tuple(msgspec.structs.replace(report, via=self.id) for report in answer.nodes),
            digest=hashlib.sha256(answered).digest(),
            gateway=self._owner,
        )
