"""The command line ``lianren``. Exit status: 0 ok, 1 what was checked is not so, 2 usage or input.

Every command imports what it needs when it runs, so that ``--help`` is quick.
"""

from __future__ import annotations

import sys

import typer

from gateway.commands import (
    bridging,
    catalog,
    checking,
    explaining,
    keys,
    ledger,
    mark,
    names,
    node,
    proxying,
    qualifying,
    review,
    running,
    statistics,
    store,
)

app = typer.Typer(
    name="lianren",
    help="联认: mutual recognition of examination and laboratory results (检查检验结果互认).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
app.command("serve")(running.serve)
app.command("source")(running.source)
app.command("bridge")(bridging.bridge)
app.command("demo")(running.demo)
app.command("doctor")(running.doctor)
app.command("nginx")(proxying.nginx)
app.command("check")(checking.check)
app.command("explain")(explaining.explain)
app.command("map")(names.map_names)
app.command("statistics")(statistics.statistics)
catalog.app.command("qualify")(qualifying.qualify)
app.add_typer(catalog.app, name="catalog")
app.add_typer(mark.app, name="mark")
app.add_typer(ledger.app, name="ledger")
app.add_typer(keys.app, name="keys")
app.add_typer(review.app, name="review")
app.add_typer(node.app, name="node")
app.add_typer(store.app, name="store")


def main() -> None:
    """Run the command line; every expected failure is one line and exit status 2."""
    from gateway.commands.common import Stop

    try:
        app()
    except Stop as stop:
        typer.echo(str(stop), err=True)
        sys.exit(stop.status)


if __name__ == "__main__":
    main()
