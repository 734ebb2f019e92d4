"""批量处置: the doctor's decision on a check, at once for several of its results, told apart by a request id.

A check with recognised results is *pending* until each of them was decided about (docs/his.md has the states,
after hospital contracts in public code): the doctor recognises some, does not recognise others and says why,
or cancels what was about to be ordered. A decision may be withdrawn; then its results are open again. Every
decision ends as outcomes (:mod:`gateway.outcomes`): one for each result, and nothing else is stored, so that
statistics, ledger and erasure know one kind of thing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from gateway.access.clients import Client
from gateway.answers import one_each
from gateway.checks import Checks
from gateway.errors import BadRequest, NotFound, RequestIdReused
from gateway.model import (
    AwareTime,
    CheckAnswer,
    OutcomeCode,
    OutcomeIn,
    OutcomeOut,
    RequestId,
    ShortText,
    VerdictOut,
)
from gateway.outcomes import CANCEL, Asked, Kept, Outcomes, Request, out, stand_of, until_free

Choice = Literal["recognise", "not_recognise", "cancel", "withdraw"]
_OUTCOMES: dict[Choice, OutcomeCode] = {
    "recognise": "accepted",
    "not_recognise": "declined",
    "cancel": "withdrawn",
    "withdraw": "withdrawn",
}
MOST_RESULTS = 1000


class DecisionIn(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """处置: what was decided about ``results`` of a check; where none is named, all it can be about.

    ``recognise`` 互认 and ``not_recognise`` 不互认 (with the code of a reason) are about the open results,
    ``cancel`` 取消 closes them undecided, and ``withdraw`` 撤销 opens decided ones again.
    """

    request_id: RequestId
    decision: Choice
    results: Annotated[list[ShortText], Meta(max_length=MOST_RESULTS)] = []
    system: ShortText = ""
    code: ShortText = ""
    text: ShortText = ""
    at: AwareTime | None = None


class CheckDecisionIn(DecisionIn, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A decision with the id of its check."""

    check: ShortText


class DecisionsIn(Struct, frozen=True, forbid_unknown_fields=True):
    """Decisions, kept in this order, together or not at all."""

    decisions: Annotated[list[CheckDecisionIn], Meta(min_length=1, max_length=50)]


class DecidedOut(Struct, frozen=True, kw_only=True):
    """A decision as recorded. ``open`` are the recognised results that nobody has decided about by now; while
    there are any, the check is ``pending``."""

    check: str
    request_id: str
    decision: Choice
    outcomes: tuple[OutcomeOut, ...]
    state: Literal["pending", "closed"]
    open: tuple[str, ...]


class DecisionsOut(Struct, frozen=True):
    """The decisions as recorded, in the order in which they were sent."""

    decisions: tuple[DecidedOut, ...]


class Decisions:
    """Carries decisions out."""

    def __init__(self, checks: Checks, outcomes: Outcomes) -> None:
        self._checks = checks
        self._outcomes = outcomes

    async def decide(
        self, decisions: Sequence[tuple[str, DecisionIn]], client: Client, *, batch: bool = True
    ) -> tuple[DecidedOut, ...]:
        """Keep decisions (each with the id of its check) together or not at all. The same request id with the
        same body changes nothing, and is answered alike, with what is open by now.

        Raises:
            NotFound: no such check for this institution.
            BadRequest: a result or reason is not one of the check, or there is nothing to decide about.
            RequestIdReused: the request id came before with another body.
            EvidenceUnavailable: they could not be kept.
        """
        client.require("his")
        return await until_free(lambda: self._decide(decisions, client, batch=batch))

    async def _decide(
        self, decisions: Sequence[tuple[str, DecisionIn]], client: Client, *, batch: bool
    ) -> tuple[DecidedOut, ...]:
        answers: dict[str, CheckAnswer] = {}
        stands: dict[str, dict[str, Kept]] = {}
        taken: set[tuple[str, str]] = set()
        asked: list[Asked] = []
        kept: list[list[OutcomeOut] | slice] = []
        for number, (check, decision) in enumerate(decisions):
            place = f"decisions[{number}]." if batch else ""
            if check not in answers:
                answers[check] = await self._answer(check, client, f"{place}check" if batch else "")
                stands[check] = await self._outcomes.stands(check)
            key, digest = f"{client.id}|{decision.request_id}", _digest(check, decision)
            if any(one.request_id == decision.request_id for _, one in decisions[:number]):
                raise BadRequest("stands there twice; every decision has its own", field=f"{place}request_id")
            if before := await self._outcomes.keyed(f"{key}|"):
                if before[0].request is None or before[0].request.digest != digest:
                    raise RequestIdReused(
                        "this request id was used before with another body; a new decision needs a new id",
                        field=f"{place}request_id",
                    )
                kept.append([out(one) for one in before])
                continue
            about = _About(answers[check], stands[check], {of for at, of in taken if at == check})
            results = about.results(decision, place)
            taken |= {(check, result) for result in results}
            request = Request(digest, decision.decision)
            kept.append(slice(len(asked), len(asked) + len(results)))
            asked += [
                Asked(check, _outcome(decision, result), place, f"{key}|{n:04}", request)
                for n, result in enumerate(results)
            ]
        recorded = await self._outcomes.keep(asked, client)
        left = {check: open_results(answers[check], await self._outcomes.stands(check)) for check in answers}
        return tuple(
            DecidedOut(
                check=check,
                request_id=decision.request_id,
                decision=decision.decision,
                outcomes=tuple(recorded[one] if isinstance(one, slice) else one),
                state="pending" if left[check] else "closed",
                open=left[check],
            )
            for (check, decision), one in zip(decisions, kept, strict=True)
        )

    async def _answer(self, check: str, client: Client, place: str) -> CheckAnswer:
        try:
            return await self._checks.answer(check, client)
        except NotFound as wrong:
            wrong.field = place or wrong.field
            raise


class _About(Struct, frozen=True):
    """What a decision can be about: the check, the last words on its results, and the results that are
    ``taken``: an earlier decision of the same call is about them."""

    answer: CheckAnswer
    stands: dict[str, Kept]
    taken: set[str]

    def results(self, decision: DecisionIn, place: str) -> list[str]:
        """The results that it is about. Raises BadRequest."""
        shown = shown_results(self.answer)
        if decision.results:
            for number, result in enumerate(decision.results):
                self._refuse(decision, result, shown, f"{place}results[{number}]")
            return list(dict.fromkeys(decision.results))
        if decision.decision == "withdraw":
            each = one_each(shown.values())
            found = [one.result.id for one in each if _closes(stand_of(one, self.stands))]
        else:
            found = list(open_results(self.answer, self.stands))
        found = [result for result in found if result not in self.taken]
        if not found and decision.decision != CANCEL:  # to cancel what has nothing open is as good as done
            raise BadRequest(
                "is empty, and there is no result left that this decision could be about",
                field=f"{place}results",
            )
        return found

    def _refuse(self, decision: DecisionIn, result: str, shown: Mapping[str, VerdictOut], field: str) -> None:
        if result not in shown:
            raise BadRequest("is not a result of this check; send its id as the answer has it", field=field)
        if result in self.taken:
            raise BadRequest("is in an earlier decision of this call; decide once about it", field=field)
        if decision.decision == "withdraw" and not _closes(stand_of(shown[result], self.stands)):
            raise BadRequest("was not decided about; there is nothing to withdraw", field=field)


def shown_results(answer: CheckAnswer) -> dict[str, VerdictOut]:
    """The results of a check with their first verdicts, without those that are perhaps another person's."""
    found: dict[str, VerdictOut] = {}
    for verdict in answer.verdicts:
        if verdict.result.institution.code:
            found.setdefault(verdict.result.id, verdict)
    return found


def open_results(answer: CheckAnswer, stands: Mapping[str, Kept]) -> tuple[str, ...]:
    """The ids of the recognised results that no decision stands about, in the order of the answer."""
    return tuple(
        verdict.result.id
        for verdict in one_each(answer.verdicts)
        if verdict.verdict == "recognised" and not _closes(stand_of(verdict, stands))
    )


def _closes(stand: Kept | None) -> bool:
    """Whether a last word leaves nothing open: a decision that was not withdrawn, or the order's end."""
    return stand is not None and (stand.cancelled or stand.outcome != "withdrawn")


def _outcome(decision: DecisionIn, result: str) -> OutcomeIn:
    return OutcomeIn(
        result=result,
        outcome=_OUTCOMES[decision.decision],
        at=decision.at,
        system=decision.system,
        code=decision.code,
        text=decision.text,
    )


def _digest(check: str, decision: DecisionIn) -> str:
    """What tells bodies apart; the same decision is one in a batch and alone."""
    alone = DecisionIn(**{name: getattr(decision, name) for name in DecisionIn.__struct_fields__})
    return hashlib.sha256(check.encode() + msgspec.json.encode(alone)).hexdigest()
