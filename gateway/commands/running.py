"""``serve``, ``source``, ``demo``, ``doctor``: what runs, and whether it would."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.common import AsJson, Config, Stop, console, plainly, print_json, settings_from

if TYPE_CHECKING:
    import uvicorn


def serve(config: Config) -> None:
    """Run the gateway."""
    from gateway.app import create_app
    from gateway.log import LibraryLog, Log
    from gateway.serving import Draining, config_of

    settings = settings_from(config)
    log = Log()
    logging.getLogger().addHandler(LibraryLog(log))
    app = create_app(settings, log)
    with plainly():
        server = Draining(config_of(app, settings.host, settings.port), app, settings.drain_s, log)
        run_server(server, settings.host, settings.port, settings.uds)
        if app.failed:
            raise app.failed


def source(
    store: Annotated[Path, typer.Option(help="SQLite file that holds the published resources.")],
    institution: Annotated[str, typer.Option(help="Code of the institution whose results these are.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8090,
) -> None:
    """Run a FHIR source node: what a hospital without a FHIR server publishes its results through."""
    from uvicorn import Server

    from gateway.serving import config_of
    from gateway.source import create_source

    with plainly():
        app = create_source(store, institution=institution)
    run_server(Server(config_of(app, host, port)), host, port)


def run_server(server: uvicorn.Server, host: str, port: int, uds: Path | None = None) -> None:
    """Serve until told to stop, or until the app says that it cannot start."""
    sockets = [_unix_socket(uds)] if uds else None
    if not uds:
        try_port(host, port)
    with suppress(SystemExit, KeyboardInterrupt):  # uvicorn exits where the app did not start
        server.run(sockets)


def try_port(host: str, port: int) -> None:
    """Stop where somebody listens there already."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as wrong:
        raise Stop(
            f"lianren: port {port} of {host} cannot be had ({wrong.strerror}); choose another"
        ) from None


def _unix_socket(path: Path) -> socket.socket:
    """A Unix socket for this user and its group, the proxy's, alone; one that was left behind goes."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            with suppress(ConnectionRefusedError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as tried:
                tried.connect(str(path))
                raise Stop(f"lianren: another process listens on {path}; stop it, or choose another")
            path.unlink()
        mask = os.umask(0o117)
        try:
            listening.bind(str(path))
        finally:
            os.umask(mask)
    except OSError as wrong:
        raise Stop(f"lianren: {path} cannot be had ({wrong.strerror}); choose another") from None
    return listening


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
