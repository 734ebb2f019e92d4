"""The documents in PostgreSQL: what is done to ``document`` and, at once, to the keys beside it."""

from __future__ import annotations

from typing import Any

import asyncpg

from adapters.errors import KeyTaken
from adapters.schema import document_row
from adapters.store import Document

TAKEN = """
SELECT place FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS new (kind, id, key, place)
WHERE EXISTS (SELECT 1 FROM document AS old WHERE old.kind = new.kind AND old.id = new.id)
OR EXISTS (SELECT 1 FROM document_key AS old WHERE old.kind = new.kind AND old.key = new.key) LIMIT 1
"""
"""The place of the first of these kinds, ids and keys that is taken."""
KEYED = """
SELECT document.* FROM document_key AS known JOIN document USING (kind, id)
WHERE known.kind = $1 AND known.key >= $2 AND known.key > $3 AND known.key < $4 ORDER BY known.key LIMIT $5
"""
_INSERT = "INSERT INTO document (kind, id, key, body, at, person) VALUES ($1, $2, $3, $4, $5, $6)"
_INSERT_KEY = "INSERT INTO document_key (kind, key, id) VALUES ($1, $2, $3)"
_DELETE = """
WITH gone AS (DELETE FROM document WHERE kind = $1 AND {} RETURNING kind, key), freed AS (
    DELETE FROM document_key USING gone
    WHERE document_key.kind = gone.kind AND document_key.key = gone.key
)
SELECT count(*) FROM gone
"""
REMOVE, PRUNE = _DELETE.format("id = ANY($2)"), _DELETE.format("id < $2")
# of two that replace the same document, the second finds what the first left
_TURN = "SELECT pg_advisory_xact_lock(hashtextextended($1::text || '|' || $2::text, 0))"


async def replace(connection: Any, document: Document) -> None:
    """:meth:`adapters.store.Store.replace`; whom it is about may have changed too."""
    kind, id_, key, *_ = row = document_row(document)
    await connection.fetch(_TURN, kind, id_)
    await connection.fetchval(_DELETE.format("id = $2"), kind, id_)
    await connection.execute(_INSERT, *row)
    if key is not None:
        try:
            await connection.execute(_INSERT_KEY, kind, key, id_)
        except asyncpg.UniqueViolationError:
            raise KeyTaken(kind, key) from None
