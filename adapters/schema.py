"""The tables, once for SQLite and PostgreSQL, and how values stand in them.

    log_head    one row: size and frontier of the ledger, and its hash; writers lock it
    entry       idx (dense from 0), entry_id, body, leaf
    checkpoint  signed note of a size
    secret      salt and payload of an entry; the only rows of the ledger that may be deleted
    subtree     roots of complete subtrees of every eighth level, which follow from the leaves
    document    what the gateway keeps, by kind and id, and by kind and key
    tally       how often something was met, by kind and id; may be deleted

A migration is a list of statements in which ``{…}`` stands for the dialect's type. Released migrations never
change: a new version appends one. ``schema_version`` has a row for each migration that was applied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from adapters.errors import StoreError
from adapters.store import TALLIES, TALLY_GROUP, Document, Tally
from security.digests import HashName
from security.errors import Check, LedgerRefused
from security.ledger import Sealed
from security.tree import HASH_SIZE, Frontier, leaf_hash

INT64 = 2**63 - 1
CHUNK = 65_536
"""Leaves that are read at once when subtrees are made for a ledger that has none."""
LAST_SUBTREE = "SELECT coalesce(max(idx) + 1, 0) FROM subtree WHERE level = 8"
VERSIONS = "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY)"

# Ids compare by their bytes in both; SQLite's row id must be spelled INTEGER to cost no second index.
SQLITE = {"int": "INTEGER", "bytes": "BLOB", "id": "TEXT"}
POSTGRES = {"int": "BIGINT", "bytes": "BYTEA", "id": 'TEXT COLLATE "C"'}

MIGRATIONS = (
    (
        """CREATE TABLE log_head (
            id INTEGER PRIMARY KEY CHECK (id = 1), size {int} NOT NULL, frontier {bytes} NOT NULL,
            hash TEXT NOT NULL
        )""",
        """CREATE TABLE entry (
            idx {int} PRIMARY KEY, entry_id {id} NOT NULL UNIQUE, body {bytes} NOT NULL, leaf {bytes} NOT NULL
        )""",
        "CREATE TABLE checkpoint (size {int} PRIMARY KEY, root {bytes} NOT NULL, note TEXT NOT NULL)",
        "CREATE TABLE secret (entry_id {id} PRIMARY KEY, salt {bytes} NOT NULL, payload {bytes} NOT NULL)",
        """CREATE TABLE document (
            kind {id} NOT NULL, id {id} NOT NULL, key {id}, body {bytes} NOT NULL, at TEXT NOT NULL,
            PRIMARY KEY (kind, id), UNIQUE (kind, key)
        )""",
    ),
    (
        """CREATE TABLE tally (
            kind {id} NOT NULL, id {id} NOT NULL, body {bytes} NOT NULL, first TEXT NOT NULL,
            last TEXT NOT NULL, count {int} NOT NULL, PRIMARY KEY (kind, id)
        )""",
    ),
    (
        """CREATE TABLE subtree (
            level {int} NOT NULL, idx {int} NOT NULL, root {bytes} NOT NULL, PRIMARY KEY (level, idx)
        )""",
        # by the entry's place: one index less to write at random, and pages in the order of time
        "CREATE TABLE opening (idx {int} PRIMARY KEY, salt {bytes} NOT NULL, payload {bytes} NOT NULL)",
        "INSERT INTO opening SELECT idx, salt, payload FROM secret JOIN entry USING (entry_id)",
        "DROP TABLE secret",
        "ALTER TABLE opening RENAME TO secret",
    ),
)

SECRETS = """
SELECT idx, entry_id, salt, payload FROM secret JOIN entry USING (idx) WHERE idx >= $1 ORDER BY idx LIMIT $2
"""


def pending(applied: int, dialect: Mapping[str, str]) -> Iterator[tuple[int, list[str]]]:
    """The migrations after the first ``applied``: number, statements. Raises StoreError for a newer store."""
    if applied > len(MIGRATIONS):
        raise StoreError(
            f"the store has schema {applied}, this version knows {len(MIGRATIONS)}: run the newer version"
        )
    for version, statements in enumerate(MIGRATIONS[applied:], applied + 1):
        yield version, [statement.format_map(dialect) for statement in statements]


def check_hash(found: str, wanted: str) -> None:
    """Raise StoreError unless the ledger was born with the hash that is asked for."""
    if found != wanted:
        raise StoreError(
            f"the ledger in this store hashes with {found}, not {wanted}: keep its hash, or start another"
        )


def leaves_of(entries: Sequence[Sealed], hash_name: HashName) -> list[bytes]:
    """The leaf hashes of entries. Raises LedgerRefused for one that was sealed for another hash."""
    for entry in entries:
        if entry.leaf != leaf_hash(entry.body, hash_name):
            raise LedgerRefused(
                Check.REPLAY, f"entry {entry.entry_id} was not sealed for a ledger of {hash_name}"
            )
    return [entry.leaf for entry in entries]


def pack_frontier(frontier: Frontier) -> bytes:
    """The frontier's hashes, one after the other."""
    return b"".join(frontier.hashes)


def unpack_frontier(size: int, packed: bytes) -> Frontier:
    """The frontier of a ledger. Raises StoreError unless it has a hash for each one bit of the size."""
    if len(packed) != size.bit_count() * HASH_SIZE:
        raise StoreError(f"log_head is damaged: {len(packed)} bytes are no frontier of {size} entries")
    return Frontier(size, tuple(packed[at : at + HASH_SIZE] for at in range(0, len(packed), HASH_SIZE)))


def document_row(document: Document) -> tuple[str, str, str | None, bytes, str]:
    """A row of ``document``: an empty key is NULL, which is never equal to another."""
    return document.kind, document.id, document.key or None, document.body, document.at.isoformat()


def row_document(row: Any) -> Document:
    """The document of a row (kind, id, key, body, at)."""
    kind, id_, key, body, at = row
    return Document(kind=kind, id=id_, key=key or "", body=body, at=datetime.fromisoformat(at))


def tally_row(tally: Tally) -> tuple[str, str, bytes, str, str, int]:
    """A row of ``tally``."""
    return (
        tally.kind,
        tally.id,
        tally.body,
        tally.first.isoformat(),
        tally.last.isoformat(),
        tally.count,
    )


def row_tally(row: Any) -> Tally:
    """The tally of a row (kind, id, body, first, last, count)."""
    kind, id_, body, first, last, count = row
    return Tally(
        kind=kind,
        id=id_,
        body=body,
        first=datetime.fromisoformat(first),
        last=datetime.fromisoformat(last),
        count=count,
    )


TRIM = """
DELETE FROM tally WHERE kind = $1 AND id BETWEEN $2 AND $3
AND (SELECT count(*) FROM tally WHERE kind = $1 AND id BETWEEN $2 AND $3) > $4
AND id NOT IN (
    SELECT id FROM tally WHERE kind = $1 AND id BETWEEN $2 AND $3 ORDER BY count DESC, last DESC LIMIT $4
)
"""
"""Keeps to the bound of a group of tallies; with :func:`trims`."""


def trims(tallies: Sequence[Tally]) -> list[tuple[str, str, str, int]]:
    """For each group of these tallies: kind, what its ids lie between, and how many are kept."""
    found = sorted({(tally.kind, tally.id[:TALLY_GROUP]) for tally in tallies})
    return [(kind, begin, begin + "\U0010ffff", TALLIES) for kind, begin in found]


def span(start: int, count: int) -> tuple[int, int]:
    """[start, start + count) within the range of the databases' integers."""
    return min(start, INT64), min(start + count, INT64)
