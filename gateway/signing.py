"""Signing for marks: at once with a key in memory, which costs less than handing it over, and in a thread of
its own with a crypto machine, which takes its time or does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gateway.errors import EvidenceUnavailable
from security.errors import KeyStoreError, SignatureRefused
from security.keys import KeyPair, PublicKey, Signer

SECONDS = 5.0
T = TypeVar("T")


class Signing:
    """Signs with whichever key signs marks at the moment.

    Args:
        signers: looked up anew for each signature (:meth:`gateway.keyring.Signers.each`); the first signs.
        seconds: how long a signature may take.
    """

    def __init__(self, signers: Sequence[Signer], seconds: float = SECONDS) -> None:
        self._signers = signers
        self._seconds = seconds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mark-signer")

    @property
    def key(self) -> PublicKey:
        """The key that signs now. Raises EvidenceUnavailable when none counts."""
        return self._signer.public

    async def run(self, work: Callable[[Signer], T], *, long: bool = False) -> T:
        """What ``work`` makes with the key that signs now, which stays the same throughout; ``long`` work is
        kept off the event loop whatever the key.

        Raises:
            EvidenceUnavailable: no key counts, or it does not sign.
        """
        signer = self._signer
        try:
            if isinstance(signer, KeyPair) and not long:
                return work(signer)
            made = asyncio.get_running_loop().run_in_executor(self._thread, work, signer)
            return await asyncio.wait_for(made, self._seconds)
        except (KeyStoreError, SignatureRefused, TimeoutError) as wrong:
            raise EvidenceUnavailable(_UNSIGNED) from wrong

    def close(self) -> None:
        """Give the thread back."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def _signer(self) -> Signer:
        try:
            return self._signers[0]
        except KeyStoreError as wrong:
            raise EvidenceUnavailable(_UNSIGNED) from wrong


_UNSIGNED = "this gateway cannot sign marks now, so it answers nothing; go on as without it"
