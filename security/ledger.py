"""What stands in the exchange ledger, and what does not.

An entry is compact JSON of fixed field order: its type, when, from and to whom, under which list and item,
about which mark, which earlier entry it answers (`binds`), and a salted commitment to its payload:

    commit = SM3(0x02 ‖ salt (32 random bytes) ‖ payload)

The payload (a question, an answer, a verdict …) and the salt stay outside, in an erasable row. Erasing both
erases the person, and leaves the tree, its proofs and its counts valid; without the salt a commitment to an
identity number could be guessed. A leaf holds no name, number, value or pseudonym, which would link a
patient's visits. `commit` is the id of its entry.
"""

from __future__ import annotations

import hmac
import re
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Literal

from msgspec import Meta, MsgspecError, Struct, ValidationError, convert, json

from security.digests import HashName, sm3
from security.drawing import drawer
from security.errors import Check, IdentityRefused, LedgerRefused
from security.identity import resident_number
from security.keys import AwareDatetime
from security.tiles import MAX_ENTRY
from security.tree import leaf_hash

EntryType = Literal[
    "question", "answer", "verdict", "mark", "outcome", "withdrawal", "catalogue", "keys", "view", "export",
    "consent", "erasure", "conflict", "publication", "node",
]  # fmt: skip
Party = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}\Z")]
Code = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:|/+-]{0,64}\Z")]
Commitment = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
SALT_SIZE = 32
_new_salt = drawer(SALT_SIZE)
_RESIDENT_SHAPE = re.compile(r"(?=([1-9][0-9]{16}[0-9Xx]))")  # anywhere in a text, overlapping ones too


class Entry(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from", "version": "v"}
):
    """The content of a leaf; `from_` and `to` are organisations, `mark` a mark id in hexadecimal or empty."""

    version: Annotated[int, Meta(ge=1, le=1)] = 1
    type: EntryType
    time: AwareDatetime
    from_: Party
    to: Party
    scheme: Code
    item: Code
    mark: Annotated[str, Meta(pattern=r"^([0-9a-f]{32})?\Z")]
    binds: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")]
    commit: Commitment


_DECODER, _ENCODER = json.Decoder(Entry), json.Encoder()  # made once: an audit reads millions


class Sealed(Struct, frozen=True, kw_only=True):
    """An entry ready for a ledger, and what opens it (`salt`, `payload`: erasable)."""

    entry_id: str
    body: bytes
    leaf: bytes
    salt: bytes
    payload: bytes


def seal(
    type: EntryType,  # noqa: A002 - the field's own name
    payload: bytes,
    *,
    time: datetime,
    from_: str,
    to: str,
    scheme: str = "",
    item: str = "",
    mark: str = "",
    binds: str = "",
    salt: bytes | None = None,
    hash_name: HashName = "sm3",
) -> Sealed:
    """Commit to `payload` and encode the entry; `hash_name` is that of the ledger's tree.

    A new random salt is taken unless one is given (32 bytes). Raises LedgerRefused for a field that is
    malformed or holds a person's number.
    """
    salt = _new_salt() if salt is None else salt
    if len(salt) != SALT_SIZE:
        raise LedgerRefused(Check.PAYLOADS, f"a salt has {SALT_SIZE} bytes, this one has {len(salt)}")
    commit = commitment(salt, payload)
    for name, value in (("from", from_), ("to", to), ("scheme", scheme), ("item", item)):
        _refuse_person(name, value)
    fields = {
        "v": 1, "type": type, "time": time, "from": from_, "to": to, "scheme": scheme, "item": item,
        "mark": mark, "binds": binds, "commit": commit,
    }  # fmt: skip
    try:
        body = _ENCODER.encode(convert(fields, Entry))
    except ValidationError as wrong:
        raise LedgerRefused(Check.REPLAY, f"a ledger entry of type '{type}': {wrong}") from None
    return Sealed(entry_id=commit, body=body, leaf=leaf_hash(body, hash_name), salt=salt, payload=payload)


def commitment(salt: bytes, payload: bytes) -> str:
    """SM3(0x02 ‖ salt ‖ payload) in hexadecimal; 0x02 keeps it apart from the tree's leaves and nodes."""
    return sm3(b"\2" + salt + payload).hex()


def read_entry(body: bytes) -> Entry:
    """The entry of a leaf's bytes, in its one encoding. Raises LedgerRefused."""
    if len(body) > MAX_ENTRY:
        raise LedgerRefused(Check.REPLAY, f"an entry of {len(body)} bytes; the most is {MAX_ENTRY}")
    try:
        entry = _DECODER.decode(body)
    except (MsgspecError, UnicodeError) as wrong:
        raise LedgerRefused(Check.REPLAY, f"not a ledger entry: {wrong}") from None
    if _ENCODER.encode(entry) != body:
        raise LedgerRefused(Check.REPLAY, "not a ledger entry: its JSON is not in the one compact form")
    return entry


def opens(body: bytes, salt: bytes, payload: bytes) -> bool:
    """Whether salt and payload are the committed ones. Raises LedgerRefused for a malformed entry."""
    return len(salt) == SALT_SIZE and hmac.compare_digest(read_entry(body).commit, commitment(salt, payload))


@lru_cache(maxsize=4096)
def _refuse_person(name: str, value: str) -> None:
    for candidate in (value, *_RESIDENT_SHAPE.findall(value)):
        try:
            resident_number(candidate)
        except IdentityRefused:
            continue
        raise LedgerRefused(
            Check.REPLAY, f"field '{name}' holds a person's number; leave it out of the ledger"
        )
