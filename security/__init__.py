"""Keys, marks, ledger, pseudonyms, identities: the exchange becomes provable, persons stay out of it.

Pure: no network, no web framework, no database, none of the other rooms. Each module is used by its name.

| module | what |
|---|---|
| `errors` | what is refused, and why |
| `digests` | SHA-256, SM3, HMAC-SM3 |
| `keys`, `keystore`, `trust` | key records and signatures; private keys at rest; signed key lists |
| `mark` | the signed recognition mark |
| `ledger`, `tree`, `tiles`, `note` | entries with commitments; Merkle tree; its files; checkpoints |
| `export`, `audit` | a ledger as a folder of files, and its offline verification |
| `identity`, `pseudonym` | numbers in canonical form; their stand-ins |
"""

from security import (
    audit,
    digests,
    errors,
    export,
    identity,
    keys,
    keystore,
    ledger,
    mark,
    note,
    pseudonym,
    tiles,
    tree,
    trust,
)

__all__ = [
    "audit",
    "digests",
    "errors",
    "export",
    "identity",
    "keys",
    "keystore",
    "ledger",
    "mark",
    "note",
    "pseudonym",
    "tiles",
    "tree",
    "trust",
]
