"""The keys that one gateway needs: how they are made, opened, turned, and taken up while it runs.

``root`` signs the key list and is pinned by others; ``log`` signs checkpoints; ``mark`` signs marks;
``catalogue`` signs published editions; ``peer`` signs what goes to other gateways; ``witness`` cosigns their
checkpoints; ``token`` signs access tokens. Each but ``token`` is there in Ed25519 and in SM2. Beside them lie
two kinds of secrets: ``payload`` seals what is kept (:mod:`adapters.sealing`), ``pseudonym`` stands persons'
numbers apart. Replicas share the folder.

A key turns without a gap: the new one is in the key list at once, and signs after :data:`LEAD`, when every
other gateway has fetched that list; meanwhile the former one signs. What the former one signed stays valid.
A compromised key signs nothing more, at once, and nothing that it ever signed counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

from gateway.errors import SettingsError
from gateway.settings import Settings
from security.envelope import Envelope
from security.errors import KeyStoreError, TrustError
from security.keys import Algorithm, PublicKey, Signer
from security.keystore import KeyStore

NEEDED: tuple[tuple[str, Algorithm], ...] = (
    ("root", "Ed25519"),
    ("root", "SM2"),
    ("log", "Ed25519"),
    ("log", "SM2"),
    ("mark", "Ed25519"),
    ("mark", "SM2"),
    ("catalogue", "Ed25519"),
    ("catalogue", "SM2"),
    ("peer", "Ed25519"),
    ("peer", "SM2"),
    ("token", "Ed25519"),
    ("witness", "Ed25519"),
    ("witness", "SM2"),
)
SECRETS = ("payload", "pseudonym")
LEAD = timedelta(minutes=10)
"""How long a new key is listed before it signs: longer than others take to fetch a key list twice."""
GRACE = timedelta(minutes=1)
"""How long a key that ends goes on counting: by then every replica signs with another one."""


def open_keys(settings: Settings) -> KeyStore:
    """The key store below ``data_dir``.

    Raises:
        SettingsError: the passphrase file is missing, unreadable or empty, or every user may read it.
        KeyStoreError: the folder may be read by others.
    """
    if settings.key_passphrase_file is None:
        raise SettingsError(
            "key_passphrase_file: is missing; write a long random passphrase into a file that only this"
            " process can read, and name it"
        )
    return KeyStore(settings.data_dir / "keys", read_passphrase(settings.key_passphrase_file))


def read_passphrase(file: Path) -> bytes:
    """What a passphrase file says.

    Raises:
        SettingsError: it is missing, unreadable or empty, or every user may read it.
    """
    try:
        open_to_all = file.stat().st_mode & 0o007
        passphrase = file.read_bytes().strip()
    except OSError as wrong:
        raise SettingsError(f"key_passphrase_file: {file} cannot be read ({wrong.strerror})") from None
    if open_to_all:  # its group may: that is how Kubernetes mounts a Secret
        raise SettingsError(f"key_passphrase_file: every user may read {file}; run: chmod o= {file}")
    if not passphrase:
        raise SettingsError(f"key_passphrase_file: {file} is empty")
    return passphrase


def make_keys(settings: Settings, without: str = "") -> list[PublicKey]:
    """Make every key and secret that is needed and not there, or would not be without one key (its id), and
    return the new keys.

    Raises:
        SettingsError, KeyStoreError: see :func:`open_keys`.
    """
    store, now = open_keys(settings), datetime.now(UTC)
    for purpose in SECRETS:
        if not store.secrets(purpose):
            store.new_secret(purpose, now)
    held = {
        (key.purpose, key.algorithm)
        for key in store.list()
        if key.status == "active" and key.not_after > now and key.kid != without
    }
    return [
        store.new(algorithm, settings.owner, purpose, now).public
        for purpose, algorithm in NEEDED
        if (purpose, algorithm) not in held
    ]


def rotate(
    keys: KeyStore,
    owner: str,
    purpose: str,
    now: datetime,
    overlap: timedelta,
    algorithms: Collection[Algorithm] = get_args(Algorithm),
) -> list[PublicKey]:
    """Make a new key in place of each active one of a purpose, which is retired ``overlap`` from ``now``;
    one that was retired before ends then at the latest, too, or it would go on signing.

    Raises:
        KeyStoreError: there is none, or one is in a crypto machine, which has to make the new one.
    """
    held = [
        key
        for key in keys.list()
        if (key.owner, key.purpose) == (owner, purpose) and key.algorithm in algorithms
    ]
    former = [key for key in held if key.status == "active"]
    if not former:
        raise KeyStoreError(f"there is no active key for '{purpose}' to rotate; run: lianren keys new")
    if inside := next((key.kid for key in former if keys.device(key.kid)), None):
        raise KeyStoreError(
            f"{inside} is in a crypto machine: make the new key there, and run: lianren keys adopt"
        )
    made = [
        keys.new(algorithm, owner, purpose, now).public
        for algorithm in get_args(Algorithm)
        if algorithm in {key.algorithm for key in former}
    ]
    for key in held:
        if key in former or (key.status == "retired" and key.not_after > now + overlap):
            keys.retire(key.kid, now + overlap)
    return made


def open_envelope(settings: Settings, keys: KeyStore) -> Envelope:
    """What seals and opens payloads: under the newest ``payload`` secret, and the former ones.

    Raises:
        KeyStoreError: there is none yet, or the secrets cannot be opened.
    """
    secrets = keys.secrets("payload")
    if not secrets:
        raise KeyStoreError("there is no key that seals payloads; run: lianren keys new")
    return Envelope(secrets, next(reversed(secrets)), settings.payload_cipher)


class Signers:
    """The key that signs now, for each purpose and algorithm, in a running gateway.

    Args:
        keys: the key store, which a command may change beside this process.
        lead: how old a key is when it takes over from one that still counts.
    """

    def __init__(self, keys: KeyStore, lead: timedelta = LEAD) -> None:
        self._keys = keys
        self._lead = lead
        self._targets: dict[tuple[str, Algorithm], Signer | None] = {}
        self._told = self._read()
        self._listed = self._told[0]
        self._watchers: list[Callable[[], None]] = []

    def of(self, purpose: str, algorithm: Algorithm) -> Signer:
        """A signer that stands for whichever key signs for this purpose at the moment.

        It changes in :meth:`follow` alone, on the event loop: what reads its id there and signs at once gets
        the signature of that key. What signs in a thread takes :meth:`each`.

        Raises:
            KeyStoreError: no key counts now. Later on, it is signing that raises it.
        """
        if (purpose, algorithm) not in self._targets:
            self._targets[purpose, algorithm] = self._chosen(purpose, algorithm, datetime.now(UTC))
        signer = _Current(self._targets, purpose, algorithm)
        signer.target()
        return signer

    def each(self, purpose: str, *algorithms: Algorithm) -> Sequence[Signer]:
        """The keys that sign for this purpose: at each look those of that moment, which do not change.

        Raises:
            KeyStoreError: as :meth:`of`.
        """
        for algorithm in algorithms:
            self.of(purpose, algorithm)
        return _Each([_Current(self._targets, purpose, algorithm) for algorithm in algorithms])

    def watch(self, changed: Callable[[], None]) -> None:
        """Call this, on the event loop, whenever a key or secret came, changed or went."""
        self._watchers.append(changed)

    async def follow(self) -> bool:
        """Take up what changed in the key store since the last time, and say whether something did.

        Raises:
            KeyStoreError: the key store cannot be read; what counts goes on signing.
            TrustError: some key cannot be used, such as one in a machine that is away; the others were taken
                up, and whoever watches has heard of it.
        """
        found = await asyncio.to_thread(self._read)
        self._listed = found[0]
        now, unusable = datetime.now(UTC), None
        for name, held in list(self._targets.items()):
            counting = self._counting(*name, now)
            best = self._best(counting, now)
            if held and held.public == best:
                continue
            target = None
            if best:
                try:
                    target = await asyncio.to_thread(self._keys.load, best.kid)
                except TrustError as wrong:
                    unusable = wrong
            if target or (held and held.public not in counting):
                self._targets[name] = target
        changed = found != self._told
        if changed:
            for watcher in self._watchers:
                watcher()
        self._told = found
        if unusable:
            raise unusable
        return changed

    def _read(self) -> tuple[tuple[PublicKey, ...], tuple[str, ...]]:
        secrets = tuple(id_ for purpose in SECRETS for id_ in self._keys.secrets(purpose))
        return self._keys.list(), secrets

    def _chosen(self, purpose: str, algorithm: Algorithm, now: datetime) -> Signer | None:
        best = self._best(self._counting(purpose, algorithm, now), now)
        return self._keys.load(best.kid) if best else None

    def _counting(self, purpose: str, algorithm: Algorithm, now: datetime) -> list[PublicKey]:
        return [
            key
            for key in self._listed
            if (key.purpose, key.algorithm) == (purpose, algorithm)
            and key.status != "compromised"
            and key.not_before <= now < key.not_after
        ]

    def _best(self, counting: list[PublicKey], now: datetime) -> PublicKey | None:
        """The newest that does not end soon and that everybody can know of, as far as there are such; where
        all are new, the oldest."""
        lasting = [key for key in counting if key.not_after - now > GRACE] or counting
        lasting.sort(key=lambda key: (key.not_before, key.kid))
        known = [key for key in lasting if now - key.not_before >= self._lead]
        return known[-1] if known else next(iter(lasting), None)


class _Current:
    """A :class:`security.keys.Signer` that stands for whichever key signs now."""

    def __init__(
        self, targets: dict[tuple[str, Algorithm], Signer | None], purpose: str, algorithm: Algorithm
    ) -> None:
        self._targets = targets
        self._name = purpose, algorithm

    def target(self) -> Signer:
        """The key of now. Raises KeyStoreError when none counts."""
        if (target := self._targets[self._name]) is None:
            purpose, algorithm = self._name
            raise KeyStoreError(f"no {algorithm} key for '{purpose}' counts now; run: lianren keys new")
        return target

    @property
    def public(self) -> PublicKey:
        return self.target().public

    @property
    def kid(self) -> str:
        return self.target().kid

    @property
    def algorithm(self) -> Algorithm:
        return self._name[1]

    def sign(self, message: bytes) -> bytes:
        return self.target().sign(message)


class _Each(Sequence[Signer]):
    """The targets of several, looked up whenever one is taken out."""

    def __init__(self, current: Sequence[_Current]) -> None:
        self._current = current

    def __len__(self) -> int:
        return len(self._current)

    def __getitem__(self, index: Any) -> Any:
        return self._current[index].target()
