"""The ledger, its secrets, and documents."""

from __future__ import annotations

from adapters.errors import StoreError
from adapters.migrations.statements import both, execute

revision, down_revision = "0001", None

UP = both(
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
)


def upgrade() -> None:
    execute(UP)


def downgrade() -> None:
    raise StoreError("before the first revision there is no ledger: drop the database instead")
