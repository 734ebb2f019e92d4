"""The store of the FHIR source: one SQLite file with the original bytes and an index on what is searched."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from adapters.fhir_read import Key
from gateway._source_intake import Taken
from gateway._source_search import INDEXED, Condition, conditions, tokens

_SCHEMA = """
CREATE TABLE IF NOT EXISTS resource (
    type TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, saved TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (type, id));
CREATE TABLE IF NOT EXISTS token (
    type TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, id TEXT NOT NULL,
    PRIMARY KEY (type, name, value, id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS token_of_resource ON token (type, id);
"""


class Kept(NamedTuple):
    """A resource as it is kept: how often it was written, when last, its bytes."""

    version: int
    saved: datetime
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """ETag and Last-Modified."""
        return {"ETag": f'W/"{self.version}"', "Last-Modified": format_datetime(self.saved, usegmt=True)}


class SourceStore:
    """Resources by type and id, with an index on what they are searched by."""

    def __init__(self, path: Path) -> None:
        # Used on the event loop's thread alone, which is not the one that makes the application.
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {_SCHEMA}")

    def put(self, resources: Iterable[Taken]) -> list[Kept]:
        """Keep all of them or none."""
        kept = []
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for taken in resources:
                place = (taken.type, taken.id)
                before = self.get(*place)
                new = Kept(before.version + 1 if before else 1, datetime.now(UTC), taken.body)
                self._db.execute(
                    "INSERT OR REPLACE INTO resource VALUES (?, ?, ?, ?, ?)",
                    (*place, new.version, new.saved.isoformat(), new.body),
                )
                self._db.execute("DELETE FROM token WHERE type = ? AND id = ?", place)
                rows = ((taken.type, name, value, taken.id) for name, value in tokens(taken.key))
                self._db.executemany("INSERT OR IGNORE INTO token VALUES (?, ?, ?, ?)", rows)
                kept.append(new)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        return kept

    def get(self, type_: str, id_: str) -> Kept | None:
        """One resource, or None."""
        query = "SELECT version, saved, body FROM resource WHERE type = ? AND id = ?"
        row = self._db.execute(query, (type_, id_)).fetchone()
        return Kept(row[0], datetime.fromisoformat(row[1]), row[2]) if row else None

    def find(self, type_: str, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """Ids of the resources that fit, in their order; raises BadBody for what is no search."""
        wanted = conditions(type_, pairs)
        ids: set[str] | None = None
        for condition in wanted:
            if condition.name in INDEXED:
                found = {
                    id_ for value in condition.values for id_ in self._indexed(type_, condition.name, value)
                }
                ids = found if ids is None else ids & found
        if ids is None:
            ids = {row[0] for row in self._db.execute("SELECT id FROM resource WHERE type = ?", (type_,))}
        rest = [condition for condition in wanted if condition.name not in INDEXED]
        return sorted(id_ for id_ in ids if self._fits(type_, id_, rest))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _indexed(self, type_: str, name: str, value: str) -> list[str]:
        if name == "_id":
            return [value] if self.get(type_, value) else []
        query = "SELECT id FROM token WHERE type = ? AND name = ? AND value = ?"
        return [row[0] for row in self._db.execute(query, (type_, name, value))]

    def _fits(self, type_: str, id_: str, wanted: Sequence[Condition]) -> bool:
        if not wanted or not (kept := self.get(type_, id_)):
            return not wanted
        key = msgspec.json.decode(kept.body, type=Key)
        return all(condition.holds(key) for condition in wanted)
