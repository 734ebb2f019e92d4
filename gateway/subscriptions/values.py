"""What is kept of a subscription: what was asked for, how far it came, and the events to be told."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Raw, Struct
from msgspec.structs import replace

from catalog.fhir import BASE

MARK_WITHDRAWN = f"{BASE}/SubscriptionTopic/mark-withdrawn"
"""A mark that a check of the subscriber's institution recognised was withdrawn."""
NEW_RESULT = f"{BASE}/SubscriptionTopic/new-result"
"""A patient of whom the subscriber's institution has an open check got a new result published."""
TOPICS = (MARK_WITHDRAWN, NEW_RESULT)
KIND, STATE, EVENT = "subscription", "subscription-state", "subscription-event"
"""Kinds of documents. The first is written for the client alone, the others by who notifies."""

Status = Literal["requested", "active", "error", "off"]
Content = Literal["id-only", "empty"]


class Kept(Struct, frozen=True, kw_only=True):
    """A subscription as its client last sent it (``resource``, ``version`` from 1), and what of it counts.

    ``heartbeat`` is in seconds, 0 for none; ``most`` is how many events one notification may have; events
    count from the place ``ledger`` and the withdrawal ``withdrawals`` on, which were there before it.
    """

    id: str
    client: str
    institution: str
    topic: str
    endpoint: str
    content: Content
    end: datetime | None
    heartbeat: int
    most: int
    off: bool
    version: int
    saved: datetime
    ledger: int
    withdrawals: int
    resource: Raw


class State(Struct, frozen=True, kw_only=True):
    """How far version ``of`` of a subscription came: which events were found and how many of them delivered,
    whether the endpoint ever answered, and its failures in a row, with when to try again. ``causes`` are of
    withdrawals that will be looked at again."""

    of: int
    status: Status
    ledger: int
    withdrawals: int
    events: int = 0
    delivered: int = 0
    met: bool = False
    said: datetime | None = None
    failures: int = 0
    retry: datetime | None = None
    error: str = ""
    causes: tuple[str, ...] = ()

    @classmethod
    def new(cls, kept: Kept, before: State | None = None) -> State:
        """That of a version nobody has looked at. Events go on being numbered, and none is lost but those of
        a time in which it was off."""
        status: Status = "off" if kept.off else "requested"
        fresh = cls(of=kept.version, status=status, ledger=kept.ledger, withdrawals=kept.withdrawals)
        if before is None:
            return fresh
        if before.status == "off":
            return replace(fresh, events=before.events, delivered=before.delivered)
        return replace(before, of=kept.version, status=status, met=False, failures=0, retry=None, error="")


class Event(Struct, frozen=True, kw_only=True):
    """What happened: its number from 1, when, where to look (``focus``, an address of this gateway) and its
    identifier, and the checks that it concerns (addresses)."""

    number: int
    at: datetime
    focus: str
    system: str
    value: str
    context: tuple[str, ...] = ()


def event_id(subscription: str, number: int) -> str:
    """The id of an event's document: those of a subscription stand together, in their order."""
    return f"{subscription}.{number:09d}"
