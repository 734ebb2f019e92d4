"""The recognition of one report: a check whose planned items are those of the report that is already there.

The report is read like any other resource, with consent and evidence, so it is known whose it is and which
results it holds. Then a check is made as at reception (:meth:`gateway.checks.Checks.history`), with the items
of these results planned and nothing else; of its verdicts those on the report's own results are told.
"""

from __future__ import annotations

import uuid

from msgspec import Raw
from msgspec.structs import replace

from adapters.fhir_read import DiagnosticReport, Unreadable, read
from gateway.access.clients import Client
from gateway.checks import Checks
from gateway.errors import BadRequest
from gateway.model import CheckAnswer, HistoryRequest, PersonIn
from gateway.reading import Reading
from gateway.resources.values import Place


class Recognising:
    """Says of a report what of it is recognised. ``look_back_days``: how far back results are looked for."""

    def __init__(self, checks: Checks, reading: Reading, look_back_days: int) -> None:
        self._checks = checks
        self._reading = reading
        self._days = look_back_days

    async def report(self, place: Place, client: Client) -> CheckAnswer:
        """The verdict on each result of the report at ``place``, for the client's institution.

        Raises:
            BadRequest: the report cannot be judged; and as :meth:`gateway.reading.Reading.read` and
                :meth:`gateway.checks.Checks.ask`.
        """
        kept, whose = await self._reading.whose(place, client)
        try:
            report = read(Raw(kept.body), DiagnosticReport)
        except Unreadable:
            words = "cannot be judged: it says by a modifier that it means something else"
            raise BadRequest(words, field="DiagnosticReport") from None
        own = f"{kept.node}/DiagnosticReport/{kept.id}"
        members = {f"{kept.node}/{member.local}" for member in report.result}

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
