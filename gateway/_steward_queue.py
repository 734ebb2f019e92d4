"""The order of the review queue: groups by the number of their messages, and the cursor of its pages."""

from __future__ import annotations

import hashlib
import heapq
import re

from adapters.store import Tally
from gateway.errors import BadRequest
from gateway.review import Row

SHOWN = 20
"""Names of a group that a list shows; they are those met most often."""


class Group:
    """The names of one group while the queue is read: only those met most often are held."""

    def __init__(self, site: str, reason: str, token: str) -> None:
        self.site, self.reason, self.token = site, reason, token
        self.digest = hashlib.sha256("\0".join((site, reason, token)).encode()).hexdigest()[:16]
        self.count = self.members = 0
        self._top: list[tuple[int, str, Tally, Row]] = []

    @property
    def place(self) -> tuple[int, str]:
        """Where it stands in the queue: the most messages first."""
        return -self.count, self.digest

    @property
    def cursor(self) -> str:
        """What the next page begins after."""
        return f"{self.count}-{self.digest}"

    def add(self, tally: Tally, row: Row) -> None:
        """Count one name."""
        self.count += tally.count
        self.members += 1
        entry = (tally.count, tally.id, tally, row)
        if len(self._top) < SHOWN:
            heapq.heappush(self._top, entry)
        else:
            heapq.heappushpop(self._top, entry)

    def top(self) -> list[tuple[Tally, Row]]:
        """The names that are shown, the one met most often first."""
        return [(tally, row) for _, _, tally, row in sorted(self._top, key=lambda e: (-e[0], e[1]))]


def place_of(after: str) -> tuple[int, str]:
    """The place of a cursor; before all groups for an empty one.

    Raises:
        BadRequest: it is not of an earlier page.
    """
    if not after:
        return -(2**63), ""
    if not re.fullmatch(r"[0-9]{1,18}-[0-9a-f]{16}", after):
        raise BadRequest("is not the next of an earlier page", field="after")
    count, _, digest = after.partition("-")
    return -int(count), digest
