"""The history of the tables, once for SQLite and PostgreSQL, kept by alembic.

Each module below ``versions`` is one revision: what it changes on either database as plain statements, there
and back. Alembic orders them and renders what leads from one revision to another; the store executes that on
its own connection, in one transaction. A new database gets the statements of all revisions without alembic,
which takes most of a second to import, and one that is at the head needs nothing. Released revisions never
change.

``schema_revision`` has the revision of the tables. Before there was alembic it was ``schema_version``, with a
row for each revision; that is taken over, and written again on the way back to a version that reads it.
"""

from __future__ import annotations

import io
from pathlib import Path

from adapters.errors import StoreError
from adapters.migrations.statements import Dialect
from adapters.migrations.versions import (
    v0001_ledger,
    v0002_tallies,
    v0003_subtrees,
    v0004_results,
    v0005_versions,
)

HISTORY = (v0001_ledger, v0002_tallies, v0003_subtrees, v0004_results, v0005_versions)
REVISIONS = tuple(version.revision for version in HISTORY)
HEAD = REVISIONS[-1]
TABLE = "schema_revision"
_BEFORE_ALEMBIC = "0003"
_MAKE = f"CREATE TABLE {TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"
_STAMP = f"INSERT INTO {TABLE} VALUES ('{{}}')"  # noqa: S608 - constants, here and below


def upgrade(found: str, adopted: bool, dialect: Dialect, allowed: bool = True) -> list[str]:
    """The statements that lead from the revision ``found`` (empty in a new database) to the head.

    ``adopted`` where ``schema_version`` told the revision. Raises StoreError for tables of a newer version,
    and for ones that need something while that is not ``allowed``.
    """
    if found and found not in REVISIONS:
        raise StoreError(
            f"the store's tables have revision {found}, this version knows {HEAD}: run the newer version"
        )
    if found == HEAD and not adopted:
        return []
    if not allowed:
        raise StoreError(
            f"the store's tables have revision {found or 'none'}, this version needs {HEAD}, and migrate is"
            " false: run lianren store upgrade"
        )
    if not found:
        statements = [one for version in HISTORY for one in version.UP[dialect]]
        return [*statements, _MAKE, _STAMP.format(HEAD)]
    taken_over = [_MAKE, _STAMP.format(found), "DROP TABLE schema_version"] if adopted else []
    return taken_over + _rendered(f"{found}:{HEAD}", dialect)


def downgrade(found: str, to: str, dialect: Dialect) -> list[str]:
    """The statements that lead back from the revision ``found`` to an earlier one.

    Raises StoreError unless both are known and the other is earlier.
    """
    if found not in REVISIONS or to not in REVISIONS or to >= found:
        known = ", ".join(REVISIONS)
        raise StoreError(f"there is no way back from revision {found or 'none'} to {to!r}; there are {known}")
    statements = _rendered(f"{found}:{to}", dialect, back=True)
    if to <= _BEFORE_ALEMBIC:
        statements += [f"DROP TABLE {TABLE}", "CREATE TABLE schema_version (version INTEGER PRIMARY KEY)"]
        statements += [f"INSERT INTO schema_version VALUES ({n})" for n in range(1, int(to) + 1)]  # noqa: S608
    return statements


def _rendered(way: str, dialect: Dialect, back: bool = False) -> list[str]:
    from alembic import command
    from alembic.config import Config

    lines = _Statements()
    config = Config(output_buffer=lines)
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["dialect"] = dialect
    (command.downgrade if back else command.upgrade)(config, way, sql=True)
    return lines.found


class _Statements(io.StringIO):
    """Alembic writes one statement at a time, and comments between."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def write(self, text: str, /) -> int:
        if not text.startswith("--"):
            self.found.append(text.strip().removesuffix(";"))
        return len(text)
