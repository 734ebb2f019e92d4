"""What the security room refuses, and why.

    TrustError
    ├── UnsupportedAlgorithm   this machine or this version lacks the algorithm
    ├── KeyStoreError          the folder of private keys: permissions, passphrase, damaged file
    ├── UnknownKey             no trusted list has a key of this id
    ├── KeyNotValid            the key is known, but not for this time, purpose or any more
    ├── KeyListRefused         a list of keys that is malformed, unsigned, expired or older than the held one
    ├── SignatureRefused       the signature is not of these bytes by this key
    ├── PayloadRefused         a sealed record that does not open: changed, moved, or its key is gone
    ├── TokenRefused           a JSON Web Token or its keys; `claim` names what is wrong with it
    ├── MarkRefused            a recognition mark; `step` names the verification step that failed
    ├── StatusRefused          a list of withdrawn marks; `step` names the verification step that failed
    ├── LedgerRefused          a note, proof, entry or export; `check` has the number and name of the check
    ├── WitnessRefused         a checkpoint that is not cosigned; `status` is C2SP tlog-witness's answer to it
    └── IdentityRefused        a person's or organisation's number that is malformed; never echoes it

Every message says what was wrong and, where there is something to do, what to do. No message holds a person's
number, name or date of birth.
"""

from __future__ import annotations

from enum import IntEnum


class Check(IntEnum):
    """The checks of an offline audit, in their order; the number is what reports print."""

    NOTE = 1
    REPLAY = 2
    CONSISTENCY = 3
    MARKS = 4
    PAYLOADS = 5
    BINDINGS = 6


class TrustError(Exception):
    """Base of everything this room raises."""


class UnsupportedAlgorithm(TrustError):
    """The algorithm is unknown, or the system's library was built without it."""


class KeyStoreError(TrustError):
    """The folder of private keys cannot be used as it is."""


class UnknownKey(TrustError):
    """No trusted key list holds a key of this id."""


class KeyNotValid(TrustError):
    """The key exists but does not count here: other purpose, other time, retired or compromised."""


class KeyListRefused(TrustError):
    """A signed key list that cannot be taken over."""


class SignatureRefused(TrustError):
    """The signature does not verify."""


class PayloadRefused(TrustError):
    """A sealed record that does not open here; the message names its place, never what is in it."""


class TokenRefused(TrustError):
    """A JSON Web Token that does not count; `claim` is the claim, header parameter or part that is wrong.

    The message says which and why, and repeats nothing of the token.
    """

    def __init__(self, claim: str, message: str) -> None:
        super().__init__(f"{claim} {message}")
        self.claim = claim


class MarkRefused(TrustError):
    """A recognition mark that does not count; `step` is the id of the step of `mark.verify` that failed."""

    def __init__(self, step: str, message: str) -> None:
        super().__init__(message)
        self.step = step


class StatusRefused(TrustError):
    """A list of withdrawn marks that cannot be taken; `step` is the id of the step that failed."""

    def __init__(self, step: str, message: str) -> None:
        super().__init__(message)
        self.step = step


class LedgerRefused(TrustError):
    """A piece of the ledger that does not verify; `check.value` and `check.name` say at which check."""

    def __init__(self, check: Check, message: str) -> None:
        super().__init__(message)
        self.check = check


class WitnessRefused(TrustError):
    """A checkpoint that a witness does not cosign; `status` is that of HTTP (C2SP tlog-witness)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class IdentityRefused(TrustError):
    """A number that is not of its type; the message never repeats it.

    `field` is set by whoever read the number, to where it stands in what was read.
    """

    field = ""
