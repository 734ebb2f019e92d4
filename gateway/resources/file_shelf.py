"""A shelf in one SQLite file: the resources of a FHIR source with what they were before, found by tokens.

The file is used on the event loop's thread alone: a write is one transaction that waits for the disk. Files
of 0.4, which kept the newest version only, are adopted as they are; their tokens are written anew.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from gateway.resources.tokens import tokens
from gateway.resources.values import Change, Kept, VersionConflict

_SCHEMA = """
CREATE TABLE IF NOT EXISTS resource (
    type TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, saved TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (type, id));
CREATE TABLE IF NOT EXISTS former (
    type TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, saved TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (type, id, version)) WITHOUT ROWID;
"""
_INDEX = """
DROP TABLE IF EXISTS token;
CREATE TABLE token (
    type TEXT NOT NULL, token TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (type, token, id)) WITHOUT ROWID;
CREATE INDEX token_of_resource ON token (type, id);
"""
_INDEXED = 1
"""The edition of the tokens in a file, its ``user_version``: one of another edition is written anew."""
_LATEST = "SELECT * FROM resource WHERE type = ? AND body != x'' ORDER BY rowid DESC LIMIT ?"
_LISTED = """
SELECT * FROM resource WHERE type = ? AND body != x'' AND id IN (
    SELECT id FROM token WHERE type = ? AND token IN (SELECT value FROM json_each(?)))
ORDER BY rowid DESC LIMIT ?
"""


class FileShelf:
    """A :class:`~gateway.resources.values.Shelf` over the file at ``path``, which is made if need be."""

    def __init__(self, path: Path) -> None:
        # Made in one thread and used in another, that of the event loop.
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {_SCHEMA}")
        if self._db.execute("PRAGMA user_version").fetchone()[0] != _INDEXED:
            self._db.executescript(_INDEX)
            self._db.execute("BEGIN IMMEDIATE")
            for row in self._db.execute("SELECT * FROM resource WHERE body != x''"):
                self._index(_kept(row))
            self._db.execute(f"PRAGMA user_version={_INDEXED}")
            self._db.execute("COMMIT")

    async def get(self, type_: str, id_: str, version: int | None = None) -> Kept | None:
        """That version, or the newest one."""
        newest = self._newest(type_, id_)
        if newest is None or version in (None, newest.version):
            return newest
        query = "SELECT * FROM former WHERE type = ? AND id = ? AND version = ?"
        row = self._db.execute(query, (type_, id_, version)).fetchone()
        return _kept(row) if row else None

    async def history(self, type_: str, id_: str, limit: int) -> list[Kept]:
        """The newest versions, the newest first."""
        newest = self._newest(type_, id_)
        query = "SELECT * FROM former WHERE type = ? AND id = ? ORDER BY version DESC LIMIT ?"
        former = self._db.execute(query, (type_, id_, limit - 1))
        return [newest, *map(_kept, former)] if newest else []

    async def listed(self, type_: str, tokens: Sequence[str], limit: int) -> list[Kept]:
        """The newest that have one of the tokens, if any are given."""
        if tokens:
            rows = self._db.execute(_LISTED, (type_, type_, json.dumps(tokens), limit))
        else:
            rows = self._db.execute(_LATEST, (type_, limit))
        return [_kept(row) for row in rows]

    async def id_for(self, type_: str, tokens: Sequence[str]) -> str:
        """Any: a file is one process's, whose conditional writes take turns."""
        return uuid.uuid4().hex

    async def put(self, changes: Sequence[Change]) -> list[Kept]:
        """Keep all changes or none. Raises VersionConflict."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            kept = [self._put(change) for change in changes]
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        return kept

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _put(self, change: Change) -> Kept:
        before = self._newest(change.type, change.id)
        standing = before.version if before else 0
        if change.expected not in (None, standing):
            raise VersionConflict(f"{change.type}/{change.id}")
        if before and before.body == change.body:
            return before
        new = Kept(
            type=change.type,
            id=change.id,
            version=standing + 1,
            saved=datetime.now(UTC),
            body=change.body,
        )
        place = (new.type, new.id)
        self._db.execute("INSERT INTO former SELECT * FROM resource WHERE type = ? AND id = ?", place)
        # replaced, so that the order of rows is that of writing
        self._db.execute(
            "INSERT OR REPLACE INTO resource VALUES (?, ?, ?, ?, ?)",
            (*place, new.version, new.saved.isoformat(), new.body),
        )
        self._db.execute("DELETE FROM token WHERE type = ? AND id = ?", place)
        if new.body:
            self._index(new)
        return new

    def _index(self, kept: Kept) -> None:
        rows = ((kept.type, token, kept.id) for token in tokens(kept.body))
        self._db.executemany("INSERT INTO token VALUES (?, ?, ?)", rows)

    def _newest(self, type_: str, id_: str) -> Kept | None:
        query = "SELECT * FROM resource WHERE type = ? AND id = ?"
        row = self._db.execute(query, (type_, id_)).fetchone()
        return _kept(row) if row else None


def _kept(row: tuple[str, str, int, str, bytes]) -> Kept:
    type_, id_, version, saved, body = row
    return Kept(type=type_, id=id_, version=version, saved=datetime.fromisoformat(saved), body=body)
