"""The tables, once for SQLite and PostgreSQL, and how values stand in them.

    log_head    one row: size and frontier of the ledger, and its hash; writers lock it
    entry       idx (dense from 0), entry_id, body, leaf
    checkpoint  signed note of a size
    secret      salt and payload of an entry; the only rows of the ledger that may be deleted
    subtree     roots of complete subtrees of every eighth level, which follow from the leaves
    document    what the gateway keeps, by kind and id, and by kind and key
    tally       how often something was met, by kind and id; may be deleted
    held        versions of resources that institutions published, by person and time, and by place
    token       what else the newest version of such a resource is found by
    pointer     which node holds what for whom

How they came to be is :mod:`adapters.migrations`. PostgreSQL keeps ``held``, ``token``, ``document`` and
``secret`` in partitions, and beside ``document`` the keys, which are unique over all of them, in
``document_key``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from adapters.errors import StoreError
from adapters.store import TALLIES, TALLY_GROUP, Document, Held, Pointer, Tally
from security.digests import HashName
from security.errors import Check, LedgerRefused
from security.ledger import Sealed
from security.tree import HASH_SIZE, Frontier, leaf_hash

INT64 = 2**63 - 1
HIGHEST = "\U0010ffff"
"""Behind a text, it makes one that comes after all that begin so."""
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
CHUNK = 65_536
"""Leaves that are read at once when subtrees are made for a ledger that has none."""
LAST_SUBTREE = "SELECT coalesce(max(idx) + 1, 0) FROM subtree WHERE level = 8"

SECRETS = """
SELECT idx, entry_id, salt, payload FROM secret JOIN entry USING (idx) WHERE idx >= $1 ORDER BY idx LIMIT $2
"""


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


def document_row(document: Document) -> tuple[str, str, str | None, bytes, str, str]:
    """A row of ``document``: an empty key is NULL, which is never equal to another."""
    at = document.at.isoformat()
    return document.kind, document.id, document.key or None, document.body, at, document.person


def row_document(row: Any) -> Document:
    """The document of a row (kind, id, key, body, at, person)."""
    kind, id_, key, body, at, person = row
    return Document(kind=kind, id=id_, key=key or "", body=body, at=datetime.fromisoformat(at), person=person)


def micros(moment: datetime) -> int:
    """An aware time as ``held`` and ``pointer`` have it, where it is compared: microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(since_1970: int) -> datetime:
    """The time that :func:`micros` wrote."""
    return _EPOCH + timedelta(0, 0, since_1970)


def packed(whose: str, body: bytes) -> bytes:
    """Whose a body is, kept with it: what is sealed with the body needs no second seal. A body without stays
    what it is; none that is FHIR begins with NUL."""
    return b"\0%s\0%s" % (whose.encode(), body) if body and (whose or body[0] == 0) else body


def unpacked(kept: bytes) -> tuple[str, bytes]:
    """What :func:`packed` put together."""
    if kept[:1] != b"\0":
        return "", kept
    whose, _, body = kept[1:].partition(b"\0")
    return whose.decode(), body


def held_row(held: Held) -> tuple[str, int, str, str, bytes, int, int, int, bytes, str]:
    """A row of ``held``, as the newest version."""
    body, place = packed(held.whose, held.body), (held.person, micros(held.at), held.node, held.id)
    return *place, body, held.version, micros(held.saved), 1, digest_of(held), held.subject


def digest_of(held: Held) -> bytes:
    """What tells its body apart."""
    return held.digest or hashlib.sha256(held.body).digest()[:16]


def row_held(row: Any) -> Held:
    """The resource of a row (person, at, node, id, body, version, saved, …)."""
    person, at, node, id_, kept, version, saved, *_ = row
    whose, body = unpacked(kept)
    return Held(
        person=person,
        at=moment(at),
        node=node,
        id=id_,
        body=body,
        version=version,
        saved=moment(saved or at),  # of a row from before there were versions
        whose=whose,
    )


def pointer_row(pointer: Pointer) -> tuple[str, str, str, int, int, int, int]:
    """A row of ``pointer``."""
    times = micros(pointer.first), micros(pointer.last), micros(pointer.noted)
    return pointer.person, pointer.node, pointer.group, *times, int(pointer.published)


def row_pointer(row: Any) -> Pointer:
    """The pointer of a row (person, node, grp, first, last, noted, published)."""
    person, node, group, first, last, noted, published = row
    return Pointer(
        person=person,
        node=node,
        group=group,
        first=moment(first),
        last=moment(last),
        noted=moment(noted),
        published=bool(published),
    )


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
