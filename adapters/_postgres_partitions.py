"""The partitions of a PostgreSQL store: made ahead, filled with what came before them, dropped when expired.

Each series of partitions has one beside it that catches what no other takes (``…_rest``), so that nothing is
ever refused for want of a partition. What stands there of a time that gets its own is moved. Meanwhile the
table is locked as a whole: a statement that was planned before a partition was there would miss what has
moved into it. Where the lock is not to be had in half a second, since somebody reads for long, it is left for
the next time, and commits have waited no longer than that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import asyncpg
from msgspec import Struct

from adapters._postgres_connections import LONG_SECONDS
from adapters.schema import micros

AHEAD, FORMER = 1, 120
"""Months: how many are made ahead, and how far back they are made for what is older."""
ENTRIES = 1 << 27
"""The secrets of a partition; the next one is made ahead too."""
LOCK = 0x6C69616E72656E  # any number that other programs on this database do not lock
_LOCKED = "SET LOCAL lock_timeout = '500ms'; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE"
_FREE_KEYS = """
DELETE FROM document_key USING {} AS gone WHERE document_key.kind = gone.kind AND document_key.key = gone.key
"""
_NAMES = """
SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = to_regclass($1) AND relname ~ ('^' || $1 || '_[0-9]+$')
"""


class Series(Struct, frozen=True):
    """A table in partitions by ranges of ``column``: the value that the n-th begins with, how n is written in
    the partition's name and read from it."""

    table: str
    column: str
    begin: Callable[[int], Any]
    write: Callable[[int], str]
    read: Callable[[str], int]

    def name(self, number: int) -> str:
        return f"{self.table}_{self.write(number)}"

    def span(self, number: int) -> tuple[Any, Any]:
        return self.begin(number), self.begin(number + 1)


def month_of(moment: datetime) -> int:
    utc = moment.astimezone(UTC)
    return utc.year * 12 + utc.month - 1


def _first_of(month: int) -> datetime:
    return datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)


def _written_month(month: int) -> str:
    return f"{month // 12:04}{month % 12 + 1:02}"


def _read_month(written: str) -> int:
    return int(written[:4]) * 12 + int(written[4:]) - 1


def _id_of(month: int) -> str:
    """What the ids of a month and later come after: milliseconds since 1970 in twelve hexadecimal digits."""
    return f"{micros(_first_of(month)) // 1000:012x}"


HELD = Series("held", "at", lambda n: micros(_first_of(n)), _written_month, _read_month)
TOKENS = Series("token", "at", HELD.begin, _written_month, _read_month)
CASES = Series("document_case", "id", _id_of, _written_month, _read_month)
RECORDS = Series("document_record", "id", _id_of, _written_month, _read_month)
SECRETS = Series("secret", "idx", lambda n: n * ENTRIES, "{:06}".format, int)
_MONTHLY = (HELD, TOKENS, CASES, RECORDS)


async def keep(connection: Any, now: datetime, size: int) -> None:
    """Make the partitions that are missing, up to ``now`` and to a ledger of ``size`` entries, and ahead."""
    month, last = month_of(now), size // ENTRIES
    for series in _MONTHLY:
        former = await _caught(connection, series, range(month - FORMER, month))
        await _make(connection, series, {*former, *range(month, month + AHEAD + 1)})
    await _make(connection, SECRETS, {*await _caught(connection, SECRETS, range(last)), last, last + 1})


async def keep_held(connection: Any, now: datetime, months: Iterable[int]) -> None:
    """Make the partitions of held results, and of what they are found by, that are missing of these months,
    unless they lie far away."""
    month = month_of(now)
    near = range(month - FORMER, month + AHEAD + 1)
    wanted = {number for number in months if number in near}
    for series in (HELD, TOKENS):
        await _make(connection, series, wanted)


async def made_until(connection: Any) -> datetime:
    """The end of the last month that all have partitions for; the beginning of time where one has none."""
    months = [max(await _made(connection, series), default=12) for series in _MONTHLY]
    return _first_of(min(months) + 1)


async def drop_before(connection: Any, series: Series, before: Any) -> int:
    """Drop the partitions that end at ``before`` (a value of the column) or earlier: how many rows they had.

    Within the caller's transaction, which locks readers out until it ends, and none where the lock is not to
    be had; what stands elsewhere, and what was not dropped, is the caller's to delete.
    """
    names = [
        series.name(number)
        for number in await _made(connection, series)
        if series.begin(number + 1) <= before
    ]
    rows = 0
    for name in names:  # before anybody is locked out
        rows += await connection.fetchval(f"SELECT count(*) FROM {name}", timeout=LONG_SECONDS)  # noqa: S608
        if name.startswith("document"):
            await connection.execute(_FREE_KEYS.format(name), timeout=LONG_SECONDS)
    if names:
        try:
            async with connection.transaction():
                await connection.execute(_LOCKED.format(series.table))
                await connection.execute(f"DROP TABLE {', '.join(names)}")
        except asyncpg.LockNotAvailableError:
            return 0
    return rows


async def _make(connection: Any, series: Series, numbers: set[int]) -> None:
    for number in sorted(numbers - await _made(connection, series)):
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
            if number not in await _made(connection, series):  # by another replica
                await connection.execute(_making(series, number), timeout=LONG_SECONDS)


async def _made(connection: Any, series: Series) -> set[int]:
    names = [row[0] for row in await connection.fetch(_NAMES, series.table)]
    return {series.read(name.removeprefix(f"{series.table}_")) for name in names}


async def _caught(connection: Any, series: Series, numbers: range) -> set[int]:
    """Those of the partitions that would take something from the rest."""
    if not await connection.fetchval(f"SELECT EXISTS (SELECT 1 FROM {series.table}_rest)"):  # noqa: S608
        return set()
    type_ = "text" if series.column == "id" else "bigint"
    begins, ends = ([series.span(number)[side] for number in numbers] for side in (0, 1))
    rows = await connection.fetch(
        f"SELECT number FROM unnest($1::bigint[], $2::{type_}[], $3::{type_}[]) AS span (number, first, last)"  # noqa: S608
        f" WHERE EXISTS (SELECT 1 FROM {series.table}_rest"
        f" WHERE {series.column} >= span.first AND {series.column} < span.last)",
        list(numbers), begins, ends, timeout=LONG_SECONDS,
    )  # fmt: skip
    return {row[0] for row in rows}


def _making(series: Series, number: int) -> str:
    """Make one beside, move what the rest has of it, and attach it."""
    table, name, (begin, end) = series.table, series.name(number), series.span(number)
    return f"""
    {_LOCKED.format(table)};
    CREATE TABLE {name} (LIKE {table} INCLUDING ALL);
    WITH moved AS (
        DELETE FROM {table}_rest WHERE {series.column} >= {begin!r} AND {series.column} < {end!r} RETURNING *
    ) INSERT INTO {name} SELECT * FROM moved;
    ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({begin!r}) TO ({end!r});
    """  # noqa: S608 - names and bounds made here
