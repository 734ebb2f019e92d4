"""Keys, marks, ledger, pseudonyms, identities: the exchange becomes provable, persons stay out of it.

Pure: no network, no web framework, no database, none of the other rooms. Each module is used by its name.

| module | what |
|---|---|
| `errors` | what is refused, and why |
| `digests` | SHA-256, SM3, HMAC-SM3 |
| `keys`, `keystore`, `trust` | key records and signatures; private keys at rest; signed key lists |
| `devices`, `envelope` | signing inside crypto machines; encryption of what is kept |
| `drawing` | random bytes in pieces |
| `mark`, `status` | the signed recognition mark; which marks are withdrawn |
| `tlog_proof`, `jws` | that a ledger holds a mark; signatures over FHIR resources |
| `ledger`, `tree`, `tiles`, `note` | entries with commitments; Merkle tree; its files; checkpoints |
| `witness`, `http_signature` | cosigning the checkpoints of others; signed requests and answers |
| `export`, `replay`, `audit` | a ledger as a folder of files, its replay, and its offline verification |
| `proof_file` | the evidence of one decision in one file |
| `jwt` | assertions of clients, access tokens |
| `identity`, `pseudonym`, `oprf` | numbers in canonical form; their stand-ins, also made unseen |
"""

from security import (
    audit,
    devices,
    digests,
    drawing,
    envelope,
    errors,
    export,
    http_signature,
    identity,
    jws,
    jwt,
    keys,
    keystore,
    ledger,
    mark,
    note,
    oprf,
    proof_file,
    pseudonym,
    replay,
    status,
    tiles,
    tlog_proof,
    tree,
    trust,
    witness,
)

__all__ = [
    "audit",
    "devices",
    "digests",
    "drawing",
    "envelope",
    "errors",
    "export",
    "http_signature",
    "identity",
    "jws",
    "jwt",
    "keys",
    "keystore",
    "ledger",
    "mark",
    "note",
    "oprf",
    "proof_file",
    "pseudonym",
    "replay",
    "status",
    "tiles",
    "tlog_proof",
    "tree",
    "trust",
    "witness",
]
