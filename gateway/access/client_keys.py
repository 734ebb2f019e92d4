"""The public keys of clients: JSON Web Key Sets in files that operators keep, or at addresses of the clients.

A file is read again as soon as it changed, so that a key which was taken out counts no more. An address is
asked again after five minutes, or at once for a key id that its set does not hold, though not more often than
every ten seconds: rotation needs nobody here, and nobody can have us ask without end. While an address does
not answer, the last set counts for an hour, and nobody waits long for it whose key is in that set.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from adapters import Line, NodeError
from gateway.errors import SettingsError
from gateway.settings import ClientSettings
from gateway.tasks import stop
from security.errors import TokenRefused
from security.jwt import Jwk, read_jwks

FRESH_S, AGAIN_S, STALE_S = 300.0, 10.0, 3600.0
_TIMEOUT_S, _KNOWN_S = 2.0, 0.1


class KeyFile:
    """A key set in a file."""

    def __init__(self, settings: ClientSettings) -> None:
        assert settings.jwks_file is not None  # noqa: S101 - by whom it is made
        self._file = settings.jwks_file
        self._client = settings.id
        self._seen: tuple[int, int, int] | None = None
        self._keys: dict[str, Jwk] = {}

    async def get(self, _kid: str) -> Mapping[str, Jwk]:
        """The keys as the file has them now.

        Raises:
            TokenRefused: it is no key set, or cannot be read.
        """
        try:
            found = self._file.stat()
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if seen != self._seen:
                self._seen, self._keys = None, {}
                self._keys = read_jwks(self._file.read_bytes())
                self._seen = seen
        except OSError as wrong:
            raise TokenRefused("jwks", f"of {self._client} cannot be read ({wrong.strerror})") from None
        return self._keys

    async def aclose(self) -> None:
        """There is nothing to give back."""


class KeyAddress:
    """A key set at an address of the client's."""

    def __init__(
        self,
        settings: ClientSettings,
        log: Callable[..., None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        address, mark, query = settings.jwks_url.partition("?")
        base, _, name = address.rpartition("/")
        self._name = f"{name}{mark}{query}"
        self._line = Line(base)
        self._client = settings.id
        self._log = log
        self._clock = clock
        self._keys: dict[str, Jwk] = {}
        self._read_at = self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def get(self, kid: str) -> Mapping[str, Jwk]:
        """The keys, asked for again where they are old or lack ``kid``.

        Raises:
            TokenRefused: there is no key set, or it is too old to count.
        """
        if not self._holds(kid):  # who is held waits for nobody who asks for keys that are not there
            if self._clock() - self._asked_at >= AGAIN_S:
                self._asked_at = self._clock()
                self._asking = asyncio.create_task(self._ask(), name="client-keys")
            if self._asking:
                known = kid in self._keys and self._clock() - self._read_at < STALE_S
                await asyncio.wait({self._asking}, timeout=_KNOWN_S if known else None)
        if self._clock() - self._read_at >= STALE_S:
            raise TokenRefused("jwks", f"of {self._client} cannot be had from its address")
        return self._keys

    async def _ask(self) -> None:
        now = self._clock()
        try:
            self._keys = read_jwks(await self._line.get_json(self._name, budget=_TIMEOUT_S))
            self._read_at = now
        except (NodeError, TokenRefused) as wrong:
            self._log("client_keys_missing", client=self._client, detail=str(wrong))

    def _holds(self, kid: str) -> bool:
        return kid in self._keys and self._clock() - self._read_at < FRESH_S

    async def aclose(self) -> None:
        """Ask no more, and close the connections."""
        await stop(self._asking)
        await self._line.aclose()


KeySource = KeyFile | KeyAddress


def key_sources(clients: Sequence[ClientSettings], log: Callable[..., None]) -> dict[str, KeySource]:
    """Where each client's keys come from, by its id.

    Raises:
        SettingsError: a file is no key set, or an address has no path.
    """
    sources: dict[str, KeySource] = {}
    for client in clients:
        if client.jwks_file:
            try:
                read_jwks(client.jwks_file.read_bytes())
            except OSError as wrong:
                raise SettingsError(
                    f"clients: {client.id}: jwks_file {client.jwks_file} cannot be read ({wrong.strerror})"
                ) from None
            except TokenRefused as wrong:
                raise SettingsError(f"clients: {client.id}: {client.jwks_file}: {wrong}") from None
            sources[client.id] = KeyFile(client)
        elif client.jwks_url:
            if not urlsplit(client.jwks_url).path.strip("/"):
                raise SettingsError(f"clients: {client.id}: jwks_url: must be the address of a key set")
            sources[client.id] = KeyAddress(client, log)
    return sources
