"""``keys new``, ``keys list``, ``keys show``."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.commands.common import AsJson, Config, console, plainly, print_json, settings_from

app = typer.Typer(help="The gateway's keys.", no_args_is_help=True)


@app.command("new")
def new(config: Config) -> None:
    """Make every key that the gateway needs and does not have yet."""
    from gateway.keyring import make_keys

    settings = settings_from(config)
    with plainly():
        for key in make_keys(settings):
            console().print(f"{key.kid:<22} {key.algorithm:<8} {key.purpose}")


@app.command("list")
def list_keys(config: Config, as_json: AsJson = False) -> None:
    """List the public keys with what they count for and until when."""
    from gateway.keyring import open_keys

    with plainly():
        keys = open_keys(settings_from(config)).list()
    if as_json:
        print_json(keys)
        return
    for key in keys:
        console().print(
            f"{key.kid:<22} {key.algorithm:<8} {key.purpose:<9} {key.status:<8} {key.not_after:%Y-%m-%d}"
        )


@app.command("show")
def show(
    config: Config,
    root: Annotated[bool, typer.Option("--root", help="The root keys, which others pin.")] = False,
    pinned: Annotated[bool, typer.Option("--pinned", help="What an auditor pins.")] = False,
) -> None:
    """Print public keys as JSON: all of them, the roots (--root), or an auditor's pins (--pinned)."""
    from gateway.exporting import pins_of
    from gateway.keeper import roots_of
    from gateway.keyring import open_keys

    settings = settings_from(config)
    with plainly():
        store = open_keys(settings)
        if pinned:
            print_json(pins_of(store, settings))
        else:
            print_json(roots_of(store, settings.owner) if root else store.list())
