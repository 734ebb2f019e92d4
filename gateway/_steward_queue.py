"""The review queue: its rows in groups, by the number of their messages, and the cursor of its pages."""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import re
from collections.abc import AsyncIterator

from adapters.store import Tally
from gateway.access.clients import Client
from gateway.errors import BadRequest
from gateway.review import KIND, Row, read_row
from gateway.rules import Rules
from gateway.wiring import Gateway
from mapping.sites import SiteTable, keys_of

PAGE = 500
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


def sees(client: Client, site: str) -> bool:
    """Whether a steward is concerned with an institution's names."""
    return client.institution in ("", site)


async def read_groups(gateway: Gateway, client: Client, site: str, reason: str) -> list[Group]:
    """The groups that a steward sees, of one site and reason where these are given, in their order."""
    rules, table = gateway.rules, gateway.sites.table
    groups: dict[tuple[str, str, str], Group] = {}
    async for tally in _rows(gateway, site or client.institution):
        row = read_row(tally)
        place = (row.local.site, row.reason, row.token)
        wanted = site in ("", place[0]) and reason in ("", row.reason) and sees(client, place[0])
        if wanted and not settled(tally, row, table, rules):
            groups.setdefault(place, Group(*place)).add(tally, row)
    return sorted(groups.values(), key=lambda group: group.place)


async def _rows(gateway: Gateway, site: str) -> AsyncIterator[Tally]:
    """The rows of a site, or of all sites."""
    begin = after = keys_of(site) if site else ""
    while page := await gateway.store.tallies(KIND, after, PAGE):
        for tally in page:
            if not tally.id.startswith(begin):
                return
            yield tally
        after = page[-1].id
        await asyncio.sleep(0)  # others are served meanwhile


def settled(tally: Tally, row: Row, table: SiteTable, rules: Rules) -> bool:
    """Whether a confirmation answers the row: it was not met since, or it is read by now."""
    mapping = table.active.get(tally.id)
    return mapping is not None and (
        tally.last <= mapping.steps[-1].at or bool(rules.normaliser.read(row.local).items)
    )
