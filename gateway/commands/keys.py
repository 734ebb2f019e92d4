"""``keys new``, ``keys list``, ``keys show``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from gateway.commands.common import AsJson, Config, console, plainly, print_json, settings_from

app = typer.Typer(help="The gateway's keys.", no_args_is_help=True)
NEEDED = (
    ("root", "Ed25519"),
    ("root", "SM2"),
    ("log", "Ed25519"),
    ("log", "SM2"),
    ("mark", "Ed25519"),
    ("mark", "SM2"),
)


@app.command("new")
def new(config: Config) -> None:
    """Make every key that the gateway needs and does not have yet."""
    from gateway.wiring import open_keys

    settings = settings_from(config)
    with plainly():
        store = open_keys(settings)
        held = {(key.purpose, key.algorithm) for key in store.list() if key.status == "active"}
        for purpose, algorithm in NEEDED:
            if (purpose, algorithm) not in held:
                pair = store.new(algorithm, settings.owner, purpose, datetime.now(UTC))  # type: ignore[arg-type]
                console().print(f"{pair.kid}  {algorithm}  {purpose}")


@app.command("list")
def list_keys(config: Config, as_json: AsJson = False) -> None:
    """List the public keys with what they count for and until when."""
    from gateway.wiring import open_keys

    with plainly():
        keys = open_keys(settings_from(config)).list()
    if as_json:
        print_json(keys)
        return
    for key in keys:
        console().print(
            f"{key.kid:<22} {key.algorithm:<8} {key.purpose:<5} {key.status:<8} until {key.not_after:%Y-%m-%d}"
        )


@app.command("show")
def show(
    config: Config,
    root: Annotated[bool, typer.Option("--root", help="The root keys, which others pin.")] = False,
    pinned: Annotated[
        bool, typer.Option("--pinned", help="What an auditor pins.")
    ] = False,
) -> None:
    """Print public keys as JSON: all of them, the roots (--root), or an auditor's pins (--pinned)."""
    from gateway.keeper import roots_of
    from gateway.wiring import open_keys, origin_of
    from security.audit import Pinned
    from security.note import NoteVerifier

    settings = settings_from(config)
    with plainly():
        store = open_keys(settings)
        if pinned:
            origin = origin_of(settings)
            logs = tuple(
                NoteVerifier.of(origin, key).to_text() for key in store.list() if key.purpose == "log"
            )
            print_json(Pinned(logs=logs, roots=roots_of(store, settings.owner)))
        else:
            print_json(roots_of(store, settings.owner) if root else store.list())
