"""Where notifications go: below the addresses that the operator allowed each client, and nowhere else."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

from adapters import Limits, Line, NodeError
from gateway.settings import Settings

_PATH = re.compile(r"(?!(?:.*/)?\./)(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})+")
_LARGEST = 64 * 1024
"""Bytes that an endpoint may answer with; nobody reads them."""


class Endpoints:
    """Lines to the allowed addresses. They follow no redirect and use no proxy of the environment."""

    def __init__(self, settings: Settings) -> None:
        self._lines = {
            client.id: [Line(url, limits=Limits(body=_LARGEST)) for url in client.notify]
            for client in settings.clients
        }

    def line(self, client: str, endpoint: str) -> tuple[Line, str] | None:
        """The line to an endpoint of a client and the path on it, or None where it is not allowed.

        The endpoint begins with an allowed address, letter by letter, and goes on as it will be asked for:
        what is signed is what is sent.
        """
        for line in self._lines.get(client, ()):
            if endpoint == line.base_url:
                return line, ""
            path = endpoint.removeprefix(f"{line.base_url}/")
            with suppress(NodeError):
                if path != endpoint and _PATH.fullmatch(path) and line.below(endpoint) == path:
                    return line, path
        return None

    async def aclose(self) -> None:
        """Close the connections."""
        await asyncio.gather(*(line.aclose() for lines in self._lines.values() for line in lines))
