"""Tallies: how often something was met."""

from __future__ import annotations

from adapters.migrations.statements import both, execute

revision, down_revision = "0002", "0001"

UP = both(
    """CREATE TABLE tally (
        kind {id} NOT NULL, id {id} NOT NULL, body {bytes} NOT NULL, first TEXT NOT NULL,
        last TEXT NOT NULL, count {int} NOT NULL, PRIMARY KEY (kind, id)
    )""",
)
DOWN = both("DROP TABLE tally")


def upgrade() -> None:
    execute(UP)


def downgrade() -> None:
    execute(DOWN)
