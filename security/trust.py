"""Which keys are trusted: pinned roots, and the key lists that they sign.

Each owner publishes a `KeyList`, versioned and with an end, signed by its root keys (purpose `root`;
Ed25519, and SM2 beside it). Roots are pinned out of band. The envelope carries the list as text, so the
signed bytes are never rebuilt:

    {"payload": "<JSON of the KeyList>", "signatures": [{"kid": "…", "signature": "<base64url>"}, …]}

Every pinned root of the owner that counted when the list was issued must have signed: a forger then needs
all of them. A new root signs beside the old one until everybody has pinned it; once the old one has ended its
signature is asked for no more. A list that is taken over now needs the roots that count now as well, so that
a root which has ended, and was stolen since, cannot sign a list of the past that still counts.

A `TrustList` is a value: taking over a newer list gives another one, and a request that has begun finishes
under the one that it began with.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated

from msgspec import Meta, MsgspecError, Struct, json

from security.errors import KeyListRefused, KeyNotValid, SignatureRefused, UnknownKey
from security.keys import AwareDatetime, OwnerId, PublicKey, Signer, from_base64url, to_base64url, verifier

SKEW = timedelta(minutes=5)
"""How far the clock of whoever issued a list may be ahead."""
_DOMAIN = b"lianren key list v1\n"  # a signature made here means nothing anywhere else


class KeyList(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One owner's keys, as of a version; `expires` is when relying parties must have a newer one."""

    owner: OwnerId
    version: Annotated[int, Meta(ge=1)]
    issued: AwareDatetime
    expires: AwareDatetime
    keys: tuple[PublicKey, ...]


class _RootSignature(Struct, frozen=True, forbid_unknown_fields=True):
    kid: str
    signature: str


class _Envelope(Struct, frozen=True, forbid_unknown_fields=True):
    payload: str
    signatures: tuple[_RootSignature, ...]


def sign_key_list(key_list: KeyList, roots: Iterable[Signer]) -> bytes:
    """The signed envelope of a key list, JSON in UTF-8. `roots` are the owner's root keys, all of them."""
    payload = json.encode(key_list)
    signatures = tuple(_RootSignature(r.kid, to_base64url(r.sign(_DOMAIN + payload))) for r in roots)
    return json.encode(_Envelope(payload.decode(), signatures))


def read_key_list(envelope: bytes | str, roots: Iterable[PublicKey], at: datetime | None = None) -> KeyList:
    """The key list of an envelope whose signatures verify by the pinned `roots` of its owner.

    Looks at no clock: an auditor reads lists of long ago. `at` (aware) asks for the signatures of the roots
    that count at that time too. Raises KeyListRefused.
    """
    signed = _opened(envelope)
    try:
        key_list = json.decode(signed.payload, type=KeyList)
    except (MsgspecError, UnicodeError) as wrong:
        raise KeyListRefused(f"not a signed key list: {wrong}") from None
    owner, issued = key_list.owner, key_list.issued
    pinned = [root for root in roots if root.owner == owner]
    if not pinned:
        raise KeyListRefused(f"no root key of '{owner}' is pinned; obtain it from the owner and pin it")
    required = [root for root in pinned if _counts(root, issued) or (at and _counts(root, at))]
    by_kid = {signature.kid: signature.signature for signature in signed.signatures}
    for root in required or pinned:
        if root.kid not in by_kid:
            raise KeyListRefused(f"the key list of '{owner}' is not signed by its pinned root {root.kid}")
        try:
            root.check(issued, "root")
            verifier(root).verify(_DOMAIN + signed.payload.encode(), from_base64url(by_kid[root.kid]))
        except (SignatureRefused, KeyNotValid, ValueError) as wrong:
            raise KeyListRefused(f"the key list of '{owner}', signature by {root.kid}: {wrong}") from None
    _check_keys(key_list)
    return key_list


def signed_by(envelope: bytes | str) -> frozenset[str]:
    """The ids of the roots that an envelope says signed it; verifies nothing. Raises KeyListRefused."""
    return frozenset(signature.kid for signature in _opened(envelope).signatures)


def _opened(envelope: bytes | str) -> _Envelope:
    try:
        return json.decode(envelope, type=_Envelope)
    except (MsgspecError, UnicodeError) as wrong:
        raise KeyListRefused(f"not a signed key list: {wrong}") from None


def _counts(root: PublicKey, at: datetime) -> bool:
    try:
        root.check(at, "root")
    except KeyNotValid:
        return False
    return True


def _check_keys(key_list: KeyList) -> None:
    seen: set[str] = set()
    for key in key_list.keys:
        if key.owner != key_list.owner or not key.kid.startswith(f"{key.owner}-{key.purpose}-"):
            raise KeyListRefused(
                f"the key list of '{key_list.owner}' holds the key {key.kid}, which is not its own"
            )
        if key.purpose == "root":
            raise KeyListRefused(
                f"the key list of '{key_list.owner}' holds the root {key.kid}; roots are pinned only"
            )
        if key.kid in seen:
            raise KeyListRefused(f"the key list of '{key_list.owner}' holds the key {key.kid} twice")
        seen.add(key.kid)
        try:
            verifier(key)
        except KeyNotValid as wrong:
            raise KeyListRefused(f"the key list of '{key_list.owner}': {wrong}") from None


class TrustList:
    """Pinned roots and the verified key lists of several owners; immutable."""

    def __init__(self, roots: Iterable[PublicKey], lists: Iterable[KeyList] = ()) -> None:
        """`lists` are already verified (`read_key_list`); unverified ones come in by `add`."""
        self.roots = tuple(roots)
        self.lists = {key_list.owner: key_list for key_list in lists}
        self._keys = {key.kid: key for key_list in self.lists.values() for key in key_list.keys}

    def add(self, envelope: bytes | str, now: datetime) -> TrustList:
        """A trust list with the envelope's key list in place of the owner's former one.

        Raises KeyListRefused when it does not verify, has expired at `now` (aware) or was issued after it, is
        older than the held one, or says something else under the held one's version.
        """
        key_list = read_key_list(envelope, self.roots, now)
        held = self.lists.get(key_list.owner)
        if key_list.expires <= now:
            raise KeyListRefused(
                f"the key list of '{key_list.owner}' expired on {key_list.expires.isoformat()}; fetch a newer"
            )
        if key_list.issued > now + SKEW:
            raise KeyListRefused(
                f"the key list of '{key_list.owner}' was issued on {key_list.issued.isoformat()}, which is to"
                " come; compare the clocks"
            )
        if held and (
            key_list.version < held.version or (key_list.version == held.version and key_list != held)
        ):
            raise KeyListRefused(
                f"the key list of '{key_list.owner}' has version {key_list.version}, but a list of version"
                f" {held.version} with other content is held; versions only grow"
            )
        return TrustList(self.roots, (self.lists | {key_list.owner: key_list}).values())

    def fresh(self, now: datetime) -> TrustList:
        """The trust list without the lists that have expired at `now` (aware)."""
        if all(key_list.expires > now for key_list in self.lists.values()):
            return self
        return TrustList(self.roots, [held for held in self.lists.values() if held.expires > now])

    def key(self, kid: str, at: datetime, purpose: str) -> PublicKey:
        """The key of an id, valid for `purpose` on what was signed at `at`.

        Raises UnknownKey when no list has it, KeyNotValid when it does not count for that purpose at that
        time.
        """
        key = self._keys.get(kid)
        if key is None:
            known = ", ".join(sorted(self.lists)) or "nobody"
            raise UnknownKey(f"key {kid} is in no trusted list (lists held: {known})")
        key.check(at, purpose)
        return key
