"""The results index in SQLite: what one transaction does to ``held`` and ``pointer``."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime

from adapters.schema import held_row, micros, pointer_row
from adapters.store import Held, Pointer, storable, widened

_WIDEN = """
ON CONFLICT (person, node, grp) DO UPDATE SET first = min(first, excluded.first),
last = max(last, excluded.last), noted = max(noted, excluded.noted),
published = max(published, excluded.published)
"""
_MOVE_POINTERS = """
INSERT INTO pointer SELECT person, :to, grp, first, last, noted, published FROM pointer WHERE node = :node
"""


def named(**columns: Sequence[str]) -> tuple[str, list[str]]:
    """The condition that each column has one of its values, and the values in its order."""
    fit = {column: list(filter(storable, values)) for column, values in columns.items()}
    among = " AND ".join(f"{column} IN ({','.join('?' * len(values))})" for column, values in fit.items())
    return among, [value for values in fit.values() for value in values]


def hold(
    connection: sqlite3.Connection,
    held: Sequence[Held],
    pointers: Sequence[Pointer],
    gone: Iterable[tuple[str, str, str]],
    afresh: Iterable[tuple[str, str]],
) -> int:
    """:meth:`adapters.store.Store.hold`; what stands for the same may have another time."""
    erased = sum(unhold(connection, [person], node, None) for person, node in afresh)
    former = [*filter(lambda names: all(map(storable, names)), gone)]
    former += [(one.person, one.node, one.id) for one in held]
    connection.executemany("DELETE FROM held WHERE person = ? AND node = ? AND id = ?", former)
    newest = {(one.person, one.node, one.id): held_row(one) for one in held}
    connection.executemany("INSERT INTO held VALUES (?, ?, ?, ?, ?)", newest.values())
    connection.executemany(
        f"INSERT INTO pointer VALUES (?, ?, ?, ?, ?, ?, ?) {_WIDEN}",  # noqa: S608 - a constant
        [pointer_row(one) for one in widened(pointers)],
    )
    return erased


def unhold(connection: sqlite3.Connection, persons: Sequence[str], node: str, before: datetime | None) -> int:
    """:meth:`adapters.store.Store.unhold`."""
    conditions: dict[str, Sequence[str]] = {}
    if persons:
        conditions["person"] = persons
    if node:
        conditions["node"] = [node]
    among, values = named(**conditions)
    erased = 0
    for table, time in (("held", "at"), ("pointer", "last")):
        where = [among] if among else []
        times = [] if before is None else [micros(before)]
        if times:
            where.append(f"{time} < ?")
        done = connection.execute(f"DELETE FROM {table} WHERE {' AND '.join(where)}", [*values, *times])  # noqa: S608
        erased += done.rowcount
    return erased


def repoint(connection: sqlite3.Connection, node: str, to: str) -> int:
    """:meth:`adapters.store.Store.repoint`."""
    if node == to or not (storable(node) and storable(to)):
        return 0
    names = {"node": node, "to": to}
    (count,) = connection.execute(
        "SELECT (SELECT count(*) FROM held WHERE node = :node)"
        " + (SELECT count(*) FROM pointer WHERE node = :node)",
        names,
    ).fetchone()
    connection.execute(
        "DELETE FROM held WHERE node = :node AND EXISTS"
        " (SELECT 1 FROM held AS new WHERE new.person = held.person AND new.id = held.id AND new.node = :to)",
        names,
    )
    connection.execute("UPDATE held SET node = :to WHERE node = :node", names)
    connection.execute(_MOVE_POINTERS + _WIDEN, names)
    connection.execute("DELETE FROM pointer WHERE node = :node", names)
    return int(count)
