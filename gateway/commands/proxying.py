"""``nginx``: what an nginx in front of a gateway is told."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.commands.common import Config, Stop, settings_from


def nginx(
    config: Config,
    upstreams: Annotated[bool, typer.Option("--upstreams", help="what stands before the server")] = False,
) -> None:
    """Print the locations of an nginx server that fetches images from the archives by itself."""
    from gateway.imaging.offload import http_part, server_part

    settings = settings_from(config)
    if not settings.offload or not settings.uds:
        raise Stop("offload and uds are not set: nginx would have nothing to fetch by itself")
    typer.echo((http_part if upstreams else server_part)(settings), nl=False)
