"""``node list`` and ``node probe``: what is configured, and whether it answers."""

from __future__ import annotations

import asyncio

import typer

from gateway.commands.common import AsJson, Config, console, plainly, print_json, settings_from

app = typer.Typer(help="The nodes that are asked.", no_args_is_help=True)


@app.command("list")
def list_nodes(config: Config, as_json: AsJson = False) -> None:
    """List the configured nodes."""
    nodes = settings_from(config).nodes
    if as_json:
        print_json([node.model_dump(mode="json", exclude={"token_file"}) for node in nodes])
        return
    for node in nodes:
        console().print(f"{node.id:<12} {node.kind:<9} {node.institution:<10} {node.url}")


@app.command("probe")
def probe(config: Config, as_json: AsJson = False) -> None:
    """Ask every node whether it is there. Exit status 1 when one is not."""
    from gateway.wiring import ping_nodes

    with plainly():
        reports = asyncio.run(ping_nodes(settings_from(config)))
    if as_json:
        print_json(reports)
    else:
        for report in reports:
            console().print(f"{report.node:<12} {report.state:<12} {report.took_ms:>5} ms  {report.detail}")
    if any(report.state not in ("answered", "empty") for report in reports):
        raise typer.Exit(1)
