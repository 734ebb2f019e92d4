"""Versions of held resources, where each stands at its node, and what else it is found by.

All versions lie in ``held``, so that whatever is done to a person, a node or what is old is done to them too:
``newest`` tells the one that counts. A place is looked up in every partition, which the plan of a month has
few of. Rows of the revision before are first versions; when they came is not known (``saved`` 0) and neither
is what tells their bodies apart.

What names a local Patient whom nobody knows yet has no person and is found again by ``subject``. ``token``
has the tokens of the newest versions, partitioned as ``held`` is; it has no person, since it is looked up
before one is known, and its rows are many. ``digest`` has no default in PostgreSQL: a
replica of the version before, which knows no versions, is refused.
"""

from __future__ import annotations

from adapters.migrations.statements import Steps, both, execute

revision, down_revision = "0005", "0004"

_ADDED = (
    "version {int} NOT NULL DEFAULT 1",
    "saved {int} NOT NULL DEFAULT 0",
    "newest {int} NOT NULL DEFAULT 1",
    "digest {bytes} NOT NULL DEFAULT ''",
    "subject {id} NOT NULL DEFAULT ''",
)
_FORMER = """
    person {id} NOT NULL, at {int} NOT NULL, node {id} NOT NULL, id {id} NOT NULL, body {bytes} NOT NULL
"""
_KEY = "PRIMARY KEY (person, at, node, id{})"
_FOUND_BY = """CREATE TABLE token (
    node {id} NOT NULL, token {id} NOT NULL, id {id} NOT NULL, at {int} NOT NULL,
    PRIMARY KEY (node, token, id, at)
)"""
_INDEXES = (
    "CREATE INDEX held_place ON held (node, id, newest)",
    "CREATE INDEX held_listed ON held (node, {}, saved)",
    "CREATE INDEX held_subject ON held (node, subject)",
    "CREATE INDEX token_place ON token (node, id, at)",
)

UP: Steps = {
    "sqlite": both(
        f"CREATE TABLE versions ({_FORMER}, {', '.join(_ADDED)}, {_KEY.format(', version')})",
        "INSERT INTO versions (person, at, node, id, body) SELECT person, at, node, id, body FROM held",
        "DROP TABLE held",
        "ALTER TABLE versions RENAME TO held",
        _FOUND_BY,
        *(one.format("substr(id, 1, instr(id, '/') - 1)") for one in _INDEXES),
    )["sqlite"],
    "postgresql": both(
        *(f"ALTER TABLE held ADD COLUMN {column}" for column in _ADDED),
        "ALTER TABLE held ALTER COLUMN digest DROP DEFAULT",
        "ALTER TABLE held DROP CONSTRAINT held_pkey",
        f"ALTER TABLE held ADD {_KEY.format(', version')}",
        f"{_FOUND_BY} PARTITION BY RANGE (at)",
        "CREATE TABLE token_rest PARTITION OF token DEFAULT",
        *(one.format("split_part(id, '/', 1)") for one in _INDEXES),
    )["postgresql"],
}
DOWN: Steps = {
    "sqlite": both(
        "DROP TABLE token",
        f"CREATE TABLE former ({_FORMER}, {_KEY.format('')})",
        "INSERT INTO former SELECT person, at, node, id, body FROM held"
        " WHERE newest = 1 AND length(body) > 0 AND person <> ''",
        "DROP TABLE held",
        "ALTER TABLE former RENAME TO held",
    )["sqlite"],
    "postgresql": both(
        "DROP TABLE token",
        "DROP INDEX held_place",
        "DROP INDEX held_listed",
        "DROP INDEX held_subject",
        "DELETE FROM held WHERE newest = 0 OR length(body) = 0 OR person = ''",
        "ALTER TABLE held DROP CONSTRAINT held_pkey",
        f"ALTER TABLE held ADD {_KEY.format('')}",
        *(f"ALTER TABLE held DROP COLUMN {column.split()[0]}" for column in _ADDED),
    )["postgresql"],
}


def upgrade() -> None:
    execute(UP)


def downgrade() -> None:
    execute(DOWN)
