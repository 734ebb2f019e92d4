"""What the commands share: options, the settings, printing, and how they stop."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

if TYPE_CHECKING:
    from rich.console import Console

    from gateway.settings import Settings

Config = Annotated[
    Path, typer.Option("--config", "-c", envvar="LIANREN_CONFIG", help="The gateway's TOML file.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a machine.")]


class Stop(Exception):
    """End the command with one line for the user and this exit status."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


@contextmanager
def plainly() -> Iterator[None]:
    """Every expected failure of the house becomes one line and status 2."""
    from adapters import AdapterError
    from catalog import CatalogueError
    from gateway.errors import GatewayError
    from security.errors import TrustError

    try:
        yield
    except CatalogueError as wrong:
        raise Stop("\n".join(str(finding) for finding in wrong.findings)) from None
    except (GatewayError, TrustError, AdapterError) as wrong:
        raise Stop(f"lianren: {wrong}") from None


def settings_from(config: Path) -> Settings:
    """The settings, or one line that says what is wrong with them."""
    from gateway.settings import load_settings

    with plainly():
        return load_settings(config)


def print_json(value: Any) -> None:
    """One JSON object or array, on standard output."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value)).decode() + "\n")


def console() -> Console:
    """The console for people; plain text where the output is no terminal."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def read_file(file: Path) -> bytes:
    """The bytes of a file or of ``-``; one line and status 2 where it cannot be read."""
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as wrong:
        raise Stop(f"lianren: {file} cannot be read: {wrong.strerror}") from None
