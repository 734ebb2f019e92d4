"""CDS Hooks feedback: what became of a card, as outcomes of the recognised results that it was about.

Accepted is accepted. Overridden with a reason is declined with that reason; with a comment alone it is
declined as 其他, whose text is the comment. Overridden without a word says that the doctor saw the card and
went on: its results count as viewed, and stay open for a decision.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway.checks import SKEW
from gateway.errors import BadRequest, NotFound
from gateway.faces._cds_suggestions import suggestion_id
from gateway.faces.cards import REASONS_SYSTEM, results_of
from gateway.model import AwareTime, CheckAnswer, OutcomeIn, ShortText
from gateway.outcomes import Asked

OFFERED_REASONS = "platform-A"
"""The code system whose reasons a card offers; the others are accepted too."""
OTHER_REASON = "08"
"""其他 of that system, whose text says what."""
_FIELDS = {
    "system": "overrideReason.reason.system",
    "code": "overrideReason.reason.code",
    "text": "overrideReason.userComment",
}


class OverrideCode(Struct, frozen=True):
    """The Coding of an override reason; without a system it is one that the card offered."""

    code: ShortText
    system: ShortText | None = None


class Override(Struct, frozen=True, rename="camel"):
    """Why a card was overridden: one of its reasons, what the doctor wrote, or both."""

    reason: OverrideCode | None = None
    user_comment: ShortText | None = None


class Accepted(Struct, frozen=True):
    """A suggestion that was accepted."""

    id: ShortText


class Feedback(Struct, frozen=True, kw_only=True, rename="camel"):
    """One entry of a feedback call: what became of a card, and when."""

    card: ShortText
    outcome: Literal["accepted", "overridden"]
    accepted_suggestions: Annotated[list[Accepted], Meta(max_length=100)] | None = None
    override_reason: Override | None = None
    outcome_timestamp: AwareTime | None = None


class FeedbackCall(Struct, frozen=True):
    """The body of a feedback call."""

    feedback: Annotated[list[Feedback], Meta(max_length=100)]


def parts(entry: Feedback) -> tuple[str, str]:
    """The id of the check, and the card of it, that an entry is about."""
    check, _, card = entry.card.partition(".")
    return check, card


def outcomes_of(entry: Feedback, answer: CheckAnswer, now: datetime, place: str) -> list[Asked]:
    """The outcomes that an entry means, one for each result that the card was about.

    Raises:
        NotFound: the answer has no such card, or the card no such suggestion.
    """
    results = results_of(answer, parts(entry)[1])
    if results is None:
        raise NotFound("is no card that your institution got", field=f"{place}.card")
    for number, suggestion in enumerate(entry.accepted_suggestions or ()):
        if suggestion.id != suggestion_id(entry.card):
            raise NotFound("is no suggestion of that card", field=f"{place}.acceptedSuggestions[{number}].id")
    at = entry.outcome_timestamp
    if at is not None and not answer.answered_at - SKEW <= at <= now:
        at = None  # by a clock that is wrong; then the time of the feedback counts
    return [Asked(answer.id, _outcome(entry, result, at), f"{place}.") for result in results]


@contextmanager
def saying_where() -> Iterator[None]:
    """Say of a refused reason where it stands in the feedback."""
    try:
        yield
    except BadRequest as wrong:
        place, _, last = wrong.field.rpartition(".")
        wrong.field = f"{place}.{_FIELDS.get(last, last)}"
        raise


def _outcome(entry: Feedback, result: str, at: datetime | None) -> OutcomeIn:
    if entry.outcome == "accepted":
        return OutcomeIn(result=result, outcome="accepted", at=at)
    why = entry.override_reason or Override()
    comment = why.user_comment or ""
    reason = why.reason or (OverrideCode(OTHER_REASON) if comment.strip() else None)
    if reason is None:
        return OutcomeIn(result=result, outcome="viewed", at=at)
    system = (reason.system or OFFERED_REASONS).removeprefix(f"{REASONS_SYSTEM}/")
    return OutcomeIn(result=result, outcome="declined", at=at, system=system, code=reason.code, text=comment)
