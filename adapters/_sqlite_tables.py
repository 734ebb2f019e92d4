"""The tables of a SQLite store: found, brought to this version's revision, taken back."""

from __future__ import annotations

import sqlite3

from msgspec.structs import astuple

from adapters import migrations
from adapters.schema import CHUNK, LAST_SUBTREE, check_hash, span
from adapters.subtrees import grow
from security.digests import HashName
from security.tiles import TILE_WIDTH
from security.tree import Frontier


def found(connection: sqlite3.Connection) -> tuple[str, bool]:
    """The revision of the tables, empty where there are none, and whether it was told before alembic."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if migrations.TABLE in tables:
        return connection.execute(f"SELECT version_num FROM {migrations.TABLE}").fetchone()[0], False  # noqa: S608
    if "schema_version" in tables:
        (count,) = connection.execute("SELECT count(*) FROM schema_version").fetchone()
        return f"{count:04}", True
    return "", False


def migrate(connection: sqlite3.Connection, hash_name: HashName, allowed: bool) -> None:
    """Bring the tables to this version's revision, within the caller's transaction.

    Raises StoreError for those of a newer version or of another hash, and where that is not allowed.
    """
    for statement in migrations.upgrade(*found(connection), "sqlite", allowed):
        connection.execute(statement)
    connection.execute("INSERT INTO log_head VALUES (1, 0, x'', ?) ON CONFLICT DO NOTHING", (hash_name,))
    size, born_with = connection.execute("SELECT size, hash FROM log_head").fetchone()
    check_hash(born_with, hash_name)
    (known,) = connection.execute(LAST_SUBTREE).fetchone()
    if known < size // TILE_WIDTH:
        _fill(connection, hash_name)


def downgrade(connection: sqlite3.Connection, to: str) -> None:
    """Take the tables back, within the caller's transaction. Raises StoreError where there is no such way."""
    revision, adopted = found(connection)
    for statement in migrations.downgrade("" if adopted else revision, to, "sqlite"):
        connection.execute(statement)


def _fill(connection: sqlite3.Connection, hash_name: HashName) -> None:
    """Write the subtrees of a ledger that was begun before they were kept."""
    frontier, query = Frontier(), "SELECT leaf FROM entry WHERE idx >= ? AND idx < ? ORDER BY idx"
    while rows := connection.execute(query, span(frontier.size, CHUNK)).fetchall():
        frontier, complete = grow(frontier, [leaf for (leaf,) in rows], hash_name)
        connection.executemany(
            "INSERT INTO subtree VALUES (?, ?, ?) ON CONFLICT DO NOTHING", map(astuple, complete)
        )
