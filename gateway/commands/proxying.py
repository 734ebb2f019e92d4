"""``nginx``: what an nginx in front of a gateway is told."""

from __future__ import annotations

import typer

from gateway.commands.common import Config, Stop, settings_from


def nginx(config: Config) -> None:
    """Print the locations of an nginx server that fetches images from the archives by itself."""
    from gateway.imaging.offload import server_part

    settings = settings_from(config)
    if not settings.offload or not settings.uds:
        raise Stop("offload and uds are not set: nginx would have nothing to fetch by itself")
    typer.echo(server_part(settings), nl=False)
