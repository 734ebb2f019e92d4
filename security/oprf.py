"""Pseudonyms from an oblivious service: RFC 9497, verifiable mode, ristretto255-SHA512.

    gateway                                              service (has the key)
    blind(system ‖ 0 ‖ value)  ── 32 bytes ──▶  evaluate, prove  (key of this epoch and recipient)
    finalise, check the proof  ◀── 96 bytes ──
    pseudonym = epoch "." base64url(the first 32 bytes of the output)

The gateway never learns the key, and the service never sees a number: what it gets is a random point. The
proof shows that it used the key whose public half the gateway pinned, so it cannot tell persons apart by
giving some of them another key. It still limits the rate, which is all that is left to whoever wants to try
every number.

The keys of recipients come from one seed (RFC 9497, DeriveKeyPair, info = "lianren oprf v1" ‖ 0 ‖ epoch ‖ 0
‖ recipient). Needs the extra ``oprf`` (the package ``voprf``).
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from msgspec import Struct

from security.errors import IdentityRefused, KeyStoreError, SignatureRefused, UnsupportedAlgorithm
from security.identity import Identifier
from security.keys import to_base64url
from security.pseudonym import Pseudonyms, checked_epoch, message_of

if TYPE_CHECKING:
    from voprf import ristretto

SEED_SIZE, BLINDED_SIZE, EVALUATED_SIZE = 32, 32, 96


class Evaluator:
    """The side of the service: evaluates blinded inputs under the keys of one epoch."""

    def __init__(self, seed: bytes, epoch: str) -> None:
        """`seed` has 32 random bytes. Raises KeyStoreError, UnsupportedAlgorithm (without the extra)."""
        if len(seed) != SEED_SIZE:
            raise KeyStoreError(f"the seed of an OPRF has {SEED_SIZE} bytes, this one has {len(seed)}")
        self.epoch = checked_epoch(epoch)
        _require()
        self._seed = seed
        self._key = functools.lru_cache(maxsize=256)(self._derive)

    def public_key(self, recipient: str) -> bytes:
        """The public key for one recipient (owner id), to be pinned by the gateways: 32 bytes."""
        return self._key(recipient).public_key.serialize()

    async def evaluate(self, blinded: bytes, recipient: str) -> bytes:
        """The evaluated element and the proof, 96 bytes, for a blinded input of 32 bytes.

        Raises IdentityRefused for bytes that are no element of the group.
        """
        from voprf import ristretto

        try:
            element = ristretto.BlindedInput.deserialize(blinded)
        except ValueError:
            raise IdentityRefused(f"a blinded input has {BLINDED_SIZE} bytes of ristretto255") from None
        return self._key(recipient).evaluate(element).serialize()

    def _derive(self, recipient: str) -> ristretto.Evaluator:
        from voprf import ristretto

        info = b"\0".join((b"lianren oprf v1", self.epoch.encode(), recipient.encode()))
        return ristretto.Evaluator.from_seed(self._seed, info)

    def __repr__(self) -> str:
        return f"Evaluator(epoch {self.epoch})"


class Epoch(Struct, frozen=True):
    """A service of one epoch as a gateway knows it: how to ask it, and its pinned public key by recipient.

    `evaluate` is `Evaluator.evaluate`, or what carries the question to it over the network.
    """

    name: str
    public_keys: Mapping[str, bytes]
    evaluate: Callable[[bytes, str], Awaitable[bytes]]


class OprfPseudonymiser:
    """The side of the gateway: a `security.pseudonym.Pseudonymiser` over services of one or more epochs."""

    def __init__(self, epochs: Sequence[Epoch]) -> None:
        """`epochs` come newest first. Raises KeyStoreError, UnsupportedAlgorithm (without the extra)."""
        if not epochs:
            raise KeyStoreError("pseudonyms need a service of at least one epoch")
        for epoch in epochs:
            checked_epoch(epoch.name)
        _require()
        self._epochs = tuple(epochs)

    @property
    def epoch(self) -> str:
        """The epoch of new pseudonyms."""
        return self._epochs[0].name

    async def pseudonyms(self, person: Identifier, recipient: str) -> Pseudonyms:
        """The pseudonyms of a person for one recipient (owner id), those of former epochs in their order.

        Raises SignatureRefused where a service did not use its pinned key, KeyStoreError for a recipient that
        no key is pinned for, and what `evaluate` raises.
        """
        current, *former = [await self._of(epoch, person, recipient) for epoch in self._epochs]
        return Pseudonyms(current, tuple(former))

    async def _of(self, epoch: Epoch, person: Identifier, recipient: str) -> str:
        from voprf import ristretto

        pinned = epoch.public_keys.get(recipient)
        if pinned is None:
            raise KeyStoreError(f"epoch {epoch.name}: no public key is pinned for the recipient {recipient}")
        client, blinded = ristretto.Client.blind(message_of(person))
        evaluated = await epoch.evaluate(blinded.serialize(), recipient)
        try:
            output = client.finalize(
                ristretto.VerifiableOutput.deserialize(evaluated),
                ristretto.PublicKey.deserialize(pinned),
            )
        except ValueError:
            raise SignatureRefused(
                f"the pseudonym service of epoch {epoch.name} answered under another key than the pinned one"
            ) from None
        return f"{epoch.name}.{to_base64url(output[:32])}"


def _require() -> None:
    if find_spec("voprf") is None:
        raise UnsupportedAlgorithm("oblivious pseudonyms need the extra: pip install lianren[oprf]")
