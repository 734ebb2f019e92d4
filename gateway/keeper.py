"""The trust list of a running gateway: its own signed key list, and the others', fetched and kept fresh.

Roots are pinned by hand (settings, ``[[pins]]``); everything else follows from lists they sign. A list that
does not verify, is expired or older than the held one is not taken; the held one goes on until it expires. It
is kept in the store too, so that a restart while the other gateway is away changes nothing, and so that no
older list is ever taken again.

The own list is issued anew whenever the key store says something else, and well before it expires. Every list
is a ledger entry of type ``keys``, whose payload is the signed envelope, before anybody gets to see it. Lists
form a chain, as editions do: the key of a document names the one before, so that of two replicas which issue
at the same time one is first, and the other takes over what that one issued. Versions are seconds of time,
so they grow even where a database was lost.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from msgspec import Struct

from adapters import KeyTaken, Line, NodeError, StoreError
from adapters.sequencer import Sequencer
from adapters.store import Document, Store
from gateway.errors import SettingsError
from gateway.keyring import Signers
from gateway.log import Log
from gateway.settings import Settings
from gateway.tasks import stop
from security.errors import KeyListRefused, KeyStoreError, TrustError
from security.keys import PublicKey
from security.keystore import KeyStore
from security.ledger import seal
from security.trust import KeyList, TrustList, read_key_list, sign_key_list, signed_by

FRESH = timedelta(days=7)
"""How long a key list counts after it was issued."""
FOLLOW_S = 1.0
"""Seconds between two looks into the own key store."""
REFRESH_S = 60.0
"""The longest between two fetches of a list; ``status_s`` may ask for less."""
RETRY_S = 2.0
OWN, OTHERS = "own-keys", "keys"
"""Kinds of documents: the chain of own key lists, and the newest list of each other gateway."""
_PAGE = 500


def own_key_list(keys: KeyStore, owner: str, now: datetime, version: int = 0) -> bytes:
    """The signed envelope of this gateway's public keys; its version is the second of issue unless given.

    Every root that counts now signs, so that others may pin the old one or the new one.

    Raises:
        KeyStoreError: there is no root key that counts now.
    """
    listed = _listed(keys, owner)
    roots = _signing_roots(keys, owner, now)
    if not roots:
        raise KeyStoreError("no root key counts now; run: lianren keys new, and hand the roots out again")
    key_list = KeyList(
        owner=owner,
        version=version or int(now.timestamp()),
        issued=now,
        expires=now + FRESH,
        keys=listed,
    )
    return sign_key_list(key_list, [keys.load(root.kid) for root in roots])


def _listed(keys: KeyStore, owner: str) -> tuple[PublicKey, ...]:
    return tuple(key for key in keys.list() if key.owner == owner and key.purpose != "root")


def _signing_roots(keys: KeyStore, owner: str, now: datetime) -> list[PublicKey]:
    return [
        root
        for root in roots_of(keys, owner)
        if root.status != "compromised" and root.not_before <= now < root.not_after
    ]


def roots_of(keys: KeyStore, owner: str) -> tuple[PublicKey, ...]:
    """The root keys that others pin; those that have ended too, for lists of their time."""
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


async def key_history(store: Store) -> list[bytes]:
    """The envelopes of all key lists that this gateway ever issued, oldest first.

    Raises:
        StoreUnavailable: they cannot be read.
    """
    return [document.body for document in await _chain(store)]


async def _chain(store: Store, after: str = "") -> list[Document]:
    found: list[Document] = []
    while page := await store.documents(OWN, found[-1].id if found else after, _PAGE):
        found += page
    return found


class _Issued(Struct, frozen=True):
    """An own key list that verified, and the envelope it came in."""

    envelope: bytes
    list: KeyList


class TrustKeeper:
    """Holds the trust list; issues the own key list and refreshes the others' in the background.

    Args:
        settings: the owner and the pins.
        keys: the own keys.
        signers: followed, so that new keys sign without a restart.
        sequencer: of the open store in which lists are kept.
        log: told of every list that came, or did not.
    """

    def __init__(
        self, settings: Settings, keys: KeyStore, signers: Signers, sequencer: Sequencer, log: Log
    ) -> None:
        self._owner = settings.owner
        self._keys = keys
        self._signers = signers
        self._sequencer = sequencer
        self._store = sequencer.store
        self._log = log
        self._pins = {
            root.kid: root for pin in settings.pins for root in read_roots(pin.keys_file, pin.owner)
        }
        self._lines = {pin.owner: Line(pin.url) for pin in settings.pins}
        self._refresh = min(REFRESH_S, settings.status_s)
        self._last = ""
        self._changed = False
        signers.watch(self._change)
        self._own: _Issued | None = None
        self.list = TrustList((*roots_of(keys, self._owner), *self._pins.values()))
        self._task: asyncio.Task[None] | None = None

    @property
    def envelope(self) -> bytes:
        """The own key list as others fetch it; there is one once this is open."""
        return self._own.envelope if self._own else b""

    @property
    def own_keys(self) -> tuple[PublicKey, ...]:
        """The keys of the own list, though it may have expired: what this gateway signed itself is known."""
        return self._own.list.keys if self._own else ()

    @property
    def missing(self) -> tuple[str, ...]:
        """Owners whose key list is not held."""
        return tuple(owner for owner in self._lines if owner not in self.list.lists)

    async def open(self) -> None:
        """Take the kept lists, and issue the own one if it says something else by now.

        Raises:
            StoreError: they cannot be read or kept.
            KeyStoreError: no root key counts.
        """
        await self._issue(datetime.now(UTC))
        for owner in self._lines:
            await self._take_kept(owner, datetime.now(UTC))

    def start(self) -> None:
        """Begin to follow the own keys every second, and to fetch the others' lists every minute or
        more often, and every two seconds while one is missing."""
        self._task = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """Stop that."""
        await stop(self._task)
        for line in self._lines.values():
            await line.aclose()

    async def _run(self) -> None:
        due = 0.0
        unread = ""
        while True:
            if time.monotonic() >= due:
                await asyncio.gather(*(self._fetch(owner) for owner in self._lines))
                due = time.monotonic() + (RETRY_S if self.missing else self._refresh)
            try:
                await self._follow()
                unread = ""
            except (TrustError, StoreError) as wrong:  # what is held goes on; the log says why, once
                if str(wrong) != unread:
                    self._log("key_list_missing", owner=self._owner, detail=str(wrong))
                unread = str(wrong)
            await asyncio.sleep(FOLLOW_S)

    def _change(self) -> None:
        self._changed = True

    async def _follow(self) -> None:
        now, unusable = datetime.now(UTC), None
        self.list = self.list.fresh(now)
        try:
            await self._signers.follow()
        except TrustError as wrong:  # what changed in the other keys is to be known all the same
            unusable = wrong
        if self._changed or self._own is None or self._own.list.expires - now < FRESH / 2:
            await self._issue(now)
            self._changed = False
        if unusable:
            raise unusable

    async def _fetch(self, owner: str) -> None:
        now = datetime.now(UTC)
        held = self.list.lists.get(owner)
        try:
            envelope = await self._lines[owner].get_json("trust/keys", budget=RETRY_S)
            if self.list.add(envelope, now).lists[owner] != held:
                await self._take_kept(owner, now)  # of two replicas neither puts an older list over a newer
                self.list.add(envelope, now)
                await self._store.replace(Document(kind=OTHERS, id=owner, body=envelope, at=now))
            self.list = self.list.add(envelope, now)
        except (NodeError, KeyListRefused, StoreError) as wrong:
            self._log("key_list_missing", owner=owner, detail=str(wrong))
        else:
            if self.list.lists[owner] != held:
                self._log("key_list_fetched", owner=owner, version=self.list.lists[owner].version)

    async def _take_kept(self, owner: str, now: datetime) -> None:
        """Take over the list of another gateway that lies in the store, where that is newer."""
        if kept := await self._store.document(OTHERS, owner):
            try:
                self.list = self.list.add(kept.body, now)
            except KeyListRefused as wrong:
                self._log("key_list_missing", owner=owner, detail=str(wrong))

    async def _issue(self, now: datetime) -> None:
        """Take what other replicas issued, and issue a list where that is not what the keys say now."""
        while True:
            if chain := await _chain(self._store, self._last):
                self._take(chain[-1])
            if self._own:
                self._refuse_older(self._own)
                if self._says_it_still(self._own, now):
                    return
            version = max(int(now.timestamp()), int(self._last or 0) + 1)
            envelope = await asyncio.to_thread(own_key_list, self._keys, self._owner, now, version)
            entry = seal(
                "keys",
                envelope,
                time=now,
                from_=self._owner,
                to=self._owner,
                scheme=f"keys/{version}",
                hash_name=self._sequencer.hash_name,
            )
            issued = Document(
                kind=OWN, id=f"{version:012d}", key=f"after {self._last or 0}", body=envelope, at=now
            )
            try:
                await self._sequencer.append([entry], [issued])
            except KeyTaken:  # another replica was quicker: look at what it issued
                continue
            self._take(issued)
            self._log("key_list_issued", version=version)
            return

    def _take(self, document: Document) -> None:
        """Take over a list of the chain; one that was laid there and is not signed by the roots is none."""
        self._last = document.id
        roots = roots_of(self._keys, self._owner)
        try:
            own = _Issued(document.body, read_key_list(document.body, roots))
        except KeyListRefused as wrong:
            self._log("key_list_missing", owner=self._owner, detail=str(wrong))
            return
        self._own = own
        others = [held for held in self.list.lists.values() if held.owner != self._owner]
        self.list = TrustList((*roots, *self._pins.values()), [*others, own.list])

    def _refuse_older(self, own: _Issued) -> None:
        """Raise KeyStoreError when a key counts that the list says is compromised."""
        ended = {key.kid for key in own.list.keys if key.status == "compromised"}
        for key in _listed(self._keys, self._owner):
            if key.kid in ended and key.status != "compromised":
                raise KeyStoreError(
                    f"{key.kid} was compromised, and counts again: the folder of keys is an older copy; bring"
                    f" the newer one back, or run: lianren keys compromise {key.kid}"
                )

    def _says_it_still(self, own: _Issued, now: datetime) -> bool:
        return (
            own.list.keys == _listed(self._keys, self._owner)
            and own.list.expires - now >= FRESH / 2
            and signed_by(own.envelope) >= {root.kid for root in _signing_roots(self._keys, self._owner, now)}
        )
