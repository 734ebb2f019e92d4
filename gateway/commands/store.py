"""``store status|upgrade|downgrade``: the revision of the tables, and the way to another one.

The gateway upgrades at its start, unless ``migrate`` is false; then a job runs ``store upgrade`` before.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.common import AsJson, Config, Stop, console, plainly, print_json, settings_from

if TYPE_CHECKING:
    from gateway.settings import Settings

app = typer.Typer(help="The tables of the store.", no_args_is_help=True)


@app.command("status")
def status(config: Config, as_json: AsJson = False) -> None:
    """Show the revision of the tables beside this version's. Exit status 1 when they differ."""
    from adapters.migrations import HEAD

    with plainly():
        found, until = asyncio.run(_status(settings_from(config)))
    if as_json:
        print_json({"revision": found, "head": HEAD, "partitioned_until": until or None})
    else:
        console().print(
            f"表结构版本 revision: {found or '无 none'}；本程序 this version: {HEAD}"
            + (f"；分区已建至 partitions until: {until}" if until else ""),
            markup=False,
        )
    if found != HEAD:
        raise typer.Exit(1)


@app.command("upgrade")
def upgrade(config: Config) -> None:
    """Bring the tables to this version's revision, and make partitions ahead. Harmless to repeat."""
    from adapters.migrations import HEAD

    with plainly():
        asyncio.run(_upgrade(settings_from(config)))
    console().print(f"表结构已是版本 the tables have revision {HEAD}", markup=False)


@app.command("downgrade")
def downgrade(
    config: Config,
    revision: Annotated[str, typer.Argument(help="The earlier revision, such as 0004 (of version 0.4).")],
    yes: Annotated[bool, typer.Option("--yes", help="Lose what later revisions keep.")] = False,
) -> None:
    """Take the tables back for an earlier version, while no gateway runs. The ledger stays whole."""
    from gateway.wiring import open_tables

    if not yes:
        kept = "0005: former versions of what was published; 0004: published results"
        raise Stop(f"lianren: what later revisions keep ({kept}) is lost: add --yes")
    with plainly():
        asyncio.run(open_tables(settings_from(config)).downgrade(revision))
    console().print(f"表结构已退回版本 the tables have revision {revision}", markup=False)


async def _status(settings: Settings) -> tuple[str, str]:
    """The revision, and up to when there are partitions (nothing on SQLite, or without tables)."""
    from adapters.migrations import HEAD
    from adapters.sqlite import SqliteStore
    from gateway.wiring import open_tables

    tables = open_tables(settings, migrate=False)
    found = await tables.revision()
    if isinstance(tables, SqliteStore) or found != HEAD:
        return found, ""
    return found, (await tables.partitioned_until()).date().isoformat()


async def _upgrade(settings: Settings) -> None:
    from gateway.wiring import open_tables

    tables = open_tables(settings)
    await tables.open()
    await tables.close()
