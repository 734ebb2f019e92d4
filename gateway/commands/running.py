"""``serve``, ``source``, ``demo``, ``doctor``: what runs, and whether it would."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.common import AsJson, Config, Stop, console, plainly, print_json, settings_from


def serve(config: Config) -> None:
    """Run the gateway."""
    import uvicorn

    from gateway.app import create_app

    settings = settings_from(config)
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings),
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http="httptools",
            ws="none",
            access_log=False,
            log_level="warning",
            server_header=False,
        )
    )
    _run(server)


def source(
    store: Annotated[Path, typer.Option(help="SQLite file that holds the published resources.")],
    institution: Annotated[str, typer.Option(help="Code of the institution whose results these are.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8090,
) -> None:
    """Run a FHIR source node: what a hospital without a FHIR server publishes its results through."""
    import uvicorn

    from gateway.source import create_source

    app = create_source(store, institution=institution)
    _run(
        uvicorn.Server(
            uvicorn.Config(app, host=host, port=port, ws="none", access_log=False, log_level="warning")
        )
    )


def _run(server: object) -> None:
    """Run a uvicorn server; what stops it from starting is one line."""
    import uvicorn

    assert isinstance(server, uvicorn.Server)  # noqa: S101
    with plainly():
        asyncio.run(server.serve())
    if not server.started:
        raise Stop(f"lianren: the server could not start on {server.config.host}:{server.config.port}")


def demo(
    once: Annotated[bool, typer.Option("--once", help="Ask, print, stop.")] = False,
    as_json: AsJson = False,
    export_ledger: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Export the ledger of the asking gateway to DIR.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Folder for everything the demo writes.")] = Path(".demo"),
    port: Annotated[
        int | None,
        typer.Option(help="First of three ports for the gateways; 8080, or free ones with --once."),
    ] = None,
) -> None:
    """Start the demo network on loopback, ask the first questions, and print the answers."""
    from gateway.demo.show import run_demo

    status = run_demo(folder=folder, port=port, once=once, as_json=as_json, export=export_ledger)
    raise typer.Exit(status)


def doctor(config: Config, as_json: AsJson = False) -> None:
    """Say what is configured, what can be reached, and what expires."""
    from gateway.doctor import examine

    settings = settings_from(config)
    with plainly():
        findings = asyncio.run(examine(settings))
    if as_json:
        print_json(findings)
    else:
        for finding in findings:
            console().print(f"{'✓' if finding.ok else '✗'} {finding.what}: {finding.detail}")
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)
