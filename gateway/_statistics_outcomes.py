"""What was told of checks, by check, in a passing table on disk: it may come long after its check."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct

from gateway._statistics_counting import Told
from gateway.ids import since
from gateway.model import OutcomeOut
from gateway.wiring import Gateway

PAGE = 100
"""How many documents are read at once."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ERASED = "erased:"
"""The reason of an outcome whose payload was erased; that it was declined stays known."""


class _Reason(Struct, frozen=True):
    system: str = ""
    code: str = ""


class Outcomes:
    """What was told of every check, in a nameless database: in memory while small, else on disk."""

    def __init__(self) -> None:
        self._told = sqlite3.connect("")
        self._told.execute("CREATE TABLE told (of TEXT, result, outcome, at INTEGER, reason, refusal)")

    async def load(self, gateway: Gateway, start: datetime) -> None:
        """Take in every outcome recorded since ``start``."""
        after = since(start)
        while page := await gateway.store.documents("outcome", after, PAGE):
            for document in page:
                one = msgspec.json.decode(document.body, type=OutcomeOut)
                reason = ""
                if one.outcome == "declined":  # which one it was stands in the ledger's payload only
                    secret = await gateway.store.secret(one.ledger.entry)
                    told = msgspec.json.decode(secret.payload, type=_Reason) if secret else None
                    reason = f"{told.system}:{told.code}" if told else _ERASED
                at = (one.at - _EPOCH) // timedelta(microseconds=1)
                row = (one.check, one.result, one.outcome, at, reason, one.counts_as_refusal is True)
                self._told.execute("INSERT INTO told VALUES (?, ?, ?, ?, ?, ?)", row)
            after = page[-1].id
            await asyncio.sleep(0)  # others are served meanwhile
        self._told.execute("CREATE INDEX told_of ON told (of)")

    def of(self, check: str) -> Iterator[Told]:
        """What was told of a check; of what was decided in one moment, the one recorded last comes last."""
        query = "SELECT result, outcome, at, reason, refusal FROM told WHERE of = ? ORDER BY at, rowid"
        for row in self._told.execute(query, (check,)):
            yield Told(*row)

    def close(self) -> None:
        """Forget everything."""
        self._told.close()
