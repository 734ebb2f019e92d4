"""Where notifications go: below the addresses that the operator allowed each client, and nowhere else."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from adapters import Limits, Line, NodeError
from gateway.settings import Settings

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
        """The line to an endpoint of a client and the path on it, or None where it is not allowed."""
        split = urlsplit(endpoint)
        if "@" in split.netloc or "#" in endpoint or not endpoint.isascii():
            return None
        for line in self._lines.get(client, ()):
            try:
                return line, line.below(endpoint)
            except NodeError:
                continue
        return None

    async def aclose(self) -> None:
        """Close the connections."""
        await asyncio.gather(*(line.aclose() for lines in self._lines.values() for line in lines))
