"""How the revisions say what they change, for both databases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Dialect = Literal["sqlite", "postgresql"]
Steps = Mapping[Dialect, tuple[str, ...]]

# Ids compare by their bytes in both; SQLite's row id must be spelled INTEGER to cost no second index.
_TYPES: dict[Dialect, dict[str, str]] = {
    "sqlite": {"int": "INTEGER", "bytes": "BLOB", "id": "TEXT"},
    "postgresql": {"int": "BIGINT", "bytes": "BYTEA", "id": 'TEXT COLLATE "C"'},
}


def both(*statements: str) -> Steps:
    """The same statements on both; ``{int}``, ``{bytes}`` and ``{id}`` stand for the database's types."""
    return {
        dialect: tuple(statement.format_map(types) for statement in statements)
        for dialect, types in _TYPES.items()
    }


def execute(steps: Steps) -> None:
    """Hand the statements of the database at hand to alembic, which calls the revisions."""
    from alembic import op

    dialect: Dialect = "postgresql" if op.get_context().dialect.name == "postgresql" else "sqlite"
    for statement in steps[dialect]:
        op.execute(statement)
