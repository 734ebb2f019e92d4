"""The one place that pseudonyms come from: HMAC-SM3 under the secrets of the key store, at a limited rate.

Whoever can make pseudonyms without limit can try all 10¹¹ resident numbers against what is kept. So the keys
stay here and the rate is bounded, over all clients together (in each replica): what is over it is refused,
and at the default rate trying them all takes thirty years.

``lianren keys rotate pseudonym`` begins an epoch. A running gateway takes it up within :data:`REREAD`
seconds, and finds under the former one what was kept before. For that long a replica that has not taken it up
does not find what another one keeps under the new one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from gateway.errors import SettingsError, TooManyRequests
from security.errors import KeyStoreError
from security.identity import Identifier
from security.keystore import KeyStore
from security.pseudonym import PseudonymKey, Pseudonyms

PURPOSE = "pseudonym"
REREAD = 5.0


class Persons:
    """The :class:`security.pseudonym.Pseudonymiser` of a gateway.

    Args:
        keys: its secrets of the purpose ``pseudonym`` are the keys; what stands after the dash in a secret's
            id is the epoch.
        per_minute: how many persons' pseudonyms may be made in a minute; unused ones of one minute are saved.
        clock: seconds that only grow.

    Raises:
        SettingsError: there is no key yet.
        KeyStoreError: the keys cannot be opened.
    """

    def __init__(
        self, keys: KeyStore, per_minute: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._per_minute = per_minute
        self._left = float(per_minute)
        self._filled = self._read = clock()
        self._secrets: Mapping[str, bytes] = {}
        self._epochs: tuple[PseudonymKey, ...] = ()
        self._take(keys.secrets(PURPOSE))
        if not self._epochs:
            raise SettingsError("there is no key for pseudonyms; run: lianren keys new")

    @property
    def epoch(self) -> str:
        """The epoch of new pseudonyms."""
        return self._epochs[0].epoch

    async def pseudonyms(self, person: Identifier, recipient: str) -> Pseudonyms:
        """The pseudonyms of a person for one recipient (owner id), those of former epochs newest first.

        Raises:
            TooManyRequests: more are asked for than the rate allows.
        """
        now = self._clock()
        self._spend(now)
        if now - self._read >= REREAD:
            self._read = now
            self._reread()
        current, *former = (key.pseudonym(person, recipient) for key in self._epochs)
        return Pseudonyms(current, tuple(former))

    def _spend(self, now: float) -> None:
        """Take one from a bucket that fills evenly."""
        filled = self._left + (now - self._filled) * self._per_minute / 60
        self._left, self._filled = min(float(self._per_minute), filled), now
        if self._left < 1:
            raise TooManyRequests(
                "more persons are asked about than this gateway may look up in a minute; slow down",
                retry_after=60 / self._per_minute,
            )
        self._left -= 1

    def _reread(self) -> None:
        try:
            self._take(self._keys.secrets(PURPOSE))
        except KeyStoreError:  # the keys in hand go on; the next start says what is wrong with the folder
            return

    def _take(self, found: Mapping[str, bytes]) -> None:
        if found and found != self._secrets:
            self._secrets = found
            self._epochs = tuple(
                PseudonymKey(key, id_.removeprefix(f"{PURPOSE}-")) for id_, key in reversed([*found.items()])
            )
