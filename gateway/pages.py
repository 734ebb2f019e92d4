"""Searches that have more than one page: what was found is kept for some minutes, so that pages fit together.

It lies in this process, or where replicas share a Redis there, so that any of them shows the next page; and
sealed as in the store, since it is results of patients. The address of a page is a random name, which only
the client that it was given to may use.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import msgspec
from msgspec import Struct

from adapters.shared import Shared
from gateway.errors import Gone
from gateway.resources.searchset import Searchset
from security.envelope import Envelope
from security.errors import TrustError
from security.pseudonym import Pseudonyms

KEPT_S = 300.0
"""For how many seconds pages are kept."""


class Paged(Struct, frozen=True, kw_only=True):
    """What was found for a client, of a type; where it is about a person, by what that one is known here, and
    the entry of the ledger that has the question."""

    client: str
    type: str
    found: Searchset
    person: Pseudonyms | None = None
    question: str = ""


class Pages:
    """The pages that can be asked for.

    Args:
        shared: where they are kept.
        envelope: what seals them; None where there is nothing to seal with (a source on its own).
    """

    def __init__(self, shared: Shared, envelope: Callable[[], Envelope] | None = None) -> None:
        self._shared = shared
        self._envelope = envelope

    async def keep(self, paged: Paged) -> str:
        """Keep what was found, where it has several pages: the name of its pages, else empty."""
        if not paged.found.paged:
            return ""
        name = secrets.token_urlsafe(24)
        data = msgspec.msgpack.encode(paged)
        if self._envelope:
            data = self._envelope().seal(data, _key(name))
        await self._shared.set(_key(name), data, KEPT_S)
        return name

    async def open(self, page: str, client: str) -> tuple[Paged, int]:
        """What the page is of, and with which match it begins; ``page`` is ``<name>.<number>``.

        Raises:
            Gone: it was never told, not to this client, or is forgotten.
        """
        name, _, start = page.partition(".")
        data = await self._shared.get(_key(name))
        if data is not None and start.isascii() and start.isdigit() and len(start) < 10:
            try:
                opened = self._envelope().open(data, _key(name)) if self._envelope else data
                paged = msgspec.msgpack.decode(opened, type=Paged)
            except (TrustError, msgspec.MsgspecError):
                paged = None
            if paged and paged.client == client and int(start) < len(paged.found.rows):
                return paged, int(start)
        raise Gone("this page is forgotten, or is none; search again")


def _key(name: str) -> str:
    return f"page|{name}"
