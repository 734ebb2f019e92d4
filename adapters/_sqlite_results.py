"""The results index in SQLite: what one transaction does to ``held``, ``token`` and ``pointer``."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime

from adapters._versions import STANDING, Place, Standing, by_place, planned
from adapters.schema import micros, packed, pointer_row
from adapters.store import Held, Holding, Pointer, storable, widened

_WIDEN = """
ON CONFLICT (person, node, grp) DO UPDATE SET first = min(first, excluded.first),
last = max(last, excluded.last), noted = max(noted, excluded.noted),
published = max(published, excluded.published)
"""
_MOVE_POINTERS = """
INSERT INTO pointer SELECT person, :to, grp, first, last, noted, published FROM pointer WHERE node = :node
"""
# what stands at a place goes by its version; of those from before there were any, by when it was performed
_LAST = f"""
SELECT {STANDING} FROM held WHERE node = ? AND id = ? ORDER BY version DESC, at DESC LIMIT 1
"""  # noqa: S608 - a constant
_OF_PERSON = "SELECT node, id FROM held WHERE person = ? AND node = ? AND newest = 1"
_UNPOINT = "DELETE FROM pointer WHERE person = ? AND node = ?"
_UNTELL = "DELETE FROM token WHERE node = ? AND id = ? AND at = ?"
_DELETE = "DELETE FROM held WHERE node = ? AND id = ? AND newest = 1"
_SUPERSEDE = "UPDATE held SET newest = 0 WHERE node = ? AND id = ? AND newest = 1"
# the tokens of what meets a condition go before that does
_UNTOLD = """
DELETE FROM token WHERE (node, id, at) IN (SELECT node, id, at FROM held WHERE newest = 1 AND {})
"""
_CEDE = """
DELETE FROM {0} WHERE node = :node
AND EXISTS (SELECT 1 FROM held AS new WHERE new.id = {0}.id AND new.node = :to)
"""


PLACE = "SELECT * FROM held WHERE node = ? AND id = ? AND newest = 1 ORDER BY at DESC LIMIT 1"
CURRENT = "newest = 1 AND length(body) > 0"
"""The condition that a version counts: nothing came after it, and it is no deletion."""


def named(**columns: Sequence[str]) -> tuple[str, list[str]]:
    """The condition that each column has one of its values, and the values in its order."""
    fit = {column: list(filter(storable, values)) for column, values in columns.items()}
    among = " AND ".join(f"{column} IN ({','.join('?' * len(values))})" for column, values in fit.items())
    return among, [value for values in fit.values() for value in values]


def listed(node: str, type_: str, tokens: Sequence[str]) -> tuple[str, list[str]]:
    """The condition of :meth:`adapters.store.Store.listed`, and its values."""
    if not tokens:
        return f"node = ? AND substr(id, 1, instr(id, '/') - 1) = ? AND {CURRENT}", [node, type_]
    found, values = [], [node]
    for table, column in (("token", "token"), ("held", "newest = 1 AND subject")):
        told, asked = named(**{column: tokens})
        # the plus keeps SQLite from looking at all of the type; after the slash comes the zero
        found.append(f"SELECT id FROM {table} WHERE node = ? AND +id >= ? AND +id < ? AND {told}")  # noqa: S608
        values += [node, f"{type_}/", f"{type_}0", *asked]
    return f"node = ? AND id IN ({' UNION '.join(found)}) AND {CURRENT}", values


def hold(
    connection: sqlite3.Connection,
    held: Sequence[Held],
    pointers: Sequence[Pointer],
    afresh: Sequence[tuple[str, str]],
    expected: Mapping[Place, int],
) -> Holding:
    """:meth:`adapters.store.Store.hold`."""
    wanted, places = by_place(held), {(one.node, one.id) for one in held}
    unpointed = 0
    for of in afresh:
        unpointed += connection.execute(_UNPOINT, of).rowcount
        places.update(connection.execute(_OF_PERSON, of))
    found = [Standing.of(row) for place in places for row in connection.execute(_LAST, place)]
    plan = planned(wanted, found, afresh, expected)
    connection.executemany(_UNTELL, plan.untold)
    connection.executemany(_DELETE, plan.replaced)
    connection.executemany(_SUPERSEDE, plan.superseded)
    connection.executemany("INSERT INTO held VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", plan.rows)
    connection.executemany("INSERT INTO token VALUES (?, ?, ?, ?)", plan.tokens)
    connection.executemany(
        f"INSERT INTO pointer VALUES (?, ?, ?, ?, ?, ?, ?) {_WIDEN}",  # noqa: S608 - a constant
        [pointer_row(one) for one in widened(pointers)],
    )
    return Holding(unpointed + plan.gone, tuple(plan.stands[one.node, one.id] for one in held))


def adopt(connection: sqlite3.Connection, held: Sequence[Held]) -> None:
    """:meth:`adapters.store.Store.adopt`."""
    connection.executemany(
        "UPDATE held SET person = ?, body = ?"
        " WHERE person = '' AND at = ? AND node = ? AND id = ? AND version = ?",
        [
            (one.person, packed(one.whose, one.body), micros(one.at), one.node, one.id, one.version)
            for one in held
        ],
    )


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
        condition, given = " AND ".join(where), [*values, *times]
        if table == "held":
            connection.execute(_UNTOLD.format(condition), given)
        erased += connection.execute(f"DELETE FROM {table} WHERE {condition}", given).rowcount  # noqa: S608
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
    for table in ("token", "held"):
        connection.execute(_CEDE.format(table), names)
        connection.execute(f"UPDATE {table} SET node = :to WHERE node = :node", names)  # noqa: S608
    connection.execute(_MOVE_POINTERS + _WIDEN, names)
    connection.execute("DELETE FROM pointer WHERE node = :node", names)
    return int(count)
