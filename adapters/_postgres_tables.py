"""The tables of a PostgreSQL store: found, brought to this version's revision, taken back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from msgspec.structs import astuple

from adapters import migrations
from adapters._postgres_connections import LONG_SECONDS
from adapters._postgres_partitions import LOCK, keep
from adapters.schema import CHUNK, LAST_SUBTREE, check_hash, span
from adapters.subtrees import grow
from security.digests import HashName
from security.tiles import TILE_WIDTH
from security.tree import Frontier

_THERE = f"""
SELECT to_regclass('{migrations.TABLE}') IS NOT NULL, to_regclass('schema_version') IS NOT NULL
"""
_TURN = "SELECT pg_advisory_xact_lock($1)"  # replicas start together


async def found(connection: Any) -> tuple[str, bool]:
    """The revision of the tables, empty where there are none, and whether it was told before alembic."""
    now, former = await connection.fetchrow(_THERE)
    if now:
        return await connection.fetchval(f"SELECT version_num FROM {migrations.TABLE}"), False  # noqa: S608
    if former:
        count = await connection.fetchval("SELECT count(*) FROM schema_version")
        return f"{count:04}", True
    return "", False


async def migrate(connection: Any, hash_name: HashName, allowed: bool) -> None:
    """Bring the tables to this version's revision, within the caller's transaction.

    Raises StoreError for those of a newer version or of another hash, and where that is not allowed.
    """
    await connection.execute(_TURN, LOCK)
    statements = migrations.upgrade(*await found(connection), "postgresql", allowed)
    for statement in statements:
        await connection.execute(statement, timeout=LONG_SECONDS)
    await connection.execute("INSERT INTO log_head VALUES (1, 0, '', $1) ON CONFLICT DO NOTHING", hash_name)
    size, born_with = await connection.fetchrow("SELECT size, hash FROM log_head")
    check_hash(born_with, hash_name)
    if await connection.fetchval(LAST_SUBTREE) < size // TILE_WIDTH:
        await _fill(connection, hash_name)
    if statements:  # in the same transaction, so that no other replica finds them half made
        await keep(connection, datetime.now(UTC), size)


async def downgrade(connection: Any, to: str) -> None:
    """Take the tables back, within the caller's transaction. Raises StoreError where there is no such way."""
    await connection.execute(_TURN, LOCK)
    revision, adopted = await found(connection)
    for statement in migrations.downgrade("" if adopted else revision, to, "postgresql"):
        await connection.execute(statement, timeout=LONG_SECONDS)


async def _fill(connection: Any, hash_name: HashName) -> None:
    """Write the subtrees of a ledger that was begun before they were kept."""
    frontier, query = Frontier(), "SELECT leaf FROM entry WHERE idx >= $1 AND idx < $2 ORDER BY idx"
    while rows := await connection.fetch(query, *span(frontier.size, CHUNK)):
        frontier, complete = grow(frontier, [row[0] for row in rows], hash_name)
        await connection.executemany(
            "INSERT INTO subtree VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", list(map(astuple, complete))
        )
