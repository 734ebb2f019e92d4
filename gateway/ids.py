"""Ids of what this gateway keeps: they sort by the time they were made at, and say nothing else.

Twelve hexadecimal digits are the milliseconds since 1970, twenty are random (80 bits): nobody meets one by
guessing, and a store pages them in the order of time (UUID version 7 without its dashes, RFC 9562 §5.7,
rests on the same idea).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from security.drawing import drawer

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_draw = drawer(10)


def new_id(now: datetime) -> str:
    """An id of 32 hexadecimal digits that is made at ``now`` (aware)."""
    return since(now) + _draw().hex()


def since(moment: datetime) -> str:
    """The text that ids made at this (aware) moment or later come after, and earlier ones before."""
    return f"{(moment - _EPOCH) // _MILLISECOND:012x}"


def time_of(id_: str) -> datetime:
    """When an id of :func:`new_id` was made, to the millisecond."""
    return _EPOCH + int(id_[:12], 16) * _MILLISECOND
