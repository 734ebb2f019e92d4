"""The results index and pointers; whom a document is about; on PostgreSQL, what grows in partitions.

PostgreSQL partitions three tables, each with a partition that catches what no other one takes:

- ``held`` by the month of ``at``, by which it is asked for and by which it expires.
- ``document`` by kind, for the kinds whose ids begin with the time they were made at (of a check that
  recognised a mark, with the mark's): ``case``, which expires by itself, and the records of decisions. Each
  by the month in the id. The other kinds stay in the one table that catches the rest.
- ``secret`` by the entry's place in the ledger, which grows with time and is what it is asked by.

A unique key of a partitioned table has to hold what it is partitioned by, and Citus wants what it shards by
in it too, so ``person`` is in the primary keys, and the keys of documents stand in a table of their own. It
has no default there: a replica of the version before, which knows no such table, is refused.
"""

from __future__ import annotations

from adapters.migrations.statements import Steps, both, execute

revision, down_revision = "0004", "0003"

_POINTER = """CREATE TABLE pointer (
    person {id} NOT NULL, node {id} NOT NULL, grp {id} NOT NULL, first {int} NOT NULL, last {int} NOT NULL,
    noted {int} NOT NULL, published {int} NOT NULL, PRIMARY KEY (person, node, grp)
)"""
_HELD = """CREATE TABLE held (
    person {id} NOT NULL, at {int} NOT NULL, node {id} NOT NULL, id {id} NOT NULL, body {bytes} NOT NULL,
    PRIMARY KEY (person, at, node, id)
)"""
_PERSON = "ALTER TABLE {} ADD COLUMN person {{id}} NOT NULL DEFAULT ''"
_RECORDS = "('check', 'outcome', 'mark', 'facts', 'recognised', 'publication')"

UP: Steps = {
    "sqlite": both(_PERSON.format("document"), _HELD, _POINTER)["sqlite"],
    "postgresql": both(
        _HELD + " PARTITION BY RANGE (at)",
        "CREATE TABLE held_rest PARTITION OF held DEFAULT",
        _POINTER,
        "CREATE TABLE document_key (kind {id}, key {id}, id {id} NOT NULL, PRIMARY KEY (kind, key))",
        "INSERT INTO document_key SELECT kind, key, id FROM document WHERE key IS NOT NULL",
        "ALTER TABLE document RENAME TO document_rest",
        _PERSON.format("document_rest"),
        "ALTER TABLE document_rest ALTER COLUMN person DROP DEFAULT",
        "ALTER TABLE document_rest DROP CONSTRAINT document_pkey",
        "ALTER TABLE document_rest DROP CONSTRAINT document_kind_key_key",
        "ALTER TABLE document_rest ADD PRIMARY KEY (kind, id, person)",
        """CREATE TABLE document (
            kind {id} NOT NULL, id {id} NOT NULL, key {id}, body {bytes} NOT NULL, at TEXT NOT NULL,
            person {id} NOT NULL, PRIMARY KEY (kind, id, person)
        ) PARTITION BY LIST (kind)""",
        "CREATE TABLE document_case PARTITION OF document FOR VALUES IN ('case') PARTITION BY RANGE (id)",
        "CREATE TABLE document_case_rest PARTITION OF document_case DEFAULT",
        "CREATE TABLE document_record PARTITION OF document"
        f" FOR VALUES IN {_RECORDS} PARTITION BY RANGE (id)",
        "CREATE TABLE document_record_rest PARTITION OF document_record DEFAULT",
        "INSERT INTO document_case SELECT * FROM document_rest WHERE kind = 'case'",
        f"INSERT INTO document_record SELECT * FROM document_rest WHERE kind IN {_RECORDS}",  # noqa: S608
        f"DELETE FROM document_rest WHERE kind = 'case' OR kind IN {_RECORDS}",  # noqa: S608
        "ALTER TABLE document ATTACH PARTITION document_rest DEFAULT",
        "ALTER TABLE secret RENAME TO secret_rest",
        """CREATE TABLE secret (idx {int} PRIMARY KEY, salt {bytes} NOT NULL, payload {bytes} NOT NULL)
        PARTITION BY RANGE (idx)""",
        "ALTER TABLE secret ATTACH PARTITION secret_rest DEFAULT",
    )["postgresql"],
}
DOWN: Steps = {
    "sqlite": ("ALTER TABLE document DROP COLUMN person", "DROP TABLE held", "DROP TABLE pointer"),
    "postgresql": both(
        "DROP TABLE held",
        "DROP TABLE pointer",
        "DROP TABLE document_key",
        """CREATE TABLE former (
            kind {id} NOT NULL, id {id} NOT NULL, key {id}, body {bytes} NOT NULL, at TEXT NOT NULL
        )""",
        "INSERT INTO former SELECT kind, id, key, body, at FROM document",
        "DROP TABLE document",
        "ALTER TABLE former RENAME TO document",
        "ALTER TABLE document ADD PRIMARY KEY (kind, id), ADD UNIQUE (kind, key)",
        "CREATE TABLE opening (idx {int} PRIMARY KEY, salt {bytes} NOT NULL, payload {bytes} NOT NULL)",
        "INSERT INTO opening SELECT * FROM secret",
        "DROP TABLE secret",
        "ALTER TABLE opening RENAME TO secret",
    )["postgresql"],
}


def upgrade() -> None:
    execute(UP)


def downgrade() -> None:
    execute(DOWN)
