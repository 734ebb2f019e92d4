"""The trust list of a running gateway: its own signed key list, and the others', fetched and kept fresh.

Roots are pinned by hand (settings, ``[[pins]]``); everything else follows from lists they sign. A list that
does not verify, is expired or older than the held one is not taken; the held one goes on until it expires.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from adapters import Line, NodeError
from gateway.errors import SettingsError
from gateway.log import Log
from gateway.settings import PinSettings
from security.errors import KeyListRefused, TrustError
from security.keys import PublicKey
from security.keystore import KeyStore
from security.trust import KeyList, TrustList, read_key_list, sign_key_list

FRESH = timedelta(days=7)
"""How long a key list counts after it was issued."""
REFRESH_S = 300.0
RETRY_S = 2.0


def own_key_list(keys: KeyStore, owner: str, now: datetime) -> bytes:
    """The signed envelope of this gateway's public keys; its version is the second of issue, which grows.

    Raises:
        KeyStoreError: there is no root key that counts now.
    """
    listed = tuple(key for key in keys.list() if key.owner == owner)
    key_list = KeyList(
        owner=owner,
        version=int(now.timestamp()),
        issued=now,
        expires=now + FRESH,
        keys=tuple(key for key in listed if key.purpose != "root"),
    )
    return sign_key_list(key_list, [keys.signer("root", "Ed25519", now), keys.signer("root", "SM2", now)])


def roots_of(keys: KeyStore, owner: str) -> tuple[PublicKey, ...]:
    """The root keys that others pin."""
    return tuple(key for key in keys.list() if key.owner == owner and key.purpose == "root")


def read_roots(file: Path, owner: str) -> tuple[PublicKey, ...]:
    """Root keys as ``lianren keys show --root`` printed them.

    Raises:
        SettingsError: the file is missing or holds no root keys of that owner.
    """
    try:
        keys = msgspec.json.decode(file.read_bytes(), type=tuple[PublicKey, ...])
    except OSError as wrong:
        raise SettingsError(f"pins: {file}: cannot be read ({wrong.strerror})") from None
    except msgspec.MsgspecError as wrong:
        raise SettingsError(f"pins: {file}: is no list of public keys: {wrong}") from None
    if not keys or any(key.owner != owner or key.purpose != "root" for key in keys):
        raise SettingsError(f"pins: {file}: must hold the root keys of {owner!r}, and nothing else")
    return keys


class TrustKeeper:
    """Holds the trust list and refreshes the others' key lists in the background."""

    def __init__(self, keys: KeyStore, owner: str, pins: Sequence[PinSettings], log: Log) -> None:
        now = datetime.now(UTC)
        self._owner = owner
        self._keys = keys
        self._log = log
        self._lines = {pin.owner: Line(pin.url) for pin in pins}
        roots = [root for pin in pins for root in read_roots(pin.keys_file, pin.owner)]
        own_roots = roots_of(keys, owner)
        self.envelope = own_key_list(keys, owner, now)
        own = read_key_list(self.envelope, own_roots)
        self.list = TrustList([*own_roots, *roots], [own])
        self._task: asyncio.Task[None] | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """Owners whose key list is not held."""
        return tuple(owner for owner in self._lines if owner not in self.list.lists)

    def start(self) -> None:
        """Begin refreshing: every two seconds while a list is missing, else every five minutes."""
        self._task = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """Stop refreshing."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for line in self._lines.values():
            await line.aclose()

    async def _run(self) -> None:
        while True:
            await asyncio.gather(*(self._fetch(owner) for owner in self._lines))
            try:
                self._renew()
            except TrustError as wrong:  # the held list goes on until it expires; the log says why
                self._log("key_list_missing", owner=self._owner, detail=str(wrong))
            await asyncio.sleep(RETRY_S if self.missing else REFRESH_S)

    async def _fetch(self, owner: str) -> None:
        try:
            envelope = await self._lines[owner].get_json("trust/keys", budget=RETRY_S)
            self.list = self.list.add(envelope, datetime.now(UTC))
        except (NodeError, KeyListRefused) as wrong:
            self._log("key_list_missing", owner=owner, detail=str(wrong))
        else:
            self._log("key_list_fetched", owner=owner, version=self.list.lists[owner].version)

    def _renew(self) -> None:
        """Issue the own list again well before it expires."""
        now = datetime.now(UTC)
        if self.list.lists[self._owner].expires - now < FRESH / 2:
            self.envelope = own_key_list(self._keys, self._owner, now)
            self.list = self.list.add(self.envelope, now)
