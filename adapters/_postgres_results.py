"""The results index in PostgreSQL: what one transaction does to ``held`` and ``pointer``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from adapters._postgres_connections import LONG_SECONDS
from adapters.schema import held_row, micros, pointer_row
from adapters.store import Held, Pointer, storable, widened

HELD = """
SELECT * FROM held WHERE person = ANY($1) AND node = ANY($2) AND at >= $3
ORDER BY at DESC, node, id LIMIT $4
"""
POINTERS = "SELECT * FROM pointer WHERE person = ANY($1) ORDER BY node, grp, person"

# A resource whose time changed stands elsewhere in the table, so that no key keeps two calls from laying it
# there twice; the order keeps them from waiting for each other.
_TURN = """
SELECT pg_advisory_xact_lock(lock) FROM (
    SELECT DISTINCT hashtextextended(person, 0) AS lock FROM unnest($1::text[]) AS person ORDER BY lock
) AS locks
"""
_DELETE = """
DELETE FROM held USING unnest($1::text[], $2::text[], $3::text[]) AS former (person, node, id)
WHERE held.person = former.person AND held.node = former.node AND held.id = former.id
"""
_INSERT = """
INSERT INTO held SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bytea[])
"""
_WIDEN = """
ON CONFLICT (person, node, grp) DO UPDATE SET first = least(pointer.first, excluded.first),
last = greatest(pointer.last, excluded.last), noted = greatest(pointer.noted, excluded.noted),
published = greatest(pointer.published, excluded.published)
"""
_POINT = """
INSERT INTO pointer SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[]
)
"""
_MOVE_HELD = (
    """DELETE FROM held WHERE node = $1 AND EXISTS (
        SELECT 1 FROM held AS new WHERE new.person = held.person AND new.id = held.id AND new.node = $2
    )""",
    "UPDATE held SET node = $2 WHERE node = $1",
)
_MOVE_POINTERS = """
INSERT INTO pointer SELECT person, $2, grp, first, last, noted, published FROM pointer WHERE node = $1
"""


async def hold(
    connection: Any,
    held: Sequence[Held],
    pointers: Sequence[Pointer],
    gone: Sequence[tuple[str, str, str]],
    afresh: Sequence[tuple[str, str]],
) -> int:
    """:meth:`adapters.store.Store.hold`."""
    newest = {(one.person, one.node, one.id): held_row(one) for one in held}
    former = [*(names for names in gone if all(map(storable, names))), *newest]
    if former or afresh:
        await connection.fetch(_TURN, [person for person, *_ in (*former, *afresh)])
    erased = sum([await unhold(connection, [person], node, None) for person, node in afresh])
    if former:
        await connection.execute(_DELETE, *map(list, zip(*former, strict=True)))
    if newest:
        await connection.execute(_INSERT, *map(list, zip(*newest.values(), strict=True)))
    if merged := [pointer_row(one) for one in widened(pointers)]:
        await connection.execute(_POINT + _WIDEN, *map(list, zip(*merged, strict=True)))
    return erased


async def unhold(connection: Any, persons: Sequence[str], node: str, before: datetime | None) -> int:
    """:meth:`adapters.store.Store.unhold`."""
    erased = 0
    for table, time in (("held", "at"), ("pointer", "last")):
        where: list[str] = []
        values: list[object] = []
        for condition, value in (
            ("person = ANY(${})", list(filter(storable, persons)) if persons else None),
            ("node = ${}", node or None),
            (f"{time} < ${{}}", None if before is None else micros(before)),
        ):
            if value is not None:
                values.append(value)
                where.append(condition.format(len(values)))
        query = f"DELETE FROM {table} WHERE {' AND '.join(where)}"  # noqa: S608 - constants
        erased += _count_of(await connection.execute(query, *values, timeout=LONG_SECONDS))
    return erased


async def repoint(connection: Any, node: str, to: str) -> int:
    """:meth:`adapters.store.Store.repoint`."""
    if node == to:
        return 0
    moved = 0
    for statement in _MOVE_HELD:
        moved += _count_of(await connection.execute(statement, node, to, timeout=LONG_SECONDS))
    await connection.execute(_MOVE_POINTERS + _WIDEN, node, to, timeout=LONG_SECONDS)
    gone = await connection.execute("DELETE FROM pointer WHERE node = $1", node, timeout=LONG_SECONDS)
    return moved + _count_of(gone)


def _count_of(status: str) -> int:
    """How many rows a command tag (``DELETE 3``) speaks of."""
    return int(status.rpartition(" ")[2])
