"""``node …``: the nodes of a gateway, beside it while it runs; ``node accredit`` stands in its own module."""

from __future__ import annotations

import asyncio
import getpass
import tomllib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands.accrediting import accredit
from gateway.commands.common import (
    AsJson,
    Config,
    Stop,
    console,
    plainly,
    print_json,
    read_file,
    settings_from,
)

if TYPE_CHECKING:
    from adapters.sequencer import Sequencer
    from gateway.nodes import Changes, Standing, Step
    from gateway.settings import Settings

app = typer.Typer(help="The nodes that are asked.", no_args_is_help=True)
app.command("accredit")(accredit)
Id = Annotated[str, typer.Argument(help="Id of the node.")]
By = Annotated[str, typer.Option(help="Who changes it, for the ledger; the user's name here if left out.")]


@app.command("list")
def list_nodes(config: Config, as_json: AsJson = False) -> None:
    """List the nodes: those of the file, and those set at run time."""
    standing = _standing(settings_from(config))
    if as_json:
        print_json([_told(one) for one in standing])
        return
    for one in standing:
        node = one.settings
        since = f"自 since {one.at:%Y-%m-%d %H:%M} UTC" if one.at else "文件 file"
        refused = f"  ✗ {one.refused}" if one.refused else ""
        console().print(
            f"{node.id:<12} {node.kind:<9} {node.institution or node.owner:<10} {node.url}  {since}{refused}",
            markup=False,
        )


@app.command("show")
def show(node: Id, config: Config, as_json: AsJson = False) -> None:
    """Show all settings of a node, as `set` takes them."""
    found = next((one for one in _standing(settings_from(config)) if one.settings.id == node), None)
    if found is None:
        raise Stop(f"lianren: there is no node {node}", 1)
    if as_json:
        print_json(_told(found))
        return
    for key, value in _flat(found.settings.model_dump(mode="json", exclude={"id"})):
        console().print(f"{key} = {_toml(value)}", markup=False)


@app.command("set")
def set_node(
    node: Id,
    config: Config,
    values: Annotated[
        list[str] | None, typer.Argument(help="KEY=VALUE, as timeout_ms=800 or dialect.search=get.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="TOML with all settings of the node.")] = None,
    by: By = "",
) -> None:
    """Add a node or change one; every replica asks it so within seconds. What is not given stays as it is,
    unless a file gives all. Files of credentials are named below node_files."""
    changed = dict(_pair(text) for text in values or [])
    if not (changed or file):
        raise Stop("lianren: nothing to set; give KEY=VALUE or --file")
    given = _table(file) if file else None

    async def work(changes: Changes, sequencer: Sequencer) -> Step:
        def edit() -> dict[str, Any]:
            return _merged(given if given is not None else changes.values(node), changed)

        return await changes.set(sequencer, node, edit, by or getpass.getuser())

    _change(config, work)


@app.command("remove")
def remove(node: Id, config: Config, by: By = "") -> None:
    """Ask a node no more, also one of the file. What it published is kept."""
    _change(config, lambda changes, sequencer: changes.remove(sequencer, node, by or getpass.getuser()))


@app.command("rename")
def rename(
    node: Id, to: Annotated[str, typer.Argument(help="The new id.")], config: Config, by: By = ""
) -> None:
    """Give a node another id; what is known to be held there goes with it."""
    _change(config, lambda changes, sequencer: changes.rename(sequencer, node, to, by or getpass.getuser()))


@app.command("probe")
def probe(
    config: Config,
    nodes: Annotated[list[str] | None, typer.Argument(help="Ids of nodes; all if left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask nodes whether they are there. Exit status 1 when one is not."""
    from gateway.wiring import ping_nodes

    with plainly():
        reports = asyncio.run(ping_nodes(settings_from(config), *(nodes or [])))
    if missing := set(nodes or []) - {report.node for report in reports}:
        raise Stop(f"lianren: there is no node {', '.join(sorted(missing))}", 1)
    if as_json:
        print_json(reports)
    else:
        for report in reports:
            console().print(
                f"{report.node:<12} {report.state:<12} {report.took_ms:>5} ms  {report.detail}", markup=False
            )
    if any(report.state not in ("answered", "empty") for report in reports):
        raise typer.Exit(1)


def _standing(settings: Settings) -> tuple[Standing, ...]:
    from gateway.wiring import open_changes

    async def run() -> tuple[Standing, ...]:
        async with open_changes(settings) as (changes, _):
            if changes.broken:
                told = "this change is missing or does not open; no later one counts"
                typer.echo(f"! 变更 {changes.broken} 缺失 {told}", err=True)
            return changes.standing()

    with plainly():
        return asyncio.run(run())


def _change(config: Path, work: Callable[[Changes, Sequencer], Awaitable[Step]]) -> None:
    from gateway.wiring import open_changes

    async def run() -> Step:
        async with open_changes(settings_from(config)) as (changes, sequencer):
            await sequencer.start()
            return await work(changes, sequencer)

    with plainly():
        step = asyncio.run(run())
    console().print(f"已记录变更 change {step.id}: {step.act} {step.node} {step.to}".rstrip(), markup=False)


def _told(one: Standing) -> dict[str, Any]:
    return {
        **one.settings.model_dump(mode="json"),
        "from": one.at.isoformat() if one.at else "file",
        "refused": one.refused,
    }


def _pair(text: str) -> tuple[str, Any]:
    """A value is read as TOML where it is TOML: 800, true, ["lab"]; else it is text."""
    key, equals, value = text.partition("=")
    if not equals:
        raise Stop(f"lianren: {text!r} is no KEY=VALUE")
    try:
        return key.strip(), tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value


def _table(file: Path) -> dict[str, Any]:
    """The settings of one node: a table of its own, or the only one of [[nodes]]."""
    try:
        table = tomllib.loads(read_file(file).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise Stop(f"lianren: {file} is not TOML: {wrong}") from None
    if isinstance(nodes := table.get("nodes"), list):
        if len(nodes) != 1 or not isinstance(nodes[0], dict):
            raise Stop(f"lianren: {file} holds {len(nodes)} nodes; one is set at a time")
        table = nodes[0]
    table.pop("id", None)
    return table


def _merged(held: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    """With dotted keys one level down, as ``dialect.search``."""
    merged = {key: dict(value) if isinstance(value, dict) else value for key, value in held.items()}
    for key, value in changed.items():
        table, dot, inner = key.partition(".")
        if dot:
            below = merged.setdefault(table, {})
            if not isinstance(below, dict):
                raise Stop(f"lianren: {table} is no table")
            below[inner] = value
        else:
            merged[key] = value
    return merged


def _flat(values: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        (key if inner is None else f"{key}.{inner}", one)
        for key, value in values.items()
        for inner, one in (value.items() if isinstance(value, dict) else [(None, value)])
        if one not in (None, "", [])
    ]


def _toml(value: Any) -> str:
    """Of text, numbers, truth values and lists of text JSON is TOML."""
    import json

    return json.dumps(value, ensure_ascii=False)
