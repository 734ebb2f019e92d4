"""The recognition of one report: a check whose planned items are those of the report that is already there.

The report is read like any other resource, with consent and evidence, so it is known whose it is and which
results it holds; what a panel among them holds is of the report, too, and the node's Observations of this
person say that. Then a check is made as at reception (:meth:`gateway.checks.Checks.history`), with the items
of these results planned and nothing else; of its verdicts those on the report's own results are told.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from msgspec import Raw
from msgspec.structs import replace

from adapters import Answer, Node, Question
from adapters.fhir_read import DiagnosticReport, Unreadable, read
from gateway.access.clients import Client
from gateway.checks import Checks, begin
from gateway.errors import BadRequest, NodeUnheard
from gateway.finding import search
from gateway.model import CheckAnswer, HistoryRequest, PersonIn
from gateway.reading import Reading, Sought
from gateway.resources.conditions import opened
from gateway.resources.local import referred
from gateway.resources.query import Include
from gateway.resources.values import Kept, Place
from gateway.search import homes_of
from gateway.wiring import Gateway
from security.identity import Identifier

_RESULTS = Include("DiagnosticReport", "result", ("Observation",))
_MEMBERS = Include("Observation", "has-member", ("Observation",))


class Recognising:
    """Says of a report what of it is recognised, as far back as nodes are asked."""

    def __init__(self, gateway: Gateway, checks: Checks, reading: Reading) -> None:
        self._gateway = gateway
        self._checks = checks
        self._reading = reading
        self._days = gateway.settings.lookback_days

    async def report(self, place: Place, client: Client) -> CheckAnswer:
        """The verdict on each result of the report at ``place``, for the client's institution.

        Raises:
            BadRequest: the report cannot be judged.
            NodeUnheard: the node that has the report does not say now what its panels hold.
            NotFound, ConsentDenied …: as :meth:`gateway.reading.Reading.read` and
                :meth:`gateway.checks.Checks.ask`.
        """
        kept, whose = await self._reading.whose(place, client)
        try:
            read(Raw(kept.body), DiagnosticReport)
        except Unreadable:
            words = "cannot be judged: it says by a modifier that it means something else"
            raise BadRequest(words, field="DiagnosticReport") from None
        own = f"{kept.node}/DiagnosticReport/{kept.id}"
        members = await self._members(kept, whose[0], client)

        def of(id_: str) -> bool:
            return id_ == own or id_.startswith(f"{own}/") or id_ in members

        request = HistoryRequest(
            request_id=uuid.uuid4().hex,
            patient=PersonIn(whose[0].type, whose[0].text),
            look_back_days=self._days,
        )
        answered = await self._checks.history(request, client, "fhir", lambda result: of(result.id))
        verdicts = tuple(one for one in answered.answer.verdicts if of(one.result.id))
        return replace(answered.answer, verdicts=verdicts)

    async def _members(self, report: Kept, person: Identifier, client: Client) -> set[str]:
        """``<node>/Observation/<id>`` of what a report holds, and of what the panels among that hold."""
        homes = homes_of(self._gateway, report.node)
        left, found = referred(opened(report.body), _RESULTS, homes), set[str]()
        panels = await self._panels(report.node, person, client) if left else {}
        while left:
            if (place := left.pop()) not in found:
                found.add(place)
                left += referred(opened(panels[place]), _MEMBERS, homes) if place in panels else ()
        return {f"{report.node}/{place}" for place in found}

    async def _panels(self, way: str, person: Identifier, client: Client) -> dict[str, bytes]:
        """A person's Observations at a node that have members, by ``Observation/<id>``."""
        gateway, now = self._gateway, datetime.now(UTC)
        question = replace(
            self._reading.question(client, now),
            person=person,
            kinds=("lab",),
            since=begin(now, self._days),
            pseudonyms=(await gateway.pseudonyms(person)).all,
        )

        async def call(node: Node, asked: Question) -> Answer:
            return await search(node, asked, "Observation", "date", "")

        top, _, behind = way.partition("/")
        answers = await gateway.broker.ask(question, call, [top])
        if lacking := Sought((), answers).lacking:
            raise NodeUnheard.of(lacking)
        return {
            f"Observation/{match.key.id}": bytes(match.raw)
            for answer in answers
            for match in answer.matches
            if match.node == behind and b"hasMember" in bytes(match.raw)
        }
