"""The results index in PostgreSQL: what one transaction does to ``held``, ``token`` and ``pointer``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from adapters._postgres_connections import LONG_SECONDS
from adapters._versions import STANDING, Place, Standing, by_place, planned
from adapters.schema import micros, packed, pointer_row
from adapters.store import Held, Holding, Pointer, storable, widened

HELD = """
SELECT * FROM held WHERE person = ANY($1) AND node = ANY($2) AND at >= $3 AND newest = 1 AND length(body) > 0
ORDER BY at DESC, node, id LIMIT $4
"""
# of those from before there were versions, what was performed last
PLACE = """
SELECT DISTINCT ON (id) * FROM held WHERE node = $1 AND id = ANY($2) AND newest = 1 ORDER BY id, at DESC
"""
VERSION = "SELECT * FROM held WHERE node = $1 AND id = $2 AND version = $3 ORDER BY at DESC LIMIT 1"
VERSIONS = "SELECT * FROM held WHERE node = $1 AND id = $2 ORDER BY version DESC, at DESC LIMIT $3"
LISTED = """
SELECT * FROM held WHERE node = $1 AND split_part(id, '/', 1) = $2 AND newest = 1 AND length(body) > 0
ORDER BY saved DESC, id LIMIT $3
"""
FOUND = """
SELECT held.* FROM (
    SELECT id, at FROM token WHERE node = $1 AND token = ANY($4)
    UNION SELECT id, at FROM held WHERE node = $1 AND subject = ANY($4) AND newest = 1
) AS found JOIN held ON held.node = $1 AND held.id = found.id AND held.at = found.at
WHERE split_part(held.id, '/', 1) = $2 AND newest = 1 AND length(body) > 0 ORDER BY saved DESC, id LIMIT $3
"""
WAITING = "SELECT * FROM held WHERE node = $1 AND subject = $2 AND person = '' LIMIT $3"
OTHERS = """
SELECT id FROM held WHERE node = $1 AND subject = $2 AND newest = 1 AND length(body) > 0
AND person <> '' AND person <> ALL($3)
"""
POINTERS = "SELECT * FROM pointer WHERE person = ANY($1) ORDER BY node, grp, person"

# A resource whose person or time changed stands elsewhere in the table, so that no key keeps two calls from
# laying it there twice. A node has so many locks at most, however much comes at once; the order keeps calls
# from waiting for each other.
_TURN = """
SELECT pg_advisory_xact_lock(node, part) FROM (
    SELECT DISTINCT hashtext(node) AS node, hashtext(id) & 255 AS part
    FROM unnest($1::text[], $2::text[]) AS new (node, id) ORDER BY node, part
) AS locks
"""
_LAST = f"""
SELECT DISTINCT ON (node, id) {STANDING}
FROM unnest($1::text[], $2::text[]) AS wanted (node, id) JOIN held USING (node, id)
ORDER BY node, id, version DESC, at DESC
"""  # noqa: S608 - a constant
_OF_PERSON = "SELECT node, id FROM held WHERE person = $1 AND node = $2 AND newest = 1"
_UNPOINT = "DELETE FROM pointer WHERE person = $1 AND node = $2"
_UNTELL = """
DELETE FROM token USING unnest($1::text[], $2::text[], $3::bigint[]) AS old (node, id, at)
WHERE token.node = old.node AND token.id = old.id AND token.at = old.at
"""
_DELETE = """
DELETE FROM held USING unnest($1::text[], $2::text[]) AS old (node, id)
WHERE held.node = old.node AND held.id = old.id AND newest = 1
"""
_SUPERSEDE = """
UPDATE held SET newest = 0 FROM unnest($1::text[], $2::text[]) AS old (node, id)
WHERE held.node = old.node AND held.id = old.id AND newest = 1
"""
_INSERT = """
WITH told AS (
    INSERT INTO token SELECT * FROM unnest($11::text[], $12::text[], $13::text[], $14::bigint[])
)
INSERT INTO held SELECT * FROM unnest(
    $1::text[], $2::bigint[], $3::text[], $4::text[], $5::bytea[], $6::bigint[], $7::bigint[], $8::bigint[],
    $9::bytea[], $10::text[]
)
"""
_ADOPT = """
UPDATE held SET person = new.person, body = new.body
FROM unnest($1::text[], $2::bytea[], $3::bigint[], $4::text[], $5::text[], $6::bigint[])
    AS new (person, body, at, node, id, version)
WHERE held.person = '' AND held.at = new.at AND held.node = new.node AND held.id = new.id
AND held.version = new.version
"""
# one statement sees one state: of what comes meanwhile, neither goes
_UNHOLD = """
WITH gone AS (DELETE FROM held WHERE {} RETURNING node, id, at, newest), untold AS (
    DELETE FROM token USING gone
    WHERE newest = 1 AND token.node = gone.node AND token.id = gone.id AND token.at = gone.at
)
SELECT count(*) FROM gone
"""
_UNPOINTED = "WITH gone AS (DELETE FROM pointer WHERE {} RETURNING 1) SELECT count(*) FROM gone"
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
_MOVE = (
    """DELETE FROM {0} WHERE node = $1 AND EXISTS (
        SELECT 1 FROM held AS new WHERE new.id = {0}.id AND new.node = $2
    )""",
    "UPDATE {0} SET node = $2 WHERE node = $1",
)
_MOVE_POINTERS = """
INSERT INTO pointer SELECT person, $2, grp, first, last, noted, published FROM pointer WHERE node = $1
"""


async def hold(
    connection: Any,
    held: Sequence[Held],
    pointers: Sequence[Pointer],
    afresh: Sequence[tuple[str, str]],
    expected: Mapping[Place, int],
) -> Holding:
    """:meth:`adapters.store.Store.hold`."""
    wanted, unpointed = by_place(held), 0
    places = {*wanted}
    for of in afresh:
        unpointed += _count_of(await connection.execute(_UNPOINT, *of))
        places.update(tuple(row) for row in await connection.fetch(_OF_PERSON, *of))
    found: list[Standing] = []
    if places:
        await _take_turn(connection, places)
        found = [Standing.of(row) for row in await connection.fetch(_LAST, *_columns(places))]
    plan = planned(wanted, found, afresh, expected)
    for statement, rows in (
        (_UNTELL, plan.untold),
        (_DELETE, plan.replaced),
        (_SUPERSEDE, plan.superseded),
    ):
        if rows:
            await connection.execute(statement, *_columns(rows))
    if plan.rows:
        await connection.execute(_INSERT, *_columns(plan.rows), *(_columns(plan.tokens) or [[]] * 4))
    if merged := [pointer_row(one) for one in widened(pointers)]:
        await connection.execute(_POINT + _WIDEN, *_columns(merged))
    return Holding(unpointed + plan.gone, tuple(plan.stands[one.node, one.id] for one in held))


async def adopt(connection: Any, held: Sequence[Held]) -> None:
    """:meth:`adapters.store.Store.adopt`."""
    if not held:
        return
    await _take_turn(connection, {(one.node, one.id) for one in held})
    rows = [
        (one.person, packed(one.whose, one.body), micros(one.at), one.node, one.id, one.version)
        for one in held
    ]
    await connection.execute(_ADOPT, *_columns(rows))


async def unhold(connection: Any, persons: Sequence[str], node: str, before: datetime | None) -> int:
    """:meth:`adapters.store.Store.unhold`."""
    erased = 0
    for statement, time in ((_UNHOLD, "at"), (_UNPOINTED, "last")):
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
        query = statement.format(" AND ".join(where))
        erased += await connection.fetchval(query, *values, timeout=LONG_SECONDS)
    return erased


async def repoint(connection: Any, node: str, to: str) -> int:
    """:meth:`adapters.store.Store.repoint`."""
    if node == to:
        return 0
    moved = 0
    for table in ("token", "held"):
        for statement in _MOVE:
            count = _count_of(
                await connection.execute(statement.format(table), node, to, timeout=LONG_SECONDS)
            )
            moved += count if table == "held" else 0
    await connection.execute(_MOVE_POINTERS + _WIDEN, node, to, timeout=LONG_SECONDS)
    gone = await connection.execute("DELETE FROM pointer WHERE node = $1", node, timeout=LONG_SECONDS)
    return moved + _count_of(gone)


async def _take_turn(connection: Any, places: Collection[Place]) -> None:
    await connection.fetch(_TURN, *_columns(places))


def _columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _count_of(status: str) -> int:
    """How many rows a command tag (``DELETE 3``) speaks of."""
    return int(status.rpartition(" ")[2])
