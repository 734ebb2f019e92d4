"""Roots of complete subtrees, and secrets by their entry's place: one index less to write at random, and
pages in the order of time."""

from __future__ import annotations

from adapters.migrations.statements import both, execute

revision, down_revision = "0003", "0002"

UP = both(
    """CREATE TABLE subtree (
        level {int} NOT NULL, idx {int} NOT NULL, root {bytes} NOT NULL, PRIMARY KEY (level, idx)
    )""",
    "CREATE TABLE opening (idx {int} PRIMARY KEY, salt {bytes} NOT NULL, payload {bytes} NOT NULL)",
    "INSERT INTO opening SELECT idx, salt, payload FROM secret JOIN entry USING (entry_id)",
    "DROP TABLE secret",
    "ALTER TABLE opening RENAME TO secret",
)
DOWN = both(
    "DROP TABLE subtree",
    "CREATE TABLE opening (entry_id {id} PRIMARY KEY, salt {bytes} NOT NULL, payload {bytes} NOT NULL)",
    "INSERT INTO opening SELECT entry_id, salt, payload FROM secret JOIN entry USING (idx)",
    "DROP TABLE secret",
    "ALTER TABLE opening RENAME TO secret",
)


def upgrade() -> None:
    execute(UP)


def downgrade() -> None:
    execute(DOWN)
